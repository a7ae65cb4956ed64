// What the x87 instructions share beside arithmetic.h: the choice among NaNs, and shapes that occur in several files.
#pragma once

#include "cpu/float/arithmetic.h"
#include "cpu/float/float80.h"

namespace matryoshka::fp {

// Of two NaNs the quiet one, if one is signaling; else that with the larger significand; else the positive one. The
// operands' order plays no part, unlike in SSE.
inline Float80 propagate_nan(Float80 a, Float80 b) {
  const Class class_a = classify_fields(a), class_b = classify_fields(b);
  if (!is_nan(class_b)) return quiet(a);
  if (!is_nan(class_a)) return quiet(b);
  if (class_a != class_b) return class_a == Class::quiet_nan ? a : b;
  if (a.significand != b.significand) return quiet(a.significand > b.significand ? a : b);
  return quiet(a.sign() ? b : a);
}

inline std::optional<Float80> nan_result(Float80 a, Class class_a, Environment& e) {
  return nan_result(a, class_a, a, class_a, e);
}

inline Float80 integer_float80(int64_t a) {
  const Number number = from_integer_exact(a);
  if (number.significand == 0) return float80_zero;
  return pack(Float80{}, number.sign, {number.exponent + Traits<Float80>::bias, high_half(number.significand)});
}

}  // namespace matryoshka::fp
