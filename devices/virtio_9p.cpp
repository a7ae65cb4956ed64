#include "devices/virtio_9p.h"

#include <algorithm>

namespace matryoshka {

namespace {

constexpr uint64_t feature_mount_tag = 1 << 0;
constexpr size_t longest_tag = 255;

}  // namespace

Virtio9p::Virtio9p(PciBus& pci, PciAddress address, GuestMemory& memory, FileTree& tree, const std::string& tag)
    : VirtioPci(pci, address, memory, {Type::ninep, 0x018000, 1, 128, feature_mount_tag}),
      server_(tree),
      name_("virtio-9p-" + std::to_string(address.slot)) {
  std::string cut = tag.substr(0, longest_tag);
  append(config_, static_cast<uint16_t>(cut.size()));
  append(config_, std::string_view(cut));
}

void Virtio9p::serialize(Archive& ar) {
  VirtioPci::serialize(ar);
  ar(server_);
}

void Virtio9p::kicked(unsigned queue) {
  serve(queue, [this](const VirtChain& chain, uint32_t& written) { return request(chain, written); });
}

bool Virtio9p::request(const VirtChain& chain, uint32_t& written) {
  if (chain.readable() > NinepServer::largest_message) return false;
  std::vector<uint8_t> message(chain.readable());
  if (!chain.read(memory_, 0, message.data(), message.size())) return false;
  auto room = static_cast<size_t>(std::min<uint64_t>(chain.writable(), NinepServer::largest_message));
  std::vector<uint8_t> answer = server_.handle(message, room);
  written = static_cast<uint32_t>(answer.size());
  return !answer.empty() && chain.write(memory_, 0, answer.data(), answer.size());
}

}  // namespace matryoshka
