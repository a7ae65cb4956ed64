#include "devices/machine/boot.h"

#include <algorithm>

namespace matryoshka {

namespace {

// Flat segments as the SDM's "Segment Descriptors" lays them out, marked accessed so that loading them writes nothing.
constexpr uint64_t code64 = 0x00af9b000000ffff, code32 = 0x00cf9b000000ffff, data32 = 0x00cf93000000ffff,
                   busy_tss32 = 0x00008b0000000067;

}  // namespace

void write_descriptors(GuestMemory& memory, BootEntry& entry, BootEntry::Mode mode) {
  // Linux fixes the selectors of its own entry points: 10h for code and 18h for data.
  const uint64_t table[] = {0, 0, mode == BootEntry::Mode::long64 ? code64 : code32, data32, busy_tss32, 0};
  (void)memory.write(boot_layout::descriptors, table, sizeof table);
  entry.mode = mode;
  entry.descriptors = boot_layout::descriptors;
  entry.descriptors_limit = sizeof table - 1;
  entry.code = 0x10;
  entry.data = 0x18;
  entry.task = 0x20;
}

void write_identity_page_tables(GuestMemory& memory, BootEntry& entry) {
  constexpr uint64_t present_writable = 3, large = 0x80;
  constexpr unsigned gibibytes = 4;
  std::vector<uint64_t> tables(512 * (2 + gibibytes));
  uint64_t base = boot_layout::page_tables;
  tables[0] = (base + 0x1000) | present_writable;
  for (uint64_t i = 0; i < gibibytes; ++i) tables[512 + i] = (base + 0x2000 + 0x1000 * i) | present_writable;
  for (uint64_t i = 0; i < 512 * gibibytes; ++i) tables[1024 + i] = i << 21 | large | present_writable;
  (void)memory.write(base, tables.data(), tables.size() * sizeof tables[0]);
  entry.cr3 = base;
}

std::string write_command_line(const std::string& text, size_t limit, GuestMemory& memory) {
  limit = std::min<size_t>(limit, boot_layout::end - boot_layout::command_line - 1);
  if (text.size() > limit)
    return "The kernel command line has " + grouped(text.size()) + " characters, and this kernel takes at most " +
           grouped(limit) + "; shorten -append.";
  if (!memory.write(boot_layout::command_line, text.c_str(), text.size() + 1))
    return "The machine has too little RAM for the kernel command line; give it more memory (-m).";
  return {};
}

uint64_t place_below(uint64_t ceiling, uint64_t floor, uint64_t size) {
  if (size > ceiling) return 0;
  uint64_t address = align_down(ceiling - size, 0x1000);
  return address >= floor ? address : 0;
}

std::string load_kernel(const BootRequest& request, GuestMemory& memory, BootEntry& entry) {
  ByteSpan file = request.kernel.bytes;
  if (is_multiboot(file)) return load_multiboot(request, memory, entry);
  if (is_pvh(file)) return load_pvh(request, memory, entry);
  if (is_linux(file)) return load_linux(request, memory, entry);
  return the_file("kernel", request.kernel.name) +
         " is not one that this machine can load: it has no Linux boot header, no Multiboot header, and is no ELF file with a "
         "PVH entry note; take a bzImage, a vmlinux or a Multiboot image, or start a ROM with -bios.";
}

std::string the_file(const char* role, const std::string& name) { return std::string("The ") + role + " '" + name + "'"; }

std::string not_writable(const std::string& subject) { return subject + " cannot be written to guest RAM" + cure::more_memory; }

std::string modules_too_long() {
  return "The modules' names and arguments are too long for the tables that pass them on; shorten them in -initrd.";
}

std::vector<BootFile> parse_modules(std::string_view option) {
  std::vector<BootFile> modules;
  std::string item;
  auto finish = [&] {
    size_t space = item.find(' ');
    BootFile module{item.substr(0, space), {}};
    if (space != std::string::npos) module.arguments = item.substr(space + 1);
    if (!module.name.empty()) modules.push_back(std::move(module));
    item.clear();
  };
  for (size_t i = 0; i < option.size(); ++i) {
    if (option[i] != ',') {
      item += option[i];
    } else if (i + 1 < option.size() && option[i + 1] == ',') {
      item += option[++i];
    } else {
      finish();
    }
  }
  finish();
  return modules;
}

std::string grouped(uint64_t number) {
  std::string digits = std::to_string(number);
  for (size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, " ");
  return digits;
}

std::string memory_size(uint64_t bytes) {
  constexpr uint64_t mib = 1 << 20;
  return bytes % mib == 0 ? grouped(bytes / mib) + " MiB" : grouped(bytes) + " bytes";
}

}  // namespace matryoshka
