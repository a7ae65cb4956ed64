#include <catch2/catch.hpp>

#include "tests/sse_native.h"

using namespace matryoshka;

namespace {

Xmm bytes_of(std::string text) {
  text.resize(16, '\0');
  Xmm x;
  std::memcpy(&x, text.data(), 16);
  return x;
}

constexpr uint64_t C = rflags::CF, Z = rflags::ZF, S = rflags::SF, O = rflags::OF;

struct Case {
  uint8_t control;
  const char* text;
  const char* first;   // XMM1
  const char* second;  // XMM2
  uint64_t index;
  uint64_t flags;
};

// PCMPISTRI: strings end at their first null.
const Case cases[] = {
    {0x00, "equal any: the first vowel", "aeiou", "strings", 3, C | Z | S},
    {0x40, "equal any: the last vowel", "aeiou", "string operation", 14, C | S},
    {0x10, "equal any, negated: the first that is no letter of the set", "abc", "aabbxc", 4, C | Z | S},
    {0x30, "equal any, negated within the string", "abc", "aabb", 16, Z | S},
    {0x10, "equal any, negated also beyond its end", "abc", "aabb", 4, C | Z | S},
    {0x04, "ranges: the first digit or capital", "09AZ", "abc-7Z", 4, C | Z | S},
    {0x04, "ranges: none", "09AZ", "abcdefghijklmnop", 16, S},
    {0x06, "ranges of signed bytes", "\x80\xff", "abc\x90", 3, C | Z | S},
    {0x08, "equal each: one bit per equal place, beyond both ends too", "string", "strong", 0, C | Z | S | O},
    {0x18, "equal each, negated: the first difference", "string", "strong", 3, C | Z | S},
    {0x18, "equal each, negated: no difference", "string", "string", 16, Z | S},
    {0x0c, "equal ordered: where the first string stands in the second", "ring", "the string", 6, C | Z | S},
    {0x0c, "equal ordered: its beginning at the end of the register", "ring", "0123456789012rin", 13, C | S},
    {0x0c, "equal ordered: an empty string is everywhere", "", "abc", 0, C | Z | S | O},
    {0x01, "words", "a\0b\0", "x\0b\0", 1, C | Z | S},
};

std::string control_text(const Case& c) { return std::string(c.text) + ": \"" + c.first + "\", \"" + c.second + "\""; }

Xmm operand(const Case& c, const char* text) {
  // Words are given with their null bytes written out, two letters to an operand.
  return c.control & 1 ? bytes_of(std::string(text, 4)) : bytes_of(text);
}

}  // namespace

TEST_CASE("PCMPISTRI", "[sse]") {
  SimdBench bench;
  for (const Case& c : cases) {
    INFO(control_text(c));
    SimdState s;
    s.xmm[1] = operand(c, c.first), s.xmm[2] = operand(c, c.second);
    s.gpr[RCX] = ~0ull;
    s.flags = rflags::status;
    std::vector<uint8_t> code = {0x66, 0x0f, 0x3a, 0x63, 0xca, c.control};
    bench.load(s);
    REQUIRE(bench.step(code));
    CHECK(bench.result().gpr[RCX] == c.index);
    CHECK(bench.result().flags == (c.flags | rflags::always_one));
#ifdef MATRYOSHKA_NATIVE_SIMD
    NativeSimd native;
    native.set_instruction(code);
    native.run(s);
    CHECK(s.gpr[RCX] == c.index);
    CHECK(s.flags == (c.flags | rflags::always_one));
#endif
  }
}

TEST_CASE("PCMPESTRI takes magnitudes of its lengths", "[sse]") {
  SimdBench bench;
  SimdState s;
  s.xmm[1] = bytes_of("abc"), s.xmm[2] = bytes_of("xxxabc");
  s.gpr[RAX] = 0xfffffffffffffffd;  // -3 in EAX as in RAX
  s.gpr[RDX] = 0x00000001fffffffa;  // -6 in EDX, large in RDX
  bench.load(s);
  REQUIRE(bench.step("66 0f 3a 61 ca 0c"));
  CHECK(bench.result().gpr[RCX] == 3);
  CHECK(bench.result().flags == (C | Z | S | rflags::always_one));
  REQUIRE(bench.step("66 48 0f 3a 61 ca 0c"));
  CHECK(bench.result().gpr[RCX] == 3);
  CHECK(bench.result().flags == (C | S | rflags::always_one));
}

TEST_CASE("PCMPISTRM and PCMPESTRM write XMM0", "[sse]") {
  SimdBench bench;
  SimdState s;
  s.xmm[0] = xmm_of("1111111111111111_1111111111111111");
  s.xmm[1] = bytes_of("aeiou"), s.xmm[2] = bytes_of("a string too");
  s.gpr[RAX] = 5, s.gpr[RDX] = 12;
  for (const char* code : {"66 0f 3a 62 ca", "66 0f 3a 60 ca"}) {
    bench.load(s);
    REQUIRE(bench.step(std::string(code) + "00"));
    CHECK(text_of(bench.result().xmm[0]) == "0000000000000000_0000000000000c21");
    REQUIRE(bench.step(std::string(code) + "40"));
    CHECK(text_of(bench.result().xmm[0]) == "00000000ffff0000_0000ff00000000ff");
  }
}
