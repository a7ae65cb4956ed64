// "Bit and Byte Instructions": BT BTS BTR BTC, BSF BSR, TZCNT LZCNT POPCNT, and BMI1 and BMI2.
#pragma once

#include "cpu/ops/flags.h"

namespace matryoshka::bit {

enum class Change { none, set, reset, complement };

// With a register as bit offset and memory as base, the offset is signed and reaches beyond the operand.
template <Change C, class D>
bool test(D& d) {
  V<D> offset, a;
  if (!d.read(src, offset)) return false;
  if (d.operand_is_memory(dest) && d.operand_is_register(src)) {
    V<D> element = d.arithmetic_shift_right(d.sign_extend(offset, D::width), d.constant(D::width == 64   ? 6
                                                                                        : D::width == 32 ? 5
                                                                                                         : 4));
    d.displace(element << (D::width == 64 ? 3 : D::width == 32 ? 2 : 1));
  }
  V<D> place = offset & d.constant(D::width - 1);
  if constexpr (C == Change::none) {
    if (!d.read(dest, a)) return false;
  } else {
    if (!d.read_for_write(dest, a)) return false;
    V<D> mask = d.constant(1) << place;
    V<D> result = C == Change::set ? a | mask : C == Change::reset ? a & ~mask : a ^ mask;
    if (!d.write(dest, result)) return false;
  }
  flags::set_cf(d, a >> place & d.constant(1));
  return true;
}

// A zero source sets ZF and leaves the destination as it was, which every processor does although only AMD writes it down.
template <class D>
bool bsf(D& d) {
  V<D> v;
  if (!d.read(src, v)) return false;
  V<D> found = v != d.constant(0);
  if (!d.write_if(found, dest, d.count_trailing_zeros(v), d.constant(0))) return false;
  flags::logic(d, v);
  return true;
}

template <class D>
bool bsr(D& d) {
  V<D> v;
  if (!d.read(src, v)) return false;
  V<D> found = v != d.constant(0);
  if (!d.write_if(found, dest, d.constant(63) - d.count_leading_zeros(v), d.constant(0))) return false;
  flags::logic(d, v);
  return true;
}

template <class D>
bool tzcnt(D& d) {
  V<D> v;
  if (!d.read(src, v)) return false;
  V<D> none = v == d.constant(0);
  V<D> result = d.select(none, d.constant(D::width), d.count_trailing_zeros(v));
  if (!d.write(dest, result)) return false;
  flags::result_with(d, result, none, d.constant(0));
  return true;
}

template <class D>
bool lzcnt(D& d) {
  V<D> v;
  if (!d.read(src, v)) return false;
  V<D> result = d.count_leading_zeros(v) - d.constant(64 - D::width);
  if (!d.write(dest, result)) return false;
  flags::result_with(d, result, v == d.constant(0), d.constant(0));
  return true;
}

// ZF says whether the source was zero, all others are cleared.
template <class D>
bool popcnt(D& d) {
  V<D> v;
  if (!d.read(src, v) || !d.write(dest, d.count_ones(v))) return false;
  V<D> zero = d.constant(0);
  flags::set_all(d, zero, zero, zero, v == zero, zero, zero);
  return true;
}

// ---- BMI1

template <class D>
bool andn(D& d) {
  V<D> a, b;
  if (!d.read(src, a) || !d.read(src2, b)) return false;
  V<D> result = d.wrap(~a & b);
  if (!d.write(dest, result)) return false;
  flags::logic(d, result);
  return true;
}

template <class D>
bool blsi(D& d) {
  V<D> v;
  if (!d.read(src, v)) return false;
  V<D> result = d.wrap((d.constant(0) - v) & v);
  if (!d.write(dest, result)) return false;
  flags::result_with(d, result, v != d.constant(0), d.constant(0));
  return true;
}

template <class D>
bool blsmsk(D& d) {
  V<D> v;
  if (!d.read(src, v)) return false;
  V<D> result = d.wrap((v - d.constant(1)) ^ v);
  if (!d.write(dest, result)) return false;
  flags::result_with(d, result, v == d.constant(0), d.constant(0));
  return true;
}

template <class D>
bool blsr(D& d) {
  V<D> v;
  if (!d.read(src, v)) return false;
  V<D> result = d.wrap((v - d.constant(1)) & v);
  if (!d.write(dest, result)) return false;
  flags::result_with(d, result, v == d.constant(0), d.constant(0));
  return true;
}

// Bits 7:0 of the control are the start, 15:8 the length.
template <class D>
bool bextr(D& d) {
  V<D> v, control;
  if (!d.read(src, v) || !d.read(src2, control)) return false;
  V<D> start = control & d.constant(0xff), length = control >> 8 & d.constant(0xff);
  V<D> shifted = d.select(start < d.constant(D::width), v >> (start & d.constant(63)), d.constant(0));
  V<D> mask = d.select(length < d.constant(64), (d.constant(1) << (length & d.constant(63))) - d.constant(1), ~d.constant(0));
  V<D> result = shifted & mask;
  if (!d.write(dest, result)) return false;
  V<D> zero = d.constant(0);
  flags::set_all(d, zero, zero, zero, result == zero, zero, zero);
  return true;
}

// ---- BMI2

template <class D>
bool bzhi(D& d) {
  V<D> v, control;
  if (!d.read(src, v) || !d.read(src2, control)) return false;
  V<D> n = control & d.constant(0xff);
  V<D> inside = n < d.constant(D::width);
  V<D> mask = (d.constant(1) << (n & d.constant(63))) - d.constant(1);
  V<D> result = d.select(inside, v & mask, v);
  if (!d.write(dest, result)) return false;
  flags::result_with(d, result, inside ^ d.constant(1), d.constant(0));
  return true;
}

}  // namespace matryoshka::bit
