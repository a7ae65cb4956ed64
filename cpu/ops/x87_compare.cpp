#include "cpu/ops/x87_compare.h"

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
template <class Compare>
void compare_to_codes(X87State& x87, bool source_empty, unsigned pops, Compare compare) {
  const Compared result = relate(x87, source_empty, compare);
  set_relation(x87, result.relation);
  if (result.pops) pop(x87, pops);
}

template <class Format>
bool compare_memory(Processor& cpu, const Op& op, unsigned pops) {
  Format source;
  if (!enter(cpu) || !cpu.load_operand(op, source)) return false;
  record(cpu, op);
  X87State& x87 = cpu.state.x87;
  compare_to_codes(x87, x87.empty(0), pops, [&](fp::Environment& e) {
    const fp::Float80 operand = operand_value(source, e);
    return fp::compare(x87.st(0), operand, e);
  });
  return true;
}

using Comparison = fp::Relation (*)(fp::Float80, fp::Float80, fp::Environment&);

bool compare_registers(Processor& cpu, const Op& op, Comparison comparison, unsigned pops) {
  if (!enter(cpu)) return false;
  record(cpu, op);
  X87State& x87 = cpu.state.x87;
  const unsigned source = register_operand(op);
  compare_to_codes(x87, x87.empty(0) || x87.empty(source), pops,
                   [&](fp::Environment& e) { return comparison(x87.st(0), x87.st(source), e); });
  return true;
}

// ZF, PF and CF, with the other three cleared. Unlike condition codes they stay as they are if the operands are invalid and that
// is not masked.
bool compare_to_flags(Processor& cpu, const Op& op, Comparison comparison, unsigned pops) {
  if (!enter(cpu)) return false;
  record(cpu, op);
  X87State& x87 = cpu.state.x87;
  const unsigned source = register_operand(op);
  const Compared result = relate(x87, x87.empty(0) || x87.empty(source),
                                 [&](fp::Environment& e) { return comparison(x87.st(0), x87.st(source), e); });
  if (result.valid) cpu.state.flags.set_bits(fp::condition_codes(result.relation));
  if (result.pops) pop(x87, pops);
  return true;
}

}  // namespace

bool fcom_m32(Processor& cpu, const Op& op) { return compare_memory<fp::Binary32>(cpu, op, 0); }
bool fcom_m64(Processor& cpu, const Op& op) { return compare_memory<fp::Binary64>(cpu, op, 0); }
bool fcomp_m32(Processor& cpu, const Op& op) { return compare_memory<fp::Binary32>(cpu, op, 1); }
bool fcomp_m64(Processor& cpu, const Op& op) { return compare_memory<fp::Binary64>(cpu, op, 1); }
bool ficom_m16(Processor& cpu, const Op& op) { return compare_memory<int16_t>(cpu, op, 0); }
bool ficom_m32(Processor& cpu, const Op& op) { return compare_memory<int32_t>(cpu, op, 0); }
bool ficomp_m16(Processor& cpu, const Op& op) { return compare_memory<int16_t>(cpu, op, 1); }
bool ficomp_m32(Processor& cpu, const Op& op) { return compare_memory<int32_t>(cpu, op, 1); }

bool fcom_register(Processor& cpu, const Op& op) { return compare_registers(cpu, op, fp::compare, 0); }
bool fcomp_register(Processor& cpu, const Op& op) { return compare_registers(cpu, op, fp::compare, 1); }
bool fcompp(Processor& cpu, const Op& op) { return compare_registers(cpu, op, fp::compare, 2); }
bool fucom(Processor& cpu, const Op& op) { return compare_registers(cpu, op, fp::compare_quiet, 0); }
bool fucomp(Processor& cpu, const Op& op) { return compare_registers(cpu, op, fp::compare_quiet, 1); }
bool fucompp(Processor& cpu, const Op& op) { return compare_registers(cpu, op, fp::compare_quiet, 2); }

bool fcomi(Processor& cpu, const Op& op) { return compare_to_flags(cpu, op, fp::compare, 0); }
bool fcomip(Processor& cpu, const Op& op) { return compare_to_flags(cpu, op, fp::compare, 1); }
bool fucomi(Processor& cpu, const Op& op) { return compare_to_flags(cpu, op, fp::compare_quiet, 0); }
bool fucomip(Processor& cpu, const Op& op) { return compare_to_flags(cpu, op, fp::compare_quiet, 1); }

bool ftst(Processor& cpu, const Op& op) {
  if (!enter(cpu)) return false;
  record(cpu, op);
  X87State& x87 = cpu.state.x87;
  compare_to_codes(x87, x87.empty(0), 0, [&](fp::Environment& e) { return fp::compare_to_zero(x87.st(0), e); });
  return true;
}

bool fxam(Processor& cpu, const Op& op) {
  if (!enter(cpu)) return false;
  record(cpu, op);
  X87State& x87 = cpu.state.x87;
  const uint16_t codes = x87.empty(0) ? fp::examine_empty : fp::examine(x87.st(0));
  constexpr uint16_t all_codes = status::C0 | status::C1 | status::C2 | status::C3;
  x87.status = static_cast<uint16_t>((x87.status & ~all_codes) | codes | (x87.st(0).sign() ? status::C1 : 0));
  return true;
}

}  // namespace matryoshka::x87
