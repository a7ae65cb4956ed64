// Virtio block device: read, write, flush, write zeroes, identification. Virtual I/O Device (VIRTIO) Version 1.2, "Block
// Device".
//
// A kick starts a timer and what is in the queue when it fires is served at once, so that a request takes the same guest
// time whatever the host does, and requests are never anywhere but in the guest's own queue.
#pragma once

#include <string>

#include "devices/block_backend.h"
#include "devices/bus/clock.h"
#include "devices/virtio_pci.h"

namespace matryoshka {

class VirtioBlock : public VirtioPci {
 public:
  static constexpr uint64_t latency = 10'000;  // nanoseconds of guest time

  // The serial number is what a guest sees under /dev/disk/by-id; 20 characters at most are used.
  VirtioBlock(PciBus& pci, PciAddress address, GuestMemory& memory, Clock& clock, BlockBackend& disk, std::string serial);

  const char* name() const override { return name_.c_str(); }  // with its slot, for there may be several
  void serialize(Archive& ar) override;

 private:
  enum class Result : uint8_t { ok = 0, io_error = 1, unsupported = 2 };

  void kicked(unsigned queue) override;
  void device_reset() override { timer_.cancel(); }
  ByteSpan device_config() override { return config_; }
  void work();
  bool request(const VirtChain& chain, uint32_t& written);
  Result transfer_in(const VirtChain& chain, uint64_t sector, uint64_t size, bool& sound);
  Result transfer_out(const VirtChain& chain, uint64_t sector, uint64_t size, bool& sound);
  Result write_zeroes(const VirtChain& chain, uint64_t size, bool& sound);
  bool on_disk(uint64_t sector, uint64_t size) const;

  BlockBackend& disk_;
  Clock::Timer timer_;
  std::string name_, serial_;
  uint8_t config_[60] = {};  // never changes
  uint64_t moved_ = 0;       // bytes since the timer fired
};

}  // namespace matryoshka
