#include "cpu/ops/crypto.h"

#include <array>
#include <bit>

namespace matryoshka::crypto {

// ---- AES. The state's byte i is row i % 4 of column i / 4.

namespace {

// Multiplication by x in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1.
constexpr uint8_t times_x(uint8_t a) { return static_cast<uint8_t>(a << 1 ^ (a & 0x80 ? 0x1b : 0)); }

struct SubstitutionBoxes {
  std::array<uint8_t, 256> forward{}, inverse{};
};

// FIPS 197, "SubBytes": the multiplicative inverse, then an affine map. Powers of the generator 3 and of its inverse run through
// the field in opposite directions.
constexpr SubstitutionBoxes boxes = [] {
  SubstitutionBoxes b;
  uint8_t power = 1, inverse = 1;
  for (int i = 0; i < 255; ++i) {
    uint8_t v = inverse;
    auto mapped = static_cast<uint8_t>(v ^ std::rotl(v, 1) ^ std::rotl(v, 2) ^ std::rotl(v, 3) ^ std::rotl(v, 4) ^ 0x63);
    b.forward[power] = mapped;
    b.inverse[mapped] = power;
    power = static_cast<uint8_t>(power ^ times_x(power));    // times 3
    inverse = static_cast<uint8_t>(inverse ^ inverse << 1);  // divided by 3
    inverse = static_cast<uint8_t>(inverse ^ inverse << 2);
    inverse = static_cast<uint8_t>(inverse ^ inverse << 4);
    if (inverse & 0x80) inverse ^= 0x09;
  }
  b.forward[0] = 0x63;
  b.inverse[0x63] = 0;
  return b;
}();
static_assert(boxes.forward[0x53] == 0xed && boxes.inverse[0xed] == 0x53);

Packed substitute(Packed state, const std::array<uint8_t, 256>& box) {
  return map<uint8_t>(state, [&](uint8_t byte) { return box[byte]; });
}

// Row r moves r columns to the left.
Packed shift_rows(Packed v) {
  auto state = v.as<uint8_t>();
  return shuffle<[](size_t i) { return (i + 4 * (i % 4)) % 16; }>(state, state);
}
Packed inverse_shift_rows(Packed v) {
  auto state = v.as<uint8_t>();
  return shuffle<[](size_t i) { return (i + 12 * (i % 4)) % 16; }>(state, state);
}

// Each byte's neighbour `places` rows below, in the same column.
template <size_t places>
Lanes<uint8_t> rows_below(Lanes<uint8_t> state) {
  return shuffle<[](size_t i) { return i / 4 * 4 + (i + places) % 4; }>(state, state);
}

Lanes<uint8_t> times_x(Lanes<uint8_t> a) {
  auto carries = (Lanes<uint8_t>)((Lanes<int8_t>)a < 0);
  return (a + a) ^ (carries & 0x1b);
}

// FIPS 197, "MixColumns": every byte of a column is 2 a0 + 3 a1 + a2 + a3, counted from its own row.
Lanes<uint8_t> mix_columns(Lanes<uint8_t> a) {
  auto below = rows_below<1>(a);
  return times_x(a ^ below) ^ below ^ rows_below<2>(a) ^ rows_below<3>(a);
}

// The inverse, 14 a0 + 11 a1 + 13 a2 + 9 a3, is MixColumns after adding 4 (a0 + a2) to each byte.
Lanes<uint8_t> unmix_columns(Lanes<uint8_t> a) { return mix_columns(a ^ times_x(times_x(a ^ rows_below<2>(a)))); }

}  // namespace

Packed encrypt_round(Packed d, Packed s) {
  Packed state = substitute(shift_rows(d), boxes.forward);
  return Packed(mix_columns(state.as<uint8_t>())).bits ^ s.bits;
}
Packed encrypt_last_round(Packed d, Packed s) { return substitute(shift_rows(d), boxes.forward).bits ^ s.bits; }
Packed decrypt_round(Packed d, Packed s) {
  Packed state = substitute(inverse_shift_rows(d), boxes.inverse);
  return Packed(unmix_columns(state.as<uint8_t>())).bits ^ s.bits;
}
Packed decrypt_last_round(Packed d, Packed s) { return substitute(inverse_shift_rows(d), boxes.inverse).bits ^ s.bits; }
Packed inverse_mix_columns(Packed, Packed s) { return unmix_columns(s.as<uint8_t>()); }
Packed key_generation_assist(Packed, Packed s, uint8_t constant) {
  auto word = substitute(s, boxes.forward).as<uint32_t>();
  uint32_t x1 = word[1], x3 = word[3];
  return Lanes<uint32_t>{x1, std::rotr(x1, 8) ^ constant, x3, std::rotr(x3, 8) ^ constant};
}

// ---- "PCLMULQDQ", with ordinary multiplications

namespace {

// Of each factor every fourth bit at a time: a place of the product then gets at most 8 ones from these, and their sum stays
// below 16, inside the four bits up to the next place. Its lowest bit is the sum without carries.
uint64_t multiply_halves(uint64_t a, uint64_t b) {
  constexpr uint64_t every_fourth = 0x1111111111111111;
  uint64_t x[4], y[4], product = 0;
  for (unsigned i = 0; i < 4; ++i) x[i] = a & every_fourth << i, y[i] = b & every_fourth << i;
  for (unsigned place = 0; place < 4; ++place) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < 4; ++i) sum ^= x[i] * y[(place - i) & 3];
    product |= sum & every_fourth << place;
  }
  return product;
}

}  // namespace

// Three products of 32 bits by Karatsuba's rule.
Packed carryless_multiply(Packed d, Packed s, uint8_t which) {
  const uint64_t a = which & 1 ? d.high() : d.low(), b = which & 16 ? s.high() : s.low();
  const uint64_t a_low = static_cast<uint32_t>(a), b_low = static_cast<uint32_t>(b);
  const uint64_t low = multiply_halves(a_low, b_low), high = multiply_halves(a >> 32, b >> 32);
  const uint64_t middle = multiply_halves(a_low ^ a >> 32, b_low ^ b >> 32) ^ low ^ high;
  return {low ^ middle << 32, high ^ middle >> 32};
}

// ---- SHA-1. The registers hold A in the highest doubleword, as the manual has it; E comes in the highest doubleword of s.

Packed sha1_four_rounds(Packed d, Packed s, uint8_t function) {
  constexpr uint32_t constants[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
  auto f = [&](uint32_t x, uint32_t y, uint32_t z) {
    switch (function & 3) {
      case 0: return (x & y) ^ (~x & z);
      case 2: return (x & y) ^ (x & z) ^ (y & z);
      default: return x ^ y ^ z;
    }
  };
  auto state = d.as<uint32_t>(), w = s.as<uint32_t>();
  uint32_t a = state[3], b = state[2], c = state[1], dd = state[0], e = 0;  // the first W already has E in it
  for (int round = 3; round >= 0; --round) {
    uint32_t next = f(b, c, dd) + std::rotl(a, 5) + w[round] + e + constants[function & 3];
    e = dd, dd = c, c = std::rotl(b, 30), b = a, a = next;
  }
  return Lanes<uint32_t>{dd, c, b, a};
}

Packed sha1_next_e(Packed d, Packed s) {
  auto result = s.as<uint32_t>();
  result[3] += std::rotl(static_cast<uint32_t>(d.as<uint32_t>()[3]), 30);
  return result;
}

Packed sha1_message1(Packed d, Packed s) { return Packed(d.low() ^ s.high(), d.high() ^ d.low()); }

Packed sha1_message2(Packed d, Packed s) {
  auto a = d.as<uint32_t>(), b = s.as<uint32_t>();
  uint32_t w16 = std::rotl(a[3] ^ b[2], 1), w17 = std::rotl(a[2] ^ b[1], 1), w18 = std::rotl(a[1] ^ b[0], 1);
  return Lanes<uint32_t>{std::rotl(a[0] ^ w16, 1), w18, w17, w16};
}

// ---- SHA-256. d holds C, D, G, H and s holds A, B, E, F, each the highest doubleword first.

Packed sha256_two_rounds(Packed dest, Packed source, Packed words) {
  auto cdgh = dest.as<uint32_t>(), abef = source.as<uint32_t>(), wk = words.as<uint32_t>();
  uint32_t a = abef[3], b = abef[2], e = abef[1], f = abef[0];
  uint32_t c = cdgh[3], d = cdgh[2], g = cdgh[1], h = cdgh[0];
  for (unsigned round = 0; round < 2; ++round) {
    uint32_t choice = (e & f) ^ (~e & g), majority = (a & b) ^ (a & c) ^ (b & c);
    uint32_t sum0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22),
             sum1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
    uint32_t t = choice + sum1 + wk[round] + h;
    h = g, g = f, f = e, e = t + d;
    d = c, c = b, b = a, a = t + majority + sum0;
  }
  return Lanes<uint32_t>{f, e, b, a};
}

namespace {

uint32_t small_sigma0(uint32_t w) { return std::rotr(w, 7) ^ std::rotr(w, 18) ^ w >> 3; }
uint32_t small_sigma1(uint32_t w) { return std::rotr(w, 17) ^ std::rotr(w, 19) ^ w >> 10; }

}  // namespace

Packed sha256_message1(Packed d, Packed s) {
  auto w = d.as<uint32_t>();
  uint32_t w4 = s.as<uint32_t>()[0];
  return Lanes<uint32_t>{w[0] + small_sigma0(w[1]), w[1] + small_sigma0(w[2]), w[2] + small_sigma0(w[3]),
                         w[3] + small_sigma0(w4)};
}

Packed sha256_message2(Packed d, Packed s) {
  auto a = d.as<uint32_t>(), b = s.as<uint32_t>();
  uint32_t w16 = a[0] + small_sigma1(b[2]), w17 = a[1] + small_sigma1(b[3]);
  return Lanes<uint32_t>{w16, w17, a[2] + small_sigma1(w16), a[3] + small_sigma1(w17)};
}

}  // namespace matryoshka::crypto
