#include "vmx-model/trace.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include "vmx-model/checks.h"
#include "vmx-model/describe.h"

namespace matryoshka::vmx {

namespace {

std::string json_line(const TraceEvent& e, const Lanes& lanes) {
  static constexpr const char* kinds[] = {"entry", "exit", "failed-entry"};
  const Lane* lane = lanes.find(e.vmcs);
  std::string text = formatted("{\"n\":%" PRIu64 ",\"kind\":\"%s\",\"tick\":%" PRIu64 ",\"spent\":%" PRIu64
                               ",\"vmcs\":\"%#" PRIx64 "\",\"layer\":%u,\"rip\":\"%#" PRIx64 "\"",
                               e.number, kinds[e.kind], e.tick, e.spent, e.vmcs, lane ? lane->depth : 2, e.guest_rip);
  text += ",\"name\":\"" + title_of(e) + "\"";
  if (const std::string what = what_of(e); !what.empty()) text += ",\"what\":\"" + what + "\"";
  if (e.kind == TraceEvent::entry) return text + "}\n";
  if (e.failed_by_instruction()) return text + formatted(",\"error\":%u}\n", e.reason & 0xffu);
  text += formatted(",\"reason\":%u,\"qualification\":\"%#" PRIx64 "\"", e.reason, e.qualification);
  if (e.guest_physical || e.guest_linear)
    text += formatted(",\"linear\":\"%#" PRIx64 "\",\"physical\":\"%#" PRIx64 "\"", e.guest_linear, e.guest_physical);
  if (e.vectoring) text += ",\"delivering\":\"" + describe_event(e.vectoring) + "\"";
  return text + ",\"cause\":\"" + e.cause.describe() + "\"}\n";
}

}  // namespace

std::string title_of(const TraceEvent& e) {
  if (e.kind == TraceEvent::entry) return e.launch ? "entry by VMLAUNCH" : "entry by VMRESUME";
  if (e.kind == TraceEvent::exit) return describe_reason(e.reason);
  return "failed entry: " +
         (e.failed_by_instruction() ? describe(static_cast<InstructionError>(e.reason & 0xff)) : describe_reason(e.reason));
}

std::string what_of(const TraceEvent& e) {
  if (e.kind == TraceEvent::entry) return e.event ? "injecting " + describe_event(e.event) : "";
  if (e.kind == TraceEvent::failed_entry) return {};
  return e.event ? describe_event(e.event) : describe_qualification(e.reason, e.qualification);
}

void Trace::add(TraceEvent event, const Vmcs& vmcs) {
  event.number = count_++;
  event.spent = event.retired - last_retired_;
  last_retired_ = event.retired;
  if (event.kind == TraceEvent::entry) ++entries;
  if (event.kind == TraceEvent::exit && event.reason < most_reasons) ++exits[event.reason];
  if (event.kind == TraceEvent::failed_entry) ++failed_entries;
  if (event.kind == TraceEvent::entry) lanes_.entered(event.vmcs);
  if (event.kind == TraceEvent::exit) {
    lanes_.left(event.vmcs, event.reason, event.spent);
    ExitCopy& copy = copies_[event.number % copies];
    copy.number = event.number;
    std::copy(std::begin(vmcs.fields), std::end(vmcs.fields), copy.fields);
  }
  if (watch_.on && watch_.kind == event.kind && (watch_.reason < 0 || watch_.reason == event.reason)) met_ = true;
  ring_[event.number % ring_size] = event;
  if (keeps_lines_) lines_ += json_line(event, lanes_);
}

const ExitCopy* Trace::find_copy(uint64_t number) const {
  const ExitCopy& copy = copies_[number % copies];
  return number != ExitCopy::none && copy.number == number ? &copy : nullptr;
}

const TraceEvent* Trace::find(uint64_t number) const {
  return number < count_ && number + ring_size >= count_ ? &ring_[number % ring_size] : nullptr;
}

// ---- Saved state. Texts look things up in tables by what stands in an event, so nothing is taken that is in no table.

void Cause::serialize(Archive& ar) {
  ar(code_);
  ar.require(kind() < count && (kind() != control || detail() < static_cast<unsigned>(Control::count)),
             "the saved trace has an exit of unknown cause");
}

void TraceEvent::serialize(Archive& ar) {
  ar(kind, launch, reason, cause, event, vectoring, instruction_length, number, tick, retired, vmcs, guest_rip, qualification,
     guest_linear, guest_physical, spent);
  ar.require(kind <= failed_entry, "the saved trace has an event of unknown kind");
}

void FailedCheck::serialize(Archive& ar) {
  auto place = static_cast<uint32_t>(row - check_rows);
  ar(place, values);
  ar.require(place < check_count, "the saved trace has a check that does not exist");
  row = &check_rows[ar.ok() ? place : 0];
}

void EntryFailure::serialize(Archive& ar) {
  auto failed = static_cast<uint32_t>(checks.size());
  ar(number, error, failed);
  ar.require(failed <= check_count, "the saved trace has more failed checks than there are");
  if (ar.is_loading()) checks.assign(ar.ok() ? failed : 0, {check_rows, {}});
  for (FailedCheck& check : checks) ar(check);
}

// Of the ring and the copies, those that hold something.
void Trace::serialize(Archive& ar) {
  ar(count_, last_retired_, entries, failed_entries, exits, lanes_, last_failure_);
  ar.require(count_ < ~uint64_t{0} >> 1, "the saved trace has more events than can have happened");
  for (uint64_t n = count_ - std::min<uint64_t>(count_, ring_size); n < count_ && ar.ok(); ++n) {
    TraceEvent& event = ring_[n % ring_size];
    ar(event);
    ar.require(event.number == n, "the saved trace has an event out of order");
  }
  uint64_t kept = 0;
  for (unsigned i = 0; i < copies; ++i)
    if (copies_[i].number != ExitCopy::none) kept |= uint64_t{1} << i;
  ar(kept);
  for (unsigned i = 0; i < copies && ar.ok(); ++i) {
    if (ar.is_loading()) copies_[i].number = ExitCopy::none;
    if (!(kept >> i & 1)) continue;
    ar(copies_[i]);
    ar.require(copies_[i].number < count_ && copies_[i].number % copies == i, "the saved trace has a copy out of order");
  }
}

}  // namespace matryoshka::vmx
