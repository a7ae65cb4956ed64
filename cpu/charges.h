// What some instructions cost the clock beyond their own tick. Programs use them to wait, so a charge ends a busy wait sooner:
// a loop that polls a port or spins on PAUSE lets the time pass that it is waiting for.
#pragma once

#include <cstdint>

namespace matryoshka {

constexpr uint64_t port_charge = 500;       // IN and OUT: about what an access to an ISA port took
constexpr uint64_t port_burst_charge = 20;  // each iteration of a repeated INS or OUTS, which waits for nothing
constexpr uint64_t pause_charge = 140;      // as on recent processors
constexpr uint64_t rdtsc_charge = 40;

}  // namespace matryoshka
