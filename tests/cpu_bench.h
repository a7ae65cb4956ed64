// A processor with nothing round it but memory: tests put bytes and registers in, run, and look at what came out.
#pragma once

#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "cpu/processor.h"

namespace matryoshka {

class CpuBench : public ProcessorHost {
 public:
  static constexpr uint64_t ram_bytes = 16 << 20;
  static constexpr uint64_t code_at = 0x100000, data_at = 0x200000, stack_at = 0x300000;

  enum class Mode { real16, protected16, protected32, long64 };

  explicit CpuBench(Mode mode = Mode::long64, const char* model = "default", unsigned privilege = 0)
      : memory(ram_bytes, bus), processor(new Processor(parse(model), memory, bus, clock, *this)), cpu(*processor) {
    enter(mode, privilege);
  }

  // Flat segments; identity paging of the first gigabyte in long mode, with user access.
  void enter(Mode mode, unsigned privilege = 0) {
    CpuState& s = cpu.state;
    uint32_t dpl = privilege << 5;
    bool wide = mode == Mode::protected32 || mode == Mode::long64;
    auto flat = [&](uint16_t selector, uint32_t type) {
      return Segment{static_cast<uint16_t>(selector | privilege), 0x90u | type | dpl | (wide ? 0xc000u : 0),
                     wide ? 0xffffffffu : 0xffffu, 0};
    };
    if (mode == Mode::real16) {
      for (Segment& g : s.segment) g = {0, 0x93, 0xffff, 0};
      s.segment[CS] = {0x1000, 0x9b, 0xffff, 0x10000};
      s.cr0 = cr0::ET;
    } else {
      s.cr0 = cr0::PE | cr0::ET | cr0::NE | cr0::MP;
      for (unsigned i = 0; i < segment_count; ++i) s.segment[i] = flat(0x10, 3);
      s.segment[CS] = flat(0x08, 0xb);
      if (mode == Mode::long64) {
        // One PML4, one PDPT, one directory of 2 MiB pages.
        uint64_t tables = 0x10000;
        put(tables, uint64_t{0x11007});
        put(tables + 0x1000, uint64_t{0x12007});
        for (uint64_t i = 0; i < 512; ++i) put(tables + 0x2000 + 8 * i, i << 21 | 0x87);
        s.cr3 = tables;
        s.cr4 = cr4::PAE | cr4::PGE;
        s.msr.efer = efer::LME | efer::LMA | efer::NXE | efer::SCE;
        s.cr0 |= cr0::PG | cr0::WP;
        s.segment[CS].rights = (s.segment[CS].rights & ~0x4000u) | 0x2000;
      }
    }
    s.cr4 |= cr4::OSFXSR | cr4::OSXMMEXCPT;
    s.mxcsr = 0x1f80;
    s.x87 = {};
    s.gpr[RSP] = mode == Mode::real16 || mode == Mode::protected16 ? 0x8000 : stack_at;
    s.rip = mode == Mode::real16 ? 0x100 : mode == Mode::protected16 ? 0x1000 : code_at;
    s.idtr = {0, 0};  // any exception becomes a triple fault, which run() reports
    cpu.forget_caches();
  }

  uint64_t code_linear() const { return cpu.state.segment[CS].base + cpu.state.rip; }

  template <class T>
  void put(uint64_t address, const T& value) {
    (void)memory.write(address, &value, sizeof value);
  }
  void put_bytes(uint64_t address, const std::vector<uint8_t>& bytes) { (void)memory.write(address, bytes.data(), bytes.size()); }
  template <class T = uint64_t>
  T get(uint64_t address) {
    T value{};
    (void)memory.read(address, &value, sizeof value);
    return value;
  }
  // "0f af c3" at RIP.
  void code(const std::string& hex) {
    std::vector<uint8_t> bytes;
    for (size_t i = 0; i < hex.size();) {
      if (hex[i] == ' ') {
        ++i;
        continue;
      }
      bytes.push_back(static_cast<uint8_t>(std::stoul(hex.substr(i, 2), nullptr, 16)));
      i += 2;
    }
    put_bytes(code_linear(), bytes);
  }

  // Runs that many instructions. A fault is recorded in `faulted` as it is delivered.
  void run(unsigned instructions = 1) {
    triple = false;
    cpu.run(clock.ticks + instructions);
  }
  void execute(const std::string& hex, unsigned instructions = 1) {
    code(hex);
    run(instructions);
  }

  // The vector of the last exception; the empty IDT has turned it into a triple fault by then.
  void triple_fault() override { triple = true, cpu.stop(); }
  void numeric_error() override { ++numeric_errors; }
  uint64_t random() override { return random_state = random_state * 6364136223846793005u + 1442695040888963407u; }

  Bus bus;
  Clock clock;
  PhysicalMemory memory;
  bool triple = false;
  unsigned numeric_errors = 0;
  uint64_t random_state = 1;
  std::unique_ptr<Processor> processor;
  Processor& cpu;

 private:
  static CpuModel parse(const char* text) {
    CpuModel model;
    std::string error;
    CpuModel::parse(text, model, error);
    return model;
  }
};

}  // namespace matryoshka
