// A wasm function under construction: its code, its locals, and the values that instructions compute.
#pragma once

#include <vector>

#include "wasm-jit/expression.h"
#include "wasm-jit/wasm_writer.h"

namespace matryoshka::jit {

class FunctionWriter {
 public:
  explicit FunctionWriter(uint32_t parameters) : parameters_(parameters) {}

  WasmWriter code;
  Graph graph;

  uint32_t new_local(WasmType type) {
    locals_.push_back(type);
    return parameters_ + static_cast<uint32_t>(locals_.size()) - 1;
  }
  // A local for as long as one instruction lasts.
  uint32_t temporary(WasmType type);
  // Forgets the graph and its temporaries: the next instruction begins.
  void next_instruction();

  // Notes that a value is going to be written, so that what is wanted twice is computed once.
  void want(Value v);
  // Leaves it on the stack: as 64 bits, as its low 32, or as an i32 that is zero or not.
  void wide(Value v);
  void narrow(Value v);
  void condition(Value v);

  // The function's body with its declarations. `first` is code that goes before all other.
  WasmWriter finish(const WasmWriter& first) const;

 private:
  void compute(Value v);
  void compute_narrow(Value v);
  void comparison(const Expression& e, Wasm wide_op, Wasm narrow_op);
  void multiply_high(Value a, Value b, bool is_signed);
  void reverse_bytes(Value v);
  bool has_narrow_form(const Expression& e) const;
  bool is_sign_extension(Value v, unsigned bits) const;

  uint32_t parameters_;
  std::vector<WasmType> locals_;
  static constexpr unsigned types = 5;
  static unsigned pool_of(WasmType type) { return static_cast<unsigned>(WasmType::i32) - static_cast<unsigned>(type); }
  std::vector<uint32_t> pool_[types];
  size_t used_[types] = {};
};

}  // namespace matryoshka::jit
