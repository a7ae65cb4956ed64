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

#include "cpu/decode.h"
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
    if (nodes.empty()) nodes.reserve(48);
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

  Value binary(Operator op, Value other) const;
  Value number(uint64_t n) const;

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

// What texts that only compute need; formulas over flags are recorded with this alone. See Concrete for what each member means.
class Computation {
 public:
  using Value = tree::Value;
  explicit Computation(Recording& recording);

  static constexpr uint64_t mask_of(unsigned bits) { return bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1; }
  Value constant(uint64_t n);
  Value zero_extend(Value v, unsigned bits);
  Value sign_extend(Value v, unsigned bits);
  Value arithmetic_shift_right(Value v, Value count) { return v.binary(Operator::arithmetic_shift_right, count); }
  Value select(Value condition, Value a, Value b);
  Value less_signed(Value a, Value b) { return a.binary(Operator::less_signed, b); }
  Value multiply_high(Value a, Value b) { return a.binary(Operator::multiply_high, b); }
  Value multiply_high_signed(Value a, Value b) { return a.binary(Operator::multiply_high_signed, b); }
  Value count_leading_zeros(Value v) { return v.binary(Operator::count_leading_zeros, v); }
  Value count_trailing_zeros(Value v) { return v.binary(Operator::count_trailing_zeros, v); }
  Value count_ones(Value v) { return v.binary(Operator::count_ones, v); }

  Value flag_result() const { return flag_result_; }
  Value flag_aux() const { return flag_aux_; }
  void set_flags(Value result, Value aux);
  void set_flags_if(Value condition, Value result, Value aux);

 protected:
  Value leaf(Operator op, uint64_t n) { return {&r_, r_.node(op, n)}; }

  Recording& r_;
  Value flag_result_, flag_aux_;  // as the text has left them so far
};

// A whole instruction, but for its width.
class AnyWidth : public Computation {
 public:
  AnyWidth(Recording& recording, const Op& op);

  // ---- Operands

  template <unsigned N>
  unsigned bits_of(Operand<N>) const {
    return operand_bits(N);
  }
  template <unsigned N>
  [[nodiscard]] bool read(Operand<N>, Value& v) {
    v = read_operand(N);
    return true;
  }
  template <unsigned N>
  [[nodiscard]] bool read_for_write(Operand<N>, Value& v) {
    v = read_operand_for_write(N);
    return true;
  }
  template <unsigned N>
  [[nodiscard]] bool write(Operand<N>, Value v) {
    write_operand(N, v);
    return true;
  }
  template <unsigned N>
  [[nodiscard]] bool write_if(Value condition, Operand<N>, Value yes, Value no) {
    write_operand_if(condition, N, yes, no);
    return true;
  }
  template <unsigned N>
  bool operand_is_memory(Operand<N>) const {
    return is_memory(N);
  }
  template <unsigned N>
  bool operand_is_register(Operand<N>) const {
    return operands_.operand[N].kind == OperandClass::general_reg;
  }

  Value effective_address();
  void displace(Value bytes) { displacement_ = bytes, displaced_ = true; }

  Value gpr(unsigned n);
  void set_gpr(unsigned n, Value v);
  void set_ax(Value v) { put_general(RAX * 8, 16, v); }
  void set_high_byte(unsigned n, Value v) { put_general(n * 8 + 1, 8, v); }
  Value high_byte(unsigned n) { return gpr(n) >> 8 & constant(0xff); }

  Value direction_flag() { return leaf(Operator::direction_flag, 0); }
  void set_direction_flag(Value v);

  // ---- Stack and control

  [[nodiscard]] bool push(Value v);
  [[nodiscard]] bool pop(Value& v) { return peek_stack(v) && move_stack(constant(width_ / 8)); }
  [[nodiscard]] bool peek_stack(Value& v) { return peek_stack_at(gpr(RSP), v); }
  [[nodiscard]] bool peek_stack_at(Value top, Value& v);
  void set_stack_pointer(Value top);
  [[nodiscard]] bool move_stack(Value bytes);
  Value instruction_pointer() { return leaf(Operator::next_rip, 0); }
  [[nodiscard]] bool jump(Value target);
  [[nodiscard]] bool branch(Value condition, Value target);
  [[nodiscard]] bool target_allowed(Value target);
  Value out_of_bounds(Value target) { return target.binary(Operator::out_of_bounds, target); }
  Value counter() { return gpr(RCX) & constant(op_.address_mask()); }
  Value wrap_counter(Value v) { return v & constant(op_.address_mask()); }
  void set_counter(Value v) { put_general(RCX * 8, op_.address_bits(), v); }
  [[nodiscard]] bool fault_if(Value condition, uint8_t vector);
  [[nodiscard]] bool general_protection_if(Value condition) { return fault_if(condition, GP_vector); }
  unsigned address_bits() const { return op_.address_bits(); }
  Value immediate8() { return constant(op_.immediate8()); }
  Value second_immediate() { return constant(op_.extra); }

  Value mask() { return constant(mask_of(width_)); }
  Value wrap(Value v) { return zero_extend(v, width_); }
  Value reverse_bytes(Value v) { return v.binary(Operator::reverse_bytes, v) >> (64 - width_); }
  Value gpr_part(unsigned n) { return wrap(gpr(n)); }
  void set_gpr_part(unsigned n, Value v) { put_general(n * 8, width_, v); }
  void write_gpr_part_if(Value condition, unsigned n, Value v);

 private:
  bool is_memory(unsigned n) const;
  unsigned operand_bits(unsigned n) const { return bits_of_size(operands_.operand[n].size, width_); }
  Value read_operand(unsigned n);
  Value read_operand_for_write(unsigned n);
  void write_operand(unsigned n, Value v);
  void write_operand_if(Value condition, unsigned n, Value yes, Value no);
  Value operand_offset();
  Value load(EffectKind kind, unsigned bits);
  unsigned register_offset(unsigned n) const;
  void put_general(unsigned offset, unsigned bits, Value v, const Value* condition = nullptr, Value old = {});

  const Op& op_;
  const OperandList& operands_;
  const unsigned width_;
  Value gpr_[16];  // as the text has left them so far, where known_ has a bit
  uint32_t known_ = 0;
  Value displacement_;
  bool displaced_ = false, checked_ = false;
  uint32_t place_ = 0;
};

// Texts ask for the width at compile time, so there are four of these; all else about an instance is data, or the recorders of
// two thousand instances would weigh more than the interpreter.
template <unsigned Width>
class Tree : public AnyWidth {
 public:
  using AnyWidth::AnyWidth;
  static constexpr unsigned width = Width;
};

}  // namespace matryoshka::tree
