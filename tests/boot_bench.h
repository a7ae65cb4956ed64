// What the tests of the kernel loaders share: a machine with RAM and nothing else, and kernels made of a header and a
// recognizable body.
#pragma once

#include <catch2/catch.hpp>

#include "devices/bus/bytes.h"
#include "devices/machine/boot.h"
#include "tests/device_bench.h"

namespace matryoshka::bench {

constexpr size_t mebibyte = 1 << 20;

struct BootBench {
  explicit BootBench(size_t ram = 32 * mebibyte) : memory(ram) { request.ram_size = ram; }

  void module(const std::string& name, size_t size, uint8_t fill, const std::string& arguments = {}) {
    files.emplace_back(size, fill);
    request.modules.push_back({name, files.back(), arguments});
  }
  // The sentence of refusal, or nothing.
  std::string load(const std::vector<uint8_t>& kernel, const std::string& name = "kernel") {
    request.kernel = {name, kernel};
    return load_kernel(request, memory, entry);
  }
  template <class T>
  T get(uint64_t address) const {
    T value{};
    REQUIRE(memory.load(address, value));
    return value;
  }
  std::string text(uint64_t address) const {
    std::string found;
    for (char c; (c = get<char>(address)) != 0; ++address) found += c;
    return found;
  }

  Memory memory;
  BootRequest request;
  BootEntry entry;
  std::vector<std::vector<uint8_t>> files = [] {
    std::vector<std::vector<uint8_t>> all;
    all.reserve(16);  // the request holds spans of them
    return all;
  }();
};

// Loads the file cut off at every length, and with every byte of its headers turned over: each time either a sentence or an
// entry that lies in RAM, never more.
// "The kernel 'x' is damaged: why; what helps."
inline bool is_full_refusal(const std::string& said) {
  return (said.rfind("The kernel ", 0) == 0 || said.rfind("The initrd 'initrd' ", 0) == 0 ||
          said.rfind("The module 'initrd' ", 0) == 0 || said.rfind("The modules' names ", 0) == 0) &&
         said.find("; ") != std::string::npos && said.back() == '.' && said.find("..") == std::string::npos;
}

inline void damage(const std::vector<uint8_t>& good, size_t headers) {
  BootBench bench(4 * mebibyte);
  bench.module("initrd", 5000, 7);
  for (size_t length = 0; length < good.size(); length += length < headers ? 1 : 509) {
    INFO("cut at " << length);
    const std::string said = bench.load({good.begin(), good.begin() + static_cast<ptrdiff_t>(length)});
    if (!is_full_refusal(said)) FAIL(said);
  }
  for (size_t at = 0; at < headers; ++at)
    for (uint8_t flip : {0x01, 0x80, 0xff}) {
      std::vector<uint8_t> bad = good;
      bad[at] ^= flip;
      INFO("byte " << at << " xor " << unsigned{flip});
      const std::string said = bench.load(bad);
      if (said.empty())
        CHECK(bench.entry.rip < 4 * mebibyte);
      else if (!is_full_refusal(said))
        FAIL(said);
    }
}

}  // namespace matryoshka::bench
