// A workbench for one device: a clock that only moves when told to, wires and sinks that remember what came out of them,
// a little guest memory, a save and load through bytes, and a storm of nonsense accesses with a fixed seed.
//
//   Bench bench;
//   Uart uart(bench.clock, IrqLine(bench.irq, 4), bench.bytes);
//   uart.write(0, 1, 1, 0x02);
//   CHECK(bench.irq.level(4));
#pragma once

#include <catch2/catch.hpp>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cpu/state/archive.h"
#include "devices/bus/bus.h"
#include "devices/bus/clock.h"
#include "devices/bus/irq.h"

namespace matryoshka::bench {

constexpr uint64_t microsecond = 1'000, millisecond = 1'000'000, second = 1'000'000'000;

// Wires with a memory: the level of each now, and how often each has risen.
class Wires : public IrqSink {
 public:
  void set_irq(unsigned line, bool level) override {
    Wire& wire = wires_[line];
    if (level && !wire.level) ++wire.rises;
    wire.level = level;
  }
  bool level(unsigned line) const { return find(line).level; }
  unsigned rises(unsigned line) const { return find(line).rises; }
  void forget() { wires_.clear(); }

 private:
  struct Wire {
    bool level = false;
    unsigned rises = 0;
  };
  Wire find(unsigned line) const {
    auto found = wires_.find(line);
    return found == wires_.end() ? Wire{} : found->second;
  }
  std::map<unsigned, Wire> wires_;
};

class Messages : public MessageSink {
 public:
  struct Message {
    uint64_t address;
    uint32_t data;
    bool operator==(const Message&) const = default;
  };
  void deliver_message(uint64_t address, uint32_t data) override { sent.push_back({address, data}); }
  std::vector<Message> sent;
};

class Bytes : public ByteSink {
 public:
  void put(uint8_t byte) override { text.push_back(static_cast<char>(byte)); }
  std::string text;
};

// Guest memory from address 0; every byte beyond its end is nobody's.
class Memory : public GuestMemory {
 public:
  explicit Memory(size_t size) : data(size) {}
  bool read(uint64_t address, void* to, size_t size) const override {
    if (!holds(address, size)) return false;
    if (size != 0) std::memcpy(to, data.data() + address, size);
    return true;
  }
  bool write(uint64_t address, const void* from, size_t size) override {
    if (!holds(address, size)) return false;
    if (size != 0) std::memcpy(data.data() + address, from, size);
    return true;
  }
  std::vector<uint8_t> data;

 private:
  bool holds(uint64_t address, size_t size) const { return size <= data.size() && address <= data.size() - size; }
};

// Lets guest time pass, every timer firing at its own instant.
inline void pass_until(Clock& clock, uint64_t time) {
  while (clock.next_deadline() != Clock::never && clock.next_deadline() <= time) {
    clock.skip_to(clock.next_deadline());
    clock.run_due();
  }
  clock.skip_to(time);
}
inline void pass(Clock& clock, uint64_t nanoseconds) { pass_until(clock, clock.now() + nanoseconds); }

struct Bench {
  Clock clock;
  Wires irq;
  Messages messages;
  Bytes bytes;
  void pass(uint64_t nanoseconds) { bench::pass(clock, nanoseconds); }
  void pass_until(uint64_t time) { bench::pass_until(clock, time); }
  void pass_until_next() { pass_until(clock.next_deadline()); }
};

// The clock is part of every snapshot, since the deadlines of a device's timers are kept there.
template <class Part>
std::vector<uint8_t> save(Clock& clock, Part& part) {
  Archive ar = Archive::saving();
  clock.serialize(ar);
  part.serialize(ar);
  return ar.output();
}
// True if the whole of `saved`, no more and no less, was taken.
template <class Part>
bool load(Clock& clock, Part& part, const std::vector<uint8_t>& saved) {
  Archive ar = Archive::loading(saved.data(), saved.size());
  clock.serialize(ar);
  part.serialize(ar);
  return ar.ok() && ar.remaining() == 0;
}

// A window as the board would map it.
struct Window {
  unsigned number;
  uint64_t length;
  unsigned widest = 1;
};

// Random accesses to every window with time passing between them. Nothing is asserted here: the sanitizers watch.
inline void storm(Clock& clock, BusTarget& target, std::initializer_list<Window> windows, unsigned accesses = 20'000,
                  uint32_t seed = 1) {
  INFO("storm seed " << seed);
  std::mt19937 random(seed);
  for (unsigned i = 0; i < accesses; ++i) {
    const Window& window = windows.begin()[random() % windows.size()];
    unsigned size = 1u << random() % 4;
    while (size > window.widest || size > window.length) size /= 2;
    uint64_t offset = random() % (window.length - size + 1);
    uint64_t value = uint64_t{random()} << 32 | random();
    if (random() % 4 == 0) value &= 0xff;
    if (size < 8) value &= (uint64_t{1} << size * 8) - 1;
    if (random() % 3 == 0)
      target.read(window.number, offset, size);
    else
      target.write(window.number, offset, size, value);
    if (random() % 8 == 0) pass(clock, random() % (20 * microsecond));
  }
}

// Feeds `part`, made anew each time by `make(clock)`, damaged copies of a good snapshot and then a short storm: a load may
// succeed or fail, but must leave nothing behind that runs wild.
template <class Make>
void storm_of_snapshots(const std::vector<uint8_t>& good, Make make, std::initializer_list<Window> windows, unsigned rounds = 200,
                        uint32_t seed = 1) {
  std::mt19937 random(seed);
  for (unsigned round = 0; round < rounds; ++round) {
    std::vector<uint8_t> damaged = good;
    if (random() % 4 == 0) damaged.resize(random() % (damaged.size() + 1));
    for (unsigned i = 0, flips = random() % 16; i < flips && !damaged.empty(); ++i)
      damaged[random() % damaged.size()] = static_cast<uint8_t>(random());
    Clock clock;
    auto part = make(clock);
    if (load(clock, *part, damaged)) storm(clock, *part, windows, 200, static_cast<uint32_t>(random()));
  }
}

}  // namespace matryoshka::bench
