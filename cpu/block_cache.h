// Decoded blocks, keyed by where their bytes lie in physical memory and by the mode they were decoded for.
//
// A block is a run of instructions that ends at a branch, at a row of kind leave, or at its page's end; an instruction that
// crosses into the next page is a block of its own. Blocks and their Ops stand in two rings: when one is full the oldest
// blocks make room, so memory is bounded and nothing is ever wiped whole.
//
// Bytes under a block are marked in PhysicalMemory. When they are written the block is dropped: it leaves the tables at once,
// and its Ops are overwritten with handler_stale, so that a block that changes itself stops before its next instruction.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "cpu/instruction.h"
#include "mmu/memory.h"

namespace matryoshka {

struct Block {
  uint64_t physical;     // of the first byte
  uint64_t second_page;  // physical address of the page it crosses into, or no_page
  uint32_t mode;         // CodeMode::key()
  uint32_t first_op;     // place in the ring
  uint16_t count;        // instructions, without the handler_end that follows them
  uint16_t bytes;
  bool live;
  uint32_t heat;   // instructions begun here, until it is considered for a region
  uint32_t entry;  // of the region that begins here, or 0
  uint32_t next_in_hash;
  struct Link {
    uint32_t next, previous;
  } in_page[2];  // lists of the blocks on each page

  static constexpr uint64_t no_page = ~uint64_t{0};
};

class BlockCache {
 public:
  static constexpr uint32_t none = ~uint32_t{0};
  static constexpr unsigned max_instructions = 64;

  explicit BlockCache(PhysicalMemory& memory);

  Op* ops(const Block& block) { return &ops_[block.first_op]; }
  Block* find(uint64_t physical, uint32_t mode) {
    for (uint32_t i = table_[slot(physical, mode)]; i != none; i = blocks_[i].next_in_hash)
      if (blocks_[i].physical == physical && blocks_[i].mode == mode) return &blocks_[i];
    return nullptr;
  }
  const Block* find(uint64_t physical, uint32_t mode) const { return const_cast<BlockCache*>(this)->find(physical, mode); }
  // Takes over `count` Ops plus the end marker. Code of ROM and RAM is remembered; the result is live until the ring comes
  // round or its bytes are written.
  Block* insert(uint64_t physical, uint64_t second_page, uint32_t mode, unsigned bytes, const Op* ops, unsigned count);
  void drop(Block& block);
  // Answers which granules of the page blocks still use.
  uint64_t drop_written(uint64_t page, uint64_t granules);
  void drop_all();

  uint64_t built = 0, dropped = 0;  // for statistics

 private:
  static constexpr uint32_t table_size = 1 << 15, block_capacity = 1 << 15, op_capacity = 5 << 16;
  static uint32_t slot(uint64_t physical, uint32_t mode) {
    return static_cast<uint32_t>((physical ^ physical >> 15) + mode * 0x9e3779b1u) & (table_size - 1);
  }
  void unlink(uint32_t index);
  void link_page(uint32_t index, unsigned which, uint64_t page);
  void unlink_page(uint32_t index, unsigned which, uint64_t page);
  void retire_oldest();

  PhysicalMemory& memory_;
  // Not cleared: most guests never fill them.
  std::unique_ptr<Op[]> ops_;
  std::unique_ptr<Block[]> blocks_;
  std::vector<uint32_t> table_;
  std::vector<uint32_t> page_heads_;  // by PhysicalMemory::page_number
  uint32_t oldest_ = 0, newest_ = 0;  // ring of blocks: [oldest_, newest_) modulo its capacity
  uint32_t op_head_ = 0;
};

}  // namespace matryoshka
