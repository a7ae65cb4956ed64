// The VMX instructions but for entries: "VMX Instructions" in volume 3C's reference.
#include "vmx-model/vmx.h"

namespace matryoshka::vmx {

Vmx::Vmx(CpuState& state, Mmu& mmu, PhysicalMemory& memory, Clock& clock, VmxHost& host)
    : state_(state),
      mmu_(mmu),
      memory_(memory),
      clock_(clock),
      host_(host),
      vmcses_(memory),
      timer_(
          clock,
          [this] {
            saved_.timer_due = true;
            host_.vmx_notice();
          },
          Clock::Timer::Keeper::owner) {}

void Vmx::reset() {
  vmcses_.drop_all();
  current_ = nullptr;
  saved_ = {};
  unblocked_nmi = false;
  timer_.cancel();
  if (mmu_.in_guest()) mmu_.enter_root();
}

void Vmx::Saved::serialize(Archive& ar) {
  ar(on, non_root, vmxon_pointer, current, mtf_due, tpr_due, timer_due, host_nmi_blocked, timer_end);
}

void Vmx::serialize(Archive& ar) {
  ar(saved_, vmcses_);
  if (ar.version() >= 5) ar(trace);
  if (!ar.is_loading()) return;
  ar.require(!saved_.non_root || saved_.on, "the saved processor runs a guest outside of VMX operation");
  ar.require(saved_.current == no_pointer || vmcses_.find(saved_.current), "the saved processor's current VMCS is not active");
  ar.require(!saved_.non_root || saved_.current != no_pointer, "the saved processor runs a guest without a VMCS");
  if (!ar.ok()) saved_ = {};  // a refused state is thrown away; until then it runs no guest
  current_ = saved_.current != no_pointer ? vmcses_.find(saved_.current) : nullptr;
}

void Vmx::after_load() {
  if (saved_.non_root)
    select_world(mmu_.context());  // no translation is left from before
  else if (mmu_.in_guest())
    mmu_.enter_root();
  if (saved_.timer_end == Saved::never)
    timer_.cancel();
  else
    timer_.arm(saved_.timer_end << Capabilities::timer_rate);
}

// ---- "Conventions"

void Vmx::succeed() { state_.flags.set_bits(0); }
void Vmx::fail_invalid() { state_.flags.set_bits(rflags::CF); }
void Vmx::fail(InstructionError error) {
  if (!current_) return fail_invalid();
  state_.flags.set_bits(rflags::ZF);
  put(Field::instruction_error, static_cast<uint64_t>(error));
}

void Vmx::make_current(Vmcs* vmcs) {
  current_ = vmcs;
  saved_.current = vmcs ? vmcs->address : no_pointer;
}

// ---- Which VMCS

void Vmx::vmxon(uint64_t pointer) {
  if (saved_.on) return fail(InstructionError::vmxon_in_root);
  if (pointer & (page_size - 1) || !capabilities_.physical(pointer)) return fail_invalid();
  if (vmcses_.revision(pointer) != Capabilities::revision) return fail_invalid();
  saved_ = {};
  saved_.on = true;
  saved_.vmxon_pointer = pointer;
  make_current(nullptr);
  succeed();
}

void Vmx::vmxoff() {
  vmcses_.write_back_all();
  saved_ = {};
  make_current(nullptr);
  succeed();
}

void Vmx::vmclear(uint64_t pointer) {
  if (pointer & (page_size - 1) || !capabilities_.physical(pointer)) return fail(InstructionError::vmclear_invalid_address);
  if (pointer == saved_.vmxon_pointer) return fail(InstructionError::vmclear_vmxon_pointer);
  if (pointer == saved_.current) make_current(nullptr);
  vmcses_.clear(pointer);
  succeed();
}

void Vmx::vmptrld(uint64_t pointer) {
  if (pointer & (page_size - 1) || !capabilities_.physical(pointer)) return fail(InstructionError::vmptrld_invalid_address);
  if (pointer == saved_.vmxon_pointer) return fail(InstructionError::vmptrld_vmxon_pointer);
  if (vmcses_.revision(pointer) != Capabilities::revision) return fail(InstructionError::vmptrld_wrong_revision);
  make_current(&vmcses_.activate(pointer));
  succeed();
}

uint64_t Vmx::vmptrst() {
  succeed();
  return saved_.current;
}

// ---- Its fields

bool Vmx::vmread(uint32_t encoding, uint64_t& value) {
  if (!current_) {
    fail_invalid();
    return false;
  }
  const Field f = find_field(encoding);
  if (f == Field::count || !capabilities_.has(f)) {
    fail(InstructionError::unsupported_field);
    return false;
  }
  value = field(f) >> (encoding & 1 ? 32 : 0);
  succeed();
  return true;
}

void Vmx::vmwrite(uint32_t encoding, uint64_t value) {
  if (!current_) return fail_invalid();
  const Field f = find_field(encoding);
  if (f == Field::count || !capabilities_.has(f)) return fail(InstructionError::unsupported_field);
  if (info(f).group == Group::read_only && !capabilities_.has(Capability::vmwrite_any_field))
    return fail(InstructionError::read_only_field);
  // An operand of 32 bits clears the upper half of a longer field.
  if (encoding & 1) value = (field(f) & 0xffffffff) | value << 32;
  put(f, value);
  current_->origins[static_cast<unsigned>(f)] = {state_.rip, clock_.ticks};
  succeed();
}

// ---- Translations: "INVEPT" and "INVVPID"

void Vmx::invept(uint64_t type, uint64_t eptp, uint64_t reserved) {
  enum : uint64_t { single_context = 1, all_contexts = 2 };
  const bool known = (type == single_context && capabilities_.has(Capability::invept_single)) ||
                     (type == all_contexts && capabilities_.has(Capability::invept_all));
  if (!known) return fail(InstructionError::invalid_operand);
  if (type == all_contexts) {
    mmu_.worlds().invalidate_every_ept();
    return succeed();
  }
  // The operand is held to what an entry would demand of an EPTP.
  const unsigned memory_type = eptp & 7;
  const bool type_ok = (memory_type == 6 && capabilities_.has(Capability::ept_write_back)) ||
                       (memory_type == 0 && capabilities_.has(Capability::ept_uncacheable));
  const bool flags_ok = !(eptp >> 6 & 1) || capabilities_.has(Capability::ept_accessed_dirty);
  if (!type_ok || (eptp >> 3 & 7) != 3 || !flags_ok || eptp & 0xf80 || !capabilities_.physical(eptp) || reserved != 0)
    return fail(InstructionError::invalid_operand);
  Ept ept;
  ept.pointer = eptp;
  mmu_.worlds().invalidate_ept(ept.root());
  succeed();
}

void Vmx::invvpid(uint64_t type, uint64_t low, uint64_t linear) {
  enum : uint64_t { address, single_context, all_contexts, single_keep_globals };
  static constexpr Capability needed[] = {Capability::invvpid_address, Capability::invvpid_single, Capability::invvpid_all,
                                          Capability::invvpid_single_keep_globals};
  const auto vpid = static_cast<uint16_t>(low);
  if (type > single_keep_globals || !capabilities_.has(needed[type]) || low >> 16) return fail(InstructionError::invalid_operand);
  if (type != all_contexts && vpid == 0) return fail(InstructionError::invalid_operand);
  if (type == address && !capabilities_.canonical(linear)) return fail(InstructionError::invalid_operand);
  switch (type) {
    case address: mmu_.worlds().invalidate_vpid_address(vpid, linear); break;
    case single_context: mmu_.worlds().invalidate_vpid(vpid, false); break;
    case all_contexts: mmu_.worlds().invalidate_every_vpid(); break;
    case single_keep_globals: mmu_.worlds().invalidate_vpid(vpid, true); break;
  }
  succeed();
}

}  // namespace matryoshka::vmx
