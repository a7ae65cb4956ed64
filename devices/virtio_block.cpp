#include "devices/virtio_block.h"

#include <algorithm>

namespace matryoshka {

namespace {

enum RequestType : uint32_t { type_in = 0, type_out = 1, type_flush = 4, type_get_id = 8, type_write_zeroes = 13 };
constexpr uint64_t feature_seg_max = 1 << 2, feature_read_only = 1 << 5, feature_block_size = 1 << 6, feature_flush = 1 << 9,
                   feature_write_zeroes = 1 << 14;
constexpr uint16_t queue_size = 128;
constexpr uint32_t segments = queue_size - 2;  // one descriptor each for the header and the status
constexpr uint32_t most_zeroed = 2048;         // sectors

constexpr uint64_t sector_size = BlockBackend::sector_size;
constexpr size_t header_size = 16, id_size = 20, piece_size = 64 << 10;
constexpr uint64_t largest_request = 16 << 20;  // bytes
constexpr uint64_t most_at_once = 1 << 20;      // bytes; then the processor has its turn again

struct Header {
  uint32_t type, reserved;
  uint64_t sector;
};
struct ZeroRange {
  uint64_t sector;
  uint32_t count, flags;
};

}  // namespace

VirtioBlock::VirtioBlock(PciBus& pci, PciAddress address, GuestMemory& memory, Clock& clock, BlockBackend& disk,
                         std::string serial)
    : VirtioPci(
          pci, address, memory,
          {Type::block, 0x010000, 1, queue_size,
           feature_seg_max | feature_block_size | feature_flush | (disk.read_only() ? feature_read_only : feature_write_zeroes)}),
      disk_(disk),
      timer_(clock, [this] { work(); }),
      name_("virtio-blk-" + std::to_string(address.slot)),
      serial_(std::move(serial)) {
  poke<uint64_t>(config_, 0, disk.sectors());
  poke<uint32_t>(config_, 12, segments);
  poke<uint32_t>(config_, 20, sector_size);
  poke<uint16_t>(config_, 34, 1);  // queues
  poke<uint32_t>(config_, 48, most_zeroed);
  poke<uint32_t>(config_, 52, 1);  // ranges in one request
}

void VirtioBlock::serialize(Archive& ar) {
  VirtioPci::serialize(ar);
  disk_.serialize(ar);
}

void VirtioBlock::kicked(unsigned) {
  if (!timer_.armed()) timer_.arm(timer_.now() + latency);
}

void VirtioBlock::work() {
  moved_ = 0;
  serve(
      0, [this] { return moved_ < most_at_once; },
      [this](const VirtChain& chain, uint32_t& written) { return request(chain, written); });
  if (moved_ >= most_at_once && running()) timer_.arm(timer_.now() + latency);
}

// "Device Operation": a header, the data, and a last byte for the result.
bool VirtioBlock::request(const VirtChain& chain, uint32_t& written) {
  Header header;
  static_assert(sizeof header == header_size);
  if (chain.writable() == 0 || !chain.read(memory_, 0, &header, sizeof header)) return false;
  uint64_t given = chain.readable() - header_size, room = chain.writable() - 1;

  bool sound = true;  // the chain's memory is what it claims to be
  Result result = Result::unsupported;
  switch (header.type) {
    case type_in: result = transfer_in(chain, header.sector, room, sound); break;
    case type_out: result = transfer_out(chain, header.sector, given, sound); break;
    case type_flush: result = disk_.flush() ? Result::ok : Result::io_error; break;
    case type_get_id: {
      char id[id_size] = {};
      std::copy_n(serial_.begin(), std::min(serial_.size(), sizeof id), id);
      sound = chain.write(memory_, 0, id, std::min<uint64_t>(room, sizeof id));
      result = Result::ok;
      break;
    }
    case type_write_zeroes: result = write_zeroes(chain, given, sound); break;
  }
  written = header.type == type_in && result == Result::ok ? static_cast<uint32_t>(room + 1) : 1;
  return sound && chain.write(memory_, room, &result, 1);
}

bool VirtioBlock::on_disk(uint64_t sector, uint64_t size) const {
  uint64_t count = size / sector_size;
  return size % sector_size == 0 && size <= largest_request && count <= disk_.sectors() && sector <= disk_.sectors() - count;
}

VirtioBlock::Result VirtioBlock::transfer_in(const VirtChain& chain, uint64_t sector, uint64_t size, bool& sound) {
  if (!on_disk(sector, size)) return Result::io_error;
  std::vector<uint8_t> piece(std::min<uint64_t>(size, piece_size));
  for (uint64_t at = 0; at < size && sound; at += piece.size()) {
    std::span<uint8_t> bytes(piece.data(), std::min<uint64_t>(piece.size(), size - at));
    if (!disk_.read(sector + at / sector_size, bytes)) return Result::io_error;
    sound = chain.write(memory_, at, bytes.data(), bytes.size());
  }
  moved_ += size;
  return Result::ok;
}

VirtioBlock::Result VirtioBlock::transfer_out(const VirtChain& chain, uint64_t sector, uint64_t size, bool& sound) {
  if (!on_disk(sector, size) || disk_.read_only()) return Result::io_error;
  std::vector<uint8_t> piece(std::min<uint64_t>(size, piece_size));
  for (uint64_t at = 0; at < size; at += piece.size()) {
    std::span<uint8_t> bytes(piece.data(), std::min<uint64_t>(piece.size(), size - at));
    sound = chain.read(memory_, header_size + at, bytes.data(), bytes.size());
    if (!sound || !disk_.write(sector + at / sector_size, bytes)) return Result::io_error;
  }
  moved_ += size;
  return Result::ok;
}

VirtioBlock::Result VirtioBlock::write_zeroes(const VirtChain& chain, uint64_t size, bool& sound) {
  ZeroRange range;
  if (size != sizeof range || disk_.read_only()) return Result::unsupported;
  sound = chain.read(memory_, header_size, &range, sizeof range);
  if (!sound || range.count > most_zeroed || !on_disk(range.sector, range.count * sector_size)) return Result::io_error;
  std::vector<uint8_t> zeroes(range.count * sector_size);
  moved_ += zeroes.size();
  return disk_.write(range.sector, zeroes) ? Result::ok : Result::io_error;
}

}  // namespace matryoshka
