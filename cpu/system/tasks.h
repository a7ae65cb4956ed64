// Task switches, for the transfers and events that lead to a TSS.
#pragma once

#include "cpu/system/segments.h"

namespace matryoshka::system {

// Numbered as "Exit Qualification for Task Switches" has them.
enum class TaskSwitch : uint8_t { call, iret, jump, event };

// Switches to the task whose TSS descriptor `selector` names; the caller has done what its kind of access checks of DPL and RPL.
// The old task will go on at state.rip, with `flags` in its RFLAGS.
//
// A switch has a point of no return, and `committed` is set there. What fails before it leaves the old task as it was; what
// fails later is an exception of the new task, at its first instruction.
[[nodiscard]] bool switch_task(Processor& cpu, uint16_t selector, TaskSwitch kind, uint64_t flags, uint32_t external,
                               bool& committed);

// The same as an instruction's last step: an exception that belongs to the new task is delivered here.
[[nodiscard]] bool transfer_to_task(Processor& cpu, uint16_t selector, TaskSwitch kind);

// IRET with NT set: back along the link.
[[nodiscard]] bool return_from_task(Processor& cpu);

}  // namespace matryoshka::system
