// How a run ended and what it cost, in the words and figures that every host program uses.
#pragma once

#include <string>

#include "devices/machine/machine.h"

namespace matryoshka {

// "power-off", "tick-limit": as in the statistics and in the page's state.
const char* name(StopReason reason);

// What a host knows of the run beyond the machine itself.
struct RunFigures {
  std::string host;  // "native", "wasm"
  double wall_seconds = 0;
  uint64_t peak_memory_bytes = 0;
  std::string ended;  // name(StopReason), or "match"
  unsigned status = 0;
};

// The file of --stats.
std::string stats_json(const MachineStats& stats, const RunFigures& figures);

}  // namespace matryoshka
