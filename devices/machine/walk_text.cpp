#include "devices/machine/walk_text.h"

#include <cinttypes>

#include "cpu/state/registers.h"
#include "vmx-model/describe.h"

namespace matryoshka {

namespace {

constexpr uint64_t address_bits = 0x000ffffffffff000;

std::string flags_of_entry(uint64_t entry, bool leaf) {
  std::string text = entry & 1 ? "present" : "not present";
  if (!(entry & 1)) return text;
  text += entry & 2 ? ", writable" : ", read-only";
  text += entry & 4 ? ", user" : ", supervisor";
  if (entry & 32) text += ", accessed";
  if (leaf && entry & 64) text += ", dirty";
  if (leaf && entry & 256) text += ", global";
  if (entry >> 63) text += ", no execute";
  return text;
}

std::string flags_of_ept_entry(const EptLevel& level) {
  if (!level.present) return "not present";
  std::string text = level.entry & 1 ? "r" : "-";
  text += level.entry & 2 ? "w" : "-";
  text += level.entry & 4 ? "x" : "-";
  if (level.leaf) text += ", memory type " + std::to_string(level.entry >> 3 & 7);
  if (level.entry & 0x100) text += ", accessed";
  if (level.leaf && level.entry & 0x200) text += ", dirty";
  if (level.misconfigured) text += ": misconfigured";
  return text;
}

const char* table_name(unsigned shift) {
  switch (shift) {
    case 48: return "PML5E";
    case 39: return "PML4E";
    case 30: return "PDPTE";
    case 22:
    case 21: return "PDE";
    default: return "PTE";
  }
}

// The second walk. False: it ends without a page.
bool through_ept(const PhysicalMemory& memory, const Ept& ept, uint64_t guest_physical, std::string& text, const char* indent,
                 uint64_t& physical) {
  physical = guest_physical;
  if (!ept.on) return true;
  EptLevel levels[4];
  const unsigned count = ept_levels(memory, ept, guest_physical, levels);
  for (unsigned i = 0; i < count; ++i)
    text += formatted("%sEPT %-5s at %#" PRIx64 " = %#018" PRIx64 "  ", indent, table_name(levels[i].shift), levels[i].address,
                      levels[i].entry) +
            flags_of_ept_entry(levels[i]) + "\n";
  const EptLevel& last = levels[count - 1];
  if (!last.leaf || !last.present || last.misconfigured) {
    text += formatted("%sguest-physical %#" PRIx64 ": %s\n", indent, guest_physical,
                      last.misconfigured ? "an EPT misconfiguration" : "an EPT violation, for it is not mapped");
    return false;
  }
  const uint64_t low = (uint64_t{1} << last.shift) - 1;
  physical = (last.entry & address_bits & ~low) | (guest_physical & low);
  text += formatted("%sguest-physical %#" PRIx64 " is physical %#" PRIx64 "\n", indent, guest_physical, physical);
  return true;
}

}  // namespace

std::string walk_text(const PhysicalMemory& memory, const WalkRoot& r, uint64_t linear) {
  std::string text;
  uint64_t physical;
  auto end = [&](uint64_t guest_physical) {
    if (!r.ept.on) text += formatted("linear %#" PRIx64 " is physical %#" PRIx64 "\n", linear, guest_physical);
    if (through_ept(memory, r.ept, guest_physical, text, "", physical) && r.ept.on)
      text += formatted("linear %#" PRIx64 " is physical %#" PRIx64 "\n", linear, physical);
    return text;
  };
  if (!(r.cr0 & cr0::PG)) {
    text += "Paging is off: a linear address is a guest-physical one.\n";
    return end(linear);
  }
  const bool pae = r.cr4 & cr4::PAE, wide = r.efer & efer::LMA;
  const unsigned entry_size = pae ? 8 : 4, index_bits = pae ? 9 : 10;
  unsigned shift = wide ? (r.cr4 & cr4::LA57 ? 48 : 39) : pae ? 21 : 22;
  uint64_t table = r.cr3 & (pae ? address_bits : 0xfffff000);
  if (wide) {
    const unsigned unused = r.cr4 & cr4::LA57 ? 7 : 16;
    if (static_cast<uint64_t>(static_cast<int64_t>(linear << unused) >> unused) != linear)
      return formatted("linear %#" PRIx64 " is not canonical: an access is #GP, or #SS for the stack\n", linear);
  } else {
    linear = static_cast<uint32_t>(linear);
  }
  if (pae && !wide) {
    const uint64_t entry = r.pdpte[linear >> 30 & 3];
    text += formatted("PDPTE %u in the processor = %#018" PRIx64 "  %s\n", static_cast<unsigned>(linear >> 30 & 3), entry,
                      entry & 1 ? "present" : "not present");
    if (!(entry & 1)) return text + formatted("linear %#" PRIx64 ": #PF, for it is not mapped\n", linear);
    table = entry & address_bits;
  }
  for (;; shift -= index_bits) {
    const uint64_t guest_address = table + (linear >> shift & ((1u << index_bits) - 1)) * entry_size;
    if (!through_ept(memory, r.ept, guest_address, text, "    ", physical)) return text;
    if (!memory.readable_page(physical)) return text + formatted("the table at %#" PRIx64 " lies outside of memory\n", physical);
    const uint64_t entry = memory.load(physical, entry_size);
    const bool large = entry & 0x80 && ((pae && (shift == 21 || shift == 30)) || (!pae && shift == 22 && r.cr4 & cr4::PSE));
    const bool leaf = shift == 12 || large;
    text += formatted("%-5s at %#" PRIx64 " = %#018" PRIx64 "  ", table_name(shift), guest_address, entry) +
            flags_of_entry(entry, leaf) + "\n";
    if (!(entry & 1)) return text + formatted("linear %#" PRIx64 ": #PF, for it is not mapped\n", linear);
    if (!leaf) {
      table = entry & (pae ? address_bits : 0xfffff000);
      continue;
    }
    const uint64_t low = (uint64_t{1} << shift) - 1;
    uint64_t frame = pae ? entry & address_bits & ~low : entry & 0xfffff000 & ~low;
    if (!pae && shift == 22) frame |= (entry >> 13 & 0xff) << 32;
    return end(frame | (linear & low));
  }
}

}  // namespace matryoshka
