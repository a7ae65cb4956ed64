// A finite value without a format: where operations meet. Operands are unpacked to Numbers, combined here, and
// round_pack.h brings the outcome back into a format. Sum, product, quotient and root of operands with at most 64
// significant bits are exact up to the sticky bit, that is, they round correctly in every format and direction.
#pragma once

#include "cpu/float/wide.h"

namespace matryoshka::fp {

// (-1)^sign * significand * 2^(exponent - 127): the leading one stands in bit 127 and weighs 2^exponent.
// Zero has significand 0. A set bit 0 may be sticky.
struct Number {
  bool sign;
  int32_t exponent;
  u128 significand;
};

constexpr Number normalize(Number a) {
  if (a.significand == 0) return a;
  const int distance = leading_zeros(a.significand);
  return {a.sign, a.exponent - distance, shift_left(a.significand, unsigned(distance))};
}

constexpr Number negate(Number a) { return {!a.sign, a.exponent, a.significand}; }

constexpr bool magnitude_less(const Number& a, const Number& b) {
  if (a.significand == 0 || b.significand == 0) return a.significand < b.significand;
  return a.exponent != b.exponent ? a.exponent < b.exponent : a.significand < b.significand;
}

// The sign of an exact zero is positive here; it depends on the rounding mode and is set where that is known.
constexpr Number sum(Number a, Number b) {
  if (magnitude_less(a, b)) {
    const Number larger = b;
    b = a;
    a = larger;
  }
  if (b.significand == 0) return a;
  const u128 aligned = shift_right_sticky(b.significand, unsigned(a.exponent - b.exponent));
  if (a.sign != b.sign) {
    // Sticky bits may be lost in a long normalization only after a short alignment, which had none to set.
    const Number difference = normalize({a.sign, a.exponent, a.significand - aligned});
    return difference.significand ? difference : Number{false, 0, 0};
  }
  const u128 total = a.significand + aligned;
  if (total >= aligned) return {a.sign, a.exponent, total};
  return {a.sign, a.exponent + 1, total >> 1 | (total & 1) | u128(1) << 127};
}

constexpr Number product(const Number& a, const Number& b) {
  u128 top;
  if (low_half(a.significand) == 0 && low_half(b.significand) == 0) {
    top = u128(high_half(a.significand)) * high_half(b.significand);
  } else {
    const auto full = full_product(a.significand, b.significand);
    top = full.high | (full.low != 0);
  }
  const bool carry = top >> 127;
  return {a.sign != b.sign, a.exponent + b.exponent + carry, carry ? top : top << 1};
}

// Neither is zero. All 128 bits count, for any operands.
constexpr Number quotient(const Number& a, const Number& b) {
  const bool borrow = a.significand < b.significand;
  const u128 dividend = borrow ? a.significand : a.significand >> 1;  // less than the divisor
  const u128 lost = borrow ? 0 : a.significand & 1;
  return {a.sign != b.sign, a.exponent - b.exponent - borrow, divide_fractions(dividend, b.significand) | lost};
}

// a is positive and has at most 64 significant bits.
constexpr Number square_root(const Number& a) {
  const bool odd = a.exponent & 1;
  const auto [root, rest] = integer_square_root(odd ? a.significand : a.significand >> 1);
  // The next bit is set if (root + 1/2)^2 <= a, that is, root + 1/4 <= rest; and no root ends there.
  return {false, (a.exponent - odd) / 2, wide(root, uint64_t(rest > root) << 63 | (rest != 0))};
}

}  // namespace matryoshka::fp
