#include "devices/machine/boot_tables.h"
#include "tests/boot_bench.h"

using namespace matryoshka;
using namespace matryoshka::bench;

namespace {

constexpr uint64_t zero_page = boot_layout::tables;

// Protocol 2.15, two setup sectors, a body of A5h, 64-bit entry, preferred address 1 MiB, as the Linux/x86 Boot Protocol
// lays it out.
std::vector<uint8_t> make_kernel(size_t body = 8192) {
  std::vector<uint8_t> file(3 * 512 + body, 0xa5);
  std::fill(file.begin(), file.begin() + 3 * 512, uint8_t{0});
  file[0x1f1] = 2;
  poke<uint32_t>(file, 0x1f4, static_cast<uint32_t>(body / 16));
  poke<uint16_t>(file, 0x1fe, 0xaa55);
  file[0x200] = 0xeb;
  file[0x201] = 0x6a;
  std::memcpy(&file[0x202], "HdrS", 4);
  poke<uint16_t>(file, 0x206, 0x020f);
  file[0x211] = 1;
  poke<uint32_t>(file, 0x22c, 0x7fffffff);
  poke<uint32_t>(file, 0x230, 0x100000);
  file[0x234] = 1;
  poke<uint16_t>(file, 0x236, 0x0001);
  poke<uint32_t>(file, 0x238, 2047);
  poke<uint64_t>(file, 0x258, 0x100000);
  poke<uint32_t>(file, 0x260, 0x200000);
  return file;
}

}  // namespace

TEST_CASE("boot linux: the 64-bit entry lies 200h behind the kernel's start") {
  BootBench bench;
  REQUIRE(bench.load(make_kernel()) == "");
  CHECK(bench.entry.mode == BootEntry::Mode::long64);
  CHECK(bench.entry.rip == 0x100200);
  CHECK(bench.entry.rsi == zero_page);
  CHECK(bench.get<uint8_t>(0x100000) == 0xa5);
}

TEST_CASE("boot linux: the 64-bit entry has an identity mapping of 4 GiB") {
  BootBench bench;
  REQUIRE(bench.load(make_kernel()) == "");
  auto pml4 = bench.get<uint64_t>(bench.entry.cr3);
  auto pdpt = bench.get<uint64_t>((pml4 & ~0xfffull) + 3 * 8);
  CHECK(bench.get<uint64_t>((pdpt & ~0xfffull) + 511 * 8) == (0xffe00000 | 0x83));
}

TEST_CASE("boot linux: the selectors are 10h and 18h") {
  BootBench bench;
  REQUIRE(bench.load(make_kernel()) == "");
  CHECK(bench.entry.code == 0x10);
  CHECK(bench.entry.data == 0x18);
  CHECK(bench.get<uint64_t>(bench.entry.descriptors + 0x10) == 0x00af9b000000ffff);
  CHECK(bench.get<uint64_t>(bench.entry.descriptors + 0x18) == 0x00cf93000000ffff);
}

TEST_CASE("boot linux: a kernel without a 64-bit entry starts in 32-bit mode") {
  BootBench bench;
  auto kernel = make_kernel();
  kernel[0x236] = 0;
  REQUIRE(bench.load(kernel) == "");
  CHECK(bench.entry.mode == BootEntry::Mode::protected32);
  CHECK(bench.entry.rip == 0x100000);
  CHECK(bench.get<uint64_t>(bench.entry.descriptors + 0x10) == 0x00cf9b000000ffff);
}

TEST_CASE("boot linux: the zero page has the setup header, the command line and the memory map") {
  BootBench bench;
  bench.request.command_line = "console=ttyS0 quiet";
  bench.request.rsdp = rsdp_address;
  REQUIRE(bench.load(make_kernel()) == "");
  CHECK(bench.get<uint32_t>(zero_page + 0x202) == 0x53726448);
  CHECK(bench.get<uint8_t>(zero_page + 0x210) == 0xff);
  CHECK(bench.text(bench.get<uint32_t>(zero_page + 0x228)) == "console=ttyS0 quiet");
  CHECK(bench.get<uint64_t>(zero_page + 0x070) == 0xf0000);
  REQUIRE(bench.get<uint8_t>(zero_page + 0x1e8) == 4);
  CHECK(bench.get<uint64_t>(zero_page + 0x2d0 + 8) == 0x9fc00);
  CHECK(bench.get<uint64_t>(zero_page + 0x2d0 + 60) == 0x100000);
  CHECK(bench.get<uint64_t>(zero_page + 0x2d0 + 68) == 31 * mebibyte);
}

TEST_CASE("boot linux: the initial RAM disk lies at the top of memory") {
  BootBench bench;
  bench.module("initrd", 5000, 0x77);
  REQUIRE(bench.load(make_kernel()) == "");
  CHECK(bench.get<uint32_t>(zero_page + 0x218) == 32 * mebibyte - 0x2000);
  CHECK(bench.get<uint32_t>(zero_page + 0x21c) == 5000);
  CHECK(bench.get<uint8_t>(32 * mebibyte - 0x2000 + 4999) == 0x77);
}

TEST_CASE("boot linux: the initial RAM disk stays below the address the kernel allows") {
  BootBench bench;
  bench.module("initrd", 5000, 0x77);
  auto kernel = make_kernel();
  poke<uint32_t>(kernel, 0x22c, 16 * mebibyte - 1);
  REQUIRE(bench.load(kernel) == "");
  CHECK(bench.get<uint32_t>(zero_page + 0x218) == 16 * mebibyte - 0x2000);
}

TEST_CASE("boot linux: the last paragraph of sixteen bytes may be incomplete") {
  BootBench bench;
  auto kernel = make_kernel();
  kernel.resize(kernel.size() - 15);
  CHECK(bench.load(kernel) == "");
  kernel.resize(kernel.size() - 1);
  CHECK_FALSE(bench.load(kernel) == "");
}

TEST_CASE("boot linux: refusals name the file and the cause") {
  BootBench bench(16 * mebibyte);
  auto kernel = make_kernel();

  SECTION("truncated") {
    kernel.resize(2000);
    CHECK(bench.load(kernel, "bzImage64") ==
          "The kernel 'bzImage64' is truncated: the header asks for 9 728 bytes, the file has 2 000; copy or build it again.");
  }
  SECTION("no kernel at all") {
    CHECK(bench.load(std::vector<uint8_t>(5000), "notes.txt")
              .starts_with("The kernel 'notes.txt' is not one that this machine can load"));
  }
  SECTION("too large for RAM") {
    poke<uint32_t>(kernel, 0x260, 15 * mebibyte + 1);
    CHECK(bench.load(kernel) ==
          "The kernel 'kernel' needs 15 728 641 bytes from address 1 048 576, and the machine has 16 MiB of RAM; give the "
          "machine more memory (-m).");
  }
  SECTION("an initial RAM disk that does not fit") {
    bench.module("initrd.lz4", 13 * mebibyte + 1, 0);
    CHECK(bench.load(kernel) ==
          "The initrd 'initrd.lz4' (13 631 489 bytes) does not fit beside the kernel into 16 MiB of RAM; give the machine more "
          "memory (-m).");
  }
  SECTION("no long mode") {
    bench.request.long_mode = false;
    CHECK(bench.load(kernel) ==
          "The kernel 'kernel' has 64 bits, and the chosen processor has no long mode; choose another one with -cpu, or a 32-bit "
          "kernel.");
  }
  SECTION("a zImage") {
    kernel[0x211] = 0;
    CHECK(bench.load(kernel) == "The kernel 'kernel' is a zImage, which only a BIOS can start; build it as a bzImage.");
  }
  SECTION("an alignment that is none") {
    poke<uint32_t>(kernel, 0x230, 3);
    CHECK(bench.load(kernel) ==
          "The kernel 'kernel' is damaged: its header asks for an alignment of 3 bytes, which is not a power of two; copy or "
          "build it again.");
  }
  SECTION("a command line that is too long") {
    bench.request.command_line.assign(2048, 'x');
    CHECK(bench.load(kernel) ==
          "The kernel command line has 2 048 characters, and this kernel takes at most 2 047; shorten -append.");
  }
  SECTION("two initial RAM disks") {
    bench.module("a", 1, 0);
    bench.module("b", 1, 0);
    CHECK(bench.load(kernel) ==
          "The kernel 'kernel' is Linux, which takes one initial RAM disk, and 2 were given; give -initrd one file (a comma in "
          "its name is written twice).");
  }
}

TEST_CASE("boot linux: a kernel that prefers a high address needs RAM there") {
  BootBench bench(16 * mebibyte);
  auto kernel = make_kernel();
  for (uint64_t address : {uint64_t{0x1000000}, uint64_t{1} << 40, ~uint64_t{0}}) {
    poke<uint64_t>(kernel, 0x258, address);
    CHECK_FALSE(bench.load(kernel).empty());
  }
}

TEST_CASE("boot linux: damaged kernels are refused or harmless") { damage(make_kernel(2048), 0x268); }

TEST_CASE("boot linux: a machine with next to no RAM is refused") {
  for (size_t ram : {size_t{0}, size_t{4096}, mebibyte, mebibyte + 4096}) {
    BootBench bench(ram);
    CHECK_FALSE(bench.load(make_kernel()).empty());
  }
}

TEST_CASE("boot: the tables lie where kernels look for them") {
  BootBench bench(2 * mebibyte);
  REQUIRE(place_tables(AcpiTables({}), SmbiosTables({1, 2 * mebibyte}), bench.memory) == "");
  CHECK(bench.get<uint64_t>(rsdp_address) == 0x2052545020445352);  // "RSD PTR "
  CHECK(bench.get<uint32_t>(0xf0040) == 0x5f4d535f);               // "_SM_"
  CHECK(bench.get<uint32_t>(0xe0000) == 0x53434146);               // "FACS"
}

TEST_CASE("boot: the BIOS data area tells where conventional memory ends") {
  BootBench bench(2 * mebibyte);
  REQUIRE(place_tables(AcpiTables({}), SmbiosTables({1, 2 * mebibyte}), bench.memory) == "");
  CHECK(bench.get<uint16_t>(0x40e) == 0x9fc0);
  CHECK(bench.get<uint16_t>(0x413) == 639);
}

TEST_CASE("boot: modules are given as file and arguments, with doubled commas for commas") {
  auto modules = parse_modules("a.bin x=1 y,b,,c.bin,,d");
  REQUIRE(modules.size() == 2);
  CHECK(modules[0].name == "a.bin");
  CHECK(modules[0].arguments == "x=1 y");
  CHECK(modules[1].name == "b,c.bin,d");
  CHECK(parse_modules("").empty());
}

TEST_CASE("boot: numbers are grouped in threes") {
  CHECK(grouped(0) == "0");
  CHECK(grouped(999) == "999");
  CHECK(grouped(1000) == "1 000");
  CHECK(grouped(4805632) == "4 805 632");
}
