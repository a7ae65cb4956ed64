// Arithmetic, comparison and the instructions that take a number apart.
#include "cpu/float/constants.h"
#include "cpu/float/x87_rules.h"

namespace matryoshka::fp {

Class classify(Float80 a) { return classify_fields(a); }

uint16_t examine(Float80 a) {
  constexpr uint16_t C0 = 0x0100, C2 = 0x0400, C3 = 0x4000;
  switch (classify_fields(a)) {
    case Class::unsupported: return 0;
    case Class::signaling_nan:
    case Class::quiet_nan: return C0;
    case Class::normal: return C2;
    case Class::infinity: return C2 | C0;
    case Class::zero: return C3;
    case Class::denormal: return C3 | C2;
  }
  return 0;
}

Float80 add(Float80 a, Float80 b, Environment& e) { return add_or_subtract(a, b, false, e.precision, e); }
Float80 subtract(Float80 a, Float80 b, Environment& e) { return add_or_subtract(a, b, true, e.precision, e); }
Float80 multiply(Float80 a, Float80 b, Environment& e) { return multiply(a, b, e.precision, e); }
Float80 divide(Float80 a, Float80 b, Environment& e) { return divide(a, b, e.precision, e); }
Float80 square_root(Float80 a, Environment& e) { return square_root(a, e.precision, e); }

Relation compare(Float80 st0, Float80 source, Environment& e) { return relate(st0, source, true, e); }
Relation compare_quiet(Float80 st0, Float80 source, Environment& e) { return relate(st0, source, false, e); }
Relation compare_to_zero(Float80 st0, Environment& e) { return relate(st0, float80_zero, true, e); }

Float80 round_to_integer(Float80 a, Environment& e) {
  const Class class_a = classify_fields(a);
  if (const auto nan = nan_result(a, class_a, e)) return *nan;
  raise_denormal(class_a, class_a, e);
  if (class_a == Class::infinity || class_a == Class::zero) return a;
  return round_to_integer(a, e.rounding, e);
}

Float80 scale(Float80 st0, Float80 st1, Environment& e) {
  const Class class0 = classify_fields(st0), class1 = classify_fields(st1);
  if (const auto nan = nan_result(st0, class0, st1, class1, e)) return *nan;
  if (class1 == Class::infinity && class0 == (st1.sign() ? Class::infinity : Class::zero)) return invalid_operation<Float80>(e);
  raise_denormal(class0, class1, e);
  if (class0 == Class::infinity || class0 == Class::zero) return st0;
  if (class1 == Class::infinity) return st1.sign() ? zero<Float80>(st0.sign()) : infinity<Float80>(st0.sign());

  Number scaled = unpack(st0);
  const Number by = unpack(st1);
  const Integral steps = to_integral(by, Rounding::zero);
  constexpr uint64_t far = 0x20000;  // farther than any two exponents, rebiased or not, are apart
  const int distance = steps.too_large || steps.magnitude > far ? int(far) : int(steps.magnitude);
  scaled.exponent += by.sign ? -distance : distance;
  return round_pack<Float80>(scaled, e);
}

Extracted extract(Float80 a, Environment& e) {
  const Class class_a = classify_fields(a);
  if (const auto nan = nan_result(a, class_a, e)) return {*nan, *nan};
  if (class_a == Class::infinity) return {float80_infinity, a};
  if (class_a == Class::zero) {
    e.raise(zero_divide);
    return {negate(float80_infinity), a};
  }
  raise_denormal(class_a, class_a, e);
  const Number number = unpack(a);
  return {integer_float80(number.exponent), float80(number.sign, 0x3fff, high_half(number.significand))};
}

Float80 constant(Constant which, Rounding rounding) {
  constexpr Number values[] = {number_one, number_log2_10, number_log2_e, number_pi, number_log10_2, number_ln_2};
  if (which == Constant::zero) return float80_zero;
  const Number& value = values[unsigned(which)];
  const auto rounded = round_significand(value.significand, 64, false, rounding);
  return float80(false, value.exponent + Traits<Float80>::bias, rounded.kept);
}

}  // namespace matryoshka::fp
