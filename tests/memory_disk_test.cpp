#include "devices/memory_disk.h"

#include "tests/device_bench.h"

using namespace matryoshka;
using namespace matryoshka::bench;

namespace {

std::vector<uint8_t> numbered(size_t size) {
  std::vector<uint8_t> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(i / 512 + 1);
  return bytes;
}

std::vector<uint8_t> sectors(MemoryDisk& disk, uint64_t first, uint64_t count) {
  std::vector<uint8_t> bytes(count * 512);
  REQUIRE(disk.read(first, bytes));
  return bytes;
}

}  // namespace

TEST_CASE("memory disk: what was not written is the base's") {
  auto base = numbered(100 * 512);
  MemoryDisk disk(base);
  CHECK(disk.sectors() == 100);
  CHECK(sectors(disk, 7, 90) == std::vector<uint8_t>(base.begin() + 7 * 512, base.begin() + 97 * 512));
}

TEST_CASE("memory disk: what was written is read back, and the base stays as it was") {
  auto base = numbered(100 * 512);
  const auto before = base;
  MemoryDisk disk(base);
  std::vector<uint8_t> news(20 * 512, 0xee);
  REQUIRE(disk.write(5, news));
  CHECK(sectors(disk, 5, 20) == news);
  CHECK(sectors(disk, 4, 1)[0] == 5);
  CHECK(sectors(disk, 25, 1)[0] == 26);
  CHECK(base == before);
}

TEST_CASE("memory disk: an image that ends within a sector is filled up with zeroes") {
  std::vector<uint8_t> base(513, 7);
  MemoryDisk disk(base);
  CHECK(disk.sectors() == 2);
  auto last = sectors(disk, 1, 1);
  CHECK(last[0] == 7);
  CHECK(last[1] == 0);
}

TEST_CASE("memory disk: sectors beyond the end are refused") {
  auto base = numbered(4 * 512);
  MemoryDisk disk(base);
  std::vector<uint8_t> two(1024), odd(100);
  CHECK_FALSE(disk.read(3, two));
  CHECK_FALSE(disk.read(~uint64_t{0}, two));
  CHECK_FALSE(disk.write(4, two));
  CHECK_FALSE(disk.read(0, odd));
}

TEST_CASE("memory disk: a read-only disk refuses to be written") {
  auto base = numbered(4 * 512);
  MemoryDisk disk(base, true);
  std::vector<uint8_t> one(512);
  CHECK_FALSE(disk.write(0, one));
}

TEST_CASE("memory disk: the overlay survives a snapshot") {
  auto base = numbered(100 * 512);
  MemoryDisk disk(base), other(base);
  REQUIRE(disk.write(99, std::vector<uint8_t>(512, 1)));
  REQUIRE(disk.write(0, std::vector<uint8_t>(512, 2)));
  Clock clock;
  auto saved = save(clock, disk);
  REQUIRE(load(clock, other, saved));
  CHECK(save(clock, other) == saved);
  CHECK(sectors(other, 0, 100) == sectors(disk, 0, 100));
}

TEST_CASE("memory disk: a snapshot with data beyond the end is refused") {
  auto base = numbered(100 * 512);
  std::vector<uint8_t> small(512);
  MemoryDisk disk(base), other(small);
  REQUIRE(disk.write(99, std::vector<uint8_t>(512, 1)));
  Clock clock;
  CHECK_FALSE(load(clock, other, save(clock, disk)));
}
