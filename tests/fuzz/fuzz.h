// What every fuzz target has: a function from bytes to nothing that must come back, and a way to say what must hold.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "devices/bus/bytes.h"

namespace matryoshka::fuzz {

// Bytes that are taken from the front. At the end come zeroes, so a short input is as good as a long one.
class Input {
 public:
  explicit Input(ByteSpan bytes) : rest_(bytes) {}
  bool empty() const { return rest_.empty(); }
  size_t size() const { return rest_.size(); }

  template <std::integral T = uint8_t>
  T take() {
    T value = rest_.size() >= sizeof(T) ? peek<T>(rest_, 0) : rest_.empty() ? T{} : static_cast<T>(rest_[0]);
    rest_ = rest_.subspan(std::min(sizeof(T), rest_.size()));
    return value;
  }
  ByteSpan bytes(size_t most) {
    ByteSpan taken = rest_.first(std::min(most, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }
  ByteSpan all() { return bytes(rest_.size()); }
  template <class Table>
  const auto& one_of(const Table& table) {
    return table[take() % std::size(table)];
  }
  // Mostly a power of two and a little: the numbers at which sizes and addresses break.
  uint64_t number() {
    uint8_t shape = take();
    if (shape & 0x80) return take<uint64_t>();
    return (uint64_t{1} << (shape & 63)) + static_cast<uint64_t>(int64_t{take<int8_t>()});
  }

 private:
  ByteSpan rest_;
};

// Ends the run where `holds` is false; libFuzzer then writes the input down.
inline void expect(bool holds, const char* sentence) {
  if (holds) return;
  std::fprintf(stderr, "This does not hold: %s\n", sentence);
  std::abort();
}

struct Target {
  const char* name;
  void (*run)(Input input);
};

#define TARGET(name) void name(Input input);
#include "tests/fuzz/targets.def"
#undef TARGET

inline constexpr Target targets[] = {
#define TARGET(name) {#name, name},
#include "tests/fuzz/targets.def"
#undef TARGET
};

}  // namespace matryoshka::fuzz
