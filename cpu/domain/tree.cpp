#include "cpu/domain/tree.h"

namespace matryoshka::tree {

Value Value::binary(Operator op, Value other) const { return {recording_, recording_->node(op, 0, id_, other.id_)}; }
Value Value::number(uint64_t n) const { return {recording_, recording_->node(Operator::constant, n)}; }

// ---- Computation

Computation::Computation(Recording& recording) : r_(recording) {
  flag_result_ = leaf(Operator::flag_result, 0);
  flag_aux_ = leaf(Operator::flag_aux, 0);
}

Value Computation::constant(uint64_t n) { return leaf(Operator::constant, n); }
Value Computation::zero_extend(Value v, unsigned bits) { return bits == 64 ? v : v & constant(mask_of(bits)); }
Value Computation::sign_extend(Value v, unsigned bits) {
  return bits == 64 ? v : arithmetic_shift_right(v << (64 - bits), constant(64 - bits));
}
Value Computation::select(Value condition, Value a, Value b) {
  return {&r_, r_.node(Operator::select, 0, a.id(), b.id(), condition.id())};
}
void Computation::set_flags(Value result, Value aux) {
  flag_result_ = result, flag_aux_ = aux;
  r_.effect({.kind = EffectKind::set_flags, .value = result.id(), .second = aux.id()});
}
void Computation::set_flags_if(Value condition, Value result, Value aux) {
  set_flags(select(condition, result, flag_result_), select(condition, aux, flag_aux_));
}

// ---- Operands

AnyWidth::AnyWidth(Recording& recording, const Op& op)
    : Computation(recording), op_(op), operands_(operands_of(op.row())), width_(8u << (op.id >> 1 & 3)) {}

Value AnyWidth::gpr(unsigned n) {
  if (!(known_ >> n & 1)) gpr_[n] = leaf(Operator::gpr, n), known_ |= 1u << n;
  return gpr_[n];
}

bool AnyWidth::is_memory(unsigned n) const {
  OperandClass k = operands_.operand[n].kind;
  return k == OperandClass::memory_only || k == OperandClass::offset || (k == OperandClass::general_rm && op_.id & 1);
}

Value AnyWidth::effective_address() {
  // Slots above the sixteen registers: nothing, and the start of the block, which is a block of one here.
  auto slot = [this](unsigned offset) {
    unsigned n = offset / 8;
    if (n < 16) return gpr(n);
    if (n == CpuState::slot_zero) return constant(0);
    return leaf(Operator::next_rip, 0) - constant(op_.offset);
  };
  Value sum = slot(op_.base) + (slot(op_.index) << op_.scale) + constant(static_cast<uint64_t>(op_.displacement));
  return sum & constant(op_.address_mask());
}

Value AnyWidth::operand_offset() {
  Value offset = effective_address();
  return displaced_ ? (offset + displacement_) & constant(op_.address_mask()) : offset;
}

Value AnyWidth::load(EffectKind kind, unsigned bits) {
  uint32_t e = r_.effect({.kind = kind, .bits = static_cast<uint8_t>(bits), .address = operand_offset().id()});
  return leaf(Operator::loaded, e);
}

// A byte offset into the register file, as in Op; AH is 1.
unsigned AnyWidth::register_offset(unsigned n) const {
  const OperandSpec& o = operands_.operand[n];
  switch (o.kind) {
    case OperandClass::general_rm:
    case OperandClass::general_opcode:
    case OperandClass::register_rm: return op_.rm;
    case OperandClass::general_reg: return op_.reg;
    case OperandClass::vex_general: return op_.extra;
    default: return o.number * 8;
  }
}

Value AnyWidth::read_operand(unsigned n) {
  if (is_memory(n)) return load(EffectKind::load, operand_bits(n));
  OperandClass k = operands_.operand[n].kind;
  if (k == OperandClass::immediate || k == OperandClass::relative)
    return constant(static_cast<uint64_t>(op_.immediate) & mask_of(width_));
  if (k == OperandClass::one) return constant(1);
  unsigned offset = register_offset(n);
  Value whole = gpr(offset / 8);
  return zero_extend(offset % 8 ? whole >> (offset % 8 * 8) : whole, operand_bits(n));
}

Value AnyWidth::read_operand_for_write(unsigned n) {
  if (!is_memory(n)) return read_operand(n);
  Value v = load(EffectKind::load_for_store, operand_bits(n));
  place_ = static_cast<uint32_t>(r_.effects.size() - 1);
  checked_ = true;
  return v;
}

void AnyWidth::write_operand(unsigned n, Value v) {
  if (!is_memory(n)) return put_general(register_offset(n), operand_bits(n), v);
  auto bits = static_cast<uint8_t>(operand_bits(n));
  if (checked_)
    r_.effect({.kind = EffectKind::store_back, .bits = bits, .value = v.id(), .place = place_});
  else
    r_.effect({.kind = EffectKind::store, .bits = bits, .address = operand_offset().id(), .value = v.id()});
}

void AnyWidth::write_operand_if(Value condition, unsigned n, Value yes, Value no) {
  if (is_memory(n)) return write_operand(n, select(condition, yes, no));
  unsigned offset = register_offset(n);
  put_general(offset, operand_bits(n), yes, &condition, gpr(offset / 8));
}

void AnyWidth::write_gpr_part_if(Value condition, unsigned n, Value v) { put_general(n * 8, width_, v, &condition, gpr(n)); }

void AnyWidth::set_gpr(unsigned n, Value v) {
  gpr_[n] = v, known_ |= 1u << n;
  r_.effect({.kind = EffectKind::set_gpr, .number = static_cast<uint8_t>(n), .value = v.id()});
}

// A 32-bit result clears the upper half; 8- and 16-bit ones leave the rest alone. Under a condition the old value may stay whole.
void AnyWidth::put_general(unsigned offset, unsigned bits, Value v, const Value* condition, Value old) {
  unsigned n = offset / 8, shift = offset % 8 * 8;
  if (bits < 32) {
    Value part = zero_extend(v, bits);
    v = (gpr(n) & constant(~(mask_of(bits) << shift))) | (shift ? part << shift : part);
  } else {
    v = zero_extend(v, bits);
  }
  set_gpr(n, condition ? select(*condition, v, old) : v);
}

void AnyWidth::set_direction_flag(Value v) { r_.effect({.kind = EffectKind::set_direction_flag, .value = v.id()}); }

// ---- Stack and control

void AnyWidth::set_stack_pointer(Value top) {
  if (op_.stack_bits() == 16)
    put_general(RSP * 8, 16, top);
  else
    set_gpr(RSP, top & constant(op_.stack_mask()));
}

bool AnyWidth::push(Value v) {
  Value top = (gpr(RSP) - constant(width_ / 8)) & constant(op_.stack_mask());
  r_.effect({.kind = EffectKind::stack_store, .bits = static_cast<uint8_t>(width_), .address = top.id(), .value = v.id()});
  set_stack_pointer(top);
  return true;
}

bool AnyWidth::peek_stack_at(Value top, Value& v) {
  Value address = top & constant(op_.stack_mask());
  uint32_t e = r_.effect({.kind = EffectKind::stack_load, .bits = static_cast<uint8_t>(width_), .address = address.id()});
  v = leaf(Operator::loaded, e);
  return true;
}

bool AnyWidth::move_stack(Value bytes) {
  set_stack_pointer(gpr(RSP) + bytes);
  return true;
}

bool AnyWidth::jump(Value target) {
  r_.effect({.kind = EffectKind::jump, .value = wrap(target).id()});
  return true;
}

bool AnyWidth::branch(Value condition, Value target) {
  r_.effect({.kind = EffectKind::branch, .value = wrap(target).id(), .condition = condition.id()});
  return true;
}

bool AnyWidth::target_allowed(Value target) {
  r_.effect({.kind = EffectKind::check_target, .value = wrap(target).id()});
  return true;
}

bool AnyWidth::fault_if(Value condition, uint8_t vector) {
  r_.effect({.kind = EffectKind::fault_if, .number = vector, .condition = condition.id()});
  return true;
}

}  // namespace matryoshka::tree
