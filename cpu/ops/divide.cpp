// DIV and IDIV: #DE for a divisor of zero and for a quotient that does not fit, before anything changes. The flags are undefined
// and stay as they were.
#include "cpu/ops/integer.h"
#include "cpu/processor.h"

namespace matryoshka::integer {

namespace {

unsigned __int128 read_dividend(const Processor& cpu, unsigned bits) {
  if (bits == 8) return cpu.state.gpr[RAX] & 0xffff;
  return static_cast<unsigned __int128>(cpu.read_gpr(RDX * 8, bits)) << bits | cpu.read_gpr(RAX * 8, bits);
}

void write_results(Processor& cpu, unsigned bits, uint64_t quotient, uint64_t remainder) {
  if (bits == 8) {
    cpu.write_gpr(RAX * 8, 16, (quotient & 0xff) | (remainder & 0xff) << 8);
  } else {
    cpu.write_gpr(RAX * 8, bits, quotient);
    cpu.write_gpr(RDX * 8, bits, remainder);
  }
}

}  // namespace

bool div(Processor& cpu, const Op& op) {
  unsigned bits = op.operand_bits();
  uint64_t divisor;
  if (!cpu.read_rm(op, divisor)) return false;
  unsigned __int128 dividend = read_dividend(cpu, bits);
  if (divisor == 0 || dividend >> bits >= divisor) return cpu.fault.raise(DE_vector);
  if (bits < 64) {
    auto narrow = static_cast<uint64_t>(dividend);
    write_results(cpu, bits, narrow / divisor, narrow % divisor);
  } else {
    write_results(cpu, bits, static_cast<uint64_t>(dividend / divisor), static_cast<uint64_t>(dividend % divisor));
  }
  return true;
}

bool idiv(Processor& cpu, const Op& op) {
  unsigned bits = op.operand_bits();
  uint64_t raw;
  if (!cpu.read_rm(op, raw)) return false;
  unsigned unused = 128 - 2 * bits;
  auto dividend = static_cast<__int128>(read_dividend(cpu, bits) << unused) >> unused;
  auto divisor = static_cast<int64_t>(raw << (64 - bits)) >> (64 - bits);
  if (divisor == 0) return cpu.fault.raise(DE_vector);
  // Magnitudes first: the most negative dividend over -1 does not fit any signed type.
  bool negative = (dividend < 0) != (divisor < 0);
  auto top = dividend < 0 ? -static_cast<unsigned __int128>(dividend) : static_cast<unsigned __int128>(dividend);
  uint64_t bottom = divisor < 0 ? -static_cast<uint64_t>(divisor) : static_cast<uint64_t>(divisor);
  unsigned __int128 quotient, remainder;
  if (top >> 64 == 0) {
    quotient = static_cast<uint64_t>(top) / bottom, remainder = static_cast<uint64_t>(top) % bottom;
  } else {
    quotient = top / bottom, remainder = top % bottom;
  }
  unsigned __int128 largest = (static_cast<unsigned __int128>(1) << (bits - 1)) - (negative ? 0 : 1);
  if (quotient > largest) return cpu.fault.raise(DE_vector);
  auto signed_quotient = static_cast<uint64_t>(negative ? -quotient : quotient);
  auto signed_remainder = static_cast<uint64_t>(dividend < 0 ? -remainder : remainder);
  write_results(cpu, bits, signed_quotient, signed_remainder);
  return true;
}

}  // namespace matryoshka::integer
