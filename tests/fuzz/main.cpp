// The fuzzers: one program under as many names as there are targets, since libFuzzer starts itself again by its name.
#include <cstring>

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerRunDriver(int* argc, char*** argv, int (*run)(const uint8_t* data, size_t size));

// Machines are made and thrown away by the thousand.
extern "C" const char* __asan_default_options() { return "quarantine_size_mb=16:malloc_context_size=6"; }

namespace {

const matryoshka::fuzz::Target* target = nullptr;

int run(const uint8_t* data, size_t size) {
  target->run(matryoshka::fuzz::Input({data, size}));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const char* slash = std::strrchr(argv[0], '/');
  const char* name = slash ? slash + 1 : argv[0];
  for (const auto& candidate : matryoshka::fuzz::targets)
    if (std::strcmp(candidate.name, name) == 0) target = &candidate;
  if (!target) {
    std::fprintf(stderr, "There is no fuzz target %s; tests/fuzz/run --help lists them.\n", name);
    return 2;
  }
  return LLVMFuzzerRunDriver(&argc, &argv, run);
}
