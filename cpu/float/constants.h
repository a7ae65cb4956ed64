// Mathematical constants, 128 significant bits, truncated. One list for FLDPI and its kin and for the series.
#pragma once

#include "cpu/float/number.h"

namespace matryoshka::fp {

constexpr Number number_one{false, 0, u128(1) << 127};
constexpr Number number_pi{false, 1, wide(0xc90fdaa22168c234, 0xc4c6628b80dc1cd1)};
constexpr Number number_log2_10{false, 1, wide(0xd49a784bcd1b8afe, 0x492bf6ff4dafdb4c)};
constexpr Number number_log2_e{false, 0, wide(0xb8aa3b295c17f0bb, 0xbe87fed0691d3e88)};
constexpr Number number_log10_2{false, -2, wide(0x9a209a84fbcff798, 0x8f8959ac0b7c9178)};
constexpr Number number_ln_2{false, -1, wide(0xb17217f7d1cf79ab, 0xc9e3b39803f2f6af)};

}  // namespace matryoshka::fp
