// CLI, STI, PUSHF, POPF, CLAC, STAC, HLT and PAUSE: instructions about flags and waiting whose meaning depends on privilege.
#include "cpu/charges.h"
#include "cpu/system/segments.h"
#include "cpu/system/system.h"
#include "cpu/system/transfers.h"

namespace matryoshka::system {

namespace {

// Which flag CLI and STI work on: "Protected-Mode Virtual Interrupts" and "Virtual-8086 Mode Virtual Interrupts".
enum class Target { interrupt_flag, virtual_interrupt_flag, refused };

Target interrupt_flag_target(const CpuState& s) {
  if (!s.protected_mode() || s.cpl() <= s.iopl()) return Target::interrupt_flag;
  const bool virtualized = s.virtual_8086() ? s.cr4 & cr4::VME : s.cpl() == 3 && s.cr4 & cr4::PVI;
  return virtualized ? Target::virtual_interrupt_flag : Target::refused;
}

// In virtual-8086 mode with IOPL below 3, PUSHF and POPF exist for 16 bits and with virtual-mode extensions only.
bool refused_in_virtual_8086(const CpuState& s, const Op& op) {
  return s.virtual_8086() && s.iopl() < 3 && !(op.operand_bits() == 16 && s.cr4 & cr4::VME);
}

}  // namespace

bool cli(Processor& cpu, const Op&) {
  CpuState& s = cpu.state;
  switch (interrupt_flag_target(s)) {
    case Target::interrupt_flag: s.system_flags &= ~rflags::IF; return true;
    case Target::virtual_interrupt_flag: s.system_flags &= ~rflags::VIF; return true;
    default: return cpu.fault.raise(GP_vector, 0);
  }
}

bool sti(Processor& cpu, const Op&) {
  CpuState& s = cpu.state;
  const Target target = interrupt_flag_target(s);
  if (target == Target::refused || (target == Target::virtual_interrupt_flag && s.system_flags & rflags::VIP))
    return cpu.fault.raise(GP_vector, 0);
  if (target == Target::virtual_interrupt_flag) {
    s.system_flags |= rflags::VIF;
    return true;
  }
  if (!(s.system_flags & rflags::IF)) s.sti_shadow = true;
  s.system_flags |= rflags::IF;
  cpu.notice();
  return true;
}

// RF and VM are pushed as zero.
bool pushf(Processor& cpu, const Op& op) {
  const CpuState& s = cpu.state;
  if (refused_in_virtual_8086(s, op)) return cpu.fault.raise(GP_vector, 0);
  using namespace rflags;
  uint64_t image = s.rflags() & ~(RF | VM);
  if (s.virtual_8086() && s.iopl() < 3) image = (image & ~IF) | IOPL | (image & VIF ? IF : 0);
  return cpu.push(op, image, op.operand_bytes());
}

bool popf(Processor& cpu, const Op& op) {
  CpuState& s = cpu.state;
  using namespace rflags;
  if (refused_in_virtual_8086(s, op)) return cpu.fault.raise(GP_vector, 0);
  uint64_t image;
  if (!cpu.peek_stack(op, 0, image, op.operand_bytes())) return false;
  uint64_t changed = status | TF | DF | NT | (op.operand_bits() == 16 ? 0 : AC | ID);
  const unsigned cpl = s.protected_mode() ? s.cpl() : 0;
  if (cpl == 0) changed |= IOPL;
  if (cpl <= s.iopl() || cpl == 0) changed |= IF;
  if (s.virtual_8086() && s.iopl() < 3) {
    if (image & TF || (image & IF && s.system_flags & VIP)) return cpu.fault.raise(GP_vector, 0);
    changed |= VIF;
    image = (image & ~VIF) | (image & IF ? VIF : 0);
  }
  cpu.move_stack(op, op.operand_bytes());
  s.set_rflags(merged_flags(s, image & ~RF, changed | RF));
  cpu.derive();
  return true;
}

// Above level 0 these do not exist.
bool clac(Processor& cpu, const Op&) {
  if (cpu.cpl() != 0) return cpu.fault.raise(UD_vector);
  cpu.state.system_flags &= ~rflags::AC;
  cpu.derive();
  return true;
}

bool stac(Processor& cpu, const Op&) {
  if (cpu.cpl() != 0) return cpu.fault.raise(UD_vector);
  cpu.state.system_flags |= rflags::AC;
  cpu.derive();
  return true;
}

bool hlt(Processor& cpu, const Op&) {
  if (cpu.exits_by(vmx::Control::primary_hlt_exiting, vmx::Reason::hlt)) return false;
  cpu.state.activity = Activity::halted;
  cpu.notice();
  return true;
}

bool pause(Processor& cpu, const Op&) {
  if (cpu.exits_by(vmx::Control::primary_pause_exiting, vmx::Reason::pause)) return false;
  cpu.clock.ticks += pause_charge;
  return true;
}

}  // namespace matryoshka::system
