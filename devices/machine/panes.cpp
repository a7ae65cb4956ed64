#include "devices/machine/panes.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "cpu/processor.h"
#include "devices/machine/json.h"
#include "vmx-model/describe.h"

namespace matryoshka {

using namespace vmx;

namespace {

// As many as a person reads, and not so many that a page which asks four times a second would be busy with them.
constexpr unsigned shown_events = 24;

// The groups of the manual's "Organization of VMCS Data". An encoding knows four types of field: all controls are one.
enum { guest_area, host_area, execution_controls, exit_controls, entry_controls, exit_information, manual_groups };
constexpr const char* group_titles[manual_groups] = {
    "Guest-state area",       "Host-state area",         "VM-execution control fields",
    "VM-exit control fields", "VM-entry control fields", "VM-exit information fields"};

unsigned manual_group(const FieldInfo& field) {
  switch (field.group) {
    case Group::guest: return guest_area;
    case Group::host: return host_area;
    case Group::read_only: return exit_information;
    case Group::control: break;
  }
  const std::string_view name = field.name;
  return name.starts_with("exit_") ? exit_controls : name.starts_with("entry_") ? entry_controls : execution_controls;
}

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

unsigned depth_of(const Trace& trace, uint64_t vmcs) {
  const Lane* lane = trace.lanes().find(vmcs);
  return lane ? lane->depth : 2;
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

void write_events(JsonWriter& json, const Trace& trace) {
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
        json.field("layer", depth_of(trace, e->vmcs));
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
    json.field("layer", depth_of(vmx.trace, v.address));
    json.field("launched", v.launched);
    if (before) json.field("since", before->number);
    json.array("groups", [&] {
      for (unsigned group = 0; group < manual_groups; ++group)
        json.object([&] {
          json.field("title", group_titles[group]);
          json.array("fields", [&] {
            for (unsigned i = 0; i < field_count; ++i) {
              const auto f = static_cast<Field>(i);
              if (manual_group(info(f)) != group || !vmx.capabilities().has(f)) continue;
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

std::vector<Layer> layers_of(const Vmx& vmx) {
  std::vector<Layer> layers;
  const std::string operation =
      vmx.on() ? "VMX operation, VMXON region " + hexadecimal(vmx.vmxon_pointer()) : "not in VMX operation";
  layers.push_back({1, operation, !vmx.non_root(), nullptr});
  for (const Lane& lane : vmx.trace.lanes().all()) {
    const bool current = vmx.current() && vmx.current()->address == lane.vmcs;
    const auto& active = vmx.active().all();
    const auto found = std::find_if(active.begin(), active.end(), [&](const auto& v) { return v->address == lane.vmcs; });
    std::string state = found == active.end() ? "clear" : (*found)->launched ? "launched, active" : "clear, active";
    if (current) state += ", current";
    layers.push_back({lane.depth, state, current && vmx.non_root(), &lane});
  }
  std::stable_sort(layers.begin(), layers.end(), [](const Layer& a, const Layer& b) { return a.depth < b.depth; });
  return layers;
}

std::string panes_json(const Processor& cpu) {
  const Vmx& vmx = cpu.vmx;
  JsonWriter json;
  json.object([&] {
    json.field("tick", cpu.clock.ticks);
    write_layers(json, vmx);
    write_events(json, vmx.trace);
    if (vmx.current()) write_vmcs(json, vmx, *vmx.current());
  });
  return json.text();
}

}  // namespace matryoshka
