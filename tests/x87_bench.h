// One x87 instruction at a time, on a stack of known values: decoded, lowered and given to its function without the run loop, so
// that a fault can be looked at before it is delivered.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "cpu/float/float80.h"
#include "cpu/handlers.h"
#include "cpu/isa.h"
#include "tests/cpu_bench.h"

namespace matryoshka {

// Flags of the status word, for tables; TOP is left out where a stack is given.
constexpr uint16_t IE = 0x01, DE = 0x02, ZE = 0x04, OE = 0x08, UE = 0x10, PE = 0x20, SF = 0x40, ES_B = 0x8080, C0 = 0x100,
                   C1 = 0x200, C2 = 0x400, C3 = 0x4000, top_bits = 0x3800;

class X87Bench {
 public:
  using Mode = CpuBench::Mode;
  static constexpr uint64_t data_at = CpuBench::data_at, code_at = CpuBench::code_at;

  explicit X87Bench(Mode mode = Mode::long64)
      : machine(mode), cpu(machine.cpu), x87(machine.cpu.state.x87), decoder_(all_features()) {
    cpu.state.gpr[RDX] = data_at;
  }

  CpuBench machine;
  Processor& cpu;
  X87State& x87;

  static std::vector<uint8_t> bytes(const std::string& hex) {
    std::vector<uint8_t> result;
    for (size_t i = 0; i < hex.size(); ++i)
      if (hex[i] != ' ') result.push_back(static_cast<uint8_t>(std::stoul(hex.substr(i, 2), nullptr, 16))), ++i;
    return result;
  }

  bool decodes(const std::vector<uint8_t>& code, Instruction& in) const {
    return decoder_.decode(code, cpu.mode().code_bits, in) == DecodeResult::ok && in.length == code.size();
  }
  // The instruction at code_at. False if it faulted; see cpu.fault.
  bool step(const std::vector<uint8_t>& code) {
    Instruction in;
    if (!decodes(code, in)) return cpu.fault.raise(UD_vector);
    return step(lower(in, cpu.mode(), in.length));
  }
  bool step(const std::string& hex) { return step(bytes(hex)); }
  bool step(const Op& op) {
    cpu.fault.clear();
    return handler_for(op.id)(cpu, op);
  }

  // For the next case of a table: as after FNINIT, and RDX points at memory again.
  void restart(uint16_t control = 0x37f) {
    x87 = {};
    x87.control = control;
    cpu.state.gpr[RDX] = data_at;
    cpu.state.flags.set_bits(0);
  }

  // ST(0) first.
  void set_stack(const std::vector<fp::Float80>& values) {
    x87.valid = 0;
    x87.set_top(static_cast<unsigned>(8 - values.size()));
    for (unsigned i = 0; i < values.size(); ++i) x87.st(i) = values[i], x87.valid |= 1 << ((x87.top() + i) & 7);
  }
  // As far as the first empty register.
  std::vector<fp::Float80> stack() const {
    std::vector<fp::Float80> values;
    for (unsigned i = 0; i < 8 && !x87.empty(i); ++i) values.push_back(x87.st(i));
    return values;
  }

  static FeatureSet all_features() {
    FeatureSet set;
    for (const FeatureInfo& f : feature_table) set.set(f.feature);
    return set;
  }

 private:
  Decoder decoder_;
};

// What an encoding of the table stands for. Memory is at [RDX], and i is `digit`.
inline std::vector<uint8_t> x87_bytes(const Row& row, unsigned digit) {
  const std::string text = row.encoding;
  std::vector<uint8_t> code{static_cast<uint8_t>(std::stoul(text.substr(0, 2), nullptr, 16))};
  if (text.size() == 2) return code;
  if (text[3] == '/')
    code.push_back(static_cast<uint8_t>((text[4] - '0') << 3 | 2));
  else
    code.push_back(static_cast<uint8_t>(std::stoul(text.substr(3, 2), nullptr, 16) + (text.size() > 5 ? digit & 7 : 0)));
  return code;
}

// Those that neither wait for pending exceptions nor are recorded as the last instruction.
inline bool x87_waits(const Row& row) {
  return std::string_view(row.mnemonic).substr(0, 2) != "FN" || row.mnemonic == std::string_view("FNOP");
}

}  // namespace matryoshka
