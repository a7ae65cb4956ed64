// Segment registers: what they permit, how they are loaded, and the instructions that ask about descriptors.
#include "cpu/system/segments.h"

#include <initializer_list>

#include "cpu/system/system.h"

namespace matryoshka {

using namespace system;

// "Limit Checking" and "Type Checking". Real-address mode checks limits alone: attributes that protected mode has left in a
// segment register ("unreal mode") go on to count for the limit only.
bool Processor::segment_address(unsigned name, uint64_t offset, unsigned size, AccessKind kind, uint64_t& linear) {
  const Segment& s = state.segment[name];
  if (mode_.code_bits == 64) {
    linear = offset + segment_base_[name];
    return true;
  }
  const uint8_t vector = name == SS ? SS_vector : GP_vector;
  if (protects(state)) {
    if (s.unusable()) return fault.raise(vector, 0);
    // Nothing but CLFLUSH names its operand by `fetch`: an execute-only segment will do.
    if (kind == AccessKind::write ? !s.writable() : kind == AccessKind::read && !s.readable()) return fault.raise(GP_vector, 0);
  }
  if (!within_limit(s, offset, size)) return fault.raise(vector, 0);
  linear = static_cast<uint32_t>(s.base + offset);
  return true;
}

bool Processor::read_descriptor(uint16_t selector, Descriptor& descriptor) {
  return fetch_descriptor(*this, selector, descriptor);
}

// "MOV: Move", "Loading a segment register while in protected mode".
bool Processor::load_segment(unsigned name, uint16_t selector) {
  if (!protects(state)) {
    load_real_segment(*this, name, selector);
    derive();
    return true;
  }
  const unsigned cpl = state.cpl(), rpl = rpl_of(selector);
  Segment loaded;
  if (name == SS) {
    if (is_null(selector)) {
      if (!state.code64() || cpl == 3 || rpl != cpl) return fault.raise(GP_vector, 0);
      loaded = null_segment(selector, cpl);
    } else if (!check_stack_segment(*this, selector, cpl, {}, loaded)) {
      return false;
    }
  } else if (is_null(selector)) {
    loaded = null_segment(selector);
  } else {
    Descriptor d;
    if (!fetch_descriptor(*this, selector, d)) return false;
    if (!is_readable(d)) return fault.raise(GP_vector, selector & 0xfffc);
    if (!is_conforming(d) && (rpl > d.dpl() || cpl > d.dpl())) return fault.raise(GP_vector, selector & 0xfffc);
    if (!d.present()) return fault.raise(NP_vector, selector & 0xfffc);
    if (!mark_accessed(*this, selector, d)) return false;
    loaded = d.load(selector);
  }
  state.segment[name] = loaded;
  derive();
  return true;
}

namespace system {

// ---- Descriptors

bool locate_descriptor(const Processor& cpu, uint16_t selector, unsigned bytes, uint64_t& address) {
  const CpuState& s = cpu.state;
  const uint64_t offset = selector & 0xfff8;
  if (selector & 4) {
    address = s.ldtr.base + offset;
    return !s.ldtr.unusable() && offset + bytes - 1 <= s.ldtr.limit;
  }
  address = s.gdtr.base + offset;
  return offset + bytes - 1 <= s.gdtr.limit;
}

bool fetch_descriptor(Processor& cpu, uint16_t selector, Descriptor& d, Blame blame) {
  uint64_t address;
  if (!locate_descriptor(cpu, selector, 8, address)) return blame(cpu, selector);
  d.high = 0;
  return cpu.mmu.system_load(address, d.low);
}

// "System Descriptors" in IA-32e mode: the upper half's type field must be zero.
bool fetch_system_descriptor(Processor& cpu, uint16_t selector, Descriptor& d, Blame blame) {
  if (!cpu.state.long_mode()) return fetch_descriptor(cpu, selector, d, blame);
  uint64_t address;
  if (!locate_descriptor(cpu, selector, 16, address)) return blame(cpu, selector);
  if (!cpu.mmu.system_load(address, d.low) || !cpu.mmu.system_load(address + 8, d.high)) return false;
  return (d.high >> 40 & 31) == 0 || blame(cpu, selector);
}

namespace {

// The byte of a descriptor that holds its type, DPL and P.
bool change_type(Processor& cpu, uint16_t selector, uint8_t set, uint8_t clear) {
  uint64_t address;
  uint8_t byte;
  if (!locate_descriptor(cpu, selector, 8, address) || !cpu.mmu.system_load(address + 5, byte)) return false;
  return cpu.mmu.system_store(address + 5, static_cast<uint8_t>((byte & ~clear) | set));
}

}  // namespace

bool mark_accessed(Processor& cpu, uint16_t selector, Descriptor& d) {
  if (d.type() & descriptor_type::accessed) return true;
  if (!change_type(cpu, selector, descriptor_type::accessed, 0)) return false;
  d.low |= uint64_t{descriptor_type::accessed} << 40;
  return true;
}

bool set_busy(Processor& cpu, uint16_t selector, bool busy) {
  return busy ? change_type(cpu, selector, descriptor_type::busy, 0) : change_type(cpu, selector, 0, descriptor_type::busy);
}

// ---- Segments

// "Real-Address Mode Operation": a load changes the base only. A segment that a null selector has made unusable gets its
// limit and rights back.
Segment real_segment(const Segment& old, uint16_t selector) {
  Segment s = old.unusable() ? Segment{0, 0x93, 0xffff, 0} : old;
  s.selector = selector;
  s.base = uint64_t{selector} << 4;
  return s;
}

Segment virtual_8086_segment(uint16_t selector) { return {selector, 0xf3, 0xffff, uint64_t{selector} << 4}; }

// A limit of 4 GiB - 1 never ends an access, so that flat segments mean the same where nothing is checked ("Limit Checking"
// leaves it to the implementation).
bool within_limit(const Segment& s, uint64_t offset, unsigned size) {
  const uint64_t last = offset + size - 1;
  if (s.is_code_or_data() && s.expand_down()) return offset > s.limit && last <= (s.big() ? 0xffffffff : 0xffff);
  return last <= s.limit || s.limit == 0xffffffff;
}

bool check_stack_segment(Processor& cpu, uint16_t selector, unsigned cpl, Blame blame, Segment& loaded) {
  Descriptor d;
  if (!fetch_descriptor(cpu, selector, d, blame)) return false;
  if (rpl_of(selector) != cpl || !is_writable_data(d) || d.dpl() != cpl) return blame(cpu, selector);
  if (!d.present()) return blame.refuse(cpu, SS_vector, selector);
  if (!mark_accessed(cpu, selector, d)) return false;
  loaded = d.load(selector);
  return true;
}

// ---- MOV, PUSH, POP

bool mov_from_segment(Processor& cpu, const Op& op) {
  const unsigned name = op.reg & 7;
  if (name >= segment_count) return cpu.fault.raise(UD_vector);
  const uint16_t selector = cpu.state.segment[name].selector;
  if (op.is_memory()) return cpu.store_operand(op, selector);
  cpu.write_gpr(op.rm, op.operand_bits(), selector);
  return true;
}

bool mov_to_segment(Processor& cpu, const Op& op) {
  const unsigned name = op.reg & 7;
  if (name >= segment_count || name == CS) return cpu.fault.raise(UD_vector);
  uint16_t selector;
  if (!op.is_memory())
    selector = static_cast<uint16_t>(cpu.read_gpr(op.rm, 16));
  else if (!cpu.load_operand(op, selector))
    return false;
  if (!cpu.load_segment(name, selector)) return false;
  if (name == SS) cpu.state.mov_ss_shadow = true;
  return true;
}

// A 32-bit push of a segment register writes only its low 16 bits, as all recent processors do.
template <SegmentName S>
bool push_segment(Processor& cpu, const Op& op) {
  const uint16_t selector = cpu.state.segment[S].selector;
  const unsigned bytes = op.operand_bytes();
  if (bytes != 4) return cpu.push(op, selector, bytes);
  const uint64_t top = (cpu.state.gpr[RSP] - bytes) & op.stack_mask();
  uint64_t linear;
  if (!cpu.stack_address(top, 2, AccessKind::write, linear)) return false;
  if (!cpu.store(op, linear, selector)) return cpu.stack_fault();
  cpu.set_stack_pointer(op, top);
  return true;
}
template bool push_segment<ES>(Processor&, const Op&);
template bool push_segment<CS>(Processor&, const Op&);
template bool push_segment<SS>(Processor&, const Op&);
template bool push_segment<DS>(Processor&, const Op&);
template bool push_segment<FS>(Processor&, const Op&);
template bool push_segment<GS>(Processor&, const Op&);

template <SegmentName S>
bool pop_segment(Processor& cpu, const Op& op) {
  uint64_t selector;
  if (!cpu.peek_stack(op, 0, selector, op.operand_bytes() == 4 ? 2 : op.operand_bytes())) return false;
  // POP SS moves the pointer of the stack it came from, whose size may differ from the new one's.
  if (!cpu.load_segment(S, static_cast<uint16_t>(selector))) return false;
  cpu.move_stack(op, op.operand_bytes());
  if (S == SS) cpu.state.mov_ss_shadow = true;
  return true;
}
template bool pop_segment<ES>(Processor&, const Op&);
template bool pop_segment<SS>(Processor&, const Op&);
template bool pop_segment<DS>(Processor&, const Op&);
template bool pop_segment<FS>(Processor&, const Op&);
template bool pop_segment<GS>(Processor&, const Op&);

template <SegmentName S>
bool load_far_pointer(Processor& cpu, const Op& op) {
  const unsigned bytes = op.operand_bytes();
  uint64_t linear, offset;
  uint16_t selector;
  if (!cpu.linear_address(op, bytes + 2, AccessKind::read, linear)) return false;
  if (!cpu.load_sized(op, linear, offset, bytes) || !cpu.load(op, linear + bytes, selector)) return false;
  if (!cpu.load_segment(S, selector)) return false;
  cpu.write_gpr(op.reg, op.operand_bits(), offset);
  return true;
}
template bool load_far_pointer<ES>(Processor&, const Op&);
template bool load_far_pointer<SS>(Processor&, const Op&);
template bool load_far_pointer<DS>(Processor&, const Op&);
template bool load_far_pointer<FS>(Processor&, const Op&);
template bool load_far_pointer<GS>(Processor&, const Op&);

// ---- LAR, LSL, VERR, VERW, ARPL

namespace {

void set_zf(Processor& cpu, bool on) { cpu.state.flags.set_bits((cpu.state.flags.bits() & ~rflags::ZF) | (on ? rflags::ZF : 0)); }

bool read_selector(Processor& cpu, const Op& op, uint16_t& selector) {
  if (op.is_memory()) return cpu.load_operand(op, selector);
  selector = static_cast<uint16_t>(cpu.read_gpr(op.rm, 16));
  return true;
}

// The descriptor that the instruction asks about. `found` is false, and no exception raised, where the selector is null,
// outside its table or out of reach at this privilege level. The function's own value says whether memory could be read.
bool inquire(Processor& cpu, uint16_t selector, Descriptor& d, bool& found) {
  uint64_t address;
  found = false;
  if (is_null(selector) || !locate_descriptor(cpu, selector, 8, address)) return true;
  if (!cpu.mmu.system_load(address, d.low)) return false;
  const bool conforming = is_code(d) && is_conforming(d);
  found = conforming || (cpu.cpl() <= d.dpl() && rpl_of(selector) <= d.dpl());
  return true;
}

constexpr uint32_t set_of(std::initializer_list<unsigned> types) {
  uint32_t set = 0;
  for (unsigned t : types) set |= 1u << t;
  return set;
}

}  // namespace

bool lar(Processor& cpu, const Op& op) {
  using namespace descriptor_type;
  static constexpr uint32_t legacy = set_of({tss16, ldt, tss16_busy, call_gate16, task_gate, tss32, tss32_busy, call_gate32}),
                            long_mode = set_of({ldt, tss32, tss32_busy, call_gate32});
  uint16_t selector;
  Descriptor d;
  bool found;
  if (!read_selector(cpu, op, selector) || !inquire(cpu, selector, d, found)) return false;
  found = found && (d.is_code_or_data() || (cpu.state.long_mode() ? long_mode : legacy) >> d.type() & 1);
  if (found) cpu.write_gpr(op.reg, op.operand_bits(), d.low >> 32 & (op.operand_bits() == 16 ? 0xff00 : 0xffff00));
  set_zf(cpu, found);
  return true;
}

bool lsl(Processor& cpu, const Op& op) {
  using namespace descriptor_type;
  static constexpr uint32_t legacy = set_of({tss16, ldt, tss16_busy, tss32, tss32_busy}),
                            long_mode = set_of({ldt, tss32, tss32_busy});
  uint16_t selector;
  Descriptor d;
  bool found;
  if (!read_selector(cpu, op, selector) || !inquire(cpu, selector, d, found)) return false;
  found = found && (d.is_code_or_data() || (cpu.state.long_mode() ? long_mode : legacy) >> d.type() & 1);
  if (found) cpu.write_gpr(op.reg, op.operand_bits(), d.limit());
  set_zf(cpu, found);
  return true;
}

bool verr(Processor& cpu, const Op& op) {
  uint16_t selector;
  Descriptor d;
  bool found;
  if (!read_selector(cpu, op, selector) || !inquire(cpu, selector, d, found)) return false;
  set_zf(cpu, found && is_readable(d));
  return true;
}

bool verw(Processor& cpu, const Op& op) {
  uint16_t selector;
  Descriptor d;
  bool found;
  if (!read_selector(cpu, op, selector) || !inquire(cpu, selector, d, found)) return false;
  set_zf(cpu, found && is_writable_data(d));
  return true;
}

bool arpl(Processor& cpu, const Op& op) {
  uint64_t selector;
  if (!cpu.read_rm(op, selector)) return false;
  const auto rpl = static_cast<unsigned>(cpu.read_gpr(op.reg, 16) & 3);
  const bool raise = (selector & 3) < rpl;
  if (raise && !cpu.write_rm(op, (selector & ~uint64_t{3}) | rpl)) return false;
  set_zf(cpu, raise);
  return true;
}

}  // namespace system
}  // namespace matryoshka
