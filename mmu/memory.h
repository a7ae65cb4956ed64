// Guest-physical memory: one block of RAM, ROM over parts of it, and the bus for everything else.
//
// RAM up to 3 GiB lies at address 0; what is above is moved to 4 GiB, round the PCI hole. Pages of RAM carry two kinds of
// mark. A page is `dirty` once it was written since the last snapshot, and it may have `code`: a bit for each 64 bytes from
// which an engine has translated instructions. Fast stores go through TLB write tags, which exist only for pages that are
// dirty and without code, so both kinds of tracking cost nothing on them. All other writes (the processor's slow path,
// accessed and dirty bits, DMA) pass through write(), the one place that marks pages and drops stale code.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "devices/bus/bus.h"
#include "mmu/change_watcher.h"

namespace matryoshka {

constexpr uint64_t page_size = 4096;

// Told when bytes from which it has translated are about to change, and when write tags for a page must go. `page` is the
// physical address of the page, `granules` has a bit for each 64 bytes of it.
class CodeWatcher {
 public:
  virtual ~CodeWatcher() = default;
  virtual void code_written(uint64_t page, uint64_t granules) = 0;
  virtual void drop_write_tags(uint64_t page) = 0;
};

class PhysicalMemory final : public GuestMemory {
 public:
  static constexpr uint64_t low_end = 0xc0000000, high_start = uint64_t{1} << 32;
  static constexpr uint64_t granule = 64;

  PhysicalMemory(uint64_t ram_size, Bus& bus);
  ~PhysicalMemory() override;
  PhysicalMemory(const PhysicalMemory&) = delete;

  // False if the host did not give the memory; nothing else may be called then.
  bool allocated() const { return ram_ != nullptr; }
  uint64_t ram_size() const { return ram_size_; }
  uint64_t ram_below_4g() const { return ram_size_ < low_end ? ram_size_ : low_end; }
  uint64_t ram_above_4g() const { return ram_size_ - ram_below_4g(); }
  std::span<uint8_t> ram() { return {ram_, static_cast<size_t>(ram_size_)}; }

  // A ROM image, up to 4 GiB and with its last 128 KiB also below 1 MiB, as a PC's chipset places it.
  void set_rom(std::vector<uint8_t> image);
  // Programmable attributes of 0xC0000..0xFFFFF in 16 KiB steps: whether reads and writes reach RAM instead of the ROM.
  void set_shadow(unsigned step, bool read_ram, bool write_ram);

  // Where the page that holds `address` lies in host memory, or null if only the bus knows.
  const uint8_t* readable_page(uint64_t address) const;
  uint8_t* writable_page(uint64_t address);

  // GuestMemory: the DMA view, all or nothing. What the processor cannot write, a device cannot.
  [[nodiscard]] bool read(uint64_t address, void* data, size_t size) const override;
  [[nodiscard]] bool write(uint64_t address, const void* data, size_t size) override;

  // The processor's view: RAM, ROM or bus, never failing. `size` is 1, 2, 4 or 8 and the access lies within one page.
  uint64_t load(uint64_t address, unsigned size, bool* was_bus = nullptr) const;
  void store(uint64_t address, unsigned size, uint64_t value, bool* was_bus = nullptr);

  // Whether stores to this RAM page may bypass store(): it is marked dirty and holds no code.
  bool open_for_stores(uint64_t address) const;
  void mark_dirty(uint64_t address) {
    uint64_t page = index(address) / page_size;
    if (changes_) [[unlikely]]
      changes_->before_write(page);
    dirty_[page] = 1;
  }
  bool dirty(uint64_t address) const { return dirty_[index(address) / page_size]; }
  // The same by the number of a page in ram().
  bool page_dirty(uint64_t page) const { return dirty_[page]; }
  void mark_page_dirty(uint64_t page) { dirty_[page] = 1; }
  void set_page_dirty(uint64_t page, bool dirty) { dirty_[page] = dirty; }
  // Every page is clean again, since a snapshot has them all. Write tags must have gone, as forget_caches() does it.
  void clear_dirty();

  // An engine has translated the bytes [address, address + size), which lie in one page.
  void mark_code(uint64_t address, unsigned size);
  void forget_code(uint64_t page, uint64_t granules);
  // A number below ram_size() / page_size for each page of RAM, for tables beside it.
  uint64_t page_number(uint64_t address) const { return index(address) / page_size; }
  uint64_t page_address(uint64_t page) const { return address_of(page * page_size); }
  void set_watcher(CodeWatcher* watcher) { watcher_ = watcher; }
  void set_change_watcher(ChangeWatcher* changes) { changes_ = changes; }
  ChangeWatcher* change_watcher() const { return changes_; }

  bool is_ram(uint64_t address) const { return index(address) != none; }

 private:
  static constexpr uint64_t none = ~uint64_t{0};
  struct Free {
    void operator()(void* p) const;
  };
  // Offset into RAM, or `none`.
  uint64_t index(uint64_t address) const {
    if (address < low_end) return address < ram_size_ && address - 0xa0000 >= 0x20000 ? address : none;
    address -= high_start;
    return address < ram_above_4g() ? address + low_end : none;
  }
  const uint8_t* rom_byte(uint64_t address) const;
  bool write_protected(uint64_t address) const;
  bool whole_range_is_writable(uint64_t address, size_t size) const;
  static uint64_t address_of(uint64_t ram_offset) {
    return ram_offset < low_end ? ram_offset : ram_offset - low_end + high_start;
  }
  void touch(uint64_t ram_offset, uint64_t size);

  Bus& bus_;
  uint64_t ram_size_;
  void* allocation_ = nullptr;  // ram_ is its first whole page
  uint8_t* ram_ = nullptr;
  uint8_t* dirty_ = nullptr;
  uint64_t* code_ = nullptr;
  std::vector<uint8_t> rom_;
  struct Shadow {
    bool read_ram = true, write_ram = true;
  } shadow_[16];
  CodeWatcher* watcher_ = nullptr;
  ChangeWatcher* changes_ = nullptr;
};

}  // namespace matryoshka
