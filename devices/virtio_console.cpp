#include "devices/virtio_console.h"

#include <algorithm>

namespace matryoshka {

namespace {

enum Queue : unsigned { receive_queue, transmit_queue };
constexpr uint64_t feature_size = 1 << 0, feature_emergency_write = 1 << 2;
constexpr size_t most_input = 64 << 10, most_output = 1 << 20, piece_size = 4 << 10;
// The configuration structure: columns, rows, ports, then the emergency register.
constexpr unsigned columns_at = 0, rows_at = 2, ports_at = 4, emergency_at = 8;

}  // namespace

VirtioConsole::VirtioConsole(PciBus& pci, PciAddress address, GuestMemory& memory, ByteSink& output)
    : VirtioPci(pci, address, memory, {Type::console, 0x078000, 2, 256, feature_size | feature_emergency_write}),
      output_(output) {}

void VirtioConsole::Saved::serialize(Archive& ar) {
  ar(columns, rows);
  ar.vector(input, most_input);
}

void VirtioConsole::reset() {
  saved_.input.clear();
  VirtioPci::reset();
}

void VirtioConsole::serialize(Archive& ar) {
  VirtioPci::serialize(ar);
  ar(saved_);
}

size_t VirtioConsole::receive(ByteSpan bytes) {
  size_t taken = std::min(bytes.size(), most_input - saved_.input.size());
  append(saved_.input, bytes.first(taken));
  deliver();
  return taken;
}

void VirtioConsole::resize(uint16_t columns, uint16_t rows) {
  if (saved_.columns == columns && saved_.rows == rows) return;
  saved_.columns = columns;
  saved_.rows = rows;
  notify_config();
}

void VirtioConsole::kicked(unsigned queue) {
  if (queue == receive_queue) return deliver();
  serve(transmit_queue, [this](const VirtChain& chain, uint32_t&) { return transmit(chain); });
}

void VirtioConsole::deliver() {
  size_t sent = 0;
  auto more = [&] { return sent < saved_.input.size(); };
  serve(receive_queue, more, [&](const VirtChain& chain, uint32_t& written) {
    size_t piece = std::min<uint64_t>(chain.writable(), saved_.input.size() - sent);
    if (!chain.write(memory_, 0, saved_.input.data() + sent, piece)) return false;
    sent += piece;
    written = static_cast<uint32_t>(piece);
    return true;
  });
  saved_.input.erase(saved_.input.begin(), saved_.input.begin() + static_cast<ptrdiff_t>(sent));
}

bool VirtioConsole::transmit(const VirtChain& chain) {
  uint64_t size = chain.readable();
  if (size > most_output) return false;
  uint8_t piece[piece_size];
  for (uint64_t at = 0; at < size;) {
    size_t count = std::min<uint64_t>(sizeof piece, size - at);
    if (!chain.read(memory_, at, piece, count)) return false;
    for (size_t i = 0; i < count; ++i) output_.put(piece[i]);
    at += count;
  }
  return true;
}

ByteSpan VirtioConsole::device_config() {
  poke(config_, columns_at, saved_.columns);
  poke(config_, rows_at, saved_.rows);
  poke(config_, ports_at, uint32_t{1});
  return config_;
}

void VirtioConsole::write_device_config(uint64_t offset, unsigned, uint64_t value) {
  if (offset == emergency_at) output_.put(static_cast<uint8_t>(value));
}

}  // namespace matryoshka
