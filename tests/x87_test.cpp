// The x87 instructions: what they do with stack, status word, pointers and memory images. That their numbers are right is proven
// in float_x87_test.cpp; x87_native_test.cpp runs every row of the table against the processor underneath.
#include <array>
#include <catch2/catch.hpp>
#include <set>

#include "tests/x87_bench.h"

using namespace matryoshka;
using fp::Float80;

namespace {

Float80 real(double value) {
  fp::Environment e;
  return fp::load(__builtin_bit_cast(fp::Binary64, value), e);
}
std::vector<Float80> reals(const std::vector<double>& values) {
  std::vector<Float80> result;
  for (double v : values) result.push_back(real(v));
  return result;
}

const Float80 indefinite = fp::float80_indefinite;
constexpr double infinity = __builtin_inf();
constexpr double quiet_nan = __builtin_nan("");
constexpr uint16_t masked = 0x37f, unmasked = 0x340;

std::string text(Float80 a) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%04x:%016llx", a.sign_exponent, static_cast<unsigned long long>(a.significand));
  return buffer;
}
std::string text(const std::vector<Float80>& stack) {
  std::string result;
  for (Float80 a : stack) result += text(a) + " ";
  return result;
}

struct Case {
  const char* code;
  const char* what;
  uint16_t control;
  std::vector<double> before;
  std::vector<Float80> after;
  uint16_t status;  // without TOP
};

template <size_t N>
void check(const Case (&table)[N]) {
  X87Bench b;
  for (const Case& c : table) {
    b.restart(c.control);
    b.set_stack(reals(c.before));
    INFO(c.code << "  " << c.what);
    REQUIRE(b.step(c.code));
    INFO("left " << text(b.stack()));
    CHECK(b.stack() == c.after);
    CHECK((b.x87.status & ~top_bits) == c.status);
    CHECK(b.x87.top() == (8 - c.after.size()) % 8);
  }
}

}  // namespace

// ---- Numbers

TEST_CASE("x87 arithmetic takes its operands in the order of the manual", "[x87]") {
  const Case cases[] = {
      {"d8 c2", "fadd st, st(2)", masked, {10, 2, 4}, reals({14, 2, 4}), 0},
      {"d8 ca", "fmul st, st(2)", masked, {10, 2, 4}, reals({40, 2, 4}), 0},
      {"d8 e2", "fsub st, st(2)", masked, {10, 2, 4}, reals({6, 2, 4}), 0},
      {"d8 ea", "fsubr st, st(2)", masked, {10, 2, 4}, reals({-6, 2, 4}), 0},
      {"d8 f2", "fdiv st, st(2)", masked, {10, 2, 4}, reals({2.5, 2, 4}), 0},
      {"d8 fa", "fdivr st, st(2)", masked, {8, 2, 4}, reals({0.5, 2, 4}), 0},
      {"dc c2", "fadd st(2), st", masked, {10, 2, 4}, reals({10, 2, 14}), 0},
      {"dc e2", "fsubr st(2), st", masked, {10, 2, 4}, reals({10, 2, 6}), 0},
      {"dc ea", "fsub st(2), st", masked, {10, 2, 4}, reals({10, 2, -6}), 0},
      {"dc f2", "fdivr st(2), st", masked, {10, 2, 4}, reals({10, 2, 2.5}), 0},
      {"dc fa", "fdiv st(2), st", masked, {8, 2, 4}, reals({8, 2, 0.5}), 0},
      {"de c1", "faddp", masked, {10, 2, 4}, reals({12, 4}), 0},
      {"de c9", "fmulp", masked, {10, 2, 4}, reals({20, 4}), 0},
      {"de e1", "fsubrp", masked, {10, 2, 4}, reals({8, 4}), 0},
      {"de e9", "fsubp", masked, {10, 2, 4}, reals({-8, 4}), 0},
      {"de f1", "fdivrp", masked, {10, 2, 4}, reals({5, 4}), 0},
      {"de f9", "fdivp", masked, {8, 2, 4}, reals({0.25, 4}), 0},
      {"de c0", "faddp st(0), st writes, then pops", masked, {10, 2}, reals({2}), 0},
      {"d9 e0", "fchs", masked, {10, 2}, reals({-10, 2}), 0},
      {"d9 e1", "fabs", masked, {-10, 2}, reals({10, 2}), 0},
      {"d9 fa", "fsqrt", masked, {9, 2}, reals({3, 2}), 0},
      {"d9 fc", "frndint", masked, {2.75, 2}, reals({3, 2}), PE | C1},
      {"d9 fd", "fscale", masked, {3, 2}, reals({12, 2}), 0},
      {"d9 f4", "fxtract", masked, {12}, reals({1.5, 3}), 0},
      {"d9 f8", "fprem: 17 = 5 * 3 + 2, quotient 101b", masked, {17, 3}, reals({2, 3}), C0 | C1},
      {"d9 f5", "fprem1: 17 = 6 * 3 - 1, quotient 110b", masked, {17, 3}, reals({-1, 3}), C0 | C3},
      {"d9 f0", "f2xm1", masked, {1}, reals({1}), PE},
      {"d9 f1", "fyl2x: 3 log2(8)", masked, {8, 3, 5}, reals({9, 5}), PE},
      {"d9 fe", "fsin", masked, {0}, reals({0}), 0},
      {"d9 fb", "fsincos pushes the cosine", masked, {0}, reals({1, 0}), 0},
      {"d9 f2", "fptan pushes 1", masked, {0}, reals({1, 0}), 0},
      {"d9 f3", "fpatan of 0 / 1", masked, {1, 0}, reals({0}), 0},
      {"d9 fe", "fsin beyond 2^63 only sets C2", masked, {0x1p63}, reals({0x1p63}), C2},
      {"d9 fb", "fsincos too", masked, {0x1p63}, reals({0x1p63}), C2},
      {"d9 ca", "fxch st(2)", masked, {1, 2, 3}, reals({3, 2, 1}), 0},
      {"dd d2", "fst st(2)", masked, {1, 2, 3}, reals({1, 2, 1}), 0},
      {"dd da", "fstp st(2)", masked, {1, 2, 3}, reals({2, 1}), 0},
      {"d9 c1", "fld st(1)", masked, {1, 2}, reals({2, 1, 2}), 0},
      {"d9 e8", "fld1", masked, {5}, reals({1, 5}), 0},
      {"d9 ee", "fldz", masked, {5}, reals({0, 5}), 0},
      {"d9 d0", "fnop", masked, {5}, reals({5}), 0},
  };
  check(cases);
}

TEST_CASE("FPREM comes to the remainder in steps while C2 is set", "[x87]") {
  X87Bench b;
  b.set_stack(reals({0x1p200, 3}));
  unsigned steps = 0;
  do {
    REQUIRE(b.step("d9 f8"));
    ++steps;
  } while (b.x87.status & C2 && steps < 10);
  CHECK(b.stack() == reals({1, 3}));  // 2^200 mod 3
  CHECK(steps > 1);
}

TEST_CASE("Precision control rounds arithmetic and the square root, and nothing else", "[x87]") {
  const Float80 third64 = {0xaaaaaaaaaaaaaaab, 0x3ffd}, third53 = {0xaaaaaaaaaaaaa800, 0x3ffd},
                third24 = {0xaaaaab0000000000, 0x3ffd};
  const struct {
    uint16_t control;
    Float80 quotient;
  } cases[] = {{0x37f, third64}, {0x27f, third53}, {0x07f, third24}, {0x17f, third64}};
  X87Bench b;
  for (const auto& c : cases) {
    b.restart(c.control);
    b.set_stack(reals({1, 3}));
    REQUIRE(b.step("d8 f1"));
    CHECK(b.stack()[0] == c.quotient);
    REQUIRE(b.step("d9 eb"));  // fldpi
    CHECK(b.stack()[0] == Float80{0xc90fdaa22168c235, 0x4000});
  }
}

// ---- Memory operands

TEST_CASE("x87 memory operands in all their formats", "[x87]") {
  const struct {
    const char* code;
    const char* what;
    std::vector<uint8_t> memory;
    std::vector<double> before, after;
  } cases[] = {
      {"d9 02", "fld m32", {0, 0, 0xc0, 0x3f}, {}, {1.5}},
      {"dd 02", "fld m64", {0, 0, 0, 0, 0, 0, 0xf8, 0xbf}, {}, {-1.5}},
      {"db 2a", "fld m80", {0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0x3f}, {}, {1.5}},
      {"df 02", "fild m16", {0xfe, 0xff}, {}, {-2}},
      {"db 02", "fild m32", {0, 0, 0, 0x80}, {}, {-2147483648.0}},
      {"df 2a", "fild m64", {0, 0, 0, 0, 1, 0, 0, 0}, {}, {4294967296.0}},
      {"df 22", "fbld", {0x34, 0x12, 0, 0, 0, 0, 0, 0, 0, 0x80}, {}, {-1234}},
      {"d8 02", "fadd m32", {0, 0, 0xc0, 0x3f}, {2}, {3.5}},
      {"d8 22", "fsub m32", {0, 0, 0xc0, 0x3f}, {2}, {0.5}},
      {"d8 2a", "fsubr m32", {0, 0, 0xc0, 0x3f}, {2}, {-0.5}},
      {"dc 0a", "fmul m64", {0, 0, 0, 0, 0, 0, 0xf8, 0xbf}, {2}, {-3}},
      {"dc 32", "fdiv m64", {0, 0, 0, 0, 0, 0, 0xf8, 0xbf}, {3}, {-2}},
      {"dc 3a", "fdivr m64", {0, 0, 0, 0, 0, 0, 0xf8, 0xbf}, {1}, {-1.5}},
      {"de 02", "fiadd m16", {0xff, 0xff}, {3}, {2}},
      {"da 2a", "fisubr m32", {7, 0, 0, 0}, {3}, {4}},
      {"da 3a", "fidivr m32", {7, 0, 0, 0}, {2}, {3.5}},
  };
  X87Bench b;
  for (const auto& c : cases) {
    b.restart();
    b.machine.put_bytes(b.data_at, c.memory);
    b.set_stack(reals(c.before));
    INFO(c.what);
    REQUIRE(b.step(c.code));
    CHECK(b.stack() == reals(c.after));
    CHECK((b.x87.status & ~top_bits) == 0);
  }
}

TEST_CASE("x87 stores: what goes to memory, and what becomes of the stack", "[x87]") {
  using Bytes = std::vector<uint8_t>;
  const Bytes untouched(10, 0xa5);
  auto memory = [&](Bytes written) {
    Bytes all = untouched;
    std::copy(written.begin(), written.end(), all.begin());
    return all;
  };
  const struct {
    const char* code;
    const char* what;
    uint16_t control;
    std::vector<double> before;
    Bytes memory;
    unsigned left;
    uint16_t status;
  } cases[] = {
      {"d9 12", "fst m32", masked, {1.5, 7}, memory({0, 0, 0xc0, 0x3f}), 2, 0},
      {"d9 1a", "fstp m32", masked, {1.5, 7}, memory({0, 0, 0xc0, 0x3f}), 1, 0},
      {"dd 1a", "fstp m64", masked, {-1.5}, memory({0, 0, 0, 0, 0, 0, 0xf8, 0xbf}), 0, 0},
      {"db 3a", "fstp m80", masked, {1.5}, memory({0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0x3f}), 0, 0},
      {"df 12", "fist m16", masked, {-2.5}, memory({0xfe, 0xff}), 1, PE},
      {"df 1a", "fistp m16, rounding down", 0x77f, {-2.5}, memory({0xfd, 0xff}), 0, PE | C1},
      {"df 0a", "fisttp m16 truncates all the same", 0x77f, {-2.5}, memory({0xfe, 0xff}), 0, PE},
      {"db 1a", "fistp m32", masked, {65536}, memory({0, 0, 1, 0}), 0, 0},
      {"df 3a", "fistp m64", masked, {0x1p40}, memory({0, 0, 0, 0, 0, 1, 0, 0}), 0, 0},
      {"df 1a", "what does not fit is the integer indefinite", masked, {65536}, memory({0, 0x80}), 0, IE},
      {"df 32", "fbstp", masked, {-1234}, memory({0x34, 0x12, 0, 0, 0, 0, 0, 0, 0, 0x80}), 0, 0},
      {"df 32", "fbstp of infinity", masked, {infinity}, memory({0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff}), 0, IE},
      {"df 1a", "unmasked: memory and stack stay", 0x37e, {65536}, untouched, 1, IE | ES_B},
      {"d9 1a", "unmasked overflow: likewise", 0x377, {0x1p200}, untouched, 1, OE | ES_B},
      {"d9 1a", "masked overflow", masked, {0x1p200}, memory({0, 0, 0x80, 0x7f}), 0, OE | PE | C1},
      {"d9 1a", "an unmasked inexact result is stored", 0x35f, {0.1}, memory({0xcd, 0xcc, 0xcc, 0x3d}), 0, PE | C1 | ES_B},
      {"d9 1a", "empty: the real indefinite", masked, {}, memory({0, 0, 0xc0, 0xff}), 0, IE | SF},
      {"db 3a", "empty, 80 bits", masked, {}, memory({0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff}), 0, IE | SF},
      {"df 32", "empty, decimal", masked, {}, memory({0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff}), 0, IE | SF},
      {"df 1a", "empty, integer", masked, {}, memory({0, 0x80}), 0, IE | SF},
      {"df 1a", "empty, unmasked", 0x37e, {}, untouched, 0, IE | SF | ES_B},
  };
  X87Bench b;
  for (const auto& c : cases) {
    b.restart(c.control);
    b.machine.put_bytes(b.data_at, untouched);
    b.set_stack(reals(c.before));
    const unsigned top = b.x87.top();
    const bool pops = c.code[3] != '1' || c.code[4] != '2';
    const bool stands = !(c.status & 0x80) || (c.status & 0x3f) == PE;
    INFO(c.what);
    REQUIRE(b.step(c.code));
    Bytes found;
    for (unsigned i = 0; i < 10; ++i) found.push_back(b.machine.get<uint8_t>(b.data_at + i));
    CHECK(found == c.memory);
    CHECK(b.stack().size() == c.left);
    CHECK(b.x87.top() == ((top + (pops && stands)) & 7));
    CHECK((b.x87.status & ~top_bits) == c.status);
  }
}

// ---- Comparisons

TEST_CASE("x87 comparisons set C3, C2 and C0", "[x87]") {
  const Case cases[] = {
      {"d8 d1", "fcom: 2 > 1", masked, {2, 1}, reals({2, 1}), 0},
      {"d8 d1", "fcom: 1 < 2", masked, {1, 2}, reals({1, 2}), C0},
      {"d8 d1", "fcom: 2 = 2", masked, {2, 2}, reals({2, 2}), C3},
      {"d8 d1", "fcom: unordered is invalid", masked, {quiet_nan, 2}, reals({quiet_nan, 2}), C3 | C2 | C0 | IE},
      {"d8 d9", "fcomp", masked, {2, 2}, reals({2}), C3},
      {"de d9", "fcompp", masked, {2, 2, 7}, reals({7}), C3},
      {"d8 d9", "fcomp, unmasked: no pop", 0x37e, {quiet_nan, 2}, reals({quiet_nan, 2}), C3 | C2 | C0 | IE | ES_B},
      {"dd e1", "fucom: a quiet NaN is not", masked, {quiet_nan, 2}, reals({quiet_nan, 2}), C3 | C2 | C0},
      {"dd e9", "fucomp", masked, {1, 2}, reals({2}), C0},
      {"da e9", "fucompp", masked, {1, 2, 7}, reals({7}), C0},
      {"d9 e4", "ftst", masked, {-1}, reals({-1}), C0},
      {"d9 e5", "fxam: +normal", masked, {1}, reals({1}), C2},
      {"d9 e5", "fxam: -normal", masked, {-1}, reals({-1}), C2 | C1},
      {"d9 e5", "fxam: zero", masked, {0}, reals({0}), C3},
      {"d9 e5", "fxam: infinity", masked, {-infinity}, reals({-infinity}), C2 | C0 | C1},
      {"d9 e5", "fxam: NaN", masked, {quiet_nan}, reals({quiet_nan}), C0},
      {"d9 e5", "fxam: empty", masked, {}, {}, C3 | C0},
  };
  check(cases);
}

TEST_CASE("FCOMI and its relatives set ZF, PF and CF and clear the others", "[x87]") {
  const struct {
    const char* code;
    std::vector<double> before;
    uint16_t control;
    uint64_t flags;
    unsigned left;
    uint16_t exceptions;
  } cases[] = {
      {"db f1", {2, 1}, masked, 0, 2, 0},
      {"db f1", {1, 2}, masked, rflags::CF, 2, 0},
      {"db f1", {2, 2}, masked, rflags::ZF, 2, 0},
      {"db f1", {quiet_nan, 2}, masked, rflags::ZF | rflags::PF | rflags::CF, 2, IE},
      {"db e9", {quiet_nan, 2}, masked, rflags::ZF | rflags::PF | rflags::CF, 2, 0},
      {"df f1", {1, 2}, masked, rflags::CF, 1, 0},
      {"df e9", {1, 2}, masked, rflags::CF, 1, 0},
      {"df f1", {quiet_nan, 2}, 0x37e, rflags::status, 2, IE},  // unmasked: flags and stack stay
  };
  X87Bench b;
  for (const auto& c : cases) {
    b.restart(c.control);
    b.cpu.state.flags.set_bits(rflags::status);
    b.x87.status = C1;
    b.set_stack(reals(c.before));
    INFO(c.code);
    REQUIRE(b.step(c.code));
    CHECK(b.cpu.state.flags.bits() == c.flags);
    CHECK(b.stack().size() == c.left);
    CHECK((b.x87.status & (0x3f | C1)) == c.exceptions);
  }
}

TEST_CASE("FCMOVcc moves by the flags", "[x87]") {
  constexpr uint64_t CF = rflags::CF, ZF = rflags::ZF, PF = rflags::PF;
  const struct {
    const char* code;
    std::set<uint64_t> moves;
  } cases[] = {
      {"da c1", {CF, CF | ZF, CF | PF, CF | ZF | PF}},
      {"da c9", {ZF, CF | ZF, ZF | PF, CF | ZF | PF}},
      {"da d1", {CF, ZF, CF | ZF, CF | PF, ZF | PF, CF | ZF | PF}},
      {"da d9", {PF, CF | PF, ZF | PF, CF | ZF | PF}},
      {"db c1", {0, ZF, PF, ZF | PF}},
      {"db c9", {0, CF, PF, CF | PF}},
      {"db d1", {0, PF}},
      {"db d9", {0, CF, ZF, CF | ZF}},
  };
  X87Bench b;
  for (const auto& c : cases)
    for (unsigned i = 0; i < 8; ++i) {
      const uint64_t flags = (i & 1 ? CF : 0) | (i & 2 ? ZF : 0) | (i & 4 ? PF : 0);
      b.restart();
      b.cpu.state.flags.set_bits(flags);
      b.set_stack(reals({1, 2}));
      INFO(c.code << " flags " << flags);
      REQUIRE(b.step(c.code));
      CHECK(b.stack() == reals({c.moves.count(flags) ? 2.0 : 1.0, 2}));
    }
}

// ---- "Stack Overflow or Underflow Exception (#IS)"

TEST_CASE("An empty source register is the indefinite value, if that is masked", "[x87]") {
  const std::vector<Float80> one{indefinite}, two{indefinite, indefinite};
  const Case cases[] = {
      {"d8 c1", "fadd st, st(1): ST(0) is empty", masked, {}, one, IE | SF},
      {"d9 fa", "fsqrt", masked, {}, one, IE | SF},
      {"d9 e0", "fchs", masked, {}, one, IE | SF},
      {"d9 c0", "fld st(0)", masked, {}, one, IE | SF},
      {"d9 c9", "fxch: the other one is there", masked, {5}, {indefinite, real(5)}, IE | SF},
      {"db c1", "fcmovnb: ST(1) is empty", masked, {5}, one, IE | SF},
      {"d9 f8", "fprem: ST(1) is empty", masked, {5}, one, IE | SF},
      {"d9 f4", "fxtract pushes", masked, {}, two, IE | SF},
      {"d9 fb", "fsincos pushes", masked, {}, two, IE | SF},
      {"d9 f3", "fpatan pops", masked, {5}, one, IE | SF},
      {"de c1", "faddp pops", masked, {5}, one, IE | SF},
      {"d8 d1", "fcom: unordered", masked, {5}, reals({5}), IE | SF | C3 | C2 | C0},
  };
  X87Bench b;
  for (const Case& c : cases) {
    b.restart();
    b.x87.status = C1;
    b.set_stack(reals(c.before));
    INFO(c.code << "  " << c.what);
    REQUIRE(b.step(c.code));
    INFO("left " << text(b.stack()));
    CHECK(b.stack() == c.after);
    CHECK((b.x87.status & ~top_bits) == c.status);
  }
}

TEST_CASE("Unmasked stack faults change nothing but the status word", "[x87]") {
  const std::vector<double> full{1, 2, 3, 4, 5, 6, 7, 8};
  const struct {
    const char* code;
    std::vector<double> before;
    uint16_t status;
  } cases[] = {
      {"d8 c1", {}, IE | SF},        {"de c1", {5}, IE | SF},       {"d9 c9", {5}, IE | SF},       {"d9 f4", {}, IE | SF},
      {"d9 f3", {5}, IE | SF},       {"dd d9", {}, IE | SF},        {"df e9", {5}, IE | SF},       {"d9 e8", full, IE | SF | C1},
      {"d9 c0", full, IE | SF | C1}, {"db 2a", full, IE | SF | C1}, {"df 02", full, IE | SF | C1}, {"d9 f4", full, IE | SF | C1},
      {"d9 f2", full, IE | SF | C1},
  };
  X87Bench b;
  for (const auto& c : cases) {
    b.restart(0x37e);
    b.set_stack(reals(c.before));
    const X87State before = b.x87;
    INFO(c.code);
    REQUIRE(b.step(c.code));
    CHECK(b.stack() == reals(c.before));
    CHECK(b.x87.valid == before.valid);
    CHECK(b.x87.status == (before.status | c.status | ES_B));
  }
}

TEST_CASE("A full stack: the indefinite value is pushed over the oldest", "[x87]") {
  X87Bench b;
  for (const char* code : {"d9 e8", "d9 c0", "db 2a", "df 02"}) {
    b.restart();
    b.set_stack(reals({1, 2, 3, 4, 5, 6, 7, 8}));
    INFO(code);
    REQUIRE(b.step(code));
    std::vector<Float80> after = reals({1, 2, 3, 4, 5, 6, 7});
    after.insert(after.begin(), indefinite);
    CHECK(b.stack() == after);
    CHECK((b.x87.status & ~top_bits) == (IE | SF | C1));
  }
}

// ---- Unmasked exceptions

TEST_CASE("Unmasked exceptions found in the operands leave the stack alone, later ones do not", "[x87]") {
  const Float80 overflowed = {uint64_t{1} << 63, 0x3fff + 16384 - 24576};  // 2^16384, rebiased
  const struct {
    const char* code;
    uint16_t control;
    std::vector<Float80> before, after;
    uint16_t status;
  } cases[] = {
      {"de f9", 0x37b, reals({0, 1}), reals({0, 1}), ZE | ES_B},  // 1 / 0
      {"d9 fa", 0x37e, reals({-1}), reals({-1}), IE | ES_B},      // the root of -1
      {"d9 e8", unmasked, {}, reals({1}), 0},
      {"de c9", 0x377, {{uint64_t{1} << 63, 0x3fff + 8192}, {uint64_t{1} << 63, 0x3fff + 8192}}, {overflowed}, OE | ES_B},
      {"de f9", 0x35f, reals({3, 1}), {{0xaaaaaaaaaaaaaaab, 0x3ffd}}, PE | C1 | ES_B},
  };
  X87Bench b;
  for (const auto& c : cases) {
    b.restart(c.control);
    b.set_stack(c.before);
    INFO(c.code);
    REQUIRE(b.step(c.code));
    INFO("left " << text(b.stack()));
    CHECK(b.stack() == c.after);
    CHECK((b.x87.status & ~top_bits) == c.status);
  }
}

TEST_CASE("A pending exception stops every waiting instruction before it has done anything", "[x87]") {
  unsigned waiting = 0, not_waiting = 0;
  X87Bench b;
  for (const Row& row : rows) {
    if (row.family != Family::x87) continue;
    b.restart();
    b.set_stack(reals({1, 2, 3}));
    b.x87.control = 0x37e;
    b.x87.status |= IE | ES_B;
    const X87State before = b.x87;
    INFO(row.mnemonic << " " << row.encoding);
    const bool ok = b.step(x87_bytes(row, 1));
    if (x87_waits(row)) {
      ++waiting;
      CHECK_FALSE(ok);
      CHECK(b.cpu.fault.vector == MF_vector);
      CHECK(b.x87.status == before.status);
      CHECK(b.x87.valid == before.valid);
      CHECK(b.x87.instruction_pointer == 0);
    } else {
      ++not_waiting;
      CHECK(ok);
    }
  }
  CHECK(not_waiting == 10);
  CHECK(waiting > 130);
}

TEST_CASE("A fault of the memory operand leaves the x87 state as it was", "[x87]") {
  unsigned count = 0;
  X87Bench b;
  for (const Row& row : rows) {
    if (row.family != Family::x87 || row.operands[0] != 'M') continue;
    ++count;
    b.restart();
    b.set_stack(reals({1, 2, 3}));
    b.cpu.state.gpr[RDX] = 0x800000000000;  // not canonical
    const X87State before = b.x87;
    INFO(row.mnemonic << " " << row.encoding);
    CHECK_FALSE(b.step(x87_bytes(row, 0)));
    CHECK(b.cpu.fault.vector == GP_vector);
    CHECK(b.x87.status == before.status);
    CHECK(b.x87.control == before.control);
    CHECK(b.x87.valid == before.valid);
    CHECK(b.x87.instruction_pointer == 0);
    CHECK(b.x87.data_pointer == 0);
    for (unsigned i = 0; i < 8; ++i) CHECK(b.x87.registers[i] == before.registers[i]);
  }
  CHECK(count > 50);
}

// ---- Words

TEST_CASE("Control and status words", "[x87]") {
  X87Bench b;
  b.machine.put(b.data_at, uint16_t{0xffff});
  REQUIRE(b.step("d9 2a"));  // fldcw
  CHECK(b.x87.control == 0x1f7f);
  b.x87.status = IE | SF | C3;
  b.machine.put(b.data_at, uint16_t{0x0000});
  REQUIRE(b.step("d9 2a"));
  CHECK(b.x87.control == 0x0040);
  CHECK(b.x87.status == (IE | SF | C3 | ES_B));  // unmasking makes an old flag pending
  REQUIRE(b.step("d9 3a"));                      // fnstcw
  CHECK(b.machine.get<uint16_t>(b.data_at) == 0x0040);
  REQUIRE(b.step("dd 3a"));  // fnstsw m16
  CHECK(b.machine.get<uint16_t>(b.data_at) == (IE | SF | C3 | ES_B));
  b.cpu.state.gpr[RAX] = 0x1122334455667788;
  REQUIRE(b.step("df e0"));  // fnstsw ax
  CHECK(b.cpu.state.gpr[RAX] == (0x1122334455660000 | IE | SF | C3 | ES_B));
  REQUIRE(b.step("db e2"));  // fnclex
  CHECK(b.x87.status == C3);
  b.set_stack(reals({1, 2}));
  REQUIRE(b.step("db e3"));  // fninit
  CHECK(b.x87.control == 0x37f);
  CHECK(b.x87.status == 0);
  CHECK(b.x87.valid == 0);
  CHECK(b.x87.registers[6] == real(1));  // contents stay
}

TEST_CASE("FINCSTP, FDECSTP, FFREE and FFREEP move TOP and tags and no more", "[x87]") {
  X87Bench b;
  b.set_stack(reals({1, 2, 3}));  // in R5, R6, R7
  b.x87.status |= C1 | C3;
  REQUIRE(b.step("d9 f7"));
  CHECK(b.x87.status == (6 << 11 | C3));
  CHECK(b.x87.valid == 0xe0);
  REQUIRE(b.step("d9 f6"));
  CHECK(b.x87.status == (5 << 11 | C3));
  REQUIRE(b.step("dd c1"));  // ffree st(1)
  CHECK(b.x87.valid == 0xa0);
  REQUIRE(b.step("df c2"));  // ffreep st(2)
  CHECK(b.x87.valid == 0x00);
  CHECK(b.x87.top() == 6);
}

TEST_CASE("Second encodings do what the first do", "[x87]") {
  const char* pairs[][2] = {{"dd da", "df d2"}, {"dd da", "df da"}, {"dd da", "d9 da"}, {"d8 d2", "dc d2"},
                            {"d8 da", "dc da"}, {"d8 da", "de d2"}, {"d9 ca", "dd ca"}, {"d9 ca", "df ca"}};
  X87Bench first, second;
  for (const auto& pair : pairs) {
    for (X87Bench* b : {&first, &second}) b->restart(), b->set_stack(reals({1, 2, 3}));
    INFO(pair[0] << " and " << pair[1]);
    REQUIRE(first.step(pair[0]));
    REQUIRE(second.step(pair[1]));
    CHECK(first.stack() == second.stack());
    CHECK(first.x87.status == second.x87.status);
  }
  X87Bench b;
  REQUIRE(b.step("d9 da"));  // FSTP1 of an empty ST(0) only pops
  CHECK(b.x87.status == 1 << 11);
  CHECK(b.x87.valid == 0);
}

TEST_CASE("Encodings that no processor knows", "[x87]") {
  const struct {
    unsigned opcode, first, last;
  } holes[] = {{0xd9, 0xd1, 0xd7}, {0xd9, 0xe2, 0xe3}, {0xd9, 0xe6, 0xe7}, {0xd9, 0xef, 0xef}, {0xda, 0xe0, 0xe8},
               {0xda, 0xea, 0xff}, {0xdb, 0xe5, 0xe7}, {0xdb, 0xf8, 0xff}, {0xdd, 0xf0, 0xff}, {0xde, 0xd8, 0xd8},
               {0xde, 0xda, 0xdf}, {0xdf, 0xe1, 0xe7}, {0xdf, 0xf8, 0xff}};
  const std::pair<unsigned, unsigned> memory_holes[] = {{0xd9, 1}, {0xdb, 4}, {0xdb, 6}, {0xdd, 5}};
  X87Bench b;
  for (unsigned opcode = 0xd8; opcode <= 0xdf; ++opcode)
    for (unsigned modrm = 0; modrm < 256; ++modrm) {
      if (modrm < 0xc0 && (modrm & 0xc7) != 2) continue;
      bool hole = false;
      for (const auto& h : holes) hole |= modrm >= 0xc0 && opcode == h.opcode && modrm >= h.first && modrm <= h.last;
      for (const auto& h : memory_holes) hole |= modrm < 0xc0 && opcode == h.first && (modrm >> 3) == h.second;
      Instruction in;
      INFO(std::hex << opcode << " " << modrm);
      CHECK(b.decodes({static_cast<uint8_t>(opcode), static_cast<uint8_t>(modrm)}, in) == !hole);
    }
}

// ---- Pointers

TEST_CASE("FIP, FOP and FDP name the last instruction that is not a control instruction", "[x87]") {
  using Mode = CpuBench::Mode;
  const struct {
    Mode mode;
    const char* code;
    uint16_t opcode;
    uint64_t data_pointer;
    uint16_t data_selector;
  } cases[] = {
      {Mode::long64, "d8 c1", 0x0c1, 0, 0},
      {Mode::long64, "2e d8 c1", 0x0c1, 0, 0},
      {Mode::long64, "df 02", 0x702, 0x200000, 0x10},
      {Mode::long64, "df 42 08", 0x742, 0x200008, 0x10},
      {Mode::long64, "df 82 00 01 00 00", 0x782, 0x200100, 0x10},
      {Mode::long64, "df 45 00", 0x745, 0x200000, 0x18},
      {Mode::long64, "df 04 24", 0x704, 0x200000, 0x18},
      {Mode::long64, "df 05 10 00 00 00", 0x705, 0x100016, 0x10},
      {Mode::long64, "df 42 00", 0x742, 0x200000, 0x10},  // longer than need be
      {Mode::long64, "df 82 08 00 00 00", 0x782, 0x200008, 0x10},
      {Mode::long64, "64 df 02", 0x702, 0x200000, 0x20},
      {Mode::long64, "36 df 02", 0x702, 0x200000, 0x10},  // counts for nothing in 64-bit mode
      {Mode::protected32, "36 df 02", 0x702, 0x200000, 0x18},
      {Mode::protected32, "2e df 02", 0x702, 0x200000, 0x08},
      {Mode::protected32, "3e df 45 00", 0x745, 0x200000, 0x10},
      {Mode::protected32, "df 05 00 00 20 00", 0x705, 0x200000, 0x10},
      {Mode::protected16, "df 02", 0x702, 0x7800, 0x18},        // [bp+si]
      {Mode::protected16, "df 46 10", 0x746, 0x4010, 0x18},     // [bp+16]
      {Mode::protected16, "df 06 34 12", 0x706, 0x1234, 0x10},  // [1234h]
  };
  for (const auto& c : cases) {
    X87Bench b(c.mode);
    CpuState& s = b.cpu.state;
    s.segment[SS].selector = 0x18;
    s.segment[FS].selector = 0x20;
    const bool small = c.mode == Mode::protected16;
    s.gpr[RBP] = small ? 0x4000 : b.data_at;
    s.gpr[RSI] = small ? 0x3800 : b.data_at;
    s.gpr[RSP] = b.data_at;
    b.cpu.forget_caches();
    b.set_stack(reals({1, 2}));
    const uint64_t at = s.rip;
    INFO(c.code);
    // Through the run loop, which knows where the instruction is.
    b.machine.execute(c.code);
    CHECK(b.x87.opcode == c.opcode);
    CHECK(b.x87.instruction_pointer == at);
    CHECK(b.x87.instruction_selector == 0x08);
    CHECK(b.x87.data_pointer == c.data_pointer);
    CHECK(b.x87.data_selector == c.data_selector);
  }
}

TEST_CASE("Control instructions leave the pointers alone", "[x87]") {
  X87Bench b;
  for (const char* code : {"db e2", "d9 3a", "dd 3a", "df e0", "d9 32", "9b", "db e0", "db e1", "db e4"}) {
    b.restart();
    b.x87.opcode = 0x123, b.x87.instruction_pointer = 0x456, b.x87.data_pointer = 0x789;
    INFO(code);
    REQUIRE(b.step(code));
    CHECK(b.x87.opcode == 0x123);
    CHECK(b.x87.instruction_pointer == 0x456);
    CHECK(b.x87.data_pointer == 0x789);
  }
}

// ---- Images

namespace {

void set_registers(X87State& x87) {
  x87.registers[5] = real(1.5), x87.registers[6] = real(0), x87.registers[7] = indefinite, x87.registers[0] = real(7);
}
void set_image_state(X87State& x87) {
  set_registers(x87);
  x87.control = 0x0340;
  x87.status = 0x2800 | C3 | IE | ES_B;  // TOP = 5
  x87.valid = 0xe0;
  x87.opcode = 0x5a5;
  x87.instruction_pointer = 0x12345678, x87.instruction_selector = 0x0008;
  x87.data_pointer = 0x23456789, x87.data_selector = 0x0010;
}

}  // namespace

TEST_CASE("FNSTENV: four layouts, then all exceptions are masked", "[x87]") {
  using enum CpuBench::Mode;
  const struct {
    CpuBench::Mode mode;
    const char* code;
    bool virtual_8086;
    unsigned bytes;
    std::vector<uint32_t> words;
  } cases[] = {
      {protected32, "d9 32", false, 4, {0xffff0340, 0xffffe881, 0xffff93ff, 0x12345678, 0x05a50008, 0x23456789, 0xffff0010}},
      {long64, "d9 32", false, 4, {0xffff0340, 0xffffe881, 0xffff93ff, 0x12345678, 0x05a50008, 0x23456789, 0xffff0010}},
      {protected32, "66 d9 32", false, 2, {0x0340, 0xe881, 0x93ff, 0x5678, 0x0008, 0x6789, 0x0010}},
      // Addresses are 12345678h + 80h and 23456789h + 100h.
      {real16, "67 66 d9 32", false, 4, {0xffff0340, 0xffffe881, 0xffff93ff, 0xffff56f8, 0x012345a5, 0xffff6889, 0x02345000}},
      {real16, "67 d9 32", false, 2, {0x0340, 0xe881, 0x93ff, 0x56f8, 0x45a5, 0x6889, 0x5000}},
      {protected16, "67 d9 32", true, 2, {0x0340, 0xe881, 0x93ff, 0x56f8, 0x45a5, 0x6889, 0x5000}},
  };
  for (const auto& c : cases) {
    X87Bench b(c.mode);
    if (c.virtual_8086) b.cpu.state.system_flags |= rflags::VM;
    const uint64_t at = c.mode == real16 || c.mode == protected16 ? 0x4000 : b.data_at;
    b.cpu.state.gpr[RDX] = at;
    set_image_state(b.x87);
    INFO(c.code << " " << c.virtual_8086);
    REQUIRE(b.step(c.code));
    auto check_words = [&] {
      for (unsigned i = 0; i < 7; ++i) {
        INFO("word " << i);
        CHECK((c.bytes == 2 ? b.machine.get<uint16_t>(at + 2 * i) : b.machine.get<uint32_t>(at + 4 * i)) == c.words[i]);
      }
    };
    check_words();
    CHECK((c.bytes == 2 ? b.machine.get<uint16_t>(at + 14) : b.machine.get<uint32_t>(at + 28)) == 0);
    CHECK(b.x87.control == 0x037f);
    CHECK(b.x87.status == (0x2800 | C3 | IE));

    // And back, where it goes on as before: flags that are no longer masked are pending again.
    b.x87 = {};
    set_registers(b.x87);
    REQUIRE(b.step(std::string(c.code).replace(std::string(c.code).size() - 2, 2, "22")));
    CHECK(b.x87.control == 0x0340);
    CHECK(b.x87.status == (0x2800 | C3 | IE | ES_B));
    CHECK(b.x87.valid == 0xe0);
    REQUIRE(b.step(c.code));
    check_words();
  }
}

TEST_CASE("FNSAVE stores, initializes, and FRSTOR brings it all back", "[x87]") {
  X87Bench b;
  for (const char* prefix : {"", "66 "}) {
    b.restart();
    b.machine.put(b.data_at, std::array<uint8_t, 128>{});
    set_image_state(b.x87);
    const X87State before = b.x87;
    const unsigned environment = *prefix ? 14 : 28;
    REQUIRE(b.step(std::string(prefix) + "dd 32"));
    CHECK(b.machine.get<uint64_t>(b.data_at + environment) == 0xc000000000000000);  // ST(0) first
    CHECK(b.machine.get<uint16_t>(b.data_at + environment + 8) == 0x3fff);
    CHECK(b.machine.get<uint64_t>(b.data_at + environment + 30) == real(7).significand);  // ST(3) is R0
    CHECK(b.machine.get<uint32_t>(b.data_at + environment + 80) == 0);
    CHECK(b.x87.control == 0x37f);
    CHECK(b.x87.status == 0);
    CHECK(b.x87.valid == 0);
    for (Float80& r : b.x87.registers) r = {};
    REQUIRE(b.step(std::string(prefix) + "dd 22"));
    CHECK(b.x87.control == before.control);
    CHECK(b.x87.status == before.status);
    CHECK(b.x87.valid == before.valid);
    for (unsigned i = 0; i < 8; ++i) CHECK(b.x87.registers[i] == before.registers[i]);
    CHECK(b.x87.instruction_pointer == (*prefix ? 0x5678u : 0x12345678u));
    CHECK(b.x87.opcode == (*prefix ? 0u : 0x5a5u));  // the narrow protected-mode image has no room for it
  }
}

TEST_CASE("An image that ends on a missing page is not written at all", "[x87]") {
  X87Bench b;
  constexpr uint64_t boundary = 0x400000, start = boundary - 50;
  b.machine.put(0x12000 + 8 * (boundary >> 21), uint64_t{0});
  b.cpu.forget_caches();
  b.cpu.state.gpr[RDX] = start;
  for (unsigned i = 0; i < 50; i += 2) b.machine.put(start + i, uint16_t{0xa5a5});
  set_image_state(b.x87);
  CHECK_FALSE(b.step("dd 32"));
  CHECK(b.cpu.fault.vector == 14);
  CHECK(b.cpu.fault.address == boundary);
  CHECK(b.x87.valid == 0xe0);
  for (unsigned i = 0; i < 50; i += 2) CHECK(b.machine.get<uint16_t>(start + i) == 0xa5a5);
}

// ---- #NM and #MF, delivered

TEST_CASE("#NM by CR0.EM, CR0.TS and CR0.MP", "[x87]") {
  // The vectors of #NM and #MF point at 0:2000h and 0:3000h.
  const struct {
    const char* code;
    uint64_t cr0;
    uint64_t rip;
  } cases[] = {
      {"d9 e8", 0, 0x102},        {"d9 e8", cr0::MP, 0x102},  {"d9 e8", cr0::TS, 0x2000}, {"d9 e8", cr0::EM, 0x2000},
      {"db e3", cr0::TS, 0x2000}, {"db e3", cr0::EM, 0x2000}, {"df e0", cr0::EM, 0x2000}, {"9b", 0, 0x101},
      {"9b", cr0::TS, 0x101},     {"9b", cr0::EM, 0x101},     {"9b", cr0::MP, 0x101},     {"9b", cr0::MP | cr0::TS, 0x2000},
  };
  for (const auto& c : cases) {
    X87Bench b(CpuBench::Mode::real16);
    b.cpu.state.idtr = {0x3ff, 0};
    b.machine.put(4 * NM_vector, uint32_t{0x2000});
    b.machine.put(4 * MF_vector, uint32_t{0x3000});
    b.cpu.state.cr0 |= c.cr0;
    b.cpu.derive();
    INFO(c.code << " with " << std::hex << c.cr0);
    b.machine.execute(c.code);
    CHECK(b.cpu.state.rip == c.rip);
  }
}

TEST_CASE("An unmasked exception waits for a waiting instruction: #MF with CR0.NE, else FERR# and a frozen processor", "[x87]") {
  for (uint64_t ne : {uint64_t{0}, cr0::NE}) {
    X87Bench b(CpuBench::Mode::real16);
    b.cpu.state.idtr = {0x3ff, 0};
    b.cpu.state.cr0 |= ne;
    b.machine.put(4 * MF_vector, uint32_t{0x3000});
    b.x87.control = 0x37b;
    b.machine.execute("d9 ee d9 e8 de f1 90 df e0 90 9b", 7);  // fldz, fld1, fdivrp: 1 / 0; fnstsw ax
    CHECK(b.machine.numeric_errors == (ne ? 0u : 1u));
    CHECK(b.cpu.idle() == !ne);
    if (ne) {
      CHECK(b.cpu.state.rip == 0x3000);
      CHECK(b.machine.get<uint16_t>(b.cpu.state.gpr[RSP]) == 0x10a);  // of the FWAIT
    } else {
      CHECK(b.cpu.state.rip == 0x10a);
    }
    CHECK((b.cpu.state.gpr[RAX] & 0xffff) == (ZE | ES_B | 6 << 11));
    CHECK(b.x87.instruction_pointer == 0x104);
    CHECK(b.stack() == reals({1, 0}));
  }
}

TEST_CASE("IGNNE# holds for the exception that is pending, and not for the next", "[x87]") {
  X87Bench b(CpuBench::Mode::real16);
  b.x87.control = 0x37b;
  b.machine.execute("d9 ee d9 e8 de f1", 3);  // 1 / 0
  b.cpu.ignore_numeric_error();
  b.machine.execute("9b");
  CHECK(b.machine.numeric_errors == 0);
  b.machine.execute("db e2 d9 ee d9 e8 de f1", 4);  // FNCLEX, and once more
  b.machine.execute("9b");
  CHECK(b.machine.numeric_errors == 1);
}
