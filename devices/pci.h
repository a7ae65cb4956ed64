// Conventional PCI: one bus of functions, reached through configuration mechanism #1.
//
// A function describes itself in its constructor (identity, base addresses, capabilities); from then on PciFunction answers
// configuration accesses, moves the function's windows about the Bus as the guest programs them, and sends its interrupts by
// whichever of INTx, MSI and MSI-X the guest has turned on. What a function does behind its windows is its own affair.
//
// PCI Local Bus Specification 3.0; section titles are in quotes where they matter.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "devices/bus/bus.h"
#include "devices/bus/irq.h"

namespace matryoshka {

class PciFunction;

// Where a function sits: device 0-31 and function 0-7 of bus 0.
struct PciAddress {
  uint8_t slot;
  uint8_t function = 0;
  unsigned index() const { return slot * 8u + function; }
};

// The bus: its configuration registers, and the four wires on which functions without messages interrupt.
//
// Pins are swizzled by slot onto PIRQ A-D. These arrive as lines 16-19 (global system interrupts of the I/O APIC), and
// also, as the ISA bridge's route registers say, as ISA interrupts.
class PciBus : public Device {
 public:
  enum Window : unsigned { config_address, config_data };  // ports CF8h and CFCh, four bytes each, up to four wide

  PciBus(Bus& bus, MessageSink& messages, IrqSink& irqs) : bus_(bus), messages_(messages), irqs_(irqs) {}

  // What firmware does and a kernel expects to find done: gives every base address a place, every pin an interrupt line,
  // and turns decoding on. Answers false if a window did not fit.
  bool assign_resources();

  static unsigned pirq(PciAddress address, unsigned pin) { return (address.slot + pin - 1) & 3; }
  void route_pirq(unsigned pirq, uint8_t route);  // PIRQRC[A:D] of the ISA bridge: bit 7 off, bits 3:0 the ISA interrupt

  // Whether a function has such a message ready to send.
  bool may_send(const MessageTest& wanted) const;

  const char* name() const override { return "pci"; }
  void reset() override { saved_ = {}; }
  void serialize(Archive& ar) override { ar(saved_); }
  uint64_t read(unsigned window, uint64_t offset, unsigned size) override;
  void write(unsigned window, uint64_t offset, unsigned size, uint64_t value) override;

 private:
  friend class PciFunction;
  void attach(PciFunction& function);
  void update_wires();
  void place_windows();
  PciFunction* selected() const;

  Bus& bus_;
  MessageSink& messages_;
  IrqSink& irqs_;
  PciFunction* functions_[256] = {};

  struct Saved {
    uint32_t address = 0;
    void serialize(Archive& ar) { ar(address); }
  } saved_;
  // Derived: the levels that the wires carry now, bit by line, and the route registers' latest values.
  uint32_t lines_ = 0;
  uint8_t routes_[4] = {0x80, 0x80, 0x80, 0x80};
};

class PciFunction : public Device {
 public:
  struct Identity {
    uint16_t vendor, device;
    uint32_t class_code;  // base class, subclass and interface
    uint8_t revision = 0;
    uint16_t subsystem_vendor = 0, subsystem = 0;
  };
  PciFunction(PciBus& pci, PciAddress address, const Identity& identity);

  PciAddress address() const { return address_; }
  virtual uint32_t read_config(unsigned offset, unsigned size);
  virtual void write_config(unsigned offset, unsigned size, uint32_t value);

  // A function that overrides these calls them too.
  void reset() override;
  void serialize(Archive& ar) override;

  // The windows of a function are its base addresses, numbered as in configuration space.
  uint64_t read(unsigned window, uint64_t offset, unsigned size) final;
  void write(unsigned window, uint64_t offset, unsigned size, uint64_t value) final;

 protected:
  enum class Bar : uint8_t { none, io, memory32, memory64 };
  static constexpr unsigned config_size = 256, most_vectors = 64;
  static constexpr uint64_t msix_bar_size = 0x1000;

  // For constructors. A field's value after reset and the bits of it that a guest may write.
  void define(unsigned offset, unsigned size, uint32_t value, uint32_t writable = 0);
  void add_bar(unsigned index, Bar type, uint64_t size);
  // Links a capability into the list and answers with its offset; the body begins two bytes further on.
  unsigned add_capability(uint8_t id, const std::vector<uint8_t>& body);
  void add_interrupt_pin(unsigned pin);           // 1 is INTA#
  void add_msi();                                 // one vector, 64-bit address
  void add_msix(unsigned bar, unsigned vectors);  // takes the whole base address register

  virtual uint64_t read_bar(unsigned, uint64_t, unsigned) { return ~uint64_t{0}; }
  virtual void write_bar(unsigned, uint64_t, unsigned, uint64_t) {}
  // The guest has written some of these bytes, or all have been loaded or reset.
  virtual void config_changed(unsigned, unsigned) {}

  uint8_t config(unsigned offset) const { return saved_.config[offset]; }
  bool bus_master() const { return config(0x04) & 4; }
  bool msi_enabled() const { return msi_ && config(msi_ + 2) & 1; }
  bool msix_enabled() const { return msix_ && config(msix_ + 3) & 0x80; }
  unsigned msix_vectors() const { return vectors_; }

  void set_intx(bool level);
  void send_msi();
  void send_msix(unsigned vector);

  PciBus& pci_;

 private:
  friend class PciBus;
  struct Region {
    Bar type = Bar::none;
    uint64_t size = 0;
    bool mapped = false;
    uint64_t base = 0;
  };
  uint64_t programmed_base(unsigned index) const;
  void map_regions();
  bool pin_asserted() const;
  bool vector_masked(unsigned vector) const;
  bool may_send(const MessageTest& wanted) const;
  void send_pending();

  PciAddress address_;

  struct Saved {
    uint8_t config[config_size] = {};
    bool intx = false;
    uint64_t pending = 0;             // one bit per MSI-X vector
    std::vector<uint8_t> msix_table;  // 16 bytes per vector, as the guest reads them
    void serialize(Archive& ar) {
      ar(config, intx, pending);
      ar.bytes(msix_table.data(), msix_table.size());
    }
  } saved_;
  // Derived from the constructor's calls and from configuration space.
  uint8_t initial_[config_size] = {};
  uint8_t writable_[config_size] = {};
  Region regions_[6];
  unsigned last_capability_ = 0;
  unsigned free_capability_ = 0x40;
  unsigned msi_ = 0, msix_ = 0;  // offsets of the capabilities, 0 if absent
  unsigned msix_bar_ = 6;
  unsigned vectors_ = 0;
};

}  // namespace matryoshka
