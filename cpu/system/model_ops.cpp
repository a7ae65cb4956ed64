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
  if (!s.paging()) return true;
  Translation found;
  return walk(s, cpu.memory, cpu.mmu.limits, linear, {AccessKind::read, cpu.cpl() == 3, false}, found, cpu.fault);
}

}  // namespace

bool cpuid(Processor& cpu, const Op&) {
  auto leaf = static_cast<uint32_t>(cpu.state.gpr[RAX]);
  CpuidResult r = matryoshka::cpuid(cpu.model, cpu.state, cpu.apic.initial_id(), leaf, ecx(cpu));
  // "Microcode Update Signature and Verification": leaf 1 loads the revision.
  if (leaf == 1) cpu.state.msr.bios_sign_id = uint64_t{microcode_revision} << 32;
  cpu.state.gpr[RAX] = r.eax, cpu.state.gpr[RBX] = r.ebx, cpu.state.gpr[RCX] = r.ecx, cpu.state.gpr[RDX] = r.edx;
  return true;
}

bool rdmsr(Processor& cpu, const Op&) {
  uint64_t value;
  if (!read_msr(cpu, ecx(cpu), value)) return cpu.fault.raise(GP_vector, 0);
  set_edx_eax(cpu, value);
  return true;
}

bool wrmsr(Processor& cpu, const Op&) { return write_msr(cpu, ecx(cpu), edx_eax(cpu)) || cpu.fault.raise(GP_vector, 0); }

bool rdtsc(Processor& cpu, const Op&) {
  if (cpu.state.cr4 & cr4::TSD && cpu.cpl() != 0) return cpu.fault.raise(GP_vector, 0);
  set_edx_eax(cpu, tsc(cpu.state, cpu.clock));
  cpu.clock.ticks += rdtsc_charge;
  return true;
}

bool rdtscp(Processor& cpu, const Op& op) {
  if (!rdtsc(cpu, op)) return false;
  cpu.state.gpr[RCX] = static_cast<uint32_t>(cpu.state.msr.tsc_aux);
  return true;
}

// There are no counters yet.
bool rdpmc(Processor& cpu, const Op&) { return cpu.fault.raise(GP_vector, 0); }

bool rdpid(Processor& cpu, const Op& op) {
  cpu.write_gpr(op.rm, 32, static_cast<uint32_t>(cpu.state.msr.tsc_aux));
  return true;
}

bool random(Processor& cpu, const Op& op) {
  cpu.write_gpr(op.rm, op.operand_bits(), cpu.host.random());
  cpu.state.flags.set_bits(rflags::CF);  // there always is a number; the other five are cleared
  return true;
}

bool monitor(Processor& cpu, const Op& op) {
  if (cpu.cpl() != 0) return cpu.fault.raise(UD_vector);
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
  uint64_t value = edx_eax(cpu);
  bool allowed = (value & ~supported_xcr0(cpu.model.features)) == 0 && value & xcr0::x87;
  if (cpu.cpl() != 0 || ecx(cpu) != 0 || !allowed) return cpu.fault.raise(GP_vector, 0);
  cpu.state.xcr0 = value;
  return true;
}

// All memory is coherent, and no line is ever dirty.
bool flush_caches(Processor&, const Op&) { return true; }

// "CLFLUSH": all that a load of a byte may meet, but that a line of an execute-only segment may be flushed.
bool flush_line(Processor& cpu, const Op& op) {
  uint64_t linear;
  return cpu.linear_address(op, 1, AccessKind::fetch, linear) && readable_byte(cpu, linear);
}

}  // namespace matryoshka::model_ops
