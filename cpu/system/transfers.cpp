// Far JMP, CALL and RET, and IRET, in every mode.
//
// Each transfer reads and checks all it needs, pushes on a Stack of its own, and then commits segments, pointers and flags
// together; so a fault on the way needs no undoing. The order of the checks is that of the instructions' Operation sections.
#include "cpu/system/transfers.h"

#include "cpu/system/stack.h"
#include "cpu/system/system.h"
#include "cpu/system/tasks.h"

namespace matryoshka::system {

// ---- Shared with the delivery of events

bool read_tss64(Processor& cpu, unsigned offset, uint32_t external, uint64_t& value) {
  const Segment& tr = cpu.state.tr;
  if (offset + 7 > tr.limit) return cpu.fault.raise(TS_vector, (tr.selector & 0xfffc) | external);
  return cpu.mmu.system_load(tr.base + offset, value);
}

bool inner_stack(Processor& cpu, unsigned level, uint32_t external, InnerStack& stack) {
  if (cpu.state.long_mode()) {
    stack.segment = null_segment(static_cast<uint16_t>(level), level);
    stack.bits = 64;
    return read_tss64(cpu, 4 + 8 * level, external, stack.pointer);
  }
  const Segment& tr = cpu.state.tr;
  const Blame blame{TS_vector, external};
  uint16_t selector;
  if (tr.type() & 8) {
    const unsigned offset = 4 + 8 * level;
    uint32_t esp;
    if (offset + 5 > tr.limit) return blame(cpu, tr.selector);
    if (!cpu.mmu.system_load(tr.base + offset, esp) || !cpu.mmu.system_load(tr.base + offset + 4, selector)) return false;
    stack.pointer = esp;
  } else {
    const unsigned offset = 2 + 4 * level;
    uint16_t sp;
    if (offset + 3 > tr.limit) return blame(cpu, tr.selector);
    if (!cpu.mmu.system_load(tr.base + offset, sp) || !cpu.mmu.system_load(tr.base + offset + 2, selector)) return false;
    stack.pointer = sp;
  }
  if (is_null(selector)) return blame(cpu, selector);
  if (!check_stack_segment(cpu, selector, level, blame, stack.segment)) return false;
  stack.bits = stack.segment.big() ? 32 : 16;
  if (stack.bits == 16) stack.pointer = (cpu.state.gpr[RSP] & ~uint64_t{0xffff}) | static_cast<uint16_t>(stack.pointer);
  return true;
}

bool check_target(Processor& cpu, const Descriptor& code, uint64_t offset, uint32_t external) {
  const bool good = cpu.state.long_mode() && is_long_code(code) ? canonical(cpu.state, offset) : offset <= code.limit();
  return good || cpu.fault.raise(GP_vector, external);
}

// A null SS is good for 64-bit code at an inner level.
bool check_return_stack(Processor& cpu, uint16_t selector, unsigned level, const Descriptor& code, Segment& loaded) {
  if (!is_null(selector)) return check_stack_segment(cpu, selector, level, {}, loaded);
  if (!(cpu.state.long_mode() && is_long_code(code)) || level == 3) return cpu.fault.raise(GP_vector, 0);
  loaded = null_segment(selector, level);
  return true;
}

namespace {

// ---- Operands

bool far_target(Processor& cpu, const Op& op, uint16_t& selector, uint64_t& offset) {
  const unsigned bytes = op.operand_bytes();
  if (!op.is_memory()) {
    selector = static_cast<uint16_t>(op.immediate >> 32);
    offset = static_cast<uint32_t>(op.immediate);
    return true;
  }
  uint64_t linear;
  return cpu.linear_address(op, bytes + 2, AccessKind::read, linear) && cpu.load_sized(op, linear, offset, bytes) &&
         cpu.load(op, linear + bytes, selector);
}

// ---- Checks

// Long mode has L and D both set reserved.
bool reserved_size(const Processor& cpu, const Descriptor& code) {
  return cpu.state.long_mode() && is_long_code(code) && is_default_big(code);
}

// The code segment of a direct far JMP or CALL.
bool check_direct(Processor& cpu, uint16_t selector, Descriptor& code) {
  const Blame blame;
  const unsigned cpl = cpu.cpl();
  if (!is_code(code) || reserved_size(cpu, code)) return blame(cpu, selector);
  if (is_conforming(code) ? code.dpl() > cpl : rpl_of(selector) > cpl || code.dpl() != cpl) return blame(cpu, selector);
  return code.present() || blame.refuse(cpu, NP_vector, selector);
}

struct CallGate {
  uint16_t selector;
  uint64_t offset;
  unsigned parameters;
  unsigned bytes;  // of what is pushed
  Descriptor code;
};

// "Call Gates", "Accessing a Code Segment Through a Call Gate".
bool open_call_gate(Processor& cpu, uint16_t selector, const Descriptor& d, TaskSwitch kind, CallGate& gate) {
  const Blame blame;
  const unsigned cpl = cpu.cpl();
  if (d.dpl() < cpl || d.dpl() < rpl_of(selector)) return blame(cpu, selector);
  if (!d.present()) return blame.refuse(cpu, NP_vector, selector);
  gate.selector = d.gate_selector();
  const bool wide = d.type() & 8;
  gate.bytes = cpu.state.long_mode() ? 8 : wide ? 4 : 2;
  gate.offset = cpu.state.long_mode() ? d.gate_offset64() : wide ? d.gate_offset() : d.gate_offset() & 0xffff;
  gate.parameters = cpu.state.long_mode() ? 0 : d.gate_count();

  if (is_null(gate.selector)) return cpu.fault.raise(GP_vector, 0);
  Descriptor& code = gate.code;
  if (!fetch_descriptor(cpu, gate.selector, code)) return false;
  if (!is_code(code) || code.dpl() > cpl) return blame(cpu, gate.selector);
  if (cpu.state.long_mode() && (!is_long_code(code) || is_default_big(code))) return blame(cpu, gate.selector);
  if (kind == TaskSwitch::jump && !is_conforming(code) && code.dpl() != cpl) return blame(cpu, gate.selector);
  return code.present() || blame.refuse(cpu, NP_vector, gate.selector);
}

bool to_inner_level(const Processor& cpu, const Descriptor& code) { return !is_conforming(code) && code.dpl() < cpu.cpl(); }

// A task gate or a TSS descriptor, reached by JMP or CALL.
bool to_task(Processor& cpu, uint16_t selector, const Descriptor& d, TaskSwitch kind) {
  const Blame blame;
  if (d.dpl() < cpu.cpl() || d.dpl() < rpl_of(selector)) return blame(cpu, selector);
  if (d.type() == descriptor_type::task_gate) {
    if (!d.present()) return blame.refuse(cpu, NP_vector, selector);
    selector = d.gate_selector();
  }
  return transfer_to_task(cpu, selector, kind);
}

// ---- Commits

void go(Processor& cpu, uint16_t selector, const Descriptor& code, unsigned cpl, uint64_t rip) {
  load_code_segment(cpu, selector, code, cpl);
  cpu.state.rip = rip;
  cpu.derive();
}

void go_real(Processor& cpu, uint16_t selector, uint64_t rip) {
  load_real_segment(cpu, CS, selector);
  cpu.state.rip = rip;
  cpu.derive();
}

// "Privilege Level Checking When Returning": data segments that the outer level may not have are made null. A selector that is
// null already loses its RPL, but not its base, which FS and GS need in 64-bit mode.
void drop_inner_segments(Processor& cpu, unsigned cpl) {
  for (SegmentName name : {ES, DS, FS, GS}) {
    Segment& s = cpu.state.segment[name];
    if (!s.unusable() && (s.conforming() || s.dpl() >= cpl)) continue;
    s.selector = 0;
    s.rights |= Segment::unusable_bit;
  }
}

// ---- JMP and CALL

bool push_return(Processor& cpu, Stack& stack, unsigned bytes) {
  return stack.push(cpu.state.segment[CS].selector, bytes) && stack.push(cpu.state.rip, bytes);
}

bool call_through_gate(Processor& cpu, CallGate& gate) {
  if (!mark_accessed(cpu, gate.selector, gate.code)) return false;
  if (!to_inner_level(cpu, gate.code)) {
    const CpuState& s = cpu.state;
    Stack stack(cpu, s.segment[SS], s.long_mode() ? 64 : cpu.mode().stack_bits, cpu.cpl(), s.gpr[RSP], 0);
    if (!push_return(cpu, stack, gate.bytes) || !check_target(cpu, gate.code, gate.offset)) return false;
    stack.commit();
    go(cpu, gate.selector, gate.code, cpu.cpl(), gate.offset);
    return true;
  }
  const unsigned level = gate.code.dpl();
  InnerStack inner;
  if (!inner_stack(cpu, level, 0, inner)) return false;
  uint64_t parameters[31];
  Stack outer(cpu);
  for (unsigned i = 0; i < gate.parameters; ++i)
    if (!outer.pop(parameters[i], gate.bytes)) return false;

  Stack stack(cpu, inner.segment, inner.bits, level, inner.pointer, inner.segment.selector & 0xfffc);
  if (!stack.push(cpu.state.segment[SS].selector, gate.bytes) || !stack.push(cpu.state.gpr[RSP], gate.bytes)) return false;
  for (unsigned i = gate.parameters; i-- > 0;)
    if (!stack.push(parameters[i], gate.bytes)) return false;
  if (!push_return(cpu, stack, gate.bytes) || !check_target(cpu, gate.code, gate.offset)) return false;
  stack.commit();
  cpu.state.segment[SS] = inner.segment;
  go(cpu, gate.selector, gate.code, level, gate.offset);
  return true;
}

bool far_transfer(Processor& cpu, uint16_t selector, uint64_t offset, TaskSwitch kind, unsigned bytes) {
  using namespace descriptor_type;
  Stack stack(cpu);
  if (!protects(cpu.state)) {
    if (kind == TaskSwitch::call && !push_return(cpu, stack, bytes)) return false;
    if (offset > cpu.state.segment[CS].limit) return cpu.fault.raise(GP_vector, 0);
    if (kind == TaskSwitch::call) stack.commit();
    go_real(cpu, selector, offset);
    return true;
  }

  if (is_null(selector)) return cpu.fault.raise(GP_vector, 0);
  Descriptor d;
  if (!fetch_descriptor(cpu, selector, d)) return false;
  if (d.is_code_or_data()) {
    if (!check_direct(cpu, selector, d) || !mark_accessed(cpu, selector, d)) return false;
    if (kind == TaskSwitch::call && !push_return(cpu, stack, bytes)) return false;
    if (!check_target(cpu, d, offset)) return false;
    if (kind == TaskSwitch::call) stack.commit();
    go(cpu, selector, d, cpu.cpl(), offset);
    return true;
  }

  const Blame blame;
  if (cpu.state.long_mode()) {
    if (d.type() != call_gate32) return blame(cpu, selector);
    if (!fetch_system_descriptor(cpu, selector, d)) return false;
  }
  switch (d.type()) {
    case call_gate16:
    case call_gate32: {
      CallGate gate;
      if (!open_call_gate(cpu, selector, d, kind, gate)) return false;
      if (kind == TaskSwitch::call) return call_through_gate(cpu, gate);
      if (!mark_accessed(cpu, gate.selector, gate.code) || !check_target(cpu, gate.code, gate.offset)) return false;
      go(cpu, gate.selector, gate.code, cpu.cpl(), gate.offset);
      return true;
    }
    case task_gate:
    case tss16:
    case tss32:
    case tss16_busy:
    case tss32_busy: return to_task(cpu, selector, d, kind);
    default: return blame(cpu, selector);
  }
}

// ---- RET and IRET

bool check_return_code(Processor& cpu, uint16_t selector, Descriptor& code) {
  const Blame blame;
  const unsigned rpl = rpl_of(selector);
  if (is_null(selector)) return cpu.fault.raise(GP_vector, 0);
  if (!fetch_descriptor(cpu, selector, code)) return false;
  if (!is_code(code) || rpl < cpu.cpl() || reserved_size(cpu, code)) return blame(cpu, selector);
  if (is_conforming(code) ? code.dpl() > rpl : code.dpl() != rpl) return blame(cpu, selector);
  if (!code.present()) return blame.refuse(cpu, NP_vector, selector);
  return mark_accessed(cpu, selector, code);
}

// Goes to the stack that the frame names, at the level of the returned CS.
struct ReturnStack {
  Segment segment;
  uint64_t pointer;

  Stack stack(Processor& cpu, const Descriptor& code) const {
    const unsigned bits = stack_bits(cpu.state, code, segment);
    const uint64_t old = cpu.state.gpr[RSP];
    const uint64_t rsp = bits == 64   ? pointer
                         : bits == 32 ? static_cast<uint32_t>(pointer)
                                      : (old & ~uint64_t{0xffff}) | (pointer & 0xffff);
    return Stack(cpu, segment, bits, segment.dpl(), rsp, 0);
  }
};

// IRET in real-address and virtual-8086 mode; in the latter also "Interrupt Handling Through Virtual Mode Extensions".
bool return_real(Processor& cpu, const Op& op) {
  CpuState& s = cpu.state;
  const bool v86 = s.virtual_8086();
  const bool extended = v86 && s.iopl() < 3;
  if (extended && !(s.cr4 & cr4::VME && op.operand_bits() == 16)) return cpu.fault.raise(GP_vector, 0);
  const unsigned bytes = op.operand_bytes();
  Stack stack(cpu);
  uint64_t rip, flags;
  uint16_t selector;
  if (!stack.pop(rip, bytes) || !stack.pop(selector, bytes) || !stack.pop(flags, bytes)) return false;
  if (rip > s.segment[CS].limit) return cpu.fault.raise(GP_vector, 0);

  using namespace rflags;
  uint64_t changed = status | TF | DF | NT | (v86 ? 0 : IOPL) | (bytes == 4 ? RF | AC | ID : 0);
  if (!extended) {
    changed |= IF;
  } else {
    if (flags & TF || (s.system_flags & VIP && flags & IF)) return cpu.fault.raise(GP_vector, 0);
    changed |= VIF;
    flags = (flags & ~VIF) | (flags & IF ? VIF : 0);
  }
  stack.commit();
  s.set_rflags(merged_flags(s, flags, changed));
  go_real(cpu, selector, rip);
  return true;
}

// "Return to virtual-8086 mode": nine doublewords, of which `stack` has given three.
bool return_to_virtual_8086(Processor& cpu, Stack& stack, uint64_t rip, uint16_t cs, uint64_t flags) {
  CpuState& s = cpu.state;
  uint64_t rsp;
  uint16_t selectors[segment_count];
  if (!stack.pop(rsp, 4)) return false;
  for (SegmentName name : {SS, ES, DS, FS, GS})
    if (!stack.pop(selectors[name], 4)) return false;
  selectors[CS] = cs;
  if (rip > 0xffff) return cpu.fault.raise(GP_vector, 0);
  s.set_rflags(flags);
  for (unsigned name = 0; name < segment_count; ++name) s.segment[name] = virtual_8086_segment(selectors[name]);
  s.gpr[RSP] = rsp;
  s.rip = rip;
  cpu.derive();
  return true;
}

// The flags that IRET may change, by the privilege level it leaves.
uint64_t flags_of_return(const CpuState& s, unsigned bits) {
  using namespace rflags;
  const unsigned cpl = s.cpl();
  uint64_t changed = status | TF | DF | NT;
  if (bits > 16) changed |= RF | AC | ID;
  if (cpl <= s.iopl()) changed |= IF;
  if (cpl == 0) changed |= IOPL | (bits > 16 ? VIF | VIP : 0);
  return changed;
}

bool return_by_frame(Processor& cpu, const Op& op) {
  CpuState& s = cpu.state;
  if (!protects(s)) return return_real(cpu, op);
  if (s.system_flags & rflags::NT) return s.long_mode() ? cpu.fault.raise(GP_vector, 0) : return_from_task(cpu);

  const unsigned bytes = op.operand_bytes();
  Stack stack(cpu);
  uint64_t rip, flags;
  uint16_t selector;
  if (!stack.pop(rip, bytes) || !stack.pop(selector, bytes) || !stack.pop(flags, bytes)) return false;
  if (flags & rflags::VM && bytes == 4 && cpu.cpl() == 0 && !s.long_mode())
    return return_to_virtual_8086(cpu, stack, rip, selector, flags);

  Descriptor code;
  const unsigned level = rpl_of(selector);
  if (!check_return_code(cpu, selector, code)) return false;
  const uint64_t changed = flags_of_return(s, op.operand_bits());
  const bool outward = level != cpu.cpl();
  if (!outward && !s.code64()) {
    if (!check_target(cpu, code, rip)) return false;
    stack.commit();
  } else {
    // From 64-bit mode SS:RSP is popped whatever the level.
    ReturnStack back;
    uint16_t stack_selector;
    if (!stack.pop(back.pointer, bytes) || !stack.pop(stack_selector, bytes)) return false;
    // A target out of reach is met before a wrong stack: the manual does not say, an AMD family 26 does it so.
    if (!check_target(cpu, code, rip) || !check_return_stack(cpu, stack_selector, level, code, back.segment)) return false;
    back.stack(cpu, code).commit();
    s.segment[SS] = back.segment;
    if (outward) drop_inner_segments(cpu, level);
  }
  s.set_rflags(merged_flags(s, flags, changed));
  go(cpu, selector, code, level, rip);
  return true;
}

}  // namespace

bool far_jump(Processor& cpu, const Op& op) {
  uint16_t selector;
  uint64_t offset;
  return far_target(cpu, op, selector, offset) && far_transfer(cpu, selector, offset, TaskSwitch::jump, op.operand_bytes());
}

bool far_call(Processor& cpu, const Op& op) {
  uint16_t selector;
  uint64_t offset;
  return far_target(cpu, op, selector, offset) && far_transfer(cpu, selector, offset, TaskSwitch::call, op.operand_bytes());
}

bool far_return(Processor& cpu, const Op& op) {
  CpuState& s = cpu.state;
  const unsigned bytes = op.operand_bytes(), parameters = static_cast<uint16_t>(op.immediate);
  Stack stack(cpu);
  uint64_t rip;
  uint16_t selector;
  if (!stack.pop(rip, bytes) || !stack.pop(selector, bytes)) return false;
  if (!protects(s)) {
    if (rip > s.segment[CS].limit) return cpu.fault.raise(GP_vector, 0);
    stack.release(parameters);
    stack.commit();
    go_real(cpu, selector, rip);
    return true;
  }

  Descriptor code;
  const unsigned level = rpl_of(selector);
  if (!check_return_code(cpu, selector, code)) return false;
  stack.release(parameters);
  if (level == cpu.cpl()) {
    if (!check_target(cpu, code, rip)) return false;
    stack.commit();
    go(cpu, selector, code, level, rip);
    return true;
  }
  ReturnStack outer;
  uint16_t stack_selector;
  if (!stack.pop(outer.pointer, bytes) || !stack.pop(stack_selector, bytes)) return false;
  if (!check_target(cpu, code, rip) || !check_return_stack(cpu, stack_selector, level, code, outer.segment)) return false;
  Stack now = outer.stack(cpu, code);
  now.release(parameters);
  now.commit();
  s.segment[SS] = outer.segment;
  drop_inner_segments(cpu, level);
  go(cpu, selector, code, level, rip);
  return true;
}

bool interrupt_return(Processor& cpu, const Op& op) {
  // Even an IRET that faults ends the blocking of NMIs: "Handling Multiple NMIs".
  cpu.vmx.iret();
  if (!return_by_frame(cpu, op)) return false;
  cpu.vmx.unblocked_nmi = false;
  return true;
}

}  // namespace matryoshka::system
