#include "cpu/float/sse.h"

#include "cpu/float/arithmetic.h"
#include "cpu/float/constants.h"

namespace matryoshka::fp {

// The first operand if it is a NaN, else the second: by position, unlike the x87 rule, and whichever is signaling.
static Binary32 propagate_nan(Binary32 a, Binary32 b) { return quiet(is_nan(classify_fields(a)) ? a : b); }
static Binary64 propagate_nan(Binary64 a, Binary64 b) { return quiet(is_nan(classify_fields(a)) ? a : b); }

namespace {

template <class Format>
Format operand(Format a, const Environment& e) {
  return e.denormals_are_zero && classify_fields(a) == Class::denormal ? zero<Format>(sign_of(a)) : a;
}

template <class Format>
constexpr int precision_of = Traits<Format>::precision;

template <class Format>
Format add_lane(Format a, Format b, bool subtracting, Environment& e) {
  return add_or_subtract(operand(a, e), operand(b, e), subtracting, precision_of<Format>, e);
}

// The second operand wherever the two do not compare: with a NaN in either place, and of two zeros.
template <class Format>
Format choose(Format a, Format b, Relation wanted, Environment& e) {
  a = operand(a, e);
  b = operand(b, e);
  return relate(a, b, true, e) == wanted ? a : b;
}

template <class Format>
bool holds(Format a, Format b, unsigned predicate, Environment& e) {
  enum : uint8_t {
    G = 1 << unsigned(Relation::greater),
    L = 1 << unsigned(Relation::less),
    E = 1 << unsigned(Relation::equal),
    U = 1 << unsigned(Relation::unordered)
  };
  // EQ_OQ LT_OS LE_OS UNORD_Q NEQ_UQ NLT_US NLE_US ORD_Q, EQ_UQ NGE_US NGT_US FALSE_OQ NEQ_OQ GE_OS GT_OS TRUE_UQ;
  // the next sixteen relate alike, with S for Q and Q for S.
  constexpr uint8_t relations[] = {E,     L,     L | E,     U, L | G | U, E | G | U, G | U, L | E | G,
                                   E | U, L | U, L | E | U, 0, L | G,     E | G,     G,     L | E | G | U};
  const unsigned kind = predicate & 3;
  const bool signaling = (kind == 1 || kind == 2) != bool(predicate & 16);
  const Relation relation = relate(operand(a, e), operand(b, e), signaling, e);
  return relations[predicate & 15] >> unsigned(relation) & 1;
}

template <class Format>
Format round_lane(Format a, uint8_t immediate, Environment& e) {
  a = operand(a, e);
  const Class class_a = classify_fields(a);
  if (const auto nan = nan_result(a, class_a, a, class_a, e)) return *nan;
  if (class_a == Class::infinity || class_a == Class::zero) return a;
  const Rounding rounding = immediate & 4 ? e.rounding : Rounding(immediate & 3);
  const uint8_t raised = e.raised;
  const Format rounded = round_to_integer(a, rounding, e);
  if (immediate & 8) e.raised = raised;
  return rounded;
}

template <class Integer, class Format>
Integer integer_lane(Format a, Rounding rounding, Environment& e) {
  a = operand(a, e);
  if (classify_fields(a) <= Class::infinity) {
    e.raise(invalid);
    return Integer(uint64_t{1} << (sizeof(Integer) * 8 - 1));
  }
  return to_integer<Integer>(unpack(a), rounding, e);
}

template <class To, class From>
To convert_lane(From a, Environment& e) {
  a = operand(a, e);
  const Class class_a = classify_fields(a);
  if (is_nan(class_a)) {
    if (class_a == Class::signaling_nan) e.raise(invalid);
    return quiet(pack(To{}, sign_of(a), {Traits<To>::infinite_exponent, fields(a).significand}));
  }
  raise_denormal(class_a, class_a, e);
  if (class_a == Class::infinity) return infinity<To>(sign_of(a));
  if (class_a == Class::zero) return zero<To>(sign_of(a));
  return round_pack<To>(unpack(a), e);
}

template <class To>
To from_integer_lane(int64_t a, Environment& e) {
  return a == 0 ? zero<To>(false) : round_pack<To>(from_integer_exact(a), e);
}

// A positive or negative normal number to 13 bits; what would be denormal is zero.
Binary32 approximate(const Number& value) {
  const auto rounded = round_significand(value.significand, 13, value.sign, Rounding::nearest);
  const int exponent = value.exponent + Traits<Binary32>::bias + rounded.carry;
  return exponent > 0 ? pack(Binary32{}, value.sign, {exponent, rounded.kept}) : zero<Binary32>(value.sign);
}

}  // namespace

Class classify(Binary32 a) { return classify_fields(a); }
Class classify(Binary64 a) { return classify_fields(a); }

Binary32 add(Binary32 a, Binary32 b, Environment& e) { return add_lane(a, b, false, e); }
Binary64 add(Binary64 a, Binary64 b, Environment& e) { return add_lane(a, b, false, e); }
Binary32 subtract(Binary32 a, Binary32 b, Environment& e) { return add_lane(a, b, true, e); }
Binary64 subtract(Binary64 a, Binary64 b, Environment& e) { return add_lane(a, b, true, e); }
Binary32 multiply(Binary32 a, Binary32 b, Environment& e) { return multiply(operand(a, e), operand(b, e), 24, e); }
Binary64 multiply(Binary64 a, Binary64 b, Environment& e) { return multiply(operand(a, e), operand(b, e), 53, e); }
Binary32 divide(Binary32 a, Binary32 b, Environment& e) { return divide(operand(a, e), operand(b, e), 24, e); }
Binary64 divide(Binary64 a, Binary64 b, Environment& e) { return divide(operand(a, e), operand(b, e), 53, e); }
Binary32 square_root(Binary32 a, Environment& e) { return square_root(operand(a, e), 24, e); }
Binary64 square_root(Binary64 a, Environment& e) { return square_root(operand(a, e), 53, e); }
Binary32 minimum(Binary32 a, Binary32 b, Environment& e) { return choose(a, b, Relation::less, e); }
Binary64 minimum(Binary64 a, Binary64 b, Environment& e) { return choose(a, b, Relation::less, e); }
Binary32 maximum(Binary32 a, Binary32 b, Environment& e) { return choose(a, b, Relation::greater, e); }
Binary64 maximum(Binary64 a, Binary64 b, Environment& e) { return choose(a, b, Relation::greater, e); }

Relation compare(Binary32 a, Binary32 b, Environment& e) { return relate(operand(a, e), operand(b, e), true, e); }
Relation compare(Binary64 a, Binary64 b, Environment& e) { return relate(operand(a, e), operand(b, e), true, e); }
Relation compare_quiet(Binary32 a, Binary32 b, Environment& e) { return relate(operand(a, e), operand(b, e), false, e); }
Relation compare_quiet(Binary64 a, Binary64 b, Environment& e) { return relate(operand(a, e), operand(b, e), false, e); }
bool compare_predicate(Binary32 a, Binary32 b, unsigned predicate, Environment& e) { return holds(a, b, predicate, e); }
bool compare_predicate(Binary64 a, Binary64 b, unsigned predicate, Environment& e) { return holds(a, b, predicate, e); }

Binary32 round_to_integer(Binary32 a, uint8_t immediate, Environment& e) { return round_lane(a, immediate, e); }
Binary64 round_to_integer(Binary64 a, uint8_t immediate, Environment& e) { return round_lane(a, immediate, e); }

Binary64 to_binary64(Binary32 a, Environment& e) { return convert_lane<Binary64>(a, e); }
Binary32 to_binary32(Binary64 a, Environment& e) { return convert_lane<Binary32>(a, e); }
Binary32 to_binary32(int64_t a, Environment& e) { return from_integer_lane<Binary32>(a, e); }
Binary64 to_binary64(int64_t a, Environment& e) { return from_integer_lane<Binary64>(a, e); }
int32_t to_int32(Binary32 a, Rounding rounding, Environment& e) { return integer_lane<int32_t>(a, rounding, e); }
int32_t to_int32(Binary64 a, Rounding rounding, Environment& e) { return integer_lane<int32_t>(a, rounding, e); }
int64_t to_int64(Binary32 a, Rounding rounding, Environment& e) { return integer_lane<int64_t>(a, rounding, e); }
int64_t to_int64(Binary64 a, Rounding rounding, Environment& e) { return integer_lane<int64_t>(a, rounding, e); }

Binary32 reciprocal(Binary32 a) {
  switch (classify_fields(a)) {
    case Class::signaling_nan:
    case Class::quiet_nan: return quiet(a);
    case Class::infinity: return zero<Binary32>(sign_of(a));
    case Class::normal: return approximate(quotient(number_one, unpack(a)));
    default: return infinity<Binary32>(sign_of(a));
  }
}

Binary32 reciprocal_square_root(Binary32 a) {
  switch (classify_fields(a)) {
    case Class::signaling_nan:
    case Class::quiet_nan: return quiet(a);
    case Class::denormal:
    case Class::zero: return infinity<Binary32>(sign_of(a));
    default: break;
  }
  if (sign_of(a)) return indefinite<Binary32>();
  if (classify_fields(a) == Class::infinity) return zero<Binary32>(false);
  return approximate(quotient(number_one, square_root(unpack(a))));
}

}  // namespace matryoshka::fp
