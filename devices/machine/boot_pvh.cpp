// An ELF kernel that says where it wants to be entered in 32-bit protected mode: an uncompressed Linux vmlinux, FreeBSD,
// Xen. x86/HVM direct boot ABI, Xen Project documentation.
#include <algorithm>

#include "devices/machine/boot.h"
#include "devices/machine/boot_elf.h"

namespace matryoshka {

namespace {

// "XEN_ELFNOTE_PHYS32_ENTRY", the note that makes a kernel bootable this way.
constexpr uint32_t phys32_entry = 18;
constexpr uint32_t start_magic = 0x336ec578;

// Walks one note segment: name size, descriptor size, type, then both, each padded to four bytes.
bool find_entry(ByteSpan notes, uint64_t& entry) {
  while (notes.size() >= 12) {
    uint64_t name_size = peek<uint32_t>(notes, 0), value_size = peek<uint32_t>(notes, 4);
    uint32_t type = peek<uint32_t>(notes, 8);
    uint64_t value_at = 12 + align_up(name_size, 4);
    uint64_t size = value_at + align_up(value_size, 4);
    bool xen = name_size == 4 && peek<uint32_t>(notes, 12) == 0x006e6558;
    if (xen && type == phys32_entry && value_at <= notes.size() && value_size >= 4) {
      entry = value_size >= 8 ? peek<uint64_t>(notes, value_at) : peek<uint32_t>(notes, value_at);
      return true;
    }
    if (size > notes.size()) return false;
    notes = notes.subspan(size);
  }
  return false;
}

bool find_entry(const ElfFile& elf, ByteSpan file, uint64_t& entry) {
  return std::any_of(elf.segments.begin(), elf.segments.end(), [&](const ElfFile::Segment& s) {
    return s.type == ElfFile::note && find_entry(file.subspan(s.offset, s.file_size), entry);
  });
}

}  // namespace

bool is_pvh(ByteSpan file) {
  ElfFile elf;
  uint64_t entry = 0;
  return ElfFile::is_elf(file) && (!elf.parse("", file).empty() || find_entry(elf, file, entry));
}

std::string load_pvh(const BootRequest& request, GuestMemory& memory, BootEntry& entry) {
  const BootFile& kernel = request.kernel;
  const std::string name = the_file("kernel", kernel.name);
  ElfFile elf;
  uint64_t start = 0;
  if (std::string damage = elf.parse(name, kernel.bytes); !damage.empty()) return damage;
  if (!find_entry(elf, kernel.bytes, start))
    return name + " is an ELF file without a PVH entry note, so there is no telling how to start it" + cure::other_kernel;

  uint64_t kernel_end = 0;
  std::string refusal = place_segments(name, kernel.bytes, elf, request.ram_size, memory, kernel_end);
  if (!refusal.empty()) return refusal;
  uint8_t first;
  if (start >= kernel_end || !memory.load(start, first))
    return name + " is damaged: its PVH entry lies outside what it loads" + cure::copy_again;

  // Modules go to the top of memory, the first one highest.
  struct Module {
    uint64_t address, size, arguments = 0, reserved = 0;
  };
  std::vector<Module> modules;
  uint64_t top = ram_below_hole(request.ram_size);
  for (const BootFile& file : request.modules) {
    if (file.bytes.empty()) continue;
    uint64_t address = place_below(top, align_up(kernel_end, 0x1000), file.bytes.size());
    if (address == 0 || !memory.write(address, file.bytes.data(), file.bytes.size()))
      return the_file("module", file.name) + " (" + grouped(file.bytes.size()) + " bytes) does not fit beside the kernel into " +
             memory_size(request.ram_size) + " of RAM" + cure::more_memory;
    modules.push_back({address, file.bytes.size()});
    top = address;
  }

  // hvm_start_info, then its module list, then the memory map, then the modules' arguments.
  std::vector<MemoryRange> map = memory_map(request.ram_size);
  constexpr uint64_t info_size = 56, module_size = 32, range_size = 24;
  uint64_t module_list = boot_layout::tables + align_up(info_size, 16);
  uint64_t map_at = module_list + module_size * modules.size();
  uint64_t text_at = map_at + range_size * map.size();
  std::vector<uint8_t> text;
  for (size_t i = 0; i < modules.size(); ++i) {
    modules[i].arguments = text_at + text.size();
    append(text, std::string_view(request.modules[i].arguments));
    text.push_back(0);
  }

  std::vector<uint8_t> info;
  append(info, start_magic);
  append<uint32_t>(info, 1);  // version with a memory map
  append<uint32_t>(info, 0);  // flags
  append(info, static_cast<uint32_t>(modules.size()));
  append<uint64_t>(info, modules.empty() ? 0 : module_list);
  append<uint64_t>(info, boot_layout::command_line);
  append<uint64_t>(info, request.rsdp);
  append<uint64_t>(info, map_at);
  append(info, static_cast<uint32_t>(map.size()));
  append<uint32_t>(info, 0);
  info.resize(module_list - boot_layout::tables);
  for (const Module& m : modules)
    for (uint64_t field : {m.address, m.size, m.arguments, m.reserved}) append(info, field);
  for (const MemoryRange& range : map) {
    append(info, range.first);
    append(info, range.size);
    append(info, static_cast<uint32_t>(range.type));
    append<uint32_t>(info, 0);
  }
  append(info, text);
  if (info.size() > boot_layout::command_line - boot_layout::tables) return modules_too_long();

  refusal = write_command_line(request.command_line, SIZE_MAX, memory);
  if (!refusal.empty()) return refusal;
  if (!memory.write(boot_layout::tables, info.data(), info.size())) return not_writable(name);

  entry = {};
  write_descriptors(memory, entry, BootEntry::Mode::protected32);
  entry.rip = start;
  entry.rbx = boot_layout::tables;
  return {};
}

}  // namespace matryoshka
