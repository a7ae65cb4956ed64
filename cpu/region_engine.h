// The second engine, as the processor sees it: something that has functions for hot places, called regions.
//
// A region begins where a block begins (Block::entry) and runs with the registers in the memory that RegionContext names. It
// stops by itself before its budget of ticks is used up, and does nothing that the interpreter would not do: whatever is not
// plain (a TLB miss, a fault, a row of kind leave) it leaves alone and ends in front of it.
#pragma once

#include <cstdint>

#include "cpu/instruction.h"
#include "mmu/tlb.h"

namespace matryoshka {

struct Block;
struct Xmm;
class Processor;

// Where a region finds the processor.
struct RegionContext {
  uint64_t *gpr, *rip, *flag_result, *flag_aux, *system_flags, *segment_base, *segment_room;
  bool* attention;
  TlbSet *data, *code;
  Op** block_ops;
  uint64_t *block_rip, *block_ticks, *end_ticks;
  Xmm* xmm;
  uint32_t* mxcsr;
  bool* sti_shadow;
  unsigned canonical_unused;
};

// After an instruction that a region has had done by Processor::run_in_region().
struct RegionContinuation {
  enum How : uint8_t {
    go_on,    // with the next instruction, in the same region
    enter,    // another region
    faulted,  // which is not delivered yet: registers are the region's still. Only where it might have gone on
    stop      // something is due, or no region stands there: the region ends, with the processor's state complete
  } how;
  int32_t left;  // of the budget
  uint32_t entry;
};

class RegionEngine {
 public:
  virtual ~RegionEngine() = default;

  // How many instructions are interpreted from a block on before a region is thought of.
  uint32_t hot = 200'000;
  // And as how many it counts that a region was left for the block.
  static constexpr uint32_t crossing = 100;
  // The longest region.
  static constexpr uint32_t longest_region = 300;
  uint32_t most_instructions = longest_region;

  enum class End : uint8_t {
    next,         // go on at RIP
    interpreted,  // the interpreter must do what stands at RIP
    faulted       // a helper faulted: `op` says in which
  };
  struct Outcome {
    End end;
    int32_t left;  // of the budget
    const Op* op;
    void* way;  // by which exit, for link()
  };
  virtual Outcome run(uint32_t entry, int32_t budget) = 0;
  // The way out that a region took leads to this block, which has an entry: next time it may go there directly.
  virtual void link(void* way, const Block& target) = 0;

  // The interpreter goes on with this instruction where a region has ended. `left`: the region had it, but could not do it.
  virtual void taken_over(const Block& block, const Op& op, bool left) = 0;

  // The block at RIP, which has run often. May compile it, now or later.
  virtual void consider(Processor& cpu, Block& block) = 0;
  // Between runs of the processor: compiles at once what was considered and waits for company.
  virtual void compile_now() = 0;
  // The entry for a block that was decoded anew; 0 if there is none.
  virtual uint32_t entry_for(uint64_t physical, uint32_t mode) const = 0;

  // Bytes are about to change. Answers which granules of the page regions still use.
  virtual uint64_t drop_written(uint64_t page, uint64_t granules) = 0;
  virtual void drop_all() = 0;
};

}  // namespace matryoshka
