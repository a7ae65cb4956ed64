#include "cpu/decode.h"

#include <algorithm>
#include <string_view>

#include "cpu/isa.h"

namespace matryoshka {

// ---- Building the tables from the encodings

namespace {

template <size_t... Rows>
constexpr std::array<OperandList, sizeof...(Rows)> parse_all(std::index_sequence<Rows...>) {
  return {parse_operands(rows[Rows].operands)...};
}
constexpr auto operand_lists = parse_all(std::make_index_sequence<row_count>{});

}  // namespace

const OperandList& operands_of(unsigned row) { return operand_lists[row]; }

namespace {

bool is_hex(std::string_view t) {
  return t.size() >= 2 && std::isxdigit(static_cast<unsigned char>(t[0])) && std::isxdigit(static_cast<unsigned char>(t[1]));
}

uint8_t hex(std::string_view t) {
  auto digit = [](char c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; };
  return static_cast<uint8_t>(digit(t[0]) << 4 | digit(t[1]));
}

std::string_view next_token(std::string_view& text, char separator) {
  size_t end = text.find(separator);
  std::string_view token = text.substr(0, end);
  text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  return token;
}

}  // namespace

Decoder::Parsed Decoder::parse(unsigned row) {
  Parsed p{{static_cast<uint16_t>(row), any_prefix, -1, -1, 1, -1, -1, -1, -1}, one_byte, 0, 1};
  const OperandList& operands = operands_of(row);
  if (must_be_memory(operands))
    p.pattern.memory = 1;
  else if (must_be_register(operands))
    p.pattern.memory = 0;

  bool have_opcode = false;
  for (std::string_view text = rows[row].encoding; !text.empty();) {
    std::string_view token = next_token(text, ' ');
    if (token == "EVEX") {
      p.pattern.vex = 1;  // no legacy encoding: decode_evex() finds the row
    } else if (token.starts_with("VEX")) {
      p.pattern.vex = 1, p.pattern.prefix = no_prefix;
      while (!token.empty()) {
        std::string_view part = next_token(token, '.');
        if (part == "L0" || part == "128") p.pattern.vex_length = 0;
        if (part == "L1" || part == "256") p.pattern.vex_length = 1;
        if (part == "66") p.pattern.prefix = prefix_66;
        if (part == "F3") p.pattern.prefix = prefix_f3;
        if (part == "F2") p.pattern.prefix = prefix_f2;
        if (part == "0F") p.map = two_byte;
        if (part == "0F38") p.map = map_0f38;
        if (part == "0F3A") p.map = map_0f3a;
        if (part == "W0") p.pattern.vex_w = 0;
        if (part == "W1") p.pattern.vex_w = 1;
      }
    } else if (token == "NP") {
      p.pattern.prefix = no_prefix;
    } else if (token == "NFx") {
      p.pattern.prefix = no_repeat_prefix;
    } else if (token == "/r") {
      // any ModRM byte
    } else if (token[0] == '/') {
      p.pattern.reg = static_cast<int16_t>(token[1] - '0');
    } else if (is_hex(token) && have_opcode) {
      p.pattern.modrm = hex(token);
      if (token.ends_with("+i")) p.pattern.modrm_span = 8;
    } else if (is_hex(token)) {
      uint8_t byte = hex(token);
      if (p.pattern.vex < 0 && p.map == one_byte && (byte == 0x66 || byte == 0xf2 || byte == 0xf3))
        p.pattern.prefix = byte == 0x66 ? prefix_66 : byte == 0xf3 ? prefix_f3 : prefix_f2;
      else if (p.pattern.vex < 0 && p.map == one_byte && byte == 0x0f)
        p.map = two_byte;
      else if (p.pattern.vex < 0 && p.map == two_byte && byte == 0x38)
        p.map = map_0f38;
      else if (p.pattern.vex < 0 && p.map == two_byte && byte == 0x3a)
        p.map = map_0f3a;
      else {
        p.opcode = byte, have_opcode = true;
        if (token.ends_with("+r")) p.opcode_span = 8;
      }
    }
  }
  return p;
}

// More particular patterns are tried first.
int Decoder::Pattern::rank() const {
  return (modrm >= 0 ? 8 : 0) + (reg >= 0 ? 4 : 0) + (memory >= 0 ? 2 : 0) +
         (prefix > no_prefix    ? 16
          : prefix == no_prefix ? 1
                                : 0);
}

Decoder::Decoder(const FeatureSet& features) {
  for (unsigned row = 0; row < row_count; ++row) {
    if (!features.has(rows[row].feature) && rows[row].kind != Kind::kind_unsupported) continue;
    Parsed p = parse(row);
    std::string_view encoding = rows[row].encoding;
    bool modrm = encoding.find('/') != std::string_view::npos || p.pattern.modrm >= 0;
    for (unsigned i = 0; i < p.opcode_span; ++i) {
      candidates_[p.map][p.opcode + i].push_back(p.pattern);
      needs_modrm_[p.map][p.opcode + i] |= modrm;
    }
  }
  for (auto& map : candidates_)
    for (auto& list : map)
      std::stable_sort(list.begin(), list.end(), [](const Pattern& a, const Pattern& b) { return a.rank() > b.rank(); });
}

// ---- Decoding

struct Decoder::Cursor {
  std::span<const uint8_t> bytes;
  size_t at = 0;
  bool short_of = false;

  uint8_t peek() {
    if (at < bytes.size()) return bytes[at];
    short_of = true;
    return 0;
  }
  uint8_t next() {
    uint8_t byte = peek();
    ++at;
    return byte;
  }
  uint64_t little_endian(unsigned size) {
    uint64_t value = 0;
    for (unsigned i = 0; i < size; ++i) value |= uint64_t{next()} << 8 * i;
    return value;
  }
  int64_t signed_value(unsigned size) {
    uint64_t value = little_endian(size);
    unsigned unused = 64 - 8 * size;
    return static_cast<int64_t>(value << unused) >> unused;
  }
};

namespace {

// ModRM and what follows it: "Table 2-1. 16-Bit Addressing Forms" and its two neighbours.
template <class Cursor>
void decode_address(Cursor& cursor, Instruction& in, unsigned code_bits, uint8_t modrm) {
  in.has_modrm = true;
  in.mod = modrm >> 6;
  in.reg = (modrm >> 3 & 7) | (in.rex & 4) << 1;
  uint8_t rm = modrm & 7;
  if (in.mod == 3) {
    in.rm = rm | (in.rex & 1) << 3;
    return;
  }
  in.is_memory = true;
  in.rm = rm;
  if (in.address_size == 16) {
    static constexpr uint8_t bases[8] = {3, 3, 5, 5, 6, 7, 5, 3};  // BX BX BP BP SI DI BP BX
    static constexpr uint8_t indexes[8] = {6, 7, 6, 7, 0xff, 0xff, 0xff, 0xff};
    in.base = in.mod == 0 && rm == 6 ? Instruction::no_register : bases[rm];
    in.index = indexes[rm];
    if (in.mod == 1) in.displacement = cursor.signed_value(1);
    if (in.mod == 2 || (in.mod == 0 && rm == 6)) in.displacement = cursor.signed_value(2);
    return;
  }
  if (rm == 4) {
    uint8_t sib = cursor.next();
    in.scale = sib >> 6;
    in.index = (sib >> 3 & 7) | (in.rex & 2) << 2;
    if (in.index == 4) in.index = Instruction::no_register;
    in.base = (sib & 7) | (in.rex & 1) << 3;
    if ((sib & 7) == 5 && in.mod == 0) in.base = Instruction::no_register;
    if (in.mod == 0 && (sib & 7) == 5) in.displacement = cursor.signed_value(4);
  } else if (rm == 5 && in.mod == 0) {
    in.displacement = cursor.signed_value(4);
    if (code_bits == 64) in.base = Instruction::rip_register;
  } else {
    in.base = rm | (in.rex & 1) << 3;
  }
  if (in.mod == 1) in.displacement = cursor.signed_value(1);
  if (in.mod == 2) in.displacement = cursor.signed_value(4);
}

template <class Cursor>
void decode_immediates(Cursor& cursor, Instruction& in, const OperandList& operands) {
  bool first = true;
  for (unsigned i = 0; i < operands.count; ++i) {
    const OperandSpec& o = operands.operand[i];
    unsigned bytes = bits_of_size(o.size, in.operand_size) / 8;
    switch (o.kind) {
      case OperandClass::immediate:
      case OperandClass::relative:
        if (first)
          in.immediate = cursor.signed_value(bytes);
        else
          in.immediate2 = static_cast<uint16_t>(cursor.little_endian(bytes));
        first = false;
        break;
      case OperandClass::offset:
        in.is_memory = true;
        in.displacement = static_cast<int64_t>(cursor.little_endian(in.address_size / 8));
        break;
      case OperandClass::far_pointer:
        in.immediate = static_cast<int64_t>(cursor.little_endian(in.operand_size / 8));
        in.immediate2 = static_cast<uint16_t>(cursor.little_endian(2));
        break;
      default: break;
    }
  }
}

constexpr uint16_t evex_row = [] {
  uint16_t row = 0;
  while (!std::string_view(rows[row].encoding).starts_with("EVEX")) ++row;
  return row;
}();

// AVX-512 is not here, but its instructions have a length: after 62 three bytes of payload, an opcode and ModRM, and an immediate
// byte behind those opcodes whose elder forms have one. "Instruction Encoding Using EVEX"
template <class Cursor>
void decode_evex(Cursor& cursor, Instruction& in, unsigned code_bits) {
  const uint8_t first = cursor.next(), second = cursor.next();
  cursor.next();
  const unsigned map = first & 15;
  constexpr unsigned two_byte_map = 1, map_with_immediates = 3;
  constexpr unsigned maps = 1 << two_byte_map | 1 << 2 | 1 << map_with_immediates | 1 << 5 | 1 << 6;
  if (!(maps >> map & 1) || !(second & 4)) return;
  in.opcode = cursor.next();
  decode_address(cursor, in, code_bits, cursor.next());
  // VPSHUFx and the shifts by a count, VCMPx, VPINSRW, VPEXTRW and VSHUFPx
  const bool as_elder = map == two_byte_map && ((in.opcode >= 0x70 && in.opcode <= 0x73) || in.opcode == 0xc2 ||
                                                (in.opcode >= 0xc4 && in.opcode <= 0xc6));
  if (as_elder || map == map_with_immediates) in.immediate = cursor.signed_value(1);
  in.row = evex_row;
}

}  // namespace

const Decoder::Pattern* Decoder::match(const std::vector<Pattern>& candidates, const Instruction& in, unsigned code_bits,
                                       int prefix, int modrm) const {
  for (const Pattern& p : candidates) {
    const Row& row = rows[p.row];
    if (in.vex != (p.vex >= 0)) continue;
    if (row.attributes & (code_bits == 64 ? attribute::NO64 : attribute::ONLY64)) continue;
    if (row.attributes & attribute::NO_REX_B && in.rex & 1) continue;
    if (in.vex && ((p.vex_length >= 0 && p.vex_length != in.vex_length) || (p.vex_w >= 0 && p.vex_w != (in.rex >> 3 & 1))))
      continue;
    if (in.vex ? p.prefix != prefix : p.prefix > no_prefix && p.prefix != prefix) continue;
    if (p.prefix == no_prefix && prefix != no_prefix) continue;
    if (p.prefix == no_repeat_prefix && (prefix == prefix_f2 || prefix == prefix_f3)) continue;
    if (modrm >= 0) {
      bool memory = modrm < 0xc0;
      if (p.modrm >= 0 && (modrm < p.modrm || modrm >= p.modrm + p.modrm_span)) continue;
      if (p.reg >= 0 && p.reg != (modrm >> 3 & 7)) continue;
      if (p.memory >= 0 && p.memory != memory) continue;
    }
    return &p;
  }
  return nullptr;
}

DecodeResult Decoder::decode(std::span<const uint8_t> bytes, unsigned code_bits, Instruction& in) const {
  in = {};
  Cursor cursor{bytes};
  const bool long_code = code_bits == 64;
  auto finish = [&](DecodeResult result) {
    if (cursor.at > 15 || (cursor.short_of && bytes.size() >= 15)) return DecodeResult::too_long;
    if (cursor.short_of) return DecodeResult::needs_more;
    in.length = static_cast<uint8_t>(cursor.at);
    return result;
  };

  // Prefixes. A REX prefix counts only if it stands last. In 64-bit code those of ES, CS, SS and DS are as if they were not
  // there: FS or GS before them holds.
  auto override_with = [&](Segments segment) {
    if (!long_code || segment >= Segments::fs) in.override_segment = segment;
  };
  for (bool more = true; more && cursor.at < 15;) {
    uint8_t byte = cursor.peek();
    if (long_code && (byte & 0xf0) == 0x40) {
      in.rex = byte;
      cursor.next();
      continue;
    }
    switch (byte) {
      case 0x26: override_with(Segments::es); break;
      case 0x2e: override_with(Segments::cs); break;
      case 0x36: override_with(Segments::ss); break;
      case 0x3e: override_with(Segments::ds); break;
      case 0x64: override_with(Segments::fs); break;
      case 0x65: override_with(Segments::gs); break;
      case 0x66: in.operand_size_prefix = true; break;
      case 0x67: in.address_size_prefix = true; break;
      case 0xf0: in.lock = true; break;
      case 0xf2: in.repne = true, in.rep = false; break;
      case 0xf3: in.rep = true, in.repne = false; break;
      default: more = false;
    }
    if (!more) break;
    in.rex = 0;
    cursor.next();
  }
  if (cursor.at >= 15) return DecodeResult::too_long;

  in.address_size = long_code ? (in.address_size_prefix ? 32 : 64) : (code_bits == 32) != in.address_size_prefix ? 32 : 16;

  // Opcode map
  uint8_t opcode = cursor.next();
  Map map = one_byte;
  int prefix = in.repne ? prefix_f2 : in.rep ? prefix_f3 : in.operand_size_prefix ? prefix_66 : no_prefix;
  bool is_vex = (opcode == 0xc4 || opcode == 0xc5) && (long_code || cursor.peek() >= 0xc0);
  const bool is_evex = opcode == 0x62 && (long_code || cursor.peek() >= 0xc0);
  if (is_vex || is_evex) {
    if (in.rex || in.lock || prefix != no_prefix) return cursor.next(), finish(DecodeResult::invalid);
    if (is_evex) return decode_evex(cursor, in, code_bits), finish(DecodeResult::invalid);
    in.vex = true;
    uint8_t last = cursor.next();
    map = two_byte;
    in.rex = static_cast<uint8_t>(0x40 | (~last >> 5 & 4));
    if (opcode == 0xc4) {
      in.rex = static_cast<uint8_t>(0x40 | (~last >> 5 & 7));
      uint8_t selector = last & 31;
      if (selector < 1 || selector > 3) return finish(DecodeResult::invalid);
      map = static_cast<Map>(selector);
      last = cursor.next();
      in.rex |= last >> 4 & 8;
    }
    in.vex_register = ~last >> 3 & 15;
    if (!long_code) in.rex &= 0x48, in.vex_register &= 7;
    in.vex_length = last >> 2 & 1;
    static constexpr int by_pp[4] = {no_prefix, prefix_66, prefix_f3, prefix_f2};
    prefix = by_pp[last & 3];
    opcode = cursor.next();
  } else if (opcode == 0x0f) {
    map = two_byte;
    opcode = cursor.next();
    if (opcode == 0x38 || opcode == 0x3a) {
      map = opcode == 0x38 ? map_0f38 : map_0f3a;
      opcode = cursor.next();
    }
  }
  if (cursor.short_of) return finish(DecodeResult::needs_more);
  in.opcode = opcode;

  const std::vector<Pattern>& candidates = candidates_[map][opcode];
  int modrm = -1;
  if (needs_modrm_[map][opcode]) {
    modrm = cursor.peek();
    if (cursor.short_of) return finish(DecodeResult::needs_more);
  }
  const Pattern* pattern = match(candidates, in, code_bits, prefix, modrm);
  if (!pattern) return finish(DecodeResult::invalid);
  in.row = pattern->row;
  const Row& row = rows[pattern->row];

  // MOV to and from control and debug registers have no memory form: mod is ignored.
  const OperandList& operands = operands_of(in.row);
  bool ignores_mod = false;
  for (unsigned i = 0; i < operands.count; ++i)
    ignores_mod |= operands.operand[i].kind == OperandClass::control || operands.operand[i].kind == OperandClass::debug;

  bool wide = in.rex & 8;
  if (row.attributes & attribute::FORCE64 && long_code)
    in.operand_size = 64;
  else if (wide && long_code)
    in.operand_size = 64;
  else {
    // Where 66 chose the row it does not also choose the size; F2 and F3 leave it its meaning (CRC32, POPCNT).
    bool narrow_prefix = in.operand_size_prefix && !in.vex && pattern->prefix != prefix_66;
    if (long_code)
      in.operand_size = narrow_prefix ? 16 : row.attributes & attribute::DEFAULT64 ? 64 : 32;
    else
      in.operand_size = (code_bits == 32) != narrow_prefix ? 32 : 16;
  }
  if (width_set(operands) == double_quad && in.operand_size == 16) in.operand_size = 32;

  if (needs_modrm_[map][opcode] && modrm >= 0) {
    cursor.next();
    decode_address(cursor, in, code_bits, static_cast<uint8_t>(ignores_mod ? modrm | 0xc0 : modrm));
  }
  if (!in.has_modrm) in.rm = (opcode & 7) | (in.rex & 1) << 3;
  // Near branches in 64-bit mode keep 32-bit displacements; `z` of a 64-bit operation is 32 bits already.
  decode_immediates(cursor, in, operands);

  if (in.vex && in.vex_register != 0 && !uses_vex_register(operands)) return finish(DecodeResult::invalid);
  if (in.lock && !(row.attributes & attribute::LOCK && in.is_memory)) return finish(DecodeResult::invalid);
  if (row.kind == Kind::kind_unsupported) return finish(DecodeResult::invalid);
  return finish(DecodeResult::ok);
}

}  // namespace matryoshka
