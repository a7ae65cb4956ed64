// An instruction at its two stations: taken apart by the decoder, and lowered into the 32 bytes that engines run.
#pragma once

#include <cstdint>

namespace matryoshka {

enum class Segments : uint8_t { es, cs, ss, ds, fs, gs, none };

// What the decoder reads off the bytes; the disassembler and the JIT start from this.
struct Instruction {
  uint16_t row = 0;
  uint8_t length = 0;
  uint8_t opcode = 0;
  bool lock = false, rep = false, repne = false, operand_size_prefix = false, address_size_prefix = false;
  Segments override_segment = Segments::none;
  uint8_t rex = 0;  // 0x40..0x4f, or 0 if there was none
  bool vex = false;
  uint8_t vex_register = 0, vex_length = 0;
  unsigned operand_size = 32, address_size = 32;  // in bits

  bool has_modrm = false, is_memory = false;
  uint8_t mod = 0, reg = 0, rm = 0;  // extended by REX or VEX
  static constexpr uint8_t no_register = 0xff, rip_register = 0xfe;
  uint8_t base = no_register, index = no_register, scale = 0;
  int64_t displacement = 0;
  int64_t immediate = 0;
  uint16_t immediate2 = 0;  // selector of a far pointer, nesting level of ENTER
};

// What an engine needs to know of the mode to decode: the key of a translation beside its address.
struct CodeMode {
  uint8_t code_bits = 16;    // 16, 32 or 64
  uint8_t stack_bits = 16;   // 16, 32 or 64
  bool flat_data = false;    // DS, ES, SS and CS need no base and no check
  bool flat_code = false;    // CS has base 0 and the largest limit
  bool sse_ready = false;    // no #UD or #NM stands before SSE instructions (CR0.EM, CR0.TS, CR4.OSFXSR)
  bool x87_ready = false;    // likewise for x87 and MMX (CR0.EM, CR0.TS)
  bool vex = false;          // VEX prefixes count: neither real nor virtual-8086 mode
  uint8_t access = 0;        // which TLB set data accesses use: Mmu::AccessClass
  bool five_levels = false;  // CR4.LA57: where the canonical addresses end
  bool non_root = false;     // a VMX guest: translations of its own, and some rows may exit
  uint32_t key() const {
    return (code_bits == 16   ? 0
            : code_bits == 32 ? 1
                              : 2) |
           (stack_bits == 16   ? 0
            : stack_bits == 32 ? 1
                               : 2)
               << 2 |
           flat_data << 4 | flat_code << 5 | sse_ready << 6 | x87_ready << 7 | vex << 8 | access << 9 | five_levels << 11 |
           non_root << 12;
  }
};

// A lowered instruction. General registers are byte offsets into CpuState::gpr (so AH is 1), other registers their numbers.
struct Op {
  uint16_t handler;  // index of a case in the interpreter's switch
  uint16_t id;       // row * 8 + width * 2 + is_memory: which instance of the row's text
  uint8_t length;
  uint8_t reg;
  uint8_t rm;
  uint8_t base, index, scale;
  uint8_t segment;  // Segments; `none` where the base is zero and nothing is checked
  uint8_t flags;
  uint8_t sizes;    // operand, address and stack size as 2-bit codes: 8, 16, 32, 64
  uint8_t extra;    // VEX.vvvv, nesting level
  uint16_t offset;  // of the end of this instruction, from the start of the block
  int64_t displacement;
  int64_t immediate;

  static constexpr uint8_t memory = 1, checked = 2, lock = 4, rep = 8, repne = 16, stack_segment = 32, rex_w = 64;

  bool is_memory() const { return flags & memory; }
  unsigned row() const { return id >> 3; }
  unsigned operand_bytes() const { return 1u << (sizes & 3); }
  unsigned operand_bits() const { return 8u << (sizes & 3); }
  unsigned address_bits() const { return 8u << (sizes >> 2 & 3); }
  unsigned stack_bits() const { return 8u << (sizes >> 4 & 3); }
  uint64_t address_mask() const { return mask_of(sizes >> 2 & 3); }
  uint64_t stack_mask() const { return mask_of(sizes >> 4 & 3); }
  uint64_t operand_mask() const { return mask_of(sizes & 3); }
  static uint64_t mask_of(unsigned code) { return ~uint64_t{0} >> (64 - (8u << code)); }
  uint8_t immediate8() const { return static_cast<uint8_t>(immediate); }
};
static_assert(sizeof(Op) == 32);

// What an x87 Op, which has no immediate, carries in its place: what FOP and FDS become.
struct X87Pointers {
  uint16_t opcode;        // the low three bits of the first byte, and ModRM
  uint16_t data_segment;  // a SegmentName: the one that the instruction names or implies, flat or not

  int64_t immediate() const { return opcode | data_segment << 16; }
  static X87Pointers of(const Op& op) { return {static_cast<uint16_t>(op.immediate), static_cast<uint16_t>(op.immediate >> 16)}; }
};

}  // namespace matryoshka
