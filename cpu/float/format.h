// The three binary formats, and the environment in which one operation runs.
//
// An Environment lives for one instruction: the caller makes it from the control word or MXCSR, runs the operation (or
// one per lane: exceptions accumulate), asks whether the result may be written, and ORs `reported()` into the sticky
// flags. The operations never look at sticky flags and keep no state of their own.
//
//   x87, result to a register                            SSE, every lane into a temporary
//     auto e = Environment::from_control_word(fcw);        auto e = Environment::from_mxcsr(mxcsr);
//     auto result = multiply(st0, st1, e);                 lane.f64[0] = multiply(a, b, e);
//     fsw = (fsw & ~C1) | e.status();                      mxcsr |= e.reported();
//     if (!e.operand_fault()) st0 = result;                if (e.unmasked()) return raise(XM);
//
// x87 results going to memory use store_fault() in place of operand_fault(): an unmasked overflow or underflow leaves
// a register with a rebiased exponent, and memory unwritten.
#pragma once

#include <cstdint>

namespace matryoshka::fp {

// The RC field of the control word and of MXCSR.
enum class Rounding : uint8_t { nearest, down, up, zero };

// The exception flags, in the order of the status word and of MXCSR; the masks have the same order.
enum Exception : uint8_t {
  invalid = 0x01,
  denormal = 0x02,
  zero_divide = 0x04,
  overflow = 0x08,
  underflow = 0x10,
  inexact = 0x20,  // PE, the "precision" exception
  all_exceptions = 0x3f,
};

struct Environment {
  Rounding rounding = Rounding::nearest;
  uint8_t precision = 64;           // significand bits of x87 arithmetic: 24, 53 or 64
  bool flush_to_zero = false;       // MXCSR.FTZ; has an effect only where underflow is masked
  bool denormals_are_zero = false;  // MXCSR.DAZ
  uint8_t masks = all_exceptions;
  uint8_t raised = 0;
  bool rounded_up = false;       // x87 C1: the magnitude was rounded away from zero
  bool denormal_source = false;  // widen() saw a denormal in memory; the operation decides whether that raises DE

  static constexpr Environment from_control_word(uint16_t word) {
    constexpr uint8_t precisions[] = {24, 64, 53, 64};  // 01 is reserved; processors take it for 64
    Environment e;
    e.rounding = Rounding(word >> 10 & 3);
    e.precision = precisions[word >> 8 & 3];
    e.masks = word & all_exceptions;
    return e;
  }
  static constexpr Environment from_mxcsr(uint32_t mxcsr) {
    Environment e;
    e.rounding = Rounding(mxcsr >> 13 & 3);
    e.flush_to_zero = mxcsr >> 15 & 1;
    e.denormals_are_zero = mxcsr >> 6 & 1;
    e.masks = mxcsr >> 7 & all_exceptions;
    return e;
  }

  constexpr void raise(uint8_t exceptions) { raised |= exceptions; }
  constexpr bool masked(Exception exception) const { return masks & exception; }

  // The exceptions to deliver: #MF at the next waiting instruction, #XM now.
  constexpr uint8_t unmasked() const { return raised & ~masks; }
  // Found by looking at the operands alone; unmasked, they stop the instruction before it computes anything.
  constexpr bool operand_fault() const { return unmasked() & (invalid | denormal | zero_divide); }
  // Exceptions after which an x87 store leaves memory and stack alone. Inexact results are always stored.
  constexpr bool store_fault() const { return unmasked() & ~inexact; }
  // The flags as the guest sees them: after an operand fault nothing was computed that could overflow or be inexact.
  constexpr uint8_t reported() const { return operand_fault() ? raised & (invalid | denormal | zero_divide) : raised; }
  // The same for the x87 status word, with C1.
  constexpr uint16_t status() const { return reported() | (rounded_up && !operand_fault() ? 0x0200 : 0); }
};

// Bits in memory order of a 32-bit and a 64-bit operand. Wrapped, so that overloads tell them apart.
struct Binary32 {
  uint32_t bits;
  constexpr bool operator==(const Binary32&) const = default;
};
struct Binary64 {
  uint64_t bits;
  constexpr bool operator==(const Binary64&) const = default;
};

// An x87 register. The integer bit of the significand (bit 63) is explicit, so that some encodings contradict
// themselves; see Class::unsupported.
struct Float80 {
  uint64_t significand;
  uint16_t sign_exponent;
  constexpr bool operator==(const Float80&) const = default;
  constexpr bool sign() const { return sign_exponent >> 15; }
  constexpr int exponent() const { return sign_exponent & 0x7fff; }
};

// In this order: up to signaling_nan always invalid, up to quiet_nan not a number, up to infinity not finite.
enum class Class : uint8_t {
  unsupported,  // only Float80: a nonzero exponent without the integer bit (unnormal, pseudo-infinity, pseudo-NaN)
  signaling_nan,
  quiet_nan,
  infinity,
  normal,
  denormal,  // in Float80 also the pseudo-denormal, whose integer bit is set
  zero,
};

// What the generic code needs to know of a format. `precision` counts the leading bit, stored or not; `rebias` is what
// an unmasked overflow or underflow takes from, or adds to, the exponent of an x87 register. The other formats have
// none: their results are not written then.
template <class Format>
struct Traits;

template <>
struct Traits<Binary32> {
  static constexpr int precision = 24, bias = 127, infinite_exponent = 255, rebias = 0;
};
template <>
struct Traits<Binary64> {
  static constexpr int precision = 53, bias = 1023, infinite_exponent = 2047, rebias = 0;
};
template <>
struct Traits<Float80> {
  static constexpr int precision = 64, bias = 16383, infinite_exponent = 32767, rebias = 24576;
};

// The outcome of a comparison.
enum class Relation : uint8_t { greater, less, equal, unordered };

// ZF, PF and CF after (F)COMI and (U)COMIS; shifted left by 8, C3, C2 and C0 of the status word.
constexpr uint8_t condition_codes(Relation relation) {
  constexpr uint8_t zf_pf_cf[] = {0x00, 0x01, 0x40, 0x45};
  return zf_pf_cf[unsigned(relation)];
}

}  // namespace matryoshka::fp
