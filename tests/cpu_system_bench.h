// A processor with descriptor tables: a GDT, an IDT whose every vector leads to a HLT of its own, a TSS and inner stacks.
//
//   SystemBench bench(Mode::long64);
//   bench.to_user();
//   bench.execute("0f 0b");                       // ud2
//   CHECK(bench.vector() == 6);
//   CHECK(bench.frame(0) == CpuBench::code_at);   // RIP stands on top of the handler's stack
#pragma once

#include "tests/cpu_bench.h"

namespace matryoshka {

class SystemBench : public CpuBench {
 public:
  static constexpr uint64_t gdt_at = 0x20000, idt_at = 0x21000, ldt_at = 0x22000, tss_at = 0x23000, tss2_at = 0x24000,
                            tss3_at = 0x25000, handlers_at = 0x30000, inner_stack_at = 0x310000;
  // Selectors. A TSS takes two places in long mode.
  enum : uint16_t {
    code0 = 0x08,
    data0 = 0x10,
    code3 = 0x1b,
    data3 = 0x23,
    tss = 0x28,
    tss2 = 0x38,
    tss3 = 0x48,
    ldt = 0x58,
    conforming = 0x68,
    other_code = 0x70,
    test = 0x78,
    gate = 0x80,
    code16 = 0x90,
    data16 = 0x98,
    gdt_limit = 0xff
  };
  // Rights as VMX and Segment spell them: type, S, DPL, P in the low byte, AVL, L, D/B, G from bit 12 on.
  static constexpr uint32_t present = 0x80, flat32 = 0xc000, flat64 = 0xa000, ring3 = 0x60, code_type = 0x9b, data_type = 0x93;

  explicit SystemBench(Mode mode = Mode::long64) : CpuBench(mode), mode_(mode) {
    CpuState& s = cpu.state;
    const uint32_t code_size = is_long() ? flat64 : flat32;
    descriptor(code0, 0, 0xfffff, code_type | code_size);
    descriptor(data0, 0, 0xfffff, data_type | flat32);
    descriptor(code3, 0, 0xfffff, code_type | ring3 | code_size);
    descriptor(data3, 0, 0xfffff, data_type | ring3 | flat32);
    descriptor(conforming, 0, 0xfffff, 0x9f | code_size);
    descriptor(other_code, 0, 0xfffff, code_type | flat32);
    descriptor(code16, 0, 0xffff, code_type);
    descriptor(data16, 0, 0xffff, data_type);
    descriptor(ldt, ldt_at, 0xff, 0x82);
    descriptor(tss, tss_at, 0x2fff, 0x89);
    descriptor(tss2, tss2_at, 0x67, 0x89);
    descriptor(tss3, tss3_at, 0x67, 0x89);
    s.gdtr = {gdt_limit, gdt_at};
    if (mode == Mode::real16) {
      for (unsigned v = 0; v < 256; ++v) put(v * 4, static_cast<uint32_t>(v * 16 | handlers_at >> 4 << 16));
      s.idtr = {0x3ff, 0};
    } else {
      for (unsigned v = 0; v < 256; ++v) set_gate(v, code0, handler(v), 0x8e);
      s.idtr = {static_cast<uint16_t>(is_long() ? 0xfff : 0x7ff), idt_at};
      s.tr = {tss, 0x8b, 0x2fff, tss_at};
      s.ldtr = {0, Segment::unusable_bit, 0, 0};
    }
    for (unsigned v = 0; v < 256; ++v) put(handlers_at + 16 * v, uint8_t{0xf4});  // hlt
    if (is_long()) {
      put(tss_at + 4, inner_stack_at);
    } else {
      put(tss_at + 4, static_cast<uint32_t>(inner_stack_at));
      put(tss_at + 8, uint16_t{data0});
      put(tss_at + 0x66, uint16_t{0x2000});
    }
    cpu.forget_caches();
  }

  bool is_long() const { return mode_ == Mode::long64; }

  void descriptor(uint16_t selector, uint32_t base, uint32_t limit, uint32_t rights) {
    put_descriptor(gdt_at + (selector & 0xfff8), base, limit, rights);
  }
  void put_descriptor(uint64_t at, uint32_t base, uint32_t limit, uint32_t rights) {
    put(at, (uint64_t{limit} & 0xffff) | (uint64_t{base} & 0xffffff) << 16 | uint64_t{rights & 0xff} << 40 |
                (uint64_t{limit} >> 16 & 15) << 48 | uint64_t{rights >> 12 & 15} << 52 | uint64_t{base >> 24} << 56);
  }
  uint8_t rights_byte(uint16_t selector) { return get<uint8_t>(gdt_at + (selector & 0xfff8) + 5); }
  // A gate's eight bytes, with `rights` its type, DPL and P; `count` is the parameter count or the IST.
  static uint64_t gate_bytes(uint16_t selector, uint64_t offset, uint8_t rights, unsigned count = 0) {
    return (offset & 0xffff) | uint64_t{selector} << 16 | uint64_t{count} << 32 | uint64_t{rights} << 40 |
           (offset >> 16 & 0xffff) << 48;
  }
  void set_gate(unsigned vector, uint16_t selector, uint64_t offset, uint8_t rights, unsigned ist = 0) {
    if (!is_long()) return put(idt_at + 8 * vector, gate_bytes(selector, offset, rights));
    put(idt_at + 16 * vector, gate_bytes(selector, offset, rights, ist));
    put(idt_at + 16 * vector + 8, offset >> 32);
  }
  void set_call_gate(uint16_t selector, uint16_t target, uint64_t offset, uint8_t rights, unsigned count = 0) {
    put(gdt_at + (selector & 0xfff8), gate_bytes(target, offset, rights, count));
    if (is_long()) put(gdt_at + (selector & 0xfff8) + 8, offset >> 32);
  }

  static constexpr uint64_t handler(unsigned vector) { return handlers_at + 16 * vector; }
  // Which handler execution stands at, or -1.
  int vector() const {
    const uint64_t at = code_linear() - handlers_at;
    return at < 4096 && at % 16 <= 1 ? static_cast<int>(at / 16) : -1;
  }

  void to_user(unsigned iopl = 0) {
    CpuState& s = cpu.state;
    const uint32_t code_size = is_long() ? flat64 : flat32;
    s.segment[CS] = {code3, code_type | ring3 | code_size, 0xffffffff, 0};
    for (unsigned name : {ES, SS, DS, FS, GS}) s.segment[name] = {data3, data_type | ring3 | flat32, 0xffffffff, 0};
    s.system_flags = (s.system_flags & ~rflags::IOPL) | iopl << 12;
    cpu.derive();
  }
  void to_virtual_8086(uint16_t cs, uint16_t ip, unsigned iopl = 3) {
    CpuState& s = cpu.state;
    s.system_flags = rflags::always_one | rflags::VM | rflags::IF | iopl << 12;
    for (Segment& g : s.segment) g = {0x2000, 0xf3, 0xffff, 0x20000};
    s.segment[CS] = {cs, 0xf3, 0xffff, uint64_t{cs} << 4};
    s.segment[SS] = {0x4000, 0xf3, 0xffff, 0x40000};
    s.gpr[RSP] = 0x1000;
    s.rip = ip;
    cpu.derive();
  }

  uint64_t linear_stack() const {
    const Segment& ss = cpu.state.segment[SS];
    return is_long() ? cpu.state.gpr[RSP] : ss.base + (ss.big() ? cpu.state.gpr[RSP] : cpu.state.gpr[RSP] & 0xffff);
  }
  // The n-th value on the stack, in the width that an interrupt of this mode pushes.
  uint64_t frame(unsigned n) {
    switch (mode_) {
      case Mode::long64: return get<uint64_t>(linear_stack() + 8 * n);
      case Mode::protected32: return get<uint32_t>(linear_stack() + 4 * n);
      default: return get<uint16_t>(linear_stack() + 2 * n);
    }
  }
  void push32(uint32_t value) {
    cpu.state.gpr[RSP] -= 4;
    put(linear_stack(), value);
  }
  void push64(uint64_t value) {
    cpu.state.gpr[RSP] -= 8;
    put(linear_stack(), value);
  }
  void push16(uint16_t value) {
    cpu.state.gpr[RSP] -= 2;
    put(linear_stack(), value);
  }

 private:
  Mode mode_;
};

using Mode = CpuBench::Mode;

}  // namespace matryoshka
