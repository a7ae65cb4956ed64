// MOV to and from control and debug registers, CLTS, LMSW, SMSW, INVLPG and INVPCID.
//
// Translations carry the permissions they were made with, so the TLB is also emptied by changes after which hardware's need not
// be: of CR0.WP, CR4.SMEP, CR4.SMAP and CR4.PKE. PCIDs are not kept in the TLB: a new PCID empties it of all but global pages.
#include "cpu/system/control_registers.h"

#include "cpu/system/segments.h"
#include "cpu/system/system.h"
#include "cpu/system/vmx.h"

namespace matryoshka::system {

namespace {

constexpr uint64_t cr3_no_flush = uint64_t{1} << 63, cr3_pcid = 0xfff;

bool general_protection(Processor& cpu) { return cpu.fault.raise(GP_vector, 0); }

// Loads the four page-directory-pointer-table entries if the new CR0 and CR4 make them the root: "PDPTE Registers".
bool load_roots(Processor& cpu, uint64_t new_cr0, uint64_t new_cr4, uint64_t new_cr3) {
  if (!(new_cr0 & cr0::PG) || !(new_cr4 & cr4::PAE) || cpu.state.msr.efer & efer::LME) return true;
  return load_pdptes(cpu.state, cpu.memory, cpu.mmu.limits, new_cr3, cpu.fault);
}

// ---- CR0

bool write_cr0(Processor& cpu, uint64_t value) {
  using namespace cr0;
  constexpr uint64_t defined = PE | MP | EM | TS | ET | NE | WP | AM | NW | CD | PG;
  CpuState& s = cpu.state;
  const bool long_mode_enabled = s.msr.efer & efer::LME;
  if (value >> 32) return general_protection(cpu);
  value = (value & defined) | ET;
  const uint64_t changed = s.cr0 ^ value;
  const bool paging_on = value & changed & PG, paging_off = ~value & changed & PG;
  if (!cpu.vmx.cr0_allowed(value)) return general_protection(cpu);
  if (value & PG && !(value & PE)) return general_protection(cpu);
  if (value & NW && !(value & CD)) return general_protection(cpu);
  if (paging_on && long_mode_enabled) {
    // "Activating IA-32e Mode": with PAE, from 32-bit code, and with no 16-bit TSS in TR.
    const bool small_tss = !s.tr.unusable() && !(s.tr.type() & 8);
    if (!(s.cr4 & cr4::PAE) || s.segment[CS].long_mode() || small_tss) return general_protection(cpu);
  }
  if (paging_off && (s.cr4 & cr4::PCIDE || s.code64())) return general_protection(cpu);
  if (changed & (PG | CD | NW) && !load_roots(cpu, value, s.cr4, s.cr3)) return false;

  s.cr0 = value;
  if (paging_on && long_mode_enabled) s.msr.efer |= efer::LMA;
  if (paging_off) s.msr.efer &= ~efer::LMA;
  if (changed & (PG | PE | WP)) cpu.mmu.flush_all();
  cpu.derive();
  return true;
}

// ---- CR3

bool write_cr3(Processor& cpu, uint64_t value) {
  CpuState& s = cpu.state;
  const bool pcid = s.cr4 & cr4::PCIDE;
  const bool keep = pcid && value & cr3_no_flush && ((value ^ s.cr3) & cr3_pcid) == 0;
  if (pcid) value &= ~cr3_no_flush;
  if (s.long_mode() && value >> cpu.model.physical_bits) return general_protection(cpu);
  if (!load_roots(cpu, s.cr0, s.cr4, value)) return false;
  s.cr3 = value;
  if (!keep) cpu.mmu.flush_non_global();
  return true;
}

// ---- CR4

}  // namespace

uint64_t supported_cr4(const CpuModel& model) {
  static constexpr struct {
    uint64_t bits;
    Feature feature;
  } owners[] = {
      {cr4::VME | cr4::PVI, Feature::VME},
      {cr4::TSD, Feature::TSC},
      {cr4::DE, Feature::DE},
      {cr4::PSE, Feature::PSE},
      {cr4::PAE, Feature::PAE},
      {cr4::MCE, Feature::MCE},
      {cr4::PGE, Feature::PGE},
      {cr4::PCE, Feature::BASE},
      {cr4::OSFXSR, Feature::FXSR},
      {cr4::OSXMMEXCPT, Feature::SSE},
      {cr4::UMIP, Feature::UMIP},
      {cr4::LA57, Feature::LA57},
      {cr4::VMXE, Feature::VMX},
      {cr4::FSGSBASE, Feature::FSGSBASE},
      {cr4::PCIDE, Feature::PCID},
      {cr4::OSXSAVE, Feature::XSAVE},
      {cr4::SMEP, Feature::SMEP},
      {cr4::SMAP, Feature::SMAP},
      {cr4::PKE, Feature::PKU},
  };
  uint64_t supported = 0;
  for (auto& owner : owners)
    if (model.features.has(owner.feature)) supported |= owner.bits;
  return supported;
}

namespace {

bool write_cr4(Processor& cpu, uint64_t value) {
  using namespace cr4;
  CpuState& s = cpu.state;
  const uint64_t changed = s.cr4 ^ value;
  if (value & ~supported_cr4(cpu.model) || !cpu.vmx.cr4_allowed(value)) return general_protection(cpu);
  if (s.long_mode() && (!(value & PAE) || changed & LA57)) return general_protection(cpu);
  if (value & changed & PCIDE && (!s.long_mode() || s.cr3 & cr3_pcid)) return general_protection(cpu);
  if (changed & (PAE | PGE | PSE | SMEP) && !load_roots(cpu, s.cr0, value, s.cr3)) return false;
  s.cr4 = value;
  if (changed & (PGE | PAE | PSE | PCIDE | SMEP | SMAP | LA57 | PKE)) cpu.mmu.flush_all();
  cpu.derive();
  return true;
}

// ---- Debug registers

// Checks that stand before any access to a debug register; DR4 and DR5 become DR6 and DR7 where that is allowed. A guest's exit
// comes before them: "Instructions That Cause VM Exits Conditionally".
bool check_debug_access(Processor& cpu, unsigned& number, uint64_t exit_qualification) {
  CpuState& s = cpu.state;
  if (number > 7) return cpu.fault.raise(UD_vector);
  if (cpu.exits_by(vmx::Control::primary_mov_dr_exiting, vmx::Reason::mov_dr, exit_qualification | number)) return false;
  if (number == 4 || number == 5) {
    if (s.cr4 & cr4::DE) return cpu.fault.raise(UD_vector);
    number += 2;
  }
  if (cpu.cpl() != 0) return general_protection(cpu);
  return !(s.dr7 & dr7::GD) || cpu.fault.debug(dr6::BD);
}

}  // namespace

// A register that there is not is #UD at any privilege level, so the level is asked here and not by the row.
bool check_control_access(Processor& cpu, unsigned number) {
  constexpr unsigned existing = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 8;
  if (!(existing >> number & 1)) return cpu.fault.raise(UD_vector);
  if (cpu.cpl() != 0) return general_protection(cpu);
  return true;
}

namespace {

// "Exit Qualification for Control-Register Accesses".
enum class ControlAccess : uint64_t { to_register, from_register, clts, lmsw };
uint64_t qualification_of(unsigned number, ControlAccess access, unsigned general_register) {
  return number | static_cast<uint64_t>(access) << 4 | uint64_t{general_register} << 8;
}

bool exits_by_mask(Processor& cpu, bool guarded, vmx::Cause mask, uint64_t qualification) {
  return guarded && cpu.exits(vmx::Reason::control_register_access, mask, qualification);
}

}  // namespace

bool mov_from_control(Processor& cpu, const Op& op) {
  if (!check_control_access(cpu, op.reg)) return false;
  const CpuState& s = cpu.state;
  const uint64_t qualification = qualification_of(op.reg, ControlAccess::from_register, op.rm / 8);
  uint64_t value;
  switch (op.reg) {
    case 0: value = cpu.vmx.cr0_seen(); break;
    case 2: value = s.cr2; break;
    case 3:
      if (cpu.exits_by(vmx::Control::primary_cr3_store_exiting, vmx::Reason::control_register_access, qualification))
        return false;
      value = s.cr3;
      break;
    case 4: value = cpu.vmx.cr4_seen(); break;
    default:
      if (cpu.exits_by(vmx::Control::primary_cr8_store_exiting, vmx::Reason::control_register_access, qualification))
        return false;
      value = cpu.vmx.shadows_tpr() ? cpu.vmx.virtual_tpr() >> 4 : cpu.apic.cr8();
      break;
  }
  cpu.write_gpr(op.rm, op.operand_bits(), value);
  return true;
}

bool mov_to_control(Processor& cpu, const Op& op) {
  if (!check_control_access(cpu, op.reg)) return false;
  const uint64_t value = cpu.read_gpr(op.rm, op.operand_bits());
  const uint64_t qualification = qualification_of(op.reg, ControlAccess::to_register, op.rm / 8);
  switch (op.reg) {
    case 0:
      if (exits_by_mask(cpu, cpu.vmx.guards_cr0(value), vmx::Cause::cr0_mask, qualification)) return false;
      return write_cr0(cpu, cpu.vmx.cr0_to_load(value));
    case 2: cpu.state.cr2 = value; return true;
    case 3: {
      vmx::Cause cause;
      if (cpu.vmx.guards_cr3_load(value, cause) && cpu.exits(vmx::Reason::control_register_access, cause, qualification))
        return false;
      return write_cr3(cpu, value);
    }
    case 4:
      if (exits_by_mask(cpu, cpu.vmx.guards_cr4(value), vmx::Cause::cr4_mask, qualification)) return false;
      return write_cr4(cpu, cpu.vmx.cr4_to_load(value));
    default:
      if (cpu.exits_by(vmx::Control::primary_cr8_load_exiting, vmx::Reason::control_register_access, qualification)) return false;
      if (value >> 4) return general_protection(cpu);
      if (cpu.vmx.shadows_tpr())
        cpu.vmx.set_virtual_tpr(static_cast<uint8_t>(value << 4));
      else
        cpu.apic.set_cr8(value);
      return true;
  }
}

bool mov_from_debug(Processor& cpu, const Op& op) {
  unsigned number = op.reg;
  constexpr uint64_t from_register = 1 << 4;
  if (!check_debug_access(cpu, number, from_register | uint64_t{op.rm / 8u} << 8)) return false;
  const CpuState& s = cpu.state;
  cpu.write_gpr(op.rm, op.operand_bits(), number < 4 ? s.dr[number] : number == 6 ? s.dr6 : s.dr7);
  return true;
}

bool mov_to_debug(Processor& cpu, const Op& op) {
  unsigned number = op.reg;
  if (!check_debug_access(cpu, number, uint64_t{op.rm / 8u} << 8)) return false;
  CpuState& s = cpu.state;
  const uint64_t value = cpu.read_gpr(op.rm, op.operand_bits());
  if (number >= 6 && value >> 32) return general_protection(cpu);
  const bool was_watching = s.dr7 & 0xff;
  if (number < 4)
    s.dr[number] = value;
  else if (number == 6)
    s.dr6 = (value & (dr6::BD | dr6::BS | dr6::BT | 15)) | dr6::always_one;
  else
    s.dr7 = (value & 0xffff23ff) | dr7::always_one;
  // Pages under a watch point have no fast path.
  if (number != 6 && (was_watching || s.dr7 & 0xff)) cpu.mmu.flush_all();
  cpu.derive();
  return true;
}

// ---- Parts of CR0

bool clts(Processor& cpu, const Op&) {
  if (exits_by_mask(cpu, cpu.vmx.guards_clts(), vmx::Cause::cr0_mask, qualification_of(0, ControlAccess::clts, 0))) return false;
  cpu.state.cr0 = cpu.vmx.cr0_to_load(cpu.state.cr0 & ~cr0::TS);
  cpu.derive();
  return true;
}

// PE can be set but not cleared.
bool lmsw(Processor& cpu, const Op& op) {
  uint64_t value;
  if (!cpu.read_rm(op, value)) return false;
  if (cpu.vmx.guards_lmsw(value)) {
    constexpr uint64_t from_memory = 1 << 6;
    const uint64_t qualification =
        qualification_of(0, ControlAccess::lmsw, 0) | (op.is_memory() ? from_memory : 0) | (value & 0xffff) << 16;
    (void)cpu.exits(vmx::Reason::control_register_access, vmx::Cause::cr0_mask, qualification);
    if (op.is_memory()) cpu.fault.pending_exit.guest_linear = cpu.effective_address(op) + cpu.segment_base(op.segment);
    return false;
  }
  using namespace cr0;
  const uint64_t replaced = MP | EM | TS;
  return write_cr0(cpu, cpu.vmx.cr0_to_load((cpu.state.cr0 & ~replaced) | (value & (replaced | PE))));
}

bool smsw(Processor& cpu, const Op& op) {
  const CpuState& s = cpu.state;
  if (s.cr4 & cr4::UMIP && cpu.cpl() > 0) return general_protection(cpu);
  if (op.is_memory()) return cpu.store_operand(op, static_cast<uint16_t>(cpu.vmx.cr0_seen()));
  cpu.write_gpr(op.rm, op.operand_bits(), cpu.vmx.cr0_seen());
  return true;
}

// ---- Invalidation

// The operand is an address, not an access: no limit is checked, and a non-canonical one is nothing to invalidate.
bool invlpg(Processor& cpu, const Op& op) {
  uint64_t linear = cpu.effective_address(op) + cpu.segment_base(op.segment);
  if (cpu.mode().code_bits != 64) linear = static_cast<uint32_t>(linear);
  if (cpu.exits_by(vmx::Control::primary_invlpg_exiting, vmx::Reason::invlpg, linear)) return false;
  if (canonical(cpu.state, linear) || !cpu.state.long_mode()) cpu.mmu.flush_page(linear);
  return true;
}

bool invpcid(Processor& cpu, const Op& op) {
  enum Type : uint64_t { individual_address, single_context, all_with_global, all };
  struct {
    uint64_t pcid, address;
  } descriptor;
  const CpuState& s = cpu.state;
  if (cpu.vmx.lacks(vmx::Control::secondary_invpcid)) return cpu.fault.raise(UD_vector);
  if (cpu.cpl() != 0) return general_protection(cpu);
  if (cpu.exits_by(vmx::Control::primary_invlpg_exiting, vmx::Reason::invpcid, displacement_of(op, cpu), memory_operand_info(op)))
    return false;
  const uint64_t type = cpu.read_gpr(op.reg, op.operand_bits());
  if (!cpu.load_operand(op, descriptor)) return false;
  if (type > all || descriptor.pcid & ~cr3_pcid) return general_protection(cpu);
  const bool names_pcid = type == individual_address || type == single_context;
  if (names_pcid && !(s.cr4 & cr4::PCIDE) && descriptor.pcid != 0) return general_protection(cpu);
  if (type == individual_address && s.long_mode() && !canonical(s, descriptor.address)) return general_protection(cpu);

  // Only the present PCID has anything in the TLB.
  const bool present = descriptor.pcid == (s.cr4 & cr4::PCIDE ? s.cr3 & cr3_pcid : 0);
  if (names_pcid && !present) cpu.mmu.forget_other_pcids();
  switch (type) {
    case individual_address:
      if (present) cpu.mmu.flush_page(descriptor.address);
      break;
    case single_context:
      if (present) cpu.mmu.flush_non_global();
      break;
    case all_with_global: cpu.mmu.flush_all(); break;
    case all: cpu.mmu.flush_non_global(); break;
  }
  return true;
}

}  // namespace matryoshka::system
