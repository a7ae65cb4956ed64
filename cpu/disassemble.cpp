#include "cpu/disassemble.h"

#include <cctype>
#include <cstdio>
#include <string_view>

#include "cpu/isa.h"
#include "cpu/processor.h"

namespace matryoshka {

namespace {

constexpr const char* segment_names[] = {"es", "cs", "ss", "ds", "fs", "gs"};

std::string hex(uint64_t v) {
  char text[20];
  std::snprintf(text, sizeof text, "0x%llX", static_cast<unsigned long long>(v));
  return text;
}

uint64_t cut(uint64_t v, unsigned bits) { return bits == 64 ? v : v & ((uint64_t{1} << bits) - 1); }

std::string general(unsigned number, unsigned bits, bool rex) {
  static constexpr const char* words[] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"};
  static constexpr const char* low_bytes[] = {"al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil"};
  static constexpr const char* high_bytes[] = {"ah", "ch", "dh", "bh"};
  if (number >= 8) return "r" + std::to_string(number) + (bits == 64 ? "" : bits == 32 ? "d" : bits == 16 ? "w" : "b");
  if (bits == 8) return number >= 4 && !rex ? high_bytes[number - 4] : low_bytes[number];
  return std::string(bits == 64 ? "r" : bits == 32 ? "e" : "") + words[number];
}

// Names that depend on a size: the operand's, or the address's.
struct Sized {
  std::string_view row;
  const char* names[3];  // of 16, 32 and 64 bits
  bool by_address;
};
constexpr Sized sized_names[] = {
    {"JCXZ", {"jcxz", "jecxz", "jrcxz"}, true},
    {"CBW", {"cbw", "cwde", "cdqe"}, false},
    {"CWD", {"cwd", "cdq", "cqo"}, false},
    {"PUSHA", {"pusha", "pushad", "pushad"}, false},
    {"POPA", {"popa", "popad", "popad"}, false},
    {"PUSHF", {"pushf", "pushfd", "pushfq"}, false},
    {"POPF", {"popf", "popfd", "popfq"}, false},
    {"IRET", {"iret", "iretd", "iretq"}, false},
    {"MOVD", {"movd", "movd", "movq"}, false},
    {"PEXTRD", {"pextrd", "pextrd", "pextrq"}, false},
    {"PINSRD", {"pinsrd", "pinsrd", "pinsrq"}, false},
    {"CMPXCHG8B", {"cmpxchg8b", "cmpxchg8b", "cmpxchg16b"}, false},
};
// Those that REX.W makes another.
constexpr std::string_view with_64[] = {"XSAVE", "XSAVEOPT", "XSAVEC", "XSAVES", "XRSTOR", "XRSTORS", "FXSAVE", "FXRSTOR"};

class Text {
 public:
  Text(const Instruction& in, unsigned code_bits, uint64_t rip)
      : in_(in), row_(rows[in.row]), operands_(parse_operands(row_.operands)), bits_(code_bits), rip_(rip) {}

  std::string all() const {
    std::string text = prefixes() + mnemonic();
    if (row_.family == Family::string || in_outs() || name() == "SALC") return text;
    bool first = true;
    for (unsigned i = 0; i < operands_.count; ++i) {
      std::string one = operand(operands_.operand[i], i);
      if (one.empty()) continue;
      text += (first ? " " : ", ") + one;
      first = false;
    }
    return text;
  }

 private:
  bool in_outs() const { return name() == "INS" || name() == "OUTS"; }
  std::string_view name() const { return row_.mnemonic; }
  bool far() const {
    return operands_.count && (operands_.operand[0].kind == OperandClass::far_pointer || operands_.operand[0].size == 'p');
  }
  unsigned bits_of(const OperandSpec& o) const { return bits_of_size(o.size, in_.operand_size); }

  std::string prefixes() const {
    std::string text;
    if (in_.lock) text += "lock ";
    bool compares = name() == "CMPS" || name() == "SCAS";
    if (row_.family == Family::string || in_outs()) {
      if (in_.rep) text += compares ? "repe " : "rep ";
      if (in_.repne) text += "repne ";
    }
    return text;
  }

  std::string mnemonic() const {
    if (name() == "RETF") return "ret far";
    for (const Sized& s : sized_names)
      if (s.row == name()) {
        unsigned size = s.by_address ? in_.address_size : in_.operand_size;
        return s.names[size == 16 ? 0 : size == 32 ? 1 : 2];
      }
    std::string text;
    for (char c : name()) text += static_cast<char>(std::tolower(c));
    // The table numbers the aliases of x87 instructions.
    if (operands_.count && operands_.operand[0].kind == OperandClass::x87)
      while (std::isdigit(static_cast<unsigned char>(text.back()))) text.pop_back();
    for (std::string_view n : with_64)
      if (n == name() && in_.rex & 8) text += "64";
    if (row_.family == Family::string || in_outs()) {
      unsigned bits = 8;
      for (unsigned i = 0; i < operands_.count; ++i)
        if (operands_.operand[i].kind == OperandClass::source_index ||
            operands_.operand[i].kind == OperandClass::destination_index)
          bits = bits_of(operands_.operand[i]);
      text += bits == 8 ? "b" : bits == 16 ? "w" : bits == 32 ? "d" : "q";
    }
    if (far()) text += text == "jmp" || text == "call" ? " far" : "";
    return text;
  }

  std::string size_of_memory(const OperandSpec& o) const {
    const bool selector = operands_.operand[1].kind == OperandClass::segment;
    for (std::string_view n : {"SMSW", "SLDT", "STR"})
      if (n == name() || selector) return "word ptr ";
    if (o.kind == OperandClass::memory_only && o.size == 'z') return "";  // environments of several sizes
    switch (o.size) {
      case 'p': return in_.operand_size == 16 ? "dword ptr " : in_.operand_size == 32 ? "fword ptr " : "tbyte ptr ";
      case 's': return bits_ == 64 ? "tbyte ptr " : "fword ptr ";
      case 'a': return in_.operand_size == 16 ? "dword ptr " : "qword ptr ";
      case 0: return "";
      default: break;
    }
    switch (name() == "CMPXCHG8B" ? (in_.operand_size == 64 ? 128 : 64) : bits_of(o)) {
      case 8: return "byte ptr ";
      case 16: return "word ptr ";
      case 32: return "dword ptr ";
      case 64: return "qword ptr ";
      case 80: return "tbyte ptr ";
      default: return "xmmword ptr ";
    }
  }

  std::string memory() const {
    std::string text;
    const unsigned segment = static_cast<unsigned>(in_.override_segment);
    if (in_.override_segment != Segments::none && name() != "LEA" && (bits_ != 64 || segment >= 4))
      text = std::string(segment_names[segment]) + ":";
    text += "[";
    bool any = false;
    if (in_.base == Instruction::rip_register) {
      text += in_.address_size == 64 ? "rip" : "eip", any = true;
    } else if (in_.base != Instruction::no_register) {
      text += general(in_.base, in_.address_size, true), any = true;
    }
    if (in_.index != Instruction::no_register) {
      text += (any ? "+" : "") + general(in_.index, in_.address_size, true);
      if (in_.scale) text += "*" + std::to_string(1 << in_.scale);
      any = true;
    }
    if (!any)
      text += hex(cut(static_cast<uint64_t>(in_.displacement), in_.address_size));
    else if (in_.displacement < 0)
      text += "-" + hex(-static_cast<uint64_t>(in_.displacement));
    else if (in_.displacement > 0)
      text += "+" + hex(static_cast<uint64_t>(in_.displacement));
    return text + "]";
  }

  std::string operand(const OperandSpec& o, unsigned place) const {
    using C = OperandClass;
    const bool rex = in_.rex != 0;
    switch (o.kind) {
      case C::general_rm:
      case C::register_rm: return in_.is_memory ? size_of_memory(o) + memory() : general(in_.rm, bits_of(o), rex);
      case C::memory_only:
      case C::offset: return size_of_memory(o) + memory();
      case C::general_reg: return general(in_.reg, bits_of(o), rex);
      case C::general_opcode: return general(in_.rm, bits_of(o), rex);
      case C::general_fixed: return general(o.number, bits_of(o), false);
      case C::vex_general: return general(in_.vex_register, bits_of(o), rex);
      case C::immediate: return immediate(o, place);
      case C::one: return "0x1";
      case C::relative:
        return hex(cut(rip_ + in_.length + static_cast<uint64_t>(in_.immediate), bits_ == 64 ? 64 : in_.operand_size));
      case C::far_pointer: return hex(in_.immediate2) + ":" + hex(cut(static_cast<uint64_t>(in_.immediate), in_.operand_size));
      case C::segment: return (in_.reg & 7) < 6 ? segment_names[in_.reg & 7] : "?";
      case C::segment_fixed: return segment_names[o.number];
      case C::control: return "cr" + std::to_string(in_.reg);
      case C::debug: return "dr" + std::to_string(in_.reg);
      case C::xmm_reg: return "xmm" + std::to_string(in_.reg);
      case C::vex_xmm: return "xmm" + std::to_string(in_.vex_register);
      case C::xmm_rm:
      case C::xmm_register_rm: return in_.is_memory ? size_of_memory(o) + memory() : "xmm" + std::to_string(in_.rm);
      case C::mmx_reg: return "mm" + std::to_string(in_.reg & 7);
      case C::mmx_rm:
      case C::mmx_register_rm: return in_.is_memory ? size_of_memory(o) + memory() : "mm" + std::to_string(in_.rm & 7);
      case C::x87: return stack_registers();
      default: return "";
    }
  }

  // The other operand is ST(0) unless there is none: the destination where the opcode is not DC or DE.
  std::string stack_registers() const {
    std::string one = "st" + std::to_string(in_.rm & 7);
    for (std::string_view alone : {"FLD", "FST", "FSTP", "FXCH", "FFREE", "FFREEP", "FCOM", "FCOMP", "FUCOM", "FCOM2", "FCOMP3",
                                   "FCOMP5", "FXCH4", "FXCH7", "FSTP1", "FSTP8", "FSTP9"})
      if (alone == name()) return one;
    return in_.opcode == 0xdc || in_.opcode == 0xde ? one + ", st0" : "st0, " + one;
  }

  // Sign-extended to the width of what it is combined with.
  std::string immediate(const OperandSpec& o, unsigned place) const {
    bool second = place > 0 && operands_.operand[place - 1].kind == OperandClass::immediate;
    if (second) return hex(in_.immediate2);
    const unsigned own = bits_of(o);
    const bool extends = place > 0 && operands_.operand[0].size == 'v' && own < in_.operand_size && !is_count();
    const bool pushed = name() == "PUSH";
    return hex(cut(static_cast<uint64_t>(in_.immediate), extends || pushed ? in_.operand_size : own));
  }
  bool is_count() const {
    for (std::string_view n :
         {"ROL", "ROR", "RCL", "RCR", "SHL", "SHR", "SAL", "SAR", "SHLD", "SHRD", "BT", "BTS", "BTR", "BTC", "RORX"})
      if (n == name()) return true;
    return false;
  }

  const Instruction& in_;
  const Row& row_;
  const OperandList operands_;
  const unsigned bits_;
  const uint64_t rip_;
};

}  // namespace

std::string disassemble(const Instruction& instruction, unsigned code_bits, uint64_t rip) {
  return Text(instruction, code_bits, rip).all();
}

std::string disassemble_at(const Processor& cpu, uint64_t rip) {
  uint8_t bytes[15];
  unsigned count = 0;
  uint64_t linear = cpu.mode().code_bits == 64 ? rip : static_cast<uint32_t>(rip + cpu.state.segment[CS].base);
  for (Mmu::CodePage page; count < sizeof bytes; ++count) {
    uint64_t at = linear + count;
    if (!cpu.mmu.known_code_page(at, page) || !page.host) break;
    bytes[count] = page.host[at & (page_size - 1)];
  }
  Instruction in;
  if (cpu.decoder().decode({bytes, count}, cpu.mode().code_bits, in) != DecodeResult::ok) return "(cannot be decoded)";
  return disassemble(in, cpu.mode().code_bits, rip);
}

}  // namespace matryoshka
