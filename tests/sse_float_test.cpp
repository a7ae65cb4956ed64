// SSE floating point: exceptions and what they leave, MXCSR, flags of comparisons. sse_native_test.cpp compares results under all
// masked settings; tests/float_sse_test.cpp tests the lane functions themselves.
#include <catch2/catch.hpp>
#include <cmath>

#include "tests/sse_bench.h"

using namespace matryoshka;

namespace {

// Singles in XMM text, high lane first.
constexpr const char* ones = "3f8000003f800000_3f8000003f800000";

constexpr uint32_t masked = 0x1f80;
constexpr uint32_t IE = 1, DE = 2, ZE = 4, OE = 8, UE = 16, PE = 32;
constexpr uint32_t unmask(uint32_t flags) { return masked & ~(flags << 7); }

struct Case {
  const char* code;  // XMM1 and XMM2
  const char* text;
  const char* first;
  const char* second;
  uint32_t mxcsr;
  uint32_t raised;
  bool faults;
  const char* expected;
};

const Case cases[] = {
    {"0f 58 ca", "addps, nothing happens", ones, ones, masked, 0, false, "4000000040000000_4000000040000000"},
    {"0f 58 ca", "addps, one lane inexact", ones, "3f8000003f800000_3f80000033000000", masked, PE, false,
     "4000000040000000_400000003f800000"},
    {"0f 58 ca", "addps, inexact unmasked", ones, "3f8000003f800000_3f80000033000000", unmask(PE), PE, true, ones},
    {"0f 5e ca", "divps by zero in one lane, zero-divide unmasked", ones, "3f80000000000000_3f8000003f800000", unmask(ZE), ZE,
     true, ones},
    {"0f 5e ca", "divps by zero in one lane, masked", ones, "3f80000080000000_3f8000003f800000", masked, ZE, false,
     "3f800000ff800000_3f8000003f800000"},
    {"0f 5e ca", "divps: an operand fault in one lane hides the inexact result in another", ones,
     "3f80000000000000_3f80000040400000", unmask(ZE), ZE, true, ones},
    {"0f 5e ca", "divps: masked zero-divide and unmasked inexact", ones, "3f80000000000000_3f80000040400000", unmask(PE), ZE | PE,
     true, ones},
    {"0f 5e ca", "0/0 is invalid, not zero-divide", "0000000000000000_0000000000000000", "0000000000000000_0000000000000000",
     masked, IE, false, "ffc00000ffc00000_ffc00000ffc00000"},
    {"0f 59 ca", "mulps overflow", "7f7fffff7f7fffff_7f7fffff7f7fffff", "4000000040000000_40000000c0000000", masked, OE | PE,
     false, "7f8000007f800000_7f800000ff800000"},
    {"0f 59 ca", "mulps overflow toward zero", "7f7fffff7f7fffff_7f7fffff7f7fffff", "4000000040000000_40000000c0000000",
     masked | 3 << 13, OE | PE, false, "7f7fffff7f7fffff_7f7fffffff7fffff"},
    {"0f 59 ca", "mulps: an exact denormal result is no masked underflow", "0080000000800000_0080000000800000",
     "3f8000003f800000_3f8000003f000000", masked, 0, false, "0080000000800000_0080000000400000"},
    {"0f 59 ca", "mulps: but an unmasked one", "0080000000800000_0080000000800000", "3f8000003f800000_3f8000003f000000",
     unmask(UE), UE, true, "0080000000800000_0080000000800000"},
    {"0f 59 ca", "mulps flushed to zero", "0080000000800000_0080000000800000", "3f8000003f800000_3f800000bf000000",
     masked | 0x8000, UE | PE, false, "0080000000800000_0080000080000000"},
    {"0f 58 ca", "addps of a denormal", "0000000000000000_0000000000000001", "0000000000000000_0000000000000000", masked, DE,
     false, "0000000000000000_0000000000000001"},
    {"0f 58 ca", "addps of a denormal that counts as zero", "0000000000000000_0000000000000001",
     "0000000000000000_0000000000000000", masked | 0x40, 0, false, "0000000000000000_0000000000000000"},
    {"f3 0f 58 ca", "addss leaves the upper lanes and what is in them alone", "7f8000017f800001_7f8000013f800000", ones, masked,
     0, false, "7f8000017f800001_7f80000140000000"},
    {"f2 0f 58 ca", "addsd of a signaling NaN", "0000000000000000_3ff0000000000000", "0000000000000000_7ff0000000000001", masked,
     IE, false, "0000000000000000_7ff8000000000001"},
    {"f2 0f 58 ca", "addsd: of two NaNs the first", "0000000000000000_7ff8000000000002", "0000000000000000_fff8000000000001",
     masked, 0, false, "0000000000000000_7ff8000000000002"},
    {"f3 0f 5d ca", "minss of zeros is the second", "0000000000000000_0000000000000000", "0000000000000000_0000000080000000",
     masked, 0, false, "0000000000000000_0000000080000000"},
    {"f3 0f 5f ca", "maxss with a NaN is the second", "0000000000000000_000000007fc00000", "0000000000000000_000000003f800000",
     masked, IE, false, "0000000000000000_000000003f800000"},
    {"f3 0f 51 ca", "sqrtss of a negative number", ones, "0000000000000000_00000000bf800000", masked, IE, false,
     "3f8000003f800000_3f800000ffc00000"},
    {"f2 0f d0 ca", "addsubps", "4000000040000000_4000000040000000", ones, masked, 0, false, "404000003f800000_404000003f800000"},
    {"f2 0f 7c ca", "haddps", "4080000040400000_400000003f800000", "4100000040e00000_40c0000040a00000", masked, 0, false,
     "4170000041300000_40e0000040400000"},
    {"66 0f 7d ca", "hsubpd", "4008000000000000_4000000000000000", "3ff0000000000000_4010000000000000", masked, 0, false,
     "4008000000000000_bff0000000000000"},
    {"0f c2 ca 01", "cmpltps", "7fc000003f800000_3f800000bf800000", "3f8000003f800000_400000003f800000", masked, IE, false,
     "0000000000000000_ffffffffffffffff"},
    {"0f c2 ca 04", "cmpneqps: quiet NaNs are not invalid", "7fc000003f800000_3f800000bf800000",
     "3f8000003f800000_400000003f800000", masked, 0, false, "ffffffff00000000_ffffffffffffffff"},
    {"66 0f 3a 40 ca f1", "dpps, all lanes into the lowest", "4080000040400000_400000003f800000", ones, masked, 0, false,
     "0000000000000000_0000000041200000"},
    {"66 0f 3a 40 ca 7f", "dpps without the highest lane", "4080000040400000_400000003f800000", ones, masked, 0, false,
     "40c0000040c00000_40c0000040c00000"},
    {"66 0f 3a 40 ca ff", "dpps: an unmasked overflow of the products ends it", "7f7fffff40400000_400000003f800000",
     "7f7fffff3f800000_3f8000003f800000", unmask(OE), OE | PE, true, "7f7fffff40400000_400000003f800000"},
    {"66 0f 3a 0a ca 00", "roundss to nearest", ones, "0000000000000000_0000000040200000", masked, PE, false,
     "3f8000003f800000_3f80000040000000"},
    {"66 0f 3a 0a ca 0a", "roundss up, inexactly in silence", ones, "0000000000000000_0000000040200000", masked, 0, false,
     "3f8000003f800000_3f80000040400000"},
    {"66 0f 3a 0a ca 04", "roundss as MXCSR says", ones, "0000000000000000_00000000bf000000", masked | 1 << 13, PE, false,
     "3f8000003f800000_3f800000bf800000"},
    {"f2 0f 5a ca", "cvtsd2ss overflow", ones, "0000000000000000_7fefffffffffffff", masked, OE | PE, false,
     "3f8000003f800000_3f8000007f800000"},
    {"f3 0f 5b ca", "cvttps2dq", ones, "4f00000040600000_c0600000ff800000", masked, IE | PE, false,
     "8000000000000003_fffffffd80000000"},
    {"66 0f 5b ca", "cvtps2dq rounds to even", ones, "402000003f000000_3fc00000bf000000", masked, PE, false,
     "0000000200000000_0000000200000000"},
    {"66 0f e6 ca", "cvttpd2dq clears the upper half", ones, "c008000000000000_4008000000000000", masked, 0, false,
     "0000000000000000_fffffffd00000003"},
    {"0f 5b ca", "cvtdq2ps", ones, "0000000180000000_7fffffff01000001", masked, PE, false, "3f800000cf000000_4f0000004b800000"},
    {"f3 0f e6 ca", "cvtdq2pd", ones, "1111111111111111_80000000ffffffff", masked, 0, false, "c1e0000000000000_bff0000000000000"},
};

}  // namespace

TEST_CASE("SSE floating point", "[sse]") {
  SimdBench bench;
  for (const Case& c : cases) {
    // Flags that are set already stay, and make no exception of their own; with PE among them the fast path may be taken.
    for (uint32_t sticky : {0u, PE, IE | DE | ZE | OE | UE | PE}) {
      INFO(c.text << ", sticky flags " << sticky);
      SimdState s;
      s.xmm[1] = xmm_of(c.first), s.xmm[2] = xmm_of(c.second);
      s.mxcsr = c.mxcsr | sticky;
      bench.load(s);
      CHECK(bench.step(c.code) == !c.faults);
      if (c.faults) CHECK(bench.cpu.fault.vector == XM_vector);
      CHECK(bench.result().mxcsr == (c.mxcsr | sticky | c.raised));
      CHECK(text_of(bench.result().xmm[1]) == c.expected);
    }
  }
}

TEST_CASE("Without CR4.OSXMMEXCPT an unmasked exception is #UD", "[sse]") {
  SimdBench bench;
  bench.cpu.state.cr4 &= ~cr4::OSXMMEXCPT;
  SimdState s;
  s.mxcsr = unmask(IE);
  bench.load(s);
  CHECK(!bench.step("f2 0f 5e ca"));  // divsd, 0/0
  CHECK(bench.cpu.fault.vector == UD_vector);
  CHECK(bench.result().mxcsr == (unmask(IE) | IE));
}

TEST_CASE("COMIS and UCOMIS", "[sse]") {
  SimdBench bench;
  struct {
    const char* code;
    const char* first;
    const char* second;
    uint64_t flags;
    uint32_t raised;
  } const tests[] = {
      {"0f 2f ca", ones, "0000000000000000_0000000040000000", rflags::CF, 0},
      {"0f 2f ca", ones, "0000000000000000_0000000000000000", 0, 0},
      {"0f 2f ca", ones, ones, rflags::ZF, 0},
      {"0f 2f ca", ones, "0000000000000000_000000007fc00000", rflags::ZF | rflags::PF | rflags::CF, IE},
      {"0f 2e ca", ones, "0000000000000000_000000007fc00000", rflags::ZF | rflags::PF | rflags::CF, 0},
      {"0f 2e ca", ones, "0000000000000000_000000007f800001", rflags::ZF | rflags::PF | rflags::CF, IE},
      {"66 0f 2e ca", ones, "0000000000000000_0000000000000001", 0, DE},
      {"66 0f 2f ca", "0000000000000000_8000000000000000", "0000000000000000_0000000000000000", rflags::ZF, 0},
  };
  for (const auto& c : tests) {
    INFO(c.code << ' ' << c.second);
    SimdState s;
    s.xmm[1] = xmm_of(c.first), s.xmm[2] = xmm_of(c.second);
    s.flags = rflags::status;
    bench.load(s);
    REQUIRE(bench.step(c.code));
    CHECK(bench.result().flags == (c.flags | rflags::always_one));
    CHECK(bench.result().mxcsr == (masked | c.raised));
  }
  SimdState s;
  s.flags = rflags::status;
  s.mxcsr = unmask(IE);
  s.xmm[2] = xmm_of("0000000000000000_000000007fc00000");
  bench.load(s);
  CHECK(!bench.step("0f 2f ca"));  // comiss
  CHECK(bench.cpu.fault.vector == XM_vector);
  CHECK(bench.result().flags == (rflags::status | rflags::always_one));
}

TEST_CASE("Conversions to general registers", "[sse]") {
  SimdBench bench;
  struct {
    const char* code;
    const char* text;
    const char* source;
    uint64_t expected;
    uint32_t raised;
  } const tests[] = {
      {"f2 0f 2d ca", "cvtsd2si ecx", "0000000000000000_3ff8000000000000", 2, PE},
      {"f2 0f 2c ca", "cvttsd2si ecx", "0000000000000000_bff8000000000000", 0xffffffff, PE},
      {"f2 48 0f 2c ca", "cvttsd2si rcx", "0000000000000000_bff8000000000000", ~0ull, PE},
      {"f2 0f 2c ca", "cvttsd2si ecx, too large", "0000000000000000_41e0000000000000", 0x80000000, IE},
      {"f2 48 0f 2c ca", "cvttsd2si rcx, large", "0000000000000000_41e0000000000000", 0x80000000, 0},
      {"f3 48 0f 2d ca", "cvtss2si rcx, too large", "0000000000000000_000000005f000000", 0x8000000000000000, IE},
      {"f2 0f 2c ca", "cvttsd2si ecx, the smallest", "0000000000000000_c1e0000000000000", 0x80000000, 0},
  };
  for (const auto& c : tests) {
    for (uint32_t sticky : {0u, PE}) {
      INFO(c.text);
      SimdState s;
      s.xmm[2] = xmm_of(c.source);
      s.gpr[RCX] = 0x1234567812345678;
      s.mxcsr = masked | sticky;
      bench.load(s);
      REQUIRE(bench.step(c.code));
      CHECK(bench.result().gpr[RCX] == c.expected);
      CHECK(bench.result().mxcsr == (masked | sticky | c.raised));
    }
  }
}

TEST_CASE("RCP and RSQRT are within 1.5 * 2^-12", "[sse]") {
  SimdBench bench;
  for (uint32_t bits = 0x00800000; bits < 0x7e000000; bits += 0x1357) {
    float value = __builtin_bit_cast(float, bits);
    SimdState s;
    s.xmm[2] = {{bits, 0}};
    bench.load(s);
    REQUIRE(bench.step("f3 0f 53 ca"));
    float reciprocal = __builtin_bit_cast(float, static_cast<uint32_t>(bench.result().xmm[1].q[0]));
    REQUIRE(bench.step("f3 0f 52 ca"));
    float root = __builtin_bit_cast(float, static_cast<uint32_t>(bench.result().xmm[1].q[0]));
    if (std::fabs(double{reciprocal} * value - 1) > 1.5 / 4096) FAIL("RCPSS of " << value << " is " << reciprocal);
    if (std::fabs(double{root} * std::sqrt(double{value}) - 1) > 1.5 / 4096) FAIL("RSQRTSS of " << value << " is " << root);
  }
}

TEST_CASE("LDMXCSR refuses reserved bits", "[sse]") {
  SimdBench bench;
  bench.machine.put(SimdBench::data_at, uint32_t{0xffff});
  CHECK(bench.step("0f ae 16"));  // ldmxcsr [rsi]
  CHECK(bench.cpu.state.mxcsr == 0xffff);
  bench.machine.put(SimdBench::data_at, uint32_t{0x11f80});
  CHECK(!bench.step("0f ae 16"));
  CHECK(bench.cpu.fault.vector == GP_vector);
  CHECK(bench.cpu.state.mxcsr == 0xffff);
  CHECK(bench.step("0f ae 1e"));  // stmxcsr [rsi]
  CHECK(bench.machine.get<uint32_t>(SimdBench::data_at) == 0xffff);
}
