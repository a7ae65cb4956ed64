#include "tests/silicon/generator.h"

#include <algorithm>
#include <vector>

namespace silicon {

using namespace matryoshka;
using C = OperandClass;

// ---- The encoding column

namespace {

std::string_view next_token(std::string_view& text, char separator) {
  size_t end = text.find(separator);
  std::string_view token = text.substr(0, end);
  text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  return token;
}

bool is_hex(std::string_view t) {
  auto digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
  return t.size() >= 2 && digit(t[0]) && digit(t[1]);
}

uint8_t hex(std::string_view t) {
  auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'A' + 10; };
  return static_cast<uint8_t>(digit(t[0]) << 4 | digit(t[1]));
}

}  // namespace

Encoding Encoding::parse(std::string_view text) {
  Encoding e;
  bool have_opcode = false;
  while (!text.empty()) {
    std::string_view token = next_token(text, ' ');
    if (token.starts_with("VEX")) {
      e.vex = true;
      while (!token.empty()) {
        std::string_view part = next_token(token, '.');
        if (part == "L0" || part == "128") e.vex_length = 0;
        if (part == "L1" || part == "256") e.vex_length = 1;
        if (part == "66") e.mandatory = 0x66;
        if (part == "F3") e.mandatory = 0xf3;
        if (part == "F2") e.mandatory = 0xf2;
        if (part == "0F") e.map = two_byte;
        if (part == "0F38") e.map = map_0f38;
        if (part == "0F3A") e.map = map_0f3a;
        if (part == "W0") e.vex_w = 0;
        if (part == "W1") e.vex_w = 1;
      }
    } else if (token == "NFx") {
      e.no_repeat = true;
    } else if (token == "NP") {
      e.no_prefix = true;
    } else if (token[0] == '/') {
      e.modrm = true;
      if (token[1] != 'r') e.digit = token[1] - '0';
    } else if (is_hex(token) && have_opcode) {
      e.modrm = true;
      e.whole_modrm = hex(token);
      if (token.ends_with("+i")) e.modrm_span = 8;
    } else if (is_hex(token)) {
      uint8_t byte = hex(token);
      bool prefix_place = !e.vex && e.map == one_byte && !have_opcode;
      if (prefix_place && (byte == 0x66 || byte == 0xf2 || byte == 0xf3))
        e.mandatory = byte;
      else if (prefix_place && byte == 0x0f)
        e.map = two_byte;
      else if (!e.vex && e.map == two_byte && byte == 0x38)
        e.map = map_0f38;
      else if (!e.vex && e.map == two_byte && byte == 0x3a)
        e.map = map_0f3a;
      else
        e.opcode = byte, e.opcode_register = token.ends_with("+r"), have_opcode = true;
    }
  }
  return e;
}

// ---- A case in the making

namespace {

constexpr unsigned rsp = 4, rbp = 5, rip_based = 0x20, no_register = 0xff;

bool one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

struct Generator::Draft {
  const Row& row;
  std::string_view name = row.mnemonic;
  Encoding e = Encoding::parse(row.encoding);
  OperandList operands = parse_operands(row.operands);
  Case& c;

  unsigned bits;                    // of the code
  std::vector<uint8_t> prefixes{};  // in front of REX
  bool lock = false, operand_prefix = false, address_prefix = false;
  int segment = -1;  // override
  bool rex_wanted = false;
  uint8_t rex = 0;  // W R X B in the low bits
  unsigned operand_bytes = 4, address_bytes = 8;
  bool stack_used = false, string = false, branch = false;

  bool memory = false;
  uint8_t reg = 0, rm = 0, vvvv = 0, opcode_reg = 0;
  unsigned base = no_register, index = no_register, scale = 0;
  unsigned displacement_bytes = 0;
  int64_t displacement = 0;
  bool use_sib = false;
  uint64_t target = 0;  // the linear address that the memory operand shall have
  unsigned memory_bytes = 8;

  std::vector<uint8_t> immediate{};
  bool pinned[16] = {};  // registers whose values are decided
};

// ---- Values

uint64_t Generator::value() {
  static constexpr uint64_t edges[] = {0,
                                       1,
                                       2,
                                       3,
                                       7,
                                       8,
                                       0xf,
                                       0x10,
                                       0x1f,
                                       0x20,
                                       0x3f,
                                       0x40,
                                       0x7f,
                                       0x80,
                                       0x81,
                                       0xfe,
                                       0xff,
                                       0x100,
                                       0x7fff,
                                       0x8000,
                                       0xffff,
                                       0x10000,
                                       0x7fffffff,
                                       0x80000000,
                                       0x80000001,
                                       0xffffffff,
                                       0x100000000,
                                       0x7fffffffffffffff,
                                       0x8000000000000000,
                                       0x8000000000000001,
                                       0xfffffffffffffffe,
                                       0xffffffffffffffff,
                                       0xffffffff80000000,
                                       0xffffffffffff8000,
                                       0xffffffffffffff80,
                                       0x5555555555555555,
                                       0xaaaaaaaaaaaaaaaa};
  constexpr unsigned count = sizeof edges / sizeof edges[0];
  switch (random_.below(8)) {
    case 0:
    case 1:
    case 2:
      return edges[random_.below(count)];
    case 3:
      return random_.next() >> random_.below(64);
    case 4:
      return uint64_t{1} << random_.below(64);
    case 5:
      return (uint64_t{1} << random_.below(64)) - 1;
    case 6:
      return edges[random_.below(count)] ^ (random_.next() << 32);
    default:
      return random_.next();
  }
}

uint64_t Generator::branch_target(const Draft& d) {
  uint64_t at = trap_at + 16 + random_.below(trap_pages * page - 32);
  if (at >= d.c.code_at() && at < d.c.code_at() + sizeof d.c.code) at += sizeof d.c.code;  // never itself
  if (d.bits == 64 && random_.chance(3)) return random_.next();
  if (random_.chance(3)) return 0x5000'0000 + random_.below(0x1000);
  return at;
}

// ---- Prefixes and registers

void Generator::choose_prefixes(Draft& d) {
  WidthSet widths = width_set(d.operands);
  bool near_branch = d.branch && d.bits == 64;
  // 66 before a near branch in 64-bit mode is not comparable (masks.def).
  if (d.e.mandatory != 0x66 && !d.e.no_prefix && !d.e.vex)
    d.operand_prefix = random_.chance(near_branch ? 1 : widths == fixed_width ? 4 : 25);
  if (d.e.vex) {
    if (d.e.vex_w >= 0 ? d.e.vex_w : random_.chance(50)) d.rex |= 8;
  } else if (d.bits == 64) {
    if (random_.chance(widths == fixed_width ? 8 : 40)) d.rex |= 8;
    d.rex_wanted = random_.chance(20);
  }
  d.address_prefix = random_.chance(d.bits == 64 ? 10 : 4);
  d.address_bytes = d.bits == 64 ? (d.address_prefix ? 4 : 8) : d.address_prefix ? 2 : 4;
  if (random_.chance(8)) d.segment = static_cast<int>(random_.below(d.bits == 64 ? 6 : 4));

  bool wide = d.rex & 8 && d.bits == 64;
  bool narrow = d.operand_prefix && d.e.mandatory != 0x66;
  unsigned v = wide || (d.bits == 64 && d.row.attributes & attribute::FORCE64) ? 8
               : narrow                                                        ? 2
               : d.bits == 64 && d.row.attributes & attribute::DEFAULT64       ? 8
                                                                               : 4;
  d.operand_bytes = v;
  if (d.string && !d.lock) {
    unsigned kind = static_cast<unsigned>(random_.below(10));
    if (kind < 4) d.prefixes.push_back(0xf3);
    if (kind >= 4 && kind < 7) d.prefixes.push_back(0xf2);
  } else if (!d.e.vex && d.e.mandatory == 0 && !d.e.no_prefix && !d.e.no_repeat && random_.chance(2)) {
    d.prefixes.push_back(random_.chance(50) ? 0xf2 : 0xf3);  // without a meaning for this row
  }
  if (d.e.mandatory && !d.e.vex) d.prefixes.push_back(d.e.mandatory);
}

void Generator::choose_registers(Draft& d) {
  unsigned registers = d.bits == 64 ? 16 : 8;
  for (uint64_t& r : d.c.gpr) r = value();
  if (d.bits == 32)
    for (unsigned i = 0; i < 16; ++i) d.c.gpr[i] = i < 8 ? static_cast<uint32_t>(d.c.gpr[i]) : 0;
  d.reg = static_cast<uint8_t>(random_.below(registers));
  d.rm = static_cast<uint8_t>(random_.below(registers));
  d.vvvv = static_cast<uint8_t>(random_.below(registers));
  d.opcode_reg = static_cast<uint8_t>(random_.below(registers));
  if (d.row.attributes & attribute::NO_REX_B) d.opcode_reg &= 7;
  bool uses_vvvv = false;
  for (unsigned i = 0; i < d.operands.count; ++i) uses_vvvv |= d.operands.operand[i].kind == C::vex_general;
  if (!uses_vvvv) d.vvvv = 0;
  if (d.e.digit >= 0) d.reg = static_cast<uint8_t>(d.e.digit);

  bool can_be_memory = may_be_memory(d.operands) && !must_be_register(d.operands);
  bool can_be_register = !must_be_memory(d.operands);
  d.memory = can_be_memory && (!can_be_register || random_.chance(55));
  for (unsigned i = 0; i < d.operands.count; ++i) {
    const OperandSpec& o = d.operands.operand[i];
    if (o.kind == C::general_rm || o.kind == C::memory_only || o.kind == C::xmm_rm || o.kind == C::mmx_rm || o.kind == C::offset)
      d.memory_bytes = o.size ? bits_of_size(o.size, d.operand_bytes * 8) / 8 : 64;
  }
  if (d.row.attributes & attribute::LOCK && d.memory && random_.chance(20)) d.lock = true;
  if (random_.chance(1)) d.lock = true;  // #UD mostly
}

// ---- Memory operands

// Picks where the operand shall lie, then registers and displacement that lead there.
bool Generator::choose_address(Draft& d) {
  Case& c = d.c;
  uint64_t inside = data_at + 300 + random_.below(data_pages * page - 700);
  uint64_t n = random_.below(100);
  d.target = n < 80   ? inside
             : n < 88 ? data_at + page - random_.below(d.memory_bytes + 1)
             : n < 92 ? read_only_at - random_.below(d.memory_bytes + 1)
             : n < 94 ? data_at - random_.below(d.memory_bytes + 1)
             : n < 96 ? read_only_at + 100 + random_.below(page - 300)
                      : inside & ~uint64_t{63};
  if (d.lock || d.name == "XCHG" || d.row.attributes & attribute::ALIGNED || d.name == "CMPXCHG8B") {
    // A locked access across cache lines stops the whole machine: rarely.
    if (random_.chance(95)) d.target &= ~uint64_t{15};
  }
  uint64_t segment_base = d.bits != 64 ? 0 : d.segment == 4 ? fs_base : d.segment == 5 ? gs_base : 0;
  uint64_t offset = d.target - segment_base;

  if (d.operands.operand[0].kind == C::offset || d.operands.operand[1].kind == C::offset) {
    d.displacement = static_cast<int64_t>(offset);
    d.displacement_bytes = d.address_bytes;
    return true;
  }
  unsigned registers = d.bits == 64 ? 16 : 8;
  if (d.address_bytes == 2) {  // 16-bit forms reach nothing that is mapped; LEA and faults are left
    d.rm = static_cast<uint8_t>(random_.below(8));
    d.use_sib = false;
    unsigned mod = static_cast<unsigned>(random_.below(3));
    d.displacement_bytes = mod == 0 && d.rm == 6 ? 2 : mod == 0 ? 0 : mod;
    d.displacement = static_cast<int64_t>(random_.next());
    d.base = mod == 0 && d.rm == 6 ? no_register : 0;
    return true;
  }
  unsigned form = static_cast<unsigned>(random_.below(10));
  d.use_sib = true;
  auto put = [&](unsigned r, uint64_t v) {
    if (d.address_bytes == 4 && d.bits == 64 && !(d.stack_used && r == rsp)) v = static_cast<uint32_t>(v) | random_.next() << 32;
    if (d.bits == 32) v = static_cast<uint32_t>(v);
    c.gpr[r] = v;
    d.pinned[r] = true;
  };
  auto small = [&] {
    d.displacement_bytes = random_.chance(50) ? 1 : 4;
    d.displacement =
        d.displacement_bytes == 1 ? static_cast<int8_t>(random_.next()) : static_cast<int32_t>(random_.below(0x2000)) - 0x1000;
  };
  if (form == 0) {  // an absolute address
    d.displacement_bytes = 4, d.displacement = static_cast<int64_t>(offset);
    d.use_sib = d.bits == 64 || random_.chance(50);
  } else if (form == 1 && d.bits == 64) {
    d.base = rip_based, d.displacement_bytes = 4, d.use_sib = false;  // filled in when the length is known
  } else if (form <= 5) {                                             // a base
    d.base = static_cast<unsigned>(random_.below(registers));
    if (random_.chance(60)) small();
    if (d.displacement_bytes == 0 && (d.base & 7) == rbp) d.displacement_bytes = 1;
    d.use_sib = (d.base & 7) == rsp || random_.chance(10);
    if (d.base == rsp && d.stack_used) return true;  // wherever the stack is
    uint64_t v = offset - static_cast<uint64_t>(d.displacement);
    if (d.bits == 64 && d.address_bytes == 8 && random_.chance(2)) v ^= uint64_t{1} << (47 + random_.below(16));  // non-canonical
    put(d.base, v);
  } else {  // an index, with or without a base
    do d.index = static_cast<unsigned>(random_.below(registers));
    while (d.index == rsp);
    d.scale = static_cast<unsigned>(random_.below(4));
    bool with_base = form <= 8;
    if (with_base) {
      do d.base = static_cast<unsigned>(random_.below(registers));
      while (d.base == d.index || (d.base == rsp && d.stack_used));
      if (random_.chance(60)) small();
      if (d.displacement_bytes == 0 && (d.base & 7) == rbp) d.displacement_bytes = 1;
      put(d.index, random_.chance(50) ? random_.below(64) : value());
      put(d.base, offset - (c.gpr[d.index] << d.scale) - static_cast<uint64_t>(d.displacement));
    } else {
      uint64_t v = random_.chance(50) ? random_.below(1000) : ~uint64_t{0} - random_.below(1000);
      put(d.index, v);
      d.displacement_bytes = 4;
      d.displacement = static_cast<int64_t>(offset - (c.gpr[d.index] << d.scale));
    }
  }
  return true;
}

// ---- Immediates and bytes

void Generator::choose_immediates(Draft& d) {
  for (unsigned i = 0; i < d.operands.count; ++i) {
    const OperandSpec& o = d.operands.operand[i];
    unsigned bytes = bits_of_size(o.size, d.operand_bytes * 8) / 8;
    uint64_t v = 0;
    if (o.kind == C::immediate)
      v = value();
    else if (o.kind == C::relative)
      v = bytes == 1 ? random_.next() : random_.chance(90) ? random_.below(2 * page) - page : random_.next();
    else
      continue;
    if (d.name == "ENTER")
      v = i == 0               ? (random_.chance(90) ? random_.below(100) : random_.next())
          : random_.chance(80) ? random_.below(5)
                               : random_.next();
    if (d.name == "RET" && random_.chance(90)) v &= 0xff;
    for (unsigned k = 0; k < bytes; ++k) d.immediate.push_back(static_cast<uint8_t>(v >> 8 * k));
  }
}

bool Generator::assemble(Draft& d) {
  static constexpr uint8_t segment_prefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
  if (d.lock) d.prefixes.push_back(0xf0);
  if (d.operand_prefix) d.prefixes.push_back(0x66);
  if (d.address_prefix) d.prefixes.push_back(0x67);
  if (d.segment >= 0) d.prefixes.push_back(segment_prefixes[d.segment]);
  for (size_t i = d.prefixes.size(); i > 1; --i) std::swap(d.prefixes[i - 1], d.prefixes[random_.below(i)]);
  std::vector<uint8_t> code = d.prefixes;

  bool reg_in_modrm = d.e.modrm && d.e.whole_modrm < 0;
  uint8_t rex = d.rex;
  if (reg_in_modrm && d.e.digit < 0 && d.reg & 8) rex |= 4;
  if (d.memory && d.address_bytes != 2) {
    if (d.index != no_register && d.index & 8) rex |= 2;
    if (d.base != no_register && d.base != rip_based && d.base & 8) rex |= 1;
  } else if (reg_in_modrm && d.rm & 8) {
    rex |= 1;
  } else if (d.e.opcode_register && d.opcode_reg & 8) {
    rex |= 1;
  }
  if (d.e.vex) {
    static constexpr uint8_t pp[] = {0, 1, 2, 3};
    uint8_t p = d.e.mandatory == 0x66 ? pp[1] : d.e.mandatory == 0xf3 ? pp[2] : d.e.mandatory == 0xf2 ? pp[3] : pp[0];
    uint8_t length = d.e.vex_length >= 0 ? static_cast<uint8_t>(d.e.vex_length) : static_cast<uint8_t>(random_.below(2));
    auto last = static_cast<uint8_t>((~d.vvvv & 15) << 3 | length << 2 | p);
    if (d.e.map == Encoding::two_byte && !(rex & 11) && random_.chance(50)) {
      code.push_back(0xc5);
      code.push_back(static_cast<uint8_t>((rex & 4 ? 0 : 0x80) | last));
    } else {
      code.push_back(0xc4);
      code.push_back(static_cast<uint8_t>((~rex & 7) << 5 | d.e.map));
      code.push_back(static_cast<uint8_t>((rex & 8) << 4 | last));
    }
    if (d.bits == 32 && rex & 7) return false;
  } else {
    if (rex || d.rex_wanted) {
      if (d.bits == 32) return false;
      code.push_back(0x40 | rex);
    }
    if (d.e.map != Encoding::one_byte) code.push_back(0x0f);
    if (d.e.map == Encoding::map_0f38) code.push_back(0x38);
    if (d.e.map == Encoding::map_0f3a) code.push_back(0x3a);
  }
  code.push_back(static_cast<uint8_t>(d.e.opcode + (d.e.opcode_register ? d.opcode_reg & 7 : 0)));

  size_t displacement_place = 0;
  auto put_displacement = [&] {
    displacement_place = code.size();
    for (unsigned k = 0; k < d.displacement_bytes; ++k)
      code.push_back(static_cast<uint8_t>(static_cast<uint64_t>(d.displacement) >> 8 * k));
  };
  if (d.e.whole_modrm >= 0) {
    code.push_back(static_cast<uint8_t>(d.e.whole_modrm + random_.below(d.e.modrm_span)));
  } else if (d.e.modrm) {
    auto reg = static_cast<uint8_t>((d.reg & 7) << 3);
    if (!d.memory) {
      code.push_back(static_cast<uint8_t>(0xc0 | reg | (d.rm & 7)));
    } else if (d.address_bytes == 2) {
      unsigned mod = d.displacement_bytes == 0 || (d.displacement_bytes == 2 && d.base == no_register) ? 0 : d.displacement_bytes;
      code.push_back(static_cast<uint8_t>(mod << 6 | reg | d.rm));
      put_displacement();
    } else if (d.base == rip_based) {
      code.push_back(static_cast<uint8_t>(reg | 5));
      put_displacement();
    } else if (d.base == no_register && !d.use_sib) {
      code.push_back(static_cast<uint8_t>(reg | 5));
      put_displacement();
    } else {
      unsigned mod = d.base == no_register || d.displacement_bytes == 0 ? 0 : d.displacement_bytes == 1 ? 1 : 2;
      if (d.use_sib || d.index != no_register || d.base == no_register) {
        unsigned base = d.base == no_register ? 5 : d.base & 7, index = d.index == no_register ? 4 : d.index & 7;
        code.push_back(static_cast<uint8_t>(mod << 6 | reg | 4));
        code.push_back(static_cast<uint8_t>(d.scale << 6 | index << 3 | base));
      } else {
        code.push_back(static_cast<uint8_t>(mod << 6 | reg | (d.base & 7)));
      }
      put_displacement();
    }
  } else if (d.displacement_bytes) {
    put_displacement();
  }
  code.insert(code.end(), d.immediate.begin(), d.immediate.end());
  if (code.size() > 15) return false;
  if (d.branch && !d.e.modrm && !d.immediate.empty()) {
    // A jump into itself would never come back.
    unsigned unused = static_cast<unsigned>(64 - 8 * d.immediate.size());
    uint64_t distance = 0;
    std::memcpy(&distance, d.immediate.data(), d.immediate.size());
    int64_t beyond = static_cast<int64_t>(distance << unused) >> unused;
    if (beyond < 0 && beyond >= -static_cast<int64_t>(code.size())) return false;
  }
  d.c.length = static_cast<uint8_t>(code.size());
  if (d.base == rip_based) {
    uint64_t segment_base = d.segment == 4 ? fs_base : d.segment == 5 ? gs_base : 0;
    auto distance = static_cast<uint32_t>(d.target - segment_base - (d.c.code_at() + d.c.length));
    std::memcpy(&code[displacement_place], &distance, 4);
  }
  std::copy(code.begin(), code.end(), d.c.code);
  return true;
}

// ---- What particular instructions want

void Generator::special_cases(Draft& d) {
  Case& c = d.c;
  auto set = [&](unsigned r, uint64_t v) {
    if (!d.pinned[r]) c.gpr[r] = d.bits == 32 ? static_cast<uint32_t>(v) : v;
  };
  auto high_garbage = [&](uint64_t v) {
    return d.bits == 64 && d.address_bytes == 4 ? static_cast<uint32_t>(v) | random_.next() << 32 : v;
  };
  if (d.stack_used) {
    // Somewhere inside the page mostly, at its edges and beyond now and then.
    uint64_t n = random_.below(100);
    uint64_t top = n < 92   ? stack_at + 400 + random_.below(page - 800)
                   : n < 96 ? stack_at + random_.below(32)
                            : stack_at + page - random_.below(32);
    if (n < 60) top &= ~uint64_t{7};
    if (d.bits == 64 && n == 91) top ^= uint64_t{1} << 50;
    c.gpr[rsp] = top;
    if (d.name == "LEAVE" || d.name == "ENTER") {
      c.gpr[rbp] = random_.chance(95) ? stack_at + 300 + random_.below(page - 600) : c.gpr[rbp];
    }
  }
  if (d.string) {
    uint64_t segment_base = d.bits != 64 ? 0 : d.segment == 4 ? fs_base : d.segment == 5 ? gs_base : 0;
    auto place = [&] {
      uint64_t n = random_.below(100);
      return n < 85   ? data_at + 300 + random_.below(data_pages * page - 600)
             : n < 92 ? read_only_at - random_.below(64)
                      : data_at + random_.below(64);
    };
    uint64_t from = place(), to = random_.chance(30) ? from + random_.below(80) - 40 : place();
    set(6, high_garbage(from - segment_base));
    set(7, high_garbage(to));
    uint64_t count = random_.chance(90) ? random_.below(24) : random_.below(300);
    if (d.address_bytes != 8 && random_.chance(50)) count |= random_.next() << 8 * d.address_bytes;
    set(1, count);
    if (d.address_bytes == 2) set(6, random_.next()), set(7, random_.next());
  }
  if (d.name == "XLAT") {
    uint64_t segment_base = d.bits != 64 ? 0 : d.segment == 4 ? fs_base : d.segment == 5 ? gs_base : 0;
    set(3, high_garbage(data_at + 300 + random_.below(page) - segment_base));
  }
  if (one_of(d.name, {"BT", "BTS", "BTR", "BTC"}) && d.memory && d.e.digit < 0) {
    // The offset reaches beyond the operand: near it mostly, in front of it too.
    int64_t offset = static_cast<int64_t>(random_.below(2048)) - 1024;
    if (random_.chance(85)) {
      uint64_t mask = d.operand_bytes == 8 ? ~uint64_t{0} : (uint64_t{1} << 8 * d.operand_bytes) - 1;
      set(d.reg, (static_cast<uint64_t>(offset) & mask) | (random_.next() & ~mask));
    }
  }
  if (one_of(d.name, {"DAA", "DAS", "AAA", "AAS", "AAM", "AAD"})) set(0, random_.next());
  if (one_of(d.name, {"MASKMOVQ", "MASKMOVDQU"}) && random_.chance(90)) {
    uint64_t segment_base = d.bits != 64 ? 0 : d.segment == 4 ? fs_base : d.segment == 5 ? gs_base : 0;
    d.target = data_at + random_.below(data_pages * page + 16);
    set(7, high_garbage(d.target - segment_base));
  }
  if (one_of(d.name, {"LOOP", "LOOPE", "LOOPNE", "JCXZ"})) {
    static constexpr uint64_t counts[] = {0, 1, 2, 0x100000000, 0x100000001, 0xffffffff, 0x10000, 0x10001};
    if (random_.chance(70)) set(1, counts[random_.below(8)]);
  }
  if (one_of(d.name, {"DIV", "IDIV"}) && random_.chance(80)) {
    // A dividend small enough for the quotient to fit.
    if (random_.chance(50)) {
      set(2, random_.below(4));
      if (d.operands.operand[0].size == 'b') set(0, random_.below(0x400));
    } else if (d.operands.operand[0].size == 'b') {
      set(0, (c.gpr[0] & ~uint64_t{0xffff}) |
                 (static_cast<uint64_t>(static_cast<int64_t>(random_.next()) >> (56 + random_.below(7))) & 0xffff));
    } else {
      set(2, static_cast<uint64_t>(static_cast<int64_t>(c.gpr[0]) >> 63));
      if (random_.chance(40)) set(0, static_cast<uint64_t>(static_cast<int64_t>(random_.next()) >> random_.below(64)));
    }
  }
  if (d.branch && !d.memory && d.e.modrm && d.rm != rsp) set(d.rm, branch_target(d));
  static constexpr unsigned count_register = 1;
  if (d.operands.count && d.operands.operand[d.operands.count - 1].kind == C::general_fixed &&
      d.operands.operand[d.operands.count - 1].number == count_register && random_.chance(60))
    set(count_register, (c.gpr[count_register] & ~uint64_t{0xff}) | random_.below(70));
}

// Windows of known bytes where the instruction is going to look.
void Generator::fill_memory(Draft& d) {
  Case& c = d.c;
  c.windows = 0;
  auto add = [&](uint64_t around, unsigned before, unsigned size, uint64_t first, uint64_t end) {
    uint64_t from = around - before;
    if (around - before < first) from = first;
    if (from + size > end) from = end - size;
    for (unsigned i = 0; i < c.windows; ++i)
      if (from < c.window[i].address + c.window[i].size && c.window[i].address < from + size) return;
    Window& w = c.window[c.windows++];
    w.address = from, w.size = static_cast<uint16_t>(size);
    for (unsigned i = 0; i < size; i += 8) {
      uint64_t v = random_.next();
      std::memcpy(w.bytes + i, &v, 8);
    }
  };
  auto poke = [&](uint64_t at, uint64_t v, unsigned size) {
    for (unsigned i = 0; i < c.windows; ++i) {
      Window& w = c.window[i];
      if (at >= w.address && at + size <= w.address + w.size) std::memcpy(w.bytes + (at - w.address), &v, size);
    }
  };
  constexpr uint64_t data_end = data_at + data_pages * page;
  if (d.string) {
    unsigned wide = c.gpr[1] % 1024 > 16 ? 256 : 128;
    uint64_t segment_base = d.bits != 64 ? 0 : d.segment == 4 ? fs_base : d.segment == 5 ? gs_base : 0;
    uint64_t mask = d.address_bytes == 8 ? ~uint64_t{0} : (uint64_t{1} << 8 * d.address_bytes) - 1;
    uint64_t from = (c.gpr[6] & mask) + segment_base, to = c.gpr[7] & mask;
    auto in_data = [&](uint64_t at) { return at >= data_at && at < data_end; };
    bool down = c.flags >> 10 & 1;
    if (in_data(from)) add(from, down ? wide - 16 : 16, wide, data_at, data_end);
    if (in_data(to)) add(to, down ? wide - 16 : 16, wide, data_at, data_end);
    // Equal stretches, so that comparisons go on.
    if (random_.chance(60)) {
      auto v = static_cast<uint8_t>(random_.chance(50) ? c.gpr[0] : random_.next());
      for (unsigned i = 0; i < c.windows; ++i) {
        unsigned start = static_cast<unsigned>(random_.below(64)), length = static_cast<unsigned>(random_.below(160));
        for (unsigned k = start; k < start + length && k < c.window[i].size; ++k) c.window[i].bytes[k] = v;
      }
    }
    return;
  }
  if (d.name == "XLAT") add(data_at + 300, 0, 256, data_at, data_end);
  if (d.stack_used && c.gpr[rsp] >= stack_at && c.gpr[rsp] < stack_at + page) {
    add(c.gpr[rsp], 128, 256, stack_at, stack_at + page);
    uint64_t v = d.name == "RET" ? branch_target(d) : value();
    poke(c.gpr[rsp], v, d.operand_bytes);
  }
  if ((d.memory || d.target != 0) && d.target >= data_at && d.target < data_end) {
    unsigned size = one_of(d.name, {"BT", "BTS", "BTR", "BTC"}) ? 256 : d.memory_bytes > 32 ? 256 : 64;
    add(d.target, size / 2, size, data_at, data_end);
    unsigned bytes = std::min(d.memory_bytes, 8u);
    uint64_t v = value();
    if (d.branch) v = branch_target(d);
    if (d.name == "CMPXCHG" && random_.chance(50)) v = c.gpr[0];
    poke(d.target, v, bytes);
    if (d.memory_bytes == 16) poke(d.target + 8, floating_lane(), 8), poke(d.target, floating_lane(), 8);
    if (d.name == "CMPXCHG8B") {
      unsigned half = d.rex & 8 ? 8 : 4;
      if (random_.chance(80)) poke(d.target, c.gpr[0], half);
      if (random_.chance(80)) poke(d.target + half, c.gpr[2], half);
    }
  }
  if (d.name == "CMPXCHG" && !d.memory && random_.chance(50) && !d.pinned[d.rm]) c.gpr[d.rm] = c.gpr[0];
}

// ---- x87 and SSE state

uint64_t Generator::floating_lane() {
  static constexpr uint64_t doubles[] = {0,
                                         0x8000000000000000,
                                         0x3ff0000000000000,
                                         0xbff0000000000000,
                                         0x7ff0000000000000,
                                         0xfff0000000000000,
                                         0x7ff8000000000000,
                                         0x7ff4000000000001,
                                         0xfff8123456789abc,
                                         0x0000000000000001,
                                         0x000fffffffffffff,
                                         0x0010000000000000,
                                         0x7fefffffffffffff,
                                         0x41dfffffffc00000,
                                         0xc1e0000000000000,
                                         0x43e0000000000000};
  static constexpr uint32_t singles[] = {0, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7fa00001,
                                         1, 0x007fffff, 0x00800000, 0x7f7fffff, 0x4f000000, 0xcf000000, 0x4effffff, 0x5f000000};
  switch (random_.below(6)) {
    case 0:
      return doubles[random_.below(16)];
    case 1:
      return singles[random_.below(16)] | uint64_t{singles[random_.below(16)]} << 32;
    case 2:
      return (random_.next() & 0x800fffffffffffff) | (0x3ff - 40 + random_.below(80)) << 52;
    case 3: {
      auto one = [&] { return (random_.next() & 0x807fffff) | (127 - 20 + random_.below(40)) << 23; };
      return one() | one() << 32;
    }
    case 4:
      return value();
    default:
      return random_.next();
  }
}

void Generator::floating_state(Case& c) {
  c.floating = true;
  c.fx = {};
  c.fx.control = 0x037f;
  c.fx.mxcsr = 0x1f80;
  if (random_.chance(40)) c.fx.mxcsr = static_cast<uint32_t>(0x1f80 | (random_.next() & 0xe07f));
  if (random_.chance(10)) c.fx.mxcsr &= static_cast<uint32_t>(random_.next() | 0xe07f);
  for (auto& r : c.fx.xmm) r[0] = floating_lane(), r[1] = random_.chance(30) ? r[0] : floating_lane();
  if (random_.chance(40)) c.fx.control = static_cast<uint16_t>(0x007f | (random_.next() & 0x0f00));
  c.fx.status = static_cast<uint16_t>(random_.next() & 0x7800);  // TOP and the condition codes
  c.fx.tags = static_cast<uint8_t>(random_.chance(50) ? 0xff : random_.next());
  for (auto& r : c.fx.st) {
    static constexpr uint16_t exponents[] = {0, 1, 0x3fff, 0x4000, 0x3ffe, 0x403e, 0x403d, 0x7ffe, 0x7fff, 0x4001, 0x3f80};
    r.significand = value();
    r.sign_exponent = exponents[random_.below(11)];
    if (random_.chance(40)) r.sign_exponent = static_cast<uint16_t>(0x3fff - 70 + random_.below(140));
    // The explicit integer bit belongs to most values; without it the encodings are denormal or unsupported.
    if (r.sign_exponent != 0 && random_.chance(97)) r.significand |= uint64_t{1} << 63;
    if (random_.chance(50)) r.sign_exponent |= 0x8000;
  }
}

// ---- All of it

bool Generator::make(unsigned row_number, unsigned bits, Case& c) {
  const Row& row = rows[row_number];
  if (row.kind == Kind::kind_unsupported) return false;
  if (row.attributes & (bits == 64 ? attribute::NO64 : attribute::ONLY64)) return false;
  c.row = static_cast<uint16_t>(row_number);
  c.bits = static_cast<uint8_t>(bits);
  c.floating = false;

  Draft d{.row = row, .c = c, .bits = bits};
  for (unsigned i = 0; i < d.operands.count; ++i) {
    if (d.operands.operand[i].kind == C::relative) d.branch = true;
    if (d.operands.operand[i].kind == C::far_pointer || d.operands.operand[i].kind == C::segment) return false;
  }
  d.branch |= (row.attributes & attribute::ENDS) != 0;
  d.string = row.family == Family::string;
  d.stack_used = one_of(d.name, {"PUSH", "POP", "PUSHA", "POPA", "CALL", "RET", "ENTER", "LEAVE", "PUSHF", "POPF"});
  c.trapped = d.branch;

  constexpr uint64_t status = 0x8d5, direction = 0x400, alignment = 1 << 18, identification = 1 << 21;
  c.flags = 0x202 | (random_.next() & status);
  if (random_.chance(30)) c.flags |= direction;
  if (random_.chance(3)) c.flags |= alignment;
  if (random_.chance(5)) c.flags |= identification;

  choose_registers(d);
  choose_prefixes(d);
  for (unsigned i = 0; i < d.operands.count; ++i) {
    const OperandSpec& o = d.operands.operand[i];
    if (o.kind == C::general_rm || o.kind == C::memory_only || o.kind == C::offset)
      d.memory_bytes = o.size ? bits_of_size(o.size, d.operand_bytes * 8) / 8 : 64;
  }
  if (d.memory && !choose_address(d)) return false;
  special_cases(d);
  choose_immediates(d);
  if (!assemble(d)) return false;
  fill_memory(d);
  bool needs_floating =
      row.family == Family::sse || row.family == Family::mmx || row.family == Family::x87 || row.family == Family::crypto;
  if (needs_floating) floating_state(c);
  return true;
}

}  // namespace silicon
