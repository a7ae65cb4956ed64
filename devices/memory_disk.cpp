#include "devices/memory_disk.h"

#include <algorithm>

namespace matryoshka {

bool MemoryDisk::holds(uint64_t sector, uint64_t size) const {
  uint64_t count = size / sector_size;
  return size % sector_size == 0 && count <= sectors() && sector <= sectors() - count;
}

void MemoryDisk::read_base(uint64_t offset, std::span<uint8_t> bytes) const {
  size_t there = offset < base_.size() ? std::min<uint64_t>(bytes.size(), base_.size() - offset) : 0;
  if (there != 0) std::memcpy(bytes.data(), base_.data() + offset, there);
  std::fill(bytes.begin() + static_cast<ptrdiff_t>(there), bytes.end(), uint8_t{0});
}

bool MemoryDisk::read(uint64_t sector, std::span<uint8_t> bytes) {
  if (!holds(sector, bytes.size())) return false;
  for (uint64_t offset = sector * sector_size; !bytes.empty();) {
    uint64_t within = offset % cluster_size;
    auto piece = bytes.first(std::min<uint64_t>(bytes.size(), cluster_size - within));
    auto found = overlay_.find(offset / cluster_size);
    if (found == overlay_.end())
      read_base(offset, piece);
    else
      std::copy_n(found->second.begin() + within, piece.size(), piece.begin());
    offset += piece.size();
    bytes = bytes.subspan(piece.size());
  }
  return true;
}

bool MemoryDisk::write(uint64_t sector, std::span<const uint8_t> bytes) {
  if (read_only_ || !holds(sector, bytes.size())) return false;
  for (uint64_t offset = sector * sector_size; !bytes.empty();) {
    uint64_t within = offset % cluster_size;
    auto piece = bytes.first(std::min<uint64_t>(bytes.size(), cluster_size - within));
    auto [found, fresh] = overlay_.try_emplace(offset / cluster_size);
    if (fresh) read_base(offset - within, found->second);
    std::copy(piece.begin(), piece.end(), found->second.begin() + within);
    offset += piece.size();
    bytes = bytes.subspan(piece.size());
  }
  return true;
}

void MemoryDisk::serialize(Archive& ar) {
  auto count = static_cast<uint64_t>(overlay_.size());
  ar(count);
  if (!ar.is_loading()) {
    for (auto& [number, cluster] : overlay_) {
      uint64_t key = number;
      ar(key);
      ar.bytes(cluster.data(), cluster.size());
    }
    return;
  }
  overlay_.clear();
  for (uint64_t i = 0; i < count && ar.ok(); ++i) {
    uint64_t number = 0;
    ar(number);
    ar.require(number < (sectors() * sector_size + cluster_size - 1) / cluster_size, "the saved disk has data beyond its end");
    if (ar.ok()) ar.bytes(overlay_[number].data(), cluster_size);
  }
}

}  // namespace matryoshka
