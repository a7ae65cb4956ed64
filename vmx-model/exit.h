// Exit reasons, and an exit on its way: what made it, and what will be written about it.
#pragma once

#include <cstdint>

namespace matryoshka::vmx {

enum class Reason : uint16_t {
#define EXIT(name, number, raised, title, when) name = number,
#include "vmx-model/exit_reasons.def"
#undef EXIT
};

struct ReasonInfo {
  uint16_t number;
  bool raised;
  const char* title;
  const char* when;
};
// Null if there is no such reason.
const ReasonInfo* find_reason(unsigned number);

enum class InstructionError : uint8_t {
  none = 0,
#define ERROR(name, number, text) name = number,
#include "vmx-model/instruction_errors.def"
#undef ERROR
};
const char* describe(InstructionError error);

// "Interruption Type", bits 10:8 of the interruption-information fields.
enum class EventType : uint8_t {
  external_interrupt = 0,
  nmi = 2,
  hardware_exception = 3,
  software_interrupt = 4,
  privileged_software_exception = 5,
  software_exception = 6,
  other = 7
};
constexpr uint32_t info_valid = 1u << 31, info_error_code = 1 << 11, info_nmi_unblocked = 1 << 12;
constexpr uint32_t event_info(uint8_t vector, EventType type, bool has_error) {
  return info_valid | static_cast<uint32_t>(type) << 8 | vector | (has_error ? info_error_code : 0);
}

}  // namespace matryoshka::vmx
