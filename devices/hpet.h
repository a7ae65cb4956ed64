// IA-PC high precision event timers: one 64-bit counter and three timers, each periodic, 64 bits wide and with FSB delivery.
//
// After Intel's specification "IA-PC HPET (High Precision Event Timers)", revision 1.0a. The counter runs at 10 MHz, the
// slowest the specification allows: its period is then exactly 100 ns, so counter and nanosecond clock convert without a
// remainder, which at 14.318 MHz they would not. An edge-triggered output rests high between its edges: an 8259A drops a
// request whose line falls before the acknowledge.
#pragma once

#include <functional>

#include "devices/bus/bus.h"
#include "devices/bus/clock.h"
#include "devices/bus/irq.h"

namespace matryoshka {

// One window at FED00000h, 32- and 64-bit accesses.
class Hpet final : public Device {
 public:
  static constexpr uint64_t window_length = 0x400;
  static constexpr unsigned timer_count = 3;
  // Inputs of the I/O APIC that a timer may be routed to: 20 to 23.
  static constexpr uint32_t routes = 0x00f0'0000;

  struct Outputs {
    IrqLine irq0;  // timers 0 and 1 under legacy replacement, in place of the 8254's and the real-time clock's
    IrqLine irq8;
    IrqSink* io_apic = nullptr;
    MessageSink* messages = nullptr;
    std::function<void(bool)> legacy_replacement;  // told of every change
  };

  Hpet(Clock& clock, Outputs outputs);

  bool legacy_replacement() const { return saved_.configuration & 2; }

  // Whether a timer that runs would send such a message.
  bool may_send(const MessageTest& wanted) const;

  const char* name() const override { return "hpet"; }
  void reset() override;
  void serialize(Archive& ar) override;
  uint64_t read(unsigned window, uint64_t offset, unsigned size) override;
  void write(unsigned window, uint64_t offset, unsigned size, uint64_t value) override;

 private:
  struct Comparator {
    uint64_t configuration = 0;
    uint64_t value = ~uint64_t{0};
    uint64_t period = 0;   // what was last written to the comparator, in periodic mode
    uint64_t message = 0;  // FSB: data in the low half, address in the high
    uint64_t seen = 0;     // matches up to this count of the main counter have had their effect
    bool active = false;   // the general interrupt status bit
    bool output = false;   // the level of the timer's wire
    void serialize(Archive& ar);

    bool periodic() const;
    uint64_t mask() const;
    uint64_t distance() const;
    bool settle(uint64_t count);
  };

  struct Saved {
    uint64_t configuration = 0;
    uint64_t halted_count = 0;  // the main counter while it is halted
    uint64_t offset = 0;        // main counter minus the clock's count of periods, while it runs
    Comparator comparators[timer_count];
    void serialize(Archive& ar);
  };

  bool running() const { return saved_.configuration & 1; }
  uint64_t count() const;
  uint64_t read_register(uint64_t offset);
  void write_register(uint64_t offset, uint64_t value, uint64_t written);
  void write_configuration(uint64_t value);
  void write_counter(uint64_t value);
  void write_timer_configuration(unsigned timer, uint64_t value);
  void write_comparator(unsigned timer, uint64_t value, uint64_t written);
  void settle(unsigned timer);
  void update(unsigned timer);
  void drive(unsigned timer, bool level);
  void strike(unsigned timer);
  void schedule(unsigned timer);

  Clock& clock_;
  Outputs outputs_;
  Clock::Timer timers_[timer_count];
  Saved saved_;
};

}  // namespace matryoshka
