/* Branches: a checksum bit by bit. */
#include "bench.h"
static uint64_t bench_run(unsigned scale) {
  uint32_t crc = ~0u;
  for (unsigned i = 0; i < scale * 200000; ++i) {
    crc ^= bench_random() & 0xff;
    for (int bit = 0; bit < 8; ++bit) {
      if (crc & 1)
        crc = crc >> 1 ^ 0xedb88320u;
      else
        crc >>= 1;
    }
  }
  return ~crc;
}
BENCH_MAIN("crc")
