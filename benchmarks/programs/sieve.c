/* Integer: bytes stored at a stride. */
#include "bench.h"
#include <string.h>
enum { limit = 1 << 20 };
static uint8_t composite[limit];
static uint64_t bench_run(unsigned scale) {
  uint64_t count = 0;
  for (unsigned round = 0; round < scale; ++round) {
    memset(composite, 0, sizeof composite);
    for (unsigned i = 2; i < limit; ++i) {
      if (composite[i]) continue;
      ++count;
      for (unsigned k = 2 * i; k < limit; k += i) composite[k] = 1;
    }
  }
  return count;
}
BENCH_MAIN("sieve")
