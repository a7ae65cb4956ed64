// Guest-physical memory as a bus master sees it: all of a range or nothing.
#include <catch2/catch.hpp>

#include "mmu/memory.h"

using namespace matryoshka;

namespace {

constexpr uint64_t mib = 1 << 20;

struct Bench {
  explicit Bench(uint64_t ram = 4 * mib) : memory(ram, bus) {}
  bool write(uint64_t address, size_t size) {
    const std::vector<uint8_t> bytes(size, 0x5a);
    return memory.write(address, bytes.data(), size);
  }
  uint64_t byte(uint64_t address) const { return memory.load(address, 1); }
  Bus bus;
  PhysicalMemory memory;
};

struct WithRom : Bench {
  WithRom() { memory.set_rom(std::vector<uint8_t>(0x20000, 0x11)); }
};

}  // namespace

TEST_CASE("physical memory: A device writes RAM on both sides of the video window, and nothing across it", "[memory]") {
  struct Window final : BusTarget {
    uint64_t read(unsigned, uint64_t, unsigned) override { return ++touched, 0; }
    void write(unsigned, uint64_t, unsigned, uint64_t) override { ++touched; }
    unsigned touched = 0;
  } video;
  Bench b;
  b.bus.map_memory(0xa0000, 0x20000, video);
  const struct {
    uint64_t address;
    size_t size;
    bool goes;
  } cases[] = {
      {0x9fff0, 0x10, true}, {0x9fff0, 0x11, false}, {0x9f000, 0x21000, false}, {0x9f000, 0x40000, false}, {0xa0000, 1, false},
      {0xbffff, 1, false},   {0xbffff, 2, false},    {0xc0000, 0x10, true},     {0x9fff0, 3 * mib, false},
  };
  for (const auto& c : cases) {
    CAPTURE(c.address, c.size);
    CHECK(b.write(c.address, c.size) == c.goes);
    CHECK((b.byte(c.address) == 0x5a) == c.goes);
    const std::vector<uint8_t> zeroes(c.size);
    if (c.goes) REQUIRE(b.memory.write(c.address, zeroes.data(), c.size));
  }
  CHECK(b.byte(0xc0010) == 0);
  std::vector<uint8_t> into(0x21000, 0x77);
  CHECK_FALSE(b.memory.read(0x9f000, into.data(), into.size()));
  CHECK(into[0] == 0x77);
  // The reads above that asked for a byte in the window are all that has reached it.
  CHECK(video.touched == 3);
}

TEST_CASE("physical memory: A device writes nothing across the end of RAM or of the address space", "[memory]") {
  Bench b;
  CHECK(b.write(4 * mib - 16, 16));
  CHECK_FALSE(b.write(4 * mib - 16, 17));
  CHECK_FALSE(b.write(4 * mib, 1));
  CHECK_FALSE(b.write(~uint64_t{0}, 1));
  CHECK_FALSE(b.write(~uint64_t{0} - 3, 8));
  CHECK_FALSE(b.write(0xffff0000, 4));
}

TEST_CASE("physical memory: A device does not write ROM, nor RAM that the chipset protects", "[memory]") {
  WithRom b;
  CHECK_FALSE(b.write(0xe0000, 16));
  CHECK_FALSE(b.write(0xfffffff0, 4));
  CHECK_FALSE(b.write(0xc8000, 16));  // protected like the rest, though no ROM lies there
  // Writes reach the RAM behind the ROM at E0000-E3FFF and nowhere else.
  b.memory.set_shadow(8, false, true);
  CHECK(b.write(0xe0000, 16));
  CHECK(b.write(0xe3ff0, 16));
  CHECK_FALSE(b.write(0xe3ff0, 17));
  CHECK_FALSE(b.write(0xdffff, 2));
  CHECK(b.byte(0xe0000) == 0x11);  // reads still see the ROM
  b.memory.set_shadow(8, true, false);
  CHECK(b.byte(0xe0000) == 0x5a);
  CHECK(b.byte(0xe3fff) == 0x5a);
  CHECK(b.byte(0xe4000) == 0x11);
  CHECK_FALSE(b.write(0xe0000, 16));
  // A range that is writable at both ends and not in the middle.
  b.memory.set_shadow(0, true, true);
  b.memory.set_shadow(2, true, true);
  CHECK_FALSE(b.write(0xc0000, 0xc000));
  CHECK(b.byte(0xc0000) == 0);
}
