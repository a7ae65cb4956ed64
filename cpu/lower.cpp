#include "cpu/decode.h"
#include "cpu/handlers.h"
#include "cpu/isa.h"
#include "cpu/state/state.h"

namespace matryoshka {

namespace {

constexpr uint8_t zero_slot = CpuState::slot_zero * 8, block_slot = CpuState::slot_block * 8;

unsigned code_of_bits(unsigned bits) { return bits == 8 ? 0 : bits == 16 ? 1 : bits == 32 ? 2 : 3; }

// Byte registers 4 to 7 without REX are AH, CH, DH, BH.
uint8_t general_offset(uint8_t number, bool byte, bool rex) {
  return byte && !rex && number >= 4 && number < 8 ? static_cast<uint8_t>((number - 4) * 8 + 1)
                                                   : static_cast<uint8_t>(number * 8);
}

struct FieldUse {
  bool general = false, byte = false;
};

// Which operand uses ModRM.reg, and which ModRM.rm or the opcode's register bits.
void find_uses(const OperandList& operands, FieldUse& reg, FieldUse& rm) {
  for (unsigned i = 0; i < operands.count; ++i) {
    const OperandSpec& o = operands.operand[i];
    if (o.kind == OperandClass::general_reg) reg = {true, o.size == 'b'};
    if (o.kind == OperandClass::general_rm || o.kind == OperandClass::general_opcode || o.kind == OperandClass::register_rm)
      rm = {true, o.size == 'b'};
  }
}

// Prefixes for the other four count for nothing in 64-bit mode.
Segments named_segment(const Instruction& in, const CodeMode& mode) {
  bool override_counts = mode.code_bits != 64 || in.override_segment == Segments::fs || in.override_segment == Segments::gs;
  if (in.override_segment != Segments::none && override_counts) return in.override_segment;
  return in.base == RSP || in.base == RBP ? Segments::ss : Segments::ds;
}

Segments effective_segment(const Instruction& in, const CodeMode& mode) {
  Segments segment = named_segment(in, mode);
  if (mode.code_bits == 64 && segment != Segments::fs && segment != Segments::gs) return Segments::none;
  // CS is as flat as the rest but cannot be written, so it stays and is checked.
  bool flat = segment == Segments::ds || segment == Segments::es || segment == Segments::ss;
  if (mode.code_bits != 64 && mode.flat_data && flat) return Segments::none;
  return segment;
}

}  // namespace

Op lower(const Instruction& in, const CodeMode& mode, unsigned offset) {
  const Row& row = rows[in.row];
  const OperandList& operands = operands_of(in.row);
  Op op{};
  op.length = in.length;
  op.offset = static_cast<uint16_t>(offset);
  op.immediate = in.immediate;
  op.displacement = in.displacement;

  FieldUse reg, rm;
  find_uses(operands, reg, rm);
  op.reg = reg.general ? general_offset(in.reg, reg.byte, in.rex) : in.reg;
  op.rm = rm.general ? general_offset(in.rm, rm.byte, in.rex) : in.rm;
  op.extra = in.vex ? static_cast<uint8_t>(in.vex_register * 8) : static_cast<uint8_t>(in.immediate2);
  if (row.attributes & attribute::X87_STATE) {
    unsigned modrm = (in.is_memory ? in.mod : 3u) << 6 | (in.reg & 7u) << 3 | (in.rm & 7u);
    auto segment = static_cast<uint16_t>(named_segment(in, mode));
    op.immediate = X87Pointers{static_cast<uint16_t>((in.opcode & 7u) << 8 | modrm), segment}.immediate();
  }
  if (operands.operand[0].kind == OperandClass::far_pointer)
    op.immediate = in.immediate | static_cast<int64_t>(in.immediate2) << 32;

  op.base = in.base == Instruction::no_register    ? zero_slot
            : in.base == Instruction::rip_register ? block_slot
                                                   : static_cast<uint8_t>(in.base * 8);
  op.index = in.index == Instruction::no_register ? zero_slot : static_cast<uint8_t>(in.index * 8);
  op.scale = in.scale;
  if (in.base == Instruction::rip_register) op.displacement += offset;
  Segments segment = effective_segment(in, mode);
  op.segment = static_cast<uint8_t>(segment);

  // String instructions and XLAT have memory operands without ModRM: the segment field is theirs too.
  bool stack_segment = in.override_segment == Segments::ss ||
                       (in.is_memory && in.override_segment == Segments::none && (in.base == RSP || in.base == RBP));
  op.flags = static_cast<uint8_t>((in.is_memory ? Op::memory : 0) |
                                  (mode.code_bits != 64 && segment != Segments::none ? Op::checked : 0) |
                                  (in.lock ? Op::lock : 0) | (in.rep ? Op::rep : 0) | (in.repne ? Op::repne : 0) |
                                  (stack_segment ? Op::stack_segment : 0) | (in.rex & 8 ? Op::rex_w : 0));

  WidthSet widths = width_set(operands);
  unsigned width = widths == fixed_width ? fixed_width_code(operands) : code_of_bits(in.operand_size);
  op.sizes = static_cast<uint8_t>(width | code_of_bits(in.address_size) << 2 | code_of_bits(mode.stack_bits) << 4);
  op.id = static_cast<uint16_t>(in.row * 8 + width * 2 + in.is_memory);

  using namespace attribute;
  bool sse_waits = row.attributes & SSE_STATE && !mode.sse_ready;
  bool x87_waits = row.attributes & (X87_STATE | MMX_STATE) && !mode.x87_ready;
  op.handler = row.kind == Kind::kind_leave    ? handler_leave
               : sse_waits || x87_waits        ? handler_not_ready
               : row.kind == Kind::kind_inline ? hot_handler(op.id)
                                               : handler_cold;
  return op;
}

Op lower_undecodable(DecodeResult why, unsigned length, const CodeMode& mode, unsigned offset) {
  Op op{};
  op.handler = why == DecodeResult::too_long ? handler_too_long : handler_undefined;
  op.length = static_cast<uint8_t>(length);
  op.offset = static_cast<uint16_t>(offset);
  op.segment = static_cast<uint8_t>(Segments::none);
  op.sizes = static_cast<uint8_t>(code_of_bits(mode.stack_bits) << 4);
  return op;
}

}  // namespace matryoshka
