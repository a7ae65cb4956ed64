#include "devices/bus/clock.h"

#include <algorithm>

namespace matryoshka {

uint64_t Clock::ticks_at(uint64_t time) const {
  uint64_t present = now();
  if (time <= present) return ticks;
  if (ratio_ == uint64_t{1} << 32) return base_ticks_ + (time - base_now_);
  // The least count whose now() has reached `time`: round the division up.
  auto distance = static_cast<unsigned __int128>(time - base_now_) << 32;
  auto count = (distance + ratio_ - 1) / ratio_;
  return count > never - base_ticks_ ? never - 1 : base_ticks_ + static_cast<uint64_t>(count);
}

void Clock::skip_to(uint64_t time) {
  if (time <= now()) return;
  base_now_ = time;
  base_ticks_ = ticks;
}

void Clock::set_ratio(uint64_t ratio) {
  base_now_ = now();
  base_ticks_ = ticks;
  ratio_ = ratio == 0 ? 1 : ratio;
}

void Clock::run_due() {
  while (next_ <= now()) {
    auto due = std::min_element(timers_.begin(), timers_.end(),
                                [](const Timer* a, const Timer* b) { return a->deadline_ < b->deadline_; });
    (*due)->deadline_ = never;
    find_next();
    (*due)->fire_();
  }
}

void Clock::find_next() {
  next_ = never;
  for (const Timer* timer : timers_) next_ = std::min(next_, timer->deadline_);
}

void Clock::serialize(Archive& ar) {
  ar(ticks, base_ticks_, base_now_, ratio_);
  ar.require(base_ticks_ <= ticks && ratio_ != 0, "the saved clock runs backwards");
  auto since_base = static_cast<unsigned __int128>(ticks - base_ticks_) * ratio_ >> 32;
  ar.require(base_now_ <= end_of_time && since_base <= end_of_time, "the saved clock is at the end of time");
  for (Timer* timer : timers_) {
    if (timer->keeper_ == Timer::Keeper::owner) continue;
    ar(timer->deadline_);
    if (timer->deadline_ > end_of_time) timer->deadline_ = never;
  }
  find_next();
}

}  // namespace matryoshka
