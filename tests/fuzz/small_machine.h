// A small machine of RAM, ROM and one device, with page tables, descriptor tables and segments for every mode, which the input
// then damages.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>

#include "cpu/processor.h"
#include "tests/fuzz/valid_state.h"

namespace matryoshka::fuzz {

inline constexpr uint64_t ram_bytes = 1 << 20, rom_at = 0xffff0000, device_at = 0xe0000000;
// In every mode: page tables, descriptor tables, a task, code, data, a stack.
inline constexpr uint64_t tables_at = 0x10000, gdt_at = 0x1000, ldt_at = 0x2000, idt_at = 0x3000, tss_at = 0x4000,
                          code_at = 0x8000, data_at = 0x9000, stack_at = 0xb000, handlers_at = 0xc000;
// Where hostile tables lead.
inline constexpr uint64_t places[] = {tables_at,         gdt_at,     idt_at,  tss_at,  code_at,   data_at,    stack_at,
                                      device_at,         rom_at,     0xa0000, 0xfffff, ram_bytes, 0xfee00000, ~0xfffull,
                                      uint64_t{1} << 51, 0xfffff000, 0};

inline uint64_t place(Input& input) {
  const uint8_t which = input.take();
  return which < 0xe0 ? places[which % std::size(places)] + which / std::size(places) * 8 : input.number();
}

// A device that remembers nothing and does nothing, though it looks like memory.
struct Nothing : BusTarget {
  uint64_t read(unsigned, uint64_t offset, unsigned) override { return offset * 0x0101010101010101 | 7; }
  void write(unsigned, uint64_t, unsigned, uint64_t) override {}
};

class SmallMachine : private ProcessorHost {
 public:
  SmallMachine() {
    bus_.map_memory(device_at, 0x10000, device_);
    bus_.map_ports(0x100, 0x100, device_, 0, 4);
    std::vector<uint8_t> rom(0x10000, 0x90);
    memory_.set_rom(rom);
    cpu_.reset(new Processor(model(), memory_, bus_, clock_, *this));
    cpu_->reset();
    fresh_ = save();
  }
  Processor& cpu() { return *cpu_; }
  PhysicalMemory& memory() { return memory_; }

  void start_again() {
    for (uint64_t at = 0; at < ram_bytes; at += page_size)
      if (memory_.is_ram(at) && memory_.dirty(at)) (void)memory_.write(at, zeros, page_size);
    memory_.clear_dirty();
    expect(load(fresh_), "the state after reset can be loaded");
    random_ = 1;
  }
  std::vector<uint8_t> save() {
    Archive ar = Archive::saving();
    clock_.serialize(ar);
    cpu_->serialize(ar);
    return ar.output();
  }
  bool load(const std::vector<uint8_t>& bytes) {
    Archive ar = Archive::loading(bytes.data(), bytes.size());
    clock_.serialize(ar);
    cpu_->serialize(ar);
    cpu_->forget_caches();
    return ar.ok() && ar.remaining() == 0;
  }
  bool same_memory(SmallMachine& other) {
    for (uint64_t at = 0; at < ram_bytes; at += page_size)
      if (memory_.is_ram(at) && (memory_.dirty(at) || other.memory_.dirty(at)) &&
          std::memcmp(memory_.ram().data() + at, other.memory_.ram().data() + at, page_size) != 0)
        return false;
    return true;
  }
  // Up to `end`, in steps of so many ticks. What would reset a real machine, or stop it, ends it here.
  void run(uint64_t end, uint64_t step) {
    stopped_ = false;
    while (clock_.ticks < end && !stopped_) {
      const uint64_t before = clock_.ticks;
      cpu_->run(std::min(end, before + step));
      if (clock_.ticks == before) return;
      if (cpu_->idle() && !cpu_->can_wake()) return;
    }
  }
  uint64_t ticks() const { return clock_.ticks; }
  // Whether the last run ended so.
  bool stopped() const { return stopped_; }
  // A processor that sleeps goes on when the next timer is due, if there is one.
  bool skip_sleep() {
    if (!cpu_->idle() || cpu_->can_wake() || clock_.next_deadline() == Clock::never) return false;
    clock_.skip_to(clock_.next_deadline());
    return true;
  }
  template <class T>
  void put(uint64_t address, const T& value) {
    (void)memory_.write(address, &value, sizeof value);
  }

 private:
  static CpuModel model() {
    CpuModel model;
    model.features.bits.set();
    model.vmx = vmx::Features::all();
    return model;
  }
  void triple_fault() override { stopped_ = true, cpu_->stop(); }
  uint64_t random() override { return random_ = random_ * 6364136223846793005 + 1442695040888963407; }

  static constexpr uint8_t zeros[page_size] = {};
  Nothing device_;
  Bus bus_;
  Clock clock_;
  PhysicalMemory memory_{ram_bytes, bus_};
  std::unique_ptr<Processor> cpu_;
  std::vector<uint8_t> fresh_;
  uint64_t random_ = 1;
  bool stopped_ = false;
};

enum class Mode { real, protected16, protected32, paged32, pae, long64, compatibility, long57 };

// A working system in the mode, for the input to damage.
inline void build(SmallMachine& m, Mode mode) {
  CpuState& s = m.cpu().state;
  for (uint64_t at = 0; at < page_size; at += 8) m.put(handlers_at + at, uint64_t{0x90909090'9090cf48});  // REX.W IRET
  s.gpr[RSP] = stack_at;
  s.rip = code_at;
  s.cr4 = cr4::OSFXSR | cr4::OSXMMEXCPT;
  s.cr0 = cr0::ET | cr0::NE | cr0::MP;
  s.gdtr = {0xff, gdt_at};
  s.idtr = {0xfff, idt_at};
  if (mode == Mode::real) {
    for (unsigned v = 0; v < 256; ++v) m.put(4 * v, static_cast<uint32_t>(handlers_at));
    s.idtr = {0x3ff, 0};
    for (Segment& segment : s.segment) segment = {0, 0x93, 0xffff, 0};
    s.segment[CS] = {0, 0x9b, 0xffff, 0};
    return;
  }
  const bool is_long = mode >= Mode::long64;
  const bool small = mode == Mode::protected16;
  const uint32_t size = small ? 0 : 0xc000, limit = small ? 0xffff : 0xffffffff;
  const uint32_t code_size = is_long && mode != Mode::compatibility ? 0xa000 : size;
  auto descriptor = [](uint64_t base, uint32_t rights, uint32_t raw_limit) {
    return (raw_limit & 0xffff) | (base & 0xffffff) << 16 | uint64_t{rights & 0xf0ff} << 40 |
           uint64_t{raw_limit >> 16 & 15} << 48 | (base >> 24 & 0xff) << 56;
  };
  // Code and data of level 0, then of level 3; a task, a table, a call gate, a second task.
  const uint64_t table[] = {0,
                            descriptor(0, 0x9b | code_size, 0xfffff),
                            descriptor(0, 0x93 | size, 0xfffff),
                            descriptor(0, 0xfb | code_size, 0xfffff),
                            descriptor(0, 0xf3 | size, 0xfffff),
                            descriptor(tss_at, 0x8b, 0x2067),
                            0,
                            descriptor(ldt_at, 0x82, 0xff),
                            0,
                            (handlers_at & 0xffff) | 8u << 16 | uint64_t{0xec00} << 32,
                            0,
                            descriptor(tss_at + 0x200, 0x89, 0x67)};
  for (size_t i = 0; i < std::size(table); ++i) m.put(gdt_at + 8 * i, table[i]), m.put(ldt_at + 8 * i, table[i]);
  for (unsigned v = 0; v < 256; ++v) {
    const uint64_t gate = (handlers_at & 0xffff) | 8u << 16 | uint64_t{0xee00} << 32;
    m.put(idt_at + v * (is_long ? 16 : 8), gate);
    if (is_long) m.put(idt_at + v * 16 + 8, uint64_t{0});
  }
  m.put(tss_at + 4, stack_at);
  m.put(tss_at + 8, uint64_t{0x10});
  for (Segment& segment : s.segment) segment = {0x10, 0x93 | size, limit, 0};
  s.segment[CS] = {0x08, 0x9b | code_size, limit, 0};
  s.tr = {0x28, 0x8b, 0x2067, tss_at};
  s.ldtr = {0x38, 0x82, 0xff, ldt_at};
  s.cr0 |= cr0::PE;
  if (mode < Mode::paged32) return;

  // The first 2 or 4 MiB page by page, as themselves, and the device's window.
  constexpr uint64_t all = 7, large = 0x80;
  s.cr3 = tables_at;
  s.cr0 |= cr0::PG;
  if (mode == Mode::paged32) {
    m.put(tables_at, static_cast<uint32_t>((tables_at + 0x1000) | all));
    for (uint32_t i = 0; i < 1024; ++i) m.put(tables_at + 0x1000 + 4 * i, static_cast<uint32_t>(i << 12 | all));
    s.cr4 |= cr4::PSE;
    m.put(tables_at + (device_at >> 22) * 4, static_cast<uint32_t>(device_at | large | all));
    return;
  }
  s.cr4 |= cr4::PAE | cr4::PGE;
  s.msr.efer = efer::NXE | efer::SCE;
  uint64_t next = tables_at;
  if (mode == Mode::long57) s.cr4 |= cr4::LA57, m.put(next, (next + 0x1000) | all), next += 0x1000;
  if (is_long) s.msr.efer |= efer::LME | efer::LMA, m.put(next, (next + 0x1000) | all), next += 0x1000;
  const uint64_t pointer_rights = is_long ? all : 1;
  m.put(next, (next + 0x1000) | pointer_rights);
  m.put(next + 24, (next + 0x3000) | pointer_rights);
  s.pdpte[0] = (next + 0x1000) | 1, s.pdpte[3] = (next + 0x3000) | 1;
  m.put(next + 0x1000, (next + 0x2000) | all);
  for (uint64_t i = 0; i < 512; ++i) m.put(next + 0x2000 + 8 * i, i << 12 | all);
  m.put(next + 0x3000 + (device_at >> 21 & 511) * 8, device_at | large | all);
}

}  // namespace matryoshka::fuzz
