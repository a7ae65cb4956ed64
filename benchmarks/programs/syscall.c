/* System calls that do nothing. */
#include "bench.h"
#include <sys/syscall.h>
#include <unistd.h>
static uint64_t bench_run(unsigned scale) {
  uint64_t same = 1;
  long parent = syscall(SYS_getppid);
  for (unsigned i = 0; i < scale * 100000; ++i) same &= syscall(SYS_getppid) == parent;
  return same;
}
BENCH_MAIN("syscall")
