#include "devices/machine/boot_elf.h"

#include <algorithm>

#include "devices/machine/boot.h"

namespace matryoshka {

std::string ElfFile::parse(const std::string& name, ByteSpan file) {
  constexpr size_t size_32 = 52, size_64 = 64, program_header_32 = 32, program_header_64 = 56;
  constexpr uint64_t most_segments = 256;
  constexpr uint16_t intel_386 = 3, x86_64 = 62;
  is_64 = peek<uint8_t>(file, 4) == 2;
  if (file.size() < (is_64 ? size_64 : size_32)) return name + " is truncated: it ends within its ELF header" + cure::copy_again;
  machine = peek<uint16_t>(file, 18);
  if (machine != intel_386 && machine != x86_64)
    return name + " is an ELF file for another processor than x86" + cure::other_kernel;

  entry = is_64 ? peek<uint64_t>(file, 24) : peek<uint32_t>(file, 24);
  uint64_t table = is_64 ? peek<uint64_t>(file, 32) : peek<uint32_t>(file, 28);
  uint64_t entry_size = peek<uint16_t>(file, is_64 ? 54 : 42);
  uint64_t count = peek<uint16_t>(file, is_64 ? 56 : 44);
  if (entry_size < (is_64 ? program_header_64 : program_header_32))
    return name + " is damaged: its ELF program headers are too short" + cure::copy_again;
  if (table > file.size() || entry_size * count > file.size() - table)
    return name + " is truncated: its ELF program headers lie beyond the end of the file" + cure::copy_again;

  if (count > most_segments) return name + " is damaged: it has " + grouped(count) + " ELF program headers" + cure::copy_again;

  segments.clear();
  for (uint64_t i = 0; i < count; ++i) {
    ByteSpan h = file.subspan(table + i * entry_size, entry_size);
    Segment s;
    s.type = peek<uint32_t>(h, 0);
    if (is_64) {
      s.offset = peek<uint64_t>(h, 8), s.virtual_address = peek<uint64_t>(h, 16), s.physical = peek<uint64_t>(h, 24);
      s.file_size = peek<uint64_t>(h, 32), s.memory_size = peek<uint64_t>(h, 40), s.alignment = peek<uint64_t>(h, 48);
    } else {
      s.offset = peek<uint32_t>(h, 4), s.virtual_address = peek<uint32_t>(h, 8), s.physical = peek<uint32_t>(h, 12);
      s.file_size = peek<uint32_t>(h, 16), s.memory_size = peek<uint32_t>(h, 20), s.alignment = peek<uint32_t>(h, 28);
    }
    if (s.type != load && s.type != note) continue;
    if (s.offset > file.size() || s.file_size > file.size() - s.offset)
      return name + " is truncated: a segment asks for " + grouped(s.file_size) + " bytes from " + grouped(s.offset) +
             ", the file has " + grouped(file.size()) + cure::copy_again;
    if (s.type == load && s.memory_size < s.file_size)
      return name + " is damaged: a segment is larger in the file than in memory" + cure::copy_again;
    segments.push_back(s);
  }
  return {};
}

std::string place_segment(const std::string& name, ByteSpan bytes, uint64_t address, uint64_t memory_size, uint64_t ram_size,
                          GuestMemory& memory) {
  auto range = [&] { return name + " wants " + grouped(memory_size) + " bytes at address " + grouped(address); };
  uint64_t top = ram_below_hole(ram_size);
  if (address > top || memory_size > top - address)
    return range() + ", and the machine has " + ::matryoshka::memory_size(ram_size) + " of RAM" + cure::more_memory;
  uint64_t end = address + memory_size;
  if (address < boot_layout::end) return range() + ", where the boot loader keeps its own tables; link it at 1 MiB or above.";
  if (end > physical::low_end && address < physical::one_mib)
    return range() + ", where there is no RAM for it; link it at 1 MiB or above.";
  if (!memory.write(address, bytes.data(), bytes.size())) return not_writable(name);
  const std::vector<uint8_t> zeroes(std::min<uint64_t>(memory_size - bytes.size(), 1 << 20));
  for (uint64_t at = address + bytes.size(); at < end;) {
    uint64_t piece = std::min<uint64_t>(zeroes.size(), end - at);
    if (!memory.write(at, zeroes.data(), piece)) return not_writable(name);
    at += piece;
  }
  return {};
}

std::string place_segments(const std::string& name, ByteSpan file, const ElfFile& elf, uint64_t ram_size, GuestMemory& memory,
                           uint64_t& end) {
  // Together no larger than memory: else overlapping segments could keep the loader busy for hours.
  uint64_t total = 0;
  for (const ElfFile::Segment& s : elf.segments) {
    if (s.type != ElfFile::load || s.memory_size == 0) continue;
    ByteSpan bytes = file.subspan(s.offset, s.file_size);
    std::string refusal = place_segment(name, bytes, s.physical, s.memory_size, ram_size, memory);
    if (!refusal.empty()) return refusal;
    end = std::max(end, s.physical + s.memory_size);
    if ((total += s.memory_size) > ram_size) return name + " is damaged: its segments overlap" + cure::copy_again;
  }
  return {};
}

}  // namespace matryoshka
