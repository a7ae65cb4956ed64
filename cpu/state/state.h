// Everything that a processor remembers from one instruction to the next, and nothing that can be computed from it.
//
// This is the saved half: `serialize` writes it to snapshots and to the state hash, no bit left out. What can be derived
// (the current privilege level, which TLB set is in use, decoded blocks) lives with the engine in cpu/processor.h and is
// rebuilt by Processor::derive().
#pragma once

#include <bit>
#include <cstdint>

#include "cpu/float/format.h"
#include "cpu/state/archive.h"
#include "cpu/state/registers.h"
#include "cpu/state/segment.h"

namespace matryoshka {

// The six status flags, kept as the last result plus what cannot be told from it, so that arithmetic needs two stores and
// a condition needs no table. Both engines keep exactly these two words.
//
//   result  sign-extended to 64 bits: ZF is result == 0, SF its sign, PF the parity of its low byte
//   aux     bit 63  CF
//           bit 62  CF xor OF
//           bit 3   AF
//           bit 8   one if PF differs from the parity of result   } only POPF, SAHF, IRET and their like
//           bit 9   one if SF differs from the sign of result     } ever set these two
struct StatusFlags {
  int64_t result = 1;
  uint64_t aux = 0;

  static constexpr uint64_t aux_cf = uint64_t{1} << 63, aux_co = uint64_t{1} << 62, aux_af = 1 << 3, aux_pf = 1 << 8,
                            aux_sf = 1 << 9;

  bool cf() const { return aux >> 63; }
  bool of() const { return (aux ^ aux << 1) >> 63; }
  bool af() const { return aux >> 3 & 1; }
  bool zf() const { return result == 0; }
  bool sf() const { return (static_cast<uint64_t>(result) >> 63 ^ aux >> 9) & 1; }
  bool pf() const { return (~std::popcount(static_cast<uint8_t>(result)) ^ aux >> 8) & 1; }

  uint64_t bits() const {
    return uint64_t{cf()} | uint64_t{pf()} << 2 | uint64_t{af()} << 4 | uint64_t{zf()} << 6 | uint64_t{sf()} << 7 |
           uint64_t{of()} << 11;
  }
  void set_bits(uint64_t f) {
    uint64_t c = f & 1, o = f >> 11 & 1;
    result = f & rflags::ZF ? 0 : 0x100;
    aux = c << 63 | (c ^ o) << 62 | (f >> 4 & 1) << 3 | (~f >> 2 & 1) << 8 | (f >> 7 & 1) << 9;
  }
};

struct alignas(16) Xmm {
  uint64_t q[2] = {0, 0};
  void serialize(Archive& ar) { ar(q); }
};

// "x87 FPU Status Register". A number to its users; kept in two parts, because every instruction needs TOP to find its registers
// and would wait for the flags of the one before it (9 cycles of 28 in a chain of FADDs).
class X87Status {
 public:
  X87Status(uint16_t word = 0) : flags_(static_cast<uint16_t>(word & ~top_bits)), top_(word >> 11 & 7) {}
  operator uint16_t() const { return static_cast<uint16_t>(flags_ | top_ << 11); }
  X87Status& operator|=(unsigned bits) { return *this = static_cast<uint16_t>(*this | bits); }
  X87Status& operator&=(unsigned bits) { return *this = static_cast<uint16_t>(*this & bits); }

  unsigned top() const { return top_; }
  void set_top(unsigned top) { top_ = top & 7; }
  // Neither names bits of TOP.
  bool has_any(unsigned flags) const { return flags_ & flags; }
  void change(unsigned clear, unsigned set) { flags_ = static_cast<uint16_t>((flags_ & ~clear) | set); }

  void serialize(Archive& ar) {
    uint16_t word = *this;
    ar(word);
    *this = word;
  }

 private:
  static constexpr uint16_t top_bits = 0x3800;
  uint16_t flags_;
  uint8_t top_;
};

struct X87State {
  fp::Float80 registers[8];  // physical R0..R7; MMX registers are their significands
  uint16_t control = 0x037f;
  X87Status status;
  uint8_t valid = 0;    // one bit per physical register: not empty (the abridged tag word of FXSAVE)
  uint16_t opcode = 0;  // last non-control instruction: FOP, FIP, FCS, FDP, FDS
  uint64_t instruction_pointer = 0;
  uint16_t instruction_selector = 0;
  uint64_t data_pointer = 0;
  uint16_t data_selector = 0;
  bool ignores_error = false;  // IGNNE#, which the board asserts until the error that is pending has been cleared

  unsigned top() const { return status.top(); }
  void set_top(unsigned top) { status.set_top(top); }
  fp::Float80& st(unsigned i) { return registers[(top() + i) & 7]; }
  bool empty(unsigned i) const { return !(valid >> ((top() + i) & 7) & 1); }

  void serialize(Archive& ar) {
    for (auto& r : registers) ar(r.significand, r.sign_exponent);
    ar(control, status, valid, opcode, instruction_pointer, instruction_selector, data_pointer, data_selector);
    if (ar.version() >= 2) ar(ignores_error);
  }
};

enum class Activity : uint8_t { active, halted, shutdown, wait_for_sipi };

// The model-specific registers that hold plain state. Which exist, and what may be written, stands in cpu/msr.def.
struct MsrState {
  uint64_t efer = 0;
  uint64_t star = 0, lstar = 0, cstar = 0, fmask = 0, kernel_gs_base = 0, tsc_aux = 0;
  uint64_t sysenter_cs = 0, sysenter_esp = 0, sysenter_eip = 0;
  uint64_t pat = 0x0007040600070406;
  uint64_t apic_base = 0xfee00900;
  uint64_t tsc_offset = 0;  // what WRMSR to the TSC or to TSC_ADJUST has added; the TSC itself is the clock
  uint64_t tsc_adjust = 0;
  uint64_t misc_enable = 1;  // fast strings
  uint64_t debugctl = 0;
  uint64_t bios_sign_id = 0;
  uint64_t misc_features_enables = 0;
  uint64_t spec_ctrl = 0;
  uint64_t xss = 0;
  uint64_t mtrr_def_type = 0;
  uint64_t mtrr_fixed[11] = {};
  uint64_t mtrr_variable[16] = {};  // base and mask in turn
  uint64_t mcg_status = 0;
  uint64_t last_branch_from = 0, last_branch_to = 0, last_exception_from = 0, last_exception_to = 0;

  void serialize(Archive& ar) {
    ar(efer, star, lstar, cstar, fmask, kernel_gs_base, tsc_aux, sysenter_cs, sysenter_esp, sysenter_eip, pat, apic_base,
       tsc_offset, tsc_adjust, misc_enable, debugctl);
    uint64_t feature_control = 0;  // was state once, and always 0
    if (ar.version() == 1) ar(feature_control);
    ar(bios_sign_id, misc_features_enables, spec_ctrl, xss, mtrr_def_type, mtrr_fixed, mtrr_variable, mcg_status,
       last_branch_from, last_branch_to, last_exception_from, last_exception_to);
  }
};

struct CpuState {
  // Two slots past the sixteen registers serve address computation: [16] is always zero, for "no base" and "no index", and
  // [17] holds the linear start of the running block, for RIP-relative operands. Neither is architectural.
  static constexpr unsigned slot_zero = 16, slot_block = 17;
  uint64_t gpr[18] = {};
  uint64_t rip = 0;
  StatusFlags flags;
  uint64_t system_flags = rflags::always_one;  // RFLAGS without the six status flags

  Segment segment[segment_count];
  Segment ldtr, tr;
  TableRegister gdtr, idtr;

  uint64_t cr0 = 0, cr2 = 0, cr3 = 0, cr4 = 0;
  uint64_t pdpte[4] = {};  // PAE paging loads these with CR3 and uses them until the next load
  uint64_t xcr0 = xcr0::x87;
  uint64_t dr[4] = {};
  uint64_t dr6 = dr6::always_one, dr7 = dr7::always_one;
  uint32_t pkru = 0;
  uint32_t mxcsr = 0x1f80;
  Xmm xmm[16];
  X87State x87;
  MsrState msr;

  Activity activity = Activity::active;
  bool sti_shadow = false;     // the instruction after STI: no maskable interrupt before it
  bool mov_ss_shadow = false;  // the instruction after MOV SS or POP SS: no interrupt and no debug trap before it
  bool nmi_blocked = false;    // from an NMI until IRET
  bool nmi_pending = false;
  uint64_t pending_debug = 0;    // DR6 bits of traps that wait behind a MOV SS shadow
  uint64_t retired = 0;          // instructions completed: a PMU counter, not the clock
  uint64_t monitor_address = 0;  // armed by MONITOR
  bool monitor_armed = false;

  uint64_t rflags() const { return system_flags | flags.bits(); }
  void set_rflags(uint64_t value) {
    flags.set_bits(value);
    system_flags = (value & (rflags::all & ~rflags::status)) | rflags::always_one;
  }

  bool protected_mode() const { return cr0 & cr0::PE; }
  bool paging() const { return cr0 & cr0::PG; }
  bool long_mode() const { return msr.efer & efer::LMA; }
  bool code64() const { return long_mode() && segment[CS].long_mode(); }
  bool virtual_8086() const { return system_flags & rflags::VM; }
  unsigned iopl() const { return system_flags >> 12 & 3; }
  // In protected mode SS.DPL is the CPL; real mode runs at 0, virtual-8086 mode at 3, and their loads keep SS.DPL so.
  unsigned cpl() const { return segment[SS].dpl(); }

  void serialize(Archive& ar);
};

}  // namespace matryoshka
