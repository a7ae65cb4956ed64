// The instruction table and how to read it.
//
// Each row of isa.def is one line of the manual's opcode map:
//
//   ROW(encoding, mnemonic, operands, semantics, kind, attributes, feature)
//
//   encoding    the manual's "Opcode" column: "01 /r", "66 0F 38 00 /r", "C7 /0", "B8+r", "0F 01 D0" (a whole ModRM byte),
//               "NP 0F 10 /r" (no 66, F2 or F3 may stand before it), "NFx 0F 38 F0 /r" (no F2 or F3), "VEX.L0.F2.0F38.W? F7 /r"
//   operands    the letters of appendix A, "Key to Abbreviations": Ev,Gv. In addition: Z a register in the opcode's low three
//               bits, T an x87 register in ModRM.rm, and registers by name (AL, CL, DX, rAX, ES, 1)
//   semantics   inline: a template over a value domain. helper and leave: a function (Processor&, const Op&) -> bool
//   kind        inline       both engines make code from the text
//               helper       both engines call it; the block goes on
//               leave        the block ends after it: whatever it changes, both engines look at everything afresh
//               unsupported  decodes to its own length, so that #UD can name it
//   attributes  see below, or 0
//   feature     the CPUID flag without which the row does not exist; BASE is always there
//
// Decoder, engines, disassembler, fuzz lists and the coverage page all read this table, and nothing else knows an opcode.
#pragma once

#include <cstdint>
#include <string_view>

#include "cpu/features.h"

namespace matryoshka {

enum class Kind : uint8_t { kind_inline, kind_helper, kind_leave, kind_unsupported };
enum class Family : uint8_t { integer, string, system, x87, mmx, sse, crypto, avx };

namespace attribute {
constexpr uint32_t LOCK = 1;          // LOCK is allowed if the destination is memory
constexpr uint32_t NO64 = 2;          // invalid in 64-bit mode
constexpr uint32_t ONLY64 = 4;        // valid in 64-bit mode only
constexpr uint32_t DEFAULT64 = 8;     // operand size is 64 or 16 bits in 64-bit mode, 64 unless prefixed
constexpr uint32_t FORCE64 = 16;      // operand size is 64 bits in 64-bit mode whatever the prefixes
constexpr uint32_t CPL0 = 32;         // #GP(0) unless at privilege level 0
constexpr uint32_t PROTECTED = 64;    // #UD in real and virtual-8086 mode
constexpr uint32_t ENDS = 128;        // control does not fall through: the block ends
constexpr uint32_t NO_REX_B = 256;    // REX.B makes it another instruction (90 is NOP, 41 90 is XCHG R8,RAX)
constexpr uint32_t SSE_STATE = 512;   // #UD if CR0.EM or not CR4.OSFXSR, #NM if CR0.TS
constexpr uint32_t X87_STATE = 1024;  // #NM if CR0.EM or CR0.TS; pending unmasked x87 exceptions are raised first
constexpr uint32_t MMX_STATE = 2048;  // #UD if CR0.EM, #NM if CR0.TS, pending x87 exceptions; uses the registers as MMX
constexpr uint32_t ALIGNED = 4096;    // a 16-byte memory operand must be aligned, else #GP(0)
constexpr uint32_t IMPLICIT = 8192;   // an x87, MMX or SSE row that has to do with flags or general registers beside its operands
}  // namespace attribute

struct Row {
  const char* encoding;
  const char* mnemonic;
  const char* operands;
  Kind kind;
  Family family;
  uint32_t attributes;
  Feature feature;
};

inline constexpr Row rows[] = {
// clang-format off
#define ROW(encoding, mnemonic, operands, semantics, kind, attributes, feature)                               \
  {encoding, #mnemonic, operands, Kind::kind_##kind, isa_family, [] {                                         \
     using namespace attribute;                                                                               \
     return static_cast<uint32_t>(attributes);                                                                \
   }(), Feature::feature},
// clang-format on
#include "cpu/isa.def"
#undef ROW
};
inline constexpr unsigned row_count = sizeof rows / sizeof rows[0];

// ---- Operand letters, read at compile time

// clang-format off
enum class OperandClass : uint8_t {
  absent, general_rm, general_reg, general_opcode, general_fixed, memory_only, register_rm, immediate, one, relative, offset,
  segment, control, debug, xmm_reg, xmm_rm, xmm_register_rm, mmx_reg, mmx_rm, mmx_register_rm, vex_general, far_pointer, source_index,
  destination_index, x87, segment_fixed, flags, vex_xmm
};
// clang-format on

struct OperandSpec {
  OperandClass kind = OperandClass::absent;
  char size = 0;       // b w d q v z y x(128) t(80) p(far) s(table) a(pair), 0 where the letter has none
  uint8_t number = 0;  // of a fixed register
};

struct OperandList {
  OperandSpec operand[4];
  unsigned count = 0;
};

constexpr OperandSpec parse_operand(std::string_view text) {
  using C = OperandClass;
  if (text == "1") return {C::one, 'b', 0};
  if (text == "AL") return {C::general_fixed, 'b', 0};
  if (text == "CL") return {C::general_fixed, 'b', 1};
  if (text == "AX") return {C::general_fixed, 'w', 0};
  if (text == "DX") return {C::general_fixed, 'w', 2};
  if (text == "rAX") return {C::general_fixed, 'v', 0};
  if (text == "eAX") return {C::general_fixed, 'z', 0};
  if (text == "ES") return {C::segment_fixed, 'v', 0};
  if (text == "CS") return {C::segment_fixed, 'v', 1};
  if (text == "SS") return {C::segment_fixed, 'v', 2};
  if (text == "DS") return {C::segment_fixed, 'v', 3};
  if (text == "FS") return {C::segment_fixed, 'v', 4};
  if (text == "GS") return {C::segment_fixed, 'v', 5};
  C kind = C::absent;
  switch (text[0]) {
    case 'E': kind = C::general_rm; break;
    case 'G': kind = C::general_reg; break;
    case 'Z': kind = C::general_opcode; break;
    case 'M': kind = C::memory_only; break;
    case 'R': kind = C::register_rm; break;
    case 'I': kind = C::immediate; break;
    case 'J': kind = C::relative; break;
    case 'O': kind = C::offset; break;
    case 'S': kind = C::segment; break;
    case 'C': kind = C::control; break;
    case 'D': kind = C::debug; break;
    case 'V': kind = C::xmm_reg; break;
    case 'W': kind = C::xmm_rm; break;
    case 'U': kind = C::xmm_register_rm; break;
    case 'P': kind = C::mmx_reg; break;
    case 'Q': kind = C::mmx_rm; break;
    case 'N': kind = C::mmx_register_rm; break;
    case 'B': kind = C::vex_general; break;
    case 'H': kind = C::vex_xmm; break;
    case 'A': kind = C::far_pointer; break;
    case 'X': kind = C::source_index; break;
    case 'Y': kind = C::destination_index; break;
    case 'T': kind = C::x87; break;
    case 'F': kind = C::flags; break;
  }
  return {kind, text.size() > 1 ? text[1] : '\0', 0};
}

constexpr OperandList parse_operands(std::string_view text) {
  OperandList list;
  while (!text.empty()) {
    size_t comma = text.find(',');
    list.operand[list.count++] = parse_operand(text.substr(0, comma));
    text = comma == std::string_view::npos ? std::string_view{} : text.substr(comma + 1);
  }
  return list;
}

// The operation's width: that of the sized operands, where some letter leaves it to prefixes.
enum WidthSet : uint8_t { fixed_width, word_double_quad, double_quad };

constexpr WidthSet width_set(const OperandList& list) {
  WidthSet set = fixed_width;
  bool only_immediates = true;
  for (unsigned i = 0; i < list.count; ++i) {
    const OperandSpec& o = list.operand[i];
    if (o.size == 'v' || o.size == 'z' || o.size == 'p' || o.size == 'a' || o.size == 's') return word_double_quad;
    if (o.size == 'y') set = double_quad;
    if (o.kind != OperandClass::immediate && o.kind != OperandClass::relative) only_immediates = false;
  }
  // "RET Iw", "PUSH Ib", "IRET": the operand size is all there is.
  return only_immediates ? word_double_quad : set;
}

constexpr unsigned bits_of_size(char size, unsigned operation) {
  switch (size) {
    case 'b': return 8;
    case 'w': return 16;
    case 'd': return 32;
    case 'q': return 64;
    case 't': return 80;
    case 'x': return 128;
    case 'z': return operation == 64 ? 32 : operation;
    default: return operation;  // v, y, p, a
  }
}

// The width code (0 to 3: 8, 16, 32, 64 bits) at which a row whose operands leave no choice is instantiated.
constexpr unsigned fixed_width_code(const OperandList& list) {
  for (unsigned i = 0; i < list.count; ++i) {
    const OperandSpec& o = list.operand[i];
    if (o.kind == OperandClass::general_fixed && o.number == 2) continue;  // DX only ever names a port
    switch (o.size) {
      case 'b': return 0;
      case 'w': return 1;
      case 'd': return 2;
      case 'q': return 3;
    }
  }
  return 3;
}

constexpr bool may_be_memory(const OperandList& list) {
  for (unsigned i = 0; i < list.count; ++i) {
    OperandClass k = list.operand[i].kind;
    if (k == OperandClass::general_rm || k == OperandClass::memory_only || k == OperandClass::xmm_rm ||
        k == OperandClass::mmx_rm || k == OperandClass::offset)
      return true;
  }
  return false;
}

// Whether VEX.vvvv names an operand; if not it must be 1111b.
constexpr bool uses_vex_register(const OperandList& list) {
  for (unsigned i = 0; i < list.count; ++i)
    if (list.operand[i].kind == OperandClass::vex_general || list.operand[i].kind == OperandClass::vex_xmm) return true;
  return false;
}

constexpr bool must_be_memory(const OperandList& list) {
  for (unsigned i = 0; i < list.count; ++i)
    if (list.operand[i].kind == OperandClass::memory_only || list.operand[i].kind == OperandClass::offset) return true;
  return false;
}

constexpr bool must_be_register(const OperandList& list) {
  // MOV to and from control and debug registers takes ModRM.mod for 3 whatever it says.
  for (unsigned i = 0; i < list.count; ++i)
    if (list.operand[i].kind == OperandClass::control || list.operand[i].kind == OperandClass::debug) return false;
  for (unsigned i = 0; i < list.count; ++i) {
    OperandClass k = list.operand[i].kind;
    if (k == OperandClass::register_rm || k == OperandClass::xmm_register_rm || k == OperandClass::mmx_register_rm ||
        k == OperandClass::x87)
      return true;
  }
  return false;
}

}  // namespace matryoshka
