// Numbers inside strings of bytes, as the tables and headers of a PC hold them: little-endian and unaligned.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace matryoshka {

using ByteSpan = std::span<const uint8_t>;

// What lies beyond the end reads as zero, so that a header that ends early is merely a bad header.
template <class T>
T peek(ByteSpan bytes, size_t offset) {
  T value{};
  if (offset <= bytes.size() && sizeof value <= bytes.size() - offset) std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// The caller owns the bytes and knows that the offset lies within them.
template <class T>
void poke(std::span<uint8_t> bytes, size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}
template <std::integral T>
void append(std::vector<uint8_t>& bytes, T value) {
  bytes.resize(bytes.size() + sizeof value);
  std::memcpy(bytes.data() + bytes.size() - sizeof value, &value, sizeof value);
}
inline void append(std::vector<uint8_t>& bytes, std::string_view text) { bytes.insert(bytes.end(), text.begin(), text.end()); }
inline void append(std::vector<uint8_t>& bytes, ByteSpan more) { bytes.insert(bytes.end(), more.begin(), more.end()); }
inline void append(std::vector<uint8_t>& bytes, const std::vector<uint8_t>& more) { append(bytes, ByteSpan(more)); }

constexpr uint64_t align_down(uint64_t value, uint64_t alignment) { return value & ~(alignment - 1); }
constexpr uint64_t align_up(uint64_t value, uint64_t alignment) { return align_down(value + alignment - 1, alignment); }

}  // namespace matryoshka
