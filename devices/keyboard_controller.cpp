#include "devices/keyboard_controller.h"

#include <algorithm>
#include <vector>

namespace matryoshka {
namespace {

// The controller.
namespace status_bit {
constexpr uint8_t output_full = 0x01, last_was_command = 0x08, not_locked = 0x10, from_mouse = 0x20;
}
namespace command_bit {
constexpr uint8_t keyboard_interrupt = 0x01, mouse_interrupt = 0x02, system = 0x04, keyboard_off = 0x10, mouse_off = 0x20,
                  translate = 0x40;
}
namespace output_bit {
constexpr uint8_t not_reset = 0x01, a20 = 0x02, keyboard_full = 0x10, mouse_full = 0x20, lines = 0xc0;
}
namespace fast_bit {
constexpr uint8_t reset = 0x01, a20 = 0x02;
}
enum Command : uint8_t {
  read_ram = 0x20,
  write_ram = 0x60,
  mouse_off = 0xa7,
  mouse_on = 0xa8,
  test_mouse_interface = 0xa9,
  self_test = 0xaa,
  test_keyboard_interface = 0xab,
  keyboard_off = 0xad,
  keyboard_on = 0xae,
  read_input_port = 0xc0,
  read_output_port = 0xd0,
  write_output = 0xd1,
  loop_to_keyboard = 0xd2,
  loop_to_mouse = 0xd3,
  write_mouse = 0xd4,
  a20_off = 0xdd,
  a20_on = 0xdf,
  pulse_outputs = 0xf0,
};
constexpr uint8_t self_test_passed = 0x55, interface_passed = 0x00, input_port_not_inhibited = 0x80;

// Both devices.
constexpr uint8_t acknowledge = 0xfa, resend = 0xfe, basic_test_passed = 0xaa;
constexpr uint8_t release_prefix = 0xf0;
constexpr uint8_t first_command = 0xed;  // of the keyboard; below lie parameters

// What the controller makes of a byte in scan code set 2: its set 1 equivalent, without the release bit.
constexpr uint8_t set1_of[0x85] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,  // 00
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,  // 10
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,  // 20
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,  // 30
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,  // 40
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,  // 50
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,  // 60
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,  // 70
    0x80, 0x81, 0x82, 0x41, 0x54,                                                                    // 80
};
constexpr uint8_t to_set1(uint8_t set2) { return set2 < sizeof set1_of ? set1_of[set2] : set2; }

// Takes as much of a distance as one packet can tell.
int take(int32_t& distance, int low, int high) {
  int part = std::clamp(distance, low, high);
  distance -= part;
  return part;
}

}  // namespace

uint8_t KeyboardController::Queue::pop() {
  uint8_t byte = bytes_.front();
  bytes_.pop_front();
  return byte;
}

// --- The keyboard --------------------------------------------------------------------------------------------------------

bool KeyboardController::key(std::span<const uint8_t> set2) {
  if (set2.size() > saved_.keyboard.scan_codes.room()) return false;
  if (!saved_.keyboard.scanning) return true;
  for (uint8_t byte : set2) saved_.keyboard.send(byte);
  fill_output();
  return true;
}

void KeyboardController::Keyboard::send(uint8_t set2) {
  if (scan_code_set == 2) {
    scan_codes.push(set2);
  } else if (set2 == release_prefix) {
    releasing = true;
  } else {
    scan_codes.push(static_cast<uint8_t>(to_set1(set2) | (std::exchange(releasing, false) ? 0x80 : 0)));
  }
}

void KeyboardController::Keyboard::receive(uint8_t byte) {
  answers.clear();
  uint8_t command = std::exchange(parameter_of, 0);
  if (command != 0 && byte < first_command) return set_parameter(command, byte);
  switch (byte) {
    case 0xed:  // set LEDs
    case 0xf0:  // choose the scan code set
    case 0xf3:  // typematic rate and delay
    case 0xfb:  // key types, of set 3 only
    case 0xfc:
    case 0xfd: parameter_of = byte; return answers.push({acknowledge});
    case 0xee:  // echo
      return answers.push({0xee});
    case 0xf2:  // identify
      return answers.push({acknowledge, 0xab, 0x83});
    case 0xf4:  // enable
      scan_codes.clear();
      scanning = true;
      return answers.push({acknowledge});
    case 0xf5:  // defaults, and disable
    case 0xf6:  // defaults
      scan_codes.clear();
      scan_code_set = 2;
      releasing = false;
      if (byte == 0xf5) scanning = false;
      return answers.push({acknowledge});
    case 0xf7:  // all keys' types, of set 3 only
    case 0xf8:
    case 0xf9:
    case 0xfa: return answers.push({acknowledge});
    case 0xfe:  // resend
      return answers.push({last_sent});
    case 0xff:  // reset
      *this = Keyboard{};
      return answers.push({acknowledge, basic_test_passed});
    default: return answers.push({resend});
  }
}

void KeyboardController::Keyboard::set_parameter(uint8_t command, uint8_t value) {
  switch (command) {
    case 0xed: leds = value & 7; break;
    case 0xf0:
      if (value == 0) return answers.push({acknowledge, scan_code_set});
      if (value > 2) return answers.push({resend});
      scan_code_set = value;
      releasing = false;
      break;
  }
  answers.push({acknowledge});
}

// --- The mouse -----------------------------------------------------------------------------------------------------------

void KeyboardController::mouse(int right, int up, int wheel, uint8_t buttons) {
  Mouse& m = saved_.mouse;
  auto add = [](int32_t& sum, int distance) {
    constexpr int32_t far = 1 << 15;
    sum = std::clamp(sum + std::clamp(distance, -far, far), -far, far);
  };
  add(m.right, right);
  add(m.up, up);
  add(m.wheel, wheel);
  m.buttons = buttons & 7;
  fill_output();
}

void KeyboardController::Mouse::report_changes() {
  if (!reporting || remote || wrap) return;
  auto changed = [this] { return right != 0 || up != 0 || (id == 3 && wheel != 0) || buttons != reported_buttons; };
  while (changed() && packets.room() >= 4) report(packets);
}

// One movement packet: buttons and signs, right, up, and the wheel once it has been asked for.
void KeyboardController::Mouse::report(Queue& to) {
  int x = take(right, -255, 255), y = take(up, -255, 255), z = take(wheel, -8, 7);
  reported_buttons = buttons;
  to.push(static_cast<uint8_t>(0x08 | buttons | (x < 0 ? 0x10 : 0) | (y < 0 ? 0x20 : 0)));
  to.push(static_cast<uint8_t>(x));
  to.push(static_cast<uint8_t>(y));
  if (id == 3)
    to.push(static_cast<uint8_t>(z));
  else
    wheel = 0;
}

void KeyboardController::Mouse::set_defaults() {
  sample_rate = 100;
  resolution = 2;
  double_scaling = remote = reporting = wrap = false;
  right = up = wheel = 0;
}

void KeyboardController::Mouse::receive(uint8_t byte) {
  answers.clear();
  packets.clear();
  if (wrap && byte != 0xec && byte != 0xff) return answers.push({byte});
  if (uint8_t command = std::exchange(parameter_of, 0)) return set_parameter(command, byte);
  switch (byte) {
    case 0xe6:  // scaling 1:1
    case 0xe7:  // scaling 2:1: remembered, and left to the host
      double_scaling = byte == 0xe7;
      return answers.push({acknowledge});
    case 0xe8:  // resolution
    case 0xf3:  // sample rate
      parameter_of = byte;
      return answers.push({acknowledge});
    case 0xe9: {  // status
      auto state = static_cast<uint8_t>(remote << 6 | reporting << 5 | double_scaling << 4 | (buttons & 1) << 2 |
                                        (buttons & 4) >> 1 | (buttons & 2) >> 1);
      return answers.push({acknowledge, state, resolution, sample_rate});
    }
    case 0xea:  // stream mode
    case 0xf0:  // remote mode
      remote = byte == 0xf0;
      return answers.push({acknowledge});
    case 0xeb:  // read data
      answers.push(acknowledge);
      return report(answers);
    case 0xec:  // leave wrap mode
    case 0xee:  // enter it
      wrap = byte == 0xee;
      return answers.push({acknowledge});
    case 0xf2:  // identify
      return answers.push({acknowledge, id});
    case 0xf4:  // enable reporting
    case 0xf5:  // disable it
      reporting = byte == 0xf4;
      right = up = wheel = 0;
      return answers.push({acknowledge});
    case 0xf6:  // defaults
      set_defaults();
      return answers.push({acknowledge});
    case 0xfe:  // resend
      return answers.push({last_sent});
    case 0xff: {  // reset
      uint8_t held = buttons;
      *this = Mouse{};
      buttons = reported_buttons = held;
      return answers.push({acknowledge, basic_test_passed, id});
    }
    default: return answers.push({resend});
  }
}

void KeyboardController::Mouse::set_parameter(uint8_t command, uint8_t value) {
  if (command == 0xe8) {
    resolution = value & 3;
  } else {
    // Whoever sets 200, 100 and 80 in a row knows the wheel.
    if (earlier_rates[0] == 200 && earlier_rates[1] == 100 && value == 80) id = 3;
    earlier_rates[0] = std::exchange(earlier_rates[1], value);
    sample_rate = value;
  }
  answers.push({acknowledge});
}

// --- The controller ------------------------------------------------------------------------------------------------------

// Moves the next byte into the output buffer, if that is empty and somebody has one: the controller before the keyboard,
// the keyboard before the mouse.
void KeyboardController::fill_output() {
  Saved& s = saved_;
  s.mouse.report_changes();
  if (!s.full && !s.answers.empty()) put_output(Source::controller, s.answers.pop());
  if (!s.full && !s.looped_to_mouse.empty()) put_output(Source::mouse, s.looped_to_mouse.pop());
  if (!s.full && !(command_byte() & command_bit::keyboard_off)) take_from_keyboard();
  if (!s.full && !(command_byte() & command_bit::mouse_off)) {
    Queue& from = s.mouse.answers.empty() ? s.mouse.packets : s.mouse.answers;
    if (!from.empty()) put_output(Source::mouse, s.mouse.last_sent = from.pop());
  }
  update_lines();
}

// Under translation a release prefix is swallowed, and marks the byte that follows it.
void KeyboardController::take_from_keyboard() {
  Keyboard& k = saved_.keyboard;
  while (!saved_.full) {
    Queue& from = k.answers.empty() ? k.scan_codes : k.answers;
    if (from.empty()) return;
    uint8_t byte = k.last_sent = from.pop();
    if (!(command_byte() & command_bit::translate))
      put_output(Source::keyboard, byte);
    else if (byte == release_prefix)
      saved_.breaking = true;
    else
      put_output(Source::keyboard, static_cast<uint8_t>(to_set1(byte) | (std::exchange(saved_.breaking, false) ? 0x80 : 0)));
  }
}

void KeyboardController::put_output(Source source, uint8_t byte) {
  saved_.full = true;
  saved_.source = source;
  saved_.output = byte;
}

void KeyboardController::update_lines() {
  bool from_mouse = saved_.source == Source::mouse;
  outputs_.keyboard.set(saved_.full && !from_mouse && command_byte() & command_bit::keyboard_interrupt);
  outputs_.mouse.set(saved_.full && from_mouse && command_byte() & command_bit::mouse_interrupt);
}

uint64_t KeyboardController::read(unsigned window, uint64_t, unsigned) {
  switch (window) {
    case data_port: return read_data();
    case command_port: return status();
    default: return saved_.fast_reset | (saved_.a20 ? fast_bit::a20 : 0);
  }
}

uint8_t KeyboardController::read_data() {
  uint8_t byte = saved_.output;
  saved_.full = false;
  update_lines();
  fill_output();
  return byte;
}

uint8_t KeyboardController::status() const {
  uint8_t value = status_bit::not_locked | (command_byte() & command_bit::system);
  if (saved_.last_was_command) value |= status_bit::last_was_command;
  if (saved_.full) value |= status_bit::output_full;
  if (saved_.full && saved_.source == Source::mouse) value |= status_bit::from_mouse;
  return value;
}

uint8_t KeyboardController::output_port() const {
  uint8_t value = output_bit::lines | output_bit::not_reset | (saved_.a20 ? output_bit::a20 : 0);
  if (saved_.full) value |= saved_.source == Source::mouse ? output_bit::mouse_full : output_bit::keyboard_full;
  return value;
}

void KeyboardController::write(unsigned window, uint64_t, unsigned, uint64_t value) {
  auto byte = static_cast<uint8_t>(value);
  if (window == fast_port) {
    bool rises = byte & ~saved_.fast_reset & fast_bit::reset;
    saved_.fast_reset = byte & fast_bit::reset;
    set_a20(byte & fast_bit::a20);
    if (rises) request_reset();
    return;
  }
  saved_.last_was_command = window == command_port;
  if (window == command_port)
    write_command(byte);
  else
    write_data(byte);
  fill_output();
}

void KeyboardController::write_command(uint8_t byte) {
  saved_.parameter_of = 0;
  if (byte >= read_ram && byte < read_ram + 32) return saved_.answers.push(saved_.ram[byte - read_ram]);
  if (byte >= write_ram && byte < write_ram + 32) {
    saved_.parameter_of = byte;
    return;
  }
  if (byte >= pulse_outputs) {
    // The low bits name the output port's lines that are not to be pulsed.
    if (!(byte & output_bit::not_reset)) request_reset();
    return;
  }
  switch (byte) {
    case mouse_off: command_byte() |= command_bit::mouse_off; break;
    case mouse_on: command_byte() &= ~command_bit::mouse_off; break;
    case keyboard_off: command_byte() |= command_bit::keyboard_off; break;
    case keyboard_on: command_byte() &= ~command_bit::keyboard_off; break;
    case self_test:
      command_byte() |= command_bit::system;
      saved_.answers.push(self_test_passed);
      break;
    case test_mouse_interface:
    case test_keyboard_interface: saved_.answers.push(interface_passed); break;
    case read_input_port: saved_.answers.push(input_port_not_inhibited); break;
    case read_output_port: saved_.answers.push(output_port()); break;
    case write_output:
    case loop_to_keyboard:
    case loop_to_mouse:
    case write_mouse: saved_.parameter_of = byte; break;
    case a20_off:
    case a20_on: set_a20(byte == a20_on); break;
  }
}

void KeyboardController::write_data(uint8_t byte) {
  uint8_t command = std::exchange(saved_.parameter_of, 0);
  if (command >= write_ram && command < write_ram + 32) {
    saved_.ram[command - write_ram] = byte;
    return;
  }
  switch (command) {
    case write_output: return write_output_port(byte);
    case loop_to_keyboard: return saved_.answers.push(byte);
    case loop_to_mouse: return saved_.looped_to_mouse.push(byte);
    case write_mouse:
      command_byte() &= ~command_bit::mouse_off;  // speaking to a device turns it on
      return saved_.mouse.receive(byte);
    default: command_byte() &= ~command_bit::keyboard_off; return saved_.keyboard.receive(byte);
  }
}

void KeyboardController::write_output_port(uint8_t byte) {
  set_a20(byte & output_bit::a20);
  if (!(byte & output_bit::not_reset)) request_reset();
}

void KeyboardController::set_a20(bool open) {
  if (std::exchange(saved_.a20, open) != open && outputs_.a20) outputs_.a20(open);
}

void KeyboardController::request_reset() {
  if (outputs_.reset) outputs_.reset();
}

void KeyboardController::reset() {
  set_a20(true);
  saved_ = Saved{};
  update_lines();
}

// --- Saved state ---------------------------------------------------------------------------------------------------------

void KeyboardController::Queue::serialize(Archive& ar) {
  std::vector<uint8_t> bytes(bytes_.begin(), bytes_.end());
  ar.vector(bytes, limit_);
  if (ar.is_loading()) bytes_.assign(bytes.begin(), bytes.end());
}

void KeyboardController::serialize(Archive& ar) { ar(saved_); }

void KeyboardController::Saved::serialize(Archive& ar) {
  ar(ram, parameter_of, last_was_command, full, source, output, breaking, answers, looped_to_mouse, a20, fast_reset);
  ar(keyboard, mouse);
  ar.require(source <= Source::mouse && fast_reset <= 1, "the keyboard controller's saved state is impossible");
}

void KeyboardController::Keyboard::serialize(Archive& ar) {
  ar(answers, scan_codes, parameter_of, scan_code_set, leds, scanning, releasing, last_sent);
  ar.require((scan_code_set == 1 || scan_code_set == 2) && leds <= 7, "the keyboard's saved state is impossible");
}

void KeyboardController::Mouse::serialize(Archive& ar) {
  constexpr int32_t far = 1 << 15;
  ar(answers, packets, parameter_of, id, sample_rate, earlier_rates, resolution, double_scaling, remote, reporting, wrap);
  ar(buttons, reported_buttons, right, up, wheel, last_sent);
  for (int32_t distance : {right, up, wheel})
    ar.require(distance >= -far && distance <= far, "the mouse's saved movement is too far");
  ar.require((id == 0 || id == 3) && buttons <= 7 && reported_buttons <= 7 && resolution <= 3,
             "the mouse's saved state is impossible");
}

}  // namespace matryoshka
