/* Integer: multiplication in nested loops. */
#include "bench.h"
enum { size = 96 };
static int32_t a[size][size], b[size][size], c[size][size];
static uint64_t bench_run(unsigned scale) {
  for (int i = 0; i < size; ++i)
    for (int j = 0; j < size; ++j) a[i][j] = (int32_t)bench_random(), b[i][j] = (int32_t)bench_random();
  for (unsigned round = 0; round < scale * 2; ++round)
    for (int i = 0; i < size; ++i)
      for (int j = 0; j < size; ++j) {
        uint32_t sum = 0;
        for (int k = 0; k < size; ++k) sum += (uint32_t)a[i][k] * (uint32_t)b[k][j];
        c[i][j] = (int32_t)(sum + round);
      }
  uint64_t check = 0;
  for (int i = 0; i < size; ++i)
    for (int j = 0; j < size; ++j) check = check * 31 + (uint32_t)c[i][j];
  return check;
}
BENCH_MAIN("matmul")
