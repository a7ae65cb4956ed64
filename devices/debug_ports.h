// Ports for talking to whoever runs the machine: the Bochs/QEMU debug console, QEMU's isa-debug-exit and the POST code port.
#pragma once

#include <functional>

#include "devices/bus/bus.h"

namespace matryoshka {

class DebugPorts final : public Device {
 public:
  // The console answers at 402h (SeaBIOS) and E9h (Bochs), the POST code at 80h and 190h (PCs, and PS/2s
  // and test ROMs); debug-exit where the user wants it.
  enum Window : unsigned { console, debug_exit, post_code_port };
  static constexpr unsigned console_length = 1, post_code_length = 1, debug_exit_length = 4, debug_exit_width = 4;

  DebugPorts(ByteSink& console, std::function<void(uint32_t)> exit) : console_(console), exit_(std::move(exit)) {}

  // What a program that wrote `value` to debug-exit makes of the machine's exit status.
  static constexpr uint32_t exit_status(uint32_t value) { return value << 1 | 1; }
  uint8_t post_code() const { return post_code_; }

  const char* name() const override { return "debug_ports"; }
  void reset() override { post_code_ = 0; }
  void serialize(Archive& ar) override { ar(post_code_); }
  uint64_t read(unsigned window, uint64_t offset, unsigned size) override;
  void write(unsigned window, uint64_t offset, unsigned size, uint64_t value) override;

 private:
  ByteSink& console_;
  std::function<void(uint32_t)> exit_;
  uint8_t post_code_ = 0;
};

}  // namespace matryoshka
