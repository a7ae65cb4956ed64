// Between the interpreter and the regions of the second engine.
#include <algorithm>

#include "cpu/handlers.h"
#include "cpu/region_verifier.h"

namespace matryoshka {

RegionContext Processor::region_context() {
  return {state.gpr,        &state.rip,          &reinterpret_cast<uint64_t&>(state.flags.result),
          &state.flags.aux, &state.system_flags, segment_base_,
          segment_room_,    &attention_,         mmu.data_set(),
          mmu.code_set(),   &block_ops_,         &block_rip_,
          &block_ticks_,    &region_end_ticks_,  state.xmm,
          &state.mxcsr,     &state.sti_shadow,   canonical_unused_};
}

Processor::AfterRegion Processor::run_region(const Block& block) {
  // The same bytes may also be mapped where a direct jump can leave the canonical addresses (Mmu::near_edge).
  Mmu::CodePage page;
  if (!mmu.known_code_page(mode_.code_bits == 64 ? state.rip : static_cast<uint32_t>(state.rip), page))
    return AfterRegion::interpret;
  if (verifier_) [[unlikely]]
    return verifier_->run(block.entry);
  RegionEngine::Outcome outcome = call_region(block.entry, static_cast<int32_t>(std::min(limit_ - clock.ticks, longest_stay)));
  way_ = outcome.way;
  if (outcome.end == RegionEngine::End::faulted) {
    finish_faulted(*outcome.op);
    return AfterRegion::leave;
  }
  // The instruction after an STI was not the region's to do after all.
  if (state.sti_shadow) {
    attention_ = true;
    return AfterRegion::leave;
  }
  return outcome.end == RegionEngine::End::next ? AfterRegion::go_on : AfterRegion::interpret;
}

RegionEngine::Outcome Processor::call_region(uint32_t entry, int32_t budget) {
  const uint64_t start = region_start_ticks_ = clock.ticks, deadline = clock.next_deadline();
  region_end_ticks_ = start + static_cast<uint64_t>(budget);
  region_deadline_ = deadline, region_charges_ = 0;
  block_end_ = nullptr;  // stop_after() has nothing to stop: regions look at attention_ themselves
  in_region_ = true;
  RegionEngine::Outcome outcome = regions_->run(entry, budget);
  in_region_ = false;
  clock.ticks = region_end_ticks_ - static_cast<uint64_t>(static_cast<int64_t>(outcome.left));
  uint64_t used = clock.ticks - start - region_charges_;
  state.retired += used;
  instructions_in_regions += used;
  return outcome;
}

// The same without regions, for the verifier. False: something else comes before the limit, such as a fault.
bool Processor::interpret_until(uint64_t limit) {
  uint64_t whole = limit_;
  limit_ = limit;
  only_interprets_ = true;
  for (uint64_t before = ~uint64_t{0}; clock.ticks < limit && clock.ticks != before && !attention_;) {
    before = clock.ticks;
    interpret();
    resume_stopped();
  }
  only_interprets_ = false;
  limit_ = whole;
  return clock.ticks == limit && !attention_;
}

// What run() would find to do before the next instruction.
bool Processor::nothing_is_due() const {
  if (stop_requested_ || init_requested_ || sipi_requested_ || idle() || state.pending_debug) return false;
  if (clock.next_deadline() != region_deadline_) return false;
  if (state.nmi_pending && !vmx.nmi_blocked()) return false;
  if (vmx.non_root() && guest_exit_due()) return false;
  return !(state.system_flags & rflags::IF && interrupt_is_due());
}

RegionContinuation Processor::run_in_region(const Op& op, bool may_go_on) {
  const uint64_t before = block_ticks_;
  if (verifier_ && verifier_->stops_before(op, may_go_on)) [[unlikely]]
    return {RegionContinuation::stop, static_cast<int32_t>(region_end_ticks_ - before), 0};
  const uint32_t mode = mode_key_;
  bool ok;
  if (rows[op.row()].kind == Kind::kind_leave) {
    ok = run_leave_row(op);
  } else {
    ok = handler_for(op.id)(*this, op);
    if (ok) sync(op), state.rip = next_rip(op);
  }
  if (!ok && may_go_on) return {RegionContinuation::faulted, static_cast<int32_t>(region_end_ticks_ - before), 0};
  if (!ok) finish_faulted(op);
  if (mode_.code_bits != 64) state.rip = static_cast<uint32_t>(state.rip);
  region_charges_ += clock.ticks - before - (ok ? 1 : 0);
  RegionContinuation next{RegionContinuation::stop, 0, 0};
  // An STI's shadow goes with the next instruction, which is the region's.
  bool shadowed = may_go_on && state.sti_shadow && !(state.mov_ss_shadow || state.system_flags & (rflags::TF | rflags::RF));
  attention_ = !ok || !nothing_is_due() || (!shadowed && must_step());
  if (!attention_ && clock.ticks < region_end_ticks_) {
    Mmu::CodePage page;
    uint64_t linear = mode_.code_bits == 64 ? state.rip : static_cast<uint32_t>(state.rip);
    if (may_go_on && mode_key_ == mode) {
      next.how = RegionContinuation::go_on;
    } else if (!shadowed && mode_.flat_code && mmu.known_code_page(linear, page)) {
      Block* block = blocks_.find(page.physical | (linear & (page_size - 1)), mode_key_);
      if (block && block->entry) next = {RegionContinuation::enter, 0, block->entry};
    }
  }
  // More may have passed than the budget can say.
  region_end_ticks_ = std::max(region_end_ticks_, clock.ticks);
  next.left = static_cast<int32_t>(region_end_ticks_ - clock.ticks);
  return next;
}

}  // namespace matryoshka
