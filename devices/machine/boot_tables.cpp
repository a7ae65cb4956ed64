#include "devices/machine/boot_tables.h"

#include "devices/machine/memory_map.h"

namespace matryoshka {

std::string place_tables(const AcpiTables& acpi, const SmbiosTables& smbios, GuestMemory& memory) {
  constexpr uint64_t smbios_entry = rsdp_address + 0x40, smbios_structures = rsdp_address + 0x100;
  AcpiTables::Placed placed = acpi.placed(physical::firmware);
  if (placed.tables.size() > rsdp_address - physical::firmware)
    return "the ACPI tables are larger than the segment that holds them";
  std::vector<uint8_t> entry = smbios.entry(static_cast<uint32_t>(smbios_structures));
  auto put = [&](uint64_t address, const std::vector<uint8_t>& bytes) {
    return memory.write(address, bytes.data(), bytes.size());
  };
  if (!put(physical::firmware, placed.tables) || !put(rsdp_address, placed.rsdp) || !put(smbios_entry, entry) ||
      !put(smbios_structures, smbios.structures()))
    return "the machine has too little RAM for the tables that describe it";
  return {};
}

}  // namespace matryoshka
