// VM entry, step by step as "VM Entries" tells it: checks of the instruction, of controls and host state, of guest state; loading
// of guest state; the MSR-load area. The event to inject is the processor's business, which asks for it afterwards.
#include "vmx-model/vmx.h"

namespace matryoshka::vmx {

Check Vmx::check() const { return {*current_, capabilities_, memory_, state_.long_mode(), saved_.current}; }

Vmx::Entered Vmx::enter(bool launch) {
  if (!current_) {
    fail_invalid();
    return Entered::no;
  }
  auto refuse = [&](InstructionError error) {
    const bool by_checks = error == InstructionError::invalid_control_fields || error == InstructionError::invalid_host_state;
    remember_failure(error, by_checks);
    fail(error);
    TraceEvent event = event_now(TraceEvent::failed_entry, Cause::entry_check);
    event.launch = launch;
    event.reason = TraceEvent::instruction_error | static_cast<uint16_t>(error);
    add_to_trace(event);
    return Entered::no;
  };
  if (state_.mov_ss_shadow) return refuse(InstructionError::mov_ss_blocking);
  if (launch && current_->launched) return refuse(InstructionError::vmlaunch_not_clear);
  if (!launch && !current_->launched) return refuse(InstructionError::vmresume_not_launched);
  const Check checks = check();
  if (first_violation(checks, Stage::controls)) return refuse(InstructionError::invalid_control_fields);
  if (first_violation(checks, Stage::host)) return refuse(InstructionError::invalid_host_state);
  ++transitions_;
  if (const CheckRow* row = first_violation(checks, Stage::guest))
    return fail_entry(Reason::invalid_guest_state, row->qualification, row);

  TraceEvent event = event_now(TraceEvent::entry, {});
  event.launch = launch;
  event.event = checks.injects() ? current_->word(Field::entry_interruption_info) : 0;

  const RootContext left = mmu_.context();
  load_guest_state();
  uint32_t failed;
  if (!load_msrs(Field::entry_msr_load, Field::entry_msr_load_count, true, failed))
    return fail_entry(Reason::msr_loading, failed, nullptr);

  if (launch) current_->launched = true;
  saved_.non_root = true;
  select_world(left);
  load_guest_blocking();
  host_.vmx_state_replaced();
  start_timer();
  saved_.mtf_due = saved_.tpr_due = false;
  // "VM Exits Induced by the TPR Threshold".
  if (guards(Control::primary_tpr_shadow) && guards(Control::secondary_apic_accesses)) check_tpr();
  add_to_trace(event);
  host_.vmx_notice();
  return Entered::yes;
}

// Silicon stops at the first check that fails, and tells one number. Whoever asks afterwards gets them all.
void Vmx::remember_failure(InstructionError error, bool by_checks) {
  EntryFailure failure;
  failure.error = error;
  if (by_checks)
    for (const CheckRow* row : violations(check())) {
      FailedCheck failed{row, {}};
      for (unsigned i = 0; i < 4; ++i)
        if (row->fields[i] != Field::count) failed.values[i] = field(row->fields[i]);
      failure.checks.push_back(failed);
    }
  trace.add_failure(std::move(failure));
}

// "VM-Entry Failures During or After Loading Guest State": as an exit, but nothing of the guest is saved.
Vmx::Entered Vmx::fail_entry(Reason reason, uint64_t qualification, const CheckRow* first) {
  constexpr uint64_t entry_failure = uint64_t{1} << 31;
  put(Field::exit_reason, entry_failure | static_cast<uint64_t>(reason));
  put(Field::exit_qualification, qualification);
  remember_failure(InstructionError::none, first != nullptr);
  TraceEvent event = event_now(TraceEvent::failed_entry, Cause::entry_check);
  event.reason = static_cast<uint16_t>(reason);
  event.qualification = qualification;
  add_to_trace(event);

  load_host_state();
  finish_host_load();
  // The host's control registers may be others than they were.
  mmu_.flush_all();
  return Entered::failed_late;
}

// ---- "Loading Guest State"

void Vmx::load_guest_state() {
  CpuState& s = state_;
  const Vmcs& v = *current_;
  // "Loading Guest Control Registers, Debug Registers, and MSRs"
  s.cr0 = (field(Field::guest_cr0) & ~cr0_kept) | (s.cr0 & cr0_kept);
  s.cr3 = field(Field::guest_cr3);
  s.cr4 = field(Field::guest_cr4);
  if (v.has(Control::entry_load_debug_controls)) {
    s.dr7 = (field(Field::guest_dr7) & 0xffff23ff) | dr7::always_one;
    s.msr.debugctl = field(Field::guest_debugctl);
  }
  s.msr.sysenter_cs = field(Field::guest_sysenter_cs);
  s.msr.sysenter_esp = field(Field::guest_sysenter_esp);
  s.msr.sysenter_eip = field(Field::guest_sysenter_eip);
  const bool ia32e = v.has(Control::entry_ia32e_mode_guest);
  if (v.has(Control::entry_load_efer)) {
    s.msr.efer = field(Field::guest_efer);
  } else {
    s.msr.efer = (s.msr.efer & ~efer::LMA) | (ia32e ? efer::LMA : 0);
    if (s.paging()) s.msr.efer = (s.msr.efer & ~efer::LME) | (ia32e ? efer::LME : 0);
  }
  if (v.has(Control::entry_load_pat)) s.msr.pat = field(Field::guest_pat);

  load_guest_segments();
  s.gpr[RSP] = field(Field::guest_rsp);
  s.rip = field(Field::guest_rip);
  s.set_rflags(field(Field::guest_rflags));

  // "Loading Page-Directory-Pointer-Table Entries": the checks have seen that they are good.
  if (s.paging() && s.cr4 & cr4::PAE && !ia32e)
    for (unsigned i = 0; i < 4; ++i) {
      s.pdpte[i] = field(nth(Field::guest_pdpte_0, i));
      if (!v.has(Control::secondary_ept)) s.pdpte[i] = memory_.load((s.cr3 & 0xffffffe0) + 8 * i, 8);
    }
  s.monitor_armed = false;
}

void Vmx::load_guest_segments() {
  const auto segments = in_field_order(state_);
  for (unsigned i = 0; i < 8; ++i)
    *segments[i] = {static_cast<uint16_t>(field(nth(Field::guest_es_selector, i))),
                    current_->word(nth(Field::guest_es_rights, i)) & 0x1f0ff, current_->word(nth(Field::guest_es_limit, i)),
                    field(nth(Field::guest_es_base, i))};
  state_.gdtr = {static_cast<uint16_t>(field(Field::guest_gdtr_limit)), field(Field::guest_gdtr_base)};
  state_.idtr = {static_cast<uint16_t>(field(Field::guest_idtr_limit)), field(Field::guest_idtr_base)};
}

// "Guest Non-Register State", as far as it is the processor's.
void Vmx::load_guest_blocking() {
  const uint64_t blocking = field(Field::guest_interruptibility);
  state_.sti_shadow = blocking & 1;
  state_.mov_ss_shadow = blocking >> 1 & 1;
  saved_.host_nmi_blocked = state_.nmi_blocked;
  state_.nmi_blocked = blocking >> 3 & 1;
  state_.activity = static_cast<Activity>(field(Field::guest_activity) & 3);
  state_.pending_debug = debug_pending_at_entry();
}

// "Delivery of Pending Debug Exceptions after VM Entry": there are some if a step is pending or a breakpoint that was enabled.
// The mark of the second is kept, since there may be one of which no bit tells.
uint64_t Vmx::debug_pending_at_entry() const {
  const uint64_t pending = field(Field::guest_pending_debug);
  if (state_.activity == Activity::shutdown || state_.activity == Activity::wait_for_sipi) return 0;
  return pending & (dr6::BS | enabled_breakpoint) ? pending & (dr6::BS | enabled_breakpoint | 15) : 0;
}

void Vmx::select_world(const RootContext& left) {
  const Vmcs& v = *current_;
  World world;
  if (v.has(Control::secondary_vpid)) world.vpid = static_cast<uint16_t>(field(Field::vpid));
  Ept ept;
  if (v.has(Control::secondary_ept)) {
    ept.on = true;
    ept.pointer = field(Field::eptp);
    ept.physical_bits = capabilities_.platform().physical_bits;
    ept.execute_only = capabilities_.has(Capability::ept_execute_only);
    ept.large_pages = capabilities_.has(Capability::ept_2m);
    ept.gigabyte_pages = capabilities_.has(Capability::ept_1g);
    world.ept_root = ept.root();
  }
  const bool accesses = v.has(Control::secondary_apic_accesses);
  mmu_.enter_guest(world, left, ept, accesses ? field(Field::apic_access) : ~uint64_t{0}, accesses ? this : nullptr);
}

// "VMX-Preemption Timer": counts at the rate of the TSC divided by 2^rate, whenever bit `rate` of it changes.
void Vmx::start_timer() {
  saved_.timer_due = false;
  saved_.timer_end = Saved::never;
  if (!current_->has(Control::pin_preemption_timer)) return;
  saved_.timer_end = timer_units() + field(Field::preemption_timer);
  if (field(Field::preemption_timer) == 0) {
    saved_.timer_due = true;
    return host_.vmx_notice();
  }
  timer_.arm(saved_.timer_end << Capabilities::timer_rate);
}

// ---- "Loading MSRs"

namespace {

struct MsrEntry {
  uint32_t number, reserved;
  uint64_t value;
};

}  // namespace

bool Vmx::load_msrs(Field address, Field count, bool is_entry, uint32_t& failed) {
  for (uint32_t i = 0; i < field(count); ++i) {
    MsrEntry entry;
    failed = i + 1;
    clock_.ticks += ticks_per_listed_msr;
    if (i == most_listed_msrs) return false;
    if (!memory_.read(field(address) + i * sizeof entry, &entry, sizeof entry)) return false;
    if (entry.reserved != 0 || !may_list(entry.number)) return false;
    constexpr uint32_t fs_base = 0xc0000100, gs_base = 0xc0000101, microcode_update = 0x79, smm_monitor = 0x9b;
    if (entry.number == fs_base || entry.number == gs_base || entry.number == smm_monitor) return false;
    if (is_entry && entry.number == microcode_update) return false;
    if (!host_.vmx_write_msr(entry.number, entry.value)) return false;
  }
  return true;
}

// ---- "Event Injection"

bool Vmx::event_to_inject(GuestEvent& event) const {
  const uint32_t info = current_->word(Field::entry_interruption_info);
  if (!(info & info_valid)) return false;
  event.vector = static_cast<uint8_t>(info);
  event.type = static_cast<EventType>(info >> 8 & 7);
  event.has_error = info & info_error_code;
  event.error = current_->word(Field::entry_error_code);
  event.length = current_->word(Field::entry_instruction_length);
  return true;
}

void Vmx::entry_complete() {
  const bool injects_mtf = (field(Field::entry_interruption_info) & (info_valid | 0x700)) ==
                           (info_valid | static_cast<uint32_t>(EventType::other) << 8);
  const bool injects = field(Field::entry_interruption_info) & info_valid;
  if (injects_mtf || (injects && watches_instructions())) saved_.mtf_due = true, host_.vmx_notice();
}

}  // namespace matryoshka::vmx
