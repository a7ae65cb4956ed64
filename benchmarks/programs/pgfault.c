/* Page faults: fresh pages touched once and given back. */
#include "bench.h"
#include <sys/mman.h>
static uint64_t bench_run(unsigned scale) {
  enum { pages = 2048 };
  uint64_t touched = 0;
  for (unsigned round = 0; round < scale * 8; ++round) {
    char *memory = mmap(0, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return 0;
    for (int i = 0; i < pages; ++i) memory[i * 4096] = (char)i, ++touched;
    munmap(memory, pages * 4096);
  }
  return touched;
}
BENCH_MAIN("pgfault")
