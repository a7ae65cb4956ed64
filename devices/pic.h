// 8259A pair with the PIIX's edge/level registers; 8086 mode only.
//
// After Intel's data sheets "8259A Programmable Interrupt Controller" and "82371AB PCI-to-ISA / IDE Xcelerator (PIIX4)".
// What differs: vectors of the 8080's CALL kind do not exist, LTIM gives way to ELCR (as in the PIIX), and the cascade is
// wired to line 2 whatever ICW3 says. The two INTA pulses are one here, so nothing can vanish between them: a request that
// is withdrawn in time gives the first chip's spurious level 7, and the second chip never has to make one up.
#pragma once

#include "devices/bus/bus.h"
#include "devices/bus/irq.h"

namespace matryoshka {

class Pic final : public Device, public IrqSink, public InterruptAcknowledge {
 public:
  // Two byte-wide ports each: 20h, A0h and 4D0h.
  enum Window : unsigned { first_ports, second_ports, edge_level_ports };
  static constexpr unsigned window_length = 2;

  // `intr` goes to the processor, or to the local APIC's LINT0.
  explicit Pic(IrqLine intr) : intr_(intr) {}

  // Lines 0 to 15. As on the chip, an edge whose line falls again before the acknowledge is withdrawn.
  void set_irq(unsigned line, bool level) override;
  uint8_t acknowledge() override;

  const char* name() const override { return "pic"; }
  void reset() override;
  void serialize(Archive& ar) override;
  uint64_t read(unsigned window, uint64_t offset, unsigned size) override;
  void write(unsigned window, uint64_t offset, unsigned size, uint64_t value) override;

 private:
  // Which word the data port expects; `idle` until the first ICW1, since a chip not yet set up asks for nothing.
  enum class Expect : uint8_t { idle, icw2, icw3, icw4, masks };

  struct Chip {
    uint8_t lines = 0;            // levels of the inputs
    uint8_t edges = 0;            // edges latched and not yet acknowledged
    uint8_t level_triggered = 0;  // ELCR
    uint8_t in_service = 0;       // ISR
    uint8_t masks = 0;            // IMR
    uint8_t lowest_priority = 7;  // the level that is last in the rotation
    uint8_t vector_base = 0;      // ICW2
    Expect expect = Expect::idle;
    bool single = false;        // ICW1.SNGL
    bool wants_icw4 = false;    // ICW1.IC4
    bool auto_eoi = false;      // ICW4.AEOI
    bool fully_nested = false;  // ICW4.SFNM: the special fully nested mode
    bool rotate_on_auto_eoi = false;
    bool special_mask = false;
    bool read_in_service = false;  // OCW3.RIS
    bool poll = false;             // OCW3.P: the next read acknowledges

    static constexpr int none = -1;
    uint8_t requests(uint8_t cascaded) const;
    int pending(uint8_t cascaded) const;
    int highest_in_service() const;
    void accept(int level);
    uint8_t read(unsigned port, uint8_t cascaded);
    void write_command(uint8_t value);
    void write_data(uint8_t value);
    void end_of_interrupt(uint8_t ocw2);
    void serialize(Archive& ar);
  };

  // Bit 2 when the second chip asks for service: the first one's input from it.
  uint8_t cascade() const { return second_.pending(0) == Chip::none ? 0 : 1 << 2; }
  void update() const { intr_.set(first_.pending(cascade()) != Chip::none); }

  IrqLine intr_;
  Chip first_;
  Chip second_;
};

}  // namespace matryoshka
