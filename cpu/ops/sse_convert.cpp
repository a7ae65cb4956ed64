// Each conversion has a lane function that takes the fast way where it is provably exact (sse_float.h) and else the soft one;
// exceptions of all lanes gather in one Environment.
#include "cpu/ops/sse_convert.h"

#include "cpu/ops/mmx.h"
#include "cpu/ops/sse_float.h"

namespace matryoshka::sse {

using fp::Binary32;
using fp::Binary64;

namespace {

struct Conversion : fp::Environment {
  explicit Conversion(const Processor& cpu) : Environment(from_mxcsr(cpu.state.mxcsr)), usual(usual_mxcsr(cpu.state.mxcsr)) {}
  bool usual;
};

// ---- Lanes

// Exact for every int32_t to double, whatever MXCSR says; otherwise rounding to nearest must be asked for.
Binary64 to_double(int32_t a) { return bits_of<Binary64>(a); }
Binary64 to_double(int64_t a, Conversion& c) {
  return c.usual ? bits_of<Binary64>(static_cast<double>(a)) : fp::to_binary64(a, c);
}
Binary32 to_single(int64_t a, Conversion& c) {
  return c.usual ? bits_of<Binary32>(static_cast<float>(a)) : fp::to_binary32(a, c);
}
Binary64 to_double(Binary32 a, Conversion& c) {
  return is_zero_or_normal(a) ? bits_of<Binary64>(native(a)) : fp::to_binary64(a, c);
}
Binary32 to_single(Binary64 a, Conversion& c) {
  if (c.usual && is_zero_or_normal(a)) {
    auto result = bits_of<Binary32>(static_cast<float>(native(a)));
    if (is_well_normal(result) || is_zero(a)) return result;
  }
  return fp::to_binary32(a, c);
}

template <class Integer, class B>
Integer to_integer(B a, fp::Rounding rounding, Conversion& c) {
  // Magnitudes below the type's largest power of two: fits after any rounding.
  constexpr Native<B> bound = static_cast<Native<B>>(uint64_t{1} << (sizeof(Integer) * 8 - 2));
  auto value = native(a);
  if (c.usual && is_zero_or_normal(a) && value < bound && value > -bound) {
    auto whole = static_cast<Integer>(value);
    if (rounding == fp::Rounding::zero) return whole;
    auto rest = value - static_cast<Native<B>>(whole);  // exact
    bool up = rest > Native<B>(0.5) || (rest == Native<B>(0.5) && whole & 1);
    bool down = rest < Native<B>(-0.5) || (rest == Native<B>(-0.5) && whole & 1);
    return static_cast<Integer>(whole + up - down);
  }
  if constexpr (sizeof(Integer) == 4)
    return fp::to_int32(a, rounding, c);
  else
    return fp::to_int64(a, rounding, c);
}

// ---- Scalars

template <class B>
bool to_general(Processor& cpu, const Op& op, bool truncate) {
  typename Format<B>::Bits source;
  if (!read_w_part(cpu, op, source)) return false;
  Conversion c(cpu);
  fp::Rounding rounding = truncate ? fp::Rounding::zero : c.rounding;
  uint64_t result = op.operand_bits() == 64 ? static_cast<uint64_t>(to_integer<int64_t>(B{source}, rounding, c))
                                            : static_cast<uint32_t>(to_integer<int32_t>(B{source}, rounding, c));
  if (!finish(cpu, c)) return false;
  cpu.gpr_at(op.reg) = result;
  return true;
}

bool read_general(Processor& cpu, const Op& op, int64_t& value) {
  uint64_t raw;
  if (!cpu.read_rm(op, raw)) return false;
  value = op.operand_bits() == 64 ? static_cast<int64_t>(raw) : static_cast<int32_t>(raw);
  return true;
}

void set_single(Processor& cpu, unsigned number, Binary32 value) {
  auto lanes = xmm(cpu, number).as<uint32_t>();
  lanes[0] = value.bits;
  set_xmm(cpu, number, lanes);
}

// ---- Pairs of doublewords in a quadword

uint64_t join(uint32_t low, uint32_t high) { return low | uint64_t{high} << 32; }
int32_t low_half(uint64_t pair) { return static_cast<int32_t>(pair); }
int32_t high_half(uint64_t pair) { return static_cast<int32_t>(pair >> 32); }

uint64_t pair_to_integers(uint64_t pair, bool truncate, Conversion& c) {
  fp::Rounding rounding = truncate ? fp::Rounding::zero : c.rounding;
  auto low = to_integer<int32_t>(Binary32{static_cast<uint32_t>(pair)}, rounding, c);
  auto high = to_integer<int32_t>(Binary32{static_cast<uint32_t>(pair >> 32)}, rounding, c);
  return join(static_cast<uint32_t>(low), static_cast<uint32_t>(high));
}

uint64_t doubles_to_integers(Packed source, bool truncate, Conversion& c) {
  fp::Rounding rounding = truncate ? fp::Rounding::zero : c.rounding;
  auto low = to_integer<int32_t>(Binary64{source.low()}, rounding, c);
  auto high = to_integer<int32_t>(Binary64{source.high()}, rounding, c);
  return join(static_cast<uint32_t>(low), static_cast<uint32_t>(high));
}

bool single_to_integers(Processor& cpu, const Op& op, bool truncate) {
  Packed source;
  if (!read_w(cpu, op, source)) return false;
  Conversion c(cpu);
  uint64_t low = pair_to_integers(source.low(), truncate, c), high = pair_to_integers(source.high(), truncate, c);
  if (!finish(cpu, c)) return false;
  set_xmm(cpu, op.reg, {low, high});
  return true;
}

bool double_to_integers(Processor& cpu, const Op& op, bool truncate) {
  Packed source;
  if (!read_w(cpu, op, source)) return false;
  Conversion c(cpu);
  uint64_t result = doubles_to_integers(source, truncate, c);
  if (!finish(cpu, c)) return false;
  set_xmm(cpu, op.reg, {result, 0});
  return true;
}

bool single_to_mmx(Processor& cpu, const Op& op, bool truncate) {
  uint64_t source;
  if (!mmx::no_pending_exception(cpu) || !read_w_part(cpu, op, source)) return false;
  Conversion c(cpu);
  uint64_t result = pair_to_integers(source, truncate, c);
  if (!finish(cpu, c)) return false;
  mmx::enter(cpu);
  mmx::set_value(cpu, op.reg, result);
  return true;
}

bool double_to_mmx(Processor& cpu, const Op& op, bool truncate) {
  Packed source;
  if (!mmx::no_pending_exception(cpu) || !read_w(cpu, op, source)) return false;
  Conversion c(cpu);
  uint64_t result = doubles_to_integers(source, truncate, c);
  if (!finish(cpu, c)) return false;
  mmx::enter(cpu);
  mmx::set_value(cpu, op.reg, result);
  return true;
}

}  // namespace

bool general_to_single(Processor& cpu, const Op& op) {
  int64_t source;
  if (!read_general(cpu, op, source)) return false;
  Conversion c(cpu);
  Binary32 result = to_single(source, c);
  if (!finish(cpu, c)) return false;
  set_single(cpu, op.reg, result);
  return true;
}

bool general_to_double(Processor& cpu, const Op& op) {
  int64_t source;
  if (!read_general(cpu, op, source)) return false;
  Conversion c(cpu);
  Binary64 result = op.operand_bits() == 32 ? to_double(static_cast<int32_t>(source)) : to_double(source, c);
  if (!finish(cpu, c)) return false;
  cpu.state.xmm[op.reg].q[0] = result.bits;
  return true;
}

bool single_to_general(Processor& cpu, const Op& op) { return to_general<Binary32>(cpu, op, false); }
bool single_to_general_truncated(Processor& cpu, const Op& op) { return to_general<Binary32>(cpu, op, true); }
bool double_to_general(Processor& cpu, const Op& op) { return to_general<Binary64>(cpu, op, false); }
bool double_to_general_truncated(Processor& cpu, const Op& op) { return to_general<Binary64>(cpu, op, true); }

bool scalar_single_to_double(Processor& cpu, const Op& op) {
  uint32_t source;
  if (!read_w_part(cpu, op, source)) return false;
  Conversion c(cpu);
  Binary64 result = to_double(Binary32{source}, c);
  if (!finish(cpu, c)) return false;
  cpu.state.xmm[op.reg].q[0] = result.bits;
  return true;
}

bool scalar_double_to_single(Processor& cpu, const Op& op) {
  uint64_t source;
  if (!read_w_part(cpu, op, source)) return false;
  Conversion c(cpu);
  Binary32 result = to_single(Binary64{source}, c);
  if (!finish(cpu, c)) return false;
  set_single(cpu, op.reg, result);
  return true;
}

bool packed_single_to_double(Processor& cpu, const Op& op) {
  uint64_t source;
  if (!read_w_part(cpu, op, source)) return false;
  Conversion c(cpu);
  Binary64 low = to_double(Binary32{static_cast<uint32_t>(source)}, c);
  Binary64 high = to_double(Binary32{static_cast<uint32_t>(source >> 32)}, c);
  if (!finish(cpu, c)) return false;
  set_xmm(cpu, op.reg, {low.bits, high.bits});
  return true;
}

bool packed_double_to_single(Processor& cpu, const Op& op) {
  Packed source;
  if (!read_w(cpu, op, source)) return false;
  Conversion c(cpu);
  Binary32 low = to_single(Binary64{source.low()}, c), high = to_single(Binary64{source.high()}, c);
  if (!finish(cpu, c)) return false;
  set_xmm(cpu, op.reg, {join(low.bits, high.bits), 0});
  return true;
}

bool integers_to_single(Processor& cpu, const Op& op) {
  Packed source;
  if (!read_w(cpu, op, source)) return false;
  Conversion c(cpu);
  auto lanes = source.as<int32_t>();
  Lanes<uint32_t> result{};
  for (unsigned i = 0; i < 4; ++i) result[i] = to_single(int64_t{lanes[i]}, c).bits;
  if (!finish(cpu, c)) return false;
  set_xmm(cpu, op.reg, result);
  return true;
}

bool integers_to_double(Processor& cpu, const Op& op) {
  uint64_t source;
  if (!read_w_part(cpu, op, source)) return false;
  set_xmm(cpu, op.reg, {to_double(low_half(source)).bits, to_double(high_half(source)).bits});
  return true;
}

bool packed_single_to_integers(Processor& cpu, const Op& op) { return single_to_integers(cpu, op, false); }
bool packed_single_to_integers_truncated(Processor& cpu, const Op& op) { return single_to_integers(cpu, op, true); }
bool packed_double_to_integers(Processor& cpu, const Op& op) { return double_to_integers(cpu, op, false); }
bool packed_double_to_integers_truncated(Processor& cpu, const Op& op) { return double_to_integers(cpu, op, true); }

// CVTPI2PS enters the MMX state from memory too; CVTPI2PD only from a register, and from memory ignores the x87 altogether.

bool mmx_to_single(Processor& cpu, const Op& op) {
  uint64_t source;
  if (!mmx::no_pending_exception(cpu)) return false;
  if (op.is_memory()) {
    if (!cpu.load_operand(op, source)) return false;
  } else {
    source = mmx::value(cpu, op.rm);
  }
  Conversion c(cpu);
  Binary32 low = to_single(int64_t{low_half(source)}, c), high = to_single(int64_t{high_half(source)}, c);
  if (!finish(cpu, c)) return false;
  mmx::enter(cpu);
  cpu.state.xmm[op.reg].q[0] = join(low.bits, high.bits);
  return true;
}

bool mmx_to_double(Processor& cpu, const Op& op) {
  uint64_t source;
  if (op.is_memory() ? !cpu.load_operand(op, source) : !mmx::read_q(cpu, op, source)) return false;
  set_xmm(cpu, op.reg, {to_double(low_half(source)).bits, to_double(high_half(source)).bits});
  return true;
}

bool single_to_mmx(Processor& cpu, const Op& op) { return single_to_mmx(cpu, op, false); }
bool single_to_mmx_truncated(Processor& cpu, const Op& op) { return single_to_mmx(cpu, op, true); }
bool double_to_mmx(Processor& cpu, const Op& op) { return double_to_mmx(cpu, op, false); }
bool double_to_mmx_truncated(Processor& cpu, const Op& op) { return double_to_mmx(cpu, op, true); }

}  // namespace matryoshka::sse
