// System instructions and events in 64-bit mode.
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

TEST_CASE("Loading segment registers in 64-bit mode", "[system]") {
  SystemBench b;
  CpuState& s = b.cpu.state;
  SECTION("FS takes the descriptor's base") {
    b.descriptor(SystemBench::test, 0x12345678, 0xfffff, 0x92 | SystemBench::flat32);
    s.gpr[RAX] = SystemBench::test;
    b.execute("8e e0");  // mov fs,eax
    CHECK(s.segment[FS].base == 0x12345678);
    CHECK(b.rights_byte(SystemBench::test) == 0x93);  // accessed
  }
  SECTION("a null FS has base 0") {
    s.segment[FS].base = 5;
    s.gpr[RAX] = 0;
    b.execute("8e e0");
    CHECK(s.segment[FS].base == 0);
    CHECK(s.segment[FS].unusable());
  }
  SECTION("a null SS at level 0, with a shadow behind it") {
    s.gpr[RAX] = 0;
    b.execute("8e d0");
    CHECK(s.segment[SS].unusable());
    CHECK(b.cpu.cpl() == 0);
    CHECK(s.mov_ss_shadow);
  }
  SECTION("a null SS with another RPL") {
    s.gpr[RAX] = 3;
    b.execute("8e d0");
    CHECK(b.vector() == GP_vector);
  }
  SECTION("CS is #UD") {
    b.execute("8e c8");
    CHECK(b.vector() == UD_vector);
  }
  SECTION("a level 0 segment at level 3") {
    b.to_user();
    s.gpr[RAX] = SystemBench::data0;
    b.execute("8e d8");
    REQUIRE(b.vector() == GP_vector);
    CHECK(b.frame(0) == SystemBench::data0);
  }
  SECTION("PUSH and POP FS take eight bytes") {
    s.segment[FS].selector = SystemBench::data0;
    b.execute("0f a0 0f a9", 2);  // push fs; pop gs
    CHECK(s.segment[GS].selector == SystemBench::data0);
    CHECK(s.gpr[RSP] == CpuBench::stack_at);
    CHECK(b.get(CpuBench::stack_at - 8) == SystemBench::data0);
  }
}

// ---- Control registers

TEST_CASE("MOV to control registers refuses reserved values", "[system]") {
  SystemBench b;
  CpuState& s = b.cpu.state;
  const CpuState before = s;
  const char* code = "";
  SECTION("the upper half of CR0") { s.gpr[RAX] = s.cr0 | uint64_t{1} << 32, code = "0f 22 c0"; }
  SECTION("PG without PE") { s.gpr[RAX] = s.cr0 & ~cr0::PE, code = "0f 22 c0"; }
  SECTION("NW without CD") { s.gpr[RAX] = s.cr0 | cr0::NW, code = "0f 22 c0"; }
  SECTION("paging off in 64-bit code") { s.gpr[RAX] = s.cr0 & ~cr0::PG, code = "0f 22 c0"; }
  SECTION("CR3 beyond the physical width") { s.gpr[RAX] = uint64_t{1} << 52, code = "0f 22 d8"; }
  SECTION("CR4 bit 31") { s.gpr[RAX] = s.cr4 | uint64_t{1} << 31, code = "0f 22 e0"; }
  SECTION("PAE off in long mode") { s.gpr[RAX] = s.cr4 & ~cr4::PAE, code = "0f 22 e0"; }
  SECTION("CR8 above 15") { s.gpr[RAX] = 16, code = "44 0f 22 c0"; }
  b.execute(code);
  CHECK(b.vector() == GP_vector);
  CHECK(b.frame(0) == 0);
  CHECK(s.cr0 == before.cr0);
  CHECK(s.cr3 == before.cr3);
  CHECK(s.cr4 == before.cr4);
}

TEST_CASE("CR8 is the task priority, CR1 does not exist", "[system]") {
  SystemBench b;
  b.cpu.state.gpr[RAX] = 9;
  b.execute("44 0f 22 c0 44 0f 20 c1", 2);  // mov cr8,rax; mov rcx,cr8
  CHECK(b.cpu.state.gpr[RCX] == 9);
  b.execute("0f 20 c8");
  CHECK(b.vector() == UD_vector);
}

TEST_CASE("MOV to CR3 drops translations, but not global ones", "[system]") {
  SystemBench b;
  CpuState& s = b.cpu.state;
  const uint64_t entry = 0x12000 + 8 * 3;  // of 6 to 8 MiB
  const uint64_t global = GENERATE(uint64_t{0}, uint64_t{0x100});
  b.put(entry, uint64_t{3} << 21 | 0x87 | global);
  s.gpr[RBX] = 3 << 21;
  b.execute("48 8b 03");
  b.put(entry, uint64_t{0});
  s.gpr[RAX] = s.cr3;
  b.execute("0f 22 d8 48 8b 03", 2);
  CHECK(b.vector() == (global ? -1 : PF_vector));
  if (!global) CHECK(b.frame(0) == 0);
  if (global) {
    b.execute("0f 01 3b 48 8b 03", 2);  // invlpg [rbx]
    CHECK(b.vector() == PF_vector);
  }
}

TEST_CASE("LMSW sets PE but never clears it; SMSW reads CR0", "[system]") {
  SystemBench b;
  CpuState& s = b.cpu.state;
  s.gpr[RAX] = 0xa;                   // TS, MP
  b.execute("0f 01 f0 0f 01 e1", 2);  // lmsw ax; smsw ecx
  CHECK((s.cr0 & 0xf) == 0xb);
  CHECK(s.gpr[RCX] == s.cr0);
  b.execute("0f 06");  // clts
  CHECK(!(s.cr0 & cr0::TS));
}

TEST_CASE("Debug registers", "[system]") {
  SystemBench b;
  CpuState& s = b.cpu.state;
  SECTION("DR4 is DR6 unless CR4.DE") {
    b.execute("0f 21 e0");  // mov rax,dr4
    CHECK(s.gpr[RAX] == dr6::always_one);
  }
  SECTION("and #UD with it") {
    s.cr4 |= cr4::DE;
    b.execute("0f 21 e0");
    CHECK(b.vector() == UD_vector);
  }
  SECTION("reserved bits of DR7 read as they must") {
    s.gpr[RAX] = 0xffffdfff;
    b.execute("0f 23 f8");
    CHECK(s.dr7 == 0xffff07ff);
  }
  SECTION("upper half") {
    s.gpr[RAX] = uint64_t{1} << 32;
    b.execute("0f 23 f8");
    CHECK(b.vector() == GP_vector);
  }
  SECTION("general detect") {
    s.dr7 |= dr7::GD;
    b.execute("0f 21 e0");
    REQUIRE(b.vector() == DB_vector);
    CHECK(b.frame(0) == start);
    CHECK(s.dr6 & dr6::BD);
    CHECK(!(s.dr7 & dr7::GD));
  }
  SECTION("a write watch point traps behind the store") {
    s.dr[1] = CpuBench::data_at;
    s.gpr[RAX] = 1 << 2 | 1 << 20 | 3 << 22;  // L1, write, four bytes
    s.gpr[RBX] = CpuBench::data_at;
    b.execute("48 89 03 0f 23 f8 48 89 03 90", 4);  // store (fills the TLB); mov dr7,rax; store; nop
    REQUIRE(b.vector() == DB_vector);
    CHECK(b.frame(0) == start + 9);
    CHECK((s.dr6 & 15) == 2);
  }
}

TEST_CASE("INVPCID checks its descriptor", "[system]") {
  SystemBench b(Mode::long64);
  CpuState& s = b.cpu.state;
  s.gpr[RBX] = CpuBench::data_at;
  SECTION("type 4") { s.gpr[RAX] = 4; }
  SECTION("reserved bits") { b.put(CpuBench::data_at, uint64_t{0x1000}), s.gpr[RAX] = 2; }
  SECTION("a PCID without CR4.PCIDE") { b.put(CpuBench::data_at, uint64_t{1}), s.gpr[RAX] = 1; }
  SECTION("a non-canonical address") { b.put(CpuBench::data_at + 8, uint64_t{1} << 47), s.gpr[RAX] = 0; }
  b.execute("66 0f 38 82 03");
  CHECK(b.vector() == GP_vector);
}

// ---- Descriptor tables

TEST_CASE("LGDT and SGDT move ten bytes", "[system]") {
  SystemBench b;
  CpuState& s = b.cpu.state;
  s.gpr[RBX] = CpuBench::data_at;
  b.put(CpuBench::data_at, uint16_t{0x1234});
  b.put(CpuBench::data_at + 2, uint64_t{0xffff800000000010});
  b.execute("0f 01 13 0f 01 43 20", 2);  // lgdt [rbx]; sgdt [rbx+0x20]
  CHECK(s.gdtr.limit == 0x1234);
  CHECK(s.gdtr.base == 0xffff800000000010);
  CHECK(b.get<uint16_t>(CpuBench::data_at + 0x20) == 0x1234);
  CHECK(b.get(CpuBench::data_at + 0x22) == 0xffff800000000010);
  b.put(CpuBench::data_at + 2, uint64_t{1} << 47);
  s.gdtr = {SystemBench::gdt_limit, SystemBench::gdt_at};
  b.execute("0f 01 1b");  // lidt [rbx]
  CHECK(b.vector() == GP_vector);
}

TEST_CASE("LTR takes a 16-byte descriptor and makes it busy", "[system]") {
  SystemBench b;
  CpuState& s = b.cpu.state;
  b.descriptor(SystemBench::test, 0x23000, 0x67, 0x89);
  b.put(SystemBench::gdt_at + SystemBench::test + 8, uint64_t{0xffff8000});
  s.gpr[RAX] = SystemBench::test;
  b.execute("0f 00 d8 0f 00 c9", 2);  // ltr ax; str ecx
  CHECK(s.tr.base == 0xffff800000023000);
  CHECK(s.tr.limit == 0x67);
  CHECK(s.gpr[RCX] == SystemBench::test);
  CHECK(b.rights_byte(SystemBench::test) == 0x8b);
  b.execute("0f 00 d8");
  REQUIRE(b.vector() == GP_vector);  // busy now
  CHECK(b.frame(0) == SystemBench::test);
}

TEST_CASE("LLDT", "[system]") {
  SystemBench b;
  CpuState& s = b.cpu.state;
  s.gpr[RAX] = SystemBench::ldt;
  b.put(SystemBench::gdt_at + SystemBench::ldt + 8, uint64_t{0});
  b.put_descriptor(SystemBench::ldt_at, 0x1000, 0xfff, 0x93);
  s.gpr[RCX] = 4;
  b.execute("0f 00 d0 8e e1", 2);  // lldt ax; mov fs,ecx
  CHECK(s.ldtr.base == SystemBench::ldt_at);
  CHECK(s.segment[FS].base == 0x1000);
  s.gpr[RAX] = 0;
  b.execute("0f 00 d0 8e e1", 2);
  REQUIRE(b.vector() == GP_vector);
  CHECK(b.frame(0) == 4);
}

TEST_CASE("User-mode instruction prevention", "[system]") {
  SystemBench b;
  b.to_user();
  b.cpu.state.gpr[RBX] = CpuBench::data_at;
  const char* code = GENERATE("0f 01 03", "0f 01 0b", "0f 00 03", "0f 00 c8", "0f 01 e0");  // sgdt sidt sldt str smsw
  b.execute(code);
  CHECK(b.vector() == -1);
  b.cpu.state.cr4 |= cr4::UMIP;
  b.execute(code);
  CHECK(b.vector() == GP_vector);
}

// ---- Flags

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
