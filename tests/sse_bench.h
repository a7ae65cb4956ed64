// One SIMD instruction at a time: decoded, lowered and given to its function, without the run loop, so that a fault can be
// looked at before it is delivered.
#pragma once

#include <array>
#include <cstdint>
#include <sstream>
#include <string>
#include <string_view>

#include "cpu/handlers.h"
#include "cpu/isa.h"
#include "tests/cpu_bench.h"

namespace matryoshka {

// What SIMD instructions read and write, for tables of cases and for comparison with the host.
struct SimdState {
  Xmm xmm[4];
  uint64_t mm[4] = {};
  uint64_t gpr[4] = {};  // RAX, RCX, RDX, RBX
  uint64_t flags = rflags::always_one;
  uint32_t mxcsr = 0x1f80;
};

class SimdBench {
 public:
  using Mode = CpuBench::Mode;
  static constexpr uint64_t data_at = CpuBench::data_at;

  explicit SimdBench(Mode mode = Mode::long64) : machine(mode), cpu(machine.cpu), decoder_(all_features()) {
    cpu.state.gpr[RSI] = data_at;
    cpu.state.gpr[RDI] = data_at;
  }

  CpuBench machine;
  Processor& cpu;

  static FeatureSet all_features() {
    FeatureSet set;
    for (const FeatureInfo& f : feature_table) set.set(f.feature);
    return set;
  }

  // The row that these bytes decode to; null if none, or if they are not exactly one instruction.
  const Row* decode(const std::vector<uint8_t>& bytes, Instruction& in) {
    bool ok = decoder_.decode(bytes, cpu.mode().code_bits, in) == DecodeResult::ok && in.length == bytes.size();
    return ok ? &rows[in.row] : nullptr;
  }

  // False if the instruction faulted; see cpu.fault.
  bool step(const std::vector<uint8_t>& bytes) {
    Instruction in;
    if (!decode(bytes, in)) return cpu.fault.raise(UD_vector);
    Op op = lower(in, cpu.mode(), in.length);
    cpu.fault.clear();
    return handler_for(op.id)(cpu, op);
  }
  bool step(const std::string& hex) { return step(bytes(hex)); }

  // "66 0f fe ca" or "660ffeca"
  static std::vector<uint8_t> bytes(const std::string& hex) {
    std::vector<uint8_t> result;
    for (size_t i = 0; i < hex.size(); ++i)
      if (hex[i] != ' ') result.push_back(static_cast<uint8_t>(std::stoul(hex.substr(i, 2), nullptr, 16))), ++i;
    return result;
  }

  void load(const SimdState& s) {
    for (unsigned i = 0; i < 4; ++i) cpu.state.xmm[i] = s.xmm[i], cpu.state.x87.registers[i] = {s.mm[i], 0xffff};
    cpu.state.x87.set_top(0);
    cpu.state.x87.valid = 0xff;
    for (unsigned i = 0; i < 4; ++i) cpu.state.gpr[i] = s.gpr[i];
    cpu.state.flags.set_bits(s.flags);
    cpu.state.mxcsr = s.mxcsr;
  }
  SimdState result() const {
    SimdState s;
    for (unsigned i = 0; i < 4; ++i) s.xmm[i] = cpu.state.xmm[i], s.mm[i] = cpu.state.x87.registers[i].significand;
    for (unsigned i = 0; i < 4; ++i) s.gpr[i] = cpu.state.gpr[i];
    s.flags = cpu.state.flags.bits() | rflags::always_one;
    s.mxcsr = cpu.state.mxcsr;
    return s;
  }

 private:
  Decoder decoder_;
};

// 128 bits as text: "fedcba9876543210_0011223344556677", high quadword first.
inline Xmm xmm_of(const std::string& text) {
  return {{std::stoull(text.substr(17), nullptr, 16), std::stoull(text.substr(0, 16), nullptr, 16)}};
}
inline std::string text_of(const Xmm& x) {
  char text[34];
  std::snprintf(text, sizeof text, "%016llx_%016llx", static_cast<unsigned long long>(x.q[1]),
                static_cast<unsigned long long>(x.q[0]));
  return text;
}

// The bytes of a row with register 1 as ModRM.reg (unless that belongs to the opcode) and the given mod and rm bits, and an
// immediate if the row has one.
inline std::vector<uint8_t> row_bytes(const Row& row, uint8_t mod_rm, uint8_t immediate, bool wide = false) {
  std::vector<uint8_t> bytes, opcode;
  int reg = 1;
  bool prefixes_over = false;
  std::istringstream encoding(row.encoding);
  for (std::string token; encoding >> token;) {
    if (token == "NP" || token == "/r") continue;
    if (token[0] == '/') {
      reg = token[1] - '0';
      continue;
    }
    auto byte = static_cast<uint8_t>(std::stoul(token, nullptr, 16));
    bool prefix = !prefixes_over && (byte == 0x66 || byte == 0xf2 || byte == 0xf3);
    prefixes_over |= !prefix;
    (prefix ? bytes : opcode).push_back(byte);
  }
  if (wide) bytes.push_back(0x48);
  bytes.insert(bytes.end(), opcode.begin(), opcode.end());
  bytes.push_back(static_cast<uint8_t>(mod_rm | reg << 3));
  if (std::string_view(row.operands).ends_with("Ib")) bytes.push_back(immediate);
  return bytes;
}
inline std::vector<uint8_t> register_form(const Row& row, uint8_t immediate, bool wide = false) {
  return row_bytes(row, 0xc0 | 2, immediate, wide);
}
inline std::vector<uint8_t> memory_form(const Row& row, uint8_t immediate, bool wide = false) {  // [RSI]
  return row_bytes(row, 6, immediate, wide);
}

}  // namespace matryoshka
