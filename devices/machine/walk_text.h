// A walk of a linear address through the guest's tables and EPT, level by level, as text. It leaves no trace in memory.
#pragma once

#include <cstdint>
#include <string>

#include "mmu/paging.h"

namespace matryoshka {

// The registers that a walk follows: those of the running processor, or those that a VMCS keeps for a guest or host.
struct WalkRoot {
  uint64_t cr0 = 0, cr3 = 0, cr4 = 0, efer = 0;
  uint64_t pdpte[4] = {};
  Ept ept;
};

std::string walk_text(const PhysicalMemory& memory, const WalkRoot& root, uint64_t linear);

}  // namespace matryoshka
