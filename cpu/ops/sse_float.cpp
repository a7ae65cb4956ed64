#include "cpu/ops/sse_float.h"

namespace matryoshka::sse {

using fp::Binary32;
using fp::Binary64;
using fp::Environment;

bool finish(Processor& cpu, const Environment& e) {
  cpu.state.mxcsr |= e.reported();
  if (e.unmasked() == 0) return true;
  return cpu.fault.raise(cpu.state.cr4 & cr4::OSXMMEXCPT ? XM_vector : UD_vector);
}

namespace {

template <class B>
bool read_scalar(Processor& cpu, const Op& op, Packed& value) {
  typename Format<B>::Bits low;
  if (!read_w_part(cpu, op, low)) return false;
  value = {low, 0};
  return true;
}
template <class B, unsigned count>
bool read_operand(Processor& cpu, const Op& op, Packed& value) {
  if constexpr (count == 1)
    return read_scalar<B>(cpu, op, value);
  else
    return read_w(cpu, op, value);
}

// ---- "CMPPS" and its like

template <class B>
bool holds(B a, B b, unsigned predicate) {
  auto x = native(a), y = native(b);
  bool yes = predicate % 4 == 0 ? x == y : predicate % 4 == 1 ? x < y : predicate % 4 == 2 ? x <= y : false;
  return yes != (predicate >= 4);
}

template <class B, unsigned count>
bool compare(Processor& cpu, const Op& op) {
  using Bits = typename Format<B>::Bits;
  const unsigned predicate = op.immediate8() & 7;
  Packed source;
  if (!read_operand<B, count>(cpu, op, source)) return false;
  auto x = xmm(cpu, op.reg).as<Bits>(), y = source.as<Bits>(), result = x;
  bool plain = true;
  for (unsigned i = 0; i < count; ++i) plain &= is_plain(B{x[i]}) && is_plain(B{y[i]});
  if (plain) {
    for (unsigned i = 0; i < count; ++i) result[i] = holds(B{x[i]}, B{y[i]}, predicate) ? ~Bits{0} : 0;
  } else {
    auto e = Environment::from_mxcsr(cpu.state.mxcsr);
    for (unsigned i = 0; i < count; ++i) result[i] = fp::compare_predicate(B{x[i]}, B{y[i]}, predicate, e) ? ~Bits{0} : 0;
    if (!finish(cpu, e)) return false;
  }
  set_xmm(cpu, op.reg, result);
  return true;
}

// ---- "COMISS", "UCOMISS" and their like: OF, SF and AF are cleared

template <class B, bool quiet>
bool compare_to_flags(Processor& cpu, const Op& op) {
  typename Format<B>::Bits source;
  if (!read_w_part(cpu, op, source)) return false;
  B a{static_cast<typename Format<B>::Bits>(cpu.state.xmm[op.reg].q[0])}, b{source};
  fp::Relation relation;
  if (is_plain(a) && is_plain(b)) {
    auto x = native(a), y = native(b);
    relation = x > y ? fp::Relation::greater : x < y ? fp::Relation::less : fp::Relation::equal;
  } else {
    auto e = Environment::from_mxcsr(cpu.state.mxcsr);
    relation = quiet ? fp::compare_quiet(a, b, e) : fp::compare(a, b, e);
    if (!finish(cpu, e)) return false;
  }
  cpu.state.flags.set_bits(fp::condition_codes(relation));
  return true;
}

// ---- "ROUNDPS" and its like

template <class F>
F rounded(F a, unsigned mode) {
  switch (mode) {
    case 1: return std::floor(a);
    case 2: return std::ceil(a);
    case 3: return std::trunc(a);
    default: return std::nearbyint(a);
  }
}

template <class B, unsigned count>
bool round(Processor& cpu, const Op& op) {
  using Bits = typename Format<B>::Bits;
  const uint8_t immediate = op.immediate8();
  Packed source;
  if (!read_operand<B, count>(cpu, op, source)) return false;
  auto y = source.as<Bits>(), result = xmm(cpu, op.reg).as<Bits>();
  bool provable = usual_mxcsr(cpu.state.mxcsr);
  for (unsigned i = 0; i < count; ++i) provable &= is_zero_or_normal(B{y[i]});
  if (provable) {
    unsigned mode = immediate & 4 ? 0 : immediate & 3;  // MXCSR says nearest
    for (unsigned i = 0; i < count; ++i) result[i] = bits_of<B>(rounded(native(B{y[i]}), mode)).bits;
  } else {
    auto e = Environment::from_mxcsr(cpu.state.mxcsr);
    for (unsigned i = 0; i < count; ++i) result[i] = fp::round_to_integer(B{y[i]}, immediate, e).bits;
    if (!finish(cpu, e)) return false;
  }
  set_xmm(cpu, op.reg, result);
  return true;
}

// ---- "RCPPS", "RSQRTPS" and their like: no exceptions

template <auto operation, unsigned count>
bool approximate(Processor& cpu, const Op& op) {
  Packed source;
  if (!read_operand<Binary32, count>(cpu, op, source)) return false;
  auto y = source.as<uint32_t>(), result = xmm(cpu, op.reg).as<uint32_t>();
  for (unsigned i = 0; i < count; ++i) result[i] = operation(Binary32{y[i]}).bits;
  set_xmm(cpu, op.reg, result);
  return true;
}

// ---- "DPPS", "DPPD": products, sums of two, sum of sums. Each stage's exceptions are looked at before the next begins.

template <class B>
bool dot_product(Processor& cpu, const Op& op) {
  using Bits = typename Format<B>::Bits;
  constexpr unsigned count = lane_count<Bits>;
  const uint8_t immediate = op.immediate8();
  Packed source;
  if (!read_w(cpu, op, source)) return false;
  auto x = xmm(cpu, op.reg).as<Bits>(), y = source.as<Bits>();
  B term[count];
  auto e = Environment::from_mxcsr(cpu.state.mxcsr);
  for (unsigned i = 0; i < count; ++i) term[i] = immediate >> (4 + i) & 1 ? fp::multiply(B{x[i]}, B{y[i]}, e) : B{0};
  if (!finish(cpu, e)) return false;
  for (unsigned terms = count; terms > 1; terms /= 2) {
    e = Environment::from_mxcsr(cpu.state.mxcsr);
    for (unsigned i = 0; i < terms / 2; ++i) term[i] = fp::add(term[2 * i], term[2 * i + 1], e);
    if (!finish(cpu, e)) return false;
  }
  Lanes<Bits> result{};
  for (unsigned i = 0; i < count; ++i) result[i] = immediate >> i & 1 ? term[0].bits : 0;
  set_xmm(cpu, op.reg, result);
  return true;
}

}  // namespace

bool compare_packed_single(Processor& cpu, const Op& op) { return compare<Binary32, 4>(cpu, op); }
bool compare_packed_double(Processor& cpu, const Op& op) { return compare<Binary64, 2>(cpu, op); }
bool compare_scalar_single(Processor& cpu, const Op& op) { return compare<Binary32, 1>(cpu, op); }
bool compare_scalar_double(Processor& cpu, const Op& op) { return compare<Binary64, 1>(cpu, op); }

bool comis_single(Processor& cpu, const Op& op) { return compare_to_flags<Binary32, false>(cpu, op); }
bool comis_double(Processor& cpu, const Op& op) { return compare_to_flags<Binary64, false>(cpu, op); }
bool ucomis_single(Processor& cpu, const Op& op) { return compare_to_flags<Binary32, true>(cpu, op); }
bool ucomis_double(Processor& cpu, const Op& op) { return compare_to_flags<Binary64, true>(cpu, op); }

bool round_packed_single(Processor& cpu, const Op& op) { return round<Binary32, 4>(cpu, op); }
bool round_packed_double(Processor& cpu, const Op& op) { return round<Binary64, 2>(cpu, op); }
bool round_scalar_single(Processor& cpu, const Op& op) { return round<Binary32, 1>(cpu, op); }
bool round_scalar_double(Processor& cpu, const Op& op) { return round<Binary64, 1>(cpu, op); }

bool reciprocal_packed(Processor& cpu, const Op& op) { return approximate<fp::reciprocal, 4>(cpu, op); }
bool reciprocal_scalar(Processor& cpu, const Op& op) { return approximate<fp::reciprocal, 1>(cpu, op); }
bool reciprocal_root_packed(Processor& cpu, const Op& op) { return approximate<fp::reciprocal_square_root, 4>(cpu, op); }
bool reciprocal_root_scalar(Processor& cpu, const Op& op) { return approximate<fp::reciprocal_square_root, 1>(cpu, op); }

bool dot_product_single(Processor& cpu, const Op& op) { return dot_product<Binary32>(cpu, op); }
bool dot_product_double(Processor& cpu, const Op& op) { return dot_product<Binary64>(cpu, op); }

}  // namespace matryoshka::sse
