// The common case of x87 arithmetic against the general one, which float_x87_test.cpp holds against a processor: wherever the
// short way says that it has an answer, value and flags are the long way's.
#include <catch2/catch.hpp>

#include "cpu/float/float80_common.h"
#include "tests/float_values.h"

using namespace matryoshka::fp;

namespace {

// Mostly near each other, so that sums cancel, and on the edges of rounding; a zero now and then.
Float80 common_operand(Generator& g) {
  if (g.one_in(16)) return float80(g.one_in(2), 0, 0);
  const int span = g.one_in(4) ? 140 : 4;
  const int center = g.one_in(8) ? 1 : g.one_in(8) ? 0x7ffe : 0x3fff;
  const int exponent = center + int(g.below(uint64_t(2 * span + 1))) - span;
  return float80(g.one_in(2),
                 exponent < 0        ? 0
                 : exponent > 0x7fff ? 0x7fff
                                     : exponent,
                 edgy_bits(g) | (g.one_in(64) ? 0 : uint64_t{1} << 63));
}

template <class Common, class General>
void compare_operations(const char* name, Common common, General general) {
  Generator g(seed());
  uint64_t taken = 0;
  const uint64_t count = cases(200'000);
  for (uint64_t i = 0; i < count; ++i) {
    const Float80 a = common_operand(g), b = common_operand(g);
    const common::Result quick = common(a, b);
    if (!quick.common) continue;
    ++taken;
    Environment e = Environment::from_control_word(0x37f);
    const Float80 expected = general(a, b, e);
    if (quick.value() == expected && quick.status == e.status()) continue;
    INFO(name << " " << text(a) << " " << text(b) << " seed " << seed());
    CHECK(text(quick.value()) == text(expected));
    REQUIRE(quick.status == e.status());
  }
  INFO(name);
  CHECK(taken > count / 2);
}

template <class Format, class Common, class General>
void compare_stores(const char* name, uint16_t control, Common common, General general) {
  Generator g(seed());
  uint64_t taken = 0;
  const uint64_t count = cases(200'000);
  for (uint64_t i = 0; i < count; ++i) {
    const Float80 a = common_operand(g);
    Environment e = Environment::from_control_word(control);
    const common::Stored<Format> quick = common(a, e.rounding);
    if (!quick.common) continue;
    ++taken;
    const Format expected = general(a, e);
    if (quick.value == expected && quick.status == e.status()) continue;
    INFO(name << " " << text(a) << " control " << control << " seed " << seed());
    CHECK(quick.value == expected);
    REQUIRE(quick.status == e.status());
  }
  INFO(name);
  CHECK(taken > count / 8);
}

}  // namespace

TEST_CASE("the common case of arithmetic is the general one", "[x87][float]") {
  compare_operations("add", common::add, [](Float80 a, Float80 b, Environment& e) { return add(a, b, e); });
  compare_operations("subtract", common::subtract, [](Float80 a, Float80 b, Environment& e) { return subtract(a, b, e); });
  compare_operations("multiply", common::multiply, [](Float80 a, Float80 b, Environment& e) { return multiply(a, b, e); });
  compare_operations("divide", common::divide, [](Float80 a, Float80 b, Environment& e) { return divide(a, b, e); });
}

TEST_CASE("the common case of comparison is the general one", "[x87][float]") {
  Generator g(seed());
  uint64_t taken = 0;
  const uint64_t count = cases(200'000);
  for (uint64_t i = 0; i < count; ++i) {
    const Float80 a = common_operand(g);
    Float80 b = g.one_in(4) ? a : common_operand(g);
    if (g.one_in(8)) b.sign_exponent ^= 0x8000;
    const common::Comparison quick = common::compare(a, b);
    if (!quick.common) continue;
    ++taken;
    Environment e;
    INFO(text(a) << " " << text(b) << " seed " << seed());
    if (quick.relation != compare(a, b, e)) FAIL("another relation");
    if (e.status() != 0) FAIL("the general case raises something");
  }
  CHECK(taken > count / 2);
}

TEST_CASE("the common cases of loads and stores are the general ones", "[x87][float]") {
  Generator g(seed());
  for (uint64_t i = 0; i < cases(200'000); ++i) {
    const Binary32 a{static_cast<uint32_t>(edgy_bits(g) >> g.below(33))};
    const Binary64 b{edgy_bits(g)};
    const auto integer = static_cast<int64_t>(edgy_bits(g));
    Environment e;
    INFO(hex(a.bits, 8) << " " << hex(b.bits, 16) << " seed " << seed());
    if (const common::Result quick = common::widen(a); quick.common && !(quick.value() == load(a, e) && e.status() == 0))
      FAIL("m32");
    if (const common::Result quick = common::widen(b); quick.common && !(quick.value() == load(b, e) && e.status() == 0))
      FAIL("m64");
    const common::Result quick = common::widen(integer);
    if (!(quick.common && quick.value() == from_integer(integer))) FAIL("integer");
  }
  compare_stores<Binary32>(
      "m32", 0x37f, [](Float80 a, Rounding) { return common::narrow<Binary32>(a); },
      [](Float80 a, Environment& e) { return to_binary32(a, e); });
  compare_stores<Binary64>(
      "m64", 0x37f, [](Float80 a, Rounding) { return common::narrow<Binary64>(a); },
      [](Float80 a, Environment& e) { return to_binary64(a, e); });
  for (uint16_t rounding = 0; rounding < 4; ++rounding) {
    const auto control = static_cast<uint16_t>(0x37f | rounding << 10);
    compare_stores<int16_t>("int16", control, common::to_integer<int16_t>,
                            [](Float80 a, Environment& e) { return to_int16(a, e); });
    compare_stores<int32_t>("int32", control, common::to_integer<int32_t>,
                            [](Float80 a, Environment& e) { return to_int32(a, e); });
    compare_stores<int64_t>("int64", control, common::to_integer<int64_t>,
                            [](Float80 a, Environment& e) { return to_int64(a, e); });
  }
}
