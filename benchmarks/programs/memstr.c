/* Strings: the C library's memcpy, strlen and memchr over medium sizes. */
#include "bench.h"
#include <string.h>
static char from[65536], to[65536];
static uint64_t bench_run(unsigned scale) {
  uint64_t check = 0;
  for (size_t i = 0; i + 1 < sizeof from; ++i) from[i] = (char)('a' + bench_random() % 26);
  for (unsigned round = 0; round < scale * 200; ++round) {
    size_t offset = bench_random() % 4096;
    memcpy(to + offset, from, sizeof from - 4096);
    to[sizeof to - 1] = 0;
    check += strlen(to + offset);
    const char *found = memchr(to, 'z', sizeof to);
    check += found ? (uint64_t)(found - to) : 0;
  }
  return check;
}
BENCH_MAIN("memstr")
