#include "mmu/memory.h"
#include "tests/boot_bench.h"

using namespace matryoshka;
using namespace matryoshka::bench;

namespace {

constexpr uint64_t info = boot_layout::tables;
constexpr size_t headers = 52 + 32 + 32;

void put_header(std::vector<uint8_t>& file, size_t at, uint32_t flags) {
  poke<uint32_t>(file, at, 0x1badb002);
  poke<uint32_t>(file, at + 4, flags);
  poke<uint32_t>(file, at + 8, 0u - 0x1badb002 - flags);
}

// An ELF32 file: the Multiboot header behind the program header, one segment of the whole file at 1 MiB.
std::vector<uint8_t> make_elf() {
  std::vector<uint8_t> file(headers + 300, 0x5a);
  std::fill(file.begin(), file.begin() + headers, uint8_t{0});
  std::memcpy(file.data(),
              "\x7f"
              "ELF\1\1\1",
              7);
  poke<uint16_t>(file, 16, 2);
  poke<uint16_t>(file, 18, 3);
  poke<uint32_t>(file, 24, 0x100080);
  poke<uint32_t>(file, 28, 52);
  poke<uint16_t>(file, 42, 32);
  poke<uint16_t>(file, 44, 1);
  for (uint32_t field = 0; uint32_t value : {1u, 0u, 0x100000u, 0x100000u, uint32_t(headers + 300), 0x1000u, 7u, 4u})
    poke<uint32_t>(file, 52 + 4 * field++, value);
  put_header(file, 84, 3);
  return file;
}

// No format but the addresses in the header: 256 bytes to 2 MiB, the header 16 bytes into them, 4 KiB of memory.
std::vector<uint8_t> make_kludge() {
  std::vector<uint8_t> file(32 + 256, 0x5a);
  put_header(file, 48, 0x10003);
  for (size_t at = 60; uint32_t value : {0x200010u, 0x200000u, 0x200100u, 0x201000u, 0x200040u}) {
    poke<uint32_t>(file, at, value);
    at += 4;
  }
  return file;
}

}  // namespace

TEST_CASE("boot multiboot: an ELF kernel is entered with the magic number and the information") {
  BootBench bench;
  REQUIRE(bench.load(make_elf()) == "");
  CHECK(bench.entry.mode == BootEntry::Mode::protected32);
  CHECK(bench.entry.rip == 0x100080);
  CHECK(bench.entry.rax == 0x2badb002);
  CHECK(bench.entry.rbx == info);
  CHECK(bench.get<uint8_t>(0x100000 + headers) == 0x5a);
}

TEST_CASE("boot multiboot: the entry of a kernel linked high is found by its segment") {
  BootBench bench;
  auto kernel = make_elf();
  poke<uint32_t>(kernel, 60, 0xc0100000);
  poke<uint32_t>(kernel, 24, 0xc0100080);
  REQUIRE(bench.load(kernel) == "");
  CHECK(bench.entry.rip == 0x100080);
}

TEST_CASE("boot multiboot: addresses in the header take the place of a format") {
  BootBench bench;
  REQUIRE(bench.load(make_kludge()) == "");
  CHECK(bench.entry.rip == 0x200040);
  CHECK(bench.get<uint32_t>(0x200010) == 0x1badb002);
  CHECK(bench.get<uint8_t>(0x2000ff) == 0x5a);
  CHECK(bench.get<uint8_t>(0x200100) == 0);
}

TEST_CASE("boot multiboot: the information has memory, command line, map and name") {
  BootBench bench;
  bench.request.command_line = "smp=2";
  REQUIRE(bench.load(make_elf(), "vmx.flat") == "");
  CHECK(bench.get<uint32_t>(info) == 0x245);
  CHECK(bench.get<uint32_t>(info + 4) == 639);
  CHECK(bench.get<uint32_t>(info + 8) == 31 * 1024);
  CHECK(bench.text(bench.get<uint32_t>(info + 16)) == "vmx.flat smp=2");
  CHECK(bench.text(bench.get<uint32_t>(info + 64)) == "Matryoshka");
  CHECK(bench.get<uint32_t>(info + 44) == 4 * 24);
  auto map = bench.get<uint32_t>(info + 48);
  CHECK(bench.get<uint32_t>(map) == 20);
  CHECK(bench.get<uint64_t>(map + 3 * 24 + 4) == mebibyte);
  CHECK(bench.get<uint64_t>(map + 3 * 24 + 12) == 31 * mebibyte);
}

TEST_CASE("boot multiboot: modules lie on pages behind the kernel, each with its words") {
  BootBench bench;
  bench.module("env", 10, 1, "x y");
  bench.module("disk", 5000, 2);
  REQUIRE(bench.load(make_elf()) == "");
  CHECK((bench.get<uint32_t>(info) & 8) == 8);
  CHECK(bench.get<uint32_t>(info + 20) == 2);
  auto list = bench.get<uint32_t>(info + 24);
  CHECK(bench.get<uint32_t>(list) == 0x101000);
  CHECK(bench.get<uint32_t>(list + 4) == 0x10100a);
  CHECK(bench.text(bench.get<uint32_t>(list + 8)) == "env x y");
  CHECK(bench.get<uint32_t>(list + 16) == 0x102000);
  CHECK(bench.get<uint8_t>(0x102000 + 4999) == 2);
}

TEST_CASE("boot multiboot: refusals name the file and the cause") {
  BootBench bench;
  SECTION("a requirement that nobody knows") {
    auto kernel = make_elf();
    put_header(kernel, 84, 8);
    CHECK(bench.load(kernel) ==
          "The kernel 'kernel' requires a Multiboot feature that this loader does not know (flags 8); take another kernel.");
  }
  SECTION("truncated") {
    auto kernel = make_kludge();
    kernel.resize(200);
    CHECK(bench.load(kernel) ==
          "The kernel 'kernel' is truncated: the header asks for 288 bytes, the file has 200; copy or build it again.");
  }
  SECTION("a header that is not where it says") {
    auto kernel = make_kludge();
    poke<uint32_t>(kernel, 60, 0x200100);
    CHECK(
        bench.load(kernel) ==
        "The kernel 'kernel' is damaged: its Multiboot header places the header outside what is loaded; copy or build it again.");
  }
  SECTION("an image that ends before it begins") {
    auto kernel = make_kludge();
    poke<uint32_t>(kernel, 68, 0x1fffff);
    CHECK(bench.load(kernel) ==
          "The kernel 'kernel' is damaged: its Multiboot header ends the image before it begins; copy or build it again.");
  }
  SECTION("a module that does not fit") {
    bench.module("disk", 31 * mebibyte, 0);
    CHECK(bench.load(make_elf()) ==
          "The module 'disk' (32 505 856 bytes) does not fit behind the kernel into 32 MiB of RAM; give the machine more memory "
          "(-m).");
  }
}

TEST_CASE("boot multiboot: damaged kernels are refused or harmless") {
  damage(make_elf(), headers);
  damage(make_kludge(), 96);
}

TEST_CASE("boot multiboot: an entry below the kernel's end that is no RAM is refused") {
  std::vector<uint8_t> file = make_kludge();
  poke<uint32_t>(file, 76, 0xa0000);
  BootBench bench;
  Bus bus;
  PhysicalMemory memory(32 * mebibyte, bus);  // with a hole where a PC has its video memory
  bench.request.kernel = {"kernel", file};
  CHECK(load_kernel(bench.request, memory, bench.entry).find("its entry lies outside what it loads") != std::string::npos);
}
