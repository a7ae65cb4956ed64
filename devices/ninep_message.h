// The fields of 9P messages: little-endian numbers, and strings that carry their length in two bytes.
#pragma once

#include <string>
#include <vector>

#include "devices/bus/bytes.h"

namespace matryoshka {

// What a client sent. A field beyond the end reads as nothing and leaves the reader not ok.
class NinepReader {
 public:
  explicit NinepReader(ByteSpan bytes) : rest_(bytes) {}
  bool ok() const { return ok_; }
  size_t remaining() const { return rest_.size(); }

  template <std::integral T>
  T number() {
    ByteSpan field = bytes(sizeof(T));
    return field.empty() ? T{} : peek<T>(field, 0);
  }
  std::string string() {
    ByteSpan text = bytes(number<uint16_t>());
    return {text.begin(), text.end()};
  }
  ByteSpan bytes(size_t size) {
    if (size > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    ByteSpan taken = rest_.first(size);
    rest_ = rest_.subspan(size);
    return taken;
  }

 private:
  ByteSpan rest_;
  bool ok_ = true;
};

// An answer: its header, then fields, never more than there is room for.
class NinepWriter {
 public:
  static constexpr size_t header_size = 7;

  NinepWriter(uint8_t type, uint16_t tag, size_t room) : room_(room) {
    append<uint32_t>(bytes_, 0);
    append(bytes_, type);
    append(bytes_, tag);
  }
  bool fits(size_t more) const { return more <= room_ && bytes_.size() <= room_ - more; }
  size_t left() const { return bytes_.size() < room_ ? room_ - bytes_.size() : 0; }

  template <std::integral T>
  NinepWriter& number(T value) {
    append(bytes_, value);
    return *this;
  }
  NinepWriter& string(const std::string& text) {
    append(bytes_, static_cast<uint16_t>(text.size()));
    append(bytes_, std::string_view(text));
    return *this;
  }
  NinepWriter& qid(uint32_t mode, uint64_t node) {
    constexpr uint32_t kind_mask = 0170000, directory = 0040000, symlink = 0120000;
    uint32_t kind = mode & kind_mask;
    return number<uint8_t>(kind == directory ? 0x80 : kind == symlink ? 0x02 : 0x00).number<uint32_t>(0).number<uint64_t>(node);
  }
  // A place of `size` bytes to be filled in, which the caller knows to fit.
  std::span<uint8_t> reserve(size_t size) {
    bytes_.resize(bytes_.size() + size);
    return std::span(bytes_).last(size);
  }
  void shrink(size_t by) { bytes_.resize(bytes_.size() - by); }
  template <std::integral T>
  void patch(size_t offset, T value) {
    poke(bytes_, offset, value);
  }
  size_t size() const { return bytes_.size(); }

  // The whole message with its length, or nothing if it has grown out of its room.
  std::vector<uint8_t> take() {
    if (bytes_.size() > room_) return {};
    patch(0, static_cast<uint32_t>(bytes_.size()));
    return std::move(bytes_);
  }

 private:
  size_t room_;
  std::vector<uint8_t> bytes_;
};

}  // namespace matryoshka
