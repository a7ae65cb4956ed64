// How interrupts travel: wires with a level, and messages written to 0xFEExxxxx.
#pragma once

#include <cstdint>
#include <functional>

namespace matryoshka {

// The far end of a set of numbered wires: an interrupt controller, or the board, which hands a wire on to several.
class IrqSink {
 public:
  virtual ~IrqSink() = default;
  virtual void set_irq(unsigned line, bool level) = 0;
};

// The near end of one wire. The level is the device's to remember or to compute again; the wire holds no state.
class IrqLine {
 public:
  IrqLine() = default;
  IrqLine(IrqSink& sink, unsigned line) : sink_(&sink), line_(line) {}
  void set(bool level) const {
    if (sink_) sink_->set_irq(line_, level);
  }
  void raise() const { set(true); }
  void lower() const { set(false); }
  void pulse() const { set(true), set(false); }

 private:
  IrqSink* sink_ = nullptr;
  unsigned line_ = 0;
};

// Whether a message (its address and data) is one that somebody looks for.
using MessageTest = std::function<bool(uint64_t address, uint32_t data)>;

// A message-signalled interrupt, from MSI, MSI-X, the HPET or the I/O APIC, on its way to the local APICs.
class MessageSink {
 public:
  virtual ~MessageSink() = default;
  virtual void deliver_message(uint64_t address, uint32_t data) = 0;
};

// The 8259 pair as the processor's side sees it: asked for the vector during an interrupt acknowledge cycle.
class InterruptAcknowledge {
 public:
  virtual ~InterruptAcknowledge() = default;
  virtual uint8_t acknowledge() = 0;
};

}  // namespace matryoshka
