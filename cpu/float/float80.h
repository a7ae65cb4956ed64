// The x87 instructions as functions of values. Stack, tags, C0..C3 and faults are the caller's; format.h shows how an
// Environment ties the two together.
//
// Every result is the masked response, except that an unmasked overflow or underflow gives a register the rebiased
// exponent of the manual. C1 is `rounded_up` unless a comment says otherwise. Where a function has two sources the
// order is ST(0) first for the remainders, FSCALE and comparisons, and that of the formula everywhere else; NaN
// results do not depend on it.
#pragma once

#include <array>

#include "cpu/float/format.h"

namespace matryoshka::fp {

constexpr Float80 float80(bool sign, int biased_exponent, uint64_t significand) {
  return {significand, uint16_t(sign << 15 | biased_exponent)};
}
constexpr Float80 float80_zero = float80(false, 0, 0);
constexpr Float80 float80_one = float80(false, 0x3fff, uint64_t{1} << 63);
constexpr Float80 float80_infinity = float80(false, 0x7fff, uint64_t{1} << 63);
constexpr Float80 float80_indefinite = float80(true, 0x7fff, uint64_t{3} << 62);  // also after a masked stack fault

constexpr Float80 negate(Float80 a) { return {a.significand, uint16_t(a.sign_exponent ^ 0x8000)}; }    // FCHS
constexpr Float80 absolute(Float80 a) { return {a.significand, uint16_t(a.sign_exponent & 0x7fff)}; }  // FABS

Class classify(Float80 a);
// C3, C2, C0 of FXAM at their places in the status word (C1 is the sign, of an empty register too).
uint16_t examine(Float80 a);
constexpr uint16_t examine_empty = 0x4100;

// FADD, FSUB, FMUL, FDIV, FSQRT and their kin: rounded to e.precision bits.
Float80 add(Float80 a, Float80 b, Environment& e);
Float80 subtract(Float80 a, Float80 b, Environment& e);
Float80 multiply(Float80 a, Float80 b, Environment& e);
Float80 divide(Float80 a, Float80 b, Environment& e);
Float80 square_root(Float80 a, Environment& e);

Relation compare(Float80 st0, Float80 source, Environment& e);        // FCOM: every NaN is invalid
Relation compare_quiet(Float80 st0, Float80 source, Environment& e);  // FUCOM: only signaling NaNs are
Relation compare_to_zero(Float80 st0, Environment& e);                // FTST

Float80 round_to_integer(Float80 a, Environment& e);      // FRNDINT
Float80 scale(Float80 st0, Float80 st1, Environment& e);  // FSCALE
struct Extracted {
  Float80 exponent, significand;
};
Extracted extract(Float80 a, Environment& e);  // FXTRACT: the exponent replaces ST(0), the significand is pushed

struct Remainder {
  Float80 value;
  uint8_t quotient;  // its low three bits: bit 2 goes to C0, bit 1 to C3, bit 0 to C1
  bool incomplete;   // C2: only part of the exponent difference is worked off, run the instruction again
  // C0, C1, C2, C3 at their places in the status word.
  constexpr uint16_t condition_codes() const {
    return (quotient & 4) << 6 | (quotient & 2) << 13 | (quotient & 1) << 9 | incomplete << 10;
  }
};
Remainder remainder_truncated(Float80 st0, Float80 st1, Environment& e);  // FPREM
Remainder remainder_nearest(Float80 st0, Float80 st1, Environment& e);    // FPREM1

// FLD m32 and m64: signaling NaNs are quieted, denormals raise DE. With DE unmasked nothing is pushed, says Intel's
// manual; AMD processors push.
Float80 load(Binary32 a, Environment& e);
Float80 load(Binary64 a, Environment& e);
// The memory operand of FADD m32 and its like: nothing is raised yet, the operation that follows in the same
// Environment does that, by the rules for its pair of operands.
Float80 widen(Binary32 a, Environment& e);
Float80 widen(Binary64 a, Environment& e);
Float80 from_integer(int64_t a);                                     // FILD, FIADD and their like; exact
Float80 from_packed_decimal(const std::array<uint8_t, 10>& digits);  // FBLD

// FST, FIST, FBSTP. The integers become the indefinite one where they do not fit. FISTTP: e.rounding = Rounding::zero.
Binary32 to_binary32(Float80 a, Environment& e);
Binary64 to_binary64(Float80 a, Environment& e);
int16_t to_int16(Float80 a, Environment& e);
int32_t to_int32(Float80 a, Environment& e);
int64_t to_int64(Float80 a, Environment& e);
std::array<uint8_t, 10> to_packed_decimal(Float80 a, Environment& e);

// FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2, FLDZ, in the order of their opcodes D9 E8 to D9 EE.
enum class Constant : uint8_t { one, log2_10, log2_e, pi, log10_2, ln_2, zero };
Float80 constant(Constant which, Rounding rounding);

// Transcendentals: rounded once, to 64 bits whatever e.precision says, from a value good to 2^-120. To nearest that is
// half a unit of the last place, and in the directed modes one, on the right side.
Float80 power_of_two_minus_one(Float80 x, Environment& e);        // F2XM1
Float80 y_log2_x(Float80 y, Float80 x, Environment& e);           // FYL2X: y is ST(1), x is ST(0)
Float80 y_log2_x_plus_one(Float80 y, Float80 x, Environment& e);  // FYL2XP1
Float80 arctangent(Float80 y, Float80 x, Environment& e);         // FPATAN: the angle of the point (x, y)

// FSIN, FCOS, FSINCOS, FPTAN take pi to be the 66-bit number of the manual. From 2^63 on they do nothing but set C2.
struct Trigonometric {
  Float80 value;      // sine, cosine, tangent; the operand itself if out of range
  Float80 pushed;     // FSINCOS: the cosine; FPTAN: 1.0, or the NaN again
  bool out_of_range;  // C2: neither write nor push
};
Trigonometric sine(Float80 x, Environment& e);
Trigonometric cosine(Float80 x, Environment& e);
Trigonometric sine_and_cosine(Float80 x, Environment& e);
Trigonometric tangent(Float80 x, Environment& e);

}  // namespace matryoshka::fp
