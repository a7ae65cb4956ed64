// Packed-integer arithmetic as functions of 128-bit values: what stands between reading the operands and writing the result.
// MMX uses the same functions on values whose upper half does not matter (mmx.h).
//
// `d` is the manual's DEST, `s` its SRC; T is the lane's type, signed where the instruction says signed.
#pragma once

#include "cpu/ops/vector.h"

namespace matryoshka::lanes {

// ---- "PADDB/PADDW/PADDD/PADDQ", "PSUBB/..." and their saturating forms

template <class T>
Packed add(Packed d, Packed s) {
  return d.as<std::make_unsigned_t<T>>() + s.as<std::make_unsigned_t<T>>();
}
template <class T>
Packed subtract(Packed d, Packed s) {
  return d.as<std::make_unsigned_t<T>>() - s.as<std::make_unsigned_t<T>>();
}

// What a signed operation gives that overflowed: the largest value of the sign of `d`.
template <class T>
Lanes<T> saturated(Lanes<T> d) {
  constexpr T largest = static_cast<T>(static_cast<std::make_unsigned_t<T>>(-1) >> 1);
  return (d >> (sizeof(T) * 8 - 1)) ^ every<T>(largest);
}
template <class T>
Packed choose(Lanes<T> mask, Lanes<T> yes, Lanes<T> no) {
  return (mask & yes) | (~mask & no);
}

template <class T>
Packed add_saturated(Packed d, Packed s) {
  using U = std::make_unsigned_t<T>;
  auto sum = d.as<U>() + s.as<U>();
  if constexpr (std::is_unsigned_v<T>) {
    return sum | (Lanes<U>)(sum < d.as<U>());
  } else {
    Packed overflow = ((d.as<U>() ^ sum) & (s.as<U>() ^ sum));
    return choose<T>(overflow.as<T>() < 0, saturated<T>(d.as<T>()), Packed(sum).as<T>());
  }
}
template <class T>
Packed subtract_saturated(Packed d, Packed s) {
  using U = std::make_unsigned_t<T>;
  auto difference = d.as<U>() - s.as<U>();
  if constexpr (std::is_unsigned_v<T>) {
    return difference & (Lanes<U>)(d.as<U>() > s.as<U>());
  } else {
    Packed overflow = ((d.as<U>() ^ s.as<U>()) & (d.as<U>() ^ difference));
    return choose<T>(overflow.as<T>() < 0, saturated<T>(d.as<T>()), Packed(difference).as<T>());
  }
}

// ---- Comparison, minimum and maximum, average, absolute value

template <class T>
Packed equal(Packed d, Packed s) {
  return d.as<T>() == s.as<T>();
}
template <class T>
Packed greater(Packed d, Packed s) {
  return d.as<T>() > s.as<T>();
}
template <class T>
Packed minimum(Packed d, Packed s) {
  return __builtin_elementwise_min(d.as<T>(), s.as<T>());
}
template <class T>
Packed maximum(Packed d, Packed s) {
  return __builtin_elementwise_max(d.as<T>(), s.as<T>());
}
template <class T>
Packed average(Packed d, Packed s) {
  auto a = d.as<T>(), b = s.as<T>();
  return (a | b) - ((a ^ b) >> 1);
}
template <class T>
Packed absolute(Packed, Packed s) {
  using U = std::make_unsigned_t<T>;
  auto sign = Packed(s.as<T>() >> (sizeof(T) * 8 - 1)).as<U>();
  return (s.as<U>() ^ sign) - sign;
}
// "PSIGNB/PSIGNW/PSIGND"
template <class T>
Packed apply_sign(Packed d, Packed s) {
  using U = std::make_unsigned_t<T>;
  auto negative = (Lanes<U>)(s.as<T>() < 0), nonzero = (Lanes<U>)(s.as<T>() != 0);
  return ((d.as<U>() ^ negative) - negative) & nonzero;
}

// ---- Logic

inline Packed and_(Packed d, Packed s) { return d.bits & s.bits; }
inline Packed and_not(Packed d, Packed s) { return ~d.bits & s.bits; }
inline Packed or_(Packed d, Packed s) { return d.bits | s.bits; }
inline Packed xor_(Packed d, Packed s) { return d.bits ^ s.bits; }

// ---- Multiplication

template <class T>
Packed multiply_low(Packed d, Packed s) {
  return d.as<std::make_unsigned_t<T>>() * s.as<std::make_unsigned_t<T>>();
}
template <class T>
Packed multiply_high(Packed d, Packed s) {
  Wide<T> a = __builtin_convertvector(d.as<T>(), Wide<T>), b = __builtin_convertvector(s.as<T>(), Wide<T>);
  return __builtin_convertvector((a * b) >> 16, Lanes<T>);
}
// "PMULHRSW": rounded at bit 14 of the product.
inline Packed multiply_high_rounded(Packed d, Packed s) {
  using W = Wide<int16_t>;
  W a = __builtin_convertvector(d.as<int16_t>(), W), b = __builtin_convertvector(s.as<int16_t>(), W);
  return __builtin_convertvector(((a * b >> 14) + 1) >> 1, Lanes<int16_t>);
}
// "PMULUDQ", "PMULDQ": the even lanes, to the full 64 bits.
inline Packed multiply_even_unsigned(Packed d, Packed s) { return (d.bits & 0xffffffff) * (s.bits & 0xffffffff); }
inline Packed multiply_even_signed(Packed d, Packed s) {
  auto sign_extended = [](Packed v) { return Packed((v.as<int64_t>() << 32) >> 32).as<int64_t>(); };
  return sign_extended(d) * sign_extended(s);
}
// "PMADDWD"
inline Packed multiply_add_words(Packed d, Packed s) {
  using W = Wide<int16_t>;
  W a = __builtin_convertvector(d.as<int16_t>(), W), b = __builtin_convertvector(s.as<int16_t>(), W);
  Wide<uint16_t> bits = (Wide<uint16_t>)(a * b);  // if all four words are 8000 the sum wraps
  return __builtin_shufflevector(bits, bits, 0, 2, 4, 6) + __builtin_shufflevector(bits, bits, 1, 3, 5, 7);
}
// "PMADDUBSW": unsigned bytes of d times signed bytes of s, neighbours added with saturation.
inline Packed multiply_add_bytes(Packed d, Packed s) {
  auto even = (d.as<int16_t>() & 0xff) * ((s.as<int16_t>() << 8) >> 8);
  auto odd = Packed(d.as<uint16_t>() >> 8).as<int16_t>() * (s.as<int16_t>() >> 8);
  return add_saturated<int16_t>(even, odd);
}
// "PSADBW"
inline Packed sum_of_differences(Packed d, Packed s) {
  auto a = d.as<uint8_t>(), b = s.as<uint8_t>();
  auto difference = __builtin_elementwise_max(a, b) - __builtin_elementwise_min(a, b);
  Lanes<uint64_t> sum{};
  for (unsigned i = 0; i < 16; ++i) sum[i / 8] += difference[i];
  return sum;
}

// ---- Shifts. The count is one number for all lanes; whatever is not below the lane's width shifts everything out.

template <class T>
Packed shift_left(Packed d, uint64_t count) {
  if (count >= sizeof(T) * 8) return {};
  return d.as<T>() << every<T>(static_cast<T>(count));
}
template <class T>
Packed shift_right(Packed d, uint64_t count) {  // arithmetic where T is signed
  if (count >= sizeof(T) * 8) {
    if constexpr (std::is_unsigned_v<T>) return {};
    count = sizeof(T) * 8 - 1;
  }
  return d.as<T>() >> every<T>(static_cast<T>(count));
}
// "PSLLDQ", "PSRLDQ": by bytes.
inline Packed shift_left_bytes(Packed d, uint64_t count) {
  uint8_t window[32] = {};
  std::memcpy(window + 16, &d.bits, 16);
  Packed result;
  std::memcpy(&result.bits, window + 16 - (count < 16 ? count : 16), 16);
  return result;
}
inline Packed shift_right_bytes(Packed d, uint64_t count) {
  uint8_t window[32] = {};
  std::memcpy(window, &d.bits, 16);
  Packed result;
  std::memcpy(&result.bits, window + (count < 16 ? count : 16), 16);
  return result;
}

// ---- "PHADDW/PHADDD", "PHADDSW", "PHSUBW/PHSUBD", "PHSUBSW": neighbours of d, then of s

template <class T>
Packed even_lanes(Packed d, Packed s) {
  return shuffle<[](size_t i) { return 2 * i; }>(d.as<T>(), s.as<T>());
}
template <class T>
Packed odd_lanes(Packed d, Packed s) {
  return shuffle<[](size_t i) { return 2 * i + 1; }>(d.as<T>(), s.as<T>());
}
template <class T>
Packed horizontal_add(Packed d, Packed s) {
  return add<T>(even_lanes<T>(d, s), odd_lanes<T>(d, s));
}
template <class T>
Packed horizontal_subtract(Packed d, Packed s) {
  return subtract<T>(even_lanes<T>(d, s), odd_lanes<T>(d, s));
}
inline Packed horizontal_add_saturated(Packed d, Packed s) {
  return add_saturated<int16_t>(even_lanes<int16_t>(d, s), odd_lanes<int16_t>(d, s));
}
inline Packed horizontal_subtract_saturated(Packed d, Packed s) {
  return subtract_saturated<int16_t>(even_lanes<int16_t>(d, s), odd_lanes<int16_t>(d, s));
}

// "PHMINPOSUW": the smallest word, and where it first stands.
inline Packed horizontal_minimum(Packed, Packed s) {
  auto words = s.as<uint16_t>();
  uint64_t smallest = words[0], place = 0;
  for (unsigned i = 1; i < 8; ++i)
    if (words[i] < smallest) smallest = words[i], place = i;
  return {smallest | place << 16, 0};
}

// "MPSADBW": sums of four differences at eight neighbouring places.
inline Packed sums_of_differences(Packed d, Packed s, uint8_t immediate) {
  auto a = d.as<uint8_t>(), b = s.as<uint8_t>();
  unsigned first = immediate >> 2 & 1 ? 4 : 0, block = (immediate & 3) * 4;
  Lanes<uint16_t> result{};
  for (unsigned i = 0; i < 8; ++i)
    for (unsigned j = 0; j < 4; ++j) {
      int difference = a[first + i + j] - b[block + j];
      result[i] = static_cast<uint16_t>(result[i] + (difference < 0 ? -difference : difference));
    }
  return result;
}

}  // namespace matryoshka::lanes
