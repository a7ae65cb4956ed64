#include "cpu/system/vmx.h"

#include <bit>

#include "cpu/processor.h"
#include "cpu/system/control_registers.h"
#include "cpu/system/msr.h"

namespace matryoshka::system {

using vmx::Cause;
using vmx::Reason;

vmx::Capabilities vmx_capabilities(const CpuModel& model) {
  vmx::Platform platform;
  platform.physical_bits = model.physical_bits;
  platform.linear_bits = model.linear_bits;
  platform.cr4_allowed = supported_cr4(model);
  platform.efer_allowed = supported_efer(model.features) | efer::LMA;
  platform.debugctl_allowed = 3;
  return {model.vmx, platform};
}

// ---- Operands in the instruction-information field

namespace {

unsigned width_code(unsigned bits) { return bits == 16 ? 0 : bits == 32 ? 1 : 2; }

// The number of a general register from its place in the state, in bytes.
unsigned register_number(unsigned offset) { return offset / 8; }

}  // namespace

uint32_t memory_operand_info(const Op& op) {
  constexpr uint32_t is_register = 1 << 10, no_index = 1 << 22, no_base = 1 << 27;
  uint32_t info = register_number(op.reg) << 28;
  if (!op.is_memory()) return info | is_register | register_number(op.rm) << 3;
  info |= op.scale | width_code(op.address_bits()) << 7;
  // Where a segment makes no difference the Op has none: then the one that the base implies.
  unsigned segment = op.segment;
  if (segment >= segment_count) segment = register_number(op.base) == RSP || register_number(op.base) == RBP ? SS : DS;
  info |= segment << 15;
  const unsigned base = register_number(op.base), index = register_number(op.index);
  info |= index < 16 ? index << 18 : no_index;
  info |= base < 16 ? base << 23 : no_base;
  return info;
}

uint64_t displacement_of(const Op& op, const Processor& cpu) {
  if (!op.is_memory()) return 0;
  uint64_t displacement = static_cast<uint64_t>(op.displacement);
  if (register_number(op.base) == CpuState::slot_block) displacement += cpu.state.gpr[CpuState::slot_block];
  return displacement;
}

namespace {

// What stands before every VMX instruction: "#UD ... in real-address mode, virtual-8086 mode, or compatibility mode".
bool mode_allows(Processor& cpu) {
  const CpuState& s = cpu.state;
  const bool compatibility = s.long_mode() && !s.code64();
  return (s.protected_mode() && !s.virtual_8086() && !compatibility) || cpu.fault.raise(UD_vector);
}

// In root operation, at level 0; in a guest each exits before anything else is looked at.
bool in_root(Processor& cpu, Reason reason, uint64_t qualification = 0, uint32_t info = 0) {
  if (!cpu.vmx.on()) return cpu.fault.raise(UD_vector);
  if (!mode_allows(cpu)) return false;
  if (cpu.exits_always(reason, qualification, info)) return false;
  return cpu.cpl() == 0 || cpu.fault.raise(GP_vector, 0);
}
bool in_root(Processor& cpu, const Op& op, Reason reason) {
  return in_root(cpu, reason, displacement_of(op, cpu), memory_operand_info(op));
}

// VMREAD and VMWRITE have 32-bit operands outside of 64-bit mode.
unsigned operand_bytes(const Processor& cpu) { return cpu.mode().code_bits == 64 ? 8 : 4; }

// In 64-bit mode an encoding has no bits above 31: such a one names no field.
uint32_t encoding_in(Processor& cpu, unsigned reg) {
  const uint64_t value = cpu.read_gpr(reg, 64);
  if (cpu.mode().code_bits != 64) return static_cast<uint32_t>(value);
  return value >> 32 ? ~0u : static_cast<uint32_t>(value);
}

}  // namespace

// ---- VMXON, VMXOFF, and which VMCS

bool vmxon(Processor& cpu, const Op& op) {
  const CpuState& s = cpu.state;
  if (!mode_allows(cpu)) return false;
  if (!(s.cr4 & cr4::VMXE)) return cpu.fault.raise(UD_vector);
  if (!cpu.vmx.on()) {
    // "VMXON": the bits that VMX operation fixes, and what the firmware has allowed.
    using C = vmx::Capabilities;
    uint64_t control = 0;
    constexpr uint64_t locked = 1, outside_smx = 4;
    const bool allowed = read_msr(cpu, 0x3a, control) && control & locked && control & outside_smx;
    const bool fixed = (s.cr0 & C::cr0_fixed0) == C::cr0_fixed0 && (s.cr4 & C::cr4_fixed0) == C::cr4_fixed0;
    const bool a20_open = cpu.mmu.limits.address_lines == ~uint64_t{0};
    if (cpu.cpl() != 0 || !fixed || !allowed || !a20_open) return cpu.fault.raise(GP_vector, 0);
  } else {
    if (cpu.exits_always(Reason::vmxon, displacement_of(op, cpu), memory_operand_info(op))) return false;
    if (cpu.cpl() != 0) return cpu.fault.raise(GP_vector, 0);
  }
  uint64_t pointer;
  if (!cpu.load_operand(op, pointer)) return false;
  cpu.vmx.vmxon(pointer);
  return true;
}

bool vmxoff(Processor& cpu, const Op&) {
  if (!in_root(cpu, Reason::vmxoff)) return false;
  cpu.vmx.vmxoff();
  cpu.notice();  // an INIT may have waited
  return true;
}

bool vmclear(Processor& cpu, const Op& op) {
  uint64_t pointer;
  if (!in_root(cpu, op, Reason::vmclear) || !cpu.load_operand(op, pointer)) return false;
  cpu.vmx.vmclear(pointer);
  return true;
}

bool vmptrld(Processor& cpu, const Op& op) {
  uint64_t pointer;
  if (!in_root(cpu, op, Reason::vmptrld) || !cpu.load_operand(op, pointer)) return false;
  cpu.vmx.vmptrld(pointer);
  return true;
}

bool vmptrst(Processor& cpu, const Op& op) {
  if (!in_root(cpu, op, Reason::vmptrst)) return false;
  const StatusFlags before = cpu.state.flags;
  const uint64_t pointer = cpu.vmx.vmptrst();
  if (cpu.store_operand(op, pointer)) return true;
  cpu.state.flags = before;
  return false;
}

// ---- Fields

bool vmread(Processor& cpu, const Op& op) {
  if (!in_root(cpu, op, Reason::vmread)) return false;
  const unsigned bytes = operand_bytes(cpu);
  const StatusFlags before = cpu.state.flags;
  uint64_t value;
  if (!cpu.vmx.vmread(encoding_in(cpu, op.reg), value)) return true;
  if (!op.is_memory()) {
    cpu.write_gpr(op.rm, 8 * bytes, value);
    return true;
  }
  uint64_t linear;
  if (cpu.linear_address(op, bytes, AccessKind::write, linear) && cpu.store_sized(op, linear, value, bytes)) return true;
  cpu.state.flags = before;
  return false;
}

bool vmwrite(Processor& cpu, const Op& op) {
  if (!in_root(cpu, op, Reason::vmwrite)) return false;
  const unsigned bytes = operand_bytes(cpu);
  uint64_t value, linear;
  if (!op.is_memory())
    value = cpu.read_gpr(op.rm, 8 * bytes);
  else if (!cpu.linear_address(op, bytes, AccessKind::read, linear) || !cpu.load_sized(op, linear, value, bytes))
    return false;
  cpu.vmx.vmwrite(encoding_in(cpu, op.reg), value);
  return true;
}

// ---- Between root and non-root operation

bool vmlaunch(Processor& cpu, const Op& op) {
  if (!in_root(cpu, Reason::vmlaunch)) return false;
  cpu.enter_guest(op, true);
  return true;
}

bool vmresume(Processor& cpu, const Op& op) {
  if (!in_root(cpu, Reason::vmresume)) return false;
  cpu.enter_guest(op, false);
  return true;
}

bool vmcall(Processor& cpu, const Op&) {
  if (!cpu.vmx.on()) return cpu.fault.raise(UD_vector);
  if (cpu.exits_always(Reason::vmcall)) return false;
  if (cpu.state.virtual_8086() || (cpu.state.long_mode() && !cpu.state.code64())) return cpu.fault.raise(UD_vector);
  if (cpu.cpl() != 0) return cpu.fault.raise(GP_vector, 0);
  cpu.vmx.vmcall_in_root();
  return true;
}

// There are no VM functions, in root operation or in guests.
bool vmfunc(Processor& cpu, const Op&) { return cpu.fault.raise(UD_vector); }

// ---- Invalidation

bool invept(Processor& cpu, const Op& op) {
  if (!cpu.vmx.capabilities().has(vmx::Capability::invept)) return cpu.fault.raise(UD_vector);
  if (!in_root(cpu, op, Reason::invept)) return false;
  struct {
    uint64_t eptp, reserved;
  } descriptor;
  if (!cpu.load_operand(op, descriptor)) return false;
  cpu.vmx.invept(cpu.read_gpr(op.reg, 8 * operand_bytes(cpu)), descriptor.eptp, descriptor.reserved);
  return true;
}

bool invvpid(Processor& cpu, const Op& op) {
  if (!cpu.vmx.capabilities().has(vmx::Capability::invvpid)) return cpu.fault.raise(UD_vector);
  if (!in_root(cpu, op, Reason::invvpid)) return false;
  struct {
    uint64_t low, linear;
  } descriptor;
  if (!cpu.load_operand(op, descriptor)) return false;
  cpu.vmx.invvpid(cpu.read_gpr(op.reg, 8 * operand_bytes(cpu)), descriptor.low, descriptor.linear);
  return true;
}

}  // namespace matryoshka::system
