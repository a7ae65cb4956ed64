// SSE floating-point instructions: an operation on one lane, applied to four, two or one of them.
//
// An operation says three things: `exact`, the lane function of cpu/float/sse.h with its exceptions; `fast`, the same in the
// host's arithmetic; and `provable`, whether for these operands `fast` gives the exact result and no exception that is not
// there already. The fast path is taken if the operation does not care about MXCSR, or MXCSR is as programs leave it after
// their first inexact result (round to nearest, everything masked, no FTZ, no DAZ, PE set), and every lane is provable.
//
// All lanes are computed before anything is written; see `finish` for what becomes of exceptions.
#pragma once

#include <cmath>

#include "cpu/float/sse.h"
#include "cpu/ops/lanes.h"
#include "cpu/ops/sse_operands.h"

namespace matryoshka::sse {

// ORs the exceptions into MXCSR. False if one of them is not masked: #XM, or #UD if CR4.OSXMMEXCPT says that the system does not
// know #XM.
[[nodiscard]] bool finish(Processor& cpu, const fp::Environment& e);

inline bool usual_mxcsr(uint32_t mxcsr) { return (mxcsr & 0xffe0) == 0x1fa0; }

// ---- What the exponent tells

template <class B>
struct Format;
template <>
struct Format<fp::Binary32> {
  using Native = float;
  using Bits = uint32_t;
  static constexpr Bits one = Bits{1} << 24, infinity = Bits{0xff} << 24;  // of the exponent, with the sign shifted out
};
template <>
struct Format<fp::Binary64> {
  using Native = double;
  using Bits = uint64_t;
  static constexpr Bits one = Bits{1} << 53, infinity = Bits{0x7ff} << 53;
};
template <class B>
using Native = typename Format<B>::Native;

template <class B>
Native<B> native(B a) {
  return __builtin_bit_cast(Native<B>, a);
}
template <class B>
B bits_of(Native<B> a) {
  return __builtin_bit_cast(B, a);
}

template <class B>
bool is_zero(B a) {
  return a.bits << 1 == 0;
}
template <class B>
bool is_normal(B a) {
  return (a.bits << 1) - Format<B>::one < Format<B>::infinity - Format<B>::one;
}
template <class B>
bool is_finite(B a) {
  return a.bits << 1 < Format<B>::infinity;
}
template <class B>
bool is_zero_or_normal(B a) {
  return is_normal(a) || is_zero(a);
}
// Not the smallest normal number either: that may be a tiny result, rounded up.
template <class B>
bool is_well_normal(B a) {
  return (a.bits << 1) - 2 * Format<B>::one < Format<B>::infinity - 2 * Format<B>::one;
}
// Neither NaN nor denormal: comparisons of such raise nothing.
template <class B>
bool is_plain(B a) {
  return (a.bits << 1) - Format<B>::one <= Format<B>::infinity - Format<B>::one || is_zero(a);
}

// ---- Operations

struct Add {
  static constexpr bool any_mxcsr = false;
  template <class B>
  static B exact(B a, B b, unsigned, fp::Environment& e) {
    return fp::add(a, b, e);
  }
  template <class B>
  static B fast(B a, B b, unsigned) {
    return bits_of<B>(native(a) + native(b));
  }
  // A denormal sum of normal numbers is exact.
  template <class B>
  static bool provable(B a, B b, B result) {
    return is_zero_or_normal(a) && is_zero_or_normal(b) && is_finite(result);
  }
};

struct Subtract : Add {
  template <class B>
  static B exact(B a, B b, unsigned, fp::Environment& e) {
    return fp::subtract(a, b, e);
  }
  template <class B>
  static B fast(B a, B b, unsigned) {
    return bits_of<B>(native(a) - native(b));
  }
};

// "ADDSUBPS", "ADDSUBPD"
struct Alternate : Add {
  template <class B>
  static B exact(B a, B b, unsigned lane, fp::Environment& e) {
    return lane % 2 ? fp::add(a, b, e) : fp::subtract(a, b, e);
  }
  template <class B>
  static B fast(B a, B b, unsigned lane) {
    return lane % 2 ? Add::fast(a, b, lane) : Subtract::fast(a, b, lane);
  }
};

struct Multiply {
  static constexpr bool any_mxcsr = false;
  template <class B>
  static B exact(B a, B b, unsigned, fp::Environment& e) {
    return fp::multiply(a, b, e);
  }
  template <class B>
  static B fast(B a, B b, unsigned) {
    return bits_of<B>(native(a) * native(b));
  }
  template <class B>
  static bool provable(B a, B b, B result) {
    return is_zero_or_normal(a) && is_zero_or_normal(b) && (is_well_normal(result) || is_zero(a) || is_zero(b));
  }
};

struct Divide {
  static constexpr bool any_mxcsr = false;
  template <class B>
  static B exact(B a, B b, unsigned, fp::Environment& e) {
    return fp::divide(a, b, e);
  }
  template <class B>
  static B fast(B a, B b, unsigned) {
    return bits_of<B>(native(a) / native(b));
  }
  template <class B>
  static bool provable(B a, B b, B result) {
    return is_zero_or_normal(a) && is_normal(b) && (is_well_normal(result) || is_zero(a));
  }
};

struct SquareRoot {
  static constexpr bool any_mxcsr = false;
  template <class B>
  static B exact(B, B b, unsigned, fp::Environment& e) {
    return fp::square_root(b, e);
  }
  template <class B>
  static B fast(B, B b, unsigned) {
    return bits_of<B>(std::sqrt(native(b)));
  }
  template <class B>
  static bool provable(B, B b, B) {
    return is_zero(b) || (is_normal(b) && (b.bits < Format<B>::infinity >> 1));
  }
};

struct Minimum {
  static constexpr bool any_mxcsr = true;
  template <class B>
  static B exact(B a, B b, unsigned, fp::Environment& e) {
    return fp::minimum(a, b, e);
  }
  template <class B>
  static B fast(B a, B b, unsigned) {
    return native(a) < native(b) ? a : b;
  }
  template <class B>
  static bool provable(B a, B b, B) {
    return is_plain(a) && is_plain(b);
  }
};

struct Maximum : Minimum {
  template <class B>
  static B exact(B a, B b, unsigned, fp::Environment& e) {
    return fp::maximum(a, b, e);
  }
  template <class B>
  static B fast(B a, B b, unsigned) {
    return native(a) > native(b) ? a : b;
  }
};

// ---- Lanes

template <class Operation, class B, unsigned count>
[[gnu::noinline, nodiscard]] bool exact_lanes(Processor& cpu, unsigned reg, Packed a, Packed b, Packed rest) {
  using Bits = typename Format<B>::Bits;
  auto e = fp::Environment::from_mxcsr(cpu.state.mxcsr);
  auto x = a.as<Bits>(), y = b.as<Bits>(), result = rest.as<Bits>();
  for (unsigned i = 0; i < count; ++i) result[i] = Operation::exact(B{x[i]}, B{y[i]}, i, e).bits;
  if (!finish(cpu, e)) return false;
  set_xmm(cpu, reg, result);
  return true;
}

// The result goes to register `reg`, whose lanes from `count` on are those of `rest`.
template <class Operation, class B, unsigned count>
[[nodiscard]] bool compute_lanes(Processor& cpu, unsigned reg, Packed a, Packed b, Packed rest) {
  using Bits = typename Format<B>::Bits;
  if (Operation::any_mxcsr || usual_mxcsr(cpu.state.mxcsr)) [[likely]] {
    auto x = a.as<Bits>(), y = b.as<Bits>(), result = rest.as<Bits>();
    bool provable = true;
    for (unsigned i = 0; i < count; ++i) {
      B lane = Operation::fast(B{x[i]}, B{y[i]}, i);
      provable &= Operation::provable(B{x[i]}, B{y[i]}, lane);
      result[i] = lane.bits;
    }
    if (provable) [[likely]] {
      set_xmm(cpu, reg, result);
      return true;
    }
  }
  return exact_lanes<Operation, B, count>(cpu, reg, a, b, rest);
}

template <class Operation, class B>
bool packed_float(Processor& cpu, const Op& op) {
  Packed source;
  if (!read_w(cpu, op, source)) return false;
  Packed a = xmm(cpu, op.reg);
  return compute_lanes<Operation, B, 16 / sizeof(B)>(cpu, op.reg, a, source, a);
}
template <class Operation, class B>
bool scalar_float(Processor& cpu, const Op& op) {
  typename Format<B>::Bits source;
  if (!read_w_part(cpu, op, source)) return false;
  Packed a = xmm(cpu, op.reg);
  return compute_lanes<Operation, B, 1>(cpu, op.reg, a, Packed(source, 0), a);
}
// "HADDPS", "HSUBPD" and their like: neighbours of the destination, then of the source.
template <class Operation, class B>
bool horizontal_float(Processor& cpu, const Op& op) {
  using Bits = typename Format<B>::Bits;
  Packed source;
  if (!read_w(cpu, op, source)) return false;
  Packed a = xmm(cpu, op.reg), even = lanes::even_lanes<Bits>(a, source), odd = lanes::odd_lanes<Bits>(a, source);
  return compute_lanes<Operation, B, 16 / sizeof(B)>(cpu, op.reg, even, odd, a);
}

template <class Operation>
bool packed_single(Processor& cpu, const Op& op) {
  return packed_float<Operation, fp::Binary32>(cpu, op);
}
template <class Operation>
bool packed_double(Processor& cpu, const Op& op) {
  return packed_float<Operation, fp::Binary64>(cpu, op);
}
template <class Operation>
bool scalar_single(Processor& cpu, const Op& op) {
  return scalar_float<Operation, fp::Binary32>(cpu, op);
}
template <class Operation>
bool scalar_double(Processor& cpu, const Op& op) {
  return scalar_float<Operation, fp::Binary64>(cpu, op);
}
template <class Operation>
bool horizontal_single(Processor& cpu, const Op& op) {
  return horizontal_float<Operation, fp::Binary32>(cpu, op);
}
template <class Operation>
bool horizontal_double(Processor& cpu, const Op& op) {
  return horizontal_float<Operation, fp::Binary64>(cpu, op);
}

// ---- sse_float.cpp

// CMPPS, CMPPD, CMPSS, CMPSD
bool compare_packed_single(Processor&, const Op&);
bool compare_packed_double(Processor&, const Op&);
bool compare_scalar_single(Processor&, const Op&);
bool compare_scalar_double(Processor&, const Op&);
// COMISS, COMISD, UCOMISS, UCOMISD
bool comis_single(Processor&, const Op&);
bool comis_double(Processor&, const Op&);
bool ucomis_single(Processor&, const Op&);
bool ucomis_double(Processor&, const Op&);
// ROUNDPS, ROUNDPD, ROUNDSS, ROUNDSD
bool round_packed_single(Processor&, const Op&);
bool round_packed_double(Processor&, const Op&);
bool round_scalar_single(Processor&, const Op&);
bool round_scalar_double(Processor&, const Op&);
// RCPPS, RCPSS, RSQRTPS, RSQRTSS
bool reciprocal_packed(Processor&, const Op&);
bool reciprocal_scalar(Processor&, const Op&);
bool reciprocal_root_packed(Processor&, const Op&);
bool reciprocal_root_scalar(Processor&, const Op&);
// DPPS, DPPD
bool dot_product_single(Processor&, const Op&);
bool dot_product_double(Processor&, const Op&);

}  // namespace matryoshka::sse
