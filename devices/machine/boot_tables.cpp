#include "devices/machine/boot_tables.h"

#include "devices/machine/memory_map.h"

namespace matryoshka {

namespace {

constexpr uint64_t bios_data_address = 0x400;

std::vector<uint8_t> bios_data() {
  std::vector<uint8_t> area(0x15);
  poke<uint16_t>(area, 0x00, 0x3f8);                    // the first serial port
  poke<uint16_t>(area, 0x0e, physical::low_end >> 4);   // segment of the extended area
  poke<uint16_t>(area, 0x13, physical::low_end >> 10);  // conventional memory in KiB
  return area;
}

}  // namespace

std::string place_tables(const AcpiTables& acpi, const SmbiosTables& smbios, GuestMemory& memory) {
  constexpr uint64_t smbios_entry = rsdp_address + 0x40, smbios_structures = rsdp_address + 0x100;
  AcpiTables::Placed placed = acpi.placed(physical::firmware);
  if (placed.tables.size() > rsdp_address - physical::firmware)
    return "The ACPI tables are larger than the segment that holds them, which is an error of this program; please report it.";
  std::vector<uint8_t> entry = smbios.entry(static_cast<uint32_t>(smbios_structures));
  const std::vector<uint8_t> extended_area = {1};  // its own size in KiB
  auto put = [&](uint64_t address, const std::vector<uint8_t>& bytes) {
    return memory.write(address, bytes.data(), bytes.size());
  };
  if (!put(bios_data_address, bios_data()) || !put(physical::low_end, extended_area) || !put(physical::firmware, placed.tables) ||
      !put(rsdp_address, placed.rsdp) || !put(smbios_entry, entry) || !put(smbios_structures, smbios.structures()))
    return "The machine has too little RAM for the tables that describe it; give it more memory (-m).";
  return {};
}

}  // namespace matryoshka
