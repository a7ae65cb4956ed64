/* What every benchmark program shares: its scale, its clock and its last line.
 *
 * A program does a fixed amount of work times the scale given as its argument, prints "BENCH name milliseconds check", and the
 * check must be the same everywhere. Milliseconds are the guest's, for comparison inside one machine; the harness takes its own
 * time from outside. */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double bench_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static uint64_t bench_run(unsigned scale);

static uint32_t bench_random_state = 12345;
static inline uint32_t bench_random(void) {
  bench_random_state ^= bench_random_state << 13;
  bench_random_state ^= bench_random_state >> 17;
  return bench_random_state ^= bench_random_state << 5;
}

#define BENCH_MAIN(name)                                                                  \
  int main(int argc, char** argv) {                                                       \
    unsigned scale = argc > 1 ? (unsigned)atoi(argv[1]) : 1;                              \
    double start = bench_now();                                                           \
    uint64_t check = bench_run(scale);                                                    \
    printf("BENCH %s %.1f %llx\n", name, bench_now() - start, (unsigned long long)check); \
    return 0;                                                                             \
  }

#endif
