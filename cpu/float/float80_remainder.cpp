// FPREM and FPREM1: the exact remainder, long division style.
//
// Write ST(0) = A * 2^D and ST(1) = B in units of ST(1)'s last place, A and B being the 64-bit significands. Up to
// D = 63 the quotient has at most 64 bits, and one instruction finishes: (A << D) mod B. Beyond, an instruction takes N
// bits off D, 32 <= N <= 63, and sets C2: the remainder of (A << N) is still to be divided with D - N in place of D,
// so that running the instruction again goes on where it left off. The manual leaves N to the implementation; the
// processors, and we, choose it so that D - N is a multiple of 32.
#include "cpu/float/x87_rules.h"

namespace matryoshka::fp {
namespace {

enum class Quotient { truncated, nearest };

Remainder complete(Float80 value) { return {value, 0, false}; }

Remainder remainder(Float80 st0, Float80 st1, Quotient rounding, Environment& e) {
  const Class class0 = classify_fields(st0), class1 = classify_fields(st1);
  if (const auto nan = nan_result(st0, class0, st1, class1, e)) return complete(*nan);
  if (class0 == Class::infinity || class1 == Class::zero) return complete(invalid_operation<Float80>(e));
  raise_denormal(class0, class1, e);
  if (e.operand_fault()) return complete(st0);  // leaves no condition codes either
  if (class0 == Class::zero) return complete(st0);
  const Number dividend = unpack(st0);
  if (class1 == Class::infinity) return complete(round_pack<Float80>(dividend, e));

  const Number divisor = unpack(st1);
  const int difference = dividend.exponent - divisor.exponent;
  if (difference < -1) return complete(round_pack<Float80>(dividend, e));
  const uint64_t b = high_half(divisor.significand);
  const bool incomplete = difference >= 64;
  const int bits = incomplete ? 32 | (difference & 31) : difference;

  // With D = -1 the quotient is 0 or, rounded up, 1: half units keep that an integer division as well.
  const bool halves = bits < 0;
  const u128 a = u128(high_half(dividend.significand)) << (halves ? 0 : bits);
  const u128 units = halves ? u128(b) << 1 : u128(b);
  u128 quotient = a / units, rest = a % units;
  bool sign = dividend.sign;
  if (rounding == Quotient::nearest && !incomplete && (2 * rest > units || (2 * rest == units && quotient & 1))) {
    rest = units - rest;
    quotient += 1;
    sign = !sign;
  }
  const uint8_t quotient_bits = incomplete ? 0 : uint8_t(quotient & 7);
  if (rest == 0) return {zero<Float80>(dividend.sign), quotient_bits, incomplete};
  const int exponent = divisor.exponent - 63 + (difference - bits) - halves;  // of the last place
  const Number result = normalize({sign, exponent + 127, rest});
  return {round_pack<Float80>(result, e), quotient_bits, incomplete};
}

}  // namespace

Remainder remainder_truncated(Float80 st0, Float80 st1, Environment& e) { return remainder(st0, st1, Quotient::truncated, e); }
Remainder remainder_nearest(Float80 st0, Float80 st1, Environment& e) { return remainder(st0, st1, Quotient::nearest, e); }

}  // namespace matryoshka::fp
