// Operands for the floating-point tests: a small generator, and values chosen to sit on every edge it can find.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <string>

#include "cpu/float/float80.h"
#include "cpu/float/sse.h"

namespace matryoshka::fp {

// SplitMix64. The seed is printed with every failure and can be given again as FLOAT_SEED. One call to an expression:
// the order of two would be the compiler's choice.
class Generator {
 public:
  explicit Generator(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  uint64_t below(uint64_t limit) { return next() % limit; }
  bool one_in(uint64_t n) { return below(n) == 0; }

 private:
  uint64_t state_;
};

inline uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 0) : otherwise;
}
inline uint64_t seed() { return from_environment("FLOAT_SEED", 20240229); }
// Cases per operation: FLOAT_CASES=10000000 for a long run.
inline uint64_t cases(uint64_t otherwise) { return from_environment("FLOAT_CASES", otherwise); }

// 64 bits in which edges are likely: runs of ones and zeros, a lone bit, a few bits on top (as after rounding to 24 or
// 53 bits), the same with a neighbour's last place added.
inline uint64_t edgy_bits(Generator& g) {
  const uint64_t random = g.next(), half_units = g.below(3), last_place = g.below(3) - 1;
  switch (g.below(8)) {
    case 0: return random & -(uint64_t{1} << g.below(64));
    case 1: return ~uint64_t{0} << g.below(64);
    case 2: return ~uint64_t{0} >> g.below(64);
    case 3: return uint64_t{1} << g.below(64);
    case 4: return (random & -(uint64_t{1} << 40)) + (half_units << 39) + last_place;
    case 5: return (random & -(uint64_t{1} << 11)) + (half_units << 10) + last_place;
    default: return random;
  }
}

inline int edgy_exponent(Generator& g, int infinite, int bias, int precision) {
  switch (g.below(8)) {
    case 0: return int(g.below(4));
    case 1: return infinite - int(g.below(4));
    case 2: return bias + int(g.below(2 * precision + 8)) - precision - 4;
    case 3: return int(g.below(precision + 4));
    case 4: return infinite / 2 + int(g.below(infinite / 2));
    case 5: return bias;
    default: return int(g.below(infinite + 1));
  }
}

inline Float80 edgy_float80(Generator& g) {
  const uint64_t integer_bit = uint64_t{1} << 63;
  int exponent = edgy_exponent(g, 32767, 16383, 64);
  if (g.one_in(6)) exponent = 16383 + int(g.below(2200)) - 1100;  // where binary32 and binary64 have their edges
  uint64_t significand = edgy_bits(g);
  if (exponent != 0 && !g.one_in(24)) significand |= integer_bit;
  if (g.one_in(12)) significand = exponent ? integer_bit : 0;
  return float80(g.one_in(2), exponent, significand);
}

// A second operand that has something to do with the first, half of the time.
inline Float80 edgy_partner(Generator& g, Float80 a) {
  Float80 b = edgy_float80(g);
  switch (g.below(8)) {
    case 0: b.significand = a.significand + g.below(3) - 1; [[fallthrough]];
    case 1: b.sign_exponent = uint16_t(a.sign_exponent + g.below(3) - 1); break;
    case 2: b.sign_exponent = uint16_t((a.sign_exponent + g.below(140) - 70) ^ (b.sign_exponent & 0x8000)); break;
    case 3: b.sign_exponent = uint16_t(0x7ffe - a.exponent() + g.below(140) - 70); break;  // a * b is near 1
    default: break;
  }
  return b;
}

template <class Format>
Format edgy(Generator& g) {
  using T = Traits<Format>;
  constexpr int exponent_bits = T::precision == 24 ? 8 : 11;
  const uint64_t fraction = edgy_bits(g) & ((uint64_t{1} << (T::precision - 1)) - 1);
  const uint64_t exponent = uint64_t(edgy_exponent(g, T::infinite_exponent, T::bias, T::precision));
  const uint64_t magnitude = exponent << (T::precision - 1) | (g.one_in(12) ? 0 : fraction);
  const uint64_t sign = g.next() << (T::precision - 1 + exponent_bits);
  return {decltype(Format::bits)(sign | magnitude)};
}

template <class Format>
Format edgy_partner(Generator& g, Format a) {
  const Format b = edgy<Format>(g);
  using Bits = decltype(Format::bits);
  constexpr int fraction_bits = Traits<Format>::precision - 1;
  switch (g.below(8)) {
    case 0: return {Bits(a.bits + g.below(3) - 1)};
    case 1: return {Bits((a.bits + g.below(3) - 1) ^ Bits(1) << (sizeof(Bits) * 8 - 1))};
    case 2: return {Bits(b.bits & ((Bits(1) << fraction_bits) - 1)) | Bits(a.bits >> fraction_bits << fraction_bits)};
    default: return b;
  }
}

inline std::string hex(uint64_t value, int digits) {
  std::string text(digits, '0');
  for (int i = digits - 1; i >= 0; --i, value >>= 4) text[i] = "0123456789abcdef"[value & 15];
  return text;
}
inline std::string text(Float80 a) { return hex(a.sign_exponent, 4) + ":" + hex(a.significand, 16); }
inline std::string text(Binary32 a) { return hex(a.bits, 8); }
inline std::string text(Binary64 a) { return hex(a.bits, 16); }

}  // namespace matryoshka::fp
