// The values of one instruction as a graph, simplified as it is built.
//
// A node knows which of its bits may be one (`possible`), so masks that change nothing are never made: most of what texts
// write to stay within their width is such a mask. Leaves are constants and wasm locals.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/domain/tree.h"

namespace matryoshka::jit {

using tree::Operator;
using Value = uint32_t;  // index of an Expression

// In a graph, Operator::loaded is any wasm local (its number in `constant`): a guest register, what a load left, a temporary.
inline constexpr Operator local_value = Operator::loaded;

struct Expression {
  Operator op;
  uint64_t constant;
  Value a, b, c;
  uint64_t possible;
  uint32_t uses;
  uint32_t local;  // where its value stands once it was computed, or Graph::no_local

  bool is(Operator o) const { return op == o; }
};

class Graph {
 public:
  static constexpr uint32_t no_local = ~uint32_t{0};

  void clear() { nodes_.clear(); }
  const Expression& operator[](Value v) const { return nodes_[v]; }
  Expression& operator[](Value v) { return nodes_[v]; }

  Value constant(uint64_t n);
  Value local(uint32_t number, uint64_t possible = ~uint64_t{0});
  Value make(Operator op, Value a, Value b = 0, Value c = 0);

  bool is_constant(Value v) const { return nodes_[v].is(Operator::constant); }
  bool is_constant(Value v, uint64_t n) const { return is_constant(v) && nodes_[v].constant == n; }
  bool fits(Value v, unsigned bits) const { return bits >= 64 || nodes_[v].possible >> bits == 0; }

  Value add(Value a, Value b) { return make(Operator::add, a, b); }
  Value add(Value a, uint64_t n) { return make(Operator::add, a, constant(n)); }
  Value subtract(Value a, Value b) { return make(Operator::subtract, a, b); }
  Value and_(Value a, uint64_t mask) { return make(Operator::and_, a, constant(mask)); }
  Value not_(Value condition) { return make(Operator::xor_, condition, constant(1)); }
  Value shift_right(Value a, unsigned n) { return make(Operator::shift_right, a, constant(n)); }
  Value sign_extend(Value v, unsigned bits);

 private:
  Value push(Operator op, uint64_t constant, Value a, Value b, Value c, uint64_t possible);
  Value simplify(Operator op, Value a, Value b, Value c, bool& done);
  uint64_t possible_bits(Operator op, Value a, Value b) const;

  std::vector<Expression> nodes_;
};

// What an operator does to numbers; what the graph folds constants with.
uint64_t evaluate(Operator op, uint64_t a, uint64_t b, uint64_t c);

}  // namespace matryoshka::jit
