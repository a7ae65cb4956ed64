/* Hashing: rotations, additions, much in registers. */
#include "bench.h"
#include <string.h>
static uint32_t constants[64], initial[8];
static uint32_t rotate(uint32_t x, int by) { return x >> by | x << (32 - by); }
/* First 32 bits of the fractional parts of cube and square roots of primes, by integer search. */
static uint32_t root_fraction(uint32_t prime, int power) {
  uint64_t low = 0, high = (uint64_t)1 << 36;
  while (high - low > 1) {
    uint64_t middle = low + (high - low) / 2;
    long double value = (long double)middle / 4294967296.0L, product = value;
    for (int i = 1; i < power; ++i) product *= value;
    if (product <= (long double)prime)
      low = middle;
    else
      high = middle;
  }
  return (uint32_t)low;
}
static void compress(uint32_t state[8], const uint8_t block[64]) {
  uint32_t w[64], s[8];
  for (int i = 0; i < 16; ++i)
    w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
  for (int i = 16; i < 64; ++i) {
    uint32_t a = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
    uint32_t b = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
    w[i] = w[i - 16] + a + w[i - 7] + b;
  }
  memcpy(s, state, sizeof s);
  for (int i = 0; i < 64; ++i) {
    uint32_t t1 = s[7] + (rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + constants[i] + w[i];
    uint32_t t2 = (rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
    memmove(s + 1, s, 7 * sizeof *s);
    s[4] += t1;
    s[0] = t1 + t2;
  }
  for (int i = 0; i < 8; ++i) state[i] += s[i];
}
static uint64_t bench_run(unsigned scale) {
  for (uint32_t n = 2, count = 0; count < 64; ++n) {
    int prime = 1;
    for (uint32_t d = 2; d * d <= n; ++d)
      if (n % d == 0) prime = 0;
    if (!prime) continue;
    constants[count] = root_fraction(n, 3);
    if (count < 8) initial[count] = root_fraction(n, 2);
    ++count;
  }
  uint32_t state[8];
  uint8_t block[64];
  memcpy(state, initial, sizeof state);
  for (unsigned i = 0; i < scale * 4000; ++i) {
    for (int k = 0; k < 64; ++k) block[k] = (uint8_t)(i * 7 + (unsigned)k);
    compress(state, block);
  }
  return (uint64_t)state[0] << 32 | state[7];
}
BENCH_MAIN("sha256")
