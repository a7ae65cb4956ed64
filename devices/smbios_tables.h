// What the board says of itself in SMBIOS: a 2.8 entry point and the few structures that dmidecode and installers read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "devices/bus/bytes.h"

namespace matryoshka {

struct SmbiosBoard {
  unsigned processors = 1;
  uint64_t ram_size = 0;
  std::string processor_name = "Matryoshka processor";
};

class SmbiosTables {
 public:
  explicit SmbiosTables(const SmbiosBoard& board);

  // For firmware, which fills in the address of the structures.
  static constexpr const char* entry_file = "etc/smbios/smbios-anchor";
  static constexpr const char* structures_file = "etc/smbios/smbios-tables";
  const std::vector<uint8_t>& structures() const { return structures_; }
  // The entry point for structures at this address. It is looked for on multiples of 16 from F0000h to FFFFFh.
  std::vector<uint8_t> entry(uint32_t structures_address) const;

 private:
  void add(uint8_t type, uint16_t handle, const std::vector<uint8_t>& fields, const std::vector<std::string>& strings);
  std::vector<uint8_t> structures_;
  uint16_t count_ = 0;
  uint16_t largest_ = 0;
};

}  // namespace matryoshka
