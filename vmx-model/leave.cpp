// VM exit, step by step as "VM Exits" tells it: what is recorded, what is saved of the guest, the MSR-store area, the host's
// state, the MSR-load area.
#include "vmx-model/vmx.h"

namespace matryoshka::vmx {

namespace {

// "VMX Aborts": the indicators.
enum AbortIndicator : uint32_t { saving_msrs = 1, host_pdptes = 2, loading_msrs = 4, from_ia32e_mode = 6 };

}  // namespace

void Vmx::leave_guest(const ExitRecord& record) {
  ++transitions_;
  record_exit(record);
  save_guest_state(record);

  TraceEvent event = event_now(TraceEvent::exit, record.cause);
  event.reason = static_cast<uint16_t>(record.reason);
  event.event = record.event;
  event.vectoring = record.vectoring;
  event.instruction_length = record.instruction_length;
  event.qualification = record.qualification;
  event.guest_linear = record.guest_linear, event.guest_physical = record.guest_physical;
  add_to_trace(event);

  timer_.cancel();
  saved_.timer_end = Saved::never;
  saved_.mtf_due = saved_.tpr_due = saved_.timer_due = false;
  if (current_->has(Control::pin_virtual_nmis)) state_.nmi_blocked = saved_.host_nmi_blocked;
  // "Updating Non-Register State": an NMI that exits blocks others, as one that is delivered does.
  const bool by_nmi =
      record.reason == Reason::exception_or_nmi && (record.event >> 8 & 7) == static_cast<unsigned>(EventType::nmi);
  if (by_nmi) state_.nmi_blocked = true;

  if (!store_msrs()) return abort(saving_msrs);
  // The guest has gone there by itself; an entry would not have let it.
  if (state_.long_mode() && !current_->has(Control::exit_host_address_space_size)) return abort(from_ia32e_mode);
  mmu_.leave_guest();
  load_host_state();
  finish_host_load();
}

// "Recording VM-Exit Information and Updating VM-Entry Control Fields"
void Vmx::record_exit(const ExitRecord& r) {
  put(Field::exit_reason, static_cast<uint64_t>(r.reason));
  put(Field::exit_qualification, r.qualification);
  put(Field::guest_linear_address, r.guest_linear);
  if (r.reason == Reason::ept_violation || r.reason == Reason::ept_misconfiguration)
    put(Field::guest_physical_address, r.guest_physical);
  put(Field::exit_interruption_info, r.event);
  if (r.event & info_error_code) put(Field::exit_error_code, r.event_error);
  put(Field::vectoring_info, r.vectoring);
  if (r.vectoring & info_error_code) put(Field::vectoring_error_code, r.vectoring_error);
  put(Field::exit_instruction_length, r.instruction_length);
  put(Field::exit_instruction_info, r.instruction_info);
  put(Field::entry_interruption_info, field(Field::entry_interruption_info) & ~uint64_t{info_valid});
  if (r.reason == Reason::io_instruction) {
    put(Field::io_rcx, state_.gpr[RCX]), put(Field::io_rsi, state_.gpr[RSI]);
    put(Field::io_rdi, state_.gpr[RDI]), put(Field::io_rip, state_.rip);
  }
  if (capabilities_.has(Capability::exit_stores_ia32e_mode)) {
    const uint64_t mask = info(Control::entry_ia32e_mode_guest).mask();
    put(Field::entry_controls, (field(Field::entry_controls) & ~mask) | (state_.long_mode() ? mask : 0));
  }
}

// ---- "Saving Guest State"

namespace {

// RF in the image of RFLAGS that delivering this event saves.
uint64_t delivered_resume_flag(uint32_t event, uint64_t now) {
  const bool is_fault = (event >> 8 & 7) == static_cast<unsigned>(EventType::hardware_exception) && (event & 0xff) != DB_vector &&
                        (event & 0xff) != DF_vector && (event & 0xff) != MC_vector;
  return is_fault ? uint64_t{rflags::RF} : now;
}

// What RFLAGS.RF is in the saved image: "Saving RIP, RSP, RFLAGS, and SSP".
uint64_t saved_resume_flag(const ExitRecord& r, uint64_t now) {
  switch (r.reason) {
    case Reason::exception_or_nmi: return delivered_resume_flag(r.event, now);
    case Reason::apic_access:
    case Reason::ept_violation:
    case Reason::ept_misconfiguration: return r.vectoring ? delivered_resume_flag(r.vectoring, now) : uint64_t{rflags::RF};
    case Reason::external_interrupt:
    case Reason::triple_fault:
    case Reason::init_signal:
    case Reason::sipi:
    case Reason::interrupt_window:
    case Reason::nmi_window:
    case Reason::task_switch:
    case Reason::monitor_trap_flag:
    case Reason::tpr_below_threshold:
    case Reason::preemption_timer: return now;
    default: return 0;  // an instruction that exits
  }
}

}  // namespace

void Vmx::save_guest_state(const ExitRecord& r) {
  const CpuState& s = state_;
  const Vmcs& v = *current_;
  put(Field::guest_cr0, s.cr0), put(Field::guest_cr3, s.cr3), put(Field::guest_cr4, s.cr4);
  if (v.has(Control::exit_save_debug_controls)) {
    put(Field::guest_dr7, s.dr7);
    put(Field::guest_debugctl, s.msr.debugctl);
  }
  put(Field::guest_sysenter_cs, s.msr.sysenter_cs);
  put(Field::guest_sysenter_esp, s.msr.sysenter_esp);
  put(Field::guest_sysenter_eip, s.msr.sysenter_eip);
  if (v.has(Control::exit_save_pat)) put(Field::guest_pat, s.msr.pat);
  if (v.has(Control::exit_save_efer)) put(Field::guest_efer, s.msr.efer);

  const auto segments = in_field_order(s);
  for (unsigned i = 0; i < 8; ++i) {
    put(nth(Field::guest_es_selector, i), segments[i]->selector);
    put(nth(Field::guest_es_limit, i), segments[i]->limit);
    put(nth(Field::guest_es_rights, i), segments[i]->rights);
    put(nth(Field::guest_es_base, i), segments[i]->base);
  }
  put(Field::guest_gdtr_limit, s.gdtr.limit), put(Field::guest_gdtr_base, s.gdtr.base);
  put(Field::guest_idtr_limit, s.idtr.limit), put(Field::guest_idtr_base, s.idtr.base);

  put(Field::guest_rip, s.rip);
  put(Field::guest_rsp, s.gpr[RSP]);
  const uint64_t flags = s.rflags();
  put(Field::guest_rflags, (flags & ~rflags::RF) | saved_resume_flag(r, flags & rflags::RF));

  // "Saving Non-Register State"
  put(Field::guest_activity, static_cast<uint64_t>(s.activity));
  put(Field::guest_interruptibility, uint64_t{s.sti_shadow} | uint64_t{s.mov_ss_shadow} << 1 | uint64_t{s.nmi_blocked} << 3);
  // Clear, but for exits that come between two instructions without asking for debug exceptions first.
  const bool keeps_pending = s.mov_ss_shadow || r.reason == Reason::init_signal || r.reason == Reason::tpr_below_threshold ||
                             r.reason == Reason::monitor_trap_flag;
  const uint64_t pending = keeps_pending ? s.pending_debug & (dr6::BS | enabled_breakpoint | 15) : 0;
  put(Field::guest_pending_debug, pending | (pending & 15 ? enabled_breakpoint : 0));
  if (v.has(Control::exit_save_preemption_timer)) {
    const uint64_t now = timer_units();
    put(Field::preemption_timer, saved_.timer_due || saved_.timer_end <= now ? 0 : saved_.timer_end - now);
  }
  if (v.has(Control::secondary_ept) && s.paging() && s.cr4 & cr4::PAE && !s.long_mode())
    for (unsigned i = 0; i < 4; ++i) put(nth(Field::guest_pdpte_0, i), s.pdpte[i]);
}

// "Saving MSRs"
bool Vmx::store_msrs() {
  for (uint32_t i = 0; i < field(Field::exit_msr_store_count); ++i) {
    clock_.ticks += ticks_per_listed_msr;
    if (i == most_listed_msrs) return false;
    const uint64_t at = field(Field::exit_msr_store) + 16 * uint64_t{i};
    uint32_t head[2];
    uint64_t value = 0;
    if (!memory_.read(at, head, sizeof head) || head[1] != 0 || !may_list(head[0])) return false;
    // The counter as the host knows it.
    constexpr uint32_t time_stamp_counter = 0x10;
    const bool read = host_.vmx_read_msr(head[0], value);
    if (head[0] == time_stamp_counter) value -= tsc_offset();
    if (!read || !memory_.write(at + 8, &value, sizeof value)) return false;
  }
  return true;
}

// ---- "Loading Host State"

namespace {

constexpr uint32_t host_code = 0x809b, long_code = 0x2000, big = 0x4000, host_data = 0xc093, host_tss = 0x8b;

}  // namespace

void Vmx::load_host_state() {
  CpuState& s = state_;
  const Vmcs& v = *current_;
  const bool wide = v.has(Control::exit_host_address_space_size);
  // "Loading Host Control Registers, Debug Registers, MSRs"
  s.cr0 = (field(Field::host_cr0) & ~cr0_kept) | (s.cr0 & cr0_kept);
  s.cr3 = field(Field::host_cr3);
  s.cr4 = field(Field::host_cr4) | (wide ? cr4::PAE : 0);
  if (!wide) s.cr4 &= ~cr4::PCIDE;
  s.dr7 = dr7::always_one;
  s.msr.debugctl = 0;
  s.msr.sysenter_cs = field(Field::host_sysenter_cs);
  s.msr.sysenter_esp = field(Field::host_sysenter_esp);
  s.msr.sysenter_eip = field(Field::host_sysenter_eip);
  if (v.has(Control::exit_load_efer)) s.msr.efer = field(Field::host_efer);
  constexpr uint64_t mode = efer::LMA | efer::LME;
  s.msr.efer = (s.msr.efer & ~mode) | (wide ? mode : 0);
  if (v.has(Control::exit_load_pat)) s.msr.pat = field(Field::host_pat);

  // "Loading Host Segment and Descriptor-Table Registers"
  auto selector = [&](unsigned i) { return static_cast<uint16_t>(field(nth(Field::host_es_selector, i))); };
  auto data = [&](unsigned place, uint64_t base) -> Segment {
    const uint16_t value = selector(place);
    return {value, value == 0 ? Segment::unusable_bit | host_data : host_data, 0xffffffff, base};
  };
  s.segment[ES] = data(0, 0);
  s.segment[CS] = {selector(1), host_code | (wide ? long_code : big), 0xffffffff, 0};
  s.segment[SS] = data(2, 0);
  s.segment[DS] = data(3, 0);
  s.segment[FS] = data(4, field(Field::host_fs_base));
  s.segment[GS] = data(5, field(Field::host_gs_base));
  s.tr = {selector(6), host_tss, 0x67, field(Field::host_tr_base)};
  s.ldtr = {0, Segment::unusable_bit, 0, 0};
  s.gdtr = {0xffff, field(Field::host_gdtr_base)};
  s.idtr = {0xffff, field(Field::host_idtr_base)};

  s.rip = field(Field::host_rip);
  s.gpr[RSP] = field(Field::host_rsp);
  s.set_rflags(rflags::always_one);

  // "Updating Non-Register State"
  s.activity = Activity::active;
  s.sti_shadow = s.mov_ss_shadow = false;
  s.pending_debug = 0;
  s.monitor_armed = false;
}

void Vmx::finish_host_load() {
  if (saved_.non_root) {
    saved_.non_root = false;
    mmu_.enter_root();
  }
  // "Checking and Loading Host Page-Directory-Pointer-Table Entries"
  if (state_.paging() && state_.cr4 & cr4::PAE && !state_.long_mode()) {
    Fault met;
    if (!load_pdptes(state_, memory_, mmu_.limits, state_.cr3, met)) return abort(host_pdptes);
  }
  host_.vmx_state_replaced();
  uint32_t failed;
  if (!load_msrs(Field::exit_msr_load, Field::exit_msr_load_count, false, failed)) return abort(loading_msrs);
  host_.vmx_state_replaced();
  host_.vmx_notice();
}

void Vmx::abort(uint32_t indicator) {
  vmcses_.set_abort_indicator(current_->address, indicator);
  if (saved_.non_root) {
    saved_.non_root = false;
    mmu_.enter_root();
  }
  host_.vmx_shut_down();
}

}  // namespace matryoshka::vmx
