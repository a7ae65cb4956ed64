#include <catch2/catch.hpp>

#include "tests/sse_native.h"

using namespace matryoshka;

namespace {

struct MmxCase {
  const char* code;  // MM1, MM2 as destination and source, or MM2 shifted
  const char* text;
  uint64_t first, second, expected;
};

const MmxCase cases[] = {
    {"0f fc ca", "paddb mm1, mm2", 0x00ff7f8001020304, 0x0001010101010101, 0x0000808102030405},
    {"0f ec ca", "paddsb mm1, mm2", 0x7f7f8080007f80ff, 0x01ffff0100017f80, 0x7f7e8081007fff80},
    {"0f dd ca", "paddusw mm1, mm2", 0xffff8000ffff0001, 0x0001800000000001, 0xffffffffffff0002},
    {"0f e9 ca", "psubsw mm1, mm2", 0x80007fff00010000, 0x0001ffff00028000, 0x80007fffffff7fff},
    {"0f d9 ca", "psubusw mm1, mm2", 0x0001800000010000, 0x0002000100010001, 0x00007fff00000000},
    {"0f d5 ca", "pmullw mm1, mm2", 0x00020003ffff8000, 0x000300040002ffff, 0x0006000cfffe8000},
    {"0f e5 ca", "pmulhw mm1, mm2", 0x7fff8000ffff0002, 0x7fff800000010003, 0x3fff4000ffff0000},
    {"0f f5 ca", "pmaddwd mm1, mm2", 0x8000800000020003, 0x8000800000040005, 0x8000000000000017},
    {"0f f6 ca", "psadbw mm1, mm2", 0x00ff0102030405ff, 0xff00010203040500, 0x00000000000002fd},
    {"0f 63 ca", "packsswb mm1, mm2", 0x7fff8000007fff80, 0x00010080ff7fffff, 0x017f80ff7f807f80},
    {"0f 6b ca", "packssdw mm1, mm2", 0x0000800000007fff, 0xffff7fffffff8000, 0x800080007fff7fff},
    {"0f 67 ca", "packuswb mm1, mm2", 0x7fff800000ff0100, 0x00010080ff7fffff, 0x01800000ff00ffff},
    {"0f 60 ca", "punpcklbw mm1, mm2", 0x0706050403020100, 0x1716151413121110, 0x1303120211011000},
    {"0f 69 ca", "punpckhwd mm1, mm2", 0x0706050403020100, 0x1716151413121110, 0x1716070615140504},
    {"0f 62 ca", "punpckldq mm1, mm2", 0x0706050403020100, 0x1716151413121110, 0x1312111003020100},
    {"0f 64 ca", "pcmpgtb mm1, mm2", 0x7f80ff0001020304, 0x807fff0000020403, 0xff000000ff0000ff},
    {"0f df ca", "pandn mm1, mm2", 0xff00ff00ff00ff00, 0x123456789abcdef0, 0x0034007800bc00f0},
    {"0f e1 ca", "psraw mm1, mm2", 0x80007fff00010010, 0x0000000000000004, 0xf80007ff00000001},
    {"0f d3 ca", "psrlq mm1, mm2", 0x8000000000000000, 0x0000000000000040, 0x0000000000000000},
    {"0f 72 e2 ff", "psrad mm2, 255", 0, 0x8000000012345678, 0xffffffff00000000},
    {"0f 70 ca 1b", "pshufw mm1, mm2, 1b", 0, 0x4444333322221111, 0x1111222233334444},
    {"0f 38 00 ca", "pshufb mm1, mm2", 0x7766554433221100, 0x80070f0800017f06, 0x0077770000117766},
    {"0f 38 01 ca", "phaddw mm1, mm2", 0x0001000200030004, 0x000500060007ffff, 0x000b000600030007},
    {"0f 38 04 ca", "pmaddubsw mm1, mm2", 0xffff0201ff01ff01, 0x7f7f03048080ff02, 0x7fff000a8000ff03},
    {"0f 38 0b ca", "pmulhrsw mm1, mm2", 0x7fff800040000001, 0x7fff800040004000, 0x7ffe800020000001},
    {"0f 3a 0f ca 03", "palignr mm1, mm2, 3", 0x0f0e0d0c0b0a0908, 0x0706050403020100, 0x0a09080706050403},
    {"0f 3a 0f ca 0b", "palignr mm1, mm2, 11", 0x0f0e0d0c0b0a0908, 0x0706050403020100, 0x0000000f0e0d0c0b},
};

}  // namespace

TEST_CASE("MMX arithmetic", "[mmx]") {
  SimdBench bench;
  for (const MmxCase& c : cases) {
    INFO(c.text);
    SimdState input;
    input.mm[1] = c.first, input.mm[2] = c.second;
    unsigned result = SimdBench::bytes(c.code)[1] == 0x72 ? 2 : 1;
    bench.load(input);
    REQUIRE(bench.step(c.code));
    CHECK(text_of({{bench.result().mm[result], 0}}) == text_of({{c.expected, 0}}));
#ifdef MATRYOSHKA_NATIVE_SIMD
    NativeSimd native;
    native.set_instruction(SimdBench::bytes(c.code));
    native.run(input);
    CHECK(text_of({{input.mm[result], 0}}) == text_of({{c.expected, 0}}));
#endif
  }
}

TEST_CASE("MMX instructions turn the x87 into MMX registers", "[mmx]") {
  SimdBench bench;
  X87State& x87 = bench.cpu.state.x87;
  for (const char* code :
       {"0f 6f ca" /* movq mm1, mm2 */, "0f 7e c8" /* movd eax, mm1 */, "0f d7 c1" /* pmovmskb eax, mm1 */,
        "0f 7f 0e" /* movq [rsi], mm1 */, "0f 71 d1 01" /* psrlw mm1, 1 */, "f3 0f d6 c9" /* movq2dq xmm1, mm1 */,
        "0f 2a c9" /* cvtpi2ps xmm1, mm1 */, "0f 2a 0e" /* cvtpi2ps xmm1, [rsi] */, "66 0f 2a c9" /* cvtpi2pd xmm1, mm1 */}) {
    INFO(code);
    x87 = {};
    x87.set_top(3);
    x87.valid = 0x11;
    REQUIRE(bench.step(code));
    CHECK(x87.top() == 0);
    CHECK(x87.valid == 0xff);
  }
}

TEST_CASE("A written MMX register has an exponent of ones, the others keep theirs", "[mmx]") {
  SimdBench bench;
  X87State& x87 = bench.cpu.state.x87;
  x87.registers[1] = {1, 0x3fff};
  x87.registers[2] = {2, 0x3fff};
  REQUIRE(bench.step("0f 6f ca"));  // movq mm1, mm2
  CHECK(x87.registers[1].significand == 2);
  CHECK(x87.registers[1].sign_exponent == 0xffff);
  CHECK(x87.registers[2].sign_exponent == 0x3fff);
}

TEST_CASE("CVTPI2PD from memory leaves the x87 alone", "[mmx]") {
  SimdBench bench;
  X87State& x87 = bench.cpu.state.x87;
  x87.set_top(3);
  x87.status |= 1, x87.control &= ~1;  // an exception waits
  REQUIRE(bench.step("66 0f 2a 0e"));  // cvtpi2pd xmm1, [rsi]
  CHECK(x87.top() == 3);
  CHECK(x87.valid == 0);
}

TEST_CASE("EMMS empties the registers", "[mmx]") {
  SimdBench bench;
  REQUIRE(bench.step("0f 6f ca"));
  REQUIRE(bench.step("0f 77"));
  CHECK(bench.cpu.state.x87.valid == 0);
}

TEST_CASE("A pending x87 exception comes before an MMX instruction", "[mmx]") {
  SimdBench bench;
  X87State& x87 = bench.cpu.state.x87;
  for (const char* code : {"0f fc ca", "0f 6f 0e", "0f 7f 0e", "0f 7e c8", "0f 6e c8", "0f c4 c8 00", "0f f7 ca", "0f 77",
                           "0f 71 d1 01", "f3 0f d6 c9", "f2 0f d6 c9", "0f 2a c9", "0f 2d c9", "66 0f 2d c9"}) {
    INFO(code);
    x87 = {};
    x87.set_top(5);
    x87.status |= 0x8084;                   // ZE, ES, B
    x87.control = 0x033b;                   // ZM clear
    bench.cpu.state.gpr[RSI] = 0x40000000;  // not mapped: the memory fault would come later
    CHECK(!bench.step(code));
    CHECK(bench.cpu.fault.vector == MF_vector);
    CHECK(x87.top() == 5);
    CHECK(x87.valid == 0);
  }
}

TEST_CASE("MASKMOVQ and MASKMOVDQU store the chosen bytes at DS:rDI", "[mmx]") {
  SimdBench bench;
  SimdState s;
  s.mm[1] = 0x8877665544332211, s.mm[2] = 0x8000ff7f00000080;
  s.xmm[1] = xmm_of("ffeeddccbbaa9988_7766554433221100"), s.xmm[2] = xmm_of("8000000000000000_0000000000000080");
  bench.load(s);
  bench.machine.put(SimdBench::data_at, Xmm{{0, 0}});
  REQUIRE(bench.step("0f f7 ca"));  // maskmovq mm1, mm2
  CHECK(bench.machine.get(SimdBench::data_at) == 0x8800660000000011);
  bench.machine.put(SimdBench::data_at, Xmm{{0, 0}});
  REQUIRE(bench.step("66 0f f7 ca"));  // maskmovdqu xmm1, xmm2
  CHECK(text_of(bench.machine.get<Xmm>(SimdBench::data_at)) == "ff00000000000000_0000000000000000");

  // Bytes that are not chosen are not looked at: nothing is mapped from 40000000 on.
  bench.cpu.state.gpr[RDI] = 0x40000000 - 1;
  s.mm[2] = 0x80;
  bench.load(s);
  CHECK(bench.step("0f f7 ca"));
  s.mm[2] = 0x8080;
  bench.load(s);
  CHECK(!bench.step("0f f7 ca"));
  CHECK(bench.cpu.fault.vector == PF_vector);
  CHECK(bench.cpu.fault.address == 0x40000000);
}
