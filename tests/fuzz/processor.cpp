// Code in ring 0 with page tables, descriptor tables and segments of its own making, in a small machine of RAM, ROM and one
// device. It must end in a valid state, which can be saved and loaded, and which is the same whether the instructions ran
// in small steps or at a stretch.
#include "tests/fuzz/small_machine.h"

namespace matryoshka::fuzz {

namespace {

// What the input makes of it.
void damage(SmallMachine& m, Input& input) {
  CpuState& s = m.cpu().state;
  for (unsigned left = input.take() % 32; left > 0; --left) {
    switch (input.take() % 10) {
      case 0: {  // an entry of some table of pages
        const uint64_t at = tables_at + (input.take<uint16_t>() & 0x5ff8);
        m.put(at, place(input) | input.take<uint16_t>() % 0x1000 | uint64_t{input.take()} << 56);
        break;
      }
      case 1:  // an entry of a descriptor table
        m.put((input.take() & 1 ? gdt_at : ldt_at) + input.take() % 32 * 8u, input.take<uint64_t>());
        break;
      case 2: m.put(idt_at + input.take<uint16_t>() % page_size, input.take<uint64_t>()); break;
      case 3: m.put(tss_at + input.take<uint16_t>() % 0x400, input.take<uint32_t>()); break;
      case 4: s.gdtr = {input.take<uint16_t>(), place(input)}; break;
      case 5: s.idtr = {input.take<uint16_t>(), place(input)}; break;
      case 6: s.gpr[input.take() % 16] = place(input); break;
      case 7:
        if (s.paging()) s.cr3 = place(input) & 0x000ffffffffff018;
        break;
      case 8: {  // bits that a guest may have set
        constexpr uint64_t free = cr4::TSD | cr4::DE | cr4::PSE | cr4::PGE | cr4::VME | cr4::PVI | cr4::UMIP | cr4::FSGSBASE |
                                  cr4::OSXSAVE | cr4::SMEP | cr4::SMAP | cr4::PKE;
        s.cr4 ^= input.take<uint32_t>() & free;
        s.cr0 ^= input.take<uint32_t>() & (cr0::WP | cr0::AM | cr0::TS | cr0::EM | cr0::MP | cr0::NE);
        break;
      }
      case 9: {
        s.set_rflags(input.take<uint32_t>() & rflags::all & ~rflags::VM);
        s.dr7 = input.take<uint32_t>() & ~uint64_t{0xd800};
        s.dr7 |= dr7::always_one;
        s.dr[input.take() % 4] = place(input);
        break;
      }
    }
  }
}

void set_up(SmallMachine& m, Input input) {
  m.start_again();
  const uint8_t head = input.take();
  build(m, static_cast<Mode>(head & 7));
  damage(m, input);
  CpuState& s = m.cpu().state;
  // At the end of the page, so that the code goes on in the next one.
  if (head & 8) s.rip += 0xff0;
  if (head & 16 && (head & 7) >= 1) {
    // Level 3 with the selectors for it.
    for (Segment& segment : s.segment) segment.selector = 0x23, segment.rights |= 0x60;
    s.segment[CS].selector = 0x1b;
  }
  // Behind the input's bytes stands a jump to itself.
  std::vector<uint8_t> code(0x1100);
  for (size_t i = 0; i < code.size(); ++i) code[i] = i % 2 ? 0xfe : 0xeb;
  const ByteSpan rest = input.bytes(code.size());
  std::copy(rest.begin(), rest.end(), code.begin());
  (void)m.memory().write(s.rip, code.data(), code.size());
  m.cpu().forget_caches();
}

}  // namespace

void processor(Input input) {
  static SmallMachine at_a_stretch, in_steps;
  constexpr uint64_t ticks = 150;
  for (SmallMachine* m : {&at_a_stretch, &in_steps}) set_up(*m, input);
  at_a_stretch.run(ticks, ticks);
  expect_valid(at_a_stretch.cpu().state);
  const std::vector<uint8_t> end = at_a_stretch.save();

  constexpr uint64_t steps[] = {1, 2, 3, 7};
  in_steps.run(ticks, steps[input.take() >> 5 & 3]);
  expect(in_steps.save() == end && in_steps.same_memory(at_a_stretch),
         "instructions in small steps do what they do at a stretch");

  expect(in_steps.load(end), "a state that was reached can be loaded");
  expect(in_steps.save() == end, "what was loaded is what was saved");
}

}  // namespace matryoshka::fuzz
