// Segment, control, debug and table registers in 64-bit mode.
#include <catch2/catch.hpp>

#include "tests/cpu_system_bench.h"

using namespace matryoshka;

namespace {
constexpr uint64_t start = CpuBench::code_at;
}

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
