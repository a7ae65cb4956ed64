// The exception or VM exit that the running instruction has met. An access or check that fails writes it here and answers false,
// every caller up to the run loop passes the false on, and the run loop delivers it.
#pragma once

#include <cstdint>

namespace matryoshka {

// A VM exit on its way: what vmx-model/exit.h will write into the VMCS.
struct PendingExit {
  uint16_t reason = 0;
  uint16_t cause = 0;  // what made it, for the inspector: vmx-model/cause.h
  uint32_t instruction_info = 0;
  uint32_t event = 0;  // VM-exit interruption information
  uint64_t qualification = 0;
  uint64_t guest_physical = 0;
  uint64_t guest_linear = 0;
};

struct Fault {
  bool pending = false;
  bool is_exit = false;
  uint8_t vector = 0;
  bool has_error_code = false;
  uint32_t error_code = 0;
  uint64_t address = 0;          // for #PF: becomes CR2 when the fault is delivered; for #DB: what DR6 is to gain
  bool by_noncanonical = false;  // #GP that is #SS instead if the access went through the stack segment
  PendingExit pending_exit;
  // The event whose delivery met this, in the format of the IDT-vectoring information field; 0 if there was none.
  uint32_t vectoring = 0, vectoring_error = 0;

  // All of these answer false, so that a check can end with `return fault.raise(...)`.
  bool raise(uint8_t new_vector) {
    address = 0;
    return set(new_vector, false, 0);
  }
  bool raise(uint8_t new_vector, uint32_t error) { return set(new_vector, true, error); }
  bool page(uint64_t linear, uint32_t error) {
    address = linear;
    return set(14, true, error);
  }
  bool debug(uint64_t dr6_bits) {
    address = dr6_bits;
    return set(1, false, 0);
  }
  bool noncanonical() {
    set(13, true, 0);
    by_noncanonical = true;
    return false;
  }
  bool exit(uint16_t reason, uint64_t qualification = 0, uint64_t guest_physical = 0, uint64_t guest_linear = 0) {
    pending_exit = {reason, 0, 0, 0, qualification, guest_physical, guest_linear};
    set(0, false, 0);
    is_exit = true;
    return false;
  }
  void clear() { pending = is_exit = false; }

 private:
  bool set(uint8_t new_vector, bool with_error, uint32_t error) {
    pending = true, vector = new_vector, has_error_code = with_error, error_code = error, by_noncanonical = false;
    is_exit = false, vectoring = vectoring_error = 0;
    return false;
  }
};

}  // namespace matryoshka
