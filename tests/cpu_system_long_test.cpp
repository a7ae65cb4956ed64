// Events and transfers between levels in 64-bit mode.
#include <catch2/catch.hpp>

#include "tests/cpu_system_bench.h"

using namespace matryoshka;

namespace {
constexpr uint64_t start = CpuBench::code_at;
}

TEST_CASE("A fault at level 3 leaves five words and a null SS at level 0", "[system]") {
  SystemBench b;
  b.to_user();
  CpuState& s = b.cpu.state;
  s.gpr[RSP] = 0x300008;
  s.system_flags |= rflags::IF | rflags::NT;
  b.execute("0f 0b");  // ud2
  REQUIRE(b.vector() == UD_vector);
  CHECK(s.gpr[RSP] == SystemBench::inner_stack_at - 40);
  CHECK(b.frame(0) == start);
  CHECK(b.frame(1) == SystemBench::code3);
  CHECK(b.frame(2) == (rflags::always_one | rflags::IF | rflags::NT | rflags::RF | (s.rflags() & rflags::status)));
  CHECK(b.frame(3) == 0x300008);
  CHECK(b.frame(4) == SystemBench::data3);
  CHECK(s.segment[CS].selector == SystemBench::code0);
  CHECK(s.segment[SS].selector == 0);
  CHECK(s.segment[SS].unusable());
  CHECK(b.cpu.cpl() == 0);
  CHECK(!(s.system_flags & (rflags::IF | rflags::NT | rflags::TF | rflags::RF)));
}

TEST_CASE("An interrupt at the same level aligns the stack to 16 bytes", "[system]") {
  SystemBench b;
  b.cpu.state.gpr[RSP] = 0x300008;
  b.execute("cd 80");  // int 0x80
  REQUIRE(b.vector() == 0x80);
  CHECK(b.cpu.state.gpr[RSP] == 0x300000 - 40);
  CHECK(b.frame(0) == start + 2);
  CHECK(b.frame(3) == 0x300008);
  CHECK(b.frame(4) == 0x10);
}

TEST_CASE("A trap gate leaves IF alone, an interrupt gate clears it", "[system]") {
  SystemBench b;
  b.set_gate(0x81, SystemBench::code0, SystemBench::handler(0x81), 0x8f);
  b.cpu.state.system_flags |= rflags::IF;
  b.execute("cd 81");
  REQUIRE(b.vector() == 0x81);
  CHECK(b.cpu.state.system_flags & rflags::IF);
}

TEST_CASE("INT n above the gate's DPL is #GP with the vector's error code", "[system]") {
  SystemBench b;
  b.to_user();
  b.execute("cd 80");
  REQUIRE(b.vector() == GP_vector);
  CHECK(b.frame(0) == (0x80 << 3 | 2));
  CHECK(b.frame(1) == start);
}

TEST_CASE("INT n through an absent gate is #NP, without EXT", "[system]") {
  SystemBench b;
  b.set_gate(0x80, SystemBench::code0, SystemBench::handler(0x80), 0x0e);
  b.execute("cd 80");
  REQUIRE(b.vector() == NP_vector);
  CHECK(b.frame(0) == (0x80 << 3 | 2));
}

TEST_CASE("A fault behind an absent gate is #NP with EXT, and that becomes #DF only for two contributory ones", "[system]") {
  SystemBench b;
  SECTION("#UD is benign: #NP is delivered") {
    b.set_gate(UD_vector, SystemBench::code0, SystemBench::handler(UD_vector), 0x0e);
    b.execute("0f 0b");
    REQUIRE(b.vector() == NP_vector);
    CHECK(b.frame(0) == (UD_vector << 3 | 3));
    CHECK(b.frame(1) == start);
  }
  SECTION("#GP and then #NP is #DF with error code 0") {
    b.set_gate(GP_vector, SystemBench::code0, SystemBench::handler(GP_vector), 0x0e);
    b.cpu.state.gpr[RBX] = uint64_t{1} << 63;
    b.execute("48 8b 03");  // mov rax,[rbx]
    REQUIRE(b.vector() == DF_vector);
    CHECK(b.frame(0) == 0);
    CHECK(b.frame(1) == start);
    CHECK(!(b.frame(3) & rflags::RF));
  }
  SECTION("#PF and then #NP is #DF") {
    b.set_gate(PF_vector, SystemBench::code0, SystemBench::handler(PF_vector), 0x0e);
    b.cpu.state.gpr[RBX] = uint64_t{1} << 40;
    b.execute("48 8b 03");
    CHECK(b.vector() == DF_vector);
    CHECK(b.cpu.state.cr2 == uint64_t{1} << 40);
  }
  SECTION("a third one shuts the processor down") {
    b.set_gate(GP_vector, SystemBench::code0, 0, 0x0e);
    b.set_gate(DF_vector, SystemBench::code0, 0, 0x0e);
    b.cpu.state.gpr[RBX] = uint64_t{1} << 63;
    b.execute("48 8b 03");
    CHECK(b.triple);
    CHECK(b.cpu.state.activity == Activity::shutdown);
  }
}

TEST_CASE("INT3 goes through a DPL 3 gate and returns behind itself; INT1 needs no DPL", "[system]") {
  SystemBench b;
  b.to_user();
  SECTION("int3") {
    b.set_gate(BP_vector, SystemBench::code0, SystemBench::handler(BP_vector), 0xee);
    b.execute("cc");
    REQUIRE(b.vector() == BP_vector);
    CHECK(b.frame(0) == start + 1);
    CHECK(!(b.frame(2) & rflags::RF));
  }
  SECTION("int1") {
    b.execute("f1");
    REQUIRE(b.vector() == DB_vector);
    CHECK(b.frame(0) == start + 1);
  }
}

TEST_CASE("A non-canonical address is #GP, and #SS through the stack", "[system]") {
  SystemBench b;
  b.cpu.state.gpr[RSP] = uint64_t{1} << 62;
  b.cpu.state.gpr[RBX] = uint64_t{1} << 62;
  b.put(SystemBench::tss_at + 36, uint64_t{SystemBench::inner_stack_at});
  for (unsigned v : {GP_vector, SS_vector}) b.set_gate(v, SystemBench::code0, SystemBench::handler(v), 0x8e, 1);
  int expected = SS_vector;
  const char* code = "";
  SECTION("mov rax,[rbx]") { code = "48 8b 03", expected = GP_vector; }
  SECTION("mov rax,[rsp]") { code = "48 8b 04 24"; }
  SECTION("push rax") { code = "50"; }
  b.execute(code);
  CHECK(b.vector() == expected);
  CHECK(b.frame(0) == 0);
  CHECK(b.frame(4) == uint64_t{1} << 62);
}

TEST_CASE("An interrupt stack table entry is used at any level, its TSS must reach that far", "[system]") {
  SystemBench b;
  b.put(SystemBench::tss_at + 36 + 8 * 6, uint64_t{0x320008});
  b.set_gate(UD_vector, SystemBench::code0, SystemBench::handler(UD_vector), 0x8e, 7);
  SECTION("at level 0 SS stays") {
    b.execute("0f 0b");
    REQUIRE(b.vector() == UD_vector);
    CHECK(b.cpu.state.gpr[RSP] == 0x320000 - 40);
    CHECK(b.cpu.state.segment[SS].selector == 0x10);
  }
  SECTION("from level 3 SS becomes null") {
    b.to_user();
    b.execute("0f 0b");
    REQUIRE(b.vector() == UD_vector);
    CHECK(b.cpu.state.gpr[RSP] == 0x320000 - 40);
    CHECK(b.cpu.state.segment[SS].selector == 0);
  }
  SECTION("beyond the limit is #TS") {
    b.cpu.state.tr.limit = 36 + 8 * 7 - 2;
    b.execute("0f 0b");
    REQUIRE(b.vector() == TS_vector);
    CHECK(b.frame(0) == (SystemBench::tss | 1));
  }
}

// ---- IRETQ

namespace {
void push_iret_frame(SystemBench& b, uint16_t ss, uint64_t rsp, uint64_t flags, uint16_t cs, uint64_t rip) {
  b.push64(ss), b.push64(rsp), b.push64(flags), b.push64(cs), b.push64(rip);
}
}  // namespace

TEST_CASE("IRETQ to level 3 loads all five words and drops level 0 data segments", "[system]") {
  SystemBench b;
  CpuState& s = b.cpu.state;
  s.nmi_blocked = true;
  s.segment[FS] = {0, Segment::unusable_bit, 0, 0x12345678};
  s.segment[GS].base = 0x1000;
  b.cpu.derive();
  push_iret_frame(b, SystemBench::data3, 0x2fff08, rflags::IF | rflags::TF | rflags::CF | rflags::ID, SystemBench::code3,
                  0x123456);
  b.execute("48 cf");  // iretq
  CHECK(s.rip == 0x123456);
  CHECK(s.gpr[RSP] == 0x2fff08);
  CHECK(s.rflags() == (rflags::always_one | rflags::IF | rflags::TF | rflags::CF | rflags::ID));
  CHECK(b.cpu.cpl() == 3);
  CHECK(s.segment[SS].selector == SystemBench::data3);
  CHECK(s.segment[DS].unusable());
  CHECK(s.segment[DS].selector == 0);
  CHECK(s.segment[FS].base == 0x12345678);
  CHECK(!s.nmi_blocked);
}

TEST_CASE("IRETQ at the same level pops SS:RSP too, and takes a null SS", "[system]") {
  SystemBench b;
  push_iret_frame(b, 0, 0x2fff08, 0x202, SystemBench::code0, 0x123456);
  b.execute("48 cf");
  CHECK(b.cpu.state.rip == 0x123456);
  CHECK(b.cpu.state.gpr[RSP] == 0x2fff08);
  CHECK(b.cpu.state.segment[SS].unusable());
  CHECK(b.cpu.cpl() == 0);
}

TEST_CASE("What IRETQ refuses", "[system]") {
  SystemBench b;
  const uint64_t rsp = b.cpu.state.gpr[RSP];
  unsigned error = 0;
  int vector = GP_vector;
  SECTION("a null SS for level 3") { push_iret_frame(b, 0, 0x2ff000, 2, SystemBench::code3, 0x1000); }
  SECTION("a null CS") { push_iret_frame(b, SystemBench::data0, 0x2ff000, 2, 0, 0x1000); }
  SECTION("a non-canonical RIP") { push_iret_frame(b, SystemBench::data0, 0x2ff000, 2, SystemBench::code0, uint64_t{1} << 47); }
  SECTION("SS of another level than CS") {
    push_iret_frame(b, SystemBench::data0, 0x2ff000, 2, SystemBench::code3, 0x1000);
    error = SystemBench::data0;
  }
  SECTION("a data segment for CS") {
    push_iret_frame(b, SystemBench::data0, 0x2ff000, 2, SystemBench::data0, 0x1000);
    error = SystemBench::data0;
  }
  SECTION("NT") {
    b.cpu.state.system_flags |= rflags::NT;
    push_iret_frame(b, SystemBench::data0, 0x2ff000, 2, SystemBench::code0, 0x1000);
  }
  SECTION("an absent CS") {
    b.descriptor(SystemBench::test, 0, 0xfffff, 0x1b | SystemBench::flat64);
    push_iret_frame(b, SystemBench::data0, 0x2ff000, 2, SystemBench::test, 0x1000);
    vector = NP_vector, error = SystemBench::test;
  }
  SECTION("an absent SS") {
    b.descriptor(SystemBench::test, 0, 0xfffff, 0x13 | SystemBench::flat32);
    push_iret_frame(b, SystemBench::test, 0x2ff000, 2, SystemBench::code0, 0x1000);
    vector = SS_vector, error = SystemBench::test;
  }
  b.execute("48 cf");
  REQUIRE(b.vector() == vector);
  CHECK(b.frame(0) == error);
  CHECK(b.frame(1) == start);
  CHECK(b.frame(4) == rsp - 40);
}

TEST_CASE("IRETQ at level 3 keeps IOPL and, above it, IF", "[system]") {
  SystemBench b;
  b.to_user();
  b.cpu.state.system_flags |= rflags::IF;
  push_iret_frame(b, SystemBench::data3, 0x2ff000, rflags::IOPL | rflags::AC, SystemBench::code3, 0x1000);
  b.execute("48 cf");
  CHECK(b.cpu.state.rip == 0x1000);
  CHECK(b.cpu.state.rflags() == (rflags::always_one | rflags::IF | rflags::AC));
}

TEST_CASE("IRETQ outward takes the RPL of null selectors, but not their base", "[system]") {
  SystemBench b;
  CpuState& s = b.cpu.state;
  for (SegmentName name : {ES, FS}) s.segment[name] = {3, Segment::unusable_bit, 0, 0};
  s.segment[FS].base = 0x1234;
  push_iret_frame(b, SystemBench::data3, 0x2ff000, 2, SystemBench::code3, 0x1000);
  b.execute("48 cf");
  REQUIRE(b.cpu.cpl() == 3);
  CHECK(s.segment[ES].selector == 0);
  CHECK(s.segment[FS].selector == 0);
  CHECK(s.segment[FS].base == 0x1234);
}

// ---- Fast calls

TEST_CASE("SYSCALL and SYSRET go there and back", "[system]") {
  SystemBench b;
  b.to_user();
  CpuState& s = b.cpu.state;
  s.msr.star = uint64_t{0x13} << 48 | uint64_t{0x08} << 32;
  s.msr.lstar = 0x130000;
  s.msr.fmask = rflags::IF | rflags::DF;
  s.system_flags |= rflags::IF | rflags::DF;
  b.put_bytes(0x130000, {0x48, 0x0f, 0x07});  // sysretq
  b.execute("0f 05");                         // syscall
  CHECK(s.rip == 0x130000);
  CHECK(s.gpr[RCX] == start + 2);
  CHECK((s.gpr[R11] & (rflags::IF | rflags::DF)) == (rflags::IF | rflags::DF));
  CHECK(!(s.system_flags & (rflags::IF | rflags::DF)));
  CHECK(s.segment[CS].selector == 0x08);
  CHECK(s.segment[SS].selector == 0x10);
  CHECK(b.cpu.cpl() == 0);
  b.run();
  CHECK(s.rip == start + 2);
  CHECK(s.segment[CS].selector == 0x23);
  CHECK(s.segment[SS].selector == 0x1b);
  CHECK(b.cpu.cpl() == 3);
  CHECK((s.system_flags & (rflags::IF | rflags::DF)) == (rflags::IF | rflags::DF));
}

TEST_CASE("SYSRET to a non-canonical address faults while still at level 0", "[system]") {
  SystemBench b;
  b.cpu.state.gpr[RCX] = uint64_t{1} << 47;
  b.execute("48 0f 07");
  REQUIRE(b.vector() == GP_vector);
  CHECK(b.frame(2) == 0x08);
  CHECK(b.frame(1) == start);
}

TEST_CASE("SYSRET without REX.W goes to compatibility mode", "[system]") {
  SystemBench b;
  CpuState& s = b.cpu.state;
  s.msr.star = uint64_t{0x13} << 48;
  s.gpr[RCX] = 0xffffffff00001000;
  s.gpr[R11] = 2;
  b.execute("0f 07");
  CHECK(s.rip == 0x1000);
  CHECK(s.segment[CS].selector == 0x13);
  CHECK(b.cpu.mode().code_bits == 32);
}

TEST_CASE("SYSCALL needs EFER.SCE, SYSRET level 0", "[system]") {
  SystemBench b;
  SECTION("SCE") {
    b.cpu.state.msr.efer &= ~efer::SCE;
    b.execute("0f 05");
    CHECK(b.vector() == UD_vector);
  }
  SECTION("level") {
    b.to_user();
    b.execute("48 0f 07");
    CHECK(b.vector() == GP_vector);
  }
}

TEST_CASE("SYSENTER and SYSEXIT", "[system]") {
  SystemBench b;
  b.to_user();
  CpuState& s = b.cpu.state;
  s.system_flags |= rflags::IF;
  s.msr.sysenter_cs = 0x08, s.msr.sysenter_esp = 0x320000, s.msr.sysenter_eip = 0x130000;
  b.put_bytes(0x130000, {0x48, 0x0f, 0x35});  // sysexit, 64-bit
  b.execute("0f 34");                         // sysenter
  CHECK(s.rip == 0x130000);
  CHECK(s.gpr[RSP] == 0x320000);
  CHECK(b.cpu.cpl() == 0);
  CHECK(!(s.system_flags & rflags::IF));
  s.gpr[RCX] = 0x2ff000, s.gpr[RDX] = 0x1234;
  b.run();
  CHECK(s.rip == 0x1234);
  CHECK(s.gpr[RSP] == 0x2ff000);
  CHECK(s.segment[CS].selector == 0x2b);
  CHECK(s.segment[SS].selector == 0x33);
  CHECK(b.cpu.cpl() == 3);
}

TEST_CASE("SYSENTER with a null CS is #GP(0)", "[system]") {
  SystemBench b;
  b.execute("0f 34");
  CHECK(b.vector() == GP_vector);
  CHECK(b.frame(0) == 0);
}

TEST_CASE("SWAPGS exchanges the bases, at level 0 only", "[system]") {
  SystemBench b;
  CpuState& s = b.cpu.state;
  s.segment[GS].base = 1, s.msr.kernel_gs_base = 0x200000;
  SECTION("level 0") {
    b.put(0x200010, uint64_t{0x1122});
    b.execute("0f 01 f8 65 48 8b 04 25 10 00 00 00", 2);  // swapgs; mov rax,gs:[0x10]
    CHECK(s.segment[GS].base == 0x200000);
    CHECK(s.msr.kernel_gs_base == 1);
    CHECK(s.gpr[RAX] == 0x1122);
  }
  SECTION("level 3") {
    b.to_user();
    b.execute("0f 01 f8");
    CHECK(b.vector() == GP_vector);
  }
}

TEST_CASE("FSGSBASE instructions", "[system]") {
  SystemBench b;
  CpuState& s = b.cpu.state;
  SECTION("#UD without CR4.FSGSBASE") {
    b.execute("f3 48 0f ae d0");  // wrfsbase rax
    CHECK(b.vector() == UD_vector);
  }
  s.cr4 |= cr4::FSGSBASE;
  SECTION("64-bit") {
    s.gpr[RAX] = 0xffff800000001000;
    b.execute("f3 48 0f ae d0");
    CHECK(s.segment[FS].base == 0xffff800000001000);
  }
  SECTION("32-bit") {
    s.gpr[RAX] = 0xffff800000001000;
    b.execute("f3 0f ae d8 f3 48 0f ae c9", 2);  // wrgsbase eax; rdgsbase rcx
    CHECK(s.segment[GS].base == 0x1000);
    CHECK(s.gpr[RCX] == 0x1000);
  }
  SECTION("non-canonical") {
    s.gpr[RAX] = uint64_t{1} << 47;
    b.execute("f3 48 0f ae d0");
    CHECK(b.vector() == GP_vector);
  }
}

// ---- Far transfers

TEST_CASE("A far JMP goes to compatibility mode and a call gate back to 64-bit code", "[system]") {
  SystemBench b;
  CpuState& s = b.cpu.state;
  s.gpr[RBX] = CpuBench::data_at;
  b.put(CpuBench::data_at, uint32_t{0x120000});
  b.put(CpuBench::data_at + 4, uint16_t{SystemBench::other_code});
  b.set_call_gate(SystemBench::gate, SystemBench::code0, 0x140000, 0x8c);
  b.put_bytes(0x120000, {0x9a, 0, 0, 0, 0, 0x80, 0x00});  // call 0x80:0
  b.execute("ff 2b");                                     // jmp far dword [rbx]
  CHECK(s.rip == 0x120000);
  CHECK(s.segment[CS].selector == SystemBench::other_code);
  REQUIRE(b.cpu.mode().code_bits == 32);
  b.run();
  CHECK(s.rip == 0x140000);
  CHECK(b.cpu.mode().code_bits == 64);
  CHECK(s.gpr[RSP] == CpuBench::stack_at - 16);
  CHECK(b.frame(0) == 0x120007);
  CHECK(b.frame(1) == SystemBench::other_code);
}

TEST_CASE("A 64-bit call gate to an inner level takes RSP from the TSS and a null SS", "[system]") {
  SystemBench b;
  b.to_user();
  CpuState& s = b.cpu.state;
  b.set_call_gate(SystemBench::gate, SystemBench::code0, 0x140000, 0xec);
  b.put_bytes(0x140000, {0x48, 0xcb});  // retfq
  s.gpr[RBX] = CpuBench::data_at;
  b.put(CpuBench::data_at, uint64_t{0x77});
  b.put(CpuBench::data_at + 8, uint16_t{SystemBench::gate | 3});
  b.execute("48 ff 1b");  // call far [rbx]
  REQUIRE(s.rip == 0x140000);
  CHECK(b.cpu.cpl() == 0);
  CHECK(s.segment[SS].unusable());
  CHECK(s.gpr[RSP] == SystemBench::inner_stack_at - 32);
  CHECK(b.frame(0) == start + 3);
  CHECK(b.frame(1) == SystemBench::code3);
  CHECK(b.frame(2) == CpuBench::stack_at);
  CHECK(b.frame(3) == SystemBench::data3);
  b.run();
  CHECK(s.rip == start + 3);
  CHECK(b.cpu.cpl() == 3);
  CHECK(s.gpr[RSP] == CpuBench::stack_at);
}

TEST_CASE("Long mode has no task switches", "[system]") {
  SystemBench b;
  b.cpu.state.gpr[RBX] = CpuBench::data_at;
  b.put(CpuBench::data_at + 4, uint16_t{SystemBench::tss2});
  b.execute("ff 2b");
  REQUIRE(b.vector() == GP_vector);
  CHECK(b.frame(0) == SystemBench::tss2);
}

// ---- Segment registers
