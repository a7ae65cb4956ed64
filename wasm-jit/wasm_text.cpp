#include "wasm-jit/wasm_text.h"

#include <algorithm>
#include <cstdio>

namespace matryoshka::jit {

namespace {

// "Index of Instructions" of the specification, by opcode.
// clang-format off
constexpr const char* names[] = {
"unreachable", "nop", "block", "loop", "if", "else", nullptr, nullptr, nullptr, nullptr, nullptr, "end", "br", "br_if", "br_table", "return", "call", "call_indirect", "return_call", "return_call_indirect", nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, "drop", "select", nullptr, nullptr, nullptr, nullptr, "local.get", "local.set", "local.tee", "global.get", "global.set", nullptr, nullptr, nullptr, "i32.load", "i64.load", "f32.load", "f64.load", "i32.load8_s", "i32.load8_u", "i32.load16_s", "i32.load16_u", "i64.load8_s", "i64.load8_u", "i64.load16_s", "i64.load16_u", "i64.load32_s", "i64.load32_u", "i32.store", "i64.store", "f32.store", "f64.store", "i32.store8", "i32.store16", "i64.store8", "i64.store16", "i64.store32", nullptr, nullptr, "i32.const", "i64.const", "f32.const", "f64.const", "i32.eqz", "i32.eq", "i32.ne", "i32.lt_s", "i32.lt_u", "i32.gt_s", "i32.gt_u", "i32.le_s", "i32.le_u", "i32.ge_s", "i32.ge_u", "i64.eqz", "i64.eq", "i64.ne", "i64.lt_s", "i64.lt_u", "i64.gt_s", "i64.gt_u", "i64.le_s", "i64.le_u", "i64.ge_s", "i64.ge_u", "f32.eq", "f32.ne", "f32.lt", "f32.gt", "f32.le", "f32.ge", "f64.eq", "f64.ne", "f64.lt", "f64.gt", "f64.le", "f64.ge", "i32.clz", "i32.ctz", "i32.popcnt", "i32.add", "i32.sub", "i32.mul", "i32.div_s", "i32.div_u", "i32.rem_s", "i32.rem_u", "i32.and", "i32.or", "i32.xor", "i32.shl", "i32.shr_s", "i32.shr_u", "i32.rotl", "i32.rotr", "i64.clz", "i64.ctz", "i64.popcnt", "i64.add", "i64.sub", "i64.mul", "i64.div_s", "i64.div_u", "i64.rem_s", "i64.rem_u", "i64.and", "i64.or", "i64.xor", "i64.shl", "i64.shr_s", "i64.shr_u", "i64.rotl", "i64.rotr", "f32.abs", "f32.neg", "f32.ceil", "f32.floor", "f32.trunc", "f32.nearest", "f32.sqrt", "f32.add", "f32.sub", "f32.mul", "f32.div", "f32.min", "f32.max", "f32.copysign", "f64.abs", "f64.neg", "f64.ceil", "f64.floor", "f64.trunc", "f64.nearest", "f64.sqrt", "f64.add", "f64.sub", "f64.mul", "f64.div", "f64.min", "f64.max", "f64.copysign", "i32.wrap_i64", "i32.trunc_f32_s", "i32.trunc_f32_u", "i32.trunc_f64_s", "i32.trunc_f64_u", "i64.extend_i32_s", "i64.extend_i32_u", "i64.trunc_f32_s", "i64.trunc_f32_u", "i64.trunc_f64_s", "i64.trunc_f64_u", "f32.convert_i32_s", "f32.convert_i32_u", "f32.convert_i64_s", "f32.convert_i64_u", "f32.demote_f64", "f64.convert_i32_s", "f64.convert_i32_u", "f64.convert_i64_s", "f64.convert_i64_u", "f64.promote_f32", "i32.reinterpret_f32", "i64.reinterpret_f64", "f32.reinterpret_i32", "f64.reinterpret_i64", "i32.extend8_s", "i32.extend16_s", "i64.extend8_s", "i64.extend16_s", "i64.extend32_s"
};
// clang-format on

class Reader {
 public:
  explicit Reader(const WasmWriter& body) : bytes_(body.bytes) {}
  size_t at = 0;
  bool done() const { return at >= bytes_.size(); }
  bool starts_with(Wasm w, WasmType type) const {
    return at + 1 < bytes_.size() && bytes_[at] == static_cast<uint8_t>(w) && bytes_[at + 1] == static_cast<uint8_t>(type);
  }
  uint8_t byte() { return done() ? uint8_t{0} : bytes_[at++]; }
  uint64_t number() {
    uint64_t n = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      uint8_t b = byte();
      n |= uint64_t{b & 0x7fu} << shift;
      if (!(b & 0x80)) break;
    }
    return n;
  }
  int64_t signed_number() {
    uint64_t n = 0;
    for (unsigned shift = 0; shift < 64;) {
      uint8_t b = byte();
      n |= uint64_t{b & 0x7fu} << shift;
      shift += 7;
      if (b & 0x80) continue;
      if (b & 0x40 && shift < 64) n |= ~uint64_t{0} << shift;
      break;
    }
    return static_cast<int64_t>(n);
  }

 private:
  const std::vector<uint8_t>& bytes_;
};

const char* name_of_type(uint8_t type) {
  switch (type) {
    case 0x7f: return "i32";
    case 0x7e: return "i64";
    case 0x7d: return "f32";
    case 0x7c: return "f64";
    case 0x7b: return "v128";
    default: return "?";
  }
}

// Of the vector instructions only what stands behind the opcode is known here.
std::string vector_operands(uint64_t opcode, Reader& r) {
  std::string text;
  auto add = [&](uint64_t n) { text += " " + std::to_string(n); };
  bool memory = opcode <= 11 || (opcode >= 84 && opcode <= 93);
  if (memory) {
    r.number();
    text += " offset=" + std::to_string(r.number());
  }
  if (opcode == 12 || opcode == 13)
    for (unsigned i = 0; i < 16; ++i) add(r.byte());
  if ((opcode >= 21 && opcode <= 34) || (opcode >= 84 && opcode <= 91)) add(r.byte());
  return text;
}

}  // namespace

std::string text_of(const WasmWriter& body, const std::vector<Note>& notes) {
  Reader r(body);
  std::string text = "(local";
  uint64_t groups = r.number();
  for (uint64_t i = 0; i < groups; ++i) {
    uint64_t count = r.number();
    const char* type = name_of_type(r.byte());
    text += std::string(" ") + type + "*" + std::to_string(count);
  }
  text += ")\n";
  size_t note = 0;
  // A region begins with a block for each way out; those share a line and an indentation.
  std::vector<bool> deeper;
  auto indentation = [&] { return static_cast<size_t>(std::count(deeper.begin(), deeper.end(), true)); };
  while (!r.done()) {
    for (; note < notes.size() && notes[note].offset <= r.at; ++note) text += ";; " + notes[note].text + "\n";
    uint8_t opcode = r.byte();
    std::string line;
    if (opcode == 0xfd || opcode == 0xfc) {
      uint64_t second = r.number();
      line = (opcode == 0xfd ? "vector." : "misc.") + std::to_string(second);
      if (opcode == 0xfd) line += vector_operands(second, r);
    } else {
      line = opcode < std::size(names) && names[opcode] ? names[opcode] : "unknown." + std::to_string(opcode);
    }
    size_t indent = indentation();
    auto w = static_cast<Wasm>(opcode);
    switch (w) {
      case Wasm::block:
      case Wasm::loop:
      case Wasm::if_: {
        uint8_t type = r.byte();
        if (type != static_cast<uint8_t>(WasmType::none)) line += std::string(" (result ") + name_of_type(type) + ")";
        deeper.push_back(true);
        if (w != Wasm::block) break;
        unsigned count = 1;
        for (; r.starts_with(Wasm::block, WasmType::none); ++count) r.at += 2, deeper.push_back(false);
        if (count > 1) line += ", " + std::to_string(count) + " times";
        break;
      }
      case Wasm::else_: indent -= indent > 0; break;
      case Wasm::end:
        if (!deeper.empty()) deeper.pop_back();
        indent = indentation();
        break;
      case Wasm::br:
      case Wasm::br_if:
      case Wasm::local_get:
      case Wasm::local_set:
      case Wasm::local_tee: line += " " + std::to_string(r.number()); break;
      case Wasm::br_table: {
        uint64_t labels = r.number();
        for (uint64_t i = 0; i <= labels && !r.done(); ++i) line += " " + std::to_string(r.number());
        break;
      }
      case Wasm::call_indirect:
      case Wasm::return_call_indirect: r.number(), r.number(); break;
      case Wasm::i32_const: line += " " + std::to_string(r.signed_number()); break;
      case Wasm::i64_const: {
        int64_t n = r.signed_number();
        char digits[24];
        std::snprintf(digits, sizeof digits, n > -4096 && n < 4096 ? " %lld" : " 0x%llx", static_cast<long long>(n));
        line += digits;
        break;
      }
      default:
        // f32.const and f64.const, by their bits.
        if (opcode == 0x43 || opcode == 0x44) {
          uint64_t bits = 0;
          for (unsigned i = 0; i < (opcode == 0x43 ? 4 : 8); ++i) bits |= uint64_t{r.byte()} << 8 * i;
          char digits[24];
          std::snprintf(digits, sizeof digits, " bits:0x%llx", static_cast<unsigned long long>(bits));
          line += digits;
        }
        if (opcode >= 0x28 && opcode <= 0x3e) {
          r.number();
          if (uint64_t offset = r.number()) line += " offset=" + std::to_string(offset);
        }
    }
    text += std::string(2 * indent + 2, ' ') + line + "\n";
  }
  return text;
}

}  // namespace matryoshka::jit
