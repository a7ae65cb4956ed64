// Instructions that move lanes without computing: packing, interleaving, shuffling, blending, widening.
#pragma once

#include "cpu/ops/vector.h"

namespace matryoshka::lanes {

// "PACKSSWB/PACKSSDW", "PACKUSWB", "PACKUSDW": signed lanes of twice the width, each to the nearest value of T; d's, then s's.
template <class T>
Packed pack(Packed d, Packed s) {
  using W = std::conditional_t<sizeof(T) == 1, int16_t, int32_t>;
  constexpr W smallest = std::is_signed_v<T> ? static_cast<W>(-(W{1} << (sizeof(T) * 8 - 1))) : 0;
  constexpr W largest = static_cast<W>(std::is_signed_v<T> ? (1 << (sizeof(T) * 8 - 1)) - 1 : (1 << sizeof(T) * 8) - 1);
  auto narrow = [](Packed v) {
    auto clamped = __builtin_elementwise_max(__builtin_elementwise_min(v.as<W>(), every<W>(largest)), every<W>(smallest));
    return Packed(clamped).as<std::make_unsigned_t<T>>();
  };
  return shuffle<[](size_t i) { return 2 * i; }>(narrow(d), narrow(s));
}

// "PUNPCKL...", "PUNPCKH...", UNPCKLPS and their kin.
template <class T>
Packed interleave_low(Packed d, Packed s) {
  return shuffle<[](size_t i) { return i / 2 + i % 2 * lane_count<T>; }>(d.as<T>(), s.as<T>());
}
template <class T>
Packed interleave_high(Packed d, Packed s) {
  return shuffle<[](size_t i) { return lane_count<T> / 2 + i / 2 + i % 2 * lane_count<T>; }>(d.as<T>(), s.as<T>());
}

// "PSHUFB"
inline Packed shuffle_bytes(Packed d, Packed s) {
#ifdef __wasm_simd128__
  return __builtin_wasm_swizzle_i8x16(d.as<int8_t>(), Packed(s.as<uint8_t>() & 0x8f).as<int8_t>());
#else
  uint8_t from[32] = {}, control[16];  // the upper half of `from` is what a set bit 7 chooses
  std::memcpy(from, &d.bits, 16);
  std::memcpy(control, &s.bits, 16);
  for (uint8_t& c : control) c = from[(c & 15) | (c >> 3 & 16)];
  Packed result;
  std::memcpy(&result.bits, control, 16);
  return result;
#endif
}

// "PSHUFD", "PSHUFLW", "PSHUFHW", "SHUFPS", "SHUFPD"
inline Packed shuffle_doublewords(Packed, Packed s, uint8_t order) {
  auto from = s.as<uint32_t>();
  return Lanes<uint32_t>{from[order & 3], from[order >> 2 & 3], from[order >> 4 & 3], from[order >> 6]};
}
inline uint64_t shuffle_four_words(uint64_t from, uint8_t order) {
  uint64_t result = 0;
  for (unsigned i = 0; i < 4; ++i) result |= (from >> 16 * (order >> 2 * i & 3) & 0xffff) << 16 * i;
  return result;
}
inline Packed shuffle_low_words(Packed, Packed s, uint8_t order) { return {shuffle_four_words(s.low(), order), s.high()}; }
inline Packed shuffle_high_words(Packed, Packed s, uint8_t order) { return {s.low(), shuffle_four_words(s.high(), order)}; }
inline Packed shuffle_single(Packed d, Packed s, uint8_t order) {
  auto a = d.as<uint32_t>(), b = s.as<uint32_t>();
  return Lanes<uint32_t>{a[order & 3], a[order >> 2 & 3], b[order >> 4 & 3], b[order >> 6]};
}
inline Packed shuffle_double(Packed d, Packed s, uint8_t order) { return {d.bits[order & 1], s.bits[order >> 1 & 1]}; }

// "PALIGNR": bytes of d:s from `count` on.
inline Packed align_right(Packed d, Packed s, uint8_t count) {
  uint8_t window[48] = {};
  std::memcpy(window, &s.bits, 16);
  std::memcpy(window + 16, &d.bits, 16);
  Packed result;
  std::memcpy(&result.bits, window + (count < 32 ? count : 32), 16);
  return result;
}

// "PBLENDW", "BLENDPS", "BLENDPD": lane i of s where bit i is set.
template <class T>
Packed blend(Packed d, Packed s, uint8_t which) {
  Lanes<T> bit{};
  for (unsigned i = 0; i < lane_count<T>; ++i) bit[i] = static_cast<T>(1 << i);
  auto chosen = Packed((every<T>(which) & bit) != 0).bits;
  return (chosen & s.bits) | (~chosen & d.bits);
}
// "PBLENDVB", "BLENDVPS", "BLENDVPD": by the sign of the mask's lane.
template <class T>
Packed blend_by_sign(Packed d, Packed s, Packed mask) {
  using S = std::make_signed_t<T>;
  auto chosen = Packed(mask.as<S>() < 0).bits;
  return (chosen & s.bits) | (~chosen & d.bits);
}

// "PMOVSX", "PMOVZX": lanes of T from the low lanes of From.
template <class T, class From>
Packed extend(Packed, Packed s) {
  return extend_low<T, From>(s);
}
inline constexpr auto sign_extend_b_w = &extend<int16_t, int8_t>, sign_extend_b_d = &extend<int32_t, int8_t>,
                      sign_extend_b_q = &extend<int64_t, int8_t>, sign_extend_w_d = &extend<int32_t, int16_t>,
                      sign_extend_w_q = &extend<int64_t, int16_t>, sign_extend_d_q = &extend<int64_t, int32_t>,
                      zero_extend_b_w = &extend<uint16_t, uint8_t>, zero_extend_b_d = &extend<uint32_t, uint8_t>,
                      zero_extend_b_q = &extend<uint64_t, uint8_t>, zero_extend_w_d = &extend<uint32_t, uint16_t>,
                      zero_extend_w_q = &extend<uint64_t, uint16_t>, zero_extend_d_q = &extend<uint64_t, uint32_t>;

// "INSERTPS": lane 7:6 of s goes to lane 5:4 of d, then the lanes named by 3:0 are cleared.
inline Packed insert_single(Packed d, Packed s, uint8_t immediate) {
  auto result = d.as<uint32_t>();
  result[immediate >> 4 & 3] = s.as<uint32_t>()[immediate >> 6];
  for (unsigned i = 0; i < 4; ++i)
    if (immediate >> i & 1) result[i] = 0;
  return result;
}

// MOVDDUP, MOVSLDUP, MOVSHDUP
inline Packed duplicate_low(Packed, Packed s) { return {s.low(), s.low()}; }
inline Packed duplicate_even(Packed, Packed s) {
  auto v = s.as<uint32_t>();
  return Lanes<uint32_t>{v[0], v[0], v[2], v[2]};
}
inline Packed duplicate_odd(Packed, Packed s) {
  auto v = s.as<uint32_t>();
  return Lanes<uint32_t>{v[1], v[1], v[3], v[3]};
}

// "PMOVMSKB", "MOVMSKPS", "MOVMSKPD": the signs of all lanes.
template <class T>
unsigned sign_mask(Packed s) {
#ifdef __wasm_simd128__
  if constexpr (sizeof(T) == 1) return static_cast<unsigned>(__builtin_wasm_bitmask_i8x16(s.as<int8_t>()));
  if constexpr (sizeof(T) == 2) return static_cast<unsigned>(__builtin_wasm_bitmask_i16x8(s.as<int16_t>()));
#elif defined(__SSE2__)
  typedef char Bytes __attribute__((vector_size(16)));
  if constexpr (sizeof(T) == 1) return static_cast<unsigned>(__builtin_ia32_pmovmskb128(__builtin_bit_cast(Bytes, s.bits)));
  if constexpr (sizeof(T) == 2) {
    const auto words = __builtin_bit_cast(Lanes<int16_t>, s.bits);  // saturated to bytes they keep their signs
    return static_cast<unsigned>(__builtin_ia32_pmovmskb128(__builtin_ia32_packsswb128(words, Lanes<int16_t>{})));
  }
#else
  if constexpr (sizeof(T) == 1) {
    // The multiplication gathers bit 7 of each byte of a quadword in the top byte.
    auto gather = [](uint64_t v) { return static_cast<unsigned>((v >> 7 & 0x0101010101010101) * 0x0102040810204080 >> 56); };
    return gather(s.low()) | gather(s.high()) << 8;
  }
#endif
  auto v = s.as<std::make_unsigned_t<T>>();
  unsigned mask = 0;
  for (unsigned i = 0; i < lane_count<T>; ++i) mask |= static_cast<unsigned>(v[i] >> (sizeof(T) * 8 - 1)) << i;
  return mask;
}

}  // namespace matryoshka::lanes
