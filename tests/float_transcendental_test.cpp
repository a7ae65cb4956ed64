// The transcendental instructions: special operands by table; error in units of the last place against MPFR, where it
// is there (MATRYOSHKA_MPFR); flags, C1 and specials against the processor underneath, whose last bit may differ.
//
// The figures, by function and region of operands: run with "[figures]".
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "tests/float_x87.h"
#ifdef MATRYOSHKA_MPFR
#include <mpfr.h>
#endif

using namespace matryoshka::fp;

namespace {

constexpr uint64_t one = uint64_t{1} << 63;
constexpr Float80 infinite = float80(false, 0x7fff, one), zero_ = float80_zero, one_ = float80_one;
constexpr Float80 half = float80(false, 0x3ffe, one), tiny = float80(false, 0x3fff - 8000, one), denormal_ = float80(false, 0, 1);
constexpr Float80 beyond = float80(true, 0x3fff + 63, one);

#define ST0(expression)                 \
  [](Outcome& o, Environment& e) {      \
    const Float80 x = o.st0, y = o.st1; \
    (void)y;                            \
    o.st0 = expression;                 \
  }

struct Special {
  const char* text;
  Ours ours;
  Float80 st0, st1;
  uint16_t control;
  Float80 result;
  uint16_t status;
};

const Special specials[] = {
    {"sin 0", ST0(sine(x, e).value), negate(zero_), zero_, 0x37f, negate(zero_), 0},
    {"cos 0", ST0(cosine(x, e).value), zero_, zero_, 0x37f, one_, 0},
    {"sin inf", ST0(sine(x, e).value), infinite, zero_, 0x37f, float80_indefinite, invalid},
    {"sin 1", ST0(sine(x, e).value), one_, zero_, 0x37f, float80(false, 0x3ffe, 0xd76aa47848677021), inexact | C1},
    {"tan 1", ST0(tangent(x, e).value), one_, zero_, 0x37f, float80(false, 0x3fff, 0xc75922e5f71d2dc5), inexact},
    {"cos of pi/2 rounded down is what is left of 66 bits", ST0(cosine(x, e).value), float80(false, 0x3fff, 0xc90fdaa22168c234),
     zero_, 0x37f, float80(false, 0x3fbf, 0xc000000000000000), inexact | C1},
    {"sin 2^62", ST0(sine(x, e).value), float80(false, 0x3fff + 62, one), zero_, 0x37f, float80(true, 0x3ffe, 0xb506a9dd559cf157),
     inexact},
    {"sin -2^63 is out of range", ST0(sine(x, e).out_of_range ? x : zero_), beyond, zero_, 0x37f, beyond, 0},
    {"sin x < x, rounding down", ST0(sine(x, e).value), tiny, zero_, 0x77f, float80(false, 0x3ffe - 8000, ~uint64_t{0}), inexact},
    {"sin x < x, to nearest", ST0(sine(x, e).value), tiny, zero_, 0x37f, tiny, inexact | C1},
    {"tan x > x, rounding up", ST0(tangent(x, e).value), tiny, zero_, 0xb7f, float80(false, 0x3fff - 8000, one + 1),
     inexact | C1},
    {"cos x < 1, rounding to zero", ST0(cosine(x, e).value), tiny, zero_, 0xf7f, float80(false, 0x3ffe, ~uint64_t{0}), inexact},
    {"arctan 1/1 is pi/4", ST0(arctangent(y, x, e)), one_, one_, 0x37f, float80(false, 0x3ffe, 0xc90fdaa22168c235), inexact | C1},
    {"arctan inf/-inf is 3/4 pi", ST0(arctangent(y, x, e)), negate(infinite), infinite, 0x37f,
     float80(false, 0x4000, 0x96cbe3f9990e91a8), inexact | C1},
    {"arctan -0/-1 is -pi", ST0(arctangent(y, x, e)), negate(one_), negate(zero_), 0xf7f,
     float80(true, 0x4000, 0xc90fdaa22168c234), inexact},
    {"arctan 0/0 is 0", ST0(arctangent(y, x, e)), zero_, negate(zero_), 0x37f, negate(zero_), 0},
    {"arctan 1/inf is 0", ST0(arctangent(y, x, e)), infinite, one_, 0x37f, zero_, 0},
    {"2^1 - 1", ST0(power_of_two_minus_one(x, e)), one_, zero_, 0x37f, one_, inexact},
    {"2^-1 - 1", ST0(power_of_two_minus_one(x, e)), negate(one_), zero_, 0x37f, negate(half), inexact},
    {"2^-inf - 1", ST0(power_of_two_minus_one(x, e)), negate(infinite), zero_, 0x37f, negate(one_), 0},
    {"2^(1/2) - 1", ST0(power_of_two_minus_one(x, e)), half, zero_, 0x37f, float80(false, 0x3ffd, 0xd413cccfe7799211), inexact},
    {"1 * log2(0) divides by zero", ST0(y_log2_x(y, x, e)), negate(zero_), one_, 0x37f, negate(infinite), zero_divide},
    {"0 * log2(0) is invalid", ST0(y_log2_x(y, x, e)), zero_, zero_, 0x37f, float80_indefinite, invalid},
    {"inf * log2(0) is -inf", ST0(y_log2_x(y, x, e)), zero_, infinite, 0x37f, negate(infinite), 0},
    {"inf * log2(1) is invalid", ST0(y_log2_x(y, x, e)), one_, infinite, 0x37f, float80_indefinite, invalid},
    {"log2(-1) is invalid", ST0(y_log2_x(y, x, e)), negate(one_), one_, 0x37f, float80_indefinite, invalid},
    {"log2(1) is 0", ST0(y_log2_x(y, x, e)), one_, negate(one_), 0x37f, negate(zero_), 0},
    {"log2(1/2) is -1", ST0(y_log2_x(y, x, e)), half, one_, 0x37f, negate(one_), inexact},
    {"denormal * log2(1/2) underflows", ST0(y_log2_x(y, x, e)), half, denormal_, 0x37f, negate(denormal_),
     inexact | underflow | denormal},
    {"log2(1 + 0) is 0", ST0(y_log2_x_plus_one(y, x, e)), negate(zero_), one_, 0x37f, negate(zero_), 0},
    {"inf * log2(1 + 0) is invalid", ST0(y_log2_x_plus_one(y, x, e)), zero_, infinite, 0x37f, float80_indefinite, invalid},
    {"log2(1 + 2^-8000) is 2^-8000 log2(e)", ST0(y_log2_x_plus_one(y, x, e)), tiny, one_, 0x37f,
     float80(false, 0x3fff - 8000, 0xb8aa3b295c17f0bc), inexact | C1},
};

}  // namespace

TEST_CASE("Transcendental instructions of special values", "[float]") {
  for (const auto& special : specials) {
    Outcome before;
    before.st0 = special.st0;
    before.st1 = special.st1;
    const Outcome after = run_ours(special.ours, Writes::register_, before, special.control);
    INFO(special.text << ": " << text(after));
    CHECK(after.st0 == special.result);
    CHECK(after.status == special.status);
  }
}

#if defined(HAVE_X87) || defined(MATRYOSHKA_MPFR)
namespace {

enum Function { f2xm1, fyl2x, fyl2xp1, fpatan, fsin, fcos, fptan, fsincos };

struct Instruction {
  const char* name;
  Ours ours;
#ifdef HAVE_X87
  Theirs theirs;
#endif
};

void push(Outcome& o, const Trigonometric& result) {
  if (result.out_of_range) {
    o.status = C2;
    return;
  }
  o.st1 = result.value;
  o.st0 = result.pushed;
}
void replace(Outcome& o, const Trigonometric& result) {
  o.st0 = result.value;
  if (result.out_of_range) o.status = C2;
}

#ifdef HAVE_X87
#define BOTH(instruction, ours) \
  { instruction, ours, X87(instruction) }
#else
#define BOTH(instruction, ours) \
  { instruction, ours }
#endif
// In the order of Function. The two-operand instructions pop; what then stands in ST(1) says nothing.
const Instruction instructions[] = {
    BOTH("f2xm1", [](Outcome& o, Environment& e) { o.st0 = power_of_two_minus_one(o.st0, e); }),
    BOTH("fyl2x", [](Outcome& o, Environment& e) { o.st0 = y_log2_x(o.st1, o.st0, e); }),
    BOTH("fyl2xp1", [](Outcome& o, Environment& e) { o.st0 = y_log2_x_plus_one(o.st1, o.st0, e); }),
    BOTH("fpatan", [](Outcome& o, Environment& e) { o.st0 = arctangent(o.st1, o.st0, e); }),
    BOTH("fsin", [](Outcome& o, Environment& e) { replace(o, sine(o.st0, e)); }),
    BOTH("fcos", [](Outcome& o, Environment& e) { replace(o, cosine(o.st0, e)); }),
    BOTH("fptan", [](Outcome& o, Environment& e) { push(o, tangent(o.st0, e)); }),
    BOTH("fsincos", [](Outcome& o, Environment& e) { push(o, sine_and_cosine(o.st0, e)); }),
};

}  // namespace
#endif

#ifdef MATRYOSHKA_MPFR
namespace {

// Operands of a region, the magnitude of ST(0) between two powers of two. Ordinary numbers, either sign unless the
// function has no use for it.
struct Region {
  Function function;
  const char* name;
  int from, to;
  bool hard = false;  // as near a multiple of half pi as operands come
};

Float80 operand(Generator& g, const Region& region) {
  const int exponent = region.from + int(g.below(uint64_t(region.to - region.from)));
  const bool sign = region.function != fyl2x && g.one_in(2);
  return float80(sign, 0x3fff + exponent, edgy_bits(g) | one);
}
Float80 second_operand(Generator& g, const Region& region) {
  const int reach = region.function == fpatan ? 200 : 60;
  const int center = region.function == fpatan ? region.from : 0;
  const int exponent = std::clamp(center + int(g.below(uint64_t(reach))) - reach / 2, -16382, 16383);
  const bool sign = g.one_in(2);
  return float80(sign, 0x3fff + exponent, edgy_bits(g) | one);
}

const Region regions[] = {
    {f2xm1, "f2xm1   2^-16382..2^-60", -16382, -60},
    {f2xm1, "f2xm1   2^-60..1", -60, 0},
    {fyl2x, "fyl2x   near 1", -1, 1},
    {fyl2x, "fyl2x   2^-16382..2^16384", -16382, 16384},
    {fyl2xp1, "fyl2xp1 2^-16000..2^-60", -16000, -60},
    {fyl2xp1, "fyl2xp1 2^-60..1/4", -60, -2},
    {fyl2xp1, "fyl2xp1 1/4..1 (undefined)", -2, 0},
    {fpatan, "fpatan  x near 1", -3, 4},
    {fpatan, "fpatan  x 2^-16000..2^16000", -16000, 16000},
    {fsin, "fsin    2^-16382..2^-30", -16382, -30},
    {fsin, "fsin    2^-30..1", -30, 0},
    {fsin, "fsin    1..2^10", 0, 10},
    {fsin, "fsin    2^10..2^63", 10, 63},
    {fcos, "fcos    2^-40..1", -40, 0},
    {fcos, "fcos    1..2^10", 0, 10},
    {fcos, "fcos    2^10..2^63", 10, 63},
    {fptan, "fptan   2^-16382..2^-30", -16382, -30},
    {fptan, "fptan   2^-30..1", -30, 0},
    {fptan, "fptan   1..2^10", 0, 10},
    {fptan, "fptan   2^10..2^63", 10, 63},
    {fsin, "fsin    nearest to k pi/2", 0, 62, true},
    {fcos, "fcos    nearest to k pi/2", 0, 62, true},
    {fptan, "fptan   nearest to k pi/2", 0, 62, true},
};

// The function's own value; FPTAN leaves it under the 1.0.
Float80 value_of(Function function, const Outcome& o) { return function == fptan ? o.st1 : o.st0; }

class Real {
 public:
  Real() { mpfr_init2(value_, precision); }
  explicit Real(Float80 a) : Real() {
    mpfr_set_uj_2exp(value_, a.significand, std::max(a.exponent(), 1) - 0x3fff - 63, MPFR_RNDN);
    if (a.sign()) mpfr_neg(value_, value_, MPFR_RNDN);
  }
  ~Real() { mpfr_clear(value_); }
  Real(const Real&) = delete;
  mpfr_ptr get() { return value_; }

 private:
  static constexpr int precision = 400;
  mpfr_t value_;
};

// The operand less the nearest multiple of the 66-bit half pi; returns the quadrant.
unsigned reduce(Real& x) {
  Real half_pi, quotient;
  mpfr_set_str(half_pi.get(), "0x3.243f6a8885a308d3p-1", 0, MPFR_RNDN);
  mpfr_div(quotient.get(), x.get(), half_pi.get(), MPFR_RNDN);
  mpfr_rint(quotient.get(), quotient.get(), MPFR_RNDN);
  const auto quadrant = unsigned(mpfr_get_sj(quotient.get(), MPFR_RNDN)) & 3;
  mpfr_mul(quotient.get(), quotient.get(), half_pi.get(), MPFR_RNDN);
  mpfr_sub(x.get(), x.get(), quotient.get(), MPFR_RNDN);
  return quadrant;
}

void reference(Function function, Real& result, Float80 st0, Float80 st1) {
  Real x(st0), y(st1);
  switch (function) {
    case f2xm1: {
      Real ln2;
      mpfr_const_log2(ln2.get(), MPFR_RNDN);
      mpfr_mul(x.get(), x.get(), ln2.get(), MPFR_RNDN);
      mpfr_expm1(result.get(), x.get(), MPFR_RNDN);
      return;
    }
    case fyl2x: mpfr_log2(x.get(), x.get(), MPFR_RNDN); break;
    case fyl2xp1: {
      Real ln2;
      mpfr_const_log2(ln2.get(), MPFR_RNDN);
      mpfr_log1p(x.get(), x.get(), MPFR_RNDN);
      mpfr_div(x.get(), x.get(), ln2.get(), MPFR_RNDN);
      break;
    }
    case fpatan: mpfr_atan2(result.get(), y.get(), x.get(), MPFR_RNDN); return;
    default: {
      unsigned quadrant = reduce(x);
      if (function == fcos) ++quadrant;
      Real sine, cosine;
      mpfr_sin_cos(sine.get(), cosine.get(), x.get(), MPFR_RNDN);
      mpfr_set(result.get(), (quadrant & 1 ? cosine : sine).get(), MPFR_RNDN);
      if (function == fptan) mpfr_div(result.get(), result.get(), (quadrant & 1 ? sine : cosine).get(), MPFR_RNDN);
      if (quadrant & (function == fptan ? 1 : 2)) mpfr_neg(result.get(), result.get(), MPFR_RNDN);
      return;
    }
  }
  mpfr_mul(result.get(), x.get(), y.get(), MPFR_RNDN);
}

// (value - truth) in units of the last place of a result this large; positive is away from zero.
double error_in_ulps(Float80 value, Real& truth) {
  if (classify(value) == Class::infinity) return 0;
  Real difference(value);
  const bool negative = mpfr_sgn(truth.get()) < 0;
  mpfr_sub(difference.get(), difference.get(), truth.get(), MPFR_RNDN);
  const long exponent = std::max(mpfr_get_exp(truth.get()) - 1, mpfr_exp_t(-16382));
  mpfr_mul_2si(difference.get(), difference.get(), 63 - exponent, MPFR_RNDN);
  return mpfr_get_d(difference.get(), MPFR_RNDN) * (negative ? -1 : 1);
}

// The operand nearest to a multiple of the 66-bit half pi: almost nothing is left of it after the reduction.
Float80 near_multiple(Generator& g, const Region& region) {
  Real product;
  mpfr_set_str(product.get(), "0x3.243f6a8885a308d3p-1", 0, MPFR_RNDN);
  const uint64_t bits = 1 + g.below(uint64_t(region.to));
  mpfr_mul_ui(product.get(), product.get(), (g.below(uint64_t{1} << bits)) | 1, MPFR_RNDN);
  const long exponent = mpfr_get_exp(product.get()) - 1;
  mpfr_mul_2si(product.get(), product.get(), 63 - exponent, MPFR_RNDN);
  mpfr_rint(product.get(), product.get(), MPFR_RNDZ);
  return float80(g.one_in(2), 0x3fff + int(exponent), mpfr_get_uj(product.get(), MPFR_RNDZ));
}

struct Errors {
  double nearest = 0;       // the largest, to nearest
  double past = 0;          // the largest on the wrong side, in the directed modes
  double directed = 0;      // the largest on the right side
  double theirs = 0;        // the processor's, to nearest
  uint64_t other_bits = 0;  // results to nearest that differ from the processor's
};

Errors measure(const Region& region, uint64_t count) {
  Generator g(seed());
  Errors errors;
  for (uint64_t i = 0; i < count; ++i) {
    Outcome before;
    before.st0 = region.hard ? near_multiple(g, region) : operand(g, region);
    before.st1 = second_operand(g, region);
    Real truth;
    reference(region.function, truth, before.st0, before.st1);
    const uint16_t control = uint16_t(0x37f | (i & 1 ? g.below(4) << 10 : 0));
    const Outcome ours = run_ours(instructions[region.function].ours, Writes::register_, before, control);
    const double error = error_in_ulps(value_of(region.function, ours), truth);
    const bool negative = mpfr_sgn(truth.get()) < 0;
    switch (Rounding(control >> 10 & 3)) {
      case Rounding::nearest: errors.nearest = std::max(errors.nearest, std::abs(error)); break;
      case Rounding::zero:
      case Rounding::down:
      case Rounding::up: {
        const bool outward = (control >> 10 & 3) == (negative ? 1 : 2);
        const double signed_error = outward ? error : -error;
        errors.past = std::max(errors.past, -signed_error);
        errors.directed = std::max(errors.directed, signed_error);
      }
    }
#ifdef HAVE_X87
    if ((control & 0xc00) != 0) continue;
    Outcome theirs = before;
    instructions[region.function].theirs(theirs, control);
    errors.theirs = std::max(errors.theirs, std::abs(error_in_ulps(value_of(region.function, theirs), truth)));
    if (!(value_of(region.function, theirs) == value_of(region.function, ours))) ++errors.other_bits;
#endif
  }
  return errors;
}

}  // namespace

TEST_CASE("Transcendental instructions are right to half a unit", "[float]") {
  for (const auto& region : regions) {
    const Errors errors = measure(region, cases(2'000));
    INFO("seed " << seed() << ", " << region.name);
    CHECK(errors.nearest < 0.5001);
    CHECK(errors.directed < 1.0001);
    CHECK(errors.past < 0.0001);
  }
}

// FLOATING_POINT_PAGE=docs/floating-point.md build/native/tests/unit-tests "[figures]" makes the page anew.
TEST_CASE("Errors of the transcendental instructions in ulp", "[.][figures]") {
  const uint64_t count = cases(100'000);
  const char* path = std::getenv("FLOATING_POINT_PAGE");
  std::FILE* page = path ? std::fopen(path, "w") : stdout;
  REQUIRE(page);
  std::fprintf(
      page,
      "# Floating point\n\n"
      "x87 and SSE arithmetic, conversions, comparisons, FPREM, FSQRT, FSCALE, BCD and the environment are exact in every "
      "rounding and precision mode, flags included: [coverage.md](coverage.md) counts the cases beside a processor. The "
      "transcendental instructions are within the unit in the last place that Intel's manual allows (\"Transcendental "
      "Instruction Accuracy\"). Made by `FLOATING_POINT_PAGE=docs/floating-point.md build/native/tests/unit-tests "
      "\"[figures]\"`; do not edit.\n\n"
      "%llu cases to a line, half of them rounded to nearest, against MPFR with 400 bits; the trigonometric ones relative to "
      "the reduction by a pi of 66 bits. Errors are the largest met, in units of the last place: of results to nearest, of "
      "results in the directed modes, and of the processor that the tests ran on, to nearest. The last column is how many of "
      "its results differ from ours, which is its last bit.\n\n"
      "| operands | nearest | directed | processor | differing |\n|---|---|---|---|---|\n",
      static_cast<unsigned long long>(count));
  for (const auto& region : regions) {
    const Errors errors = measure(region, count);
    CHECK(errors.nearest < 1);
    CHECK(errors.directed < 1.0001);
    std::fprintf(page, "| %s | %.6f | %.6f | %.6f | %.4f %% |\n", region.name, errors.nearest, errors.directed, errors.theirs,
                 100.0 * double(errors.other_bits) / double(count / 2));
  }
  if (path) std::fclose(page);
}
#endif

#ifdef HAVE_X87
namespace {

bool is_number(Float80 a) { return classify(a) == Class::normal || classify(a) == Class::denormal; }

int64_t distance(Float80 a, Float80 b) {
  if (a.sign() != b.sign()) return INT64_MAX;
  // Across a power of two significands are 2^63 apart and neighbours all the same.
  const auto ordinal = [](Float80 f) { return (__int128(f.exponent()) << 63) + __int128(f.significand & ~one); };
  const __int128 d = ordinal(a) - ordinal(b);
  return int64_t(d < 0 ? -d : d);
}

}  // namespace

// Every operand class and mask. Where the result is a computed number the last place may differ, and with it C1.
TEST_CASE("Transcendental instructions agree with the processor's up to the last place", "[float][differential]") {
  for (const auto& instruction : instructions) {
    Generator g(seed());
    const uint64_t count = cases(50'000);
    uint64_t differences = 0, last_places = 0;
    for (uint64_t i = 0; i < count; ++i) {
      Outcome before;
      before.st0 = edgy_float80(g);
      if (g.one_in(2)) before.st0.sign_exponent = uint16_t((before.st0.sign_exponent & 0x8000) | (0x3fff - 70 + g.below(135)));
      before.st1 = edgy_partner(g, before.st0);
      const uint16_t control = edgy_control(g);
      Outcome theirs = before;
      instruction.theirs(theirs, control);
      Outcome ours = run_ours(instruction.ours, Writes::register_, before, control);
      const bool pops = &instruction > instructions && &instruction <= instructions + fpatan;
      if (pops) theirs.st1 = ours.st1;
      theirs.status &= 0x3f | C1 | C2;
      if (ours == theirs) continue;
      uint16_t status_difference = ours.status ^ theirs.status;
      if (is_number(ours.st0) || is_number(ours.st1)) status_difference &= ~C1;
      // At the ends of the range the bits beyond the last place decide whether the result overflows or is tiny.
      if (ours.st0.exponent() >= 0x7ffe) status_difference &= ~overflow;
      if (ours.st0.exponent() <= 1) status_difference &= ~underflow;
      if (status_difference == 0 && distance(ours.st0, theirs.st0) <= 1 && distance(ours.st1, theirs.st1) <= 1) {
        ++last_places;
        continue;
      }
      if (++differences <= 8)
        UNSCOPED_INFO(instruction.name << " control " << hex(control, 4) << "\n  before " << text(before) << "\n  cpu    "
                                       << text(theirs) << "\n  ours   " << text(ours));
    }
    INFO("seed " << seed() << ", " << count << " cases of " << instruction.name << ", " << last_places << " last places differ");
    CHECK(differences == 0);
  }
}
#endif
