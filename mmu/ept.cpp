#include "mmu/ept.h"

namespace matryoshka {

namespace {

// "Format of an EPT ... Entry": bits of an entry.
constexpr uint64_t R = 1, W = 2, X = 4, rights = R | W | X, large = 1 << 7, accessed = 1 << 8, dirty = 1 << 9;

constexpr unsigned top_shift = 39, index_bits = 9;

constexpr uint64_t bits(unsigned high, unsigned low) { return (~uint64_t{0} >> (63 - high)) & (~uint64_t{0} << low); }

bool is_leaf(const Ept& ept, uint64_t entry, unsigned shift) {
  if (shift == 12) return true;
  if (!(entry & large)) return false;
  return (shift == 21 && ept.large_pages) || (shift == 30 && ept.gigabyte_pages);
}

// "EPT Misconfigurations".
bool misconfigured(const Ept& ept, uint64_t entry, unsigned shift, bool leaf) {
  if ((entry & (R | W)) == W) return true;
  if ((entry & rights) == X && !ept.execute_only) return true;
  uint64_t reserved = bits(51, ept.physical_bits);
  if (!leaf) {
    // Bit 7 as well: it maps a page at the two levels where is_leaf() has looked, and is reserved elsewhere.
    reserved |= bits(7, 3);
  } else {
    if (shift > 12) reserved |= bits(shift - 1, 12);
    const unsigned type = entry >> 3 & 7;
    if (type == 2 || type == 3 || type == 7) return true;
  }
  return entry & reserved;
}

uint64_t address_at(uint64_t table, uint64_t guest_physical, unsigned shift) {
  return table + (guest_physical >> shift & ((1 << index_bits) - 1)) * 8;
}

// "Exit Qualification for EPT Violations".
bool violation(Fault& fault, uint64_t guest_physical, const EptAccess& access, uint64_t allowed, bool flags_on) {
  uint64_t qualification = (allowed & rights) << 3;
  switch (access.kind) {
    case AccessKind::read: qualification |= 1; break;
    case AccessKind::write: qualification |= 2; break;
    case AccessKind::fetch: qualification |= 4; break;
  }
  if (access.to_tables && (flags_on || access.updates)) qualification |= 3;
  if (access.linear_known) qualification |= 1 << 7 | (access.to_tables ? 0 : 1 << 8);
  return fault.exit(ept_exit::violation, qualification, guest_physical, access.linear_known ? access.linear : 0);
}

}  // namespace

bool ept_walk(PhysicalMemory& memory, const Ept& ept, uint64_t guest_physical, const EptAccess& access, EptTranslation& result,
              Fault& fault) {
  const bool flags_on = ept.accessed_dirty();
  // "Accessed and Dirty Flags for EPT": with them, whatever the processor does with the guest's tables counts as a write.
  const bool writes = access.kind == AccessKind::write || (access.to_tables && (flags_on || access.updates));
  uint64_t wanted = access.kind == AccessKind::fetch ? X : access.kind == AccessKind::read || access.to_tables ? R : 0;
  if (writes) wanted |= W;

  uint64_t table = ept.root(), allowed = rights;
  struct Step {
    uint64_t address, entry;
  } steps[4];
  unsigned count = 0;
  // There are four levels: what lies above them has no entry.
  if (guest_physical >> (top_shift + index_bits)) return violation(fault, guest_physical, access, 0, flags_on);
  for (unsigned shift = top_shift;; shift -= index_bits) {
    Step& step = steps[count++];
    step.address = address_at(table, guest_physical, shift);
    step.entry = memory.load(step.address, 8);
    if (!(step.entry & rights)) return violation(fault, guest_physical, access, 0, flags_on);
    const bool leaf = is_leaf(ept, step.entry, shift);
    if (misconfigured(ept, step.entry, shift, leaf)) return fault.exit(ept_exit::misconfiguration, 0, guest_physical, 0);
    allowed &= step.entry;
    const uint64_t low = (uint64_t{1} << shift) - 1;
    table = leaf ? (step.entry & bits(51, 12) & ~low) | (guest_physical & low) : step.entry & bits(51, 12);
    if (!leaf) continue;

    if ((allowed & wanted) != wanted) return violation(fault, guest_physical, access, allowed, flags_on);
    if (flags_on)
      for (unsigned i = 0; i < count; ++i) {
        const uint64_t marked = steps[i].entry | accessed | (writes && i == count - 1 ? dirty : 0);
        if (marked != steps[i].entry) memory.store(steps[i].address, 8, marked);
        steps[i].entry = marked;
      }
    result.physical = table;
    result.readable = allowed & R;
    result.writable = allowed & W && (!flags_on || steps[count - 1].entry & dirty);
    result.executable = allowed & X;
    result.page_bits = static_cast<uint8_t>(shift);
    return true;
  }
}

unsigned ept_levels(const PhysicalMemory& memory, const Ept& ept, uint64_t guest_physical, EptLevel (&levels)[4]) {
  uint64_t table = ept.root();
  unsigned count = 0;
  for (unsigned shift = top_shift;; shift -= index_bits) {
    EptLevel& level = levels[count++];
    level = {address_at(table, guest_physical, shift), 0, shift, false, false, false};
    if (!memory.readable_page(level.address)) return count;  // reading a device would leave a trace
    level.entry = memory.load(level.address, 8);
    level.present = level.entry & rights;
    level.leaf = is_leaf(ept, level.entry, shift);
    level.misconfigured = level.present && misconfigured(ept, level.entry, shift, level.leaf);
    if (!level.present || level.misconfigured || level.leaf) return count;
    table = level.entry & bits(51, 12);
  }
}

}  // namespace matryoshka
