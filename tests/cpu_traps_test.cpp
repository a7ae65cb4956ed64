// What comes between two instructions: single steps, breakpoints, shadows, NMIs, interrupts, and which of them comes first.
#include <catch2/catch.hpp>

#include "tests/cpu_bench.h"
#include "tests/cpu_system_bench.h"

using namespace matryoshka;

namespace {

constexpr uint64_t start = CpuBench::code_at, data = CpuBench::data_at;

struct Pic8259 : InterruptAcknowledge {
  uint8_t acknowledge() override { return ++acknowledged, 0x50; }
  unsigned acknowledged = 0;
};

class TrapBench : public SystemBench {
 public:
  TrapBench() : SystemBench(Mode::long64) {
    cpu.pic = &pic;
    cpu.apic.set_virtual_wire();
  }
  // DR`i` at an address, as DR7 has it: kind 0 code, 1 writes, 2 ports, 3 reads and writes; length 0 to 3 for 1, 2, 8, 4 bytes.
  void watch(unsigned i, uint64_t address, unsigned kind, unsigned length = 0) {
    cpu.state.dr[i] = address;
    cpu.state.dr7 |= 1u << 2 * i | kind << (16 + 4 * i) | length << (18 + 4 * i);
    cpu.mmu.flush_all();
    cpu.derive();
  }
  void set_flag(uint64_t flag) { cpu.state.system_flags |= flag, cpu.derive(); }
  void self_ipi(uint8_t vector) { cpu.apic.write(0, 0x300, 4, 1 << 18 | vector); }
  // A handler that returns.
  void returns(unsigned vector) { put_bytes(handler(vector), {0x48, 0xcf}); }

  // Sets RF in what the handler will return to.
  void resume() { put(linear_stack() + 16, frame(2) | rflags::RF); }

  Pic8259 pic;
};

}  // namespace

// ---- Single steps

TEST_CASE("traps: A step begins behind the POPF that sets TF and ends with the one that clears it", "[traps]") {
  TrapBench b;
  SECTION("set") {
    b.push64(rflags::TF | 2);
    b.execute("9d 90 90", 4);  // popfq; nop; nop
    REQUIRE(b.vector() == DB_vector);
    CHECK(b.frame(0) == start + 2);
  }
  SECTION("clear") {
    b.set_flag(rflags::TF);
    b.push64(2);
    b.execute("9d 90 90", 4);
    REQUIRE(b.vector() == DB_vector);
    CHECK(b.frame(0) == start + 1);
    CHECK_FALSE(b.frame(2) & rflags::TF);
  }
}

TEST_CASE("traps: A step over MOV SS takes the next instruction with it", "[traps]") {
  TrapBench b;
  b.set_flag(rflags::TF);
  b.cpu.state.gpr[RAX] = SystemBench::data0;
  b.execute("8e d0 90 90", 4);  // mov ss,eax; nop; nop
  REQUIRE(b.vector() == DB_vector);
  CHECK(b.frame(0) == start + 3);
}

TEST_CASE("traps: A repeated instruction is stepped iteration by iteration", "[traps]") {
  TrapBench b;
  CpuState& s = b.cpu.state;
  b.returns(DB_vector);
  b.set_flag(rflags::TF);
  s.gpr[RSI] = data, s.gpr[RDI] = data + 64, s.gpr[RCX] = 3;
  b.code("f3 a4 90");  // rep movsb; nop
  struct Stop {
    uint64_t rip, rcx;
    bool resume;
  };
  for (Stop stop : {Stop{start, 2, true}, Stop{start, 1, true}, Stop{start + 2, 0, false}}) {
    while (b.vector() != DB_vector) b.run(1);
    CHECK(b.frame(0) == stop.rip);
    CHECK(s.gpr[RCX] == stop.rcx);
    CHECK(((b.frame(2) & rflags::RF) != 0) == stop.resume);
    b.run(1);
  }
}

TEST_CASE("traps: A step over a faulting instruction is the fault alone", "[traps]") {
  TrapBench b;
  b.set_flag(rflags::TF);
  b.execute("0f 0b", 3);
  REQUIRE(b.vector() == UD_vector);
  CHECK(b.frame(0) == start);
  CHECK(b.frame(2) & rflags::TF);
  CHECK(b.frame(2) & rflags::RF);
  CHECK_FALSE(b.cpu.state.dr6 & dr6::BS);
}

TEST_CASE("traps: A step over a taken branch and over CALL", "[traps]") {
  TrapBench b;
  b.set_flag(rflags::TF);
  const auto code = GENERATE("eb 10", "e8 0d 00 00 00");
  b.execute(code, 3);
  REQUIRE(b.vector() == DB_vector);
  CHECK(b.frame(0) == start + 0x12);
}

TEST_CASE("traps: A step over HLT wakes it", "[traps]") {
  TrapBench b;
  b.set_flag(rflags::TF);
  b.execute("f4 90", 3);
  REQUIRE(b.vector() == DB_vector);
  CHECK(b.frame(0) == start + 1);
}

TEST_CASE("traps: INT n, INT3 and ICEBP under TF step into nothing", "[traps]") {
  struct Row {
    const char* code;
    int vector;
    unsigned length;
  };
  const Row row = GENERATE(values<Row>({{"cd 80", 0x80, 2}, {"cc", BP_vector, 1}, {"f1", DB_vector, 1}}));
  TrapBench b;
  b.set_flag(rflags::TF);
  b.execute(row.code, 3);
  CHECK(b.vector() == row.vector);
  CHECK(b.frame(0) == start + row.length);
  CHECK(b.frame(2) & rflags::TF);
  CHECK_FALSE(b.cpu.state.dr6 & dr6::BS);
}

// Otherwise the system would be stepped at its first instruction, on the program's stack.
TEST_CASE("traps: A step over SYSCALL comes behind the SYSRET, if IA32_FMASK holds TF", "[traps]") {
  const bool masked = GENERATE(true, false);
  TrapBench b;
  CpuState& s = b.cpu.state;
  constexpr uint64_t entry = start + 0x100;
  b.to_user();
  s.msr.star = uint64_t{0x13} << 48 | uint64_t{0x08} << 32;
  s.msr.lstar = entry;
  s.msr.fmask = masked ? rflags::TF : 0;
  b.put_bytes(entry, {0x90, 0x48, 0x0f, 0x07});  // nop; sysretq
  b.set_flag(rflags::TF);
  b.execute("0f 05 90", 4);
  REQUIRE(b.vector() == DB_vector);
  CHECK(b.frame(0) == (masked ? start + 2 : entry));
  CHECK(b.frame(2) & rflags::TF);
  CHECK(s.dr6 & dr6::BS);
}

// ---- Breakpoints

// "Resume Flag": for a code breakpoint the processor pushes RF as it is, and the handler sets it.
TEST_CASE("traps: A code breakpoint stops before its instruction, and RF takes it past", "[traps]") {
  TrapBench b;
  CpuState& s = b.cpu.state;
  b.watch(2, start + 1, 0);
  b.returns(DB_vector);
  b.code("90 ff c0 ff c0 eb fa");  // nop; inc eax; inc eax; jmp to the first inc
  s.gpr[RAX] = 0;
  b.run(2);
  REQUIRE(b.vector() == DB_vector);
  CHECK(b.frame(0) == start + 1);
  CHECK_FALSE(b.frame(2) & rflags::RF);
  CHECK((s.dr6 & 0xf) == 4);
  CHECK(s.gpr[RAX] == 0);
  b.resume();
  b.run(1);  // iretq
  b.run(3);
  CHECK(s.gpr[RAX] == 2);
  CHECK(s.rip == start + 1);
  b.run(1);  // round again
  CHECK(b.vector() == DB_vector);
}

TEST_CASE("traps: A code breakpoint on a repeated instruction stops it once", "[traps]") {
  TrapBench b;
  CpuState& s = b.cpu.state;
  b.watch(0, start, 0);
  b.returns(DB_vector);
  s.gpr[RDI] = data, s.gpr[RCX] = 5;
  b.code("f3 aa f4");  // rep stosb; hlt
  b.run(1);
  REQUIRE(b.vector() == DB_vector);
  REQUIRE(s.gpr[RCX] == 5);
  b.resume();
  const uint64_t before = b.cpu.events_delivered;
  b.run(20);
  CHECK(s.activity == Activity::halted);
  CHECK(s.gpr[RCX] == 0);
  CHECK(b.cpu.events_delivered == before);
  CHECK_FALSE(s.system_flags & rflags::RF);
}

TEST_CASE("traps: Data breakpoints by length, address and access", "[traps]") {
  struct Row {
    unsigned kind, length;
    uint64_t at;
    const char* code;  // rbx is `data`
    bool hit;
  };
  const Row row = GENERATE(values<Row>({
      {1, 0, data, "88 03", true},   // mov [rbx],al
      {1, 0, data, "8a 03", false},  // mov al,[rbx]
      {3, 0, data, "8a 03", true},
      {1, 0, data, "88 43 01", false},  // one byte beside
      {1, 1, data, "88 43 01", true},   // inside a word
      {1, 1, data + 1, "88 03", true},  // its address is aligned down
      {1, 3, data, "88 43 03", true},
      {1, 3, data, "88 43 04", false},
      {1, 2, data, "88 43 07", true},
      {1, 2, data, "88 43 08", false},
      {1, 0, data + 7, "48 89 03", true},                   // the last byte of a quadword
      {1, 0, data + 3, "48 89 43 ff", true},                // an unaligned store over it
      {3, 0, data + 0x1000, "48 89 83 ff 0f 00 00", true},  // on the second page of a store
      {3, 3, data, "ff 03", true},                          // inc: reads and writes
      {1, 3, data, "39 03", false},                         // cmp only reads
      {2, 0, data, "88 03", false},                         // for ports
      {1, 2, data, "0f 11 03", true},                       // movups
      {1, 0, data + 12, "0f 29 03", true},                  // movaps
  }));
  CAPTURE(row.kind, row.length, row.at - data, row.code);
  TrapBench b;
  b.watch(1, row.at, row.kind, row.length);
  b.cpu.state.gpr[RBX] = data;
  b.execute(std::string(row.code) + " 90", 2);
  CHECK((b.vector() == DB_vector) == row.hit);
  CHECK(((b.cpu.state.dr6 & 15) == 2) == row.hit);
  if (row.hit) CHECK(b.frame(0) == start + std::string(row.code).size() / 3 + 1);
}

TEST_CASE("traps: A breakpoint that is not enabled does not stop", "[traps]") {
  TrapBench b;
  b.watch(0, data, 1);
  b.cpu.state.dr7 &= ~uint64_t{3};
  b.cpu.state.gpr[RBX] = data;
  b.execute("88 03 90", 2);
  CHECK(b.vector() == -1);
}

TEST_CASE("traps: A data breakpoint within REP traps after its iteration", "[traps]") {
  TrapBench b;
  CpuState& s = b.cpu.state;
  b.watch(3, data + 4, 1);
  s.gpr[RDI] = data, s.gpr[RCX] = 10;
  b.execute("f3 aa f4", 20);
  REQUIRE(b.vector() == DB_vector);
  CHECK(b.frame(0) == start);
  CHECK(s.gpr[RCX] == 5);
  CHECK((s.dr6 & 15) == 8);
}

TEST_CASE("traps: I/O breakpoints need CR4.DE", "[traps]") {
  struct Row {
    bool debug_extensions;
    uint64_t at;
    unsigned length;
    const char* code;
    bool hit;
  };
  const Row row = GENERATE(values<Row>({
      {true, 0x70, 0, "e4 70 90", true},
      {true, 0x70, 0, "e6 70 90", true},
      {false, 0x70, 0, "e4 70 90", false},
      {true, 0x70, 0, "e4 71 90", false},
      {true, 0x70, 1, "e4 71 90", true},
      {true, 0x73, 0, "e5 70 90", true},
  }));
  CAPTURE(row.debug_extensions, row.at, row.length, row.code);
  TrapBench b;
  if (row.debug_extensions) b.cpu.state.cr4 |= cr4::DE;
  b.watch(0, row.at, 2, row.length);
  b.execute(row.code, 600);
  CHECK((b.vector() == DB_vector) == row.hit);
  if (row.hit) CHECK(b.frame(0) == start + 2);
}

TEST_CASE("traps: ICEBP is #DB behind itself and leaves DR6 alone", "[traps]") {
  TrapBench b;
  const uint64_t before = b.cpu.state.dr6;
  b.execute("f1");
  CHECK(b.vector() == DB_vector);
  CHECK(b.frame(0) == start + 1);
  CHECK(b.cpu.state.dr6 == before);
}

TEST_CASE("traps: General detect stops MOV DR, and its handler may go on", "[traps]") {
  TrapBench b;
  b.cpu.state.dr7 |= dr7::GD;
  b.put_bytes(SystemBench::handler(DB_vector), {0x0f, 0x21, 0xc0, 0xf4});  // mov rax,dr0; hlt
  b.execute("0f 23 c0", 3);                                                // mov dr0,rax
  CHECK(b.cpu.state.dr6 & dr6::BD);
  CHECK(b.cpu.state.activity == Activity::halted);
  CHECK(b.cpu.state.rip == SystemBench::handler(DB_vector) + 4);
}

// ---- Shadows

TEST_CASE("traps: A data breakpoint on MOV SS waits for the next instruction", "[traps]") {
  TrapBench b;
  b.put(data, uint16_t{SystemBench::data0});
  b.watch(0, data, 3, 1);
  b.cpu.state.gpr[RBX] = data;
  SECTION("a plain one") {
    b.execute("8e 13 90 90", 4);  // mov ss,[rbx]; nop; nop
    REQUIRE(b.vector() == DB_vector);
    CHECK(b.frame(0) == start + 3);
  }
  SECTION("INT n: the trap stands at the handler's first instruction") {
    b.execute("8e 13 cd 80", 4);
    REQUIRE(b.vector() == DB_vector);
    CHECK(b.frame(0) == SystemBench::handler(0x80));
  }
  SECTION("ICEBP and faults: lost") {
    struct Row {
      const char* code;
      int vector;
      uint64_t length;
    };
    const Row row = GENERATE(values<Row>({{"f1", DB_vector, 3}, {"0f 0b", UD_vector, 2}}));
    b.execute(std::string("8e 13 ") + row.code, 2);
    REQUIRE(b.vector() == row.vector);
    CHECK(b.frame(0) == start + row.length);
    CHECK_FALSE(b.cpu.state.pending_debug);
    CHECK_FALSE(b.cpu.state.dr6 & 15);
  }
}

TEST_CASE("traps: An interrupt waits for the instruction behind STI and MOV SS", "[traps]") {
  struct Row {
    const char* code;
    bool enabled;
    uint64_t rip;
  };
  const Row row = GENERATE(values<Row>({{"fb 90 90", false, 2},
                                        {"fb fb 90 90", false, 2},
                                        {"fb fa 90 90", false, 0},
                                        {"90 90", true, 0},
                                        {"8e d0 90 90", true, 0}}));
  CAPTURE(row.code, row.enabled);
  TrapBench b;
  b.cpu.state.gpr[RAX] = SystemBench::data0;
  if (row.enabled) b.set_flag(rflags::IF);
  b.cpu.set_intr(true);
  b.execute(row.code, 4);
  // With IF set from the first the interrupt is already there; `sti; cli` lets none in.
  const bool comes = row.enabled || row.rip != 0;
  CHECK((b.vector() == 0x50) == comes);
  if (comes) CHECK(b.frame(0) == start + row.rip);
  CHECK(b.pic.acknowledged == comes);
}

TEST_CASE("traps: MOV SS holds back an interrupt and an NMI that came with it", "[traps]") {
  const bool nmi = GENERATE(false, true);
  TrapBench b;
  b.cpu.state.gpr[RAX] = SystemBench::data0;
  b.set_flag(rflags::IF);
  b.execute("8e d0 90 90");
  REQUIRE(b.cpu.state.mov_ss_shadow);
  if (nmi)
    b.cpu.raise_nmi();
  else
    b.cpu.set_intr(true);
  b.run(3);
  CHECK(b.vector() == (nmi ? 2 : 0x50));
  CHECK(b.frame(0) == start + 3);
}

TEST_CASE("traps: STI and HLT let the interrupt in behind the HLT", "[traps]") {
  TrapBench b;
  b.cpu.set_intr(true);
  b.execute("fb f4 90", 4);
  CHECK(b.vector() == 0x50);
  CHECK(b.frame(0) == start + 2);
}

// ---- NMI and HLT

TEST_CASE("traps: NMIs are blocked until IRET, and one is remembered", "[traps]") {
  TrapBench b;
  b.put_bytes(SystemBench::handler(NMI_vector), {0x90, 0x90, 0x48, 0xcf});  // nop; nop; iretq
  b.code("90 90 90");
  b.cpu.raise_nmi();
  b.run(1);
  REQUIRE(b.vector() == NMI_vector);
  b.cpu.raise_nmi();
  b.cpu.raise_nmi();
  b.run(2);
  CHECK(b.cpu.state.rip == SystemBench::handler(NMI_vector) + 2);
  CHECK(b.cpu.state.nmi_blocked);
  b.run(2);  // iretq, and the second
  CHECK(b.vector() == NMI_vector);
  CHECK(b.frame(0) == start);
  b.run(4);  // the third was lost
  CHECK(b.cpu.state.rip == start + 1);
  CHECK_FALSE(b.cpu.state.nmi_blocked);
}

TEST_CASE("traps: An IRET that faults has unblocked NMIs all the same", "[traps]") {
  TrapBench b;
  b.cpu.state.nmi_blocked = true;
  b.cpu.state.gpr[RSP] = 0x0000800000000000;
  b.execute("48 cf");
  CHECK_FALSE(b.cpu.state.nmi_blocked);
}

TEST_CASE("traps: What wakes HLT", "[traps]") {
  struct Row {
    const char* what;
    bool interrupts_on, wakes;
    int vector;
  };
  const Row row = GENERATE(values<Row>({{"pic", true, true, 0x50},
                                        {"pic", false, false, 0},
                                        {"apic", true, true, 0x61},
                                        {"apic", false, false, 0},
                                        {"nmi", false, true, 2}}));
  CAPTURE(row.what, row.interrupts_on);
  TrapBench b;
  if (row.interrupts_on) b.set_flag(rflags::IF);
  b.execute("f4 90", 5);
  REQUIRE(b.cpu.idle());
  REQUIRE_FALSE(b.cpu.can_wake());
  if (row.what[0] == 'p') b.cpu.set_intr(true);
  if (row.what[0] == 'a') b.self_ipi(0x61);
  if (row.what[0] == 'n') b.cpu.raise_nmi();
  CHECK(b.cpu.can_wake() == row.wakes);
  b.run(1);
  CHECK(b.cpu.idle() == !row.wakes);
  if (row.wakes) CHECK(b.vector() == row.vector);
  if (row.wakes) CHECK(b.frame(0) == start + 1);
}

// ---- Which comes first

TEST_CASE("traps: The local APIC's interrupt is taken before the 8259's", "[traps]") {
  TrapBench b;
  b.set_flag(rflags::IF);
  b.cpu.set_intr(true);
  b.self_ipi(0x61);
  b.code("90 90");
  b.returns(0x61);
  b.run(1);
  CHECK(b.vector() == 0x61);
  CHECK(b.pic.acknowledged == 0);
}

TEST_CASE("traps: A trap comes before an NMI, an NMI before an interrupt", "[traps]") {
  TrapBench b;
  b.set_flag(rflags::TF | rflags::IF);
  b.execute("90 90");
  b.cpu.raise_nmi();
  b.cpu.set_intr(true);
  b.run(2);
  CHECK(b.vector() == NMI_vector);
  CHECK(b.frame(0) == SystemBench::handler(DB_vector));  // the handler of the trap had been entered
  CHECK(b.pic.acknowledged == 0);
}

TEST_CASE("traps: Which of two exceptions an instruction meets", "[traps]") {
  struct Row {
    const char* what;
    const char* code;
    int vector;
  };
  const Row row = GENERATE(values<Row>({
      {"a code breakpoint before #UD", "0f 0b", DB_vector},
      {"LOCK on a register before its memory", "f0 01 c0", UD_vector},
      {"#UD before #PF", "f0 8b 03", UD_vector},
      {"#GP for a privileged row before its operand's #PF", "0f 01 13", GP_vector},
      {"#NM before #PF", "d9 03", NM_vector},
      {"#PF before #DE", "f7 33", PF_vector},
      {"a length of more than 15 is #GP", "66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 90", GP_vector},
  }));
  CAPTURE(row.what);
  TrapBench b;
  CpuState& s = b.cpu.state;
  b.to_user();
  s.gpr[RBX] = 0x40000000;  // nothing is mapped there
  s.cr0 |= cr0::TS;
  b.cpu.derive();
  if (row.vector == DB_vector) b.watch(0, start, 0);
  b.execute(row.code);
  CHECK(b.vector() == row.vector);
  CHECK(b.frame(row.vector == PF_vector || row.vector == GP_vector ? 1 : 0) == start);
}

TEST_CASE("traps: Events that follow each other do so whether a slice ends between them or not") {
  // Delivering #DB pushes onto the stack that the breakpoint watches, so another #DB waits before its handler has begun.
  auto after = [](unsigned slices) {
    CpuBench b(CpuBench::Mode::real16);
    b.put(4 * 1, uint32_t{0x00005000});
    b.put_bytes(0x5000, std::vector<uint8_t>(64, 0x40));  // inc ax
    b.cpu.state.idtr = {0x3ff, 0};
    b.cpu.state.dr[1] = 0x7ff0;
    b.cpu.state.dr7 |= 1 << 2 | uint64_t{13} << 20;  // four bytes, written
    b.cpu.state.gpr[RSP] = 0x7ff2;
    b.cpu.forget_caches();
    b.code("50 50 50 50");
    for (unsigned i = 0; i < slices; ++i) b.run(12 / slices);
    return std::pair(b.cpu.state.gpr[RSP], b.cpu.state.retired);
  };
  CHECK(after(1) == after(12));
  CHECK(after(1) == after(4));
}
