// The arithmetic of all three formats, once. A format joins by an overload of propagate_nan(a, b), its rule for the
// result when one or both operands are NaNs; and SSE flushes denormal operands, under DAZ, before it comes here.
//
// The order of the checks is that of the manual's exception priority: signaling and unsupported operands, quiet NaNs,
// other invalid operations and division by zero, denormal operands, and only then the results.
#pragma once

#include <optional>

#include "cpu/float/round_pack.h"

namespace matryoshka::fp {

constexpr bool is_nan(Class c) { return c == Class::quiet_nan || c == Class::signaling_nan; }

template <class Format>
constexpr Format quiet(Format nan) {
  return pack(nan, sign_of(nan), {Traits<Format>::infinite_exponent, fields(nan).significand | uint64_t{1} << 62});
}

template <class Format>
Format invalid_operation(Environment& e) {
  e.raise(invalid);
  return indefinite<Format>();
}

template <class Format>
std::optional<Format> nan_result(Format a, Class class_a, Format b, Class class_b, Environment& e) {
  if (class_a == Class::unsupported || class_b == Class::unsupported) return invalid_operation<Format>(e);
  if (!is_nan(class_a) && !is_nan(class_b)) return std::nullopt;
  if (class_a == Class::signaling_nan || class_b == Class::signaling_nan) e.raise(invalid);
  return propagate_nan(a, b);
}

inline void raise_denormal(Class class_a, Class class_b, Environment& e) {
  if (class_a == Class::denormal || class_b == Class::denormal || e.denormal_source) e.raise(denormal);
}

template <class Format>
Format add_or_subtract(Format a, Format b, bool subtracting, int precision, Environment& e) {
  const Class class_a = classify_fields(a), class_b = classify_fields(b);
  if (const auto nan = nan_result(a, class_a, b, class_b, e)) return *nan;
  const bool sign_b = sign_of(b) != subtracting;
  if (class_a == Class::infinity && class_b == Class::infinity && sign_of(a) != sign_b) return invalid_operation<Format>(e);
  raise_denormal(class_a, class_b, e);
  if (class_a == Class::infinity) return a;
  if (class_b == Class::infinity) return infinity<Format>(sign_b);

  Number addend = unpack(b);
  addend.sign = sign_b;
  const Number total = sum(unpack(a), addend);
  if (total.significand) return round_pack<Format>(total, e, precision);
  const bool same_sign = sign_of(a) == sign_b;  // only of two zeros
  return zero<Format>(same_sign ? sign_b : e.rounding == Rounding::down);
}

template <class Format>
Format multiply(Format a, Format b, int precision, Environment& e) {
  const Class class_a = classify_fields(a), class_b = classify_fields(b);
  if (const auto nan = nan_result(a, class_a, b, class_b, e)) return *nan;
  const bool sign = sign_of(a) != sign_of(b);
  const bool any_infinity = class_a == Class::infinity || class_b == Class::infinity;
  const bool any_zero = class_a == Class::zero || class_b == Class::zero;
  if (any_infinity && any_zero) return invalid_operation<Format>(e);
  raise_denormal(class_a, class_b, e);
  if (any_infinity) return infinity<Format>(sign);
  if (any_zero) return zero<Format>(sign);
  return round_pack<Format>(product(unpack(a), unpack(b)), e, precision);
}

template <class Format>
Format divide(Format a, Format b, int precision, Environment& e) {
  const Class class_a = classify_fields(a), class_b = classify_fields(b);
  if (const auto nan = nan_result(a, class_a, b, class_b, e)) return *nan;
  const bool sign = sign_of(a) != sign_of(b);
  if (class_a == class_b && (class_a == Class::infinity || class_a == Class::zero)) return invalid_operation<Format>(e);
  if (class_b == Class::zero && class_a != Class::infinity) {
    e.raise(zero_divide);
    return infinity<Format>(sign);
  }
  raise_denormal(class_a, class_b, e);
  if (class_a == Class::infinity) return infinity<Format>(sign);
  if (class_b == Class::infinity || class_a == Class::zero) return zero<Format>(sign);
  return round_pack<Format>(quotient(unpack(a), unpack(b)), e, precision);
}

template <class Format>
Format square_root(Format a, int precision, Environment& e) {
  const Class class_a = classify_fields(a);
  if (const auto nan = nan_result(a, class_a, a, class_a, e)) return *nan;
  if (class_a == Class::zero) return a;
  if (sign_of(a)) return invalid_operation<Format>(e);
  raise_denormal(class_a, class_a, e);
  if (class_a == Class::infinity) return a;
  return round_pack<Format>(square_root(unpack(a)), e, precision);
}

template <class Format>
Relation relate(Format a, Format b, bool quiet_nans_are_invalid, Environment& e) {
  const Class class_a = classify_fields(a), class_b = classify_fields(b);
  if (class_a <= Class::quiet_nan || class_b <= Class::quiet_nan) {
    const bool always_invalid = class_a <= Class::signaling_nan || class_b <= Class::signaling_nan;
    if (always_invalid || quiet_nans_are_invalid) e.raise(invalid);
    return Relation::unordered;
  }
  raise_denormal(class_a, class_b, e);
  if (class_a == Class::zero && class_b == Class::zero) return Relation::equal;
  if (sign_of(a) != sign_of(b)) return sign_of(a) ? Relation::less : Relation::greater;
  const Fields fa = fields(a), fb = fields(b);
  // A pseudo-denormal has the exponent field 0 but weighs as much as with 1.
  const int exponent_a = fa.exponent ? fa.exponent : 1, exponent_b = fb.exponent ? fb.exponent : 1;
  if (exponent_a == exponent_b && fa.significand == fb.significand) return Relation::equal;
  const bool smaller = exponent_a != exponent_b ? exponent_a < exponent_b : fa.significand < fb.significand;
  return smaller != sign_of(a) ? Relation::less : Relation::greater;
}

// A finite value's integer part by the rounding mode; exponent 63 at most. Raises nothing.
struct Integral {
  uint64_t magnitude;
  bool inexact, up;
  bool too_large;  // beyond 64 bits
};

inline Integral to_integral(const Number& a, Rounding rounding) {
  if (a.significand == 0) return {0, false, false, false};
  if (a.exponent > 63) return {0, false, false, true};
  const auto r = round_significand(shift_right_sticky(a.significand, unsigned(63 - a.exponent)), 64, a.sign, rounding);
  return {r.kept, r.inexact, r.up, r.carry};
}

template <class Format>
Format round_to_integer(Format a, Rounding rounding, Environment& e) {
  using T = Traits<Format>;
  const Number number = unpack(a);
  if (number.exponent >= T::precision - 1 || number.significand == 0) return a;
  const Integral integral = to_integral(number, rounding);
  if (integral.inexact) e.raise(inexact);
  e.rounded_up = integral.up;
  if (integral.magnitude == 0) return zero<Format>(number.sign);
  const Number rounded = normalize({number.sign, 127, integral.magnitude});
  return pack(Format{}, rounded.sign, {rounded.exponent + T::bias, high_half(rounded.significand)});
}

// Shared by every conversion to a signed integer; the caller has dealt with NaNs and infinities.
template <class Integer>
Integer to_integer(const Number& a, Rounding rounding, Environment& e) {
  constexpr uint64_t limit = uint64_t{1} << (sizeof(Integer) * 8 - 1);
  const Integral integral = to_integral(a, rounding);
  if (integral.too_large || integral.magnitude >= limit + a.sign) {
    e.raise(invalid);
    return Integer(limit);
  }
  if (integral.inexact) e.raise(inexact);
  e.rounded_up = integral.up;
  return Integer(a.sign ? -integral.magnitude : integral.magnitude);
}

constexpr Number from_integer_exact(int64_t a) { return normalize({a < 0, 127, a < 0 ? -uint64_t(a) : uint64_t(a)}); }

}  // namespace matryoshka::fp
