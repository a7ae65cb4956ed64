// The time-stamp counter: the machine's nanosecond clock, moved by whatever WRMSR has added.
#pragma once

#include "cpu/state/state.h"
#include "devices/bus/clock.h"

namespace matryoshka {

inline uint64_t tsc(const CpuState& state, const Clock& clock) { return clock.now() + state.msr.tsc_offset; }

// "Time-Stamp Counter Adjustment": a write to either register moves the other by as much.
inline void set_tsc(CpuState& state, const Clock& clock, uint64_t value) {
  uint64_t change = value - tsc(state, clock);
  state.msr.tsc_offset += change;
  state.msr.tsc_adjust += change;
}
inline void set_tsc_adjust(CpuState& state, uint64_t value) {
  state.msr.tsc_offset += value - state.msr.tsc_adjust;
  state.msr.tsc_adjust = value;
}

}  // namespace matryoshka
