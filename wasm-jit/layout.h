// Where regions find the machine: addresses in the memory that they share with the core, and the ABI between the two.
//
// A region is a function (budget, cell) -> cell. `budget` is how many ticks it may spend. All else passes through memory: RIP and
// the registers stand in CpuState when a region is entered and when it is left. A region leaves through a link cell. The cell
// holds the table slot of what comes next: of the region that was found to stand there, or at first of `unlinked`, a function of
// the core which notes the budget that is left and returns the cell, so that the dispatcher knows by which way it came.
#pragma once

#include <cstddef>
#include <cstdint>

namespace matryoshka::jit {

using Address = uint32_t;  // in wasm memory; goldens are made with invented ones

struct LinkCell {
  uint32_t slot;           // what to call: a region, or `unlinked`
  uint32_t kind;           // ExitKind
  uint64_t physical_page;  // where the target stands; looked at when it is on a page that the region does not hold itself
  void* target;            // the Translation that it leads to, or null
  LinkCell* next;          // the next cell that leads there
  bool live;               // its region exists; else it leads nowhere any more
};

// Where indirect jumps have gone: direct-mapped by RIP. Begins as a LinkCell does.
struct JumpEntry {
  uint32_t slot;
  uint32_t mode;
  uint64_t physical_page;
  uint64_t rip;

  static constexpr uint32_t count = 2048, hash_shift = 11;
  static uint32_t hash(uint64_t rip) {
    return (static_cast<uint32_t>(rip) ^ static_cast<uint32_t>(rip) >> hash_shift) & (count - 1);
  }
};
static_assert(offsetof(JumpEntry, slot) == offsetof(LinkCell, slot) &&
              offsetof(JumpEntry, physical_page) == offsetof(LinkCell, physical_page));

// What a region's tail must know of the exit that leads to it.
struct ExitSite {
  uint32_t cell;
  int32_t distance;     // of RIP from the entry
  uint32_t done;        // instructions that the budget still owes
  uint16_t flag_shape;  // FlagState::index()
  uint16_t checks;      // whether RIP's page is to be looked at
};

enum class ExitKind : uint32_t {
  next,          // goes on at RIP
  interpreted,   // what stands at RIP must be interpreted: a slow memory access, a row of kind leave
  refused,       // nothing was done: the budget is too small, or one of its pages is not in the fetch TLB
  helper_fault,  // the helper of the Op in fault_op has faulted
  indirect       // goes on at RIP, wherever that is
};
inline constexpr unsigned exit_kinds = 5;
inline constexpr const char* exit_names[exit_kinds] = {"next", "interpreted", "refused", "helper_fault", "indirect"};

struct Layout {
  Address gpr = 0, rip = 0, flag_result = 0, flag_aux = 0, system_flags = 0;
  Address segment_base = 0, segment_room = 0;
  Address xmm = 0, mxcsr = 0;
  Address attention = 0;  // a byte
  Address data_tlb = 0, code_tlb = 0;
  Address processor = 0;
  Address block_ops = 0, block_rip = 0, block_ticks = 0;
  Address end_ticks = 0;  // the tick count at which the budget is used up
  Address budget_left = 0;
  Address fault_op = 0;
  Address sti_shadow = 0;                        // a byte
  Address run_and_go_on = 0, run_and_leave = 0;  // table slots of Processor::run_in_region(): a cell to leave by, or 0
  Address interpreted_cell = 0, refused_cell = 0, fault_cell = 0, indirect_cell = 0, next_cell = 0;
  Address jumps = 0;  // JumpEntry[]
  unsigned canonical_unused = 16;
  bool tail_calls = true;
};

}  // namespace matryoshka::jit
