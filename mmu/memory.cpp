#include "mmu/memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#ifdef __EMSCRIPTEN__
#include <unistd.h>

#include <vector>
#endif

namespace matryoshka {

namespace {
constexpr uint64_t rom_end = uint64_t{1} << 32;
constexpr uint64_t shadow_start = 0xc0000, shadow_end = 0x100000, shadow_step = 0x4000;
bool in_shadow(uint64_t address) { return address - shadow_start < shadow_end - shadow_start; }

#ifdef __EMSCRIPTEN__
// This malloc gives less than 2 GiB at once, and its calloc writes zeros to what has never been anything else. So the memory of
// a guest comes from below malloc, which gives nothing back: what sbrk() finds is fresh. Blocks are kept for the instance's next
// machine.
struct Block {
  void* start;
  uint64_t size;
  bool used;
};
std::vector<Block> blocks;

void* allocate(uint64_t size) {
  for (Block& b : blocks)
    if (!b.used && b.size >= size) {
      b.used = true;
      return std::memset(b.start, 0, size);
    }
  void* start = size > SIZE_MAX ? reinterpret_cast<void*>(-1) : sbrk(static_cast<intptr_t>(size));
  if (start == reinterpret_cast<void*>(-1)) return nullptr;
  blocks.push_back({start, size, true});
  return start;
}
void release(void* start) {
  for (Block& b : blocks)
    if (b.start == start) b.used = false;
}
#else
void* allocate(uint64_t size) { return std::calloc(size, 1); }
void release(void* start) { std::free(start); }
#endif
}  // namespace

// Not vectors: the host hands out zero pages as they are touched, so a large idle guest stays small.
PhysicalMemory::PhysicalMemory(uint64_t ram_size, Bus& bus) : bus_(bus), ram_size_(ram_size) {
  uint64_t pages = ram_size / page_size;
  allocation_ = allocate(ram_size + page_size);
  if (allocation_)
    ram_ = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(allocation_) + page_size - 1) & ~uintptr_t{page_size - 1});
  dirty_ = static_cast<uint8_t*>(std::calloc(pages, 1));
  code_ = static_cast<uint64_t*>(std::calloc(pages, sizeof *code_));
  if (!dirty_ || !code_) ram_ = nullptr;
}

PhysicalMemory::~PhysicalMemory() {
  release(allocation_);
  std::free(dirty_);
  std::free(code_);
}

void PhysicalMemory::set_rom(std::vector<uint8_t> image) {
  rom_ = std::move(image);
  for (Shadow& s : shadow_) s = {rom_.empty(), rom_.empty()};
}

void PhysicalMemory::set_shadow(unsigned step, bool read_ram, bool write_ram) {
  shadow_[step & 15] = {read_ram || rom_.empty(), write_ram || rom_.empty()};
}

const uint8_t* PhysicalMemory::rom_byte(uint64_t address) const {
  if (address >= rom_end - rom_.size() && address < rom_end) return &rom_[address - (rom_end - rom_.size())];
  uint64_t low = std::min<uint64_t>(rom_.size(), 0x20000);
  if (address >= shadow_end - low && address < shadow_end) return &rom_[rom_.size() - (shadow_end - address)];
  return nullptr;
}

const uint8_t* PhysicalMemory::readable_page(uint64_t address) const {
  address &= ~(page_size - 1);
  if (!rom_.empty() && (address >= rom_end - rom_.size() || in_shadow(address))) {
    bool ram = in_shadow(address) && shadow_[(address - shadow_start) / shadow_step].read_ram;
    if (!ram)
      if (const uint8_t* byte = rom_byte(address)) return byte;
  }
  uint64_t offset = index(address);
  return offset == none ? nullptr : ram_ + offset;
}

bool PhysicalMemory::write_protected(uint64_t address) const {
  return in_shadow(address) && !shadow_[(address - shadow_start) / shadow_step].write_ram;
}

uint8_t* PhysicalMemory::writable_page(uint64_t address) {
  address &= ~(page_size - 1);
  if (write_protected(address)) return nullptr;
  uint64_t offset = index(address);
  return offset == none ? nullptr : ram_ + offset;
}

bool PhysicalMemory::whole_range_is_writable(uint64_t address, size_t size) const {
  if (size == 0) return true;
  if (address < 0xa0000 && size > 0xa0000 - address) return false;  // the VGA hole ends the lower part
  uint64_t first = index(address), end = address + size, last = index(end - 1);
  if (end < address || first == none || last == none || last - first != size - 1) return false;
  for (uint64_t at = std::max(address, shadow_start); at < std::min(end, shadow_end); at = (at | (shadow_step - 1)) + 1)
    if (write_protected(at)) return false;
  return true;
}

bool PhysicalMemory::read(uint64_t address, void* data, size_t size) const {
  auto* to = static_cast<uint8_t*>(data);
  if (address + size < address) return false;
  for (uint64_t at = address; at < address + size; at = (at | (page_size - 1)) + 1)
    if (!readable_page(at)) return false;
  while (size != 0) {
    size_t part = std::min<size_t>(size, page_size - (address & (page_size - 1)));
    std::memcpy(to, readable_page(address) + (address & (page_size - 1)), part);
    to += part, address += part, size -= part;
  }
  return true;
}

bool PhysicalMemory::write(uint64_t address, const void* data, size_t size) {
  if (!whole_range_is_writable(address, size)) return false;
  if (size == 0) return true;
  uint64_t offset = index(address);
  touch(offset, size);
  std::memcpy(ram_ + offset, data, size);
  return true;
}

uint64_t PhysicalMemory::load(uint64_t address, unsigned size, bool* was_bus) const {
  if (const uint8_t* page = readable_page(address)) {
    uint64_t value = 0;
    std::memcpy(&value, page + (address & (page_size - 1)), size);
    return value;
  }
  if (was_bus) *was_bus = true;
  return bus_.read_memory(address, size);
}

void PhysicalMemory::store(uint64_t address, unsigned size, uint64_t value, bool* was_bus) {
  if (uint8_t* page = writable_page(address)) {
    touch(index(address), size);
    std::memcpy(page + (address & (page_size - 1)), &value, size);
    return;
  }
  if (readable_page(address)) return;  // ROM
  if (was_bus) *was_bus = true;
  bus_.write_memory(address, size, value);
}

bool PhysicalMemory::open_for_stores(uint64_t address) const {
  uint64_t offset = index(address);
  return offset != none && dirty_[offset / page_size] && code_[offset / page_size] == 0;
}

void PhysicalMemory::clear_dirty() { std::memset(dirty_, 0, ram_size_ / page_size); }

// The bytes [ram_offset, ram_offset + size) are about to change.
void PhysicalMemory::touch(uint64_t ram_offset, uint64_t size) {
  for (uint64_t end = ram_offset + size; ram_offset < end;) {
    uint64_t page = ram_offset / page_size;
    uint64_t page_end = std::min(end, (page + 1) * page_size);
    if (changes_) [[unlikely]]
      changes_->before_write(page);
    dirty_[page] = 1;
    if (code_[page] != 0) {
      uint64_t first = ram_offset % page_size / granule, last = (page_end - 1) % page_size / granule;
      uint64_t mask = (~uint64_t{0} >> (63 - last)) & (~uint64_t{0} << first);
      if (uint64_t hit = code_[page] & mask) watcher_->code_written(address_of(page * page_size), hit);
    }
    ram_offset = page_end;
  }
}

void PhysicalMemory::mark_code(uint64_t address, unsigned size) {
  uint64_t offset = index(address);
  if (offset == none || size == 0) return;  // ROM does not change
  uint64_t page = offset / page_size;
  uint64_t first = offset % page_size / granule, last = (offset % page_size + size - 1) / granule;
  if (code_[page] == 0 && watcher_) watcher_->drop_write_tags(address & ~(page_size - 1));
  code_[page] |= (~uint64_t{0} >> (63 - last)) & (~uint64_t{0} << first);
}

void PhysicalMemory::forget_code(uint64_t page, uint64_t granules) { code_[page_number(page)] &= ~granules; }

}  // namespace matryoshka
