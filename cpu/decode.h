// From bytes to Instruction to Op.
//
// A Decoder is built once for the features a processor has: rows of the table whose feature is missing are not in it, so that
// their bytes mean what they meant before (TZCNT becomes BSF, an AES instruction becomes #UD).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cpu/features.h"
#include "cpu/instruction.h"

namespace matryoshka {

enum class DecodeResult : uint8_t {
  ok,
  invalid,    // #UD; Instruction::length tells how many bytes were looked at
  too_long,   // more than 15 bytes: #GP(0)
  needs_more  // the bytes given end inside the instruction
};

struct OperandList;
// The operands of a row of the table, its letters read once for all.
const OperandList& operands_of(unsigned row);

class Decoder {
 public:
  explicit Decoder(const FeatureSet& features);

  DecodeResult decode(std::span<const uint8_t> bytes, unsigned code_bits, Instruction& out) const;

 private:
  struct Pattern {
    uint16_t row;
    int8_t prefix;       // any_prefix, no_repeat_prefix, no_prefix, or the byte
    int16_t reg;         // ModRM.reg that it wants, or -1
    int16_t modrm;       // whole ModRM byte, or -1
    uint8_t modrm_span;  // how many ModRM bytes from there on belong to it
    int8_t memory;       // 1 memory only, 0 register only, -1 either
    int8_t vex;          // -1 legacy encoding, else VEX
    int8_t vex_length;   // 0, 1 or -1
    int8_t vex_w;        // 0, 1 or -1
    int rank() const;
  };
  enum Map : uint8_t { one_byte, two_byte, map_0f38, map_0f3a, map_count };
  static constexpr int8_t no_repeat_prefix = -2, any_prefix = -1, no_prefix = 0, prefix_66 = 1, prefix_f3 = 2, prefix_f2 = 3;
  struct Parsed {
    Pattern pattern;
    uint8_t map, opcode, opcode_span;
  };
  static Parsed parse(unsigned row);
  struct Cursor;
  const Pattern* match(const std::vector<Pattern>& candidates, const Instruction& in, unsigned code_bits, int prefix,
                       int modrm) const;

  std::vector<Pattern> candidates_[map_count][256];
  bool needs_modrm_[map_count][256] = {};
};

// Lowers a decoded instruction for running in `mode`. `offset` is that of its end from the start of the block.
Op lower(const Instruction& instruction, const CodeMode& mode, unsigned offset);
// The Op that raises #UD (or #GP, for one that is too long) when it is reached.
Op lower_undecodable(DecodeResult why, unsigned length, const CodeMode& mode, unsigned offset);

}  // namespace matryoshka
