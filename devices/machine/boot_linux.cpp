// Linux's bzImage, by the 64-bit entry where kernel and processor have one and by the 32-bit entry otherwise. The 16-bit
// entry calls the BIOS and is reached only through firmware.
//
// Field names and offsets: The Linux/x86 Boot Protocol, "The Real-Mode Kernel Header", and Zero Page.
#include <algorithm>

#include "devices/machine/boot.h"
#include "devices/machine/memory_map.h"

namespace matryoshka {

namespace {

constexpr uint32_t header_magic = 0x53726448;  // "HdrS"
constexpr size_t header_start = 0x1f1, shortest_file = 0x400, zero_page_size = 0x1000;
constexpr unsigned loaded_high = 1 << 0, kernel_64 = 1 << 0;  // bits of loadflags and of xloadflags
constexpr uint64_t load_address = 0x100000, entry_64 = 0x200;

struct LinuxHeader {
  explicit LinuxHeader(ByteSpan file) {
    uint8_t setup_sectors = peek<uint8_t>(file, 0x1f1);
    payload_offset = (setup_sectors == 0 ? 5 : setup_sectors + 1) * size_t{512};
    protocol = peek<uint16_t>(file, 0x206);
    uint64_t rest = file.size() - std::min(file.size(), payload_offset);
    payload_size = since(0x204) ? peek<uint32_t>(file, 0x1f4) * uint64_t{16} : rest;
    // The field counts paragraphs, and not every kernel fills up its last one.
    if (rest < payload_size && payload_size - rest < 16) payload_size = rest;
    loadflags = peek<uint8_t>(file, 0x211);
    if (since(0x203)) initrd_addr_max = peek<uint32_t>(file, 0x22c);
    if (since(0x205)) {
      kernel_alignment = peek<uint32_t>(file, 0x230);
      relocatable = peek<uint8_t>(file, 0x234) != 0;
    }
    if (since(0x206)) cmdline_size = peek<uint32_t>(file, 0x238);
    if (since(0x20a)) {
      pref_address = peek<uint64_t>(file, 0x258);
      init_size = peek<uint32_t>(file, 0x260);
    }
    if (since(0x20c)) is_64 = peek<uint16_t>(file, 0x236) & kernel_64;
  }
  bool since(unsigned version) const { return protocol >= version; }

  size_t payload_offset = 0;
  uint64_t payload_size = 0;
  unsigned protocol = 0;
  unsigned loadflags = 0;
  uint32_t initrd_addr_max = 0x37ffffff;
  uint32_t kernel_alignment = 1;
  bool relocatable = false;
  uint32_t cmdline_size = 255;
  uint64_t pref_address = load_address;
  uint32_t init_size = 0;
  bool is_64 = false;

  // The kernel unpacks itself here, whatever the place it was loaded at, and needs init_size bytes there.
  uint64_t runtime_start() const {
    uint64_t loaded = relocatable ? align_up(load_address, kernel_alignment) : load_address;
    return std::max(loaded, pref_address);
  }
};

std::string check(const LinuxHeader& header, const BootRequest& request) {
  const std::string name = the_file("kernel", request.kernel.name);
  ByteSpan file = request.kernel.bytes;
  if (!is_linux(file)) return name + " is not a Linux kernel: it has no boot header" + cure::other_kernel;
  if (file.size() < shortest_file)
    return name + " is truncated: a Linux kernel has at least " + grouped(shortest_file) + " bytes, the file has " +
           grouped(file.size()) + cure::copy_again;
  if (!header.since(0x202)) return name + " is too old to load: its boot protocol is older than 2.02; take Linux 2.4 or later.";
  if (!(header.loadflags & loaded_high)) return name + " is a zImage, which only a BIOS can start; build it as a bzImage.";
  uint64_t wanted = header.payload_offset + header.payload_size;
  if (file.size() < wanted)
    return name + " is truncated: the header asks for " + grouped(wanted) + " bytes, the file has " + grouped(file.size()) +
           cure::copy_again;
  if (header.payload_size <= entry_64)
    return name + " is damaged: its header leaves no room for the kernel itself" + cure::copy_again;
  if (header.kernel_alignment == 0 || header.kernel_alignment & (header.kernel_alignment - 1))
    return name + " is damaged: its header asks for an alignment of " + grouped(header.kernel_alignment) +
           " bytes, which is not a power of two" + cure::copy_again;
  if (header.is_64 && !request.long_mode)
    return name + " has 64 bits, and the chosen processor has no long mode; choose another one with -cpu, or a 32-bit kernel.";
  if (request.modules.size() > 1)
    return name + " is Linux, which takes one initial RAM disk, and " + grouped(request.modules.size()) +
           " were given; give -initrd one file (a comma in its name is written twice).";
  return {};
}

// The setup header as the file has it, the machine's memory, and where everything was put.
std::vector<uint8_t> zero_page(const BootRequest& request, uint64_t initrd) {
  ByteSpan file = request.kernel.bytes;
  std::vector<uint8_t> page(zero_page_size);
  size_t header_end = std::min<size_t>(0x202 + peek<uint8_t>(file, 0x201), 0x290);
  std::copy(file.begin() + header_start, file.begin() + static_cast<ptrdiff_t>(header_end), page.begin() + header_start);

  uint64_t low = ram_below_hole(request.ram_size);
  auto extended_kib = static_cast<uint32_t>((low - std::min(low, physical::one_mib)) >> 10);
  poke<uint16_t>(page, 0x002, static_cast<uint16_t>(std::min<uint32_t>(extended_kib, 0xfc00)));  // ext_mem_k
  poke<uint64_t>(page, 0x070, request.rsdp);                                                     // acpi_rsdp_addr
  poke<uint32_t>(page, 0x1e0, extended_kib);                                                     // alt_mem_k
  poke<uint16_t>(page, 0x1fa, 0xffff);                                                           // vid_mode: as it is
  poke<uint8_t>(page, 0x210, 0xff);                                                              // type_of_loader: no number
  poke<uint32_t>(page, 0x214, load_address);                                                     // code32_start
  poke<uint32_t>(page, 0x218, static_cast<uint32_t>(initrd));                                    // ramdisk_image
  if (initrd) poke<uint32_t>(page, 0x21c, static_cast<uint32_t>(request.modules[0].bytes.size()));
  poke<uint32_t>(page, 0x228, boot_layout::command_line);  // cmd_line_ptr

  std::vector<MemoryRange> map = memory_map(request.ram_size);
  page[0x1e8] = static_cast<uint8_t>(map.size());
  size_t at = 0x2d0;
  for (const MemoryRange& range : map) {
    poke<uint64_t>(page, at, range.first);
    poke<uint64_t>(page, at + 8, range.size);
    poke<uint32_t>(page, at + 16, static_cast<uint32_t>(range.type));
    at += 20;
  }
  return page;
}

}  // namespace

bool is_linux(ByteSpan file) { return peek<uint32_t>(file, 0x202) == header_magic && peek<uint16_t>(file, 0x1fe) == 0xaa55; }

std::string load_linux(const BootRequest& request, GuestMemory& memory, BootEntry& entry) {
  const BootFile& kernel = request.kernel;
  LinuxHeader header(kernel.bytes);
  if (std::string refusal = check(header, request); !refusal.empty()) return refusal;

  uint64_t ram = ram_below_hole(request.ram_size);
  uint64_t start = header.runtime_start();
  uint64_t size = std::max<uint64_t>(header.init_size, header.payload_size);
  if (start > ram || size > ram - start || header.payload_size > ram - load_address)
    return the_file("kernel", kernel.name) + " needs " + grouped(size) + " bytes from address " + grouped(start) +
           ", and the machine has " + memory_size(request.ram_size) + " of RAM" + cure::more_memory;
  ByteSpan payload = kernel.bytes.subspan(header.payload_offset, header.payload_size);
  uint64_t kernel_end = std::max(start + size, load_address + header.payload_size);

  uint64_t initrd = 0;
  if (!request.modules.empty() && !request.modules[0].bytes.empty()) {
    const BootFile& disk = request.modules[0];
    initrd = place_below(std::min<uint64_t>(ram, uint64_t{header.initrd_addr_max} + 1), kernel_end, disk.bytes.size());
    if (initrd == 0)
      return the_file("initrd", disk.name) + " (" + grouped(disk.bytes.size()) + " bytes) does not fit beside the kernel into " +
             memory_size(request.ram_size) + " of RAM" + cure::more_memory;
    if (!memory.write(initrd, disk.bytes.data(), disk.bytes.size())) return not_writable(the_file("initrd", disk.name));
  }

  std::string refusal = write_command_line(request.command_line, header.cmdline_size, memory);
  if (!refusal.empty()) return refusal;
  std::vector<uint8_t> page = zero_page(request, initrd);
  if (!memory.write(boot_layout::tables, page.data(), page.size()) || !memory.write(load_address, payload.data(), payload.size()))
    return not_writable(the_file("kernel", kernel.name));

  entry = {};
  write_descriptors(memory, entry, header.is_64 ? BootEntry::Mode::long64 : BootEntry::Mode::protected32);
  if (header.is_64) write_identity_page_tables(memory, entry);
  entry.rip = load_address + (header.is_64 ? entry_64 : 0);
  entry.rsi = boot_layout::tables;
  return {};
}

}  // namespace matryoshka
