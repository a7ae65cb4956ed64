// What fields and exits mean, in words: for the monitor, the page and trace files. The tables of this folder have the names.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

#include "vmx-model/vmcs.h"

namespace matryoshka {

// As printf writes it.
template <class... Values>
std::string formatted(const char* format, Values... values) {
  char text[320];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

}  // namespace matryoshka

namespace matryoshka::vmx {

// "vector 14 (#PF), hardware exception, with error code"; empty if the field is not valid.
std::string describe_event(uint32_t interruption_information);
// "OUT of 1 byte to port 3f8"; empty where the reason has none.
std::string describe_qualification(unsigned reason, uint64_t qualification);
// "EPT violation", with "VM entry failed:" in front where bit 31 says so.
std::string describe_reason(uint32_t exit_reason);
// What a field's value says: names of control bits, an exit reason, a segment's kind. Empty where the number says all.
std::string describe_field(Field field, uint64_t value);
const char* describe_group(Group group);

// The groups of the manual's "Organization of VMCS Data". An encoding knows four types of field: all controls are one.
enum class ManualGroup : uint8_t { guest, host, execution_controls, exit_controls, entry_controls, exit_information };
constexpr unsigned manual_group_count = 6;
ManualGroup manual_group(Field field);
const char* describe_group(ManualGroup group);
// The same as names of files: the title in lower case with dashes, without what the group says already. "guest-state", "rip".
std::string file_name(ManualGroup group);
std::string file_name(Field field);

std::string hexadecimal(uint64_t value);

}  // namespace matryoshka::vmx
