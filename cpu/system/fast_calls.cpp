// SYSCALL and SYSRET, SYSENTER and SYSEXIT, and the bases of FS and GS. Intel's rules: SYSCALL and SYSRET exist in 64-bit mode
// only, and SYSRET checks its target while still at level 0.
#include "cpu/system/segments.h"
#include "cpu/system/system.h"

namespace matryoshka::system {

namespace {

// The flat segments that these instructions make up without looking at any descriptor.
Segment flat_code(uint16_t selector, unsigned dpl, bool long_mode) {
  return {with_rpl(selector, dpl), 0x809b | dpl << 5 | (long_mode ? 0x2000u : 0x4000u), 0xffffffff, 0};
}
Segment flat_stack(uint16_t selector, unsigned dpl) { return {with_rpl(selector, dpl), 0xc093 | dpl << 5, 0xffffffff, 0}; }

void enter(Processor& cpu, const Segment& code, const Segment& stack, uint64_t rip) {
  cpu.state.segment[CS] = code;
  cpu.state.segment[SS] = stack;
  cpu.state.rip = rip;
  cpu.derive();
}

// A single step looks at TF as SYSCALL and SYSRET leave it: IA32_FMASK keeps the trap out of the system's entry, and it comes
// after the SYSRET, as though over the call.
void step_as_left(Processor& cpu) {
  CpuState& s = cpu.state;
  ++cpu.events_delivered;
  if (s.system_flags & rflags::TF) s.pending_debug |= dr6::BS;
}

bool is_enabled(const CpuState& s) { return s.msr.efer & efer::SCE; }

}  // namespace

bool syscall(Processor& cpu, const Op&) {
  CpuState& s = cpu.state;
  if (!is_enabled(s)) return cpu.fault.raise(UD_vector);
  const auto selector = static_cast<uint16_t>(s.msr.star >> 32);
  s.gpr[RCX] = s.rip;
  s.gpr[R11] = s.rflags();
  s.set_rflags(s.rflags() & ~s.msr.fmask);
  enter(cpu, flat_code(selector, 0, true), flat_stack(static_cast<uint16_t>(selector + 8), 0), s.msr.lstar);
  step_as_left(cpu);
  return true;
}

bool sysret(Processor& cpu, const Op& op) {
  CpuState& s = cpu.state;
  const bool wide = op.operand_bits() == 64;
  if (!is_enabled(s)) return cpu.fault.raise(UD_vector);
  if (cpu.cpl() != 0 || (wide && !canonical(s, s.gpr[RCX]))) return cpu.fault.raise(GP_vector, 0);
  const auto selector = static_cast<uint16_t>(s.msr.star >> 48);
  s.set_rflags(s.gpr[R11] & 0x3c7fd7);
  enter(cpu, flat_code(static_cast<uint16_t>(selector + (wide ? 16 : 0)), 3, wide),
        flat_stack(static_cast<uint16_t>(selector + 8), 3), wide ? s.gpr[RCX] : static_cast<uint32_t>(s.gpr[RCX]));
  step_as_left(cpu);
  return true;
}

bool sysenter(Processor& cpu, const Op&) {
  CpuState& s = cpu.state;
  const auto selector = static_cast<uint16_t>(s.msr.sysenter_cs);
  if (!s.protected_mode() || is_null(selector)) return cpu.fault.raise(GP_vector, 0);
  const bool wide = s.long_mode();
  s.system_flags &= ~(rflags::VM | rflags::IF | rflags::RF);
  s.gpr[RSP] = wide ? s.msr.sysenter_esp : static_cast<uint32_t>(s.msr.sysenter_esp);
  enter(cpu, flat_code(selector, 0, wide), flat_stack(static_cast<uint16_t>((selector & 0xfffc) + 8), 0),
        wide ? s.msr.sysenter_eip : static_cast<uint32_t>(s.msr.sysenter_eip));
  return true;
}

bool sysexit(Processor& cpu, const Op& op) {
  CpuState& s = cpu.state;
  const auto selector = static_cast<uint16_t>(s.msr.sysenter_cs & 0xfffc);
  const bool wide = op.operand_bits() == 64;
  if (!s.protected_mode() || is_null(selector) || cpu.cpl() != 0) return cpu.fault.raise(GP_vector, 0);
  if (wide && !(canonical(s, s.gpr[RCX]) && canonical(s, s.gpr[RDX]))) return cpu.fault.raise(GP_vector, 0);
  s.gpr[RSP] = wide ? s.gpr[RCX] : static_cast<uint32_t>(s.gpr[RCX]);
  enter(cpu, flat_code(static_cast<uint16_t>(selector + (wide ? 32 : 16)), 3, wide),
        flat_stack(static_cast<uint16_t>(selector + (wide ? 40 : 24)), 3), wide ? s.gpr[RDX] : static_cast<uint32_t>(s.gpr[RDX]));
  return true;
}

bool swapgs(Processor& cpu, const Op&) {
  std::swap(cpu.state.segment[GS].base, cpu.state.msr.kernel_gs_base);
  cpu.derive();
  return true;
}

template <SegmentName S>
bool read_base(Processor& cpu, const Op& op) {
  if (!(cpu.state.cr4 & cr4::FSGSBASE)) return cpu.fault.raise(UD_vector);
  cpu.write_gpr(op.rm, op.operand_bits(), cpu.state.segment[S].base);
  return true;
}
template bool read_base<FS>(Processor&, const Op&);
template bool read_base<GS>(Processor&, const Op&);

template <SegmentName S>
bool write_base(Processor& cpu, const Op& op) {
  if (!(cpu.state.cr4 & cr4::FSGSBASE)) return cpu.fault.raise(UD_vector);
  const uint64_t base = cpu.read_gpr(op.rm, op.operand_bits());
  if (!canonical(cpu.state, base)) return cpu.fault.raise(GP_vector, 0);
  cpu.state.segment[S].base = base;
  cpu.derive();
  return true;
}
template bool write_base<FS>(Processor&, const Op&);
template bool write_base<GS>(Processor&, const Op&);

}  // namespace matryoshka::system
