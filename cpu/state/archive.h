// One pass over a part's saved fields, in either direction.
//
// A part describes its state once, as `void serialize(Archive& ar)`, and that function saves, loads and feeds the state
// hash. Numbers are little-endian and of fixed width, so a snapshot written natively loads in the page. Everything
// that is loaded is hostile: a read past the end, a boolean other than 0 or 1 or an index out of range marks the archive
// as failed, with a sentence, and later fields read as zero. The caller loads into a fresh object and throws it away if
// the archive has failed, so a refused snapshot never half-changes a running machine.
//
// What is saved grows with the program: a part that has grown asks for version() and leaves out what an older file has not.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

namespace matryoshka {

class Archive {
 public:
  static constexpr uint32_t newest = ~uint32_t{0};
  static Archive saving() { return Archive(nullptr, 0, newest); }
  static Archive loading(const uint8_t* data, size_t size, uint32_t version = newest) { return Archive(data, size, version); }

  bool is_loading() const { return source_ != nullptr; }
  uint32_t version() const { return version_; }  // of the section that is loaded; what is saved is of the newest
  bool ok() const { return error_.empty(); }
  const std::string& error() const { return error_; }
  size_t remaining() const { return size_ - position_; }
  std::vector<uint8_t>& output() { return output_; }

  void fail(std::string sentence) {
    if (error_.empty()) error_ = std::move(sentence);
  }
  // For facts that must hold of loaded values before anything uses them, such as an index below its bound.
  void require(bool holds, const char* sentence) {
    if (is_loading() && !holds) fail(sentence);
  }

  template <class... Fields>
  void operator()(Fields&... fields) {
    (field(fields), ...);
  }

  void bytes(void* data, size_t size) {
    if (!is_loading()) {
      const auto* from = static_cast<const uint8_t*>(data);
      output_.insert(output_.end(), from, from + size);
    } else if (!ok() || size > remaining()) {
      fail("the saved state ends too early");
      if (size != 0) std::memset(data, 0, size);
    } else {
      if (size != 0) std::memcpy(data, source_ + position_, size);
      position_ += size;
    }
  }

  // A variable-length part; `limit` is checked before anything is allocated.
  template <class T>
  void vector(std::vector<T>& items, size_t limit) {
    auto count = static_cast<uint32_t>(items.size());
    field(count);
    if (is_loading()) {
      if (count > limit || count > remaining()) return fail("the saved state has a list longer than the machine allows");
      items.assign(count, T{});
    }
    if constexpr (sizeof(T) == 1)
      bytes(items.data(), items.size());
    else
      for (T& item : items) field(item);
  }

  void string(std::string& text, size_t limit) {
    std::vector<char> characters(text.begin(), text.end());
    vector(characters, limit);
    if (is_loading()) text.assign(characters.begin(), characters.end());
  }

 private:
  Archive(const uint8_t* data, size_t size, uint32_t version) : source_(data), size_(size), version_(version) {}

  template <class T>
  void field(T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      uint8_t bit = value;
      bytes(&bit, 1);
      require(bit <= 1, "the saved state has a flag that is neither 0 nor 1");
      value = bit == 1;
    } else if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
      bytes(&value, sizeof value);
    } else if constexpr (std::is_array_v<T>) {
      for (auto& item : value) field(item);
    } else {
      value.serialize(*this);
    }
  }

  const uint8_t* source_;
  size_t size_;
  uint32_t version_;
  size_t position_ = 0;
  std::vector<uint8_t> output_;
  std::string error_;
};

}  // namespace matryoshka
