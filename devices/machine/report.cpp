#include "devices/machine/report.h"

#include <algorithm>

#include "devices/machine/json.h"
#include "vmx-model/trace.h"
#include "wasm-jit/engine.h"

namespace matryoshka {

const char* name(StopReason reason) {
  switch (reason) {
    case StopReason::budget: return "budget";
    case StopReason::idle: return "idle";
    case StopReason::stopped: return "stopped";
    case StopReason::tick_limit: return "tick-limit";
    case StopReason::power_off: return "power-off";
    case StopReason::reset: return "reset";
    case StopReason::debug_exit: return "debug-exit";
    case StopReason::triple_fault: return "triple-fault";
    case StopReason::halted: return "halted";
    case StopReason::boot_failed: return "boot-failed";
    case StopReason::paused: return "paused";
    case StopReason::quit: return "quit";
    case StopReason::difference: return "difference";
  }
  return "";
}

std::string stats_json(const MachineStats& s, const RunFigures& f) {
  JsonWriter json;
  double busy = f.wall_seconds > 0 ? f.wall_seconds : 1;
  json.object([&] {
    json.field("host", f.host);
    json.field("ended", f.ended);
    json.field("status", f.status);
    json.field("wall_seconds", f.wall_seconds);
    json.field("guest_seconds", static_cast<double>(s.guest_nanoseconds) / 1e9);
    json.field("guest_idle_seconds", static_cast<double>(s.idle_nanoseconds) / 1e9);
    json.field("ticks", s.ticks);
    json.object("instructions",
                [&] { json.field("interpreter", s.retired - s.in_regions), json.field("regions", s.in_regions); });
    if (s.jit)
      json.object("jit", [&] {
        json.field("regions", s.jit->regions);
        json.field("instructions_compiled", s.jit->instructions);
        json.field("bytes", s.jit->bytes);
        json.field("modules", s.jit->modules);
        json.field("not_compiled", s.jit->refused);
        json.field("dropped", s.jit->dropped);
        json.field("links", s.jit->links);
        json.object("exits", [&] {
          for (unsigned i = 0; i < jit::exit_kinds; ++i) json.field(jit::exit_names[i], s.jit->exits[i]);
        });
        json.object("interpreted_after", [&] {
          std::vector<unsigned> order(row_count);
          for (unsigned i = 0; i < row_count; ++i) order[i] = i;
          constexpr size_t most = 16;
          std::partial_sort(order.begin(), order.begin() + most, order.end(),
                            [&](unsigned a, unsigned b) { return s.jit->taken_over[a] > s.jit->taken_over[b]; });
          for (size_t i = 0; i < most && s.jit->taken_over[order[i]]; ++i)
            json.field((std::string(rows[order[i]].mnemonic) + " " + rows[order[i]].operands).c_str(),
                       uint64_t{s.jit->taken_over[order[i]]});
        });
      });
    json.field("rep_iterations", s.rep_iterations);
    json.field("mips", static_cast<double>(s.retired) / busy / 1e6);
    json.field("interrupts", s.interrupts);
    json.field("post_code", unsigned{s.post_code});
    if (s.vmx)
      json.object("vmx", [&] {
        json.field("entries", s.vmx->entries);
        json.field("failed_entries", s.vmx->failed_entries);
        json.object("exits", [&] {
          for (unsigned n = 0; n < vmx::Trace::most_reasons; ++n)
            if (const vmx::ReasonInfo* reason = s.vmx->exits[n] ? vmx::find_reason(n) : nullptr)
              json.field(reason->title, s.vmx->exits[n]);
        });
      });
    json.field("blocks_built", s.blocks_built);
    json.field("blocks_dropped", s.blocks_dropped);
    json.field("peak_memory_bytes", f.peak_memory_bytes);
  });
  return json.text();
}

}  // namespace matryoshka
