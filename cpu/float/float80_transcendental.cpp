// F2XM1, FYL2X, FYL2XP1, FPATAN, FSIN, FCOS, FSINCOS, FPTAN: special operands by the manual's tables, the rest by
// series.h, rounded once to 64 bits.
//
// Pi. The trigonometric instructions reduce their operand by the 66-bit number that the manual gives for pi,
// 0.C90FDAA22168C234C * 2^2. With it the reduction is exact: pi/2 is P * 2^-65 for a 66-bit integer P, an operand below
// 2^63 and from 1/2 on is an integer multiple of 2^-65 with at most 128 bits, and one division of integers gives
// quadrant and remainder. (P is odd and wider than a significand, so the remainder is never zero.) The results are
// therefore those of the function with period 2P * 2^-65, to half a unit, for every operand; they drift from the true
// sine for large operands, as the processors' do. FPATAN returns angles by the true pi.
//
// Exactness. PE is raised by everything that is computed, even where the result happens to be exact (2^1 - 1, the
// logarithm of a power of two): processors do so, and a denormal result is then an underflow.
#include "cpu/float/constants.h"
#include "cpu/float/series.h"
#include "cpu/float/x87_rules.h"

namespace matryoshka::fp {
namespace {

Float80 round_computed(const Number& value, Environment& e) {
  const Float80 result = round_pack<Float80>(value, e);
  e.raise(result.exponent() == 0 ? underflow | inexact : inexact);
  return result;
}

// The product of y and a logarithm of the given sign, if it needs no logarithm.
std::optional<Float80> trivial_product(Float80 y, Class class_y, bool log_sign) {
  if (class_y == Class::infinity) return infinity<Float80>(y.sign() != log_sign);
  if (class_y == Class::zero) return zero<Float80>(y.sign() != log_sign);
  return std::nullopt;
}

Float80 y_log2_infinity(Float80 y, Class class_y, Environment& e) {
  if (class_y == Class::zero) return invalid_operation<Float80>(e);
  raise_denormal(class_y, class_y, e);
  return infinity<Float80>(y.sign());
}

Float80 quarters_of_pi(unsigned quarters, bool sign, Environment& e) {
  return round_computed(product(number_pi, normalize({sign, 127 - 2, quarters})), e);
}

struct Reduced {
  Number r;      // |r| <= pi/4
  int quadrant;  // operand = r + quadrant * pi/2, modulo 4
};

Reduced reduce(Number x) {
  if (x.exponent < -1) return {x, 0};
  constexpr u128 half_pi = wide(0x3, 0x243f6a8885a308d3);  // in units of 2^-65
  const u128 units = u128(high_half(x.significand)) << (x.exponent + 2);
  u128 quadrant = units / half_pi, rest = units % half_pi;
  bool sign = x.sign;
  if (rest > half_pi / 2) {
    rest = half_pi - rest;
    quadrant += 1;
    sign = !sign;
  }
  const int turned = int(quadrant & 3);
  return {normalize({sign, 127 - 65, rest}), x.sign ? -turned & 3 : turned};
}

Number sine_of(const Reduced& a) {
  const Number value = a.quadrant & 1 ? cosine_series(a.r) : sine_series(a.r);
  return a.quadrant & 2 ? negate(value) : value;
}

Number cosine_of(const Reduced& a) { return sine_of({a.r, (a.quadrant + 1) & 3}); }

// -1 / tan r in the odd quadrants.
Number tangent_of(const Reduced& a) {
  const Number value = tangent_series(a.r);
  return a.quadrant & 1 ? negate(quotient(number_one, value)) : value;
}

// The part common to the four instructions; a result where there is nothing to compute.
std::optional<Trigonometric> special_angle(Float80 x, Float80 at_zero, Float80 pushed_at_zero, Environment& e) {
  const Class class_x = classify_fields(x);
  if (const auto nan = nan_result(x, class_x, e)) return Trigonometric{*nan, *nan, false};
  if (class_x == Class::infinity) {
    const Float80 nan = invalid_operation<Float80>(e);
    return Trigonometric{nan, nan, false};
  }
  if (x.exponent() >= 0x3fff + 63) return Trigonometric{x, x, true};
  raise_denormal(class_x, class_x, e);
  if (class_x == Class::zero) return Trigonometric{at_zero, pushed_at_zero, false};
  return std::nullopt;
}

}  // namespace

Float80 power_of_two_minus_one(Float80 x, Environment& e) {
  const Class class_x = classify_fields(x);
  if (const auto nan = nan_result(x, class_x, e)) return *nan;
  if (class_x == Class::infinity) return x.sign() ? negate(float80_one) : x;
  raise_denormal(class_x, class_x, e);
  if (class_x == Class::zero) return x;
  const Number number = unpack(x);
  if (number.exponent >= 0) {
    // 2^1 - 1 is 1, and beyond +-1 the manual defines nothing: there processors return the operand.
    e.raise(inexact);
    return x == negate(float80_one) ? float80(true, 0x3ffe, uint64_t{1} << 63) : x;
  }
  return round_computed(power_of_two_series(number), e);
}

Float80 y_log2_x(Float80 y, Float80 x, Environment& e) {
  const Class class_x = classify_fields(x), class_y = classify_fields(y);
  if (const auto nan = nan_result(y, class_y, x, class_x, e)) return *nan;
  if (class_x == Class::zero) {
    if (class_y == Class::zero) return invalid_operation<Float80>(e);
    if (class_y != Class::infinity) e.raise(zero_divide);
    return infinity<Float80>(!y.sign());
  }
  const bool x_is_one = x == float80_one;
  if (x.sign() || (x_is_one && class_y == Class::infinity)) return invalid_operation<Float80>(e);
  if (class_x == Class::infinity) return y_log2_infinity(y, class_y, e);
  raise_denormal(class_x, class_y, e);
  if (x_is_one) return zero<Float80>(y.sign());
  const Number number = unpack(x);
  if (const auto product = trivial_product(y, class_y, number.exponent < 0)) return *product;
  return round_computed(product(unpack(y), log2_series(number)), e);
}

Float80 y_log2_x_plus_one(Float80 y, Float80 x, Environment& e) {
  const Class class_x = classify_fields(x), class_y = classify_fields(y);
  if (const auto nan = nan_result(y, class_y, x, class_x, e)) return *nan;
  if (class_x == Class::zero && class_y == Class::infinity) return invalid_operation<Float80>(e);
  if (class_x == Class::infinity) return x.sign() ? invalid_operation<Float80>(e) : y_log2_infinity(y, class_y, e);
  raise_denormal(class_x, class_y, e);
  if (class_x == Class::zero) return zero<Float80>(y.sign() != x.sign());
  if (const auto product = trivial_product(y, class_y, x.sign())) return *product;
  const Number number = unpack(x);
  if (x.sign() && number.exponent >= 0) {
    // The manual defines nothing outside +-(1 - sqrt(1/2)). The formula holds on upwards; from -1 down there is no
    // logarithm, and processors return x.
    e.raise(inexact);
    return x;
  }
  return round_computed(product(unpack(y), log2_one_plus_series(number)), e);
}

Float80 arctangent(Float80 y, Float80 x, Environment& e) {
  const Class class_y = classify_fields(y), class_x = classify_fields(x);
  if (const auto nan = nan_result(y, class_y, x, class_x, e)) return *nan;
  raise_denormal(class_x, class_y, e);
  if (class_y == Class::infinity) {
    if (class_x != Class::infinity) return quarters_of_pi(2, y.sign(), e);
    return quarters_of_pi(x.sign() ? 3 : 1, y.sign(), e);
  }
  if (class_x == Class::infinity || class_y == Class::zero)
    return x.sign() ? quarters_of_pi(4, y.sign(), e) : zero<Float80>(y.sign());
  if (class_x == Class::zero) return quarters_of_pi(2, y.sign(), e);

  Number opposite = unpack(y), adjacent = unpack(x);
  opposite.sign = adjacent.sign = false;
  const bool steep = magnitude_less(adjacent, opposite);
  Number angle = arctangent_series(steep ? quotient(adjacent, opposite) : quotient(opposite, adjacent));
  const Number half_pi{false, number_pi.exponent - 1, number_pi.significand};
  if (steep) angle = sum(half_pi, negate(angle));
  if (x.sign()) angle = sum(number_pi, negate(angle));
  angle.sign = y.sign();
  return round_computed(angle, e);
}

Trigonometric sine(Float80 x, Environment& e) {
  if (const auto special = special_angle(x, x, x, e)) return *special;
  const Float80 value = round_computed(sine_of(reduce(unpack(x))), e);
  return {value, value, false};
}

Trigonometric cosine(Float80 x, Environment& e) {
  if (const auto special = special_angle(x, float80_one, float80_one, e)) return *special;
  const Float80 value = round_computed(cosine_of(reduce(unpack(x))), e);
  return {value, value, false};
}

// C1 tells of the sine.
Trigonometric sine_and_cosine(Float80 x, Environment& e) {
  if (const auto special = special_angle(x, x, float80_one, e)) return *special;
  const Reduced angle = reduce(unpack(x));
  const Float80 cosine = round_computed(cosine_of(angle), e);
  return {round_computed(sine_of(angle), e), cosine, false};
}

Trigonometric tangent(Float80 x, Environment& e) {
  if (const auto special = special_angle(x, x, float80_one, e)) return *special;
  return {round_computed(tangent_of(reduce(unpack(x))), e), float80_one, false};
}

}  // namespace matryoshka::fp
