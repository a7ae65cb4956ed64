// JavaScript as the JIT's host of modules; web/loader.js has the other side.
#pragma once

#include <vector>

#include "wasm-jit/engine.h"

extern "C" {
// Compiles a module of regions, whose functions then stand in the table; and slots of the table for them. 0: it cannot be.
__attribute__((import_module("host"), import_name("compile"))) int host_compile(const uint8_t* module, size_t size);
__attribute__((import_module("host"), import_name("reserve"))) uint32_t host_reserve(uint32_t slots);
__attribute__((import_module("host"), import_name("tail_calls"))) int host_tail_calls();
}

namespace matryoshka {

class Compiler final : public jit::ModuleHost {
 public:
  bool instantiate(const std::vector<uint8_t>& module) override { return host_compile(module.data(), module.size()) != 0; }
  // A machine that takes another's place takes its slots too.
  uint32_t reserve(uint32_t count) override {
    if (first_ == 0) first_ = host_reserve(count);
    return first_;
  }
  bool tail_calls() const override { return host_tail_calls() != 0; }

 private:
  uint32_t first_ = 0;
};

}  // namespace matryoshka
