// x87 instructions as the tests see them: what they leave behind, run by the library and by the processor underneath.
#pragma once

#include <array>
#include <cstring>

#include "tests/float_values.h"

namespace matryoshka::fp {

constexpr uint16_t C0 = 0x0100, C1 = 0x0200, C2 = 0x0400, C3 = 0x4000;

// What an instruction leaves behind: two registers, ten bytes of memory, the exception flags and condition codes.
struct Outcome {
  Float80 st0, st1;
  uint16_t status = 0;
  std::array<uint8_t, 10> memory{};
  bool operator==(const Outcome&) const = default;
};

template <class Value>
Value in_memory(const Outcome& o) {
  Value value;
  std::memcpy(&value, o.memory.data(), sizeof value);
  return value;
}
template <class Value>
void to_memory(Outcome& o, Value value) {
  std::memcpy(o.memory.data(), &value, sizeof value);
}

// An instruction in terms of the library, written as its caller in the emulator would.
using Ours = void (*)(Outcome& o, Environment& e);

// A load of a denormal with DE unmasked pushes nothing by Intel's manual ("the top-of-stack pointer and source operands
// remain unchanged"); AMD processors push it, so that case is left out where they are the oracle.
enum class Writes { register_, load, memory, nothing };

inline Outcome run_ours(Ours ours, Writes writes, const Outcome& before, uint16_t control) {
  auto e = Environment::from_control_word(control);
  Outcome o = before;
  ours(o, e);
  const bool suppressed = writes == Writes::memory ? e.store_fault() : writes != Writes::nothing && e.operand_fault();
  if (suppressed) {
    const uint16_t conditions = o.status;
    o = before;
    o.status = conditions;
  }
  o.status |= e.status();
  return o;
}

#if defined(__x86_64__) && !defined(__EMSCRIPTEN__)
#define HAVE_X87

using Theirs = void (*)(Outcome& o, uint16_t control);

// Loads ST(1), ST(0) and the control word, runs the instruction, and stores what it left; unmasked exceptions stay
// pending until FNCLEX, so that their results can be looked at too.
#define X87(instruction)                                                                                  \
  [](Outcome& o, uint16_t control) {                                                                      \
    asm volatile("fninit\n fldt %[st1]\n fldt %[st0]\n fldcw %[control]\n" instruction                    \
                 "\n fnstsw %[status]\n fnclex\n fstpt %[st0]\n fstpt %[st1]\n fninit"                    \
                 : [st0] "+m"(o.st0), [st1] "+m"(o.st1), [memory] "+m"(o.memory), [status] "=m"(o.status) \
                 : [control] "m"(control)                                                                 \
                 : "memory", "cc", "rax");                                                                \
  }
#endif

inline std::string text(const Outcome& o) {
  std::string bytes;
  for (int i = 9; i >= 0; --i) bytes += hex(o.memory[i], 2);
  return text(o.st0) + " " + text(o.st1) + " memory " + bytes + " status " + hex(o.status, 4);
}

inline uint16_t edgy_control(Generator& g) {
  const auto control = uint16_t(g.next() & 0xf3f);
  return g.one_in(3) ? control : control | 0x3f;
}

}  // namespace matryoshka::fp
