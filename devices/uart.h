// 16550A serial port; no modem, no line errors but break.
//
// After National Semiconductor's data sheet "PC16550D Universal Asynchronous Receiver/Transmitter with FIFOs". What differs
// from a real line:
//   - A byte written to THR leaves at once, so THRE and TEMT always read 1; the THRE interrupt comes once per write.
//   - Bytes come in at 115,200 baud whatever the divisor says, and only when there is room for them: the host's side of the
//     line is a queue, and pasted text never overruns. Only loopback can.
//   - OUT2 does not gate the interrupt: that gate is the PC's, not the chip's, and xv6 leaves it shut.
#pragma once

#include <deque>
#include <span>

#include "devices/bus/bus.h"
#include "devices/bus/clock.h"
#include "devices/bus/irq.h"

namespace matryoshka {

// One window of 8 byte-wide ports: 3F8h with IRQ4 for COM1, 2F8h with IRQ3 for COM2.
class Uart final : public Device {
 public:
  static constexpr unsigned window_length = 8;
  static constexpr size_t queue_limit = size_t{1} << 20;

  Uart(Clock& clock, IrqLine irq, ByteSink& output, const char* name = "uart");

  // What the far end sends. Answers how many bytes found a place in the queue.
  size_t receive(std::span<const uint8_t> bytes);
  void receive_break();

  const char* name() const override { return name_; }
  void reset() override;
  void serialize(Archive& ar) override;
  uint64_t read(unsigned window, uint64_t offset, unsigned size) override;
  void write(unsigned window, uint64_t offset, unsigned size, uint64_t value) override;

 private:
  // A received character: the byte, and above it the LSR bits that came with it.
  using Character = uint16_t;

  struct Saved {
    uint8_t interrupt_enable = 0;
    uint8_t fifo_control = 0;
    uint8_t line_control = 0;
    uint8_t modem_control = 0;
    uint8_t scratch = 0;
    uint16_t divisor = 12;
    uint8_t line_errors = 0;           // OE and BI as LSR shows them
    uint8_t modem_changes = 0;         // the low half of MSR
    bool transmitter_emptied = false;  // THRE interrupt not yet seen through IIR
    Character fifo[16] = {};           // oldest first; the holding register when the FIFO is off
    uint8_t held = 0;
    uint64_t last_arrival = 0;   // of a character from the far end
    uint64_t last_activity = 0;  // in the FIFO: the character timeout counts from here
    std::deque<Character> queue;
    void serialize(Archive& ar);
  };

  bool fifo_enabled() const { return saved_.fifo_control & 1; }
  unsigned capacity() const { return fifo_enabled() ? 16 : 1; }
  unsigned trigger_level() const;
  bool loopback() const;
  bool timed_out() const;
  uint8_t interrupt_id() const;
  uint8_t modem_inputs() const;
  uint8_t read_line_status();
  uint8_t read_receiver();
  void write_transmitter(uint8_t byte);
  void write_fifo_control(uint8_t value);
  void write_modem_control(uint8_t value);
  void push(Character character);
  void oldest_changed();
  void character_arrives();
  void update();

  const char* name_;
  Clock& clock_;
  IrqLine irq_;
  ByteSink& output_;
  Clock::Timer arrival_;
  Clock::Timer timeout_;
  Saved saved_;
};

}  // namespace matryoshka
