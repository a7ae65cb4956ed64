#include "wasm-jit/code_cache.h"

#include <algorithm>
#include <bit>

namespace matryoshka::jit {

Translation& CodeCache::add(const Region& region) {
  auto owned = std::make_unique<Translation>();
  Translation& t = *owned;
  t.key = region.key, t.pages = region.pages, t.instructions = region.instructions, t.number = next_number_++;
  live_.emplace(t.number, std::move(owned));
  by_key_[hash_of(t.key.physical, t.key.mode)] = t.number;
  for (const CodePageUse& page : t.pages) {
    // A page that is mapped twice may be there twice.
    std::vector<uint32_t>& users = by_page_[page.physical];
    if (users.empty() || users.back() != t.number) users.push_back(t.number);
    for (uint64_t granules = page.granules; granules != 0;) {
      unsigned first = static_cast<unsigned>(std::countr_zero(granules));
      unsigned run = static_cast<unsigned>(std::countr_one(granules >> first));
      memory_.mark_code(page.physical + first * PhysicalMemory::granule, run * static_cast<unsigned>(PhysicalMemory::granule));
      granules &= run + first >= 64 ? 0 : ~uint64_t{0} << (first + run);
    }
  }
  return t;
}

void CodeCache::place(Translation& t, uint32_t slot) {
  t.slot = slot;
  by_slot_[slot] = t.number;
  if (Block* block = blocks_.find(t.key.physical, t.key.mode)) block->entry = slot;
}

Translation* CodeCache::find(uint64_t physical, uint32_t mode) {
  auto found = by_key_.find(hash_of(physical, mode));
  if (found == by_key_.end()) return nullptr;
  Translation& t = *live_.at(found->second);
  return t.key == RegionKey{physical, mode} ? &t : nullptr;
}

LinkCell* CodeCache::new_cell(Translation& owner) {
  owner.cells.push_back({unlinked_, static_cast<uint32_t>(ExitKind::next), 0, nullptr, nullptr, true});
  return &owner.cells.back();
}

void CodeCache::link(LinkCell& cell, uint32_t slot, const Block& target) {
  auto found = by_slot_.find(slot);
  if (found == by_slot_.end() || !cell.live) return;
  Translation& t = *live_.at(found->second);
  if (cell.target == &t) return;
  unlink_from_target(cell);
  cell.slot = slot;
  cell.physical_page = target.physical & ~uint64_t{page_size - 1};
  cell.target = &t;
  cell.next = t.leading_here;
  t.leading_here = &cell;
}

void CodeCache::note_jump(uint32_t slot) {
  if (auto found = by_slot_.find(slot); found != by_slot_.end()) live_.at(found->second)->jumped_to = true;
}

void CodeCache::unlink_from_target(LinkCell& cell) {
  if (!cell.target) return;
  LinkCell** at = &static_cast<Translation*>(cell.target)->leading_here;
  while (*at != &cell) at = &(*at)->next;
  *at = cell.next;
  cell.slot = unlinked_, cell.target = nullptr, cell.next = nullptr;
}

void CodeCache::drop(Translation& t) {
  jump_target_dropped_ |= t.jumped_to;
  ++dropped_count;
  for (LinkCell& cell : t.cells) unlink_from_target(cell), cell.live = false;
  while (t.leading_here) unlink_from_target(*t.leading_here);
  if (t.slot) by_slot_.erase(t.slot);
  // It may be considered anew, also if it was still waiting to be compiled.
  Block* block = blocks_.find(t.key.physical, t.key.mode);
  if (block && block->entry == t.slot) block->entry = block->heat = 0;
  auto key = by_key_.find(hash_of(t.key.physical, t.key.mode));
  if (key != by_key_.end() && key->second == t.number) by_key_.erase(key);
  for (const CodePageUse& page : t.pages) std::erase(by_page_[page.physical], t.number);
  auto self = live_.find(t.number);
  dropped_.push_back(std::move(self->second));
  live_.erase(self);
}

uint64_t CodeCache::drop_written(uint64_t page, uint64_t granules) {
  auto found = by_page_.find(page);
  if (found == by_page_.end()) return 0;
  uint64_t used = 0;
  for (uint32_t number : std::vector<uint32_t>(found->second)) {
    Translation& t = *live_.at(number);
    uint64_t mine = 0;
    for (const CodePageUse& p : t.pages)
      if (p.physical == page) mine |= p.granules;
    if (mine & granules)
      drop(t);
    else
      used |= mine;
  }
  return used;
}

std::vector<RegionKey> CodeCache::drop_holding(uint64_t physical) {
  std::vector<RegionKey> dropped;
  uint64_t page = physical & ~uint64_t{page_size - 1};
  uint64_t granule = uint64_t{1} << (physical - page) / PhysicalMemory::granule;
  auto found = by_page_.find(page);
  if (found == by_page_.end()) return dropped;
  for (uint32_t number : std::vector<uint32_t>(found->second)) {
    Translation& t = *live_.at(number);
    bool holds = false;
    for (const CodePageUse& p : t.pages) holds |= p.physical == page && p.granules & granule;
    if (!holds) continue;
    dropped.push_back(t.key);
    drop(t);
  }
  return dropped;
}

void CodeCache::drop_all() {
  while (!live_.empty()) drop(*live_.begin()->second);
}

void CodeCache::drop_slots(uint32_t first, uint32_t count) {
  for (uint32_t slot = first; slot < first + count; ++slot)
    if (auto found = by_slot_.find(slot); found != by_slot_.end()) drop(*live_.at(found->second));
}

}  // namespace matryoshka::jit
