// The SSE lanes against a processor, under every MXCSR; and the special values in a table that needs none.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>

#include "tests/float_values.h"

using namespace matryoshka::fp;

namespace {

constexpr uint32_t all_masked = 0x1f80, daz = 0x40, ftz = 0x8000, towards_zero = 0x6000;
constexpr Binary32 one{0x3f800000}, infinite{0x7f800000}, largest{0x7f7fffff}, smallest_normal{0x00800000}, denormal_{0x00000001};
constexpr Binary32 half{0x3f000000}, quiet_nan{0x7fc00123}, signaling_nan{0xff800456}, plus_zero{0}, minus_zero{0x80000000};

struct Special {
  const char* text;
  Binary32 (*run)(Binary32 a, Binary32 b, Environment& e);
  Binary32 a, b;
  uint32_t mxcsr;
  Binary32 result;
  uint8_t raised;
};

const Special specials[] = {
    {"the first NaN wins", add, quiet_nan, signaling_nan, all_masked, quiet_nan, invalid},
    {"the first NaN wins, quieted", add, signaling_nan, quiet_nan, all_masked, {0xffc00456}, invalid},
    {"the only NaN wins", multiply, one, quiet_nan, all_masked, quiet_nan, 0},
    {"inf - inf is the default NaN", subtract, infinite, infinite, all_masked, {0xffc00000}, invalid},
    {"overflow goes to inf", add, largest, largest, all_masked, infinite, overflow | inexact},
    {"overflow rounding to zero stops short", add, largest, largest, all_masked | towards_zero, largest, overflow | inexact},
    {"a denormal operand", add, denormal_, plus_zero, all_masked, denormal_, denormal},
    {"a denormal operand under DAZ", add, denormal_, plus_zero, all_masked | daz, plus_zero, 0},
    {"an exact denormal result is silent", multiply, smallest_normal, half, all_masked, {0x00400000}, 0},
    {"but FTZ flushes and tells", multiply, smallest_normal, half, all_masked | ftz, plus_zero, underflow | inexact},
    {"tiny before rounding only is not tiny", multiply, {0x3f7fffff}, {0x00800001}, all_masked, smallest_normal, inexact},
    {"min of two zeros is the second", minimum, plus_zero, minus_zero, all_masked, minus_zero, 0},
    {"min with a NaN is the second, as it is", minimum, quiet_nan, signaling_nan, all_masked, signaling_nan, invalid},
    {"max with a NaN is the second", maximum, quiet_nan, one, all_masked, one, invalid},
};

}  // namespace

TEST_CASE("SSE special values", "[float]") {
  for (const auto& special : specials) {
    auto e = Environment::from_mxcsr(special.mxcsr);
    INFO(special.text);
    CHECK(text(special.run(special.a, special.b, e)) == text(special.result));
    CHECK(e.raised == special.raised);
  }
}

TEST_CASE("RCPSS and RSQRTSS stay within their error bound", "[float]") {
  Generator g(seed());
  double worst_reciprocal = 0, worst_root = 0;
  for (int i = 0; i < 200'000; ++i) {
    const Binary32 a{uint32_t(g.next()) & 0x7fffffff};
    float x, y;
    std::memcpy(&x, &a, sizeof x);
    if (classify(a) != Class::normal) continue;
    Binary32 result = reciprocal(a);
    std::memcpy(&y, &result, sizeof y);
    if (y != 0) worst_reciprocal = std::max(worst_reciprocal, std::abs(double(x) * double(y) - 1));
    result = reciprocal_square_root(a);
    std::memcpy(&y, &result, sizeof y);
    worst_root = std::max(worst_root, std::abs(std::sqrt(double(x)) * double(y) - 1));
  }
  CHECK(worst_reciprocal <= std::ldexp(1.0, -13));
  CHECK(worst_root <= std::ldexp(1.0, -13));
}

TEST_CASE("RCPSS and RSQRTSS of special values", "[float]") {
  CHECK(reciprocal({0x00000000}).bits == 0x7f800000);
  CHECK(reciprocal({0x80000001}).bits == 0xff800000);  // denormals count as zero
  CHECK(reciprocal({0x7f000000}).bits == 0x00000000);  // 2^-127 would be denormal
  CHECK(reciprocal({0xff800000}).bits == 0x80000000);
  CHECK(reciprocal({0x7f800001}).bits == 0x7fc00001);
  CHECK(reciprocal_square_root({0x80000000}).bits == 0xff800000);
  CHECK(reciprocal_square_root({0xbf800000}).bits == 0xffc00000);
  CHECK(reciprocal_square_root({0x7f800000}).bits == 0x00000000);
  CHECK(reciprocal_square_root({0x40800000}).bits == 0x3f000000);
}

#if defined(__x86_64__) && !defined(__EMSCRIPTEN__)

#include <emmintrin.h>
#include <signal.h>
#include <ucontext.h>

namespace {

// The destination after the instruction, and the exception flags.
struct Outcome {
  uint64_t value;
  uint32_t flags;
  bool operator==(const Outcome&) const = default;
};

using Theirs = Outcome (*)(uint64_t a, uint64_t b, uint32_t mxcsr);
using Ours = uint64_t (*)(uint64_t a, uint64_t b, Environment& e);

// An unmasked exception arrives as SIGFPE before the destination is written; execution goes on behind the instruction,
// with the flags as they are and everything masked.
void* resume_at;
void skip_instruction(int, siginfo_t*, void* context) {
  auto* state = static_cast<ucontext_t*>(context);
  state->uc_mcontext.gregs[REG_RIP] = reinterpret_cast<greg_t>(resume_at);
  state->uc_mcontext.fpregs->mxcsr |= 0x1f80;
}

class CatchUnmasked {
 public:
  CatchUnmasked() {
    struct sigaction action {};
    action.sa_sigaction = skip_instruction;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGFPE, &action, &before_);
  }
  ~CatchUnmasked() { sigaction(SIGFPE, &before_, nullptr); }

 private:
  struct sigaction before_;
};

// xmm0 is the destination and first operand, xmm1 the second, rax an integer destination or source.
template <bool to_integer, class Run>
Outcome observe(uint64_t a, uint64_t b, uint64_t integer, uint32_t mxcsr, Run run) {
  __m128i first = _mm_cvtsi64_si128(int64_t(a)), second = _mm_cvtsi64_si128(int64_t(b));
  constexpr uint32_t everything_masked = 0x1f80;
  run(first, second, integer, mxcsr);
  asm volatile("ldmxcsr %0" : : "m"(everything_masked));
  return {to_integer ? integer : uint64_t(_mm_cvtsi128_si64(first)), mxcsr & 0x3f};
}

#define RUN(instruction)                                                                                                \
  [](__m128i& first, __m128i second, uint64_t& integer, uint32_t& mxcsr) {                                              \
    register __m128i xmm0 asm("xmm0") = first;                                                                          \
    register __m128i xmm1 asm("xmm1") = second;                                                                         \
    register uint64_t rax asm("rax") = integer;                                                                         \
    asm volatile("lea 1f(%%rip), %%rcx\n mov %%rcx, %[resume]\n ldmxcsr %[mxcsr]\n" instruction "\n1: stmxcsr %[mxcsr]" \
                 : "+x"(xmm0), "+r"(rax), [mxcsr] "+m"(mxcsr), [resume] "=m"(resume_at)                                 \
                 : "x"(xmm1)                                                                                            \
                 : "rcx", "cc", "memory");                                                                              \
    first = xmm0;                                                                                                       \
    integer = rax;                                                                                                      \
  }

constexpr uint64_t mask32 = 0xffffffff;
constexpr uint64_t untouched = 0x5555555555555555;  // in rax before the instruction

#define LANE32(instruction)                                                      \
  [](uint64_t a, uint64_t b, uint32_t mxcsr) {                                   \
    auto o = observe<false>(a, b, 0, mxcsr, RUN(instruction " %%xmm1, %%xmm0")); \
    o.value &= mask32;                                                           \
    return o;                                                                    \
  }
#define LANE64(instruction) \
  [](uint64_t a, uint64_t b, uint32_t mxcsr) { return observe<false>(a, b, 0, mxcsr, RUN(instruction " %%xmm1, %%xmm0")); }
#define TO_INTEGER(instruction) \
  [](uint64_t a, uint64_t b, uint32_t mxcsr) { return observe<true>(a, b, untouched, mxcsr, RUN(instruction)); }
#define OURS(Bits, expression)                                     \
  [](uint64_t a_, uint64_t b_, Environment& e) -> uint64_t {       \
    Bits a{decltype(Bits::bits)(a_)}, b{decltype(Bits::bits)(b_)}; \
    (void)a, (void)b, (void)e;                                     \
    return expression;                                             \
  }

struct Instruction {
  const char* name;
  Theirs theirs;
  Ours ours;
  enum { lane, integer } destination = lane;  // what an unmasked exception leaves alone
};

template <class Format>
uint64_t all_ones(bool holds) {
  return holds ? uint64_t(decltype(Format::bits)(-1)) : 0;
}

#define COMPARISON(Format, predicate) OURS(Format, all_ones<Format>(compare_predicate(a, b, predicate, e)))
#define ZF_PF_CF "\n lahf\n movzbl %%ah, %%eax\n and $0x45, %%eax"
#define ROWS(Format, LANE, s)                                                                                                \
  {"add" s, LANE("add" s), OURS(Format, add(a, b, e).bits)}, {"sub" s, LANE("sub" s), OURS(Format, subtract(a, b, e).bits)}, \
      {"mul" s, LANE("mul" s), OURS(Format, multiply(a, b, e).bits)},                                                        \
      {"div" s, LANE("div" s), OURS(Format, divide(a, b, e).bits)},                                                          \
      {"sqrt" s, LANE("sqrt" s), OURS(Format, square_root(b, e).bits)},                                                      \
      {"min" s, LANE("min" s), OURS(Format, minimum(a, b, e).bits)},                                                         \
      {"max" s, LANE("max" s), OURS(Format, maximum(a, b, e).bits)}, {"cmpeq" s, LANE("cmpeq" s), COMPARISON(Format, 0)},    \
      {"cmplt" s, LANE("cmplt" s), COMPARISON(Format, 1)}, {"cmple" s, LANE("cmple" s), COMPARISON(Format, 2)},              \
      {"cmpunord" s, LANE("cmpunord" s), COMPARISON(Format, 3)}, {"cmpneq" s, LANE("cmpneq" s), COMPARISON(Format, 4)},      \
      {"cmpnlt" s, LANE("cmpnlt" s), COMPARISON(Format, 5)}, {"cmpnle" s, LANE("cmpnle" s), COMPARISON(Format, 6)},          \
      {"cmpord" s, LANE("cmpord" s), COMPARISON(Format, 7)},                                                                 \
      {"comi" s, TO_INTEGER("comi" s " %%xmm1, %%xmm0" ZF_PF_CF), OURS(Format, condition_codes(compare(a, b, e))),           \
       Instruction::integer},                                                                                                \
      {"ucomi" s, TO_INTEGER("ucomi" s " %%xmm1, %%xmm0" ZF_PF_CF), OURS(Format, condition_codes(compare_quiet(a, b, e))),   \
       Instruction::integer},                                                                                                \
      {"round" s " down", LANE("round" s " $1,"), OURS(Format, round_to_integer(b, 1, e).bits)},                             \
      {"round" s " by MXCSR", LANE("round" s " $4,"), OURS(Format, round_to_integer(b, 4, e).bits)},                         \
      {"round" s " nearest, quiet", LANE("round" s " $8,"), OURS(Format, round_to_integer(b, 8, e).bits)},                   \
      {"cvt" s "2si r64", TO_INTEGER("cvt" s "2si %%xmm1, %%rax"), OURS(Format, uint64_t(to_int64(b, e.rounding, e))),       \
       Instruction::integer},                                                                                                \
      {"cvt" s "2si r32", TO_INTEGER("cvt" s "2si %%xmm1, %%eax"), OURS(Format, uint32_t(to_int32(b, e.rounding, e))),       \
       Instruction::integer},                                                                                                \
      {"cvtt" s "2si r64", TO_INTEGER("cvtt" s "2si %%xmm1, %%rax"), OURS(Format, uint64_t(to_int64(b, Rounding::zero, e))), \
       Instruction::integer},                                                                                                \
  {                                                                                                                          \
    "cvtt" s "2si r32", TO_INTEGER("cvtt" s "2si %%xmm1, %%eax"), OURS(Format, uint32_t(to_int32(b, Rounding::zero, e))),    \
        Instruction::integer                                                                                                 \
  }

#define FROM_INTEGER(instruction, mask)                        \
  [](uint64_t a, uint64_t b, uint32_t mxcsr) {                 \
    auto o = observe<false>(a, 0, b, mxcsr, RUN(instruction)); \
    o.value &= mask;                                           \
    return o;                                                  \
  }

const Instruction instructions32[] = {
    ROWS(Binary32, LANE32, "ss"),
    {"cvtss2sd", LANE64("cvtss2sd"), OURS(Binary32, to_binary64(b, e).bits)},
};
const Instruction instructions64[] = {
    ROWS(Binary64, LANE64, "sd"),
    {"cvtsd2ss", LANE32("cvtsd2ss"), OURS(Binary64, to_binary32(b, e).bits)},
};
// The integer is the second operand here.
const Instruction integer_instructions[] = {
    {"cvtsi2ss r64", FROM_INTEGER("cvtsi2ssq %%rax, %%xmm0", mask32), OURS(Binary64, to_binary32(int64_t(b.bits), e).bits)},
    {"cvtsi2ss r32", FROM_INTEGER("cvtsi2ssl %%eax, %%xmm0", mask32), OURS(Binary64, to_binary32(int32_t(b.bits), e).bits)},
    {"cvtsi2sd r64", FROM_INTEGER("cvtsi2sdq %%rax, %%xmm0", ~uint64_t{0}), OURS(Binary64, to_binary64(int64_t(b.bits), e).bits)},
    {"cvtsi2sd r32", FROM_INTEGER("cvtsi2sdl %%eax, %%xmm0", ~uint64_t{0}), OURS(Binary64, to_binary64(int32_t(b.bits), e).bits)},
};

uint32_t edgy_mxcsr(Generator& g) {
  const auto mxcsr = uint32_t(g.next() & 0xffc0);
  return g.one_in(16) ? mxcsr : mxcsr | 0x1f80;  // unmasked exceptions are dear: most of them are signals
}

void differ_one(const Instruction& instruction, uint64_t a, uint64_t b, uint32_t mxcsr, uint64_t& differences) {
  const Outcome theirs = instruction.theirs(a, b, mxcsr);
  auto e = Environment::from_mxcsr(mxcsr);
  Outcome ours{instruction.ours(a, b, e), 0};
  ours.flags = e.reported();
  if (e.unmasked()) ours.value = instruction.destination == Instruction::integer ? untouched : theirs.value;
  if (ours == theirs || ++differences > 8) return;
  UNSCOPED_INFO(instruction.name << " mxcsr " << hex(mxcsr, 4) << ": " << hex(a, 16) << ", " << hex(b, 16) << "\n  cpu  "
                                 << hex(theirs.value, 16) << " flags " << hex(theirs.flags, 2) << "\n  ours "
                                 << hex(ours.value, 16) << " flags " << hex(ours.flags, 2));
}

template <class Operands>
void differ(const Instruction& instruction, uint64_t count, Operands operands) {
  Generator g(seed());
  uint64_t differences = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const auto [a, b] = operands(g);
    differ_one(instruction, a, b, edgy_mxcsr(g), differences);
  }
  INFO("seed " << seed() << ", " << count << " cases of " << instruction.name);
  CHECK(differences == 0);
}

struct Pair {
  uint64_t a, b;
};
template <class Format>
Pair edgy_pair(Generator& g) {
  const Format a = edgy<Format>(g);
  return {a.bits, edgy_partner(g, a).bits};
}

}  // namespace

namespace {

using Packed = Outcome (*)(__m128i a, __m128i b, uint32_t mxcsr);

// Only the flags: the lanes' values are compared above.
#define PACKED(instruction)                                \
  [](__m128i a, __m128i b, uint32_t mxcsr) {               \
    constexpr uint32_t everything_masked = 0x1f80;         \
    uint64_t none = 0;                                     \
    RUN(instruction " %%xmm1, %%xmm0")(a, b, none, mxcsr); \
    asm volatile("ldmxcsr %0" : : "m"(everything_masked)); \
    return Outcome{0, mxcsr & 0x3f};                       \
  }

template <Binary64 (*lane)(Binary64, Binary64, Environment&)>
uint8_t packed_flags(const Pair (&lanes)[2], uint32_t mxcsr) {
  auto e = Environment::from_mxcsr(mxcsr);
  for (const auto& [a, b] : lanes) lane({a}, {b}, e);
  return e.reported();
}

void differ_packed(const char* name, Packed theirs, uint8_t (*ours)(const Pair (&lanes)[2], uint32_t mxcsr)) {
  Generator g(seed());
  uint64_t differences = 0;
  for (uint64_t i = 0; i < cases(40'000); ++i) {
    const Pair lanes[] = {edgy_pair<Binary64>(g), edgy_pair<Binary64>(g)};
    const auto mxcsr = uint32_t(g.next() & 0xffc0);
    const auto expected = theirs(_mm_set_epi64x(int64_t(lanes[1].a), int64_t(lanes[0].a)),
                                 _mm_set_epi64x(int64_t(lanes[1].b), int64_t(lanes[0].b)), mxcsr)
                              .flags;
    const uint8_t found = ours(lanes, mxcsr);
    if (found == expected || ++differences > 8) continue;
    UNSCOPED_INFO(name << " mxcsr " << hex(mxcsr, 4) << ": " << hex(lanes[0].a, 16) << ", " << hex(lanes[0].b, 16) << "; "
                       << hex(lanes[1].a, 16) << ", " << hex(lanes[1].b, 16) << ": cpu " << hex(expected, 2) << " ours "
                       << hex(found, 2));
  }
  INFO("seed " << seed());
  CHECK(differences == 0);
}

// vcmpss, every immediate a row.
template <unsigned predicate>
void differ_predicates() {
  if constexpr (predicate < 32) {
    const Instruction instruction = {
        "vcmpss",
        [](uint64_t a, uint64_t b, uint32_t mxcsr) {
          __m128i first = _mm_cvtsi64_si128(int64_t(a)), second = _mm_cvtsi64_si128(int64_t(b));
          asm volatile("ldmxcsr %[mxcsr]\n vcmpss %[predicate], %[second], %[first], %[first]\n stmxcsr %[mxcsr]"
                       : [first] "+x"(first), [mxcsr] "+m"(mxcsr)
                       : [second] "x"(second), [predicate] "i"(predicate));
          return Outcome{uint64_t(_mm_cvtsi128_si64(first)) & mask32, mxcsr & 0x3f};
        },
        OURS(Binary32, all_ones<Binary32>(compare_predicate(a, b, predicate, e)))};
    INFO("predicate " << predicate);
    Generator g(seed());
    uint64_t differences = 0;
    for (int i = 0; i < 5'000; ++i) {
      const auto [a, b] = edgy_pair<Binary32>(g);
      differ_one(instruction, a, b, all_masked | (i & 1 ? daz : 0), differences);
    }
    CHECK(differences == 0);
    differ_predicates<predicate + 1>();
  }
}

}  // namespace

TEST_CASE("Lanes of one Environment raise the flags of a packed instruction", "[float][differential]") {
  const CatchUnmasked guard;
  differ_packed("addpd", PACKED("addpd"), packed_flags<add>);
  differ_packed("mulpd", PACKED("mulpd"), packed_flags<multiply>);
  differ_packed("divpd", PACKED("divpd"), packed_flags<divide>);
}

TEST_CASE("AVX's 32 predicates equal the processor's", "[float][differential]") {
  if (__builtin_cpu_supports("avx")) differ_predicates<0>();
}

TEST_CASE("SSE lanes equal the processor's", "[float][differential]") {
  const CatchUnmasked guard;
  for (const auto& instruction : instructions32) differ(instruction, cases(150'000), edgy_pair<Binary32>);
  for (const auto& instruction : instructions64) differ(instruction, cases(150'000), edgy_pair<Binary64>);
  for (const auto& instruction : integer_instructions)
    differ(instruction, cases(150'000), [](Generator& g) { return Pair{0, edgy_bits(g)}; });
}
#endif
