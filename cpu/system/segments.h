// Selectors, descriptors and segment registers, as the files of this folder share them.
//
// A check that fails names its vector and the selector, as the manual's "#GP(selector)". During the delivery of an event that
// no instruction asked for, error codes have bit 0 (EXT) set; during a task switch and when a stack comes from a TSS, #TS stands
// in the place of #GP. Both travel in a Blame.
#pragma once

#include <cstdint>

#include "cpu/processor.h"

namespace matryoshka::system {

// "System-Segment and Gate-Descriptor Types"
namespace descriptor_type {
enum : unsigned {
  tss16 = 1,
  ldt = 2,
  tss16_busy = 3,
  call_gate16 = 4,
  task_gate = 5,
  interrupt_gate16 = 6,
  trap_gate16 = 7,
  tss32 = 9,
  tss32_busy = 11,
  call_gate32 = 12,
  interrupt_gate32 = 14,
  trap_gate32 = 15,
  busy = 2,
  accessed = 1
};
}

constexpr unsigned rpl_of(uint16_t selector) { return selector & 3; }
constexpr bool is_null(uint16_t selector) { return (selector & 0xfffc) == 0; }
constexpr uint16_t with_rpl(uint16_t selector, unsigned rpl) { return static_cast<uint16_t>((selector & 0xfffc) | rpl); }

struct Blame {
  uint8_t vector = GP_vector;
  uint32_t external = 0;  // EXT

  bool operator()(Processor& cpu, uint16_t selector) const { return refuse(cpu, vector, selector); }
  // The same event, another vector: #NP and #SS for what is not present.
  bool refuse(Processor& cpu, uint8_t other, uint16_t selector) const {
    return cpu.fault.raise(other, (selector & 0xfffc) | external);
  }
};

// Where the descriptor of a selector lies; false if that is outside its table.
bool locate_descriptor(const Processor& cpu, uint16_t selector, unsigned bytes, uint64_t& address);
// The first eight bytes of a descriptor.
[[nodiscard]] bool fetch_descriptor(Processor& cpu, uint16_t selector, Descriptor& d, Blame blame = {});
// A system descriptor, all of it: sixteen bytes in long mode.
[[nodiscard]] bool fetch_system_descriptor(Processor& cpu, uint16_t selector, Descriptor& d, Blame blame = {});
// Sets the accessed bit of a code or data descriptor, in memory and in `d`.
[[nodiscard]] bool mark_accessed(Processor& cpu, uint16_t selector, Descriptor& d);
// Changes the busy bit of a TSS descriptor in memory.
[[nodiscard]] bool set_busy(Processor& cpu, uint16_t selector, bool busy);

inline bool is_code(const Descriptor& d) { return d.is_code_or_data() && d.type() & 8; }
inline bool is_conforming(const Descriptor& d) { return (d.type() & 12) == 12; }
inline bool is_writable_data(const Descriptor& d) { return d.is_code_or_data() && (d.type() & 10) == 2; }
inline bool is_readable(const Descriptor& d) { return d.is_code_or_data() && (d.type() & 10) != 8; }
inline bool is_long_code(const Descriptor& d) { return d.low >> 53 & 1; }
inline bool is_default_big(const Descriptor& d) { return d.low >> 54 & 1; }

// A segment as real-address or virtual-8086 mode loads it.
Segment real_segment(const Segment& old, uint16_t selector);
Segment virtual_8086_segment(uint16_t selector);
// A null selector in protected mode. For SS, `dpl` keeps the privilege level.
constexpr Segment null_segment(uint16_t selector, unsigned dpl = 0) { return {selector, Segment::unusable_bit | dpl << 5, 0, 0}; }
inline void load_real_segment(Processor& cpu, unsigned name, uint16_t selector) {
  Segment& s = cpu.state.segment[name];
  s = cpu.state.virtual_8086() ? virtual_8086_segment(selector) : real_segment(s, selector);
}

// Whether `size` bytes at `offset` lie within the segment's limit.
bool within_limit(const Segment& s, uint64_t offset, unsigned size);

// The rules for SS at privilege level `cpl`, as far as they are the same in MOV, POP, far RET, IRET and stack switches. On
// success the accessed bit is set and `loaded` is what SS will be.
[[nodiscard]] bool check_stack_segment(Processor& cpu, uint16_t selector, unsigned cpl, Blame blame, Segment& loaded);

// Outside real and virtual-8086 mode: protected and long mode.
inline bool protects(const CpuState& state) { return state.protected_mode() && !state.virtual_8086(); }

}  // namespace matryoshka::system
