// The virtio disk.
#include "devices/virtio_block.h"

#include "devices/memory_disk.h"
#include "tests/fuzz/virtio.h"

namespace matryoshka::fuzz {

namespace {

const std::vector<uint8_t> image(100 * 512 + 7, 0xdd);

struct Disk {
  explicit Disk(DeviceBench& bench) : device(bench.pci, {3}, bench.memory, bench.clock, disk, "serial") {}
  void special(Input& input) { (void)disk.flush(), (void)input; }
  static constexpr unsigned honest_queue = 0;
  static constexpr uint32_t honest_answer = 512 + 1;
  void honest(VirtioDriver& driver) {
    const uint64_t table = VirtioDriver::table(0), header = VirtioDriver::buffers;
    driver.put(header, uint32_t{0}), driver.put(header + 8, uint64_t{99});
    driver.describe(table, header, 16, VirtioDriver::next, 1);
    driver.describe(table + 16, header + 0x1000, 512 + 1, VirtioDriver::device_writes, 0);
    driver.offer(0, 0);
    driver.kick(0);
  }
  MemoryDisk disk{image};
  VirtioBlock device;
};

}  // namespace

void virtio_block(Input input) { run_virtio<Disk>(input); }

}  // namespace matryoshka::fuzz
