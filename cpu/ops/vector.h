// A 128-bit value and its lanes, for MMX and SSE. Lanes are the compiler's vector types: arithmetic on them is one SIMD
// instruction natively and in wasm. Nothing here knows a processor or an operand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "cpu/state/state.h"

namespace matryoshka {

template <class T>
struct LanesOf {
  typedef T type __attribute__((vector_size(16)));
};
template <class T>
using Lanes = typename LanesOf<T>::type;
template <class T>
inline constexpr unsigned lane_count = 16 / sizeof(T);

struct Packed {
  Lanes<uint64_t> bits = {0, 0};

  Packed() = default;
  Packed(uint64_t low, uint64_t high) : bits{low, high} {}
  Packed(const Xmm& x) : bits(__builtin_bit_cast(Lanes<uint64_t>, x)) {}
  template <class L>
  requires(sizeof(L) == 16 && !std::is_class_v<L>) Packed(L lanes) : bits(__builtin_bit_cast(Lanes<uint64_t>, lanes)) {}

  template <class T>
  Lanes<T> as() const {
    return __builtin_bit_cast(Lanes<T>, bits);
  }
  uint64_t low() const { return bits[0]; }
  uint64_t high() const { return bits[1]; }
  Xmm xmm() const { return __builtin_bit_cast(Xmm, bits); }
  bool operator==(const Packed& other) const { return low() == other.low() && high() == other.high(); }
};

// The lane whose bits are all the same.
template <class T>
Lanes<T> every(T value) {
  return Lanes<T>{} + value;
}

// A vector whose lane i is lane index(i) of `a`, or of `b` counting on.
template <auto index, class L>
L shuffle(L a, L b) {
  return [&]<size_t... I>(std::index_sequence<I...>) { return __builtin_shufflevector(a, b, static_cast<int>(index(I))...); }
  (std::make_index_sequence<sizeof(L) / sizeof(a[0])>{});
}

// Lane by lane in a loop, for what the vector types cannot say: f(a[i]) or f(a[i], b[i]), the lanes of the result as f gives
// them.
template <class T, class F>
Packed map(Packed a, F f) {
  auto from = a.as<T>();
  Lanes<decltype(f(T{}))> to{};
  for (unsigned i = 0; i < lane_count<T>; ++i) to[i] = f(from[i]);
  return to;
}
template <class T, class F>
Packed map(Packed a, Packed b, F f) {
  auto x = a.as<T>(), y = b.as<T>();
  Lanes<decltype(f(T{}, T{}))> to{};
  for (unsigned i = 0; i < lane_count<T>; ++i) to[i] = f(x[i], y[i]);
  return to;
}

// All lanes at twice their width, for __builtin_convertvector: a 256-bit value that the compiler takes apart. Only ever a local
// variable, since passing one would depend on the target.
template <class T>
struct WideOf {
  using lane = std::conditional_t<sizeof(T) == 1, std::conditional_t<std::is_signed_v<T>, int16_t, uint16_t>,
                                  std::conditional_t<std::is_signed_v<T>, int32_t, uint32_t>>;
  typedef lane type __attribute__((vector_size(32)));
};
template <class T>
using Wide = typename WideOf<T>::type;

// The low lanes, widened to T.
template <class T, class From>
Lanes<T> extend_low(Packed v) {
  constexpr unsigned count = lane_count<T>;
  typedef From part __attribute__((vector_size(count * sizeof(From))));
  part low;
  std::memcpy(&low, &v.bits, sizeof low);
  return __builtin_convertvector(low, Lanes<T>);
}

}  // namespace matryoshka
