// 128-bit integers, read as integers or as fractions of 2^128.
#pragma once

#include <bit>
#include <cstdint>

namespace matryoshka::fp {

__extension__ typedef unsigned __int128 u128;

constexpr u128 wide(uint64_t high, uint64_t low) { return u128(high) << 64 | low; }
constexpr uint64_t high_half(u128 a) { return uint64_t(a >> 64); }
constexpr uint64_t low_half(u128 a) { return uint64_t(a); }

constexpr int leading_zeros(u128 a) { return high_half(a) ? std::countl_zero(high_half(a)) : 64 + std::countl_zero(low_half(a)); }

// Shifts by halves and without branches: wasm has no 128-bit ones, and calls a function for the operators.
// distance < 128
constexpr u128 shift_left(u128 a, unsigned distance) {
  const unsigned n = distance & 63;
  const uint64_t low = low_half(a) << n, high = high_half(a) << n | low_half(a) >> 1 >> (63 - n);
  return distance & 64 ? wide(low, 0) : wide(high, low);
}
constexpr u128 shift_right(u128 a, unsigned distance) {
  const unsigned n = distance & 63;
  const uint64_t high = high_half(a) >> n, low = low_half(a) >> n | high_half(a) << 1 << (63 - n);
  return distance & 64 ? wide(0, high) : wide(high, low);
}

// Bits shifted out are not lost: if any was set, bit 0 becomes "sticky". That is all rounding needs to know of them.
constexpr u128 shift_right_sticky(u128 a, unsigned distance) {
  if (distance == 0) return a;
  if (distance >= 128) return a != 0;
  return shift_right(a, distance) | (shift_left(a, 128 - distance) != 0);
}

struct WideProduct {
  u128 high, low;
};

constexpr WideProduct full_product(u128 a, u128 b) {
  const u128 low = u128(low_half(a)) * low_half(b);
  const u128 cross1 = u128(high_half(a)) * low_half(b), cross2 = u128(low_half(a)) * high_half(b);
  const u128 middle = u128(high_half(low)) + low_half(cross1) + low_half(cross2);
  return {u128(high_half(a)) * high_half(b) + high_half(cross1) + high_half(cross2) + high_half(middle),
          wide(low_half(middle), low_half(low))};
}

// The product of two fractions, truncated.
constexpr u128 multiply_fractions(u128 a, u128 b) { return full_product(a, b).high; }

struct ShortQuotient {
  uint64_t quotient, remainder;
};

// For high_half(a) < b, so that the quotient fits.
constexpr ShortQuotient divide_short(u128 a, uint64_t b) {
  const auto quotient = uint64_t(a / b);
  return {quotient, low_half(a) - quotient * b};
}

struct WideQuotient {
  uint64_t digit;
  u128 rest;
};

// One step of long division in base 2^64: digit and rest of (a * 2^64) / b, for a < b and b with its top bit set.
// The estimate from the leading digits is at most two too large.
constexpr WideQuotient divide_digit(u128 a, u128 b) {
  const uint64_t leading = high_half(b);
  u128 digit = high_half(a) < leading ? a / leading : ~uint64_t{0};
  u128 rest = a - digit * leading;
  u128 below = digit * low_half(b);
  while (high_half(rest) == 0 && below > rest << 64) {
    --digit;
    rest += leading;
    below -= low_half(b);
  }
  return {uint64_t(digit), (rest << 64) - below};
}

// a / b as a fraction, a < b, b with its top bit set; truncated, and sticky if that was not exact.
constexpr u128 divide_fractions(u128 a, u128 b) {
  const auto first = divide_digit(a, b);
  const auto second = divide_digit(first.rest, b);
  return wide(first.digit, second.digit | (second.rest != 0));
}

// The largest s with s * s <= a, for a >= 2^126: one Newton step doubles the 32 bits that integer arithmetic gives
// cheaply; the last loop makes it exact whatever the step left.
struct WideRoot {
  uint64_t root;
  u128 rest;  // a - root * root
};
constexpr WideRoot integer_square_root(u128 a) {
  uint64_t estimate = 0;  // of the high half, bit by bit: 2^31 <= estimate < 2^32
  const uint64_t top = high_half(a);
  for (uint64_t bit = uint64_t{1} << 31; bit != 0; bit >>= 1)
    if ((estimate | bit) * (estimate | bit) <= top) estimate |= bit;
  const u128 guess = u128(estimate) << 32 | 0x80000000;
  u128 root = (guess + a / low_half(guess)) >> 1;
  if (high_half(root)) root = ~uint64_t{0};
  while (root * root > a) --root;
  while (root < ~uint64_t{0} && (root + 1) * (root + 1) <= a) ++root;
  return {uint64_t(root), a - root * root};
}

}  // namespace matryoshka::fp
