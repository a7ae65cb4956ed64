// Every row of mmx.def, sse.def and crypto.def that has a register form, on this processor and on ours, with random and extreme
// operands under every rounding mode, FTZ and DAZ. Exceptions stay masked; sse_float_test.cpp has the unmasked ones.
#include "tests/sse_native.h"

#ifdef MATRYOSHKA_NATIVE_SIMD

#include <catch2/catch.hpp>
#include <set>

using namespace matryoshka;

namespace {

// Values that make a difference to some instruction, in every lane width.
class Operands {
 public:
  explicit Operands(uint64_t seed) : random_(seed) {}

  uint64_t quadword() {
    uint64_t r = random_();
    switch (r & 7) {
      case 0: return random_();
      case 1: return binary64(r >> 8);
      case 2: return binary64(r >> 8);
      case 3:
      case 4: return binary32(r >> 8) | uint64_t{binary32(random_())} << 32;
      case 5: return bytes(random_());
      case 6: return random_() & random_() & random_();
      default: return uint64_t{1} << (r >> 8 & 63);
    }
  }
  SimdState state() {
    SimdState s;
    for (Xmm& x : s.xmm) x = {{quadword(), quadword()}};
    if (random_() % 8 == 0) s.xmm[2] = s.xmm[1];
    if (random_() % 4 == 0) s.xmm[2] = {{random_() % 80, 0}};  // a shift count
    for (uint64_t& m : s.mm) m = quadword();
    if (random_() % 4 == 0) s.mm[2] = random_() % 80;
    for (uint64_t& g : s.gpr) g = quadword();
    if (random_() % 2 == 0) s.gpr[0] = random_() % 40 - 20, s.gpr[2] = random_() % 40 - 20;  // lengths of PCMPESTRI
    uint64_t r = random_();
    s.flags = rflags::always_one | (r & rflags::status);
    s.mxcsr = 0x1f80 | (r >> 16 & 0x3f) | (r >> 24 & 3) << 13;
    if (r >> 32 & 1) s.mxcsr |= 0x20;
    if ((r >> 33 & 3) == 0) s.mxcsr |= 0x8000;
    if ((r >> 35 & 3) == 0) s.mxcsr |= 0x40;
    if (r >> 37 & 1) s.mxcsr = 0x1fa0;  // what the fast paths wait for
    return s;
  }
  uint64_t next() { return random_(); }

 private:
  uint32_t binary32(uint64_t r) {
    static constexpr uint32_t edges[] = {0,          1,          0x007fffff, 0x00800000, 0x00800001, 0x00ffffff, 0x01000000,
                                         0x3f000000, 0x3f7fffff, 0x3f800000, 0x3f800001, 0x3fc00000, 0x40200000, 0x4b000000,
                                         0x4b7fffff, 0x4effffff, 0x4f000000, 0x4f000001, 0x5effffff, 0x5f000000, 0x7f000000,
                                         0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fbfffff, 0x7fc00000, 0x7fc12345, 0x1fffffff,
                                         0x20000000, 0x2f800000, 0x33800000, 0x00400000};
    uint32_t value = r & 3 ? edges[r >> 8 & 31] : static_cast<uint32_t>(random_() & 0x007fffff) | (0x70u + (r >> 8 & 31)) << 23;
    return value | static_cast<uint32_t>(r >> 40 & 1) << 31;
  }
  uint64_t binary64(uint64_t r) {
    static constexpr uint64_t edges[] = {0,
                                         1,
                                         0x000fffffffffffff,
                                         0x0010000000000000,
                                         0x0010000000000001,
                                         0x001fffffffffffff,
                                         0x0020000000000000,
                                         0x3fe0000000000000,
                                         0x3fefffffffffffff,
                                         0x3ff0000000000000,
                                         0x3ff0000000000001,
                                         0x3ff8000000000000,
                                         0x4004000000000000,
                                         0x41dfffffffc00000,
                                         0x41dfffffffe00000,
                                         0x41e0000000000000,
                                         0xc1e0000000200000,
                                         0x4330000000000000,
                                         0x43dfffffffffffff,
                                         0x43e0000000000000,
                                         0x47efffffe0000000,
                                         0x47efffffefffffff,
                                         0x47effffff0000000,
                                         0x3810000000000000,
                                         0x380fffffffffffff,
                                         0x380fffffe0000000,
                                         0x36a0000000000000,
                                         0x7fe0000000000000,
                                         0x7fefffffffffffff,
                                         0x7ff0000000000000,
                                         0x7ff0000000000001,
                                         0x7ff8000000054321};
    uint64_t value = r & 3 ? edges[r >> 8 & 31] : (random_() & 0x000fffffffffffff) | (0x3f0 + (r >> 8 & 31)) << 52;
    return value | (r >> 40 & 1) << 63;
  }
  static uint64_t bytes(uint64_t r) {
    static constexpr uint8_t edges[] = {0, 1, 0x7f, 0x80, 0xff, 'a', 'z', 0};
    uint64_t value = 0;
    for (unsigned i = 0; i < 8; ++i) value |= uint64_t{edges[r >> 3 * i & 7]} << 8 * i;
    return value;
  }

  std::mt19937_64 random_;
};

// Those whose result is not defined to the last bit, and those that touch memory or the state of the test itself.
const std::set<std::string_view> excluded = {"RCPPS",      "RCPSS", "RSQRTPS", "RSQRTSS", "MASKMOVQ",
                                             "MASKMOVDQU", "EMMS",  "RDPKRU",  "WRPKRU"};

bool comparable(const Row& row) {
  return (row.family == Family::mmx || row.family == Family::sse || row.family == Family::crypto) &&
         !must_be_memory(parse_operands(row.operands)) && !excluded.count(row.mnemonic) && NativeSimd::has(row.feature);
}

}  // namespace

TEST_CASE("SIMD instructions agree with the host processor", "[sse][native]") {
  const uint64_t seed = std::random_device{}();
  INFO("seed " << seed);
  Operands operands(seed);
  SimdComparison comparison;
  unsigned rows_compared = 0;
  std::string differences;
  for (const Row& row : rows) {
    if (!comparable(row)) continue;
    ++rows_compared;
    const bool immediate = std::string_view(row.operands).ends_with("Ib");
    const bool wide = width_set(parse_operands(row.operands)) != fixed_width;
    const unsigned variants = immediate ? 96 : wide ? 2 : 1;
    bool differs = false;
    for (unsigned variant = 0; variant < variants && !differs; ++variant) {
      auto bytes = register_form(row, static_cast<uint8_t>(operands.next()), wide && variant & 1);
      const Row* decoded = comparison.prepare(bytes);
      REQUIRE(decoded);
      REQUIRE(std::string_view(decoded->mnemonic) == row.mnemonic);
      for (unsigned i = 0; i < 6000 / variants && !differs; ++i) {
        std::string difference = comparison.run(operands.state());
        if (difference.empty()) continue;
        differs = true;
        differences += std::string(row.mnemonic) + " " + row.operands + ": " + difference + "\n";
      }
    }
  }
  CHECK(differences == "");
  CHECK(rows_compared > 300);
}

#endif
