#include "vmx-model/exit.h"

#include "mmu/ept.h"

namespace matryoshka::vmx {

namespace {

[[maybe_unused]] constexpr bool yes = true, no = false;  // as the table spells the column
constexpr ReasonInfo reasons[] = {
#define EXIT(name, number, raised, title, when) {number, raised, title, when},
#include "vmx-model/exit_reasons.def"
#undef EXIT
};

}  // namespace

// The walks below this layer know three of them.
static_assert(static_cast<uint16_t>(Reason::apic_access) == ept_exit::apic_access);
static_assert(static_cast<uint16_t>(Reason::ept_violation) == ept_exit::violation);
static_assert(static_cast<uint16_t>(Reason::ept_misconfiguration) == ept_exit::misconfiguration);

const ReasonInfo* find_reason(unsigned number) {
  for (const ReasonInfo& reason : reasons)
    if (reason.number == number) return &reason;
  return nullptr;
}

const char* describe(InstructionError error) {
  switch (error) {
    case InstructionError::none: return "no error";
#define ERROR(name, number, text) \
  case InstructionError::name:    \
    return text;
#include "vmx-model/instruction_errors.def"
#undef ERROR
  }
  return "an unknown error";
}

}  // namespace matryoshka::vmx
