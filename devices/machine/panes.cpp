#include "devices/machine/panes.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "cpu/processor.h"
#include "devices/machine/inspector_text.h"
#include "devices/machine/json.h"
#include "vmx-model/describe.h"

namespace matryoshka {

using namespace vmx;

namespace {

// As many as a person reads, and not so many that a page which asks four times a second would be busy with them.
constexpr unsigned shown_events = 24;

// The VMCS as it stood at the exit before its last one; null if that is too long ago.
const ExitCopy* exit_before_last(const Trace& trace, uint64_t vmcs) {
  bool last = true;
  for (uint64_t n = trace.count(); n > 0 && n + Trace::copies > trace.count(); --n) {
    const TraceEvent* e = trace.find(n - 1);
    if (!e || e->kind != TraceEvent::exit || e->vmcs != vmcs) continue;
    if (!std::exchange(last, false)) return trace.find_copy(n - 1);
  }
  return nullptr;
}

void write_layers(JsonWriter& json, const Vmx& vmx) {
  json.array("layers", [&] {
    for (const Layer& layer : layers_of(vmx))
      json.object([&] {
        json.field("depth", layer.depth);
        json.field("name", layer_name(layer.depth));
        json.field("state", layer.state);
        json.field("running", layer.running);
        if (!layer.lane) return;
        json.field("vmcs", hexadecimal(layer.lane->vmcs));
        json.field("entries", layer.lane->entries);
        json.field("exits", layer.lane->exits);
        json.field("instructions", layer.lane->instructions);
      });
  });
}

void write_events(JsonWriter& json, const Vmx& vmx) {
  const Trace& trace = vmx.trace;
  json.field("entries", trace.entries);
  json.field("failedEntries", trace.failed_entries);
  json.array("reasons", [&] {
    for (unsigned n = 0; n < Trace::most_reasons; ++n) {
      if (!trace.exits[n]) continue;
      json.object([&] {
        json.field("number", n);
        json.field("title", describe_reason(n));
        json.field("count", trace.exits[n]);
      });
    }
  });
  json.array("events", [&] {
    for (uint64_t n = trace.count(); n > 0 && n + shown_events > trace.count(); --n) {
      const TraceEvent* e = trace.find(n - 1);
      if (!e) return;
      json.object([&] {
        static constexpr const char* kinds[] = {"entry", "exit", "failed-entry"};
        json.field("number", e->number);
        json.field("kind", kinds[e->kind]);
        json.field("layer", depth_of(vmx, e->vmcs));
        json.field("title", title_of(*e));
        json.field("what", what_of(*e));
        json.field("cause", e->kind == TraceEvent::exit ? e->cause.describe() : std::string());
        json.field("rip", hexadecimal(e->guest_rip));
        json.field("spent", e->spent);
      });
    }
  });
}

void write_vmcs(JsonWriter& json, const Vmx& vmx, const Vmcs& v) {
  const ExitCopy* before = exit_before_last(vmx.trace, v.address);
  json.object("vmcs", [&] {
    json.field("address", hexadecimal(v.address));
    json.field("layer", depth_of(vmx, v.address));
    json.field("launched", v.launched);
    if (before) json.field("since", before->number);
    json.array("groups", [&] {
      for (unsigned group = 0; group < manual_group_count; ++group)
        json.object([&] {
          json.field("title", describe_group(static_cast<ManualGroup>(group)));
          json.array("fields", [&] {
            for (unsigned i = 0; i < field_count; ++i) {
              const auto f = static_cast<Field>(i);
              if (manual_group(f) != static_cast<ManualGroup>(group) || !vmx.capabilities().has(f)) continue;
              json.object([&] {
                json.field("title", info(f).title);
                json.field("encoding", hexadecimal(info(f).encoding()));
                json.field("value", hexadecimal(v[f]));
                json.field("words", describe_field(f, v[f]));
                if (before && before->fields[i] != v[f]) json.field("before", hexadecimal(before->fields[i]));
              });
            }
          });
        });
    });
  });
}

}  // namespace

std::string panes_json(const Processor& cpu) {
  const Vmx& vmx = cpu.vmx;
  JsonWriter json;
  json.object([&] {
    json.field("tick", cpu.clock.ticks);
    write_layers(json, vmx);
    write_events(json, vmx);
    if (vmx.current()) write_vmcs(json, vmx, *vmx.current());
  });
  return json.text();
}

}  // namespace matryoshka
