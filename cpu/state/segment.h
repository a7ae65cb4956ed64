// A segment register with its hidden part, as the manual's "Segment Descriptor Cache" and the VMCS both lay it out.
#pragma once

#include <cstdint>

#include "cpu/state/archive.h"

namespace matryoshka {

struct Segment {
  uint16_t selector = 0;
  // VMCS access-rights format: type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15, unusable 16.
  uint32_t rights = unusable_bit;
  uint32_t limit = 0;  // in bytes, granularity already applied
  uint64_t base = 0;

  static constexpr uint32_t unusable_bit = 1u << 16;

  unsigned type() const { return rights & 15; }
  bool is_code_or_data() const { return rights >> 4 & 1; }
  unsigned dpl() const { return rights >> 5 & 3; }
  bool present() const { return rights >> 7 & 1; }
  bool long_mode() const { return rights >> 13 & 1; }
  bool big() const { return rights >> 14 & 1; }  // D for code, B for stacks and data
  bool unusable() const { return rights >> 16 & 1; }
  // The four below hold for code and data segments only.
  bool is_code() const { return rights & 8; }
  bool writable() const { return (rights & 10) == 2; }
  bool readable() const { return (rights & 10) != 8; }
  bool expand_down() const { return (rights & 12) == 4; }
  bool conforming() const { return (rights & 12) == 12; }

  void serialize(Archive& ar) { ar(selector, rights, limit, base); }
};

struct TableRegister {  // GDTR, IDTR
  uint16_t limit = 0xffff;
  uint64_t base = 0;
  void serialize(Archive& ar) { ar(limit, base); }
};

// A descriptor as it stands in a table, taken apart.
struct Descriptor {
  uint64_t low = 0;
  uint64_t high = 0;  // second half of a 16-byte system descriptor in long mode

  uint32_t rights() const { return (low >> 40 & 0xff) | (low >> 40 & 0xf000); }
  unsigned type() const { return low >> 40 & 15; }
  bool is_code_or_data() const { return low >> 44 & 1; }
  unsigned dpl() const { return low >> 45 & 3; }
  bool present() const { return low >> 47 & 1; }
  uint32_t limit() const {
    auto raw = static_cast<uint32_t>((low & 0xffff) | (low >> 32 & 0xf0000));
    return low >> 55 & 1 ? raw << 12 | 0xfff : raw;
  }
  uint64_t base() const { return (low >> 16 & 0xffffff) | (low >> 32 & 0xff000000); }
  uint64_t base64() const { return base() | high << 32; }

  // Gates
  uint16_t gate_selector() const { return low >> 16 & 0xffff; }
  uint32_t gate_offset() const { return (low & 0xffff) | (low >> 32 & 0xffff0000); }
  uint64_t gate_offset64() const { return gate_offset() | high << 32; }
  unsigned gate_count() const { return low >> 32 & 31; }
  unsigned gate_ist() const { return low >> 32 & 7; }

  Segment load(uint16_t selector) const { return {selector, rights(), limit(), base()}; }
};

}  // namespace matryoshka
