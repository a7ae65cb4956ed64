// Operand shapes of SSE instructions: how their registers and memory are read and written. An instruction is a shape applied
// to an operation of lanes.h: sse::packed<lanes::add<uint32_t>>.
#pragma once

#include "cpu/ops/vector.h"
#include "cpu/processor.h"

namespace matryoshka::sse {

inline Packed xmm(const Processor& cpu, unsigned number) { return cpu.state.xmm[number]; }
inline void set_xmm(Processor& cpu, unsigned number, Packed value) { cpu.state.xmm[number] = value.xmm(); }

// 16 bytes of memory at an aligned address, else #GP(0).
[[nodiscard]] inline bool aligned_address(Processor& cpu, const Op& op, AccessKind kind, uint64_t& linear) {
  if (!cpu.linear_address(op, 16, kind, linear)) return false;
  return (linear & 15) == 0 || cpu.fault.raise(GP_vector, 0);
}
[[nodiscard]] inline bool load_aligned(Processor& cpu, const Op& op, Packed& value) {
  uint64_t linear;
  Xmm cell;
  if (!aligned_address(cpu, op, AccessKind::read, linear) || !cpu.load(op, linear, cell)) return false;
  value = cell;
  return true;
}
[[nodiscard]] inline bool load_unaligned(Processor& cpu, const Op& op, Packed& value) {
  Xmm cell;
  if (!cpu.load_operand(op, cell)) return false;
  value = cell;
  return true;
}

// Wx: the register or the aligned memory operand that ModRM.rm names.
[[nodiscard]] inline bool read_w(Processor& cpu, const Op& op, Packed& value) {
  if (op.is_memory()) return load_aligned(cpu, op, value);
  value = xmm(cpu, op.rm);
  return true;
}
[[nodiscard]] inline bool read_w_unaligned(Processor& cpu, const Op& op, Packed& value) {
  if (op.is_memory()) return load_unaligned(cpu, op, value);
  value = xmm(cpu, op.rm);
  return true;
}
// Wq, Wd, Ww: the register's low part, or so much memory at any address.
template <class T>
[[nodiscard]] bool read_w_part(Processor& cpu, const Op& op, T& value) {
  if (op.is_memory()) return cpu.load_operand(op, value);
  value = static_cast<T>(cpu.state.xmm[op.rm].q[0]);
  return true;
}

// ---- Vx,Wx

template <auto operation>
bool packed(Processor& cpu, const Op& op) {
  Packed source;
  if (!read_w(cpu, op, source)) return false;
  set_xmm(cpu, op.reg, operation(xmm(cpu, op.reg), source));
  return true;
}

// ---- Vx,Wx,Ib

template <auto operation>
bool packed_immediate(Processor& cpu, const Op& op) {
  Packed source;
  if (!read_w(cpu, op, source)) return false;
  set_xmm(cpu, op.reg, operation(xmm(cpu, op.reg), source, op.immediate8()));
  return true;
}

// ---- Vx,Wq and Vx,Wd and Vx,Ww: the operation looks only at the low part of its source

template <auto operation, class T>
bool packed_part(Processor& cpu, const Op& op) {
  T source;
  if (!read_w_part(cpu, op, source)) return false;
  set_xmm(cpu, op.reg, operation(xmm(cpu, op.reg), Packed(source, 0)));
  return true;
}
template <auto operation>
bool packed_q(Processor& cpu, const Op& op) {
  return packed_part<operation, uint64_t>(cpu, op);
}
template <auto operation>
bool packed_d(Processor& cpu, const Op& op) {
  return packed_part<operation, uint32_t>(cpu, op);
}
template <auto operation>
bool packed_w(Processor& cpu, const Op& op) {
  return packed_part<operation, uint16_t>(cpu, op);
}

// ---- Vx,Wx with XMM0 as a third operand

template <auto operation>
bool packed_by_xmm0(Processor& cpu, const Op& op) {
  Packed source;
  if (!read_w(cpu, op, source)) return false;
  set_xmm(cpu, op.reg, operation(xmm(cpu, op.reg), source, xmm(cpu, 0)));
  return true;
}

// ---- Shifts: the count is the source's low quadword (Vx,Wx) or the immediate (Ux,Ib)

template <auto operation>
bool shift(Processor& cpu, const Op& op) {
  Packed count;
  if (!read_w(cpu, op, count)) return false;
  set_xmm(cpu, op.reg, operation(xmm(cpu, op.reg), count.low()));
  return true;
}
template <auto operation>
bool shift_immediate(Processor& cpu, const Op& op) {
  set_xmm(cpu, op.rm, operation(xmm(cpu, op.rm), op.immediate8()));
  return true;
}

// ---- Gd,Ux: a mask of signs

template <auto operation>
bool to_mask(Processor& cpu, const Op& op) {
  cpu.gpr_at(op.reg) = operation(xmm(cpu, op.rm));
  return true;
}

}  // namespace matryoshka::sse
