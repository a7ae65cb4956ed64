// The status flags of arithmetic, and the sixteen conditions, in terms of the two words of StatusFlags.
//
// For an addition or subtraction the vector of carries out of each bit position tells CF (the top bit), OF (the top two
// differ) and AF (bit 3). It follows from operands and result, whether or not a carry came in.
#pragma once

#include "cpu/domain/concrete.h"

namespace matryoshka::flags {

// Moves the carries out of the top two bits of the operation to bits 63:62 and keeps bit 3.
template <class D>
V<D> aux_from_carries(D& d, V<D> carries) {
  return ((carries << (64 - D::width)) & d.constant(uint64_t{3} << 62)) | (carries & d.constant(StatusFlags::aux_af));
}

template <class D>
void add(D& d, V<D> a, V<D> b, V<D> sum) {
  d.set_flags(d.sign_extend(sum, D::width), aux_from_carries(d, (a & b) | ((a | b) & ~sum)));
}

template <class D>
void subtract(D& d, V<D> a, V<D> b, V<D> difference) {
  d.set_flags(d.sign_extend(difference, D::width), aux_from_carries(d, (~a & b) | ((~a | b) & difference)));
}

// AND, OR, XOR, TEST: CF = OF = 0; AF is undefined, and is cleared as processors do.
template <class D>
void logic(D& d, V<D> result) {
  d.set_flags(d.sign_extend(result, D::width), d.constant(0));
}

// CF and OF given as 0 or 1, the rest from the result; AF cleared.
template <class D>
void result_with(D& d, V<D> result, V<D> cf, V<D> of) {
  d.set_flags(d.sign_extend(result, D::width), cf << 63 | (cf ^ of) << 62);
}

template <class D>
V<D> cf(D& d) {
  return d.flag_aux() >> 63;
}
template <class D>
V<D> of(D& d) {
  V<D> aux = d.flag_aux();
  return (aux ^ aux << 1) >> 63;
}
template <class D>
V<D> zf(D& d) {
  return d.flag_result() == d.constant(0);
}
template <class D>
V<D> sf(D& d) {
  return (d.flag_result() >> 63 ^ d.flag_aux() >> 9) & d.constant(1);
}
template <class D>
V<D> pf(D& d) {
  return (d.count_ones(d.flag_result() & d.constant(0xff)) ^ d.constant(1) ^ d.flag_aux() >> 8) & d.constant(1);
}
template <class D>
V<D> af(D& d) {
  return d.flag_aux() >> 3 & d.constant(1);
}

// Changes CF alone.
template <class D>
void set_cf(D& d, V<D> carry) {
  // Bit 62 is CF xor OF: flips along with CF so that OF stays.
  V<D> change = carry ^ cf(d);
  d.set_flags(d.flag_result(), d.flag_aux() ^ (change << 63 | change << 62));
}

// All six at once, each 0 or 1.
template <class D>
void set_all(D& d, V<D> c, V<D> p, V<D> a, V<D> z, V<D> s, V<D> o) {
  d.set_flags((z ^ d.constant(1)) << 8, c << 63 | (c ^ o) << 62 | a << 3 | (p ^ d.constant(1)) << 8 | s << 9);
}

enum Condition : unsigned { O, NO, B, NB, Z, NZ, BE, NBE, S, NS, P, NP, L, NL, LE, NLE };

template <Condition C, class D>
V<D> holds(D& d) {
  if constexpr (C & 1)
    return holds<static_cast<Condition>(C & ~1)>(d) ^ d.constant(1);
  else if constexpr (C == O)
    return of(d);
  else if constexpr (C == B)
    return cf(d);
  else if constexpr (C == Z)
    return zf(d);
  else if constexpr (C == BE)
    return cf(d) | zf(d);
  else if constexpr (C == S)
    return sf(d);
  else if constexpr (C == P)
    return pf(d);
  else if constexpr (C == L)
    return sf(d) ^ of(d);
  else
    return (sf(d) ^ of(d)) | zf(d);
}

}  // namespace matryoshka::flags
