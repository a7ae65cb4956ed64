// tcc cpuid.c -o cpuid && ./cpuid
// or without a file in between: tcc -run cpuid.c
#include <stdio.h>
#include <string.h>

static void cpuid(unsigned leaf, unsigned r[4]) {
  __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(0));
}

int main(void) {
  unsigned r[4];
  char vendor[13] = "";
  cpuid(0, r);
  memcpy(vendor, &r[1], 4);
  memcpy(vendor + 4, &r[3], 4);
  memcpy(vendor + 8, &r[2], 4);
  printf("vendor      %s, leaves up to %u\n", vendor, r[0]);
  cpuid(1, r);
  printf("VMX         %s\n", r[2] >> 5 & 1 ? "yes: this processor can host guests" : "no");
  printf("hypervisor  %s\n", r[2] >> 31 ? "one says that it is there" : "none that shows itself");
  return 0;
}
