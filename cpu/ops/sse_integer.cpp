#include "cpu/ops/sse_integer.h"

#include <array>

#include "cpu/ops/sse_operands.h"

namespace matryoshka::sse {

bool test_bits(Processor& cpu, const Op& op) {
  Packed source;
  if (!read_w(cpu, op, source)) return false;
  Packed d = xmm(cpu, op.reg);
  bool zero = ((source.low() & d.low()) | (source.high() & d.high())) == 0;
  bool covered = ((source.low() & ~d.low()) | (source.high() & ~d.high())) == 0;
  cpu.state.flags.set_bits((zero ? rflags::ZF : 0) | (covered ? rflags::CF : 0));
  return true;
}

namespace {

// The polynomial 11EDC6F41 with its bits reflected, a byte at a time.
constexpr auto crc_table = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    table[byte] = crc;
  }
  return table;
}();

void accumulate(Processor& cpu, unsigned offset, uint64_t value, unsigned bytes) {
  auto crc = static_cast<uint32_t>(cpu.gpr_at(offset));
  for (; bytes != 0; --bytes, value >>= 8) crc = crc >> 8 ^ crc_table[(crc ^ value) & 0xff];
  cpu.gpr_at(offset) = crc;
}

}  // namespace

bool accumulate_crc_byte(Processor& cpu, const Op& op) {
  uint8_t value;
  if (!op.is_memory())
    value = cpu.gpr_at<uint8_t>(op.rm);
  else if (!cpu.load_operand(op, value))
    return false;
  accumulate(cpu, op.reg, value, 1);
  return true;
}

bool accumulate_crc(Processor& cpu, const Op& op) {
  uint64_t value;
  if (!cpu.read_rm(op, value)) return false;
  accumulate(cpu, op.reg, value, op.operand_bytes());
  return true;
}

}  // namespace matryoshka::sse
