#include "devices/pit.h"

namespace matryoshka {
namespace {

using uint128 = unsigned __int128;
constexpr uint64_t second = 1'000'000'000;

constexpr uint64_t instant_at(uint64_t time) {
  return static_cast<uint64_t>(static_cast<uint128>(time) * Pit::frequency / second);
}

// The first nanosecond of an instant: the exact inverse, so a timer armed for it never fires early.
constexpr uint64_t time_of(uint64_t instant) {
  uint128 time = (static_cast<uint128>(instant) * second + Pit::frequency - 1) / Pit::frequency;
  return time < Clock::never ? static_cast<uint64_t>(time) : Clock::never;
}

// The control register and the commands written to it.
constexpr unsigned control_register = 3;
constexpr unsigned read_back = 3;
namespace read_back_command {
constexpr uint8_t no_count = 0x20, no_status = 0x10;
}

namespace port61 {
constexpr uint8_t gate2 = 0x01, written = 0x0f, refresh = 0x10, out2 = 0x20;
}
// Counter 1 asked for a memory refresh every 18 periods; its flip-flop is all that is left of it.
constexpr uint64_t refresh_period = 18;

constexpr uint32_t from_bcd(uint16_t v) { return (v >> 12) * 1000u + (v >> 8 & 15) * 100u + (v >> 4 & 15) * 10u + (v & 15); }
constexpr uint16_t to_bcd(uint32_t v) {
  return static_cast<uint16_t>(v / 1000 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10);
}

}  // namespace

Pit::Pit(Clock& clock, IrqLine irq0) : clock_(clock), irq_(irq0), timer_(clock, [this] { settle(0), schedule(); }) {
  saved_.counters[2].gate = false;
}

void Pit::reset() {
  saved_ = Saved{};
  saved_.counters[2].gate = false;
  irq_.lower();
  schedule();
}

Pit::Instant Pit::now() const { return instant_at(clock_.now()); }

// Brings a counter up to the present; IRQ0 follows counter 0, and an edge that came and went still shows.
void Pit::settle(unsigned counter) {
  bool rose = saved_.counters[counter].settle(now());
  if (counter != 0) return;
  if (rose) irq_.lower();
  irq_.set(saved_.counters[0].out);
}

void Pit::schedule() {
  Instant next = saved_.counters[0].next_event();
  timer_.arm(next == never ? Clock::never : time_of(next));
}

// --- One counter ---------------------------------------------------------------------------------------------------------

// The counting element as it would be read, 0 to modulus - 1 except that a fresh modulus stands for 0.
uint32_t Pit::Counter::element(Instant now) const {
  if (!counting || now <= start) return value;
  Instant elapsed = now - start;
  switch (mode) {
    case rate_generator: return period - static_cast<uint32_t>(elapsed);
    case square_wave:
      // Counts by twos from the even part of the count, once in each half.
      return (period & ~1u) - 2 * static_cast<uint32_t>(elapsed);
    default: return (value + modulus() - static_cast<uint32_t>(elapsed % modulus())) % modulus();
  }
}

// The next instant at which the output changes or the counting element is loaded.
Pit::Instant Pit::Counter::next_event() const {
  Instant change = never;
  if (counting) {
    switch (mode) {
      case rate_generator: change = start + (out ? period - 1 : period); break;
      case square_wave: change = start + (out ? (period + 1) / 2 : period / 2); break;
      case terminal_count:
      case one_shot:
        if (!done) change = start + value;
        break;
      case software_strobe:
      case hardware_strobe:
        if (!done || !out) change = start + value + (out ? 0 : 1);
        break;
    }
  }
  return change < load_at ? change : load_at;
}

// Lets everything happen that is due by `now`; true if the output rose.
bool Pit::Counter::settle(Instant now) {
  bool rose = false;
  for (;;) {
    skip_cycles(now);
    Instant event = next_event();
    if (event > now) return rose;
    bool before = out;
    if (event == load_at)
      load(event);
    else
      output_event(event);
    rose |= out && !before;
  }
}

// A counter nobody looked at for hours has run through the same cycle millions of times: take all but the last at once.
void Pit::Counter::skip_cycles(Instant now) {
  if (!periodic() || !counting || load_at != never || period != count || now <= start) return;
  Instant cycles = (now - start) / period;
  if (cycles > 1) start += (cycles - 1) * period;
}

void Pit::Counter::load(Instant when) {
  load_at = never;
  start = when;
  value = period = count;
  counting = triggered() || gate;
  done = false;
  null_count = false;
  if (mode == one_shot) out = false;
}

void Pit::Counter::output_event(Instant when) {
  switch (mode) {
    case rate_generator:
      out = !out;
      if (out) load(when);
      break;
    case square_wave: {
      bool level = !out;
      load(when);
      out = level;
      break;
    }
    case terminal_count:
    case one_shot: out = done = true; break;
    case software_strobe:
    case hardware_strobe:
      out = done;
      done = true;
      break;
  }
}

void Pit::Counter::set_control(uint8_t word) {
  constexpr Mode modes[] = {terminal_count,  one_shot,        rate_generator, square_wave,
                            software_strobe, hardware_strobe, rate_generator, square_wave};
  Counter fresh;
  fresh.mode = modes[word >> 1 & 7];
  fresh.access = static_cast<Access>(word >> 4 & 3);
  fresh.bcd = word & 1;
  fresh.gate = gate;
  fresh.out = fresh.mode != terminal_count;
  fresh.count = fresh.period = fresh.modulus();
  *this = fresh;
}

void Pit::Counter::write_byte(uint8_t byte, Instant now) {
  if (access == low_only) return set_count(byte, now);
  if (access == high_only) return set_count(static_cast<uint16_t>(byte << 8), now);
  if (write_high_next) {
    write_high_next = false;
    return set_count(static_cast<uint16_t>(byte << 8 | low_byte), now);
  }
  write_high_next = true;
  low_byte = byte;
  if (mode != terminal_count) return;
  // The first byte of a new count stops the old one.
  value = element(now);
  counting = false;
  out = false;
}

void Pit::Counter::set_count(uint16_t encoded, Instant now) {
  count = (bcd ? from_bcd(encoded) : encoded) % modulus();
  if (count == 0) count = modulus();
  // The data sheet calls a count of 1 illegal in modes 2 and 3; the shortest legal cycle stands in for it.
  if (periodic() && count == 1) count = 2;
  null_count = true;
  if (mode == terminal_count) out = false;
  // A new count waits for a trigger in modes 1 and 5, and in modes 2 and 3 for the end of the cycle under way.
  bool waits = triggered() || (periodic() && written);
  if (!waits) load_at = now + 1;
  written = true;
}

void Pit::Counter::set_gate(bool level, Instant now) {
  if (level == gate) return;
  gate = level;
  switch (mode) {
    case terminal_count:
    case software_strobe:
      // Before a load there is nothing to stop, and the load will look at the gate itself.
      if (!written || load_at != never || (mode == terminal_count && write_high_next)) break;
      value = element(now);
      start = now;
      counting = gate;
      // A strobe cut short ends here; it is over at most one period early.
      if (mode == software_strobe && !out) out = true;
      break;
    case one_shot:
    case hardware_strobe:
      if (gate && written) load_at = now + 1;
      break;
    case rate_generator:
    case square_wave:
      if (gate) {
        if (written) load_at = now + 1;
      } else {
        value = element(now);
        counting = false;
        out = true;
      }
      break;
  }
}

uint16_t Pit::Counter::encode(uint32_t element) const {
  element %= modulus();
  return bcd ? to_bcd(element) : static_cast<uint16_t>(element);
}

void Pit::Counter::latch_count(Instant now) {
  if (latched_bytes != 0) return;
  latch = encode(element(now));
  latched_bytes = access == low_then_high ? 2 : 1;
}

void Pit::Counter::latch_status() {
  if (status_latched) return;
  status_latched = true;
  status = static_cast<uint8_t>(out << 7 | null_count << 6 | access << 4 | mode << 1 | bcd);
}

uint8_t Pit::Counter::read_byte(Instant now) {
  if (status_latched) {
    status_latched = false;
    return status;
  }
  uint16_t word = latched_bytes != 0 ? latch : encode(element(now));
  if (latched_bytes != 0) --latched_bytes;
  bool high = access == high_only;
  if (access == low_then_high) {
    high = read_high_next;
    read_high_next = !read_high_next;
  }
  return static_cast<uint8_t>(high ? word >> 8 : word);
}

// --- The chip ------------------------------------------------------------------------------------------------------------

uint64_t Pit::read(unsigned window, uint64_t offset, unsigned) {
  if (window == system_port) {
    settle(2);
    auto refresh = now() / refresh_period & 1 ? port61::refresh : 0;
    return saved_.system_control | refresh | (saved_.counters[2].out ? port61::out2 : 0);
  }
  if (offset == control_register) return 0xff;
  settle(static_cast<unsigned>(offset));
  return saved_.counters[offset].read_byte(now());
}

void Pit::write(unsigned window, uint64_t offset, unsigned, uint64_t value) {
  auto byte = static_cast<uint8_t>(value);
  for (unsigned i = 0; i < 3; ++i) settle(i);
  if (window == system_port) {
    saved_.system_control = byte & port61::written;
    saved_.counters[2].set_gate(byte & port61::gate2, now());
  } else if (offset == control_register) {
    write_control(byte);
  } else {
    saved_.counters[offset].write_byte(byte, now());
  }
  settle(0);
  schedule();
}

void Pit::write_control(uint8_t word) {
  unsigned select = word >> 6;
  if (select == read_back) {
    for (unsigned i = 0; i < 3; ++i) {
      if (!(word & 2 << i)) continue;
      if (!(word & read_back_command::no_count)) saved_.counters[i].latch_count(now());
      if (!(word & read_back_command::no_status)) saved_.counters[i].latch_status();
    }
  } else if ((word & 0x30) == 0) {
    saved_.counters[select].latch_count(now());
  } else {
    saved_.counters[select].set_control(word);
  }
}

void Pit::serialize(Archive& ar) { ar(saved_); }

void Pit::Saved::serialize(Archive& ar) {
  ar(counters, system_control);
  ar.require(system_control <= port61::written, "port 61h has saved bits that do not exist");
}

void Pit::Counter::serialize(Archive& ar) {
  ar(mode, access, bcd, gate, out, count, period, value, start, load_at, written, counting, done, null_count);
  ar(write_high_next, read_high_next, low_byte, latched_bytes, latch, status_latched, status);
  ar.require(mode <= hardware_strobe && access >= low_only && access <= low_then_high && latched_bytes <= 2,
             "a counter's saved mode does not exist");
  ar.require(count >= 1 && count <= modulus() && period >= 1 && period <= modulus() && value <= modulus(),
             "a counter's saved count is out of range");
  ar.require(!periodic() || (count >= 2 && period >= 2), "a counter's saved cycle is too short");
  ar.require(start <= never / 2 && (load_at <= never / 2 || load_at == never), "a counter's saved instants are out of range");
}

}  // namespace matryoshka
