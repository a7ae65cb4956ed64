// A device on a bus of its own: a clock that moves when it is told to, memory from which DMA may read what the input has put
// there or, while it is live, the input itself, so that two reads of one place differ.
#pragma once

#include "devices/bus/clock.h"
#include "devices/pci.h"
#include "tests/fuzz/operations.h"

namespace matryoshka::fuzz {

class DmaMemory : public GuestMemory {
 public:
  static constexpr uint64_t size = 256 << 10;
  bool read(uint64_t address, void* data, size_t length) const override {
    if (!inside(address, length)) return false;
    if (length == 0) return true;
    std::memcpy(data, bytes_.data() + address, length);
    for (size_t i = 0; i < length && !live_.empty(); ++i) {
      static_cast<uint8_t*>(data)[i] ^= live_.front();
      live_ = live_.subspan(1);
    }
    return true;
  }
  bool write(uint64_t address, const void* data, size_t length) override {
    if (!inside(address, length)) return false;
    if (length != 0) std::memcpy(bytes_.data() + address, data, length);
    return true;
  }
  void fill(uint64_t address, ByteSpan bytes) {
    (void)write(address, bytes.data(), std::min<uint64_t>(bytes.size(), size - address));
  }
  // The next bytes that are read come changed by these.
  void make_live(ByteSpan bytes) { live_ = bytes; }

 private:
  static bool inside(uint64_t address, size_t length) { return address <= size && length <= size - address; }
  std::vector<uint8_t> bytes_ = std::vector<uint8_t>(size);
  mutable ByteSpan live_;
};

struct NoSink final : IrqSink, MessageSink, ByteSink {
  void set_irq(unsigned, bool) override {}
  void deliver_message(uint64_t, uint32_t) override {}
  void put(uint8_t) override {}
};

struct DeviceBench {
  DeviceBench() {
    bus.map_ports(0xcf8, 4, pci, PciBus::config_address, 4);
    bus.map_ports(0xcfc, 4, pci, PciBus::config_data, 4);
  }
  // Up to so many events: one that comes again at once would never let time pass.
  void pass(uint64_t nanoseconds) {
    const uint64_t end = clock.now() + nanoseconds;
    unsigned events = 0;
    while (clock.next_deadline() <= end) {
      clock.ticks = std::max(clock.ticks, clock.next_deadline_ticks());
      clock.run_due();
      expect(++events < 10'000, "a device lets time pass");
    }
    clock.ticks = std::max(clock.ticks, clock.ticks_at(end));
  }
  // What saving and loading, here and into another device of the same make, give.
  static std::vector<uint8_t> saved(Clock& clock, Device& device) {
    Archive ar = Archive::saving();
    clock.serialize(ar);
    device.serialize(ar);
    return ar.output();
  }
  static bool load(Clock& clock, Device& device, const std::vector<uint8_t>& bytes) {
    Archive ar = Archive::loading(bytes.data(), bytes.size());
    clock.serialize(ar);
    device.serialize(ar);
    return ar.ok() && ar.remaining() == 0;
  }

  DmaMemory memory;
  Clock clock;
  Bus bus;
  NoSink sink;
  PciBus pci{bus, sink, sink};
};

}  // namespace matryoshka::fuzz
