// The board's answer to FERR#, from the PC/AT on: IRQ 13, which a write to port F0h takes back; it also asserts IGNNE#, so that
// the handler may use the x87 before it has cleared the exception. Intel's 82371SB (PIIX3) datasheet, "Coprocessor Error".
#pragma once

#include <functional>

#include "devices/bus/bus.h"
#include "devices/bus/irq.h"

namespace matryoshka {

class CoprocessorError final : public Device {
 public:
  static constexpr unsigned window_length = 1;

  CoprocessorError(IrqLine irq, std::function<void()> ignore) : irq_(irq), ignore_(std::move(ignore)) {}

  void error() { set(true); }

  const char* name() const override { return "coprocessor_error"; }
  void reset() override { set(false); }
  void serialize(Archive& ar) override {
    if (ar.version() >= 2) ar(raised_);
  }
  uint64_t read(unsigned, uint64_t, unsigned) override { return 0xff; }
  void write(unsigned, uint64_t, unsigned, uint64_t) override {
    set(false);
    ignore_();
  }

 private:
  void set(bool raised) {
    raised_ = raised;
    irq_.set(raised);
  }

  IrqLine irq_;
  std::function<void()> ignore_;
  bool raised_ = false;
};

}  // namespace matryoshka
