// What x87 instructions have in common: how one begins and ends, and the register stack.
//
// A waiting instruction goes through these stations, so that a fault needs no undoing:
//
//   enter()                    a pending unmasked exception becomes #MF
//   memory operands            may fault; nothing has changed so far
//   record()                   the pointers to the last instruction
//   the operation              its exceptions go into the status word with report(); an unmasked one that is found in the
//                              operands leaves registers and stack alone
//   set(), push(), pop()
//
// "x87 FPU Instruction and Data (Operand) Pointers" names the control instructions: those do not record(). FOP is kept for
// every instruction, as in the fopcode compatibility mode; the data pointer stays where an instruction has no memory operand.
//
// With CR0.NE clear a pending exception is no #MF: the processor asserts FERR#, of which the board makes IRQ 13, and freezes
// before the waiting instruction until an interrupt comes ("MS-DOS Compatibility Sub-mode"). Processor::deliver_fault does that.
#pragma once

#include "cpu/float/float80.h"
#include "cpu/processor.h"

namespace matryoshka::x87 {

// "x87 FPU Status Register"
namespace status {
constexpr uint16_t IE = 1 << 0, SF = 1 << 6, ES = 1 << 7, C0 = 1 << 8, C1 = 1 << 9, C2 = 1 << 10, C3 = 1 << 14, B = 1 << 15;
}

// Where all are masked the status is not looked at: the compiler would read both words in one access, and that waits for the last
// instruction's store of one of them (15 cycles measured).
inline bool has_pending_exception(const X87State& x87) {
  const unsigned unmasked = ~x87.control & fp::all_exceptions;
  return unmasked != 0 && x87.status.has_any(unmasked);
}
inline bool may_ignore_exception(const CpuState& state) { return state.x87.ignores_error && !(state.cr0 & cr0::NE); }
[[nodiscard]] inline bool enter(Processor& cpu) {
  return !has_pending_exception(cpu.state.x87) || may_ignore_exception(cpu.state) || cpu.fault.raise(MF_vector);
}
inline void record_instruction(Processor& cpu, const Op& op) {
  X87State& x87 = cpu.state.x87;
  x87.opcode = X87Pointers::of(op).opcode;
  x87.instruction_pointer = cpu.instruction_start(op);
  x87.instruction_selector = cpu.state.segment[CS].selector;
}
inline void record_operand(Processor& cpu, const Op& op, uint64_t offset) {
  X87State& x87 = cpu.state.x87;
  x87.data_pointer = offset;
  x87.data_selector = cpu.state.segment[X87Pointers::of(op).data_segment].selector;
}
inline void record(Processor& cpu, const Op& op) {
  record_instruction(cpu, op);
  if (op.is_memory()) record_operand(cpu, op, cpu.effective_address(op));
}

inline fp::Environment environment(const X87State& x87) { return fp::Environment::from_control_word(x87.control); }

// ST(i) of an operand T. REX.B means nothing here.
inline unsigned register_operand(const Op& op) { return op.rm & 7; }
// Memory operands of arithmetic and comparison: exact in the register format, and nothing is raised before the operation itself.
inline fp::Float80 operand_value(fp::Binary32 a, fp::Environment& e) { return fp::widen(a, e); }
inline fp::Float80 operand_value(fp::Binary64 a, fp::Environment& e) { return fp::widen(a, e); }
inline fp::Float80 operand_value(int32_t a, fp::Environment&) { return fp::from_integer(a); }  // and of 16 bits

// IGNNE# was for an error that is gone.
inline void forget_ignored_error(X87State& x87) {
  if (x87.ignores_error && !x87.status.has_any(status::ES)) [[unlikely]]
    x87.ignores_error = false;
}
// ES and B say whether an unmasked exception is pending.
inline void summarize(X87State& x87) {
  forget_ignored_error(x87);
  x87.status.change(status::ES | status::B, has_pending_exception(x87) ? status::ES | status::B : 0);
}
// Adds exception flags to the status word; C1 becomes what stands in `flags`.
inline void report(X87State& x87, uint16_t flags) {
  x87.status.change(status::C1, flags);
  summarize(x87);
}
// The same where every exception is masked.
inline void report_masked(X87State& x87, uint16_t flags) {
  forget_ignored_error(x87);
  x87.status.change(status::C1 | status::ES | status::B, flags);
}

// Control words of the common case, in which nothing can be pending either.
inline bool all_masked(const X87State& x87) { return (x87.control & fp::all_exceptions) == fp::all_exceptions; }
inline bool rounds_to_nearest(const X87State& x87) { return (x87.control & (0xc00 | fp::all_exceptions)) == fp::all_exceptions; }
inline bool rounds_to_nearest_extended(const X87State& x87) {
  return (x87.control & (0xf00 | fp::all_exceptions)) == (0x300 | fp::all_exceptions);
}

// C0, C2 and C3, after comparisons.
inline void set_relation(X87State& x87, fp::Relation relation) {
  x87.status.change(status::C0 | status::C2 | status::C3, fp::condition_codes(relation) << 8);
}

// "Stack Overflow or Underflow Exception (#IS)". They answer whether it is masked: then the indefinite value takes the place of
// what is missing, else the instruction has no effect.
[[nodiscard]] bool stack_underflow(X87State& x87);
[[nodiscard]] bool stack_overflow(X87State& x87);

// A register's value, its two parts by themselves: all 16 bytes at once would wait for the two stores of an operation.
inline fp::Float80 value_of(const fp::Float80& st) { return {st.significand, st.sign_exponent}; }

inline void set(X87State& x87, unsigned i, fp::Float80 value) {
  x87.st(i) = value;
  x87.valid |= 1 << ((x87.top() + i) & 7);
}
inline void mark_empty(X87State& x87, unsigned i) { x87.valid &= ~(1 << ((x87.top() + i) & 7)); }
inline void push(X87State& x87, fp::Float80 value) {
  x87.set_top(x87.top() - 1);
  set(x87, 0, value);
}
inline void pop(X87State& x87) {
  mark_empty(x87, 0);
  x87.set_top(x87.top() + 1);
}
template <unsigned count>
void pop(X87State& x87) {
  for (unsigned i = 0; i < count; ++i) pop(x87);
}

// ST(destination) becomes what `compute` says, and the indefinite value where a source is empty. Answers whether the
// instruction took effect, so that it may pop.
template <class Compute>
bool replace(X87State& x87, unsigned destination, bool source_empty, Compute compute) {
  if (source_empty) {
    if (!stack_underflow(x87)) return false;
    set(x87, destination, fp::float80_indefinite);
    return true;
  }
  fp::Environment e = environment(x87);
  fp::Float80 result = compute(e);
  report(x87, e.status());
  if (e.operand_fault()) return false;
  set(x87, destination, result);
  return true;
}

// Before an instruction that replaces ST(0) and pushes: whether there is an operand, and room. If not, this was all of it.
[[nodiscard]] bool ready_to_push_second(X87State& x87);

}  // namespace matryoshka::x87
