#include "cpu/ops/sse_move.h"

#include "cpu/ops/lanes_shuffle.h"
#include "cpu/ops/sse_operands.h"

namespace matryoshka::sse {

// ---- Whole registers

bool load_aligned_move(Processor& cpu, const Op& op) {
  Packed value;
  if (!read_w(cpu, op, value)) return false;
  set_xmm(cpu, op.reg, value);
  return true;
}

bool load_unaligned_move(Processor& cpu, const Op& op) {
  Packed value;
  if (!read_w_unaligned(cpu, op, value)) return false;
  set_xmm(cpu, op.reg, value);
  return true;
}

bool store_aligned_move(Processor& cpu, const Op& op) {
  if (!op.is_memory()) return set_xmm(cpu, op.rm, xmm(cpu, op.reg)), true;
  uint64_t linear;
  return aligned_address(cpu, op, AccessKind::write, linear) && cpu.store(op, linear, cpu.state.xmm[op.reg]);
}

bool store_unaligned_move(Processor& cpu, const Op& op) {
  if (!op.is_memory()) return set_xmm(cpu, op.rm, xmm(cpu, op.reg)), true;
  return cpu.store_operand(op, cpu.state.xmm[op.reg]);
}

// ---- Parts of registers

namespace {

template <class T>
void set_low_part(Processor& cpu, unsigned number, T value) {
  std::memcpy(&cpu.state.xmm[number], &value, sizeof value);
}

template <class T>
bool load_scalar(Processor& cpu, const Op& op) {
  T value;
  if (!read_w_part(cpu, op, value)) return false;
  if (op.is_memory())
    set_xmm(cpu, op.reg, {value, 0});
  else
    set_low_part(cpu, op.reg, value);
  return true;
}

template <class T>
bool store_scalar(Processor& cpu, const Op& op) {
  auto value = static_cast<T>(cpu.state.xmm[op.reg].q[0]);
  if (op.is_memory()) return cpu.store_operand(op, value);
  set_low_part(cpu, op.rm, value);
  return true;
}

}  // namespace

bool load_single(Processor& cpu, const Op& op) { return load_scalar<uint32_t>(cpu, op); }
bool load_double(Processor& cpu, const Op& op) { return load_scalar<uint64_t>(cpu, op); }
bool store_single(Processor& cpu, const Op& op) { return store_scalar<uint32_t>(cpu, op); }
bool store_double(Processor& cpu, const Op& op) { return store_scalar<uint64_t>(cpu, op); }

bool load_low(Processor& cpu, const Op& op) { return cpu.load_operand(op, cpu.state.xmm[op.reg].q[0]); }
bool load_high(Processor& cpu, const Op& op) { return cpu.load_operand(op, cpu.state.xmm[op.reg].q[1]); }
bool store_low(Processor& cpu, const Op& op) { return cpu.store_operand(op, cpu.state.xmm[op.reg].q[0]); }
bool store_high(Processor& cpu, const Op& op) { return cpu.store_operand(op, cpu.state.xmm[op.reg].q[1]); }

bool high_to_low(Processor& cpu, const Op& op) {
  cpu.state.xmm[op.reg].q[0] = cpu.state.xmm[op.rm].q[1];
  return true;
}
bool low_to_high(Processor& cpu, const Op& op) {
  cpu.state.xmm[op.reg].q[1] = cpu.state.xmm[op.rm].q[0];
  return true;
}

bool load_quadword(Processor& cpu, const Op& op) {
  uint64_t value;
  if (!read_w_part(cpu, op, value)) return false;
  set_xmm(cpu, op.reg, {value, 0});
  return true;
}
bool store_quadword(Processor& cpu, const Op& op) {
  uint64_t value = cpu.state.xmm[op.reg].q[0];
  if (op.is_memory()) return cpu.store_operand(op, value);
  set_xmm(cpu, op.rm, {value, 0});
  return true;
}

bool from_general(Processor& cpu, const Op& op) {
  uint64_t value;
  if (!cpu.read_rm(op, value)) return false;
  set_xmm(cpu, op.reg, {value, 0});
  return true;
}
bool to_general(Processor& cpu, const Op& op) { return cpu.write_rm(op, cpu.state.xmm[op.reg].q[0] & op.operand_mask()); }
bool store_general(Processor& cpu, const Op& op) { return cpu.write_rm(op, cpu.read_gpr(op.reg, op.operand_bits())); }

// ---- One lane

namespace {

template <class T>
bool read_general_or_memory(Processor& cpu, const Op& op, T& value) {
  if (op.is_memory()) return cpu.load_operand(op, value);
  value = static_cast<T>(cpu.gpr_at(op.rm));
  return true;
}

// A general register takes the lane zero-extended to 64 bits.
template <class T>
bool write_general_or_memory(Processor& cpu, const Op& op, T value) {
  if (op.is_memory()) return cpu.store_operand(op, value);
  cpu.gpr_at(op.rm) = value;
  return true;
}

template <class T>
T lane(const Processor& cpu, unsigned number, unsigned which) {
  T value;
  std::memcpy(&value, reinterpret_cast<const T*>(&cpu.state.xmm[number]) + which % lane_count<T>, sizeof value);
  return value;
}

template <class T>
bool insert(Processor& cpu, const Op& op) {
  T value;
  if (!read_general_or_memory(cpu, op, value)) return false;
  auto lanes = xmm(cpu, op.reg).as<T>();
  lanes[op.immediate8() % lane_count<T>] = value;
  set_xmm(cpu, op.reg, lanes);
  return true;
}

template <class T>
bool extract(Processor& cpu, const Op& op) {
  return write_general_or_memory(cpu, op, lane<T>(cpu, op.reg, op.immediate8()));
}

}  // namespace

bool insert_byte(Processor& cpu, const Op& op) { return insert<uint8_t>(cpu, op); }
bool insert_word(Processor& cpu, const Op& op) { return insert<uint16_t>(cpu, op); }
bool insert_wide(Processor& cpu, const Op& op) {
  return op.operand_bits() == 64 ? insert<uint64_t>(cpu, op) : insert<uint32_t>(cpu, op);
}
bool extract_byte(Processor& cpu, const Op& op) { return extract<uint8_t>(cpu, op); }
bool extract_word(Processor& cpu, const Op& op) { return extract<uint16_t>(cpu, op); }
bool extract_word_from_rm(Processor& cpu, const Op& op) {
  cpu.gpr_at(op.reg) = lane<uint16_t>(cpu, op.rm, op.immediate8());
  return true;
}
bool extract_wide(Processor& cpu, const Op& op) {
  return op.operand_bits() == 64 ? extract<uint64_t>(cpu, op) : extract<uint32_t>(cpu, op);
}
bool extract_single(Processor& cpu, const Op& op) { return extract<uint32_t>(cpu, op); }

bool insert_single(Processor& cpu, const Op& op) {
  // From memory there is only one lane to choose: COUNT_S is taken as zero.
  uint8_t immediate = op.is_memory() ? op.immediate8() & 0x3f : op.immediate8();
  Packed source;
  if (op.is_memory()) {
    uint32_t value;
    if (!cpu.load_operand(op, value)) return false;
    source = {value, 0};
  } else {
    source = xmm(cpu, op.rm);
  }
  set_xmm(cpu, op.reg, lanes::insert_single(xmm(cpu, op.reg), source, immediate));
  return true;
}

// ---- "MASKMOVDQU": bytes of ModRM.reg, where ModRM.rm's byte has its sign set, to DS:rDI

bool store_masked_bytes(Processor& cpu, const Op& op) {
  const Xmm source = cpu.state.xmm[op.reg];
  const unsigned mask = lanes::sign_mask<uint8_t>(xmm(cpu, op.rm));
  uint64_t linear[16];
  for (unsigned i = 0; i < 16; ++i)
    if (mask >> i & 1) {
      if (!cpu.linear_address(op, cpu.state.gpr[RDI] + i, 1, AccessKind::write, linear[i])) return false;
      if (!cpu.mmu.probe_store(linear[i], 1)) return false;
    }
  for (unsigned i = 0; i < 16; ++i)
    if (mask >> i & 1 && !cpu.store(op, linear[i], static_cast<uint8_t>(source.q[i / 8] >> i % 8 * 8))) return false;
  return true;
}

// ---- MXCSR

bool load_mxcsr(Processor& cpu, const Op& op) {
  uint32_t value;
  if (!cpu.load_operand(op, value)) return false;
  if (value & ~mxcsr_mask) return cpu.fault.raise(GP_vector, 0);
  cpu.state.mxcsr = value;
  return true;
}

bool store_mxcsr(Processor& cpu, const Op& op) { return cpu.store_operand(op, cpu.state.mxcsr); }

}  // namespace matryoshka::sse
