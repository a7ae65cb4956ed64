#include "cpu/ops/x87_load_store.h"

#include "cpu/float/float80_common.h"
#include "cpu/ops/x87.h"

namespace matryoshka::x87 {

namespace {

// An 80-bit operand as it stands in memory: a Float80 without its padding.
struct __attribute__((packed)) Memory80 {
  uint64_t significand;
  uint16_t sign_exponent;
};
static_assert(sizeof(Memory80) == 10);

using PackedDecimal = std::array<uint8_t, 10>;

// ---- Loads

fp::Float80 from_memory(fp::Binary32 a, fp::Environment& e) { return fp::load(a, e); }
fp::Float80 from_memory(fp::Binary64 a, fp::Environment& e) { return fp::load(a, e); }
fp::Float80 from_memory(Memory80 a, fp::Environment&) { return {a.significand, a.sign_exponent}; }
fp::Float80 from_memory(int64_t a, fp::Environment&) { return fp::from_integer(a); }
fp::Float80 from_memory(const PackedDecimal& a, fp::Environment&) { return fp::from_packed_decimal(a); }

// `load` is asked only if there is room.
template <class Load>
void push_result(X87State& x87, Load load) {
  if (!x87.empty(7)) {
    if (stack_overflow(x87)) push(x87, fp::float80_indefinite);
    return;
  }
  fp::Environment e = environment(x87);
  fp::Float80 value = load(e);
  report(x87, e.status());
  if (!e.operand_fault()) push(x87, value);
}

template <class Format>
bool load(Processor& cpu, const Op& op) {
  Format source;
  const uint64_t offset = cpu.effective_address(op);
  if (!enter(cpu) || !cpu.load_at(op, offset, source)) return false;
  record_instruction(cpu, op);
  record_operand(cpu, op, offset);
  if constexpr (requires { fp::common::widen(source); }) {
    X87State& x87 = cpu.state.x87;
    const fp::common::Result widened = fp::common::widen(source);
    if (widened.common && x87.empty(7)) [[likely]] {
      report(x87, 0);
      push(x87, widened.value());
      return true;
    }
  }
  push_result(cpu.state.x87, [&](fp::Environment& e) { return from_memory(source, e); });
  return true;
}

// ---- Stores

template <class Format>
Format to_memory(fp::Float80 a, fp::Environment& e) {
  if constexpr (std::is_same_v<Format, fp::Binary32>) return fp::to_binary32(a, e);
  if constexpr (std::is_same_v<Format, fp::Binary64>) return fp::to_binary64(a, e);
  if constexpr (std::is_same_v<Format, Memory80>) return {a.significand, a.sign_exponent};
  if constexpr (std::is_same_v<Format, int16_t>) return fp::to_int16(a, e);
  if constexpr (std::is_same_v<Format, int32_t>) return fp::to_int32(a, e);
  if constexpr (std::is_same_v<Format, int64_t>) return fp::to_int64(a, e);
  if constexpr (std::is_same_v<Format, PackedDecimal>) return fp::to_packed_decimal(a, e);
}

template <class Format>
constexpr bool is_integer = std::is_integral_v<Format>;
template <class Format>
constexpr bool is_binary = std::is_same_v<Format, fp::Binary32> || std::is_same_v<Format, fp::Binary64>;

// In the common case.
template <class Format>
fp::common::Stored<Format> to_memory_common(const X87State& x87, bool truncate) {
  const fp::Float80 a = value_of(x87.registers[x87.top()]);
  if constexpr (is_integer<Format>)
    return fp::common::to_integer<Format>(a, truncate ? fp::Rounding::zero : environment(x87).rounding);
  else
    return fp::common::narrow<Format>(a);
}

// An unmasked exception other than an inexact result leaves memory and stack alone.
template <class Format, unsigned pops>
bool store(Processor& cpu, const Op& op, bool truncate = false) {
  X87State& x87 = cpu.state.x87;
  if constexpr (is_integer<Format> || is_binary<Format>) {
    if ((is_integer<Format> ? all_masked(x87) : rounds_to_nearest(x87)) && !x87.empty(0)) [[likely]] {
      const auto stored = to_memory_common<Format>(x87, truncate);
      if (stored.common) [[likely]] {
        const uint64_t offset = cpu.effective_address(op);
        if (!cpu.store_at(op, offset, stored.value)) return false;
        record_instruction(cpu, op);
        record_operand(cpu, op, offset);
        report_masked(x87, stored.status);
        pop<pops>(x87);
        return true;
      }
    }
  }
  if (!enter(cpu)) return false;
  fp::Environment e = environment(x87);
  if (truncate) e.rounding = fp::Rounding::zero;
  const bool underflow = x87.empty(0);
  const Format value = to_memory<Format>(underflow ? fp::float80_indefinite : x87.st(0), e);
  const bool takes_effect = underflow ? e.masked(fp::invalid) : !e.store_fault();
  if (takes_effect && !cpu.store_operand(op, value)) return false;
  record(cpu, op);
  if (underflow)
    (void)stack_underflow(x87);
  else
    report(x87, e.status());
  if (takes_effect) pop<pops>(x87);
  return true;
}

template <unsigned pops>
bool store_register(Processor& cpu, const Op& op) {
  if (!enter(cpu)) return false;
  record(cpu, op);
  X87State& x87 = cpu.state.x87;
  if (replace(x87, register_operand(op), x87.empty(0), [&](fp::Environment&) { return value_of(x87.st(0)); })) pop<pops>(x87);
  return true;
}

}  // namespace

bool fld_m32(Processor& cpu, const Op& op) { return load<fp::Binary32>(cpu, op); }
bool fld_m64(Processor& cpu, const Op& op) { return load<fp::Binary64>(cpu, op); }
bool fld_m80(Processor& cpu, const Op& op) { return load<Memory80>(cpu, op); }
bool fild_m16(Processor& cpu, const Op& op) { return load<int16_t>(cpu, op); }
bool fild_m32(Processor& cpu, const Op& op) { return load<int32_t>(cpu, op); }
bool fild_m64(Processor& cpu, const Op& op) { return load<int64_t>(cpu, op); }
bool fbld(Processor& cpu, const Op& op) { return load<PackedDecimal>(cpu, op); }

// An empty source comes before a full stack.
bool fld_register(Processor& cpu, const Op& op) {
  if (!enter(cpu)) return false;
  record(cpu, op);
  X87State& x87 = cpu.state.x87;
  const unsigned source = register_operand(op);
  if (x87.empty(source)) {
    if (stack_underflow(x87)) push(x87, fp::float80_indefinite);
  } else {
    push_result(x87, [&](fp::Environment&) { return value_of(x87.st(source)); });
  }
  return true;
}

bool load_constant(Processor& cpu, const Op& op, fp::Constant which) {
  if (!enter(cpu)) return false;
  record(cpu, op);
  push_result(cpu.state.x87, [&](fp::Environment& e) { return fp::constant(which, e.rounding); });
  return true;
}

bool fst_m32(Processor& cpu, const Op& op) { return store<fp::Binary32, 0>(cpu, op); }
bool fst_m64(Processor& cpu, const Op& op) { return store<fp::Binary64, 0>(cpu, op); }
bool fstp_m32(Processor& cpu, const Op& op) { return store<fp::Binary32, 1>(cpu, op); }
bool fstp_m64(Processor& cpu, const Op& op) { return store<fp::Binary64, 1>(cpu, op); }
bool fstp_m80(Processor& cpu, const Op& op) { return store<Memory80, 1>(cpu, op); }
bool fist_m16(Processor& cpu, const Op& op) { return store<int16_t, 0>(cpu, op); }
bool fist_m32(Processor& cpu, const Op& op) { return store<int32_t, 0>(cpu, op); }
bool fistp_m16(Processor& cpu, const Op& op) { return store<int16_t, 1>(cpu, op); }
bool fistp_m32(Processor& cpu, const Op& op) { return store<int32_t, 1>(cpu, op); }
bool fistp_m64(Processor& cpu, const Op& op) { return store<int64_t, 1>(cpu, op); }
bool fisttp_m16(Processor& cpu, const Op& op) { return store<int16_t, 1>(cpu, op, true); }
bool fisttp_m32(Processor& cpu, const Op& op) { return store<int32_t, 1>(cpu, op, true); }
bool fisttp_m64(Processor& cpu, const Op& op) { return store<int64_t, 1>(cpu, op, true); }
bool fbstp(Processor& cpu, const Op& op) { return store<PackedDecimal, 1>(cpu, op); }

bool fst_register(Processor& cpu, const Op& op) { return store_register<0>(cpu, op); }
bool fstp_register(Processor& cpu, const Op& op) { return store_register<1>(cpu, op); }

bool fstp_register_silent(Processor& cpu, const Op& op) {
  if (!enter(cpu)) return false;
  record(cpu, op);
  X87State& x87 = cpu.state.x87;
  report(x87, 0);
  if (!x87.empty(0)) set(x87, register_operand(op), value_of(x87.st(0)));
  pop(x87);
  return true;
}

// ---- Between registers

bool fxch(Processor& cpu, const Op& op) {
  if (!enter(cpu)) return false;
  record(cpu, op);
  X87State& x87 = cpu.state.x87;
  const unsigned other = register_operand(op);
  if (x87.empty(0) || x87.empty(other)) {
    if (!stack_underflow(x87)) return true;
    if (x87.empty(0)) set(x87, 0, fp::float80_indefinite);
    if (x87.empty(other)) set(x87, other, fp::float80_indefinite);
  } else {
    report(x87, 0);
  }
  const fp::Float80 top = value_of(x87.st(0));
  x87.st(0) = value_of(x87.st(other));
  x87.st(other) = top;
  return true;
}

// The registers must not be empty whether the condition holds or not. C1 stays as it is, unless one is.
bool move_if(Processor& cpu, const Op& op, MoveIf condition) {
  if (!enter(cpu)) return false;
  record(cpu, op);
  X87State& x87 = cpu.state.x87;
  const unsigned source = register_operand(op);
  if (x87.empty(0) || x87.empty(source)) {
    if (stack_underflow(x87)) set(x87, 0, fp::float80_indefinite);
    return true;
  }
  const StatusFlags& flags = cpu.state.flags;
  const bool conditions[] = {flags.cf(), flags.zf(), flags.cf() || flags.zf(), flags.pf()};
  const auto number = static_cast<unsigned>(condition);
  const bool holds = conditions[number & 3] != (number >= 4);
  if (holds) set(x87, 0, value_of(x87.st(source)));
  return true;
}

// ---- The stack itself

namespace {

bool rotate(Processor& cpu, const Op& op, unsigned distance) {
  if (!enter(cpu)) return false;
  record(cpu, op);
  X87State& x87 = cpu.state.x87;
  report(x87, 0);
  x87.set_top(x87.top() + distance);
  return true;
}

}  // namespace

bool fincstp(Processor& cpu, const Op& op) { return rotate(cpu, op, 1); }
bool fdecstp(Processor& cpu, const Op& op) { return rotate(cpu, op, 7); }

bool ffree(Processor& cpu, const Op& op) {
  if (!enter(cpu)) return false;
  record(cpu, op);
  report(cpu.state.x87, 0);
  mark_empty(cpu.state.x87, register_operand(op));
  return true;
}

bool ffreep(Processor& cpu, const Op& op) {
  if (!ffree(cpu, op)) return false;
  pop(cpu.state.x87);
  return true;
}

}  // namespace matryoshka::x87
