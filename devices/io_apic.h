// 82093AA I/O APIC with 24 inputs, as version 20h, which adds the EOI register; no arbitration bus.
//
// After Intel's data sheet "82093AA I/O Advanced Programmable Interrupt Controller (IOAPIC)" and, for the EOI register, the
// data sheet of the 82801 (ICH) family. What differs: a wire carries "asserted", whatever its voltage, so the polarity bit
// is kept but changes nothing.
#pragma once

#include <algorithm>
#include <iterator>

#include "devices/bus/bus.h"
#include "devices/bus/irq.h"

namespace matryoshka {

// One window at FEC00000h, dwords.
class IoApic final : public Device, public IrqSink {
 public:
  static constexpr uint64_t window_length = 0x1000;
  static constexpr unsigned window_width = 4;
  static constexpr unsigned inputs = 24;

  IoApic(MessageSink& messages, uint8_t id) : messages_(messages), initial_id_(id) { saved_.id = id; }

  void set_irq(unsigned line, bool asserted) override;
  // A local APIC has ended the service of a level-triggered interrupt.
  void end_of_interrupt(uint8_t vector);

  // Whether an input that is not masked would send such a message.
  bool may_send(const MessageTest& wanted) const;

  const char* name() const override { return "io_apic"; }
  void reset() override;
  void serialize(Archive& ar) override;
  uint64_t read(unsigned window, uint64_t offset, unsigned size) override;
  void write(unsigned window, uint64_t offset, unsigned size, uint64_t value) override;

 private:
  // A redirection table entry in the data sheet's own layout.
  using Entry = uint64_t;
  static constexpr Entry masked = 1 << 16;

  struct Saved {
    uint8_t select = 0;
    uint8_t id = 0;
    uint32_t lines = 0;  // which inputs are asserted
    Entry table[inputs];
    Saved() { std::fill(std::begin(table), std::end(table), masked); }
    void serialize(Archive& ar);
  };

  static uint64_t message_address(Entry e);
  static uint32_t message_data(Entry e);
  uint32_t read_selected() const;
  void write_selected(uint32_t value);
  void send(unsigned input);
  void send_if_level_stands(unsigned input);

  MessageSink& messages_;
  uint8_t initial_id_;
  Saved saved_;
};

}  // namespace matryoshka
