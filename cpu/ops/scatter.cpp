// PDEP and PEXT: bits scattered to, and gathered from, the places of a mask.
#include "cpu/ops/integer.h"
#include "cpu/processor.h"

namespace matryoshka::integer {

bool pdep(Processor& cpu, const Op& op) {
  uint64_t mask, result = 0;
  if (!cpu.read_rm(op, mask)) return false;
  uint64_t source = cpu.read_gpr(op.extra, op.operand_bits());
  for (; mask != 0; mask &= mask - 1, source >>= 1)
    if (source & 1) result |= mask & -mask;
  cpu.write_gpr(op.reg, op.operand_bits(), result);
  return true;
}

bool pext(Processor& cpu, const Op& op) {
  uint64_t mask, result = 0;
  if (!cpu.read_rm(op, mask)) return false;
  uint64_t source = cpu.read_gpr(op.extra, op.operand_bits());
  for (unsigned place = 0; mask != 0; mask &= mask - 1, ++place)
    if (source & mask & -mask) result |= uint64_t{1} << place;
  cpu.write_gpr(op.reg, op.operand_bits(), result);
  return true;
}

}  // namespace matryoshka::integer
