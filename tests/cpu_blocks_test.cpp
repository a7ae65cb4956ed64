// Decoded blocks: code that changes under them, code seen through several mappings and modes, the rings coming round, and exact
// tick limits, whatever the slices.
#include <catch2/catch.hpp>
#include <random>

#include "tests/cpu_system_bench.h"

using namespace matryoshka;

namespace {

constexpr uint64_t code = CpuBench::code_at, data = CpuBench::data_at;

// Long mode with a table of 4 KiB pages at 1 GiB.
class PagedBench : public SystemBench {
 public:
  static constexpr uint64_t paged = 0x40000000;
  PagedBench() {
    put(0x11000 + 8, uint64_t{0x13007});
    put(0x13000, uint64_t{0x14007});
  }
  void map(unsigned page, uint64_t physical) {
    put(0x14000 + 8 * page, physical | 7);
    cpu.mmu.flush_page(paged + 0x1000 * page);
  }
};

void begin_at(CpuBench& b, uint64_t rip) { b.cpu.state.rip = rip; }

}  // namespace

// ---- Code that changes

TEST_CASE("blocks: An instruction may change the next one of its block", "[blocks]") {
  CpuBench b;
  b.execute(
      "c6 05 01 00 00 00 07"  // mov byte [rip+1],7
      "b0 00"                 // mov al,0: its constant
      "b3 01",
      3);  // mov bl,1
  CHECK(b.cpu.state.gpr[RAX] == 7);
  CHECK(b.cpu.state.gpr[RBX] == 1);
}

TEST_CASE("blocks: A later instruction of the block may change, also on a second pass", "[blocks]") {
  CpuBench b;
  b.code(
      "88 0d 06 00 00 00"  // mov [rip+6],cl: the constant of the last instruction
      "ff c1 90 90 90"     // inc ecx
      "b0 00"              // mov al,0
      "eb f1");            // again
  for (unsigned pass = 0; pass < 5; ++pass) {
    b.run(6);
    CHECK(b.cpu.state.gpr[RAX] == pass);
    b.run(1);
    CHECK(b.cpu.state.rip == code);
  }
}

TEST_CASE("blocks: An instruction that changes its own bytes is complete first", "[blocks]") {
  CpuBench b;
  b.cpu.state.gpr[RBX] = 0x1122;
  b.execute("66 c7 05 f7 ff ff ff 66 89");  // mov word [rip-9],8966h: its own first two bytes
  CHECK(b.get<uint16_t>(code) == 0x8966);
  CHECK(b.cpu.state.rip == code + 9);
  begin_at(b, code);
  b.run();  // mov [rip-9],ax follows from the new bytes 66 89 05
  CHECK(b.cpu.state.rip == code + 7);
}

TEST_CASE("blocks: A store to the code of another page counts there", "[blocks]") {
  CpuBench b;
  b.put_bytes(code + 0x1000, {0xb0, 1, 0xe9, 0xf9, 0xef, 0xff, 0xff});  // mov al,1; jmp code
  b.code("e9 fb 0f 00 00");
  b.run(3);
  CHECK(b.cpu.state.gpr[RAX] == 1);
  b.code("c6 05 fa 0f 00 00 02 e9 f4 0f 00 00");  // mov byte [rip+ffa],2; jmp
  b.run(3);
  CHECK(b.cpu.state.gpr[RAX] == 2);
}

TEST_CASE("blocks: A store across two pages of code reaches both", "[blocks]") {
  CpuBench b;
  const uint64_t end = code + 0xffe, next = code + 0x1000;
  b.put_bytes(end, {0xb0, 1, 0xb3, 1});  // mov al,1; mov bl,1
  begin_at(b, end);
  b.run(2);
  begin_at(b, code + 0x2000);
  b.cpu.state.gpr[RDI] = end + 1;
  b.execute("c7 07 02 b3 03 90");  // mov dword [rdi],...: al's constant, then mov bl,3
  REQUIRE(b.get<uint8_t>(next + 1) == 3);
  begin_at(b, end);
  b.run(2);
  CHECK((b.cpu.state.gpr[RAX] & 0xff) == 2);
  CHECK((b.cpu.state.gpr[RBX] & 0xff) == 3);
}

TEST_CASE("blocks: REP MOVS over the code behind it", "[blocks]") {
  CpuBench b;
  b.put_bytes(data, {0xb0, 9});
  b.cpu.state.gpr[RSI] = data, b.cpu.state.gpr[RDI] = code + 2, b.cpu.state.gpr[RCX] = 2;
  b.execute("f3 a4 b0 01", 4);  // rep movsb; mov al,1
  CHECK(b.cpu.state.gpr[RAX] == 9);
}

TEST_CASE("blocks: A write by a device drops the code under it and no other", "[blocks]") {
  CpuBench b;
  b.put_bytes(code + 0x100, {0xb3, 1, 0xf4});
  b.execute("b0 01 f4");
  begin_at(b, code + 0x100);
  b.cpu.state.activity = Activity::active;
  b.run();
  const uint64_t dropped = b.cpu.blocks().dropped;
  b.put(code + 1, uint8_t{2});
  CHECK(b.cpu.blocks().dropped == dropped + 1);
  begin_at(b, code);
  b.run();
  CHECK(b.cpu.state.gpr[RAX] == 2);
}

TEST_CASE("blocks: A write beside code in its page drops nothing", "[blocks]") {
  CpuBench b;
  b.execute("b0 01 f4");
  const uint64_t dropped = b.cpu.blocks().dropped;
  b.put(code + 0x40, uint8_t{2});
  CHECK(b.cpu.blocks().dropped == dropped);
}

// ---- Mappings

TEST_CASE("blocks: An instruction across two pages follows the second when it is mapped elsewhere", "[blocks]") {
  PagedBench b;
  b.map(0, 0x800000), b.map(1, 0x801000);
  b.put_bytes(0x800ffe, {0xb8, 0x11});  // mov eax,imm32
  b.put(0x801000, uint32_t{0x00000022});
  b.put(0x803000, uint32_t{0x00000033});
  auto run = [&] {
    begin_at(b, PagedBench::paged + 0xffe);
    b.run();
    return b.cpu.state.gpr[RAX];
  };
  CHECK(run() == 0x2211);
  b.map(1, 0x803000);
  CHECK(run() == 0x3311);
  b.map(1, 0x801000);
  CHECK(run() == 0x2211);
  b.put(0x801000, uint8_t{0x44});  // and a write to the second page is seen
  CHECK(run() == 0x4411);
}

TEST_CASE("blocks: One physical page at two addresses has its own RIP in each", "[blocks]") {
  PagedBench b;
  b.map(0, 0x800000), b.map(7, 0x800000);
  b.put_bytes(0x800010,
              {0x48, 0x8d, 0x05, 0, 0, 0, 0, 0x48, 0x8b, 0x1d, 0xf1, 0xff, 0xff, 0xff});  // lea rax,[rip]; mov rbx,[rip-15]
  b.put(0x80000f, uint8_t{0x5a});
  for (unsigned page : {0, 7, 0}) {
    begin_at(b, PagedBench::paged + 0x1000 * page + 0x10);
    b.run(2);
    CHECK(b.cpu.state.gpr[RAX] == PagedBench::paged + 0x1000 * page + 0x17);
    CHECK((b.cpu.state.gpr[RBX] & 0xff) == 0x5a);
  }
  b.put(0x800012, uint8_t{0x1d});  // lea rbx now, in both
  begin_at(b, PagedBench::paged + 0x7010);
  b.run();
  CHECK(b.cpu.state.gpr[RBX] == PagedBench::paged + 0x7017);
}

TEST_CASE("blocks: The same bytes mean something else in another mode", "[blocks]") {
  SystemBench b;
  CpuState& s = b.cpu.state;
  const uint32_t rights = s.segment[CS].rights & ~0x6000u;
  b.code("48 8b c3");  // 64-bit: mov rax,rbx; else dec eax; mov eax,ebx
  struct Row {
    uint32_t size;
    unsigned instructions;
    uint64_t rax;
  };
  const std::vector<Row> rows = {
      {0x2000, 1, 0x1122334455667788}, {0x4000, 2, 0x55667788}, {0, 2, 0xffffffffffff7788}, {0x2000, 1, 0x1122334455667788}};
  for (const Row& row : rows) {
    CAPTURE(row.size);
    s.gpr[RAX] = ~uint64_t{0}, s.gpr[RBX] = 0x1122334455667788;
    s.segment[CS].rights = rights | row.size;
    b.cpu.derive();
    begin_at(b, code);
    b.run(row.instructions);
    CHECK(s.gpr[RAX] == row.rax);
    CHECK(s.rip == code + 3);
  }
}

TEST_CASE("blocks: A block does not outlast a shorter code segment", "[blocks]") {
  SystemBench b(Mode::protected32);
  CpuState& s = b.cpu.state;
  b.execute("90 90 90 90", 4);
  s.segment[CS].limit = code + 1;
  b.cpu.derive();
  begin_at(b, code);
  b.run(3);
  CHECK(b.vector() == GP_vector);
  CHECK(b.frame(1) == code + 2);
}

// ---- The rings

TEST_CASE("blocks: More blocks than the ring holds", "[blocks]") {
  CpuBench b;
  constexpr unsigned count = 40'000;
  std::vector<uint8_t> bytes;
  for (unsigned i = 0; i < count; ++i) bytes.insert(bytes.end(), {0xff, 0xc0, 0xeb, 0x00});  // inc eax; jmp $+2
  b.put_bytes(0x400000, bytes);
  const uint64_t end = 0x400000 + bytes.size();
  b.put_bytes(end, {0xe9});
  b.put(end + 1, static_cast<uint32_t>(0x400000 - (end + 5)));
  begin_at(b, 0x400000);
  b.run(3 * (2 * count + 1));
  CHECK(b.cpu.state.rip == 0x400000);
  CHECK(b.cpu.state.gpr[RAX] == 3 * count);
  b.put(0x400000, uint16_t{0xc8ff});  // dec eax: what the ring has left behind is still watched
  b.run(1);
  CHECK(b.cpu.state.gpr[RAX] == 3 * count - 1);
}

TEST_CASE("blocks: More instructions than the ring holds", "[blocks]") {
  CpuBench b;
  constexpr unsigned count = 400'000;
  std::vector<uint8_t> bytes;
  for (unsigned i = 0; i < count; ++i) bytes.insert(bytes.end(), {0x48, 0xff, 0xc0});  // inc rax
  b.put_bytes(0x400000, bytes);
  const uint64_t end = 0x400000 + bytes.size();
  b.put_bytes(end, {0xe9});
  b.put(end + 1, static_cast<uint32_t>(0x400000 - (end + 5)));
  begin_at(b, 0x400000);
  b.run(3 * (count + 1));
  CHECK(b.cpu.state.rip == 0x400000);
  CHECK(b.cpu.state.gpr[RAX] == 3 * count);
  CHECK(b.cpu.state.retired == 3 * (count + 1));
}

TEST_CASE("blocks: Code that rewrites itself round and round", "[blocks]") {
  CpuBench b;
  b.code(
      "88 0d 01 00 00 00"  // mov [rip+1],cl
      "b0 00"              // mov al,0
      "01 c2"              // add edx,eax
      "ff c1"              // inc ecx
      "eb f2");
  b.cpu.state.gpr[RDX] = 0;
  b.run(5 * 100'000);  // drops more blocks than the ring holds
  uint32_t sum = 0;
  for (unsigned i = 0; i < 100'000; ++i) sum += i & 0xff;
  CHECK(b.cpu.state.gpr[RDX] == sum);
  CHECK(b.cpu.state.rip == code);
}

// ---- Tick limits

TEST_CASE("blocks: A run stops at any tick of a block", "[blocks]") {
  std::string block;
  for (unsigned i = 0; i < 60; ++i) block += "ff c0 ";  // inc eax
  for (unsigned stop = 0; stop <= 62; ++stop) {
    CpuBench b;
    b.code(block + "eb fe");
    const uint64_t start = b.clock.ticks;
    b.cpu.run(start + stop);
    CHECK(b.clock.ticks == start + stop);
    CHECK(b.cpu.state.gpr[RAX] == std::min(stop, 60u));
    CHECK(b.cpu.state.retired == stop);
  }
}

TEST_CASE("blocks: A repeated instruction stops at every count", "[blocks]") {
  struct Row {
    const char* name;
    const char* code;
    unsigned iterations;  // of 40
  };
  const Row row = GENERATE(values<Row>({{"movsb", "f3 a4", 40},
                                        {"movsq", "f3 48 a5", 40},
                                        {"stosd", "f3 ab", 40},
                                        {"lodsw", "f3 66 ad", 40},
                                        {"repe scasb", "f3 ae", 31},
                                        {"repne scasb", "f2 ae", 1},
                                        {"repe cmpsb", "f3 a6", 21}}));
  const bool down = GENERATE(false, true);
  CAPTURE(row.name, down);
  auto prepare = [&](CpuBench& b) {
    CpuState& s = b.cpu.state;
    b.enter(Mode::long64);
    s.set_rflags(rflags::always_one);
    s.retired = 0;
    for (int i = -400; i < 400; ++i)
      b.put(data + 0x1000 + i, static_cast<uint8_t>(i == 30 || i == -30)),
          b.put(data + 0x3000 + i, static_cast<uint8_t>(i == 20 || i == -20));
    s.gpr[RDI] = data + 0x1000, s.gpr[RSI] = data + 0x3000, s.gpr[RCX] = 40, s.gpr[RAX] = 0;
    if (down) s.system_flags |= rflags::DF;
    b.code(std::string(row.code) + " 90 90");
  };
  CpuBench whole;
  prepare(whole);
  whole.cpu.run(whole.clock.ticks + row.iterations + 3);
  CHECK(whole.cpu.state.rip == whole.code_at + std::string(row.code).size() / 3 + 1 + 2);
  CpuBench b;
  for (unsigned stop = 1; stop < row.iterations + 3; ++stop) {
    prepare(b);
    const uint64_t start = b.clock.ticks;
    b.cpu.run(start + stop);
    // A comparison that has met its end takes its own tick with the last iteration.
    const bool met = row.iterations < 40 && stop == row.iterations;
    CHECK(b.clock.ticks == start + stop + met);
    CHECK(b.cpu.state.gpr[RCX] == 40 - std::min(stop, row.iterations));
    CHECK((b.cpu.state.rip == code) == (stop <= row.iterations && !met));
    b.cpu.run(start + row.iterations + 3);
    CHECK(b.clock.ticks == start + row.iterations + 3);
    CHECK(std::equal(std::begin(b.cpu.state.gpr), std::begin(b.cpu.state.gpr) + 16, whole.cpu.state.gpr));
    CHECK(b.cpu.state.rflags() == whole.cpu.state.rflags());
    CHECK(b.cpu.state.retired == whole.cpu.state.retired);
    CHECK(b.get(data + 0x1000) == whole.get(data + 0x1000));
  }
}

namespace {

// String instructions over page ends, code that patches itself, a timer's interrupts, and the APIC read by REP LODS.
//
//   again:  esi = 200ff0h, edi = 201ff5h, ecx = ebx & 3fh; rep movsb
//           eax = ebx, edi = 201f80h, ecx = 25h; rep stosq
//           edi = 201f81h, ecx = 60h, al = bl ^ 3; repne scasb; adc r8,rcx
//           esi = 200ff0h, edi = 201ff5h, ecx = 40h; repe cmpsb; adc r8,rdi
//           ebx = ebx * 41c64e6dh + 12345; mov [patch+1],bl
//   patch:  mov al,0; add r8b,al; test bl,1; jz 1f; push r8; pop r9
//   1:      lea r10,[r9+r8]; esi = fee00390h, ecx = 5; rep lodsd; add r11,rax; rdtsc; add r12,rax; jmp again
//   handler (at 84h): push rax; inc qword [202000h]; the APIC's end of interrupt; pop rax; iretq
constexpr const char* busy_program =
    "be f0 0f 20 00 bf f5 1f 20 00 89 d9 83 e1 3f f3 a4 89 d8 bf 80 1f 20 00 b9 25 00 00 00 f3 48 ab bf 81 1f 20 00 b9 60 00 "
    "00 00 88 d8 34 03 f2 ae 49 11 c8 be f0 0f 20 00 bf f5 1f 20 00 b9 40 00 00 00 f3 a6 49 11 f8 69 db 6d 4e c6 41 81 c3 39 "
    "30 00 00 88 1d 01 00 00 00 b0 00 41 00 c0 f6 c3 01 74 04 41 50 41 59 4f 8d 14 01 be 90 03 e0 fe b9 05 00 00 00 f3 ad 49 "
    "01 c3 0f 31 49 01 c4 e9 7c ff ff ff 50 48 ff 04 25 00 20 20 00 b8 b0 00 e0 fe c7 00 00 00 00 00 58 48 cf";

class BusyBench : public SystemBench {
 public:
  BusyBench() {
    put(0x11000 + 8 * 3, uint64_t{0x13007});
    for (uint64_t i = 0; i < 512; ++i) put(0x13000 + 8 * i, 0xc0000000 + (i << 21) | 0x87);
    code(busy_program);
    set_gate(0x40, code0, code_at + 0x84, 0x8e);
    apic(0xf0, 0x1ff), apic(0x3e0, 0xb), apic(0x320, 0x20040), apic(0x380, 23);  // periodic, 25 MHz
    cpu.state.system_flags |= rflags::IF;
  }
  void apic(uint64_t offset, uint32_t value) { cpu.mmu.physical_store(0xfee00000 + offset, 4, value); }
  std::vector<uint8_t> everything() {
    Archive ar = Archive::saving();
    ar(clock);
    cpu.serialize(ar);
    ar.bytes(memory.ram().data(), 0x400000);
    return ar.output();
  }
};

}  // namespace

TEST_CASE("blocks: The same program in slices of any size reaches the same state", "[blocks]") {
  constexpr uint64_t end = 60'000;
  BusyBench whole;
  whole.cpu.run(end);
  const std::vector<uint8_t> expected = whole.everything();
  REQUIRE(whole.get(data + 0x2000) > 20);  // interrupts came
  REQUIRE_FALSE(whole.triple);
  const uint32_t seed = GENERATE(range(1u, 13u));
  std::mt19937 random(seed);
  CAPTURE(seed);
  BusyBench b;
  const unsigned most = 1u << seed;  // from single ticks to thousands
  while (b.clock.ticks < end) b.cpu.run(std::min<uint64_t>(end, b.clock.ticks + 1 + random() % most));
  CHECK(b.clock.ticks == whole.clock.ticks);
  CHECK(b.cpu.state.rip == whole.cpu.state.rip);
  CHECK(b.cpu.state.gpr[R11] == whole.cpu.state.gpr[R11]);
  CHECK(b.everything() == expected);
}

TEST_CASE("blocks: A limit in the past runs nothing", "[blocks]") {
  CpuBench b;
  b.code("ff c0");
  b.clock.ticks = 100;
  b.cpu.run(100);
  b.cpu.run(7);
  CHECK(b.clock.ticks == 100);
  CHECK(b.cpu.state.rip == code);
}

TEST_CASE("blocks: An iteration that reaches a device sees the time of its own tick", "[blocks]") {
  auto count_after = [](unsigned cut) {
    BusyBench b;
    CpuState& s = b.cpu.state;
    s.system_flags &= ~rflags::IF;
    b.apic(0x320, 0x10040), b.apic(0x380, 0xffffffff);
    b.code("f3 ab f3 66 ad 90");  // rep stosd; rep lodsw
    s.gpr[RCX] = 0;
    s.gpr[RSI] = 0xfee00390;
    b.run();
    s.gpr[RCX] = 200;
    s.system_flags |= rflags::DF;
    s.gpr[RSI] = 0xfee00390 + 2 * 199;  // down to the timer's count
    b.cpu.run(b.clock.ticks + cut);
    while (s.gpr[RCX] != 0) b.cpu.run(b.clock.ticks + 1000);
    return s.gpr[RAX] & 0xffff;
  };
  const uint64_t uncut = count_after(1000);
  CHECK(count_after(199) == uncut);
  CHECK(count_after(100) == uncut);
}
