// How an Op finds its code: a case of the interpreter's switch, or a function in a table.
#pragma once

#include <array>
#include <cstdint>

#include "cpu/instruction.h"
#include "cpu/isa.h"

namespace matryoshka {

class Processor;
using Handler = bool (*)(Processor&, const Op&);

// Cases of the switch that are no instructions. Instances listed in hot.def follow from first_hot on.
enum : uint16_t {
  handler_end,        // the block ends: control falls through
  handler_stop,       // the engine asked to stop before this instruction
  handler_stale,      // the block was overwritten while it ran
  handler_leave,      // a row of kind leave
  handler_cold,       // any other row that is not hot
  handler_not_ready,  // an FPU or SSE row while CR0 or CR4 forbid it
  handler_undefined,  // #UD
  handler_too_long,   // #GP(0)
  first_hot
};

// The case for this instance, or handler_cold.
uint16_t hot_handler(uint16_t id);

// The function for each instance; null where the instruction table has no such row.
extern const std::array<Handler, row_count * 8> handler_table;
inline Handler handler_for(uint16_t id) { return handler_table[id]; }

}  // namespace matryoshka
