// An image of the area is built or read in a buffer; guest memory is touched in whole 16-byte pieces, after a probe of every page
// that a store will reach, so that a fault leaves memory and registers as they were.
#include "cpu/ops/extended_state.h"

#include <cstring>

#include "cpu/ops/sse_move.h"
#include "cpu/ops/x87.h"

namespace matryoshka::extended_state {

namespace {

// ---- The legacy region: "Figure 13-1" and the table of FXSAVE's layout. Offsets in bytes:
//   0 FCW, 2 FSW, 4 abridged FTW, 6 FOP, 8 FIP, 12 FCS, 16 FDP, 20 FDS (with REX.W FIP and FDP have 64 bits and there are no
//   selectors), 24 MXCSR, 28 MXCSR_MASK, 32 ST0 to ST7 and 160 XMM0 to XMM15, 16 bytes each.
constexpr unsigned at_mxcsr = 24, at_st = 32, at_xmm = 160;

template <class T>
void put(uint8_t* image, unsigned offset, T value) {
  std::memcpy(image + offset, &value, sizeof value);
}
template <class T>
T get(const uint8_t* image, unsigned offset) {
  T value;
  std::memcpy(&value, image + offset, sizeof value);
  return value;
}

void write_x87(const X87State& x87, bool wide, uint8_t* image) {
  put(image, 0, x87.control);
  put<uint16_t>(image, 2, x87.status);
  put(image, 4, uint16_t{x87.valid});
  put(image, 6, x87.opcode);
  if (wide) {
    put(image, 8, x87.instruction_pointer);
    put(image, 16, x87.data_pointer);
  } else {
    put(image, 8, static_cast<uint32_t>(x87.instruction_pointer));
    put(image, 12, uint32_t{x87.instruction_selector});
    put(image, 16, static_cast<uint32_t>(x87.data_pointer));
    put(image, 20, uint32_t{x87.data_selector});
  }
  for (unsigned i = 0; i < 8; ++i) {
    const fp::Float80& st = x87.registers[(x87.top() + i) & 7];
    put(image, at_st + 16 * i, st.significand);
    put(image, at_st + 16 * i + 8, uint64_t{st.sign_exponent});
  }
}

void read_x87(X87State& x87, bool wide, const uint8_t* image) {
  x87.control = static_cast<uint16_t>((get<uint16_t>(image, 0) & 0x1f3f) | 0x40);
  x87.status = get<uint16_t>(image, 2) & 0x7f7f;
  x87::summarize(x87);
  x87.valid = image[4];
  x87.opcode = get<uint16_t>(image, 6) & 0x7ff;
  x87.instruction_pointer = wide ? get<uint64_t>(image, 8) : get<uint32_t>(image, 8);
  x87.instruction_selector = wide ? 0 : get<uint16_t>(image, 12);
  x87.data_pointer = wide ? get<uint64_t>(image, 16) : get<uint32_t>(image, 16);
  x87.data_selector = wide ? 0 : get<uint16_t>(image, 20);
  for (unsigned i = 0; i < 8; ++i)
    x87.registers[(x87.top() + i) & 7] = {get<uint64_t>(image, at_st + 16 * i), get<uint16_t>(image, at_st + 16 * i + 8)};
}

void write_mxcsr(const CpuState& state, uint8_t* image) {
  put(image, at_mxcsr, state.mxcsr);
  put(image, at_mxcsr + 4, uint32_t{sse::mxcsr_mask});
}

// Outside 64-bit mode there are only eight registers, and the other eight keep what they have, in memory and in the processor.
unsigned xmm_count(const Processor& cpu) { return cpu.mode().code_bits == 64 ? 16 : 8; }

// ---- Guest memory

constexpr unsigned piece = 16;

[[nodiscard]] bool load_area(Processor& cpu, const Op& op, uint64_t linear, unsigned from, unsigned to, uint8_t* image) {
  for (unsigned at = from; at < to; at += piece) {
    Xmm cell;
    if (!cpu.load(op, linear + at, cell)) return false;
    std::memcpy(image + at, &cell, piece);
  }
  return true;
}

[[nodiscard]] bool store_area(Processor& cpu, const Op& op, uint64_t linear, unsigned from, unsigned to, const uint8_t* image) {
  for (unsigned at = from; at < to; at += piece) {
    Xmm cell;
    std::memcpy(&cell, image + at, piece);
    if (!cpu.store(op, linear + at, cell)) return false;
  }
  return true;
}

[[nodiscard]] bool probe_area(Processor& cpu, uint64_t linear, unsigned bytes) {
  for (uint64_t at = linear; at < linear + bytes; at = (at | (page_size - 1)) + 1)
    if (!cpu.mmu.probe_store(at, 1)) return false;
  return true;
}

[[nodiscard]] bool area_address(Processor& cpu, const Op& op, unsigned bytes, unsigned alignment, AccessKind kind,
                                uint64_t& linear) {
  if (!cpu.linear_address(op, bytes, kind, linear)) return false;
  return linear % alignment == 0 || cpu.fault.raise(GP_vector, 0);
}

bool wide_pointers(const Op& op) { return op.flags & Op::rex_w; }

}  // namespace

// ---- "FXSAVE", "FXRSTOR": these do not wait for pending x87 exceptions

bool fxsave(Processor& cpu, const Op& op) {
  if (cpu.state.cr0 & (cr0::EM | cr0::TS)) return cpu.fault.raise(NM_vector);
  uint64_t linear;
  if (!area_address(cpu, op, legacy_bytes, 16, AccessKind::write, linear)) return false;
  const unsigned end = at_xmm + 16 * xmm_count(cpu);
  uint8_t image[legacy_bytes] = {};
  write_x87(cpu.state.x87, wide_pointers(op), image);
  write_mxcsr(cpu.state, image);
  std::memcpy(image + at_xmm, cpu.state.xmm, end - at_xmm);
  return probe_area(cpu, linear, end) && store_area(cpu, op, linear, 0, end, image);
}

bool fxrstor(Processor& cpu, const Op& op) {
  if (cpu.state.cr0 & (cr0::EM | cr0::TS)) return cpu.fault.raise(NM_vector);
  uint64_t linear;
  if (!area_address(cpu, op, legacy_bytes, 16, AccessKind::read, linear)) return false;
  const unsigned end = at_xmm + 16 * xmm_count(cpu);
  uint8_t image[legacy_bytes];
  if (!load_area(cpu, op, linear, 0, end, image)) return false;
  auto mxcsr = get<uint32_t>(image, at_mxcsr);
  if (mxcsr & ~sse::mxcsr_mask) return cpu.fault.raise(GP_vector, 0);
  read_x87(cpu.state.x87, wide_pointers(op), image);
  cpu.state.mxcsr = mxcsr;
  std::memcpy(cpu.state.xmm, image + at_xmm, end - at_xmm);
  return true;
}

// ---- The XSAVE feature set

uint64_t in_use(const CpuState& state) {
  const X87State& x87 = state.x87;
  bool x87_initial = x87.control == 0x37f && x87.status == 0 && x87.valid == 0 && x87.opcode == 0 &&
                     x87.instruction_pointer == 0 && x87.instruction_selector == 0 && x87.data_pointer == 0 &&
                     x87.data_selector == 0;
  for (const fp::Float80& r : x87.registers) x87_initial &= r.significand == 0 && r.sign_exponent == 0;
  uint64_t any_xmm = 0;
  for (const Xmm& x : state.xmm) any_xmm |= x.q[0] | x.q[1];
  return (x87_initial ? 0 : xcr0::x87) | (any_xmm == 0 ? 0 : xcr0::sse) | (state.pkru == 0 ? 0 : xcr0::pkru);
}

unsigned standard_bytes(uint64_t components) {
  return components & xcr0::pkru ? pkru_offset + pkru_bytes : legacy_bytes + header_bytes;
}
unsigned compacted_bytes(uint64_t components) { return legacy_bytes + header_bytes + (components & xcr0::pkru ? pkru_bytes : 0); }

namespace {

// The header, after the legacy region: XSTATE_BV, XCOMP_BV, and 48 bytes that must be zero.
constexpr unsigned at_header = legacy_bytes, at_xstate_bv = at_header, at_xcomp_bv = at_header + 8;
constexpr uint64_t compacted_format = uint64_t{1} << 63;

constexpr uint64_t default_mxcsr = 0x1f80;

uint64_t requested(const Processor& cpu) { return (cpu.state.gpr[RDX] << 32) | static_cast<uint32_t>(cpu.state.gpr[RAX]); }

[[nodiscard]] bool xsave_enabled(Processor& cpu) {
  if (!(cpu.state.cr4 & cr4::OSXSAVE)) return cpu.fault.raise(UD_vector);
  return !(cpu.state.cr0 & cr0::TS) || cpu.fault.raise(NM_vector);
}

struct Saving {
  uint64_t components;  // those that are written
  bool with_mxcsr;
  uint64_t xstate_bv;
  uint64_t xcomp_bv;  // zero for the standard format, which leaves that field alone
};

[[nodiscard]] bool store_components(Processor& cpu, const Op& op, uint64_t linear, const Saving& what) {
  const CpuState& state = cpu.state;
  const unsigned xmm_end = at_xmm + 16 * xmm_count(cpu);
  const uint64_t pkru_at = linear + (what.xcomp_bv ? legacy_bytes + header_bytes : pkru_offset);
  uint8_t image[legacy_bytes] = {};
  write_x87(state.x87, wide_pointers(op), image);
  write_mxcsr(state, image);
  std::memcpy(image + at_xmm, state.xmm, xmm_end - at_xmm);

  if (!probe_area(cpu, linear, legacy_bytes + header_bytes)) return false;
  if (what.components & xcr0::pkru && !probe_area(cpu, pkru_at, pkru_bytes)) return false;
  // Bytes 16 to 23 belong to the x87, 24 to 31 are MXCSR.
  if (what.components & xcr0::x87) {
    if (!store_area(cpu, op, linear, 0, 16, image) || !cpu.store(op, linear + 16, get<uint64_t>(image, 16))) return false;
    if (!store_area(cpu, op, linear, at_st, at_xmm, image)) return false;
  }
  if (what.with_mxcsr && !cpu.store(op, linear + at_mxcsr, get<uint64_t>(image, at_mxcsr))) return false;
  if (what.components & xcr0::sse && !store_area(cpu, op, linear, at_xmm, xmm_end, image)) return false;
  if (what.components & xcr0::pkru && !cpu.store(op, pkru_at, uint64_t{state.pkru})) return false;
  if (what.xcomp_bv && !cpu.store(op, linear + at_xcomp_bv, what.xcomp_bv)) return false;
  return cpu.store(op, linear + at_xstate_bv, what.xstate_bv);
}

[[nodiscard]] bool save_standard(Processor& cpu, const Op& op, bool only_in_use) {
  if (!xsave_enabled(cpu)) return false;
  const uint64_t components = requested(cpu) & cpu.state.xcr0, active = components & in_use(cpu.state);
  uint64_t linear, old;
  if (!area_address(cpu, op, standard_bytes(components), 64, AccessKind::write, linear)) return false;
  if (!cpu.load(op, linear + at_xstate_bv, old)) return false;
  bool with_mxcsr = components & xcr0::sse;
  return store_components(cpu, op, linear, {only_in_use ? active : components, with_mxcsr, (old & ~components) | active, 0});
}

[[nodiscard]] bool save_compacted(Processor& cpu, const Op& op, uint64_t permitted) {
  if (!xsave_enabled(cpu)) return false;
  const uint64_t components = requested(cpu) & permitted;
  uint64_t active = components & in_use(cpu.state);
  if (cpu.state.mxcsr != default_mxcsr) active |= components & xcr0::sse;
  uint64_t linear;
  if (!area_address(cpu, op, compacted_bytes(components), 64, AccessKind::write, linear)) return false;
  bool with_mxcsr = active & xcr0::sse;
  return store_components(cpu, op, linear, {active, with_mxcsr, active, components | compacted_format});
}

// Loads the requested components, or puts those that the area leaves out into their initial configuration.
[[nodiscard]] bool restore(Processor& cpu, const Op& op, uint64_t permitted, bool must_be_compacted) {
  if (!xsave_enabled(cpu)) return false;
  const uint64_t components = requested(cpu) & permitted;
  uint64_t linear;
  if (!area_address(cpu, op, legacy_bytes + header_bytes, 64, AccessKind::read, linear)) return false;
  uint8_t area[legacy_bytes + header_bytes];
  if (!load_area(cpu, op, linear, at_header, at_header + header_bytes, area)) return false;
  const auto xstate_bv = get<uint64_t>(area, at_xstate_bv), xcomp_bv = get<uint64_t>(area, at_xcomp_bv);
  const bool compacted = xcomp_bv & compacted_format;
  uint64_t reserved = 0;
  for (unsigned at = 16; at < (compacted ? header_bytes : 24); at += 8) reserved |= get<uint64_t>(area, at_header + at);
  bool valid = reserved == 0;
  if (compacted)
    valid &= cpu.model.features.has(Feature::XSAVEC) && !(xcomp_bv & ~compacted_format & ~permitted) &&
             !(xstate_bv & ~xcomp_bv) && !(xstate_bv & compacted_format);
  else
    valid &= !must_be_compacted && xcomp_bv == 0 && !(xstate_bv & ~permitted);
  if (!valid) return cpu.fault.raise(GP_vector, 0);

  const uint64_t present = components & xstate_bv;
  const unsigned xmm_end = at_xmm + 16 * xmm_count(cpu);
  // The standard format takes MXCSR from memory whenever SSE is asked for; the compacted one treats it as part of SSE.
  const bool load_mxcsr = (compacted ? present : components) & xcr0::sse;
  if ((present & (xcr0::x87 | xcr0::sse)) || load_mxcsr) {
    if (!load_area(cpu, op, linear, 0, present & xcr0::sse ? xmm_end : at_xmm, area)) return false;
  }
  uint64_t pkru = 0;
  if (present & xcr0::pkru && !cpu.load(op, linear + (compacted ? legacy_bytes + header_bytes : pkru_offset), pkru)) return false;
  const uint32_t mxcsr = load_mxcsr ? get<uint32_t>(area, at_mxcsr) : static_cast<uint32_t>(default_mxcsr);
  if (mxcsr & ~sse::mxcsr_mask) return cpu.fault.raise(GP_vector, 0);

  CpuState& state = cpu.state;
  if (present & xcr0::x87)
    read_x87(state.x87, wide_pointers(op), area);
  else if (components & xcr0::x87)
    state.x87 = {};
  if (components & xcr0::sse) {
    state.mxcsr = mxcsr;
    if (present & xcr0::sse)
      std::memcpy(state.xmm, area + at_xmm, xmm_end - at_xmm);
    else
      std::memset(static_cast<void*>(state.xmm), 0, xmm_end - at_xmm);
  }
  if (components & xcr0::pkru && state.pkru != static_cast<uint32_t>(pkru)) {
    state.pkru = static_cast<uint32_t>(pkru);
    cpu.mmu.flush_user_data();
  }
  return true;
}

}  // namespace

bool xsave(Processor& cpu, const Op& op) { return save_standard(cpu, op, false); }
bool xsaveopt(Processor& cpu, const Op& op) { return save_standard(cpu, op, true); }
bool xsavec(Processor& cpu, const Op& op) { return save_compacted(cpu, op, cpu.state.xcr0); }
bool xsaves(Processor& cpu, const Op& op) {
  if (cpu.vmx.lacks(vmx::Control::secondary_xsaves)) return cpu.fault.raise(UD_vector);
  return save_compacted(cpu, op, cpu.state.xcr0 | cpu.state.msr.xss);
}
bool xrstor(Processor& cpu, const Op& op) { return restore(cpu, op, cpu.state.xcr0, false); }
bool xrstors(Processor& cpu, const Op& op) {
  if (cpu.vmx.lacks(vmx::Control::secondary_xsaves)) return cpu.fault.raise(UD_vector);
  return restore(cpu, op, cpu.state.xcr0 | cpu.state.msr.xss, true);
}

// ---- "RDPKRU", "WRPKRU"

bool read_pkru(Processor& cpu, const Op&) {
  CpuState& state = cpu.state;
  if (!(state.cr4 & cr4::PKE)) return cpu.fault.raise(UD_vector);
  if (static_cast<uint32_t>(state.gpr[RCX]) != 0) return cpu.fault.raise(GP_vector, 0);
  state.gpr[RAX] = state.pkru;
  state.gpr[RDX] = 0;
  return true;
}

bool write_pkru(Processor& cpu, const Op&) {
  CpuState& state = cpu.state;
  if (!(state.cr4 & cr4::PKE)) return cpu.fault.raise(UD_vector);
  if (static_cast<uint32_t>(state.gpr[RCX]) != 0 || static_cast<uint32_t>(state.gpr[RDX]) != 0)
    return cpu.fault.raise(GP_vector, 0);
  state.pkru = static_cast<uint32_t>(state.gpr[RAX]);
  cpu.mmu.flush_user_data();
  return true;
}

}  // namespace matryoshka::extended_state
