// The numbers that cases are filled with.
#include "tests/silicon/generator.h"
#include "tests/silicon/segments.h"

namespace silicon {

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
    case 2: return edges[random_.below(count)];
    case 3: return random_.next() >> random_.below(64);
    case 4: return uint64_t{1} << random_.below(64);
    case 5: return (uint64_t{1} << random_.below(64)) - 1;
    case 6: return edges[random_.below(count)] ^ (random_.next() << 32);
    default: return random_.next();
  }
}

// What a segment register may be loaded with: mostly what it wants, but whatever there is, too.
uint16_t Generator::selector(For use) {
  uint16_t chosen;
  unsigned n = static_cast<unsigned>(random_.below(100));
  if (n < 70) {
    unsigned first = use == For::code ? 0 : use == For::data ? first_data : first_stack;
    unsigned end = use == For::code ? first_data : use == For::data ? first_stack : local_count;
    chosen = local_selector(first + static_cast<unsigned>(random_.below(end - first)));
  } else if (n < 80) {
    static constexpr uint16_t users[] = {user_code32, user_data, user_code64};
    chosen = use == For::code ? users[2 * random_.below(2)] : users[random_.below(3)];
  } else if (n < 86) {
    chosen = static_cast<uint16_t>(random_.below(4));
  } else if (n < 92) {
    chosen = local_selector(static_cast<unsigned>(random_.below(local_count + 2)));
  } else if (n < 96) {
    chosen = static_cast<uint16_t>(random_.below(global_count) * 8 + 3);
  } else {
    chosen = static_cast<uint16_t>(random_.next());
  }
  if (random_.chance(10)) chosen ^= static_cast<uint16_t>(random_.below(4));
  constexpr uint16_t processor_number = 0x78;  // differs from processor to processor
  return (chosen & 0xfffc) == processor_number ? user_data : chosen;
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
    case 0: return doubles[random_.below(16)];
    case 1: return singles[random_.below(16)] | uint64_t{singles[random_.below(16)]} << 32;
    case 2: return (random_.next() & 0x800fffffffffffff) | (0x3ff - 40 + random_.below(80)) << 52;
    case 3: {
      auto one = [&] { return (random_.next() & 0x807fffff) | (127 - 20 + random_.below(40)) << 23; };
      return one() | one() << 32;
    }
    case 4: return value();
    default: return random_.next();
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

}  // namespace silicon
