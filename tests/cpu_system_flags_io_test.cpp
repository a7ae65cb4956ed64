// What the privilege level allows of flags, HLT and ports, and single steps, in 64-bit mode.
#include <catch2/catch.hpp>

#include "tests/cpu_system_bench.h"

using namespace matryoshka;

namespace {
constexpr uint64_t start = CpuBench::code_at;
}

TEST_CASE("CLI and STI by privilege", "[system]") {
  SystemBench b;
  CpuState& s = b.cpu.state;
  SECTION("STI shadows the next instruction if IF was clear") {
    b.execute("fb");
    CHECK(s.sti_shadow);
    CHECK(s.system_flags & rflags::IF);
    b.execute("fb");
    CHECK(!s.sti_shadow);
  }
  SECTION("#GP above IOPL") {
    b.to_user();
    b.execute("fa");
    CHECK(b.vector() == GP_vector);
  }
  SECTION("allowed by IOPL 3") {
    b.to_user(3);
    s.system_flags |= rflags::IF;
    b.execute("fa");
    CHECK(b.vector() == -1);
    CHECK(!(s.system_flags & rflags::IF));
  }
  SECTION("protected-mode virtual interrupts") {
    b.to_user();
    s.cr4 |= cr4::PVI;
    s.system_flags |= rflags::IF;
    b.execute("fb");
    CHECK(s.system_flags & rflags::VIF);
    b.execute("fa");
    CHECK(!(s.system_flags & rflags::VIF));
    CHECK(s.system_flags & rflags::IF);
    s.system_flags |= rflags::VIP;
    b.execute("fb");
    CHECK(b.vector() == GP_vector);
  }
}

TEST_CASE("POPF changes what the level allows", "[system]") {
  SystemBench b;
  CpuState& s = b.cpu.state;
  const uint64_t image =
      rflags::IF | rflags::IOPL | rflags::VIF | rflags::VIP | rflags::VM | rflags::AC | rflags::RF | rflags::CF;
  uint64_t expected = 0;
  SECTION("level 0") { expected = rflags::IF | rflags::IOPL | rflags::AC | rflags::CF; }
  SECTION("level 3") { b.to_user(), expected = rflags::AC | rflags::CF; }
  SECTION("level 3 with IOPL 3") { b.to_user(3), expected = rflags::IOPL | rflags::IF | rflags::AC | rflags::CF; }
  b.push64(image);
  b.execute("9d 9c", 2);  // popfq; pushfq
  CHECK(s.rflags() == (expected | rflags::always_one));
  CHECK(b.frame(0) == s.rflags());
}

TEST_CASE("STAC and CLAC are #UD above level 0", "[system]") {
  SystemBench b;
  b.execute("0f 01 cb");
  CHECK(b.cpu.state.system_flags & rflags::AC);
  b.execute("0f 01 ca");
  CHECK(!(b.cpu.state.system_flags & rflags::AC));
  b.to_user();
  b.execute("0f 01 cb");
  CHECK(b.vector() == UD_vector);
}

TEST_CASE("HLT waits at level 0 only", "[system]") {
  SystemBench b;
  SECTION("level 0") {
    b.execute("f4");
    CHECK(b.cpu.state.activity == Activity::halted);
    CHECK(b.cpu.state.rip == start + 1);
    b.cpu.raise_nmi();
    b.run(1);
    CHECK(b.vector() == NMI_vector);
    CHECK(b.frame(0) == start + 1);
  }
  SECTION("level 3") {
    b.to_user();
    b.execute("f4");
    CHECK(b.vector() == GP_vector);
  }
}

// ---- Ports

namespace {
struct Ports : BusTarget {
  uint64_t read(unsigned, uint64_t offset, unsigned size) override {
    last = offset, last_size = size;
    return 0x80 + count++;
  }
  void write(unsigned, uint64_t offset, unsigned size, uint64_t value) override {
    last = offset, last_size = size;
    written.push_back(value);
  }
  uint64_t last = 0, count = 0;
  unsigned last_size = 0;
  std::vector<uint64_t> written;
};
}  // namespace

TEST_CASE("IN and OUT reach the bus and take time", "[system]") {
  SystemBench b;
  Ports ports;
  b.bus.map_ports(0x60, 8, ports, 0, 4);
  CpuState& s = b.cpu.state;
  s.gpr[RAX] = 0x1122334455667788, s.gpr[RDX] = 0x64;
  const uint64_t before = b.clock.ticks;
  b.execute("ec");  // in al,dx
  CHECK(s.gpr[RAX] == 0x1122334455667780);
  CHECK(ports.last == 4);
  CHECK(b.clock.ticks > before + 100);
  b.execute("66 ef");  // out dx,ax
  CHECK(ports.written.back() == 0x7780);
  CHECK(ports.last_size == 2);
  b.execute("e5 60");  // in eax,0x60
  CHECK(s.gpr[RAX] == 0x81);
  b.execute("ee");  // out dx,al
  CHECK(ports.last_size == 1);
}

TEST_CASE("The I/O permission bitmap", "[system]") {
  SystemBench b;
  Ports ports;
  b.bus.map_ports(0x60, 8, ports, 0, 4);
  b.to_user();
  CpuState& s = b.cpu.state;
  s.gpr[RDX] = 0x63;
  b.put(SystemBench::tss_at + 0x66, uint16_t{0x68});
  SECTION("clear bits allow") {
    b.execute("ec");
    CHECK(b.vector() == -1);
    CHECK(ports.count == 1);
  }
  SECTION("one set bit refuses a wide access") {
    b.put(SystemBench::tss_at + 0x68 + 0x66 / 8, uint8_t{1 << 6});
    b.execute("ec");
    CHECK(b.vector() == -1);
    b.execute("ed");
    CHECK(b.vector() == GP_vector);
    CHECK(ports.count == 1);
  }
  SECTION("a bitmap that ends before") {
    s.tr.limit = 0x68 + 0x63 / 8;
    b.execute("ec");
    CHECK(b.vector() == GP_vector);
  }
  SECTION("IOPL 3 needs none") {
    b.to_user(3);
    s.tr.limit = 0x67;
    b.execute("ec");
    CHECK(b.vector() == -1);
  }
}

TEST_CASE("REP INS and OUTS", "[system]") {
  SystemBench b;
  Ports ports;
  b.bus.map_ports(0x60, 8, ports, 0, 4);
  CpuState& s = b.cpu.state;
  s.gpr[RDX] = 0x60, s.gpr[RCX] = 5, s.gpr[RDI] = CpuBench::data_at, s.gpr[RSI] = CpuBench::data_at;
  SECTION("ins") {
    b.execute("f3 6c", 1000);
    CHECK(s.gpr[RCX] == 0);
    CHECK(s.gpr[RDI] == CpuBench::data_at + 5);
    CHECK(b.get<uint8_t>(CpuBench::data_at + 4) == 0x84);
  }
  SECTION("outs, in portions") {
    b.put(CpuBench::data_at, uint64_t{0x0807060504030201});
    b.execute("f3 6f", 30);
    CHECK(s.rip == start);
    CHECK(s.gpr[RCX] > 0);
    CHECK(s.gpr[RCX] < 5);
    b.run(1000);
    CHECK(s.gpr[RCX] == 0);
    CHECK(ports.written.size() == 5);
    CHECK(ports.written[1] == 0x08070605);
    CHECK(s.gpr[RSI] == CpuBench::data_at + 20);
  }
  SECTION("a fault leaves the iterations before it") {
    b.put(0x12000 + 8, uint64_t{0});  // 2 to 4 MiB are gone
    s.gpr[RDI] = (2 << 20) - 2;
    b.cpu.mmu.flush_all();
    b.set_gate(PF_vector, SystemBench::code0, SystemBench::handler(PF_vector), 0x8e, 1);
    b.put(SystemBench::tss_at + 36, uint64_t{0x80000});
    b.execute("f3 6c", 1000);
    REQUIRE(b.vector() == PF_vector);
    CHECK(s.gpr[RCX] == 3);
    CHECK(s.cr2 == 2 << 20);
    CHECK(ports.count == 2);
    CHECK(b.frame(1) == start);
  }
}

TEST_CASE("PAUSE lets time pass", "[system]") {
  SystemBench b;
  const uint64_t before = b.clock.ticks;
  b.execute("f3 90");
  CHECK(b.clock.ticks > before + 10);
  CHECK(b.cpu.state.rip == start + 2);
}

TEST_CASE("Single steps stop behind each instruction, not behind INT n", "[system]") {
  SystemBench b;
  CpuState& s = b.cpu.state;
  SECTION("nop") {
    s.system_flags |= rflags::TF;
    b.execute("90 90", 2);
    REQUIRE(b.vector() == DB_vector);
    CHECK(b.frame(0) == start + 1);
    CHECK(b.frame(2) & rflags::TF);
    CHECK(s.dr6 & dr6::BS);
  }
  SECTION("int n") {
    s.system_flags |= rflags::TF;
    b.execute("cd 80");
    CHECK(b.vector() == 0x80);
    CHECK(b.frame(0) == start + 2);
  }
}

// ---- Repeated port instructions in portions

namespace {

// A port that counts what it gives, and asks for an NMI at one of its accesses.
struct CountingPort final : BusTarget {
  explicit CountingPort(Processor& cpu, unsigned nmi_at) : cpu(cpu), nmi_at(nmi_at) {}
  uint64_t read(unsigned, uint64_t, unsigned) override { return access(), accesses; }
  void write(unsigned, uint64_t, unsigned, uint64_t value) override { access(), written.push_back(static_cast<uint8_t>(value)); }
  void access() {
    seen.push_back(cpu.clock.ticks);
    if (++accesses == nmi_at) cpu.raise_nmi();
  }
  Processor& cpu;
  unsigned nmi_at, accesses = 0;
  std::vector<uint64_t> seen;
  std::vector<uint8_t> written;
};

}  // namespace

TEST_CASE("REP INS and OUTS let an interrupt in between two iterations, and cost the same however they are cut", "[system]") {
  constexpr uint64_t count = 300, each = 1 + 20;        // past the 4096 ticks of one portion
  const char* code = GENERATE("f3 6c 90", "f3 6e 90");  // rep insb, rep outsb; nop
  const uint64_t slice = GENERATE(uint64_t{1}, uint64_t{20}, uint64_t{21}, uint64_t{100}, uint64_t{1'000'000});
  const unsigned nmi_at = GENERATE(0u, 1u, 57u, 300u);
  CAPTURE(code, slice, nmi_at);
  SystemBench b;
  CpuState& s = b.cpu.state;
  CountingPort port(b.cpu, nmi_at);
  b.bus.map_ports(0x1234, 1, port);
  b.put(SystemBench::handler(NMI_vector), uint16_t{0xcf48});  // iretq
  for (unsigned i = 0; i < count; ++i) b.put(CpuBench::data_at + 0x1000 + i, static_cast<uint8_t>(i + 1));
  s.gpr[RCX] = count, s.gpr[RDX] = 0x1234, s.gpr[RDI] = CpuBench::data_at, s.gpr[RSI] = CpuBench::data_at + 0x1000;
  b.code(code);
  const uint64_t start = b.clock.ticks;
  unsigned handled = 0;
  bool was_in_handler = false;
  while (s.rip != CpuBench::code_at + 3 && b.clock.ticks < start + 100'000) {
    b.cpu.run(std::min(b.clock.ticks + slice, b.clock.ticks + 1'000'000));
    const bool in_handler = s.nmi_blocked;
    if (in_handler && !was_in_handler && slice < each) {
      ++handled;
      const uint64_t left = count - nmi_at;
      CHECK(s.gpr[RCX] == left);
      // Back to the instruction while there is something left of it.
      CHECK(b.frame(0) == CpuBench::code_at + (left == 0 ? 2 : 0));
    }
    was_in_handler = in_handler;
  }
  CHECK(port.accesses == count);
  CHECK(s.gpr[RCX] == 0);
  const bool into_memory = code[4] == 'c';
  CHECK(s.gpr[RDI] == CpuBench::data_at + (into_memory ? count : 0));
  CHECK(s.gpr[RSI] == CpuBench::data_at + 0x1000 + (into_memory ? 0 : count));
  for (unsigned i = 0; i < count; ++i)
    if (into_memory ? b.get<uint8_t>(CpuBench::data_at + i) != static_cast<uint8_t>(i + 1)
                    : port.written[i] != static_cast<uint8_t>(i + 1))
      FAIL("element " << i);
  // One tick for the instruction and 21 for each iteration; an NMI is one for its delivery and one for the IRETQ. The NOP is one
  // more.
  const uint64_t interruption = nmi_at ? 2 : 0;
  CHECK(port.seen[0] == start + 1 + each);
  if (nmi_at != 1) CHECK(port.seen[1] == start + 1 + 2 * each);
  CHECK(port.seen.back() == start + 1 + count * each + (nmi_at && nmi_at != count ? interruption : 0));
  CHECK(b.clock.ticks >= start + 1 + count * each + interruption + 1);
  if (slice == 1) {
    CHECK(b.clock.ticks == start + 1 + count * each + interruption + 1);
    CHECK(handled == (nmi_at ? 1 : 0));
  }
}
