// The processor's side of VMX non-root operation: how entries begin and exits end, and what else may come between two
// instructions of a guest. What an entry or an exit is stands in vmx-model/.
#include "cpu/processor.h"
#include "cpu/system/msr.h"

namespace matryoshka {

using vmx::Cause;
using vmx::Control;
using vmx::EventType;
using vmx::ExitRecord;
using vmx::Reason;

namespace {

EventType type_of(Processor::EventKind kind) {
  using Kind = Processor::EventKind;
  switch (kind) {
    case Kind::external: return EventType::external_interrupt;
    case Kind::nmi: return EventType::nmi;
    case Kind::exception: return EventType::hardware_exception;
    case Kind::software: return EventType::software_interrupt;
    case Kind::software_exception: return EventType::software_exception;
    case Kind::software_one: return EventType::privileged_software_exception;
  }
  return EventType::other;
}

Processor::EventKind kind_of(EventType type) {
  using Kind = Processor::EventKind;
  switch (type) {
    case EventType::external_interrupt: return Kind::external;
    case EventType::nmi: return Kind::nmi;
    case EventType::software_interrupt: return Kind::software;
    case EventType::software_exception: return Kind::software_exception;
    case EventType::privileged_software_exception: return Kind::software_one;
    default: return Kind::exception;
  }
}

}  // namespace

uint32_t Processor::Event::info() const { return vmx::event_info(vector, type_of(kind), has_error); }

// ---- Entry

void Processor::enter_guest(const Op& op, bool launch) {
  const uint64_t uncounted = static_cast<uint64_t>(&op - block_ops_) + uncounted_in_region();
  state.retired += uncounted;
  begin_guest(launch);
  state.retired -= uncounted;
}

void Processor::begin_guest(bool launch) {
  clock.ticks += 1;
  if (vmx.enter(launch) != vmx::Vmx::Entered::yes) return;
  // The single step that the host may be under was the host's.
  ++events_delivered;
  vmx::GuestEvent injected;
  if (vmx.event_to_inject(injected) && injected.type != EventType::other) {
    Event event{injected.vector, kind_of(injected.type), injected.has_error, injected.error};
    event.injected = true;
    const bool by_software = event.by_program() || event.kind == EventKind::software_one;
    if (by_software) event.length = injected.length;
    if (event.kind == EventKind::nmi) state.nmi_blocked = true;
    state.activity = Activity::active;  // also if delivery comes to nothing
    // "Delivery of Pending Debug Exceptions after VM Entry": only a software event behind a MOV SS leaves them pending.
    if (!(event.by_program() && state.mov_ss_shadow)) state.pending_debug = 0;
    const uint64_t transitions = vmx.transitions();
    deliver(event);
    exit_length_ = 0;
    clock.ticks += 1;
    if (vmx.transitions() != transitions) return;
  }
  vmx.entry_complete();
}

// ---- Exit

bool Processor::exits(Reason reason, Cause cause, uint64_t qualification, uint32_t instruction_info) {
  fault.exit(static_cast<uint16_t>(reason), qualification);
  fault.pending_exit.cause = cause.code();
  fault.pending_exit.instruction_info = instruction_info;
  return true;
}

void Processor::leave_guest(ExitRecord record) {
  clock.ticks += 1;
  vmx.leave_guest(record);
  exit_length_ = 0;
  vmx.unblocked_nmi = false;
}

// What a text or a walk has left in `fault`.
void Processor::leave_guest_by(const Fault& met) {
  const PendingExit& exit = met.pending_exit;
  ExitRecord record{static_cast<Reason>(exit.reason), Cause::of_code(exit.cause)};
  record.qualification = exit.qualification;
  record.guest_linear = exit.guest_linear, record.guest_physical = exit.guest_physical;
  record.event = exit.event;
  record.vectoring = met.vectoring, record.vectoring_error = met.vectoring_error;
  record.instruction_length = exit_length_, record.instruction_info = exit.instruction_info;
  const uint32_t unblocked = vmx.unblocked_nmi && !met.vectoring ? uint32_t{vmx::info_nmi_unblocked} : 0;
  switch (record.reason) {
    case Reason::ept_violation:
      record.cause = Cause::ept_entry;
      record.qualification |= unblocked;
      break;
    case Reason::ept_misconfiguration: record.cause = Cause::ept_entry; break;
    case Reason::apic_access: {
      record.cause = Cause::apic_access_page;
      // "Exit Qualification for APIC-Access VM Exits": an access while an event is delivered says only that.
      constexpr uint64_t type = 15 << 12, during_delivery = 3 << 12, fetch = 2 << 12;
      if (met.vectoring && (record.qualification & type) < fetch)
        record.qualification = (record.qualification & ~type) | during_delivery;
      break;
    }
    default: break;
  }
  leave_guest(record);
}

// Whether an event exits instead of being delivered: exceptions of the guest's own, by the bitmap. INT3 and its like ask before.
bool Processor::leaves_by(const Event& event, uint32_t vectoring, uint32_t vectoring_error) {
  Cause cause;
  if (event.injected || event.kind != EventKind::exception) return false;
  if (!vmx.guards_exception(event.vector, event.error, cause)) return false;
  ExitRecord record{Reason::exception_or_nmi, cause};
  const bool tells_payload = event.vector == PF_vector || event.vector == DB_vector;
  record.qualification = tells_payload ? event.payload : 0;
  record.event =
      event.info() | (vmx.unblocked_nmi && !vectoring && event.vector != DF_vector ? uint32_t{vmx::info_nmi_unblocked} : 0);
  record.event_error = event.error;
  record.vectoring = vectoring, record.vectoring_error = vectoring_error;
  record.instruction_length = exit_length_;
  fault.clear();
  leave_guest(record);
  return true;
}

// ---- Between two instructions of a guest

bool Processor::guest_can_wake() const {
  if (state.activity == Activity::wait_for_sipi) return false;  // it exits by a SIPI
  if (vmx.mtf_due() || vmx.timer_due()) return true;
  if (state.nmi_pending && !vmx.nmi_blocked()) return true;
  if (vmx.guards(Control::primary_nmi_window_exiting) && !state.nmi_blocked) return true;
  if (state.activity != Activity::halted) return false;
  if (state.pending_debug) return true;
  const bool interrupts_on = state.system_flags & rflags::IF;
  if (interrupts_on && vmx.guards(Control::primary_interrupt_window_exiting)) return true;
  return hears_interrupts() && interrupt_is_due();
}

// Whether service_guest_exits() may have something to do, shadows and sleep aside.
bool Processor::guest_exit_due() const {
  if (vmx.tpr_due() || vmx.mtf_due() || vmx.timer_due()) return true;
  if (vmx.guards(Control::primary_nmi_window_exiting) && !state.nmi_blocked) return true;
  if (state.system_flags & rflags::IF && vmx.guards(Control::primary_interrupt_window_exiting)) return true;
  return vmx.guards(Control::pin_external_interrupt_exiting) && interrupt_is_due();
}

// In the manual's order: "Priority Among Concurrent Events" with the exits that only a guest knows. True: it has left, or a trap
// was delivered that comes before whatever else is due.
bool Processor::service_guest_exits() {
  exit_length_ = 0;
  auto leave = [this](Reason reason, Cause cause, uint32_t event = 0, uint64_t qualification = 0) {
    ExitRecord record{reason, cause};
    record.event = event;
    record.qualification = qualification;
    leave_guest(record);
    return true;
  };
  // "Other Causes of VM Exits": the wait-for-SIPI state blocks all but SIPIs, also INIT signals; elsewhere a SIPI is lost.
  if (state.activity == Activity::wait_for_sipi) {
    if (!sipi_requested_) return false;
    sipi_requested_ = false;
    return leave(Reason::sipi, Cause::unconditional, 0, sipi_vector_);
  }
  const bool asleep = state.activity != Activity::active;
  if (vmx.take_tpr_exit()) return leave(Reason::tpr_below_threshold, Cause::tpr_threshold);
  if (init_requested_) {
    init_requested_ = false;
    return leave(Reason::init_signal, Cause::unconditional);
  }
  if (vmx.mtf_due()) return leave(Reason::monitor_trap_flag, Control::primary_monitor_trap_flag);
  if (state.pending_debug && !state.mov_ss_shadow) return false;  // first, as ever
  if (vmx.timer_due()) return leave(Reason::preemption_timer, Control::pin_preemption_timer);

  const bool shadow = state.sti_shadow || state.mov_ss_shadow;
  if (vmx.guards(Control::primary_nmi_window_exiting) && !state.nmi_blocked && !shadow)
    return leave(Reason::nmi_window, Control::primary_nmi_window_exiting);
  // Shadows hold back what the guest would take, not what makes it leave.
  if (state.nmi_pending && !vmx.nmi_blocked()) {
    if (!vmx.guards(Control::pin_nmi_exiting)) return false;
    state.nmi_pending = false;
    return leave(Reason::exception_or_nmi, Control::pin_nmi_exiting, vmx::event_info(NMI_vector, EventType::nmi, false));
  }
  if (asleep && state.activity != Activity::halted) return false;
  if (state.system_flags & rflags::IF && !shadow && vmx.guards(Control::primary_interrupt_window_exiting))
    return leave(Reason::interrupt_window, Control::primary_interrupt_window_exiting);
  if (interrupt_is_due() && vmx.guards(Control::pin_external_interrupt_exiting)) {
    const bool acknowledge = vmx.guards(Control::exit_acknowledge_interrupt);
    return leave(Reason::external_interrupt, Control::pin_external_interrupt_exiting,
                 acknowledge ? vmx::event_info(take_interrupt(), EventType::external_interrupt, false) : 0);
  }
  return false;
}

// ---- What the model asks of the processor

bool Processor::vmx_read_msr(uint32_t number, uint64_t& value) { return read_msr(*this, number, value); }
bool Processor::vmx_write_msr(uint32_t number, uint64_t value) { return write_msr(*this, number, value); }
void Processor::vmx_state_replaced() { derive(); }
void Processor::vmx_shut_down() {
  derive();
  state.activity = Activity::shutdown;
  notice();
  host.triple_fault();
}

}  // namespace matryoshka
