#include "vmx-model/trace.h"

#include <cinttypes>
#include <cstdio>

namespace matryoshka::vmx {

void Trace::add(TraceEvent event) {
  event.number = count_++;
  event.spent = event.retired - last_retired_;
  last_retired_ = event.retired;
  if (event.kind == TraceEvent::entry) ++entries;
  if (event.kind == TraceEvent::exit && event.reason < most_reasons) ++exits[event.reason];
  if (event.kind == TraceEvent::failed_entry) ++failed_entries;
  ring_[event.number % ring_size] = event;
}

const TraceEvent* Trace::find(uint64_t number) const {
  return number < count_ && number + ring_size >= count_ ? &ring_[number % ring_size] : nullptr;
}

std::string Trace::json_lines(uint64_t& from) const {
  std::string text;
  if (count_ > ring_size && from < count_ - ring_size) from = count_ - ring_size;
  static constexpr const char* kinds[] = {"entry", "exit", "failed-entry"};
  for (; from < count_; ++from) {
    const TraceEvent& e = ring_[from % ring_size];
    char line[512];
    int length = std::snprintf(line, sizeof line,
                               "{\"n\":%" PRIu64 ",\"kind\":\"%s\",\"tick\":%" PRIu64 ",\"spent\":%" PRIu64
                               ",\"vmcs\":\"%#" PRIx64 "\",\"rip\":\"%#" PRIx64 "\"",
                               e.number, kinds[e.kind], e.tick, e.spent, e.vmcs, e.guest_rip);
    text.append(line, static_cast<size_t>(length));
    if (e.kind == TraceEvent::entry) {
      text += e.launch ? ",\"by\":\"VMLAUNCH\"" : ",\"by\":\"VMRESUME\"";
      if (e.event) {
        length = std::snprintf(line, sizeof line, ",\"injects\":\"%#x\"", e.event);
        text.append(line, static_cast<size_t>(length));
      }
    } else {
      const ReasonInfo* reason = find_reason(e.reason);
      length = std::snprintf(line, sizeof line, ",\"reason\":%u,\"name\":\"%s\",\"qualification\":\"%#" PRIx64 "\"", e.reason,
                             reason ? reason->title : "VM-instruction error", e.qualification);
      text.append(line, static_cast<size_t>(length));
      if (e.guest_physical || e.guest_linear) {
        length = std::snprintf(line, sizeof line, ",\"linear\":\"%#" PRIx64 "\",\"physical\":\"%#" PRIx64 "\"", e.guest_linear,
                               e.guest_physical);
        text.append(line, static_cast<size_t>(length));
      }
      if (e.event) {
        length = std::snprintf(line, sizeof line, ",\"event\":\"%#x\"", e.event);
        text.append(line, static_cast<size_t>(length));
      }
      if (e.vectoring) {
        length = std::snprintf(line, sizeof line, ",\"vectoring\":\"%#x\"", e.vectoring);
        text.append(line, static_cast<size_t>(length));
      }
      text += ",\"cause\":\"" + e.cause.describe() + "\"";
    }
    text += "}\n";
  }
  return text;
}

}  // namespace matryoshka::vmx
