// Puts what firmware would have left in memory where guests look for it: the ACPI tables from E0000h, their root pointer
// and the SMBIOS entry point from F0000h, and of the BIOS data area the words that kernels read (Xen finds a place for its
// trampoline there). For kernels that are loaded without firmware; the E and F segments must be RAM.
#pragma once

#include <string>

#include "devices/acpi_tables.h"
#include "devices/bus/bus.h"
#include "devices/smbios_tables.h"

namespace matryoshka {

constexpr uint64_t rsdp_address = 0xf0000;

[[nodiscard]] std::string place_tables(const AcpiTables& acpi, const SmbiosTables& smbios, GuestMemory& memory);

}  // namespace matryoshka
