// Why a VM exit happened: the control bit, the bitmap or the mask that asked for it, in 16 bits that travel with the exit.
#pragma once

#include <cstdint>
#include <string>

#include "cpu/state/archive.h"
#include "vmx-model/controls.h"

namespace matryoshka::vmx {

class Cause {
 public:
  enum Kind : uint8_t {
    unconditional,      // the instruction or event always exits
    control,            // `detail` is a Control
    exception_bitmap,   // `detail` is the vector
    page_fault_filter,  // the exception bitmap with the error code's mask and match
    io_bitmap,          // the bit of a port; the port is in the qualification
    msr_bitmap,         // the bit of an MSR
    msr_out_of_bitmap,  // MSR bitmaps are in use, and this MSR has no bit in them
    cr0_mask,           // the guest/host mask of CR0 and its read shadow
    cr4_mask,
    cr3_targets,  // CR3-load exiting, and the value is no target
    ept_entry,    // an EPT paging-structure entry
    apic_access_page,
    tpr_threshold,
    entry_check,
    count
  };

  constexpr Cause() = default;
  constexpr Cause(Kind kind, uint8_t detail = 0) : code_(static_cast<uint16_t>(kind << 8 | detail)) {}
  constexpr Cause(Control c) : Cause(control, static_cast<uint8_t>(c)) {}
  static constexpr Cause of_code(uint16_t code) {
    Cause cause;
    cause.code_ = code;
    return cause;
  }

  constexpr uint16_t code() const { return code_; }
  constexpr Kind kind() const { return static_cast<Kind>(code_ >> 8); }
  constexpr uint8_t detail() const { return static_cast<uint8_t>(code_); }

  void serialize(Archive& ar);
  std::string describe() const;  // "HLT exiting (primary processor-based VM-execution controls, bit 7)"

 private:
  uint16_t code_ = 0;
};

}  // namespace matryoshka::vmx
