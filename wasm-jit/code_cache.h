// The regions that exist: where they stand in the table, what they were made from, and how they lead to each other.
//
// Slots are given out in a ring. When it comes round, the oldest regions make room, so memory is bounded and nothing is ever
// wiped whole. A region that is dropped (its bytes were written, its slot is wanted) is unlinked by writing to the cells that
// lead to it. It may be running at that moment, so what it points at is freed only when nothing runs.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cpu/block_cache.h"
#include "wasm-jit/layout.h"
#include "wasm-jit/region.h"

namespace matryoshka::jit {

struct Translation {
  RegionKey key;
  std::vector<CodePageUse> pages;
  uint32_t slot = 0;  // 0 until it has been compiled
  unsigned instructions = 0;
  std::deque<LinkCell> cells;  // its own exits; their addresses stay
  std::deque<Op> ops;          // that its helpers are called with
  std::vector<ExitSite> sites;
  LinkCell* leading_here = nullptr;
  bool jumped_to = false;  // an entry of the jump table leads here
  uint32_t number = 0;
};

class CodeCache {
 public:
  CodeCache(BlockCache& blocks, PhysicalMemory& memory, uint32_t unlinked_slot)
      : blocks_(blocks), memory_(memory), unlinked_(unlinked_slot) {}

  Translation& add(const Region& region);
  // It has been compiled and stands in the table.
  void place(Translation& t, uint32_t slot);
  void drop(Translation& t);
  uint64_t drop_written(uint64_t page, uint64_t granules);
  // Drops the regions that hold the instruction here, and says which they were.
  std::vector<RegionKey> drop_holding(uint64_t physical);
  void drop_all();
  // Those whose slots are in [first, first + count).
  void drop_slots(uint32_t first, uint32_t count);
  // Nothing runs: what was dropped may go.
  void bury() { dropped_.clear(); }

  Translation* find(uint64_t physical, uint32_t mode);
  LinkCell* new_cell(Translation& owner);
  void link(LinkCell& cell, uint32_t slot, const Block& target);

  size_t size() const { return live_.size(); }
  // An entry of the jump table leads to this slot.
  void note_jump(uint32_t slot);
  // Whether since the last call a region went to which an entry leads.
  bool jump_target_dropped() { return std::exchange(jump_target_dropped_, false); }
  uint64_t dropped_count = 0;

 private:
  static uint64_t hash_of(uint64_t physical, uint32_t mode) {
    return physical ^ uint64_t { mode } << 52;
  }
  void unlink_from_target(LinkCell& cell);

  BlockCache& blocks_;
  PhysicalMemory& memory_;
  const uint32_t unlinked_;
  bool jump_target_dropped_ = false;
  uint32_t next_number_ = 1;
  std::unordered_map<uint32_t, std::unique_ptr<Translation>> live_;  // by number
  std::unordered_map<uint64_t, uint32_t> by_key_;
  std::unordered_map<uint32_t, uint32_t> by_slot_;
  std::unordered_map<uint64_t, std::vector<uint32_t>> by_page_;
  std::vector<std::unique_ptr<Translation>> dropped_;
};

}  // namespace matryoshka::jit
