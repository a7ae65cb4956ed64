// Virtio console: one port, with the size of the terminal and emergency writes; no multiport.
// Virtual I/O Device (VIRTIO) Version 1.2, "Console Device".
#pragma once

#include "devices/virtio_pci.h"

namespace matryoshka {

class VirtioConsole : public VirtioPci {
 public:
  VirtioConsole(PciBus& pci, PciAddress address, GuestMemory& memory, ByteSink& output);

  // Keys for the guest. Answers with how many were taken: what the guest has not read yet is bounded.
  size_t receive(ByteSpan bytes);
  void resize(uint16_t columns, uint16_t rows);

  const char* name() const override { return "virtio-console"; }
  void reset() override;
  void serialize(Archive& ar) override;

 private:
  void kicked(unsigned queue) override;
  ByteSpan device_config() override;
  void write_device_config(uint64_t offset, unsigned size, uint64_t value) override;
  void deliver();
  bool transmit(const VirtChain& chain);

  ByteSink& output_;
  struct Saved {
    uint16_t columns = 80, rows = 25;
    std::vector<uint8_t> input;  // not yet delivered, oldest first
    void serialize(Archive& ar);
  } saved_;
  // Derived: the configuration structure as the driver reads it.
  uint8_t config_[12] = {};
};

}  // namespace matryoshka
