// "Shift and Rotate Instructions": SHL SHR SAR ROL ROR RCL RCR SHLD SHRD, and BMI2's SHLX SHRX SARX RORX.
//
// A count of zero, after masking, leaves every flag alone; the texts compute flags for a count of at least one and select. Flags
// that the manual leaves undefined follow what Intel processors do, where they agree among themselves.
#pragma once

#include "cpu/ops/flags.h"

namespace matryoshka::shift {

// The count of a shift: five bits of it, six for 64-bit operations.
template <class D>
V<D> masked(D& d, V<D> count) {
  return count & d.constant(D::width == 64 ? 63 : 31);
}

// A shift by as many places as the container has or more gives zero, for 8- and 16-bit operations with counts to 31.
template <class D>
bool shl(D& d) {
  V<D> a, count;
  if (!d.read_for_write(dest, a) || !d.read(src, count)) return false;
  count = masked(d, count);
  V<D> result = d.wrap(a << count);
  if (!d.write(dest, result)) return false;
  // The last bit out: bit width-count of the operand, none if the count exceeds the width.
  V<D> carry =
      D::width == 64 ? a >> ((d.constant(64) - count) & d.constant(63)) & d.constant(1) : a << count >> D::width & d.constant(1);
  V<D> top = result >> (D::width - 1);
  d.set_flags_if(count != d.constant(0), d.sign_extend(result, D::width), carry << 63 | top << 62);
  return true;
}

template <class D>
bool shr(D& d) {
  V<D> a, count;
  if (!d.read_for_write(dest, a) || !d.read(src, count)) return false;
  count = masked(d, count);
  V<D> result = a >> count;
  if (!d.write(dest, result)) return false;
  V<D> carry = a >> ((count - d.constant(1)) & d.constant(63)) & d.constant(1);
  // OF is the top bit of the operand for a count of 1; for others processors give the same formula on the last step.
  V<D> before = a >> ((count - d.constant(1)) & d.constant(63));
  V<D> overflow = (before >> (D::width - 1) ^ result >> (D::width - 1)) & d.constant(1);
  d.set_flags_if(count != d.constant(0), d.sign_extend(result, D::width), carry << 63 | (carry ^ overflow) << 62);
  return true;
}

template <class D>
bool sar(D& d) {
  V<D> a, count;
  if (!d.read_for_write(dest, a) || !d.read(src, count)) return false;
  count = masked(d, count);
  V<D> wide = d.sign_extend(a, D::width);
  V<D> result = d.wrap(d.arithmetic_shift_right(wide, count));
  if (!d.write(dest, result)) return false;
  V<D> carry = d.arithmetic_shift_right(wide, (count - d.constant(1)) & d.constant(63)) & d.constant(1);
  d.set_flags_if(count != d.constant(0), d.sign_extend(result, D::width), carry << 63 | carry << 62);
  return true;
}

// Rotates change CF and OF only.
template <class D>
void rotate_flags(D& d, V<D> changed, V<D> carry, V<D> overflow) {
  V<D> aux = d.flag_aux() & d.constant(~(uint64_t{3} << 62));
  d.set_flags_if(changed, d.flag_result(), aux | carry << 63 | (carry ^ overflow) << 62);
}

template <class D>
bool rol(D& d) {
  V<D> a, count;
  if (!d.read_for_write(dest, a) || !d.read(src, count)) return false;
  count = masked(d, count);
  V<D> n = count & d.constant(D::width - 1);
  V<D> result = d.wrap(a << n | a >> ((d.constant(D::width) - n) & d.constant(63)));
  if (!d.write(dest, result)) return false;
  V<D> carry = result & d.constant(1);
  rotate_flags(d, count != d.constant(0), carry, result >> (D::width - 1) ^ carry);
  return true;
}

template <class D>
bool ror(D& d) {
  V<D> a, count;
  if (!d.read_for_write(dest, a) || !d.read(src, count)) return false;
  count = masked(d, count);
  V<D> n = count & d.constant(D::width - 1);
  V<D> result = d.wrap(a >> n | a << ((d.constant(D::width) - n) & d.constant(63)));
  if (!d.write(dest, result)) return false;
  V<D> carry = result >> (D::width - 1);
  rotate_flags(d, count != d.constant(0), carry, (result >> (D::width - 2) & d.constant(1)) ^ carry);
  return true;
}

// Rotates through carry turn width + 1 bits. Loops have no place in a text; the turn is made of two shifts, each by less than
// 64 because a shift by the full width is split in two.
template <class D>
V<D> shift_left_safely(D&, V<D> v, V<D> count) {  // count in 0..64
  V<D> half = count >> 1;
  return v << half << (count - half);
}
template <class D>
V<D> shift_right_safely(D&, V<D> v, V<D> count) {
  V<D> half = count >> 1;
  return v >> half >> (count - half);
}

template <class D>
V<D> carry_count(D& d, V<D> count) {
  // Modulo 9, 17, 33 or 65: counts are below 32 (64), so only the narrow widths wrap.
  count = masked(d, count);
  if constexpr (D::width == 8) {
    count = count - d.constant(9) * (count >= d.constant(27)) * d.constant(3) -
            d.constant(18) * V<D>(count >= d.constant(18)) * (count < d.constant(27)) -
            d.constant(9) * V<D>(count >= d.constant(9)) * (count < d.constant(18));
  } else if constexpr (D::width == 16) {
    count = count - d.constant(17) * (count >= d.constant(17));
  }
  return count;
}

template <class D>
bool rcl(D& d) {
  V<D> a, count;
  if (!d.read_for_write(dest, a) || !d.read(src, count)) return false;
  V<D> n = carry_count(d, count);
  V<D> carry_in = flags::cf(d);
  // (carry_in : a) rotated left by n in width + 1 bits
  V<D> moved = n != d.constant(0);
  V<D> high = a << n;
  V<D> low = shift_right_safely(d, a, (d.constant(D::width + 1) - n) * moved) * moved;
  V<D> middle = (carry_in << ((n - d.constant(1)) & d.constant(63))) * moved;
  V<D> result = d.wrap(d.select(moved, high | low | middle, a));
  if (!d.write(dest, result)) return false;
  V<D> carry = a >> ((d.constant(D::width) - n) & d.constant(63)) & d.constant(1);
  rotate_flags(d, moved, carry, result >> (D::width - 1) ^ carry);
  return true;
}

template <class D>
bool rcr(D& d) {
  V<D> a, count;
  if (!d.read_for_write(dest, a) || !d.read(src, count)) return false;
  V<D> n = carry_count(d, count);
  V<D> carry_in = flags::cf(d);
  V<D> moved = n != d.constant(0);
  V<D> low = a >> n;
  V<D> high = shift_left_safely(d, a, (d.constant(D::width + 1) - n) * moved) * moved;
  V<D> middle = (carry_in << ((d.constant(D::width) - n) & d.constant(63))) * moved;
  V<D> result = d.wrap(d.select(moved, high | low | middle, a));
  if (!d.write(dest, result)) return false;
  V<D> carry = a >> ((n - d.constant(1)) & d.constant(63)) & d.constant(1);
  rotate_flags(d, moved, carry, (result >> (D::width - 1) ^ result >> (D::width - 2)) & d.constant(1));
  return true;
}

// Double shifts. For 16-bit operands a count above 16 is undefined; the bits come from the destination again, as Intel's
// processors do: dest:src:dest turned as one.
template <class D>
bool shld(D& d) {
  V<D> a, b, count;
  if (!d.read_for_write(dest, a) || !d.read(src, b) || !d.read(src2, count)) return false;
  count = masked(d, count);
  V<D> moved = count != d.constant(0);
  V<D> result, carry;
  if constexpr (D::width == 16) {
    V<D> all = a << 32 | b << 16 | a;
    result = d.wrap(all << count >> 32);
    carry = all >> (d.constant(48) - count) & d.constant(1);
  } else {
    V<D> back = (d.constant(D::width) - count) & d.constant(63);
    result = d.wrap(d.select(moved, a << count | b >> back, a));
    carry = a >> back & d.constant(1);
  }
  if (!d.write(dest, result)) return false;
  V<D> overflow = (result ^ a) >> (D::width - 1) & d.constant(1);
  d.set_flags_if(moved, d.sign_extend(result, D::width), carry << 63 | (carry ^ overflow) << 62);
  return true;
}

template <class D>
bool shrd(D& d) {
  V<D> a, b, count;
  if (!d.read_for_write(dest, a) || !d.read(src, b) || !d.read(src2, count)) return false;
  count = masked(d, count);
  V<D> moved = count != d.constant(0);
  V<D> result, carry;
  V<D> last = (count - d.constant(1)) & d.constant(63);
  if constexpr (D::width == 16) {
    V<D> all = a << 32 | b << 16 | a;
    result = d.wrap(all >> count);
    carry = all >> last & d.constant(1);
  } else {
    V<D> back = (d.constant(D::width) - count) & d.constant(63);
    result = d.wrap(d.select(moved, a >> count | b << back, a));
    carry = a >> last & d.constant(1);
  }
  if (!d.write(dest, result)) return false;
  V<D> overflow = (result ^ a) >> (D::width - 1) & d.constant(1);
  d.set_flags_if(moved, d.sign_extend(result, D::width), carry << 63 | (carry ^ overflow) << 62);
  return true;
}

// ---- BMI2: no flags

template <class D>
bool shlx(D& d) {
  V<D> a, count;
  if (!d.read(src, a) || !d.read(src2, count)) return false;
  return d.write(dest, d.wrap(a << masked(d, count)));
}
template <class D>
bool shrx(D& d) {
  V<D> a, count;
  if (!d.read(src, a) || !d.read(src2, count)) return false;
  return d.write(dest, a >> masked(d, count));
}
template <class D>
bool sarx(D& d) {
  V<D> a, count;
  if (!d.read(src, a) || !d.read(src2, count)) return false;
  return d.write(dest, d.wrap(d.arithmetic_shift_right(d.sign_extend(a, D::width), masked(d, count))));
}
template <class D>
bool rorx(D& d) {
  V<D> a, count;
  if (!d.read(src, a) || !d.read(src2, count)) return false;
  count = masked(d, count);
  V<D> back = (d.constant(D::width) - count) & d.constant(D::width - 1);
  return d.write(dest, d.wrap(a >> count | a << back));
}

}  // namespace matryoshka::shift
