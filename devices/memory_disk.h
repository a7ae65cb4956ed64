// A disk whose base image is never touched: what the guest writes goes to an overlay of 4 KiB clusters beside it, which is
// part of the machine's state.
#pragma once

#include <array>
#include <map>

#include "devices/block_backend.h"
#include "devices/bus/bytes.h"

namespace matryoshka {

class MemoryDisk : public BlockBackend {
 public:
  // The bytes stay the caller's and must outlive the disk; a last sector that is incomplete is filled up with zeroes.
  explicit MemoryDisk(ByteSpan base, bool read_only = false) : base_(base), read_only_(read_only) {}

  uint64_t sectors() const override { return (base_.size() + sector_size - 1) / sector_size; }
  bool read_only() const override { return read_only_; }
  bool read(uint64_t sector, std::span<uint8_t> bytes) override;
  bool write(uint64_t sector, std::span<const uint8_t> bytes) override;
  bool flush() override { return true; }
  void serialize(Archive& ar) override;

 private:
  static constexpr uint64_t cluster_size = 4096;
  using Cluster = std::array<uint8_t, cluster_size>;
  bool holds(uint64_t sector, uint64_t size) const;
  void read_base(uint64_t offset, std::span<uint8_t> bytes) const;

  ByteSpan base_;
  bool read_only_;
  std::map<uint64_t, Cluster> overlay_;  // by cluster number, in order: a snapshot is the same on every host
};

}  // namespace matryoshka
