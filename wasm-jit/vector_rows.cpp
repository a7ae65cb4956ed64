// The table: a helper's function, and how to write what it does. Names of wasm instructions are those of its specification.
#include <array>
#include <limits>

#include "cpu/handlers/instances.h"
#include "wasm-jit/vector_step.h"

namespace matryoshka::jit {

namespace {

using V = VectorStep;

// ---- Integers and bits

template <Simd operation>
void binary(V& v) {
  uint32_t s = v.source();
  v.code.get(v.reg()), v.code.get(s), v.code.op(operation);
  v.set_xmm(v.op().reg);
}
// With the operands the other way round.
template <Simd operation>
void reversed(V& v) {
  uint32_t s = v.source();
  v.code.get(s), v.code.get(v.reg()), v.code.op(operation);
  v.set_xmm(v.op().reg);
}
// Of the source alone, once or several times over.
template <Simd... operations>
void unary(V& v) {
  uint32_t s = v.source();
  v.code.get(s), (v.code.op(operations), ...);
  v.set_xmm(v.op().reg);
}

void exclusive_or(V& v) {
  if (v.memory() || v.op().rm != v.op().reg) return binary<Simd::v128_xor>(v);
  v.code.v128(0, 0);
  v.set_xmm(v.op().reg);
  v.know(v.op().reg, LanesKnown::doubles | LanesKnown::low_double | LanesKnown::singles | LanesKnown::low_single);
}

template <Simd operation, unsigned width>
void shift_immediate(V& v) {
  constexpr bool arithmetic = operation == Simd::i16x8_shr_s || operation == Simd::i32x4_shr_s;
  unsigned count = v.immediate();
  if (count >= width && !arithmetic) {
    v.code.v128(0, 0);
  } else {
    v.code.get(v.rm()), v.code.i32(count < width ? count : width - 1), v.code.op(operation);
  }
  v.set_xmm(v.op().rm);
}

// By the low quadword of the source.
template <Simd operation, unsigned width>
void shift(V& v) {
  constexpr bool arithmetic = operation == Simd::i16x8_shr_s || operation == Simd::i32x4_shr_s;
  uint32_t s = v.source(), count = v.local(WasmType::i64);
  v.code.get(s), v.code.lane(Simd::i64x2_extract_lane, 0), v.code.set(count);
  auto in_range = [&] { v.code.get(count), v.code.i64(width), v.code.op(Wasm::i64_lt_u); };
  auto select_of = [&](WasmType type) {
    v.code.op(Wasm::select_typed), v.code.number(1), v.code.byte(static_cast<uint8_t>(type));
  };
  v.code.get(v.reg());
  if (arithmetic) {
    v.code.get(count), v.code.i64(width - 1), in_range(), select_of(WasmType::i64), v.code.op(Wasm::i32_wrap_i64);
    v.code.op(operation);
  } else {
    v.code.get(count), v.code.op(Wasm::i32_wrap_i64), v.code.op(operation);
    v.code.v128(0, 0), in_range(), select_of(WasmType::v128);
  }
  v.set_xmm(v.op().reg);
}

// Byte i of the result is byte from(i) of destination (0 to 15) or source (16 to 31).
template <class From>
void shuffle(V& v, uint32_t d, uint32_t s, From from) {
  v.code.get(d), v.code.get(s), v.code.op(Simd::i8x16_shuffle);
  for (unsigned i = 0; i < 16; ++i) v.code.byte(static_cast<uint8_t>(from(i)));
}
// The same by lanes of so many bytes.
template <unsigned bytes, class From>
void shuffle_lanes(V& v, From from) {
  uint32_t s = v.source();
  shuffle(v, v.reg(), s, [&](unsigned i) { return from(i / bytes) * bytes + i % bytes; });
  v.set_xmm(v.op().reg);
}

template <unsigned bytes, bool high>
void interleave(V& v) {
  constexpr unsigned count = 16 / bytes;
  shuffle_lanes<bytes>(v, [](unsigned i) { return i / 2 + (high ? count / 2 : 0) + (i % 2 ? count : 0); });
}
void shuffle_doublewords(V& v) {
  shuffle_lanes<4>(v, [&](unsigned i) { return 4 + (v.immediate() >> 2 * i & 3); });
}
template <unsigned first>
void shuffle_words(V& v) {
  shuffle_lanes<2>(
      v, [&](unsigned i) { return 8 + (i >= first && i < first + 4 ? first + (v.immediate() >> 2 * (i - first) & 3) : i); });
}
void shuffle_single(V& v) {
  shuffle_lanes<4>(v, [&](unsigned i) { return (i < 2 ? 0 : 4) + (v.immediate() >> 2 * i & 3); });
}
void shuffle_double(V& v) {
  shuffle_lanes<8>(v, [&](unsigned i) { return 2 * i + (v.immediate() >> i & 1); });
}
void duplicate_low(V& v) {
  shuffle_lanes<8>(v, [](unsigned) { return 2; });
}
template <unsigned odd>
void duplicate_singles(V& v) {
  shuffle_lanes<4>(v, [](unsigned i) { return 4 + (i & ~1u) + odd; });
}
template <unsigned bytes>
void blend(V& v) {
  shuffle_lanes<bytes>(v, [&](unsigned i) { return v.immediate() >> i & 1 ? i + 16 / bytes : i; });
}

uint32_t zero_in(V& v) {
  uint32_t zero = v.local(WasmType::v128);
  v.code.v128(0, 0), v.code.set(zero);
  return zero;
}
template <bool left>
void shift_bytes(V& v) {
  unsigned count = std::min(v.immediate(), 16u);
  shuffle(v, v.rm(), zero_in(v), [&](unsigned i) { return left ? (i >= count ? i - count : 16) : i + count; });
  v.set_xmm(v.op().rm);
}
void align_right(V& v) {
  uint32_t s = v.source();
  unsigned count = v.immediate();
  if (count <= 16)
    shuffle(v, s, v.reg(), [&](unsigned i) { return i + count; });
  else
    shuffle(v, v.reg(), zero_in(v), [&](unsigned i) { return std::min(i + count - 16, 16u); });
  v.set_xmm(v.op().reg);
}
void shuffle_bytes(V& v) {
  uint32_t s = v.source();
  v.code.get(v.reg());
  v.code.get(s), v.code.v128(0x8f8f8f8f8f8f8f8f, 0x8f8f8f8f8f8f8f8f), v.code.op(Simd::v128_and);
  v.code.op(Simd::i8x16_swizzle);
  v.set_xmm(v.op().reg);
}
// By the signs of XMM0's lanes.
template <Simd shift_right, unsigned width>
void blend_by_sign(V& v) {
  uint32_t s = v.source();
  v.code.get(s), v.code.get(v.reg());
  v.code.get(v.xmm(0)), v.code.i32(width - 1), v.code.op(shift_right);
  v.code.op(Simd::v128_bitselect);
  v.set_xmm(v.op().reg);
}

// "PMULHW", "PMULHUW": the upper halves of all products.
template <Simd low, Simd high>
void multiply_high(V& v) {
  uint32_t s = v.source(), a = v.local(WasmType::v128), b = v.local(WasmType::v128);
  v.code.get(v.reg()), v.code.get(s), v.code.op(low), v.code.set(a);
  v.code.get(v.reg()), v.code.get(s), v.code.op(high), v.code.set(b);
  shuffle(v, a, b, [](unsigned i) { return i / 2 * 4 + 2 + i % 2; });
  v.set_xmm(v.op().reg);
}
// "PMULUDQ", "PMULDQ": of the even lanes.
template <Simd operation>
void multiply_even(V& v) {
  uint32_t s = v.source();
  auto even = [](unsigned i) { return i < 8 ? i / 4 * 8 + i % 4 : 16 + i - 8; };
  shuffle(v, v.reg(), v.reg(), even);
  shuffle(v, s, s, even);
  v.code.op(operation);
  v.set_xmm(v.op().reg);
}

template <Simd operation>
void sign_mask(V& v) {
  v.code.get(v.rm()), v.code.op(operation), v.code.op(Wasm::i64_extend_i32_u), v.code.set(v.general(v.op().reg));
}

// "PTEST": ZF and CF tell whether two intersections are empty.
void test_bits(V& v) {
  uint32_t s = v.source();
  auto word = [&](Simd operation, uint64_t if_any, uint64_t if_none) {
    v.code.i64(if_any), v.code.i64(if_none);
    v.code.get(s), v.code.get(v.reg()), v.code.op(operation), v.code.op(Simd::v128_any_true), v.code.op(Wasm::select);
  };
  // StatusFlags::set_bits() with ZF or not, CF or not, and PF clear.
  word(Simd::v128_and, 0x100, 0);
  word(Simd::v128_andnot, StatusFlags::aux_pf, StatusFlags::aux_pf | StatusFlags::aux_cf | StatusFlags::aux_co);
  v.set_flags(false);
}

// ---- Moves

// Copies what is known along.
void move_register(V& v, unsigned to, unsigned from) {
  auto ordinary = v.known.ordinary[from];
  v.code.get(v.xmm(from));
  v.set_xmm(to);
  v.known.ordinary[to] = ordinary;
}
void load_move(V& v) {
  if (!v.memory()) return move_register(v, v.op().reg, v.op().rm);
  v.code.get(v.source());
  v.set_xmm(v.op().reg);
}
void store_move(V& v) {
  if (!v.memory()) return move_register(v, v.op().rm, v.op().reg);
  v.address(128, true, rows[v.op().row()].attributes & attribute::ALIGNED);
  v.code.get(v.reg()), v.code.access(Simd::v128_store, 0);
}

template <unsigned lane>
void store_quadword_lane(V& v) {
  v.address(64, true, false);
  v.code.get(v.reg()), v.code.access(Simd::v128_store64_lane, 0), v.code.byte(lane);
}
void store_doubleword(V& v) {
  v.address(32, true, false);
  v.code.get(v.reg()), v.code.access(Simd::v128_store32_lane, 0), v.code.byte(0);
}
template <unsigned lane>
void load_quadword_lane(V& v) {
  v.address(64, false, false);
  v.code.get(v.reg()), v.code.access(Simd::v128_load64_lane, 0), v.code.byte(lane);
  v.set_xmm(v.op().reg);
}
// Lane `from` of one register to lane `to` of another, whose rest stays.
void move_lane(V& v, unsigned to_register, unsigned to, unsigned from_register, unsigned from, bool wide) {
  uint8_t low = to == 0 && from == 0 ? v.known.ordinary[from_register] : 0;
  v.code.get(v.xmm(to_register));
  v.code.get(v.xmm(from_register)), v.code.lane(wide ? Simd::f64x2_extract_lane : Simd::f32x4_extract_lane, from);
  v.code.lane(wide ? Simd::f64x2_replace_lane : Simd::f32x4_replace_lane, to);
  v.set_xmm(to_register);
  v.know(to_register, low & (wide ? LanesKnown::low_double : LanesKnown::low_single));
}
template <bool wide>
void load_scalar(V& v) {
  if (!v.memory()) return move_lane(v, v.op().reg, 0, v.op().rm, 0, wide);
  v.code.get(v.source());
  v.set_xmm(v.op().reg);
}
template <bool wide>
void store_scalar(V& v) {
  if (!v.memory()) return move_lane(v, v.op().rm, 0, v.op().reg, 0, wide);
  wide ? store_quadword_lane<0>(v) : store_doubleword(v);
}
void high_to_low(V& v) { move_lane(v, v.op().reg, 0, v.op().rm, 1, true); }
void low_to_high(V& v) { move_lane(v, v.op().reg, 1, v.op().rm, 0, true); }

// The low quadword, and zero above it.
void zero_extended_quadword(V& v, unsigned to, unsigned from) {
  uint8_t low = v.known.ordinary[from] & LanesKnown::low_double;
  shuffle(v, v.xmm(from), zero_in(v), [](unsigned i) { return i < 8 ? i : 16; });
  v.set_xmm(to);
  v.know(to, low);
}
void load_quadword(V& v) {
  if (!v.memory()) return zero_extended_quadword(v, v.op().reg, v.op().rm);
  v.code.get(v.source());
  v.set_xmm(v.op().reg);
}
void store_quadword(V& v) {
  if (!v.memory()) return zero_extended_quadword(v, v.op().rm, v.op().reg);
  store_quadword_lane<0>(v);
}

// MOVD and MOVQ with general registers and memory.
void from_general(V& v) {
  bool wide = v.op().operand_bits() == 64;
  if (v.memory()) {
    v.address(wide ? 64 : 32, false, false);
    v.code.access(wide ? Simd::v128_load64_zero : Simd::v128_load32_zero, 0);
  } else {
    v.code.v128(0, 0), v.code.get(v.general(v.op().rm));
    if (!wide) v.code.op(Wasm::i32_wrap_i64);
    v.code.lane(wide ? Simd::i64x2_replace_lane : Simd::i32x4_replace_lane, 0);
  }
  v.set_xmm(v.op().reg);
}
void to_general(V& v) {
  bool wide = v.op().operand_bits() == 64;
  if (v.memory()) return wide ? store_quadword_lane<0>(v) : store_doubleword(v);
  v.code.get(v.reg()), v.code.lane(wide ? Simd::i64x2_extract_lane : Simd::i32x4_extract_lane, 0);
  if (!wide) v.code.op(Wasm::i64_extend_i32_u);
  v.code.set(v.general(v.op().rm));
}

struct Lane {
  unsigned bits;
  Simd extract, replace;
};
constexpr Lane lane8{8, Simd::i8x16_extract_lane_u, Simd::i8x16_replace_lane},
    lane16{16, Simd::i16x8_extract_lane_u, Simd::i16x8_replace_lane},
    lane32{32, Simd::i32x4_extract_lane, Simd::i32x4_replace_lane},
    lane64{64, Simd::i64x2_extract_lane, Simd::i64x2_replace_lane};

void insert(V& v, const Lane& lane) {
  uint32_t value = v.local(WasmType::i64);
  if (v.memory()) {
    v.address(lane.bits, false, false);
    v.code.access(lane.bits == 8    ? Wasm::i64_load8_u
                  : lane.bits == 16 ? Wasm::i64_load16_u
                  : lane.bits == 32 ? Wasm::i64_load32_u
                                    : Wasm::i64_load,
                  0);
  } else {
    v.code.get(v.general(v.op().rm));
  }
  v.code.set(value);
  v.code.get(v.reg()), v.code.get(value);
  if (lane.bits < 64) v.code.op(Wasm::i32_wrap_i64);
  v.code.lane(lane.replace, v.immediate() % (128 / lane.bits));
  v.set_xmm(v.op().reg);
}
void extract(V& v, const Lane& lane, unsigned from, unsigned to) {
  auto value = [&] {
    v.code.get(v.xmm(from)), v.code.lane(lane.extract, v.immediate() % (128 / lane.bits));
    if (lane.bits < 64) v.code.op(Wasm::i64_extend_i32_u);
  };
  if (!v.memory()) return value(), v.code.set(v.general(to));
  v.address(lane.bits, true, false);
  value();
  v.code.access(lane.bits == 8    ? Wasm::i64_store8
                : lane.bits == 16 ? Wasm::i64_store16
                : lane.bits == 32 ? Wasm::i64_store32
                                  : Wasm::i64_store,
                0);
}
template <const Lane& lane>
void insert_lane(V& v) {
  insert(v, lane);
}
template <const Lane& lane>
void extract_lane(V& v) {
  extract(v, lane, v.op().reg, v.op().rm);
}
void extract_word_from_rm(V& v) { extract(v, lane16, v.op().rm, v.op().reg); }
void insert_wide(V& v) { insert(v, v.op().operand_bits() == 64 ? lane64 : lane32); }
void extract_wide(V& v) { extract(v, v.op().operand_bits() == 64 ? lane64 : lane32, v.op().reg, v.op().rm); }

// ---- Floating point. The questions are those of the operations' provable() in cpu/ops/sse_float.h, or stricter ones.

struct Single {
  static constexpr bool wide = false;
  using Native = float;
  static constexpr WasmType type = WasmType::f32, bits_type = WasmType::i32;
  static constexpr uint64_t one = uint64_t{1} << 24, infinity = uint64_t{0xff} << 24;
  static constexpr uint8_t low_known = LanesKnown::low_single, all_known = LanesKnown::singles;
  static constexpr Simd replace = Simd::f32x4_replace_lane, all_true = Simd::i32x4_all_true, abs = Simd::f32x4_abs,
                        ge = Simd::f32x4_ge, lt = Simd::f32x4_lt, eq = Simd::f32x4_eq, le = Simd::f32x4_le;
  static constexpr Wasm scalar_lt = Wasm::f32_lt, scalar_gt = Wasm::f32_gt, scalar_eq = Wasm::f32_eq, scalar_le = Wasm::f32_le,
                        scalar_abs = Wasm::f32_abs, scalar_nearest = Wasm::f32_nearest;
  static constexpr Wasm rounding[4] = {Wasm::f32_nearest, Wasm::f32_floor, Wasm::f32_ceil, Wasm::f32_trunc};
  static uint64_t bits(float f) { return __builtin_bit_cast(uint32_t, f) * 0x100000001u; }
};
struct Double {
  static constexpr bool wide = true;
  using Native = double;
  static constexpr WasmType type = WasmType::f64, bits_type = WasmType::i64;
  static constexpr uint64_t one = uint64_t{1} << 53, infinity = uint64_t{0x7ff} << 53;
  static constexpr uint8_t low_known = LanesKnown::low_double, all_known = LanesKnown::doubles;
  static constexpr Simd replace = Simd::f64x2_replace_lane, all_true = Simd::i64x2_all_true, abs = Simd::f64x2_abs,
                        ge = Simd::f64x2_ge, lt = Simd::f64x2_lt, eq = Simd::f64x2_eq, le = Simd::f64x2_le;
  static constexpr Wasm scalar_lt = Wasm::f64_lt, scalar_gt = Wasm::f64_gt, scalar_eq = Wasm::f64_eq, scalar_le = Wasm::f64_le,
                        scalar_abs = Wasm::f64_abs, scalar_nearest = Wasm::f64_nearest;
  static constexpr Wasm rounding[4] = {Wasm::f64_nearest, Wasm::f64_floor, Wasm::f64_ceil, Wasm::f64_trunc};
  static uint64_t bits(double f) { return __builtin_bit_cast(uint64_t, f); }
};

template <class F>
void constant(V& v, typename F::Native n) {
  if constexpr (F::wide)
    v.code.f64(n);
  else
    v.code.f32(n);
}

// Pushes whether exponent and sign, seen as in cpu/ops/sse_float.h, are outside [least, most); and leaves them in a local.
template <class F>
uint32_t outside(V& v, uint32_t value, uint64_t least, uint64_t most) {
  uint32_t shifted = v.local(F::bits_type);
  v.code.get(value);
  if constexpr (F::wide) {
    v.code.op(Wasm::i64_reinterpret_f64), v.code.i64(1), v.code.op(Wasm::i64_shl), v.code.tee(shifted);
    v.code.i64(least), v.code.op(Wasm::i64_sub), v.code.i64(most - least), v.code.op(Wasm::i64_ge_u);
  } else {
    v.code.op(Wasm::i32_reinterpret_f32), v.code.i32(1), v.code.op(Wasm::i32_shl), v.code.tee(shifted);
    v.code.i32(static_cast<uint32_t>(least)), v.code.op(Wasm::i32_sub);
    v.code.i32(static_cast<uint32_t>(most - least)), v.code.op(Wasm::i32_ge_u);
  }
  return shifted;
}
template <class F>
void not_zero(V& v, uint32_t shifted) {
  v.code.get(shifted);
  if constexpr (F::wide)
    v.code.i64(0), v.code.op(Wasm::i64_ne);
  else
    v.code.i32(0), v.code.op(Wasm::i32_ne);
}
// Zero is rare, so it is asked for last.
template <class F>
void require_ordinary(V& v, uint32_t value, bool infinity_too = false) {
  uint32_t shifted = outside<F>(v, value, F::one, F::infinity + (infinity_too ? 1 : 0));
  v.code.open(Wasm::if_);
  not_zero<F>(v, shifted);
  v.leave_if(1);
  v.code.end();
}
template <class F>
void require_ordinary_low(V& v, unsigned n, uint32_t value) {
  if (v.knows(n, F::low_known | F::all_known)) return;
  require_ordinary<F>(v, value);
  v.know(n, F::low_known);
}
// A product or quotient that is surely not tiny, or zero because a factor is.
template <class F>
void require_well_normal(V& v, uint32_t value, std::initializer_list<uint32_t> unless_zero) {
  outside<F>(v, value, 2 * F::one, F::infinity);
  v.code.open(Wasm::if_);
  bool first = true;
  for (uint32_t factor : unless_zero) {
    v.code.get(factor), constant<F>(v, 0), v.code.op(F::scalar_eq);
    if (!first) v.code.op(Wasm::i32_or);
    first = false;
  }
  v.code.op(Wasm::i32_eqz);
  v.leave_if(1);
  v.code.end();
}

// The same for all lanes.
template <class F>
void ordinary_lanes(V& v, uint32_t value, typename F::Native least) {
  uint32_t magnitude = v.local(WasmType::v128);
  v.code.get(value), v.code.op(F::abs), v.code.set(magnitude);
  uint64_t low = F::bits(least), high = F::bits(std::numeric_limits<typename F::Native>::infinity());
  v.code.get(magnitude), v.code.v128(low, low), v.code.op(F::ge);
  v.code.get(magnitude), v.code.v128(high, high), v.code.op(F::lt), v.code.op(Simd::v128_and);
}
template <class F>
void zero_lanes(V& v, uint32_t value) {
  v.code.get(value), v.code.v128(0, 0), v.code.op(F::eq), v.code.op(Simd::v128_or);
}
template <class F>
void require_all(V& v) {
  v.code.op(F::all_true), v.code.op(Wasm::i32_eqz);
  v.leave_if(0);
}
template <class F>
void require_ordinary_lanes(V& v, uint32_t value) {
  ordinary_lanes<F>(v, value, std::numeric_limits<typename F::Native>::min());
  zero_lanes<F>(v, value);
  require_all<F>(v);
}
template <class F>
void require_ordinary_register(V& v, unsigned n) {
  if (v.knows(n, F::all_known)) return;
  require_ordinary_lanes<F>(v, v.xmm(n));
  v.know(n, F::all_known | F::low_known);
}
template <class F>
uint32_t ordinary_source(V& v) {
  uint32_t s = v.source();
  v.memory() ? require_ordinary_lanes<F>(v, s) : require_ordinary_register<F>(v, v.op().rm);
  return s;
}

enum class Arithmetic { add, multiply, divide, square_root, minimum, maximum };

template <class F, Arithmetic kind, Wasm operation>
void scalar(V& v) {
  constexpr bool picks = kind == Arithmetic::minimum || kind == Arithmetic::maximum;
  if (!picks) v.require_usual();
  const unsigned d = v.op().reg;
  uint32_t b = v.scalar_source(F::wide), a = b, result = v.local(F::type);
  if (kind != Arithmetic::square_root) {
    a = v.low_lane(d, F::wide);
    require_ordinary_low<F>(v, d, a);
  }
  v.memory() ? require_ordinary<F>(v, b) : require_ordinary_low<F>(v, v.op().rm, b);
  if (kind == Arithmetic::divide) v.code.get(b), constant<F>(v, 0), v.code.op(F::scalar_eq), v.leave_if(0);
  if (kind == Arithmetic::square_root) {
    v.code.get(b), constant<F>(v, 0), v.code.op(F::scalar_lt), v.leave_if(0);
    v.code.get(b), v.code.op(operation);
  } else {
    v.code.get(a), v.code.get(b);
    if (picks) v.code.get(a), v.code.get(b);
    v.code.op(operation);
    if (picks) v.code.op(Wasm::select);
  }
  v.code.set(result);
  if (kind == Arithmetic::add) require_ordinary<F>(v, result);
  if (kind == Arithmetic::multiply) require_well_normal<F>(v, result, {a, b});
  if (kind == Arithmetic::divide) require_well_normal<F>(v, result, {a});
  uint8_t rest = v.known.ordinary[d] & F::all_known;
  v.code.get(v.xmm(d)), v.code.get(result), v.code.lane(F::replace, 0);
  v.set_xmm(d);
  v.know(d, static_cast<uint8_t>(rest | F::low_known));
}

template <class F, Arithmetic kind, Simd operation>
void packed(V& v) {
  using Native = typename F::Native;
  constexpr bool picks = kind == Arithmetic::minimum || kind == Arithmetic::maximum;
  if (!picks) v.require_usual();
  const unsigned d = v.op().reg;
  uint32_t b = ordinary_source<F>(v), a = v.xmm(d), result = v.local(WasmType::v128);
  if (kind != Arithmetic::square_root) require_ordinary_register<F>(v, d);
  if (kind == Arithmetic::divide || kind == Arithmetic::square_root) {
    // A divisor that is not zero; a radicand that is not below it.
    v.code.get(b), v.code.v128(0, 0), v.code.op(kind == Arithmetic::divide ? F::eq : F::lt), v.code.op(Simd::v128_any_true);
    v.leave_if(0);
  }
  // The wasm instructions pick their first operand where neither is smaller.
  if (kind != Arithmetic::square_root && !picks) v.code.get(a);
  v.code.get(b);
  if (picks) v.code.get(a);
  v.code.op(operation), v.code.set(result);
  if (kind == Arithmetic::add) require_ordinary_lanes<F>(v, result);
  if (kind == Arithmetic::multiply || kind == Arithmetic::divide) {
    ordinary_lanes<F>(v, result, 2 * std::numeric_limits<Native>::min());
    zero_lanes<F>(v, a);
    if (kind == Arithmetic::multiply) zero_lanes<F>(v, b);
    require_all<F>(v);
  }
  v.code.get(result);
  v.set_xmm(d);
  v.know(d, F::all_known | F::low_known);
}

// COMISS and its like: neither is a NaN here, so which of them is greater tells all.
template <class F>
void compare_to_flags(V& v) {
  const unsigned d = v.op().reg;
  uint32_t b = v.scalar_source(F::wide), a = v.low_lane(d, F::wide);
  auto plain = [&](uint32_t value, unsigned n, bool is_register) {
    if (!is_register || !v.knows(n, F::low_known | F::all_known)) require_ordinary<F>(v, value, true);
  };
  plain(a, d, true), plain(b, v.op().rm, !v.memory());
  v.code.get(a), v.code.get(b), v.code.op(F::scalar_gt), v.code.op(Wasm::i64_extend_i32_u);
  v.code.get(a), v.code.get(b), v.code.op(F::scalar_lt), v.code.op(Wasm::i64_extend_i32_u);
  v.set_flags(true);
}

// CMPPS and its like.
template <class F>
void compare_packed(V& v) {
  const unsigned d = v.op().reg, predicate = v.immediate() & 7;
  uint32_t b = ordinary_source<F>(v);
  require_ordinary_register<F>(v, d);
  v.code.get(v.xmm(d)), v.code.get(b), v.code.op(predicate % 4 == 0 ? F::eq : predicate % 4 == 1 ? F::lt : F::le);
  if (predicate % 4 == 3) v.code.v128(0, 0), v.code.op(Simd::v128_and);
  if (predicate >= 4) v.code.op(Simd::v128_not);
  v.set_xmm(d);
}
template <class F>
void compare_scalar(V& v) {
  const unsigned d = v.op().reg, predicate = v.immediate() & 7;
  uint32_t b = v.scalar_source(F::wide), a = v.low_lane(d, F::wide);
  require_ordinary_low<F>(v, d, a);
  v.memory() ? require_ordinary<F>(v, b) : require_ordinary_low<F>(v, v.op().rm, b);
  v.code.get(v.xmm(d));
  if constexpr (F::wide)
    v.code.i64(0);
  else
    v.code.i32(0);
  v.code.get(a), v.code.get(b), v.code.op(predicate % 4 == 0 ? F::scalar_eq : predicate % 4 == 1 ? F::scalar_lt : F::scalar_le);
  if (predicate % 4 == 3) v.code.i32(0), v.code.op(Wasm::i32_and);
  if (predicate >= 4) v.code.op(Wasm::i32_eqz);
  if constexpr (F::wide)
    v.code.op(Wasm::i64_extend_i32_u), v.code.op(Wasm::i64_sub), v.code.lane(Simd::i64x2_replace_lane, 0);
  else
    v.code.op(Wasm::i32_sub), v.code.lane(Simd::i32x4_replace_lane, 0);
  v.set_xmm(d);
}

// CVTSI2SS, CVTSI2SD
template <class F>
void from_integer(V& v) {
  bool wide = v.op().operand_bits() == 64;
  if (wide || !F::wide) v.require_usual();
  uint32_t value = v.local(WasmType::i64);
  if (v.memory()) {
    v.address(wide ? 64 : 32, false, false);
    v.code.access(wide ? Wasm::i64_load : Wasm::i64_load32_u, 0);
  } else {
    v.code.get(v.general(v.op().rm));
  }
  v.code.set(value);
  const unsigned d = v.op().reg;
  v.code.get(v.xmm(d)), v.code.get(value);
  if (!wide) v.code.op(Wasm::i32_wrap_i64);
  v.code.op(F::wide ? (wide ? Wasm::f64_convert_i64_s : Wasm::f64_convert_i32_s)
                    : (wide ? Wasm::f32_convert_i64_s : Wasm::f32_convert_i32_s));
  v.code.lane(F::replace, 0);
  v.set_xmm(d);
  v.know(d, F::low_known);
}
// CVTTSS2SI and its like: magnitudes below the type's largest power of two fit after any rounding.
template <class F, bool truncates>
void to_integer(V& v) {
  bool wide = v.op().operand_bits() == 64;
  v.require_usual();
  uint32_t b = v.scalar_source(F::wide);
  v.memory() ? require_ordinary<F>(v, b) : require_ordinary_low<F>(v, v.op().rm, b);
  v.code.get(b), v.code.op(F::scalar_abs);
  constant<F>(v, wide ? static_cast<typename F::Native>(0x1p62) : static_cast<typename F::Native>(0x1p30));
  v.code.op(F::scalar_lt), v.code.op(Wasm::i32_eqz);
  v.leave_if(0);
  v.code.get(b);
  if (!truncates) v.code.op(F::scalar_nearest);
  if (wide)
    v.code.op(F::wide ? Wasm::i64_trunc_f64_s : Wasm::i64_trunc_f32_s);
  else
    v.code.op(F::wide ? Wasm::i32_trunc_f64_s : Wasm::i32_trunc_f32_s), v.code.op(Wasm::i64_extend_i32_u);
  v.code.set(v.general(v.op().reg));
}

void single_to_double(V& v) {
  uint32_t b = v.scalar_source(false);
  v.memory() ? require_ordinary<Single>(v, b) : require_ordinary_low<Single>(v, v.op().rm, b);
  const unsigned d = v.op().reg;
  v.code.get(v.xmm(d)), v.code.get(b), v.code.op(Wasm::f64_promote_f32), v.code.lane(Simd::f64x2_replace_lane, 0);
  v.set_xmm(d);
  v.know(d, LanesKnown::low_double);
}
void double_to_single(V& v) {
  v.require_usual();
  uint32_t b = v.scalar_source(true), result = v.local(WasmType::f32), zero = v.local(WasmType::f32);
  v.memory() ? require_ordinary<Double>(v, b) : require_ordinary_low<Double>(v, v.op().rm, b);
  v.code.get(b), v.code.op(Wasm::f32_demote_f64), v.code.set(result);
  // Zero only where the double is.
  v.code.f32(0), v.code.f32(1), v.code.get(b), v.code.f64(0), v.code.op(Wasm::f64_eq), v.code.op(Wasm::select), v.code.set(zero);
  require_well_normal<Single>(v, result, {zero});
  const unsigned d = v.op().reg;
  v.code.get(v.xmm(d)), v.code.get(result), v.code.lane(Simd::f32x4_replace_lane, 0);
  v.set_xmm(d);
  v.know(d, LanesKnown::low_single);
}
void singles_to_doubles(V& v) {
  uint32_t s = v.source(), low = v.local(WasmType::v128);
  v.code.get(s), v.code.v128(~uint64_t{0}, 0), v.code.op(Simd::v128_and), v.code.set(low);
  require_ordinary_lanes<Single>(v, low);
  v.code.get(low), v.code.op(Simd::f64x2_promote_low_f32x4);
  v.set_xmm(v.op().reg);
  v.know(v.op().reg, LanesKnown::doubles | LanesKnown::low_double);
}
void integers_to_singles(V& v) {
  v.require_usual();
  unary<Simd::f32x4_convert_i32x4_s>(v);
  v.know(v.op().reg, LanesKnown::singles | LanesKnown::low_single);
}
void integers_to_doubles(V& v) {
  unary<Simd::f64x2_convert_low_i32x4_s>(v);
  v.know(v.op().reg, LanesKnown::doubles | LanesKnown::low_double);
}

template <class F>
void round_scalar(V& v) {
  v.require_usual();
  uint32_t b = v.scalar_source(F::wide);
  v.memory() ? require_ordinary<F>(v, b) : require_ordinary_low<F>(v, v.op().rm, b);
  const unsigned d = v.op().reg, mode = v.immediate() & 4 ? 0 : v.immediate() & 3;
  v.code.get(v.xmm(d)), v.code.get(b), v.code.op(F::rounding[mode]), v.code.lane(F::replace, 0);
  v.set_xmm(d);
  v.know(d, F::low_known);
}

constexpr auto add = Arithmetic::add, multiply = Arithmetic::multiply, divide = Arithmetic::divide,
               square_root = Arithmetic::square_root, minimum = Arithmetic::minimum, maximum = Arithmetic::maximum;

const VectorRow table[] = {
    // Arithmetic of integers
    {&sse::packed<lanes::add<uint8_t>>, binary<Simd::i8x16_add>},
    {&sse::packed<lanes::add<uint16_t>>, binary<Simd::i16x8_add>},
    {&sse::packed<lanes::add<uint32_t>>, binary<Simd::i32x4_add>},
    {&sse::packed<lanes::add<uint64_t>>, binary<Simd::i64x2_add>},
    {&sse::packed<lanes::add_saturated<int8_t>>, binary<Simd::i8x16_add_sat_s>},
    {&sse::packed<lanes::add_saturated<int16_t>>, binary<Simd::i16x8_add_sat_s>},
    {&sse::packed<lanes::add_saturated<uint8_t>>, binary<Simd::i8x16_add_sat_u>},
    {&sse::packed<lanes::add_saturated<uint16_t>>, binary<Simd::i16x8_add_sat_u>},
    {&sse::packed<lanes::subtract<uint8_t>>, binary<Simd::i8x16_sub>},
    {&sse::packed<lanes::subtract<uint16_t>>, binary<Simd::i16x8_sub>},
    {&sse::packed<lanes::subtract<uint32_t>>, binary<Simd::i32x4_sub>},
    {&sse::packed<lanes::subtract<uint64_t>>, binary<Simd::i64x2_sub>},
    {&sse::packed<lanes::subtract_saturated<int8_t>>, binary<Simd::i8x16_sub_sat_s>},
    {&sse::packed<lanes::subtract_saturated<int16_t>>, binary<Simd::i16x8_sub_sat_s>},
    {&sse::packed<lanes::subtract_saturated<uint8_t>>, binary<Simd::i8x16_sub_sat_u>},
    {&sse::packed<lanes::subtract_saturated<uint16_t>>, binary<Simd::i16x8_sub_sat_u>},
    {&sse::packed<lanes::multiply_low<uint16_t>>, binary<Simd::i16x8_mul>},
    {&sse::packed<lanes::multiply_low<uint32_t>>, binary<Simd::i32x4_mul>},
    {&sse::packed<lanes::multiply_high<int16_t>>, multiply_high<Simd::i32x4_extmul_low_i16x8_s, Simd::i32x4_extmul_high_i16x8_s>},
    {&sse::packed<lanes::multiply_high<uint16_t>>,
     multiply_high<Simd::i32x4_extmul_low_i16x8_u, Simd::i32x4_extmul_high_i16x8_u>},
    {&sse::packed<lanes::multiply_even_unsigned>, multiply_even<Simd::i64x2_extmul_low_i32x4_u>},
    {&sse::packed<lanes::multiply_even_signed>, multiply_even<Simd::i64x2_extmul_low_i32x4_s>},
    {&sse::packed<lanes::multiply_add_words>, binary<Simd::i32x4_dot_i16x8_s>},
    {&sse::packed<lanes::average<uint8_t>>, binary<Simd::i8x16_avgr_u>},
    {&sse::packed<lanes::average<uint16_t>>, binary<Simd::i16x8_avgr_u>},
    {&sse::packed<lanes::absolute<int8_t>>, unary<Simd::i8x16_abs>},
    {&sse::packed<lanes::absolute<int16_t>>, unary<Simd::i16x8_abs>},
    {&sse::packed<lanes::absolute<int32_t>>, unary<Simd::i32x4_abs>},
    {&sse::packed<lanes::minimum<uint8_t>>, binary<Simd::i8x16_min_u>},
    {&sse::packed<lanes::maximum<uint8_t>>, binary<Simd::i8x16_max_u>},
    {&sse::packed<lanes::minimum<int16_t>>, binary<Simd::i16x8_min_s>},
    {&sse::packed<lanes::maximum<int16_t>>, binary<Simd::i16x8_max_s>},
    {&sse::packed<lanes::minimum<int8_t>>, binary<Simd::i8x16_min_s>},
    {&sse::packed<lanes::maximum<int8_t>>, binary<Simd::i8x16_max_s>},
    {&sse::packed<lanes::minimum<uint16_t>>, binary<Simd::i16x8_min_u>},
    {&sse::packed<lanes::maximum<uint16_t>>, binary<Simd::i16x8_max_u>},
    {&sse::packed<lanes::minimum<int32_t>>, binary<Simd::i32x4_min_s>},
    {&sse::packed<lanes::maximum<int32_t>>, binary<Simd::i32x4_max_s>},
    {&sse::packed<lanes::minimum<uint32_t>>, binary<Simd::i32x4_min_u>},
    {&sse::packed<lanes::maximum<uint32_t>>, binary<Simd::i32x4_max_u>},
    // Comparisons and logic
    {&sse::packed<lanes::equal<uint8_t>>, binary<Simd::i8x16_eq>},
    {&sse::packed<lanes::equal<uint16_t>>, binary<Simd::i16x8_eq>},
    {&sse::packed<lanes::equal<uint32_t>>, binary<Simd::i32x4_eq>},
    {&sse::packed<lanes::equal<uint64_t>>, binary<Simd::i64x2_eq>},
    {&sse::packed<lanes::greater<int8_t>>, binary<Simd::i8x16_gt_s>},
    {&sse::packed<lanes::greater<int16_t>>, binary<Simd::i16x8_gt_s>},
    {&sse::packed<lanes::greater<int32_t>>, binary<Simd::i32x4_gt_s>},
    {&sse::packed<lanes::greater<int64_t>>, binary<Simd::i64x2_gt_s>},
    {&sse::packed<lanes::and_>, binary<Simd::v128_and>},
    {&sse::packed<lanes::and_not>, reversed<Simd::v128_andnot>},
    {&sse::packed<lanes::or_>, binary<Simd::v128_or>},
    {&sse::packed<lanes::xor_>, exclusive_or},
    {&sse::test_bits, test_bits, VectorRow::Flags::plain},
    // Shifts
    {&sse::shift<lanes::shift_left<uint16_t>>, shift<Simd::i16x8_shl, 16>},
    {&sse::shift<lanes::shift_left<uint32_t>>, shift<Simd::i32x4_shl, 32>},
    {&sse::shift<lanes::shift_left<uint64_t>>, shift<Simd::i64x2_shl, 64>},
    {&sse::shift<lanes::shift_right<uint16_t>>, shift<Simd::i16x8_shr_u, 16>},
    {&sse::shift<lanes::shift_right<uint32_t>>, shift<Simd::i32x4_shr_u, 32>},
    {&sse::shift<lanes::shift_right<uint64_t>>, shift<Simd::i64x2_shr_u, 64>},
    {&sse::shift<lanes::shift_right<int16_t>>, shift<Simd::i16x8_shr_s, 16>},
    {&sse::shift<lanes::shift_right<int32_t>>, shift<Simd::i32x4_shr_s, 32>},
    {&sse::shift_immediate<lanes::shift_left<uint16_t>>, shift_immediate<Simd::i16x8_shl, 16>},
    {&sse::shift_immediate<lanes::shift_left<uint32_t>>, shift_immediate<Simd::i32x4_shl, 32>},
    {&sse::shift_immediate<lanes::shift_left<uint64_t>>, shift_immediate<Simd::i64x2_shl, 64>},
    {&sse::shift_immediate<lanes::shift_right<uint16_t>>, shift_immediate<Simd::i16x8_shr_u, 16>},
    {&sse::shift_immediate<lanes::shift_right<uint32_t>>, shift_immediate<Simd::i32x4_shr_u, 32>},
    {&sse::shift_immediate<lanes::shift_right<uint64_t>>, shift_immediate<Simd::i64x2_shr_u, 64>},
    {&sse::shift_immediate<lanes::shift_right<int16_t>>, shift_immediate<Simd::i16x8_shr_s, 16>},
    {&sse::shift_immediate<lanes::shift_right<int32_t>>, shift_immediate<Simd::i32x4_shr_s, 32>},
    {&sse::shift_immediate<lanes::shift_left_bytes>, shift_bytes<true>},
    {&sse::shift_immediate<lanes::shift_right_bytes>, shift_bytes<false>},
    // Lanes that move
    {&sse::packed<lanes::pack<int8_t>>, binary<Simd::i8x16_narrow_i16x8_s>},
    {&sse::packed<lanes::pack<uint8_t>>, binary<Simd::i8x16_narrow_i16x8_u>},
    {&sse::packed<lanes::pack<int16_t>>, binary<Simd::i16x8_narrow_i32x4_s>},
    {&sse::packed<lanes::pack<uint16_t>>, binary<Simd::i16x8_narrow_i32x4_u>},
    {&sse::packed<lanes::interleave_low<uint8_t>>, interleave<1, false>},
    {&sse::packed<lanes::interleave_low<uint16_t>>, interleave<2, false>},
    {&sse::packed<lanes::interleave_low<uint32_t>>, interleave<4, false>},
    {&sse::packed<lanes::interleave_low<uint64_t>>, interleave<8, false>},
    {&sse::packed<lanes::interleave_high<uint8_t>>, interleave<1, true>},
    {&sse::packed<lanes::interleave_high<uint16_t>>, interleave<2, true>},
    {&sse::packed<lanes::interleave_high<uint32_t>>, interleave<4, true>},
    {&sse::packed<lanes::interleave_high<uint64_t>>, interleave<8, true>},
    {&sse::packed_immediate<lanes::shuffle_doublewords>, shuffle_doublewords},
    {&sse::packed_immediate<lanes::shuffle_low_words>, shuffle_words<0>},
    {&sse::packed_immediate<lanes::shuffle_high_words>, shuffle_words<4>},
    {&sse::packed_immediate<lanes::shuffle_single>, shuffle_single},
    {&sse::packed_immediate<lanes::shuffle_double>, shuffle_double},
    {&sse::packed_immediate<lanes::align_right>, align_right},
    {&sse::packed_immediate<lanes::blend<uint16_t>>, blend<2>},
    {&sse::packed_immediate<lanes::blend<uint32_t>>, blend<4>},
    {&sse::packed_immediate<lanes::blend<uint64_t>>, blend<8>},
    {&sse::packed_by_xmm0<lanes::blend_by_sign<uint8_t>>, blend_by_sign<Simd::i8x16_shr_s, 8>},
    {&sse::packed_by_xmm0<lanes::blend_by_sign<uint32_t>>, blend_by_sign<Simd::i32x4_shr_s, 32>},
    {&sse::packed_by_xmm0<lanes::blend_by_sign<uint64_t>>, blend_by_sign<Simd::i64x2_shr_s, 64>},
    {&sse::packed<lanes::shuffle_bytes>, shuffle_bytes},
    {&sse::packed_q<lanes::duplicate_low>, duplicate_low},
    {&sse::packed<lanes::duplicate_even>, duplicate_singles<0>},
    {&sse::packed<lanes::duplicate_odd>, duplicate_singles<1>},
    {&sse::packed_q<lanes::sign_extend_b_w>, unary<Simd::i16x8_extend_low_i8x16_s>},
    {&sse::packed_d<lanes::sign_extend_b_d>, unary<Simd::i16x8_extend_low_i8x16_s, Simd::i32x4_extend_low_i16x8_s>},
    {&sse::packed_q<lanes::sign_extend_w_d>, unary<Simd::i32x4_extend_low_i16x8_s>},
    {&sse::packed_d<lanes::sign_extend_w_q>, unary<Simd::i32x4_extend_low_i16x8_s, Simd::i64x2_extend_low_i32x4_s>},
    {&sse::packed_q<lanes::sign_extend_d_q>, unary<Simd::i64x2_extend_low_i32x4_s>},
    {&sse::packed_q<lanes::zero_extend_b_w>, unary<Simd::i16x8_extend_low_i8x16_u>},
    {&sse::packed_d<lanes::zero_extend_b_d>, unary<Simd::i16x8_extend_low_i8x16_u, Simd::i32x4_extend_low_i16x8_u>},
    {&sse::packed_q<lanes::zero_extend_w_d>, unary<Simd::i32x4_extend_low_i16x8_u>},
    {&sse::packed_d<lanes::zero_extend_w_q>, unary<Simd::i32x4_extend_low_i16x8_u, Simd::i64x2_extend_low_i32x4_u>},
    {&sse::packed_q<lanes::zero_extend_d_q>, unary<Simd::i64x2_extend_low_i32x4_u>},
    {&sse::to_mask<lanes::sign_mask<uint8_t>>, sign_mask<Simd::i8x16_bitmask>},
    {&sse::to_mask<lanes::sign_mask<uint32_t>>, sign_mask<Simd::i32x4_bitmask>},
    {&sse::to_mask<lanes::sign_mask<uint64_t>>, sign_mask<Simd::i64x2_bitmask>},
    // Moves
    {&sse::load_aligned_move, load_move},
    {&sse::load_unaligned_move, load_move},
    {&sse::store_aligned_move, store_move},
    {&sse::store_unaligned_move, store_move},
    {&sse::load_single, load_scalar<false>},
    {&sse::load_double, load_scalar<true>},
    {&sse::store_single, store_scalar<false>},
    {&sse::store_double, store_scalar<true>},
    {&sse::load_low, load_quadword_lane<0>},
    {&sse::load_high, load_quadword_lane<1>},
    {&sse::store_low, store_quadword_lane<0>},
    {&sse::store_high, store_quadword_lane<1>},
    {&sse::high_to_low, high_to_low},
    {&sse::low_to_high, low_to_high},
    {&sse::load_quadword, load_quadword},
    {&sse::store_quadword, store_quadword},
    {&sse::from_general, from_general},
    {&sse::to_general, to_general},
    {&sse::insert_byte, insert_lane<lane8>},
    {&sse::insert_word, insert_lane<lane16>},
    {&sse::insert_wide, insert_wide},
    {&sse::extract_byte, extract_lane<lane8>},
    {&sse::extract_word, extract_lane<lane16>},
    {&sse::extract_word_from_rm, extract_word_from_rm},
    {&sse::extract_wide, extract_wide},
    {&sse::extract_single, extract_lane<lane32>},
    // Floating point
    {&sse::scalar_single<sse::Add>, scalar<Single, add, Wasm::f32_add>},
    {&sse::scalar_double<sse::Add>, scalar<Double, add, Wasm::f64_add>},
    {&sse::packed_single<sse::Add>, packed<Single, add, Simd::f32x4_add>},
    {&sse::packed_double<sse::Add>, packed<Double, add, Simd::f64x2_add>},
    {&sse::scalar_single<sse::Subtract>, scalar<Single, add, Wasm::f32_sub>},
    {&sse::scalar_double<sse::Subtract>, scalar<Double, add, Wasm::f64_sub>},
    {&sse::packed_single<sse::Subtract>, packed<Single, add, Simd::f32x4_sub>},
    {&sse::packed_double<sse::Subtract>, packed<Double, add, Simd::f64x2_sub>},
    {&sse::scalar_single<sse::Multiply>, scalar<Single, multiply, Wasm::f32_mul>},
    {&sse::scalar_double<sse::Multiply>, scalar<Double, multiply, Wasm::f64_mul>},
    {&sse::packed_single<sse::Multiply>, packed<Single, multiply, Simd::f32x4_mul>},
    {&sse::packed_double<sse::Multiply>, packed<Double, multiply, Simd::f64x2_mul>},
    {&sse::scalar_single<sse::Divide>, scalar<Single, divide, Wasm::f32_div>},
    {&sse::scalar_double<sse::Divide>, scalar<Double, divide, Wasm::f64_div>},
    {&sse::packed_single<sse::Divide>, packed<Single, divide, Simd::f32x4_div>},
    {&sse::packed_double<sse::Divide>, packed<Double, divide, Simd::f64x2_div>},
    {&sse::scalar_single<sse::SquareRoot>, scalar<Single, square_root, Wasm::f32_sqrt>},
    {&sse::scalar_double<sse::SquareRoot>, scalar<Double, square_root, Wasm::f64_sqrt>},
    {&sse::packed_single<sse::SquareRoot>, packed<Single, square_root, Simd::f32x4_sqrt>},
    {&sse::packed_double<sse::SquareRoot>, packed<Double, square_root, Simd::f64x2_sqrt>},
    {&sse::scalar_single<sse::Minimum>, scalar<Single, minimum, Wasm::f32_lt>},
    {&sse::scalar_double<sse::Minimum>, scalar<Double, minimum, Wasm::f64_lt>},
    {&sse::packed_single<sse::Minimum>, packed<Single, minimum, Simd::f32x4_pmin>},
    {&sse::packed_double<sse::Minimum>, packed<Double, minimum, Simd::f64x2_pmin>},
    {&sse::scalar_single<sse::Maximum>, scalar<Single, maximum, Wasm::f32_gt>},
    {&sse::scalar_double<sse::Maximum>, scalar<Double, maximum, Wasm::f64_gt>},
    {&sse::packed_single<sse::Maximum>, packed<Single, maximum, Simd::f32x4_pmax>},
    {&sse::packed_double<sse::Maximum>, packed<Double, maximum, Simd::f64x2_pmax>},
    {&sse::compare_packed_single, compare_packed<Single>},
    {&sse::compare_packed_double, compare_packed<Double>},
    {&sse::compare_scalar_single, compare_scalar<Single>},
    {&sse::compare_scalar_double, compare_scalar<Double>},
    {&sse::comis_single, compare_to_flags<Single>, VectorRow::Flags::ordered},
    {&sse::ucomis_single, compare_to_flags<Single>, VectorRow::Flags::ordered},
    {&sse::comis_double, compare_to_flags<Double>, VectorRow::Flags::ordered},
    {&sse::ucomis_double, compare_to_flags<Double>, VectorRow::Flags::ordered},
    {&sse::general_to_single, from_integer<Single>},
    {&sse::general_to_double, from_integer<Double>},
    {&sse::single_to_general, to_integer<Single, false>},
    {&sse::single_to_general_truncated, to_integer<Single, true>},
    {&sse::double_to_general, to_integer<Double, false>},
    {&sse::double_to_general_truncated, to_integer<Double, true>},
    {&sse::scalar_single_to_double, single_to_double},
    {&sse::scalar_double_to_single, double_to_single},
    {&sse::packed_single_to_double, singles_to_doubles},
    {&sse::integers_to_single, integers_to_singles},
    {&sse::integers_to_double, integers_to_doubles},
    {&sse::round_scalar_single, round_scalar<Single>},
    {&sse::round_scalar_double, round_scalar<Double>},
};

}  // namespace

const VectorRow* vector_row(unsigned row) {
  static const auto by_row = [] {
    std::array<const VectorRow*, row_count> all{};
    for (unsigned r = 0; r < row_count; ++r)
      if (rows[r].kind == Kind::kind_helper && rows[r].attributes & attribute::SSE_STATE)
        for (const VectorRow& v : table)
          if (handler_for(static_cast<uint16_t>(r * 8)) == v.handler) all[r] = &v;
    return all;
  }();
  return by_row[row];
}

unsigned unused_vector_rows() {
  unsigned unused = 0;
  for (const VectorRow& v : table) {
    bool used = false;
    for (unsigned r = 0; r < row_count; ++r) used |= vector_row(r) == &v;
    unused += !used;
  }
  return unused;
}

}  // namespace matryoshka::jit
