#include "cpu/system/model_ops.h"

#include "cpu/charges.h"
#include "cpu/ops/extended_state.h"
#include "cpu/processor.h"
#include "cpu/system/cpuid.h"
#include "cpu/system/msr.h"
#include "cpu/system/tsc.h"

namespace matryoshka::model_ops {
namespace {

uint32_t ecx(const Processor& cpu) { return static_cast<uint32_t>(cpu.state.gpr[RCX]); }
uint64_t edx_eax(const Processor& cpu) { return cpu.state.gpr[RDX] << 32 | static_cast<uint32_t>(cpu.state.gpr[RAX]); }
void set_edx_eax(Processor& cpu, uint64_t value) {
  cpu.state.gpr[RAX] = static_cast<uint32_t>(value);
  cpu.state.gpr[RDX] = value >> 32;
}

// Raises what a load of one byte would, and touches nothing: a line that is flushed or watched may be a device's.
bool readable_byte(Processor& cpu, uint64_t linear) {
  CpuState& s = cpu.state;
  if (!s.long_mode()) linear = static_cast<uint32_t>(linear);
  if (s.long_mode() && !canonical(s, linear)) return cpu.fault.noncanonical();
  Translation found;
  if (!s.paging()) return walk_unpaged(cpu.memory, cpu.mmu.limits, linear, AccessKind::read, found, cpu.fault);
  return walk(s, cpu.memory, cpu.mmu.limits, linear, {AccessKind::read, cpu.cpl() == 3, false}, found, cpu.fault);
}

}  // namespace

bool cpuid(Processor& cpu, const Op&) {
  if (cpu.exits_always(vmx::Reason::cpuid)) return false;
  auto leaf = static_cast<uint32_t>(cpu.state.gpr[RAX]);
  CpuidResult r = matryoshka::cpuid(cpu.model, cpu.state, cpu.apic.initial_id(), leaf, ecx(cpu));
  // "Microcode Update Signature and Verification": leaf 1 loads the revision.
  if (leaf == 1) cpu.state.msr.bios_sign_id = uint64_t{microcode_revision} << 32;
  cpu.state.gpr[RAX] = r.eax, cpu.state.gpr[RBX] = r.ebx, cpu.state.gpr[RCX] = r.ecx, cpu.state.gpr[RDX] = r.edx;
  return true;
}

bool rdmsr(Processor& cpu, const Op&) {
  uint64_t value;
  vmx::Cause cause;
  if (cpu.vmx.guards_msr(ecx(cpu), false, cause) && cpu.exits(vmx::Reason::rdmsr, cause)) return false;
  if (!read_msr(cpu, ecx(cpu), value)) return cpu.fault.raise(GP_vector, 0);
  set_edx_eax(cpu, value);
  return true;
}

bool wrmsr(Processor& cpu, const Op&) {
  vmx::Cause cause;
  if (cpu.vmx.guards_msr(ecx(cpu), true, cause) && cpu.exits(vmx::Reason::wrmsr, cause)) return false;
  return write_msr(cpu, ecx(cpu), edx_eax(cpu)) || cpu.fault.raise(GP_vector, 0);
}

namespace {
bool read_tsc(Processor& cpu, vmx::Reason reason) {
  if (cpu.state.cr4 & cr4::TSD && cpu.cpl() != 0) return cpu.fault.raise(GP_vector, 0);
  if (cpu.exits_by(vmx::Control::primary_rdtsc_exiting, reason)) return false;
  set_edx_eax(cpu, tsc(cpu.state, cpu.clock) + cpu.vmx.tsc_offset());
  cpu.clock.ticks += rdtsc_charge;
  return true;
}
}  // namespace

bool rdtsc(Processor& cpu, const Op&) { return read_tsc(cpu, vmx::Reason::rdtsc); }

bool rdtscp(Processor& cpu, const Op&) {
  if (cpu.vmx.lacks(vmx::Control::secondary_rdtscp)) return cpu.fault.raise(UD_vector);
  if (!read_tsc(cpu, vmx::Reason::rdtscp)) return false;
  cpu.state.gpr[RCX] = static_cast<uint32_t>(cpu.state.msr.tsc_aux);
  return true;
}

// There are no counters yet.
bool rdpmc(Processor& cpu, const Op&) {
  const bool allowed = cpu.cpl() == 0 || cpu.state.cr4 & cr4::PCE;
  if (allowed && cpu.exits_by(vmx::Control::primary_rdpmc_exiting, vmx::Reason::rdpmc)) return false;
  return cpu.fault.raise(GP_vector, 0);
}

bool rdpid(Processor& cpu, const Op& op) {
  if (cpu.vmx.lacks(vmx::Control::secondary_rdtscp)) return cpu.fault.raise(UD_vector);
  cpu.write_gpr(op.rm, 32, static_cast<uint32_t>(cpu.state.msr.tsc_aux));
  return true;
}

namespace {

// "VM-Exit Instruction-Information Field": the destination and its width.
uint32_t destination_info(const Op& op) {
  return uint32_t{op.rm / 8u} << 3 | (op.operand_bits() == 16 ? 0 : op.operand_bits() == 32 ? 1 : 2) << 11;
}

bool random(Processor& cpu, const Op& op) {
  cpu.write_gpr(op.rm, op.operand_bits(), cpu.host.random());
  cpu.state.flags.set_bits(rflags::CF);  // there always is a number; the other five are cleared
  return true;
}

}  // namespace

bool rdrand(Processor& cpu, const Op& op) {
  if (cpu.exits_by(vmx::Control::secondary_rdrand_exiting, vmx::Reason::rdrand, 0, destination_info(op))) return false;
  return random(cpu, op);
}

bool rdseed(Processor& cpu, const Op& op) {
  if (cpu.exits_by(vmx::Control::secondary_rdseed_exiting, vmx::Reason::rdseed, 0, destination_info(op))) return false;
  return random(cpu, op);
}

bool monitor(Processor& cpu, const Op& op) {
  if (cpu.cpl() != 0) return cpu.fault.raise(UD_vector);
  if (cpu.exits_by(vmx::Control::primary_monitor_exiting, vmx::Reason::monitor)) return false;
  if (ecx(cpu) != 0) return cpu.fault.raise(GP_vector, 0);
  uint64_t linear, offset = cpu.state.gpr[RAX] & op.address_mask();
  unsigned segment = op.segment < segment_count ? op.segment : DS;
  if (!cpu.segment_address(segment, offset, 1, AccessKind::read, linear) || !readable_byte(cpu, linear)) return false;
  cpu.state.monitor_address = linear;
  cpu.state.monitor_armed = true;
  return true;
}

// Waits as HLT does. Nobody watches the line, so the wait must also end where no interrupt would end it: with interrupts off,
// or where another processor may store, MWAIT goes on at once, as it may ("events that ... include ... implementation-dependent
// events").
bool mwait(Processor& cpu, const Op&) {
  if (cpu.cpl() != 0) return cpu.fault.raise(UD_vector);
  if (cpu.exits_by(vmx::Control::primary_mwait_exiting, vmx::Reason::mwait, cpu.state.monitor_armed)) return false;
  if (ecx(cpu) & ~1u) return cpu.fault.raise(GP_vector, 0);
  bool wait = cpu.state.monitor_armed && cpu.state.system_flags & rflags::IF && cpu.model.processors == 1;
  cpu.state.monitor_armed = false;
  if (wait)
    cpu.state.activity = Activity::halted;
  else
    cpu.clock.ticks += pause_charge;
  cpu.notice();
  return true;
}

bool xgetbv(Processor& cpu, const Op&) {
  const CpuState& s = cpu.state;
  if (!(s.cr4 & cr4::OSXSAVE)) return cpu.fault.raise(UD_vector);
  if (ecx(cpu) == 0)
    set_edx_eax(cpu, s.xcr0);
  else if (ecx(cpu) == 1 && cpu.model.features.has(Feature::XGETBV1))
    set_edx_eax(cpu, s.xcr0 & extended_state::in_use(s));
  else
    return cpu.fault.raise(GP_vector, 0);
  return true;
}

bool xsetbv(Processor& cpu, const Op&) {
  if (!(cpu.state.cr4 & cr4::OSXSAVE)) return cpu.fault.raise(UD_vector);
  if (cpu.cpl() != 0) return cpu.fault.raise(GP_vector, 0);
  if (cpu.exits_always(vmx::Reason::xsetbv)) return false;
  uint64_t value = edx_eax(cpu);
  bool allowed = (value & ~supported_xcr0(cpu.model.features)) == 0 && value & xcr0::x87;
  if (ecx(cpu) != 0 || !allowed) return cpu.fault.raise(GP_vector, 0);
  cpu.state.xcr0 = value;
  return true;
}

// All memory is coherent, and no line is ever dirty.
bool invd(Processor& cpu, const Op&) { return !cpu.exits_always(vmx::Reason::invd); }
bool wbinvd(Processor& cpu, const Op&) { return !cpu.exits_by(vmx::Control::secondary_wbinvd_exiting, vmx::Reason::wbinvd); }

// "CLFLUSH": all that a load of a byte may meet, but that a line of an execute-only segment may be flushed.
bool flush_line(Processor& cpu, const Op& op) {
  uint64_t linear;
  return cpu.linear_address(op, 1, AccessKind::fetch, linear) && readable_byte(cpu, linear);
}

}  // namespace matryoshka::model_ops
