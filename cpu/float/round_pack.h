// From Number to format: the one place where results are rounded, and where overflow, underflow and inexact arise.
//
// x86 detects tininess after rounding: a result is tiny if, rounded to the precision but with an unbounded exponent,
// it stays below the smallest normal number. Masked, a tiny result raises UE only if the denormal is inexact as well;
// unmasked, always.
#pragma once

#include "cpu/float/format.h"
#include "cpu/float/number.h"

namespace matryoshka::fp {

struct Limits {
  int precision, bias, infinite_exponent, rebias;
};

// Fields of a result. The integer bit is bit 63 of the significand; exponent is biased, 0 for zero and denormals.
struct Fields {
  int exponent;
  uint64_t significand;
};

// The value is not zero.
Fields round_to_limits(const Number& value, const Limits& limits, Environment& e);

// The upper 64 bits of a fraction, rounded at the given number of leading bits.
struct RoundedSignificand {
  uint64_t kept;
  bool inexact, up;
  bool carry;  // up, out of the top: kept is then 0
};

constexpr RoundedSignificand round_significand(u128 significand, int precision, bool sign, Rounding rounding) {
  const uint64_t unit = uint64_t{1} << (64 - precision);
  const uint64_t kept = high_half(significand) & -unit;
  const u128 rest = shift_left(significand, unsigned(precision)), half = u128(1) << 127;
  bool up = false;
  switch (rounding) {
    case Rounding::nearest: up = rest > half || (rest == half && kept & unit); break;
    case Rounding::down: up = sign && rest != 0; break;
    case Rounding::up: up = !sign && rest != 0; break;
    case Rounding::zero: break;
  }
  const uint64_t rounded = kept + (up ? unit : 0);
  return {rounded, rest != 0, up, up && rounded == 0};
}

// What a format does with its fields. Overloads take a format value only to be chosen by its type.

constexpr bool sign_of(Float80 a) { return a.sign(); }
constexpr bool sign_of(Binary32 a) { return a.bits >> 31; }
constexpr bool sign_of(Binary64 a) { return a.bits >> 63; }

constexpr Float80 pack(Float80, bool sign, Fields f) { return {f.significand, uint16_t(sign << 15 | f.exponent)}; }
constexpr Binary32 pack(Binary32, bool sign, Fields f) {
  return {uint32_t(sign) << 31 | uint32_t(f.exponent) << 23 | (uint32_t(f.significand >> 40) & 0x7fffff)};
}
constexpr Binary64 pack(Binary64, bool sign, Fields f) {
  return {uint64_t(sign) << 63 | uint64_t(f.exponent) << 52 | (f.significand >> 11 & 0xfffffffffffff)};
}

// The fields of any operand; for the binary formats the integer bit is made explicit.
constexpr Fields fields(Float80 a) { return {a.exponent(), a.significand}; }
constexpr Fields fields(Binary32 a) {
  const int exponent = a.bits >> 23 & 0xff;
  return {exponent, uint64_t(exponent != 0) << 63 | uint64_t(a.bits & 0x7fffff) << 40};
}
constexpr Fields fields(Binary64 a) {
  const int exponent = a.bits >> 52 & 0x7ff;
  return {exponent, uint64_t(exponent != 0) << 63 | (a.bits & 0xfffffffffffff) << 11};
}

template <class Format>
constexpr Format zero(bool sign) {
  return pack(Format{}, sign, {0, 0});
}
template <class Format>
constexpr Format infinity(bool sign) {
  return pack(Format{}, sign, {Traits<Format>::infinite_exponent, uint64_t{1} << 63});
}
// The default NaN.
template <class Format>
constexpr Format indefinite() {
  return pack(Format{}, true, {Traits<Format>::infinite_exponent, uint64_t{3} << 62});
}

template <class Format>
constexpr Class classify_fields(Format a) {
  const auto [exponent, significand] = fields(a);
  const uint64_t integer_bit = uint64_t{1} << 63, quiet_bit = uint64_t{1} << 62;
  if (exponent == 0) return significand ? Class::denormal : Class::zero;
  if (!(significand & integer_bit)) return Class::unsupported;
  if (exponent != Traits<Format>::infinite_exponent) return Class::normal;
  if (significand == integer_bit) return Class::infinity;
  return significand & quiet_bit ? Class::quiet_nan : Class::signaling_nan;
}

// Of a zero or any finite operand.
template <class Format>
constexpr Number unpack(Format a) {
  const auto [exponent, significand] = fields(a);
  const Number number{sign_of(a), (exponent ? exponent : 1) - Traits<Format>::bias, wide(significand, 0)};
  return significand >> 63 ? number : normalize(number);
}

// Rounds to the format's own precision, or to less (x87 arithmetic).
template <class Format>
Format round_pack(const Number& value, Environment& e, int precision = Traits<Format>::precision) {
  using T = Traits<Format>;
  return pack(Format{}, value.sign, round_to_limits(value, {precision, T::bias, T::infinite_exponent, T::rebias}, e));
}

}  // namespace matryoshka::fp
