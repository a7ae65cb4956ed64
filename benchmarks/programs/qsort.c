/* Calls through pointers, and branches that nobody can predict. */
#include "bench.h"
enum { count = 50000 };
static uint32_t values[count];
static int compare(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}
static uint64_t bench_run(unsigned scale) {
  uint64_t check = 0;
  for (unsigned round = 0; round < scale; ++round) {
    for (int i = 0; i < count; ++i) values[i] = bench_random();
    qsort(values, count, sizeof *values, compare);
    check = check * 31 + values[count / 2];
  }
  return check;
}
BENCH_MAIN("qsort")
