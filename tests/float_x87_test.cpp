// The x87 library against the processor underneath: every basic operation, all roundings, precisions and masks, results
// and flags. The table in front needs no processor; it shows the special values a reader may want to look up.
#include "tests/float_x87.h"

#include <catch2/catch.hpp>

using namespace matryoshka::fp;

namespace {

constexpr uint64_t one = uint64_t{1} << 63;  // the significand 1.0
constexpr Float80 infinite = float80(false, 0x7fff, one);
constexpr Float80 quiet_nan = float80(false, 0x7fff, 0xc000000000000123),
                  signaling_nan = float80(false, 0x7fff, 0x8000000000000456);
constexpr Float80 largest = float80(false, 0x7ffe, ~uint64_t{0}), smallest_normal = float80(false, 1, one);
constexpr Float80 smallest = float80(false, 0, 1), unnormal = float80(false, 0x4000, 1), pseudo_denormal = float80(false, 0, one);
constexpr Float80 two = float80(false, 0x4000, one), three = float80(false, 0x4000, one | one >> 1);

struct Special {
  const char* text;
  Ours ours;
  Float80 st0, st1;
  uint16_t control;
  Float80 result;
  uint16_t status;
};

#define ST0(expression)                 \
  [](Outcome& o, Environment& e) {      \
    const Float80 a = o.st0, b = o.st1; \
    (void)a, (void)b;                   \
    o.st0 = expression;                 \
  }

const Special specials[] = {
    {"inf - inf is invalid", ST0(subtract(a, b, e)), infinite, infinite, 0x37f, float80_indefinite, invalid},
    {"1 - 1 is +0, rounding down -0", ST0(subtract(a, b, e)), float80_one, float80_one, 0x77f, negate(float80_zero), 0},
    {"0 * inf is invalid", ST0(multiply(a, b, e)), float80_zero, infinite, 0x37f, float80_indefinite, invalid},
    {"1 / 0 is inf", ST0(divide(a, b, e)), float80_one, negate(float80_zero), 0x37f, negate(infinite), zero_divide},
    {"0 / 0 is invalid, not a division by zero", ST0(divide(a, b, e)), float80_zero, float80_zero, 0x37f, float80_indefinite,
     invalid},
    {"denormal / 0 raises no DE", ST0(divide(a, b, e)), smallest, float80_zero, 0x37f, infinite, zero_divide},
    {"1 / 3 to 24 bits, up", ST0(divide(a, b, e)), float80_one, three, 0x87f & ~0x300, float80(false, 0x3ffd, 0xaaaaab0000000000),
     inexact | C1},
    {"1 / 3 to 53 bits, down", ST0(divide(a, b, e)), float80_one, three, 0x67f, float80(false, 0x3ffd, 0xaaaaaaaaaaaaa800),
     inexact},
    {"quiet beats signaling", ST0(add(a, b, e)), signaling_nan, quiet_nan, 0x37f, quiet_nan, invalid},
    {"a signaling NaN is quieted", ST0(add(a, b, e)), signaling_nan, two, 0x37f, float80(false, 0x7fff, 0xc000000000000456),
     invalid},
    {"the larger significand wins", ST0(add(a, b, e)), quiet_nan, float80(true, 0x7fff, 0xe000000000000000), 0x37f,
     float80(true, 0x7fff, 0xe000000000000000), 0},
    {"unnormals are invalid", ST0(add(a, b, e)), unnormal, quiet_nan, 0x37f, float80_indefinite, invalid},
    {"a pseudo-denormal counts as denormal", ST0(add(a, b, e)), pseudo_denormal, float80_zero, 0x37f, smallest_normal, denormal},
    {"overflow goes to inf", ST0(add(a, b, e)), largest, largest, 0x37f, infinite, overflow | inexact | C1},
    {"overflow rounding to zero stops short", ST0(add(a, b, e)), largest, largest, 0xf7f, largest, overflow | inexact},
    {"overflow to 24 bits stops shorter", ST0(add(a, b, e)), largest, largest, 0xc7f, float80(false, 0x7ffe, 0xffffff0000000000),
     overflow | inexact},
    {"unmasked overflow is rebiased", ST0(add(a, b, e)), largest, largest, 0x377, float80(false, 0x7fff - 24576, ~uint64_t{0}),
     overflow},
    {"masked exact underflow is silent", ST0(multiply(a, b, e)), smallest_normal, float80(false, 0x3ffe, one), 0x37f,
     float80(false, 0, one >> 1), 0},
    {"unmasked exact underflow is not", ST0(multiply(a, b, e)), smallest_normal, float80(false, 0x3ffe, one), 0x36f,
     float80(false, 24576, one), underflow},
    {"unmasked DE leaves ST(0)", ST0(add(a, b, e)), smallest, two, 0x37d, smallest, denormal},
    {"the root of -0 is -0", ST0(square_root(a, e)), negate(float80_zero), two, 0x37f, negate(float80_zero), 0},
    {"the root of -1 is invalid", ST0(square_root(a, e)), negate(float80_one), two, 0x37f, float80_indefinite, invalid},
    {"2.5 rounds to even", ST0(round_to_integer(a, e)), float80(false, 0x4000, 0xa000000000000000), two, 0x37f, two, inexact},
    {"-0.5 rounds up to -0", ST0(round_to_integer(a, e)), float80(true, 0x3ffe, one), two, 0xb7f, negate(float80_zero), inexact},
    {"FSCALE of 0 by inf is invalid", ST0(scale(a, b, e)), float80_zero, infinite, 0x37f, float80_indefinite, invalid},
    {"FSCALE of inf by -inf is invalid", ST0(scale(a, b, e)), infinite, negate(infinite), 0x37f, float80_indefinite, invalid},
    {"FSCALE truncates ST(1)", ST0(scale(a, b, e)), float80_one, float80(false, 0x3fff, ~uint64_t{0}), 0x37f, two, 0},
    {"FXTRACT of 0 divides by zero", ST0(extract(a, e).exponent), float80_zero, two, 0x37f, negate(infinite), zero_divide},
    {"3 rem 2", ST0(remainder_truncated(a, b, e).value), three, two, 0x37f, float80_one, 0},
    {"3 rem 2, to nearest", ST0(remainder_nearest(a, b, e).value), three, two, 0x37f, negate(float80_one), 0},
};

}  // namespace

TEST_CASE("x87 special values", "[float]") {
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

TEST_CASE("Integer and decimal stores of what does not fit", "[float]") {
  Environment e;
  CHECK(to_int16(float80(false, 0x3fff + 15, one), e) == -32768);
  CHECK(e.raised == invalid);
  e = {};
  CHECK(to_int16(float80(true, 0x3fff + 15, one), e) == -32768);
  CHECK(e.raised == 0);
  CHECK(to_int64(quiet_nan, e) == INT64_MIN);
  CHECK(e.raised == invalid);
  CHECK(to_packed_decimal(infinite, e) == std::array<uint8_t, 10>{0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff});
  CHECK(to_packed_decimal(from_integer(-120), e) == std::array<uint8_t, 10>{0x20, 0x01, 0, 0, 0, 0, 0, 0, 0, 0x80});
}

#ifdef HAVE_X87
namespace {

struct Instruction {
  const char* name;
  Writes writes;
  uint16_t conditions;  // the condition codes to compare, besides the exception flags
  Theirs theirs;
  Ours ours;
};

using Memory = void (*)(Outcome& o, Generator& g);

void differ(const Instruction& instruction, uint64_t count, Memory memory = nullptr) {
  Generator g(seed());
  uint64_t differences = 0;
  for (uint64_t i = 0; i < count; ++i) {
    Outcome before;
    before.st0 = edgy_float80(g);
    before.st1 = edgy_partner(g, before.st0);
    for (auto& byte : before.memory) byte = 0xa5;
    if (memory) memory(before, g);
    const uint16_t control = edgy_control(g);
    Outcome theirs = before;
    instruction.theirs(theirs, control);
    theirs.status &= 0x3f | instruction.conditions;
    if (instruction.writes == Writes::load && theirs.status & ~control & denormal) continue;
    Outcome ours = run_ours(instruction.ours, instruction.writes, before, control);
    ours.status &= 0x3f | instruction.conditions;
    if (instruction.writes == Writes::memory) theirs.st0 = ours.st0, theirs.st1 = ours.st1;  // pops are the caller's
    if (ours == theirs) continue;
    if (++differences <= 8)
      UNSCOPED_INFO(instruction.name << " control " << hex(control, 4) << "\n  before " << text(before) << "\n  cpu    "
                                     << text(theirs) << "\n  ours   " << text(ours));
  }
  INFO("seed " << seed() << ", " << count << " cases of " << instruction.name);
  CHECK(differences == 0);
}

const Instruction register_instructions[] = {
    {"fadd", Writes::register_, C1, X87("fadd %%st(1), %%st"), [](Outcome& o, Environment& e) { o.st0 = add(o.st0, o.st1, e); }},
    {"fsub", Writes::register_, C1, X87("fsub %%st(1), %%st"),
     [](Outcome& o, Environment& e) { o.st0 = subtract(o.st0, o.st1, e); }},
    {"fmul", Writes::register_, C1, X87("fmul %%st(1), %%st"),
     [](Outcome& o, Environment& e) { o.st0 = multiply(o.st0, o.st1, e); }},
    {"fdiv", Writes::register_, C1, X87("fdiv %%st(1), %%st"),
     [](Outcome& o, Environment& e) { o.st0 = divide(o.st0, o.st1, e); }},
    {"fsqrt", Writes::register_, C1, X87("fsqrt"), [](Outcome& o, Environment& e) { o.st0 = square_root(o.st0, e); }},
    {"frndint", Writes::register_, C1, X87("frndint"), [](Outcome& o, Environment& e) { o.st0 = round_to_integer(o.st0, e); }},
    {"fscale", Writes::register_, C1, X87("fscale"), [](Outcome& o, Environment& e) { o.st0 = scale(o.st0, o.st1, e); }},
    {"fxtract", Writes::register_, C1, X87("fxtract"),
     [](Outcome& o, Environment& e) {
       const auto [exponent, significand] = extract(o.st0, e);
       o.st0 = significand;
       o.st1 = exponent;
     }},
    {"fprem", Writes::register_, C0 | C1 | C2 | C3, X87("fprem"),
     [](Outcome& o, Environment& e) {
       const Remainder r = remainder_truncated(o.st0, o.st1, e);
       o.st0 = r.value;
       o.status = r.condition_codes();
     }},
    {"fprem1", Writes::register_, C0 | C1 | C2 | C3, X87("fprem1"),
     [](Outcome& o, Environment& e) {
       const Remainder r = remainder_nearest(o.st0, o.st1, e);
       o.st0 = r.value;
       o.status = r.condition_codes();
     }},
    {"fcom", Writes::nothing, C0 | C1 | C2 | C3, X87("fcom %%st(1)"),
     [](Outcome& o, Environment& e) { o.status = uint16_t(condition_codes(compare(o.st0, o.st1, e)) << 8); }},
    {"fucom", Writes::nothing, C0 | C1 | C2 | C3, X87("fucom %%st(1)"),
     [](Outcome& o, Environment& e) { o.status = uint16_t(condition_codes(compare_quiet(o.st0, o.st1, e)) << 8); }},
    {"ftst", Writes::nothing, C0 | C1 | C2 | C3, X87("ftst"),
     [](Outcome& o, Environment& e) { o.status = uint16_t(condition_codes(compare_to_zero(o.st0, e)) << 8); }},
    {"fxam", Writes::nothing, C0 | C1 | C2 | C3, X87("fxam"),
     [](Outcome& o, Environment&) { o.status = uint16_t(examine(o.st0) | (o.st0.sign() ? C1 : 0)); }},
    {"fchs", Writes::register_, C1, X87("fchs"), [](Outcome& o, Environment&) { o.st0 = negate(o.st0); }},
    {"fabs", Writes::register_, C1, X87("fabs"), [](Outcome& o, Environment&) { o.st0 = absolute(o.st0); }},
};

// The popping stores pop a copy.
const Instruction store_instructions[] = {
    {"fst m32", Writes::memory, C1, X87("fsts %[memory]"),
     [](Outcome& o, Environment& e) { to_memory(o, to_binary32(o.st0, e)); }},
    {"fst m64", Writes::memory, C1, X87("fstl %[memory]"),
     [](Outcome& o, Environment& e) { to_memory(o, to_binary64(o.st0, e)); }},
    {"fist m16", Writes::memory, C1, X87("fists %[memory]"),
     [](Outcome& o, Environment& e) { to_memory(o, to_int16(o.st0, e)); }},
    {"fist m32", Writes::memory, C1, X87("fistl %[memory]"),
     [](Outcome& o, Environment& e) { to_memory(o, to_int32(o.st0, e)); }},
    {"fistp m64", Writes::memory, C1, X87("fld %%st\n fistpll %[memory]"),
     [](Outcome& o, Environment& e) { to_memory(o, to_int64(o.st0, e)); }},
    {"fisttp m16", Writes::memory, C1, X87("fld %%st\n fisttps %[memory]"),
     [](Outcome& o, Environment& e) { e.rounding = Rounding::zero, to_memory(o, to_int16(o.st0, e)); }},
    {"fisttp m64", Writes::memory, C1, X87("fld %%st\n fisttpll %[memory]"),
     [](Outcome& o, Environment& e) { e.rounding = Rounding::zero, to_memory(o, to_int64(o.st0, e)); }},
    {"fbstp", Writes::memory, C1, X87("fld %%st\n fbstp %[memory]"),
     [](Outcome& o, Environment& e) { o.memory = to_packed_decimal(o.st0, e); }},
};

void push(Outcome& o, Float80 value) {
  o.st1 = o.st0;
  o.st0 = value;
}

const Instruction load32_instructions[] = {
    {"fld m32", Writes::load, C1, X87("flds %[memory]"),
     [](Outcome& o, Environment& e) { push(o, load(in_memory<Binary32>(o), e)); }},
    {"fadd m32", Writes::register_, C1, X87("fadds %[memory]"),
     [](Outcome& o, Environment& e) { o.st0 = add(o.st0, widen(in_memory<Binary32>(o), e), e); }},
    {"fdivr m32", Writes::register_, C1, X87("fdivrs %[memory]"),
     [](Outcome& o, Environment& e) { o.st0 = divide(widen(in_memory<Binary32>(o), e), o.st0, e); }},
    {"fcom m32", Writes::nothing, C0 | C1 | C2 | C3, X87("fcoms %[memory]"),
     [](Outcome& o, Environment& e) {
       o.status = uint16_t(condition_codes(compare(o.st0, widen(in_memory<Binary32>(o), e), e)) << 8);
     }},
    {"fild m32", Writes::register_, C1, X87("fildl %[memory]"),
     [](Outcome& o, Environment&) { push(o, from_integer(in_memory<int32_t>(o))); }},
    {"fimul m32", Writes::register_, C1, X87("fimull %[memory]"),
     [](Outcome& o, Environment& e) { o.st0 = multiply(o.st0, from_integer(in_memory<int32_t>(o)), e); }},
};
const Instruction load64_instructions[] = {
    {"fld m64", Writes::load, C1, X87("fldl %[memory]"),
     [](Outcome& o, Environment& e) { push(o, load(in_memory<Binary64>(o), e)); }},
    {"fsub m64", Writes::register_, C1, X87("fsubl %[memory]"),
     [](Outcome& o, Environment& e) { o.st0 = subtract(o.st0, widen(in_memory<Binary64>(o), e), e); }},
    {"fmul m64", Writes::register_, C1, X87("fmull %[memory]"),
     [](Outcome& o, Environment& e) { o.st0 = multiply(o.st0, widen(in_memory<Binary64>(o), e), e); }},
    {"fild m64", Writes::register_, C1, X87("fildll %[memory]"),
     [](Outcome& o, Environment&) { push(o, from_integer(in_memory<int64_t>(o))); }},
};
const Instruction load_decimal_instruction = {"fbld", Writes::register_, C1, X87("fbld %[memory]"),
                                              [](Outcome& o, Environment&) { push(o, from_packed_decimal(o.memory)); }};

const Instruction constant_instructions[] = {
    {"fld1", Writes::register_, C1, X87("fld1"),
     [](Outcome& o, Environment& e) { push(o, constant(Constant::one, e.rounding)); }},
    {"fldl2t", Writes::register_, C1, X87("fldl2t"),
     [](Outcome& o, Environment& e) { push(o, constant(Constant::log2_10, e.rounding)); }},
    {"fldl2e", Writes::register_, C1, X87("fldl2e"),
     [](Outcome& o, Environment& e) { push(o, constant(Constant::log2_e, e.rounding)); }},
    {"fldpi", Writes::register_, C1, X87("fldpi"),
     [](Outcome& o, Environment& e) { push(o, constant(Constant::pi, e.rounding)); }},
    {"fldlg2", Writes::register_, C1, X87("fldlg2"),
     [](Outcome& o, Environment& e) { push(o, constant(Constant::log10_2, e.rounding)); }},
    {"fldln2", Writes::register_, C1, X87("fldln2"),
     [](Outcome& o, Environment& e) { push(o, constant(Constant::ln_2, e.rounding)); }},
    {"fldz", Writes::register_, C1, X87("fldz"),
     [](Outcome& o, Environment& e) { push(o, constant(Constant::zero, e.rounding)); }},
};

}  // namespace

TEST_CASE("x87 arithmetic and comparison equal the processor's", "[float][differential]") {
  for (const auto& instruction : register_instructions) differ(instruction, cases(300'000));
}

TEST_CASE("x87 stores equal the processor's", "[float][differential]") {
  for (const auto& instruction : store_instructions) differ(instruction, cases(300'000));
}

TEST_CASE("x87 memory operands equal the processor's", "[float][differential]") {
  for (const auto& instruction : load32_instructions)
    differ(instruction, cases(200'000), [](Outcome& o, Generator& g) { to_memory(o, edgy<Binary32>(g)); });
  for (const auto& instruction : load64_instructions)
    differ(instruction, cases(200'000), [](Outcome& o, Generator& g) { to_memory(o, edgy<Binary64>(g)); });
  differ(load_decimal_instruction, cases(200'000), [](Outcome& o, Generator& g) {
    for (int i = 0; i < 9; ++i) o.memory[i] = uint8_t(g.below(10));
    for (int i = 0; i < 9; ++i) o.memory[i] |= uint8_t(g.below(10) << 4);
    o.memory[9] = g.one_in(2) ? 0x80 : 0;
  });
}

TEST_CASE("x87 constants equal the processor's", "[float][differential]") {
  for (const auto& instruction : constant_instructions) differ(instruction, 1000);
}
#endif
