/* SSE2: scalar double arithmetic. The 32-bit build uses it too (-msse2 -mfpmath=sse). */
#include "bench.h"
static uint64_t bench_run(unsigned scale) {
  uint64_t total = 0;
  for (unsigned round = 0; round < scale; ++round)
    for (int y = 0; y < 64; ++y)
      for (int x = 0; x < 64; ++x) {
        double cr = x / 32.0 - 1.5, ci = y / 32.0 - 1.0, zr = 0, zi = 0;
        int n = 0;
        while (n < 200 && zr * zr + zi * zi < 4.0) {
          double t = zr * zr - zi * zi + cr;
          zi = 2 * zr * zi + ci;
          zr = t;
          ++n;
        }
        total += (unsigned)n;
      }
  return total;
}
BENCH_MAIN("mandelbrot")
