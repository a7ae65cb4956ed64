// A run over the rows of the instruction table: cases are made, executed on the processor below and on the model, and compared.
// Every failing one prints a line that says all: mode, bytes, row, inputs, what was expected and what came.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/silicon/model.h"

namespace silicon {

// The kinds of code that cases are made of.
enum World : uint8_t { code64, flat32, segmented32, segmented16, world_count };
constexpr const char* world_names[world_count] = {"64", "32", "32s", "16"};

struct Options {
  uint64_t cases = 1'000'000, seed = 1;
  double seconds = 0;
  std::string only, family;
  std::string mode;    // 64, 32 or 16, or any
  std::string repeat;  // one case, as a failure names it: WORLD:ROW:NUMBER
  bool list_rows = false;
  unsigned shown = 3;  // failures printed per row
  bool quiet = false, stop_at_first = false;
  const Mutation* mutation = nullptr;
};

// What the processor below has, as far as the table asks.
matryoshka::FeatureSet host_features();

struct Tally {
  uint64_t cases[world_count] = {}, exceptions = 0, failures = 0;
  uint64_t all() const { return cases[0] + cases[1] + cases[2] + cases[3]; }
};

struct Result {
  const char* problem = nullptr;  // why nothing could be run
  uint64_t cases = 0, failures = 0;
  unsigned rows_without = 0;         // that this processor has and user code may execute
  std::vector<Tally> rows;           // by row
  std::vector<std::string> why_not;  // by row: the reason if it is not covered, else empty
  bool clean() const { return !problem && failures == 0 && rows_without == 0; }
};

Result run(const Options& options);
// The same as text: a line for the run, then one for each row. `docs/coverage.md` is made from it.
std::string results_text(const Options& options, const Result& result);

}  // namespace silicon
