// The exception that the running instruction has met. An access or check that fails writes it here and answers false, every
// caller up to the run loop passes the false on, and the run loop delivers it.
#pragma once

#include <cstdint>

namespace matryoshka {

struct Fault {
  bool pending = false;
  uint8_t vector = 0;
  bool has_error_code = false;
  uint32_t error_code = 0;
  uint64_t address = 0;          // for #PF: becomes CR2 when the fault is delivered
  bool by_noncanonical = false;  // #GP that is #SS instead if the access went through the stack segment

  // All of these answer false, so that a check can end with `return fault.raise(...)`.
  bool raise(uint8_t new_vector) { return set(new_vector, false, 0); }
  bool raise(uint8_t new_vector, uint32_t error) { return set(new_vector, true, error); }
  bool page(uint64_t linear, uint32_t error) {
    address = linear;
    return set(14, true, error);
  }
  bool noncanonical() {
    set(13, true, 0);
    by_noncanonical = true;
    return false;
  }
  void clear() { pending = false; }

 private:
  bool set(uint8_t new_vector, bool with_error, uint32_t error) {
    pending = true, vector = new_vector, has_error_code = with_error, error_code = error, by_noncanonical = false;
    return false;
  }
};

}  // namespace matryoshka
