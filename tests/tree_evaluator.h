// Does what a recording of the tree domain says, on a processor: the smallest engine there can be.
#pragma once

#include <cstdlib>
#include <vector>

#include "cpu/domain/tree.h"

namespace matryoshka::tree {

class Evaluator {
 public:
  Evaluator(const Recording& recording, Processor& cpu, const Op& op)
      : r_(recording),
        cpu_(cpu),
        op_(op),
        start_(cpu.state),
        known_(recording.nodes.size()),
        values_(recording.nodes.size()),
        loaded_(recording.effects.size()),
        places_(recording.effects.size()) {}

  // What the instruction met stands in cpu.fault, with RIP at the instruction.
  void run() {
    CpuState& s = cpu_.state;
    for (uint32_t i = 0; i < r_.effects.size(); ++i) {
      if (!perform(r_.effects[i], i)) {
        if (cpu_.fault.by_noncanonical && op_.flags & Op::stack_segment) cpu_.fault.raise(SS_vector, 0);
        return;
      }
      if (jumped_) return;
    }
    s.rip = next_rip();
  }

 private:
  uint64_t next_rip() const {
    uint64_t next = start_.rip + op_.length;
    return cpu_.mode().code_bits == 64 ? next : static_cast<uint32_t>(next);
  }

  bool perform(const Effect& e, uint32_t number) {
    CpuState& s = cpu_.state;
    unsigned size = e.bits / 8;
    uint64_t linear;
    switch (e.kind) {
      case EffectKind::load: return operand(e, AccessKind::read, linear) && cpu_.mmu.load_slow(linear, &loaded_[number], size);
      case EffectKind::load_for_store:
        if (!operand(e, AccessKind::write, linear) || !cpu_.mmu.load_for_store_slow(linear, &loaded_[number], size)) return false;
        places_[number] = linear;
        return true;
      case EffectKind::store: {
        uint64_t v = value(e.value);
        return operand(e, AccessKind::write, linear) && cpu_.mmu.store_slow(linear, &v, size);
      }
      case EffectKind::store_back: {
        uint64_t v = value(e.value);
        return cpu_.mmu.store_slow(places_[e.place], &v, size);
      }
      case EffectKind::stack_load:
        return cpu_.stack_address(value(e.address), size, AccessKind::read, linear) &&
               (cpu_.mmu.load_slow(linear, &loaded_[number], size) || cpu_.stack_fault());
      case EffectKind::stack_store: {
        uint64_t v = value(e.value);
        return cpu_.stack_address(value(e.address), size, AccessKind::write, linear) &&
               (cpu_.mmu.store_slow(linear, &v, size) || cpu_.stack_fault());
      }
      case EffectKind::set_gpr: return s.gpr[e.number] = value(e.value), true;
      case EffectKind::set_flags: {
        uint64_t result = value(e.value), aux = value(e.second);
        s.flags = {static_cast<int64_t>(result), aux};
        return true;
      }
      case EffectKind::set_direction_flag: s.system_flags = (s.system_flags & ~rflags::DF) | value(e.value) << 10; return true;
      case EffectKind::fault_if:
        if (!value(e.condition)) return true;
        return e.number == GP_vector ? cpu_.fault.raise(GP_vector, 0) : cpu_.fault.raise(e.number);
      case EffectKind::check_target: return cpu_.target_allowed(value(e.value)) || cpu_.fault.raise(GP_vector, 0);
      case EffectKind::branch:
        if (!value(e.condition)) return true;
        [[fallthrough]];
      case EffectKind::jump:
        if (!cpu_.target_allowed(value(e.value))) return cpu_.fault.raise(GP_vector, 0);
        s.rip = value(e.value);
        jumped_ = true;
        return true;
    }
    std::abort();
  }

  bool operand(const Effect& e, AccessKind kind, uint64_t& linear) {
    uint64_t offset = value(e.address);
    if (op_.flags & Op::checked) return cpu_.segment_address(op_.segment, offset, e.bits / 8, kind, linear);
    linear = offset + cpu_.segment_base(op_.segment);
    return true;
  }

  uint64_t value(NodeId id) {
    if (!known_[id]) values_[id] = compute(r_.nodes[id]), known_[id] = true;
    return values_[id];
  }

  uint64_t compute(const Node& n) {
    auto a = [&] { return value(n.a); };
    auto b = [&] { return value(n.b); };
    auto as_signed = [](uint64_t v) { return static_cast<int64_t>(v); };
    // A shift by 64 or more has no meaning in any engine, so no text may ask for one that is used.
    auto count = [&]() -> unsigned { return b() < 64 ? static_cast<unsigned>(b()) : (overlong_ = true, 0u); };
    switch (n.op) {
      case Operator::constant: return n.constant;
      case Operator::gpr: return start_.gpr[n.constant];
      case Operator::flag_result: return static_cast<uint64_t>(start_.flags.result);
      case Operator::flag_aux: return start_.flags.aux;
      case Operator::direction_flag: return start_.system_flags >> 10 & 1;
      case Operator::next_rip: return start_.rip + op_.length;
      case Operator::loaded: return loaded_[n.constant];
      case Operator::out_of_bounds: return !cpu_.target_allowed(a());
      case Operator::add: return a() + b();
      case Operator::subtract: return a() - b();
      case Operator::multiply: return a() * b();
      case Operator::multiply_high: return static_cast<uint64_t>(static_cast<unsigned __int128>(a()) * b() >> 64);
      case Operator::multiply_high_signed:
        return static_cast<uint64_t>(static_cast<__int128>(as_signed(a())) * as_signed(b()) >> 64);
      case Operator::and_: return a() & b();
      case Operator::or_: return a() | b();
      case Operator::xor_: return a() ^ b();
      case Operator::not_: return ~a();
      case Operator::shift_left: return a() << count();
      case Operator::shift_right: return a() >> count();
      case Operator::arithmetic_shift_right: return static_cast<uint64_t>(as_signed(a()) >> count());
      case Operator::equal: return a() == b();
      case Operator::not_equal: return a() != b();
      case Operator::less: return a() < b();
      case Operator::greater_or_equal: return a() >= b();
      case Operator::less_signed: return as_signed(a()) < as_signed(b());
      case Operator::select: return value(n.c) ? a() : b();
      case Operator::count_leading_zeros: return a() == 0 ? 64 : static_cast<uint64_t>(__builtin_clzll(a()));
      case Operator::count_trailing_zeros: return a() == 0 ? 64 : static_cast<uint64_t>(__builtin_ctzll(a()));
      case Operator::count_ones: return static_cast<uint64_t>(__builtin_popcountll(a()));
      case Operator::reverse_bytes: return __builtin_bswap64(a());
    }
    std::abort();
  }

 public:
  bool met_overlong_shift() const { return overlong_; }

 private:
  const Recording& r_;
  Processor& cpu_;
  const Op& op_;
  const CpuState start_;
  std::vector<bool> known_;
  std::vector<uint64_t> values_, loaded_, places_;
  bool jumped_ = false, overlong_ = false;
};

}  // namespace matryoshka::tree
