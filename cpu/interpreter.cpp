// The run loop: blocks of Ops through one switch, and everything that happens between two instructions.
//
// run() alternates between service_events(), which looks at all that may come between instructions, and interpret(), which goes
// from block to block as long as nothing asks for attention. Within a block nothing is checked: an instruction that needs the
// loop afterwards (it reached a device, it changed its own block, the tick limit lies behind it) has the next Op's
// handler replaced by handler_stop. So the hot path has no budget, interrupt or RIP bookkeeping: RIP follows from the Op's
// offset, and the tick count from its place, whenever somebody needs them.
//
// The switch holds the instances listed in hot.def, chosen from a profile; all others are called through a table. A switch with
// every instance would take minutes to compile and run no faster.
#include <algorithm>
#ifdef MATRYOSHKA_PROFILE
#include <cstdio>
#endif

#include "cpu/handlers/instances.h"
#include "cpu/region_verifier.h"

namespace matryoshka {

// ---- Which instances have a case

namespace {

enum class Form : uint8_t { reg, mem };

constexpr uint16_t hot_id(std::string_view mnemonic, std::string_view operands, unsigned bits, Form form) {
  for (unsigned row = 0; row < row_count; ++row) {
    if (mnemonic != rows[row].mnemonic || operands != rows[row].operands) continue;
    unsigned width = bits == 8 ? 0 : bits == 16 ? 1 : bits == 32 ? 2 : 3;
    unsigned id = row * 8 + width * 2 + (form == Form::mem);
    if (id_exists(id)) return static_cast<uint16_t>(id);
  }
  return 0xffff;
}

constexpr uint16_t hot_ids[] = {
#define HOT(mnemonic, operands, bits, form) hot_id(#mnemonic, operands, bits, Form::form),
#include "cpu/hot.def"
#undef HOT
};
constexpr unsigned hot_count = sizeof hot_ids / sizeof hot_ids[0];

struct HotIndex {
  uint16_t handler[row_count * 8] = {};
  constexpr HotIndex() {
    for (uint16_t& h : handler) h = handler_cold;
    for (unsigned i = 0; i < hot_count; ++i) handler[hot_ids[i]] = static_cast<uint16_t>(first_hot + i);
  }
};
constexpr HotIndex hot_index;

// Every line of hot.def names an instance, and none twice.
constexpr bool hot_list_is_sound() {
  for (unsigned i = 0; i < hot_count; ++i) {
    if (hot_ids[i] == 0xffff) return false;
    for (unsigned k = 0; k < i; ++k)
      if (hot_ids[k] == hot_ids[i]) return false;
  }
  return true;
}
static_assert(hot_list_is_sound());

}  // namespace

uint16_t hot_handler(uint16_t id) { return hot_index.handler[id]; }

// ---- The profile from which hot.def is chosen: a build of its own (MATRYOSHKA_PROFILE), made and run by ./bench
// --profile-instances.

#ifdef MATRYOSHKA_PROFILE
namespace {
struct Profile {
  uint64_t count[row_count * 8] = {};
  ~Profile() {
    std::vector<unsigned> order;
    for (unsigned id = 0; id < row_count * 8; ++id)
      if (count[id]) order.push_back(id);
    std::sort(order.begin(), order.end(), [&](unsigned a, unsigned b) { return count[a] > count[b]; });
    for (unsigned id : order) {
      const Row& row = rows[id >> 3];
      std::fprintf(stderr, "%12llu %-6s HOT(%s, \"%s\", %u, %s)\n", static_cast<unsigned long long>(count[id]),
                   row.kind == Kind::kind_inline   ? "inline"
                   : row.kind == Kind::kind_helper ? "helper"
                                                   : "leave",
                   row.mnemonic, row.operands, 8u << (id >> 1 & 3), id & 1 ? "mem" : "reg");
    }
  }
} profile;
}  // namespace
#define PROFILE(op) (op)->handler >= handler_leave ? ++profile.count[(op)->id] : 0
#else
#define PROFILE(op) 0
#endif

// ---- Blocks

namespace {
constexpr unsigned longest_instruction = 15;
}

// The block at RIP, decoded now if it was not. Null: the fetch faulted.
Block* Processor::next_block() {
  uint64_t linear = mode_.code_bits == 64 ? state.rip : static_cast<uint32_t>(state.rip + state.segment[CS].base);
  Mmu::CodePage page;
  if (!mode_.flat_code && state.rip > code_limit_) [[unlikely]] {
    fault.raise(GP_vector, 0);
    return nullptr;
  }
  if (!mmu.fetch_page(linear, page)) [[unlikely]]
    return nullptr;
  Block* block = blocks_.find(page.physical | (linear & (page_size - 1)), mode_key_);
  if (block) [[likely]] {
    if (block->second_page != Block::no_page) [[unlikely]] {
      Mmu::CodePage second;
      uint64_t next = (linear | (page_size - 1)) + 1;
      if (!mmu.fetch_page(mode_.code_bits == 64 ? next : static_cast<uint32_t>(next), second)) return nullptr;
      if (second.physical != block->second_page) return build_block(linear, page);
    }
    if (mode_.flat_code || state.rip + block->bytes - 1 <= code_limit_) [[likely]]
      return block;
  }
  return build_block(linear, page);
}

Block* Processor::build_block(uint64_t linear, const Mmu::CodePage& page) {
  Op ops[BlockCache::max_instructions];
  unsigned count = 0, offset = 0;
  uint64_t second_page = Block::no_page;
  uint64_t in_page = page_size - (linear & (page_size - 1));
  uint64_t in_limit = mode_.flat_code ? ~uint64_t{0} : code_limit_ - state.rip + 1;
  const uint8_t* host = page.host ? page.host + (linear & (page_size - 1)) : nullptr;
  bool keep = host != nullptr;
  uint8_t gathered[longest_instruction];

  while (count < BlockCache::max_instructions) {
    uint64_t available = std::min({in_page - offset, in_limit - offset, uint64_t{longest_instruction}});
    if (available == 0) break;
    const uint8_t* bytes = host + offset;
    if (!host) {
      for (unsigned i = 0; i < available; ++i)
        gathered[i] = static_cast<uint8_t>(mmu.physical_load(page.physical + ((linear + offset + i) & (page_size - 1)), 1));
      bytes = gathered;
    }
    Instruction in;
    DecodeResult result = decoder_.decode({bytes, static_cast<size_t>(available)}, mode_.code_bits, in);
    if (result == DecodeResult::needs_more) {
      if (count > 0) break;  // a block of its own, when it is reached
      if (available == in_limit) {
        fault.raise(GP_vector, 0);
        return nullptr;
      }
      Mmu::CodePage second;
      uint64_t next = (linear | (page_size - 1)) + 1;
      if (!mmu.fetch_page(mode_.code_bits == 64 ? next : static_cast<uint32_t>(next), second)) return nullptr;
      second_page = second.physical;
      keep = keep && second.host;
      uint64_t wanted = std::min<uint64_t>(longest_instruction, in_limit);
      std::copy(bytes, bytes + available, gathered);
      for (uint64_t i = available; i < wanted; ++i)
        gathered[i] = second.host ? second.host[i - available]
                                  : static_cast<uint8_t>(mmu.physical_load(second.physical + i - available, 1));
      result = decoder_.decode({gathered, static_cast<size_t>(wanted)}, mode_.code_bits, in);
      if (result == DecodeResult::needs_more) {
        fault.raise(GP_vector, 0);
        return nullptr;
      }
    }
    // C4 and C5 with a register operand are VEX prefixes in protected mode, and bad LES and LDS in the older modes.
    if (result == DecodeResult::ok && in.vex && !mode_.vex) result = DecodeResult::invalid;
    if (result != DecodeResult::ok) {
      // One that is too long has no length, but must stand somewhere.
      const uint8_t length = std::max<uint8_t>(in.length, 1);
      offset += length;
      ops[count++] = lower_undecodable(result, length, mode_, offset);
      break;
    }
    offset += in.length;
    Op& op = ops[count++];
    op = lower(in, mode_, offset);
    const Row& row = rows[in.row];
    bool repeated = row.family == Family::string && (in.rep || in.repne);
    if (row.kind == Kind::kind_leave || row.attributes & attribute::ENDS || repeated || second_page != Block::no_page || !host)
      break;
  }
  // What cannot be watched for changes is decoded each time: a block without a place in any table.
  if (!keep) {
    std::copy(ops, ops + count, transient_ops_);
    transient_ops_[count] = {};
    transient_ops_[count].handler = handler_end;
    transient_ops_[count].offset = static_cast<uint16_t>(offset);
    transient_ = {};
    transient_.count = static_cast<uint16_t>(count);
    return &transient_;
  }
  uint64_t physical = page.physical | (linear & (page_size - 1));
  if (Block* old = blocks_.find(physical, mode_key_)) blocks_.drop(*old);
  Block* made = blocks_.insert(physical, second_page, mode_key_, offset, ops, count);
  if (regions_) made->entry = regions_->entry_for(physical, mode_key_);
  return made;
}

// ---- Stopping inside a block

void Processor::stop_before(Op* op) {
  resume_stopped();
  if (op->handler == handler_stale) return;
  stop_op_ = op;
  stopped_handler_ = op->handler;
  op->handler = handler_stop;
}

void Processor::stop_after(const Op& op) {
  mmu.had_effect = false;
  attention_ = true;
  if (&op < block_ops_ || &op >= block_end_) return;
  stop_before(block_ops_ + (&op - block_ops_) + 1);
}

void Processor::resume_stopped() {
  // A dropped block keeps handler_stale.
  if (stop_op_ && stop_op_->handler == handler_stop) stop_op_->handler = stopped_handler_;
  stop_op_ = nullptr;
}

uint64_t Processor::ticks_left(const Op& op) const { return limit_ - (block_ticks_ + static_cast<uint64_t>(&op - block_ops_)); }

bool Processor::again(const Op& op, uint64_t ticks_spent) {
  clock.ticks = block_ticks_ + static_cast<uint64_t>(&op - block_ops_) + ticks_spent;
  rep_iterations += ticks_spent;
  state.rip = instruction_start(op);
  restarted_ = true;
  return false;
}

// ---- The switch

// What an FPU or SSE row meets while CR0 and CR4 forbid it.
bool Processor::not_ready(const Op& op) {
  const Row& row = rows[op.row()];
  if (row.attributes & attribute::SSE_STATE && (state.cr0 & cr0::EM || !(state.cr4 & cr4::OSFXSR))) return fault.raise(UD_vector);
  if (row.attributes & attribute::MMX_STATE && state.cr0 & cr0::EM) return fault.raise(UD_vector);
  if (row.attributes & attribute::X87_STATE && state.cr0 & cr0::EM) return fault.raise(NM_vector);
  if (state.cr0 & cr0::TS) return fault.raise(NM_vector);
  return handler_for(op.id)(*this, op);
}

bool Processor::run_leave_row(const Op& op) {
  const Row& row = rows[op.row()];
  sync(op);
  state.rip = next_rip(op);
  if (row.attributes & attribute::PROTECTED && (!state.protected_mode() || state.virtual_8086())) return fault.raise(UD_vector);
  if (row.attributes & attribute::CPL0 && cpl_ != 0) return fault.raise(GP_vector, 0);
  if (row.attributes & (attribute::SSE_STATE | attribute::X87_STATE | attribute::MMX_STATE) &&
      !(mode_.sse_ready && mode_.x87_ready))
    return not_ready(op);
  bool ok = handler_for(op.id)(*this, op);
  if (mmu.had_effect) mmu.had_effect = false, attention_ = true;
  return ok;
}

// An instruction stopped the block: with a fault, or to be continued after whatever is due.
void Processor::finish_faulted(const Op& op) {
  if (restarted_) {
    restarted_ = false;
    state.retired += static_cast<uint64_t>(&op - block_ops_);
    return;
  }
  settle_fault(op);
  fault_met_ = true;
  if (verifier_) [[unlikely]]
    verifier_->met_fault();
  exit_length_ = op.length;
  const uint64_t uncounted = uncounted_in_region();
  state.retired += uncounted;
  deliver_fault();
  state.retired -= uncounted;
  exit_length_ = 0;
  vmx.unblocked_nmi = false;
  attention_ = true;
}

// Where the processor stands when a fault is delivered.
void Processor::settle_fault(const Op& op) {
  clock.ticks = block_ticks_ + static_cast<uint64_t>(&op - block_ops_) + 1;
  state.retired += static_cast<uint64_t>(&op - block_ops_);
  state.rip = instruction_start(op);
  if (fault.by_noncanonical && op.flags & Op::stack_segment) fault.raise(SS_vector, 0);
}

__attribute__((flatten)) void Processor::interpret() {
  bool must_interpret = false;  // a region has stopped in front of what it cannot do
  bool from_region = false, left_to_us = false;
  way_ = nullptr;
  for (;;) {
    if (attention_ && !stepping_) [[unlikely]]
      return;
    if (clock.ticks >= limit_) [[unlikely]]
      return;
    Block* block = next_block();
    if (!block) [[unlikely]] {
      // The fetch of this instruction faulted: it counts as attempted.
      clock.ticks += 1;
      fault_met_ = true;
      exit_length_ = 0;
      deliver_fault();
      attention_ = true;
      return;
    }
    if (regions_ && !stepping_ && !only_interprets_) {
      if (block->entry) {
        if (way_) regions_->link(way_, *block), way_ = nullptr;
        AfterRegion after = must_interpret ? AfterRegion::interpret : run_region(*block);
        if (after == AfterRegion::leave) return;
        from_region = true, left_to_us = after == AfterRegion::interpret;
        must_interpret = !must_interpret && after == AfterRegion::interpret;
        if (after == AfterRegion::go_on || must_interpret) continue;
      } else if (block->heat < regions_->hot) {
        block->heat += block->count + (from_region ? RegionEngine::crossing : 0);
        if (block->heat >= regions_->hot) [[unlikely]]
          regions_->consider(*this, *block);
      }
      must_interpret = false;
      way_ = nullptr;
    }
    Op* op = block_ops_ = block == &transient_ ? transient_ops_ : blocks_.ops(*block);
    if (from_region) [[unlikely]]
      regions_->taken_over(*block, *op, left_to_us), from_region = false;
    block_end_ = op + block->count;
    block_rip_ = state.rip;
    state.gpr[CpuState::slot_block] = state.rip;
    block_ticks_ = clock.ticks;
    if (block_ticks_ + block->count > limit_) [[unlikely]]
      stop_before(op + (limit_ - block_ticks_));
    for (;;) {
      (void)(PROFILE(op));
      switch (op->handler) {
        case handler_end:
          clock.ticks = block_ticks_ + static_cast<uint64_t>(op - block_ops_);
          state.retired += static_cast<uint64_t>(op - block_ops_);
          state.rip = block_rip_ + op->offset;
          if (mode_.code_bits != 64) state.rip = static_cast<uint32_t>(state.rip);
          goto next;
        case handler_stop:
        case handler_stale:
          clock.ticks = block_ticks_ + static_cast<uint64_t>(op - block_ops_);
          state.retired += static_cast<uint64_t>(op - block_ops_);
          state.rip = block_rip_ + op->offset - op->length;
          if (mode_.code_bits != 64) state.rip = static_cast<uint32_t>(state.rip);
          return;
        case handler_leave:
          if (!run_leave_row(*op)) [[unlikely]] {
            finish_faulted(*op);
            return;
          }
          state.retired += static_cast<uint64_t>(op - block_ops_) + 1;
          return;
        case handler_cold:
          if (!handler_for(op->id)(*this, *op)) goto left;
          break;
        case handler_not_ready:
          if (!not_ready(*op)) goto left;
          break;
        case handler_undefined: fault.raise(UD_vector); goto left;
        case handler_too_long: fault.raise(GP_vector, 0); goto left;
#define HOT(mnemonic, operands, bits, form)                                                   \
  case first_hot + (__COUNTER__ - first_case):                                                \
    if (!Instance<hot_id(#mnemonic, operands, bits, Form::form)>::run(*this, *op)) goto left; \
    break;
          static constexpr unsigned first_case = __COUNTER__ + 1;
#include "cpu/hot.def"
#undef HOT
        default: __builtin_unreachable();
      }
      ++op;
    }
  left:
    if (fault.pending | restarted_) [[unlikely]] {
      finish_faulted(*op);
      return;
    }
    // A branch was taken; state.rip is its target.
    clock.ticks = block_ticks_ + static_cast<uint64_t>(op - block_ops_) + 1;
    state.retired += static_cast<uint64_t>(op - block_ops_) + 1;
  next:;
  }
}

// ---- Between two instructions

// "Priority Among Concurrent Events", as far as one processor without SMM meets them. False: the processor stays halted. A guest
// has more that may come between two instructions: service_guest_exits().
bool Processor::service_events() {
  attention_ = false;
  const uint64_t transitions = vmx.transitions();
  if (vmx.on()) {
    if (vmx.non_root() && service_guest_exits()) return true;
    // An INIT waits until VMX operation ends, a SIPI is lost: "INIT signals are blocked in VMX root operation".
    sipi_requested_ = false;
  } else if (init_requested_) {
    init_requested_ = false;
    reset(true);
    if (!(state.msr.apic_base & LocalApic::base_bootstrap)) state.activity = Activity::wait_for_sipi;
  }
  if (sipi_requested_) {
    sipi_requested_ = false;
    if (state.activity == Activity::wait_for_sipi) {
      state.segment[CS] = {static_cast<uint16_t>(sipi_vector_ << 8), 0x9b, 0xffff, uint64_t{sipi_vector_} << 12};
      state.rip = 0;
      state.activity = Activity::active;
      derive();
    }
  }
  if (state.activity != Activity::active) {
    if (!can_wake()) return false;
    state.activity = Activity::active;
  }
  bool shadow = state.sti_shadow || state.mov_ss_shadow;
  if (state.pending_debug && !state.mov_ss_shadow) {
    const uint64_t met = state.pending_debug & (dr6::BS | dr6::BT | 15);
    state.pending_debug = 0;
    deliver({DB_vector, EventKind::exception, false, 0, met});
    clock.ticks += 1;
    if (vmx.transitions() != transitions) return true;
  }
  if (state.nmi_pending && !vmx.nmi_blocked() && !shadow) {
    state.nmi_pending = false;
    state.nmi_blocked = true;
    deliver({NMI_vector, EventKind::nmi});
    clock.ticks += 1;
  } else if (state.system_flags & rflags::IF && !shadow && interrupt_is_due()) {
    deliver({take_interrupt(), EventKind::external});
    clock.ticks += 1;
  }
  return true;
}

// The interrupt that is due, acknowledged where it came from.
uint8_t Processor::take_interrupt() {
  ++interrupts_delivered;
  if (apic.has_interrupt()) return apic.acknowledge();
  apic.pic_acknowledged();
  return pic->acknowledge();
}

// Whether the next instruction must be watched by itself.
bool Processor::must_step() const {
  return state.sti_shadow || state.mov_ss_shadow || state.system_flags & (rflags::TF | rflags::RF) || code_breakpoints() ||
         vmx.watches_instructions();
}

bool Processor::code_breakpoints() const {
  for (unsigned i = 0; i < 4; ++i)
    if (state.dr7 >> 2 * i & 3 && (state.dr7 >> (16 + 4 * i) & 3) == 0) return true;
  return false;
}

// One instruction under TF, RF, a shadow or code breakpoints.
void Processor::step() {
  if (!(state.system_flags & rflags::RF) && state.dr7 & 0xff && code_breakpoints()) {
    uint64_t linear = mode_.code_bits == 64 ? state.rip : static_cast<uint32_t>(state.rip + state.segment[CS].base);
    uint64_t hit = 0;
    for (unsigned i = 0; i < 4; ++i)
      if (state.dr7 >> 2 * i & 3 && (state.dr7 >> (16 + 4 * i) & 3) == 0 && state.dr[i] == linear) hit |= uint64_t{1} << i;
    if (hit && !state.mov_ss_shadow) {
      clock.ticks += 1;
      exit_length_ = 0;
      fault.debug(hit);
      deliver_fault();
      return;
    }
  }
  bool trap = state.system_flags & rflags::TF;
  bool sti = state.sti_shadow, mov_ss = state.mov_ss_shadow;
  uint64_t limit = limit_;
  limit_ = std::min(limit_, clock.ticks + 1);
  state.system_flags &= ~rflags::RF;
  stepping_ = true;
  fault_met_ = false;
  uint64_t events = events_delivered, retired = state.retired, transitions = vmx.transitions();
  interpret();
  stepping_ = false;
  resume_stopped();
  limit_ = limit;
  if (vmx.transitions() != transitions) return;  // into another world, where none of this was
  vmx.instruction_done();
  if (fault_met_) {
    // The shadow ends with the attempt; a fault pushes flags with RF set by itself.
    state.sti_shadow = state.mov_ss_shadow = false;
    return;
  }
  if (sti) state.sti_shadow = false;
  if (mov_ss) state.mov_ss_shadow = false;
  // Between two iterations its own breakpoint does not stop a repeated instruction again: "Resume Flag".
  if (state.retired == retired) state.system_flags |= rflags::RF;
  // INT n and its like have saved TF and cleared it: their trap comes after the IRET.
  if (trap && events == events_delivered) state.pending_debug |= dr6::BS;
  attention_ = true;
}

void Processor::run(uint64_t limit) {
  stop_requested_ = false;
  for (;;) {
    if (clock.next_deadline() <= clock.now()) clock.run_due();
    if (stop_requested_ || clock.ticks >= limit) return;
    // A halted processor stays halted, whether or not there is news.
    if ((attention_ || idle()) && (!service_events() || stop_requested_)) return;
    // An event that was just delivered may let in another, which comes before the handler's first instruction, as it does when a
    // slice ends here.
    if (attention_) continue;
    limit_ = std::min(limit, clock.next_deadline_ticks());
    if (clock.ticks >= limit_) continue;
    if (must_step()) {
      step();
      attention_ = true;
    } else {
      interpret();
      resume_stopped();
    }
  }
}

}  // namespace matryoshka
