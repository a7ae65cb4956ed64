#include "devices/machine/report.h"

#include "devices/machine/json.h"

namespace matryoshka {

const char* name(StopReason reason) {
  switch (reason) {
    case StopReason::budget:
      return "budget";
    case StopReason::idle:
      return "idle";
    case StopReason::stopped:
      return "stopped";
    case StopReason::tick_limit:
      return "tick-limit";
    case StopReason::power_off:
      return "power-off";
    case StopReason::reset:
      return "reset";
    case StopReason::debug_exit:
      return "debug-exit";
    case StopReason::triple_fault:
      return "triple-fault";
    case StopReason::halted:
      return "halted";
    case StopReason::boot_failed:
      return "boot-failed";
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
    json.object("instructions", [&] { json.field("interpreter", s.retired); });
    json.field("rep_iterations", s.rep_iterations);
    json.field("mips", static_cast<double>(s.retired) / busy / 1e6);
    json.field("interrupts", s.interrupts);
    json.field("post_code", unsigned{s.post_code});
    json.field("blocks_built", s.blocks_built);
    json.field("blocks_dropped", s.blocks_dropped);
    json.field("peak_memory_bytes", f.peak_memory_bytes);
  });
  return json.text();
}

}  // namespace matryoshka
