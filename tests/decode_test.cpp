// The decoder: lengths and legality by hand-picked bytes, and against Zydis over random ones.
#include <catch2/catch.hpp>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#ifdef HAVE_ZYDIS
#include <Zydis/Zydis.h>
#endif

#include "cpu/decode.h"
#include "cpu/disassemble.h"
#include "cpu/isa.h"

using namespace matryoshka;

namespace {

const Decoder& decoder() {
  static const Decoder all = [] {
    FeatureSet features;
    features.bits.set();
    return Decoder(features);
  }();
  return all;
}

std::vector<uint8_t> bytes_of(const std::string& hex) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i < hex.size(); i += 2) {
    if (hex[i] == ' ') ++i;
    bytes.push_back(static_cast<uint8_t>(std::stoul(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

struct Line {
  unsigned bits;
  const char* bytes;
  const char* expected;  // "MNEMONIC operands/operand size", or "#UD", "too long", "needs more"
};

std::string decoded(unsigned bits, const std::string& hex) {
  std::vector<uint8_t> bytes = bytes_of(hex);
  Instruction in;
  switch (decoder().decode(bytes, bits, in)) {
    case DecodeResult::invalid: return "#UD";
    case DecodeResult::too_long: return "too long";
    case DecodeResult::needs_more: return "needs more";
    case DecodeResult::ok: break;
  }
  if (in.length != bytes.size()) return "length " + std::to_string(in.length);
  const Row& row = rows[in.row];
  return std::string(row.mnemonic) + " " + row.operands + "/" + std::to_string(in.operand_size);
}

}  // namespace

TEST_CASE("decode: Segment prefixes without a meaning in 64-bit code leave FS and GS alone", "[decode]") {
  Instruction in;
  std::vector<uint8_t> bytes = bytes_of("65 2e 8a 03");  // mov %gs:(%rbx),%al
  REQUIRE(decoder().decode(bytes, 64, in) == DecodeResult::ok);
  CHECK(in.override_segment == Segments::gs);
  REQUIRE(decoder().decode(bytes, 32, in) == DecodeResult::ok);
  CHECK(in.override_segment == Segments::cs);
}

TEST_CASE("decode: Bytes and what they are", "[decode]") {
  static constexpr Line lines[] = {
      // Operand size
      {16, "01 d8", "ADD Ev,Gv/16"},
      {16, "66 01 d8", "ADD Ev,Gv/32"},
      {32, "66 01 d8", "ADD Ev,Gv/16"},
      {64, "66 01 d8", "ADD Ev,Gv/16"},
      {64, "48 01 d8", "ADD Ev,Gv/64"},
      {64, "66 48 01 d8", "ADD Ev,Gv/64"},
      {64, "50", "PUSH Zv/64"},
      {64, "66 50", "PUSH Zv/16"},
      {64, "e8 00 00 00 00", "CALL Jz/64"},
      {64, "66 e8 00 00 00 00", "CALL Jz/64"},  // Intel's way: 66 has no meaning here
      {32, "66 e8 00 00", "CALL Jz/16"},
      {64, "48 b8 00 00 00 00 00 00 00 00", "MOV Zv,Iv/64"},
      {64, "a1 00 00 00 00 00 00 00 00", "MOV rAX,Ov/32"},
      {64, "67 a1 00 00 00 00", "MOV rAX,Ov/32"},
      {32, "67 a1 00 00", "MOV rAX,Ov/32"},

      // REX counts only in front of the opcode
      {64, "48 66 01 d8", "ADD Ev,Gv/16"},
      {64, "66 48 01 d8", "ADD Ev,Gv/64"},
      {64, "40 48 01 d8", "ADD Ev,Gv/64"},
      {64, "48 40 01 d8", "ADD Ev,Gv/32"},
      {32, "48", "DEC Zv/32"},
      {64, "90", "NOP /32"},
      {64, "48 90", "NOP /64"},
      {64, "41 90", "XCHG Zv,rAX/32"},
      {64, "f3 90", "PAUSE /32"},
      {64, "f3 41 90", "XCHG Zv,rAX/32"},

      // Addresses
      {64, "8b 05 00 00 00 00", "MOV Gv,Ev/32"},     // RIP-relative
      {64, "8b 04 25 00 00 00 00", "MOV Gv,Ev/32"},  // absolute
      {64, "8b 44 24 08", "MOV Gv,Ev/32"},
      {64, "67 8b 84 24 00 00 00 00", "MOV Gv,Ev/32"},
      {16, "8b 46 08", "MOV Gv,Ev/16"},
      {16, "8b 06 00 10", "MOV Gv,Ev/16"},
      {16, "67 8b 04 24", "MOV Gv,Ev/16"},
      {32, "67 8b 86 00 00", "MOV Gv,Ev/32"},
      {64, "8d c0", "#UD"},  // LEA of a register

      // Prefixes that choose another instruction, and the features behind them
      {64, "0f bc c1", "BSF Gv,Ev/32"},
      {64, "f3 0f bc c1", "TZCNT Gv,Ev/32"},
      {64, "66 f3 0f bc c1", "TZCNT Gv,Ev/16"},
      {64, "f2 0f bc c1", "BSF Gv,Ev/32"},
      {64, "0f 38 f0 03", "MOVBE Gv,Mv/32"},
      {64, "f3 0f 38 f0 03", "#UD"},
      {64, "0f 38 f0 c3", "#UD"},
      {64, "66 0f 38 f6 c1", "ADCX Gy,Ey/32"},
      {64, "f3 0f 38 f6 c1", "ADOX Gy,Ey/32"},

      // 64-bit mode has lost and gained some
      {64, "27", "#UD"},
      {64, "60", "#UD"},
      {64, "06", "#UD"},
      {64, "82 c0 01", "#UD"},
      {64, "ea 00 00 00 00 00 00", "#UD"},
      {32, "82 c0 01", "ADD Eb,Ib/32"},
      {64, "63 c1", "MOVSXD Gv,Ed/32"},
      {32, "d6", "SALC AL/32"},

      // LOCK: a listed destination in memory
      {64, "f0 01 18", "ADD Ev,Gv/32"},
      {64, "f0 01 d8", "#UD"},
      {64, "f0 03 18", "#UD"},
      {64, "f0 39 18", "#UD"},
      {64, "f0 84 18", "#UD"},
      {64, "f0 87 18", "XCHG Ev,Gv/32"},
      {64, "f0 ff 00", "INC Ev/32"},
      {64, "f0 ff 30", "#UD"},
      {64, "f0 0f ab 18", "BTS Ev,Gv/32"},
      {64, "f0 0f a3 18", "#UD"},
      {64, "f0 0f ba 28 03", "BTS Ev,Ib/32"},
      {64, "f0 0f ba 20 03", "#UD"},
      {64, "f0 0f c7 08", "CMPXCHG8B Mq/32"},
      {64, "0f c7 c8", "#UD"},
      {64, "f0 90", "#UD"},
      {64, "f0 89 18", "#UD"},

      // VEX on general registers
      {64, "c4 e2 60 f2 c1", "ANDN Gy,By,Ey/32"},
      {64, "c4 e2 e0 f2 c1", "ANDN Gy,By,Ey/64"},
      {32, "c4 e2 60 f2 c1", "ANDN Gy,By,Ey/32"},
      {64, "c4 e2 64 f2 c1", "#UD"},     // VEX.L must be 0
      {64, "66 c4 e2 60 f2 c1", "#UD"},  // 66, F2, F3, LOCK and REX may not stand before VEX
      {64, "f3 c4 e2 60 f2 c1", "#UD"},
      {64, "f0 c4 e2 60 f2 c1", "#UD"},
      {64, "48 c4 e2 60 f2 c1", "#UD"},
      {64, "67 c4 e2 60 f2 01", "ANDN Gy,By,Ey/32"},
      {64, "c4 e2 60 f3 c9", "BLSR By,Ey/32"},
      {64, "c4 e2 60 f3 c1", "#UD"},
      {64, "c4 e3 7b f0 c1 05", "RORX Gy,Ey,Ib/32"},
      {64, "c4 e3 73 f0 c1 05", "#UD"},  // VEX.vvvv names nothing, so it must be 1111b
      {64, "c4 e0 60 f2 c1", "#UD"},     // no such map

      // The end of the bytes, and of what an instruction may have
      {64, "48", "needs more"},
      {64, "0f", "needs more"},
      {64, "0f 38", "needs more"},
      {64, "8b 84", "needs more"},
      {64, "81 00 00 00 00", "needs more"},
      {64, "66 66 66 66 66 66 66 66 66 66 66 66 66 01 d8", "ADD Ev,Gv/16"},
      {64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 01 d8", "too long"},
      {64, "2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e", "too long"},
      {64, "2e 2e 2e 2e 2e 2e 2e 2e 2e 81 c0 00 00 00 00", "ADD Ev,Iz/32"},
      {64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 01", "too long"},  // its ModRM byte would be the sixteenth
      {64, "66 66 66 66 66 66 66 66 66 66 66 66 66 0f", "needs more"},
      {64, "2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 81 c0 00 00 00 00", "too long"},
  };
  for (const Line& line : lines) {
    INFO(line.bits << " " << line.bytes);
    CHECK(decoded(line.bits, line.bytes) == line.expected);
  }
}

TEST_CASE("decode: A prefix of an instruction needs more, and no more bytes change it", "[decode]") {
  // Decoding from memory at a page end asks for the next page exactly if the instruction lies there.
  uint64_t seed = 7;
  auto random = [&] { return seed = seed * 6364136223846793005u + 1442695040888963407u, static_cast<uint8_t>(seed >> 56); };
  for (unsigned i = 0; i < 100'000; ++i) {
    uint8_t bytes[15];
    for (uint8_t& b : bytes) b = random();
    unsigned bits = i % 3 == 0 ? 16 : i % 3 == 1 ? 32 : 64;
    Instruction whole, part;
    if (decoder().decode(bytes, bits, whole) != DecodeResult::ok) continue;
    for (unsigned n = 0; n < whole.length; ++n)
      if (decoder().decode({bytes, n}, bits, part) == DecodeResult::ok)
        FAIL("decoded from " << n << " of " << unsigned{whole.length} << " bytes");
    if (decoder().decode({bytes, whole.length}, bits, part) != DecodeResult::ok || part.row != whole.row)
      FAIL("bytes behind the end matter");
  }
}

#ifdef HAVE_ZYDIS

namespace {

// Zydis knows processors of both vendors and of all years. What it accepts and the table has no row for:
bool is_not_modelled(const ZydisDecodedInstruction& z) {
  std::string set = ZydisISASetGetString(z.meta.isa_set);
  for (const char* prefix : {"AMD3DNOW", "KEYLOCKER", "KNC", "PADLOCK", "TDX", "SGX", "AMD_INVLPGB"})
    if (set.starts_with(prefix)) return true;
  static const char* const sets[] = {"SVM",     "FMA4",       "XOP",       "TBM",      "LWP",     "SSE4A",
                                     "CLZERO",  "MCOMMIT",    "RDPRU",     "SNP",  // AMD's
                                     "AMD",                                        // SYSCALL outside 64-bit mode
                                     "VTX",     "VMFUNC",     "SMX",               // not yet
                                     "CET",     "RTM",        "TSX_LDTRK", "WAITPKG",  "GFNI",    "AVX_GFNI",
                                     "VAES",    "VPCLMULQDQ", "AVX_VNNI",  "MOVDIR",   "ENQCMD",  "PT",
                                     "CLWB",    "PCONFIG",    "SERIALIZE", "UINTR",    "HRESET",  "CLDEMOTE",
                                     "PTWRITE", "MONITORX",   "AMX_TILE",  "AMX_INT8", "AMX_BF16"};
  for (const char* s : sets)
    if (set == s) return true;
  return false;
}

// What the table accepts and Zydis does not, each with its reason. Null: unexplained.
const char* why_accepted(const Instruction& in) {
  const Row& row = rows[in.row];
  std::string_view name = row.mnemonic, operands = row.operands;
  if (operands.find('C') == 0 || operands.find(",C") != operands.npos || operands.find('D') == 0 ||
      operands.find(",D") != operands.npos)
    return "which control and debug registers exist is asked when the instruction runs";
  if (name == "MOV" && operands.find('S') != operands.npos)
    return "which segment registers exist is asked when the instruction runs";
  if (name == "NOP" && (in.opcode == 0x1a || in.opcode == 0x1b)) return "0F 1A and 0F 1B are MPX to Zydis, and NOPs without MPX";
  return nullptr;
}

std::string hex_of(const uint8_t* bytes, unsigned count) {
  std::string text;
  char two[4];
  for (unsigned i = 0; i < count; ++i) std::snprintf(two, sizeof two, "%02x", bytes[i]), text += two;
  return text;
}

constexpr uint64_t text_at = 0x12345678;

// Where the disassembler says it in another way than Zydis, and why.
struct OtherText {
  std::string_view mnemonic;
  const char* why;
};
constexpr OtherText other_texts[] = {
    {"NOP", "hints keep the name of what they do: nothing; Zydis writes MPX, prefetches and the second operand"},
    {"UD0", "the operands' size follows the prefixes"},
    {"UD1", "the operands' size follows the prefixes"},
    {"SAL", "the row's own name; Zydis calls the alias SHL"},
    {"LAR", "a selector is a 16-bit operand"},
    {"LSL", "a selector is a 16-bit operand"},
    {"PINSRW", "the word is a 16-bit operand"},
    {"CLFLUSH", "the address of a byte; Zydis writes the line"},
    {"CLFLUSHOPT", "the address of a byte; Zydis writes the line"},
    {"MOVSXD", "the source has 32 bits under 66, too"},
    {"CRC32", "the destination follows the prefixes"},
    {"FSTP1", "Zydis calls the alias FSTPNCE"},
    {"MOVMSKPS", "the destination is a 32-bit register, which clears the rest"},
    {"MOVMSKPD", "the destination is a 32-bit register, which clears the rest"},
    {"PMOVMSKB", "the destination is a 32-bit register, which clears the rest"},
    {"RDPID", "the result has 32 bits"},
    {"FNDISI", "Zydis names the 8087's instructions otherwise"},
    {"FNENI", "Zydis names the 8087's instructions otherwise"},
    {"FNSETPM", "Zydis names the 287's instruction otherwise"},
};

void compare_texts(const Instruction& in, unsigned bits, const std::string& theirs, const std::string& bytes,
                   std::map<std::string, unsigned>& unexplained) {
  for (const OtherText& o : other_texts)
    if (o.mnemonic == rows[in.row].mnemonic) return;
  if (theirs == "pause") return;  // F3 41 90: XCHG of R8, since REX.B counts
  // This Zydis takes the base that is not there for R13 if addresses have 32 bits.
  if (in.base == Instruction::no_register && theirs.find("[r13d") != theirs.npos) return;
  std::string ours = disassemble(in, bits, text_at);
  bool indirect = rows[in.row].mnemonic == std::string_view("JMP") || rows[in.row].mnemonic == std::string_view("CALL");
  if (size_t at = ours.find("ds:"); indirect && at != ours.npos && theirs.find("ds:") == theirs.npos)
    ours.erase(at, 3);  // Zydis: the hint "notrack"
  if (ours != theirs) ++unexplained["text: " + ours + " instead of " + theirs + " for " + std::to_string(bits) + " " + bytes];
}

// Zydis set to say things as the disassembler does.
std::string zydis_text(const ZydisDecodedInstruction& z, const ZydisDecodedOperand* operands, uint64_t rip) {
  static const ZydisFormatter formatter = [] {
    ZydisFormatter f;
    ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL);
    for (ZydisFormatterProperty p :
         {ZYDIS_FORMATTER_PROP_ADDR_PADDING_ABSOLUTE, ZYDIS_FORMATTER_PROP_DISP_PADDING, ZYDIS_FORMATTER_PROP_IMM_PADDING})
      ZydisFormatterSetProperty(&f, p, ZYDIS_PADDING_DISABLED);
    ZydisFormatterSetProperty(&f, ZYDIS_FORMATTER_PROP_IMM_SIGNEDNESS, ZYDIS_SIGNEDNESS_UNSIGNED);
    ZydisFormatterSetProperty(&f, ZYDIS_FORMATTER_PROP_FORCE_SIZE, ZYAN_TRUE);
    ZydisFormatterSetProperty(&f, ZYDIS_FORMATTER_PROP_FORCE_RELATIVE_RIPREL, ZYAN_TRUE);
    return f;
  }();
  char text[128];
  ZydisFormatterFormatInstruction(&formatter, &z, operands, z.operand_count_visible, text, sizeof text, rip, nullptr);
  // It writes the factor 1 of 16-bit forms, which others leave out.
  std::string plain = text;
  for (size_t at; (at = plain.find("*1+")) != plain.npos || (at = plain.find("*1-")) != plain.npos ||
                  (at = plain.find("*1]")) != plain.npos;)
    plain.erase(at, 2);
  // Hints that F2 and F3 are to some processors.
  for (std::string_view hint : {"xacquire ", "xrelease ", "bnd ", "notrack "})
    if (plain.starts_with(hint)) plain.erase(0, hint.size());
  // Addresses of 32-bit code that it writes with the sign.
  if (z.machine_mode != ZYDIS_MACHINE_MODE_LONG_64)
    if (size_t at = plain.find("0xFFFFFFFF"); at != plain.npos && plain.size() > at + 10) plain.erase(at + 2, 8);
  // Zeros in front of selectors.
  for (size_t at = 0; (at = plain.find("0x0", at)) != plain.npos; at += 2)
    while (plain[at + 2] == '0' && at + 3 < plain.size() && std::isxdigit(static_cast<unsigned char>(plain[at + 3])))
      plain.erase(at + 2, 1);
  return plain;
}

void compare_with_zydis(uint64_t cases, uint64_t seed) {
  uint64_t state = seed;
  auto random = [&] {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  };
  std::map<std::string, unsigned> unexplained;
  for (unsigned bits : {16u, 32u, 64u}) {
    ZydisDecoder zydis;
    ZydisDecoderInit(&zydis,
                     bits == 16   ? ZYDIS_MACHINE_MODE_LONG_COMPAT_16
                     : bits == 32 ? ZYDIS_MACHINE_MODE_LONG_COMPAT_32
                                  : ZYDIS_MACHINE_MODE_LONG_64,
                     bits == 16   ? ZYDIS_STACK_WIDTH_16
                     : bits == 32 ? ZYDIS_STACK_WIDTH_32
                                  : ZYDIS_STACK_WIDTH_64);
    uint64_t agreed = 0;
    for (uint64_t i = 0; i < cases; ++i) {
      // Up to three prefixes, then a bias towards the larger opcode maps and VEX.
      static constexpr uint8_t prefixes[] = {0x66, 0x66, 0xf2, 0xf3, 0xf0, 0x67, 0x2e, 0x36,
                                             0x26, 0x3e, 0x64, 0x65, 0x48, 0x41, 0x44, 0x4f};
      uint8_t bytes[16];
      for (unsigned k = 0; k < 16; k += 8) {
        uint64_t v = random();
        std::memcpy(bytes + k, &v, 8);
      }
      unsigned at = 0, wanted = static_cast<unsigned>(random() % 8), map = static_cast<unsigned>(random() % 8);
      for (unsigned k = 0; k < (wanted < 3 ? 0 : wanted < 6 ? 1 : wanted - 4); ++k) bytes[at++] = prefixes[random() % 16];
      if (map >= 3) bytes[at++] = 0x0f;
      if (map == 5) bytes[at++] = 0x38;
      if (map == 6) bytes[at++] = 0x3a;
      if (map == 2 && random() & 1) bytes[at++] = random() & 1 ? 0xc4 : 0xc5;
      if (map == 1 && random() & 1) {  // EVEX, mostly with the maps and the fixed bit that it has
        bytes[at++] = 0x62;
        bytes[at] = static_cast<uint8_t>((bytes[at] & 0xf0) | 1 << random() % 2 | (random() & 1)), bytes[at + 1] |= 4;
        if (bits != 64) bytes[at] |= 0xc0;
      }

      Instruction in;
      DecodeResult result = decoder().decode({bytes, 15}, bits, in);
      bool named = result == DecodeResult::invalid && rows[in.row].kind == Kind::kind_unsupported && !in.lock;
      ZydisDecodedInstruction z;
      ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
      bool theirs = ZYAN_SUCCESS(ZydisDecoderDecodeFull(&zydis, bytes, 15, &z, operands));
      if (theirs && (result == DecodeResult::ok || named)) {
        if (z.length == in.length) {
          ++agreed;
          if (result == DecodeResult::ok)
            compare_texts(in, bits, zydis_text(z, operands, text_at), hex_of(bytes, z.length), unexplained);
          continue;
        }
        ++unexplained["length " + std::to_string(in.length) + " instead of " + std::to_string(z.length) + ": " +
                      ZydisMnemonicGetString(z.mnemonic) + " " + std::to_string(bits) + " " + hex_of(bytes, 15)];
      } else if (theirs) {
        if (!is_not_modelled(z))
          ++unexplained["refused: " + std::to_string(bits) + " " + ZydisMnemonicGetString(z.mnemonic) + " [" +
                        ZydisISASetGetString(z.meta.isa_set) + "] " + hex_of(bytes, z.length)];
      } else if (result == DecodeResult::ok && !why_accepted(in)) {
        ++unexplained["accepted: " + std::to_string(bits) + " " + rows[in.row].mnemonic + " " + hex_of(bytes, in.length)];
      }
    }
    CHECK(agreed > cases / 3);
  }
  INFO("seed " << seed);
  for (auto& [what, count] : unexplained) UNSCOPED_INFO(count << " x " << what);
  CHECK(unexplained.empty());
}

}  // namespace

TEST_CASE("decode: Lengths and legality are those of Zydis", "[decode]") { compare_with_zydis(300'000, 1); }
TEST_CASE("decode: Lengths and legality are those of Zydis, at length", "[decode][.long]") { compare_with_zydis(10'000'000, 2); }

#endif
