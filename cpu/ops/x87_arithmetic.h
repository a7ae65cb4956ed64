// "x87 FPU Basic Arithmetic Instructions": an operation, applied to ST(0) and a register or memory operand.
#pragma once

#include "cpu/float/float80_common.h"
#include "cpu/ops/x87.h"

namespace matryoshka::x87 {

// The destination's old value comes first.
using Arithmetic = fp::Float80 (*)(fp::Float80, fp::Float80, fp::Environment&);

inline fp::Float80 subtract_reversed(fp::Float80 a, fp::Float80 b, fp::Environment& e) { return fp::subtract(b, a, e); }
inline fp::Float80 divide_reversed(fp::Float80 a, fp::Float80 b, fp::Environment& e) { return fp::divide(b, a, e); }

// Format: fp::Binary32, fp::Binary64, int16_t, int32_t
template <class Format>
bool arithmetic_memory(Processor&, const Op&, const Format& source, Arithmetic);
bool arithmetic_registers(Processor&, const Op&, Arithmetic, unsigned destination, unsigned source, bool pops);

// The same in the common case, as part of the instruction. False: not common, nothing has happened.
template <fp::common::Result (*operation)(fp::Float80, fp::Float80)>
[[nodiscard]] inline bool common_arithmetic(Processor& cpu, const Op& op, fp::Float80& destination, fp::Float80 source) {
  const fp::common::Result result = operation(value_of(destination), source);
  if (!result.common) [[unlikely]]
    return false;
  record_instruction(cpu, op);
  report_masked(cpu.state.x87, result.status);
  destination.significand = result.significand;
  destination.sign_exponent = result.sign_exponent;
  return true;
}

// An operation in its two forms.
struct Add {
  static constexpr Arithmetic general = fp::add;
  static constexpr auto common = fp::common::add;
};
struct Subtract {
  static constexpr Arithmetic general = fp::subtract;
  static constexpr auto common = fp::common::subtract;
};
struct SubtractReversed {
  static constexpr Arithmetic general = subtract_reversed;
  static constexpr auto common = fp::common::subtract_reversed;
};
struct Multiply {
  static constexpr Arithmetic general = fp::multiply;
  static constexpr auto common = fp::common::multiply;
};
struct Divide {
  static constexpr Arithmetic general = fp::divide;
  static constexpr auto common = fp::common::divide;
};
struct DivideReversed {
  static constexpr Arithmetic general = divide_reversed;
  static constexpr auto common = fp::common::divide_reversed;
};

template <class Operation, class Format>
bool st0_with_memory(Processor& cpu, const Op& op) {
  X87State& x87 = cpu.state.x87;
  Format source;
  const uint64_t offset = cpu.effective_address(op);
  if (!enter(cpu) || !cpu.load_at(op, offset, source)) return false;
  if (rounds_to_nearest_extended(x87) && !x87.empty(0)) {
    const fp::common::Result operand = fp::common::widen(source);
    if (operand.common && common_arithmetic<Operation::common>(cpu, op, x87.st(0), operand.value())) [[likely]] {
      record_operand(cpu, op, offset);
      return true;
    }
  }
  return arithmetic_memory(cpu, op, source, Operation::general);
}
template <class Operation>
bool st0_with_m32(Processor& cpu, const Op& op) {
  return st0_with_memory<Operation, fp::Binary32>(cpu, op);
}
template <class Operation>
bool st0_with_m64(Processor& cpu, const Op& op) {
  return st0_with_memory<Operation, fp::Binary64>(cpu, op);
}
template <class Operation>
bool st0_with_int16(Processor& cpu, const Op& op) {
  return st0_with_memory<Operation, int16_t>(cpu, op);
}
template <class Operation>
bool st0_with_int32(Processor& cpu, const Op& op) {
  return st0_with_memory<Operation, int32_t>(cpu, op);
}

template <class Operation, bool pops>
bool between_registers(Processor& cpu, const Op& op, unsigned destination, unsigned source) {
  X87State& x87 = cpu.state.x87;
  if (rounds_to_nearest_extended(x87) && !x87.empty(destination) && !x87.empty(source) &&
      common_arithmetic<Operation::common>(cpu, op, x87.st(destination), value_of(x87.st(source)))) [[likely]] {
    if (pops) pop(x87);
    return true;
  }
  return arithmetic_registers(cpu, op, Operation::general, destination, source, pops);
}
template <class Operation>
bool st0_with_register(Processor& cpu, const Op& op) {
  return between_registers<Operation, false>(cpu, op, 0, register_operand(op));
}
template <class Operation>
bool register_with_st0(Processor& cpu, const Op& op) {
  return between_registers<Operation, false>(cpu, op, register_operand(op), 0);
}
template <class Operation>
bool register_with_st0_and_pop(Processor& cpu, const Op& op) {
  return between_registers<Operation, true>(cpu, op, register_operand(op), 0);
}

bool fchs(Processor&, const Op&);
bool fabs(Processor&, const Op&);
bool fsqrt(Processor&, const Op&);
bool frndint(Processor&, const Op&);
bool fscale(Processor&, const Op&);
bool fprem(Processor&, const Op&);
bool fprem1(Processor&, const Op&);
bool fxtract(Processor&, const Op&);

}  // namespace matryoshka::x87
