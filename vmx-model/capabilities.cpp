#include "vmx-model/capabilities.h"

#include <algorithm>

namespace matryoshka::vmx {

namespace {
constexpr Control none = Control::count;
constexpr Control ept = Control::secondary_ept, vpid = Control::secondary_vpid;
constexpr Control unrestricted_guest = Control::secondary_unrestricted_guest;
}  // namespace

const CapabilityInfo capability_table[capability_count] = {
#define CAPABILITY(reg, bit, name, support, needs, flag, title) \
  {#name, CapabilityRegister::reg, bit, Support::support, needs, flag, title},
#include "vmx-model/capabilities.def"
#undef CAPABILITY
};

// ---- Features

Features Features::all() {
  Features all;
  for (unsigned i = 0; i < control_count; ++i) all.controls_[i] = control_table[i].support != Support::absent;
  for (unsigned i = 0; i < capability_count; ++i) all.capabilities_[i] = capability_table[i].support != Support::absent;
  return all;
}

Features::Answer Features::set(std::string_view flag, bool on) {
  auto change = [&](auto& set, size_t place, Support support) {
    if (on && support == Support::absent) return Answer::unsupported;
    set[place] = on;
    drop_dependents();
    return Answer::ok;
  };
  for (unsigned i = 0; i < control_count; ++i)
    if (flag == control_table[i].flag) return change(controls_, i, control_table[i].support);
  for (unsigned i = 0; i < capability_count; ++i)
    if (flag == capability_table[i].flag) return change(capabilities_, i, capability_table[i].support);
  return Answer::unknown;
}

void Features::drop_dependents() {
  // One control that a processor does not offer without another: the entry checks would not let it be used.
  static constexpr struct {
    Control control, needs;
  } needs[] = {
      {Control::secondary_unrestricted_guest, Control::secondary_ept},
      {Control::pin_virtual_nmis, Control::pin_nmi_exiting},
      {Control::primary_nmi_window_exiting, Control::pin_virtual_nmis},
      {Control::exit_save_preemption_timer, Control::pin_preemption_timer},
      // "Both of these or neither", says software that compares them.
      {Control::exit_load_pat, Control::entry_load_pat},
      {Control::entry_load_pat, Control::exit_load_pat},
      {Control::exit_save_pat, Control::entry_load_pat},
      {Control::exit_load_efer, Control::entry_load_efer},
      {Control::entry_load_efer, Control::exit_load_efer},
      {Control::exit_save_efer, Control::entry_load_efer},
  };
  for (unsigned i = 0; i < control_count; ++i)
    if (control_table[i].word == Word::secondary && !has(Control::primary_secondary_controls)) controls_[i] = false;
  for (const auto& [control, needed] : needs)
    if (!has(needed)) controls_[static_cast<size_t>(control)] = false;
  for (unsigned i = 0; i < capability_count; ++i)
    if (capability_table[i].needs != none && !has(capability_table[i].needs)) capabilities_[i] = false;
}

// ---- Registers

Capabilities::Capabilities(const Features& features, const Platform& platform) : features_(features), platform_(platform) {
  for (unsigned w = 0; w < word_count; ++w) required_[w] = allowed_[w] = word_table[w].default1;
  for (unsigned i = 0; i < control_count; ++i) {
    const ControlInfo& row = control_table[i];
    const auto word = static_cast<unsigned>(row.word);
    if (has(static_cast<Control>(i))) {
      allowed_[word] |= row.mask();
      required_[word] &= ~row.mask();
    }
  }
  for (unsigned i = 0; i < capability_count; ++i)
    if (has(static_cast<Capability>(i)))
      (capability_table[i].reg == CapabilityRegister::misc ? misc_ : ept_vpid_) |= uint64_t{1} << capability_table[i].bit;
  misc_ |= timer_rate | most_cr3_targets << 16;
  for (unsigned i = 0; i < field_count; ++i)
    if (has(static_cast<Field>(i))) highest_index_ = std::max<uint64_t>(highest_index_, info(static_cast<Field>(i)).index);
}

bool Capabilities::read_msr(uint32_t number, uint64_t& value) const {
  // In the plain MSRs every bit that is 1 by default must be 1: they were made for software that knows nothing else.
  auto plain = [&](Word word) {
    return uint64_t{allowed(word)} << 32 | required(word) | word_table[static_cast<unsigned>(word)].default1;
  };
  auto exact = [&](Word word) { return uint64_t{allowed(word)} << 32 | required(word); };
  constexpr uint64_t write_back = 6, in_out_information = uint64_t{1} << 54, true_controls = uint64_t{1} << 55;
  switch (number) {
    case 0x480:
      value = revision | uint64_t{region_size} << 32 | write_back << 50 | in_out_information | true_controls;
      return true;
    case 0x481: value = plain(Word::pin); return true;
    case 0x482: value = plain(Word::primary); return true;
    case 0x483: value = plain(Word::exit); return true;
    case 0x484: value = plain(Word::entry); return true;
    case 0x485: value = misc_; return true;
    case 0x486: value = cr0_fixed0; return true;
    case 0x487: value = cr0_fixed1; return true;
    case 0x488: value = cr4_fixed0; return true;
    case 0x489: value = platform_.cr4_allowed; return true;
    case 0x48a: value = highest_index_ << 1; return true;
    case 0x48b: value = exact(Word::secondary); return has(Control::primary_secondary_controls);
    case 0x48c: value = ept_vpid_; return has(Control::secondary_ept) || has(Control::secondary_vpid);
    case 0x48d: value = exact(Word::pin); return true;
    case 0x48e: value = exact(Word::primary); return true;
    case 0x48f: value = exact(Word::exit); return true;
    case 0x490: value = exact(Word::entry); return true;
  }
  return false;  // 491h, IA32_VMX_VMFUNC, comes with VM functions
}

}  // namespace matryoshka::vmx
