// The common case of x87 arithmetic, without Environment and Number in between: normal operands and zeros, rounded to nearest and
// to 64 bits, with a normal result or zero.
//
// Each function here either gives the whole answer, flags included, or says that the case is not a common one; then the general
// functions of float80.h decide. So every rule about NaNs, infinities, denormals, overflow and underflow stands there alone, and
// what is left here is PE and C1. The caller looks at the control word. float_common_test.cpp holds the two against each other.
#pragma once

#include "cpu/float/format.h"
#include "cpu/float/wide.h"

namespace matryoshka::fp::common {

constexpr uint64_t integer_bit = uint64_t{1} << 63;
constexpr int bias = Traits<Float80>::bias;
constexpr unsigned normal_exponents = Traits<Float80>::infinite_exponent - 1;  // from 1 on

// What the status word gets of a rounding, as Environment::status() would have it.
constexpr uint16_t rounding_status(bool lost, bool up) { return uint16_t((lost ? inexact : 0) | (up ? 0x0200 : 0)); }

struct Result {
  uint64_t significand;
  uint16_t sign_exponent;
  uint16_t status;  // PE and C1
  bool common;      // if not, nothing else here counts

  constexpr Float80 value() const { return {significand, sign_exponent}; }
};
constexpr Result not_common{0, 0, 0, false};
constexpr Result exactly(uint64_t significand, bool sign, int exponent) {
  return {significand, uint16_t(sign << 15 | exponent), 0, true};
}

constexpr bool is_normal(Float80 a) { return unsigned(a.exponent() - 1) < normal_exponents && a.significand >> 63; }
constexpr bool is_zero(Float80 a) { return (a.exponent() | a.significand) == 0; }

// `rest` is what stands below the last place of `kept`, in units of 2^-64; its bit 0 may be sticky.
constexpr Result round(bool sign, int exponent, uint64_t kept, uint64_t rest) {
  const bool up = rest > integer_bit - (kept & 1);  // a half goes to the even neighbour
  const uint64_t rounded = kept + up;
  const bool carry = rounded == 0;
  exponent += carry;
  return {rounded | uint64_t{carry} << 63, uint16_t(sign << 15 | exponent), rounding_status(rest != 0, up),
          unsigned(exponent - 1) < normal_exponents};
}

constexpr Result add_zeros(Float80 a, Float80 b, bool sign_b) {
  if (is_zero(a) && is_zero(b)) return exactly(0, a.sign() && sign_b, 0);
  if (is_normal(a) && is_zero(b)) return exactly(a.significand, a.sign(), a.exponent());
  if (is_zero(a) && is_normal(b)) return exactly(b.significand, sign_b, b.exponent());
  return not_common;
}

constexpr Result add_or_subtract(Float80 a, Float80 b, bool subtracting) {
  const bool sign_b = b.sign() != subtracting;
  if (!is_normal(a) || !is_normal(b)) [[unlikely]]
    return add_zeros(a, b, sign_b);
  bool sign = a.sign();
  const bool same_sign = sign == sign_b;
  int exponent = a.exponent();
  int distance = exponent - b.exponent();
  uint64_t larger = a.significand, smaller = b.significand;
  if (distance < 0 || (distance == 0 && larger < smaller)) {
    exponent = b.exponent();
    distance = -distance;
    larger = b.significand, smaller = a.significand;
    sign = sign_b;
  }
  // The smaller operand in units of the larger one's last place: whole ones, and a rest. From 66 places on it is less than a
  // quarter, and any value in its stead does, whether or not a bit is borrowed.
  uint64_t whole = 0, rest = 1;
  if (distance < 64)
    whole = smaller >> distance, rest = smaller << 1 << (63 - distance);
  else if (distance < 66)
    rest = distance == 64 ? smaller : smaller >> 1 | (smaller & 1);
  if (same_sign) {
    const uint64_t total = larger + whole;
    if (total >= whole) return round(sign, exponent, total, rest);
    return round(sign, exponent + 1, total >> 1 | integer_bit, rest >> 1 | (rest & 1) | total << 63);
  }
  const u128 difference = wide(larger, 0) - wide(whole, rest);
  if (difference == 0) return exactly(0, false, 0);
  const int zeros = leading_zeros(difference);
  const u128 normalized = shift_left(difference, unsigned(zeros));
  return round(sign, exponent - zeros, high_half(normalized), low_half(normalized));
}

constexpr Result add(Float80 a, Float80 b) { return add_or_subtract(a, b, false); }
constexpr Result subtract(Float80 a, Float80 b) { return add_or_subtract(a, b, true); }
constexpr Result subtract_reversed(Float80 a, Float80 b) { return add_or_subtract(b, a, true); }

constexpr Result multiply(Float80 a, Float80 b) {
  const bool sign = a.sign() != b.sign();
  if (!is_normal(a) || !is_normal(b)) [[unlikely]] {
    const bool finite = (is_zero(a) || is_normal(a)) && (is_zero(b) || is_normal(b));
    return finite ? exactly(0, sign, 0) : not_common;
  }
  const u128 product = u128(a.significand) * b.significand;
  const int exponent = a.exponent() + b.exponent() - bias;
  const uint64_t high = high_half(product), low = low_half(product);
  return high >> 63 ? round(sign, exponent + 1, high, low) : round(sign, exponent, high << 1 | low >> 63, low << 1);
}

constexpr Result divide(Float80 a, Float80 b) {
  const bool sign = a.sign() != b.sign();
  if (!is_normal(a) || !is_normal(b)) [[unlikely]]
    return is_zero(a) && is_normal(b) ? exactly(0, sign, 0) : not_common;
  const bool borrow = a.significand < b.significand;
  const u128 dividend = borrow ? wide(a.significand, 0) : wide(a.significand >> 1, a.significand << 63);
  const auto [quotient, remainder] = divide_short(dividend, b.significand);
  const uint64_t missing = b.significand - remainder;
  const uint64_t rest = remainder == 0 ? 0 : remainder > missing ? ~uint64_t{0} : remainder == missing ? integer_bit : 1;
  return round(sign, a.exponent() - b.exponent() + bias - borrow, quotient, rest);
}
constexpr Result divide_reversed(Float80 a, Float80 b) { return divide(b, a); }

struct Comparison {
  Relation relation;
  bool common;
};

// Whatever the control word says.
constexpr Comparison compare(Float80 a, Float80 b) {
  if (!is_normal(a) || !is_normal(b)) [[unlikely]] {
    const bool zero_a = is_zero(a), zero_b = is_zero(b);
    if (!(zero_a || is_normal(a)) || !(zero_b || is_normal(b))) return {Relation::unordered, false};
    if (zero_a && zero_b) return {Relation::equal, true};
  }
  if (a.sign() != b.sign()) return {a.sign() ? Relation::less : Relation::greater, true};
  if (a == b) return {Relation::equal, true};
  const bool smaller = a.exponent() != b.exponent() ? a.exponent() < b.exponent() : a.significand < b.significand;
  return {smaller != a.sign() ? Relation::less : Relation::greater, true};
}

// ---- Between formats

template <class Format>
struct Layout;
template <>
struct Layout<Binary32> {
  using Bits = uint32_t;
  static constexpr unsigned fraction_bits = 23, sign_bit = 31;
};
template <>
struct Layout<Binary64> {
  using Bits = uint64_t;
  static constexpr unsigned fraction_bits = 52, sign_bit = 63;
};

template <class Format>
constexpr Result widen_binary(Format a) {
  using L = Layout<Format>;
  constexpr int infinite = Traits<Format>::infinite_exponent;
  const bool sign = a.bits >> L::sign_bit;
  const int exponent = int(a.bits >> L::fraction_bits & infinite);
  if (unsigned(exponent - 1) >= infinite - 1) [[unlikely]]
    return typename L::Bits(a.bits << 1) == 0 ? exactly(0, sign, 0) : not_common;
  // The exponent's lowest bit comes to lie under the leading one.
  return exactly(integer_bit | uint64_t{a.bits} << (63 - L::fraction_bits), sign, exponent + bias - Traits<Format>::bias);
}
// Whatever the control word says.
constexpr Result widen(Binary32 a) { return widen_binary(a); }
constexpr Result widen(Binary64 a) { return widen_binary(a); }
constexpr Result widen(int64_t a) {
  if (a == 0) return exactly(0, false, 0);
  const uint64_t magnitude = a < 0 ? -uint64_t(a) : uint64_t(a);
  const int zeros = std::countl_zero(magnitude);
  return exactly(magnitude << zeros, a < 0, bias + 63 - zeros);
}

template <class Format>
struct Stored {
  Format value;
  uint16_t status;
  bool common;
};

// Rounding to nearest; of the precision control stores know nothing.
template <class Format>
constexpr Stored<Format> narrow(Float80 a) {
  using L = Layout<Format>;
  using Bits = typename L::Bits;
  constexpr int infinite = Traits<Format>::infinite_exponent;
  constexpr unsigned lost_bits = 63 - L::fraction_bits;
  const Bits sign = Bits{a.sign()} << L::sign_bit;
  if (!is_normal(a)) [[unlikely]]
    return {{sign}, 0, is_zero(a)};
  const uint64_t kept = a.significand >> lost_bits, rest = a.significand << (64 - lost_bits);
  const bool up = rest > integer_bit - (kept & 1);
  // The leading one of `kept` adds to the exponent, and so does a carry out of the top.
  const int below = a.exponent() - bias + Traits<Format>::bias - 1;
  const Bits magnitude = Bits((uint64_t(below) << L::fraction_bits) + kept + up);
  const bool fits = unsigned(below) < infinite - 1 && magnitude >> L::fraction_bits != infinite;
  return {{Bits(sign | magnitude)}, rounding_status(rest != 0, up), fits};
}

template <class Integer>
constexpr Stored<Integer> to_integer(Float80 a, Rounding rounding) {
  constexpr int magnitude_bits = sizeof(Integer) * 8 - 1;
  if (!is_normal(a)) [[unlikely]]
    return {0, 0, is_zero(a)};
  const int exponent = a.exponent() - bias;
  if (exponent >= magnitude_bits) [[unlikely]]
    return {0, 0, false};
  uint64_t kept = 0, rest = 1;  // under a half, rounding knows only that it is not zero
  if (exponent >= 0)
    kept = a.significand >> (63 - exponent), rest = a.significand << exponent << 1;
  else if (exponent == -1)
    rest = a.significand;
  bool up = false;
  switch (rounding) {
    case Rounding::nearest: up = rest > integer_bit - (kept & 1); break;
    case Rounding::down: up = a.sign() && rest != 0; break;
    case Rounding::up: up = !a.sign() && rest != 0; break;
    case Rounding::zero: break;
  }
  kept += up;
  return {Integer(a.sign() ? -kept : kept), rounding_status(rest != 0, up), kept >> magnitude_bits == 0};
}

}  // namespace matryoshka::fp::common
