// Elementary functions on Numbers, good to 2^-120: the engine under the transcendental instructions.
//
// Terms. A *fraction* is a u128 read as a multiple of 2^-128, always below 1; a *scaled* value is a multiple of 2^-127,
// below 2. Every function reduces its argument so far that a short Taylor series converges, sums the series by Horner's
// rule in fractions, and multiplies it to the leading term, which is a Number: so the error is relative, and small
// arguments lose nothing.
//
// Error. Truncating a product of fractions or a coefficient costs less than one unit, 2^-128, and Horner's factor is
// below 0.7 each time: the sum is within 4 units, plus the first term left out, which the number of coefficients puts
// below one unit. A Number operation errs by 2^-127. The longest path (logarithm: subtract, divide, square, series,
// three products, one sum) stays within 40 units of 2^-128; the arctangent adds its table, at most 16 sums of series.
// All functions are therefore within 2^-120 relative (measured against MPFR: the tangent 2^-121, all others 2^-124),
// and round_pack decides correctly unless the true value comes closer than 2^-56 ulp to a tie or, in the directed modes,
// to a representable number.
//
// The one place where true values do come that close is near zero, where sin x = x - x^3/6, and so on, with x itself
// representable. There truncation must fall on the right side: a series 1 - u is returned as the complement ~u, which
// is one unit low even if u vanishes, so that sin x < x and cos x < 1 in every rounding mode.
#pragma once

#include "cpu/float/number.h"

namespace matryoshka::fp {

Number sine_series(const Number& r);           // |r| <= pi/4
Number cosine_series(const Number& r);         // |r| <= pi/4
Number tangent_series(const Number& r);        // 0 < |r| <= pi/4
Number arctangent_series(const Number& q);     // 0 < q <= 1
Number power_of_two_series(const Number& x);   // 2^x - 1, 0 < |x| < 1
Number log2_series(const Number& x);           // x > 0, not 1
Number log2_one_plus_series(const Number& f);  // log2(1 + f), f > -1, not 0

}  // namespace matryoshka::fp
