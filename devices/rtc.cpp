#include "devices/rtc.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace matryoshka {
namespace {

using uint128 = unsigned __int128;

enum Register : unsigned {
  seconds = 0x00,
  seconds_alarm = 0x01,
  minutes = 0x02,
  minutes_alarm = 0x03,
  hours = 0x04,
  hours_alarm = 0x05,
  day_of_week = 0x06,
  day_of_month = 0x07,
  month = 0x08,
  year = 0x09,
  register_a = 0x0a,
  register_b = 0x0b,
  register_c = 0x0c,
  register_d = 0x0d,
  century = 0x32,
};

namespace a {
constexpr uint8_t rate = 0x0f, divider = 0x70, divider_32khz = 0x20, update_in_progress = 0x80, written = 0x7f;
constexpr uint8_t initial = 0x26;  // 32,768 Hz crystal, 1,024 Hz periodic rate
}  // namespace a
namespace b {
constexpr uint8_t mode_24h = 0x02, binary = 0x04, square_wave = 0x08, update_ended = 0x10, alarm = 0x20, periodic = 0x40,
                  set = 0x80;
}
namespace c {
constexpr uint8_t update_ended = 0x10, alarm = 0x20, periodic = 0x40, interrupt = 0x80;
}
namespace d {
constexpr uint8_t valid_ram_and_time = 0x80;
}

// The flags of register C stand where their enables are in register B.
static_assert(b::update_ended == c::update_ended && b::alarm == c::alarm && b::periodic == c::periodic);
constexpr uint8_t sources = c::update_ended | c::alarm | c::periodic;

constexpr uint8_t alarm_any = 0xc0;  // an alarm byte of this or more matches every value
constexpr uint8_t pm = 0x80;

constexpr uint64_t second = 1'000'000'000;
constexpr uint64_t day = 86'400;

// With a 32,768 Hz crystal: UIP is up 244 us ahead of an update, which takes 1,984 us.
constexpr uint64_t update_time = 244'000 + 1'984'000;

// The divider released from reset takes half a second to its first update.
constexpr uint64_t first_update = second / 2;

}  // namespace

Rtc::Rtc(Clock& clock, IrqLine irq8, int64_t epoch) : clock_(clock), irq_(irq8), timer_(clock, [this] { update(); }) {
  saved_.cmos[register_a] = a::initial;
  saved_.cmos[register_b] = b::mode_24h;
  saved_.cmos[register_d] = d::valid_ram_and_time;
  set_date_and_time(epoch);
}

// The battery keeps the time and the memory; only the interrupts go.
void Rtc::reset() {
  settle();
  saved_.cmos[register_b] &= ~(b::periodic | b::alarm | b::update_ended | b::square_wave);
  saved_.cmos[register_c] = 0;
  saved_.nmi_masked = false;
  update();
}

void Rtc::set_cmos(unsigned index, uint8_t value) { saved_.cmos[index % cmos_size] = value; }

void Rtc::set_memory_size(uint64_t below_4g, uint64_t above_4g) {
  auto word = [this](unsigned index, uint64_t value) {
    value = std::min<uint64_t>(value, 0xffff);
    set_cmos(index, static_cast<uint8_t>(value));
    set_cmos(index + 1, static_cast<uint8_t>(value >> 8));
  };
  auto beyond = [below_4g](uint64_t start) { return below_4g > start ? below_4g - start : 0; };
  constexpr uint64_t kib = 1 << 10, mib = 1 << 20;
  word(0x15, 640);                    // KiB below 640K
  word(0x17, beyond(1 * mib) / kib);  // KiB above 1M
  word(0x30, beyond(1 * mib) / kib);  // the same again
  word(0x34, beyond(16 * mib) / (64 * kib));
  uint64_t high = std::min<uint64_t>(above_4g / (64 * kib), 0xff'ffff);  // three bytes
  word(0x5b, high & 0xffff);
  set_cmos(0x5d, static_cast<uint8_t>(high >> 16));
}

// --- Numbers as the guest wants them -------------------------------------------------------------------------------------

uint8_t Rtc::encode(unsigned number) const {
  return static_cast<uint8_t>(saved_.cmos[register_b] & b::binary ? number : number / 10 << 4 | number % 10);
}

unsigned Rtc::decode(uint8_t field) const {
  return saved_.cmos[register_b] & b::binary ? field : (field >> 4) * 10u + (field & 15);
}

uint8_t Rtc::encode_hour(unsigned hour) const {
  if (saved_.cmos[register_b] & b::mode_24h) return encode(hour);
  uint8_t on_the_dial = encode(hour % 12 == 0 ? 12 : hour % 12);
  return hour >= 12 ? on_the_dial | pm : on_the_dial;
}

unsigned Rtc::decode_hour(uint8_t field) const {
  if (saved_.cmos[register_b] & b::mode_24h) return decode(field) % 24;
  return decode(field & ~pm) % 12 + (field & pm ? 12 : 0);
}

uint64_t Rtc::second_of_day() const {
  const uint8_t* r = saved_.cmos;
  return decode_hour(r[hours]) * 3600u + decode(r[minutes]) % 60 * 60 + decode(r[seconds]) % 60;
}

// --- Time ----------------------------------------------------------------------------------------------------------------

bool Rtc::divider_runs() const { return (saved_.cmos[register_a] & a::divider) == a::divider_32khz; }

bool Rtc::update_in_progress() const {
  return divider_runs() && !(saved_.cmos[register_b] & b::set) && clock_.now() + update_time >= saved_.next_second;
}

// In Hz; 0 is off. The two fastest settings repeat slower ones with this crystal.
uint64_t Rtc::periodic_rate() const {
  unsigned rate = saved_.cmos[register_a] & a::rate;
  if (rate == 0 || !divider_runs()) return 0;
  return 32'768u >> (rate <= 2 ? rate + 6 : rate - 1);
}

void Rtc::set_date_and_time(int64_t time) {
  using namespace std::chrono;
  auto whole_days = floor<days>(std::chrono::seconds(time));
  sys_days date{whole_days};
  year_month_day civil{date};
  auto of_day = static_cast<unsigned>(time - whole_days.count() * static_cast<int64_t>(day));
  auto full_year = static_cast<unsigned>(static_cast<int>(civil.year())) % 10'000;

  uint8_t* r = saved_.cmos;
  r[seconds] = encode(of_day % 60);
  r[minutes] = encode(of_day / 60 % 60);
  r[hours] = encode_hour(of_day / 3600);
  r[day_of_week] = encode(weekday{date}.c_encoding() + 1);
  r[day_of_month] = encode(static_cast<unsigned>(civil.day()));
  r[month] = encode(static_cast<unsigned>(civil.month()));
  r[year] = encode(full_year % 100);
  r[century] = encode(full_year / 100);
}

// The weekday counts along by itself: whoever sets the clock sets it too, or does not care.
void Rtc::advance_time(uint64_t elapsed) {
  using namespace std::chrono;
  const uint8_t* r = saved_.cmos;
  int full_year = static_cast<int>(decode(r[century]) % 100 * 100 + decode(r[year]) % 100);
  unsigned in_year = std::clamp(decode(r[month]), 1u, 12u), in_month = std::clamp(decode(r[day_of_month]), 1u, 31u);
  sys_days date{std::chrono::year{full_year} / std::chrono::month{in_year} / std::chrono::day{in_month}};

  uint64_t midnights = (second_of_day() + elapsed) / day;
  unsigned weekday_number = (decode(r[day_of_week]) + 6 + static_cast<unsigned>(midnights % 7)) % 7 + 1;
  set_date_and_time(date.time_since_epoch().count() * static_cast<int64_t>(day) +
                    static_cast<int64_t>(second_of_day() + elapsed));
  saved_.cmos[day_of_week] = encode(weekday_number);
}

// From 1 to a day; 0 if no time of day matches the three alarm bytes.
uint64_t Rtc::seconds_until_alarm(uint64_t from) const {
  const uint8_t* r = saved_.cmos;
  auto matches = [](uint8_t alarm, uint8_t field) { return alarm >= alarm_any || alarm == field; };
  for (uint64_t ahead = 1; ahead <= day;) {
    auto at = static_cast<unsigned>((from + ahead) % day);
    if (!matches(r[hours_alarm], encode_hour(at / 3600)))
      ahead += 3600 - at % 3600;
    else if (!matches(r[minutes_alarm], encode(at / 60 % 60)))
      ahead += 60 - at % 60;
    else if (!matches(r[seconds_alarm], encode(at % 60)))
      ++ahead;
    else
      return ahead;
  }
  return 0;
}

// Brings time and flags up to the present.
void Rtc::settle() {
  if (clock_.now() < saved_.last_settled) return;
  uint64_t before = std::exchange(saved_.last_settled, clock_.now()), now = saved_.last_settled;
  if (!divider_runs()) return;

  // The periodic taps and the seconds come from one chain of dividers.
  if (uint64_t rate = periodic_rate()) {
    auto periods = [&](uint64_t time) { return uint128{time + second - saved_.next_second} * rate / second; };
    if (periods(now) != periods(before)) saved_.cmos[register_c] |= c::periodic;
  }

  if (now < saved_.next_second) return;
  uint64_t elapsed = (now - saved_.next_second) / second + 1;
  saved_.next_second += elapsed * second;
  if (saved_.cmos[register_b] & b::set) return;
  uint64_t alarm = seconds_until_alarm(second_of_day());
  if (alarm != 0 && alarm <= elapsed) saved_.cmos[register_c] |= c::alarm;
  saved_.cmos[register_c] |= c::update_ended;
  advance_time(elapsed);
}

// Sets the interrupt line, and the timer for the next enabled source that is still to come.
void Rtc::update() {
  settle();
  uint8_t enabled = saved_.cmos[register_b] & sources;
  bool raised = saved_.cmos[register_c] & enabled;
  irq_.set(raised);
  timer_.arm(raised || !divider_runs() ? Clock::never : next_event(enabled));
}

uint64_t Rtc::next_event(uint8_t enabled) const {
  uint64_t deadline = Clock::never;
  uint64_t rate = periodic_rate();
  if (enabled & b::periodic && rate != 0) {
    uint64_t started = saved_.next_second - second;  // may lie before the clock's zero, and wraps back in the sum below
    uint64_t period = (saved_.last_settled - started) * rate / second + 1;
    deadline = started + (period * second + rate - 1) / rate;
  }
  if (saved_.cmos[register_b] & b::set) return deadline;
  uint64_t updates = 0;
  if (enabled & b::alarm) updates = seconds_until_alarm(second_of_day());
  if (enabled & b::update_ended) updates = 1;
  if (updates != 0) deadline = std::min(deadline, saved_.next_second + (updates - 1) * second);
  return deadline;
}

// --- Ports ---------------------------------------------------------------------------------------------------------------

uint64_t Rtc::read(unsigned, uint64_t offset, unsigned) { return offset == 0 ? 0xff : read_data(); }

uint8_t Rtc::read_data() {
  settle();
  uint8_t value = saved_.cmos[saved_.index];
  switch (saved_.index) {
    case register_a: return update_in_progress() ? value | a::update_in_progress : value;
    case register_c:
      if (value & saved_.cmos[register_b] & sources) value |= c::interrupt;
      saved_.cmos[register_c] = 0;
      update();
      return value;
    default: return value;
  }
}

void Rtc::write(unsigned, uint64_t offset, unsigned, uint64_t value) {
  auto byte = static_cast<uint8_t>(value);
  if (offset == 0) {
    saved_.index = byte & (cmos_size - 1);
    saved_.nmi_masked = byte & 0x80;
  } else {
    write_data(byte);
  }
}

void Rtc::write_data(uint8_t value) {
  settle();
  switch (saved_.index) {
    case register_a: write_divider(value); break;
    case register_b:
      // Setting the time stops updates, and with them their interrupt.
      saved_.cmos[register_b] = value & b::set ? value & ~b::update_ended : value;
      break;
    case register_c:
    case register_d: break;
    default: saved_.cmos[saved_.index] = value; break;
  }
  update();
}

void Rtc::write_divider(uint8_t value) {
  bool ran = divider_runs();
  saved_.cmos[register_a] = value & a::written;
  if (!ran && divider_runs()) saved_.next_second = saved_.last_settled + first_update;
}

void Rtc::serialize(Archive& ar) { ar(saved_); }

void Rtc::Saved::serialize(Archive& ar) {
  ar(cmos, index, nmi_masked, next_second, last_settled);
  ar.require(index < cmos_size, "the real-time clock's saved index is out of range");
  ar.require(last_settled <= Clock::never / 4 && next_second <= last_settled + second,
             "the real-time clock's saved instants are impossible");
}

}  // namespace matryoshka
