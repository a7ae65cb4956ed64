// PUSHA, POPA, ENTER, POP to memory, XLAT and CMPXCHG8B/16B.
#include "cpu/ops/integer.h"
#include "cpu/processor.h"

namespace matryoshka::integer {

// The destination's address is computed with the stack pointer already moved; if the store faults it has not moved.
bool pop_memory(Processor& cpu, const Op& op) {
  uint64_t value, old = cpu.state.gpr[RSP];
  if (!cpu.pop(op, value, op.operand_bytes())) return false;
  if (cpu.write_rm(op, value)) return true;
  cpu.state.gpr[RSP] = old;
  return false;
}

bool push_all(Processor& cpu, const Op& op) {
  uint64_t old = cpu.state.gpr[RSP];
  unsigned bytes = op.operand_bytes();
  for (unsigned r = RAX; r <= RDI; ++r) {
    if (!cpu.push(op, r == RSP ? old : cpu.state.gpr[r], bytes)) {
      cpu.state.gpr[RSP] = old;
      return false;
    }
  }
  return true;
}

bool pop_all(Processor& cpu, const Op& op) {
  unsigned bytes = op.operand_bytes();
  uint64_t values[8];
  for (unsigned i = 0; i < 8; ++i)
    if (!cpu.peek_stack(op, i * bytes, values[i], bytes)) return false;
  cpu.move_stack(op, 8 * bytes);
  for (unsigned i = 0; i < 8; ++i)
    if (RDI - i != RSP) cpu.write_gpr((RDI - i) * 8, op.operand_bits(), values[i]);
  return true;
}

// "ENTER: Make Stack Frame for Procedure Parameters": nothing but the stack's memory changes until the last check has passed.
bool enter(Processor& cpu, const Op& op) {
  unsigned bytes = op.operand_bytes(), level = op.extra & 31;
  auto allocate = static_cast<uint16_t>(op.immediate);
  uint64_t old_sp = cpu.state.gpr[RSP], bp = cpu.state.gpr[RBP];
  auto fail = [&] {
    cpu.state.gpr[RSP] = old_sp;
    return false;
  };
  if (!cpu.push(op, bp, bytes)) return fail();
  uint64_t frame = cpu.state.gpr[RSP];
  for (unsigned i = 1; i < level; ++i) {
    uint64_t linear, pointer;
    if (!cpu.stack_address((bp - i * bytes) & op.stack_mask(), bytes, AccessKind::read, linear)) return fail();
    if (!cpu.load_sized(op, linear, pointer, bytes)) return cpu.stack_fault() || fail();
    if (!cpu.push(op, pointer, bytes)) return fail();
  }
  if (level > 0 && !cpu.push(op, frame, bytes)) return fail();
  cpu.move_stack(op, -static_cast<int64_t>(allocate));
  // The new top must be writable, or ENTER faults as a whole.
  uint64_t linear;
  if (!cpu.stack_address(cpu.state.gpr[RSP] & op.stack_mask(), bytes, AccessKind::write, linear) ||
      !cpu.mmu.probe_store(linear, bytes))
    return fail();
  cpu.write_gpr(RBP * 8, op.operand_bits(), frame);
  return true;
}

bool xlat(Processor& cpu, const Op& op) {
  uint64_t offset = (cpu.state.gpr[RBX] + cpu.gpr_at<uint8_t>(RAX * 8)) & op.address_mask(), linear;
  unsigned segment = op.segment == static_cast<uint8_t>(Segments::none) ? unsigned{DS} : op.segment;
  uint8_t byte;
  if (!cpu.segment_address(segment, offset, 1, AccessKind::read, linear) || !cpu.load(op, linear, byte)) return false;
  cpu.gpr_at<uint8_t>(RAX * 8) = byte;
  return true;
}

namespace {

// Compares rDX:rAX with memory: equal puts rCX:rBX there, unequal loads it. Memory is written either way.
template <class Half>
bool compare_exchange(Processor& cpu, const Op& op) {
  struct Pair {
    Half low, high;
  } pair;
  uint64_t linear;
  if (!cpu.linear_address(op, sizeof pair, AccessKind::write, linear)) return false;
  if (sizeof(Half) == 8 && linear & 15) return cpu.fault.raise(GP_vector, 0);
  if (!cpu.load_for_store(op, linear, pair)) return false;
  constexpr unsigned bits = 8 * sizeof(Half);
  bool equal = pair.low == static_cast<Half>(cpu.state.gpr[RAX]) && pair.high == static_cast<Half>(cpu.state.gpr[RDX]);
  if (equal) {
    Pair replacement{static_cast<Half>(cpu.state.gpr[RBX]), static_cast<Half>(cpu.state.gpr[RCX])};
    if (!cpu.store(op, linear, replacement)) return false;
  } else {
    if (!cpu.store(op, linear, pair)) return false;
    cpu.write_gpr(RAX * 8, bits, pair.low);
    cpu.write_gpr(RDX * 8, bits, pair.high);
  }
  cpu.state.flags.set_bits((cpu.state.flags.bits() & ~rflags::ZF) | (equal ? rflags::ZF : 0));
  return true;
}

}  // namespace

bool compare_exchange_pair(Processor& cpu, const Op& op) {
  return op.flags & Op::rex_w ? compare_exchange<uint64_t>(cpu, op) : compare_exchange<uint32_t>(cpu, op);
}

}  // namespace matryoshka::integer
