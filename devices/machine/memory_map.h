// Where RAM lies in the physical address space, and how a kernel is told.
#pragma once

#include <cstdint>
#include <vector>

namespace matryoshka {

namespace physical {
constexpr uint64_t low_end = 0x9fc00;   // conventional memory; the kilobyte above is the extended BIOS data area
constexpr uint64_t firmware = 0xe0000;  // tables of ours or a ROM up to one_mib
constexpr uint64_t one_mib = 0x100000;
constexpr uint64_t pci_hole = 0xc0000000;      // RAM that would lie from here to four_gib appears from four_gib upwards
constexpr uint64_t pci_hole_end = 0xfec00000;  // where the I/O APIC begins
constexpr uint64_t four_gib = 0x100000000;
}  // namespace physical

// The numbers are those of the ACPI Specification, "Address Range Types", and of every kernel's e820 table.
enum class RangeType : uint32_t { ram = 1, reserved = 2, acpi = 3, nvs = 4 };

struct MemoryRange {
  uint64_t first;
  uint64_t size;
  RangeType type;
};

constexpr uint64_t ram_below_hole(uint64_t ram_size) { return ram_size < physical::pci_hole ? ram_size : physical::pci_hole; }
constexpr uint64_t ram_above_hole(uint64_t ram_size) { return ram_size - ram_below_hole(ram_size); }

// Ascending and disjoint.
std::vector<MemoryRange> memory_map(uint64_t ram_size);

}  // namespace matryoshka
