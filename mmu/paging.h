// The page walk: linear address to physical address, as "Paging" in the manual's volume 3A lays it out, with the second walk of
// mmu/ept.h under it where a guest runs.
#pragma once

#include <cstdint>

#include "cpu/state/fault.h"
#include "cpu/state/state.h"
#include "mmu/ept.h"
#include "mmu/memory.h"

namespace matryoshka {

struct Access {
  AccessKind kind;
  bool user;      // made at CPL 3, and not one of the processor's own (descriptor tables, TSS)
  bool implicit;  // one of the processor's own: SMAP holds whatever AC says
};

// What a walk found. `permits_*` speak for the access class (user, or supervisor under the present SMAP/AC) that walked.
struct Translation {
  uint64_t physical;
  bool permits_read;
  bool permits_write;  // and the dirty bit is set, so a store needs no walk
  bool global;
  bool user_page;
  uint8_t page_bits;  // 12, 21, 22 or 30
};

// The reserved bits of a CR3 or a table entry follow from this, and where the tables themselves lie.
struct PagingLimits {
  unsigned physical_bits = 39;
  bool gigabyte_pages = true;
  uint64_t address_lines = ~uint64_t{0};  // without bit 20 while the A20 gate is shut
  Ept ept = {};
};

bool canonical(const CpuState& state, uint64_t address);

// Sets accessed and dirty bits. On failure the page fault, or the VM exit, stands in `fault`.
[[nodiscard]] bool walk(CpuState& state, PhysicalMemory& memory, const PagingLimits& limits, uint64_t linear, Access access,
                        Translation& result, Fault& fault);

// The same where the guest has no paging of its own.
[[nodiscard]] bool walk_unpaged(PhysicalMemory& memory, const PagingLimits& limits, uint64_t address, AccessKind kind,
                                Translation& result, Fault& fault);

// For the inspector and debuggers: translates without permission checks and without a trace in memory.
[[nodiscard]] bool peek_physical(const CpuState& state, const PhysicalMemory& memory, uint64_t linear, uint64_t& physical);

// PAE paging keeps its four top entries in the processor. False if one has a reserved bit set, with #GP and this error code in
// `fault`, or if they cannot be reached, with a VM exit there.
[[nodiscard]] bool load_pdptes(CpuState& state, PhysicalMemory& memory, const PagingLimits& limits, uint64_t cr3, Fault& fault,
                               uint32_t error = 0);
// The bits of such an entry that must be 0.
uint64_t reserved_pdpte_bits(unsigned physical_bits);

}  // namespace matryoshka
