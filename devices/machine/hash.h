// A 64-bit hash over words, strong enough to tell states apart and fast enough for all of RAM; not against an adversary. Bytes
// may come in pieces of any size; finish() ends a message, and another may follow it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace matryoshka {

class Hash {
 public:
  void feed(const uint8_t* data, size_t size) {
    while (held_ != 0 && size != 0) {
      hold(*data++);
      --size;
    }
    for (; size >= 8; data += 8, size -= 8) {
      uint64_t word;
      std::memcpy(&word, data, 8);
      mix(word);
    }
    for (; size != 0; --size) hold(*data++);
  }
  void finish() {
    uint64_t rest = held_;
    for (size_t i = 0; i < held_; ++i) rest = rest << 8 | held_bytes_[i];
    mix(rest);
    held_ = 0;
  }
  void add(const uint8_t* data, size_t size) {
    feed(data, size);
    finish();
  }
  uint64_t value() const { return state_ ^ state_ >> 32; }

 private:
  // The bytes of a word that is not whole yet.
  void hold(uint8_t byte) {
    held_bytes_[held_++] = byte;
    if (held_ != 8) return;
    uint64_t word;
    std::memcpy(&word, held_bytes_, 8);
    mix(word);
    held_ = 0;
  }
  void mix(uint64_t word) {
    state_ = (state_ ^ word) * 0x9fb21c651e98df25;
    state_ ^= state_ >> 29;
  }
  uint64_t state_ = 0x6d617472796f7368;
  uint8_t held_bytes_[8];
  size_t held_ = 0;
};

}  // namespace matryoshka
