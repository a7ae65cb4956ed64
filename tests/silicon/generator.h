// Makes cases for a row of the instruction table out of the row itself: encoding and operand letters give the bytes, and the
// operands' places in them give the registers that must hold addresses. Everything else is drawn from values at which
// arithmetic tends to break.
#pragma once

#include <cstdint>
#include <string_view>

#include "cpu/isa.h"
#include "tests/silicon/case.h"

namespace silicon {

// Small and repeatable (SplitMix64).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  uint64_t below(uint64_t n) { return next() % n; }
  bool chance(unsigned percent) { return below(100) < percent; }

 private:
  uint64_t state_;
};

// What the encoding column says, taken apart.
struct Encoding {
  enum Map : uint8_t { one_byte, two_byte, map_0f38, map_0f3a };
  Map map = one_byte;
  uint8_t mandatory = 0;   // 66, F2 or F3 if the row demands it
  bool no_prefix = false;  // "NP"
  bool no_repeat = false;  // "NFx"
  uint8_t opcode = 0;
  bool opcode_register = false;  // "+r"
  bool modrm = false;
  int digit = -1;        // ModRM.reg, if it is part of the opcode
  int whole_modrm = -1;  // a ModRM byte that is part of the opcode
  unsigned modrm_span = 1;
  bool vex = false;
  int vex_length = -1, vex_w = -1;

  static Encoding parse(std::string_view text);
};

class Generator {
 public:
  explicit Generator(uint64_t seed) : random_(seed) {}
  // A case for this row in 32- or 64-bit code. False if no legal-looking one came out this time.
  bool make(unsigned row, unsigned bits, Case& out);

 private:
  struct Draft;
  uint64_t value();
  uint64_t sized_value(unsigned bytes);
  uint64_t branch_target(const Draft& d);
  void choose_prefixes(Draft& d);
  void choose_registers(Draft& d);
  bool choose_address(Draft& d);
  void choose_immediates(Draft& d);
  bool assemble(Draft& d);
  void fill_memory(Draft& d);
  void special_cases(Draft& d);
  void floating_state(Case& c);
  uint64_t floating_lane();

  Random random_;
};

}  // namespace silicon
