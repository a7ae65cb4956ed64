// Between the interpreter and the regions of the second engine.
#include <algorithm>

#include "cpu/processor.h"

namespace matryoshka {

namespace {
// V8 compiles a function well only when it is entered again and again, so a region comes back after this many ticks at the
// latest.
constexpr uint64_t longest_stay = 50'000;
}  // namespace

RegionContext Processor::region_context() {
  return {state.gpr,          &state.rip,          &reinterpret_cast<uint64_t&>(state.flags.result),
          &state.flags.aux,   &state.system_flags, segment_base_,
          &attention_,        mmu.data_set(),      mmu.code_set(),
          &block_ops_,        &block_rip_,         &block_ticks_,
          &region_end_ticks_, state.xmm,           &state.mxcsr,
          canonical_unused_};
}

Processor::AfterRegion Processor::run_region(const Block& block) {
  // The same bytes may also be mapped where a direct jump can leave the canonical addresses (Mmu::near_edge).
  Mmu::CodePage page;
  if (!mmu.known_code_page(mode_.code_bits == 64 ? state.rip : static_cast<uint32_t>(state.rip), page))
    return AfterRegion::interpret;
  auto budget = static_cast<int32_t>(std::min(limit_ - clock.ticks, longest_stay));
  region_end_ticks_ = clock.ticks + static_cast<uint64_t>(budget);
  block_end_ = nullptr;  // stop_after() has nothing to stop: regions look at attention_ themselves
  in_region_ = true;
  RegionEngine::Outcome outcome = regions_->run(block.entry, budget);
  in_region_ = false;
  auto used = static_cast<uint64_t>(budget - outcome.left);
  clock.ticks = region_end_ticks_ - static_cast<uint64_t>(outcome.left);
  state.retired += used;
  instructions_in_regions += used;
  way_ = outcome.way;
  if (outcome.end == RegionEngine::End::faulted) {
    finish_faulted(*outcome.op);
    return AfterRegion::leave;
  }
  return outcome.end == RegionEngine::End::next ? AfterRegion::go_on : AfterRegion::interpret;
}

}  // namespace matryoshka
