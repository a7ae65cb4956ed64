// The decoder against the processor's own fetch: bytes end where the last executable page does, so that an instruction which
// wants one more meets a page fault there. All of it by single steps, and with registers that lead to no memory.
#ifdef HAVE_SILICON

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <string>
#include <vector>

#include "cpu/decode.h"
#include "cpu/isa.h"
#include "cpu/state/registers.h"
#include "tests/silicon/campaign.h"
#include "tests/silicon/generator.h"
#include "tests/silicon/native.h"

using namespace matryoshka;
using silicon::Case;
using silicon::Outcome;

namespace {

constexpr unsigned most_bytes = 15;

Case edge_case(unsigned bits, const uint8_t* bytes, unsigned length) {
  Case c = {};
  c.bits = static_cast<uint8_t>(bits);
  c.at_edge = c.stepped = c.tables = true;
  constexpr uint64_t trap_flag = 0x100, nowhere64 = 0x0500'0000'0000'0000, nowhere32 = 0x50000000;
  c.flags = 0x202 | trap_flag;
  for (unsigned i = 0; i < 16; ++i) c.gpr[i] = bits == 64 ? nowhere64 : i < 8 ? nowhere32 : 0;
  for (unsigned i = 0; i < 6; ++i) c.selector[i] = i < 4 ? 0x2b : 0;
  c.length = static_cast<uint8_t>(length);
  std::copy_n(bytes, length, c.code);
  return c;
}

bool wants_more(const Outcome& o) {
  constexpr uint32_t fetch = 16;
  return o.exception == PF_vector && o.error & fetch && o.cr2 == silicon::edge_at + silicon::page;
}

// What the processor has and the table has no row for, by the opcode behind the prefixes.
bool is_foreign(unsigned bits, const uint8_t* bytes) {
  unsigned at = 0;
  auto is_prefix = [&](uint8_t b) {
    for (uint8_t p : {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3})
      if (b == p) return true;
    return bits == 64 && (b & 0xf0) == 0x40;
  };
  while (at < most_bytes && is_prefix(bytes[at])) ++at;
  if (at >= most_bytes - 3) return true;  // nothing but prefixes
  const uint8_t* o = bytes + at;
  if (o[0] == 0x62 || o[0] == 0x8f || o[0] == 0xc4 || o[0] == 0xc5) return true;  // EVEX, XOP, VEX of other extensions
  if (o[0] != 0x0f) return false;
  // 0F 01: SVM, CLZERO, MONITORX; 0F 0E and 0F 0F: 3DNow!; 0F 38 and 0F 3A: GFNI, CET; 0F 2B, 0F 78 and 0F 79: SSE4A; 0F AE, 0F
  // C7: CET and others
  for (uint8_t b : {0x01, 0x2b, 0x0e, 0x0f, 0x38, 0x3a, 0x78, 0x79, 0xae, 0xc7}) {
    if (o[1] == b) return true;
  }
  if (o[1] == 0x20 || o[1] == 0x22) return true;                        // LOCK makes it CR8
  return o[1] == 0x05 || o[1] == 0x07 || o[1] == 0x34 || o[1] == 0x35;  // AMD's system calls of 32-bit code
}

// Lengths of what no EVEX instruction has are of no interest: there the processor still sees 0F 8x, a jump with four bytes of
// displacement, and its like; and so it does in the maps of FP16, if it lacks that.
bool has_evex_form(const uint8_t* evex, uint8_t opcode) {
  const unsigned map = evex[1] & 15;
  const bool elder_immediate = opcode >> 4 == 8 || opcode == 0x0f || opcode == 0xa4 || opcode == 0xac || opcode == 0xba;
  return map == 2 || map == 3 || (map == 1 && !elder_immediate);
}

void compare_with_fetch(unsigned strings, uint64_t seed) {
  silicon::Native native;
  REQUIRE(native.problem() == nullptr);
  Decoder decoder(silicon::host_features());
  std::map<std::string, unsigned> unexplained;
  unsigned agreed = 0;
  silicon::Random random(seed);
  for (unsigned n = 0; n < strings; ++n) {
    unsigned bits = random.chance(50) ? 64 : 32;
    uint8_t bytes[16];
    for (uint8_t& b : bytes) b = static_cast<uint8_t>(random.next());
    unsigned at = 0;
    static constexpr uint8_t prefixes[] = {0x66, 0xf2, 0xf3, 0xf0, 0x67, 0x2e, 0x65, 0x48};
    for (uint64_t k = random.below(3); k > 0; --k) bytes[at++] = prefixes[random.below(8)];
    uint64_t map = random.below(8);
    if (map >= 3) bytes[at++] = 0x0f;
    if (map == 5) bytes[at++] = 0x38;
    if (map == 6) bytes[at++] = 0x3a;
    if (map == 7) bytes[at++] = random.chance(50) ? 0xc4 : 0xc5;
    if (map == 2 && random.chance(50)) {
      bytes[at++] = 0x62, bytes[at] = static_cast<uint8_t>((bytes[at] & 0xf0) | (1 + random.below(3))), bytes[at + 1] |= 4;
      if (bits == 32) bytes[at] |= 0xc0;
    }

    Instruction in;
    DecodeResult result = decoder.decode({bytes, most_bytes}, bits, in);
    bool named = result == DecodeResult::invalid && rows[in.row].kind == Kind::kind_unsupported && !in.lock;
    bool accepted = result == DecodeResult::ok || named;
    std::string_view name = accepted ? rows[in.row].mnemonic : "";
    // AMD has 16-bit near branches in 64-bit mode; Linux answers STR and its like itself, and fetches for that.
    bool near_branch = accepted && std::string_view(rows[in.row].operands).starts_with("J");
    if (bits == 64 && near_branch && in.operand_size_prefix) continue;
    if (name == "EVEX" && !has_evex_form(std::find(bytes, bytes + most_bytes, 0x62), in.opcode)) continue;
    if (name == "STR" || name == "SLDT" || name == "SMSW" || name == "SGDT" || name == "SIDT") continue;
    if (name == "SYSCALL" || name == "SYSENTER" || name == "INT" || name == "INT1") continue;  // they would leave for Linux
    unsigned length = accepted ? in.length : most_bytes;

    std::vector<Case> cases;
    for (unsigned k = accepted && length > 1 ? length - 1 : length; k <= length; ++k) cases.push_back(edge_case(bits, bytes, k));
    std::vector<Outcome> outcomes(cases.size());
    native.run(cases, outcomes);
    std::string text;
    for (unsigned k = 0; k < length; ++k) {
      char two[4];
      std::snprintf(two, sizeof two, "%02x", bytes[k]);
      text += two;
    }
    const Outcome& whole = outcomes.back();
    text = std::to_string(bits) + " " + text + " " + std::string(name) + " met " + std::to_string(whole.exception);
    if (accepted) {
      // With a byte too few the fetch faults, unless what is there is refused already; with all of them it does not.
      bool few = cases.size() == 2 && !wants_more(outcomes[0]) && outcomes[0].exception != UD_vector;
      if (few || wants_more(whole))
        ++unexplained[std::string(few ? "shorter: " : "longer: ") + text];
      else
        ++agreed;
    } else if (result == DecodeResult::invalid && whole.exception != UD_vector && !is_foreign(bits, bytes)) {
      ++unexplained["refused: " + text];
    }
  }
  CHECK(agreed > strings / 3);
  INFO("seed " << seed);
  for (auto& [what, count] : unexplained) UNSCOPED_INFO(count << " x " << what);
  CHECK(unexplained.empty());
}

}  // namespace

TEST_CASE("decode: The processor fetches as many bytes", "[decode][silicon]") { compare_with_fetch(20'000, 1); }
TEST_CASE("decode: The processor fetches as many bytes, at length", "[decode][silicon][.long]") {
  compare_with_fetch(2'000'000, 2);
}

#endif
