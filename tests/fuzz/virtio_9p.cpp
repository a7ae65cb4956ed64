// The virtio transport of 9P, with a small tree behind it.
#include "devices/virtio_9p.h"

#include "devices/memory_tree.h"
#include "tests/fuzz/virtio.h"

namespace matryoshka::fuzz {

namespace {

struct Share {
  explicit Share(DeviceBench& bench) : device(bench.pci, {3}, bench.memory, tree, "share") {
    expect(tree.add("dir/hello", std::vector<uint8_t>(5, 'h')), "an empty tree has room");
  }
  void special(Input& input) { (void)tree.add("added", input.bytes(16)); }
  static constexpr unsigned honest_queue = 0;
  static constexpr uint32_t honest_answer = 7 + 4 + 2 + 8;
  // Rversion echoes what Tversion asks for.
  void honest(VirtioDriver& driver) {
    std::vector<uint8_t> version(4);
    append(version, uint8_t{100});
    append(version, uint16_t{0xffff});
    append(version, uint32_t{8192});
    append(version, uint16_t{8});
    append(version, std::string_view("9P2000.L"));
    poke(version, 0, static_cast<uint32_t>(version.size()));
    for (size_t i = 0; i < version.size(); ++i) driver.put(VirtioDriver::buffers + i, version[i]);
    driver.describe(VirtioDriver::table(0), VirtioDriver::buffers, static_cast<uint32_t>(version.size()), VirtioDriver::next, 1);
    driver.describe(VirtioDriver::table(0) + 16, VirtioDriver::buffers + 0x1000, 4096, VirtioDriver::device_writes, 0);
    driver.offer(0, 0);
    driver.kick(0);
  }
  MemoryTree tree{64 << 10};
  Virtio9p device;
};

}  // namespace

void virtio_9p(Input input) { run_virtio<Share>(input); }

}  // namespace matryoshka::fuzz
