#include "mmu/paging.h"

namespace matryoshka {

namespace {

// Bits of a paging-structure entry.
constexpr uint64_t P = 1, RW = 2, US = 4, A = 32, D = 64, PS = 128, G = 256, XD = uint64_t{1} << 63;

// How each paging mode cuts a linear address. `levels` counts tables from the root to the last.
struct Shape {
  unsigned levels;
  unsigned index_bits;
  unsigned entry_size;
};

Shape shape_of(const CpuState& s) {
  if (!(s.cr4 & cr4::PAE)) return {2, 10, 4};
  if (!s.long_mode()) return {2, 9, 8};  // below the four PDPTEs in the processor
  return {s.cr4 & cr4::LA57 ? 5u : 4u, 9, 8};
}

uint64_t bits_from(unsigned low) { return low >= 64 ? 0 : ~uint64_t{0} << low; }
constexpr uint64_t bits(unsigned high, unsigned low) { return (~uint64_t{0} >> (63 - high)) & (~uint64_t{0} << low); }

// One table entry of a walk: where it lies, for the guest and in memory, and what it holds.
struct Step {
  uint64_t guest_address;
  uint64_t address;
  uint64_t entry;
  unsigned shift;  // of the part of the linear address below this level
};

bool is_leaf(const CpuState& s, const Shape& shape, const Step& step) {
  if (step.shift == 12) return true;
  if (!(step.entry & PS)) return false;
  if (shape.entry_size == 4) return s.cr4 & cr4::PSE;
  return step.shift == 21 || step.shift == 30;
}

// Bits that must be zero in this entry, given the mode; volume 3A's "Formats of ... Entry" tables.
uint64_t reserved_bits(const CpuState& s, const Shape& shape, const PagingLimits& limits, const Step& step, bool leaf) {
  if (shape.entry_size == 4) {
    if (!leaf || step.shift == 12) return 0;
    // PSE-36: bits 20:13 hold physical address bits 39:32, those beyond the width are reserved.
    unsigned usable = limits.physical_bits > 40 ? 40 : limits.physical_bits;
    return bits(21, 13) & ~(usable > 32 ? bits(usable - 32 + 12, 13) : 0);
  }
  uint64_t reserved = bits(51, 0) & bits_from(limits.physical_bits);
  if (!(s.msr.efer & efer::NXE)) reserved |= XD;
  if (!s.long_mode()) reserved |= bits(62, 52);
  if (leaf && step.shift == 21) reserved |= bits(20, 13);
  if (leaf && step.shift == 30) reserved |= bits(29, 13);
  if (!leaf && step.shift >= 39) reserved |= PS;
  if (step.shift == 30 && (step.entry & PS) && !limits.gigabyte_pages) reserved |= PS;
  return reserved;
}

uint64_t frame_of(const Shape& shape, const Step& step, bool leaf, uint64_t linear) {
  uint64_t low = (uint64_t{1} << step.shift) - 1;
  if (!leaf) return step.entry & (shape.entry_size == 4 ? 0xfffff000 : bits(51, 12));
  if (shape.entry_size == 4) {
    uint64_t frame = step.entry & 0xfffff000;
    if (step.shift == 22) frame = (step.entry & 0xffc00000) | (step.entry >> 13 & 0xff) << 32;
    return frame | (linear & low);
  }
  return (step.entry & bits(51, 12) & ~low) | (linear & low);
}

uint64_t index_of(const Shape& shape, uint64_t linear, unsigned shift) {
  return linear >> shift & ((uint64_t{1} << shape.index_bits) - 1);
}

unsigned first_shift(const Shape& shape) { return 12 + shape.index_bits * (shape.levels - 1); }

// Where a table entry lies in memory. With EPT a walk of its own, which may end the instruction.
bool locate(PhysicalMemory& memory, const PagingLimits& limits, uint64_t linear, bool updates, Step& step, Fault& fault) {
  step.address = step.guest_address & limits.address_lines;
  if (!limits.ept.on) return true;
  EptTranslation found;
  if (!ept_walk(memory, limits.ept, step.guest_address, {AccessKind::read, true, linear, true, updates}, found, fault))
    return false;
  step.address = found.physical;
  return true;
}

uint64_t root_of(const CpuState& s, const Shape& shape) { return s.cr3 & (shape.entry_size == 4 ? 0xfffff000 : bits(51, 12)); }

// The page at the end of the walk, and what both walks together permit.
bool under_ept(PhysicalMemory& memory, const PagingLimits& limits, uint64_t linear, AccessKind kind, uint64_t guest_physical,
               Translation& result, Fault& fault) {
  EptTranslation found;
  if (!ept_walk(memory, limits.ept, guest_physical, {kind, true, linear, false, false}, found, fault)) return false;
  result.physical = found.physical;
  result.permits_read = result.permits_read && found.readable;
  result.permits_write = result.permits_write && found.writable;
  return true;
}

}  // namespace

bool walk_unpaged(PhysicalMemory& memory, const PagingLimits& limits, uint64_t address, AccessKind kind, Translation& result,
                  Fault& fault) {
  result = {address & limits.address_lines, true, true, false, true, 12};
  return !limits.ept.on || under_ept(memory, limits, address, kind, address, result, fault);
}

bool canonical(const CpuState& s, uint64_t address) {
  unsigned unused = s.cr4 & cr4::LA57 ? 7 : 16;
  return static_cast<uint64_t>(static_cast<int64_t>(address << unused) >> unused) == address;
}

bool walk(CpuState& s, PhysicalMemory& memory, const PagingLimits& limits, uint64_t linear, Access access, Translation& result,
          Fault& fault) {
  const bool fetch = access.kind == AccessKind::fetch, write = access.kind == AccessKind::write;
  uint32_t code = (write ? page_fault::write : 0) | (access.user ? page_fault::user : 0);
  const bool nx_reported = (s.cr4 & cr4::PAE && s.msr.efer & efer::NXE) || s.cr4 & cr4::SMEP;
  if (fetch && nx_reported) code |= page_fault::fetch;

  Shape shape = shape_of(s);
  uint64_t table = root_of(s, shape);
  if (shape.entry_size == 8 && !s.long_mode()) {
    uint64_t pdpte = s.pdpte[linear >> 30 & 3];
    if (!(pdpte & P)) return fault.page(linear, code);
    table = pdpte & bits(51, 12);
  }

  Step steps[5];
  unsigned count = 0;
  bool writable = true, user = true, executable = true, leaf = false;
  for (unsigned shift = first_shift(shape); !leaf; shift -= shape.index_bits) {
    Step& step = steps[count++];
    step.shift = shift;
    step.guest_address = table + index_of(shape, linear, shift) * shape.entry_size;
    if (!locate(memory, limits, linear, false, step, fault)) return false;
    step.entry = memory.load(step.address, shape.entry_size);
    if (!(step.entry & P)) return fault.page(linear, code);
    leaf = is_leaf(s, shape, step);
    if (step.entry & reserved_bits(s, shape, limits, step, leaf))
      return fault.page(linear, code | page_fault::present | page_fault::reserved);
    writable = writable && step.entry & RW;
    user = user && step.entry & US;
    executable = executable && !(step.entry & XD && shape.entry_size == 8);
    table = frame_of(shape, step, leaf, linear);
  }
  Step& last = steps[count - 1];

  // "Determination of Access Rights"
  bool may_read = access.user ? user : true, may_write, may_fetch = executable;
  if (access.user) {
    may_write = user && writable;
    may_fetch = may_fetch && user;
  } else {
    may_write = writable || !(s.cr0 & cr0::WP);
    if (user && s.cr4 & cr4::SMAP && (access.implicit || !(s.system_flags & rflags::AC))) may_read = may_write = false;
    if (user && s.cr4 & cr4::SMEP) may_fetch = false;
  }
  bool key_blocks = false;
  if (user && s.long_mode() && s.cr4 & cr4::PKE && !fetch) {
    unsigned key = last.entry >> 59 & 15;
    bool access_disabled = s.pkru >> 2 * key & 1, write_disabled = s.pkru >> (2 * key + 1) & 1;
    bool write_blocked = access_disabled || (write_disabled && (access.user || s.cr0 & cr0::WP));
    key_blocks = write ? write_blocked : access_disabled;
    if (write_blocked) may_write = false;
    if (access_disabled) may_read = false;
  }
  bool allowed = fetch ? may_fetch : write ? (may_write && !key_blocks) : (may_read && !key_blocks);
  if (!allowed) return fault.page(linear, code | page_fault::present | (key_blocks ? page_fault::protection_key : 0));

  for (unsigned i = 0; i < count; ++i) {
    Step& step = steps[i];
    uint64_t marked = step.entry | A | (write && i == count - 1 ? D : 0);
    if (marked != step.entry) {
      if (!locate(memory, limits, linear, true, step, fault)) return false;
      memory.store(step.address, shape.entry_size, marked);
      step.entry = marked;
    }
  }
  result.physical = table & limits.address_lines;
  result.permits_read = may_read;
  result.permits_write = may_write && last.entry & D;
  if (limits.ept.on && !under_ept(memory, limits, linear, access.kind, table, result, fault)) return false;
  result.global = s.cr4 & cr4::PGE && last.entry & G;
  result.user_page = user;
  result.page_bits = static_cast<uint8_t>(last.shift);
  return true;
}

bool peek_physical(const CpuState& s, const PhysicalMemory& memory, uint64_t linear, uint64_t& physical) {
  if (!s.paging()) {
    physical = linear;
    return true;
  }
  Shape shape = shape_of(s);
  uint64_t table = root_of(s, shape);
  if (shape.entry_size == 8 && !s.long_mode()) {
    uint64_t pdpte = s.pdpte[linear >> 30 & 3];
    if (!(pdpte & P)) return false;
    table = pdpte & bits(51, 12);
  }
  for (unsigned shift = first_shift(shape);; shift -= shape.index_bits) {
    const uint64_t address = table + index_of(shape, linear, shift) * shape.entry_size;
    Step step{address, address, 0, shift};
    if (!memory.readable_page(step.address)) return false;
    step.entry = memory.load(step.address, shape.entry_size);
    if (!(step.entry & P)) return false;
    bool leaf = is_leaf(s, shape, step);
    table = frame_of(shape, step, leaf, linear);
    if (leaf) {
      physical = table;
      return true;
    }
  }
}

uint64_t reserved_pdpte_bits(unsigned physical_bits) { return bits(63, physical_bits) | bits(8, 5) | bits(2, 1); }

bool load_pdptes(CpuState& s, PhysicalMemory& memory, const PagingLimits& limits, uint64_t cr3, Fault& fault, uint32_t error) {
  uint64_t loaded[4];
  for (unsigned i = 0; i < 4; ++i) {
    const uint64_t guest_address = (cr3 & 0xffffffe0) + 8 * i;
    EptTranslation found{guest_address & limits.address_lines, true, true, true, 12};
    if (limits.ept.on && !ept_walk(memory, limits.ept, guest_address, {AccessKind::read, false, 0, true, false}, found, fault))
      return false;
    loaded[i] = memory.load(found.physical, 8);
    if (loaded[i] & P && loaded[i] & reserved_pdpte_bits(limits.physical_bits)) return fault.raise(GP_vector, error);
  }
  for (unsigned i = 0; i < 4; ++i) s.pdpte[i] = loaded[i];
  return true;
}

}  // namespace matryoshka
