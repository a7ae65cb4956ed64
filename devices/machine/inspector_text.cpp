#include "devices/machine/inspector_text.h"

#include <algorithm>
#include <cinttypes>

#include "cpu/processor.h"
#include "vmx-model/describe.h"

namespace matryoshka {

using namespace vmx;

// ---- Layers and their VMCSs

std::vector<Layer> layers_of(const Vmx& vmx) {
  std::vector<Layer> layers;
  const std::string operation =
      vmx.on() ? "VMX operation, VMXON region " + hexadecimal(vmx.vmxon_pointer()) : "not in VMX operation";
  layers.push_back({1, operation, !vmx.non_root(), nullptr});
  for (const Lane& lane : vmx.trace.lanes().all()) {
    const bool current = vmx.current() && vmx.current()->address == lane.vmcs;
    layers.push_back({lane.depth, vmcs_state(vmx, lane.vmcs), current && vmx.non_root(), &lane});
  }
  std::stable_sort(layers.begin(), layers.end(), [](const Layer& a, const Layer& b) { return a.depth < b.depth; });
  return layers;
}

std::string layers_text(const Vmx& vmx) {
  std::string text = "L0 this machine\n";
  const std::vector<Layer> layers = layers_of(vmx);
  for (const Layer& layer : layers) {
    text += (layer.running ? "* " : "  ") + std::string(layer.lane ? 2 * (layer.depth - 1) : 0, ' ') + layer_name(layer.depth);
    if (!layer.lane) {
      text += "  " + layer.state + "\n";
      continue;
    }
    text += formatted("  VMCS %#" PRIx64 " (%s), %" PRIu64 " entries, %" PRIu64 " exits, %" PRIu64 " instructions\n",
                      layer.lane->vmcs, layer.state.c_str(), layer.lane->entries, layer.lane->exits, layer.lane->instructions);
  }
  if (layers.size() == 1) text += "No guest has been entered yet. A command such as `vmm` in the machine's Linux starts one.\n";
  return text;
}

const Vmcs* active_vmcs(const Vmx& vmx, uint64_t address) {
  for (const auto& v : vmx.active().all())
    if (v->address == address) return v.get();
  return nullptr;
}

std::string vmcs_state(const Vmx& vmx, uint64_t address) {
  const Vmcs* v = active_vmcs(vmx, address);
  std::string state = !v ? "clear" : v->launched ? "launched, active" : "clear, active";
  if (v && v == vmx.current()) state += ", current";
  return state;
}

const Vmcs* keeper_of(const Vmx& vmx, unsigned depth) {
  const Lane* best = nullptr;
  for (const Lane& lane : vmx.trace.lanes().all())
    if (lane.depth == depth && (!best || lane.last_used > best->last_used)) best = &lane;
  return best ? active_vmcs(vmx, best->vmcs) : nullptr;
}

unsigned depth_of(const Vmx& vmx, uint64_t vmcs) {
  const Lane* lane = vmx.trace.lanes().find(vmcs);
  return lane ? lane->depth : 2;
}

unsigned running_depth(const Vmx& vmx) { return vmx.non_root() ? depth_of(vmx, vmx.current()->address) : 1; }

std::string kept_registers_text(const Vmcs& v, bool host) {
  auto f = [&](Field g, Field h) { return v[host ? h : g]; };
  std::string text = formatted("rip    %016" PRIx64 "  rsp    %016" PRIx64, f(Field::guest_rip, Field::host_rip),
                               f(Field::guest_rsp, Field::host_rsp));
  if (!host) text += formatted("  rflags %016" PRIx64, v[Field::guest_rflags]);
  text +=
      formatted("\ncr0    %016" PRIx64 "  cr3    %016" PRIx64 "  cr4    %016" PRIx64 "\n", f(Field::guest_cr0, Field::host_cr0),
                f(Field::guest_cr3, Field::host_cr3), f(Field::guest_cr4, Field::host_cr4));
  return text + "General registers are not in a VMCS: the layer above has saved them wherever it pleases.\n";
}

// ---- Entries and exits

std::string number_with_words(uint64_t value, const std::string& words) {
  return hexadecimal(value) + (words.empty() ? "" : "  " + words);
}

std::string event_line(const TraceEvent& e) {
  std::string text =
      formatted("%8" PRIu64 "  tick %-12" PRIu64 " VMCS %#" PRIx64 "  rip %#" PRIx64 "  ", e.number, e.tick, e.vmcs, e.guest_rip);
  text += title_of(e);
  if (const std::string what = what_of(e); !what.empty()) text += (e.kind == TraceEvent::entry ? ", " : ": ") + what;
  if (e.kind == TraceEvent::exit) text += formatted("  (after %" PRIu64 " instructions)", e.spent);
  return text + "\n";
}

std::string exits_text(const Trace& trace, uint64_t most) {
  most = std::min<uint64_t>(most, Trace::ring_size);
  std::string text;
  for (uint64_t n = trace.count() > most ? trace.count() - most : 0; n < trace.count(); ++n)
    if (const TraceEvent* e = trace.find(n)) text += event_line(*e);
  return text.empty() ? "No guest has been entered yet.\n" : text;
}

std::string reasons_text(const Trace& trace) {
  std::string text;
  std::vector<unsigned> order;
  for (unsigned n = 0; n < Trace::most_reasons; ++n)
    if (trace.exits[n]) order.push_back(n);
  std::sort(order.begin(), order.end(), [&](unsigned a, unsigned b) {
    return trace.exits[a] > trace.exits[b] || (trace.exits[a] == trace.exits[b] && a < b);
  });
  for (unsigned n : order) text += formatted("%10" PRIu64 "  %2u  %s\n", trace.exits[n], n, describe_reason(n).c_str());
  return text + formatted("%10" PRIu64 "  entries, and %" PRIu64 " that failed\n", trace.entries, trace.failed_entries);
}

const TraceEvent* last_event(const Trace& trace, TraceEvent::Kind kind) {
  for (uint64_t number = trace.count(); number > 0; --number) {
    const TraceEvent* e = trace.find(number - 1);
    if (!e || e->kind == kind) return e;
  }
  return nullptr;
}

std::string why_exit_text(const Vmx& vmx) {
  const TraceEvent* e = last_event(vmx.trace, TraceEvent::exit);
  return e ? why_text(vmx, *e) : "There was no VM exit, or it is too long ago.\n";
}

std::string why_fail_text(const Vmx& vmx) {
  const TraceEvent* e = last_event(vmx.trace, TraceEvent::failed_entry);
  return e ? why_text(vmx, *e) : "No VM entry has failed, or it is too long ago.\n";
}

namespace {

std::string failure_text(const EntryFailure& failure) {
  std::string text;
  if (failure.error != InstructionError::none)
    text += formatted("VM-instruction error %u: %s\n", static_cast<unsigned>(failure.error), describe(failure.error));
  for (const FailedCheck& failed : failure.checks) {
    text += std::string("  ") + failed.row->id + ": " + failed.row->sentence + "\n    \"" + failed.row->title + "\"\n";
    for (unsigned i = 0; i < 4 && failed.row->fields[i] != Field::count; ++i)
      text += "    " + std::string(info(failed.row->fields[i]).title) + " = " +
              number_with_words(failed.values[i], describe_field(failed.row->fields[i], failed.values[i])) + "\n";
  }
  return text;
}

}  // namespace

std::string why_text(const Vmx& vmx, const TraceEvent& e) {
  std::string text = event_line(e);
  if (e.kind == TraceEvent::entry) return text;
  if (e.kind == TraceEvent::failed_entry) {
    const EntryFailure& failure = vmx.trace.last_failure();
    if (failure.number != e.number) return text + "Which checks failed is remembered for the last failure only.\n";
    return text + failure_text(failure);
  }
  const ReasonInfo* reason = find_reason(e.reason);
  text += formatted("  reason %u: %s\n", e.reason, reason ? reason->when : "");
  text += "  cause: " + e.cause.describe() + "\n";
  if (e.cause.kind() == Cause::control) {
    const Field word = field_of(info(static_cast<Control>(e.cause.detail())).word);
    if (const Vmcs* v = active_vmcs(vmx, e.vmcs)) {
      const Origin& origin = v->origins[static_cast<unsigned>(word)];
      if (origin.tick)
        text +=
            std::string("  ") + info(word).title +
            formatted(" was written last by the VMWRITE before rip %#" PRIx64 ", at tick %" PRIu64 "\n", origin.rip, origin.tick);
    }
  }
  text += "  exit qualification " + number_with_words(e.qualification, describe_qualification(e.reason, e.qualification)) + "\n";
  if (e.guest_linear || e.guest_physical)
    text +=
        formatted("  guest-linear address %#" PRIx64 ", guest-physical address %#" PRIx64 "\n", e.guest_linear, e.guest_physical);
  if (e.vectoring) text += "  while delivering " + describe_event(e.vectoring) + "\n";
  if (e.instruction_length) text += formatted("  instruction length %u\n", e.instruction_length);
  return text;
}

// ---- A walk

bool read_address(const std::string& name, uint64_t& value) {
  const size_t start = name.starts_with("0x") || name.starts_with("0X") ? 2 : 0;
  if (name.size() == start || name.size() > start + 16) return false;
  value = 0;
  for (char c : std::string_view(name).substr(start)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) return false;
    value = value << 4 | static_cast<unsigned>(digit);
  }
  return true;
}

WalkRoot guest_walk_root(const Processor& cpu, const Vmcs& v) {
  const bool wide = v.has(Control::entry_ia32e_mode_guest);
  WalkRoot root{v[Field::guest_cr0], v[Field::guest_cr3], v[Field::guest_cr4], wide ? uint64_t{efer::LMA} : 0, {}, {}};
  for (unsigned i = 0; i < 4; ++i) root.pdpte[i] = v[nth(Field::guest_pdpte_0, i)];
  root.ept = cpu.mmu.limits.ept;
  root.ept.on = v.has(Control::secondary_ept);
  root.ept.pointer = v[Field::eptp];
  return root;
}

std::optional<WalkRoot> walk_root(const Processor& cpu, unsigned depth) {
  const CpuState& s = cpu.state;
  const Vmx& vmx = cpu.vmx;
  if (depth == running_depth(vmx))
    return WalkRoot{s.cr0, s.cr3, s.cr4, s.msr.efer, {s.pdpte[0], s.pdpte[1], s.pdpte[2], s.pdpte[3]}, cpu.mmu.limits.ept};
  if (depth == 1) {
    const Vmcs& v = *vmx.current();
    const bool wide = v.has(Control::exit_host_address_space_size);
    return WalkRoot{v[Field::host_cr0], v[Field::host_cr3], v[Field::host_cr4], wide ? uint64_t{efer::LMA} : 0, {}, {}};
  }
  const Vmcs* v = keeper_of(vmx, depth);
  return v ? std::optional(guest_walk_root(cpu, *v)) : std::nullopt;
}

std::string layer_walk_text(const Processor& cpu, unsigned depth, const WalkRoot& root, uint64_t linear) {
  return layer_name(depth) + ":\n" + walk_text(cpu.memory, root, linear);
}

}  // namespace matryoshka
