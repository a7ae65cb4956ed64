// The same bits everywhere. Results and flags of many cases, folded into one number per operation: native and wasm
// builds, all compilers and optimization levels must come to the numbers below. A row changes only if a result does,
// on purpose; then the test prints the new one.
#include <catch2/catch.hpp>

#include "tests/float_values.h"

using namespace matryoshka::fp;

namespace {

class Digest {
 public:
  void add(uint64_t value) {
    value_ = (value_ ^ value) * 0x9e3779b97f4a7c15;
    value_ ^= value_ >> 29;
  }
  void add(Float80 a) { add(a.significand), add(a.sign_exponent); }
  void add(Binary32 a) { add(a.bits); }
  void add(Binary64 a) { add(a.bits); }
  void add(Trigonometric a) { add(a.value), add(a.pushed), add(uint64_t(a.out_of_range)); }
  void add(Remainder a) { add(a.value), add(a.condition_codes()); }
  uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 0;
};

struct Operands {
  Float80 a, b;
  Binary32 a32, b32;
  Binary64 a64, b64;
};

struct Row {
  const char* name;
  void (*run)(const Operands& v, Environment& e, Digest& d);
  uint64_t expected;
};

#define RUN(expression)                              \
  [](const Operands& v, Environment& e, Digest& d) { \
    (void)v, (void)e;                                \
    d.add(expression);                               \
  }

const Row rows[] = {
    {"x87 add", RUN(add(v.a, v.b, e)), 0x57d2f79d3d423a9a},
    {"x87 multiply", RUN(multiply(v.a, v.b, e)), 0x23f773a842a0098f},
    {"x87 divide", RUN(divide(v.a, v.b, e)), 0x33b2e42cedb23141},
    {"x87 square_root", RUN(square_root(v.a, e)), 0xadfc5093aeb4cbf7},
    {"x87 scale", RUN(scale(v.a, v.b, e)), 0xfdd6579233a44dce},
    {"x87 remainder_truncated", RUN(remainder_truncated(v.a, v.b, e)), 0x2cdbc90b1dd15076},
    {"x87 remainder_nearest", RUN(remainder_nearest(v.a, v.b, e)), 0xb8422e3ed4c9521c},
    {"x87 to_binary64", RUN(to_binary64(v.a, e)), 0x21725de0b6b9f234},
    {"x87 to_int64", RUN(uint64_t(to_int64(v.a, e))), 0x008682c401ea76a6},
    {"power_of_two_minus_one", RUN(power_of_two_minus_one(v.a, e)), 0xfd9c2de9f02d15fe},
    {"y_log2_x", RUN(y_log2_x(v.b, v.a, e)), 0x6e1ffd9da4dcbf52},
    {"y_log2_x_plus_one", RUN(y_log2_x_plus_one(v.b, v.a, e)), 0x8396609d4bf72a85},
    {"arctangent", RUN(arctangent(v.b, v.a, e)), 0x0ea5968c91aeb20b},
    {"sine_and_cosine", RUN(sine_and_cosine(v.a, e)), 0x15a04797df37049b},
    {"tangent", RUN(tangent(v.a, e)), 0xec6ad7e2c5fdb560},
    {"binary32 add", RUN(add(v.a32, v.b32, e)), 0xe31d284b687334bd},
    {"binary32 divide", RUN(divide(v.a32, v.b32, e)), 0x42882331b7875c7a},
    {"binary32 reciprocal", RUN(reciprocal(v.a32)), 0xc6c418b702f055fb},
    {"binary32 reciprocal_square_root", RUN(reciprocal_square_root(v.a32)), 0x69b220a70ce824d9},
    {"binary64 multiply", RUN(multiply(v.a64, v.b64, e)), 0x3d9f719021bfa8b6},
    {"binary64 square_root", RUN(square_root(v.a64, e)), 0x64278dc7aab3af0a},
    {"binary64 to_binary32", RUN(to_binary32(v.a64, e)), 0x9927e1e5088504dd},
    {"binary64 to_int32", RUN(uint64_t(to_int32(v.a64, e.rounding, e))), 0x443d143c83b1f48e},
};

}  // namespace

TEST_CASE("Floating-point results are the same bits on every host", "[float]") {
  for (const auto& row : rows) {
    Generator g(1);
    Digest digest;
    for (int i = 0; i < 20'000; ++i) {
      Operands v;
      v.a = edgy_float80(g);
      if (g.one_in(2)) v.a.sign_exponent = uint16_t((v.a.sign_exponent & 0x8000) | (0x3fff - 70 + g.below(135)));
      v.b = edgy_partner(g, v.a);
      v.a32 = edgy<Binary32>(g);
      v.b32 = edgy_partner(g, v.a32);
      v.a64 = edgy<Binary64>(g);
      v.b64 = edgy_partner(g, v.a64);
      auto e = Environment::from_control_word(uint16_t(g.next() & 0xf3f));
      row.run(v, e, digest);
      digest.add(e.status());
    }
    INFO(row.name << ": 0x" << hex(digest.value(), 16));
    CHECK(digest.value() == row.expected);
  }
}
