// The ACPI tables of the board: RSDP, RSDT, XSDT, FADT, FACS, MADT, HPET and a DSDT in AML of our own.
//
// They are built once, with every pointer holding an offset, beside the list of what must be added and summed when their
// place is known. Without firmware the loader places them itself; SeaBIOS does the same from the list, as a script.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "devices/bus/bytes.h"

namespace matryoshka {

// What of the board the tables speak of. Addresses that never differ stand in acpi_tables.cpp.
struct AcpiBoard {
  unsigned processors = 1;
  uint32_t pci_window_first = 0xc0000000, pci_window_last = 0xfebfffff;
  unsigned serial_ports = 1;
  bool keyboard_controller = false;
  bool vga = false;
  bool fw_cfg = true;
  uint32_t hpet_id = 0x8086a201;  // the low half of the HPET's capabilities register
};

class AcpiTables {
 public:
  explicit AcpiTables(const AcpiBoard& board);

  // Ready for use, the tables at this address, which is a multiple of 64, and the root pointer on any multiple of 16
  // between E0000h and FFFFFh.
  struct Placed {
    std::vector<uint8_t> tables, rsdp;
  };
  Placed placed(uint64_t tables_address) const;

  // The same for firmware: the two files with offsets for pointers, and the script that ends them.
  static constexpr const char* tables_file = "etc/acpi/tables";
  static constexpr const char* rsdp_file = "etc/acpi/rsdp";
  static constexpr const char* script_file = "etc/table-loader";
  const std::vector<uint8_t>& tables() const { return tables_; }
  const std::vector<uint8_t>& rsdp() const { return rsdp_; }
  std::vector<uint8_t> script() const;

 private:
  // `size` bytes at `offset`, in the root pointer or in the tables, hold an offset into the tables.
  struct Pointer {
    bool in_rsdp;
    uint32_t offset;
    uint8_t size;
  };
  // The byte at `offset` makes the sum of `length` bytes from `start` zero.
  struct Checksum {
    bool in_rsdp;
    uint32_t offset, start, length;
  };
  uint32_t add(const char* signature, uint8_t revision, const std::vector<uint8_t>& body);
  void point(uint32_t offset, uint8_t size, uint64_t target, bool in_rsdp = false);

  std::vector<uint8_t> tables_, rsdp_;
  std::vector<Pointer> pointers_;
  std::vector<Checksum> checksums_;
};

}  // namespace matryoshka
