// The virtio source of random numbers.
#include "devices/virtio_rng.h"

#include <algorithm>

#include "tests/fuzz/virtio.h"

namespace matryoshka::fuzz {

namespace {

struct Rng {
  explicit Rng(DeviceBench& bench)
      : device(bench.pci, {3}, bench.memory,
               [](std::span<uint8_t> bytes) { std::fill(bytes.begin(), bytes.end(), uint8_t{4}); }) {}
  void special(Input&) { device.reset(); }
  static constexpr unsigned honest_queue = 0;
  static constexpr uint32_t honest_answer = 64;
  void honest(VirtioDriver& driver) {
    driver.describe(VirtioDriver::table(0), VirtioDriver::buffers, 64, VirtioDriver::device_writes, 0);
    driver.offer(0, 0);
    driver.kick(0);
  }
  VirtioRng device;
};

}  // namespace

void virtio_rng(Input input) { run_virtio<Rng>(input); }

}  // namespace matryoshka::fuzz
