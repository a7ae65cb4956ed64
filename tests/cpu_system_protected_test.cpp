// Protected mode with 16- and 32-bit gates: segments, call gates, returns, and the task switch.
#include <catch2/catch.hpp>

#include "tests/cpu_system_bench.h"

using namespace matryoshka;

namespace {

constexpr uint64_t start = CpuBench::code_at;
using B = SystemBench;

struct Protected : SystemBench {
  Protected() : SystemBench(Mode::protected32) {}
  CpuState& s = cpu.state;
};

}  // namespace

// ---- Segments

TEST_CASE("Loading a data segment register in protected mode", "[system]") {
  Protected b;
  b.s.gpr[RAX] = B::test;
  int vector = -1;
  unsigned error = B::test;
  const char* code = "8e d8";  // mov ds,eax
  SECTION("writable data") { b.descriptor(B::test, 0x1000, 0xfff, 0x92); }
  SECTION("readable code") { b.descriptor(B::test, 0x1000, 0xfff, 0x9a); }
  SECTION("execute-only code") { b.descriptor(B::test, 0, 0xfff, 0x98), vector = GP_vector; }
  SECTION("a system segment") { b.descriptor(B::test, 0, 0xfff, 0x82), vector = GP_vector; }
  SECTION("absent") { b.descriptor(B::test, 0, 0xfff, 0x12), vector = NP_vector; }
  SECTION("RPL above DPL") { b.descriptor(B::test, 0, 0xfff, 0x92), b.s.gpr[RAX] |= 1, vector = GP_vector; }
  SECTION("conforming code at any level") { b.descriptor(B::test, 0x1000, 0xfff, 0x9e), b.s.gpr[RAX] |= 3; }
  SECTION("outside the GDT") { b.s.gpr[RAX] = 0x100, error = 0x100, vector = GP_vector; }
  SECTION("in no LDT") { b.s.gpr[RAX] = 0xc, error = 0xc, vector = GP_vector; }
  SECTION("absent for SS is #SS") { b.descriptor(B::test, 0, 0xfff, 0x12), code = "8e d0", vector = SS_vector; }
  SECTION("read-only for SS") { b.descriptor(B::test, 0, 0xfff, 0x90), code = "8e d0", vector = GP_vector; }
  SECTION("null for SS") { b.s.gpr[RAX] = 0, code = "8e d0", error = 0, vector = GP_vector; }
  b.execute(code);
  REQUIRE(b.vector() == vector);
  if (vector >= 0) {
    CHECK(b.frame(0) == error);
    CHECK(b.frame(1) == start);
  } else {
    CHECK(b.s.segment[DS].selector == b.s.gpr[RAX]);
    CHECK(b.s.segment[DS].base == 0x1000);
    CHECK(b.s.segment[DS].limit == 0xfff);
    CHECK(b.rights_byte(B::test) & 1);
  }
}

TEST_CASE("Accesses are held to their segment's limit and type", "[system]") {
  Protected b;
  CpuState& s = b.s;
  s.segment[FS] = {B::test, 0x93, 0xfff, CpuBench::data_at};
  int vector = GP_vector;
  const char* code = "64 8b 03";  // mov eax,fs:[ebx]
  SECTION("last doubleword") { s.gpr[RBX] = 0xffc, vector = -1; }
  SECTION("one byte beyond") { s.gpr[RBX] = 0xffd; }
  SECTION("expand-down, below") { s.segment[FS].rights = 0x97, s.gpr[RBX] = 0xffc; }
  SECTION("expand-down, first byte") { s.segment[FS].rights = 0x97, s.gpr[RBX] = 0x1000, vector = -1; }
  SECTION("expand-down of 16 bits, end") { s.segment[FS].rights = 0x97, s.gpr[RBX] = 0xfffd; }
  SECTION("expand-down of 32 bits has no such end") { s.segment[FS].rights = 0x4097, s.gpr[RBX] = 0xfffd, vector = -1; }
  SECTION("null") { s.segment[FS] = {0, Segment::unusable_bit, 0, 0}, s.gpr[RBX] = 0; }
  SECTION("read of execute-only code") { s.segment[FS].rights = 0x99, s.gpr[RBX] = 0; }
  SECTION("write to read-only data") { s.segment[FS].rights = 0x91, s.gpr[RBX] = 0, code = "64 89 03"; }
  SECTION("write to code") { s.gpr[RBX] = CpuBench::data_at, code = "2e 89 03"; }
  SECTION("beyond SS is #SS") {
    s.segment[SS] = {B::test, 0x4093, 0xfffff, 0};
    s.gpr[RSP] = 0x80000, s.gpr[RBX] = 0xffffd, code = "36 8b 03", vector = SS_vector;
  }
  SECTION("push beyond SS is #SS, and the old stack is still good for it") {
    s.segment[SS] = {B::test, 0x4097, 0x7fffb, 0};
    s.gpr[RSP] = 0x80000, code = "50 50", vector = SS_vector;
    b.put(B::idt_at + 8 * SS_vector, B::gate_bytes(B::tss2, 0, 0x85));
    vector = -2;
  }
  b.cpu.derive();
  if (vector == -2) {
    // A task gate, since the stack has no room for the frame either.
    b.put(B::tss2_at + 0x20, static_cast<uint32_t>(B::handler(SS_vector)));
    b.put(B::tss2_at + 0x38, uint32_t{0x310000});
    for (auto [at, selector] : {std::pair{0x4c, B::code0}, {0x50, B::data0}, {0x54, B::data0}})
      b.put(B::tss2_at + at, uint16_t{selector});
    b.execute(code, 2);
    REQUIRE(b.vector() == SS_vector);
    CHECK(b.frame(0) == 0);
    CHECK(b.get<uint32_t>(B::tss_at + 0x20) == start + 1);
    return;
  }
  b.execute(code);
  CHECK(b.vector() == vector);
}

TEST_CASE("LDS and LSS load pointer and segment", "[system]") {
  Protected b;
  b.s.gpr[RBX] = CpuBench::data_at;
  b.put(CpuBench::data_at, uint32_t{0x11223344});
  b.put(CpuBench::data_at + 4, uint16_t{B::data0});
  b.execute("c5 03");  // lds eax,[ebx]
  CHECK(b.s.gpr[RAX] == 0x11223344);
  CHECK(b.s.segment[DS].selector == B::data0);
  b.execute("0f b2 23");  // lss esp,[ebx]
  CHECK(b.s.gpr[RSP] == 0x11223344);
  CHECK(!b.s.mov_ss_shadow);
}

TEST_CASE("LAR, LSL, VERR, VERW and ARPL answer in ZF", "[system]") {
  Protected b;
  CpuState& s = b.s;
  auto zf = [&] { return s.flags.zf(); };
  s.gpr[RBX] = B::test, s.gpr[RAX] = 0xdeadbeef;
  SECTION("lar of a code segment") {
    b.descriptor(B::test, 0x12345678, 0xfffff, 0xc09a);
    b.execute("0f 02 c3");
    CHECK(zf());
    CHECK(s.gpr[RAX] == 0x00cf9a00);
  }
  SECTION("lar of an interrupt gate") {
    b.descriptor(B::test, 0, 0, 0x8e);
    b.execute("0f 02 c3");
    CHECK(!zf());
    CHECK(s.gpr[RAX] == 0xdeadbeef);
  }
  SECTION("lar of a call gate, but not lsl") {
    b.descriptor(B::test, 0, 0, 0x8c);
    b.execute("0f 02 c3");
    CHECK(zf());
    b.execute("0f 03 c3");
    CHECK(!zf());
  }
  SECTION("lsl scales the limit") {
    b.descriptor(B::test, 0, 0x12, 0x8092);
    b.execute("0f 03 c3");
    CHECK(zf());
    CHECK(s.gpr[RAX] == 0x12fff);
  }
  SECTION("a null selector") {
    s.gpr[RBX] = 3;
    b.execute("0f 02 c3");
    CHECK(!zf());
  }
  SECTION("level 3 may not look at level 0") {
    b.descriptor(B::test, 0, 0, 0x92);
    b.to_user();
    b.execute("0f 02 c3");
    CHECK(!zf());
    b.execute("0f 00 e3");  // verr bx
    CHECK(!zf());
  }
  SECTION("verr and verw") {
    b.descriptor(B::test, 0, 0, 0x90);
    b.execute("0f 00 e3");
    CHECK(zf());
    b.execute("0f 00 eb");  // verw bx
    CHECK(!zf());
  }
  SECTION("arpl raises the RPL") {
    s.gpr[RAX] = 0x11, s.gpr[RBX] = 0x2;
    b.execute("63 d8");  // arpl ax,bx
    CHECK(zf());
    CHECK(s.gpr[RAX] == 0x12);
    b.execute("63 d8");
    CHECK(!zf());
  }
}

// ---- Gates and returns

TEST_CASE("A call gate to an inner level copies parameters, and RETF releases them on both stacks", "[system]") {
  Protected b;
  CpuState& s = b.s;
  const bool wide = GENERATE(true, false);
  b.to_user();
  s.gpr[RSP] = 0x2ff000;
  s.segment[ES] = {B::conforming | 3, 0xc09f, 0xffffffff, 0};
  if (wide) {
    b.push32(0xaaaa1111), b.push32(0xbbbb2222);
    b.set_call_gate(B::gate, B::code0, 0x140000, 0xec, 2);
    b.put_bytes(0x140000, {0x8e, 0xd8, 0xca, 8, 0});  // mov ds,eax; retf 8
  } else {
    b.push16(0x1111), b.push16(0x2222);
    b.set_call_gate(B::gate, B::code0, 0x8000, 0xe4, 2);
    b.put_bytes(0x8000, {0x8e, 0xd8, 0x66, 0xca, 4, 0});  // mov ds,eax; retfw 4
  }
  const uint64_t outer = s.gpr[RSP];
  s.gpr[RAX] = B::data0;
  b.execute("9a 00 00 00 00 80 00");  // call gate:0
  REQUIRE(s.rip == (wide ? 0x140000 : 0x8000));
  CHECK(b.cpu.cpl() == 0);
  CHECK(s.segment[CS].selector == B::code0);
  CHECK(s.segment[SS].selector == B::data0);
  if (wide) {
    CHECK(s.gpr[RSP] == B::inner_stack_at - 24);
    const uint64_t expected[] = {start + 7, B::code3, 0xbbbb2222, 0xaaaa1111, outer, B::data3};
    for (unsigned i = 0; i < 6; ++i) CHECK(b.frame(i) == expected[i]);
  } else {
    CHECK(s.gpr[RSP] == B::inner_stack_at - 12);
    const uint16_t expected[] = {static_cast<uint16_t>(start + 7), B::code3, 0x2222, 0x1111,
                                 static_cast<uint16_t>(outer),     B::data3};
    for (unsigned i = 0; i < 6; ++i) CHECK(b.get<uint16_t>(s.gpr[RSP] + 2 * i) == expected[i]);
  }
  b.run(2);
  CHECK(s.rip == (wide ? start + 7 : static_cast<uint16_t>(start + 7)));
  CHECK(b.cpu.cpl() == 3);
  CHECK(s.gpr[RSP] == (wide ? 0x2ff000 : static_cast<uint16_t>(0x2ff000)));
  CHECK(s.segment[SS].selector == B::data3);
  CHECK(s.segment[DS].unusable());
  CHECK(s.segment[ES].selector == (B::conforming | 3));
  CHECK(!s.segment[FS].unusable());
}

TEST_CASE("What a far call through a gate checks", "[system]") {
  Protected b;
  b.to_user();
  b.set_call_gate(B::gate, B::code0, 0x140000, 0xec);
  int vector = GP_vector;
  unsigned error = B::gate;
  SECTION("the gate's DPL") { b.set_call_gate(B::gate, B::code0, 0x140000, 0xcc); }
  SECTION("that the gate is present") { b.set_call_gate(B::gate, B::code0, 0x140000, 0x6c), vector = NP_vector; }
  SECTION("a null target") { b.set_call_gate(B::gate, 0, 0x140000, 0xec), error = 0; }
  SECTION("a data segment as target") { b.set_call_gate(B::gate, B::data0, 0x140000, 0xec), error = B::data0; }
  SECTION("an absent target") {
    b.descriptor(B::test, 0, 0xfffff, 0xc01b);
    b.set_call_gate(B::gate, B::test, 0x140000, 0xec), vector = NP_vector, error = B::test;
  }
  SECTION("the TSS limit") { b.s.tr.limit = 8, vector = TS_vector, error = B::tss; }
  SECTION("a null inner SS") { b.put(B::tss_at + 8, uint16_t{0}), vector = TS_vector, error = 0; }
  SECTION("the inner SS's DPL") { b.put(B::tss_at + 8, uint16_t{B::data3}), vector = TS_vector, error = B::data3 & 0xfffc; }
  SECTION("an absent inner SS") {
    b.descriptor(B::test, 0, 0xfffff, 0xc013);
    b.put(B::tss_at + 8, uint16_t{B::test}), vector = SS_vector, error = B::test;
  }
  // The handlers need a stack of their own where the one in the TSS is broken: conforming, they run at level 3.
  for (unsigned v : {TS_vector, SS_vector, GP_vector, NP_vector}) b.set_gate(v, B::conforming, B::handler(v), 0x8e);
  b.execute("9a 00 00 00 00 80 00");
  REQUIRE(b.vector() == vector);
  CHECK(b.cpu.cpl() == 3);
  CHECK(b.frame(0) == error);
  CHECK(b.frame(1) == start);
}

TEST_CASE("A far JMP keeps the privilege level", "[system]") {
  Protected b;
  b.to_user();
  SECTION("conforming code runs at level 3") {
    b.execute("ea 00 00 12 00 68 00");
    CHECK(b.s.rip == 0x120000);
    CHECK(b.s.segment[CS].selector == (B::conforming | 3));
    CHECK(b.cpu.cpl() == 3);
  }
  SECTION("level 0 code is refused") {
    b.execute("ea 00 00 12 00 08 00");
    REQUIRE(b.vector() == GP_vector);
    CHECK(b.frame(0) == B::code0);
  }
  SECTION("beyond the limit is #GP(0)") {
    b.descriptor(B::test, 0, 0xfff, 0x40fb);
    b.execute("ea 00 10 00 00 7b 00");
    REQUIRE(b.vector() == GP_vector);
    CHECK(b.frame(0) == 0);
  }
}

TEST_CASE("An interrupt from level 3 switches stacks, IRETD goes back", "[system]") {
  Protected b;
  CpuState& s = b.s;
  b.to_user();
  b.set_gate(0x80, B::code0, 0x140000, 0xee);
  b.put_bytes(0x140000, {0xcf});  // iretd
  s.system_flags |= rflags::IF;
  b.execute("cd 80");
  REQUIRE(s.rip == 0x140000);
  const uint64_t expected[] = {start + 2, B::code3, s.rflags() | rflags::IF, CpuBench::stack_at, B::data3};
  for (unsigned i = 0; i < 5; ++i) CHECK(b.frame(i) == expected[i]);
  CHECK(!(s.system_flags & rflags::IF));
  b.run();
  CHECK(s.rip == start + 2);
  CHECK(b.cpu.cpl() == 3);
  CHECK(s.gpr[RSP] == CpuBench::stack_at);
  CHECK(s.system_flags & rflags::IF);
}

TEST_CASE("A 16-bit interrupt gate pushes words", "[system]") {
  Protected b;
  b.set_gate(GP_vector, B::code0, 0x18000, 0x86);
  b.s.gpr[RAX] = 0x100;
  b.execute("8e d8");
  REQUIRE(b.s.rip == 0x8000);
  CHECK(b.s.gpr[RSP] == CpuBench::stack_at - 8);
  CHECK(b.get<uint16_t>(b.s.gpr[RSP]) == 0x100);
  CHECK(b.get<uint16_t>(b.s.gpr[RSP] + 2) == static_cast<uint16_t>(start));
}

TEST_CASE("BOUND and INTO", "[system]") {
  Protected b;
  CpuState& s = b.s;
  SECTION("bound") {
    s.gpr[RBX] = CpuBench::data_at;
    b.put(CpuBench::data_at, int32_t{-2});
    b.put(CpuBench::data_at + 4, int32_t{5});
    s.gpr[RAX] = static_cast<uint32_t>(-2);
    b.execute("62 03");
    CHECK(b.vector() == -1);
    s.gpr[RAX] = 6;
    b.execute("62 03");
    REQUIRE(b.vector() == BR_vector);
    CHECK(b.frame(0) == start + 2);
  }
  SECTION("into") {
    b.execute("ce");
    CHECK(b.vector() == -1);
    s.flags.set_bits(rflags::OF);
    b.execute("ce");
    REQUIRE(b.vector() == OF_vector);
    CHECK(b.frame(0) == start + 2);
  }
}

// ---- Tasks

namespace {

// A task at level 0 with recognizable registers.
void make_task32(Protected& b, uint64_t at, uint32_t eip, uint32_t flags = 2) {
  b.put(at + 0x20, eip);
  b.put(at + 0x24, flags);
  for (uint32_t i = 0; i < 8; ++i) b.put(at + 0x28 + 4 * i, 0x1000 * i + 0x11);
  b.put(at + 0x38, uint32_t{0x320000});
  const uint16_t selectors[6] = {B::data0, B::code0, B::data0, B::data0, 0, B::data0};  // ES CS SS DS FS GS
  for (unsigned i = 0; i < 6; ++i) b.put(at + 0x48 + 4 * i, selectors[i]);
  b.put(at + 0x60, uint16_t{B::ldt});
}

void make_task16(Protected& b, uint64_t at, uint16_t ip) {
  b.put(at + 0x0e, ip);
  b.put(at + 0x10, uint16_t{2});
  for (uint16_t i = 0; i < 8; ++i) b.put(at + 0x12 + 2 * i, static_cast<uint16_t>(0x100 * i + 0x11));
  b.put(at + 0x1a, uint16_t{0x7000});
  const uint16_t selectors[4] = {B::data16, B::code16, B::data16, B::data16};
  for (unsigned i = 0; i < 4; ++i) b.put(at + 0x22 + 2 * i, selectors[i]);
  b.put(at + 0x2a, uint16_t{0});
}

}  // namespace

TEST_CASE("JMP to a TSS saves the old task and loads the new one", "[system]") {
  Protected b;
  CpuState& s = b.s;
  make_task32(b, B::tss2_at, 0x140000, 2 | rflags::CF);
  b.descriptor(B::tss, B::tss_at, 0x2fff, 0x8b);
  s.gpr[RCX] = 0x55667788;
  s.dr7 |= 0x55;
  b.execute("ea 00 00 00 00 38 00");
  CHECK(s.rip == 0x140000);
  CHECK(s.rflags() == (rflags::always_one | rflags::CF));
  for (unsigned i = 0; i < 8; ++i) CHECK(s.gpr[i] == (i == RSP ? 0x320000 : 0x1000 * i + 0x11));
  CHECK(s.tr.selector == B::tss2);
  CHECK(s.tr.type() == 11);
  CHECK(s.ldtr.selector == B::ldt);
  CHECK(s.ldtr.base == B::ldt_at);
  CHECK(s.segment[FS].unusable());
  CHECK(s.segment[DS].selector == B::data0);
  CHECK(s.cr0 & cr0::TS);
  CHECK(!(s.dr7 & 0x55));
  CHECK(b.rights_byte(B::tss) == 0x89);
  CHECK(b.rights_byte(B::tss2) == 0x8b);
  CHECK(b.get<uint32_t>(B::tss_at + 0x20) == start + 7);
  CHECK(b.get<uint32_t>(B::tss_at + 0x2c) == 0x55667788);
  CHECK(b.get<uint16_t>(B::tss_at + 0x4c) == 0x08);
}

TEST_CASE("CALL to a TSS links the tasks and IRET goes back", "[system]") {
  Protected b;
  CpuState& s = b.s;
  make_task32(b, B::tss2_at, 0x140000);
  b.descriptor(B::tss, B::tss_at, 0x2fff, 0x8b);
  b.put_bytes(0x140000, {0xcf});
  b.execute("9a 00 00 00 00 38 00");
  REQUIRE(s.rip == 0x140000);
  CHECK(s.system_flags & rflags::NT);
  CHECK(b.get<uint16_t>(B::tss2_at) == B::tss);
  CHECK(b.rights_byte(B::tss) == 0x8b);
  b.run();
  CHECK(s.rip == start + 7);
  CHECK(s.tr.selector == B::tss);
  CHECK(b.rights_byte(B::tss2) == 0x89);
  CHECK(b.rights_byte(B::tss) == 0x8b);
  CHECK(!(b.get<uint32_t>(B::tss2_at + 0x24) & rflags::NT));
  CHECK(!(s.system_flags & rflags::NT));
}

TEST_CASE("A 16-bit task and back", "[system]") {
  Protected b;
  CpuState& s = b.s;
  b.descriptor(B::tss2, B::tss2_at, 0x2b, 0x81);
  b.descriptor(B::tss, B::tss_at, 0x2fff, 0x8b);
  make_task16(b, B::tss2_at, 0x6000);
  b.put_bytes(0x6000, {0xcf});
  b.execute("9a 00 00 00 00 38 00");
  REQUIRE(s.rip == 0x6000);
  CHECK(b.cpu.mode().code_bits == 16);
  CHECK((s.gpr[RCX] & 0xffff) == 0x111);
  CHECK((s.gpr[RSP] & 0xffff) == 0x7000);
  CHECK(s.tr.type() == 3);
  CHECK(s.system_flags & rflags::NT);
  b.run();
  CHECK(s.rip == start + 7);
  CHECK(b.cpu.mode().code_bits == 32);
  CHECK(b.get<uint16_t>(B::tss2_at + 0x0e) == 0x6001);
}

TEST_CASE("A task gate for an exception pushes the error code on the new task's stack", "[system]") {
  Protected b;
  CpuState& s = b.s;
  make_task32(b, B::tss2_at, 0x140000);
  b.set_gate(GP_vector, B::tss2, 0, 0x85);
  b.put_bytes(0x140000, {0x83, 0xc4, 4, 0xcf});  // add esp,4; iretd
  s.gpr[RAX] = 0x100;
  b.execute("8e d8");
  REQUIRE(s.rip == 0x140000);
  CHECK(s.gpr[RSP] == 0x320000 - 4);
  CHECK(b.frame(0) == 0x100);
  CHECK(b.get<uint32_t>(B::tss_at + 0x20) == start);
  CHECK(b.get<uint32_t>(B::tss_at + 0x24) & rflags::RF);
  CHECK(s.system_flags & rflags::NT);
  b.descriptor(B::tss, B::tss_at, 0x2fff, 0x8b);
  b.run(2);
  CHECK(s.rip == start);
  CHECK(s.system_flags & rflags::RF);
}

TEST_CASE("A task gate catches #DF where the stack is gone", "[system]") {
  Protected b;
  CpuState& s = b.s;
  make_task32(b, B::tss2_at, 0x140000);
  b.set_gate(DF_vector, B::tss2, 0, 0x85);
  s.segment[SS] = {B::data0, 0x4093, 0xfff, 0};
  s.gpr[RSP] = 0x100000;
  b.cpu.derive();
  b.execute("50");
  REQUIRE(s.rip == 0x140000);
  CHECK(b.frame(0) == 0);
  CHECK(b.get<uint32_t>(B::tss_at + 0x20) == start);
}

TEST_CASE("What a task switch checks before the point of no return", "[system]") {
  Protected b;
  make_task32(b, B::tss2_at, 0x140000);
  b.descriptor(B::tss, B::tss_at, 0x2fff, 0x8b);
  int vector = GP_vector;
  unsigned error = B::tss2;
  const char* code = "ea 00 00 00 00 38 00";
  SECTION("busy") { b.descriptor(B::tss2, B::tss2_at, 0x67, 0x8b); }
  SECTION("absent") { b.descriptor(B::tss2, B::tss2_at, 0x67, 0x09), vector = NP_vector; }
  SECTION("too short") { b.descriptor(B::tss2, B::tss2_at, 0x66, 0x89), vector = TS_vector; }
  SECTION("DPL") { b.to_user(); }
  SECTION("IRET to a task that is not busy") {
    b.s.system_flags |= rflags::NT;
    b.put(B::tss_at, uint16_t{B::tss2});
    code = "cf", vector = TS_vector;
  }
  b.execute(code);
  REQUIRE(b.vector() == vector);
  CHECK(b.frame(0) == error);
  CHECK(b.frame(1) == start);
  CHECK(b.s.tr.selector == B::tss);
}

TEST_CASE("What fails after it is an exception of the new task", "[system]") {
  Protected b;
  make_task32(b, B::tss2_at, 0x140000);
  int vector = TS_vector;
  unsigned error = 0;
  SECTION("its CS is data") { b.put(B::tss2_at + 0x4c, uint16_t{B::data0}), error = B::data0; }
  SECTION("its LDT is none") { b.put(B::tss2_at + 0x60, uint16_t{B::data0}), error = B::data0; }
  SECTION("its DS is absent") {
    b.descriptor(B::test, 0, 0xfff, 0x12);
    b.put(B::tss2_at + 0x54, uint16_t{B::test}), error = B::test, vector = NP_vector;
  }
  SECTION("its EIP is outside") {
    b.descriptor(B::test, 0, 0xfff, 0x409a);
    b.put(B::tss2_at + 0x4c, uint16_t{B::test}), vector = GP_vector;
  }
  make_task32(b, B::tss3_at, 0x150000);
  b.put(B::tss3_at + 0x60, uint16_t{0});
  b.set_gate(static_cast<unsigned>(vector), B::tss3, 0, 0x85);
  b.execute("ea 00 00 00 00 38 00");
  REQUIRE(b.s.rip == 0x150000);
  CHECK(b.frame(0) == error);
  CHECK(b.get<uint16_t>(B::tss3_at) == B::tss2);
  CHECK(b.get<uint32_t>(B::tss2_at + 0x20) == 0x140000);
}

TEST_CASE("The T bit of a TSS traps before the new task's first instruction", "[system]") {
  Protected b;
  make_task32(b, B::tss2_at, 0x140000);
  b.put(B::tss2_at + 0x64, uint16_t{1});
  b.put_bytes(0x140000, {0x90});
  b.execute("ea 00 00 00 00 38 00", 2);
  REQUIRE(b.vector() == DB_vector);
  CHECK(b.frame(0) == 0x140000);
  CHECK(b.s.dr6 & dr6::BT);
}

TEST_CASE("LGDT with a 16-bit operand takes 24 bits of the base", "[system]") {
  Protected b;
  b.s.gpr[RBX] = CpuBench::data_at;
  b.put(CpuBench::data_at, uint64_t{0x123456781234});
  b.execute("66 0f 01 13");
  CHECK(b.s.gdtr.base == 0x345678);
  b.execute("0f 01 13");
  CHECK(b.s.gdtr.base == 0x12345678);
  CHECK(b.s.gdtr.limit == 0x1234);
}

// ---- Virtual-8086 mode

TEST_CASE("IRETD enters virtual-8086 mode, and an interrupt leaves it", "[system]") {
  Protected b;
  CpuState& s = b.s;
  const uint32_t frame[] = {0x100, 0x1000, 0x23202, 0xfff0, 0x4000, 0x2000, 0x2100, 0x2200, 0x2300};  // to GS
  for (unsigned i = 9; i-- > 0;) b.push32(frame[i]);
  b.put_bytes(0x10100, {0x90, 0x0f, 0x0b});  // nop; ud2
  b.execute("cf");
  REQUIRE(s.virtual_8086());
  CHECK(s.rip == 0x100);
  CHECK(s.segment[CS].base == 0x10000);
  CHECK(s.segment[SS].base == 0x40000);
  CHECK(s.gpr[RSP] == 0xfff0);
  CHECK(s.segment[GS].selector == 0x2300);
  CHECK(b.cpu.cpl() == 3);
  CHECK(b.cpu.mode().code_bits == 16);
  b.run(2);
  REQUIRE(b.vector() == UD_vector);
  CHECK(!s.virtual_8086());
  CHECK(s.gpr[RSP] == B::inner_stack_at - 36);
  const uint64_t pushed[] = {0x101, 0x1000, 0x33202, 0xfff0, 0x4000, 0x2000, 0x2100, 0x2200, 0x2300};
  for (unsigned i = 0; i < 9; ++i) CHECK((b.frame(i) & ~uint64_t{i == 2 ? rflags::status : 0}) == pushed[i]);
  for (SegmentName name : {ES, DS, FS, GS}) CHECK(s.segment[name].unusable());
  CHECK(s.segment[CS].selector == B::code0);
}

TEST_CASE("Virtual-8086 mode traps by IOPL", "[system]") {
  Protected b;
  const char* code = GENERATE("fa", "fb", "9c", "9d", "cf", "cd 21");  // cli sti pushf popf iret int 0x21
  b.to_virtual_8086(0x1000, 0x100, 0);
  b.execute(code);
  CHECK(b.vector() == GP_vector);
  CHECK(b.frame(0) == 0);
  CHECK(b.frame(1) == 0x100);
}

TEST_CASE("Virtual-8086 mode with IOPL 3 works on IF itself", "[system]") {
  Protected b;
  CpuState& s = b.s;
  b.to_virtual_8086(0x1000, 0x100, 3);
  b.execute("fa");
  CHECK(!(s.system_flags & rflags::IF));
  b.execute("9c 9d", 2);
  CHECK(s.gpr[RSP] == 0x1000);
  b.execute("8e d8");  // mov ds,ax with AX = 0
  CHECK(s.segment[DS].base == 0);
  CHECK(s.segment[DS].dpl() == 3);
}

TEST_CASE("Virtual-mode extensions", "[system]") {
  Protected b;
  CpuState& s = b.s;
  b.to_virtual_8086(0x1000, 0x100, 0);
  s.cr4 |= cr4::VME;
  SECTION("CLI and STI work on VIF") {
    b.execute("fb");
    CHECK(s.system_flags & rflags::VIF);
    b.execute("fa");
    CHECK(!(s.system_flags & rflags::VIF));
    CHECK(s.system_flags & rflags::IF);
  }
  SECTION("STI with VIP is #GP") {
    s.system_flags |= rflags::VIP;
    b.execute("fb");
    CHECK(b.vector() == GP_vector);
  }
  SECTION("PUSHF shows VIF as IF, and IOPL 3") {
    s.system_flags |= rflags::VIF;
    b.execute("9c");
    CHECK((b.get<uint16_t>(0x40ffe) & 0x3200) == 0x3200);
  }
  SECTION("POPF moves IF to VIF") {
    b.push16(rflags::IF | rflags::CF);
    b.execute("9d");
    CHECK(s.system_flags & rflags::VIF);
    CHECK(s.flags.cf());
    CHECK(s.iopl() == 0);
  }
  SECTION("POPF of TF is #GP") {
    b.push16(rflags::TF);
    b.execute("9d");
    CHECK(b.vector() == GP_vector);
  }
  SECTION("PUSHFD is #GP") {
    b.execute("66 9c");
    CHECK(b.vector() == GP_vector);
  }
  SECTION("INT n with a clear bit goes to the program's own vector table, and IRET comes back") {
    b.put(0x21 * 4, uint16_t{0x40});
    b.put(0x21 * 4 + 2, uint16_t{0x3000});
    b.put_bytes(0x30040, {0xcf});
    s.system_flags |= rflags::VIF;
    b.execute("cd 21");
    REQUIRE(s.virtual_8086());
    CHECK(s.segment[CS].selector == 0x3000);
    CHECK(s.rip == 0x40);
    CHECK(b.get<uint16_t>(0x40ffa) == 0x102);
    CHECK(b.get<uint16_t>(0x40ffc) == 0x1000);
    CHECK((b.get<uint16_t>(0x40ffe) & 0x3200) == 0x3200);
    CHECK(!(s.system_flags & rflags::VIF));
    b.run();
    CHECK(s.segment[CS].selector == 0x1000);
    CHECK(s.rip == 0x102);
    CHECK(s.system_flags & rflags::VIF);
    CHECK(s.iopl() == 0);
  }
  SECTION("INT n with a set bit is #GP, or goes to the monitor with IOPL 3") {
    b.put(B::tss_at + 0x2000 - 32 + 0x21 / 8, uint8_t{1 << 1});
    b.execute("cd 21");
    CHECK(b.vector() == GP_vector);
    b.to_virtual_8086(0x1000, 0x100, 3);
    b.set_gate(0x21, B::code0, B::handler(0x21), 0xee);
    b.execute("cd 21");
    CHECK(b.vector() == 0x21);
  }
}

TEST_CASE("Virtual-8086 mode and instructions of protected mode", "[system]") {
  Protected b;
  b.to_virtual_8086(0x1000, 0x100, 3);
  const char* code = GENERATE("0f 00 c0", "0f 02 c3", "63 d8");  // sldt lar arpl
  b.execute(code);
  CHECK(b.vector() == UD_vector);
}

TEST_CASE("Virtual-8086 mode may use the ports that the TSS allows", "[system]") {
  Protected b;
  b.to_virtual_8086(0x1000, 0x100, 3);
  b.put(B::tss_at + 0x66, uint16_t{0x68});
  b.put(B::tss_at + 0x68 + 8, uint8_t{1});  // port 40h
  b.execute("e4 41");
  CHECK(b.vector() == -1);
  b.execute("e4 40");
  CHECK(b.vector() == GP_vector);
}

// ---- Real-address mode

TEST_CASE("Interrupts of real-address mode", "[system]") {
  SystemBench b(Mode::real16);
  CpuState& s = b.cpu.state;
  s.system_flags |= rflags::IF | rflags::TF;
  s.system_flags &= ~rflags::TF;
  b.execute("cd 21");
  REQUIRE(b.vector() == 0x21);
  CHECK(b.frame(0) == 0x102);
  CHECK(b.frame(1) == 0x1000);
  CHECK(b.frame(2) & rflags::IF);
  CHECK(!(s.system_flags & rflags::IF));
  b.put_bytes(b.code_linear(), {0xcf});
  b.cpu.forget_caches();
  b.run();
  CHECK(s.rip == 0x102);
  CHECK(s.segment[CS].selector == 0x1000);
  CHECK(s.system_flags & rflags::IF);
}

TEST_CASE("An exception in real-address mode pushes no error code", "[system]") {
  SystemBench b(Mode::real16);
  b.cpu.state.gpr[RSI] = 0xffff;
  b.execute("8b 04");  // mov ax,[si]
  REQUIRE(b.vector() == GP_vector);
  CHECK(b.frame(0) == 0x100);
  CHECK(b.frame(1) == 0x1000);
}

TEST_CASE("A short IVT in real-address mode ends in shutdown", "[system]") {
  SystemBench b(Mode::real16);
  b.cpu.state.idtr.limit = 4 * 6;
  b.execute("0f 0b");
  CHECK(b.triple);
}

TEST_CASE("Far calls of real-address mode", "[system]") {
  SystemBench b(Mode::real16);
  CpuState& s = b.cpu.state;
  b.put_bytes(0x20010, {0xca, 4, 0});
  b.execute("9a 10 00 00 20");
  CHECK(s.rip == 0x10);
  CHECK(s.segment[CS].base == 0x20000);
  CHECK(b.frame(0) == 0x105);
  CHECK(b.frame(1) == 0x1000);
  b.run();
  CHECK(s.rip == 0x105);
  CHECK((s.gpr[RSP] & 0xffff) == 0x8004);
}

TEST_CASE("From real mode to protected mode, long mode and back", "[system]") {
  SystemBench b(Mode::real16);
  CpuState& s = b.cpu.state;
  // One gigabyte page directory as the bench's long mode has it.
  b.put(0x60000, uint64_t{0x61007}), b.put(0x61000, uint64_t{0x62007});
  for (uint64_t i = 0; i < 8; ++i) b.put(0x62000 + 8 * i, i << 21 | 0x87);
  s.gpr[RAX] = s.cr0 | cr0::PE;
  b.execute("0f 22 c0 66 ea 00 01 01 00 70 00", 2);  // mov cr0,eax; jmp dword 0x70:0x10100
  b.put_bytes(0x10100, {0x0f, 0x22, 0xd9,            // mov cr3,ecx
                        0x0f, 0x22, 0xe2,            // mov cr4,edx
                        0x0f, 0x22, 0xc3,            // mov cr0,ebx
                        0xea, 0x00, 0x02, 0x01, 0x00, 0x78, 0x00});
  b.descriptor(B::test, 0, 0xfffff, 0x9b | B::flat64);
  REQUIRE(s.rip == 0x10100);
  CHECK(b.cpu.mode().code_bits == 32);
  s.gpr[RCX] = 0x60000, s.gpr[RDX] = cr4::PAE, s.gpr[RBX] = s.cr0 | cr0::PG;
  s.msr.efer |= efer::LME;
  b.run(4);
  CHECK(s.msr.efer & efer::LMA);
  CHECK(b.cpu.mode().code_bits == 64);
  CHECK(s.rip == 0x10200);
}

TEST_CASE("A limit loaded in protected mode lasts in real-address mode", "[system]") {
  SystemBench b(Mode::real16);
  CpuState& s = b.cpu.state;
  s.gpr[RAX] = s.cr0 | cr0::PE, s.gpr[RBX] = B::data0, s.gpr[RCX] = s.cr0;
  b.execute("0f 22 c0 8e db 0f 22 c1 31 db 8e db", 5);  // mov cr0,eax; mov ds,bx; mov cr0,ecx; xor bx,bx; mov ds,bx
  CHECK(s.segment[DS].base == 0);
  CHECK(s.segment[DS].limit == 0xffffffff);
  s.gpr[RSI] = CpuBench::data_at;
  b.put(CpuBench::data_at, uint16_t{0x1234});
  b.execute("67 8b 06");  // mov ax,[esi]
  CHECK((s.gpr[RAX] & 0xffff) == 0x1234);
}

// ---- VEX prefixes

TEST_CASE("VEX prefixes count in protected mode, and are bad LES and LDS in the older modes", "[system]") {
  const char* andn = "c4 e2 70 f2 c1";  // andn eax,ecx,ecx
  SECTION("protected, 32 bits") {
    SystemBench b(Mode::protected32);
    b.execute(andn);
    CHECK(b.vector() == -1);
    CHECK(b.cpu.state.rip == CpuBench::code_at + 5);
  }
  SECTION("protected, 16 bits") {
    CpuBench b(Mode::protected16);
    b.execute(andn);
    CHECK_FALSE(b.triple);
    CHECK(b.cpu.state.rip == 0x1005);
  }
  SECTION("real") {
    SystemBench b(Mode::real16);
    b.execute(andn);
    CHECK(b.vector() == UD_vector);
    CHECK(b.frame(0) == 0x100);
  }
  SECTION("virtual-8086, and protected mode's translation of the same bytes is not taken for it") {
    Protected b;
    b.descriptor(B::code16, 0x10000, 0xffff, 0x9b);
    b.s.segment[CS] = {B::code16, 0x9b, 0xffff, 0x10000};
    b.s.rip = 0x100;
    b.cpu.derive();
    b.execute(andn);
    CHECK(b.vector() == -1);
    b.to_virtual_8086(0x1000, 0x100);
    b.run();
    CHECK(b.vector() == UD_vector);
    CHECK(b.frame(0) == 0x100);
  }
  SECTION("LES with a memory operand is itself") {
    SystemBench b(Mode::real16);
    b.put(0x200, 0x30004567);
    b.execute("c4 06 00 02");  // les ax,[200h]
    CHECK(b.vector() == -1);
    CHECK(b.cpu.state.segment[ES].selector == 0x3000);
    CHECK((b.cpu.state.gpr[RAX] & 0xffff) == 0x4567);
  }
}

// ---- The end of the address space

TEST_CASE("RIP goes from the last byte of 4 GiB to address 0 in 32-bit code", "[system]") {
  Protected b;
  const char* what = "";
  std::vector<uint8_t> top(0x10000, 0xf4);  // a ROM that ends at 4 GiB; hlt
  auto at_top = [&](std::initializer_list<uint8_t> bytes) {
    std::copy(bytes.begin(), bytes.end(), top.end() - static_cast<ptrdiff_t>(bytes.size()));
  };
  std::vector<uint8_t> bottom;
  unsigned instructions = 2;
  uint64_t start = 0xffffffff, end = 0;
  SECTION("from one instruction to the next") { at_top({0x40}), bottom = {0x43}, end = 1; }  // inc eax; inc ebx
  SECTION("within an instruction") {
    at_top({0xb8, 0x78}), bottom = {0x56, 0x34, 0x12, 0x43}, start = 0xfffffffe, end = 4;
  }  // mov eax,12345678h; inc ebx
  SECTION("by a short jump forward") { at_top({0xeb, 0x02}), bottom = {0xf4, 0xf4, 0x43}, start = 0xfffffffe, end = 3; }
  SECTION("by a short jump back from the bottom") {
    at_top({0x43, 0xf4}), bottom = {0xeb, 0xfc}, start = 0, end = 0xffffffff;  // jmp -2; inc ebx
  }
  SECTION("by a call, which pushes address 0") {
    at_top({0xe8, 0x04, 0, 0, 0}), bottom = {0xf4, 0xf4, 0xf4, 0xf4, 0x43}, start = 0xfffffffb, end = 5;
    what = "call";
  }
  b.memory.set_rom(top);
  b.put_bytes(0, bottom);
  b.s.rip = start;
  b.s.gpr[RAX] = 1, b.s.gpr[RBX] = 1;
  b.cpu.forget_caches();
  b.run(instructions);
  CHECK(b.s.rip == end);
  CHECK(b.s.gpr[RBX] == 2);
  CHECK_FALSE(b.triple);
  if (*what) CHECK(b.frame(0) == 0);
}
