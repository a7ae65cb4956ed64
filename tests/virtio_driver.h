// The driver's end of a virtio device, as plainly as a test needs it: a board with one PCI bus and a little memory, and
// a driver that finds the device by its capabilities, negotiates, and moves buffers through split queues.
//
//   VirtioBoard board;
//   VirtioRng rng(board.pci, {3}, board.memory, source);
//   VirtioDriver driver(board, 3);
//   driver.start();
//   driver.send(0, {{0x8000, 64, VirtioDriver::device_writes}});
//   CHECK(driver.used(0) == std::vector<uint32_t>{64});
#pragma once

#include "devices/bus/bytes.h"
#include "devices/pci.h"
#include "tests/device_bench.h"

namespace matryoshka::bench {

struct VirtioBoard : Bench {
  VirtioBoard() {
    bus.map_ports(0xcf8, 4, pci, PciBus::config_address, 4);
    bus.map_ports(0xcfc, 4, pci, PciBus::config_data, 4);
  }
  Memory memory{1 << 20};
  Bus bus;
  PciBus pci{bus, messages, irq};

  uint32_t config(PciAddress at, unsigned offset, unsigned size = 4) {
    bus.write_port(0xcf8, 4, 0x80000000 | at.index() << 8 | (offset & 0xfc));
    return bus.read_port(static_cast<uint16_t>(0xcfc + offset % 4), size);
  }
  void set_config(PciAddress at, unsigned offset, uint32_t value, unsigned size = 4) {
    bus.write_port(0xcf8, 4, 0x80000000 | at.index() << 8 | (offset & 0xfc));
    bus.write_port(static_cast<uint16_t>(0xcfc + offset % 4), size, value);
  }
};

class VirtioDriver {
 public:
  enum : uint16_t { next = 1, device_writes = 2, indirect = 4 };
  struct Buffer {
    uint64_t address;
    uint32_t length;
    uint16_t flags = 0;
    uint16_t next = 0;
  };
  // Registers of the common structure.
  enum : unsigned {
    feature_select = 0x00,
    features = 0x04,
    driver_feature_select = 0x08,
    driver_features = 0x0c,
    config_vector = 0x10,
    status = 0x14,
    queue_select = 0x16,
    queue_size = 0x18,
    queue_vector = 0x1a,
    queue_enable = 0x1c,
    descriptors = 0x20,
    driver_area = 0x28,
    device_area = 0x30
  };
  static constexpr uint64_t version_1 = uint64_t{1} << 32;
  static constexpr uint16_t size = 16;  // of every queue

  VirtioDriver(VirtioBoard& board, uint8_t slot) : board_(board) {
    board.pci.assign_resources();
    board.set_config({slot}, 0x04, 6, 2);
    for (unsigned at = board.config({slot}, 0x34, 1); at != 0; at = board.config({slot}, at + 1, 1)) {
      if (board.config({slot}, at, 1) != 9) continue;
      unsigned type = board.config({slot}, at + 3, 1);
      unsigned bar = 0x10 + 4 * board.config({slot}, at + 4, 1);
      if (type < 5) places_[type] = (board.config({slot}, bar) & ~15u) + board.config({slot}, at + 8);
      if (type == 5) window_ = at;
    }
  }

  uint64_t common(unsigned offset, unsigned width) { return board_.bus.read_memory(places_[1] + offset, width); }
  void set_common(unsigned offset, unsigned width, uint64_t value) { board_.bus.write_memory(places_[1] + offset, width, value); }
  uint64_t device_config(unsigned offset, unsigned width) { return board_.bus.read_memory(places_[4] + offset, width); }
  void set_device_config(unsigned offset, unsigned width, uint64_t value) {
    board_.bus.write_memory(places_[4] + offset, width, value);
  }
  uint8_t isr() { return static_cast<uint8_t>(board_.bus.read_memory(places_[3], 1)); }
  bool needs_reset() { return common(status, 1) & 64; }
  unsigned window() const { return window_; }
  uint64_t offered() {
    set_common(feature_select, 4, 1);
    uint64_t high = common(features, 4);
    set_common(feature_select, 4, 0);
    return high << 32 | common(features, 4);
  }

  void negotiate(uint64_t wanted) {
    set_common(status, 1, 0);
    set_common(status, 1, 3);
    for (unsigned half = 0; half < 2; ++half) {
      set_common(driver_feature_select, 4, half);
      set_common(driver_features, 4, wanted >> 32 * half & 0xffffffff);
    }
    set_common(status, 1, 11);
  }
  void start(uint64_t more_features = 0) {
    negotiate(version_1 | more_features);
    REQUIRE(common(status, 1) == 11);
    for (unsigned queue = 0; queue < common(0x12, 2); ++queue) {
      set_common(queue_select, 2, queue);
      set_common(queue_size, 2, size);
      set_common(descriptors, 8, table(queue));
      set_common(driver_area, 8, available(queue));
      set_common(device_area, 8, used_ring(queue));
      set_common(queue_enable, 2, 1);
    }
    set_common(status, 1, 15);
  }

  static constexpr uint64_t table(unsigned queue) { return 0x1000 + 0x1000 * queue; }
  static constexpr uint64_t available(unsigned queue) { return table(queue) + 0x400; }
  static constexpr uint64_t used_ring(unsigned queue) { return table(queue) + 0x800; }

  void put(uint64_t address, const auto& value) { REQUIRE(board_.memory.store(address, value)); }
  template <class T>
  T get(uint64_t address) {
    T value{};
    REQUIRE(board_.memory.load(address, value));
    return value;
  }

  void describe(unsigned queue, uint16_t index, Buffer buffer) { put(table(queue) + 16 * index, buffer); }
  // Makes the chain that starts at `head` available without a kick.
  void offer(unsigned queue, uint16_t head) {
    auto index = get<uint16_t>(available(queue) + 2);
    put(available(queue) + 4 + 2 * (index % size), head);
    put(available(queue) + 2, static_cast<uint16_t>(index + 1));
  }
  void kick(unsigned queue) { board_.bus.write_memory(places_[2] + 4 * queue, 2, queue); }
  // One chain through the first free descriptors.
  void send(unsigned queue, std::vector<Buffer> buffers) {
    uint16_t head = free_;
    for (size_t i = 0; i < buffers.size(); ++i) {
      buffers[i].next = static_cast<uint16_t>((free_ + 1) % size);
      if (i + 1 < buffers.size()) buffers[i].flags |= next;
      describe(queue, free_, buffers[i]);
      free_ = buffers[i].next;
    }
    offer(queue, head);
    kick(queue);
  }
  // The lengths that the device has handed back so far.
  std::vector<uint32_t> used(unsigned queue) {
    std::vector<uint32_t> lengths;
    for (uint16_t i = 0; i < get<uint16_t>(used_ring(queue) + 2); ++i)
      lengths.push_back(get<uint32_t>(used_ring(queue) + 4 + 8 * (i % size) + 4));
    return lengths;
  }

 private:
  VirtioBoard& board_;
  uint64_t places_[5] = {};
  unsigned window_ = 0;
  uint16_t free_ = 0;
};

// A driver gone mad: random accesses to configuration space and to the device's windows, with rings and descriptors of
// random contents in memory. Nothing is asserted: the sanitizers watch, and the test must end.
inline void rampage(VirtioBoard& board, VirtioDriver& driver, uint8_t slot, unsigned rounds = 300, uint32_t seed = 1) {
  INFO("rampage seed " << seed);
  std::mt19937 random(seed);
  auto some_address = [&]() -> uint64_t {
    switch (random() % 6) {
      case 0: return random();
      case 1: return ~uint64_t{0} - random() % 64;
      case 2: return board.memory.data.size() - random() % 64;
      default: return random() % board.memory.data.size();
    }
  };
  for (unsigned round = 0; round < rounds; ++round) {
    board.set_config({slot}, 0x04, 6, 2);
    board.pci.assign_resources();
    board.set_config({slot}, 0x04, 6, 2);
    uint64_t features = VirtioDriver::version_1;
    if (random() % 2) features |= uint64_t{1} << 28;
    if (random() % 2) features |= uint64_t{1} << 29;
    driver.start(features);
    for (unsigned queue = 0; queue < 2; ++queue) {
      for (uint16_t i = 0; i < VirtioDriver::size; ++i) {
        uint32_t length = random() % 8 == 0 ? random() : random() % 2048;
        if (random() % 4 == 0) length &= ~15u;
        driver.describe(queue, i,
                        {some_address(), length, static_cast<uint16_t>(random() % 8), static_cast<uint16_t>(random() % 20)});
        driver.offer(queue, static_cast<uint16_t>(random() % (VirtioDriver::size + 1)));
      }
      if (random() % 4 == 0) driver.put(VirtioDriver::available(queue) + 2, static_cast<uint16_t>(random()));
      driver.kick(queue);
    }
    board.pass(20 * microsecond);
    for (unsigned i = 0; i < 40; ++i) {
      unsigned size = 1u << random() % 4;
      if (random() % 4 == 0) {
        unsigned at = random() % 256 & ~3u;
        board.set_config({slot}, at, random() % 2 ? random() : random() % 0x4000);
        board.config({slot}, at);
      } else if (random() % 2) {
        driver.set_common(random() % 0x40 & ~(size - 1), size, random() % 3 ? random() % 32 : some_address());
      } else {
        uint64_t at = 0xe0000000 + random() % 0x6000;
        board.bus.write_memory(at, size, random());
        board.bus.read_memory(at, size);
      }
      if (random() % 8 == 0) driver.kick(random() % 4);
    }
    board.pass(20 * microsecond);
  }
}

}  // namespace matryoshka::bench
