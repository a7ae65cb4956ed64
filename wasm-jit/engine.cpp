#include "wasm-jit/engine.h"

#include <cstdio>

#include "cpu/disassemble.h"
#include "cpu/handlers.h"
#include "wasm-jit/wasm_text.h"

namespace matryoshka::jit {

namespace {

// In wasm a pointer is an address, and a pointer to a function its slot in the table. Natively neither is true: the engine can
// then write modules, for tests, but not run them.
Address address_of(const volatile void* p) { return static_cast<Address>(reinterpret_cast<uintptr_t>(p)); }
template <class Function>
uint32_t slot_of(Function* f) {
  return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(f));
}

using RegionFunction = int32_t (*)(int32_t, int32_t);

int32_t budget_left;
Engine* running = nullptr;  // there is one machine in an instance

// Where a cell leads at first: back to the dispatcher.
int32_t unlinked(int32_t budget, int32_t cell) {
  budget_left = budget;
  return cell;
}

}  // namespace

Engine::Engine(Processor& cpu, ModuleHost& host, uint32_t capacity)
    : cpu_(cpu),
      host_(host),
      cache_(cpu.blocks(), cpu.memory, slot_of(&unlinked)),
      capacity_(capacity),
      tail_calls_(host.tail_calls()) {
  auto fixed = [](ExitKind kind) {
    return LinkCell{slot_of(&unlinked), static_cast<uint32_t>(kind), 0, nullptr, nullptr, false};
  };
  interpreted_cell_ = fixed(ExitKind::interpreted);
  refused_cell_ = fixed(ExitKind::refused);
  fault_cell_ = fixed(ExitKind::helper_fault);
  indirect_cell_ = fixed(ExitKind::indirect);
  next_cell_ = entered_cell_ = fixed(ExitKind::next);
  running = this;
  jumps_.resize(JumpEntry::count);
  forget_jumps();
  first_slot_ = next_slot_ = host.reserve(capacity_);
}

Layout Engine::layout() {
  RegionContext c = cpu_.region_context();
  Layout l;
  l.gpr = address_of(c.gpr), l.rip = address_of(c.rip);
  l.flag_result = address_of(c.flag_result), l.flag_aux = address_of(c.flag_aux), l.system_flags = address_of(c.system_flags);
  l.segment_base = address_of(c.segment_base), l.segment_room = address_of(c.segment_room);
  l.attention = address_of(c.attention);
  l.data_tlb = address_of(c.data->entries), l.code_tlb = address_of(c.code->entries);
  l.xmm = address_of(c.xmm), l.mxcsr = address_of(c.mxcsr);
  l.processor = address_of(&cpu_);
  l.block_ops = address_of(c.block_ops), l.block_rip = address_of(c.block_rip), l.block_ticks = address_of(c.block_ticks);
  l.end_ticks = address_of(c.end_ticks), l.budget_left = address_of(&budget_left), l.fault_op = address_of(&fault_op_);
  l.interpreted_cell = address_of(&interpreted_cell_), l.refused_cell = address_of(&refused_cell_);
  l.fault_cell = address_of(&fault_cell_), l.indirect_cell = address_of(&indirect_cell_);
  l.next_cell = address_of(&next_cell_);
  l.sti_shadow = address_of(c.sti_shadow);
  l.run_and_go_on = slot_of(&run_in_region<true>), l.run_and_leave = slot_of(&run_in_region<false>);
  l.jumps = address_of(jumps_.data());
  l.canonical_unused = c.canonical_unused;
  l.tail_calls = tail_calls_;
  return l;
}

// What regions call for a row of kind leave. By which cell to leave; 0: not at all.
template <bool may_go_on>
int32_t Engine::run_in_region(Processor& cpu, const Op& op) {
  RegionContinuation next = cpu.run_in_region(op, may_go_on);
  budget_left = next.left;
  if (next.how == RegionContinuation::go_on) return 0;
  if (next.how == RegionContinuation::faulted) {
    running->fault_op_ = &op;
    return static_cast<int32_t>(address_of(&running->fault_cell_));
  }
  if (next.how == RegionContinuation::stop) return static_cast<int32_t>(address_of(&running->next_cell_));
  running->entered_cell_.slot = next.entry;
  return static_cast<int32_t>(address_of(&running->entered_cell_));
}

// ---- Making regions

void Engine::consider(Processor& cpu, Block& block) {
  if (first_slot_ == 0 || cache_.find(block.physical, block.mode)) return;
  Region region;
  if (!form(cpu, block, slow_, most_instructions, region)) {
    ++statistics_.refused;
    return;
  }
  Translation& t = cache_.add(region);
  emitting_ = &t;
  if (waiting_.empty()) waiting_since_ = cpu_.clock.ticks;
  std::vector<StepMark> marks;
  waiting_.push_back({t.number, t.key, emit(region, layout(), *this, traces_ ? &marks : nullptr)});
  if (traces_) write_down(region, waiting_.back().body, marks);
  emitting_ = nullptr;
  ++statistics_.regions;
  statistics_.instructions += region.instructions;
  if (waiting_.size() >= batch) compile_waiting();
}

void Engine::write_down(const Region& region, const WasmWriter& body, const std::vector<StepMark>& marks) {
  char line[160];
  std::snprintf(line, sizeof line, "region at %llx, physical %llx, mode %x: %u instructions in %zu nodes, %zu bytes\n",
                static_cast<unsigned long long>(cpu_.state.rip), static_cast<unsigned long long>(region.key.physical),
                region.key.mode, region.instructions, region.nodes.size(), body.bytes.size());
  trace_ += line;
  std::vector<Note> notes;
  for (const StepMark& mark : marks) {
    uint64_t rip = cpu_.state.rip + static_cast<uint64_t>(mark.distance);
    if (region.mode.code_bits != 64) rip = static_cast<uint32_t>(rip);
    std::snprintf(line, sizeof line, "%llx  ", static_cast<unsigned long long>(rip));
    notes.push_back({mark.offset, line + disassemble_at(cpu_, rip)});
  }
  trace_ += text_of(body, notes) + "\n";
}

void Engine::taken_over(const Block& block, const Op& op, bool left) {
  ++statistics_.taken_over[op.row()];
  if (left && left_at_site_ && slow_.note(block.physical)) compile_again(block.physical);
}

// What holds this instruction is made anew when it is next met.
void Engine::compile_again(uint64_t physical) {
  for (const RegionKey& key : cache_.drop_holding(physical)) {
    Block* block = cpu_.blocks().find(key.physical, key.mode);
    if (block) block->heat = hot - 1;
  }
  forget_jumps();
}

Address Engine::new_cell() { return address_of(cache_.new_cell(*emitting_)); }
Address Engine::keep(const Op& op) {
  emitting_->ops.push_back(op);
  return address_of(&emitting_->ops.back());
}
Address Engine::keep(std::vector<ExitSite> sites) {
  emitting_->sites = std::move(sites);
  return address_of(emitting_->sites.data());
}
uint32_t Engine::helper_slot(const Op& op) { return slot_of(handler_for(op.id)); }

void Engine::flush() {
  cache_.bury();
  if (!waiting_.empty() && cpu_.clock.ticks - waiting_since_ > longest_wait) compile_waiting();
}

void Engine::compile_now() {
  cache_.bury();
  compile_waiting();
}

void Engine::compile_waiting() {
  if (waiting_.empty()) return;
  auto count = static_cast<uint32_t>(waiting_.size());
  if (next_slot_ + count > first_slot_ + capacity_) next_slot_ = first_slot_;
  cache_.drop_slots(next_slot_, count);
  if (cache_.jump_target_dropped()) forget_jumps();
  statistics_.dropped = cache_.dropped_count;
  std::vector<WasmWriter> bodies;
  for (Waiting& w : waiting_) bodies.push_back(std::move(w.body));
  WasmWriter module = module_of(bodies, next_slot_);
  bool made = host_.instantiate(module.bytes);
  if (made) {
    ++statistics_.modules;
    statistics_.bytes += module.bytes.size();
  }
  // Where the host would not, translations stay without a slot, so that the same code is not written again and again.
  for (uint32_t i = 0; made && i < count; ++i) {
    Translation* t = cache_.find(waiting_[i].key.physical, waiting_[i].key.mode);
    if (!t || t->number != waiting_[i].number) continue;  // dropped while it waited
    cache_.place(*t, next_slot_ + i);
  }
  next_slot_ += count;
  waiting_.clear();
  // A host that would not even once forbids it: nothing more is written.
  if (statistics_.modules == 0) first_slot_ = 0;
}

// ---- Running them

RegionEngine::Outcome Engine::run(uint32_t entry, int32_t budget) {
  auto function = reinterpret_cast<RegionFunction>(static_cast<uintptr_t>(entry));
  auto* cell = reinterpret_cast<LinkCell*>(static_cast<uintptr_t>(static_cast<uint32_t>(function(budget, 0))));
  auto kind = static_cast<ExitKind>(cell->kind);
  ++statistics_.exits[cell->kind];
  left_at_site_ = kind == ExitKind::interpreted;
  Outcome outcome{End::interpreted, budget_left, nullptr, nullptr};
  if (kind == ExitKind::next || kind == ExitKind::indirect) {
    outcome.end = End::next;
    if (cell->live || cell == &indirect_cell_) outcome.way = cell;
  } else if (kind == ExitKind::helper_fault) {
    outcome.end = End::faulted;
    outcome.op = fault_op_;
  }
  return outcome;
}

void Engine::link(void* way, const Block& target) {
  ++statistics_.links;
  if (way == &indirect_cell_) {
    uint64_t rip = cpu_.state.rip;
    cache_.note_jump(target.entry);
    jumps_[JumpEntry::hash(rip)] = {target.entry, target.mode, target.physical & ~uint64_t{page_size - 1}, rip};
    return;
  }
  cache_.link(*static_cast<LinkCell*>(way), target.entry, target);
}

uint32_t Engine::entry_for(uint64_t physical, uint32_t mode) const {
  Translation* t = const_cast<CodeCache&>(cache_).find(physical, mode);
  return t ? t->slot : 0;
}

uint64_t Engine::drop_written(uint64_t page, uint64_t granules) {
  uint64_t used = cache_.drop_written(page, granules);
  if (cache_.jump_target_dropped()) forget_jumps();
  statistics_.dropped = cache_.dropped_count;
  return used;
}

void Engine::drop_all() {
  cache_.drop_all();
  forget_jumps();
}

// Any of them may lead to a region that is gone. An address that is not canonical is nobody's RIP.
void Engine::forget_jumps() {
  for (JumpEntry& e : jumps_) e = {0, 0, 0, uint64_t{1} << 62};
}

}  // namespace matryoshka::jit
