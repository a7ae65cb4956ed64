// "Binary Arithmetic Instructions" and "Logical Instructions": ADD ADC SUB SBB CMP INC DEC NEG, AND OR XOR TEST NOT,
// XADD CMPXCHG, ADCX ADOX.
#pragma once

#include "cpu/ops/flags.h"

namespace matryoshka::alu {

template <class D>
bool add(D& d) {
  V<D> a, b;
  if (!d.read_for_write(dest, a) || !d.read(src, b)) return false;
  V<D> sum = d.wrap(a + b);
  if (!d.write(dest, sum)) return false;
  flags::add(d, a, b, sum);
  return true;
}

template <class D>
bool adc(D& d) {
  V<D> a, b;
  if (!d.read_for_write(dest, a) || !d.read(src, b)) return false;
  V<D> sum = d.wrap(a + b + flags::cf(d));
  if (!d.write(dest, sum)) return false;
  flags::add(d, a, b, sum);
  return true;
}

template <class D>
bool sub(D& d) {
  V<D> a, b;
  if (!d.read_for_write(dest, a) || !d.read(src, b)) return false;
  V<D> difference = d.wrap(a - b);
  if (!d.write(dest, difference)) return false;
  flags::subtract(d, a, b, difference);
  return true;
}

template <class D>
bool sbb(D& d) {
  V<D> a, b;
  if (!d.read_for_write(dest, a) || !d.read(src, b)) return false;
  V<D> difference = d.wrap(a - b - flags::cf(d));
  if (!d.write(dest, difference)) return false;
  flags::subtract(d, a, b, difference);
  return true;
}

template <class D>
bool cmp(D& d) {
  V<D> a, b;
  if (!d.read(dest, a) || !d.read(src, b)) return false;
  flags::subtract(d, a, b, d.wrap(a - b));
  return true;
}

template <class D>
bool inc(D& d) {
  V<D> a;
  if (!d.read_for_write(dest, a)) return false;
  V<D> sum = d.wrap(a + d.constant(1));
  if (!d.write(dest, sum)) return false;
  V<D> carry = flags::cf(d);
  flags::add(d, a, d.constant(1), sum);
  flags::set_cf(d, carry);
  return true;
}

template <class D>
bool dec(D& d) {
  V<D> a;
  if (!d.read_for_write(dest, a)) return false;
  V<D> difference = d.wrap(a - d.constant(1));
  if (!d.write(dest, difference)) return false;
  V<D> carry = flags::cf(d);
  flags::subtract(d, a, d.constant(1), difference);
  flags::set_cf(d, carry);
  return true;
}

template <class D>
bool neg(D& d) {
  V<D> a;
  if (!d.read_for_write(dest, a)) return false;
  V<D> difference = d.wrap(d.constant(0) - a);
  if (!d.write(dest, difference)) return false;
  flags::subtract(d, d.constant(0), a, difference);
  return true;
}

template <class D>
bool and_(D& d) {
  V<D> a, b;
  if (!d.read_for_write(dest, a) || !d.read(src, b)) return false;
  V<D> result = a & b;
  if (!d.write(dest, result)) return false;
  flags::logic(d, result);
  return true;
}

template <class D>
bool or_(D& d) {
  V<D> a, b;
  if (!d.read_for_write(dest, a) || !d.read(src, b)) return false;
  V<D> result = a | b;
  if (!d.write(dest, result)) return false;
  flags::logic(d, result);
  return true;
}

template <class D>
bool xor_(D& d) {
  V<D> a, b;
  if (!d.read_for_write(dest, a) || !d.read(src, b)) return false;
  V<D> result = a ^ b;
  if (!d.write(dest, result)) return false;
  flags::logic(d, result);
  return true;
}

template <class D>
bool test(D& d) {
  V<D> a, b;
  if (!d.read(dest, a) || !d.read(src, b)) return false;
  flags::logic(d, a & b);
  return true;
}

template <class D>
bool not_(D& d) {
  V<D> a;
  return d.read_for_write(dest, a) && d.write(dest, d.wrap(~a));
}

template <class D>
bool xadd(D& d) {
  V<D> a, b;
  if (!d.read_for_write(dest, a) || !d.read(src, b)) return false;
  V<D> sum = d.wrap(a + b);
  // The source register takes the old value first: XADD AL,AL leaves the sum.
  if (d.operand_is_memory(dest) && !d.write(dest, sum)) return false;
  if (!d.write(src, a)) return false;
  if (!d.operand_is_memory(dest) && !d.write(dest, sum)) return false;
  flags::add(d, a, b, sum);
  return true;
}

// The destination is written either way, its own value back if the comparison failed.
template <class D>
bool cmpxchg(D& d) {
  V<D> a, b;
  if (!d.read_for_write(dest, a) || !d.read(src, b)) return false;
  V<D> accumulator = d.gpr_part(RAX);
  V<D> equal = a == accumulator;
  // A 32-bit register destination keeps its upper half when it is only written back.
  if (!d.write_if(equal, dest, b, a)) return false;
  d.write_gpr_part_if(equal ^ d.constant(1), RAX, a);
  flags::subtract(d, accumulator, a, d.wrap(accumulator - a));
  return true;
}

// ADCX uses CF alone, ADOX OF alone.
template <class D>
bool adcx(D& d) {
  V<D> a, b;
  if (!d.read(dest, a) || !d.read(src, b)) return false;
  V<D> sum = d.wrap(a + b + flags::cf(d));
  if (!d.write(dest, sum)) return false;
  flags::set_cf(d, ((a & b) | ((a | b) & ~sum)) >> (D::width - 1) & d.constant(1));
  return true;
}

template <class D>
bool adox(D& d) {
  V<D> a, b;
  if (!d.read(dest, a) || !d.read(src, b)) return false;
  V<D> overflow = flags::of(d);
  V<D> sum = d.wrap(a + b + overflow);
  if (!d.write(dest, sum)) return false;
  V<D> carry = ((a & b) | ((a | b) & ~sum)) >> (D::width - 1) & d.constant(1);
  // OF is CF xor bit 62.
  d.set_flags(d.flag_result(), d.flag_aux() ^ (carry ^ overflow) << 62);
  return true;
}

}  // namespace matryoshka::alu
