// What a device sees of the machine: windows of ports and memory through which the processor reaches it, and guest memory
// through which it reaches back. A device knows this header, irq.h and clock.h, and nothing else of the project.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/state/archive.h"

namespace matryoshka {

// Something that answers accesses. `window` is the number the target gave when it was mapped (a device with two port ranges
// tells them apart by it), `offset` counts from the window's start, `size` is 1, 2, 4 or 8 bytes and an access never
// crosses the window's end.
class BusTarget {
 public:
  virtual ~BusTarget() = default;
  virtual uint64_t read(unsigned window, uint64_t offset, unsigned size) = 0;
  virtual void write(unsigned window, uint64_t offset, unsigned size, uint64_t value) = 0;
};

class Device : public BusTarget {
 public:
  // The name of the device's section in a snapshot, and the version of that section's layout.
  virtual const char* name() const = 0;
  virtual uint32_t version() const { return 1; }
  virtual void reset() = 0;
  virtual void serialize(Archive& ar) = 0;
};

class Bus {
 public:
  // Accesses wider than `widest` are split into several of that width, as a bus does for a narrow device. A later mapping
  // lies over an earlier one.
  void map_ports(uint16_t first, unsigned count, BusTarget& target, unsigned window = 0, unsigned widest = 1);
  void map_memory(uint64_t first, uint64_t size, BusTarget& target, unsigned window = 0, unsigned widest = 8);
  // PCI base addresses move: takes the window out of both address spaces.
  void unmap(BusTarget& target, unsigned window);

  // Nobody home reads as all ones, and writes vanish, as on a PC.
  uint32_t read_port(uint16_t port, unsigned size);
  void write_port(uint16_t port, unsigned size, uint32_t value);
  uint64_t read_memory(uint64_t address, unsigned size);
  void write_memory(uint64_t address, unsigned size, uint64_t value);

 private:
  struct Mapping {
    uint64_t first;
    uint64_t count;
    BusTarget* target;
    unsigned window;
    unsigned widest;
  };
  using Space = std::vector<Mapping>;
  static const Mapping* find(const Space& space, uint64_t address);
  static uint64_t read(const Space& space, uint64_t address, unsigned size);
  static void write(const Space& space, uint64_t address, unsigned size, uint64_t value);
  Space ports_;
  Space memory_;
};

// Guest-physical memory as a bus master sees it. Everything a guest programs into a device is hostile, so both calls check
// the whole range first and do nothing and answer false unless all of it is RAM that is not write-protected (reads may also
// come from ROM).
class GuestMemory {
 public:
  virtual ~GuestMemory() = default;
  [[nodiscard]] virtual bool read(uint64_t address, void* data, size_t size) const = 0;
  [[nodiscard]] virtual bool write(uint64_t address, const void* data, size_t size) = 0;

  template <class T>
  [[nodiscard]] bool load(uint64_t address, T& value) const {
    return read(address, &value, sizeof value);
  }
  template <class T>
  [[nodiscard]] bool store(uint64_t address, const T& value) {
    return write(address, &value, sizeof value);
  }
};

// Where a device's bytes go: the terminal, a file, a test.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual void put(uint8_t byte) = 0;
};

}  // namespace matryoshka
