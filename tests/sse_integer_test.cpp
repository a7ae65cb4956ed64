// Packed integers, shuffles and moves: cases with their results in plain sight. sse_native_test.cpp covers every row at random.
#include <catch2/catch.hpp>

#include "tests/sse_native.h"

using namespace matryoshka;

namespace {

struct Case {
  const char* code;  // XMM1 is destination, XMM2 source
  const char* text;
  const char* first;
  const char* second;
  const char* expected;
};

const Case cases[] = {
    // Arithmetic
    {"66 0f d4 ca", "paddq xmm1, xmm2", "ffffffffffffffff_00000000ffffffff", "0000000000000001_0000000000000001",
     "0000000000000000_0000000100000000"},
    {"66 0f ed ca", "paddsw xmm1, xmm2", "7fff8000ffff0001_7ffe800100000000", "0001ffff00010001_00020000ffff8000",
     "7fff800000000002_7fff8001ffff8000"},
    {"66 0f d8 ca", "psubusb xmm1, xmm2", "00ff807f01000000_1020304050607080", "01ff7f8000000001_20202020ffff0000",
     "0000010001000000_0000102000007080"},
    {"66 0f e0 ca", "pavgb xmm1, xmm2", "00ff01020304ff00_0000000000000000", "01ff02020405ffff_0000000000000001",
     "01ff02020405ff80_0000000000000001"},
    {"66 0f f4 ca", "pmuludq xmm1, xmm2", "12345678ffffffff_0000000000000002", "9abcdef0ffffffff_0000000080000000",
     "fffffffe00000001_0000000100000000"},
    {"66 0f 38 28 ca", "pmuldq xmm1, xmm2", "12345678ffffffff_0000000080000000", "9abcdef0ffffffff_0000000080000000",
     "0000000000000001_4000000000000000"},
    {"66 0f 38 40 ca", "pmulld xmm1, xmm2", "0001000080000000_ffffffff00000007", "0001000000000002_ffffffff00000006",
     "0000000000000000_000000010000002a"},
    {"66 0f f5 ca", "pmaddwd xmm1, xmm2", "8000800000010002_7fff7fffffff0001", "8000800000030004_7fff7fff0001ffff",
     "800000000000000b_7ffe0002fffffffe"},
    {"66 0f f6 ca", "psadbw xmm1, xmm2", "ffffffffffffffff_0102030405060708", "0000000000000000_0807060504030201",
     "00000000000007f8_0000000000000020"},
    {"66 0f 38 04 ca", "pmaddubsw xmm1, xmm2", "ffff00000000ff01_0102030405060708", "7f7f000000008080_ff01ff01ff01ff01",
     "7fff000000008000_0001000100010001"},
    {"66 0f 38 0b ca", "pmulhrsw xmm1, xmm2", "8000000000000000_4000400040004000", "8000000000000000_0001000200030004",
     "8000000000000000_0001000100020002"},
    {"66 0f 38 1c ca", "pabsb xmm1, xmm2", "0000000000000000_0000000000000000", "80ff7f01fe000000_8081828384858687",
     "80017f0102000000_807f7e7d7c7b7a79"},
    {"66 0f 38 08 ca", "psignb xmm1, xmm2", "0102030480ff7f00_0000000000000000", "ff00010180000001_0000000000000000",
     "ff00030480000000_0000000000000000"},
    {"66 0f 38 41 ca", "phminposuw xmm1, xmm2", "ffffffffffffffff_ffffffffffffffff", "0007000300050003_0009000a000b000c",
     "0000000000000000_0000000000040003"},
    {"66 0f 3a 42 ca 05", "mpsadbw xmm1, xmm2, 5", "0f0e0d0c0b0a0908_0706050403020100", "0000000000000000_0807060500000000",
     "001800140010000c_0008000400000004"},
    // Comparison and selection
    {"66 0f 38 37 ca", "pcmpgtq xmm1, xmm2", "0000000000000001_8000000000000000", "ffffffffffffffff_7fffffffffffffff",
     "ffffffffffffffff_0000000000000000"},
    {"66 0f 38 3a ca", "pminuw xmm1, xmm2", "0001ffff80007fff_0000000000000000", "ffff00017fff8000_0000000000000001",
     "000100017fff7fff_0000000000000000"},
    {"66 0f 3a 0e ca a5", "pblendw xmm1, xmm2, a5", "0000000000000000_0000000000000000", "1111222233334444_5555666677778888",
     "1111000033330000_0000666600008888"},
    // Packing and shuffling
    {"66 0f 38 2b ca", "packusdw xmm1, xmm2", "000100000000ffff_ffffffff00001234", "8000000000000000_7fffffff0000fffe",
     "00000000fffffffe_ffffffff00001234"},
    {"66 0f 6d ca", "punpckhqdq xmm1, xmm2", "1111111111111111_2222222222222222", "3333333333333333_4444444444444444",
     "3333333333333333_1111111111111111"},
    {"66 0f 70 ca 1b", "pshufd xmm1, xmm2, 1b", "0000000000000000_0000000000000000", "1111111122222222_3333333344444444",
     "4444444433333333_2222222211111111"},
    {"f3 0f 70 ca 4e", "pshufhw xmm1, xmm2, 4e", "0000000000000000_0000000000000000", "1111222233334444_5555666677778888",
     "3333444411112222_5555666677778888"},
    {"f2 0f 70 ca 00", "pshuflw xmm1, xmm2, 0", "0000000000000000_0000000000000000", "1111222233334444_5555666677778888",
     "1111222233334444_8888888888888888"},
    {"0f c6 ca 8d", "shufps xmm1, xmm2, 8d", "1111111122222222_3333333344444444", "5555555566666666_7777777788888888",
     "6666666688888888_1111111133333333"},
    {"66 0f c6 ca 01", "shufpd xmm1, xmm2, 1", "1111111111111111_2222222222222222", "3333333333333333_4444444444444444",
     "4444444444444444_1111111111111111"},
    {"66 0f 38 00 ca", "pshufb xmm1, xmm2", "ffeeddccbbaa9988_7766554433221100", "0f8070102030ff00_0001020304050607",
     "ff00000000000000_0011223344556677"},
    {"66 0f 3a 0f ca 11", "palignr xmm1, xmm2, 17", "ffeeddccbbaa9988_7766554433221100", "0000000000000000_0000000000000000",
     "00ffeeddccbbaa99_8877665544332211"},
    {"66 0f 38 21 ca", "pmovsxbd xmm1, xmm2", "0000000000000000_0000000000000000", "ffffffffffffffff_ffffffff7f80ff01",
     "0000007fffffff80_ffffffff00000001"},
    {"66 0f 38 34 ca", "pmovzxwq xmm1, xmm2", "0000000000000000_0000000000000000", "ffffffffffffffff_ffffffff8000ffff",
     "0000000000008000_000000000000ffff"},
    // Shifts
    {"66 0f f1 ca", "psllw xmm1, xmm2", "ffff0001ffff0001_ffff0001ffff0001", "ffffffffffffffff_0000000000000004",
     "fff00010fff00010_fff00010fff00010"},
    {"66 0f e2 ca", "psrad xmm1, xmm2", "800000007fffffff_0000000180000001", "0000000000000000_0000000100000000",
     "ffffffff00000000_00000000ffffffff"},
    {"66 0f 73 f9 05", "pslldq xmm1, 5", "ffeeddccbbaa9988_7766554433221100", "0000000000000000_0000000000000000",
     "aa99887766554433_2211000000000000"},
    {"66 0f 73 d9 10", "psrldq xmm1, 16", "ffeeddccbbaa9988_7766554433221100", "0000000000000000_0000000000000000",
     "0000000000000000_0000000000000000"},
    // Moves
    {"f3 0f 10 ca", "movss xmm1, xmm2", "1111111111111111_1111111111111111", "2222222222222222_2222222222222222",
     "1111111111111111_1111111122222222"},
    {"f2 0f 10 ca", "movsd xmm1, xmm2", "1111111111111111_1111111111111111", "2222222222222222_2222222222222222",
     "1111111111111111_2222222222222222"},
    {"f3 0f 7e ca", "movq xmm1, xmm2", "1111111111111111_1111111111111111", "2222222222222222_2222222222222222",
     "0000000000000000_2222222222222222"},
    {"0f 12 ca", "movhlps xmm1, xmm2", "1111111111111111_2222222222222222", "3333333333333333_4444444444444444",
     "1111111111111111_3333333333333333"},
    {"0f 16 ca", "movlhps xmm1, xmm2", "1111111111111111_2222222222222222", "3333333333333333_4444444444444444",
     "4444444444444444_2222222222222222"},
    {"f2 0f 12 ca", "movddup xmm1, xmm2", "0000000000000000_0000000000000000", "3333333333333333_4444444444444444",
     "4444444444444444_4444444444444444"},
    {"f3 0f 16 ca", "movshdup xmm1, xmm2", "0000000000000000_0000000000000000", "1111111122222222_3333333344444444",
     "1111111111111111_3333333333333333"},
    {"66 0f 3a 21 ca 9c", "insertps xmm1, xmm2, 9c", "1111111111111111_1111111111111111", "aaaaaaaabbbbbbbb_ccccccccdddddddd",
     "0000000000000000_bbbbbbbb11111111"},
};

}  // namespace

TEST_CASE("SSE packed integers", "[sse]") {
  SimdBench bench;
  for (const Case& c : cases) {
    INFO(c.text);
    SimdState input;
    input.xmm[1] = xmm_of(c.first), input.xmm[2] = xmm_of(c.second);
    bench.load(input);
    REQUIRE(bench.step(c.code));
    CHECK(text_of(bench.result().xmm[1]) == c.expected);
#ifdef MATRYOSHKA_NATIVE_SIMD
    NativeSimd native;
    native.set_instruction(SimdBench::bytes(c.code));
    native.run(input);
    CHECK(text_of(input.xmm[1]) == c.expected);
#endif
  }
}

TEST_CASE("SSE moves from memory clear the rest of the register", "[sse]") {
  SimdBench bench;
  bench.machine.put(SimdBench::data_at, xmm_of("ffeeddccbbaa9988_7766554433221100"));
  struct {
    const char* code;
    const char* expected;
  } const loads[] = {
      {"f3 0f 10 0e" /* movss xmm1, [rsi] */, "0000000000000000_0000000033221100"},
      {"f2 0f 10 0e" /* movsd xmm1, [rsi] */, "0000000000000000_7766554433221100"},
      {"f3 0f 7e 0e" /* movq xmm1, [rsi] */, "0000000000000000_7766554433221100"},
      {"66 0f 6e 0e" /* movd xmm1, [rsi] */, "0000000000000000_0000000033221100"},
      {"66 48 0f 6e 0e" /* movq xmm1, [rsi] */, "0000000000000000_7766554433221100"},
      {"0f 12 0e" /* movlps xmm1, [rsi] */, "1111111111111111_7766554433221100"},
      {"66 0f 16 0e" /* movhpd xmm1, [rsi] */, "7766554433221100_1111111111111111"},
      {"66 0f 3a 21 0e d8" /* insertps xmm1, [rsi], d8: no COUNT_S */, "0000000011111111_3322110011111111"},
  };
  for (const auto& load : loads) {
    INFO(load.code);
    SimdState s;
    s.xmm[1] = xmm_of("1111111111111111_1111111111111111");
    bench.load(s);
    REQUIRE(bench.step(load.code));
    CHECK(text_of(bench.result().xmm[1]) == load.expected);
  }
}

TEST_CASE("SSE lanes and general registers", "[sse]") {
  SimdBench bench;
  struct {
    const char* code;
    const char* text;
    uint64_t rdx;  // before
    uint64_t expected;
  } const reads[] = {
      {"66 0f 7e ca", "movd edx, xmm1", ~0ull, 0x33221100},
      {"66 48 0f 7e ca", "movq rdx, xmm1", ~0ull, 0x7766554433221100},
      {"66 0f 3a 14 ca 1f", "pextrb edx, xmm1, 31", ~0ull, 0xff},
      {"66 0f c5 d1 09", "pextrw edx, xmm1, 9", ~0ull, 0x3322},
      {"66 0f 3a 15 ca 07", "pextrw edx, xmm1, 7", ~0ull, 0xffee},
      {"66 0f 3a 16 ca 02", "pextrd edx, xmm1, 2", ~0ull, 0xbbaa9988},
      {"66 48 0f 3a 16 ca 01", "pextrq rdx, xmm1, 1", ~0ull, 0xffeeddccbbaa9988},
      {"66 0f 3a 17 ca 03", "extractps edx, xmm1, 3", ~0ull, 0xffeeddcc},
      {"0f 50 d1", "movmskps edx, xmm1", ~0ull, 12},
      {"66 0f 50 d1", "movmskpd edx, xmm1", ~0ull, 2},
      {"66 0f d7 d1", "pmovmskb edx, xmm1", ~0ull, 0xff00},
  };
  for (const auto& c : reads) {
    INFO(c.text);
    SimdState s;
    s.xmm[1] = xmm_of("ffeeddccbbaa9988_7766554433221100");
    s.gpr[RDX] = c.rdx;
    bench.load(s);
    REQUIRE(bench.step(c.code));
    CHECK(bench.result().gpr[RDX] == c.expected);
  }
  struct {
    const char* code;
    const char* text;
    const char* expected;
  } const writes[] = {
      {"66 0f 6e ca", "movd xmm1, edx", "0000000000000000_0000000089abcdef"},
      {"66 48 0f 6e ca", "movq xmm1, rdx", "0000000000000000_0123456789abcdef"},
      {"66 0f 3a 20 ca 1e", "pinsrb xmm1, edx, 30", "11ef111111111111_1111111111111111"},
      {"66 0f c4 ca 02", "pinsrw xmm1, edx, 2", "1111111111111111_1111cdef11111111"},
      {"66 0f 3a 22 ca 03", "pinsrd xmm1, edx, 3", "89abcdef11111111_1111111111111111"},
      {"66 48 0f 3a 22 ca 01", "pinsrq xmm1, rdx, 1", "0123456789abcdef_1111111111111111"},
      {"66 0f 3a 20 cc 00", "pinsrb xmm1, esp, 0", "1111111111111111_1111111111111156"},
  };
  for (const auto& c : writes) {
    INFO(c.text);
    SimdState s;
    s.xmm[1] = xmm_of("1111111111111111_1111111111111111");
    s.gpr[RDX] = 0x0123456789abcdef;
    bench.load(s);
    bench.cpu.state.gpr[RSP] = 0x123456;
    REQUIRE(bench.step(c.code));
    CHECK(text_of(bench.result().xmm[1]) == c.expected);
  }
}

TEST_CASE("PTEST sets ZF and CF and clears the other flags", "[sse]") {
  SimdBench bench;
  struct {
    const char* first;
    const char* second;
    uint64_t flags;
  } const tests[] = {
      {"0000000000000000_0000000000000001", "0000000000000000_0000000000000002", rflags::ZF},
      {"0000000000000000_0000000000000003", "0000000000000000_0000000000000002", rflags::CF},
      {"8000000000000000_0000000000000000", "8000000000000000_0000000000000001", 0},
      {"8000000000000000_0000000000000000", "0000000000000000_0000000000000000", rflags::ZF | rflags::CF},
  };
  for (const auto& c : tests) {
    SimdState s;
    s.xmm[1] = xmm_of(c.first), s.xmm[2] = xmm_of(c.second);
    s.flags = rflags::status;
    bench.load(s);
    REQUIRE(bench.step("66 0f 38 17 ca"));
    CHECK(bench.result().flags == (c.flags | rflags::always_one));
  }
}

TEST_CASE("CRC32 of the usual check string is e3069283", "[sse]") {
  SimdBench bench;
  const char* text = "123456789";
  uint64_t first;
  std::memcpy(&first, text, 8);
  bench.cpu.state.gpr[RCX] = 0xffffffffffffffff;
  bench.cpu.state.gpr[RDX] = first;
  REQUIRE(bench.step("f2 48 0f 38 f1 ca"));  // crc32 rcx, rdx
  bench.cpu.state.gpr[RDX] = '9';
  REQUIRE(bench.step("f2 0f 38 f0 ca"));  // crc32 ecx, dl
  CHECK(bench.cpu.state.gpr[RCX] == (0xe3069283 ^ 0xffffffff));
  // The same in other sizes, from AH and from memory.
  bench.cpu.state.gpr[RCX] = 0xffffffff;
  bench.machine.put(SimdBench::data_at, first);
  REQUIRE(bench.step("f2 0f 38 f1 0e"));  // crc32 ecx, dword [rsi]
  bench.cpu.state.gpr[RDX] = first >> 32;
  REQUIRE(bench.step("66 f2 0f 38 f1 ca"));  // crc32 ecx, dx
  bench.cpu.state.gpr[RAX] = '7' << 8 | '8';
  REQUIRE(bench.step("f2 0f 38 f0 cc"));  // crc32 ecx, ah
  REQUIRE(bench.step("f2 0f 38 f0 c8"));  // crc32 ecx, al
  bench.cpu.state.gpr[RDX] = '9';
  REQUIRE(bench.step("f2 0f 38 f0 ca"));
  CHECK(bench.cpu.state.gpr[RCX] == (0xe3069283 ^ 0xffffffff));
}
