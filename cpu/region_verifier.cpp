#include "cpu/region_verifier.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>

#include "cpu/disassemble.h"
#include "cpu/isa.h"

namespace matryoshka {

namespace {

// Pages open for stores at a time. More cost more copying at each run, fewer let more stores end a region.
constexpr size_t most_open = 12;
// The whole of the TLBs is looked through once in so many runs.
constexpr uint64_t audit_every = 1024;
constexpr size_t most_shown = 64;

__attribute__((format(printf, 2, 3))) void add_line(std::string& text, const char* format, ...) {
  char line[160];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  text += line;
  text += '\n';
}

using Number = unsigned long long;

// Every saved bit; what is not saved is scratch.
std::vector<uint8_t> saved(const CpuState& state) {
  CpuState copy = state;
  Archive ar = Archive::saving();
  copy.serialize(ar);
  return std::move(ar.output());
}

}  // namespace

RegionVerifier::RegionVerifier(Processor& cpu, uint64_t seed) : cpu_(cpu), random_(seed) {
  cpu_.memory.set_change_watcher(this);
  cpu_.forget_caches();
}

RegionVerifier::~RegionVerifier() { cpu_.memory.set_change_watcher(nullptr); }

uint64_t RegionVerifier::random(uint64_t below) {
  random_ = random_ * 6364136223846793005u + 1442695040888963407u;
  return (random_ >> 33) % below;
}

// ---- Changes, as they come

RegionVerifier::Page& RegionVerifier::page(uint64_t number) {
  for (auto& p : pages_)
    if (p->number == number) return *p;
  if (spare_.empty()) spare_.push_back(std::make_unique<Page>());
  pages_.push_back(std::move(spare_.back()));
  spare_.pop_back();
  Page& p = *pages_.back();
  p.number = number, p.open = false, p.changed_by_region = false;
  p.dirty_before = p.dirty_after_region = cpu_.memory.page_dirty(number);
  std::memcpy(p.before, bytes(p), page_size);
  return p;
}

void RegionVerifier::before_write(uint64_t number) {
  if (phase_ != Phase::none) page(number);
}

void RegionVerifier::opened(uint64_t number) { page(number).open = true; }

void RegionVerifier::before_fill(TlbSet& set) {
  if (phase_ == Phase::none) return;
  for (auto& c : changed_sets_)
    if (c->set == &set) return;
  if (spare_sets_.empty()) spare_sets_.push_back(std::make_unique<ChangedSet>());
  changed_sets_.push_back(std::move(spare_sets_.back()));
  spare_sets_.pop_back();
  ChangedSet& c = *changed_sets_.back();
  c.set = &set, c.before = set;
  if (phase_ == Phase::interpreter) c.after_region = set;
}

bool RegionVerifier::may_reach_device() {
  if (phase_ != Phase::region) return true;
  reached_device_ = true;
  return false;
}

void RegionVerifier::met_fault() {
  if (phase_ != Phase::interpreter) return;
  interpreter_ = {cpu_.state, cpu_.clock.ticks, cpu_.fault};
  fault_met_ = true;
  // Delivering it writes to the handler's stack.
  compare_memory(at_fault_);
  compare_tlb(at_fault_);
}

bool RegionVerifier::stops_before(const Op& op, bool may_go_on) {
  if (phase_ != Phase::region) return false;
  if (rows[op.row()].kind != Kind::kind_leave && may_go_on) return false;
  uint64_t rip = cpu_.instruction_start(op);
  stopped_at_ = cpu_.mode().code_bits == 64 ? rip : static_cast<uint32_t>(rip);
  return true;
}

// ---- One run, twice

// Pages that were opened last stay open; of each there is a copy from now on.
void RegionVerifier::begin() {
  size_t open = static_cast<size_t>(std::count_if(pages_.begin(), pages_.end(), [](auto& p) { return p->open; }));
  std::erase_if(pages_, [&](std::unique_ptr<Page>& p) {
    if (p->open && open <= most_open) return false;
    if (p->open) cpu_.mmu.withhold_writes(cpu_.memory.page_address(p->number)), --open;
    spare_.push_back(std::move(p));
    return true;
  });
  for (auto& p : pages_) {
    std::memcpy(p->before, bytes(*p), page_size);
    p->dirty_before = p->dirty_after_region = cpu_.memory.page_dirty(p->number);
    p->changed_by_region = false;
  }
  for (auto& c : changed_sets_) spare_sets_.push_back(std::move(c));
  changed_sets_.clear();
  before_ = {cpu_.state, cpu_.clock.ticks, {}};
}

void RegionVerifier::run_region(uint32_t entry, int32_t budget) {
  phase_ = Phase::region;
  reached_device_ = false;
  stopped_at_.reset();
  way_out_ = cpu_.call_region(entry, budget);
  if (stopped_at_) cpu_.state.rip = *stopped_at_, way_out_.end = RegionEngine::End::interpreted;
  if (way_out_.end == RegionEngine::End::faulted) {
    // A repeated instruction that is to go on later has met no fault.
    if (cpu_.restarted_)
      cpu_.restarted_ = false, way_out_.end = RegionEngine::End::interpreted;
    else
      cpu_.settle_fault(*way_out_.op);
  }
  phase_ = Phase::none;
  cpu_.state.gpr[CpuState::slot_block] = before_.state.gpr[CpuState::slot_block];
  region_ = {cpu_.state, cpu_.clock.ticks, cpu_.fault};
  for (auto& p : pages_) {
    p->dirty_after_region = cpu_.memory.page_dirty(p->number);
    p->changed_by_region = std::memcmp(p->before, bytes(*p), page_size) != 0;
    if (p->changed_by_region) std::memcpy(p->after_region, bytes(*p), page_size);
  }
  for (auto& c : changed_sets_) c->after_region = *c->set;
  take_back();
}

// The machine is again as it was when begin() was called.
void RegionVerifier::take_back() {
  for (auto& p : pages_) {
    if (std::memcmp(p->before, bytes(*p), page_size) != 0) std::memcpy(bytes(*p), p->before, page_size);
    cpu_.memory.set_page_dirty(p->number, p->dirty_before);
  }
  for (auto& c : changed_sets_) {
    *c->set = c->before;
    // Code may have been found on a page since.
    for (unsigned slot = 0; slot < TlbSet::size; ++slot)
      if (!cpu_.mmu.is_sound(*c->set, slot)) c->set->entries[slot].write_tag = uint64_t{slot} << 12 ^ TlbEntry::withheld;
  }
  cpu_.state = before_.state;
  cpu_.clock.ticks = before_.ticks;
  cpu_.fault.clear();
  cpu_.mmu.had_effect = false;
  if (cpu_.cpl() != cpu_.state.cpl() || cpu_.mode_key() != before_mode_) cpu_.derive();
  cpu_.attention_ = false;
}

void RegionVerifier::interpret(uint64_t until) {
  phase_ = Phase::interpreter;
  fault_met_ = false;
  at_fault_.clear();
  cpu_.interpret_until(until);
  phase_ = Phase::none;
  // One that has met a fault is looked at before it is delivered.
  if (!fault_met_) interpreter_ = {cpu_.state, cpu_.clock.ticks, {}};
  interpreter_.state.gpr[CpuState::slot_block] = before_.state.gpr[CpuState::slot_block];
}

// True: they differ. `report` receives how.
bool RegionVerifier::compare(uint32_t entry, int32_t budget, std::string& report) {
  report.clear();
  begin();
  bool whole = figures_.runs % audit_every == 0;
  std::vector<TlbEntry> tlb;
  if (whole) cpu_.mmu.each_set([&](TlbSet& set) { tlb.insert(tlb.end(), set.entries, set.entries + TlbSet::size); });
  run_region(entry, budget);
  if (whole) audit(tlb, report);
  if (!reached_device_) {
    interpret(region_.ticks);
    compare_state(report);
    if (fault_met_) {
      report += at_fault_;
    } else {
      compare_memory(report);
      compare_tlb(report);
    }
  }
  return !report.empty();
}

Processor::AfterRegion RegionVerifier::run(uint32_t entry) {
  using After = Processor::AfterRegion;
  if (!difference_.empty()) return cpu_.stop(), After::leave;
  // Mostly as far as a region would go by itself; else it must stop sooner, and its loops and links in other places.
  uint64_t most = std::min(cpu_.limit_ - cpu_.clock.ticks, Processor::longest_stay);
  switch (random(4)) {
    case 0: most = std::min(most, 1 + random(64)); break;
    case 1: most = std::min(most, 1 + random(2000)); break;
    default: break;
  }
  auto budget = static_cast<int32_t>(most);
  before_mode_ = cpu_.mode_key();
  if (std::string report; compare(entry, budget, report)) {
    explain(entry, budget, std::move(report));
    return After::leave;
  }
  if (reached_device_) {
    ++figures_.set_aside;
    return After::interpret;
  }
  uint64_t ticks = region_.ticks - before_.ticks;
  ++figures_.runs;
  figures_.instructions += ticks;
  if (fault_met_ || cpu_.attention_) return After::leave;
  if (ticks == 0) return After::interpret;
  cpu_.way_ = way_out_.way;
  return way_out_.end == RegionEngine::End::next ? After::go_on : After::interpret;
}

// ---- What differs

void RegionVerifier::compare_state(std::string& text) {
  const Outcome &r = region_, &i = interpreter_;
  if (r.ticks != i.ticks)
    add_line(text, "  ticks   region %llu, interpreter %llu", Number{r.ticks - before_.ticks}, Number{i.ticks - before_.ticks});
  bool faulted = way_out_.end == RegionEngine::End::faulted;
  if (faulted != fault_met_)
    add_line(text, "  fault   %s has met one, with vector %u", faulted ? "only the region" : "only the interpreter",
             faulted ? r.fault.vector : i.fault.vector);
  else if (faulted &&
           (r.fault.vector != i.fault.vector || r.fault.has_error_code != i.fault.has_error_code ||
            (r.fault.has_error_code && r.fault.error_code != i.fault.error_code) ||
            (r.fault.vector == PF_vector && r.fault.address != i.fault.address) || r.fault.is_exit != i.fault.is_exit ||
            (r.fault.is_exit && (r.fault.pending_exit.reason != i.fault.pending_exit.reason ||
                                 r.fault.pending_exit.qualification != i.fault.pending_exit.qualification))))
    add_line(text, "  fault   region %u (%x at %llx), interpreter %u (%x at %llx)", r.fault.vector, r.fault.error_code,
             Number{r.fault.address}, i.fault.vector, i.fault.error_code, Number{i.fault.address});
  if (std::memcmp(&r.state, &i.state, sizeof r.state) == 0 || saved(r.state) == saved(i.state)) return;
  size_t before = text.size();
  auto number = [&](const char* name, uint64_t x, uint64_t y) {
    if (x != y) add_line(text, "  %-7s region %016llx, interpreter %016llx", name, Number{x}, Number{y});
  };
  static constexpr const char* names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                          "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
  for (unsigned n = 0; n < 16; ++n) number(names[n], r.state.gpr[n], i.state.gpr[n]);
  number("rip", r.state.rip, i.state.rip);
  number("rflags", r.state.rflags(), i.state.rflags());
  number("retired", r.state.retired, i.state.retired);
  number("mxcsr", r.state.mxcsr, i.state.mxcsr);
  for (unsigned n = 0; n < 16; ++n)
    for (unsigned half = 0; half < 2; ++half)
      number(("xmm" + std::to_string(n) + (half ? ".h" : ".l")).c_str(), r.state.xmm[n].q[half], i.state.xmm[n].q[half]);
  number("x87.st", r.state.x87.status, i.state.x87.status);
  for (unsigned n = 0; n < 8; ++n)
    number(("x87.r" + std::to_string(n)).c_str(), r.state.x87.registers[n].significand, i.state.x87.registers[n].significand);
  number("cr2", r.state.cr2, i.state.cr2);
  if (text.size() == before) add_line(text, "  state   differs in what this report does not name");
}

void RegionVerifier::compare_memory(std::string& text) {
  PhysicalMemory& memory = cpu_.memory;
  for (auto& p : pages_) {
    const uint8_t* by_region = p->changed_by_region ? p->after_region : p->before;
    const uint8_t* by_interpreter = bytes(*p);
    uint64_t address = memory.page_address(p->number);
    if (std::memcmp(by_region, by_interpreter, page_size) != 0) {
      unsigned shown = 0;
      for (unsigned at = 0; at < page_size && shown < 4; at += 8) {
        uint64_t x, y;
        std::memcpy(&x, by_region + at, 8), std::memcpy(&y, by_interpreter + at, 8);
        if (x == y) continue;
        ++shown;
        add_line(text, "  memory  at %llx: region %016llx, interpreter %016llx", Number{address + at}, Number{x}, Number{y});
      }
    }
    bool dirty = memory.page_dirty(p->number);
    if (p->dirty_after_region != dirty)
      add_line(text, "  memory  page %llx is marked as written only by the %s", Number{address},
               dirty ? "interpreter" : "region");
    if (p->changed_by_region && !p->dirty_after_region)
      add_line(text, "  memory  page %llx was changed and is not marked as written", Number{address});
  }
}

void RegionVerifier::compare_tlb(std::string& text) {
  auto entry = [&](const char* who, const TlbEntry& e) {
    add_line(text, "  tlb     %s: page %llx, tags %llx %llx, info %llx", who, Number{e.info & ~uint64_t{0xfff}},
             Number{e.read_tag}, Number{e.write_tag}, Number{e.info});
  };
  for (auto& c : changed_sets_)
    for (unsigned slot = 0; slot < TlbSet::size; ++slot) {
      const TlbEntry &by_region = c->after_region.entries[slot], &now = c->set->entries[slot];
      if (!TlbSet::same_translation(by_region, now)) entry("region", by_region), entry("interpreter", now);
      if (!cpu_.mmu.is_sound(*c->set, slot)) entry("lets through what it may not", now);
    }
}

// Nothing but what was noted may have changed, and every entry must be sound.
void RegionVerifier::audit(const std::vector<TlbEntry>& before, std::string& text) {
  size_t at = 0;
  cpu_.mmu.each_set([&](TlbSet& set) {
    for (unsigned slot = 0; slot < TlbSet::size; ++slot, ++at) {
      if (std::memcmp(&before[at], &set.entries[slot], sizeof(TlbEntry)) != 0 &&
          !TlbSet::same_translation(before[at], set.entries[slot]))
        add_line(text, "  tlb     slot %u was written by the region itself", slot);
      if (!cpu_.mmu.is_sound(set, slot)) add_line(text, "  tlb     slot %u lets through what it may not", slot);
    }
  });
}

// ---- The report

// Finds the shortest run that still differs, and leaves the machine where the interpreter comes to by it.
void RegionVerifier::explain(uint32_t entry, int32_t budget, std::string report) {
  uint64_t rip = before_.state.rip, tick = before_.ticks;
  int32_t shortest = 0;
  take_back();
  do {
    bool differ = compare(entry, ++shortest, report);
    take_back();
    if (differ) break;
  } while (shortest < budget);
  uint64_t ticks = region_.ticks - before_.ticks;
  add_line(difference_, "A region differs from the interpreter at tick %llu, RIP %llx, after %llu ticks of a budget of %d.",
           Number{tick}, Number{rip}, Number{ticks}, shortest);
  difference_ += report;
  add_line(difference_, "What the interpreter ran:");
  std::vector<std::string> lines;
  for (uint64_t end = std::min(region_.ticks, tick + static_cast<uint64_t>(shortest)); cpu_.clock.ticks < end;) {
    std::string line;
    add_line(line, "  %8llx  %s", Number{cpu_.state.rip}, disassemble_at(cpu_, cpu_.state.rip).c_str());
    lines.push_back(std::move(line));
    uint64_t interpreted_from = cpu_.clock.ticks;
    interpret(cpu_.clock.ticks + 1);
    if (fault_met_ || cpu_.attention_ || cpu_.clock.ticks == interpreted_from) break;
  }
  if (lines.size() > most_shown) {
    add_line(difference_, "  (%llu earlier ones)", Number{lines.size() - most_shown});
    lines.erase(lines.begin(), lines.end() - most_shown);
  }
  for (const std::string& line : lines) difference_ += line;
  cpu_.stop();
}

}  // namespace matryoshka
