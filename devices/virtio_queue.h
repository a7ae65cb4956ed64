// A split virtqueue, from the device's end. Virtual I/O Device (VIRTIO) Version 1.2, "Split Virtqueues".
//
// All three areas lie in guest memory and the driver may write anything there at any time, even through the device itself.
// So every value is read once, checked and then used, a chain is walked at most as far as it can honestly reach, and
// what cannot be right makes the queue broken: the caller then sets DEVICE_NEEDS_RESET.
#pragma once

#include <cstdint>
#include <vector>

#include "devices/bus/bus.h"

namespace matryoshka {

// A request: first what the driver wrote for the device, then the room it left for the answer.
class VirtChain {
 public:
  uint64_t readable() const { return length(out_); }
  uint64_t writable() const { return length(in_); }

  // False if the range passes the end of the chain or any of it is not RAM.
  [[nodiscard]] bool read(const GuestMemory& memory, uint64_t offset, void* data, size_t size) const;
  [[nodiscard]] bool write(GuestMemory& memory, uint64_t offset, const void* data, size_t size) const;

  void serialize(Archive& ar);

 private:
  friend class VirtQueue;
  struct Part {
    uint64_t address;
    uint32_t length;
    void serialize(Archive& ar) { ar(address, length); }
  };
  static uint64_t length(const std::vector<Part>& parts);
  uint16_t head_ = 0;
  std::vector<Part> out_, in_;
};

class VirtQueue {
 public:
  // Both from the negotiated features.
  struct Features {
    bool indirect = false;
    bool event_index = false;
  };
  enum class Next { none, request, broken };

  explicit VirtQueue(uint16_t most) : most_(most) { reset(); }
  uint16_t most() const { return most_; }

  // The next request that the driver has made available.
  [[nodiscard]] Next pop(GuestMemory& memory, Features features, VirtChain& chain);
  // Hands a request back with the number of bytes written to it. False if the used ring is not RAM.
  [[nodiscard]] bool push(GuestMemory& memory, const VirtChain& chain, uint32_t written);
  // Whether the driver wants to be told of what was pushed since it was last asked.
  [[nodiscard]] bool wants_interrupt(const GuestMemory& memory, Features features);

  // What the driver programs through its transport.
  struct Setup {
    uint16_t size = 0;
    bool enabled = false;
    uint64_t descriptors = 0, driver = 0, device = 0;  // the areas: table, available ring, used ring
    void serialize(Archive& ar) { ar(size, enabled, descriptors, driver, device); }
  } setup;

  void reset();
  void serialize(Archive& ar);

 private:
  struct Descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags, next;
  };
  bool walk(const GuestMemory& memory, Features features, uint16_t head, VirtChain& chain) const;

  uint16_t most_;
  struct Saved {
    uint16_t next_available = 0, next_used = 0;
    uint16_t told = 0;  // the used index when the driver was last told
    void serialize(Archive& ar) { ar(next_available, next_used, told); }
  } saved_;
};

}  // namespace matryoshka
