// Kernels with a Multiboot 1 header: kvm-unit-tests, memory testers, teaching kernels. ELF32, ELF64 that is entered in
// 32-bit mode, and whatever carries addresses in its header (the a.out kludge). The Multiboot Specification 0.6.96, "OS
// image format" and "Machine state".
#include "devices/machine/boot.h"

#include <algorithm>

#include "devices/machine/boot_elf.h"

namespace matryoshka {

namespace {

constexpr uint32_t header_magic = 0x1badb002, loader_magic = 0x2badb002;
constexpr size_t search_size = 8192;
// The low half of the flags is what the kernel insists on: modules on pages, a memory map, and a video mode, which it can
// only prefer.
constexpr uint32_t known_requirements = 0x7, has_addresses = 1 << 16;

// Offset of the header, or the search's end.
size_t find_header(ByteSpan file) {
  ByteSpan start = file.first(std::min(file.size(), search_size));
  for (size_t at = 0; at + 12 <= start.size(); at += 4) {
    uint32_t magic = peek<uint32_t>(start, at), flags = peek<uint32_t>(start, at + 4), sum = peek<uint32_t>(start, at + 8);
    if (magic == header_magic && magic + flags + sum == 0) return at;
  }
  return search_size;
}

struct Image {
  uint64_t entry = 0;
  uint64_t end = 0;  // of what is loaded
};

std::string load_by_addresses(const BootRequest& request, size_t header, GuestMemory& memory, Image& image) {
  const BootFile& kernel = request.kernel;
  const std::string name = the_file("kernel", kernel.name);
  if (kernel.bytes.size() - header < 32) return name + " is truncated: it ends within its Multiboot header" + cure::copy_again;
  auto field = [&](size_t offset) -> uint64_t { return peek<uint32_t>(kernel.bytes, header + offset); };
  uint64_t header_address = field(12), load_address = field(16), load_end = field(20), bss_end = field(24);
  image.entry = field(28);
  if (load_address > header_address || header_address - load_address > header)
    return name + " is damaged: its Multiboot header places the header outside what is loaded" + cure::copy_again;
  uint64_t offset = header - (header_address - load_address);
  uint64_t rest = kernel.bytes.size() - offset;
  uint64_t size = load_end == 0 ? rest : load_end - load_address;
  if (load_end != 0 && load_end < load_address)
    return name + " is damaged: its Multiboot header ends the image before it begins" + cure::copy_again;
  if (size > rest)
    return name + " is truncated: the header asks for " + grouped(offset + size) + " bytes, the file has " +
           grouped(kernel.bytes.size()) + cure::copy_again;
  image.end = std::max(load_address + size, bss_end);
  return place_segment(name, kernel.bytes.subspan(offset, size), load_address, image.end - load_address, request.ram_size,
                       memory);
}

std::string load_elf(const BootRequest& request, GuestMemory& memory, Image& image) {
  const BootFile& kernel = request.kernel;
  const std::string name = the_file("kernel", kernel.name);
  if (!ElfFile::is_elf(kernel.bytes))
    return name + " is damaged: its Multiboot header has no addresses, and it is no ELF file" + cure::copy_again;
  ElfFile elf;
  if (std::string refusal = elf.parse(name, kernel.bytes); !refusal.empty()) return refusal;
  if (std::string refusal = place_segments(name, kernel.bytes, elf, request.ram_size, memory, image.end); !refusal.empty())
    return refusal;
  // An entry that is a virtual address is meant where its segment lies.
  image.entry = elf.entry;
  for (const ElfFile::Segment& s : elf.segments)
    if (s.type == ElfFile::load && elf.entry - s.virtual_address < s.memory_size)
      image.entry = elf.entry - s.virtual_address + s.physical;
  return {};
}

}  // namespace

bool is_multiboot(ByteSpan file) { return find_header(file) != search_size; }

std::string load_multiboot(const BootRequest& request, GuestMemory& memory, BootEntry& entry) {
  const BootFile& kernel = request.kernel;
  const std::string name = the_file("kernel", kernel.name);
  size_t header = find_header(kernel.bytes);
  if (header == search_size) return name + " has no Multiboot header" + cure::other_kernel;
  uint32_t flags = peek<uint32_t>(kernel.bytes, header + 4);
  if (flags & 0xffff & ~known_requirements)
    return name + " requires a Multiboot feature that this loader does not know (flags " + grouped(flags & 0xffff) + ")" +
           cure::other_kernel;

  Image image;
  std::string refusal =
      flags & has_addresses ? load_by_addresses(request, header, memory, image) : load_elf(request, memory, image);
  if (!refusal.empty()) return refusal;
  uint8_t first;
  if (image.end == 0 || image.entry >= image.end || !memory.load(image.entry, first))
    return name + " is damaged: its entry lies outside what it loads" + cure::copy_again;

  // Modules follow the kernel, each on a page of its own.
  struct Module {
    uint64_t first, end;
    std::string text;
  };
  std::vector<Module> modules;
  uint64_t next = std::max(align_up(image.end, 0x1000), physical::one_mib);
  for (const BootFile& file : request.modules) {
    uint64_t top = ram_below_hole(request.ram_size);
    if (next > top || file.bytes.size() > top - next || !memory.write(next, file.bytes.data(), file.bytes.size()))
      return the_file("module", file.name) + " (" + grouped(file.bytes.size()) + " bytes) does not fit behind the kernel into " +
             memory_size(request.ram_size) + " of RAM" + cure::more_memory;
    modules.push_back({next, next + file.bytes.size(), file.arguments.empty() ? file.name : file.name + " " + file.arguments});
    next = align_up(next + file.bytes.size(), 0x1000);
  }

  // The information structure, then the memory map, the module list and the strings.
  constexpr uint64_t info_size = 120, range_size = 24, module_size = 16;
  constexpr uint32_t has_memory = 1 << 0, has_command_line = 1 << 2, has_modules = 1 << 3, has_map = 1 << 6,
                     has_loader_name = 1 << 9;
  std::vector<MemoryRange> map = memory_map(request.ram_size);
  uint64_t map_at = boot_layout::tables + info_size;
  uint64_t list_at = map_at + range_size * map.size();
  uint64_t text_at = list_at + module_size * modules.size();
  std::vector<uint8_t> info(text_at - boot_layout::tables);
  auto put = [&](uint64_t address, uint64_t value) { poke(info, address - boot_layout::tables, static_cast<uint32_t>(value)); };
  auto put_text = [&](const std::string& text) {
    uint64_t address = boot_layout::tables + info.size();
    append(info, std::string_view(text));
    info.push_back(0);
    return address;
  };

  uint64_t base = boot_layout::tables, low = ram_below_hole(request.ram_size);
  put(base, has_memory | has_command_line | has_map | has_loader_name | (modules.empty() ? 0 : has_modules));
  put(base + 4, physical::low_end >> 10);
  put(base + 8, (low - std::min(low, physical::one_mib)) >> 10);
  put(base + 16, boot_layout::command_line);
  put(base + 20, modules.size());
  put(base + 24, list_at);
  put(base + 44, range_size * map.size());
  put(base + 48, map_at);
  for (size_t i = 0; i < map.size(); ++i) {
    uint64_t at = map_at + range_size * i - base;
    poke(info, at, static_cast<uint32_t>(range_size - 4));  // the size of what follows
    poke(info, at + 4, map[i].first);
    poke(info, at + 12, map[i].size);
    poke(info, at + 20, static_cast<uint32_t>(map[i].type));
  }
  for (size_t i = 0; i < modules.size(); ++i) {
    put(list_at + module_size * i, modules[i].first);
    put(list_at + module_size * i + 4, modules[i].end);
    put(list_at + module_size * i + 8, put_text(modules[i].text));
  }
  put(base + 64, put_text("Matryoshka"));
  if (info.size() > boot_layout::command_line - boot_layout::tables) return modules_too_long();

  // The first word of the command line is the kernel's own name.
  std::string command_line = request.command_line.empty() ? kernel.name : kernel.name + " " + request.command_line;
  refusal = write_command_line(command_line, SIZE_MAX, memory);
  if (!refusal.empty()) return refusal;
  if (!memory.write(base, info.data(), info.size())) return not_writable(name);

  entry = {};
  write_descriptors(memory, entry, BootEntry::Mode::protected32);
  entry.rip = image.entry;
  entry.rax = loader_magic;
  entry.rbx = base;
  return {};
}

}  // namespace matryoshka
