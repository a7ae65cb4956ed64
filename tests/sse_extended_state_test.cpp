// FXSAVE, XSAVE and their relatives: layouts, headers, and what is refused.
#include <catch2/catch.hpp>

#include "cpu/ops/extended_state.h"
#include "tests/sse_bench.h"

using namespace matryoshka;

namespace {

constexpr uint64_t area = SimdBench::data_at, header = area + 512;
constexpr uint64_t compacted = uint64_t{1} << 63;

class StateBench : public SimdBench {
 public:
  explicit StateBench(Mode mode = Mode::long64) : SimdBench(mode) {
    cpu.state.cr4 |= cr4::OSXSAVE | cr4::PKE;
    cpu.state.xcr0 = xcr0::x87 | xcr0::sse | xcr0::pkru;
    for (unsigned i = 0; i < 0x1000; i += 8) machine.put(area + i, 0xcccccccccccccccc);
    for (unsigned i = 0; i < 8; ++i) machine.put(header + 8 * i, uint64_t{0});
    fill();
  }
  void fill() {
    CpuState& s = cpu.state;
    for (unsigned i = 0; i < 16; ++i) s.xmm[i] = {{0x1000 + i, 0x2000 + i}};
    for (unsigned i = 0; i < 8; ++i) s.x87.registers[i] = {0x8000000000000000 + i, static_cast<uint16_t>(0x3fff + i)};
    s.x87.control = 0x27f, s.x87.valid = 0xc0, s.x87.opcode = 0x123;
    s.x87.status = 0;
    s.x87.set_top(6);
    s.x87.instruction_pointer = 0x123456789abcdef0, s.x87.instruction_selector = 0x33;
    s.x87.data_pointer = 0x0fedcba987654321, s.x87.data_selector = 0x2b;
    s.mxcsr = 0x1fa5;
    s.pkru = 0x55555554;
  }
  void clear() {
    CpuState& s = cpu.state;
    for (Xmm& x : s.xmm) x = {{~0ull, ~0ull}};
    s.x87 = {};
    s.mxcsr = 0x1f80;
    s.pkru = 0;
  }
  void request(uint64_t components) {
    cpu.state.gpr[RAX] = static_cast<uint32_t>(components), cpu.state.gpr[RDX] = components >> 32;
  }
  uint64_t at(unsigned offset) { return machine.get(area + offset); }
  uint64_t xstate_bv() { return machine.get(header); }
  uint64_t xcomp_bv() { return machine.get(header + 8); }
  bool refused(const char* code) { return !step(code) && cpu.fault.vector == GP_vector && cpu.fault.error_code == 0; }
};

constexpr const char *fxsave = "0f ae 06", *fxrstor = "0f ae 0e", *fxsave64 = "48 0f ae 06", *fxrstor64 = "48 0f ae 0e",
                     *xsave = "0f ae 26", *xrstor = "0f ae 2e", *xsaveopt = "0f ae 36", *xsavec = "0f c7 26",
                     *xsaves = "0f c7 2e", *xrstors = "0f c7 1e";

}  // namespace

TEST_CASE("FXSAVE's layout", "[sse][state]") {
  StateBench bench;
  REQUIRE(bench.step(fxsave));
  CHECK(bench.at(0) == 0x012300c03000027f);   // FOP, FTW, FSW, FCW
  CHECK(bench.at(8) == 0x000000339abcdef0);   // FCS, FIP
  CHECK(bench.at(16) == 0x0000002b87654321);  // FDS, FDP
  CHECK(bench.at(24) == 0x0000ffff00001fa5);  // MXCSR_MASK, MXCSR
  CHECK(bench.at(32) == 0x8000000000000006);  // ST0 is R6
  CHECK(bench.at(40) == 0x0000000000004005);
  CHECK(bench.at(144) == 0x8000000000000005);  // ST7 is R5
  CHECK(bench.at(160) == 0x1000);
  CHECK(bench.at(160 + 15 * 16 + 8) == 0x200f);
  CHECK(bench.at(416) == 0xcccccccccccccccc);

  REQUIRE(bench.step(fxsave64));
  CHECK(bench.at(8) == 0x123456789abcdef0);
  CHECK(bench.at(16) == 0x0fedcba987654321);
}

TEST_CASE("FXSAVE outside 64-bit mode has eight XMM registers", "[sse][state]") {
  StateBench bench(SimdBench::Mode::protected32);
  REQUIRE(bench.step(fxsave));
  CHECK(bench.at(160 + 7 * 16) == 0x1007);
  CHECK(bench.at(160 + 8 * 16) == 0xcccccccccccccccc);
  bench.clear();
  REQUIRE(bench.step(fxrstor));
  CHECK(bench.cpu.state.xmm[7].q[0] == 0x1007);
  CHECK(bench.cpu.state.xmm[8].q[0] == ~0ull);
}

TEST_CASE("FXRSTOR brings back what FXSAVE saved", "[sse][state]") {
  StateBench bench;
  REQUIRE(bench.step(fxsave64));
  bench.clear();
  REQUIRE(bench.step(fxrstor64));
  const CpuState& s = bench.cpu.state;
  CHECK(s.mxcsr == 0x1fa5);
  CHECK(s.xmm[15].q[1] == 0x200f);
  CHECK(s.x87.control == 0x27f);
  CHECK(s.x87.top() == 6);
  CHECK(s.x87.valid == 0xc0);
  CHECK(s.x87.opcode == 0x123);
  CHECK(s.x87.instruction_pointer == 0x123456789abcdef0);
  CHECK(s.x87.data_pointer == 0x0fedcba987654321);
  for (unsigned i = 0; i < 8; ++i)
    CHECK(s.x87.registers[i] == fp::Float80{0x8000000000000000 + i, static_cast<uint16_t>(0x3fff + i)});
}

TEST_CASE("FXRSTOR cleans the control word and recomputes ES and B", "[sse][state]") {
  StateBench bench;
  REQUIRE(bench.step(fxsave));
  bench.machine.put(area, uint32_t{0x0000ffff});
  REQUIRE(bench.step(fxrstor));
  CHECK(bench.cpu.state.x87.control == 0x1f7f);
  bench.machine.put(area, uint32_t{0x00010340});
  REQUIRE(bench.step(fxrstor));
  CHECK(bench.cpu.state.x87.status == 0x8081);
}

TEST_CASE("FXSAVE and FXRSTOR refuse", "[sse][state]") {
  StateBench bench;
  bench.cpu.state.gpr[RSI] = area + 8;
  CHECK(bench.refused(fxsave));
  CHECK(bench.refused(fxrstor));
  bench.cpu.state.gpr[RSI] = area;
  REQUIRE(bench.step(fxsave));
  bench.machine.put(area + 24, uint32_t{0x10000});
  bench.clear();
  CHECK(bench.refused(fxrstor));
  CHECK(bench.cpu.state.x87.control == 0x37f);
  bench.cpu.state.cr0 |= cr0::TS;
  CHECK(!bench.step(fxsave));
  CHECK(bench.cpu.fault.vector == NM_vector);
}

TEST_CASE("FXSAVE across an unmapped page stores nothing", "[sse][state]") {
  StateBench bench;
  bench.machine.put(0x12000 + 8 * 4, uint64_t{0});  // 800000 on
  bench.cpu.forget_caches();
  bench.cpu.state.gpr[RSI] = 0x800000 - 256;
  bench.machine.put(0x800000 - 256, uint64_t{0x7777});
  CHECK(!bench.step(fxsave));
  CHECK(bench.cpu.fault.vector == PF_vector);
  CHECK(bench.cpu.fault.address == 0x800000);
  CHECK(bench.machine.get(0x800000 - 256) == 0x7777);
}

TEST_CASE("XSAVE writes what is asked for and enabled", "[sse][state]") {
  StateBench bench;
  bench.request(~0ull);
  REQUIRE(bench.step(xsave));
  CHECK(bench.xstate_bv() == (xcr0::x87 | xcr0::sse | xcr0::pkru));
  CHECK(bench.xcomp_bv() == 0);
  CHECK(bench.at(0) == 0x012300c03000027f);
  CHECK(bench.at(24) == 0x0000ffff00001fa5);
  CHECK(bench.at(extended_state::pkru_offset) == 0x55555554);

  StateBench only_sse;
  only_sse.request(xcr0::sse);
  only_sse.machine.put(header, uint64_t{xcr0::x87});
  REQUIRE(only_sse.step(xsave));
  CHECK(only_sse.xstate_bv() == (xcr0::x87 | xcr0::sse));  // bits that were not asked for stay
  CHECK(only_sse.at(0) == 0xcccccccccccccccc);
  CHECK(only_sse.at(16) == 0xcccccccccccccccc);
  CHECK(only_sse.at(24) == 0x0000ffff00001fa5);
  CHECK(only_sse.at(160) == 0x1000);
  CHECK(only_sse.at(extended_state::pkru_offset) == 0xcccccccccccccccc);
}

TEST_CASE("Components in their initial configuration", "[sse][state]") {
  StateBench bench;
  for (Xmm& x : bench.cpu.state.xmm) x = {};
  bench.request(~0ull);
  SECTION("XSAVE writes them and clears their bit in XSTATE_BV") {
    REQUIRE(bench.step(xsave));
    CHECK(bench.xstate_bv() == (xcr0::x87 | xcr0::pkru));
    CHECK(bench.at(160) == 0);
  }
  SECTION("XSAVEOPT leaves them out, but not MXCSR") {
    REQUIRE(bench.step(xsaveopt));
    CHECK(bench.xstate_bv() == (xcr0::x87 | xcr0::pkru));
    CHECK(bench.at(160) == 0xcccccccccccccccc);
    CHECK(bench.at(24) == 0x0000ffff00001fa5);
  }
  SECTION("XSAVEC counts MXCSR as part of SSE") {
    REQUIRE(bench.step(xsavec));
    CHECK(bench.xstate_bv() == (xcr0::x87 | xcr0::sse | xcr0::pkru));
    bench.cpu.state.mxcsr = 0x1f80;
    REQUIRE(bench.step(xsavec));
    CHECK(bench.xstate_bv() == (xcr0::x87 | xcr0::pkru));
  }
  SECTION("XRSTOR restores them without looking") {
    REQUIRE(bench.step(xsaveopt));
    bench.clear();
    REQUIRE(bench.step(xrstor));
    for (const Xmm& x : bench.cpu.state.xmm) CHECK(x.q[0] == 0);
    CHECK(bench.cpu.state.mxcsr == 0x1fa5);
    CHECK(bench.cpu.state.pkru == 0x55555554);
  }
}

TEST_CASE("The compacted format has no gaps", "[sse][state]") {
  StateBench bench;
  bench.request(xcr0::sse | xcr0::pkru);
  REQUIRE(bench.step(xsavec));
  CHECK(bench.xcomp_bv() == (compacted | xcr0::sse | xcr0::pkru));
  CHECK(bench.at(576) == 0x55555554);
  CHECK(bench.at(584) == 0xcccccccccccccccc);
  bench.clear();
  REQUIRE(bench.step(xrstor));
  CHECK(bench.cpu.state.pkru == 0x55555554);
  CHECK(bench.cpu.state.xmm[3].q[0] == 0x1003);
  CHECK(bench.cpu.state.mxcsr == 0x1fa5);
  CHECK(bench.cpu.state.x87.control == 0x37f);

  bench.clear();
  bench.cpu.state.mxcsr = 0x1fbf;
  bench.machine.put(header, uint64_t{0});
  REQUIRE(bench.step(xrstors));
  CHECK(bench.cpu.state.mxcsr == 0x1f80);  // as the other parts of SSE
  REQUIRE(bench.step(xsaves));
}

TEST_CASE("XRSTOR refuses bad headers", "[sse][state]") {
  StateBench bench;
  bench.request(~0ull);
  auto header_is = [&](uint64_t xstate_bv, uint64_t xcomp_bv, uint64_t third, uint64_t last) {
    bench.machine.put(header, xstate_bv);
    bench.machine.put(header + 8, xcomp_bv);
    bench.machine.put(header + 16, third);
    bench.machine.put(header + 56, last);
  };
  REQUIRE(bench.step(xsave));
  header_is(3, 0, 0, 0xff);
  CHECK(bench.step(xrstor));  // the standard format looks at bytes 8 to 23 only
  header_is(3, 0, 1, 0);
  CHECK(bench.refused(xrstor));
  header_is(3, 3, 0, 0);
  CHECK(bench.refused(xrstor));
  header_is(7, 0, 0, 0);  // AVX is not enabled
  CHECK(bench.refused(xrstor));
  header_is(3, compacted | 3, 0, 0);
  CHECK(bench.step(xrstor));
  header_is(3, compacted | 3, 0, 1);
  CHECK(bench.refused(xrstor));
  header_is(3, compacted | 1, 0, 0);
  CHECK(bench.refused(xrstor));
  header_is(3, compacted | 7, 0, 0);
  CHECK(bench.refused(xrstor));
  header_is(compacted | 3, compacted | 3, 0, 0);
  CHECK(bench.refused(xrstor));
  header_is(3, 0, 0, 0);
  CHECK(bench.refused(xrstors));
  CHECK(bench.step(xrstor));
  bench.machine.put(area + 24, uint32_t{0x10000});
  CHECK(bench.refused(xrstor));
  header_is(0, 0, 0, 0);
  CHECK(bench.refused(xrstor));  // MXCSR is loaded all the same
  header_is(0, compacted | 3, 0, 0);
  CHECK(bench.step(xrstor));
  bench.cpu.state.gpr[RSI] = area + 16;
  CHECK(bench.refused(xrstor));
  CHECK(bench.refused(xsave));
}

TEST_CASE("XSAVE needs CR4.OSXSAVE and respects CR0.TS", "[sse][state]") {
  StateBench bench;
  bench.cpu.state.cr0 |= cr0::TS;
  for (const char* code : {xsave, xrstor, xsaveopt, xsavec, xsaves, xrstors}) {
    CHECK(!bench.step(code));
    CHECK(bench.cpu.fault.vector == NM_vector);
  }
  bench.cpu.state.cr4 &= ~cr4::OSXSAVE;
  for (const char* code : {xsave, xrstor, xsaveopt, xsavec, xsaves, xrstors}) {
    CHECK(!bench.step(code));
    CHECK(bench.cpu.fault.vector == UD_vector);
  }
}

TEST_CASE("RDPKRU and WRPKRU", "[sse][state]") {
  StateBench bench;
  CpuState& s = bench.cpu.state;
  s.gpr[RAX] = ~0ull, s.gpr[RCX] = 0xffffffff00000000, s.gpr[RDX] = ~0ull;
  REQUIRE(bench.step("0f 01 ee"));
  CHECK(s.gpr[RAX] == 0x55555554);
  CHECK(s.gpr[RDX] == 0);
  s.gpr[RAX] = 0x12345678;
  REQUIRE(bench.step("0f 01 ef"));
  CHECK(s.pkru == 0x12345678);
  s.gpr[RDX] = 1;
  CHECK(bench.refused("0f 01 ef"));
  s.gpr[RDX] = 0, s.gpr[RCX] = 1;
  CHECK(bench.refused("0f 01 ef"));
  CHECK(bench.refused("0f 01 ee"));
  s.cr4 &= ~cr4::PKE;
  CHECK(!bench.step("0f 01 ee"));
  CHECK(bench.cpu.fault.vector == UD_vector);
}
