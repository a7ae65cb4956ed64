#include "cpu/block_cache.h"

#include <algorithm>
#include <cstring>

#include "cpu/handlers.h"

namespace matryoshka {

BlockCache::BlockCache(PhysicalMemory& memory)
    : memory_(memory),
      ops_(new Op[op_capacity]),
      blocks_(new Block[block_capacity]),
      table_(table_size, none),
      page_heads_(memory.ram_size() / page_size, none) {}

Block* BlockCache::insert(uint64_t physical, uint64_t second_page, uint32_t mode, unsigned bytes, const Op* ops, unsigned count) {
  // Room among the blocks, then a stretch of Ops that does not wrap.
  uint32_t index = newest_;
  if ((newest_ + 1) % block_capacity == oldest_) retire_oldest();
  unsigned needed = count + 1;
  if (op_head_ + needed > op_capacity) {
    // The tail of the ring stays unused this time round; whatever lives there is the oldest.
    while (oldest_ != newest_ && blocks_[oldest_].first_op >= op_head_) retire_oldest();
    op_head_ = 0;
  }
  auto in_the_way = [&] {
    if (oldest_ == newest_) return false;
    const Block& b = blocks_[oldest_];
    return b.first_op < op_head_ + needed && b.first_op + b.count + 1u > op_head_;
  };
  while (in_the_way()) retire_oldest();

  Block& block = blocks_[index];
  block = {};
  block.physical = physical, block.second_page = second_page, block.mode = mode;
  block.first_op = op_head_, block.count = static_cast<uint16_t>(count), block.bytes = static_cast<uint16_t>(bytes);
  block.live = true;
  std::copy(ops, ops + count, &ops_[op_head_]);
  Op& end = ops_[op_head_ + count];
  end = {};
  end.handler = handler_end;
  end.offset = static_cast<uint16_t>(bytes);
  op_head_ += needed;
  newest_ = (newest_ + 1) % block_capacity;

  uint32_t& head = table_[slot(physical, mode)];
  block.next_in_hash = head;
  head = index;
  uint64_t first_part = std::min<uint64_t>(bytes, page_size - physical % page_size);
  memory_.mark_code(physical, static_cast<unsigned>(first_part));
  link_page(index, 0, physical & ~(page_size - 1));
  if (second_page != Block::no_page) {
    memory_.mark_code(second_page, static_cast<unsigned>(bytes - first_part));
    link_page(index, 1, second_page);
  }
  ++built;
  return &block;
}

void BlockCache::link_page(uint32_t index, unsigned which, uint64_t page) {
  Block::Link& link = blocks_[index].in_page[which];
  link = {none, none};
  if (!memory_.is_ram(page)) return;
  // A block stands in at most two lists; the low bit tells through which of its links a list runs.
  uint32_t& head = page_heads_[memory_.page_number(page)];
  link.next = head;
  if (head != none) blocks_[head >> 1].in_page[head & 1].previous = index << 1 | which;
  head = index << 1 | which;
}

void BlockCache::unlink_page(uint32_t index, unsigned which, uint64_t page) {
  if (!memory_.is_ram(page)) return;
  Block::Link& link = blocks_[index].in_page[which];
  if (link.next != none) blocks_[link.next >> 1].in_page[link.next & 1].previous = link.previous;
  if (link.previous != none)
    blocks_[link.previous >> 1].in_page[link.previous & 1].next = link.next;
  else
    page_heads_[memory_.page_number(page)] = link.next;
}

void BlockCache::unlink(uint32_t index) {
  Block& block = blocks_[index];
  if (!block.live) return;
  uint32_t* at = &table_[slot(block.physical, block.mode)];
  while (*at != index) at = &blocks_[*at].next_in_hash;
  *at = block.next_in_hash;
  unlink_page(index, 0, block.physical & ~(page_size - 1));
  if (block.second_page != Block::no_page) unlink_page(index, 1, block.second_page);
  block.live = false;
}

void BlockCache::drop(Block& block) {
  for (unsigned i = 0; i <= block.count; ++i) ops_[block.first_op + i].handler = handler_stale;
  unlink(static_cast<uint32_t>(&block - blocks_.get()));
  ++dropped;
}

// Its code marks stay: they cost a look when the bytes are written, and are cleared then.
void BlockCache::retire_oldest() {
  unlink(oldest_);
  oldest_ = (oldest_ + 1) % block_capacity;
}

uint64_t BlockCache::drop_written(uint64_t page, uint64_t granules) {
  uint64_t number = memory_.page_number(page);
  uint64_t still_used = 0;
  for (uint32_t at = page_heads_[number]; at != none;) {
    uint32_t index = at >> 1, which = at & 1;
    Block& block = blocks_[index];
    at = block.in_page[which].next;
    unsigned first_part = static_cast<unsigned>(std::min<uint64_t>(block.bytes, page_size - block.physical % page_size));
    unsigned start = which ? 0 : static_cast<unsigned>(block.physical % page_size);
    unsigned end = (which ? block.bytes - first_part : start + first_part) - 1;
    uint64_t covered = (~uint64_t{0} >> (63 - end / PhysicalMemory::granule)) & (~uint64_t{0} << start / PhysicalMemory::granule);
    if (covered & granules) {
      drop(block);
    } else {
      still_used |= covered;
    }
  }
  return still_used;
}

void BlockCache::drop_all() {
  while (oldest_ != newest_) retire_oldest();
  op_head_ = 0;
}

}  // namespace matryoshka
