// A virtio device under a driver gone mad. Beside the plain operations there are those without which nonsense would never get
// past the transport: setting the queues up, and making chains of descriptors available. At the end the device can be
// saved and loaded, and after a reset it serves an honest request.
#pragma once

#include "tests/fuzz/device_bench.h"

namespace matryoshka::fuzz {

// A driver that knows where the registers of VirtioPci lie.
class VirtioDriver {
 public:
  static constexpr unsigned function = 3 * 8;
  static constexpr uint64_t version_1 = uint64_t{1} << 32;
  enum Flags : uint16_t { next = 1, device_writes = 2, indirect = 4 };

  explicit VirtioDriver(DeviceBench& bench) : bench_(bench) {}

  // As firmware leaves it, whatever has been there before.
  void place() {
    expect(bench_.pci.assign_resources(), "the windows fit");
    write_config(bench_.bus, function, 4, 6, 2);
    at_ = read_config(bench_.bus, function, 0x10) & ~15u;
  }
  uint64_t common(unsigned offset, unsigned size) { return bench_.bus.read_memory(at_ + offset, size); }
  void set_common(unsigned offset, unsigned size, uint64_t value) { bench_.bus.write_memory(at_ + offset, size, value); }
  void kick(unsigned queue) { bench_.bus.write_memory(at_ + 0x3000 + 4 * queue, 2, queue); }
  unsigned queues() { return static_cast<unsigned>(common(0x12, 2)); }

  // Every queue of `size` places, its table, rings and buffers in a 16 KiB of its own.
  void start(uint64_t features, unsigned size) {
    set_common(0x14, 1, 0);
    set_common(0x14, 1, 3);
    for (unsigned half = 0; half < 2; ++half) {
      set_common(0x08, 4, half);
      set_common(0x0c, 4, features >> 32 * half & 0xffffffff);
    }
    set_common(0x14, 1, 11);
    for (unsigned queue = 0; queue < queues(); ++queue) {
      set_common(0x16, 2, queue);
      if (size != 0) set_common(0x18, 2, size);
      set_common(0x20, 8, table(queue));
      set_common(0x28, 8, available(queue));
      set_common(0x30, 8, used(queue));
      set_common(0x1c, 2, 1);
      size_ = static_cast<unsigned>(common(0x18, 2));
    }
    set_common(0x14, 1, 15);
  }
  static constexpr uint64_t table(unsigned queue) { return 0x4000 * queue; }
  static constexpr uint64_t available(unsigned queue) { return table(queue) + 0x1000; }
  static constexpr uint64_t used(unsigned queue) { return table(queue) + 0x2000; }
  static constexpr uint64_t buffers = 0x20000;

  template <class T>
  void put(uint64_t address, const T& value) {
    expect(bench_.memory.store(address, value), "the driver writes to memory");
  }
  template <class T>
  T get(uint64_t address) {
    T value{};
    expect(bench_.memory.load(address, value), "the driver reads from memory");
    return value;
  }
  void describe(uint64_t at, uint64_t address, uint32_t length, uint16_t flags, uint16_t next_index) {
    put(at, address), put(at + 8, length), put(at + 12, flags), put(at + 14, next_index);
  }
  void offer(unsigned queue, uint16_t head) {
    const auto index = get<uint16_t>(available(queue) + 2);
    put(available(queue) + 4 + 2 * (index % std::max(size_, 1u) & 0x7ff), head);
    put(available(queue) + 2, static_cast<uint16_t>(index + 1));
  }

  // A chain as the input wants it: mostly honest, but any part of it may be anything.
  void chain(Input& input) {
    const uint8_t head = input.take();
    const unsigned queue = head & 1;
    const unsigned count = head >> 1 & 7;
    const unsigned first = head >> 4;
    uint64_t buffer = buffers + 0x1000 * first;
    for (unsigned i = 0; i <= count; ++i) {
      const uint8_t shape = input.take();
      uint16_t flags = i < count ? next : 0;
      if (shape & 1) flags |= device_writes;
      uint64_t address = buffer;
      uint32_t length = input.take();
      if (shape & 2) length <<= 8;
      if (shape & 4) length = static_cast<uint32_t>(input.number());
      if (shape & 8) address = input.number();
      if (shape & 16) address = table(queue) + input.take<uint16_t>() % 0x4000;  // its own rings
      if (shape & 32) flags ^= input.take() & 7;
      uint16_t following = static_cast<uint16_t>(first + i + 1);
      if (shape & 64) following = input.take();
      if (shape & 128) bench_.memory.fill(buffer, input.bytes(input.take()));
      describe(table(queue) + 16 * (first + i), address, length, flags, following);
      buffer += std::min(length, 0x1000u);
    }
    offer(queue, static_cast<uint16_t>(first));
    kick(queue);
  }

 private:
  DeviceBench& bench_;
  uint64_t at_ = 0;
  unsigned size_ = 0;
};

// `Made` has the device as `device`, made on a bench, and honest(bench, driver) that sends one request.
template <class Made>
void run_virtio(Input input) {
  DeviceBench bench;
  Made made(bench);
  made.device.reset();
  VirtioDriver driver(bench);
  driver.place();
  auto start = [&](uint8_t how) {
    uint64_t features = VirtioDriver::version_1 | uint64_t(how & 3) << 28;
    if (how & 4) features |= driver.common(4, 4);
    driver.start(features, how & 8 ? 1u << (how >> 4) : 0);
  };
  start(input.take());
  std::vector<Region> regions = pci_regions(bench.bus);
  regions.push_back({true, regions[0].first, 0x38});
  Operations operations({bench.bus, regions, DmaMemory::size,
                         [&](uint64_t address, ByteSpan bytes) { bench.memory.fill(address, bytes); },
                         [&](uint64_t ticks) { bench.pass(ticks << 6); },
                         [&](Input& in) {
                           const uint8_t what = in.take();
                           if (what < 0xa0) return driver.chain(in);
                           if (what < 0xc0) return driver.kick(what & 3);
                           if (what < 0xd0) return bench.memory.make_live(in.bytes(what & 15));
                           if (what < 0xe0) return made.special(in);
                           driver.place();
                           start(in.take());
                         }});
  operations.run(input);
  bench.memory.make_live({});

  const std::vector<uint8_t> bytes = DeviceBench::saved(bench.clock, made.device);
  DeviceBench other_bench;
  Made other(other_bench);
  expect(
      DeviceBench::load(other_bench.clock, other.device, bytes) && DeviceBench::saved(other_bench.clock, other.device) == bytes,
      "what was loaded is what was saved");

  made.device.reset();
  driver.place();
  bench.memory.fill(0, std::vector<uint8_t>(0x8000));
  driver.start(VirtioDriver::version_1, 0);
  made.honest(driver);
  bench.pass(1'000'000);
  expect(driver.get<uint16_t>(VirtioDriver::used(made.honest_queue) + 2) == 1, "an honest request is served after anything");
  expect(driver.get<uint32_t>(VirtioDriver::used(made.honest_queue) + 8) == made.honest_answer, "and answered whole");
}

}  // namespace matryoshka::fuzz
