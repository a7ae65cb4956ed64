#include "devices/power.h"

#include <utility>

namespace matryoshka {
namespace {

using uint128 = unsigned __int128;
constexpr uint64_t second = 1'000'000'000;

// The I/O registers byte by byte, as they may be accessed.
enum Register : uint64_t {
  pm1_status = Power::pm1_event,
  pm1_enable = Power::pm1_event + 2,
  general_status = Power::gpe0,
  general_enable = Power::gpe0 + 2,
};

namespace pm1 {
constexpr uint16_t timer = 0x0001, global = 0x0020, power_button = 0x0100, rtc = 0x0400;
constexpr uint16_t events = timer | global | power_button | rtc;
constexpr uint16_t stored = global | power_button | rtc;  // in Saved::status
}  // namespace pm1
namespace control {
constexpr uint16_t sci_enable = 0x0001, sleep_enable = 0x2000, sleep_type_at = 10, sleep_type = 7, written = 0x1c02;
}
namespace reset_bits {
constexpr uint8_t now = 0x04, written = 0x0e;
}

constexpr uint8_t byte_of(uint64_t word, uint64_t index) { return static_cast<uint8_t>(word >> index * 8); }
constexpr uint16_t with_byte(uint16_t word, uint64_t index, uint8_t value) {
  return static_cast<uint16_t>((word & ~(0xff << index * 8)) | value << index * 8);
}

}  // namespace

Power::Power(Clock& clock, Outputs outputs, unsigned timer_bits)
    : clock_(clock), outputs_(std::move(outputs)), timer_bits_(timer_bits), carry_(clock, [this] { update(); }) {}

void Power::reset() {
  saved_ = Saved{};
  saved_.carries_seen = carries();
  update();
}

void Power::press_power_button() {
  saved_.status |= pm1::power_button;
  update();
}

void Power::raise_general_event(unsigned bit) {
  saved_.general_status |= static_cast<uint16_t>(1 << (bit & 15));
  update();
}

uint64_t Power::timer_count() const {
  return static_cast<uint64_t>(static_cast<uint128>(clock_.now()) * timer_frequency / second);
}

uint16_t Power::status() const { return saved_.status | (carries() != saved_.carries_seen ? pm1::timer : 0); }

// The interrupt line, and the timer if its carry would move it.
void Power::update() {
  bool fixed = status() & saved_.enable & pm1::events;
  bool general = saved_.general_status & saved_.general_enable;
  outputs_.sci.set(fixed || general);

  uint64_t deadline = Clock::never;
  if (saved_.enable & pm1::timer && carries() == saved_.carries_seen) {
    uint128 next_carry = uint128{carries() + 1} << (timer_bits_ - 1);
    deadline = static_cast<uint64_t>((next_carry * second + timer_frequency - 1) / timer_frequency);
  }
  carry_.arm(deadline);
}

uint64_t Power::read(unsigned window, uint64_t offset, unsigned size) {
  if (window == smi_command) return saved_.smi_command[offset & 1];
  if (window == reset_control) return saved_.reset_control;
  uint64_t value = 0;
  for (unsigned i = 0; i < size; ++i) value |= uint64_t{read_register(offset + i)} << i * 8;
  return value;
}

uint8_t Power::read_register(uint64_t offset) const {
  switch (offset & ~uint64_t{1}) {
    case pm1_status: return byte_of(status(), offset & 1);
    case pm1_enable: return byte_of(saved_.enable, offset & 1);
    case pm1_control: return byte_of(saved_.control, offset & 1);
    case pm_timer:
    case pm_timer + 2: {
      uint64_t count = timer_count() & ((uint64_t{1} << timer_bits_) - 1);
      return byte_of(count, offset & 3);
    }
    case general_status: return byte_of(saved_.general_status, offset & 1);
    case general_enable: return byte_of(saved_.general_enable, offset & 1);
    default: return 0;
  }
}

void Power::write(unsigned window, uint64_t offset, unsigned size, uint64_t value) {
  if (window == smi_command)
    saved_.smi_command[offset & 1] = static_cast<uint8_t>(value);
  else if (window == reset_control)
    write_reset_control(static_cast<uint8_t>(value));
  else
    for (unsigned i = 0; i < size; ++i) write_register(offset + i, byte_of(value, i));
}

void Power::write_register(uint64_t offset, uint8_t value) {
  uint64_t index = offset & 1;
  auto cleared = static_cast<uint16_t>(value << index * 8);  // status bits are cleared by writing 1
  switch (offset & ~uint64_t{1}) {
    case pm1_status:
      saved_.status &= ~cleared;
      if (cleared & pm1::timer) saved_.carries_seen = carries();
      break;
    case pm1_enable: saved_.enable = with_byte(saved_.enable, index, value) & pm1::events; break;
    case pm1_control:
      saved_.control = (with_byte(saved_.control, index, value) & control::written) | control::sci_enable;
      if (cleared & control::sleep_enable) sleep();
      break;
    case general_status: saved_.general_status &= ~cleared; break;
    case general_enable: saved_.general_enable = with_byte(saved_.general_enable, index, value); break;
  }
  update();
}

void Power::sleep() {
  unsigned type = saved_.control >> control::sleep_type_at & control::sleep_type;
  if (type == soft_off_type && outputs_.power_off) outputs_.power_off();
}

// The reset happens as RST_CPU goes from 0 to 1; whether it is hard or soft makes no difference here.
void Power::write_reset_control(uint8_t value) {
  bool rises = value & ~saved_.reset_control & reset_bits::now;
  saved_.reset_control = value & reset_bits::written;
  if (rises && outputs_.reset) outputs_.reset();
}

void Power::serialize(Archive& ar) { ar(saved_); }

void Power::Saved::serialize(Archive& ar) {
  ar(status, enable, control, general_status, general_enable, carries_seen, smi_command, reset_control);
  ar.require((status & ~pm1::stored) == 0 && (enable & ~pm1::events) == 0 &&
                 (control & ~control::written) == control::sci_enable && (reset_control & ~reset_bits::written) == 0,
             "the power management's saved registers have bits that do not exist");
}

}  // namespace matryoshka
