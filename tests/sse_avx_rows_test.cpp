// The rows of avx.def are there to be named: each decodes, in every form, to its own length.
#include <catch2/catch.hpp>

#include "tests/sse_bench.h"

using namespace matryoshka;

namespace {

struct Encoding {
  unsigned prefix = 0, map = 0, opcode = 0, group = 1;
  bool modrm = false, length_0 = true, length_1 = true, wide = false;
};

Encoding encoding_of(const Row& row) {
  Encoding e;
  std::istringstream tokens(row.encoding);
  std::string token;
  tokens >> token;
  std::istringstream parts(token);
  for (std::string part; std::getline(parts, part, '.');) {
    if (part == "66") e.prefix = 1;
    if (part == "F3") e.prefix = 2;
    if (part == "F2") e.prefix = 3;
    if (part == "0F") e.map = 1;
    if (part == "0F38") e.map = 2;
    if (part == "0F3A") e.map = 3;
    if (part == "128") e.length_1 = false;
    if (part == "256") e.length_0 = false;
    if (part == "W1") e.wide = true;
  }
  tokens >> token;
  e.opcode = static_cast<unsigned>(std::stoul(token, nullptr, 16));
  if (tokens >> token) {
    e.modrm = true;
    if (token != "/r") e.group = static_cast<unsigned>(token[1] - '0');
  }
  return e;
}

}  // namespace

TEST_CASE("AVX rows decode to their own length", "[sse][avx]") {
  Decoder decoder(SimdBench::all_features());
  unsigned forms = 0;
  for (unsigned number = 0; number < row_count; ++number) {
    const Row& row = rows[number];
    if (row.family != Family::avx || std::string_view(row.mnemonic) == "EVEX") continue;
    INFO(row.encoding << ' ' << row.mnemonic << ' ' << row.operands);
    CHECK(row.kind == Kind::kind_unsupported);
    const Encoding e = encoding_of(row);
    const OperandList operands = parse_operands(row.operands);
    for (unsigned length = 0; length < 2; ++length)
      for (bool memory : {false, true}) {
        if (!(length ? e.length_1 : e.length_0)) continue;
        if (e.modrm ? memory ? !may_be_memory(operands) || must_be_register(operands) : must_be_memory(operands) : memory)
          continue;
        std::vector<uint8_t> bytes = {0xc4, static_cast<uint8_t>(0xe0 | e.map),
                                      static_cast<uint8_t>((e.wide ? 0x80 : 0) | 0x78 | length << 2 | e.prefix),
                                      static_cast<uint8_t>(e.opcode)};
        if (e.modrm) bytes.push_back(static_cast<uint8_t>((memory ? 0x06 : 0xc2) | e.group << 3));
        if (std::string_view(row.operands).ends_with("Ib")) bytes.push_back(0);
        Instruction in;
        std::vector<uint8_t> padded = bytes;
        padded.resize(15, 0x90);
        CHECK(decoder.decode(padded, 64, in) == DecodeResult::invalid);
        CHECK(in.row == number);
        CHECK(in.length == bytes.size());
        ++forms;
      }
  }
  CHECK(forms > 1000);
}

TEST_CASE("EVEX instructions have their lengths, too", "[sse][avx]") {
  struct Form {
    unsigned length;
    std::vector<uint8_t> bytes;
  };
  static const Form forms[] = {
      {6, {0x62, 0xf1, 0x7c, 0x48, 0x58, 0xc1}},                     // VADDPS zmm0, zmm0, zmm1
      {7, {0x62, 0xf1, 0x7c, 0x48, 0x58, 0x41, 0x01}},               // VADDPS zmm0, zmm0, [rcx + 64]
      {11, {0x62, 0xf1, 0x7c, 0x48, 0x58, 0x84, 0x88, 1, 2, 3, 4}},  // VADDPS zmm0, zmm0, [rax + rcx*4 + 04030201h]
      {7, {0x62, 0xf1, 0x7c, 0x48, 0xc6, 0xc1, 0x05}},               // VSHUFPS zmm0, zmm0, zmm1, 5
      {7, {0x62, 0xf3, 0x75, 0x48, 0x25, 0xc2, 0xff}},               // VPTERNLOGD zmm0, zmm1, zmm2, FFh
      {6, {0x62, 0xf2, 0x75, 0x48, 0x36, 0xc2}},                     // VPERMD zmm0, zmm1, zmm2
      {2, {0x62, 0xf4, 0x75, 0x48, 0x36, 0xc2}},                     // no such map
  };
  Decoder decoder(SimdBench::all_features());
  for (const Form& form : forms) {
    std::vector<uint8_t> padded = form.bytes;
    padded.resize(15, 0x90);
    Instruction in;
    CHECK(decoder.decode(padded, 64, in) == DecodeResult::invalid);
    const bool named = std::string_view(rows[in.row].mnemonic) == "EVEX";
    CHECK(named == (form.length > 2));
    if (named) CHECK(in.length == form.length);
  }
}
