// How a guest comes to stand in memory without firmware: what every loader takes and gives.
//
// The files are the user's and nothing in them is believed. A loader checks a header before it follows it, refuses in one
// sentence that names the file, the cause and the cure, and then the machine is not started. A loader that succeeds has written
// guest memory and described the processor's state at the guest's first instruction.
//
//   0x01000  descriptor table                      } the loader's own low memory, free
//   0x02000  page tables of the 64-bit entry       } for the guest once it has read
//   0x10000  the tables that describe the machine  } what it wants
//   0x20000  the command line, at most 64 KiB      }
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "devices/bus/bus.h"
#include "devices/bus/bytes.h"

namespace matryoshka {

namespace boot_layout {
constexpr uint64_t descriptors = 0x1000, page_tables = 0x2000, tables = 0x10000, command_line = 0x20000, end = 0x30000;
}

// A file that the user named, already read.
struct BootFile {
  std::string name;
  ByteSpan bytes;
  std::string arguments = {};  // of a module
};

struct BootRequest {
  BootFile kernel;
  std::vector<BootFile> modules;  // for Linux the initial RAM disk and nothing else
  std::string command_line;
  uint64_t ram_size = 0;
  bool long_mode = true;  // the processor model has it
  uint64_t rsdp = 0;      // where the ACPI tables begin
};

// The processor at the guest's first instruction; what is not said here is as after reset. Interrupts are off.
struct BootEntry {
  enum class Mode {
    real,         // the reset state: CS F000 with base FFFF0000h, IP FFF0h
    protected32,  // flat segments, paging off
    long64,       // flat segments, identity mapping of the first 4 GiB
  };
  Mode mode = Mode::real;
  uint64_t rip = 0xfff0;
  uint64_t rax = 0, rbx = 0, rsi = 0;
  uint64_t cr3 = 0;
  uint64_t descriptors = 0;  // the GDT that holds the selectors below
  uint16_t descriptors_limit = 0;
  uint16_t code = 0, data = 0, task = 0;  // task: a busy 32-bit TSS, for those who look
};

// Each answers with the sentence of refusal, or nothing when all is in place.
[[nodiscard]] std::string load_linux(const BootRequest& request, GuestMemory& memory, BootEntry& entry);
[[nodiscard]] std::string load_pvh(const BootRequest& request, GuestMemory& memory, BootEntry& entry);
[[nodiscard]] std::string load_multiboot(const BootRequest& request, GuestMemory& memory, BootEntry& entry);
// Whichever of them knows the file.
[[nodiscard]] std::string load_kernel(const BootRequest& request, GuestMemory& memory, BootEntry& entry);

bool is_linux(ByteSpan file);
bool is_pvh(ByteSpan file);
bool is_multiboot(ByteSpan file);

// "file args,file args" as QEMU's -initrd takes modules: a doubled comma is a comma. The bytes are the caller's to read.
std::vector<BootFile> parse_modules(std::string_view option);

// A refusal reads: which file, what is wrong with it, what helps. These are its beginning and its usual ends.
std::string the_file(const char* role, const std::string& name);  // "The kernel 'bzImage64'"
std::string not_writable(const std::string& subject);
std::string modules_too_long();
namespace cure {
constexpr const char* copy_again = "; copy or build it again.";
constexpr const char* more_memory = "; give the machine more memory (-m).";
constexpr const char* other_kernel = "; take another kernel.";
}  // namespace cure

// "4 805 632"
std::string grouped(uint64_t number);
// "16 MiB", "1 024 bytes"
std::string memory_size(uint64_t bytes);

// The steps that loaders share.
void write_descriptors(GuestMemory& memory, BootEntry& entry, BootEntry::Mode mode);
void write_identity_page_tables(GuestMemory& memory, BootEntry& entry);
[[nodiscard]] std::string write_command_line(const std::string& text, size_t limit, GuestMemory& memory);
// The highest page-aligned place for `size` bytes that ends at or below `ceiling` and starts at or above `floor`; 0 if none.
uint64_t place_below(uint64_t ceiling, uint64_t floor, uint64_t size);

}  // namespace matryoshka
