// The model's side of a case.
#pragma once

#include "cpu/vectors/vector_runner.h"
#include "tests/silicon/case.h"

namespace silicon {

// A wrong model, for proving that the campaign would notice: changes the state that an instruction starts from, or what came of
// it.
struct Mutation {
  const char* name;
  void (*before)(const Case& c, const matryoshka::Instruction& in, matryoshka::CpuState& s);
  void (*after)(const Case& c, const matryoshka::Instruction& in, Outcome& out);
};

void run_model(matryoshka::VectorRunner& runner, const Case& c, const matryoshka::Instruction& in, Outcome& out,
               const Mutation* mutation = nullptr);

}  // namespace silicon
