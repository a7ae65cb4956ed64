// What fields and exits mean, in words: for the monitor, the page and trace files. The tables of this folder have the names.
#pragma once

#include <cstdint>
#include <string>

#include "vmx-model/vmcs.h"

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

std::string hexadecimal(uint64_t value);

}  // namespace matryoshka::vmx
