// The second walk: guest-physical address to physical address, as "The Extended Page Table Mechanism (EPT)" lays it out.
//
// It stands under the first one: each table that the guest's own paging uses is found by it, and so is the page at the end. An
// access that the EPT paging structures do not allow is no fault of the guest's but a VM exit, which goes up in `fault` all the
// same.
#pragma once

#include <cstdint>

#include "cpu/state/fault.h"
#include "mmu/memory.h"

namespace matryoshka {

enum class AccessKind : uint8_t { read, write, fetch };

// Exit reasons that come from here; the whole table is vmx-model/exit_reasons.def.
namespace ept_exit {
constexpr uint16_t apic_access = 44, violation = 48, misconfiguration = 49;
}

struct Ept {
  bool on = false;
  uint64_t pointer = 0;  // EPTP
  unsigned physical_bits = 39;
  bool execute_only = true, large_pages = true, gigabyte_pages = true;

  bool accessed_dirty() const { return pointer >> 6 & 1; }
  uint64_t root() const { return pointer & (~uint64_t{0xfff} & (~uint64_t{0} >> 12)); }
};

struct EptAccess {
  AccessKind kind;
  bool linear_known;  // the access translates a linear address: this one
  uint64_t linear;
  bool to_tables;  // to a table of the guest's paging, not to the page itself
  bool updates;    // to set an accessed or dirty flag there
};

struct EptTranslation {
  uint64_t physical;
  bool readable, writable, executable;  // writable: and the dirty flag is set, where there are such flags
  uint8_t page_bits;
};

// Sets EPT's accessed and dirty flags. On failure the VM exit stands in `fault`.
[[nodiscard]] bool ept_walk(PhysicalMemory& memory, const Ept& ept, uint64_t guest_physical, const EptAccess& access,
                            EptTranslation& result, Fault& fault);

// One level of the walk as it stands in memory, for the inspector.
struct EptLevel {
  uint64_t address, entry;
  unsigned shift;
  bool leaf, present, misconfigured;
};
// Follows the tables without a trace; answers how many levels it has filled. The last one says how it ended.
unsigned ept_levels(const PhysicalMemory& memory, const Ept& ept, uint64_t guest_physical, EptLevel (&levels)[4]);

}  // namespace matryoshka
