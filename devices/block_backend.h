// What lies behind a disk: sectors of 512 bytes, wherever they are kept.
#pragma once

#include <cstdint>
#include <span>

#include "cpu/state/archive.h"

namespace matryoshka {

class BlockBackend {
 public:
  static constexpr uint64_t sector_size = 512;

  virtual ~BlockBackend() = default;
  virtual uint64_t sectors() const = 0;
  virtual bool read_only() const = 0;
  // A whole number of sectors. False if any of them is bad or does not exist.
  [[nodiscard]] virtual bool read(uint64_t sector, std::span<uint8_t> bytes) = 0;
  [[nodiscard]] virtual bool write(uint64_t sector, std::span<const uint8_t> bytes) = 0;
  [[nodiscard]] virtual bool flush() = 0;
  // What has been written, if it is kept here and not in the file below.
  virtual void serialize(Archive&) {}
};

}  // namespace matryoshka
