/* x87: long double arithmetic, division and square roots. */
#include "bench.h"
enum { bodies = 5 };
static long double position[bodies][3], velocity[bodies][3], mass[bodies];
static long double square_root(long double x) {
  __asm__("fsqrt" : "+t"(x));
  return x;
}
static uint64_t bench_run(unsigned scale) {
  for (int i = 0; i < bodies; ++i) {
    mass[i] = 1.0L / (i + 1);
    for (int k = 0; k < 3; ++k) position[i][k] = i * 1.5L + k * 0.3L, velocity[i][k] = (i - k) * 0.01L;
  }
  for (unsigned step = 0; step < scale * 2000; ++step) {
    for (int i = 0; i < bodies; ++i)
      for (int j = i + 1; j < bodies; ++j) {
        long double d[3], square = 0.01L;
        for (int k = 0; k < 3; ++k) d[k] = position[i][k] - position[j][k], square += d[k] * d[k];
        long double force = 0.001L / (square * square_root(square));
        for (int k = 0; k < 3; ++k) velocity[i][k] -= d[k] * mass[j] * force, velocity[j][k] += d[k] * mass[i] * force;
      }
    for (int i = 0; i < bodies; ++i)
      for (int k = 0; k < 3; ++k) position[i][k] += 0.001L * velocity[i][k];
  }
  return (uint64_t)(int64_t)(position[0][0] * 1e9L);
}
BENCH_MAIN("nbody")
