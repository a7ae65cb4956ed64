// MMX instructions: 64-bit values in the significands of the x87 registers.
//
// "Programming with Intel MMX Technology", "The MMX State and MMX Register Aliasing": every MMX instruction but EMMS sets TOP
// to zero and marks all registers valid, and a written register gets an exponent of all ones. A pending x87 exception is
// raised before anything else; the transition happens only when nothing can fault any more.
//
// The arithmetic is that of lanes.h, on 128-bit values of which the low half counts.
#pragma once

#include "cpu/ops/vector.h"
#include "cpu/ops/x87.h"

namespace matryoshka::mmx {

[[nodiscard]] inline bool no_pending_exception(Processor& cpu) { return x87::enter(cpu); }
inline void enter(Processor& cpu) {
  cpu.state.x87.set_top(0);
  cpu.state.x87.valid = 0xff;
}

inline uint64_t value(const Processor& cpu, unsigned number) { return cpu.state.x87.registers[number & 7].significand; }
inline void set_value(Processor& cpu, unsigned number, uint64_t value) { cpu.state.x87.registers[number & 7] = {value, 0xffff}; }

// Qq, and what must stand before it.
template <class T>
[[nodiscard]] bool read_q(Processor& cpu, const Op& op, T& source) {
  if (!no_pending_exception(cpu)) return false;
  if (op.is_memory()) {
    if (!cpu.load_operand(op, source)) return false;
  } else {
    source = static_cast<T>(value(cpu, op.rm));
  }
  enter(cpu);
  return true;
}

// ---- Pq,Qq, lane by lane

template <auto operation>
bool packed(Processor& cpu, const Op& op) {
  uint64_t source;
  if (!read_q(cpu, op, source)) return false;
  set_value(cpu, op.reg, operation(Packed(value(cpu, op.reg), 0), Packed(source, 0)).low());
  return true;
}

// ---- Pq,Qq where a result comes from several lanes, the destination's first and then the source's: both make one operand

template <auto operation>
bool joined(Processor& cpu, const Op& op) {
  uint64_t source;
  if (!read_q(cpu, op, source)) return false;
  Packed both(value(cpu, op.reg), source);
  set_value(cpu, op.reg, operation(both, both).low());
  return true;
}

// ---- PUNPCKL and PUNPCKH: halves of the lower lanes interleaved

template <auto interleave>
bool interleave_low(Processor& cpu, const Op& op) {
  uint32_t source;
  if (!read_q(cpu, op, source)) return false;
  set_value(cpu, op.reg, interleave(Packed(value(cpu, op.reg), 0), Packed(source, 0)).low());
  return true;
}
template <auto interleave>
bool interleave_high(Processor& cpu, const Op& op) {
  uint64_t source;
  if (!read_q(cpu, op, source)) return false;
  set_value(cpu, op.reg, interleave(Packed(value(cpu, op.reg), 0), Packed(source, 0)).high());
  return true;
}

// ---- Shifts: Pq,Qq and Nq,Ib

template <auto operation>
bool shift(Processor& cpu, const Op& op) {
  uint64_t count;
  if (!read_q(cpu, op, count)) return false;
  set_value(cpu, op.reg, operation(Packed(value(cpu, op.reg), 0), count).low());
  return true;
}
template <auto operation>
bool shift_immediate(Processor& cpu, const Op& op) {
  if (!no_pending_exception(cpu)) return false;
  enter(cpu);
  set_value(cpu, op.rm, operation(Packed(value(cpu, op.rm), 0), op.immediate8()).low());
  return true;
}

// ---- mmx.cpp

bool load(Processor&, const Op&);                // MOVQ Pq,Qq
bool store(Processor&, const Op&);               // MOVQ Qq,Pq, MOVNTQ
bool from_general(Processor&, const Op&);        // MOVD Pq,Ey
bool to_general(Processor&, const Op&);          // MOVD Ey,Pq
bool insert_word(Processor&, const Op&);         // PINSRW
bool extract_word(Processor&, const Op&);        // PEXTRW
bool sign_mask(Processor&, const Op&);           // PMOVMSKB
bool shuffle_words(Processor&, const Op&);       // PSHUFW
bool shuffle_bytes(Processor&, const Op&);       // PSHUFB
bool align_right(Processor&, const Op&);         // PALIGNR
bool store_masked_bytes(Processor&, const Op&);  // MASKMOVQ
bool to_xmm(Processor&, const Op&);              // MOVQ2DQ
bool from_xmm(Processor&, const Op&);            // MOVDQ2Q
bool empty(Processor&, const Op&);               // EMMS

}  // namespace matryoshka::mmx
