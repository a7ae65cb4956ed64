// 8254 interval timer, with port 61h; no sound.
//
// After Intel's data sheet "82C54 CHMOS Programmable Interval Timer". Nothing ticks here: the state of a counter is the
// instant its counting element was loaded and with what, and everything else follows by arithmetic when somebody looks.
// Only counter 0 has a timer, since only its output goes anywhere; it is armed when that output can change.
#pragma once

#include "devices/bus/bus.h"
#include "devices/bus/clock.h"
#include "devices/bus/irq.h"

namespace matryoshka {

class Pit final : public Device {
 public:
  // Four byte-wide ports at 40h, and port 61h.
  enum Window : unsigned { counter_ports, system_port };
  static constexpr unsigned counter_ports_length = 4, system_port_length = 1;
  static constexpr uint64_t frequency = 1'193'182;

  Pit(Clock& clock, IrqLine irq0);

  const char* name() const override { return "pit"; }
  void reset() override;
  void serialize(Archive& ar) override;
  uint64_t read(unsigned window, uint64_t offset, unsigned size) override;
  void write(unsigned window, uint64_t offset, unsigned size, uint64_t value) override;

 private:
  // Instants are counted in periods of the 1.193182 MHz clock. What a write asks for happens at the next one.
  using Instant = uint64_t;
  static constexpr Instant never = ~Instant{0};

  enum Mode : uint8_t { terminal_count, one_shot, rate_generator, square_wave, software_strobe, hardware_strobe };
  enum Access : uint8_t { low_only = 1, high_only, low_then_high };

  struct Counter {
    Mode mode = terminal_count;
    Access access = low_then_high;
    bool bcd = false;
    bool gate = true;
    bool out = false;

    uint32_t count = 0x10000;   // the count register: 1 to `modulus`, what the guest writes as 0 being the modulus
    uint32_t period = 0x10000;  // of the cycle or half-cycle under way in modes 2 and 3: `count` as it was at its start
    uint32_t value = 0;         // the counting element at `start`
    Instant start = 0;
    Instant load_at = never;  // when the count register goes to the counting element
    bool written = false;     // a count has come since the control word
    bool counting = false;
    bool done = false;       // modes 0, 1, 4 and 5: the output has had its pulse
    bool null_count = true;  // the count register holds what the counting element has not yet got

    bool write_high_next = false;
    bool read_high_next = false;
    uint8_t low_byte = 0;
    uint8_t latched_bytes = 0;  // how many bytes of `latch` are still to be read
    uint16_t latch = 0;
    bool status_latched = false;
    uint8_t status = 0;

    uint32_t modulus() const { return bcd ? 10'000 : 0x10000; }
    bool periodic() const { return mode == rate_generator || mode == square_wave; }
    bool triggered() const { return mode == one_shot || mode == hardware_strobe; }
    uint32_t element(Instant now) const;
    Instant next_event() const;
    bool settle(Instant now);
    void skip_cycles(Instant now);
    void load(Instant when);
    void output_event(Instant when);

    void set_control(uint8_t word);
    void write_byte(uint8_t byte, Instant now);
    void set_count(uint16_t encoded, Instant now);
    void set_gate(bool level, Instant now);
    void latch_count(Instant now);
    void latch_status();
    uint8_t read_byte(Instant now);
    uint16_t encode(uint32_t element) const;
    void serialize(Archive& ar);
  };

  struct Saved {
    Counter counters[3];
    uint8_t system_control = 0;  // port 61h, bits 3:0
    void serialize(Archive& ar);
  };

  Instant now() const;
  void settle(unsigned counter);
  void schedule();
  void write_control(uint8_t word);

  Clock& clock_;
  IrqLine irq_;
  Clock::Timer timer_;
  Saved saved_;
};

}  // namespace matryoshka
