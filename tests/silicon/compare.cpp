#include "tests/silicon/compare.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <string_view>

#include "cpu/isa.h"
#include "cpu/state/fault.h"
#include "cpu/state/registers.h"
#include "tests/silicon/segments.h"

namespace silicon {
namespace {

using namespace matryoshka;

// ---- What is not compared

// The first group holds only where nothing faulted.
enum class When {
  always,
  count_not_one,
  count_from_width,
  count_above_width,
  memory_form,
  repeat_prefix,
  near_branch_66,
  far_pointer_w,
  locked_register,
  faulted,
  one_faulted,
  wrapped,
  two_faults,
  unaligned_stack,
  in_parts,
  between_modes,
  far_faulted,
  segment_row,
  segment_row_faults,
  other_fault,
  unaligned,
  unaligned_16
};
constexpr uint64_t CF = rflags::CF, PF = rflags::PF, AF = rflags::AF, ZF = rflags::ZF, SF = rflags::SF, OF = rflags::OF;
constexpr uint64_t RESULT = uint64_t{1} << 63, EVERYTHING = uint64_t{1} << 62, REGISTERS = uint64_t{1} << 61,
                   X87 = uint64_t{1} << 60, MEMORY = uint64_t{1} << 58, ADDRESS = uint64_t{1} << 57, LAST_BIT = uint64_t{1} << 56,
                   OPERAND = uint64_t{1} << 55, APPROXIMATION = uint64_t{1} << 54, POINTERS = uint64_t{1} << 53;

struct Mask {
  std::string_view mnemonic;
  When when;
  uint64_t what;
  const char* why;
};
constexpr Mask masks[] = {
#define MASK(mnemonic, when, what, why) {#mnemonic, When::when, what, why},
#include "tests/silicon/masks.def"
#undef MASK
};

// The count of a shift, as the processor masks it, and the operand's width.
struct Count {
  unsigned count = 0, width = 0;
};

Count shift_count(const Case& c, const Instruction& in) {
  OperandList operands = parse_operands(rows[c.row].operands);
  if (operands.count < 2) return {};
  Count result;
  result.width = bits_of_size(operands.operand[0].size, in.operand_size);
  const OperandSpec& last = operands.operand[operands.count - 1];
  uint64_t raw = last.kind == OperandClass::one         ? 1
                 : last.kind == OperandClass::immediate ? static_cast<uint64_t>(in.immediate)
                                                        : c.gpr[RCX];
  result.count = raw & (result.width == 64 ? 63 : 31);
  return result;
}

bool operand_is_16_bytes(const Case& c, const Instruction& in) {
  OperandList operands = parse_operands(rows[c.row].operands);
  bool found = false;
  for (unsigned i = 0; i < operands.count; ++i) {
    const OperandSpec& o = operands.operand[i];
    found |= (o.kind == OperandClass::xmm_rm || o.kind == OperandClass::memory_only) && o.size == 'x';
  }
  return found && in.is_memory;
}

uint64_t masked_for(const Case& c, const Instruction& in, const Outcome& want, const Outcome& got) {
  uint64_t result = 0;
  for (const Mask& m : masks) {
    if (m.mnemonic != rows[c.row].mnemonic && m.mnemonic != "ANY") continue;
    Count n = shift_count(c, in);
    bool holds = true;
    switch (m.when) {
      case When::always: break;
      case When::count_not_one: holds = n.count > 1; break;
      case When::count_from_width: holds = n.count >= n.width; break;
      case When::count_above_width: holds = n.count > n.width; break;
      case When::memory_form: holds = in.is_memory; break;
      case When::one_faulted: holds = want.exception != got.exception; break;
      case When::repeat_prefix: holds = in.rep || in.repne; break;
      case When::near_branch_66: holds = c.trapped && c.bits == 64 && in.operand_size_prefix; break;
      case When::far_pointer_w: holds = in.rex & 8 && c.tables; break;
      case When::unaligned_stack:
        holds = want.exception == GP_vector && got.exception == SS_vector && operand_is_16_bytes(c, in);
        break;
      case When::in_parts:
        holds = c.segmented && (want.exception == PF_vector || want.exception == AC_vector) &&
                (got.exception == GP_vector || got.exception == SS_vector);
        break;
      case When::between_modes: {
        auto other = [&](const Outcome& o) { return c.tables && (o.selector[1] == user_code64) != (c.bits == 64); };
        holds = other(want) || other(got);
        break;
      }
      case When::far_faulted: holds = c.tables && want.exception != Outcome::none && want.exception == got.exception; break;
      case When::segment_row_faults: holds = c.tables && want.exception != Outcome::none; break;
      case When::segment_row: holds = c.tables; break;
      case When::locked_register: holds = in.lock && !in.is_memory; break;
      case When::other_fault:
        holds = c.tables && want.exception != got.exception && want.exception != Outcome::none && got.exception != Outcome::none;
        break;
      case When::faulted: holds = want.exception != Outcome::none && want.exception == got.exception; break;
      case When::wrapped:
        holds = c.bits != 64 && (want.exception == GP_vector || want.exception == SS_vector) &&
                (got.exception == PF_vector || got.exception == AC_vector);
        break;
      case When::two_faults:
        holds = got.exception == GP_vector &&
                (want.exception == SS_vector || want.exception == PF_vector || want.exception == AC_vector);
        break;
      case When::unaligned:
      case When::unaligned_16: {
        auto one = [](uint8_t e) { return e == AC_vector || e == GP_vector; };
        holds = want.exception != got.exception && (one(want.exception) || one(got.exception));
        if (m.when == When::unaligned_16) holds = holds && want.exception == AC_vector && operand_is_16_bytes(c, in);
        break;
      }
    }
    if (want.exception != Outcome::none && want.exception != DB_vector && m.when < When::repeat_prefix && m.what != EVERYTHING)
      holds = false;
    if (holds) result |= m.what;
  }
  return result;
}

// ---- Comparing

std::string hex_text(uint64_t v) {
  char text[20];
  std::snprintf(text, sizeof text, "%llx", static_cast<unsigned long long>(v));
  return text;
}

std::string hex_bytes(const uint8_t* p, size_t n) {
  std::string s;
  char text[4];
  for (size_t i = 0; i < n; ++i) std::snprintf(text, sizeof text, "%02x", p[i]), s += text;
  return s;
}

constexpr const char* names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                   "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

// How many representable values lie from one to the other, as far as a caller cares.
template <class Register>
uint64_t units_apart(const Register& a, const Register& b) {
  // Exponent and fraction as one number count through all values of a sign.
  auto ordinal = [](const Register& r) {
    return static_cast<unsigned __int128>(r.sign_exponent & 0x7fff) << 63 | (r.significand & ~(uint64_t{1} << 63));
  };
  if ((a.sign_exponent ^ b.sign_exponent) & 0x8000) return ~uint64_t{0};
  unsigned __int128 x = ordinal(a), y = ordinal(b), distance = x > y ? x - y : y - x;
  return distance > 100 ? ~uint64_t{0} : static_cast<uint64_t>(distance);
}

// A lane of the operand in ModRM.rm: a register, or what the windows hold where it lies.
double exact_source(const Case& c, const Instruction& in, unsigned lane) {
  if (!in.is_memory) return std::bit_cast<float>(static_cast<uint32_t>(c.fx.xmm[in.rm][lane / 2] >> 32 * (lane % 2)));
  for (unsigned i = 0; i < c.windows; ++i) {
    const Window& w = c.window[i];
    uint64_t at = c.operand + 4 * lane;
    if (at < w.address || at + 4 > w.address + w.size) continue;
    float value;
    std::memcpy(&value, w.bytes + (at - w.address), 4);
    return value;
  }
  return 0;
}

// RCP and RSQRT: both sides must be within the documented bound of the exact value, and agree where that is no normal number.
std::string wrong_approximations(const Case& c, const Instruction& in, const Outcome& want, const Outcome& got) {
  std::string_view name = rows[c.row].mnemonic;
  bool root = name.starts_with("RSQRT"), scalar = name.ends_with("SS");
  auto lane = [](const uint64_t(&x)[2], unsigned i) { return static_cast<uint32_t>(x[i / 2] >> 32 * (i % 2)); };
  std::string text;
  for (unsigned i = 0; i < 4; ++i) {
    uint32_t a = lane(want.fx.xmm[in.reg], i), b = lane(got.fx.xmm[in.reg], i);
    if (a == b) continue;
    if (scalar && i > 0) {
      text += " upper lane";
      continue;
    }
    float x = std::bit_cast<float>(a), y = std::bit_cast<float>(b);
    constexpr double bound = 1.5 / 4096;
    double exact = exact_source(c, in, i);
    exact = root ? 1 / std::sqrt(exact) : 1 / exact;
    bool near = std::isnormal(x) && std::isnormal(y) && std::abs(x - exact) <= bound * std::abs(exact) &&
                std::abs(y - exact) <= bound * std::abs(exact);
    if (!near) text += " lane" + std::to_string(i) + " " + hex_text(a) + "/" + hex_text(b);
  }
  return text;
}

}  // namespace

std::string differences(const Case& c, const Instruction& in, const Outcome& want, const Outcome& got) {
  std::string text;
  auto differ = [&](const std::string& what, uint64_t a, uint64_t b) {
    if (a != b) text += " " + what + " " + hex_text(a) + "/" + hex_text(b);
  };
  uint64_t masked = masked_for(c, in, want, got);
  if (masked & EVERYTHING) return {};
  differ("died", want.died, got.died);
  if (want.died) return text;
  differ("exception", want.exception, got.exception);
  if (want.exception != got.exception) return text;
  if (want.exception == PF_vector) {
    // Linux hides from user code what is mapped in its own half.
    constexpr uint64_t user_end = 0x7ffffffff000;
    uint32_t hidden = want.cr2 >= user_end ? 1 : 0;
    if (!(masked & ADDRESS)) {
      differ("cr2", want.cr2, got.cr2);
      differ("error", want.error | hidden, got.error | hidden);
    }
  }
  if (want.exception == GP_vector || want.exception == SS_vector) differ("error", want.error, got.error);
  differ("rip", want.rip, got.rip);
  uint64_t compared = (rflags::status | rflags::DF | rflags::AC | rflags::ID | rflags::TF | rflags::NT | rflags::IOPL) & ~masked;
  if (masked & RESULT) compared &= ~rflags::status;
  differ("flags", want.flags & compared, got.flags & compared);
  uint64_t visible = c.bits == 64 ? ~uint64_t{0} : 0xffffffff;
  for (unsigned i = 0; i < 16; ++i) {
    // A double shift's destination is ModRM.rm.
    if (masked & RESULT && !in.is_memory && in.rm == i) continue;
    if (masked & OPERAND && !in.is_memory && in.rm == i) continue;
    if (masked & REGISTERS && i != RSP) continue;
    // After an interrupt in 16-bit code with a stack of its own Linux cannot give the upper half of RSP back.
    differ(names[i], want.gpr[i] & (i == RSP && c.tables ? 0xffffffff : visible),
           got.gpr[i] & (i == RSP && c.tables ? 0xffffffff : visible));
  }
  if (!(masked & RESULT && in.is_memory) && !(masked & MEMORY))
    for (unsigned i = 0; i < c.windows; ++i)
      for (unsigned k = 0; k < c.window[i].size; ++k)
        if (want.bytes[i][k] != got.bytes[i][k]) {
          uint64_t in_image = c.window[i].address + k - c.operand;
          bool pointer = (in_image >= 6 && in_image < 24) || (in_image >= 28 && in_image < 32);
          if (masked & POINTERS && pointer) continue;
          unsigned n = std::min<unsigned>(16, c.window[i].size - k);
          text += " [" + hex_text(c.window[i].address + k) + "] " + hex_bytes(want.bytes[i] + k, n) + "/" +
                  hex_bytes(got.bytes[i] + k, n);
          break;
        }
  differ("stray", want.stray, got.stray);
  if (c.tables) {
    static constexpr const char* segment_names[6] = {"es", "cs", "ss", "ds", "fs", "gs"};
    // Returning from Linux makes every null selector 0.
    auto plain = [](uint16_t selector) { return selector < 4 ? 0 : selector; };
    for (unsigned i = 0; i < 6; ++i) differ(segment_names[i], plain(want.selector[i]), plain(got.selector[i]));
    differ("fs.base", want.fs_base, got.fs_base);
    differ("gs.base", want.gs_base, got.gs_base);
  }
  if (c.floating) {
    differ("mxcsr", want.fx.mxcsr, got.fx.mxcsr);
    for (unsigned i = 0; i < (c.bits == 64 ? 16 : 8); ++i) {
      if (masked & APPROXIMATION && i == in.reg) {
        text += wrong_approximations(c, in, want, got);
        continue;
      }
      for (unsigned k = 0; k < 2; ++k) differ("xmm" + std::to_string(i) + (k ? "h" : "l"), want.fx.xmm[i][k], got.fx.xmm[i][k]);
    }
    differ("fcw", want.fx.control, got.fx.control);
    constexpr unsigned c1 = 0x200;
    if (masked & X87) return text;
    unsigned ignored = masked & LAST_BIT ? c1 : 0;
    differ("fsw", want.fx.status | ignored, got.fx.status | ignored);
    differ("tags", want.fx.tags, got.fx.tags);
    for (unsigned i = 0; i < 8; ++i) {
      if (masked & LAST_BIT && units_apart(want.fx.st[i], got.fx.st[i]) <= 1) continue;
      differ("st" + std::to_string(i), want.fx.st[i].significand, got.fx.st[i].significand);
      differ("st" + std::to_string(i) + "e", want.fx.st[i].sign_exponent, got.fx.st[i].sign_exponent);
    }
  }
  return text;
}

std::string describe(const Case& c, const Instruction& in) {
  const Row& row = rows[c.row];
  std::string s = std::to_string(c.bits) + " " + hex_bytes(c.code, c.length) + " " + row.mnemonic + " " + row.operands + "/" +
                  std::to_string(in.operand_size) + " at " + hex_text(c.rip()) + " fl " + hex_text(c.flags);
  if (c.segmented || c.tables)
    for (unsigned i = 0; i < 6; ++i) s += std::string(i ? ":" : " sel ") + hex_text(c.selector[i]);
  for (unsigned i = 0; i < (c.bits == 64 ? 16u : 8u); ++i) s += std::string(" ") + names[i] + "=" + hex_text(c.gpr[i]);
  for (unsigned i = 0; i < c.windows; ++i) {
    s += " [" + hex_text(c.window[i].address) + "]=" + hex_bytes(c.window[i].bytes, c.window[i].size);
  }
  if (c.floating) {
    s += " mxcsr=" + hex_text(c.fx.mxcsr) + " fcw=" + hex_text(c.fx.control) + " fsw=" + hex_text(c.fx.status) +
         " tags=" + hex_text(c.fx.tags);
    if (row.family == Family::x87 || row.family == Family::mmx)
      for (unsigned i = 0; i < 8; ++i)
        s += " st" + std::to_string(i) + "=" + hex_text(c.fx.st[i].sign_exponent) + ":" + hex_text(c.fx.st[i].significand);
    else
      for (unsigned i = 0; i < 16; ++i)
        s += " xmm" + std::to_string(i) + "=" + hex_text(c.fx.xmm[i][1]) + ":" + hex_text(c.fx.xmm[i][0]);
  }
  return s;
}

}  // namespace silicon
