// Instructions on XMM registers whose helper comes to a few SIMD instructions of wasm.
//
// The rows stay helpers: the interpreter runs their functions, and so does a region where nothing better is known. For those in
// the table of vector_rows.cpp, found by that very function, a region has the registers in v128 locals and writes what the
// function computes. Where the function asks a question first (MXCSR, operands that raise nothing), so does the code, and leaves
// the region when the answer is no; the interpreter then does the instruction with all that belongs to it. tests/jit.test.mjs
// holds each row of the table against the interpreter.
#pragma once

#include <array>
#include <functional>
#include <optional>

#include "cpu/handlers.h"
#include "wasm-jit/function_writer.h"
#include "wasm-jit/layout.h"
#include "wasm-jit/region.h"

namespace matryoshka::jit {

class VectorStep;

struct VectorRow {
  Handler handler;
  void (*write)(VectorStep&);
  enum class Flags : uint8_t { none, ordered, plain } flags = Flags::none;  // what it leaves in the status flags
};
// Null: not one of them.
const VectorRow* vector_row(unsigned row);
// How many lines of the table no row refers to.
unsigned unused_vector_rows();

// What is known of the lanes at some point: not denormal, not infinite, no NaN. And whether MXCSR has been found to be usual.
struct LanesKnown {
  static constexpr uint8_t low_double = 1, doubles = 2, low_single = 4, singles = 8;
  std::array<uint8_t, 16> ordinary{};
  bool usual = false;
};

// The XMM registers of a region, and what one instruction does with them.
class VectorStep {
 public:
  VectorStep(FunctionWriter& f, const Layout& layout) : f(f), code(f.code), layout_(layout) {}

  FunctionWriter& f;
  WasmWriter& code;
  LanesKnown known;

  // ---- Given by those who know the rest of the region: each is for the instruction at hand
  std::function<void(unsigned depth)> leave_if;  // from inside so many blocks of its own
  std::function<void(unsigned bits, bool write, bool aligned)> address;
  std::function<uint32_t(unsigned offset)> general;  // the local of a register
  std::function<void(bool ordered)> set_flags;       // from the two values on the stack

  // ---- The region's registers
  void announce(const Step& step);
  WasmWriter load(uint16_t which) const;
  void store(uint16_t which);
  // MXCSR may have changed.
  void look_at_mxcsr();
  // Which registers its first so many operands name.
  static uint16_t registers_of(const Op& op, unsigned operands = 4);

  void write(const Step& step);

  // ---- For the rows: operands

  const Op& op() const { return step_->op; }
  bool memory() const { return op().is_memory(); }
  unsigned immediate() const { return op().immediate8(); }
  uint32_t xmm(unsigned n);
  uint32_t reg() { return xmm(op().reg); }
  uint32_t rm() { return xmm(op().rm); }
  // ModRM.rm, register or memory, in a local. Of a part, the rest is zero from memory and anything from a register.
  uint32_t source();
  // Its low lane.
  uint32_t scalar_source(bool wide);
  uint32_t low_lane(unsigned register_number, bool wide);
  // Sets the register from the stack; nothing is known of it any more.
  void set_xmm(unsigned n);
  void know(unsigned n, uint8_t what) { known.ordinary[n] |= what; }
  bool knows(unsigned n, uint8_t what) const { return known.ordinary[n] & what; }
  uint32_t local(WasmType type) { return f.temporary(type); }

  // ---- For the rows: questions
  void require_usual();
  unsigned operand_bits(unsigned n) const;

 private:
  const Layout& layout_;
  const Step* step_ = nullptr;
  std::array<std::optional<uint32_t>, 16> xmm_;
  uint16_t changed_ = 0;
  std::optional<uint32_t> usual_;
};

}  // namespace matryoshka::jit
