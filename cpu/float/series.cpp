#include "cpu/float/series.h"

#include <array>

#include "cpu/float/constants.h"

namespace matryoshka::fp {
namespace {

template <std::size_t terms>
using Coefficients = std::array<u128, terms>;

constexpr u128 all_ones = ~u128(0);

// |a| < 1 as a fraction. Bits below 2^-128 are cut off.
constexpr u128 fraction(const Number& a) {
  const int shift = -1 - a.exponent;
  return shift >= 128 ? 0 : shift_right(a.significand, unsigned(shift));
}
constexpr Number from_fraction(u128 a) { return normalize({false, -1, a}); }
constexpr Number from_scaled(u128 a) { return normalize({false, 0, a}); }
constexpr Number doubled(Number a) { return {a.sign, a.exponent + 1, a.significand}; }
constexpr Number whole(int a) { return normalize({a < 0, 127, u128(a < 0 ? -a : a)}); }

// c0 - z c1 + z^2 c2 - ...: never negative, since z and the coefficients' ratios are below 1.
template <std::size_t terms>
constexpr u128 alternating(const Coefficients<terms>& c, u128 z) {
  u128 value = c[terms - 1];
  for (std::size_t i = terms - 1; i-- > 0;) value = c[i] - multiply_fractions(z, value);
  return value;
}

// c0 + z c1 + z^2 c2 + ...
template <std::size_t terms>
constexpr u128 positive(const Coefficients<terms>& c, u128 z) {
  u128 value = c[terms - 1];
  for (std::size_t i = terms - 1; i-- > 0;) value = c[i] + multiply_fractions(z, value);
  return value;
}

// first, first / (n (n+1)), first / (n (n+1)(n+2)(n+3)), ...: every other factorial.
template <std::size_t terms>
constexpr Coefficients<terms> factorials(u128 first, unsigned n) {
  Coefficients<terms> c{first};
  for (std::size_t i = 1; i < terms; ++i, n += 2) c[i] = c[i - 1] / (n * (n + 1));
  return c;
}

constexpr auto sine_coefficients = factorials<16>(all_ones / 6, 4);    // 1/3!, 1/5!, ... fractions
constexpr auto cosine_coefficients = factorials<16>(all_ones / 2, 3);  // 1/2!, 1/4!, ... fractions

constexpr auto exponential_coefficients = [] {  // 1/1!, 1/2!, ... scaled
  Coefficients<32> c{u128(1) << 127};
  for (unsigned i = 1; i < c.size(); ++i) c[i] = c[i - 1] / (i + 1);
  return c;
}();

constexpr auto odd_coefficients = [] {  // 1/3, 1/5, ... fractions
  Coefficients<26> c{};
  for (unsigned i = 0; i < c.size(); ++i) c[i] = all_ones / (2 * i + 3);
  return c;
}();

// t - t^3/3 + t^5/5 - ..., |t| <= 1/16
constexpr Number short_arctangent(const Number& t) {
  const u128 w = fraction(product(t, t));
  return product(t, from_fraction(~multiply_fractions(w, alternating(odd_coefficients, w))));
}

// arctan(k/16), each from the one before: the angle between the directions (16, k) and (16, k+1) has the tangent
// 16 / (256 + k (k+1)).
constexpr int arctangent_steps = 16;
constexpr auto arctangent_table = [] {
  std::array<Number, arctangent_steps + 1> table{};
  for (int k = 0; k < arctangent_steps; ++k)
    table[k + 1] = sum(table[k], short_arctangent(quotient(whole(16), whole(256 + k * (k + 1)))));
  return table;
}();

// All sixteen series together give pi/4, to a few units.
constexpr Number number_pi_4{false, number_pi.exponent - 2, number_pi.significand};
static_assert(sum(arctangent_table[16], negate(number_pi_4)).exponent < -120);

// ln((1 + s) / (1 - s)) / ln 2 = 2 log2(e) (s + s^3/3 + s^5/5 + ...), |s| <= 0.172
Number log2_of_ratio(const Number& s) {
  const u128 w = fraction(product(s, s));
  const u128 series = multiply_fractions(w, positive(odd_coefficients, w));
  return doubled(product(product(s, number_log2_e), from_scaled((u128(1) << 127) + (series >> 1))));
}

}  // namespace

Number sine_series(const Number& r) {
  const u128 z = fraction(product(r, r));
  return product(r, from_fraction(~multiply_fractions(z, alternating(sine_coefficients, z))));
}

Number cosine_series(const Number& r) {
  const u128 z = fraction(product(r, r));
  return from_fraction(~multiply_fractions(z, alternating(cosine_coefficients, z)));
}

Number tangent_series(const Number& r) {
  // r + r^3/3: the cube is far below the last place, and only a sticky bit outwards remains of it.
  if (r.exponent < -60) return {r.sign, r.exponent, r.significand | 1};
  return quotient(sine_series(r), cosine_series(r));
}

// arctan q = arctan c + arctan((q - c) / (1 + q c)), with c the nearest sixteenth.
Number arctangent_series(const Number& q) {
  const int k = q.exponent < -5 ? 0 : int(((q.significand >> (1 - q.exponent)) + (u128(1) << 121)) >> 122);
  if (k == 0) return short_arctangent(q);
  const Number c{false, whole(k).exponent - 4, whole(k).significand};
  const Number t = quotient(sum(q, negate(c)), sum(number_one, product(q, c)));
  return t.significand ? sum(arctangent_table[k], short_arctangent(t)) : arctangent_table[k];
}

// e^t - 1 = t (1 + t/2! + t^2/3! + ...), t = x ln 2.
Number power_of_two_series(const Number& x) {
  const Number t = product(x, number_ln_2);
  const u128 z = fraction(t);
  const auto& c = exponential_coefficients;
  return product(t, from_scaled(x.sign ? alternating(c, z) : positive(c, z)));
}

// x = m 2^k with m between sqrt(1/2) and sqrt(2), so that k + log2(m) cannot cancel; s = (m - 1) / (m + 1).
Number log2_series(const Number& x) {
  constexpr u128 square_root_of_2 = wide(0xb504f333f9de6484, 0x597d89b3754abe9f);
  const bool above = x.significand > square_root_of_2;
  const Number m{false, above ? -1 : 0, x.significand};
  const Number power = whole(x.exponent + above);
  const Number m_minus_1 = sum(m, negate(number_one));
  if (m_minus_1.significand == 0) return power;
  return sum(power, log2_of_ratio(quotient(m_minus_1, sum(m, number_one))));
}

Number log2_one_plus_series(const Number& f) {
  const Number one_plus = sum(number_one, f);
  // Near 1 the sum would round f away; s = f / (2 + f) does without it. From 1/4 on either is good.
  if (f.exponent >= -2) return log2_series(one_plus);
  return log2_of_ratio(quotient(f, sum(one_plus, number_one)));
}

}  // namespace matryoshka::fp
