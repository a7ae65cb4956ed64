#include "cpu/vectors/vector_runner.h"

#include <algorithm>
#include <cstring>

#include "cpu/isa.h"

namespace matryoshka {

namespace {

// Physical memory: real mode's first megabyte and a bit, then one frame for each page of a case, then page tables.
constexpr uint64_t real_bytes = 0x110000, frames_at = real_bytes, tables_at = frames_at + VectorRunner::max_pages * page_size,
                   ram_bytes = 8 << 20;
// A case can need three tables for each of its pages.
constexpr uint64_t tables_for_a_case = 3 * VectorRunner::max_pages * page_size;
constexpr uint64_t entry_present = 1, entry_writable = 2, entry_user = 4, entry_accessed = 32, entry_dirty = 64,
                   entry_no_execute = uint64_t{1} << 63;

CpuModel model_with(const FeatureSet& features) {
  CpuModel model;
  model.features = features;
  return model;
}

Segment flat(uint16_t selector, uint32_t type, unsigned privilege, uint32_t size_bits) {
  bool wide = size_bits != 0;
  return {static_cast<uint16_t>(selector | privilege), 0x90u | type | privilege << 5 | (wide ? 0x8000u : 0u) | size_bits,
          wide ? 0xffffffffu : 0xffffu, 0};
}

CpuState fresh_state(VectorRunner::Mode mode, unsigned privilege, const CpuState& after_reset) {
  using Mode = VectorRunner::Mode;
  CpuState s = after_reset;
  std::fill(std::begin(s.gpr), std::end(s.gpr), 0);
  s.rip = 0;
  s.retired = 0;
  s.x87 = X87State{};
  s.cr0 = cr0::ET | cr0::NE | cr0::MP | cr0::AM;
  s.cr4 = cr4::OSFXSR | cr4::OSXMMEXCPT;
  s.set_rflags(rflags::always_one | rflags::IF);
  if (mode == Mode::real16) {
    for (Segment& segment : s.segment) segment = {0, 0x93, 0xffff, 0};
    s.segment[CS].rights = 0x9b;
    return s;
  }
  constexpr uint32_t big = 0x4000, long_code = 0x2000;
  uint32_t data_size = mode == Mode::protected16 ? 0 : big;
  uint32_t code_size = mode == Mode::long64 ? long_code : data_size;
  for (Segment& segment : s.segment) segment = flat(0x10, 3, privilege, data_size);
  s.segment[CS] = flat(0x08, 0xb, privilege, code_size);
  s.cr0 |= cr0::PE | cr0::PG | cr0::WP;
  s.cr4 |= cr4::PAE | cr4::FSGSBASE | cr4::OSXSAVE;
  s.xcr0 = xcr0::x87 | xcr0::sse;
  s.cr3 = tables_at;
  s.msr.efer = efer::NXE | (mode == Mode::long64 ? efer::LME | efer::LMA | efer::SCE : 0);
  if (mode != Mode::long64)
    for (unsigned i = 0; i < 4; ++i) s.pdpte[i] = (tables_at + (1 + i) * page_size) | entry_present;
  return s;
}

}  // namespace

FeatureSet VectorRunner::all_features() {
  FeatureSet all;
  all.bits.set();
  return all;
}

VectorRunner::VectorRunner(const FeatureSet& features)
    : memory_(ram_bytes, bus_),
      cpu_(new Processor(model_with(features), memory_, bus_, clock_, *this)),
      decoder_(features),
      initial_(max_pages * page_size) {
  for (unsigned mode = 0; mode < 4; ++mode)
    for (unsigned privilege = 0; privilege < 4; ++privilege)
      fresh_[mode][privilege] = fresh_state(static_cast<Mode>(mode), privilege, cpu_->state);
}

VectorRunner::~VectorRunner() = default;

// ---- Setting up

CpuState& VectorRunner::begin(Mode mode, unsigned privilege) {
  clean();
  if (!entered_ || mode != mode_ || next_table_ + tables_for_a_case > ram_bytes) enter(mode);
  follow_control_registers();
  cpu_->state = fresh_[static_cast<unsigned>(mode)][mode == Mode::real16 ? 0 : privilege & 3];
  return cpu_->state;
}

void VectorRunner::follow_control_registers() {
  const CpuState& s = cpu_->state;
  Control now{s.cr0, s.cr3, s.cr4, s.msr.efer};
  if (now == control_) return;
  cpu_->mmu.flush_all();
  control_ = now;
}

// Another mode has other page tables: all pages go, and the tables begin again.
void VectorRunner::enter(Mode mode) {
  page_count_ = 0;
  auto ram = memory_.ram();
  std::memset(&ram[tables_at], 0, ram.size() - tables_at);
  next_table_ = tables_at + (mode == Mode::long64 ? 1 : 5) * page_size;
  cpu_->state = fresh_[static_cast<unsigned>(mode)][0];
  cpu_->forget_caches();
  mode_ = mode, entered_ = true;
}

// Takes the last case's bytes away; its pages stay, since the next case usually wants the same ones.
void VectorRunner::clean() {
  static constexpr uint8_t zeros[page_size] = {};
  for (unsigned i = 0; i < page_count_; ++i) {
    Page& p = pages_[i];
    if (p.low < p.high) {
      uint64_t physical = static_cast<uint64_t>(p.bytes - memory_.ram().data()) + p.low;
      (void)memory_.write(physical, zeros, p.high - p.low);
      std::memset(p.initial + p.low, 0, p.high - p.low);
    }
    p.low = page_size, p.high = 0;
    p.present = false;
    if (mode_ == Mode::real16) p.linear = nowhere;
  }
  if (mode_ == Mode::real16) {
    page_count_ = 0;
    memory_.clear_dirty();
    cpu_->mmu.withhold_all_writes();
  }
}

VectorRunner::Page* VectorRunner::page(uint64_t linear, uint8_t access) {
  Page* found = nullptr;
  for (unsigned i = 0; i < page_count_ && !found; ++i)
    if (pages_[i].linear == linear) found = &pages_[i];
  if (!found) {
    // A page that this case does not use may make room.
    for (unsigned i = 0; page_count_ == max_pages && i < page_count_ && !found; ++i)
      if (!pages_[i].present) found = &pages_[i];
    if (found && found->mapped) map(*found, false);
    if (!found && page_count_ == max_pages) return nullptr;
    if (!found) found = &pages_[page_count_++];
    auto slot = static_cast<uint64_t>(found - pages_);
    uint64_t frame = mode_ == Mode::real16 ? linear : frames_at + slot * page_size;
    *found = {linear, &memory_.ram()[frame], &initial_[slot * page_size], 0, false, false, page_size, 0};
  }
  uint8_t wanted = found->present ? found->access | access : access;
  bool mapped_so = found->mapped && wanted == found->access;
  found->access = wanted;
  found->present = true;
  if (!mapped_so && mode_ != Mode::real16) map(*found, true);
  return found;
}

// The table that an entry points to, made if there is none yet.
uint64_t VectorRunner::table_below(uint64_t entry_address) {
  uint64_t entry;
  uint8_t* at = &memory_.ram()[entry_address];
  std::memcpy(&entry, at, 8);
  if (!(entry & entry_present)) {
    entry = next_table_ | entry_present | entry_writable | entry_user | entry_accessed;
    next_table_ += page_size;
    std::memcpy(at, &entry, 8);
  }
  return entry & ~uint64_t{0xfff};
}

void VectorRunner::map(Page& p, bool present) {
  p.mapped = present;
  uint64_t table = tables_at;
  auto index = [&](unsigned shift) { return (p.linear >> shift & 511) * 8; };
  if (mode_ == Mode::long64)
    for (unsigned shift = 39; shift > 21; shift -= 9) table = table_below(table + index(shift));
  else
    table = tables_at + (1 + (p.linear >> 30 & 3)) * page_size;
  table = table_below(table + index(21));
  uint64_t entry = 0;
  if (present)
    entry = static_cast<uint64_t>(p.bytes - memory_.ram().data()) | entry_present | entry_accessed | entry_dirty |
            (p.access & writable ? entry_writable : 0) | (p.access & supervisor ? 0 : entry_user) |
            (p.access & executable ? 0 : entry_no_execute);
  std::memcpy(&memory_.ram()[table + index(12)], &entry, 8);
  cpu_->mmu.flush_page(p.linear);
}

bool VectorRunner::window(uint64_t address, std::span<const uint8_t> bytes, uint8_t access) {
  while (!bytes.empty()) {
    uint64_t in_page = address & (page_size - 1);
    auto size = static_cast<size_t>(std::min<uint64_t>(bytes.size(), page_size - in_page));
    if (mode_ == Mode::real16 ? address >= real_bytes || !memory_.is_ram(address) : mode_ != Mode::long64 && address >> 32)
      return false;
    Page* p = page(address - in_page, access);
    if (!p) return false;
    std::memcpy(p->initial + in_page, bytes.data(), size);
    (void)memory_.write(static_cast<uint64_t>(p->bytes - memory_.ram().data()) + in_page, bytes.data(), size);
    p->low = std::min(p->low, static_cast<uint16_t>(in_page));
    p->high = std::max(p->high, static_cast<uint16_t>(in_page + size));
    address += size;
    bytes = bytes.subspan(size);
  }
  return true;
}

// ---- Running

void VectorRunner::start() {
  // Pages of earlier cases that this one does not name are not there.
  if (mode_ != Mode::real16)
    for (unsigned i = 0; i < page_count_; ++i)
      if (!pages_[i].present && pages_[i].mapped) map(pages_[i], false);
  follow_control_registers();
  cpu_->derive();
  event_ = false;
  exception_ = {};
}

VectorRunner::End VectorRunner::finish(End end) {
  if (mode_ == Mode::real16) note_stray_writes();
  find_changes();
  return end;
}

VectorRunner::End VectorRunner::run(uint64_t instructions, uint64_t stop_address) {
  start();
  in_portions_ = false;
  const uint64_t tick = clock_.ticks;
  if (!regions_ || mode_ == Mode::real16 || mode_ == Mode::protected16) return finish(step_through(instructions, stop_address));
  const CpuState began = cpu_->state;
  End end = step_through(instructions, stop_address);
  const uint64_t ticks = clock_.ticks - tick;
  if (in_portions_ || ticks == 0) return finish(end);
  rewind(began, tick);
  return finish(run_in_regions(began, ticks));
}

void VectorRunner::use_regions(RegionEngine& engine) {
  regions_ = &engine;
  cpu_->set_regions(regions_);
  regions_->hot = ~uint32_t{0};  // what is compiled is said here
}

// All is as it was when the case began.
void VectorRunner::rewind(const CpuState& began, uint64_t tick) {
  find_changes();
  for (unsigned i = 0; i < page_count_; ++i) {
    const Page& p = pages_[i];
    if (!p.present || p.low >= p.high) continue;
    const auto physical = static_cast<uint64_t>(p.bytes - memory_.ram().data());
    for (const Change& c : changes_)
      if (c.address - p.linear < page_size) {
        const uint64_t at = c.address - p.linear;
        (void)memory_.write(physical + at, p.initial + at, c.bytes.size());
      }
  }
  cpu_->state = began;
  clock_.ticks = tick;
  event_ = false;
  exception_ = {};
  cpu_->derive();
}

// As many ticks as the case took, at a stretch.
VectorRunner::End VectorRunner::run_in_regions(const CpuState& began, uint64_t ticks) {
  const uint64_t linear = cpu_->mode().code_bits == 64 ? began.rip : static_cast<uint32_t>(began.rip + began.segment[CS].base);
  Mmu::CodePage page;
  if (cpu_->mmu.known_code_page(linear, page))
    if (Block* block = cpu_->blocks().find(page.physical | (linear & (page_size - 1)), cpu_->mode_key())) {
      regions_->most_instructions = static_cast<uint32_t>(std::min<uint64_t>(ticks, RegionEngine::longest_region));
      regions_->consider(*cpu_, *block);
      regions_->compile_now();
    }
  CpuState& s = cpu_->state;
  const uint64_t end = clock_.ticks + ticks;
  for (uint64_t before = ~uint64_t{0};
       clock_.ticks < end && clock_.ticks != before && !event_ && s.activity == Activity::active;) {
    before = clock_.ticks;
    cpu_->run(end);
  }
  if (s.pending_debug && !s.mov_ss_shadow && !event_) cpu_->run(clock_.ticks + 1);
  return event_ ? End::exception : s.activity != Activity::active ? End::halted : End::completed;
}

VectorRunner::End VectorRunner::step_through(uint64_t instructions, uint64_t stop_address) {
  End end = End::completed;
  for (uint64_t n = 0; n < instructions && cpu_->state.rip != stop_address; ++n) {
    bool finished = run_one();
    if (event_)
      end = End::exception;
    else if (cpu_->state.activity != Activity::active)
      end = End::halted;
    else if (!finished)
      end = End::unfinished;
    if (end != End::completed) break;
  }
  return end;
}

bool VectorRunner::run_one() {
  CpuState& s = cpu_->state;
  constexpr uint64_t most_iterations = uint64_t{1} << 24;
  uint64_t before = s.retired, spent = clock_.ticks, end = nowhere;
  cpu_->run(clock_.ticks + 1);
  // A trap that follows the instruction, a single step's or a breakpoint's, belongs to it.
  if (s.pending_debug && !s.mov_ss_shadow && !event_) cpu_->run(clock_.ticks + 1);
  // A repeated instruction stands at its start again; go on in larger portions.
  while (s.retired == before && !event_ && s.activity == Activity::active) {
    in_portions_ = true;
    if (clock_.ticks - spent > most_iterations) return false;
    cpu_->run(clock_.ticks + safe_ticks(end));
  }
  // safe_ticks() has let it run against the wall behind its end: that fetch is not part of the case.
  if (event_ && s.retired > before && end != nowhere && exception_.vector == PF_vector && exception_.cr2 == end) event_ = false;
  return true;
}

// How far a repeated instruction may run without the one after it being run too. MOVS, STOS and LODS end when their count
// does; CMPS and SCAS may end earlier, and go step by step unless nothing can be fetched behind them.
uint64_t VectorRunner::safe_ticks(uint64_t& end) {
  const CpuState& s = cpu_->state;
  uint64_t linear = s.code64() ? s.rip : static_cast<uint32_t>(s.rip + s.segment[CS].base);
  uint8_t bytes[15];
  size_t size = 0;
  for (; size < sizeof bytes; ++size) {
    uint64_t at = linear + size;
    if (!reachable(at)) break;
    uint64_t in_page = at & (page_size - 1);
    if (mode_ == Mode::real16)
      bytes[size] = memory_.ram()[at];
    else
      for (unsigned i = 0; i < page_count_; ++i)
        if (pages_[i].linear == at - in_page) bytes[size] = pages_[i].bytes[in_page];
  }
  Instruction in;
  unsigned code_bits = s.code64() ? 64 : s.segment[CS].big() ? 32 : 16;
  if (decoder_.decode({bytes, size}, code_bits, in) != DecodeResult::ok || rows[in.row].family != Family::string) return 1;
  uint64_t count = in.address_size == 64 ? s.gpr[RCX] : s.gpr[RCX] & ((uint64_t{1} << in.address_size) - 1);
  uint64_t all = std::min<uint64_t>(count, 1 << 20) + 1;
  bool compares = std::string_view(rows[in.row].mnemonic) == "CMPS" || std::string_view(rows[in.row].mnemonic) == "SCAS";
  if (!compares) return all;
  if (reachable(linear + in.length)) return 1;
  end = linear + in.length;
  return all;
}

bool VectorRunner::reachable(uint64_t linear) const {
  if (mode_ == Mode::real16) return linear < real_bytes;
  for (unsigned i = 0; i < page_count_; ++i)
    if (pages_[i].linear == (linear & ~(page_size - 1))) return pages_[i].present && pages_[i].access & executable;
  return false;
}

bool VectorRunner::takes_event(uint8_t vector, bool has_error, uint32_t error) {
  event_ = true;
  exception_ = {vector, has_error, error, vector == PF_vector ? cpu_->state.cr2 : 0};
  cpu_->stop();
  return true;
}

void VectorRunner::triple_fault() {
  event_ = true;
  cpu_->stop();
}

// ---- What changed

// Real mode has no page tables to keep a case within its windows.
void VectorRunner::note_stray_writes() {
  for (uint64_t at = 0; at < real_bytes; at += page_size)
    if (memory_.is_ram(at) && memory_.dirty(at)) (void)page(at, 0);
}

void VectorRunner::find_changes() {
  constexpr unsigned joined = 8, stride = 64;
  changes_.clear();
  for (unsigned i = 0; i < page_count_; ++i) {
    Page& p = pages_[i];
    if (!p.present || std::memcmp(p.bytes, p.initial, page_size) == 0) continue;
    unsigned first = page_size, last = 0;
    auto finish = [&] {
      if (first == page_size) return;
      changes_.push_back({p.linear + first, {p.bytes + first, last - first + 1}});
      p.low = std::min(p.low, static_cast<uint16_t>(first));
      p.high = std::max(p.high, static_cast<uint16_t>(last + 1));
    };
    for (unsigned at = 0; at < page_size; ++at) {
      if (at % stride == 0 && std::memcmp(p.bytes + at, p.initial + at, stride) == 0) {
        at += stride - 1;
        continue;
      }
      if (p.bytes[at] == p.initial[at]) continue;
      if (first != page_size && at - last > joined) finish(), first = page_size;
      if (first == page_size) first = at;
      last = at;
    }
    finish();
  }
}

}  // namespace matryoshka
