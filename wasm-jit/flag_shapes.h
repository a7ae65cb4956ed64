// How the last flag-setting instruction set the flags, as far as it is worth remembering.
//
// Flags are computed when somebody asks, which is hardly ever. Until then a region keeps what they follow from: a shape, known
// while compiling, and two values (flag_a, flag_b). A shape is found by holding the recording of an instruction against
// recordings of the flag texts themselves (ops/alu.h, ops/flags.h), with the operands left open; the same texts give the
// formula when the two words of StatusFlags are wanted after all. So nothing about flags is written down a second time,
// except for what the conditions come to after a subtraction, a test or an increment, which a test proves.
#pragma once

#include <cstdint>
#include <optional>

#include "cpu/ops/flags.h"
#include "wasm-jit/expression.h"

namespace matryoshka::jit {

enum class Shape : uint8_t {
  plain,      // the two words themselves
  subtract,   // CMP, SUB, NEG, CMPXCHG: flag_a - flag_b
  add,        // ADD, XADD: flag_a + flag_b
  logic,      // AND, OR, XOR, TEST: the result is flag_a
  increment,  // INC: the operand was flag_a, CF stays flag_b
  decrement,  // DEC
  ordered,    // COMISD, UCOMISS: flag_a says that the first operand was greater, flag_b that it was less
};

// A shape at a width: small numbers, so that a set of them is a word.
struct FlagState {
  Shape shape = Shape::plain;
  uint8_t width = 0;  // 8, 16, 32, 64 bits; of no meaning for plain

  static constexpr unsigned count = 28;
  unsigned index() const { return static_cast<unsigned>(shape) * 4 + width; }
  uint32_t bit() const { return uint32_t{1} << index(); }
  static FlagState of_index(unsigned i) { return {static_cast<Shape>(i / 4), static_cast<uint8_t>(i % 4)}; }
  unsigned bits() const { return 8u << width; }
  bool operator==(const FlagState&) const = default;
  bool keeps_carry() const { return shape == Shape::increment || shape == Shape::decrement; }
  // Which bits of flag_a and flag_b may be one.
  uint64_t possible_a() const { return shape == Shape::ordered ? 1 : tree::Computation::mask_of(bits()); }
  uint64_t possible_b() const { return shape == Shape::ordered || keeps_carry() ? 1 : tree::Computation::mask_of(bits()); }
};

struct FlagMatch {
  FlagState state;
  tree::NodeId a = 0, b = 0;  // nodes of the recording
  bool keeps_carry = false;   // flag_b is to be CF as it was
};

// What shape set_flags(result, aux) of this recording has; nothing if none of ours.
std::optional<FlagMatch> match_flags(const tree::Recording& recording, unsigned width_code, tree::NodeId result,
                                     tree::NodeId aux);

// Which of the sixteen conditions this node computes from the flags as they were at the start.
std::optional<flags::Condition> match_condition(const tree::Recording& recording, tree::NodeId node);

// The two words of StatusFlags for a shape with operands a and b.
struct FlagWords {
  Value result, aux;
};
FlagWords flag_words(Graph& graph, FlagState state, Value a, Value b);

// A condition under a shape, if it comes to something simpler than its text.
std::optional<Value> condition_of(Graph& graph, flags::Condition condition, FlagState state, Value a, Value b);

}  // namespace matryoshka::jit
