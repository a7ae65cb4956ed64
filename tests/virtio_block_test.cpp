#include "devices/virtio_block.h"

#include "devices/memory_disk.h"
#include "tests/virtio_driver.h"

using namespace matryoshka;
using namespace matryoshka::bench;

namespace {

using D = VirtioDriver;
enum Request : uint32_t { in = 0, out = 1, flush = 4, get_id = 8, discard = 11, write_zeroes = 13 };
enum Result : uint8_t { ok = 0, io_error = 1, unsupported = 2, untouched = 0xee };
constexpr uint64_t header = 0x8000, data = 0x9000, result_at = 0x8100;

// A disk of 64 sectors, each filled with its own number; sector 13 is bad.
class TestDisk : public MemoryDisk {
 public:
  using MemoryDisk::MemoryDisk;
  bool read(uint64_t sector, std::span<uint8_t> bytes) override {
    return !(sector <= 13 && 13 < sector + bytes.size() / 512) && MemoryDisk::read(sector, bytes);
  }
};

struct BlockBoard : VirtioBoard {
  explicit BlockBoard(bool read_only = false) : disk(image, read_only) { driver.start(disk_features()); }
  static std::vector<uint8_t> make_image() {
    std::vector<uint8_t> bytes(64 * 512);
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i / 512);
    return bytes;
  }
  uint64_t disk_features() const { return disk.read_only() ? 1 << 5 : 1 << 9 | 1 << 14; }

  void request(Request type, uint64_t sector, std::vector<D::Buffer> buffers) {
    driver.put(header, uint64_t{type});
    driver.put(header + 8, sector);
    driver.put(result_at, uint8_t{untouched});
    buffers.insert(buffers.begin(), D::Buffer{header, 16});
    buffers.push_back({result_at, 1, D::device_writes});
    driver.send(0, buffers);
    pass(VirtioBlock::latency);
  }
  uint8_t result() { return driver.get<uint8_t>(result_at); }

  std::vector<uint8_t> image = make_image();
  TestDisk disk;
  VirtioBlock block{pci, {3}, memory, clock, disk, "MATRYOSHKA-1"};
  VirtioDriver driver{*this, 3};
};

}  // namespace

TEST_CASE("virtio block: the configuration tells capacity, segments and block size") {
  BlockBoard board;
  CHECK(board.driver.device_config(0, 8) == 64);
  CHECK(board.driver.device_config(12, 4) == 126);
  CHECK(board.driver.device_config(20, 4) == 512);
}

TEST_CASE("virtio block: a read brings sectors") {
  BlockBoard board;
  board.request(in, 5, {{data, 512, D::device_writes}, {data + 512, 512, D::device_writes}});
  CHECK(board.result() == ok);
  CHECK(board.driver.get<uint8_t>(data) == 5);
  CHECK(board.driver.get<uint8_t>(data + 1023) == 6);
  CHECK(board.driver.used(0) == std::vector<uint32_t>{1025});
}

TEST_CASE("virtio block: what is written is read back, and the image is not touched") {
  BlockBoard board;
  board.driver.put(data, uint32_t{0xabcdef});
  board.request(out, 63, {{data, 512}});
  CHECK(board.result() == ok);
  board.request(in, 63, {{data + 0x1000, 512, D::device_writes}});
  CHECK(board.driver.get<uint32_t>(data + 0x1000) == 0xabcdef);
  CHECK(board.image == BlockBoard::make_image());
}

TEST_CASE("virtio block: a request takes the same guest time whatever it is") {
  BlockBoard board;
  board.driver.put(header, uint64_t{flush});
  board.driver.send(0, {{header, 16}, {result_at, 1, D::device_writes}});
  board.pass(VirtioBlock::latency - 1);
  CHECK(board.driver.used(0).empty());
  board.pass(1);
  CHECK(board.driver.used(0).size() == 1);
  CHECK(board.irq.level(18));
}

TEST_CASE("virtio block: sectors beyond the end are an I/O error") {
  for (uint64_t sector : {uint64_t{64}, uint64_t{63}, ~uint64_t{0}, ~uint64_t{0} / 512}) {
    BlockBoard board;
    board.request(in, sector, {{data, 1024, D::device_writes}});
    CHECK(board.result() == io_error);
    board.request(out, sector, {{data, 1024}});
    CHECK(board.result() == io_error);
  }
}

TEST_CASE("virtio block: a bad sector is an I/O error and the next request works") {
  BlockBoard board;
  board.request(in, 12, {{data, 1024, D::device_writes}});
  CHECK(board.result() == io_error);
  board.request(in, 14, {{data, 512, D::device_writes}});
  CHECK(board.result() == ok);
}

TEST_CASE("virtio block: part of a sector is an I/O error") {
  BlockBoard board;
  board.request(in, 0, {{data, 511, D::device_writes}});
  CHECK(board.result() == io_error);
}

TEST_CASE("virtio block: a read-only disk says so and refuses writes") {
  BlockBoard board(true);
  CHECK((board.driver.offered() >> 5 & 1) == 1);
  board.request(out, 0, {{data, 512}});
  CHECK(board.result() == io_error);
}

TEST_CASE("virtio block: the serial number fills twenty characters") {
  BlockBoard board;
  board.request(get_id, 0, {{data, 20, D::device_writes}});
  CHECK(board.result() == ok);
  CHECK(std::string(reinterpret_cast<char*>(board.memory.data.data()) + data, 20) ==
        std::string("MATRYOSHKA-1\0\0\0\0\0\0\0\0", 20));
}

TEST_CASE("virtio block: write zeroes clears sectors") {
  BlockBoard board;
  board.driver.put(data, uint64_t{3});
  board.driver.put(data + 8, uint64_t{2});
  board.request(write_zeroes, 0, {{data, 16}});
  CHECK(board.result() == ok);
  board.request(in, 3, {{data, 1536, D::device_writes}});
  CHECK(board.driver.get<uint8_t>(data + 512) == 0);
  CHECK(board.driver.get<uint8_t>(data + 1024) == 5);
}

TEST_CASE("virtio block: an unknown request is unsupported") {
  BlockBoard board;
  board.request(discard, 0, {{data, 16}});
  CHECK(board.result() == unsupported);
}

TEST_CASE("virtio block: a request without header or result needs a reset") {
  BlockBoard board;
  board.driver.send(0, {{header, 16}});
  board.pass(VirtioBlock::latency);
  CHECK(board.driver.needs_reset());
  board.driver.start();
  board.driver.put(D::available(0), uint64_t{0});
  board.driver.send(0, {{header, 15}, {result_at, 1, D::device_writes}});
  board.pass(VirtioBlock::latency);
  CHECK(board.driver.needs_reset());
}

TEST_CASE("virtio block: data outside RAM needs a reset") {
  BlockBoard board;
  board.request(in, 0, {{board.memory.data.size() - 256, 512, D::device_writes}});
  CHECK(board.driver.needs_reset());
}

TEST_CASE("virtio block: a request of four gigabytes is an I/O error, soon") {
  BlockBoard board;
  board.request(in, 0, {{data, 0xfffffe00, D::device_writes}});
  CHECK(board.result() == io_error);
  CHECK(board.driver.get<uint8_t>(data) == 0);
}

TEST_CASE("virtio block: a snapshot between kick and completion goes on identically") {
  BlockBoard board;
  board.driver.put(header, uint64_t{in});
  board.driver.put(header + 8, uint64_t{9});
  board.driver.send(0, {{header, 16}, {data, 512, D::device_writes}, {result_at, 1, D::device_writes}});
  board.pass(VirtioBlock::latency / 2);
  auto saved = save(board.clock, board.block);

  BlockBoard other;
  other.memory.data = board.memory.data;
  REQUIRE(load(other.clock, other.block, saved));
  CHECK(save(other.clock, other.block) == saved);
  board.pass(VirtioBlock::latency);
  other.pass(VirtioBlock::latency);
  CHECK(other.driver.get<uint8_t>(data) == 9);
  CHECK(board.memory.data == other.memory.data);
}

TEST_CASE("virtio block: a rampage of the driver does no harm") {
  BlockBoard board;
  rampage(board, board.driver, 3);
}
