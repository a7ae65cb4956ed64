// What far transfers, event delivery and fast calls have in common.
#pragma once

#include "cpu/system/segments.h"

namespace matryoshka::system {

// The stack that a TSS holds for an inner privilege level: "Stack Switching" and "Stack Switching in IA-32e Mode". Errors are
// #TS, with EXT where `external` says so.
struct InnerStack {
  Segment segment;
  unsigned bits;
  uint64_t pointer;
};
[[nodiscard]] bool inner_stack(Processor& cpu, unsigned level, uint32_t external, InnerStack& stack);
// An eight-byte field of the 64-bit TSS: RSP0 to RSP2, IST1 to IST7.
[[nodiscard]] bool read_tss64(Processor& cpu, unsigned offset, uint32_t external, uint64_t& value);

// Whether execution may go on at `offset` of this code segment: canonical or within the limit, else #GP(EXT).
[[nodiscard]] bool check_target(Processor& cpu, const Descriptor& code, uint64_t offset, uint32_t external = 0);

// What SS and RSP become on the way to an outer level, or back to the same one.
[[nodiscard]] bool check_return_stack(Processor& cpu, uint16_t selector, unsigned level, const Descriptor& code, Segment& loaded);

inline unsigned stack_bits(const CpuState& state, const Descriptor& code, const Segment& stack) {
  return state.long_mode() && is_long_code(code) ? 64 : stack.big() ? 32 : 16;
}

inline void load_code_segment(Processor& cpu, uint16_t selector, const Descriptor& code, unsigned cpl) {
  cpu.state.segment[CS] = code.load(with_rpl(selector, cpl));
}

// RFLAGS with the bits in `changed` taken from `image`.
inline uint64_t merged_flags(const CpuState& state, uint64_t image, uint64_t changed) {
  return (state.rflags() & ~changed) | (image & changed);
}

}  // namespace matryoshka::system
