// Everything that reaches the machine from outside, with the tick at which it did: the one door for what is not determined by
// the guest's own history. Written down it is a recording; read back it is a replay.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/state/archive.h"
#include "devices/bus/clock.h"
#include "devices/machine/machine.h"

namespace matryoshka {

struct InputEvent {
  enum class Kind : uint8_t {
    serial,
    console,
    resize,
    ratio,
    skip,
    reset,
    power_button,
    caches_dropped,
    last = caches_dropped
  } kind;
  uint64_t tick = 0;
  uint64_t value = 0;  // resize: columns and rows; ratio and skip: their number
  Bytes bytes = {};
  static constexpr uint64_t most_ratio = uint64_t{1000} << 32;  // nanoseconds per tick, as Clock has them

  void serialize(Archive& ar) {
    ar(kind, tick, value);
    ar.vector(bytes, 1 << 20);
    ar.require(kind <= Kind::last, "the recording holds an input of an unknown kind");
    ar.require(kind != Kind::ratio || (value != 0 && value <= most_ratio), "the recording has an impossible rate of time");
    ar.require(kind != Kind::skip || value <= Clock::end_of_time, "the recording leads to the end of time");
  }
};

class InputLog {
 public:
  void start_recording() { recording_ = true, events_.clear(); }
  bool recording() const { return recording_; }
  bool replaying() const { return replaying_; }
  void add(const InputEvent& event) {
    if (recording_) events_.push_back(event);
  }
  // The tick of the next input of a replay, or ~0.
  uint64_t next_tick() const { return replaying_ && next_ < events_.size() ? events_[next_].tick : ~uint64_t{0}; }
  const InputEvent& take() { return events_[next_++]; }

  // A recording begins with the hash of the state that it starts from.
  Bytes write(uint64_t start_hash) const;
  bool read(const Bytes& bytes, uint64_t present_hash, std::string& error);

  uint64_t start_hash = 0;

 private:
  bool recording_ = false, replaying_ = false;
  size_t next_ = 0;
  std::vector<InputEvent> events_;
};

}  // namespace matryoshka
