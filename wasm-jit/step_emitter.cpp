#include "wasm-jit/step_emitter.h"

#include "cpu/handlers.h"
#include "cpu/ops/integer.h"

namespace matryoshka::jit {

using tree::NodeId;

namespace {
constexpr uint32_t tag_read = 0, tag_write = 8, tag_addend = 16;
static_assert(offsetof(TlbEntry, read_tag) == tag_read && offsetof(TlbEntry, write_tag) == tag_write &&
              offsetof(TlbEntry, addend) == tag_addend);

constexpr uint64_t mask_of(unsigned bits) { return tree::Computation::mask_of(bits); }
unsigned width_code(const Op& op) { return op.id >> 1 & 3; }
}  // namespace

StepEmitter::StepEmitter(const Region& region, const Layout& layout, EmitterHost& host, FunctionWriter& f)
    : vectors(f, layout),
      base(f.new_local(WasmType::i64)),
      flag_kind(f.new_local(WasmType::i32)),
      region_(region),
      layout_(layout),
      host_(host),
      f_(f),
      code_(f.code),
      flag_result_(f.new_local(WasmType::i64)),
      flag_aux_(f.new_local(WasmType::i64)),
      flag_a_(f.new_local(WasmType::i64)),
      flag_b_(f.new_local(WasmType::i64)),
      cell_(f.new_local(WasmType::i32)),
      entry_(f.new_local(WasmType::i32)) {
  vectors.leave_if = [this](unsigned depth) { leave(depth); };
  vectors.address = [this](unsigned bits, bool write, bool aligned) {
    translate(linear_address(recording_->effects[0], bits), bits, write, aligned);
  };
  vectors.general = [this](unsigned offset) { return gpr_local(offset / 8); };
  vectors.set_flags = [this](bool ordered) {
    code_.set(ordered ? flag_b_ : flag_aux_), code_.set(ordered ? flag_a_ : flag_result_);
    flags.shapes = (ordered ? FlagState{Shape::ordered} : FlagState{}).bit();
  };
}

uint32_t StepEmitter::gpr_local(unsigned n) {
  if (!gpr_[n]) gpr_[n] = f_.new_local(WasmType::i64);
  return *gpr_[n];
}

// The instruction at hand cannot go on if the i32 on the stack is not zero.
void StepEmitter::leave(unsigned depth) {
  if (has_slow_way_)
    code_.branch(Wasm::br_if, depth);
  else
    leave_if(step_->start, done, depth);
}

void StepEmitter::step(const Step& step, bool followed) {
  step_ = &step;
  f_.next_instruction();
  if (step.slow)
    with_slow_way(step);
  else
    switch (step.kind) {
      case Step::Kind::text: text(step); break;
      case Step::Kind::vector: vector(step); break;
      case Step::Kind::helper: helper(step); break;
      case Step::Kind::call: return call(step, followed);
      case Step::Kind::last: return last(step);
    }
  // Whatever this instruction could leave by stands before this.
  if (shadow_) code_.i32(0), code_.i32(0), code_.access(Wasm::i32_store8, layout_.sti_shadow);
  shadow_ = false;
  ++done;
}

// Both ways in one region: what is plain as ever, and a call for all else.
void StepEmitter::with_slow_way(const Step& step) {
  FlagsHere before = flags;
  std::optional<FlagState> after = state_after(step);
  if (!flags.known() && (step.kind == Step::Kind::text)) {
    recording_ = &step.recording;
    if (asks_for_flags()) make_flags_plain();
    before = flags;
  }
  block(true), block(true);
  has_slow_way_ = true;
  step.kind == Step::Kind::text ? text(step) : vector(step);
  has_slow_way_ = false;
  if (after) set_flag_kind();
  code_.branch(Wasm::br, 1);
  block(false);
  f_.next_instruction();
  FlagsHere fast = flags;
  flags = before;
  call_helper(step, needs_of_slow(step));
  if (after) {
    flags.shapes = FlagState{}.bit();
    set_flag_kind();
    flags.shapes |= fast.shapes;
  } else {
    flags = before;  // the values that they follow from are still there
  }
  block(false);
}

std::optional<FlagState> StepEmitter::state_after(const Step& step) {
  if (step.kind == Step::Kind::vector) {
    VectorRow::Flags left = vector_row(step.op.row())->flags;
    if (left == VectorRow::Flags::none) return {};
    return left == VectorRow::Flags::ordered ? FlagState{Shape::ordered} : FlagState{};
  }
  std::optional<FlagState> state;
  for (const tree::Effect& e : step.recording.effects) {
    if (e.kind != EffectKind::set_flags) continue;
    auto match = match_flags(step.recording, width_code(step.op), e.value, e.second);
    state = match ? match->state : FlagState{};
  }
  return state;
}

StepEmitter::Needs StepEmitter::needs_of_slow(const Step& step) {
  Needs n{0, 0, 0, state_after(step).has_value(), true, true};
  recording_ = &step.recording;
  for_each_use([&](const tree::Node& node) {
    if (node.op == Operator::gpr) n.reads |= static_cast<uint16_t>(1u << node.constant);
    n.flags |= node.op == Operator::flag_result || node.op == Operator::flag_aux;
  });
  for (const tree::Effect& e : step.recording.effects)
    if (e.kind == EffectKind::set_gpr) n.writes |= static_cast<uint16_t>(1u << e.number);
  if (step.kind == Step::Kind::vector) {
    find_general_operands(step.op, n.reads, n.writes);
    n.xmm = static_cast<uint16_t>(VectorStep::registers_of(step.op) | 1);
  }
  // A part of a register that is written, or one that is written only sometimes, is read as well.
  n.reads |= n.writes;
  return n;
}

void StepEmitter::flush_budget() {
  if (done == 0) return;
  code_.get(budget), code_.i32(done), code_.op(Wasm::i32_sub), code_.set(budget);
  done = 0;
}

void StepEmitter::set_flag_kind() {
  if (!flags.known()) return;
  code_.i32(flags.state().index());
  code_.set(flag_kind);
}

// ---- Texts

void StepEmitter::text(const Step& step) {
  recording_ = &step.recording;
  imported_.assign(recording_->nodes.size(), {});
  loaded_.assign(recording_->effects.size(), {});
  places_.assign(recording_->effects.size(), {});
  new_gpr_ = {};
  new_flags_.reset();
  checked_targets_.clear();
  condition_.reset(), target_.reset();
  stored_ = false;
  if (!flags.known() && asks_for_flags()) make_flags_plain();
  for (uint32_t i = 0; i < recording_->effects.size(); ++i) effect(recording_->effects[i], i);
  commit();
}

void StepEmitter::vector(const Step& step) {
  recording_ = &step.recording;
  imported_.assign(recording_->nodes.size(), {});
  vectors.write(step);
}

// Visits the leaves that somebody points at; all are there in every recording.
template <class Visit>
void StepEmitter::for_each_use(Visit visit) const {
  auto use = [&](NodeId id) { visit(recording_->nodes[id]); };
  for (const tree::Node& n : recording_->nodes) switch (n.op) {
      case Operator::constant:
      case Operator::gpr:
      case Operator::flag_result:
      case Operator::flag_aux:
      case Operator::direction_flag:
      case Operator::next_rip:
      case Operator::loaded: break;
      default:
        use(n.a), use(n.b);
        if (n.op == Operator::select) use(n.c);
    }
  // What an effect has no use for is 0, which is a node, too: the flags as they were.
  for (const tree::Effect& e : recording_->effects) switch (e.kind) {
      case EffectKind::load:
      case EffectKind::load_for_store:
      case EffectKind::stack_load: use(e.address); break;
      case EffectKind::store:
      case EffectKind::stack_store: use(e.address), use(e.value); break;
      case EffectKind::set_flags: use(e.value), use(e.second); break;
      case EffectKind::fault_if: use(e.condition); break;
      case EffectKind::branch: use(e.condition), use(e.value); break;
      case EffectKind::store_back:
      case EffectKind::set_gpr:
      case EffectKind::set_direction_flag:
      case EffectKind::check_target:
      case EffectKind::jump: use(e.value); break;
    }
}

// A write of all flags may hide the old ones, but only partly (INC keeps CF), so any use counts.
bool StepEmitter::asks_for_flags() const {
  bool asks = false;
  for_each_use([&](const tree::Node& n) { asks |= n.op == Operator::flag_result || n.op == Operator::flag_aux; });
  return asks;
}

std::optional<uint32_t> StepEmitter::announce(const Step& step) {
  if (step.kind == Step::Kind::helper) {
    if (!needs_of(step.op).flags) return {};
    flags_used_ = flags_changed_ = true;
    return FlagState{}.bit();
  }
  if (step.kind == Step::Kind::call || step.kind == Step::Kind::last) return {};
  recording_ = &step.recording;
  for_each_use([&](const tree::Node& n) {
    if (n.op == Operator::gpr) gpr_local(static_cast<unsigned>(n.constant));
  });
  if (step.kind == Step::Kind::vector) {
    vectors.announce(step);
    uint16_t reads = 0, writes = 0;
    find_general_operands(step.op, reads, writes);
    for (unsigned n = 0; n < 16; ++n) {
      if ((reads | writes) >> n & 1) gpr_local(n);
      if (writes >> n & 1) changed_[n] = true;
    }
  }
  if (asks_for_flags()) flags_used_ = true;
  for (const tree::Effect& e : recording_->effects)
    if (e.kind == EffectKind::set_gpr) gpr_local(e.number), changed_[e.number] = true;
  std::optional<FlagState> state = state_after(step);
  if (!state) return {};
  flags_used_ = flags_changed_ = true;
  return state->bit() | (step.slow ? FlagState{}.bit() : 0);
}

Value StepEmitter::import(NodeId id) {
  if (!imported_[id]) {
    Value v = import_new(id);
    imported_[id] = v;
  }
  return *imported_[id];
}

Value StepEmitter::flag_operand(bool second, FlagState s) {
  return second ? f_.graph.local(flag_b_, s.possible_b()) : f_.graph.local(flag_a_, s.possible_a());
}

Value StepEmitter::flag_word(bool aux) {
  FlagState s = flags.state();
  bool plain = s.shape == Shape::plain;
  Value a = plain ? f_.graph.local(flag_result_) : flag_operand(false, s);
  Value b = plain ? f_.graph.local(flag_aux_) : flag_operand(true, s);
  FlagWords words = flag_words(f_.graph, s, a, b);
  return aux ? words.aux : words.result;
}

Value StepEmitter::import_new(NodeId id) {
  const tree::Node& n = recording_->nodes[id];
  Graph& g = f_.graph;
  switch (n.op) {
    case Operator::constant: return g.constant(n.constant);
    case Operator::gpr: return g.local(gpr_local(static_cast<unsigned>(n.constant)));
    case Operator::flag_result: return flag_word(false);
    case Operator::flag_aux: return flag_word(true);
    case Operator::direction_flag: {
      uint32_t local = f_.temporary(WasmType::i64);
      code_.i32(0), code_.access(Wasm::i64_load, layout_.system_flags), code_.i64(10), code_.op(Wasm::i64_shr_u);
      code_.i64(1), code_.op(Wasm::i64_and), code_.set(local);
      return g.local(local, 1);
    }
    case Operator::next_rip: {
      Value rip = g.add(g.local(base), static_cast<uint64_t>(step_->end));
      return region_.mode.code_bits == 64 ? rip : g.and_(rip, 0xffffffff);
    }
    // Static targets are in bounds: code near the edge of the canonical addresses is never in a region (Mmu::near_edge).
    case Operator::out_of_bounds: return g.constant(0);
    case Operator::loaded: {
      const tree::Effect& e = recording_->effects[n.constant];
      return g.local(*loaded_[n.constant], mask_of(e.bits));
    }
    case Operator::and_:
    case Operator::or_:
    case Operator::xor_:
    case Operator::equal:
    case Operator::shift_right:
      // A condition is recognised as a whole before its parts are looked at.
      if (auto condition = match_condition(*recording_, id)) {
        FlagState s = flags.state();
        if (s.shape != Shape::plain) {
          Value a = flag_operand(false, s), b = flag_operand(true, s);
          if (auto simple = condition_of(g, *condition, s, a, b)) return *simple;
        }
      }
      break;
    default: break;
  }
  Value a = import(n.a), b = import(n.b);
  return g.make(n.op, a, b, n.op == Operator::select ? import(n.c) : 0);
}

// ---- Memory

// Leaves the region if the operand lies outside a segment that has a limit.
Value StepEmitter::linear_address(const tree::Effect& e, unsigned bits) {
  Value offset = import(e.address);
  const bool stack = e.kind == EffectKind::stack_load || e.kind == EffectKind::stack_store;
  const unsigned segment = step_->op.segment;
  if (stack || segment == static_cast<uint8_t>(Segments::none)) return offset;
  const bool checked = step_->op.flags & Op::checked;
  if (checked) {
    f_.want(offset);
    f_.wide(offset), code_.i64(bits / 8), code_.op(Wasm::i64_add);
    code_.i32(0), code_.access(Wasm::i64_load, layout_.segment_room + 8 * segment), code_.op(Wasm::i64_gt_u);
    leave(0);
  }
  uint32_t local = f_.temporary(WasmType::i64);
  code_.i32(0), code_.access(Wasm::i64_load, layout_.segment_base + 8 * segment), code_.set(local);
  Value linear = f_.graph.add(offset, f_.graph.local(local));
  return checked ? f_.graph.and_(linear, 0xffffffff) : linear;
}

// Leaves the host address on the stack, or the region.
void StepEmitter::translate(Value address, unsigned bits, bool write, bool aligned) {
  f_.want(address), f_.want(address), f_.want(address);
  bool narrow = f_.graph.fits(address, 32);
  uint32_t local = f_.temporary(WasmType::i64);
  f_.wide(address);
  code_.set(local);
  f_.graph[address].local = local;
  // The slot, times the size of an entry.
  constexpr unsigned entry_bits = 5, page_bits = 12;
  constexpr uint32_t slots = (TlbSet::size - 1) << entry_bits;
  static_assert(sizeof(TlbEntry) == 1 << entry_bits);
  code_.get(local);
  if (narrow) {
    code_.op(Wasm::i32_wrap_i64), code_.i32(page_bits - entry_bits), code_.op(Wasm::i32_shr_u);
  } else {
    code_.i64(page_bits - entry_bits), code_.op(Wasm::i64_shr_u), code_.op(Wasm::i32_wrap_i64);
  }
  code_.i32(slots), code_.op(Wasm::i32_and), code_.tee(entry_);
  code_.access(Wasm::i64_load, layout_.data_tlb + (write ? tag_write : tag_read));
  code_.get(local), code_.op(Wasm::i64_xor);
  if (aligned) {
    // The low bits, which must be zero, become the highest.
    code_.i64(4), code_.op(Wasm::i64_rotr), code_.i64(page_size / 16 - 1), code_.op(Wasm::i64_gt_u);
  } else {
    code_.i64(page_size - bits / 8), code_.op(Wasm::i64_gt_u);
  }
  leave(0);
  code_.get(local), code_.op(Wasm::i32_wrap_i64);
  code_.get(entry_), code_.access(Wasm::i32_load, layout_.data_tlb + tag_addend);
  code_.op(Wasm::i32_add);
}

namespace {
Wasm load_of(unsigned bits) {
  return bits == 8 ? Wasm::i64_load8_u : bits == 16 ? Wasm::i64_load16_u : bits == 32 ? Wasm::i64_load32_u : Wasm::i64_load;
}
Wasm store_of(unsigned bits) {
  return bits == 8 ? Wasm::i64_store8 : bits == 16 ? Wasm::i64_store16 : bits == 32 ? Wasm::i64_store32 : Wasm::i64_store;
}
}  // namespace

void StepEmitter::check_target(Value target) {
  // 32-bit targets are within their flat segment; 64-bit ones must be canonical.
  if (region_.mode.code_bits != 64) return;
  unsigned unused = layout_.canonical_unused;
  f_.want(target), f_.want(target);
  f_.wide(target), code_.i64(unused), code_.op(Wasm::i64_shl), code_.i64(unused), code_.op(Wasm::i64_shr_s);
  f_.wide(target), code_.op(Wasm::i64_ne);
  leave(0);
}

void StepEmitter::effect(const tree::Effect& e, uint32_t number) {
  switch (e.kind) {
    case EffectKind::load:
    case EffectKind::stack_load: {
      translate(linear_address(e, e.bits), e.bits, false);
      code_.access(load_of(e.bits), 0);
      loaded_[number] = f_.temporary(WasmType::i64);
      code_.set(*loaded_[number]);
      return;
    }
    case EffectKind::load_for_store: {
      translate(linear_address(e, e.bits), e.bits, true);
      places_[number] = f_.temporary(WasmType::i32);
      code_.tee(*places_[number]);
      code_.access(load_of(e.bits), 0);
      loaded_[number] = f_.temporary(WasmType::i64);
      code_.set(*loaded_[number]);
      return;
    }
    case EffectKind::store:
    case EffectKind::stack_store: {
      translate(linear_address(e, e.bits), e.bits, true);
      Value v = import(e.value);
      f_.want(v);
      f_.wide(v);
      code_.access(store_of(e.bits), 0);
      stored_ = true;
      return;
    }
    case EffectKind::store_back: {
      Value v = import(e.value);
      f_.want(v);
      code_.get(*places_[e.place]);
      f_.wide(v);
      code_.access(store_of(e.bits), 0);
      stored_ = true;
      return;
    }
    case EffectKind::set_gpr: new_gpr_[e.number] = e.value; return;
    case EffectKind::set_flags: new_flags_ = {e.value, e.second}; return;
    case EffectKind::set_direction_flag: {
      Value v = import(e.value);
      f_.want(v);
      code_.i32(0);
      code_.i32(0), code_.access(Wasm::i64_load, layout_.system_flags), code_.i64(~rflags::DF), code_.op(Wasm::i64_and);
      f_.wide(v);
      code_.i64(10), code_.op(Wasm::i64_shl), code_.op(Wasm::i64_or);
      code_.access(Wasm::i64_store, layout_.system_flags);
      return;
    }
    case EffectKind::fault_if: {
      Value v = import(e.condition);
      if (f_.graph.is_constant(v, 0)) return;
      f_.want(v);
      f_.condition(v);
      leave(0);
      return;
    }
    case EffectKind::check_target: {
      if (operands_of(step_->op.row()).operand[0].kind == OperandClass::relative) return;
      check_target(import(e.value));
      checked_targets_.push_back(e.value);
      return;
    }
    case EffectKind::jump:
    case EffectKind::branch: {
      if (e.kind == EffectKind::branch) {
        Value v = import(e.condition);
        f_.want(v);
        f_.condition(v);
        condition_ = f_.temporary(WasmType::i32);
        code_.set(*condition_);
      }
      if (operands_of(step_->op.row()).operand[0].kind == OperandClass::relative) return;
      Value target = import(e.value);
      // Texts that push before they jump have asked before.
      if (!stored_ && checked_targets_.empty()) check_target(target);
      f_.want(target);
      f_.wide(target);
      target_ = f_.temporary(WasmType::i64);
      code_.set(*target_);
      return;
    }
  }
}

// All new values first, then all locals: a value may need what another one replaces.
void StepEmitter::commit() {
  std::vector<uint32_t> locals;
  std::vector<Value> values;
  auto set = [&](uint32_t local, Value v) {
    f_.want(v);
    locals.push_back(local), values.push_back(v);
  };
  for (unsigned n = 0; n < 16; ++n)
    if (new_gpr_[n]) {
      Value v = import(*new_gpr_[n]);
      set(gpr_local(n), v);
    }
  FlagState state;
  if (new_flags_) {
    auto match = match_flags(*recording_, width_code(step_->op), new_flags_->first, new_flags_->second);
    if (match) {
      state = match->state;
      Value a = import(match->a);
      if (match->keeps_carry) {
        Value carry = f_.graph.shift_right(flag_word(true), 63);
        FlagState s = flags.state();
        if (s.shape != Shape::plain) {
          Value first = flag_operand(false, s), second = flag_operand(true, s);
          if (auto simple = condition_of(f_.graph, matryoshka::flags::B, s, first, second)) carry = *simple;
        }
        set(flag_a_, a), set(flag_b_, carry);
      } else {
        set(flag_a_, a);
        if (state.shape != Shape::logic) set(flag_b_, import(match->b));
      }
    } else {
      set(flag_result_, import(new_flags_->first)), set(flag_aux_, import(new_flags_->second));
    }
  }
  for (Value v : values) f_.wide(v);
  for (size_t i = locals.size(); i-- > 0;) code_.set(locals[i]);
  if (new_flags_) flags.shapes = state.bit();
}

// ---- Flags

// The two words from whatever shape they have: one `if` for each that is possible.
void StepEmitter::make_flags_plain() {
  uint32_t shapes = flags.shapes;
  for (unsigned i = 0; i < FlagState::count; ++i) {
    FlagState s = FlagState::of_index(i);
    if (!(shapes & s.bit()) || s.shape == Shape::plain) continue;
    bool alone = shapes == s.bit();
    if (!alone) {
      code_.get(flag_kind), code_.i32(i), code_.op(Wasm::i32_eq);
      code_.open(Wasm::if_);
    }
    f_.next_instruction();
    Value a = flag_operand(false, s), b = flag_operand(true, s);
    FlagWords words = flag_words(f_.graph, s, a, b);
    f_.want(words.result), f_.want(words.aux);
    f_.wide(words.result), f_.wide(words.aux);
    code_.set(flag_aux_), code_.set(flag_result_);
    if (!alone) code_.end();
  }
  f_.next_instruction();
  flags.shapes = FlagState{}.bit();
}

// ---- Helpers

StepEmitter::Needs StepEmitter::needs_of(const Op& op) {
  const Row& row = rows[op.row()];
  constexpr uint32_t fpu = attribute::SSE_STATE | attribute::MMX_STATE | attribute::X87_STATE;
  // DIV and IDIV leave the flags alone, too.
  bool divides = handler_for(op.id) == &integer::div || handler_for(op.id) == &integer::idiv;
  if (!divides && (!(row.attributes & fpu) || row.attributes & attribute::IMPLICIT)) return {};
  // The x87 notes where its last instruction stood.
  Needs n{0, 0, 0, false, (row.attributes & attribute::X87_STATE) != 0, false};
  find_general_operands(op, n.reads, n.writes);
  if (divides) {
    n.writes = 1 << RAX | 1 << RDX;
    n.reads |= n.writes;
  }
  // XMM0 is the third operand of some.
  if (row.attributes & attribute::SSE_STATE) n.xmm = static_cast<uint16_t>(VectorStep::registers_of(op) | 1);
  if (op.is_memory()) {
    auto bit = [](unsigned offset) { return offset / 8 < 16 ? 1u << offset / 8 : 0; };
    n.reads = static_cast<uint16_t>(n.reads | bit(op.base) | bit(op.index));
    n.memory = n.place = true;
  }
  return n;
}

// The first operand is what an instruction writes.
void StepEmitter::find_general_operands(const Op& op, uint16_t& reads, uint16_t& writes) {
  const OperandList& operands = operands_of(op.row());
  auto bit = [](unsigned offset) { return static_cast<uint16_t>(offset / 8 < 16 ? 1 << offset / 8 : 0); };
  for (unsigned i = 0; i < operands.count; ++i) {
    uint16_t used = 0;
    switch (operands.operand[i].kind) {
      case OperandClass::general_rm: used = op.is_memory() ? uint16_t{0} : bit(op.rm); break;
      case OperandClass::register_rm:
      case OperandClass::general_opcode: used = bit(op.rm); break;
      case OperandClass::general_reg: used = bit(op.reg); break;
      case OperandClass::general_fixed: used = bit(operands.operand[i].number * 8u); break;
      default: break;
    }
    reads |= used;
    if (i == 0) writes |= used;
  }
}

void StepEmitter::note_ticks(unsigned done, Address op) {
  code_.i32(0), code_.i32(op), code_.access(Wasm::i32_store, layout_.block_ops);
  code_.i32(0);
  code_.i32(0), code_.access(Wasm::i64_load, layout_.end_ticks);
  code_.get(budget), code_.i32(done), code_.op(Wasm::i32_sub), code_.op(Wasm::i64_extend_i32_s), code_.op(Wasm::i64_sub);
  code_.access(Wasm::i64_store, layout_.block_ticks);
}

void StepEmitter::note_rip(const Step& step) {
  auto rip = [&] {
    code_.get(base), code_.i64(static_cast<uint64_t>(step.start)), code_.op(Wasm::i64_add);
    if (region_.mode.code_bits != 64) code_.i64(0xffffffff), code_.op(Wasm::i64_and);
  };
  code_.i32(0), rip(), code_.access(Wasm::i64_store, layout_.block_rip);
  if (step.op.base != CpuState::slot_block * 8) return;
  code_.i32(0), rip(), code_.access(Wasm::i64_store, layout_.gpr + 8 * CpuState::slot_block);
}

void StepEmitter::note_fault(const Step& step, Address op, unsigned done_before) {
  if (!step.slow && !needs_of(step.op).place) note_ticks(done_before, op), note_rip(step);
  code_.i32(0), code_.i32(op), code_.access(Wasm::i32_store, layout_.fault_op);
}

// A helper finds what it needs as the interpreter would have left it: registers and flags in memory, and the block's bookkeeping
// as if the instruction were a block of its own.
void StepEmitter::helper(const Step& step) { call_helper(step, needs_of(step.op)); }

void StepEmitter::call_helper(const Step& step, const Needs& needs) {
  if (needs.flags) make_flags_plain_and_store();
  store_registers(needs.reads, needs.xmm);
  Address op = host_.keep(step.op);
  if (needs.place) note_ticks(done, op), note_rip(step);
  code_.i32(layout_.processor), code_.i32(op), code_.i32(host_.helper_slot(step.op));
  code_.op(Wasm::call_indirect), code_.number(0), code_.number(0);
  code_.append(load_registers(needs.writes, needs.flags, needs.xmm));
  for (unsigned n = 0; n < 16; ++n)
    if (needs.xmm >> n & 1) vectors.known.ordinary[n] = 0;
  if (needs.xmm) vectors.look_at_mxcsr();
  code_.op(Wasm::i32_eqz);
  leave_if_helper_failed(step, op);
  if (!needs.memory) return;
  code_.i32(0), code_.access(Wasm::i32_load8_u, layout_.attention);
  leave_if(step.end, done + 1, 0);
}

// ---- Rows of kind leave

// Leaves the answer in a local; the budget is then as the clock says.
uint32_t StepEmitter::run_in_region(const Step& step, Address function) {
  Address op = host_.keep(step.op);
  note_ticks(done, op), note_rip(step);
  code_.i32(layout_.processor), code_.i32(op), code_.i32(function);
  code_.op(Wasm::call_indirect), code_.number(0), code_.number(0), code_.set(cell_);
  code_.i32(0), code_.access(Wasm::i32_load, layout_.budget_left), code_.set(budget);
  done = 0;
  return cell_;
}

// The processor does it and says whether the region may go on. It knows of no register but EAX, ECX and EDX.
void StepEmitter::call(const Step& step, bool followed) {
  std::string_view name = rows[step.op.row()].mnemonic;
  bool reads_clock = name == "RDTSC" || name == "RDTSCP";
  shadow_ = name == "STI" && followed;
  if (name == "STI" && !followed) return last(step);
  constexpr uint16_t results = 1 << RAX | 1 << RCX | 1 << RDX;
  if (reads_clock) store_registers(results, 0);
  uint32_t cell = run_in_region(step, layout_.run_and_go_on);
  if (reads_clock) code_.append(load_registers(results, false, 0));
  code_.get(cell);
  leave_by(step, cell);
  if (!reads_clock && name != "PAUSE") return;
  // What it has cost may be all that was left.
  code_.i32(layout_.next_cell), code_.set(cell);
  code_.get(budget), code_.i32(longest_here()), code_.op(Wasm::i32_lt_s);
  leave_by(step, cell);
}

void StepEmitter::last(const Step& step) {
  make_flags_plain_and_store();
  store_registers();
  leave_at_once(run_in_region(step, layout_.run_and_leave));
}

// ---- The function's two ends

WasmWriter StepEmitter::load_registers(uint16_t which, bool with_flags, uint16_t which_xmm) const {
  WasmWriter w = vectors.load(which_xmm);
  for (unsigned n = 0; n < 16; ++n)
    if (gpr_[n] && which >> n & 1) w.i32(0), w.access(Wasm::i64_load, layout_.gpr + 8 * n), w.set(*gpr_[n]);
  if (flags_used_ && with_flags) {
    w.i32(0), w.access(Wasm::i64_load, layout_.flag_result), w.set(flag_result_);
    w.i32(0), w.access(Wasm::i64_load, layout_.flag_aux), w.set(flag_aux_);
  }
  return w;
}

void StepEmitter::store_registers(uint16_t which, uint16_t which_xmm) {
  vectors.store(which_xmm);
  for (unsigned n = 0; n < 16; ++n)
    if (gpr_[n] && changed_[n] && which >> n & 1)
      code_.i32(0), code_.get(*gpr_[n]), code_.access(Wasm::i64_store, layout_.gpr + 8 * n);
}

void StepEmitter::store_flags(uint32_t shapes) {
  if (!flags_changed_) return;
  flags.shapes = shapes;
  make_flags_plain_and_store();
}

void StepEmitter::make_flags_plain_and_store() {
  if (!flags_changed_) return;
  make_flags_plain();
  code_.i32(0), code_.get(flag_result_), code_.access(Wasm::i64_store, layout_.flag_result);
  code_.i32(0), code_.get(flag_aux_), code_.access(Wasm::i64_store, layout_.flag_aux);
}

}  // namespace matryoshka::jit
