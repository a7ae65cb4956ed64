#include "devices/hpet.h"

#include <utility>

namespace matryoshka {
namespace {

constexpr uint64_t period_ns = 100;
constexpr uint64_t period_fs = period_ns * 1'000'000;
static_assert(period_fs <= 0x05f5'e100, "the specification's longest period");

enum Register : uint64_t {
  capabilities = 0x000,
  general_configuration = 0x010,
  interrupt_status = 0x020,
  main_counter = 0x0f0,
  timers = 0x100,
};
constexpr uint64_t timer_stride = 0x20;
enum TimerRegister : uint64_t { timer_configuration = 0x00, timer_comparator = 0x08, timer_message = 0x10 };

// Revision 1, three timers, a 64-bit counter, legacy replacement, Intel.
constexpr uint64_t capabilities_value =
    period_fs << 32 | uint64_t{0x8086} << 16 | 1 << 15 | 1 << 13 | (Hpet::timer_count - 1) << 8 | 1;

namespace general {
constexpr uint64_t enable = 1, legacy_replacement = 2;
}
namespace timer_bit {
constexpr uint64_t level = 1 << 1, enable = 1 << 2, periodic = 1 << 3, can_be_periodic = 1 << 4, is_64_bit = 1 << 5,
                   set_value = 1 << 6, force_32_bit = 1 << 8, fsb = 1 << 14, can_fsb = 1 << 15;
constexpr unsigned route_at = 9;
constexpr uint64_t route = 0x1f << route_at;
constexpr uint64_t fixed = uint64_t{Hpet::routes} << 32 | can_be_periodic | is_64_bit | can_fsb;
constexpr uint64_t written = level | enable | periodic | set_value | force_32_bit | route | fsb;
}  // namespace timer_bit

}  // namespace

Hpet::Hpet(Clock& clock, Outputs outputs)
    : clock_(clock),
      outputs_(std::move(outputs)),
      timers_{{clock, [this] { settle(0), schedule(0); }}, {clock, [this] { settle(1), schedule(1); }}, {clock, [this] {
                                                                                                           settle(2), schedule(2);
                                                                                                         }}} {}

void Hpet::reset() {
  for (unsigned i = 0; i < timer_count; ++i) drive(i, false);
  bool legacy = legacy_replacement();
  saved_ = Saved{};
  for (unsigned i = 0; i < timer_count; ++i) schedule(i);
  if (legacy && outputs_.legacy_replacement) outputs_.legacy_replacement(false);
}

uint64_t Hpet::count() const { return running() ? clock_.now() / period_ns + saved_.offset : saved_.halted_count; }

// --- One comparator ------------------------------------------------------------------------------------------------------

bool Hpet::Comparator::periodic() const { return configuration & timer_bit::periodic; }

uint64_t Hpet::Comparator::mask() const { return configuration & timer_bit::force_32_bit ? 0xffff'ffff : ~uint64_t{0}; }

// How many counts after the one that follows `seen` the next match comes.
uint64_t Hpet::Comparator::distance() const { return (value - seen - 1) & mask(); }

// True if the main counter has matched since last time. A periodic comparator then moves on past the present.
bool Hpet::Comparator::settle(uint64_t count) {
  uint64_t elapsed = count - seen;
  bool matched = distance() < elapsed;
  if (matched && periodic() && period != 0) {
    uint64_t late = elapsed - 1 - distance();
    value = (value + (late / period + 1) * period) & mask();
  }
  seen = count;
  return matched;
}

// --- Interrupts ----------------------------------------------------------------------------------------------------------

// Lets the matches of the past have their effect.
void Hpet::settle(unsigned timer) {
  Comparator& t = saved_.comparators[timer];
  if (running() && t.settle(count())) strike(timer);
}

void Hpet::strike(unsigned timer) {
  Comparator& t = saved_.comparators[timer];
  bool enabled = t.configuration & timer_bit::enable;
  if (t.configuration & timer_bit::level) {
    t.active = true;
    update(timer);
  } else if (enabled && t.configuration & timer_bit::fsb) {
    if (outputs_.messages) outputs_.messages->deliver_message(t.message >> 32, static_cast<uint32_t>(t.message));
  } else if (enabled) {
    drive(timer, false);
    drive(timer, true);
  }
}

bool Hpet::may_send(const MessageTest& wanted) const {
  for (const Comparator& t : saved_.comparators) {
    constexpr uint64_t by_message = timer_bit::enable | timer_bit::fsb;
    bool armed = running() && (t.configuration & (by_message | timer_bit::level)) == by_message;
    if (armed && wanted(t.message >> 32, static_cast<uint32_t>(t.message))) return true;
  }
  return false;
}

// The wire of a level-triggered timer follows its status bit.
void Hpet::update(unsigned timer) {
  const Comparator& t = saved_.comparators[timer];
  constexpr uint64_t wanted = timer_bit::level | timer_bit::enable;
  bool by_wire = (t.configuration & (wanted | timer_bit::fsb)) == wanted;
  drive(timer, by_wire && t.active);
}

void Hpet::drive(unsigned timer, bool level) {
  Comparator& t = saved_.comparators[timer];
  if (t.output == level) return;
  t.output = level;
  if (legacy_replacement() && timer < 2)
    (timer == 0 ? outputs_.irq0 : outputs_.irq8).set(level);
  else if (auto route = (t.configuration & timer_bit::route) >> timer_bit::route_at; routes >> route & 1 && outputs_.io_apic)
    outputs_.io_apic->set_irq(static_cast<unsigned>(route), level);
}

// Nobody needs waking for a match that neither interrupts nor sets a status bit.
void Hpet::schedule(unsigned timer) {
  const Comparator& t = saved_.comparators[timer];
  bool in_this_age = t.distance() < Clock::never / period_ns / 2;
  bool wanted = running() && t.configuration & timer_bit::enable && in_this_age;
  uint64_t target = t.seen + 1 + t.distance() - saved_.offset;  // in the clock's periods
  timers_[timer].arm(wanted ? target * period_ns : Clock::never);
}

// --- Registers -----------------------------------------------------------------------------------------------------------

uint64_t Hpet::read(unsigned, uint64_t offset, unsigned) { return read_register(offset & ~uint64_t{7}) >> (offset & 7) * 8; }

// A write of half a register leaves the other half as it is.
void Hpet::write(unsigned, uint64_t offset, unsigned size, uint64_t value) {
  unsigned shift = (offset & 7) * 8;
  uint64_t written = (size == 8 ? ~uint64_t{0} : (uint64_t{1} << size * 8) - 1) << shift;
  write_register(offset & ~uint64_t{7}, value << shift & written, written);
}

uint64_t Hpet::read_register(uint64_t offset) {
  for (unsigned i = 0; i < timer_count; ++i) settle(i);
  switch (offset) {
    case capabilities: return capabilities_value;
    case general_configuration: return saved_.configuration;
    case interrupt_status: {
      uint64_t status = 0;
      for (unsigned i = 0; i < timer_count; ++i) status |= uint64_t{saved_.comparators[i].active} << i;
      return status;
    }
    case main_counter: return count();
  }
  if (offset < timers || offset >= timers + timer_count * timer_stride) return 0;
  const Comparator& t = saved_.comparators[(offset - timers) / timer_stride];
  switch ((offset - timers) % timer_stride) {
    case timer_configuration: return t.configuration | timer_bit::fixed;
    case timer_comparator: return t.value;
    case timer_message: return t.message;
    default: return 0;
  }
}

void Hpet::write_register(uint64_t offset, uint64_t value, uint64_t written) {
  for (unsigned i = 0; i < timer_count; ++i) settle(i);
  auto merge = [&](uint64_t old) { return (old & ~written) | value; };
  switch (offset) {
    case general_configuration: return write_configuration(merge(saved_.configuration));
    case interrupt_status:
      for (unsigned i = 0; i < timer_count; ++i) {
        if (!(value >> i & 1)) continue;
        saved_.comparators[i].active = false;
        if (saved_.comparators[i].configuration & timer_bit::level) update(i);
      }
      return;
    case main_counter: return write_counter(merge(count()));
  }
  if (offset < timers || offset >= timers + timer_count * timer_stride) return;
  auto timer = static_cast<unsigned>((offset - timers) / timer_stride);
  Comparator& t = saved_.comparators[timer];
  switch ((offset - timers) % timer_stride) {
    case timer_configuration: write_timer_configuration(timer, merge(t.configuration)); break;
    case timer_comparator: write_comparator(timer, value, written); break;
    case timer_message: t.message = merge(t.message); break;
  }
}

void Hpet::write_configuration(uint64_t value) {
  value &= general::enable | general::legacy_replacement;
  uint64_t changed = value ^ saved_.configuration;
  uint64_t present = count();
  if (changed & general::legacy_replacement)
    for (unsigned i = 0; i < timer_count; ++i) drive(i, false);
  saved_.configuration = value;
  if (changed & general::enable) {
    saved_.halted_count = present;
    saved_.offset = running() ? present - clock_.now() / period_ns : 0;
  }
  if (changed & general::legacy_replacement && outputs_.legacy_replacement) outputs_.legacy_replacement(legacy_replacement());
  for (unsigned i = 0; i < timer_count; ++i) {
    if (saved_.comparators[i].configuration & timer_bit::level) update(i);
    schedule(i);
  }
}

void Hpet::write_counter(uint64_t value) {
  saved_.halted_count = value;
  if (running()) saved_.offset = value - clock_.now() / period_ns;
  // A comparator that holds this very count matches.
  for (unsigned i = 0; i < timer_count; ++i) {
    saved_.comparators[i].seen = value - 1;
    schedule(i);
  }
}

void Hpet::write_timer_configuration(unsigned timer, uint64_t value) {
  Comparator& t = saved_.comparators[timer];
  drive(timer, false);
  t.configuration = value & timer_bit::written;
  t.value &= t.mask();
  t.period &= t.mask();
  t.active = t.active && t.configuration & timer_bit::level;
  update(timer);
  schedule(timer);
}

// In periodic mode every write sets the period; the comparator itself is set only straight after VAL_SET was written.
void Hpet::write_comparator(unsigned timer, uint64_t value, uint64_t written) {
  Comparator& t = saved_.comparators[timer];
  if (!t.periodic() || t.configuration & timer_bit::set_value) {
    t.value = ((t.value & ~written) | value) & t.mask();
    t.seen = count() - 1;
  }
  if (t.periodic()) t.period = ((t.period & ~written) | value) & t.mask();
  t.configuration &= ~timer_bit::set_value;
  schedule(timer);
}

void Hpet::serialize(Archive& ar) { ar(saved_); }

void Hpet::Saved::serialize(Archive& ar) {
  ar(configuration, halted_count, offset, comparators);
  ar.require((configuration & ~(general::enable | general::legacy_replacement)) == 0,
             "the HPET's saved configuration has bits that do not exist");
}

void Hpet::Comparator::serialize(Archive& ar) {
  ar(configuration, value, period, message, seen, active, output);
  ar.require((configuration & ~timer_bit::written) == 0, "an HPET timer's saved configuration has bits that do not exist");
  ar.require(((value | period) & ~mask()) == 0, "an HPET timer's saved comparator is wider than it can be");
}

}  // namespace matryoshka
