// MC146818 real-time clock with 128 bytes of CMOS memory; no square wave output, no daylight saving.
//
// After Motorola's data sheet "MC146818 Real-Time Clock plus RAM". The registers are brought up to date when somebody looks
// at them, and a timer is armed only for an interrupt that is enabled and not yet raised.
#pragma once

#include "devices/bus/bus.h"
#include "devices/bus/clock.h"
#include "devices/bus/irq.h"

namespace matryoshka {

// One window of two byte-wide ports: 70h (index and NMI mask) and 71h (data).
class Rtc final : public Device {
 public:
  static constexpr unsigned window_length = 2;
  static constexpr unsigned cmos_size = 128;

  // `epoch` is the time of day when the clock starts, in seconds since 1970 UTC.
  Rtc(Clock& clock, IrqLine irq8, int64_t epoch);

  // For the board: configuration bytes, and the sizes of memory where firmware looks for them.
  void set_cmos(unsigned index, uint8_t value);
  uint8_t cmos(unsigned index) const { return saved_.cmos[index % cmos_size]; }
  void set_memory_size(uint64_t below_4g, uint64_t above_4g);

  // Bit 7 of port 70h: the chipset's NMI sources are held back.
  bool nmi_masked() const { return saved_.nmi_masked; }

  const char* name() const override { return "rtc"; }
  void reset() override;
  void serialize(Archive& ar) override;
  uint64_t read(unsigned window, uint64_t offset, unsigned size) override;
  void write(unsigned window, uint64_t offset, unsigned size, uint64_t value) override;

 private:
  struct Saved {
    uint8_t cmos[cmos_size] = {};
    uint8_t index = 0;
    bool nmi_masked = false;
    uint64_t next_second = 1'000'000'000;  // when the divider chain next comes round
    uint64_t last_settled = 0;             // how far the registers have been brought
    void serialize(Archive& ar);
  };

  // How the guest wants its numbers.
  uint8_t encode(unsigned number) const;
  unsigned decode(uint8_t field) const;
  uint8_t encode_hour(unsigned hour) const;
  unsigned decode_hour(uint8_t field) const;

  bool divider_runs() const;
  bool update_in_progress() const;
  uint64_t periodic_rate() const;
  uint64_t seconds_until_alarm(uint64_t second_of_day) const;
  uint64_t second_of_day() const;
  void set_date_and_time(int64_t seconds);
  void advance_time(uint64_t seconds);
  uint64_t next_event(uint8_t enabled) const;
  void settle();
  void update();
  uint8_t read_data();
  void write_data(uint8_t value);
  void write_divider(uint8_t value);

  Clock& clock_;
  IrqLine irq_;
  Clock::Timer timer_;
  Saved saved_;
};

}  // namespace matryoshka
