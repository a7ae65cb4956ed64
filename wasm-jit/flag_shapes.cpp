#include "wasm-jit/flag_shapes.h"

#include <array>
#include <string_view>

#include "cpu/ops/alu.h"

namespace matryoshka::jit {

using tree::NodeId;
using tree::Recording;

namespace {

constexpr uint64_t first_open = 16;  // open operands stand as registers that do not exist

// A domain for flag texts alone: operands are open, results go nowhere.
template <unsigned Width>
class Formula : public tree::Computation {
 public:
  explicit Formula(Recording& recording) : Computation(recording) {}
  static constexpr unsigned width = Width;
  using Value = tree::Value;
  Value open(unsigned n) { return leaf(Operator::gpr, first_open + n); }
  Value wrap(Value v) { return zero_extend(v, Width); }
  template <unsigned N>
  bool read(Operand<N>, Value& v) {
    v = open(N);
    return true;
  }
  template <unsigned N>
  bool read_for_write(Operand<N> which, Value& v) {
    return read(which, v);
  }
  template <unsigned N>
  bool write(Operand<N>, Value) {
    return true;
  }
};

struct Pattern {
  Recording recording;
  NodeId result = 0, aux = 0;
};

template <unsigned Width>
Pattern pattern_of(Shape shape) {
  Pattern p;
  Formula<Width> d(p.recording);
  switch (shape) {
    case Shape::plain: d.set_flags(d.open(0), d.open(1)); break;
    case Shape::subtract: (void)alu::cmp(d); break;
    case Shape::add: (void)alu::add(d); break;
    case Shape::logic: flags::logic(d, d.open(0)); break;
    case Shape::increment: (void)alu::inc(d); break;
    case Shape::decrement: (void)alu::dec(d); break;
    case Shape::ordered: {
      auto greater = d.open(0), less = d.open(1), zero = d.constant(0);
      flags::set_all(d, less, zero, zero, (greater | less) ^ d.constant(1), zero, zero);
      break;
    }
  }
  const tree::Effect& last = p.recording.effects.back();
  p.result = last.value, p.aux = last.second;
  return p;
}

const Pattern& pattern(FlagState state) {
  static const auto patterns = [] {
    std::array<Pattern, FlagState::count> all;
    for (unsigned i = 0; i < FlagState::count; ++i) {
      FlagState s = FlagState::of_index(i);
      all[i] = s.width == 0   ? pattern_of<8>(s.shape)
               : s.width == 1 ? pattern_of<16>(s.shape)
               : s.width == 2 ? pattern_of<32>(s.shape)
                              : pattern_of<64>(s.shape);
    }
    return all;
  }();
  return patterns[state.index()];
}

struct ConditionPattern {
  Recording recording;
  NodeId node = 0;
};

template <size_t... Numbers>
std::array<ConditionPattern, 16> condition_patterns(std::index_sequence<Numbers...>) {
  std::array<ConditionPattern, 16> all;
  (
      (void)[&](ConditionPattern & p) {
        Formula<64> d(p.recording);
        p.node = flags::holds<static_cast<flags::Condition>(Numbers)>(d).id();
      }(all[Numbers]),
      ...);
  return all;
}

// Whether the node is an instance of the pattern; `open` receives what stands for its open operands.
class Matcher {
 public:
  Matcher(const Recording& pattern, const Recording& recording) : p_(pattern), r_(recording) {}
  static constexpr NodeId unbound = ~NodeId{0};
  NodeId open[2] = {unbound, unbound};

  bool match(NodeId pattern, NodeId node) {
    const tree::Node &p = p_.nodes[pattern], &n = r_.nodes[node];
    if (p.op == Operator::gpr && p.constant >= first_open) {
      NodeId& bound = open[p.constant - first_open];
      if (bound == unbound) bound = node;
      return same(bound, node);
    }
    if (p.op != n.op || p.constant != n.constant) return false;
    switch (p.op) {
      case Operator::constant:
      case Operator::gpr:
      case Operator::flag_result:
      case Operator::flag_aux:
      case Operator::direction_flag:
      case Operator::next_rip:
      case Operator::loaded: return true;
      default: return match(p.a, n.a) && match(p.b, n.b) && (p.op != Operator::select || match(p.c, n.c));
    }
  }

 private:
  // The same value, be it two nodes: a text may ask for a constant twice.
  bool same(NodeId x, NodeId y) const {
    return x == y || (r_.nodes[x].op == Operator::constant && r_.nodes[y].op == Operator::constant &&
                      r_.nodes[x].constant == r_.nodes[y].constant);
  }
  const Recording &p_, &r_;
};

// A pattern's node in a graph, its open operands given.
Value instantiate(Graph& graph, const Recording& recording, NodeId id, Value a, Value b) {
  const tree::Node& n = recording.nodes[id];
  switch (n.op) {
    case Operator::constant: return graph.constant(n.constant);
    case Operator::gpr: return n.constant == first_open ? a : b;
    // INC and DEC ask for CF as it was, in bit 63: it is all that they look at.
    case Operator::flag_aux: return graph.make(Operator::shift_left, b, graph.constant(63));
    default: {
      Value x = instantiate(graph, recording, n.a, a, b), y = instantiate(graph, recording, n.b, a, b);
      return graph.make(n.op, x, y, n.op == Operator::select ? instantiate(graph, recording, n.c, a, b) : 0);
    }
  }
}

}  // namespace

std::optional<FlagMatch> match_flags(const Recording& recording, unsigned width_code, NodeId result, NodeId aux) {
  for (Shape shape : {Shape::subtract, Shape::add, Shape::increment, Shape::decrement, Shape::logic}) {
    FlagState state{shape, static_cast<uint8_t>(width_code)};
    const Pattern& p = pattern(state);
    Matcher m(p.recording, recording);
    if (!m.match(p.aux, aux) || !m.match(p.result, result)) continue;
    bool keeps = shape == Shape::increment || shape == Shape::decrement;
    return FlagMatch{state, m.open[0], m.open[1] == Matcher::unbound ? m.open[0] : m.open[1], keeps};
  }
  return {};
}

std::optional<flags::Condition> match_condition(const Recording& recording, NodeId node) {
  static const auto patterns = condition_patterns(std::make_index_sequence<16>{});
  for (unsigned i = 0; i < 16; ++i)
    if (Matcher(patterns[i].recording, recording).match(patterns[i].node, node)) return static_cast<flags::Condition>(i);
  return {};
}

FlagWords flag_words(Graph& graph, FlagState state, Value a, Value b) {
  const Pattern& p = pattern(state);
  return {instantiate(graph, p.recording, p.result, a, b), instantiate(graph, p.recording, p.aux, a, b)};
}

std::optional<Value> condition_of(Graph& graph, flags::Condition condition, FlagState state, Value a, Value b) {
  using namespace flags;
  if (condition & 1) {
    auto positive = condition_of(graph, static_cast<Condition>(condition & ~1), state, a, b);
    if (!positive) return {};
    return graph.not_(*positive);
  }
  unsigned bits = state.bits();
  Value zero = graph.constant(0);
  auto wrap = [&](Value v) { return graph.and_(v, tree::Computation::mask_of(bits)); };
  auto sign = [&](Value v) { return graph.shift_right(v, bits - 1); };
  auto equal = [&](Value x, Value y) { return graph.make(Operator::equal, x, y); };
  auto less = [&](Value x, Value y) { return graph.make(Operator::less, x, y); };
  auto less_signed = [&](Value x, Value y) {
    return graph.make(Operator::less_signed, graph.sign_extend(x, bits), graph.sign_extend(y, bits));
  };
  switch (state.shape) {
    case Shape::subtract:
      switch (condition) {
        case B: return less(a, b);
        case Z: return equal(a, b);
        case BE: return graph.make(Operator::greater_or_equal, b, a);
        case S: return sign(wrap(graph.subtract(a, b)));
        case L: return less_signed(a, b);
        case LE: return graph.not_(less_signed(b, a));
        default: return {};
      }
    case Shape::logic:
      switch (condition) {
        case O:
        case B: return zero;
        case Z:
        case BE: return equal(a, zero);
        case S:
        case L: return sign(a);
        case LE: return graph.not_(less_signed(zero, a));
        default: return {};
      }
    case Shape::add: {
      Value sum = wrap(graph.add(a, b));
      switch (condition) {
        case B: return less(sum, a);
        case Z: return equal(sum, zero);
        case S: return sign(sum);
        default: return {};
      }
    }
    case Shape::increment:
    case Shape::decrement: {
      Value result = wrap(graph.add(a, state.shape == Shape::increment ? 1 : ~uint64_t{0}));
      switch (condition) {
        case B: return b;
        case Z: return equal(result, zero);
        case S: return sign(result);
        default: return {};
      }
    }
    case Shape::ordered:
      switch (condition) {
        case B: return b;
        case Z: return graph.not_(graph.make(Operator::or_, a, b));
        case BE: return graph.not_(a);
        case O:
        case S:
        case P:
        case L: return zero;
        case LE: return graph.not_(graph.make(Operator::or_, a, b));
        default: return {};
      }
    default: return {};
  }
}

}  // namespace matryoshka::jit
