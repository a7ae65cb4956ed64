#include "cpu/ops/x87_transcendental.h"

#include "cpu/ops/x87.h"

namespace matryoshka::x87 {

namespace {

// ST(1) becomes a function of itself and ST(0), and ST(0) is popped.
bool fold(Processor& cpu, const Op& op, fp::Float80 (*function)(fp::Float80 y, fp::Float80 x, fp::Environment&)) {
  if (!enter(cpu)) return false;
  record(cpu, op);
  X87State& x87 = cpu.state.x87;
  const bool takes_effect =
      replace(x87, 1, x87.empty(0) || x87.empty(1), [&](fp::Environment& e) { return function(x87.st(1), x87.st(0), e); });
  if (takes_effect) pop(x87);
  return true;
}

using Function = fp::Trigonometric (*)(fp::Float80, fp::Environment&);

// C2 says that the operand was out of range and nothing was done; in every other case it is cleared.
bool trigonometric(Processor& cpu, const Op& op, Function function) {
  if (!enter(cpu)) return false;
  record(cpu, op);
  X87State& x87 = cpu.state.x87;
  x87.status.change(status::C2, 0);
  bool out_of_range = false;
  replace(x87, 0, x87.empty(0), [&](fp::Environment& e) {
    const fp::Trigonometric result = function(x87.st(0), e);
    out_of_range = result.out_of_range;
    return result.value;
  });
  if (out_of_range) x87.status |= status::C2;
  return true;
}

bool trigonometric_pair(Processor& cpu, const Op& op, Function function) {
  if (!enter(cpu)) return false;
  record(cpu, op);
  X87State& x87 = cpu.state.x87;
  x87.status.change(status::C2, 0);
  if (!ready_to_push_second(x87)) return true;
  fp::Environment e = environment(x87);
  const fp::Trigonometric result = function(x87.st(0), e);
  report(x87, e.status());
  if (result.out_of_range) x87.status |= status::C2;
  if (result.out_of_range || e.operand_fault()) return true;
  set(x87, 0, result.value);
  push(x87, result.pushed);
  return true;
}

}  // namespace

bool f2xm1(Processor& cpu, const Op& op) {
  if (!enter(cpu)) return false;
  record(cpu, op);
  X87State& x87 = cpu.state.x87;
  replace(x87, 0, x87.empty(0), [&](fp::Environment& e) { return fp::power_of_two_minus_one(x87.st(0), e); });
  return true;
}

bool fyl2x(Processor& cpu, const Op& op) { return fold(cpu, op, fp::y_log2_x); }
bool fyl2xp1(Processor& cpu, const Op& op) { return fold(cpu, op, fp::y_log2_x_plus_one); }
bool fpatan(Processor& cpu, const Op& op) { return fold(cpu, op, fp::arctangent); }
bool fsin(Processor& cpu, const Op& op) { return trigonometric(cpu, op, fp::sine); }
bool fcos(Processor& cpu, const Op& op) { return trigonometric(cpu, op, fp::cosine); }
bool fsincos(Processor& cpu, const Op& op) { return trigonometric_pair(cpu, op, fp::sine_and_cosine); }
bool fptan(Processor& cpu, const Op& op) { return trigonometric_pair(cpu, op, fp::tangent); }

}  // namespace matryoshka::x87
