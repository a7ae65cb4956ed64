#include "vmx-model/describe.h"

#include <cinttypes>
#include <cstdio>
#include <string_view>

#include "vmx-model/exit.h"

namespace matryoshka::vmx {

std::string hexadecimal(uint64_t value) {
  char digits[20];
  std::snprintf(digits, sizeof digits, "%#" PRIx64, value);
  return digits;
}

namespace {

const char* exception_name(unsigned vector) {
  static constexpr const char* names[] = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR",   "#UD", "#NM", "#DF", nullptr,
                                          "#TS", "#NP", "#SS", "#GP", "#PF", nullptr, "#MF", "#AC", "#MC", "#XM"};
  return vector < sizeof names / sizeof names[0] ? names[vector] : nullptr;
}

const char* register_name(unsigned number) {
  static constexpr const char* names[] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                          "R8",  "R9",  "R10", "R11", "R12", "R13", "R14", "R15"};
  return names[number & 15];
}

// "a, b and c" from the names of the bits that are set.
template <class Names>
std::string list_of(uint64_t value, const Names& names) {
  std::string text;
  for (const auto& [bit, name] : names)
    if (value >> bit & 1) text += (text.empty() ? "" : ", ") + std::string(name);
  return text;
}

std::string control_register_access(uint64_t q) {
  const std::string cr = "CR" + std::to_string(q & 15), gpr = register_name(q >> 8 & 15);
  switch (q >> 4 & 3) {
    case 0: return "MOV to " + cr + " from " + gpr;
    case 1: return "MOV from " + cr + " to " + gpr;
    case 2: return "CLTS";
    default: return "LMSW of " + hexadecimal(q >> 16 & 0xffff);
  }
}

std::string io_access(uint64_t q) {
  std::string text = q >> 3 & 1 ? "IN" : "OUT";
  if (q >> 4 & 1) text = std::string(q >> 5 & 1 ? "REP " : "") + (q >> 3 & 1 ? "INS" : "OUTS");
  const unsigned bytes = (q & 7) + 1;
  return text + " of " + std::to_string(bytes) + (bytes == 1 ? " byte at port " : " bytes at port ") +
         hexadecimal(q >> 16 & 0xffff);
}

std::string ept_violation(uint64_t q) {
  static constexpr std::pair<unsigned, const char*> accesses[] = {{0, "read"}, {1, "write"}, {2, "fetch"}},
                                                    rights[] = {{3, "readable"}, {4, "writable"}, {5, "executable"}};
  const std::string allowed = list_of(q, rights);
  std::string text = list_of(q, accesses) + "; the page is " + (allowed.empty() ? "not mapped" : allowed);
  if (q >> 7 & 1) text += q >> 8 & 1 ? "; the access itself" : "; a table of the guest's paging";
  return text;
}

std::string task_switch(uint64_t q) {
  static constexpr const char* sources[] = {"CALL", "IRET", "JMP", "a task gate in the IDT"};
  return std::string("to TSS ") + hexadecimal(q & 0xffff) + " by " + sources[q >> 30 & 3];
}

std::string apic_access(uint64_t q) {
  static constexpr const char* kinds[] = {"read", "write", "fetch", "access while an event was delivered"};
  const unsigned kind = q >> 12 & 15;
  return (kind < 4 ? kinds[kind] : "guest-physical access") + std::string(" at offset ") + hexadecimal(q & 0xfff);
}

std::string rights_of_segment(uint64_t rights) {
  if (rights >> 16 & 1) return "unusable";
  std::string text = rights >> 4 & 1 ? (rights >> 3 & 1 ? "code" : "data") : "system type " + std::to_string(rights & 15);
  text += ", DPL " + std::to_string(rights >> 5 & 3);
  if (!(rights >> 7 & 1)) text += ", not present";
  if (rights >> 13 & 1) text += ", 64-bit";
  if (rights >> 14 & 1) text += ", 32-bit";
  return text;
}

std::string controls_of(Word word, uint64_t value) {
  std::string text;
  for (const ControlInfo& row : control_table)
    if (row.word == word && value & row.mask()) text += (text.empty() ? "" : ", ") + std::string(row.title);
  return text;
}

}  // namespace

std::string describe_event(uint32_t event) {
  if (!(event & info_valid)) return {};
  static constexpr const char* types[] = {"external interrupt", "reserved type",      "NMI",
                                          "hardware exception", "software interrupt", "privileged software exception",
                                          "software exception", "other event"};
  const unsigned vector = event & 0xff, type = event >> 8 & 7;
  std::string text = "vector " + std::to_string(vector);
  const bool is_exception = type == 3 || type == 5 || type == 6;
  if (const char* name = exception_name(vector); name && is_exception) text += std::string(" (") + name + ")";
  text += std::string(", ") + types[type];
  if (event & info_error_code) text += ", with error code";
  if (event & info_nmi_unblocked) text += ", NMI unblocking due to IRET";
  return text;
}

std::string describe_qualification(unsigned number, uint64_t q) {
  switch (static_cast<Reason>(number)) {
    case Reason::control_register_access: return control_register_access(q);
    case Reason::mov_dr:
      return std::string("MOV ") + (q >> 4 & 1 ? "from DR" : "to DR") + std::to_string(q & 7) + ", " + register_name(q >> 8 & 15);
    case Reason::io_instruction: return io_access(q);
    case Reason::ept_violation: return ept_violation(q);
    case Reason::task_switch: return task_switch(q);
    case Reason::apic_access: return apic_access(q);
    case Reason::invlpg: return "of linear address " + hexadecimal(q);
    case Reason::sipi: return "vector " + hexadecimal(q & 0xff);
    case Reason::msr_loading: return "entry " + std::to_string(q) + " of the VM-entry MSR-load area";
    case Reason::invalid_guest_state: return q == 2 ? "the PDPTEs" : q == 4 ? "the VMCS link pointer" : "";
    default: return {};
  }
}

std::string describe_reason(uint32_t exit_reason) {
  const ReasonInfo* reason = find_reason(exit_reason & 0xffff);
  return reason ? reason->title : "reason " + std::to_string(exit_reason & 0xffff);
}

const char* describe_group(Group group) {
  switch (group) {
    case Group::control: return "Control fields";
    case Group::read_only: return "VM-exit information fields";
    case Group::guest: return "Guest-state area";
    case Group::host: return "Host-state area";
  }
  return "";
}

ManualGroup manual_group(Field field) {
  switch (info(field).group) {
    case Group::guest: return ManualGroup::guest;
    case Group::host: return ManualGroup::host;
    case Group::read_only: return ManualGroup::exit_information;
    case Group::control: break;
  }
  const std::string_view name = info(field).name;
  return name.starts_with("exit_")    ? ManualGroup::exit_controls
         : name.starts_with("entry_") ? ManualGroup::entry_controls
                                      : ManualGroup::execution_controls;
}

const char* describe_group(ManualGroup group) {
  static constexpr const char* titles[manual_group_count] = {
      "Guest-state area",       "Host-state area",         "VM-execution control fields",
      "VM-exit control fields", "VM-entry control fields", "VM-exit information fields"};
  return titles[static_cast<unsigned>(group)];
}

namespace {

// Up to a parenthesis, which has an abbreviation in it.
std::string dashed(std::string_view title) {
  std::string text;
  for (char c : title.substr(0, title.find(" ("))) {
    const bool upper = c >= 'A' && c <= 'Z', alphanumeric = upper || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    text += upper ? static_cast<char>(c - 'A' + 'a') : alphanumeric ? c : '-';
  }
  return text;
}

}  // namespace

std::string file_name(ManualGroup group) {
  std::string name = dashed(describe_group(group));
  for (const char* ending : {"-area", "-fields"})
    if (name.ends_with(ending)) name.resize(name.size() - std::string_view(ending).size());
  return name;
}

std::string file_name(Field field) {
  std::string name = dashed(info(field).title);
  const std::string_view said = info(field).group == Group::guest ? "guest-" : info(field).group == Group::host ? "host-" : "";
  if (name.starts_with(said)) name.erase(0, said.size());
  return name;
}

std::string describe_field(Field field, uint64_t value) {
  switch (field) {
    case Field::pin_controls: return controls_of(Word::pin, value);
    case Field::primary_controls: return controls_of(Word::primary, value);
    case Field::secondary_controls: return controls_of(Word::secondary, value);
    case Field::exit_controls: return controls_of(Word::exit, value);
    case Field::entry_controls: return controls_of(Word::entry, value);
    case Field::exit_reason: return describe_reason(static_cast<uint32_t>(value));
    case Field::instruction_error: return value == 0 ? "" : describe(static_cast<InstructionError>(value & 0xff));
    case Field::entry_interruption_info:
    case Field::exit_interruption_info:
    case Field::vectoring_info: return describe_event(static_cast<uint32_t>(value));
    case Field::exception_bitmap: {
      std::string text;
      for (unsigned i = 0; i < 32; ++i)
        if (value >> i & 1) {
          const char* name = exception_name(i);
          text += (text.empty() ? "" : " ") + (name ? std::string(name) : std::to_string(i));
        }
      return text;
    }
    case Field::guest_activity: {
      static constexpr const char* states[] = {"active", "HLT", "shutdown", "wait-for-SIPI"};
      return value < 4 ? states[value] : "";
    }
    case Field::guest_interruptibility: {
      static constexpr std::pair<unsigned, const char*> blockings[] = {
          {0, "blocking by STI"}, {1, "blocking by MOV SS"}, {2, "blocking by SMI"}, {3, "blocking by NMI"}};
      return list_of(value, blockings);
    }
    default: break;
  }
  if (field >= Field::guest_es_rights && field <= Field::guest_tr_rights) return rights_of_segment(value);
  return {};
}

}  // namespace matryoshka::vmx
