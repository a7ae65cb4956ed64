// Virtio entropy device. Where the bytes come from is the board's affair: a seeded generator, so that a run can repeat, or
// the host's entropy through the log of inputs. Virtual I/O Device (VIRTIO) Version 1.2, "Entropy Device".
#pragma once

#include "devices/virtio_pci.h"

namespace matryoshka {

class VirtioRng : public VirtioPci {
 public:
  using Source = std::function<void(std::span<uint8_t> bytes)>;

  VirtioRng(PciBus& pci, PciAddress address, GuestMemory& memory, Source source)
      : VirtioPci(pci, address, memory, {Type::entropy, 0x00ff00, 1, 64}), source_(std::move(source)) {}
  const char* name() const override { return "virtio-rng"; }

 private:
  void kicked(unsigned queue) override {
    serve(queue, [this](const VirtChain& chain, uint32_t& written) {
      // A driver that asks for more than this gets this much, which the device is free to do.
      uint8_t bytes[4096];
      size_t size = std::min<uint64_t>(chain.writable(), sizeof bytes);
      source_({bytes, size});
      written = static_cast<uint32_t>(size);
      return chain.write(memory_, 0, bytes, size);
    });
  }
  Source source_;
};

}  // namespace matryoshka
