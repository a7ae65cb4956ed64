// The value domain in which a text runs: a Value is a number.
//
// A text is a template `bool text(D& d)` that reads operands, computes, writes and sets flags, in that order, so that a fault
// needs no undoing. Concrete binds D to one instance of a row: the row, the operation's width and whether ModRM names memory
// are template parameters, so all that depends on them folds away and the text becomes the interpreter's code.
//
// The domain's interface, which every domain offers:
//
//   Value                      numbers of up to 64 bits, zero-extended; + - * & | ^ ~ << >> and comparisons (to 0 or 1)
//   width, constant(n), wrap(v), mask()         the operation's width in bits; truncation to it
//   zero_extend(v, bits), sign_extend(v, bits)
//   select(condition, a, b)                     there is no `if` on a Value
//   read(dest, v), read_for_write(dest, v), write(dest, v)    false: the access faulted; pass it on
//   flag_result(), flag_aux(), set_flags(result, aux)         the two words of StatusFlags
//   gpr(n), set_gpr(n, v)                       a whole register by number
//   push(v), pop(v)                             of the operation's width
//   jump(target), branch(condition, target)     these end a text: `return d.jump(t);`
//   fault_if(condition, vector)
#pragma once

#include <cstring>

#include "cpu/isa.h"
#include "cpu/processor.h"

namespace matryoshka {

template <unsigned N>
struct Operand {};
inline constexpr Operand<0> dest;
inline constexpr Operand<1> src;
inline constexpr Operand<2> src2;

template <class D>
using V = typename D::Value;

template <unsigned RowNumber, unsigned Width, bool Memory>
class Concrete {
 public:
  using Value = uint64_t;
  static constexpr unsigned width = Width;
  static constexpr bool memory = Memory;
  static constexpr OperandList operands = parse_operands(rows[RowNumber].operands);

  Concrete(Processor& cpu, const Op& op) : cpu(cpu), op(op) {}
  Processor& cpu;
  const Op& op;

  static constexpr uint64_t mask_of(unsigned bits) { return bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1; }
  static constexpr Value mask() { return mask_of(Width); }
  static constexpr Value constant(uint64_t n) { return n; }
  static Value wrap(Value v) { return v & mask(); }
  static Value zero_extend(Value v, unsigned bits) { return v & mask_of(bits); }
  static Value sign_extend(Value v, unsigned bits) {
    return static_cast<Value>(static_cast<int64_t>(v << (64 - bits)) >> (64 - bits));
  }
  static Value arithmetic_shift_right(Value v, Value count) { return static_cast<Value>(static_cast<int64_t>(v) >> count); }
  static Value select(Value condition, Value a, Value b) { return condition ? a : b; }
  static Value less_signed(Value a, Value b) { return static_cast<int64_t>(a) < static_cast<int64_t>(b); }
  static Value multiply_high(Value a, Value b) { return static_cast<Value>(static_cast<unsigned __int128>(a) * b >> 64); }
  static Value multiply_high_signed(Value a, Value b) {
    return static_cast<Value>(static_cast<__int128>(static_cast<int64_t>(a)) * static_cast<int64_t>(b) >> 64);
  }
  static Value count_leading_zeros(Value v) { return v == 0 ? 64 : static_cast<Value>(__builtin_clzll(v)); }
  static Value count_trailing_zeros(Value v) { return v == 0 ? 64 : static_cast<Value>(__builtin_ctzll(v)); }
  static Value reverse_bytes(Value v) { return __builtin_bswap64(v) >> (64 - Width); }
  static Value count_ones(Value v) { return static_cast<Value>(__builtin_popcountll(v)); }

  // ---- Operands

  template <unsigned N>
  static constexpr unsigned bits_of(Operand<N>) {
    return bits_of_size(operands.operand[N].size, Width);
  }

  template <unsigned N>
  [[nodiscard]] bool read(Operand<N> which, Value& v) {
    if constexpr (is_memory<N>()) {
      return linear(bits_of(which) / 8, AccessKind::read) && load<bits_of(which)>(v);
    } else {
      v = read_register(which);
      return true;
    }
  }
  template <unsigned N>
  [[nodiscard]] bool read_for_write(Operand<N> which, Value& v) {
    if constexpr (is_memory<N>()) {
      constexpr unsigned bits = bits_of(which);
      typename Cell<bits>::type cell;
      if (!linear(bits / 8, AccessKind::write) || !cpu.load_for_store(op, address_, cell)) return false;
      v = cell;
      checked_ = true;
      return true;
    } else {
      v = read_register(which);
      return true;
    }
  }
  template <unsigned N>
  [[nodiscard]] bool write(Operand<N> which, Value v) {
    constexpr unsigned bits = bits_of(which);
    if constexpr (is_memory<N>()) {
      if (!checked_ && !linear(bits / 8, AccessKind::write)) return false;
      return cpu.store(op, address_, static_cast<typename Cell<bits>::type>(v));
    } else {
      write_register(which, v);
      return true;
    }
  }
  // Writes `yes` or `no`. Memory is written either way, as a locked bus cycle is; a register only if the condition holds.
  template <unsigned N>
  [[nodiscard]] bool write_if(Value condition, Operand<N> which, Value yes, Value no) {
    if constexpr (is_memory<N>()) return write(which, condition ? yes : no);
    if (condition) write_register(which, yes);
    return true;
  }
  void write_gpr_part_if(Value condition, unsigned n, Value v) {
    if (condition) set_gpr_part(n, v);
  }

  // The address that ModRM names, without its segment.
  Value effective_address() const { return cpu.effective_address(op); }
  // For instructions that address memory beside their operand (bit strings): shifts the operand by some bytes.
  void displace(Value bytes) { displacement_ = bytes; }

  static constexpr bool operand_is_memory(Operand<0>) { return is_memory<0>(); }
  static constexpr bool operand_is_register(Operand<1>) { return operands.operand[1].kind == OperandClass::general_reg; }

  Value gpr(unsigned n) const { return cpu.state.gpr[n]; }
  void set_gpr(unsigned n, Value v) { cpu.state.gpr[n] = v; }
  // The low part of a register at the operation's width, by the rules of register writes.
  Value gpr_part(unsigned n) const { return cpu.state.gpr[n] & mask(); }
  void set_gpr_part(unsigned n, Value v) { write_general<Width>(n * 8, v); }
  void set_ax(Value v) { write_general<16>(RAX * 8, v); }
  void set_high_byte(unsigned n, Value v) { write_general<8>(n * 8 + 1, v); }
  Value high_byte(unsigned n) const { return cpu.state.gpr[n] >> 8 & 0xff; }

  // ---- Flags

  Value flag_result() const { return static_cast<Value>(cpu.state.flags.result); }
  Value flag_aux() const { return cpu.state.flags.aux; }
  void set_flags(Value result, Value aux) { cpu.state.flags = {static_cast<int64_t>(result), aux}; }
  void set_flags_if(Value condition, Value result, Value aux) {
    if (condition) set_flags(result, aux);
  }
  Value direction_flag() const { return cpu.state.system_flags >> 10 & 1; }
  void set_direction_flag(Value v) { cpu.state.system_flags = (cpu.state.system_flags & ~rflags::DF) | v << 10; }

  // ---- Stack and control

  [[nodiscard]] bool push(Value v) { return cpu.push(op, v, Width / 8); }
  [[nodiscard]] bool pop(Value& v) { return cpu.pop(op, v, Width / 8); }
  [[nodiscard]] bool peek_stack(Value& v) { return cpu.peek_stack(op, 0, v, Width / 8); }
  // Elsewhere in the stack segment; offsets are cut to its size.
  [[nodiscard]] bool peek_stack_at(Value top, Value& v) { return cpu.peek_stack(op, top - cpu.state.gpr[RSP], v, Width / 8); }
  void set_stack_pointer(Value top) { cpu.set_stack_pointer(op, top & op.stack_mask()); }
  [[nodiscard]] bool move_stack(Value bytes) {
    cpu.move_stack(op, static_cast<int64_t>(bytes));
    return true;
  }
  Value instruction_pointer() const { return cpu.next_rip(op); }
  [[nodiscard]] bool jump(Value target) { return cpu.jump(target & mask()); }
  [[nodiscard]] bool branch(Value condition, Value target) {
    if (condition) return jump(target);
    return true;
  }
  [[nodiscard]] bool target_allowed(Value target) { return cpu.target_allowed(target & mask()) || cpu.fault.raise(GP_vector, 0); }
  Value out_of_bounds(Value target) const { return !cpu.target_allowed(target); }
  // CX, ECX or RCX, by the address size.
  Value counter() const { return cpu.state.gpr[RCX] & op.address_mask(); }
  Value wrap_counter(Value v) const { return v & op.address_mask(); }
  void set_counter(Value v) { cpu.write_gpr(RCX * 8, op.address_bits(), v); }
  [[nodiscard]] bool fault_if(Value condition, uint8_t vector) { return !condition || cpu.fault.raise(vector); }
  [[nodiscard]] bool general_protection_if(Value condition) { return !condition || cpu.fault.raise(GP_vector, 0); }
  unsigned address_bits() const { return op.address_bits(); }
  Value immediate8() const { return op.immediate8(); }
  Value second_immediate() const { return op.extra; }

 private:
  template <unsigned Bits>
  struct Cell;

  template <unsigned N>
  static constexpr bool is_memory() {
    constexpr OperandClass k = operands.operand[N].kind;
    return k == OperandClass::memory_only || k == OperandClass::offset || (k == OperandClass::general_rm && Memory);
  }

  [[nodiscard]] bool linear(unsigned size, AccessKind kind) {
    return cpu.linear_address(op, displacement_, size, kind, address_);
  }
  template <unsigned Bits>
  [[nodiscard]] bool load(Value& v) {
    typename Cell<Bits>::type cell;
    if (!cpu.load(op, address_, cell)) return false;
    v = cell;
    return true;
  }

  template <unsigned N>
  Value read_register(Operand<N> which) const {
    constexpr OperandSpec o = operands.operand[N];
    constexpr unsigned bits = bits_of(which);
    if constexpr (o.kind == OperandClass::general_rm || o.kind == OperandClass::general_opcode ||
                  o.kind == OperandClass::register_rm)
      return read_general<bits>(op.rm);
    else if constexpr (o.kind == OperandClass::general_reg)
      return read_general<bits>(op.reg);
    else if constexpr (o.kind == OperandClass::vex_general)
      return read_general<bits>(op.extra);
    else if constexpr (o.kind == OperandClass::general_fixed)
      return read_general<bits>(o.number * 8);
    else if constexpr (o.kind == OperandClass::immediate || o.kind == OperandClass::relative)
      return static_cast<Value>(op.immediate) & mask();
    else if constexpr (o.kind == OperandClass::one)
      return 1;
    else
      static_assert(o.kind == OperandClass::one, "this operand has no value in an inline text");
  }
  template <unsigned N>
  void write_register(Operand<N> which, Value v) {
    constexpr OperandSpec o = operands.operand[N];
    constexpr unsigned bits = bits_of(which);
    if constexpr (o.kind == OperandClass::general_rm || o.kind == OperandClass::general_opcode ||
                  o.kind == OperandClass::register_rm)
      write_general<bits>(op.rm, v);
    else if constexpr (o.kind == OperandClass::general_reg)
      write_general<bits>(op.reg, v);
    else if constexpr (o.kind == OperandClass::vex_general)
      write_general<bits>(op.extra, v);
    else
      write_general<bits>(o.number * 8, v);
  }
  template <unsigned Bits>
  Value read_general(unsigned offset) const {
    typename Cell<Bits>::type cell;
    std::memcpy(&cell, reinterpret_cast<const uint8_t*>(cpu.state.gpr) + offset, sizeof cell);
    return cell;
  }
  // A 32-bit result clears the upper half; 8- and 16-bit ones leave the rest alone.
  template <unsigned Bits>
  void write_general(unsigned offset, Value v) {
    auto cell = static_cast<typename Cell<Bits>::type>(v);
    if constexpr (Bits == 32)
      std::memcpy(reinterpret_cast<uint8_t*>(cpu.state.gpr) + offset, &(v = cell), 8);
    else
      std::memcpy(reinterpret_cast<uint8_t*>(cpu.state.gpr) + offset, &cell, sizeof cell);
  }

  uint64_t address_ = 0;
  uint64_t displacement_ = 0;
  bool checked_ = false;
};

template <unsigned R, unsigned W, bool M>
template <unsigned Bits>
struct Concrete<R, W, M>::Cell {
  using type = std::conditional_t<Bits == 8, uint8_t,
                                  std::conditional_t<Bits == 16, uint16_t, std::conditional_t<Bits == 32, uint32_t, uint64_t>>>;
};

}  // namespace matryoshka
