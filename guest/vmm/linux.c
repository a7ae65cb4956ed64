// Booting Linux by its own protocol, at the 64-bit entry point: "The Linux/x86 Boot Protocol" in the kernel's documentation. No
// firmware runs and no mode is ever switched, so the first instruction of the guest is already the kernel's.
#include <elf.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vmm.h"

// The parts of the zero page that are used here.
enum {
  ACPI_ROOT = 0x070,
  MAP_ENTRIES = 0x1e8,
  SETUP_HEADER = 0x1f1,
  SETUP_SECTORS = 0x1f1,
  BOOT_FLAG = 0x1fe,
  HEADER_END = 0x201,  // a byte: how much of the header follows 0x202
  MAGIC = 0x202,
  PROTOCOL = 0x206,
  LOADER_TYPE = 0x210,
  RAMDISK_AT = 0x218,
  RAMDISK_SIZE = 0x21c,
  COMMAND_LINE = 0x228,
  RAMDISK_TOP = 0x22c,
  LOAD_FLAGS_64 = 0x236,
  PREFERRED_AT = 0x258,
  ROOM_WANTED = 0x260,
  MAP = 0x2d0,
};

static uint16_t get16(const uint8_t* at) { return at[0] | at[1] << 8; }
static uint32_t get32(const uint8_t* at) { return get16(at) | (uint32_t)get16(at + 2) << 16; }
static uint64_t get64(const uint8_t* at) { return get32(at) | (uint64_t)get32(at + 4) << 32; }
static void put32(uint8_t* at, uint32_t value) { memcpy(at, &value, 4); }
static void put64(uint8_t* at, uint64_t value) { memcpy(at, &value, 8); }

static void load(uint64_t address, uint64_t room, const void* bytes, uint64_t size) {
  uint8_t* place = address < PROGRAM_AT ? NULL : guest_memory(address, room);
  if (!place || size > room) {
    fail("the kernel wants memory up to %" PRIu64 " MB, and the guest has %" PRIu64 " MB. Give it more with --memory.",
         ((address + room) >> 20) + 1, machine.memory_size >> 20);
  }
  memcpy(place, bytes, size);
}

struct loaded {
  uint64_t entry, end;
};

// A bzImage: sectors of real-mode code, which we do not need, then the kernel with its unpacker.
static struct loaded load_image(const uint8_t* image, size_t size, uint8_t* params) {
  enum { PROTOCOL_WITH_64 = 0x20c, HAS_ENTRY_64 = 1, ENTRY_64 = 0x200 };
  if (get16(image + PROTOCOL) < PROTOCOL_WITH_64 || !(get16(image + LOAD_FLAGS_64) & HAS_ENTRY_64)) {
    fail("%s has no 64-bit entry point: it is older than Linux 3.8, or a 32-bit kernel.", options.kernel);
  }
  size_t header = 2 + image[HEADER_END] + MAGIC - 2 - SETUP_HEADER;
  memcpy(params + SETUP_HEADER, image + SETUP_HEADER, header);
  size_t skip = ((image[SETUP_SECTORS] ? image[SETUP_SECTORS] : 4) + 1) * 512;
  if (skip >= size) fail("%s ends before the kernel in it begins.", options.kernel);
  uint64_t at = get64(image + PREFERRED_AT), room = get32(image + ROOM_WANTED);
  if (room < size - skip) room = size - skip;
  load(at, room, image + skip, size - skip);
  return (struct loaded){at + ENTRY_64, at + room};
}

// A vmlinux: segments that go where the file says. There is nothing to unpack.
static struct loaded load_elf(const uint8_t* image, size_t size, uint8_t* params) {
  Elf64_Ehdr header;
  memcpy(&header, image, sizeof header);
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64)
    fail("%s is not a 64-bit x86 kernel.", options.kernel);
  struct loaded result = {header.e_entry, 0};
  for (int i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    if (header.e_phoff > size || size - header.e_phoff < (i + 1) * sizeof segment)
      fail("%s ends within its program headers.", options.kernel);
    memcpy(&segment, image + header.e_phoff + i * sizeof segment, sizeof segment);
    if (segment.p_type != PT_LOAD) continue;
    if (segment.p_offset > size || size - segment.p_offset < segment.p_filesz) fail("%s ends within a segment.", options.kernel);
    load(segment.p_paddr, segment.p_memsz, image + segment.p_offset, segment.p_filesz);
    if (result.end < segment.p_paddr + segment.p_memsz) result.end = segment.p_paddr + segment.p_memsz;
  }
  if (!result.end) fail("%s has nothing to load.", options.kernel);
  memcpy(params + MAGIC, "HdrS", 4);
  params[BOOT_FLAG] = 0x55, params[BOOT_FLAG + 1] = 0xaa;
  params[PROTOCOL] = 0x0f, params[PROTOCOL + 1] = 0x02;
  return result;
}

static void add_range(uint8_t* params, uint64_t begin, uint64_t end) {
  enum { ENTRY = 20, USABLE = 1 };
  uint8_t* entry = params + MAP + params[MAP_ENTRIES]++ * ENTRY;
  put64(entry, begin);
  put64(entry + 8, end - begin);
  put32(entry + 16, USABLE);
}

static void load_ramdisk(uint8_t* params, uint64_t kernel_end) {
  size_t size;
  void* bytes = read_file(options.initrd, &size);
  // As high as it may be: the kernel unpacks from there into what it frees below.
  uint64_t place = (machine.memory_size - size) & ~UINT64_C(0xfff);
  if (size > machine.memory_size || place < kernel_end) {
    fail("kernel and %s do not fit into %" PRIu64 " MB. Give the guest more with --memory.", options.initrd,
         machine.memory_size >> 20);
  }
  memcpy(machine.memory + place, bytes, size);
  free(bytes);
  put32(params + RAMDISK_AT, place);
  put32(params + RAMDISK_SIZE, size);
}

static void write_command_line(void) {
  char* line = guest_memory(COMMAND_LINE_AT, COMMAND_LINE_SIZE);
  size_t used =
      snprintf(line, COMMAND_LINE_SIZE, "console=%s quiet pci=noearly layer=%d", options.serial ? "ttyS0" : "hvc0", layer() + 1);
  for (int i = 0; i < device_count; ++i) {
    used += snprintf(line + used, COMMAND_LINE_SIZE - used, " virtio_mmio.device=4K@0x%" PRIx64 ":%d",
                     VIRTIO_AT + i * VIRTIO_STRIDE, devices[i].line);
  }
  used += snprintf(line + used, COMMAND_LINE_SIZE - used, " %s", options.append);
  if (used >= COMMAND_LINE_SIZE)
    fail("the text of --append is too long: a command line has at most %d characters.", COMMAND_LINE_SIZE - 1);
}

static void enter_64(uint64_t entry) {
  identity_pages();
  // The protocol asks for these selectors: 10h for code, 18h for data.
  uint64_t* table = guest_memory(GDT_AT, 32);
  table[2] = UINT64_C(0x00af9b000000ffff);
  table[3] = UINT64_C(0x00cf93000000ffff);
  struct kvm_sregs s = get_system_registers();
  struct kvm_segment flat = {.limit = 0xffffffff, .selector = 0x18, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1};
  s.ds = s.es = s.fs = s.gs = s.ss = flat;
  s.cs = flat;
  s.cs.selector = 0x10, s.cs.type = 11, s.cs.l = 1, s.cs.db = 0;
  s.gdt.base = GDT_AT, s.gdt.limit = 31;
  s.cr3 = PAGE_TABLES_AT;
  s.cr4 = 0x20;        // PAE
  s.efer = 0x500;      // LME, LMA
  s.cr0 = 0x80000011;  // PG, ET, PE
  set_system_registers(&s);
  set_registers(&(struct kvm_regs){.rip = entry, .rsi = BOOT_PARAMS_AT, .rflags = 2});
}

void linux_load(void) {
  size_t size;
  uint8_t* image = read_file(options.kernel, &size);
  if (machine.memory_size < 8 << 20)
    fail("Linux does not fit into %" PRIu64 " MB. Give it more with --memory.", machine.memory_size >> 20);
  uint8_t* params = guest_memory(BOOT_PARAMS_AT, 4096);
  struct loaded kernel;
  if (size >= 0x400 && memcmp(image + MAGIC, "HdrS", 4) == 0) {
    kernel = load_image(image, size, params);
  } else if (size >= sizeof(Elf64_Ehdr) && memcmp(image, ELFMAG, SELFMAG) == 0) {
    kernel = load_elf(image, size, params);
  } else {
    fail("%s is neither a bzImage nor a vmlinux.", options.kernel);
  }
  free(image);
  params[LOADER_TYPE] = 0xff;
  add_range(params, 0, 0x9fc00);
  add_range(params, PROGRAM_AT, machine.memory_size);
  put32(params + COMMAND_LINE, COMMAND_LINE_AT);
  put64(params + ACPI_ROOT, acpi_write());
  if (options.initrd) load_ramdisk(params, kernel.end);
  write_command_line();
  enter_64(kernel.entry);
}
