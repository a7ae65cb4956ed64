// The graphs that regions are made from: what simplification and the shapes of flags claim, held against plain evaluation.
#include <catch2/catch.hpp>
#include <random>

#include "cpu/state/state.h"
#include "wasm-jit/flag_shapes.h"

using namespace matryoshka;
using jit::Graph;
using tree::Operator;

namespace {

// The value of a node, its locals given by number.
uint64_t value(const Graph& g, jit::Value v, const std::vector<uint64_t>& locals) {
  const jit::Expression& e = g[v];
  if (e.is(Operator::constant)) return e.constant;
  if (e.is(jit::local_value)) return locals[e.constant];
  uint64_t c = e.is(Operator::select) ? value(g, e.c, locals) : 0;
  return jit::evaluate(e.op, value(g, e.a, locals), value(g, e.b, locals), c);
}

constexpr unsigned seed = 7;

// Numbers at which things change, and others.
uint64_t number(std::mt19937_64& random) {
  static constexpr uint64_t edges[] = {
      0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, uint64_t{1} << 63, ~uint64_t{0}};
  return random() % 3 ? edges[random() % std::size(edges)] : random();
}

}  // namespace

TEST_CASE("jit: A simplified graph has the value of the plain one", "[jit]") {
  std::mt19937_64 random(seed);
  static constexpr Operator binary[] = {
      Operator::add,        Operator::subtract, Operator::multiply,  Operator::and_, Operator::or_,
      Operator::xor_,       Operator::equal,    Operator::not_equal, Operator::less, Operator::greater_or_equal,
      Operator::less_signed};
  static constexpr Operator shifts[] = {Operator::shift_left, Operator::shift_right, Operator::arithmetic_shift_right};
  for (unsigned round = 0; round < 20'000; ++round) {
    Graph g;
    std::vector<uint64_t> locals{number(random), number(random) & 0xffffffff, number(random) & 0xff, number(random) & 1};
    static constexpr uint64_t possible[] = {~uint64_t{0}, 0xffffffff, 0xff, 1};
    struct Pair {
      jit::Value node;
      uint64_t plain;
    };
    std::vector<Pair> pool;
    for (unsigned i = 0; i < 4; ++i) pool.push_back({g.local(i, possible[i]), locals[i]});
    for (unsigned i = 0; i < 12; ++i) {
      Pair a = pool[random() % pool.size()], b = pool[random() % pool.size()], c = pool[random() % pool.size()];
      if (random() % 3 == 0) {
        uint64_t n = number(random);
        b = {g.constant(n), n};
      }
      Operator op = binary[random() % std::size(binary)];
      unsigned kind = random() % 6;
      if (kind == 0) {
        op = shifts[random() % 3];
        b.plain = random() % 64;
        b.node = g.constant(b.plain);
      }
      if (kind == 1) {
        op = Operator::select;
        c = {g.make(Operator::less, a.node, b.node), a.plain < b.plain};
      }
      if (kind == 2) op = Operator::not_;
      pool.push_back({g.make(op, a.node, b.node, c.node), jit::evaluate(op, a.plain, b.plain, c.plain)});
      Pair made = pool.back();
      INFO("seed " << seed << ", round " << round << ", operator " << static_cast<int>(op));
      REQUIRE(value(g, made.node, locals) == made.plain);
      REQUIRE((made.plain & ~g[made.node].possible) == 0);
    }
  }
}

TEST_CASE("jit: Conditions after each shape are what the two words of StatusFlags say", "[jit]") {
  std::mt19937_64 random(seed);
  for (unsigned i = 4; i < jit::FlagState::count; ++i) {
    jit::FlagState state = jit::FlagState::of_index(i);
    bool ordered = state.shape == jit::Shape::ordered;
    for (unsigned round = 0; round < 3000; ++round) {
      std::vector<uint64_t> locals{number(random) & state.possible_a(), number(random) & state.possible_b()};
      if (ordered) locals[1] &= ~locals[0];  // not both at once
      Graph g;
      jit::Value a = g.local(0, state.possible_a()), b = g.local(1, state.possible_b());
      jit::FlagWords words = jit::flag_words(g, state, a, b);
      StatusFlags f{static_cast<int64_t>(value(g, words.result, locals)), value(g, words.aux, locals)};
      const bool expected[8] = {f.of(), f.cf(), f.zf(),           f.cf() || f.zf(),
                                f.sf(), f.pf(), f.sf() != f.of(), f.sf() != f.of() || f.zf()};
      for (unsigned c = 0; c < 16; ++c) {
        auto simple = jit::condition_of(g, static_cast<flags::Condition>(c), state, a, b);
        if (!simple) continue;
        INFO("seed " << seed << ", shape " << i << ", condition " << c << ", operands " << locals[0] << " " << locals[1]);
        REQUIRE(value(g, *simple, locals) == (expected[c / 2] ^ (c & 1)));
      }
    }
  }
}
