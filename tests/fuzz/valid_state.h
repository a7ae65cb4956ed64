// What holds of a processor's state between two instructions, whatever has run.
#pragma once

#include "cpu/state/state.h"
#include "tests/fuzz/fuzz.h"

namespace matryoshka::fuzz {

inline void expect_valid(const CpuState& s) {
  const auto sign = static_cast<int64_t>(s.rip) >> (s.cr4 & cr4::LA57 ? 56 : 47);
  if (s.code64())
    expect(sign == 0 || sign == -1, "RIP is canonical");
  else
    expect(s.rip >> 32 == 0, "RIP has 32 bits outside 64-bit mode");
  expect((s.rflags() & ~rflags::all) == 0 || (s.rflags() & ~(rflags::all | rflags::always_one)) == 0,
         "RFLAGS has no reserved bits");
  expect(s.rflags() & rflags::always_one, "bit 1 of RFLAGS is one");
  expect(!(s.cr0 & cr0::PG) || s.cr0 & cr0::PE, "paging needs protected mode");
  expect(!(s.cr0 & cr0::NW) || s.cr0 & cr0::CD, "CR0.NW needs CR0.CD");
  expect(s.cr0 & cr0::ET && s.cr0 >> 32 == 0, "CR0.ET is one and the upper half zero");
  expect(bool(s.msr.efer & efer::LMA) == (s.msr.efer & efer::LME && s.cr0 & cr0::PG), "EFER.LMA is LME and paging");
  expect(!s.long_mode() || s.cr4 & cr4::PAE, "long mode has PAE");
  expect(!s.virtual_8086() || (s.protected_mode() && !s.long_mode()), "virtual-8086 mode is a protected mode");
  expect(!s.virtual_8086() || s.cpl() == 3, "virtual-8086 mode runs at level 3");
  expect((s.mxcsr & 0xffff0000) == 0, "MXCSR has no reserved bits");
  expect((s.dr7 & dr7::always_one) == dr7::always_one, "bit 10 of DR7 is one");
  expect(s.xcr0 & xcr0::x87, "XCR0 always has the x87");
  expect(s.gpr[CpuState::slot_zero] == 0, "the slot for no register is zero");
}

}  // namespace matryoshka::fuzz
