// One lane of the SSE and AVX floating-point instructions, exact under every MXCSR. Packed instructions run their lanes
// in one Environment (format.h) and write nothing if e.unmasked(). First and second operand are those of the manual's
// Operation section: destination (AVX: first source) and source.
//
// RCPSS and RSQRTSS differ between processors, and Intel's tables are unpublished: ours give the reciprocal rounded to
// 13 significant bits, relative error at most 2^-13, inside the manual's 1.5 * 2^-12, equal on every host.
#pragma once

#include "cpu/float/format.h"

namespace matryoshka::fp {

Class classify(Binary32 a);
Class classify(Binary64 a);

// ADDSS/SD, SUBSS/SD, MULSS/SD, DIVSS/SD, SQRTSS/SD, MINSS/SD, MAXSS/SD.
Binary32 add(Binary32 a, Binary32 b, Environment& e);
Binary64 add(Binary64 a, Binary64 b, Environment& e);
Binary32 subtract(Binary32 a, Binary32 b, Environment& e);
Binary64 subtract(Binary64 a, Binary64 b, Environment& e);
Binary32 multiply(Binary32 a, Binary32 b, Environment& e);
Binary64 multiply(Binary64 a, Binary64 b, Environment& e);
Binary32 divide(Binary32 a, Binary32 b, Environment& e);
Binary64 divide(Binary64 a, Binary64 b, Environment& e);
Binary32 square_root(Binary32 a, Environment& e);
Binary64 square_root(Binary64 a, Environment& e);
Binary32 minimum(Binary32 a, Binary32 b, Environment& e);
Binary64 minimum(Binary64 a, Binary64 b, Environment& e);
Binary32 maximum(Binary32 a, Binary32 b, Environment& e);
Binary64 maximum(Binary64 a, Binary64 b, Environment& e);

Relation compare(Binary32 a, Binary32 b, Environment& e);  // COMISS: every NaN is invalid
Relation compare(Binary64 a, Binary64 b, Environment& e);
Relation compare_quiet(Binary32 a, Binary32 b, Environment& e);  // UCOMISS: only signaling NaNs are
Relation compare_quiet(Binary64 a, Binary64 b, Environment& e);
// CMPSS/SD: true where the lane becomes all ones. SSE has predicates 0..7, AVX 0..31.
bool compare_predicate(Binary32 a, Binary32 b, unsigned predicate, Environment& e);
bool compare_predicate(Binary64 a, Binary64 b, unsigned predicate, Environment& e);

// ROUNDSS/SD with its immediate: bits 1:0 rounding, bit 2 take MXCSR's, bit 3 inexact is no exception.
Binary32 round_to_integer(Binary32 a, uint8_t immediate, Environment& e);
Binary64 round_to_integer(Binary64 a, uint8_t immediate, Environment& e);

// CVTSS2SD, CVTSD2SS, CVTSI2SS/SD.
Binary64 to_binary64(Binary32 a, Environment& e);
Binary32 to_binary32(Binary64 a, Environment& e);
Binary32 to_binary32(int64_t a, Environment& e);
Binary64 to_binary64(int64_t a, Environment& e);
// CVTSS/SD2SI and, with Rounding::zero, CVTTSS/SD2SI; 0x80000000(00000000) where the value does not fit.
int32_t to_int32(Binary32 a, Rounding rounding, Environment& e);
int32_t to_int32(Binary64 a, Rounding rounding, Environment& e);
int64_t to_int64(Binary32 a, Rounding rounding, Environment& e);
int64_t to_int64(Binary64 a, Rounding rounding, Environment& e);

// RCPSS and RSQRTSS: no exceptions, no rounding modes, denormals count as zero.
Binary32 reciprocal(Binary32 a);
Binary32 reciprocal_square_root(Binary32 a);

}  // namespace matryoshka::fp
