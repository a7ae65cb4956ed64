// The translation look-aside buffer: direct-mapped, 1,024 entries of 32 bytes for each class of access.
//
// A fast access is one comparison: (address ^ tag) > 4096 - size means a miss, a page crossing or a missing permission.
// A tag that must not match has its lowest index bit flipped: no address that selects the slot can then equal it, and the
// page it was made for can still be read back from it.
//
// What an entry *permits* (info) is kept apart from what its tags let through. Tags are withheld for pages of devices,
// pages with code, clean pages and pages under a watch point, all of them facts that a guest must not see; the slow path
// then finds the entry by info and does not walk again. So whether a walk happens, which shows in accessed and dirty bits,
// never depends on the engine.
#pragma once

#include <cstdint>

namespace matryoshka {

struct TlbEntry {
  uint64_t read_tag;
  uint64_t write_tag;
  uint64_t addend;  // host address = address + addend
  uint64_t info;    // physical page in 63:12, flags below

  static constexpr uint64_t valid = 1, readable = 2, writable = 4, global = 8, large = 16, user = 32, huge = 64;
  static constexpr uint64_t withheld = 0x1000;

  uint64_t physical_page() const { return info & ~uint64_t{0xfff}; }
  bool is_for(uint64_t address) const { return (info & valid) && ((read_tag ^ address) & ~(uint64_t{0xfff} | withheld)) == 0; }
};
static_assert(sizeof(TlbEntry) == 32);

class TlbSet {
 public:
  static constexpr unsigned size = 1024;
  TlbSet() { clear(); }

  TlbEntry entries[size];

  static unsigned slot(uint64_t address) { return address >> 12 & (size - 1); }
  TlbEntry& at(uint64_t address) { return entries[slot(address)]; }
  const TlbEntry& at(uint64_t address) const { return entries[slot(address)]; }

  // Fewer for tests: the oldest then makes room.
  uint16_t most_used = size;

  void fill(uint64_t address, const TlbEntry& entry) {
    unsigned i = slot(address);
    if (!(entries[i].info & TlbEntry::valid)) {
      if (used_count_ >= most_used) [[unlikely]] {
        invalidate(used_[0]);
        for (unsigned k = 1; k < used_count_; ++k) used_[k - 1] = used_[k];
        --used_count_;
      }
      used_[used_count_++] = static_cast<uint16_t>(i);
    }
    entries[i] = entry;
    has_large_ |= (entry.info & (TlbEntry::large | TlbEntry::huge)) != 0;
  }

  // Whether two entries of this slot translate alike; what their tags let through is no difference that a guest could see.
  static bool same_translation(const TlbEntry& x, const TlbEntry& y) {
    constexpr uint64_t ignored = uint64_t{0xfff} | TlbEntry::withheld;
    return x.info == y.info && (!(x.info & TlbEntry::valid) || ((x.read_tag ^ y.read_tag) & ~ignored) == 0);
  }
  // Shows (entry, linear page) of all that is known.
  template <class See>
  void for_each(See see) const {
    for (unsigned k = 0; k < used_count_; ++k) see(entries[used_[k]], page_of(used_[k]));
  }

  // Drops what `doomed` says of (entry, linear page); the cost follows the number of entries in use.
  template <class Doomed>
  void drop_if(Doomed doomed) {
    unsigned kept = 0;
    for (unsigned k = 0; k < used_count_; ++k) {
      unsigned i = used_[k];
      if (doomed(entries[i], page_of(i)))
        invalidate(i);
      else
        used_[kept++] = used_[k];
    }
    used_count_ = static_cast<uint16_t>(kept);
  }
  void flush(bool keep_global) {
    drop_if([=](const TlbEntry& e, uint64_t) { return !(keep_global && (e.info & TlbEntry::global)); });
  }
  // INVLPG: the page that holds the address, all of it where it is a large one.
  void drop_page(uint64_t address) {
    drop_if([=](const TlbEntry& e, uint64_t page) { return same_page(e, page, address); });
  }
  static bool same_page(const TlbEntry& e, uint64_t page, uint64_t address) {
    unsigned span = e.info & TlbEntry::huge ? 30 : e.info & TlbEntry::large ? 21 : 12;
    return page >> span == address >> span;
  }
  bool may_hold(uint64_t address) { return has_large_ || at(address).is_for(address); }
  // The entry stays, but stores through it take the slow path again.
  void withhold_writes(uint64_t physical_page) {
    for (unsigned k = 0; k < used_count_; ++k) {
      TlbEntry& e = entries[used_[k]];
      if (e.physical_page() == physical_page) e.write_tag = page_of(used_[k]) ^ TlbEntry::withheld;
    }
  }
  // Reads take it, too.
  void withhold(uint64_t physical_page) {
    for (unsigned k = 0; k < used_count_; ++k) {
      TlbEntry& e = entries[used_[k]];
      if (e.physical_page() == physical_page) e.read_tag = e.write_tag = page_of(used_[k]) ^ TlbEntry::withheld;
    }
  }
  void withhold_all_writes() {
    for (unsigned k = 0; k < used_count_; ++k) entries[used_[k]].write_tag = page_of(used_[k]) ^ TlbEntry::withheld;
  }

 private:
  uint64_t page_of(unsigned i) const { return (entries[i].read_tag & ~(uint64_t{size - 1} << 12)) | uint64_t{i} << 12; }
  void invalidate(unsigned i) {
    uint64_t mismatch = (uint64_t{i} << 12) ^ TlbEntry::withheld;
    entries[i] = {mismatch, mismatch, 0, 0};
  }
  void clear() {
    for (unsigned i = 0; i < size; ++i) invalidate(i);
    used_count_ = 0;
  }
  uint16_t used_[size] = {};
  uint16_t used_count_ = 0;
  bool has_large_ = false;
};

}  // namespace matryoshka
