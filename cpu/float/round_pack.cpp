#include "cpu/float/round_pack.h"

namespace matryoshka::fp {
namespace {

constexpr uint64_t integer_bit = uint64_t{1} << 63;

void raise_inexact(const RoundedSignificand& r, Environment& e) {
  if (r.inexact) e.raise(inexact);
  e.rounded_up = r.up;
}

// In both, r is the value rounded as if the exponent had no bounds, and `exponent` what it then would be, biased.

Fields overflowed(bool sign, const RoundedSignificand& r, int exponent, const Limits& limits, Environment& e) {
  const Fields infinite{limits.infinite_exponent, integer_bit};
  e.raise(overflow);
  if (!e.masked(overflow)) {
    raise_inexact(r, e);
    if (limits.rebias == 0) return infinite;
    exponent -= limits.rebias;
    if (exponent < limits.infinite_exponent) return {exponent, r.carry ? integer_bit : r.kept};
    e.raise(inexact);  // only FSCALE gets so far that rebiasing does not bring it back
    e.rounded_up = true;
    return infinite;
  }
  const bool outward = e.rounding == Rounding::nearest || e.rounding == (sign ? Rounding::down : Rounding::up);
  e.raise(inexact);
  e.rounded_up = outward;
  if (outward) return infinite;
  return {limits.infinite_exponent - 1, ~uint64_t{0} << (64 - limits.precision)};
}

Fields underflowed(const Number& value, const RoundedSignificand& r, int exponent, const Limits& limits, Environment& e) {
  if (!e.masked(underflow)) {
    e.raise(underflow);
    raise_inexact(r, e);
    if (limits.rebias == 0) return {0, 0};
    exponent += limits.rebias;
    if (exponent > 0) return {exponent, r.carry ? integer_bit : r.kept};
    e.raise(inexact);  // FSCALE again
    e.rounded_up = false;
    return {0, 0};
  }
  if (e.flush_to_zero) {
    e.raise(underflow | inexact);
    return {0, 0};
  }
  const int distance = 1 - (value.exponent + limits.bias);
  const u128 significand = shift_right_sticky(value.significand, unsigned(distance));
  const auto denormal = round_significand(significand, limits.precision, value.sign, e.rounding);
  if (denormal.inexact) e.raise(underflow);
  raise_inexact(denormal, e);
  return {denormal.kept & integer_bit ? 1 : 0, denormal.kept};
}

}  // namespace

Fields round_to_limits(const Number& value, const Limits& limits, Environment& e) {
  const auto r = round_significand(value.significand, limits.precision, value.sign, e.rounding);
  const int exponent = value.exponent + limits.bias + r.carry;
  if (exponent >= limits.infinite_exponent) return overflowed(value.sign, r, exponent, limits, e);
  if (exponent <= 0) return underflowed(value, r, exponent, limits, e);
  raise_inexact(r, e);
  return {exponent, r.carry ? integer_bit : r.kept};
}

}  // namespace matryoshka::fp
