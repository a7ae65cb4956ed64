// What a guest can do to devices, as operations that an input spells: accesses to ports, to memory and to configuration space,
// patterns in memory for DMA to find, and time that passes. The same for one device and for the whole board.
#pragma once

#include <array>
#include <functional>

#include "devices/bus/bus.h"
#include "tests/fuzz/fuzz.h"

namespace matryoshka::fuzz {

// A window of some device. An operation names it by number, so that hits are not rare.
struct Region {
  bool is_memory;
  uint64_t first, size;
};

inline uint32_t read_config(Bus& bus, unsigned function, unsigned offset, unsigned size = 4) {
  bus.write_port(0xcf8, 4, 0x80000000 | function << 8 | (offset & 0xfc));
  return bus.read_port(static_cast<uint16_t>(0xcfc + offset % 4), size);
}
inline void write_config(Bus& bus, unsigned function, unsigned offset, uint32_t value, unsigned size = 4) {
  bus.write_port(0xcf8, 4, 0x80000000 | function << 8 | (offset & 0xfc));
  bus.write_port(static_cast<uint16_t>(0xcfc + offset % 4), size, value);
}

// Where the functions' base addresses lie now.
inline std::vector<Region> pci_regions(Bus& bus) {
  std::vector<Region> regions;
  for (unsigned slot = 0; slot < 32; ++slot)
    for (unsigned bar = 0; bar < 6; ++bar) {
      const uint32_t value = read_config(bus, slot * 8, 0x10 + 4 * bar);
      if (value == 0 || value == ~uint32_t{0}) continue;
      regions.push_back({!(value & 1), value & (value & 1 ? ~3u : ~15u), value & 1 ? 0x40u : 0x4000u});
    }
  return regions;
}

class Operations {
 public:
  static constexpr unsigned most = 300;  // in one input

  struct Surroundings {
    Bus& bus;
    std::vector<Region> regions;
    uint64_t ram_size;
    std::function<void(uint64_t address, ByteSpan bytes)> fill;
    std::function<void(uint64_t ticks)> pass;
    std::function<void(Input& input)> special;  // what only this target can do
  };
  explicit Operations(Surroundings surroundings) : around_(std::move(surroundings)) {}

  void run(Input& input) {
    for (unsigned left = most; left > 0 && !input.empty(); --left) one(input);
  }

 private:
  void one(Input& input) {
    const uint8_t operation = input.take();
    const unsigned size = 1u << (operation >> 4 & 3);
    switch (operation & 15) {
      case 0:
      case 1: return read_region(input, size);
      case 2:
      case 3:
      case 4: return write_region(input, size);
      case 5:  // anywhere
        (void)around_.bus.read_port(input.take<uint16_t>(), std::min(size, 4u));
        return (void)around_.bus.read_memory(input.number(), size);
      case 6: {
        const auto port = input.take<uint16_t>();
        return around_.bus.write_port(port, std::min(size, 4u), input.take<uint32_t>());
      }
      case 7: {
        const uint64_t address = input.number();
        return around_.bus.write_memory(address, size, input.number());
      }
      case 8: {
        const unsigned function = input.take(), offset = input.take();
        return (void)read_config(around_.bus, function, offset, std::min(size, 4u));
      }
      case 9: {
        const unsigned function = input.take(), offset = input.take();
        return write_config(around_.bus, function, offset, input.take<uint32_t>(), std::min(size, 4u));
      }
      case 10: return poke_memory(input);
      case 11: return fill_memory(input);
      case 12: return around_.pass(uint64_t{input.take()} << (operation >> 4) % 9);
      default: return around_.special(input);
    }
  }

  // An access lies within one page, as a processor's always does.
  static uint64_t in_page(uint64_t address, unsigned size) {
    return (address & 4095) + size > 4096 ? address & ~uint64_t{7} : address;
  }

  void read_region(Input& input, unsigned size) {
    const Region& region = input.one_of(around_.regions);
    const uint64_t at = region.first + input.take<uint16_t>() % region.size;
    if (region.is_memory)
      (void)around_.bus.read_memory(in_page(at, size), size);
    else
      (void)around_.bus.read_port(static_cast<uint16_t>(at), std::min(size, 4u));
  }
  void write_region(Input& input, unsigned size) {
    const Region& region = input.one_of(around_.regions);
    const uint64_t at = region.first + input.take<uint16_t>() % region.size;
    const uint64_t value = size == 1   ? input.take()
                           : size == 2 ? input.take<uint16_t>()
                           : size == 4 ? input.take<uint32_t>()
                                       : input.number();
    if (region.is_memory)
      around_.bus.write_memory(in_page(at, size), size, value);
    else
      around_.bus.write_port(static_cast<uint16_t>(at), std::min(size, 4u), static_cast<uint32_t>(value));
  }
  void poke_memory(Input& input) {
    const uint64_t at = uint64_t{input.take<uint16_t>()} * 16 % around_.ram_size;
    around_.fill(at, input.bytes(input.take() % 64));
  }
  // A pattern that repeats, and grows by a step each time: whole tables of descriptors out of a few bytes.
  void fill_memory(Input& input) {
    const uint64_t at = uint64_t{input.take<uint16_t>()} * 16 % around_.ram_size;
    const unsigned times = input.take();
    const ByteSpan pattern = input.bytes(1 + input.take() % 16);
    if (pattern.empty()) return;
    const unsigned grows = input.take() % pattern.size();
    const uint8_t step = input.take();
    std::vector<uint8_t> bytes;
    for (unsigned i = 0; i < times; ++i) {
      append(bytes, pattern);
      bytes[bytes.size() - pattern.size() + grows] += static_cast<uint8_t>(step * i);
    }
    around_.fill(at, bytes);
  }

  Surroundings around_;
};

}  // namespace matryoshka::fuzz
