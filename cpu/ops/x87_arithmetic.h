// "x87 FPU Basic Arithmetic Instructions": an operation, applied to ST(0) and a register or memory operand.
#pragma once

#include "cpu/ops/x87.h"

namespace matryoshka::x87 {

// The destination's old value comes first.
using Arithmetic = fp::Float80 (*)(fp::Float80, fp::Float80, fp::Environment&);

inline fp::Float80 subtract_reversed(fp::Float80 a, fp::Float80 b, fp::Environment& e) { return fp::subtract(b, a, e); }
inline fp::Float80 divide_reversed(fp::Float80 a, fp::Float80 b, fp::Environment& e) { return fp::divide(b, a, e); }

// Format: fp::Binary32, fp::Binary64, int16_t, int32_t
template <class Format>
bool arithmetic_memory(Processor&, const Op&, Arithmetic);
bool arithmetic_registers(Processor&, const Op&, Arithmetic, unsigned destination, unsigned source, unsigned pops);

template <Arithmetic operation>
bool st0_with_m32(Processor& cpu, const Op& op) {
  return arithmetic_memory<fp::Binary32>(cpu, op, operation);
}
template <Arithmetic operation>
bool st0_with_m64(Processor& cpu, const Op& op) {
  return arithmetic_memory<fp::Binary64>(cpu, op, operation);
}
template <Arithmetic operation>
bool st0_with_int16(Processor& cpu, const Op& op) {
  return arithmetic_memory<int16_t>(cpu, op, operation);
}
template <Arithmetic operation>
bool st0_with_int32(Processor& cpu, const Op& op) {
  return arithmetic_memory<int32_t>(cpu, op, operation);
}
template <Arithmetic operation>
bool st0_with_register(Processor& cpu, const Op& op) {
  return arithmetic_registers(cpu, op, operation, 0, register_operand(op), 0);
}
template <Arithmetic operation>
bool register_with_st0(Processor& cpu, const Op& op) {
  return arithmetic_registers(cpu, op, operation, register_operand(op), 0, 0);
}
template <Arithmetic operation>
bool register_with_st0_and_pop(Processor& cpu, const Op& op) {
  return arithmetic_registers(cpu, op, operation, register_operand(op), 0, 1);
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
