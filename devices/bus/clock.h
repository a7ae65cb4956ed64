// One nanosecond clock feeds the TSC, the APIC timer, the PIT, the HPET, the PM timer and the RTC.
//
// Guest time is made of ticks: the processor counts one for each instruction attempted, each REP iteration and each event
// delivered, and a tick is one nanosecond times a ratio (1 under --clock virtual; under --clock host it is chosen again at
// slice ends, as a logged input). A halted processor skips ahead to the next deadline, which is a tick, too. So `now()` depends
// on nothing but the guest's own history, and a run repeats bit for bit.
//
// A device owns Timers. Arming one may bring the next deadline nearer; the processor never runs past the next deadline, and
// what is due fires between two instructions, in order of deadline, then of registration.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "cpu/state/archive.h"

namespace matryoshka {

class Clock {
 public:
  static constexpr uint64_t never = ~uint64_t{0};
  // 146 years. What would come later never comes: a guest that sleeps until then would wake where sums of times wrap round.
  static constexpr uint64_t end_of_time = never / 4;

  class Timer {
   public:
    // Who remembers the deadline in a snapshot: the clock, or the timer's owner, which arms it again.
    enum class Keeper : uint8_t { clock, owner };
    // Registers with the clock for good: timers are made with the board, in one order, before anything runs.
    Timer(Clock& clock, std::function<void()> fire, Keeper keeper = Keeper::clock)
        : clock_(clock), fire_(std::move(fire)), keeper_(keeper) {
      clock.timers_.push_back(this);
    }
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

    void arm(uint64_t deadline) {
      deadline_ = deadline <= end_of_time ? deadline : never;
      clock_.find_next();
    }
    void cancel() { arm(never); }
    bool armed() const { return deadline_ != never; }
    uint64_t deadline() const { return deadline_; }
    uint64_t now() const { return clock_.now(); }

   private:
    friend class Clock;
    Clock& clock_;
    std::function<void()> fire_;
    Keeper keeper_;
    uint64_t deadline_ = never;
  };

  // The processor counts its ticks here; between blocks this is exact, and within one the processor brings it up to date
  // before it calls anything that could ask.
  uint64_t ticks = 0;

  uint64_t now() const { return base_now_ + (static_cast<unsigned __int128>(ticks - base_ticks_) * ratio_ >> 32); }
  uint64_t next_deadline() const { return next_; }
  // The tick count at which the next deadline is due, at least the present one.
  uint64_t next_deadline_ticks() const { return next_ == never ? never : ticks_at(next_); }
  uint64_t ticks_at(uint64_t time) const;

  // The processor has nothing to do before `time`.
  void skip_to(uint64_t time);
  // Nanoseconds per tick, in 32.32 fixed point.
  void set_ratio(uint64_t ratio);
  // Fires all that is due.
  void run_due();

  void serialize(Archive& ar);

 private:
  void find_next();
  uint64_t base_ticks_ = 0;
  uint64_t base_now_ = 0;
  uint64_t ratio_ = uint64_t{1} << 32;
  uint64_t next_ = never;
  std::vector<Timer*> timers_;
};

}  // namespace matryoshka
