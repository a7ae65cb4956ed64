// Makes cases for a row of the instruction table out of the row itself: encoding and operand letters give the bytes, and the
// operands' places in them give the registers that must hold addresses. Everything else is drawn from values at which
// arithmetic tends to break.
#pragma once

#include <cstdint>

#include "tests/silicon/case.h"
#include "tests/silicon/encoding.h"

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

class Generator {
 public:
  explicit Generator(uint64_t seed) : random_(seed) {}
  // A case for this row in 16-, 32- or 64-bit code; `segmented`, and always in 16-bit code, with segments of its own. False if no
  // legal-looking one came out this time.
  bool make(unsigned row, unsigned bits, Case& out, bool segmented = false);

 private:
  struct Draft;
  uint64_t value();
  enum class For { data, code, stack };
  uint16_t selector(For use);
  uint64_t branch_target(const Draft& d, uint64_t base);
  uint64_t place(const Draft& d, unsigned segment);
  uint64_t stack_place(const Draft& d);
  void choose_segments(Draft& d);
  void choose_prefixes(Draft& d);
  void choose_registers(Draft& d);
  void choose_address(Draft& d);
  void choose_short_address(Draft& d);
  void choose_immediates(Draft& d);
  uint64_t far_target(const Draft& d, uint16_t selector);
  bool assemble(Draft& d);
  void fill_memory(Draft& d);
  void fill_strings(Draft& d);
  void fill_stack(Draft& d);
  void fill_image(Draft& d, uint64_t at);
  void special_cases(Draft& d);
  void floating_state(Case& c);
  uint64_t floating_lane();

  Random random_;
};

}  // namespace silicon
