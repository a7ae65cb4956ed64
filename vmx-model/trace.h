// What an inspector needs to know afterwards: a ring of entries, exits and failed entries, and how often each reason came.
//
// It is always on, and saved with the machine. A record is some hundred bytes and an exit's copy of the VMCS about a thousand,
// beside the thousand instructions that a hypervisor spends on an exit.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "vmx-model/cause.h"
#include "vmx-model/exit.h"
#include "vmx-model/lanes.h"
#include "vmx-model/vmcs.h"

namespace matryoshka::vmx {

struct CheckRow;

struct TraceEvent {
  enum Kind : uint8_t { entry, exit, failed_entry };
  Kind kind = entry;
  bool launch = false;  // the entry was a VMLAUNCH
  uint16_t reason = 0;  // of an exit or a failed entry; or instruction_error and the number of one
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

  static constexpr uint16_t instruction_error = 0xff00;
  void serialize(Archive& ar);
  bool failed_by_instruction() const { return kind == failed_entry && (reason & instruction_error) == instruction_error; }
};

// "EPT violation", "entry by VMRESUME"; and what it was about, which may be nothing.
std::string title_of(const TraceEvent& event);
std::string what_of(const TraceEvent& event);

// Why an entry failed: every check that did, with what it looked at.
struct FailedCheck {
  const CheckRow* row;
  uint64_t values[4];
  void serialize(Archive& ar);
};
struct EntryFailure {
  uint64_t number = 0;                              // of its event
  InstructionError error = InstructionError::none;  // or, if that is none, a failure after the checks of controls and host
  std::vector<FailedCheck> checks;
  void serialize(Archive& ar);
};

// The VMCS as it stood right after an exit, for comparing two of them.
struct ExitCopy {
  static constexpr uint64_t none = ~uint64_t{0};
  uint64_t number = none;  // of the event
  uint64_t fields[field_count] = {};
  void serialize(Archive& ar) { ar(number, fields); }
};

class Trace {
 public:
  static constexpr unsigned ring_size = 4096, copies = 64;

  // `vmcs` is the current one.
  void add(TraceEvent event, const Vmcs& vmcs);
  void add_failure(EntryFailure failure) { failure.number = count_, last_failure_ = std::move(failure); }

  uint64_t count() const { return count_; }
  // By number; null if it has been overwritten, or is not there yet.
  const TraceEvent* find(uint64_t number) const;
  const EntryFailure& last_failure() const { return last_failure_; }

  const ExitCopy* find_copy(uint64_t number) const;
  const Lanes& lanes() const { return lanes_; }

  // ---- To stop at: the next event of a kind, perhaps of one reason. The processor ends its run behind the event.
  struct Watch {
    bool on = false;
    TraceEvent::Kind kind = TraceEvent::exit;
    int reason = -1;  // any
  };
  void watch(Watch watch) { watch_ = watch, met_ = false; }
  bool met() const { return met_; }

  static constexpr unsigned most_reasons = 80;
  uint64_t entries = 0, failed_entries = 0;
  uint64_t exits[most_reasons] = {};

  // A guest can read the trace (the share `l0`), so it is state like any other. What the inspector waits for is not.
  void serialize(Archive& ar);

  // ---- As lines of JSON, for --trace vmexit: from now on, and those since the last call.
  void keep_lines() { keeps_lines_ = true; }
  std::string take_lines() { return std::exchange(lines_, {}); }

 private:
  std::vector<TraceEvent> ring_ = std::vector<TraceEvent>(ring_size);
  std::vector<ExitCopy> copies_ = std::vector<ExitCopy>(copies);
  Lanes lanes_;
  Watch watch_;
  bool met_ = false, keeps_lines_ = false;
  std::string lines_;
  uint64_t count_ = 0, last_retired_ = 0;
  EntryFailure last_failure_;
};

}  // namespace matryoshka::vmx
