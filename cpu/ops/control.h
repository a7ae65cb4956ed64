// "Control Transfer Instructions" within a segment: JMP, Jcc, CALL, RET, LOOP, JCXZ. Far ones are in system/transfers.cpp.
#pragma once

#include "cpu/ops/flags.h"

namespace matryoshka::control {

template <class D>
V<D> relative_target(D& d) {
  V<D> distance{};
  (void)d.read(dest, distance);
  return d.instruction_pointer() + d.sign_extend(distance, D::width);
}

template <class D>
bool jump_relative(D& d) {
  return d.jump(relative_target(d));
}

template <class D>
bool jump_indirect(D& d) {
  V<D> target;
  return d.read(dest, target) && d.jump(target);
}

template <flags::Condition C, class D>
bool jump_if(D& d) {
  return d.branch(flags::holds<C>(d), relative_target(d));
}

// The return address is pushed only if the target can be reached.
template <class D>
bool call_relative(D& d) {
  V<D> target = d.wrap(relative_target(d));
  return d.target_allowed(target) && d.push(d.wrap(d.instruction_pointer())) && d.jump(target);
}

template <class D>
bool call_indirect(D& d) {
  V<D> target;
  return d.read(dest, target) && d.target_allowed(target) && d.push(d.wrap(d.instruction_pointer())) && d.jump(target);
}

template <class D>
bool ret(D& d) {
  V<D> target;
  return d.peek_stack(target) && d.target_allowed(target) && d.move_stack(d.constant(D::width / 8)) && d.jump(target);
}

template <class D>
bool ret_and_release(D& d) {
  V<D> target, extra;
  if (!d.read(dest, extra)) return false;
  return d.peek_stack(target) && d.target_allowed(target) &&
         d.move_stack(d.constant(D::width / 8) + (extra & d.constant(0xffff))) && d.jump(target);
}

// The counter is CX, ECX or RCX by the address size.
template <class D>
bool jump_if_counter_zero(D& d) {
  return d.branch(d.counter() == d.constant(0), relative_target(d));
}

enum class Until { counter, equal, not_equal };

template <Until U, class D>
bool loop(D& d) {
  V<D> target = d.wrap(relative_target(d));
  V<D> count = d.counter() - d.constant(1);
  V<D> taken = d.wrap_counter(count) != d.constant(0);
  if constexpr (U == Until::equal) taken = taken & flags::zf(d);
  if constexpr (U == Until::not_equal) taken = taken & (flags::zf(d) ^ d.constant(1));
  // A target out of bounds faults before the counter moves.
  if (!d.general_protection_if(taken & d.out_of_bounds(target))) return false;
  d.set_counter(count);
  return d.branch(taken, target);
}

}  // namespace matryoshka::control
