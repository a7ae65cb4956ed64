// Virtio over PCI, modern only: Virtual I/O Device (VIRTIO) Version 1.2, "Virtio Over PCI Bus".
//
// Base address 0 holds the four structures (common configuration, ISR status, device configuration, notifications), base
// address 1 the MSI-X table. A device derives from VirtioPci, names its queues and features, and serves requests; status,
// feature negotiation, interrupts and everything that a hostile driver may do to a queue end here. Packed queues and queue
// reset are not offered.
#pragma once

#include <functional>
#include <vector>

#include "devices/bus/bytes.h"
#include "devices/pci.h"
#include "devices/virtio_queue.h"

namespace matryoshka {

class VirtioPci : public PciFunction {
 public:
  void reset() override;
  void serialize(Archive& ar) override;
  uint32_t read_config(unsigned offset, unsigned size) override;
  void write_config(unsigned offset, unsigned size, uint32_t value) override;

 protected:
  enum class Type : uint16_t { net = 1, block = 2, console = 3, entropy = 4, balloon = 5, ninep = 9 };
  struct Description {
    Type type;
    uint32_t class_code;
    unsigned queues;
    uint16_t queue_size;
    uint64_t features = 0;  // the device's own; the transport adds its
  };
  VirtioPci(PciBus& pci, PciAddress address, GuestMemory& memory, const Description& description);

  // The driver says that there is something new in a queue of a running device.
  virtual void kicked(unsigned queue) = 0;
  // The driver has reset the device, or the machine has been.
  virtual void device_reset() {}
  // The device's own configuration structure.
  virtual ByteSpan device_config() { return {}; }
  virtual void write_device_config(uint64_t, unsigned, uint64_t) {}

  // Takes requests off a queue while `more()` and hands each to `one`, which answers with the number of bytes it wrote in
  // `written`, or false if the request made no sense; the device then needs a reset. Interrupts at the end if the driver
  // wants it. At most as many requests are served as the queue has places, for a device that writes into its own rings
  // could be kept busy for ever.
  void serve(unsigned queue, const std::function<bool()>& more,
             const std::function<bool(const VirtChain& chain, uint32_t& written)>& one);
  void serve(unsigned queue, const std::function<bool(const VirtChain& chain, uint32_t& written)>& one) {
    serve(
        queue, [] { return true; }, one);
  }
  bool running() const;
  bool negotiated(unsigned feature) const { return saved_.driver_features >> feature & 1; }
  // The device configuration has changed under the driver.
  void notify_config();
  void need_reset();

  GuestMemory& memory_;

 private:
  uint64_t read_bar(unsigned bar, uint64_t offset, unsigned size) final;
  void write_bar(unsigned bar, uint64_t offset, unsigned size, uint64_t value) final;
  uint64_t read_common(uint64_t offset, unsigned size) const;
  void write_common(uint64_t offset, unsigned size, uint64_t value);
  void write_status(uint8_t value);
  void add_structure(uint8_t type, uint32_t offset, uint32_t length, const std::vector<uint8_t>& more = {});
  bool config_window(uint32_t& offset, unsigned& length) const;
  void interrupt(uint8_t cause, uint16_t vector);
  void kick(unsigned queue);
  void reset_transport();
  VirtQueue::Features queue_features() const;

  const uint64_t features_;
  std::vector<VirtQueue> queues_;
  std::vector<uint16_t> vectors_;  // of the queues
  unsigned config_access_ = 0;     // offset of the PCI configuration access capability

  struct Saved {
    uint32_t device_feature_select = 0, driver_feature_select = 0;
    uint64_t driver_features = 0;
    uint16_t config_vector = 0xffff;
    uint16_t queue_select = 0;
    uint8_t status = 0;
    uint8_t generation = 0;
    uint8_t isr = 0;
    void serialize(Archive& ar) {
      ar(device_feature_select, driver_feature_select, driver_features, config_vector, queue_select, status, generation, isr);
    }
  } saved_;
};

}  // namespace matryoshka
