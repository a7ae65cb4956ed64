// The delivery of interrupts and exceptions, and the instructions that ask for one.
//
// attempt() tries to deliver one event: it reads the gate, checks, pushes and commits, and leaves the processor alone if that
// faults on the way. deliver() goes on until something has been delivered, by the rules of "Interrupt 8 - Double Fault
// Exception (#DF)", or the processor shuts down. INT n and its like attempt once: what they meet is their own fault, at their own
// address.
#include "cpu/system/stack.h"
#include "cpu/system/system.h"
#include "cpu/system/tasks.h"
#include "cpu/system/transfers.h"

namespace matryoshka {

namespace system {
namespace {

using EventKind = Processor::EventKind;

using Event = Processor::Event;

// RF in the saved flags keeps a code breakpoint from stopping the instruction again: "Instruction-Breakpoint Exception
// Condition".
uint64_t saved_flags(const CpuState& s, const Event& e) { return s.rflags() | (e.is_fault() ? rflags::RF : 0); }

// ---- Real-address mode

bool attempt_real(Processor& cpu, const Event& e) {
  CpuState& s = cpu.state;
  const unsigned at = e.vector * 4;
  if (at + 3 > s.idtr.limit) return cpu.fault.raise(GP_vector, 0);
  uint16_t offset, selector;
  if (!cpu.mmu.system_load(s.idtr.base + at, offset) || !cpu.mmu.system_load(s.idtr.base + at + 2, selector)) return false;
  Stack stack(cpu);
  if (!stack.push(s.rflags(), 2) || !stack.push(s.segment[CS].selector, 2) || !stack.push(s.rip, 2)) return false;
  if (offset > s.segment[CS].limit) return cpu.fault.raise(GP_vector, 0);
  stack.commit();
  s.system_flags &= ~(rflags::IF | rflags::TF | rflags::AC | rflags::RF);
  load_real_segment(cpu, CS, selector);
  s.rip = offset;
  cpu.derive();
  return true;
}

// ---- Protected and long mode

bool is_event_gate(const CpuState& s, const Descriptor& gate) {
  using namespace descriptor_type;
  if (gate.is_code_or_data()) return false;
  const unsigned type = gate.type();
  if (type == interrupt_gate32 || type == trap_gate32) return true;
  return !s.long_mode() && (type == task_gate || type == interrupt_gate16 || type == trap_gate16);
}

bool attempt_by_task(Processor& cpu, const Event& e, const Descriptor& gate, bool& committed) {
  if (!switch_task(cpu, gate.gate_selector(), TaskSwitch::event, saved_flags(cpu.state, e), e.external(), committed))
    return false;
  if (!e.has_error) return true;
  Stack stack(cpu, e.external());
  if (!stack.push(e.error, cpu.state.tr.type() & 8 ? 4 : 2)) return false;
  stack.commit();
  return true;
}

// The stack of the handler, at `level`.
bool handler_stack(Processor& cpu, const Event& e, const Descriptor& gate, unsigned level, InnerStack& stack) {
  const CpuState& s = cpu.state;
  const bool inward = level != cpu.cpl();
  stack = {s.segment[SS], s.long_mode() ? 64u : cpu.mode().stack_bits, s.gpr[RSP]};
  if (s.long_mode() && gate.gate_ist() != 0) {
    if (inward) stack.segment = null_segment(static_cast<uint16_t>(level), level);
    if (!read_tss64(cpu, 36 + 8 * (gate.gate_ist() - 1), e.external(), stack.pointer)) return false;
  } else if (inward && !inner_stack(cpu, level, e.external(), stack)) {
    return false;
  }
  // "64-Bit Mode Stack Frame": aligned to 16 bytes.
  if (s.long_mode()) stack.pointer &= ~uint64_t{15};
  return true;
}

bool attempt_protected(Processor& cpu, const Event& e, bool& committed) {
  using namespace descriptor_type;
  CpuState& s = cpu.state;
  const uint32_t external = e.external(), idt_error = static_cast<uint32_t>(e.vector) << 3 | 2 | external;
  const bool v86 = s.virtual_8086(), in_long_mode = s.long_mode();
  const unsigned cpl = cpu.cpl();

  // The gate
  const unsigned size = in_long_mode ? 16 : 8, at = e.vector * size;
  if (at + size - 1 > s.idtr.limit) return cpu.fault.raise(GP_vector, idt_error);
  Descriptor gate;
  if (!cpu.mmu.system_load(s.idtr.base + at, gate.low)) return false;
  if (in_long_mode && !cpu.mmu.system_load(s.idtr.base + at + 8, gate.high)) return false;
  if (!is_event_gate(s, gate)) return cpu.fault.raise(GP_vector, idt_error);
  if (e.by_program() && gate.dpl() < cpl) return cpu.fault.raise(GP_vector, idt_error);
  if (!gate.present()) return cpu.fault.raise(NP_vector, idt_error);
  if (gate.type() == task_gate) return attempt_by_task(cpu, e, gate, committed);

  // The handler's code
  const Blame blame{GP_vector, external};
  const uint16_t selector = gate.gate_selector();
  if (is_null(selector)) return cpu.fault.raise(GP_vector, external);
  Descriptor code;
  if (!fetch_descriptor(cpu, selector, code, blame)) return false;
  if (!is_code(code) || code.dpl() > cpl) return blame(cpu, selector);
  if (in_long_mode && (!is_long_code(code) || is_default_big(code))) return blame(cpu, selector);
  if (!code.present()) return blame.refuse(cpu, NP_vector, selector);
  const unsigned level = is_conforming(code) ? cpl : code.dpl();
  if (v86 && level != 0) return blame(cpu, selector);
  if (!mark_accessed(cpu, selector, code)) return false;

  // Its stack
  const bool inward = level != cpl;
  const bool wide = gate.type() & 8;
  const unsigned bytes = in_long_mode ? 8 : wide ? 4 : 2;
  InnerStack chosen;
  if (!handler_stack(cpu, e, gate, level, chosen)) return false;
  Stack stack(cpu, chosen.segment, chosen.bits, level, chosen.pointer,
              (inward ? chosen.segment.selector & 0xfffc : 0) | external);
  if (v86)
    for (SegmentName name : {GS, FS, DS, ES})
      if (!stack.push(s.segment[name].selector, bytes)) return false;
  if (inward || in_long_mode)
    if (!stack.push(s.segment[SS].selector, bytes) || !stack.push(s.gpr[RSP], bytes)) return false;
  if (!stack.push(saved_flags(s, e), bytes) || !stack.push(s.segment[CS].selector, bytes) || !stack.push(s.rip, bytes))
    return false;
  if (e.has_error && !stack.push(e.error, bytes)) return false;
  const uint64_t target = in_long_mode ? gate.gate_offset64() : wide ? gate.gate_offset() : gate.gate_offset() & 0xffff;
  if (!check_target(cpu, code, target, external)) return false;

  stack.commit();
  if (inward) s.segment[SS] = chosen.segment;
  if (v86)
    for (SegmentName name : {GS, FS, DS, ES}) s.segment[name] = null_segment(0);
  s.system_flags &= ~(rflags::TF | rflags::NT | rflags::RF | rflags::VM);
  if (!(gate.type() & 1)) s.system_flags &= ~rflags::IF;
  load_code_segment(cpu, selector, code, level);
  s.rip = target;
  cpu.derive();
  return true;
}

// ---- One event

bool attempt(Processor& cpu, const Event& e, bool& committed) {
  CpuState& s = cpu.state;
  committed = false;
  if (cpu.host.takes_event(e.vector, e.has_error, e.error)) return ++cpu.events_delivered;
  // A trap that waits behind a MOV SS outlives an INT n, INT3 or INTO there, and nothing else: so "Delivery of Pending Debug
  // Exceptions after VM Entry" has it. ICEBP's own handler would meet it on its first instruction, for ever on a stack by IST.
  if (!e.by_program()) s.pending_debug = 0;
  if (!(s.protected_mode() ? attempt_protected(cpu, e, committed) : attempt_real(cpu, e))) return false;
  s.activity = Activity::active;
  s.sti_shadow = s.mov_ss_shadow = false;
  // One that a VM entry injects leaves the debug registers to the host.
  if (e.vector == DB_vector && !e.injected) s.dr7 &= ~dr7::GD;
  ++cpu.events_delivered;
  return true;
}

// "Interrupt and Exception Classes"
enum class Severity { benign, contributory, page_fault };

Severity severity(uint8_t vector) {
  switch (vector) {
    case DE_vector:
    case TS_vector:
    case NP_vector:
    case SS_vector:
    case GP_vector: return Severity::contributory;
    case PF_vector: return Severity::page_fault;
    default: return Severity::benign;
  }
}

void shut_down(Processor& cpu) {
  cpu.state.activity = Activity::shutdown;
  cpu.notice();
  cpu.host.triple_fault();
}

// INT n, INT3, INTO and INT1. All but the first are exceptions to the bitmap of a guest's host.
bool attempt_once(Processor& cpu, uint8_t vector, EventKind kind) {
  const Event event{vector, kind};
  vmx::Cause cause;
  if (kind != EventKind::software && cpu.vmx.guards_exception(vector, 0, cause)) {
    (void)cpu.exits(vmx::Reason::exception_or_nmi, cause);
    cpu.fault.pending_exit.event = event.info();
    return false;
  }
  bool committed;
  if (attempt(cpu, event, committed)) return true;
  cpu.fault.vectoring = event.info();
  if (!committed) return false;
  cpu.deliver_fault();
  return true;
}

// "Software Interrupt Handling Methods While in Virtual-8086 Mode": INT n goes by the redirection bitmap in front of the I/O
// permission bitmap, where virtual-mode extensions are on.
bool redirected(Processor& cpu, uint8_t vector, bool& to_program) {
  const Segment& tr = cpu.state.tr;
  to_program = false;
  if (!(cpu.state.cr4 & cr4::VME)) return true;
  uint16_t io_map;
  if (tr.limit < 0x67) return cpu.fault.raise(GP_vector, 0);
  if (!cpu.mmu.system_load(tr.base + 0x66, io_map)) return false;
  const uint32_t at = static_cast<uint32_t>(io_map) - 32 + vector / 8;
  uint8_t bits;
  if (at > tr.limit) return cpu.fault.raise(GP_vector, 0);
  if (!cpu.mmu.system_load(tr.base + at, bits)) return false;
  to_program = !(bits >> vector % 8 & 1);
  return true;
}

// To the handler of the virtual-8086 program itself, through the vector table at its address 0.
bool interrupt_in_virtual_8086(Processor& cpu, uint8_t vector) {
  CpuState& s = cpu.state;
  const bool virtual_if = s.iopl() < 3;
  uint16_t offset, selector;
  if (!cpu.mmu.system_load(vector * 4, offset) || !cpu.mmu.system_load(vector * 4 + 2, selector)) return false;
  uint64_t flags = s.rflags();
  if (virtual_if) flags = (flags & ~rflags::IF) | rflags::IOPL | (flags & rflags::VIF ? rflags::IF : 0);
  Stack stack(cpu);
  if (!stack.push(flags, 2) || !stack.push(s.segment[CS].selector, 2) || !stack.push(s.rip, 2)) return false;
  stack.commit();
  s.system_flags &= ~(rflags::TF | rflags::RF | (virtual_if ? rflags::VIF : rflags::IF));
  load_real_segment(cpu, CS, selector);
  s.rip = offset;
  ++cpu.events_delivered;
  cpu.derive();
  return true;
}

}  // namespace

// ---- Instructions

bool interrupt_n(Processor& cpu, const Op& op) {
  const uint8_t vector = op.immediate8();
  if (cpu.state.virtual_8086()) {
    bool to_program;
    if (!redirected(cpu, vector, to_program)) return false;
    if (to_program) return interrupt_in_virtual_8086(cpu, vector);
    if (cpu.state.iopl() < 3) return cpu.fault.raise(GP_vector, 0);
  }
  return attempt_once(cpu, vector, EventKind::software);
}

bool interrupt_1(Processor& cpu, const Op&) { return attempt_once(cpu, DB_vector, EventKind::software_one); }
bool interrupt_3(Processor& cpu, const Op&) { return attempt_once(cpu, BP_vector, EventKind::software_exception); }

bool interrupt_on_overflow(Processor& cpu, const Op&) {
  return !cpu.state.flags.of() || attempt_once(cpu, OF_vector, EventKind::software_exception);
}

bool bound(Processor& cpu, const Op& op) {
  const unsigned bytes = op.operand_bytes(), bits = op.operand_bits();
  uint64_t linear, low, high;
  if (!cpu.linear_address(op, 2 * bytes, AccessKind::read, linear)) return false;
  if (!cpu.load_sized(op, linear, low, bytes) || !cpu.load_sized(op, linear + bytes, high, bytes)) return false;
  auto signed_value = [=](uint64_t v) { return static_cast<int64_t>(v << (64 - bits)); };
  const int64_t index = signed_value(cpu.read_gpr(op.reg, bits));
  return (signed_value(low) <= index && index <= signed_value(high)) || cpu.fault.raise(BR_vector);
}

bool undefined(Processor& cpu, const Op&) { return cpu.fault.raise(UD_vector); }

}  // namespace system

// ---- Services

void Processor::deliver(Event event, uint32_t vectoring, uint32_t vectoring_error) {
  using namespace system;
  // Benign exceptions that meet each other for ever hold a real processor for good; here they end in shutdown.
  for (unsigned attempts = 0; attempts < 16; ++attempts) {
    if (!state.protected_mode()) event.has_error = false;  // there are no error codes in real-address mode
    if (leaves_by(event, vectoring, vectoring_error)) return;
    if (!event.injected && event.kind == EventKind::exception) {
      if (event.vector == PF_vector) state.cr2 = event.payload;
      if (event.vector == DB_vector) state.dr6 |= event.payload;
    }
    bool committed;
    fault.clear();
    // An injected software event returns behind the instruction that it stands for, and its faults to that instruction.
    const uint64_t rip = state.rip;
    state.rip += event.length;
    if (mode_.code_bits != 64) state.rip = static_cast<uint32_t>(state.rip);
    if (attempt(*this, event, committed)) return;
    if (!committed) state.rip = rip;
    Fault met = fault;
    fault.clear();
    vectoring = event.info(), vectoring_error = event.error;
    if (event.length) exit_length_ = event.length;
    if (met.is_exit) {
      met.vectoring = vectoring, met.vectoring_error = vectoring_error;
      return leave_guest_by(met);
    }
    // An exception that the host wants is his before it becomes a double fault, or the last of three.
    Event next{met.vector, EventKind::exception, met.has_error_code && state.protected_mode(), met.error_code, met.address};
    if (leaves_by(next, vectoring, vectoring_error)) return;
    const Severity second = severity(met.vector);
    const Severity first = event.kind == EventKind::exception ? severity(event.vector) : Severity::benign;
    if (event.kind == EventKind::exception && event.vector == DF_vector && second != Severity::benign) break;
    const bool doubled = (first == Severity::contributory && second == Severity::contributory) ||
                         (first == Severity::page_fault && second != Severity::benign);
    if (doubled) {
      if (met.vector == PF_vector) state.cr2 = met.address;
      event = {DF_vector, EventKind::exception, true, 0};
      // "Information for VM Exits During Event Delivery": a double fault that exits at once is no such exit.
      vectoring = vectoring_error = 0;
    } else {
      event = next;
    }
  }
  if (vmx.non_root()) return leave_guest({vmx::Reason::triple_fault, vmx::Cause::unconditional});
  shut_down(*this);
}

void Processor::deliver_fault() {
  const Fault met = fault;
  fault.clear();
  if (met.is_exit) return leave_guest_by(met);
  if (met.vector == MF_vector && !(state.cr0 & cr0::NE)) {
    // "MS-DOS Compatibility Sub-mode": frozen before the waiting instruction, which is tried again after an interrupt.
    state.activity = Activity::halted;
    notice();
    return host.numeric_error();
  }
  deliver({met.vector, EventKind::exception, met.has_error_code, met.error_code, met.address}, met.vectoring,
          met.vectoring_error);
}

}  // namespace matryoshka
