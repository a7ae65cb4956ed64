#include "tests/silicon/generator.h"

#include <algorithm>
#include <vector>

#include "cpu/isa.h"
#include "tests/silicon/segments.h"

namespace silicon {

using namespace matryoshka;
using C = OperandClass;

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
  bool stack_used = false, string = false, branch = false, far = false;

  bool memory = false;
  uint8_t reg = 0, rm = 0, vvvv = 0, opcode_reg = 0;
  unsigned base = no_register, index = no_register, scale = 0;
  unsigned displacement_bytes = 0;
  int64_t displacement = 0;
  bool use_sib = false;
  uint64_t target = 0;  // the linear address that the memory operand shall have
  unsigned memory_bytes = 8;

  bool tables_row() const { return row.family == Family::system; }
  const SegmentChoice* local(unsigned segment_register) const {
    uint16_t selector = c.selector[segment_register];
    bool has = c.segmented && selector & 4 && selector >> 3 < local_count;
    return has ? &local_table[selector >> 3] : nullptr;
  }
  uint64_t base_of(unsigned segment_register) const {
    if (bits == 64) return segment_register == 4 ? fs_base : segment_register == 5 ? gs_base : 0;
    return local(segment_register) ? local(segment_register)->base : 0;
  }
  bool wide_stack() const { return !local(2) || local(2)->big; }
  uint64_t stack_linear() const {
    if (bits == 64) return c.gpr[rsp];
    return static_cast<uint32_t>((wide_stack() ? c.gpr[rsp] : c.gpr[rsp] & 0xffff) + base_of(2));
  }
  uint64_t address_mask() const { return ~uint64_t{0} >> (64 - 8 * address_bytes); }
  // The segment of an operand, unless it is fixed: BP and SP lead to the stack.
  unsigned segment_for(bool by_stack_register) const {
    return segment >= 0 ? static_cast<unsigned>(segment) : by_stack_register && bits != 64 ? 2 : 3;
  }

  std::vector<uint8_t> immediate{};
  bool pinned[16] = {};  // registers whose values are decided
};

// ---- Places

uint64_t Generator::branch_target(const Draft& d, uint64_t base) {
  uint64_t at = trap_at + 16 + random_.below(trap_pages * page - 32);
  if (at >= d.c.code_at() && at < d.c.code_at() + sizeof d.c.code) at += sizeof d.c.code;  // never itself
  if (d.bits == 64 && random_.chance(3)) return random_.next();
  if (random_.chance(3)) at = 0x5000'0000 + random_.below(0x1000);
  return at - base;
}

// An offset for a far transfer through this selector.
uint64_t Generator::far_target(const Draft& d, uint16_t selector) {
  bool local = selector & 4 && selector >> 3 < local_count;
  uint32_t base = local ? local_table[selector >> 3].base : 0;
  return base == code16_base ? random_.below(0x6000) : branch_target(d, base);  // no traps there, and nothing else
}

// Where an operand of this segment shall lie: well inside mostly, then at the ends of pages and of the segment, in the
// read-only page, or on a boundary.
uint64_t Generator::place(const Draft& d, unsigned segment) {
  const SegmentChoice* local = d.local(segment);
  uint64_t base = d.base_of(segment), edge = random_.below(d.memory_bytes + 1);
  if (local && local->is_code()) return base + random_.below(0x2f00);  // nothing is mapped there
  if (local && random_.chance(8)) {
    uint64_t limit = local->pages ? uint64_t{local->limit} << 12 | 0xfff : local->limit;
    return static_cast<uint32_t>(base + limit + 1 - edge);
  }
  if (segment == 2 && local) return stack_at + 300 + random_.below(page - 700);
  uint64_t inside = data_at + 300 + random_.below(data_pages * page - 700);
  uint64_t n = random_.below(100);
  return n < 80   ? inside
         : n < 88 ? data_at + page - edge
         : n < 92 ? read_only_at - edge
         : n < 94 ? data_at - edge
         : n < 96 ? read_only_at + 100 + random_.below(page - 300)
                  : inside & ~uint64_t{63};
}

// What RSP shall be: somewhere inside the page mostly, at its edges and those of the segment now and then.
uint64_t Generator::stack_place(const Draft& d) {
  uint64_t n = random_.below(100), base = d.base_of(2);
  uint64_t top = n < 90   ? stack_at + 400 + random_.below(page - 800)
                 : n < 95 ? stack_at + random_.below(32)
                          : stack_at + page - random_.below(32);
  if (n < 60) top &= ~uint64_t{7};
  if (d.bits == 64) return n == 91 ? top ^ uint64_t { 1 } << 50 : top;
  uint64_t offset = top - base;
  if (d.local(2) && random_.chance(6)) offset = d.local(2)->limit + random_.below(40) - 16;
  if (d.local(2) && random_.chance(3)) offset = random_.below(24);
  if (!d.wide_stack()) offset = (offset & 0xffff) | random_.next() << 16;
  return static_cast<uint32_t>(offset);
}

void Generator::choose_segments(Draft& d) {
  Case& c = d.c;
  for (unsigned i = 0; i < 6; ++i) c.selector[i] = i < 4 ? user_data : 0;
  c.selector[1] = d.bits == 64 ? user_code64 : user_code32;
  c.code_base = 0;
  if (!c.segmented) return;
  // What the entry can load: present, readable unless it is code, writable if it is the stack.
  for (unsigned i = 0; i < 6; ++i) {
    if (i == 1) continue;
    do {
      unsigned first = i == 2 ? first_stack : random_.chance(95) ? first_data : first_code32;
      unsigned end = i == 2 ? local_count : first == first_code32 ? first_data : first_stack;
      c.selector[i] = local_selector(first + static_cast<unsigned>(random_.below(end - first)));
    } while (!d.local(i)->present || !d.local(i)->readable());
    if (random_.chance(10)) c.selector[i] = user_data;
    if (i != 2 && random_.chance(1)) c.selector[i] = 0;
  }
  unsigned code = d.bits == 32 ? first_code32 + static_cast<unsigned>(random_.below(3))
                               : first_code16 + (c.trapped ? 0 : 2) + static_cast<unsigned>(random_.below(2));
  if (!c.trapped && code == first_code32 + 1) code = first_code32;
  c.selector[1] = local_selector(code);
  if (d.bits == 32 && random_.chance(10)) c.selector[1] = user_code32;
  c.code_base = static_cast<uint32_t>(d.base_of(1));
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
  d.address_prefix = random_.chance(d.bits == 64 ? 10 : d.c.segmented ? 25 : 4);
  d.address_bytes = d.bits == 64 ? (d.address_prefix ? 4 : 8) : d.address_prefix != (d.bits == 16) ? 2 : 4;
  if (random_.chance(8)) d.segment = static_cast<int>(random_.below(d.bits == 64 || d.c.segmented ? 6 : 4));

  bool wide = d.rex & 8 && d.bits == 64;
  bool narrow = d.operand_prefix && d.e.mandatory != 0x66;
  unsigned v = wide || (d.bits == 64 && d.row.attributes & attribute::FORCE64) ? 8
               : narrow != (d.bits == 16)                                      ? 2
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
  if (d.bits != 64)
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
  for (unsigned i = 0; i < d.operands.count; ++i)
    if (d.operands.operand[i].kind == C::segment) d.reg = static_cast<uint8_t>(random_.below(random_.chance(95) ? 6 : registers));

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

// The 16-bit forms.
void Generator::choose_short_address(Draft& d) {
  static constexpr uint8_t bases[8] = {3, 3, 5, 5, 6, 7, 5, 3};  // BX BX BP BP SI DI BP BX
  d.rm = static_cast<uint8_t>(random_.below(8));
  d.use_sib = false;
  unsigned mod = static_cast<unsigned>(random_.below(3));
  bool direct = mod == 0 && d.rm == 6;
  d.base = direct ? no_register : bases[d.rm];
  d.displacement_bytes = direct ? 2 : mod;
  uint64_t segment = d.segment_for(!direct && d.base == rbp);
  d.target = place(d, static_cast<unsigned>(segment));
  uint64_t offset = d.target - d.base_of(static_cast<unsigned>(segment));
  auto put = [&](unsigned r, uint64_t v) {
    d.c.gpr[r] = (v & 0xffff) | (random_.next() & (d.bits == 64 ? ~uint64_t{0xffff} : 0xffff0000));
    d.pinned[r] = true;
  };
  d.displacement = direct     ? static_cast<int64_t>(offset)
                   : mod == 1 ? static_cast<int8_t>(random_.next())
                              : static_cast<int16_t>(random_.next());
  if (mod == 0 && !direct) d.displacement = 0;
  if (direct) return;
  uint64_t index = 0;
  if (d.rm < 4) put(6 + (d.rm & 1), index = random_.next() & 0xffff);
  put(d.base, offset - index - static_cast<uint64_t>(d.displacement));
}

// Picks a form, then where the operand shall lie, and makes registers and displacement lead there.
void Generator::choose_address(Draft& d) {
  Case& c = d.c;
  auto offset_in = [&](unsigned segment) {
    d.target = place(d, segment);
    // A locked access across cache lines stops the whole machine: rarely.
    bool aligned = d.lock || d.name == "XCHG" || d.row.attributes & attribute::ALIGNED || one_of(d.name, {"CMPXCHG8B"});
    if (aligned && random_.chance(95)) d.target &= ~uint64_t{15};
    bool image = one_of(d.name, {"XSAVE", "XSAVEC", "XSAVEOPT", "XRSTOR"});
    if (image && random_.chance(95)) d.target &= ~uint64_t{63};
    return d.target - d.base_of(segment);
  };
  if (d.operands.operand[0].kind == C::offset || d.operands.operand[1].kind == C::offset) {
    d.displacement = static_cast<int64_t>(offset_in(d.segment_for(false)));
    d.displacement_bytes = d.address_bytes;
    return;
  }
  if (d.address_bytes == 2) return choose_short_address(d);
  unsigned registers = d.bits == 64 ? 16 : 8;
  unsigned form = static_cast<unsigned>(random_.below(10));
  d.use_sib = true;
  auto put = [&](unsigned r, uint64_t v) {
    if (d.address_bytes == 4 && d.bits == 64 && !(d.stack_used && r == rsp)) v = static_cast<uint32_t>(v) | random_.next() << 32;
    if (d.bits != 64) v = static_cast<uint32_t>(v);
    c.gpr[r] = v;
    d.pinned[r] = true;
  };
  auto small = [&] {
    d.displacement_bytes = random_.chance(50) ? 1 : 4;
    d.displacement =
        d.displacement_bytes == 1 ? static_cast<int8_t>(random_.next()) : static_cast<int32_t>(random_.below(0x2000)) - 0x1000;
  };
  auto by_base = [&] { return d.segment_for(d.base == rsp || d.base == rbp); };
  if (form == 0) {  // an absolute address
    d.displacement_bytes = 4, d.displacement = static_cast<int64_t>(offset_in(d.segment_for(false)));
    d.use_sib = d.bits == 64 || random_.chance(50);
  } else if (form == 1 && d.bits == 64) {
    d.base = rip_based, d.displacement_bytes = 4, d.use_sib = false;  // filled in when the length is known
    (void)offset_in(d.segment_for(false));
  } else if (form <= 5) {  // a base
    d.base = static_cast<unsigned>(random_.below(registers));
    if (random_.chance(60)) small();
    if (d.displacement_bytes == 0 && (d.base & 7) == rbp) d.displacement_bytes = 1;
    d.use_sib = (d.base & 7) == rsp || random_.chance(10);
    uint64_t v = offset_in(by_base()) - static_cast<uint64_t>(d.displacement);
    if (d.base == rsp && d.stack_used) return;  // wherever the stack is
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
      put(d.base, offset_in(by_base()) - (c.gpr[d.index] << d.scale) - static_cast<uint64_t>(d.displacement));
    } else {
      uint64_t v = random_.chance(50) ? random_.below(1000) : ~uint64_t{0} - random_.below(1000);
      put(d.index, v);
      d.displacement_bytes = 4;
      d.displacement = static_cast<int64_t>(offset_in(d.segment_for(false)) - (c.gpr[d.index] << d.scale));
    }
  }
}

// ---- Immediates and bytes

void Generator::choose_immediates(Draft& d) {
  for (unsigned i = 0; i < d.operands.count; ++i) {
    const OperandSpec& o = d.operands.operand[i];
    unsigned bytes = bits_of_size(o.size, d.operand_bytes * 8) / 8;
    uint64_t v = 0;
    if (o.kind == C::immediate)
      v = value();
    else if (o.kind == C::far_pointer) {
      uint16_t to = selector(For::code);
      v = far_target(d, to);
      for (unsigned k = 0; k < bytes; ++k) d.immediate.push_back(static_cast<uint8_t>(v >> 8 * k));
      v = to, bytes = 2;
    } else if (o.kind == C::relative)
      v = bytes == 1 ? random_.next() : random_.chance(90) ? random_.below(2 * page) - page : random_.next();
    else
      continue;
    if (d.name == "ENTER")
      v = i == 0               ? (random_.chance(90) ? random_.below(100) : random_.next())
          : random_.chance(80) ? random_.below(5)
                               : random_.next();
    if (one_of(d.name, {"RET", "RETF"}) && random_.chance(90)) v &= 0xff;
    constexpr uint64_t linux_call = 0x80;
    if (d.name == "INT" && (v & 0xff) == linux_call) ++v;
    for (unsigned k = 0; k < bytes; ++k) d.immediate.push_back(static_cast<uint8_t>(v >> 8 * k));
  }
}

bool Generator::assemble(Draft& d) {
  static constexpr uint8_t segment_prefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
  if (d.lock) d.prefixes.push_back(0xf0);
  if (d.operand_prefix) d.prefixes.push_back(0x66);
  if (d.address_prefix) d.prefixes.push_back(0x67);
  if (d.segment >= 0) d.prefixes.push_back(segment_prefixes[d.segment]);
  // In 64-bit code those that name ES, CS, SS and DS do not count, wherever they stand.
  if (d.bits == 64 && random_.chance(2)) d.prefixes.push_back(segment_prefixes[random_.below(4)]);
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
    if (d.bits != 64 && rex & 7) return false;
  } else {
    if (rex || d.rex_wanted) {
      if (d.bits != 64) return false;
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
  if (d.branch && !d.far && !d.e.modrm && !d.immediate.empty()) {
    // A jump into itself would never come back.
    unsigned unused = static_cast<unsigned>(64 - 8 * d.immediate.size());
    uint64_t distance = 0;
    std::memcpy(&distance, d.immediate.data(), d.immediate.size());
    int64_t beyond = static_cast<int64_t>(distance << unused) >> unused;
    if (beyond < 0 && beyond >= -static_cast<int64_t>(code.size())) return false;
  }
  d.c.length = static_cast<uint8_t>(code.size());
  if (d.base == rip_based) {
    auto distance = static_cast<uint32_t>(d.target - d.base_of(d.segment_for(false)) - (d.c.code_at() + d.c.length));
    std::memcpy(&code[displacement_place], &distance, 4);
  }
  std::copy(code.begin(), code.end(), d.c.code);
  return true;
}

// ---- What particular instructions want

void Generator::special_cases(Draft& d) {
  Case& c = d.c;
  auto set = [&](unsigned r, uint64_t v) {
    if (!d.pinned[r]) c.gpr[r] = d.bits != 64 ? static_cast<uint32_t>(v) : v;
  };
  // What lies beyond the address size does not count.
  auto high_garbage = [&](uint64_t v) { return (v & d.address_mask()) | (random_.next() & ~d.address_mask()); };
  const unsigned source = d.segment_for(false);
  if (d.stack_used) {
    c.gpr[rsp] = stack_place(d);
    if ((d.name == "LEAVE" || d.name == "ENTER") && random_.chance(95))
      c.gpr[rbp] = d.bits == 64 || d.wide_stack()
                       ? stack_at + 300 + random_.below(page - 600) - d.base_of(2)
                       : (stack_at + 300 + random_.below(page - 600) - d.base_of(2)) | random_.next() << 16;
    if (d.bits != 64) c.gpr[rbp] = static_cast<uint32_t>(c.gpr[rbp]);
  }
  if (d.string) {
    auto somewhere = [&](unsigned segment) {
      if (d.c.segmented) return place(d, segment);
      uint64_t n = random_.below(100);
      return n < 85   ? data_at + 300 + random_.below(data_pages * page - 600)
             : n < 92 ? read_only_at - random_.below(64)
                      : data_at + random_.below(64);
    };
    uint64_t from = somewhere(source), to = random_.chance(30) ? from + random_.below(80) - 40 : somewhere(0);
    set(6, high_garbage(from - d.base_of(source)));
    set(7, high_garbage(to - d.base_of(0)));
    uint64_t count = random_.chance(90) ? random_.below(24) : random_.below(300);
    if (d.address_bytes != 8 && random_.chance(50)) count |= random_.next() << 8 * d.address_bytes;
    set(1, count);
  }
  if (d.name == "XLAT") set(3, high_garbage(place(d, source) - random_.below(256) - d.base_of(source)));
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
    d.target = d.c.segmented ? place(d, source) : data_at + random_.below(data_pages * page + 16);
    set(7, high_garbage(d.target - d.base_of(source)));
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
  if (d.branch && !d.memory && d.e.modrm && d.rm != rsp) set(d.rm, branch_target(d, c.code_base));
  if (d.name == "CMPXCHG" && !d.memory && random_.chance(50)) set(d.rm, c.gpr[0]);
  if (one_of(d.name, {"XSAVE", "XSAVEC", "XSAVEOPT", "XRSTOR"})) {
    // x87 and SSE alone, of what the host may have; bits that nobody has do no harm.
    uint64_t nowhere = random_.chance(30) ? random_.next() & 0x7fffffff'fff00000 : 0;
    set(0, (nowhere & 0xffffffff) | random_.below(4)), set(2, nowhere >> 32);
  }
  if (d.name == "XGETBV" && random_.chance(50)) set(1, 0);
  if (d.c.tables && !d.memory && d.e.modrm && !d.branch) {
    set(d.rm, (selector(d.reg == 2 ? For::stack : For::data) & 0xffff) | (value() & ~uint64_t{0xffff}));
    if (d.name == "ARPL") set(d.reg, selector(For::data));
  }
  static constexpr unsigned count_register = 1;
  if (d.operands.count && d.operands.operand[d.operands.count - 1].kind == C::general_fixed &&
      d.operands.operand[d.operands.count - 1].number == count_register && random_.chance(60))
    set(count_register, (c.gpr[count_register] & ~uint64_t{0xff}) | random_.below(70));
}

// Windows of known bytes where the instruction is going to look.
namespace {

constexpr uint64_t data_end = data_at + data_pages * page;

bool in_data(uint64_t at) { return at >= data_at && at < data_end; }
bool in_stack(uint64_t at) { return at >= stack_at && at < stack_at + page; }

// `size` bytes, `before` of them in front of `around`, as far as the pages go.
Window* add_window(Case& c, Random& random, uint64_t around, unsigned before, unsigned size) {
  if (c.windows == Window::count) return nullptr;
  uint64_t first = in_data(around) ? data_at : stack_at, end = in_data(around) ? data_end : stack_at + page;
  uint64_t from = std::clamp(around - before, first, end - size);
  for (unsigned i = 0; i < c.windows; ++i)
    if (from < c.window[i].address + c.window[i].size && c.window[i].address < from + size) return nullptr;
  Window& w = c.window[c.windows++];
  w.address = from, w.size = static_cast<uint16_t>(size);
  for (unsigned i = 0; i < size; i += 8) {
    uint64_t v = random.next();
    std::memcpy(w.bytes + i, &v, 8);
  }
  return &w;
}

void poke(Case& c, uint64_t at, uint64_t v, unsigned size) {
  for (unsigned i = 0; i < c.windows; ++i) {
    Window& w = c.window[i];
    if (at >= w.address && at + size <= w.address + w.size) std::memcpy(w.bytes + (at - w.address), &v, size);
  }
}

}  // namespace

void Generator::fill_strings(Draft& d) {
  Case& c = d.c;
  unsigned wide = c.gpr[1] % 1024 > 16 ? 256 : 128;
  const unsigned source = d.segment_for(false);
  auto truncated = [&](uint64_t v) { return d.bits == 64 ? v : static_cast<uint32_t>(v); };
  uint64_t from = truncated((c.gpr[6] & d.address_mask()) + d.base_of(source));
  uint64_t to = truncated((c.gpr[7] & d.address_mask()) + d.base_of(0));
  bool down = c.flags >> 10 & 1;
  for (uint64_t at : {from, to})
    if (in_data(at) || in_stack(at)) add_window(c, random_, at, down ? wide - 16 : 16, wide);
  // Equal stretches, so that comparisons go on.
  if (!random_.chance(60)) return;
  auto v = static_cast<uint8_t>(random_.chance(50) ? c.gpr[0] : random_.next());
  for (unsigned i = 0; i < c.windows; ++i) {
    unsigned start = static_cast<unsigned>(random_.below(64)), length = static_cast<unsigned>(random_.below(160));
    for (unsigned k = start; k < start + length && k < c.window[i].size; ++k) c.window[i].bytes[k] = v;
  }
}

// What POP, RET and their like find.
void Generator::fill_stack(Draft& d) {
  Case& c = d.c;
  uint64_t top = d.stack_linear(), v = value();
  if (!in_stack(top)) return;
  add_window(c, random_, top, 128, 256);
  unsigned n = d.operand_bytes;
  if (d.name == "RET") v = branch_target(d, c.code_base);
  if (d.name == "POP" && d.tables_row()) v = selector(d.operands.operand[0].number == 2 ? For::stack : For::data);
  // Steps and nested tasks are not what these images are for.
  constexpr uint64_t trap_and_nested = 0x4100;
  if (d.name == "POPF") v &= ~trap_and_nested;
  if (one_of(d.name, {"RETF", "IRET"})) {
    uint16_t to = selector(For::code);
    v = far_target(d, to);
    poke(c, top + n, to, n);
    poke(c, top + 2 * n, value() & ~trap_and_nested, n);
    poke(c, top + 3 * n, stack_at + random_.below(page), n);
    poke(c, top + 4 * n, selector(For::stack), n);
  }
  poke(c, top, v, n);
}

void Generator::fill_memory(Draft& d) {
  Case& c = d.c;
  c.windows = 0;
  if (d.string) return fill_strings(d);
  const uint64_t operand = c.operand = d.bits == 64 ? d.target : static_cast<uint32_t>(d.target);
  if (d.name == "XLAT") {
    uint64_t at = static_cast<uint32_t>(c.gpr[3] & d.address_mask()) + d.base_of(d.segment_for(false));
    if (d.bits != 64) at = static_cast<uint32_t>(at);
    if (in_data(at)) add_window(c, random_, at, 0, 256);
  }
  if (d.stack_used) fill_stack(d);
  if ((!d.memory && operand == 0) || (!in_data(operand) && !in_stack(operand))) return;
  if (d.memory_bytes >= 512) {
    for (unsigned i = 0; i < 3; ++i)
      if (in_data(operand + i * 256)) add_window(c, random_, operand + i * 256, 0, 192 + (i < 2 ? 64 : 0));
    return fill_image(d, operand);
  }
  unsigned size = one_of(d.name, {"BT", "BTS", "BTR", "BTC"}) ? 256 : d.memory_bytes > 32 ? 256 : 64;
  add_window(c, random_, operand, size / 2, size);
  uint64_t v = value();
  if (d.branch) v = branch_target(d, c.code_base);
  if (d.name == "CMPXCHG" && random_.chance(50)) v = c.gpr[0];
  bool loads_selector = one_of(d.name, {"LAR", "LSL", "VERR", "VERW", "ARPL"}) || d.operands.operand[0].kind == C::segment;
  if (loads_selector) v = selector(d.reg == 2 ? For::stack : For::data);
  poke(c, operand, v, std::min(d.memory_bytes, 8u));
  if (d.operands.count && d.operands.operand[d.operands.count - 1].size == 'p') {
    uint16_t to = selector(d.branch ? For::code : d.name == "LSS" ? For::stack : For::data);
    poke(c, operand, d.branch ? far_target(d, to) : v, d.operand_bytes);
    poke(c, operand + d.operand_bytes, to, 2);
  }
  if (d.memory_bytes == 16) poke(c, operand + 8, floating_lane(), 8), poke(c, operand, floating_lane(), 8);
  if (d.name == "CMPXCHG8B") {
    unsigned half = d.rex & 8 ? 8 : 4;
    if (random_.chance(80)) poke(c, operand, c.gpr[0], half);
    if (random_.chance(80)) poke(c, operand + half, c.gpr[2], half);
  }
}

// An image for FXRSTOR or XRSTOR, mostly one that can be loaded. Its parts beyond x87 and SSE are the host's business.
void Generator::fill_image(Draft& d, uint64_t at) {
  Case& c = d.c;
  constexpr unsigned mxcsr_at = 24, st_at = 32, xmm_at = 160, header_at = 512;
  constexpr uint32_t plain_mxcsr = 0xffbf;  // AMD has bit 17, too
  poke(c, at + mxcsr_at, random_.next() & (random_.chance(95) ? plain_mxcsr : 0xfffdffff), 4);
  Floating fx;
  Case other;
  floating_state(other);
  fx = other.fx;
  if (random_.chance(80)) poke(c, at, fx.control | uint64_t{fx.status} << 16 | uint64_t{fx.tags} << 32, 6);
  for (unsigned i = 0; i < 8; ++i)
    poke(c, at + st_at + 16 * i, fx.st[i].significand, 8), poke(c, at + st_at + 16 * i + 8, fx.st[i].sign_exponent, 2);
  for (unsigned i = 0; i < 16; ++i)
    poke(c, at + xmm_at + 16 * i, fx.xmm[i][0], 8), poke(c, at + xmm_at + 16 * i + 8, fx.xmm[i][1], 8);
  if (random_.chance(95)) {
    poke(c, at + header_at, random_.below(4), 8);
    for (unsigned k = 8; k < 64; k += 8) poke(c, at + header_at + k, 0, 8);
    constexpr uint64_t compacted = uint64_t{1} << 63;
    if (random_.chance(30)) poke(c, at + header_at + 8, compacted | random_.below(4), 8);
  }
}

// ---- All of it

bool Generator::make(unsigned row_number, unsigned bits, Case& c, bool segmented) {
  const Row& row = rows[row_number];
  if (row.kind == Kind::kind_unsupported) return false;
  if (row.attributes & (bits == 64 ? attribute::NO64 : attribute::ONLY64)) return false;
  c.row = static_cast<uint16_t>(row_number);
  c.bits = static_cast<uint8_t>(bits);
  c.floating = false;
  c.segmented = segmented || bits == 16;
  c.tables = row.family == Family::system;
  c.stepped = false;

  Draft d{.row = row, .c = c, .bits = bits};
  for (unsigned i = 0; i < d.operands.count; ++i) {
    if (d.operands.operand[i].kind == C::relative) d.branch = true;
    d.far |= d.operands.operand[i].kind == C::far_pointer;
  }
  d.far |= one_of(d.name, {"JMP", "CALL"}) && d.operands.operand[0].size == 'p';
  d.branch |= (row.attributes & attribute::ENDS) != 0 || d.far || one_of(d.name, {"RETF", "IRET"});
  d.string = row.family == Family::string;
  d.stack_used =
      one_of(d.name, {"PUSH", "POP", "PUSHA", "POPA", "CALL", "RET", "ENTER", "LEAVE", "PUSHF", "POPF", "RETF", "IRET"});
  c.trapped = d.branch;

  constexpr uint64_t status = 0x8d5, direction = 0x400, alignment = 1 << 18, identification = 1 << 21;
  c.flags = 0x202 | (random_.next() & status);
  if (random_.chance(30)) c.flags |= direction;
  if (random_.chance(3)) c.flags |= alignment;
  if (random_.chance(5)) c.flags |= identification;

  choose_segments(d);
  choose_registers(d);
  choose_prefixes(d);
  for (unsigned i = 0; i < d.operands.count; ++i) {
    const OperandSpec& o = d.operands.operand[i];
    if (o.kind == C::general_rm || o.kind == C::memory_only || o.kind == C::offset)
      d.memory_bytes = o.size ? bits_of_size(o.size, d.operand_bytes * 8) / 8 : 64;
  }
  constexpr unsigned image_with_header = 576;
  if (d.name == "BOUND") d.memory_bytes = 2 * d.operand_bytes;
  if (d.operands.operand[0].size == 'p' || d.operands.operand[1].size == 'p') d.memory_bytes = d.operand_bytes + 2;
  if (one_of(d.name, {"FXSAVE", "FXRSTOR"})) d.memory_bytes = 512;
  if (one_of(d.name, {"XSAVE", "XSAVEC", "XSAVEOPT", "XRSTOR"})) d.memory_bytes = image_with_header;
  if (d.memory) choose_address(d);
  if (d.memory_bytes == image_with_header && (d.pinned[0] || d.pinned[2])) return false;  // EDX:EAX is another operand
  special_cases(d);
  // A bit string in the code segment would reach the pages that lead in and out of it.
  if (c.segmented && d.segment == 1 && one_of(d.name, {"BT", "BTS", "BTR", "BTC"})) return false;
  // JMP and CALL of SP to the instruction itself would never come back.
  if (d.branch && !d.memory && d.e.modrm && ((c.gpr[d.rm] ^ c.rip()) & 0xffff) == 0) return false;
  choose_immediates(d);
  if (!assemble(d)) return false;
  fill_memory(d);
  bool needs_floating =
      row.family == Family::sse || row.family == Family::mmx || row.family == Family::x87 || row.family == Family::crypto;
  if (needs_floating) floating_state(c);
  return true;
}

}  // namespace silicon
