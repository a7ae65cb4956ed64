// "Decimal Arithmetic Instructions". OF is undefined after DAA and DAS, all but AF and CF after AAA and AAS.
#include <bit>

#include "cpu/ops/integer.h"
#include "cpu/processor.h"

namespace matryoshka::integer {

namespace {

using namespace rflags;

uint64_t result_flags(uint8_t al) { return (al == 0 ? ZF : 0) | (al & 0x80 ? SF : 0) | (std::popcount(al) & 1 ? 0 : PF); }

void finish(Processor& cpu, uint8_t al, bool carry, bool adjust) {
  cpu.gpr_at<uint8_t>(RAX * 8) = al;
  cpu.state.flags.set_bits(result_flags(al) | (carry ? CF : 0) | (adjust ? AF : 0));
}

template <int Sign>
bool adjust_packed(Processor& cpu) {
  uint8_t old = cpu.gpr_at<uint8_t>(RAX * 8), al = old;
  bool old_carry = cpu.state.flags.cf(), carry = false, adjust = false;
  if ((old & 15) > 9 || cpu.state.flags.af()) {
    al = static_cast<uint8_t>(al + Sign * 6);
    carry = old_carry || (Sign > 0 ? old > 0xf9 : old < 6);
    adjust = true;
  }
  if (old > 0x99 || old_carry) {
    al = static_cast<uint8_t>(al + Sign * 0x60);
    carry = true;
  }
  finish(cpu, al, carry, adjust);
  return true;
}

template <int Sign>
bool adjust_unpacked(Processor& cpu) {
  auto& ax = cpu.gpr_at<uint16_t>(RAX * 8);
  bool adjust = (ax & 15) > 9 || cpu.state.flags.af();
  if (adjust) ax = static_cast<uint16_t>(ax + Sign * 0x106);
  ax &= 0xff0f;
  cpu.state.flags.set_bits(result_flags(static_cast<uint8_t>(ax)) | (adjust ? CF | AF : 0));
  return true;
}

}  // namespace

bool daa(Processor& cpu, const Op&) { return adjust_packed<1>(cpu); }
bool das(Processor& cpu, const Op&) { return adjust_packed<-1>(cpu); }
bool aaa(Processor& cpu, const Op&) { return adjust_unpacked<1>(cpu); }
bool aas(Processor& cpu, const Op&) { return adjust_unpacked<-1>(cpu); }

bool aam(Processor& cpu, const Op& op) {
  uint8_t base = op.immediate8(), al = cpu.gpr_at<uint8_t>(RAX * 8);
  if (base == 0) return cpu.fault.raise(DE_vector);
  cpu.gpr_at<uint8_t>(RAX * 8 + 1) = al / base;
  finish(cpu, al % base, false, false);
  return true;
}

bool aad(Processor& cpu, const Op& op) {
  uint8_t al = cpu.gpr_at<uint8_t>(RAX * 8), ah = cpu.gpr_at<uint8_t>(RAX * 8 + 1);
  cpu.gpr_at<uint8_t>(RAX * 8 + 1) = 0;
  finish(cpu, static_cast<uint8_t>(al + ah * op.immediate8()), false, false);
  return true;
}

}  // namespace matryoshka::integer
