// tcc hello.c -o hello && ./hello
#include <stdio.h>

int main(void) {
  puts("Hello from inside. Привет изнутри.");
  return 0;
}
