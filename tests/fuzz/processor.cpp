// Code in ring 0 with page tables, descriptor tables and segments of its own making, in a small machine of RAM, ROM and one
// device. It must end in a valid state, which can be saved and loaded, and which is the same whether the instructions ran
// in small steps or at a stretch.
#include "cpu/processor.h"

#include <algorithm>
#include <memory>

#include "tests/fuzz/valid_state.h"

namespace matryoshka::fuzz {

namespace {

constexpr uint64_t ram_bytes = 1 << 20, rom_at = 0xffff0000, device_at = 0xe0000000;
// In every mode: page tables, descriptor tables, a task, code, data, a stack.
constexpr uint64_t tables_at = 0x10000, gdt_at = 0x1000, ldt_at = 0x2000, idt_at = 0x3000, tss_at = 0x4000, code_at = 0x8000,
                   data_at = 0x9000, stack_at = 0xb000, handlers_at = 0xc000;
// Where hostile tables lead.
constexpr uint64_t places[] = {tables_at,         gdt_at,     idt_at,  tss_at,  code_at,   data_at,    stack_at,
                               device_at,         rom_at,     0xa0000, 0xfffff, ram_bytes, 0xfee00000, ~0xfffull,
                               uint64_t{1} << 51, 0xfffff000, 0};

uint64_t place(Input& input) {
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
  template <class T>
  void put(uint64_t address, const T& value) {
    (void)memory_.write(address, &value, sizeof value);
  }

 private:
  static CpuModel model() {
    CpuModel model;
    model.features.bits.set();
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
void build(SmallMachine& m, Mode mode) {
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

// What the input makes of it.
void damage(SmallMachine& m, Input& input) {
  CpuState& s = m.cpu().state;
  for (unsigned left = input.take() % 32; left > 0; --left) {
    switch (input.take() % 10) {
      case 0: {  // an entry of some table of pages
        const uint64_t at = tables_at + (input.take<uint16_t>() & 0x5ff8);
        m.put(at, place(input) | input.take<uint16_t>() % 0x1000 | uint64_t{input.take()} << 56);
        break;
      }
      case 1:  // an entry of a descriptor table
        m.put((input.take() & 1 ? gdt_at : ldt_at) + input.take() % 32 * 8u, input.take<uint64_t>());
        break;
      case 2: m.put(idt_at + input.take<uint16_t>() % page_size, input.take<uint64_t>()); break;
      case 3: m.put(tss_at + input.take<uint16_t>() % 0x400, input.take<uint32_t>()); break;
      case 4: s.gdtr = {input.take<uint16_t>(), place(input)}; break;
      case 5: s.idtr = {input.take<uint16_t>(), place(input)}; break;
      case 6: s.gpr[input.take() % 16] = place(input); break;
      case 7:
        if (s.paging()) s.cr3 = place(input) & 0x000ffffffffff018;
        break;
      case 8: {  // bits that a guest may have set
        constexpr uint64_t free = cr4::TSD | cr4::DE | cr4::PSE | cr4::PGE | cr4::VME | cr4::PVI | cr4::UMIP | cr4::FSGSBASE |
                                  cr4::OSXSAVE | cr4::SMEP | cr4::SMAP | cr4::PKE;
        s.cr4 ^= input.take<uint32_t>() & free;
        s.cr0 ^= input.take<uint32_t>() & (cr0::WP | cr0::AM | cr0::TS | cr0::EM | cr0::MP | cr0::NE);
        break;
      }
      case 9: {
        s.set_rflags(input.take<uint32_t>() & rflags::all & ~rflags::VM);
        s.dr7 = input.take<uint32_t>() & ~uint64_t{0xd800};
        s.dr7 |= dr7::always_one;
        s.dr[input.take() % 4] = place(input);
        break;
      }
    }
  }
}

void set_up(SmallMachine& m, Input input) {
  m.start_again();
  const uint8_t head = input.take();
  build(m, static_cast<Mode>(head & 7));
  damage(m, input);
  CpuState& s = m.cpu().state;
  // At the end of the page, so that the code goes on in the next one.
  if (head & 8) s.rip += 0xff0;
  if (head & 16 && (head & 7) >= 1) {
    // Level 3 with the selectors for it.
    for (Segment& segment : s.segment) segment.selector = 0x23, segment.rights |= 0x60;
    s.segment[CS].selector = 0x1b;
  }
  // Behind the input's bytes stands a jump to itself.
  std::vector<uint8_t> code(0x1100);
  for (size_t i = 0; i < code.size(); ++i) code[i] = i % 2 ? 0xfe : 0xeb;
  const ByteSpan rest = input.bytes(code.size());
  std::copy(rest.begin(), rest.end(), code.begin());
  (void)m.memory().write(s.rip, code.data(), code.size());
  m.cpu().forget_caches();
}

}  // namespace

void processor(Input input) {
  static SmallMachine at_a_stretch, in_steps;
  constexpr uint64_t ticks = 150;
  for (SmallMachine* m : {&at_a_stretch, &in_steps}) set_up(*m, input);
  at_a_stretch.run(ticks, ticks);
  expect_valid(at_a_stretch.cpu().state);
  const std::vector<uint8_t> end = at_a_stretch.save();

  constexpr uint64_t steps[] = {1, 2, 3, 7};
  in_steps.run(ticks, steps[input.take() >> 5 & 3]);
  expect(in_steps.save() == end && in_steps.same_memory(at_a_stretch),
         "instructions in small steps do what they do at a stretch");

  expect(in_steps.load(end), "a state that was reached can be loaded");
  expect(in_steps.save() == end, "what was loaded is what was saved");
}

}  // namespace matryoshka::fuzz
