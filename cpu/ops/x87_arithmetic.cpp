#include "cpu/ops/x87_arithmetic.h"

namespace matryoshka::x87 {

template <class Format>
bool arithmetic_memory(Processor& cpu, const Op& op, const Format& source, Arithmetic operation) {
  record(cpu, op);
  X87State& x87 = cpu.state.x87;
  replace(x87, 0, x87.empty(0), [&](fp::Environment& e) {
    const fp::Float80 operand = operand_value(source, e);
    return operation(x87.st(0), operand, e);
  });
  return true;
}
template bool arithmetic_memory(Processor&, const Op&, const fp::Binary32&, Arithmetic);
template bool arithmetic_memory(Processor&, const Op&, const fp::Binary64&, Arithmetic);
template bool arithmetic_memory(Processor&, const Op&, const int16_t&, Arithmetic);
template bool arithmetic_memory(Processor&, const Op&, const int32_t&, Arithmetic);

bool arithmetic_registers(Processor& cpu, const Op& op, Arithmetic operation, unsigned destination, unsigned source, bool pops) {
  if (!enter(cpu)) return false;
  record(cpu, op);
  X87State& x87 = cpu.state.x87;
  const bool takes_effect = replace(x87, destination, x87.empty(destination) || x87.empty(source),
                                    [&](fp::Environment& e) { return operation(x87.st(destination), x87.st(source), e); });
  if (takes_effect && pops) pop(x87);
  return true;
}

// ---- Of ST(0), and of ST(0) and ST(1)

namespace {

template <class Compute>
bool unary(Processor& cpu, const Op& op, Compute compute) {
  if (!enter(cpu)) return false;
  record(cpu, op);
  X87State& x87 = cpu.state.x87;
  replace(x87, 0, x87.empty(0), [&](fp::Environment& e) { return compute(x87.st(0), e); });
  return true;
}

// C0, C3 and C1 get the quotient's low bits, unless the result is a NaN. C2, "incomplete", is cleared in any case.
bool remainder(Processor& cpu, const Op& op, fp::Remainder (*operation)(fp::Float80, fp::Float80, fp::Environment&)) {
  if (!enter(cpu)) return false;
  record(cpu, op);
  X87State& x87 = cpu.state.x87;
  uint16_t codes = 0;
  bool has_quotient = false;
  const bool takes_effect = replace(x87, 0, x87.empty(0) || x87.empty(1), [&](fp::Environment& e) {
    fp::Remainder result = operation(x87.st(0), x87.st(1), e);
    codes = result.condition_codes();
    has_quotient = fp::classify(result.value) > fp::Class::quiet_nan;
    return result.value;
  });
  x87.status.change(status::C2, 0);
  if (!takes_effect || !has_quotient) return true;
  constexpr uint16_t all_codes = status::C0 | status::C1 | status::C2 | status::C3;
  x87.status.change(all_codes, codes);
  return true;
}

}  // namespace

bool fchs(Processor& cpu, const Op& op) {
  return unary(cpu, op, [](fp::Float80 a, fp::Environment&) { return fp::negate(a); });
}
bool fabs(Processor& cpu, const Op& op) {
  return unary(cpu, op, [](fp::Float80 a, fp::Environment&) { return fp::absolute(a); });
}
bool fsqrt(Processor& cpu, const Op& op) {
  return unary(cpu, op, [](fp::Float80 a, fp::Environment& e) { return fp::square_root(a, e); });
}
bool frndint(Processor& cpu, const Op& op) {
  return unary(cpu, op, [](fp::Float80 a, fp::Environment& e) { return fp::round_to_integer(a, e); });
}
bool fscale(Processor& cpu, const Op& op) { return arithmetic_registers(cpu, op, fp::scale, 0, 1, false); }
bool fprem(Processor& cpu, const Op& op) { return remainder(cpu, op, fp::remainder_truncated); }
bool fprem1(Processor& cpu, const Op& op) { return remainder(cpu, op, fp::remainder_nearest); }

bool fxtract(Processor& cpu, const Op& op) {
  if (!enter(cpu)) return false;
  record(cpu, op);
  X87State& x87 = cpu.state.x87;
  if (!ready_to_push_second(x87)) return true;
  fp::Environment e = environment(x87);
  const auto [exponent, significand] = fp::extract(x87.st(0), e);
  report(x87, e.status());
  if (e.operand_fault()) return true;
  set(x87, 0, exponent);
  push(x87, significand);
  return true;
}

}  // namespace matryoshka::x87
