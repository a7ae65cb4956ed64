#include "devices/machine/memory_map.h"

#include <catch2/catch.hpp>

using namespace matryoshka;

namespace {

constexpr uint64_t mib = 1 << 20, gib = 1 << 30;

uint64_t usable(uint64_t ram_size) {
  uint64_t total = 0;
  for (const MemoryRange& range : memory_map(ram_size))
    if (range.type == RangeType::ram) total += range.size;
  return total;
}

}  // namespace

TEST_CASE("memory map: 256 MiB lie below 640 KiB and above 1 MiB") {
  auto map = memory_map(256 * mib);
  REQUIRE(map.size() == 4);
  CHECK((map[0].first == 0 && map[0].size == 0x9fc00 && map[0].type == RangeType::ram));
  CHECK((map[1].first == 0x9fc00 && map[1].size == 0x400 && map[1].type == RangeType::reserved));
  CHECK((map[2].first == 0xe0000 && map[2].size == 0x20000 && map[2].type == RangeType::reserved));
  CHECK((map[3].first == mib && map[3].size == 255 * mib && map[3].type == RangeType::ram));
}

TEST_CASE("memory map: what would lie in the PCI hole lies above 4 GiB") {
  auto map = memory_map(3 * gib + 512 * mib);
  REQUIRE(map.size() == 5);
  CHECK((map[3].first == mib && map[3].size == 3 * gib - mib));
  CHECK((map[4].first == 4 * gib && map[4].size == 512 * mib && map[4].type == RangeType::ram));
}

TEST_CASE("memory map: exactly 3 GiB leave nothing for above 4 GiB") { CHECK(memory_map(3 * gib).size() == 4); }

TEST_CASE("memory map: nearly all RAM is usable, and never more than there is") {
  for (uint64_t size : {uint64_t{0}, uint64_t{4096}, mib, 2 * mib, 64 * mib, 3 * gib - 1, 3 * gib + 1, 8 * gib}) {
    CHECK(usable(size) <= size);
    CHECK(usable(size) + mib >= size);
  }
}
