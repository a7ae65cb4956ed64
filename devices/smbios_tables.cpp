// Structures and fields: System Management BIOS (SMBIOS) Reference Specification 2.8.0, "Structure definitions".
#include "devices/smbios_tables.h"

#include <algorithm>
#include <numeric>

namespace matryoshka {

namespace {

std::vector<uint8_t> bytes(std::initializer_list<uint8_t> list) { return list; }

constexpr uint16_t bios_handle = 0x0000, system_handle = 0x0100, processor_handle = 0x0400, array_handle = 0x1000,
                   memory_handle = 0x1100, mapped_handle = 0x1300, boot_handle = 0x2000, end_handle = 0x7f00;

// "BIOS Information (Type 0)": no characteristics but the extension byte "is a virtual machine".
std::vector<uint8_t> bios() {
  std::vector<uint8_t> f = bytes({1, 2, 0x00, 0xe0, 3, 0});
  append<uint64_t>(f, 1 << 3);  // characteristics are not supported
  append(f, bytes({0, 0x10, 0, 0, 0xff, 0xff}));
  return f;
}

// "System Information (Type 1)", with a UUID of all zeros: none.
std::vector<uint8_t> system() {
  std::vector<uint8_t> f = bytes({1, 2, 3, 0});
  f.resize(f.size() + 16);
  append(f, bytes({6, 0, 0}));  // woken by the power switch
  return f;
}

// "Processor Information (Type 4)": one socket with all processors as its cores.
std::vector<uint8_t> processor(unsigned cores) {
  auto n = static_cast<uint8_t>(cores);
  std::vector<uint8_t> f = bytes({1, 3, 1, 2});  // central processor of family "other"
  append<uint64_t>(f, 0);                        // what CPUID says, CPUID says
  append(f, bytes({3, 0}));
  for (uint16_t megahertz : {0, 1000, 1000}) append<uint16_t>(f, megahertz);
  append(f, bytes({0x41, 1}));  // populated and enabled; upgrade "other"
  for (int cache = 0; cache < 3; ++cache) append<uint16_t>(f, 0xffff);
  append(f, bytes({0, 0, 0, n, n, n}));
  append<uint16_t>(f, 1 << 2);  // 64-bit capable
  append<uint16_t>(f, 1);
  return f;
}

// "Physical Memory Array (Type 16)"
std::vector<uint8_t> memory_array(uint64_t ram_size) {
  std::vector<uint8_t> f = bytes({1, 3, 3});  // elsewhere, system memory, no error correction
  append(f, static_cast<uint32_t>(ram_size >> 10));
  append<uint16_t>(f, 0xfffe);  // no error information
  append<uint16_t>(f, 1);
  append<uint64_t>(f, 0);
  return f;
}

// "Memory Device (Type 17)"
std::vector<uint8_t> memory_device(uint64_t ram_size) {
  std::vector<uint8_t> f;
  append(f, array_handle);
  for (uint16_t field : {0xfffe, 0xffff, 0xffff}) append<uint16_t>(f, field);
  append<uint16_t>(f, static_cast<uint16_t>(std::min<uint64_t>(ram_size >> 20, 0x7ffe)));
  append(f, bytes({9, 0, 1, 0, 7}));  // DIMM, no set, locator, no bank, type RAM
  append<uint16_t>(f, 2);             // of detail "other"
  append<uint16_t>(f, 0);
  append(f, bytes({2, 0, 0, 0, 0}));
  append<uint32_t>(f, 0);
  append<uint16_t>(f, 0);
  for (int voltage = 0; voltage < 3; ++voltage) append<uint16_t>(f, 0);
  return f;
}

// "Memory Array Mapped Address (Type 19)"
std::vector<uint8_t> mapped_addresses(uint64_t ram_size) {
  std::vector<uint8_t> f;
  append<uint32_t>(f, 0);
  append(f, static_cast<uint32_t>((ram_size >> 10) - 1));
  append(f, array_handle);
  f.push_back(1);
  append<uint64_t>(f, 0);
  append<uint64_t>(f, 0);
  return f;
}

uint8_t negative_sum(const std::vector<uint8_t>& data, size_t first, size_t count) {
  auto start = data.begin() + static_cast<ptrdiff_t>(first);
  return static_cast<uint8_t>(-std::accumulate(start, start + static_cast<ptrdiff_t>(count), 0));
}

}  // namespace

SmbiosTables::SmbiosTables(const SmbiosBoard& board) {
  add(0, bios_handle, bios(), {"Matryoshka", "1.0", "01/01/2026"});
  add(1, system_handle, system(), {"Matryoshka", "Matryoshka", "1.0"});
  add(4, processor_handle, processor(board.processors), {"CPU 0", "Matryoshka", board.processor_name});
  add(16, array_handle, memory_array(board.ram_size), {});
  add(17, memory_handle, memory_device(board.ram_size), {"DIMM 0", "Matryoshka"});
  add(19, mapped_handle, mapped_addresses(board.ram_size), {});
  add(32, boot_handle, std::vector<uint8_t>(7), {});
  add(127, end_handle, {}, {});
}

// "Structure standards": a header of four bytes, the fields, then strings that end with an empty one.
void SmbiosTables::add(uint8_t type, uint16_t handle, const std::vector<uint8_t>& fields,
                       const std::vector<std::string>& strings) {
  size_t start = structures_.size();
  append(structures_, bytes({type, static_cast<uint8_t>(4 + fields.size())}));
  append(structures_, handle);
  append(structures_, fields);
  for (const std::string& text : strings) {
    append(structures_, std::string_view(text));
    structures_.push_back(0);
  }
  if (strings.empty()) structures_.push_back(0);
  structures_.push_back(0);
  ++count_;
  largest_ = std::max(largest_, static_cast<uint16_t>(structures_.size() - start));
}

// "SMBIOS 2.1 (32-bit) Entry Point"
std::vector<uint8_t> SmbiosTables::entry(uint32_t structures_address) const {
  constexpr uint8_t size = 0x1f, intermediate = 0x10;
  std::vector<uint8_t> e;
  append(e, "_SM_");
  append(e, bytes({0, size, 2, 8}));
  append(e, largest_);
  e.resize(intermediate);
  append(e, "_DMI_");
  e.push_back(0);
  append(e, static_cast<uint16_t>(structures_.size()));
  append(e, structures_address);
  append(e, count_);
  e.push_back(0x28);
  e[0x15] = negative_sum(e, intermediate, size - intermediate);
  e[0x04] = negative_sum(e, 0, size);
  return e;
}

}  // namespace matryoshka
