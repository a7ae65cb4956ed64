#include "cpu/ops/x87_compare.h"

#include "cpu/float/float80_common.h"
#include "cpu/ops/x87.h"

namespace matryoshka::x87 {

namespace {

struct Compared {
  fp::Relation relation;
  bool valid;  // or invalid, and that is masked
  bool pops;   // no exception is unmasked
};

// An empty register is unordered with everything.
template <class Compare>
Compared relate(X87State& x87, bool source_empty, Compare compare) {
  if (source_empty) {
    const bool masked = stack_underflow(x87);
    return {fp::Relation::unordered, masked, masked};
  }
  fp::Environment e = environment(x87);
  const fp::Relation relation = compare(e);
  report(x87, e.status());
  return {relation, !(e.unmasked() & fp::invalid), !e.operand_fault()};
}

// The condition codes are set also where an unmasked exception keeps the operands on the stack.
template <unsigned pops, class Compare>
void compare_to_codes(X87State& x87, bool source_empty, Compare compare) {
  const Compared result = relate(x87, source_empty, compare);
  set_relation(x87, result.relation);
  if (result.pops) pop<pops>(x87);
}

// The common case, for operands that are not empty.
fp::common::Comparison compare_common(const X87State& x87, fp::Float80 operand) {
  if (!all_masked(x87)) [[unlikely]]
    return {fp::Relation::unordered, false};
  return fp::common::compare(value_of(x87.registers[x87.top()]), operand);
}

template <unsigned pops>
[[nodiscard]] bool compare_common_to_codes(Processor& cpu, const Op& op, fp::Float80 operand) {
  X87State& x87 = cpu.state.x87;
  const fp::common::Comparison compared = compare_common(x87, operand);
  if (!compared.common) [[unlikely]]
    return false;
  record(cpu, op);
  report_masked(x87, 0);
  set_relation(x87, compared.relation);
  pop<pops>(x87);
  return true;
}

template <class Format, unsigned pops>
bool compare_memory(Processor& cpu, const Op& op) {
  Format source;
  if (!enter(cpu) || !cpu.load_operand(op, source)) return false;
  X87State& x87 = cpu.state.x87;
  const fp::common::Result widened = fp::common::widen(source);
  if (!x87.empty(0) && widened.common && compare_common_to_codes<pops>(cpu, op, widened.value())) [[likely]]
    return true;
  record(cpu, op);
  compare_to_codes<pops>(x87, x87.empty(0), [&](fp::Environment& e) {
    const fp::Float80 operand = operand_value(source, e);
    return fp::compare(x87.st(0), operand, e);
  });
  return true;
}

using Comparison = fp::Relation (*)(fp::Float80, fp::Float80, fp::Environment&);

template <unsigned pops>
bool compare_registers(Processor& cpu, const Op& op, Comparison comparison) {
  if (!enter(cpu)) return false;
  X87State& x87 = cpu.state.x87;
  const unsigned source = register_operand(op);
  const bool source_empty = x87.empty(0) || x87.empty(source);
  if (!source_empty && compare_common_to_codes<pops>(cpu, op, value_of(x87.st(source)))) [[likely]]
    return true;
  record(cpu, op);
  compare_to_codes<pops>(x87, source_empty, [&](fp::Environment& e) { return comparison(x87.st(0), x87.st(source), e); });
  return true;
}

// ZF, PF and CF, with the other three cleared. Unlike condition codes they stay as they are if the operands are invalid and that
// is not masked.
template <unsigned pops>
bool compare_to_flags(Processor& cpu, const Op& op, Comparison comparison) {
  if (!enter(cpu)) return false;
  X87State& x87 = cpu.state.x87;
  const unsigned source = register_operand(op);
  if (!x87.empty(0) && !x87.empty(source)) {
    const fp::common::Comparison compared = compare_common(x87, value_of(x87.st(source)));
    if (compared.common) [[likely]] {
      record_instruction(cpu, op);
      report_masked(x87, 0);
      cpu.state.flags.set_bits(fp::condition_codes(compared.relation));
      pop<pops>(x87);
      return true;
    }
  }
  record(cpu, op);
  const Compared result = relate(x87, x87.empty(0) || x87.empty(source),
                                 [&](fp::Environment& e) { return comparison(x87.st(0), x87.st(source), e); });
  if (result.valid) cpu.state.flags.set_bits(fp::condition_codes(result.relation));
  if (result.pops) pop<pops>(x87);
  return true;
}

}  // namespace

bool fcom_m32(Processor& cpu, const Op& op) { return compare_memory<fp::Binary32, 0>(cpu, op); }
bool fcom_m64(Processor& cpu, const Op& op) { return compare_memory<fp::Binary64, 0>(cpu, op); }
bool fcomp_m32(Processor& cpu, const Op& op) { return compare_memory<fp::Binary32, 1>(cpu, op); }
bool fcomp_m64(Processor& cpu, const Op& op) { return compare_memory<fp::Binary64, 1>(cpu, op); }
bool ficom_m16(Processor& cpu, const Op& op) { return compare_memory<int16_t, 0>(cpu, op); }
bool ficom_m32(Processor& cpu, const Op& op) { return compare_memory<int32_t, 0>(cpu, op); }
bool ficomp_m16(Processor& cpu, const Op& op) { return compare_memory<int16_t, 1>(cpu, op); }
bool ficomp_m32(Processor& cpu, const Op& op) { return compare_memory<int32_t, 1>(cpu, op); }

bool fcom_register(Processor& cpu, const Op& op) { return compare_registers<0>(cpu, op, fp::compare); }
bool fcomp_register(Processor& cpu, const Op& op) { return compare_registers<1>(cpu, op, fp::compare); }
bool fcompp(Processor& cpu, const Op& op) { return compare_registers<2>(cpu, op, fp::compare); }
bool fucom(Processor& cpu, const Op& op) { return compare_registers<0>(cpu, op, fp::compare_quiet); }
bool fucomp(Processor& cpu, const Op& op) { return compare_registers<1>(cpu, op, fp::compare_quiet); }
bool fucompp(Processor& cpu, const Op& op) { return compare_registers<2>(cpu, op, fp::compare_quiet); }

bool fcomi(Processor& cpu, const Op& op) { return compare_to_flags<0>(cpu, op, fp::compare); }
bool fcomip(Processor& cpu, const Op& op) { return compare_to_flags<1>(cpu, op, fp::compare); }
bool fucomi(Processor& cpu, const Op& op) { return compare_to_flags<0>(cpu, op, fp::compare_quiet); }
bool fucomip(Processor& cpu, const Op& op) { return compare_to_flags<1>(cpu, op, fp::compare_quiet); }

bool ftst(Processor& cpu, const Op& op) {
  if (!enter(cpu)) return false;
  record(cpu, op);
  X87State& x87 = cpu.state.x87;
  compare_to_codes<0>(x87, x87.empty(0), [&](fp::Environment& e) { return fp::compare_to_zero(x87.st(0), e); });
  return true;
}

bool fxam(Processor& cpu, const Op& op) {
  if (!enter(cpu)) return false;
  record(cpu, op);
  X87State& x87 = cpu.state.x87;
  const uint16_t codes = x87.empty(0) ? fp::examine_empty : fp::examine(x87.st(0));
  constexpr uint16_t all_codes = status::C0 | status::C1 | status::C2 | status::C3;
  x87.status.change(all_codes, codes | (x87.st(0).sign() ? status::C1 : 0u));
  return true;
}

}  // namespace matryoshka::x87
