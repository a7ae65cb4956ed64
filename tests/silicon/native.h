// Runs cases on the processor that this program runs on.
//
// In a child process, which may make no system call but leave: whatever the instruction does, the parent lives on. Most cases
// need no signal: registers are loaded, a jump leads to the instruction at the end of its page, and the page behind it
// jumps back to code that stores everything. A fault, or the INT3 that a jump lands on, comes as a signal with the state in its
// context.
#pragma once

#include <span>

#include "tests/silicon/case.h"

namespace silicon {

class Native {
 public:
  Native();
  // Empty, or why this machine cannot serve.
  const char* problem() const { return problem_; }
  void run(std::span<const Case> cases, std::span<Outcome> outcomes);
  static constexpr size_t batch = 1024;

 private:
  const char* problem_ = nullptr;
  struct Shared;
  Shared* shared_ = nullptr;
};

}  // namespace silicon
