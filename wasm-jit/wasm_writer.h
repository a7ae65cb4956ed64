// Writes WebAssembly's binary format: instructions one by one, sections around them. Names as in the specification's "Binary
// Format".
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace matryoshka::jit {

// The instructions that regions are made of.
// clang-format off
enum class Wasm : uint8_t {
  unreachable = 0x00, block = 0x02, loop = 0x03, if_ = 0x04, else_ = 0x05, end = 0x0b, br = 0x0c, br_if = 0x0d, br_table = 0x0e,
  return_ = 0x0f, call_indirect = 0x11, return_call_indirect = 0x13, drop = 0x1a, select = 0x1b,
  local_get = 0x20, local_set = 0x21, local_tee = 0x22,
  select_typed = 0x1c,
  i32_load = 0x28, i64_load = 0x29, f32_load = 0x2a, f64_load = 0x2b, i32_load8_u = 0x2d, i32_load16_u = 0x2f, i64_load8_u = 0x31, i64_load16_u = 0x33, i64_load32_s = 0x34,
  i64_load32_u = 0x35,
  i32_store = 0x36, i64_store = 0x37, i32_store8 = 0x3a, i64_store8 = 0x3c, i64_store16 = 0x3d, i64_store32 = 0x3e,
  i32_const = 0x41, i64_const = 0x42, f32_const = 0x43, f64_const = 0x44,
  i32_eqz = 0x45, i32_eq = 0x46, i32_ne = 0x47, i32_lt_s = 0x48, i32_lt_u = 0x49, i32_ge_u = 0x4f,
  i64_eqz = 0x50, i64_eq = 0x51, i64_ne = 0x52, i64_lt_s = 0x53, i64_lt_u = 0x54, i64_gt_u = 0x56, i64_ge_u = 0x5a,
  f32_eq = 0x5b, f32_lt = 0x5d, f32_gt = 0x5e, f32_le = 0x5f, f64_eq = 0x61, f64_lt = 0x63, f64_gt = 0x64, f64_le = 0x65,
  i32_add = 0x6a, i32_sub = 0x6b, i32_mul = 0x6c, i32_and = 0x71, i32_or = 0x72, i32_xor = 0x73, i32_shl = 0x74, i32_shr_s = 0x75,
  i32_shr_u = 0x76,
  i64_clz = 0x79, i64_ctz = 0x7a, i64_popcnt = 0x7b, i64_add = 0x7c, i64_sub = 0x7d, i64_mul = 0x7e, i64_and = 0x83, i64_or = 0x84,
  i64_xor = 0x85, i64_shl = 0x86, i64_shr_s = 0x87, i64_shr_u = 0x88, i64_rotr = 0x8a,
  f32_abs = 0x8b, f32_ceil = 0x8d, f32_floor = 0x8e, f32_trunc = 0x8f, f32_nearest = 0x90, f32_sqrt = 0x91, f32_add = 0x92,
  f32_sub = 0x93, f32_mul = 0x94, f32_div = 0x95,
  f64_abs = 0x99, f64_ceil = 0x9b, f64_floor = 0x9c, f64_trunc = 0x9d, f64_nearest = 0x9e, f64_sqrt = 0x9f, f64_add = 0xa0,
  f64_sub = 0xa1, f64_mul = 0xa2, f64_div = 0xa3,
  i32_trunc_f32_s = 0xa8, i32_trunc_f64_s = 0xaa, i64_trunc_f32_s = 0xae, i64_trunc_f64_s = 0xb0, f32_convert_i32_s = 0xb2,
  f32_convert_i64_s = 0xb4, f32_demote_f64 = 0xb6, f64_convert_i32_s = 0xb7, f64_convert_i64_s = 0xb9, f64_promote_f32 = 0xbb,
  i32_reinterpret_f32 = 0xbc, i64_reinterpret_f64 = 0xbd,
  i32_wrap_i64 = 0xa7, i64_extend_i32_s = 0xac, i64_extend_i32_u = 0xad, i64_extend8_s = 0xc2, i64_extend16_s = 0xc3,
  i64_extend32_s = 0xc4
};

// Behind the prefix 0xfd.
enum class Simd : uint8_t {
  v128_load = 0x00, v128_store = 0x0b, v128_const = 0x0c, i8x16_shuffle = 0x0d, i8x16_swizzle = 0x0e,
  i8x16_extract_lane_u = 0x16, i8x16_replace_lane = 0x17, i16x8_extract_lane_u = 0x19, i16x8_replace_lane = 0x1a,
  i32x4_extract_lane = 0x1b, i32x4_replace_lane = 0x1c, i64x2_extract_lane = 0x1d, i64x2_replace_lane = 0x1e,
  f32x4_extract_lane = 0x1f, f32x4_replace_lane = 0x20, f64x2_extract_lane = 0x21, f64x2_replace_lane = 0x22,
  i8x16_eq = 0x23, i8x16_gt_s = 0x27, i16x8_eq = 0x2d, i16x8_gt_s = 0x31, i32x4_eq = 0x37, i32x4_gt_s = 0x3b,
  f32x4_eq = 0x41, f32x4_lt = 0x43, f32x4_le = 0x45, f32x4_ge = 0x46, f64x2_eq = 0x47, f64x2_lt = 0x49, f64x2_le = 0x4b,
  f64x2_ge = 0x4c,
  v128_not = 0x4d, v128_and = 0x4e, v128_andnot = 0x4f, v128_or = 0x50, v128_xor = 0x51, v128_bitselect = 0x52,
  v128_any_true = 0x53, v128_load64_lane = 0x57, v128_store32_lane = 0x5a, v128_store64_lane = 0x5b, v128_load32_zero = 0x5c,
  v128_load64_zero = 0x5d, f32x4_demote_f64x2_zero = 0x5e, f64x2_promote_low_f32x4 = 0x5f,
  i8x16_abs = 0x60, i8x16_bitmask = 0x64, i8x16_narrow_i16x8_s = 0x65, i8x16_narrow_i16x8_u = 0x66, i8x16_shr_s = 0x6c,
  i8x16_add = 0x6e, i8x16_add_sat_s = 0x6f, i8x16_add_sat_u = 0x70, i8x16_sub = 0x71, i8x16_sub_sat_s = 0x72,
  i8x16_sub_sat_u = 0x73, i8x16_min_s = 0x76, i8x16_min_u = 0x77, i8x16_max_s = 0x78, i8x16_max_u = 0x79, i8x16_avgr_u = 0x7b,
  i16x8_abs = 0x80, i16x8_narrow_i32x4_s = 0x85, i16x8_narrow_i32x4_u = 0x86, i16x8_extend_low_i8x16_s = 0x87,
  i16x8_extend_low_i8x16_u = 0x89, i16x8_shl = 0x8b, i16x8_shr_s = 0x8c, i16x8_shr_u = 0x8d, i16x8_add = 0x8e,
  i16x8_add_sat_s = 0x8f, i16x8_add_sat_u = 0x90, i16x8_sub = 0x91, i16x8_sub_sat_s = 0x92, i16x8_sub_sat_u = 0x93,
  i16x8_mul = 0x95, i16x8_min_s = 0x96, i16x8_min_u = 0x97, i16x8_max_s = 0x98, i16x8_max_u = 0x99, i16x8_avgr_u = 0x9b,
  i32x4_abs = 0xa0, i32x4_all_true = 0xa3, i32x4_bitmask = 0xa4, i32x4_extend_low_i16x8_s = 0xa7,
  i32x4_extend_low_i16x8_u = 0xa9, i32x4_shl = 0xab, i32x4_shr_s = 0xac, i32x4_shr_u = 0xad, i32x4_add = 0xae,
  i32x4_sub = 0xb1, i32x4_mul = 0xb5, i32x4_min_s = 0xb6, i32x4_min_u = 0xb7, i32x4_max_s = 0xb8, i32x4_max_u = 0xb9,
  i32x4_dot_i16x8_s = 0xba, i32x4_extmul_low_i16x8_s = 0xbc, i32x4_extmul_high_i16x8_s = 0xbd, i32x4_extmul_low_i16x8_u = 0xbe,
  i32x4_extmul_high_i16x8_u = 0xbf, i64x2_all_true = 0xc3, i64x2_bitmask = 0xc4, i64x2_extend_low_i32x4_s = 0xc7,
  i64x2_extend_low_i32x4_u = 0xc9, i64x2_shl = 0xcb, i64x2_shr_s = 0xcc, i64x2_shr_u = 0xcd, i64x2_add = 0xce,
  i64x2_sub = 0xd1, i64x2_eq = 0xd6, i64x2_gt_s = 0xd9, i64x2_extmul_low_i32x4_s = 0xdc, i64x2_extmul_low_i32x4_u = 0xde,
  f32x4_abs = 0xe0, f32x4_sqrt = 0xe3, f32x4_add = 0xe4, f32x4_sub = 0xe5, f32x4_mul = 0xe6, f32x4_div = 0xe7,
  f32x4_pmin = 0xea, f32x4_pmax = 0xeb, f64x2_abs = 0xec, f64x2_sqrt = 0xef, f64x2_add = 0xf0, f64x2_sub = 0xf1,
  f64x2_mul = 0xf2, f64x2_div = 0xf3, f64x2_pmin = 0xf6, f64x2_pmax = 0xf7, f32x4_convert_i32x4_s = 0xfa,
  f64x2_convert_low_i32x4_s = 0xfe
};
// clang-format on

enum class WasmType : uint8_t { none = 0x40, i32 = 0x7f, i64 = 0x7e, f32 = 0x7d, f64 = 0x7c, v128 = 0x7b };

class WasmWriter {
 public:
  std::vector<uint8_t> bytes;

  void byte(uint8_t b) { bytes.push_back(b); }
  void number(uint64_t n) {
    do {
      uint8_t low = n & 0x7f;
      n >>= 7;
      byte(n ? low | 0x80 : low);
    } while (n);
  }
  void signed_number(int64_t n) {
    for (;;) {
      uint8_t low = n & 0x7f;
      n >>= 7;
      bool last = (n == 0 && !(low & 0x40)) || (n == -1 && low & 0x40);
      byte(last ? low : low | 0x80);
      if (last) return;
    }
  }
  void append(const WasmWriter& other) { bytes.insert(bytes.end(), other.bytes.begin(), other.bytes.end()); }
  void text(std::string_view s) {
    number(s.size());
    bytes.insert(bytes.end(), s.begin(), s.end());
  }
  // A section, or a function's body: its size stands before it.
  void sized(const WasmWriter& content) {
    number(content.bytes.size());
    append(content);
  }
  void section(uint8_t id, const WasmWriter& content) {
    byte(id);
    sized(content);
  }

  // ---- Instructions

  void op(Wasm w) { byte(static_cast<uint8_t>(w)); }
  void get(uint32_t local) { op(Wasm::local_get), number(local); }
  void set(uint32_t local) { op(Wasm::local_set), number(local); }
  void tee(uint32_t local) { op(Wasm::local_tee), number(local); }
  void i32(uint32_t n) { op(Wasm::i32_const), signed_number(static_cast<int32_t>(n)); }
  void i64(uint64_t n) { op(Wasm::i64_const), signed_number(static_cast<int64_t>(n)); }
  // The alignment is a hint only; one byte is always true.
  void access(Wasm w, uint32_t offset) { op(w), byte(0), number(offset); }
  void op(Simd s) { byte(0xfd), number(static_cast<uint8_t>(s)); }
  void lane(Simd s, unsigned which) { op(s), byte(static_cast<uint8_t>(which)); }
  void access(Simd s, uint32_t offset) { op(s), byte(0), number(offset); }
  void fixed(uint64_t n, unsigned bytes) {
    for (unsigned i = 0; i < bytes; ++i) byte(static_cast<uint8_t>(n >> 8 * i));
  }
  void v128(uint64_t low, uint64_t high) { op(Simd::v128_const), fixed(low, 8), fixed(high, 8); }
  void f64(double v) { op(Wasm::f64_const), fixed(__builtin_bit_cast(uint64_t, v), 8); }
  void f32(float v) { op(Wasm::f32_const), fixed(__builtin_bit_cast(uint32_t, v), 4); }
  void open(Wasm w, WasmType result = WasmType::none) { op(w), byte(static_cast<uint8_t>(result)); }
  void end() { op(Wasm::end); }
  void branch(Wasm w, uint32_t label) { op(w), number(label); }
};

}  // namespace matryoshka::jit
