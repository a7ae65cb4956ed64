/* Two processes that hand a byte back and forth. */
#include "bench.h"
#include <sys/wait.h>
#include <unistd.h>
static uint64_t bench_run(unsigned scale) {
  int there[2], back[2];
  if (pipe(there) || pipe(back)) return 0;
  pid_t pid = fork();
  char byte = 0;
  if (pid == 0) {
    close(there[1]);
    while (read(there[0], &byte, 1) == 1) {
      ++byte;
      if (write(back[1], &byte, 1) != 1) break;
    }
    _exit(0);
  }
  close(there[0]);
  for (unsigned i = 0; i < scale * 5000; ++i)
    if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) return 0;
  close(there[1]);
  waitpid(pid, 0, 0);
  return (uint8_t)byte;
}
BENCH_MAIN("pipe")
