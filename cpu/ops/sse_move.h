// SSE instructions that move data between XMM registers, general registers, MMX registers and memory.
#pragma once

namespace matryoshka {

class Processor;
struct Op;

namespace sse {

// Whole registers: MOVAPS and MOVDQA, MOVUPS, MOVDQU and LDDQU, MOVNTPS and MOVNTDQ, MOVNTDQA. Names say which way.
bool load_aligned_move(Processor&, const Op&);
bool load_unaligned_move(Processor&, const Op&);
bool store_aligned_move(Processor&, const Op&);
bool store_unaligned_move(Processor&, const Op&);

// MOVSS and MOVSD: from memory the rest is cleared, from a register it stays.
bool load_single(Processor&, const Op&);
bool load_double(Processor&, const Op&);
bool store_single(Processor&, const Op&);
bool store_double(Processor&, const Op&);

// MOVLPS, MOVLPD, MOVHPS, MOVHPD, MOVHLPS, MOVLHPS
bool load_low(Processor&, const Op&);
bool load_high(Processor&, const Op&);
bool store_low(Processor&, const Op&);
bool store_high(Processor&, const Op&);
bool high_to_low(Processor&, const Op&);
bool low_to_high(Processor&, const Op&);

// MOVQ between XMM registers and memory, which clears the upper half of a register
bool load_quadword(Processor&, const Op&);
bool store_quadword(Processor&, const Op&);
// MOVD and MOVQ with general registers
bool from_general(Processor&, const Op&);
bool to_general(Processor&, const Op&);
bool store_general(Processor&, const Op&);  // MOVNTI

// PINSRB/W/D/Q, PEXTRB/W/D/Q, EXTRACTPS, INSERTPS
bool insert_byte(Processor&, const Op&);
bool insert_word(Processor&, const Op&);
bool insert_wide(Processor&, const Op&);
bool extract_byte(Processor&, const Op&);
bool extract_word(Processor&, const Op&);
bool extract_word_from_rm(Processor&, const Op&);  // 0F C5: Gd,Ux,Ib
bool extract_wide(Processor&, const Op&);
bool extract_single(Processor&, const Op&);
bool insert_single(Processor&, const Op&);

bool store_masked_bytes(Processor&, const Op&);  // MASKMOVDQU

// LDMXCSR, STMXCSR
bool load_mxcsr(Processor&, const Op&);
bool store_mxcsr(Processor&, const Op&);

// What may stand in MXCSR: 16 bits, DAZ among them. FXSAVE tells it as MXCSR_MASK.
inline constexpr unsigned mxcsr_mask = 0xffff;

}  // namespace sse
}  // namespace matryoshka
