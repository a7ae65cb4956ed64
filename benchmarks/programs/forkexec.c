/* Processes: fork, exec, wait. The child is this program with the argument "child". */
#include "bench.h"
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static const char *self;
static uint64_t bench_run(unsigned scale) {
  uint64_t check = 0;
  for (unsigned i = 0; i < scale * 30; ++i) {
    pid_t pid = fork();
    if (pid == 0) {
      execl(self, self, "child", (char *)0);
      _exit(99);
    }
    int status = 0;
    if (waitpid(pid, &status, 0) == pid && WIFEXITED(status)) check += (unsigned)WEXITSTATUS(status);
  }
  return check;
}
int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "child") == 0) return 7;
  self = argv[0];
  unsigned scale = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
  double start = bench_now();
  uint64_t check = bench_run(scale);
  printf("BENCH forkexec %.1f %llx\n", bench_now() - start, (unsigned long long)check);
  return 0;
}
