// What an inspector needs to know afterwards: a ring of entries, exits and failed entries, and how often each reason came.
//
// It is always on. One record is 64 bytes and a few stores, beside about a thousand instructions that a hypervisor spends on an
// exit.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vmx-model/cause.h"
#include "vmx-model/exit.h"

namespace matryoshka::vmx {

struct CheckRow;

struct TraceEvent {
  enum Kind : uint8_t { entry, exit, failed_entry };
  Kind kind = entry;
  bool launch = false;  // the entry was a VMLAUNCH
  uint16_t reason = 0;  // of an exit or a failed entry
  Cause cause;
  uint32_t event = 0;  // injected, or what the exit was about: an interruption-information field
  uint32_t vectoring = 0;
  uint32_t instruction_length = 0;
  uint64_t number = 0;  // counts events
  uint64_t tick = 0;
  uint64_t retired = 0;  // instructions completed by then
  uint64_t vmcs = 0;
  uint64_t guest_rip = 0;
  uint64_t qualification = 0;
  uint64_t guest_linear = 0, guest_physical = 0;
  uint64_t spent = 0;  // instructions since the transition before
};

// Why an entry failed: every check that did, with what it looked at.
struct FailedCheck {
  const CheckRow* row;
  uint64_t values[4];
};
struct EntryFailure {
  uint64_t number = 0;                              // of its event
  InstructionError error = InstructionError::none;  // or, if that is none, a failure after the checks of controls and host
  std::vector<FailedCheck> checks;
};

class Trace {
 public:
  static constexpr unsigned ring_size = 4096;

  void add(TraceEvent event);
  void add_failure(EntryFailure failure) { failure.number = count_, last_failure_ = std::move(failure); }

  uint64_t count() const { return count_; }
  // By number; null if it has been overwritten, or is not there yet.
  const TraceEvent* find(uint64_t number) const;
  const EntryFailure& last_failure() const { return last_failure_; }

  static constexpr unsigned most_reasons = 80;
  uint64_t entries = 0, failed_entries = 0;
  uint64_t exits[most_reasons] = {};

  // Everything from `from` on as lines of JSON, as far as the ring still has it; `from` moves on.
  std::string json_lines(uint64_t& from) const;

 private:
  std::vector<TraceEvent> ring_ = std::vector<TraceEvent>(ring_size);
  uint64_t count_ = 0, last_retired_ = 0;
  EntryFailure last_failure_;
};

}  // namespace matryoshka::vmx
