#include "cpu/ops/mmx.h"

#include "cpu/ops/lanes_shuffle.h"

namespace matryoshka::mmx {

bool load(Processor& cpu, const Op& op) {
  uint64_t source;
  if (!read_q(cpu, op, source)) return false;
  set_value(cpu, op.reg, source);
  return true;
}

bool store(Processor& cpu, const Op& op) {
  if (!no_pending_exception(cpu)) return false;
  uint64_t source = value(cpu, op.reg);
  if (op.is_memory()) {
    if (!cpu.store_operand(op, source)) return false;
    enter(cpu);
  } else {
    enter(cpu);
    set_value(cpu, op.rm, source);
  }
  return true;
}

bool from_general(Processor& cpu, const Op& op) {
  uint64_t source;
  if (!no_pending_exception(cpu) || !cpu.read_rm(op, source)) return false;
  enter(cpu);
  set_value(cpu, op.reg, source);
  return true;
}

bool to_general(Processor& cpu, const Op& op) {
  if (!no_pending_exception(cpu) || !cpu.write_rm(op, value(cpu, op.reg) & op.operand_mask())) return false;
  enter(cpu);
  return true;
}

bool insert_word(Processor& cpu, const Op& op) {
  uint16_t word;
  if (!no_pending_exception(cpu)) return false;
  if (op.is_memory()) {
    if (!cpu.load_operand(op, word)) return false;
  } else {
    word = cpu.gpr_at<uint16_t>(op.rm);
  }
  enter(cpu);
  unsigned place = (op.immediate8() & 3) * 16;
  set_value(cpu, op.reg, (value(cpu, op.reg) & ~(uint64_t{0xffff} << place)) | uint64_t{word} << place);
  return true;
}

bool extract_word(Processor& cpu, const Op& op) {
  uint64_t source;
  if (!read_q(cpu, op, source)) return false;
  cpu.gpr_at(op.reg) = source >> (op.immediate8() & 3) * 16 & 0xffff;
  return true;
}

bool sign_mask(Processor& cpu, const Op& op) {
  uint64_t source;
  if (!read_q(cpu, op, source)) return false;
  cpu.gpr_at(op.reg) = lanes::sign_mask<uint8_t>(Packed(source, 0));
  return true;
}

bool shuffle_words(Processor& cpu, const Op& op) {
  uint64_t source;
  if (!read_q(cpu, op, source)) return false;
  set_value(cpu, op.reg, lanes::shuffle_four_words(source, op.immediate8()));
  return true;
}

bool shuffle_bytes(Processor& cpu, const Op& op) {
  uint64_t control;
  if (!read_q(cpu, op, control)) return false;
  control &= 0x8787878787878787;  // only three bits choose among eight bytes
  set_value(cpu, op.reg, lanes::shuffle_bytes(Packed(value(cpu, op.reg), 0), Packed(control, 0)).low());
  return true;
}

bool align_right(Processor& cpu, const Op& op) {
  uint64_t source;
  if (!read_q(cpu, op, source)) return false;
  set_value(cpu, op.reg, lanes::align_right({}, Packed(source, value(cpu, op.reg)), op.immediate8()).low());
  return true;
}

// "MASKMOVQ": bytes of ModRM.reg, where ModRM.rm's byte has its sign set, to DS:rDI.
bool store_masked_bytes(Processor& cpu, const Op& op) {
  if (!no_pending_exception(cpu)) return false;
  uint64_t source = value(cpu, op.reg), mask = value(cpu, op.rm);
  uint64_t linear[8];
  for (unsigned i = 0; i < 8; ++i)
    if (mask >> (8 * i + 7) & 1) {
      if (!cpu.linear_address(op, cpu.state.gpr[RDI] + i, 1, AccessKind::write, linear[i])) return false;
      if (!cpu.mmu.probe_store(linear[i], 1)) return false;
    }
  for (unsigned i = 0; i < 8; ++i)
    if (mask >> (8 * i + 7) & 1 && !cpu.store(op, linear[i], static_cast<uint8_t>(source >> 8 * i))) return false;
  enter(cpu);
  return true;
}

bool to_xmm(Processor& cpu, const Op& op) {
  uint64_t source;
  if (!read_q(cpu, op, source)) return false;
  cpu.state.xmm[op.reg] = {{source, 0}};
  return true;
}

bool from_xmm(Processor& cpu, const Op& op) {
  if (!no_pending_exception(cpu)) return false;
  enter(cpu);
  set_value(cpu, op.reg, cpu.state.xmm[op.rm].q[0]);
  return true;
}

bool empty(Processor& cpu, const Op&) {
  if (!no_pending_exception(cpu)) return false;
  cpu.state.x87.valid = 0;
  cpu.state.x87.set_top(0);
  return true;
}

}  // namespace matryoshka::mmx
