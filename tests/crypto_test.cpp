#include "cpu/ops/crypto.h"

#include <catch2/catch.hpp>

#include "tests/sse_bench.h"

using namespace matryoshka;

namespace {

Packed packed_of(const char* text) { return xmm_of(text); }
std::string text_of(Packed p) { return matryoshka::text_of(p.xmm()); }

const Packed state = packed_of("7b5b546573745665_63746f725d53475d"), key = packed_of("4869285368617929_5b477565726f6e5d");

}  // namespace

// The values of Intel's white paper "Intel Advanced Encryption Standard (AES) New Instructions Set".
TEST_CASE("AES instructions", "[crypto]") {
  CHECK(text_of(crypto::encrypt_round(state, key)) == "a8311c2f9fdba3c5_8b104b58ded7e595");
  CHECK(text_of(crypto::encrypt_last_round(state, key)) == "c7fb881e938c5964_177ec42553fdc611");
  CHECK(text_of(crypto::decrypt_round(state, key)) == "138ac342faea2787_b58eb95eb730392a");
  CHECK(text_of(crypto::decrypt_last_round(state, key)) == "c5a391ef6b317f95_d410637b72a593d0");
  CHECK(text_of(crypto::key_generation_assist({}, packed_of("3c4fcf098815f7ab_a6d2ae2816157e2b"), 1)) ==
        "01eb848beb848a01_3424b5e524b5e434");
}

// The columns of the usual MixColumns examples, back to where they come from.
TEST_CASE("AESIMC", "[crypto]") {
  CHECK(text_of(crypto::inverse_mix_columns({}, packed_of("c6c6c6c601010101_9d58dc9fbca14d8e"))) ==
        "c6c6c6c601010101_5c220af2455313db");
}

// "Intel Carry-Less Multiplication Instruction and its Usage for Computing the GCM Mode".
TEST_CASE("PCLMULQDQ", "[crypto]") {
  CHECK(text_of(crypto::carryless_multiply(state, key, 0x00)) == "1d4d84c85c3440c0_929633d5d36f0451");
  CHECK(text_of(crypto::carryless_multiply(state, key, 0x10)) == "1bd17c8d556ab5a1_7fa540ac2a281315");
  CHECK(text_of(crypto::carryless_multiply(state, key, 0x01)) == "1a2bf6db3a30862f_babf262df4b7d5c9");
  CHECK(text_of(crypto::carryless_multiply(state, key, 0x11)) == "1d1e1f2c592e7c45_d66ee03e410fd4ed");
}

// FIPS 180-4's first example, the message "abc", with the instructions in the order of Intel's article on them.
TEST_CASE("SHA instructions digest \"abc\"", "[crypto]") {
  const uint32_t block[16] = {0x61626380, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 24};

  SECTION("SHA-1") {
    Packed words[20];  // four of W each, the first in the highest doubleword
    for (unsigned i = 0; i < 4; ++i)
      words[i] = Lanes<uint32_t>{block[4 * i + 3], block[4 * i + 2], block[4 * i + 1], block[4 * i]};
    for (unsigned i = 4; i < 20; ++i) {
      Packed partial = crypto::sha1_message1(words[i - 4], words[i - 3]).bits ^ words[i - 2].bits;
      words[i] = crypto::sha1_message2(partial, words[i - 1]);
    }
    const Packed abcd = Lanes<uint32_t>{0x10325476, 0x98badcfe, 0xefcdab89, 0x67452301},
                 e0 = Lanes<uint32_t>{0, 0, 0, 0xc3d2e1f0};
    Packed now = abcd, before = {};
    for (unsigned i = 0; i < 20; ++i) {
      Packed with_e = i == 0 ? Packed(e0.as<uint32_t>() + words[0].as<uint32_t>()) : crypto::sha1_next_e(before, words[i]);
      before = now;
      now = crypto::sha1_four_rounds(now, with_e, static_cast<uint8_t>(i / 5));
    }
    CHECK(text_of(Packed(now.as<uint32_t>() + abcd.as<uint32_t>())) == "a9993e364706816a_ba3e25717850c26c");
    CHECK(text_of(crypto::sha1_next_e(before, e0)) == "9cd0d89d00000000_0000000000000000");
  }

  SECTION("SHA-256") {
    const uint32_t constants[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
        0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
        0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
        0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
        0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
        0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    Packed words[16];  // four of W each, the first in the lowest doubleword
    for (unsigned i = 0; i < 4; ++i)
      words[i] = Lanes<uint32_t>{block[4 * i], block[4 * i + 1], block[4 * i + 2], block[4 * i + 3]};
    for (unsigned i = 4; i < 16; ++i) {
      auto a = words[i - 2].as<uint32_t>(), b = words[i - 1].as<uint32_t>();
      Packed seven_back = Lanes<uint32_t>{a[1], a[2], a[3], b[0]};
      Packed partial = crypto::sha256_message1(words[i - 4], words[i - 3]).as<uint32_t>() + seven_back.as<uint32_t>();
      words[i] = crypto::sha256_message2(partial, words[i - 1]);
    }
    const Packed abef0 = Lanes<uint32_t>{0x9b05688c, 0x510e527f, 0xbb67ae85, 0x6a09e667},
                 cdgh0 = Lanes<uint32_t>{0x5be0cd19, 0x1f83d9ab, 0xa54ff53a, 0x3c6ef372};
    Packed abef = abef0, cdgh = cdgh0;
    for (unsigned i = 0; i < 16; ++i) {
      auto w = words[i].as<uint32_t>() +
               Lanes<uint32_t>{constants[4 * i], constants[4 * i + 1], constants[4 * i + 2], constants[4 * i + 3]};
      cdgh = crypto::sha256_two_rounds(cdgh, abef, w);
      abef = crypto::sha256_two_rounds(abef, cdgh, Lanes<uint32_t>{w[2], w[3], 0, 0});
    }
    CHECK(text_of(Packed(abef.as<uint32_t>() + abef0.as<uint32_t>())) == "ba7816bf8f01cfea_b00361a396177a9c");
    CHECK(text_of(Packed(cdgh.as<uint32_t>() + cdgh0.as<uint32_t>())) == "414140de5dae2223_b410ff61f20015ad");
  }
}
