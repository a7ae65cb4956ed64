#include "tests/boot_bench.h"

using namespace matryoshka;
using namespace matryoshka::bench;

namespace {

constexpr uint64_t start_info = boot_layout::tables;
constexpr size_t headers = 64 + 2 * 56 + 24;

// An ELF64 file with a note that asks for entry at 100010h and one segment of 600 bytes, loaded at 1 MiB with 1 000 bytes of
// memory.
std::vector<uint8_t> make_kernel() {
  std::vector<uint8_t> file(headers + 600, 0x5a);
  std::fill(file.begin(), file.begin() + headers, uint8_t{0});
  std::memcpy(file.data(),
              "\x7f"
              "ELF\2\1\1",
              7);
  poke<uint16_t>(file, 16, 2);
  poke<uint16_t>(file, 18, 62);
  poke<uint64_t>(file, 24, 0x100000);
  poke<uint64_t>(file, 32, 64);
  poke<uint16_t>(file, 54, 56);
  poke<uint16_t>(file, 56, 2);
  auto segment = [&](size_t at, uint32_t type, uint64_t offset, uint64_t address, uint64_t size, uint64_t memory) {
    poke<uint32_t>(file, at, type);
    poke<uint64_t>(file, at + 8, offset);
    poke<uint64_t>(file, at + 24, address);
    poke<uint64_t>(file, at + 32, size);
    poke<uint64_t>(file, at + 40, memory);
  };
  segment(64, 1, headers, 0x100000, 600, 1000);
  segment(120, 4, 176, 0, 20, 20);
  poke<uint32_t>(file, 176, 4);
  poke<uint32_t>(file, 180, 4);
  poke<uint32_t>(file, 184, 18);
  std::memcpy(&file[188], "Xen", 4);
  poke<uint32_t>(file, 192, 0x100010);
  return file;
}

}  // namespace

TEST_CASE("boot pvh: the note's address is entered in 32-bit mode with EBX at the start info") {
  BootBench bench;
  REQUIRE(bench.load(make_kernel()) == "");
  CHECK(bench.entry.mode == BootEntry::Mode::protected32);
  CHECK(bench.entry.rip == 0x100010);
  CHECK(bench.entry.rbx == start_info);
  CHECK(bench.get<uint32_t>(start_info) == 0x336ec578);
}

TEST_CASE("boot pvh: segments are copied and the rest of their memory cleared") {
  BootBench bench;
  std::fill(bench.memory.data.begin(), bench.memory.data.end(), uint8_t{0xcc});
  REQUIRE(bench.load(make_kernel()) == "");
  CHECK(bench.get<uint8_t>(0x100000 + 599) == 0x5a);
  CHECK(bench.get<uint8_t>(0x100000 + 600) == 0);
  CHECK(bench.get<uint8_t>(0x100000 + 999) == 0);
  CHECK(bench.get<uint8_t>(0x100000 + 1000) == 0xcc);
}

TEST_CASE("boot pvh: the start info has command line, modules, RSDP and memory map") {
  BootBench bench;
  bench.request.command_line = "quiet";
  bench.request.rsdp = 0xf0000;
  bench.module("initrd", 5000, 0x77, "one two");
  REQUIRE(bench.load(make_kernel()) == "");
  CHECK(bench.get<uint32_t>(start_info + 12) == 1);
  auto list = bench.get<uint64_t>(start_info + 16);
  CHECK(bench.get<uint64_t>(list) == 32 * mebibyte - 0x2000);
  CHECK(bench.get<uint64_t>(list + 8) == 5000);
  CHECK(bench.text(bench.get<uint64_t>(list + 16)) == "one two");
  CHECK(bench.text(bench.get<uint64_t>(start_info + 24)) == "quiet");
  CHECK(bench.get<uint64_t>(start_info + 32) == 0xf0000);
  CHECK(bench.get<uint32_t>(start_info + 48) == 4);
  CHECK(bench.get<uint64_t>(bench.get<uint64_t>(start_info + 40) + 8) == 0x9fc00);
}

TEST_CASE("boot pvh: refusals name the file and the cause") {
  BootBench bench;
  auto kernel = make_kernel();
  SECTION("truncated") {
    kernel.resize(headers + 100);
    CHECK(bench.load(kernel, "vmlinux") ==
          "The kernel 'vmlinux' is truncated: a segment asks for 600 bytes from 200, the file has 300; copy or build it again.");
  }
  SECTION("a segment over the loader's tables") {
    poke<uint64_t>(kernel, 64 + 24, 0x1000);
    CHECK(bench.load(kernel) ==
          "The kernel 'kernel' wants 1 000 bytes at address 4 096, where the boot loader keeps its own tables; link it at 1 MiB "
          "or above.");
  }
  SECTION("a segment over the video memory") {
    poke<uint64_t>(kernel, 64 + 24, 0xa0000);
    CHECK(bench.load(kernel) ==
          "The kernel 'kernel' wants 1 000 bytes at address 655 360, where there is no RAM for it; link it at 1 MiB or above.");
  }
  SECTION("a segment beyond RAM") {
    poke<uint64_t>(kernel, 64 + 24, 32 * mebibyte - 999);
    CHECK(bench.load(kernel) ==
          "The kernel 'kernel' wants 1 000 bytes at address 33 553 433, and the machine has 32 MiB of RAM; give the machine more "
          "memory (-m).");
  }
  SECTION("an entry outside") {
    poke<uint32_t>(kernel, 192, 0x200000);
    CHECK(bench.load(kernel) ==
          "The kernel 'kernel' is damaged: its PVH entry lies outside what it loads; copy or build it again.");
  }
  SECTION("another processor") {
    poke<uint16_t>(kernel, 18, 183);
    CHECK(bench.load(kernel) == "The kernel 'kernel' is an ELF file for another processor than x86; take another kernel.");
  }
}

TEST_CASE("boot pvh: segments that overlap over and over are refused soon") {
  constexpr size_t count = 200;
  std::vector<uint8_t> file = make_kernel();
  std::vector<uint8_t> header(file.begin() + 64, file.begin() + 120);
  poke<uint64_t>(header, 40, 31 * mebibyte);
  poke<uint64_t>(file, 32, file.size());
  poke<uint16_t>(file, 56, count);
  append(file, ByteSpan(file).subspan(120, 56));
  for (size_t i = 1; i < count; ++i) append(file, header);
  BootBench bench;
  CHECK(bench.load(file) == "The kernel 'kernel' is damaged: its segments overlap; copy or build it again.");
}

TEST_CASE("boot pvh: damaged kernels are refused or harmless") { damage(make_kernel(), headers); }
