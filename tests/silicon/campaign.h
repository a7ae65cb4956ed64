// A run over the rows of the instruction table: cases are made, executed on the processor below and on the model, and compared.
// Every failing one prints a line that says all: mode, bytes, row, inputs, what was expected and what came.
#pragma once

#include <cstdint>
#include <string>

namespace silicon {

struct Options {
  uint64_t cases = 1'000'000, seed = 1;
  double seconds = 0;
  std::string only, family;
  unsigned mode = 0;
  bool list_rows = false;
  unsigned shown = 3;  // failures printed per row
};

// 0 if nothing differed and every row that this processor has was covered, 1 if not, 2 if it could not be done.
int run(const Options& options);

}  // namespace silicon
