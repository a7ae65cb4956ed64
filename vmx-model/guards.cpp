// What a guest may do without leaving: bitmaps, masks, shadows. "VM-Execution Control Fields", "VMX Non-Root Operation".
#include "vmx-model/vmx.h"

namespace matryoshka::vmx {

namespace {

// Bit `n` of a bitmap in guest memory. What cannot be read guards everything.
bool bit_of(const PhysicalMemory& memory, uint64_t bitmap, unsigned n) {
  uint8_t byte = 0xff;
  return !memory.read(bitmap + n / 8, &byte, 1) || byte >> n % 8 & 1;
}

}  // namespace

// ---- "I/O-Bitmap Addresses"

bool Vmx::guards_port(uint16_t port, unsigned size, Cause& cause) const {
  if (!saved_.non_root) return false;
  if (!current_->has(Control::primary_io_bitmaps)) {
    cause = Control::primary_unconditional_io_exiting;
    return current_->has(Control::primary_unconditional_io_exiting);
  }
  cause = Cause(Cause::io_bitmap);
  if (port + size > 0x10000) return true;  // it wraps round the end of the ports
  for (unsigned p = port; p < port + size; ++p) {
    const uint64_t bitmap = field(p < 0x8000 ? Field::io_bitmap_a : Field::io_bitmap_b) & ~uint64_t{0xfff};
    if (bit_of(memory_, bitmap, p & 0x7fff)) return true;
  }
  return false;
}

// ---- "MSR-Bitmap Address": four bitmaps of 1 KByte, for reading low and high numbers, then for writing them

bool Vmx::guards_msr(uint32_t number, bool write, Cause& cause) const {
  if (!saved_.non_root) return false;
  cause = Cause(Cause::unconditional);
  if (!current_->has(Control::primary_msr_bitmaps)) return true;
  const bool low = number < 0x2000, high = number - 0xc0000000 < 0x2000;
  cause = Cause(Cause::msr_out_of_bitmap);
  if (!low && !high) return true;
  cause = Cause(Cause::msr_bitmap);
  const uint64_t bitmap = (field(Field::msr_bitmap) & ~uint64_t{0xfff}) + (write ? 0x800 : 0) + (high ? 0x400 : 0);
  return bit_of(memory_, bitmap, number & 0x1fff);
}

// ---- "Exception Bitmap"

bool Vmx::guards_exception(uint8_t vector, uint32_t error, Cause& cause) const {
  if (!saved_.non_root) return false;
  bool wanted = field(Field::exception_bitmap) >> (vector & 31) & 1;
  cause = Cause(Cause::exception_bitmap, vector);
  if (vector == PF_vector) {
    const bool matches = (error & field(Field::page_fault_mask)) == field(Field::page_fault_match);
    if (field(Field::page_fault_mask) || field(Field::page_fault_match)) cause = Cause(Cause::page_fault_filter);
    wanted = wanted == matches;
  }
  return wanted;
}

// ---- Control registers: "Guest/Host Masks and Read Shadows for CR0 and CR4", "CR3-Target Controls"

bool Vmx::guards_cr3_load(uint64_t value, Cause& cause) const {
  if (!guards(Control::primary_cr3_load_exiting)) return false;
  for (unsigned i = 0; i < field(Field::cr3_target_count) && i < Capabilities::most_cr3_targets; ++i)
    if (value == field(nth(Field::cr3_target_0, i))) return false;
  cause = field(Field::cr3_target_count) ? Cause(Cause::cr3_targets) : Cause(Control::primary_cr3_load_exiting);
  return true;
}

uint64_t Vmx::cr0_seen() const {
  if (!saved_.non_root) return state_.cr0;
  const uint64_t mask = field(Field::cr0_mask);
  return (state_.cr0 & ~mask) | (field(Field::cr0_shadow) & mask);
}
uint64_t Vmx::cr4_seen() const {
  if (!saved_.non_root) return state_.cr4;
  const uint64_t mask = field(Field::cr4_mask);
  return (state_.cr4 & ~mask) | (field(Field::cr4_shadow) & mask);
}

bool Vmx::guards_cr0(uint64_t value) const {
  return saved_.non_root && (value ^ field(Field::cr0_shadow)) & field(Field::cr0_mask);
}
bool Vmx::guards_cr4(uint64_t value) const {
  return saved_.non_root && (value ^ field(Field::cr4_shadow)) & field(Field::cr4_mask);
}
bool Vmx::guards_clts() const { return saved_.non_root && field(Field::cr0_mask) & field(Field::cr0_shadow) & cr0::TS; }

// LMSW can set PE and not clear it.
bool Vmx::guards_lmsw(uint64_t source) const {
  if (!saved_.non_root) return false;
  const uint64_t mask = field(Field::cr0_mask), shadow = field(Field::cr0_shadow);
  const bool sets_pe = mask & source & ~shadow & cr0::PE;
  return sets_pe || (mask & (source ^ shadow) & (cr0::MP | cr0::EM | cr0::TS));
}

uint64_t Vmx::cr0_to_load(uint64_t value) const {
  if (!saved_.non_root) return value;
  const uint64_t mask = field(Field::cr0_mask);
  return (state_.cr0 & mask) | (value & ~mask);
}
uint64_t Vmx::cr4_to_load(uint64_t value) const {
  if (!saved_.non_root) return value;
  const uint64_t mask = field(Field::cr4_mask);
  return (state_.cr4 & mask) | (value & ~mask);
}

bool Vmx::cr0_allowed(uint64_t value) const {
  if (!saved_.on) return true;
  uint64_t required = Capabilities::cr0_fixed0;
  if (guards(Control::secondary_unrestricted_guest)) required &= ~(cr0::PE | cr0::PG);
  return (value & required) == required;
}
bool Vmx::cr4_allowed(uint64_t value) const {
  return !saved_.on || (value & Capabilities::cr4_fixed0) == Capabilities::cr4_fixed0;
}

// ---- "Virtual-APIC Page": the TPR is all of it that is shadowed

namespace {
constexpr unsigned tpr_offset = 0x80;
}

uint8_t Vmx::virtual_tpr() const {
  uint8_t tpr = 0;
  (void)memory_.read(field(Field::virtual_apic) + tpr_offset, &tpr, 1);
  return tpr;
}

void Vmx::set_virtual_tpr(uint8_t value) {
  const uint32_t tpr = value;
  (void)memory_.write(field(Field::virtual_apic) + tpr_offset, &tpr, sizeof tpr);
  check_tpr();
}

// "TPR Virtualization".
void Vmx::check_tpr() {
  if (virtual_tpr() >> 4 >= (field(Field::tpr_threshold) & 15)) return;
  saved_.tpr_due = true;
  host_.vmx_notice();
}

// "Virtualizing Memory-Mapped APIC Accesses". Where the access is let through, the store follows; the threshold is looked at
// behind the instruction.
bool Vmx::virtualize(unsigned offset, unsigned size, AccessKind kind, uint64_t& redirected, uint64_t& qualification) {
  enum : uint64_t { data_read = 0, data_write = 1, fetch = 2 };
  const bool is_tpr = offset == tpr_offset && size <= 4 && kind != AccessKind::fetch;
  if (is_tpr && shadows_tpr()) {
    redirected = (field(Field::virtual_apic) & ~uint64_t{0xfff}) + offset;  // a snapshot may hold anything
    if (kind == AccessKind::write) {
      saved_.tpr_due = true;
      mmu_.had_effect = true;
    }
    return true;
  }
  qualification = offset | (kind == AccessKind::read ? data_read : kind == AccessKind::write ? data_write : fetch) << 12;
  return false;
}

// A store to the TPR may have left it above the threshold.
bool Vmx::take_tpr_exit() {
  const bool due = saved_.tpr_due && virtual_tpr() >> 4 < (field(Field::tpr_threshold) & 15);
  saved_.tpr_due = false;
  return due;
}

// ---- Between two instructions

void Vmx::instruction_done() {
  if (watches_instructions()) saved_.mtf_due = true, host_.vmx_notice();
}

// "Changes to Instruction Behavior in VMX Non-Root Operation": under NMI exiting an IRET ends the virtual blocking or none.
void Vmx::iret() {
  if (guards(Control::pin_nmi_exiting) && !guards(Control::pin_virtual_nmis)) return;
  unblocked_nmi = state_.nmi_blocked;
  state_.nmi_blocked = false;
}

}  // namespace matryoshka::vmx
