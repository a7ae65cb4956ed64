// Loads and stores: between registers and the formats of memory operands.
#include "cpu/float/x87_rules.h"

namespace matryoshka::fp {
namespace {

// Exact in value and class: a signaling NaN stays one, since the quiet bit is the leading fraction bit everywhere.
template <class Format>
Float80 extend(Format a, Class class_a) {
  const Fields f = fields(a);
  if (class_a == Class::zero) return zero<Float80>(sign_of(a));
  if (f.exponent == Traits<Format>::infinite_exponent)
    return pack(Float80{}, sign_of(a), {Traits<Float80>::infinite_exponent, f.significand});
  const Number number = unpack(a);
  return pack(Float80{}, number.sign, {number.exponent + Traits<Float80>::bias, high_half(number.significand)});
}

template <class Format>
Float80 load_any(Format a, Environment& e) {
  const Class class_a = classify_fields(a);
  const Float80 extended = extend(a, class_a);
  if (const auto nan = nan_result(extended, classify_fields(extended), e)) return *nan;
  raise_denormal(class_a, class_a, e);
  return extended;
}

template <class Format>
Float80 widen_any(Format a, Environment& e) {
  const Class class_a = classify_fields(a);
  e.denormal_source = class_a == Class::denormal;
  return extend(a, class_a);
}

// Denormal operands raise no DE here: their store underflows anyway.
template <class Format>
Format narrow(Float80 a, Environment& e) {
  const Class class_a = classify_fields(a);
  switch (class_a) {
    case Class::unsupported: return invalid_operation<Format>(e);
    case Class::signaling_nan: e.raise(invalid); [[fallthrough]];
    case Class::quiet_nan: return pack(Format{}, a.sign(), {Traits<Format>::infinite_exponent, quiet(a).significand});
    case Class::infinity: return infinity<Format>(a.sign());
    case Class::zero: return zero<Format>(a.sign());
    default: break;
  }
  Environment rounding = e;
  const Format result = round_pack<Format>(unpack(a), rounding);
  if (!rounding.store_fault()) {
    e = rounding;
    return result;
  }
  e.raise(rounding.raised & (overflow | underflow));  // nothing is stored, so nothing is inexact
  return result;
}

template <class Integer>
Integer store_integer(Float80 a, Environment& e) {
  const Class class_a = classify_fields(a);
  if (class_a <= Class::infinity) {
    e.raise(invalid);
    return Integer(uint64_t{1} << (sizeof(Integer) * 8 - 1));
  }
  return to_integer<Integer>(unpack(a), e.rounding, e);
}

}  // namespace

Float80 load(Binary32 a, Environment& e) { return load_any(a, e); }
Float80 load(Binary64 a, Environment& e) { return load_any(a, e); }
Float80 widen(Binary32 a, Environment& e) { return widen_any(a, e); }
Float80 widen(Binary64 a, Environment& e) { return widen_any(a, e); }
Float80 from_integer(int64_t a) { return integer_float80(a); }

Binary32 to_binary32(Float80 a, Environment& e) { return narrow<Binary32>(a, e); }
Binary64 to_binary64(Float80 a, Environment& e) { return narrow<Binary64>(a, e); }
int16_t to_int16(Float80 a, Environment& e) { return store_integer<int16_t>(a, e); }
int32_t to_int32(Float80 a, Environment& e) { return store_integer<int32_t>(a, e); }
int64_t to_int64(Float80 a, Environment& e) { return store_integer<int64_t>(a, e); }

// 18 digits, two to a byte, the lowest first; the sign is the top bit of the last byte. Digits above 9 are undefined
// by the manual: here each counts with its value.
Float80 from_packed_decimal(const std::array<uint8_t, 10>& digits) {
  int64_t magnitude = 0;
  for (int i = 8; i >= 0; --i) magnitude = magnitude * 100 + (digits[i] >> 4) * 10 + (digits[i] & 15);
  const Float80 value = integer_float80(magnitude);
  return digits[9] & 0x80 ? negate(value) : value;
}

std::array<uint8_t, 10> to_packed_decimal(Float80 a, Environment& e) {
  constexpr std::array<uint8_t, 10> indefinite{0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff};
  constexpr uint64_t limit = 1'000'000'000'000'000'000;
  const bool finite = classify_fields(a) > Class::infinity;
  const Integral integral = finite ? to_integral(unpack(a), e.rounding) : Integral{};
  if (!finite || integral.too_large || integral.magnitude >= limit) {
    e.raise(invalid);
    return indefinite;
  }
  if (integral.inexact) e.raise(inexact);
  e.rounded_up = integral.up;
  std::array<uint8_t, 10> digits{};
  uint64_t rest = integral.magnitude;
  for (int i = 0; i < 9; ++i, rest /= 100) digits[i] = uint8_t(rest / 10 % 10 << 4 | rest % 10);
  digits[9] = a.sign() ? 0x80 : 0;
  return digits;
}

}  // namespace matryoshka::fp
