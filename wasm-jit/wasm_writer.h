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
  i32_load = 0x28, i64_load = 0x29, i32_load8_u = 0x2d, i64_load8_u = 0x31, i64_load16_u = 0x33, i64_load32_u = 0x35,
  i32_store = 0x36, i64_store = 0x37, i64_store8 = 0x3c, i64_store16 = 0x3d, i64_store32 = 0x3e,
  i32_const = 0x41, i64_const = 0x42,
  i32_eqz = 0x45, i32_eq = 0x46, i32_ne = 0x47, i32_lt_s = 0x48, i32_lt_u = 0x49, i32_ge_u = 0x4f,
  i64_eqz = 0x50, i64_eq = 0x51, i64_ne = 0x52, i64_lt_s = 0x53, i64_lt_u = 0x54, i64_gt_u = 0x56, i64_ge_u = 0x5a,
  i32_add = 0x6a, i32_sub = 0x6b, i32_mul = 0x6c, i32_and = 0x71, i32_or = 0x72, i32_xor = 0x73, i32_shl = 0x74, i32_shr_s = 0x75,
  i32_shr_u = 0x76,
  i64_clz = 0x79, i64_ctz = 0x7a, i64_popcnt = 0x7b, i64_add = 0x7c, i64_sub = 0x7d, i64_mul = 0x7e, i64_and = 0x83, i64_or = 0x84,
  i64_xor = 0x85, i64_shl = 0x86, i64_shr_s = 0x87, i64_shr_u = 0x88,
  i32_wrap_i64 = 0xa7, i64_extend_i32_s = 0xac, i64_extend_i32_u = 0xad, i64_extend8_s = 0xc2, i64_extend16_s = 0xc3,
  i64_extend32_s = 0xc4
};
// clang-format on

enum class WasmType : uint8_t { none = 0x40, i32 = 0x7f, i64 = 0x7e };

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
  void open(Wasm w, WasmType result = WasmType::none) { op(w), byte(static_cast<uint8_t>(result)); }
  void end() { op(Wasm::end); }
  void branch(Wasm w, uint32_t label) { op(w), number(label); }
};

}  // namespace matryoshka::jit
