// What the loaders of ELF kernels read of an ELF file: a header, the segments that are loaded, the notes.
// Tool Interface Standard (TIS) Executable and Linking Format (ELF) Specification 1.2, and its 64-bit form.
#pragma once

#include <string>
#include <vector>

#include "devices/bus/bus.h"
#include "devices/bus/bytes.h"
#include "devices/machine/memory_map.h"

namespace matryoshka {

struct ElfFile {
  struct Segment {
    uint32_t type = 0;
    uint64_t offset = 0, physical = 0, file_size = 0, memory_size = 0, alignment = 0;
    uint64_t virtual_address = 0;
  };
  static constexpr uint32_t load = 1, note = 4;

  bool is_64 = false;
  uint16_t machine = 0;
  uint64_t entry = 0;
  std::vector<Segment> segments;

  static bool is_elf(ByteSpan file) { return peek<uint32_t>(file, 0) == 0x464c457f; }
  // The sentence of refusal, or nothing; afterwards every loaded segment's bytes are known to lie in the file.
  [[nodiscard]] std::string parse(const std::string& name, ByteSpan file);
};

// Copies bytes to a place that a file chose, and clears what follows them; refuses unless all of it is free RAM.
[[nodiscard]] std::string place_segment(const std::string& name, ByteSpan bytes, uint64_t address, uint64_t memory_size,
                                        uint64_t ram_size, GuestMemory& memory);
// The same for all segments of a kernel that are loaded; `end` is where the last of them ends.
[[nodiscard]] std::string place_segments(const std::string& name, ByteSpan file, const ElfFile& elf, uint64_t ram_size,
                                         GuestMemory& memory, uint64_t& end);

}  // namespace matryoshka
