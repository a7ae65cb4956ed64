// MUL and IMUL in all forms, and MULX. ZF, SF, PF and AF are undefined after MUL and IMUL; Intel's processors set SF, ZF and PF
// from the low half, and clear AF.
#pragma once

#include "cpu/ops/flags.h"

namespace matryoshka::multiply {

template <class D>
void product_flags(D& d, V<D> low, V<D> overflow) {
  flags::result_with(d, low, overflow, overflow);
}

template <class D>
bool mul(D& d) {  // accumulator times operand into rDX:rAX
  V<D> b;
  if (!d.read(dest, b)) return false;
  V<D> a = d.gpr_part(RAX);
  if constexpr (D::width == 64) {
    V<D> low = a * b, high = d.multiply_high(a, b);
    d.set_gpr(RAX, low);
    d.set_gpr(RDX, high);
    product_flags(d, low, high != d.constant(0));
  } else {
    V<D> product = a * b, low = d.wrap(product), high = d.wrap(product >> D::width);
    if constexpr (D::width == 8) {
      d.set_ax(product);
    } else {
      d.set_gpr_part(RAX, low);
      d.set_gpr_part(RDX, high);
    }
    product_flags(d, low, high != d.constant(0));
  }
  return true;
}

template <class D>
bool imul(D& d) {
  V<D> b;
  if (!d.read(dest, b)) return false;
  V<D> a = d.sign_extend(d.gpr_part(RAX), D::width);
  b = d.sign_extend(b, D::width);
  V<D> low = d.wrap(a * b), high;
  if constexpr (D::width == 64)
    high = d.multiply_high_signed(a, b);
  else
    high = d.wrap(d.arithmetic_shift_right(a * b, d.constant(D::width)));
  if constexpr (D::width == 8) {
    d.set_ax(d.zero_extend(a * b, 16));
  } else {
    d.set_gpr_part(RAX, low);
    d.set_gpr_part(RDX, high);
  }
  V<D> sign = d.wrap(d.arithmetic_shift_right(d.sign_extend(low, D::width), d.constant(63)));
  product_flags(d, low, high != sign);
  return true;
}

template <class D>
void truncated_product(D& d, V<D> a, V<D> b, V<D>& low, V<D>& overflow) {
  a = d.sign_extend(a, D::width), b = d.sign_extend(b, D::width);
  V<D> product = a * b;
  low = d.wrap(product);
  V<D> sign = d.arithmetic_shift_right(d.sign_extend(low, D::width), d.constant(63));
  if constexpr (D::width == 64)
    overflow = d.multiply_high_signed(a, b) != sign;
  else
    overflow = product != d.sign_extend(low, D::width);
}

template <class D>
bool imul2(D& d) {
  V<D> a, b, low, overflow;
  if (!d.read(dest, a) || !d.read(src, b)) return false;
  truncated_product(d, a, b, low, overflow);
  if (!d.write(dest, low)) return false;
  product_flags(d, low, overflow);
  return true;
}

template <class D>
bool imul3(D& d) {
  V<D> a, b, low, overflow;
  if (!d.read(src, a) || !d.read(src2, b)) return false;
  truncated_product(d, a, b, low, overflow);
  if (!d.write(dest, low)) return false;
  product_flags(d, low, overflow);
  return true;
}

// High half to the first operand, low half to the second; the first wins if they are the same register.
template <class D>
bool mulx(D& d) {
  V<D> b;
  if (!d.read(src2, b)) return false;
  V<D> a = d.gpr_part(RDX);
  V<D> low = d.wrap(a * b), high;
  if constexpr (D::width == 64)
    high = d.multiply_high(a, b);
  else
    high = a * b >> D::width;
  return d.write(src, low) && d.write(dest, high);
}

}  // namespace matryoshka::multiply
