// The value domain in which a Value is an expression: a text run in it leaves a Recording of what the instruction does.
//
// A Recording has nodes, which compute from the state that the instruction started with and from what it loaded, and effects,
// in the order in which the text had them. An effect that may fault ends the instruction there if it does. Conditions
// stay inside nodes (`select`): an effect happens always, except a branch, which comes last. So a recording has no control flow
// of its own, and code can be made from it in one pass.
//
// A Value does not convert to bool. A text that asks `if` of one compiles in Concrete and not here; since every inline row is
// instantiated in both (tests/domain_test.cpp), that is a build error.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/domain/concrete.h"

namespace matryoshka::tree {

enum class Operator : uint8_t {
  constant,
  // The state at the start: a general register, the two words of StatusFlags, DF, the address behind the instruction.
  gpr,
  flag_result,
  flag_aux,
  direction_flag,
  next_rip,
  loaded,         // by the effect with this number
  out_of_bounds,  // whether a jump there would be #GP
  add,
  subtract,
  multiply,
  multiply_high,
  multiply_high_signed,
  and_,
  or_,
  xor_,
  not_,
  shift_left,
  shift_right,
  arithmetic_shift_right,
  equal,
  not_equal,
  less,
  greater_or_equal,
  less_signed,
  select,
  count_leading_zeros,
  count_trailing_zeros,
  count_ones,
  reverse_bytes
};

using NodeId = uint32_t;

struct Node {
  Operator op;
  uint64_t constant;  // also the number of a register or effect
  NodeId a, b, c;
};

enum class EffectKind : uint8_t {
  load,            // from the memory operand
  load_for_store,  // the same, checked for the store that follows it
  store,           // to the memory operand
  store_back,      // to where `place`, a load_for_store, was
  stack_load,
  stack_store,  // at an address in the stack segment
  set_gpr,
  set_flags,
  set_direction_flag,
  fault_if,      // `vector` if the condition holds; with an error code of zero where the vector has one
  check_target,  // #GP(0) if the target is out of bounds
  jump,
  branch
};

struct Effect {
  EffectKind kind;
  uint8_t bits = 0;
  uint8_t number = 0;  // of a register; a vector
  NodeId address = 0;  // an offset in its segment
  NodeId value = 0, second = 0, condition = 0;
  uint32_t place = 0;
};

struct Recording {
  std::vector<Node> nodes;
  std::vector<Effect> effects;

  NodeId node(Operator op, uint64_t constant, NodeId a = 0, NodeId b = 0, NodeId c = 0) {
    nodes.push_back({op, constant, a, b, c});
    return static_cast<NodeId>(nodes.size() - 1);
  }
  uint32_t effect(const Effect& e) {
    effects.push_back(e);
    return static_cast<uint32_t>(effects.size() - 1);
  }
};

class Value {
 public:
  Value() = default;
  Value(Recording* recording, NodeId id) : recording_(recording), id_(id) {}
  NodeId id() const { return id_; }
  explicit operator bool() const = delete;

  Value binary(Operator op, Value other) const { return {recording_, recording_->node(op, 0, id_, other.id_)}; }
  Value number(uint64_t n) const { return {recording_, recording_->node(Operator::constant, n)}; }

  friend Value operator+(Value a, Value b) { return a.binary(Operator::add, b); }
  friend Value operator-(Value a, Value b) { return a.binary(Operator::subtract, b); }
  friend Value operator*(Value a, Value b) { return a.binary(Operator::multiply, b); }
  friend Value operator&(Value a, Value b) { return a.binary(Operator::and_, b); }
  friend Value operator|(Value a, Value b) { return a.binary(Operator::or_, b); }
  friend Value operator^(Value a, Value b) { return a.binary(Operator::xor_, b); }
  friend Value operator~(Value a) { return a.binary(Operator::not_, a); }
  friend Value operator<<(Value a, Value b) { return a.binary(Operator::shift_left, b); }
  friend Value operator>>(Value a, Value b) { return a.binary(Operator::shift_right, b); }
  friend Value operator<<(Value a, unsigned b) { return a << a.number(b); }
  friend Value operator>>(Value a, unsigned b) { return a >> a.number(b); }
  friend Value operator==(Value a, Value b) { return a.binary(Operator::equal, b); }
  friend Value operator!=(Value a, Value b) { return a.binary(Operator::not_equal, b); }
  friend Value operator<(Value a, Value b) { return a.binary(Operator::less, b); }
  friend Value operator>=(Value a, Value b) { return a.binary(Operator::greater_or_equal, b); }

 private:
  Recording* recording_ = nullptr;
  NodeId id_ = 0;
};

// The same interface as Concrete; see there for what each member means.
template <unsigned RowNumber, unsigned Width, bool Memory>
class Tree {
 public:
  using Value = tree::Value;
  static constexpr unsigned width = Width;
  static constexpr bool memory = Memory;
  static constexpr OperandList operands = parse_operands(rows[RowNumber].operands);

  Tree(Recording& recording, const Op& op) : r_(recording), op_(op) {
    for (unsigned i = 0; i < 16; ++i) gpr_[i] = leaf(Operator::gpr, i);
    flag_result_ = leaf(Operator::flag_result, 0);
    flag_aux_ = leaf(Operator::flag_aux, 0);
  }

  static constexpr uint64_t mask_of(unsigned bits) { return bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1; }
  Value constant(uint64_t n) { return leaf(Operator::constant, n); }
  Value mask() { return constant(mask_of(Width)); }
  Value wrap(Value v) { return zero_extend(v, Width); }
  Value zero_extend(Value v, unsigned bits) { return bits == 64 ? v : v & constant(mask_of(bits)); }
  Value sign_extend(Value v, unsigned bits) {
    return bits == 64 ? v : arithmetic_shift_right(v << (64 - bits), constant(64 - bits));
  }
  Value arithmetic_shift_right(Value v, Value count) { return v.binary(Operator::arithmetic_shift_right, count); }
  Value select(Value condition, Value a, Value b) { return {&r_, r_.node(Operator::select, 0, a.id(), b.id(), condition.id())}; }
  Value less_signed(Value a, Value b) { return a.binary(Operator::less_signed, b); }
  Value multiply_high(Value a, Value b) { return a.binary(Operator::multiply_high, b); }
  Value multiply_high_signed(Value a, Value b) { return a.binary(Operator::multiply_high_signed, b); }
  Value count_leading_zeros(Value v) { return v.binary(Operator::count_leading_zeros, v); }
  Value count_trailing_zeros(Value v) { return v.binary(Operator::count_trailing_zeros, v); }
  Value count_ones(Value v) { return v.binary(Operator::count_ones, v); }
  Value reverse_bytes(Value v) { return v.binary(Operator::reverse_bytes, v) >> (64 - Width); }

  // ---- Operands

  template <unsigned N>
  static constexpr unsigned bits_of(Operand<N>) {
    return bits_of_size(operands.operand[N].size, Width);
  }

  template <unsigned N>
  [[nodiscard]] bool read(Operand<N> which, Value& v) {
    v = is_memory<N>() ? load(EffectKind::load, bits_of(which)) : read_register(which);
    return true;
  }
  template <unsigned N>
  [[nodiscard]] bool read_for_write(Operand<N> which, Value& v) {
    if (!is_memory<N>()) return read(which, v);
    v = load(EffectKind::load_for_store, bits_of(which));
    place_ = static_cast<uint32_t>(r_.effects.size() - 1);
    checked_ = true;
    return true;
  }
  template <unsigned N>
  [[nodiscard]] bool write(Operand<N> which, Value v) {
    if constexpr (is_memory<N>()) {
      auto bits = static_cast<uint8_t>(bits_of(which));
      if (checked_)
        r_.effect({.kind = EffectKind::store_back, .bits = bits, .value = v.id(), .place = place_});
      else
        r_.effect({.kind = EffectKind::store, .bits = bits, .address = operand_offset().id(), .value = v.id()});
    } else {
      write_register(which, v);
    }
    return true;
  }
  template <unsigned N>
  [[nodiscard]] bool write_if(Value condition, Operand<N> which, Value yes, Value no) {
    if constexpr (is_memory<N>()) {
      return write(which, select(condition, yes, no));
    } else {
      unsigned n = register_offset(which) / 8;
      Value old = gpr_[n];
      put_general(register_offset(which), bits_of(which), yes, &condition, old);
      return true;
    }
  }
  void write_gpr_part_if(Value condition, unsigned n, Value v) {
    Value old = gpr_[n];
    put_general(n * 8, Width, v, &condition, old);
  }

  Value effective_address() {
    // Slots above the sixteen registers: nothing, and the start of the block, which is a block of one here.
    auto slot = [this](unsigned offset) {
      unsigned n = offset / 8;
      if (n < 16) return gpr_[n];
      if (n == CpuState::slot_zero) return constant(0);
      return leaf(Operator::next_rip, 0) - constant(op_.offset);
    };
    Value sum = slot(op_.base) + (slot(op_.index) << op_.scale) + constant(static_cast<uint64_t>(op_.displacement));
    return sum & constant(op_.address_mask());
  }
  void displace(Value bytes) { displacement_ = bytes, displaced_ = true; }

  template <unsigned N>
  static constexpr bool operand_is_memory(Operand<N>) {
    return is_memory<N>();
  }

  Value gpr(unsigned n) const { return gpr_[n]; }
  void set_gpr(unsigned n, Value v) {
    gpr_[n] = v;
    r_.effect({.kind = EffectKind::set_gpr, .number = static_cast<uint8_t>(n), .value = v.id()});
  }
  Value gpr_part(unsigned n) { return wrap(gpr_[n]); }
  void set_gpr_part(unsigned n, Value v) { put_general(n * 8, Width, v); }
  void set_ax(Value v) { put_general(RAX * 8, 16, v); }
  void set_high_byte(unsigned n, Value v) { put_general(n * 8 + 1, 8, v); }
  Value high_byte(unsigned n) { return gpr_[n] >> 8 & constant(0xff); }

  // ---- Flags

  Value flag_result() const { return flag_result_; }
  Value flag_aux() const { return flag_aux_; }
  void set_flags(Value result, Value aux) {
    flag_result_ = result, flag_aux_ = aux;
    r_.effect({.kind = EffectKind::set_flags, .value = result.id(), .second = aux.id()});
  }
  void set_flags_if(Value condition, Value result, Value aux) {
    set_flags(select(condition, result, flag_result_), select(condition, aux, flag_aux_));
  }
  Value direction_flag() { return leaf(Operator::direction_flag, 0); }
  void set_direction_flag(Value v) { r_.effect({.kind = EffectKind::set_direction_flag, .value = v.id()}); }

  // ---- Stack and control

  [[nodiscard]] bool push(Value v) {
    Value top = (gpr_[RSP] - constant(Width / 8)) & constant(op_.stack_mask());
    r_.effect({.kind = EffectKind::stack_store, .bits = Width, .address = top.id(), .value = v.id()});
    set_stack_pointer(top);
    return true;
  }
  [[nodiscard]] bool pop(Value& v) { return peek_stack(v) && move_stack(constant(Width / 8)); }
  [[nodiscard]] bool peek_stack(Value& v) {
    Value top = gpr_[RSP] & constant(op_.stack_mask());
    uint32_t e = r_.effect({.kind = EffectKind::stack_load, .bits = Width, .address = top.id()});
    v = leaf(Operator::loaded, e);
    return true;
  }
  [[nodiscard]] bool move_stack(Value bytes) {
    set_stack_pointer((gpr_[RSP] + bytes) & constant(op_.stack_mask()));
    return true;
  }
  Value instruction_pointer() { return leaf(Operator::next_rip, 0); }
  [[nodiscard]] bool jump(Value target) {
    r_.effect({.kind = EffectKind::jump, .value = wrap(target).id()});
    return true;
  }
  [[nodiscard]] bool branch(Value condition, Value target) {
    r_.effect({.kind = EffectKind::branch, .value = wrap(target).id(), .condition = condition.id()});
    return true;
  }
  [[nodiscard]] bool target_allowed(Value target) {
    r_.effect({.kind = EffectKind::check_target, .value = wrap(target).id()});
    return true;
  }
  Value out_of_bounds(Value target) { return target.binary(Operator::out_of_bounds, target); }
  Value counter() { return gpr_[RCX] & constant(op_.address_mask()); }
  Value wrap_counter(Value v) { return v & constant(op_.address_mask()); }
  void set_counter(Value v) { put_general(RCX * 8, op_.address_bits(), v); }
  [[nodiscard]] bool fault_if(Value condition, uint8_t vector) {
    r_.effect({.kind = EffectKind::fault_if, .number = vector, .condition = condition.id()});
    return true;
  }
  [[nodiscard]] bool general_protection_if(Value condition) { return fault_if(condition, GP_vector); }
  unsigned address_bits() const { return op_.address_bits(); }
  Value immediate8() { return constant(op_.immediate8()); }
  Value second_immediate() { return constant(op_.extra); }

 private:
  template <unsigned N>
  static constexpr bool is_memory() {
    constexpr OperandClass k = operands.operand[N].kind;
    return k == OperandClass::memory_only || k == OperandClass::offset || (k == OperandClass::general_rm && Memory);
  }

  Value leaf(Operator op, uint64_t n) { return {&r_, r_.node(op, n)}; }

  Value operand_offset() {
    Value offset = effective_address();
    return displaced_ ? (offset + displacement_) & constant(op_.address_mask()) : offset;
  }
  Value load(EffectKind kind, unsigned bits) {
    uint32_t e = r_.effect({.kind = kind, .bits = static_cast<uint8_t>(bits), .address = operand_offset().id()});
    return leaf(Operator::loaded, e);
  }

  // A byte offset into the register file, as in Op; AH is 1.
  template <unsigned N>
  unsigned register_offset(Operand<N>) const {
    constexpr OperandSpec o = operands.operand[N];
    switch (o.kind) {
      case OperandClass::general_rm:
      case OperandClass::general_opcode:
      case OperandClass::register_rm:
        return op_.rm;
      case OperandClass::general_reg:
        return op_.reg;
      case OperandClass::vex_general:
        return op_.extra;
      default:
        return o.number * 8;
    }
  }
  template <unsigned N>
  Value read_register(Operand<N> which) {
    constexpr OperandSpec o = operands.operand[N];
    if constexpr (o.kind == OperandClass::immediate || o.kind == OperandClass::relative)
      return constant(static_cast<uint64_t>(op_.immediate) & mask_of(Width));
    if constexpr (o.kind == OperandClass::one) return constant(1);
    unsigned offset = register_offset(which);
    Value whole = gpr_[offset / 8];
    return zero_extend(offset % 8 ? whole >> (offset % 8 * 8) : whole, bits_of(which));
  }
  template <unsigned N>
  void write_register(Operand<N> which, Value v) {
    put_general(register_offset(which), bits_of(which), v);
  }
  // A 32-bit result clears the upper half; 8- and 16-bit ones leave the rest alone. Under a condition the old value may stay
  // whole.
  void put_general(unsigned offset, unsigned bits, Value v, const Value* condition = nullptr, Value old = {}) {
    unsigned n = offset / 8, shift = offset % 8 * 8;
    if (bits < 32) {
      Value part = zero_extend(v, bits);
      v = (gpr_[n] & constant(~(mask_of(bits) << shift))) | (shift ? part << shift : part);
    } else {
      v = zero_extend(v, bits);
    }
    set_gpr(n, condition ? select(*condition, v, old) : v);
  }
  void set_stack_pointer(Value top) {
    if (op_.stack_bits() == 16)
      put_general(RSP * 8, 16, top);
    else
      set_gpr(RSP, top);
  }

  Recording& r_;
  const Op& op_;
  Value gpr_[16], flag_result_, flag_aux_;  // as the text has left them so far
  Value displacement_;
  bool displaced_ = false, checked_ = false;
  uint32_t place_ = 0;
};

}  // namespace matryoshka::tree
