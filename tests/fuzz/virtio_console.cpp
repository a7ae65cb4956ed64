// The virtio console, with input from the host at any time.
#include "devices/virtio_console.h"

#include "tests/fuzz/virtio.h"

namespace matryoshka::fuzz {

namespace {

struct Console {
  explicit Console(DeviceBench& bench) : device(bench.pci, {3}, bench.memory, bench.sink) {}
  void special(Input& input) {
    const uint8_t what = input.take();
    if (what & 1) return device.resize(input.take<uint16_t>(), input.take<uint16_t>());
    if (what & 2) return (void)device.receive(std::vector<uint8_t>(input.take<uint16_t>(), uint8_t{'k'}));
    (void)device.receive(input.bytes(what >> 2));
  }
  static constexpr unsigned honest_queue = 0;
  static constexpr uint32_t honest_answer = 5;
  void honest(VirtioDriver& driver) {
    driver.describe(VirtioDriver::table(0), VirtioDriver::buffers, 64, VirtioDriver::device_writes, 0);
    driver.offer(0, 0);
    driver.kick(0);
    (void)device.receive(std::vector<uint8_t>(5, uint8_t{'k'}));
  }
  VirtioConsole device;
};

}  // namespace

void virtio_console(Input input) { run_virtio<Console>(input); }

}  // namespace matryoshka::fuzz
