// Virtio 9P transport: carries messages between the guest's v9fs and a server. The mount tag is the name the guest mounts:
//   mount -t 9p -o trans=virtio,version=9p2000.L TAG DIRECTORY
// The device has no chapter in the virtio specification; its one queue and its configuration (a length, then the tag) are as
// Linux's 9pnet_virtio expects them.
#pragma once

#include "devices/ninep_server.h"
#include "devices/virtio_pci.h"

namespace matryoshka {

class Virtio9p : public VirtioPci {
 public:
  Virtio9p(PciBus& pci, PciAddress address, GuestMemory& memory, FileTree& tree, const std::string& tag);

  const char* name() const override { return name_.c_str(); }  // with its slot, for there may be several
  void serialize(Archive& ar) override;

 private:
  void kicked(unsigned queue) override;
  void device_reset() override { server_.reset(); }
  ByteSpan device_config() override { return config_; }
  bool request(const VirtChain& chain, uint32_t& written);

  NinepServer server_;
  std::string name_;
  std::vector<uint8_t> config_;  // never changes
};

}  // namespace matryoshka
