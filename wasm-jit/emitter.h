// Turns a Region into the body of one wasm function.
#pragma once

#include <functional>

#include "wasm-jit/layout.h"
#include "wasm-jit/region.h"
#include "wasm-jit/wasm_writer.h"

namespace matryoshka::jit {

// What the emitter asks of the world while it works.
class EmitterHost {
 public:
  virtual ~EmitterHost() = default;
  // A new link cell for an exit of this region.
  virtual Address new_cell() = 0;
  // Where this Op will stand as long as the region lives, and the table slot of the function that does it.
  virtual Address keep(const Op& op) = 0;
  // Where these will stand as long as the region lives.
  virtual Address keep(std::vector<ExitSite> sites) = 0;
  virtual uint32_t helper_slot(const Op& op) = 0;
};

// Where the code of a step begins in a function's body.
struct StepMark {
  size_t offset;
  int64_t distance;  // of its instruction from the entry
};

// A function body: local declarations and code, without its size. `marks` is for those who want to read it.
WasmWriter emit(const Region& region, const Layout& layout, EmitterHost& host, std::vector<StepMark>* marks = nullptr);

// A module of several regions, which stand in the table from `first_slot` on. It imports memory "m"."m" and table "m"."t".
WasmWriter module_of(const std::vector<WasmWriter>& bodies, uint32_t first_slot);

}  // namespace matryoshka::jit
