#include "devices/virtio_rng.h"

#include "tests/virtio_driver.h"

using namespace matryoshka;
using namespace matryoshka::bench;

namespace {

struct RngBoard : VirtioBoard {
  uint8_t last = 0;
  VirtioRng rng{pci, {3}, memory, [this](std::span<uint8_t> bytes) {
                  for (uint8_t& byte : bytes) byte = ++last;
                }};
  VirtioDriver driver{*this, 3};
};

}  // namespace

TEST_CASE("virtio rng: a buffer is filled from the source") {
  RngBoard board;
  board.driver.start();
  board.driver.send(0, {{0x8000, 2, VirtioDriver::device_writes}, {0x9000, 2, VirtioDriver::device_writes}});
  CHECK(board.driver.used(0) == std::vector<uint32_t>{4});
  CHECK(board.driver.get<uint16_t>(0x8000) == 0x0201);
  CHECK(board.driver.get<uint16_t>(0x9000) == 0x0403);
}

TEST_CASE("virtio rng: a huge buffer is filled in part") {
  RngBoard board;
  board.driver.start();
  board.driver.send(0, {{0x8000, 0x80000, VirtioDriver::device_writes}});
  CHECK(board.driver.used(0) == std::vector<uint32_t>{4096});
}

TEST_CASE("virtio rng: a rampage of the driver does no harm") {
  RngBoard board;
  rampage(board, board.driver, 3);
}
