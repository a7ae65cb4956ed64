// 8042 keyboard controller with a keyboard and a wheel mouse, and port 92h; no scan code set 3, no multiplexing.
//
// After IBM's "Personal System/2 Hardware Interface Technical Reference" (keyboard and auxiliary device controller,
// keyboard, mouse) and, for port 92h, Intel's PIIX data sheets. A byte arrives as soon as there is room for it: neither the
// serial clock nor the devices' self tests take time. What differs: there is one A20 gate, which both the controller's
// output port and port 92h show and set; typematic repeat and the mouse's 2:1 scaling are the host's.
#pragma once

#include <deque>
#include <functional>
#include <initializer_list>
#include <span>
#include <utility>

#include "devices/bus/bus.h"
#include "devices/bus/irq.h"

namespace matryoshka {

class KeyboardController final : public Device {
 public:
  // One byte-wide port each: 60h, 64h and 92h.
  enum Window : unsigned { data_port, command_port, fast_port };
  static constexpr unsigned window_length = 1;

  struct Outputs {
    IrqLine keyboard;  // IRQ1
    IrqLine mouse;     // IRQ12
    std::function<void(bool)> a20;
    std::function<void()> reset;
  };

  explicit KeyboardController(Outputs outputs) : outputs_(std::move(outputs)) {}

  // A key's bytes as a keyboard in scan code set 2 sends them: 1C is A down, F0 1C is A up, E0 75 is cursor up.
  // False, and nothing happens, if the keyboard's buffer has no room for all of them.
  bool key(std::span<const uint8_t> set2);
  // How far the mouse went, right and up being positive and the wheel towards the user, and which buttons are down:
  // 1 left, 2 right, 4 middle.
  void mouse(int right, int up, int wheel, uint8_t buttons);

  bool a20() const { return saved_.a20; }
  uint8_t leds() const { return saved_.keyboard.leds; }

  const char* name() const override { return "keyboard_controller"; }
  void reset() override;
  void serialize(Archive& ar) override;
  uint64_t read(unsigned window, uint64_t offset, unsigned size) override;
  void write(unsigned window, uint64_t offset, unsigned size, uint64_t value) override;

 private:
  // Bytes on their way, with a bound that no guest can pass.
  class Queue {
   public:
    explicit Queue(size_t limit) : limit_(limit) {}
    bool empty() const { return bytes_.empty(); }
    size_t room() const { return limit_ - bytes_.size(); }
    void clear() { bytes_.clear(); }
    void push(uint8_t byte) {
      if (room() != 0) bytes_.push_back(byte);
    }
    void push(std::initializer_list<uint8_t> bytes) {
      for (uint8_t byte : bytes) push(byte);
    }
    uint8_t pop();
    void serialize(Archive& ar);

   private:
    size_t limit_;
    std::deque<uint8_t> bytes_;
  };

  // Answers to commands go ahead of what a device has to say by itself.
  struct Keyboard {
    Queue answers{16};
    Queue scan_codes{256};
    uint8_t parameter_of = 0;  // the command whose parameter comes next, or 0
    uint8_t scan_code_set = 2;
    uint8_t leds = 0;
    bool scanning = true;
    bool releasing = false;  // set 1: F0 has been seen, and the next byte is a release
    uint8_t last_sent = 0;
    void receive(uint8_t byte);
    void set_parameter(uint8_t command, uint8_t value);
    void send(uint8_t set2);
    void serialize(Archive& ar);
  };

  struct Mouse {
    Queue answers{16};
    Queue packets{16};
    uint8_t parameter_of = 0;
    uint8_t id = 0;  // 3 once the wheel has been asked for
    uint8_t sample_rate = 100;
    uint8_t earlier_rates[2] = {0, 0};
    uint8_t resolution = 2;
    bool double_scaling = false;
    bool remote = false;
    bool reporting = false;
    bool wrap = false;  // echoes what it is sent
    uint8_t buttons = 0, reported_buttons = 0;
    int32_t right = 0, up = 0, wheel = 0;  // not yet reported
    uint8_t last_sent = 0;
    void receive(uint8_t byte);
    void set_defaults();
    void set_parameter(uint8_t command, uint8_t value);
    void report(Queue& to);
    void report_changes();
    void serialize(Archive& ar);
  };

  enum class Source : uint8_t { controller, keyboard, mouse };

  struct Saved {
    uint8_t ram[32] = {0x65};  // byte 0 is the command byte, at first as firmware leaves it
    uint8_t parameter_of = 0;  // the controller command whose parameter comes next at port 60h, or 0
    bool last_was_command = false;
    bool full = false;  // the output buffer
    Source source = Source::controller;
    uint8_t output = 0;
    bool breaking = false;      // translation: F0 has been taken, and the next byte is a release
    Queue answers{64};          // the controller's own
    Queue looped_to_mouse{16};  // D3: as if from the mouse
    bool a20 = true;
    uint8_t fast_reset = 0;  // bit 0 of port 92h
    Keyboard keyboard;
    Mouse mouse;
    void serialize(Archive& ar);
  };

  uint8_t& command_byte() { return saved_.ram[0]; }
  uint8_t command_byte() const { return saved_.ram[0]; }
  uint8_t read_data();
  uint8_t status() const;
  uint8_t output_port() const;
  void write_data(uint8_t byte);
  void write_command(uint8_t byte);
  void write_output_port(uint8_t byte);
  void set_a20(bool open);
  void request_reset();
  void fill_output();
  void take_from_keyboard();
  void put_output(Source source, uint8_t byte);
  void update_lines();

  Outputs outputs_;
  Saved saved_;
};

}  // namespace matryoshka
