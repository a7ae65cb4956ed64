// ACPI fixed hardware of the 82371AB (PIIX4): power management events, timer and general-purpose events; no throttling, no
// device monitors, no SMM. With it the reset control register CF9h, which Intel's later bridges have.
//
// After Intel's data sheet "82371AB PCI-to-ISA / IDE Xcelerator (PIIX4)" and the ACPI specification's chapter "ACPI Hardware
// Specification". What differs: SCI_EN reads 1 from the start and stays so, since no system management code hands the
// hardware over; the SMI command port remembers what it is told and does nothing; the only sleeping state is S5, soft off.
// The function's PCI face (8086:7113) is elsewhere.
#pragma once

#include <functional>

#include "devices/bus/bus.h"
#include "devices/bus/clock.h"
#include "devices/bus/irq.h"

namespace matryoshka {

class Power final : public Device {
 public:
  enum Window : unsigned { registers, smi_command, reset_control };
  static constexpr unsigned registers_length = 64, registers_width = 4;  // where PMBA says
  static constexpr unsigned smi_command_length = 2;                      // B2h and B3h, byte-wide
  static constexpr unsigned reset_control_length = 1;                    // CF9h

  // Where the ACPI tables say things are, from the start of `registers`.
  static constexpr unsigned pm1_event = 0x00, pm1_control = 0x04, pm_timer = 0x08, gpe0 = 0x0c;
  static constexpr unsigned pm1_event_length = 4, pm1_control_length = 2, pm_timer_length = 4, gpe0_length = 4;
  static constexpr uint8_t soft_off_type = 0;  // SLP_TYP of \_S5
  static constexpr uint8_t reset_value = 0x06;
  static constexpr uint64_t timer_frequency = 3'579'545;

  struct Outputs {
    IrqLine sci;
    std::function<void()> power_off;
    std::function<void()> reset;
  };

  // `timer_bits` is 24 as on the PIIX4, or 32: then the FADT must set TMR_VAL_EXT.
  Power(Clock& clock, Outputs outputs, unsigned timer_bits = 24);

  void press_power_button();
  void raise_general_event(unsigned bit);

  const char* name() const override { return "power"; }
  void reset() override;
  void serialize(Archive& ar) override;
  uint64_t read(unsigned window, uint64_t offset, unsigned size) override;
  void write(unsigned window, uint64_t offset, unsigned size, uint64_t value) override;

 private:
  struct Saved {
    uint16_t status = 0;   // PM1_STS but for TMR_STS, which follows from the time
    uint16_t enable = 0;   // PM1_EN
    uint16_t control = 1;  // PM1_CNT
    uint16_t general_status = 0;
    uint16_t general_enable = 0;
    uint64_t carries_seen = 0;  // how often the timer's top bit had changed when TMR_STS was last cleared
    uint8_t smi_command[2] = {0, 0};
    uint8_t reset_control = 0;
    void serialize(Archive& ar);
  };

  uint64_t timer_count() const;
  uint64_t carries() const { return timer_count() >> (timer_bits_ - 1); }
  uint16_t status() const;
  uint8_t read_register(uint64_t offset) const;
  void write_register(uint64_t offset, uint8_t value);
  void write_reset_control(uint8_t value);
  void sleep();
  void update();

  Clock& clock_;
  Outputs outputs_;
  unsigned timer_bits_;
  Clock::Timer carry_;
  Saved saved_;
};

}  // namespace matryoshka
