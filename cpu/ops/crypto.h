// AES, carry-less multiplication and SHA as functions of 128-bit values.
#pragma once

#include "cpu/ops/vector.h"

namespace matryoshka::crypto {

// "Intel AES New Instructions (AESNI)"; s is the round key.
Packed encrypt_round(Packed d, Packed s);                            // AESENC
Packed encrypt_last_round(Packed d, Packed s);                       // AESENCLAST
Packed decrypt_round(Packed d, Packed s);                            // AESDEC
Packed decrypt_last_round(Packed d, Packed s);                       // AESDECLAST
Packed inverse_mix_columns(Packed d, Packed s);                      // AESIMC
Packed key_generation_assist(Packed d, Packed s, uint8_t constant);  // AESKEYGENASSIST

Packed carryless_multiply(Packed d, Packed s, uint8_t which);  // PCLMULQDQ

// "Intel SHA Extensions"
Packed sha1_four_rounds(Packed d, Packed s, uint8_t function);  // SHA1RNDS4
Packed sha1_next_e(Packed d, Packed s);                         // SHA1NEXTE
Packed sha1_message1(Packed d, Packed s);                       // SHA1MSG1
Packed sha1_message2(Packed d, Packed s);                       // SHA1MSG2
Packed sha256_two_rounds(Packed d, Packed s, Packed w);         // SHA256RNDS2; w is XMM0
Packed sha256_message1(Packed d, Packed s);                     // SHA256MSG1
Packed sha256_message2(Packed d, Packed s);                     // SHA256MSG2

}  // namespace matryoshka::crypto
