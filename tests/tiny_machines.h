// Machines for tiny guests, and snapshots of them in one piece.
#pragma once

#include <catch2/catch.hpp>
#include <regex>

#include "devices/machine/snapshot.h"
#include "tests/tiny_guests.h"

namespace matryoshka::tiny {

struct Listener : MachineListener {
  void output(Port port, uint8_t byte) override { text[static_cast<unsigned>(port)] += static_cast<char>(byte); }
  const std::string& serial() const { return text[0]; }
  std::string text[3];
};

inline MachineConfig configuration(Image kernel) {
  MachineConfig c;
  c.memory_bytes = 4 << 20;
  c.kernel = std::move(kernel);
  c.debug_exit_port = 0xf4;
  c.no_reboot = true;
  return c;
}

inline std::unique_ptr<Machine> make(MachineConfig config, MachineListener& listener) {
  std::string error;
  auto machine = Machine::create(std::move(config), listener, error);
  INFO(error);
  REQUIRE(machine);
  return machine;
}
inline std::unique_ptr<Machine> make(const Code& code, MachineListener& listener) {
  return make(configuration(multiboot(code)), listener);
}

inline Bytes save(Machine& machine, Machine::Extent extent = Machine::Extent::whole) {
  std::string error;
  auto writer = machine.save(extent, error);
  INFO(error);
  REQUIRE(writer);
  Bytes all;
  for (Bytes piece; writer->next(piece);) all.insert(all.end(), piece.begin(), piece.end());
  return all;
}

struct Loading {
  std::vector<DriveConfig> drives = {};
  Bytes base = {};
  size_t piece = 1 << 16;  // that many bytes at a time
};

// The machine, or null and a sentence.
inline std::unique_ptr<Machine> try_load(const Bytes& snapshot, MachineListener& listener, std::string& error,
                                         Loading from = {}) {
  SnapshotLoader loader(listener, std::move(from.drives), !from.base.empty());
  auto feed = [&](const Bytes& bytes) {
    for (size_t at = 0; at < bytes.size() && loader.add(&bytes[at], std::min(from.piece, bytes.size() - at));) at += from.piece;
  };
  std::unique_ptr<Machine> machine;
  if (!from.base.empty()) {
    feed(from.base);
    if (!loader.end_of_base()) return error = loader.error(), nullptr;
  }
  feed(snapshot);
  machine = loader.finish();
  error = loader.error();
  return machine;
}

inline std::unique_ptr<Machine> load(const Bytes& snapshot, MachineListener& listener, Loading from = {}) {
  std::string error;
  auto machine = try_load(snapshot, listener, error, std::move(from));
  INFO(error);
  REQUIRE(machine);
  return machine;
}

inline std::string refusal(const Bytes& snapshot, Loading from = {}) {
  Listener listener;
  std::string error;
  auto machine = try_load(snapshot, listener, error, std::move(from));
  return machine ? "" : error;
}

inline bool is_sentence(const std::string& text) { return std::regex_match(text, std::regex("[A-Z][^\\n]*[.]")); }

inline void type(Machine& machine, const std::string& text) {
  machine.input(Port::serial, reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

// The checksum of snapshots and recordings, written once more.
inline uint64_t checksum(const uint8_t* data, size_t size) {
  uint64_t state = 0x6d617472796f7368;
  auto mix = [&](uint64_t word) { state = (state ^ word) * 0x9fb21c651e98df25, state ^= state >> 29; };
  for (; size >= 8; data += 8, size -= 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);
    mix(word);
  }
  uint64_t rest = size;
  for (size_t i = 0; i < size; ++i) rest = rest << 8 | data[i];
  mix(rest);
  return state ^ state >> 32;
}

// Makes the checksum at the end right.
inline void seal(Bytes& file) {
  const uint64_t sum = checksum(file.data(), file.size() - 8);
  std::memcpy(file.data() + file.size() - 8, &sum, 8);
}

}  // namespace matryoshka::tiny
