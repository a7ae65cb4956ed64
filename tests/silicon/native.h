// Runs cases on the processor that this program runs on.
//
// In a child process, which can make no system call but wait for work, report and leave: whatever the instruction does, the
// parent lives on, and makes another child if that one has died. Most cases
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
  ~Native();
  Native(const Native&) = delete;
  // Empty, or why this machine cannot serve.
  const char* problem() const { return problem_; }
  void run(std::span<const Case> cases, std::span<Outcome> outcomes);
  static constexpr size_t batch = 1024;

 private:
  const char* problem_ = nullptr;
  struct Shared;
  bool start_child();
  void end_child();
  Shared* shared_ = nullptr;
  int child_ = -1, to_child_ = -1, from_child_ = -1;
};

}  // namespace silicon
