// "Data Transfer Instructions" of general registers: MOV and its relatives, XCHG, the stack, sign extension, SETcc and CMOVcc,
// and the flag instructions that need no privilege.
#pragma once

#include "cpu/ops/flags.h"

namespace matryoshka::data {

template <class D>
bool mov(D& d) {
  V<D> v;
  return d.read(src, v) && d.write(dest, v);
}

template <class D>
bool movsx(D& d) {
  V<D> v;
  return d.read(src, v) && d.write(dest, d.wrap(d.sign_extend(v, d.bits_of(src))));
}

template <class D>
bool movbe(D& d) {
  V<D> v;
  if (!d.read(src, v)) return false;
  return d.write(dest, d.reverse_bytes(v));
}

template <class D>
bool bswap(D& d) {
  V<D> v;
  // BSWAP of a 16-bit register is undefined; processors clear it.
  if constexpr (D::width == 16)
    return d.write(dest, d.constant(0));
  else
    return d.read(dest, v) && d.write(dest, d.reverse_bytes(v));
}

template <class D>
bool lea(D& d) {
  return d.write(dest, d.wrap(d.effective_address()));
}

template <class D>
bool xchg(D& d) {
  V<D> a, b;
  return d.read_for_write(dest, a) && d.read(src, b) && d.write(dest, b) && d.write(src, a);
}

template <class D>
bool nop(D&) {
  return true;
}

// ---- Conditional

template <flags::Condition C, class D>
bool setcc(D& d) {
  return d.write(dest, flags::holds<C>(d));
}

// The source is read, and may fault, whatever the condition; a 32-bit destination loses its upper half whatever it is too.
template <flags::Condition C, class D>
bool cmov(D& d) {
  V<D> a, b;
  if (!d.read(dest, a) || !d.read(src, b)) return false;
  return d.write(dest, d.select(flags::holds<C>(d), b, a));
}

// ---- Sign extension of the accumulator

template <class D>
bool extend_accumulator(D& d) {  // CBW CWDE CDQE
  d.set_gpr_part(RAX, d.wrap(d.sign_extend(d.gpr(RAX), D::width / 2)));
  return true;
}

template <class D>
bool extend_into_rdx(D& d) {  // CWD CDQ CQO
  d.set_gpr_part(RDX, d.wrap(d.arithmetic_shift_right(d.sign_extend(d.gpr(RAX), D::width), d.constant(63))));
  return true;
}

// ---- Stack

template <class D>
bool push(D& d) {
  V<D> v;
  return d.read(dest, v) && d.push(v);
}

template <class D>
bool pop(D& d) {
  V<D> v;
  return d.pop(v) && d.write(dest, v);
}

// RSP goes back to the frame, RBP to the caller's.
template <class D>
bool leave(D& d) {
  V<D> v, frame = d.gpr(RBP);
  if (!d.peek_stack_at(frame, v)) return false;
  d.set_stack_pointer(frame + d.constant(D::width / 8));
  d.set_gpr_part(RBP, v);
  return true;
}

// ---- Flags

template <class D>
bool lahf(D& d) {
  d.set_high_byte(RAX,
                  flags::cf(d) | d.constant(2) | flags::pf(d) << 2 | flags::af(d) << 4 | flags::zf(d) << 6 | flags::sf(d) << 7);
  return true;
}

template <class D>
bool sahf(D& d) {
  V<D> ah = d.high_byte(RAX);
  auto bit = [&](unsigned n) { return ah >> n & d.constant(1); };
  flags::set_all(d, bit(0), bit(2), bit(4), bit(6), bit(7), flags::of(d));
  return true;
}

template <class D>
bool clc(D& d) {
  flags::set_cf(d, d.constant(0));
  return true;
}
template <class D>
bool stc(D& d) {
  flags::set_cf(d, d.constant(1));
  return true;
}
template <class D>
bool cmc(D& d) {
  flags::set_cf(d, flags::cf(d) ^ d.constant(1));
  return true;
}
template <class D>
bool salc(D& d) {
  d.set_gpr_part(RAX, d.wrap(d.constant(0) - flags::cf(d)));
  return true;
}
template <class D>
bool cld(D& d) {
  d.set_direction_flag(d.constant(0));
  return true;
}
template <class D>
bool std_(D& d) {
  d.set_direction_flag(d.constant(1));
  return true;
}

}  // namespace matryoshka::data
