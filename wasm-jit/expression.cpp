#include "wasm-jit/expression.h"

#include <bit>
#include <utility>

namespace matryoshka::jit {

namespace {

bool commutes(Operator op) {
  switch (op) {
    case Operator::add:
    case Operator::multiply:
    case Operator::and_:
    case Operator::or_:
    case Operator::xor_:
    case Operator::equal:
    case Operator::not_equal: return true;
    default: return false;
  }
}

bool is_condition(Operator op) {
  switch (op) {
    case Operator::equal:
    case Operator::not_equal:
    case Operator::less:
    case Operator::greater_or_equal:
    case Operator::less_signed:
    case Operator::out_of_bounds: return true;
    default: return false;
  }
}

// All bits up to the highest one of `v`.
uint64_t filled(uint64_t v) { return v == 0 ? 0 : ~uint64_t{0} >> std::countl_zero(v); }

}  // namespace

uint64_t evaluate(Operator op, uint64_t a, uint64_t b, uint64_t c) {
  auto as_signed = [](uint64_t v) { return static_cast<int64_t>(v); };
  switch (op) {
    case Operator::add: return a + b;
    case Operator::subtract: return a - b;
    case Operator::multiply: return a * b;
    case Operator::multiply_high: return static_cast<uint64_t>(static_cast<unsigned __int128>(a) * b >> 64);
    case Operator::multiply_high_signed: return static_cast<uint64_t>(static_cast<__int128>(as_signed(a)) * as_signed(b) >> 64);
    case Operator::and_: return a & b;
    case Operator::or_: return a | b;
    case Operator::xor_: return a ^ b;
    case Operator::not_: return ~a;
    // The count of a shift whose result is wanted is below 64; of one that a select discards it may be anything.
    case Operator::shift_left: return a << (b & 63);
    case Operator::shift_right: return a >> (b & 63);
    case Operator::arithmetic_shift_right: return static_cast<uint64_t>(as_signed(a) >> (b & 63));
    case Operator::equal: return a == b;
    case Operator::not_equal: return a != b;
    case Operator::less: return a < b;
    case Operator::greater_or_equal: return a >= b;
    case Operator::less_signed: return as_signed(a) < as_signed(b);
    case Operator::select: return c ? a : b;
    case Operator::count_leading_zeros: return static_cast<uint64_t>(std::countl_zero(a));
    case Operator::count_trailing_zeros: return static_cast<uint64_t>(std::countr_zero(a));
    case Operator::count_ones: return static_cast<uint64_t>(std::popcount(a));
    case Operator::reverse_bytes: return __builtin_bswap64(a);
    default: return 0;
  }
}

Value Graph::push(Operator op, uint64_t constant, Value a, Value b, Value c, uint64_t possible) {
  // Graphs are small and equal nodes near: looking back a little is cheaper than a table.
  constexpr size_t far = 40;
  for (size_t i = nodes_.size(), end = i > far ? i - far : 0; i-- > end;) {
    const Expression& e = nodes_[i];
    if (e.op == op && e.constant == constant && e.a == a && e.b == b && e.c == c && e.possible == possible)
      return static_cast<Value>(i);
  }
  nodes_.push_back({op, constant, a, b, c, possible, 0, no_local});
  return static_cast<Value>(nodes_.size() - 1);
}

Value Graph::constant(uint64_t n) { return push(Operator::constant, n, 0, 0, 0, n); }

Value Graph::local(uint32_t number, uint64_t possible) {
  Value v = push(local_value, number, 0, 0, 0, possible);
  nodes_[v].local = number;
  return v;
}

Value Graph::sign_extend(Value v, unsigned bits) {
  if (bits == 64) return v;
  return make(Operator::arithmetic_shift_right, make(Operator::shift_left, v, constant(64 - bits)), constant(64 - bits));
}

uint64_t Graph::possible_bits(Operator op, Value a, Value b) const {
  uint64_t pa = nodes_[a].possible, pb = nodes_[b].possible;
  bool fixed = is_constant(b);
  unsigned n = static_cast<unsigned>(nodes_[b].constant & 63);
  if (is_condition(op)) return 1;
  switch (op) {
    case Operator::and_: return pa & pb;
    case Operator::or_:
    case Operator::xor_: return pa | pb;
    case Operator::add: {
      uint64_t sum = filled(pa) + filled(pb);
      return sum < filled(pa) ? ~uint64_t{0} : filled(sum);
    }
    case Operator::multiply: {
      unsigned bits = static_cast<unsigned>(std::bit_width(pa) + std::bit_width(pb));
      return bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
    }
    case Operator::shift_left: return fixed ? pa << n : ~uint64_t{0};
    case Operator::shift_right: return fixed ? pa >> n : filled(pa);
    case Operator::arithmetic_shift_right: return pa >> 63 ? ~uint64_t{0} : fixed ? pa >> n : filled(pa);
    case Operator::select: return pa | pb;
    case Operator::count_leading_zeros:
    case Operator::count_trailing_zeros:
    case Operator::count_ones: return 0x7f;
    default: return ~uint64_t{0};
  }
}

Value Graph::make(Operator op, Value a, Value b, Value c) {
  if (commutes(op) && is_constant(a)) std::swap(a, b);
  bool unary = op == Operator::not_ || op == Operator::count_leading_zeros || op == Operator::count_trailing_zeros ||
               op == Operator::count_ones || op == Operator::reverse_bytes;
  if (unary) b = a;
  if (op != Operator::out_of_bounds && is_constant(a) && is_constant(b) && (op != Operator::select || is_constant(c)))
    return constant(evaluate(op, nodes_[a].constant, nodes_[b].constant, op == Operator::select ? nodes_[c].constant : 0));
  bool done = false;
  Value simple = simplify(op, a, b, c, done);
  if (done) return simple;
  return push(op, 0, a, b, op == Operator::select ? c : 0, possible_bits(op, a, b));
}

Value Graph::simplify(Operator op, Value a, Value b, Value c, bool& done) {
  auto is = [&](Value v) { return done = true, v; };
  bool fixed = is_constant(b);
  uint64_t n = nodes_[b].constant;
  const Expression left = nodes_[a];
  switch (op) {
    case Operator::add:
      if (fixed && n == 0) return is(a);
      if (fixed && left.is(Operator::add) && is_constant(left.b)) return is(add(left.a, nodes_[left.b].constant + n));
      break;
    case Operator::subtract:
      if (fixed) return is(add(a, 0 - n));
      if (a == b) return is(constant(0));
      break;
    case Operator::multiply:
      if (fixed && n == 1) return is(a);
      break;
    case Operator::and_:
      if (fixed && (left.possible & ~n) == 0) return is(a);
      if (fixed && (left.possible & n) == 0) return is(constant(0));
      if (fixed && left.is(Operator::and_) && is_constant(left.b)) return is(and_(left.a, n & nodes_[left.b].constant));
      // The parts of an insertion: what the mask leaves nothing of goes.
      if (fixed && left.is(Operator::or_)) {
        if ((nodes_[left.a].possible & n) == 0) return is(and_(left.b, n));
        if ((nodes_[left.b].possible & n) == 0) return is(and_(left.a, n));
      }
      if (a == b) return is(a);
      break;
    case Operator::or_:
      if (fixed && n == 0) return is(a);
      if (a == b) return is(a);
      break;
    case Operator::xor_:
      if (fixed && n == 0) return is(a);
      if (a == b) return is(constant(0));
      if (fixed && n == 1) {  // a condition turned round
        if (left.is(Operator::equal)) return is(make(Operator::not_equal, left.a, left.b));
        if (left.is(Operator::not_equal)) return is(make(Operator::equal, left.a, left.b));
        if (left.is(Operator::less)) return is(make(Operator::greater_or_equal, left.a, left.b));
        if (left.is(Operator::greater_or_equal)) return is(make(Operator::less, left.a, left.b));
      }
      if (fixed && left.is(Operator::xor_) && is_constant(left.b))
        return is(make(Operator::xor_, left.a, constant(n ^ nodes_[left.b].constant)));
      break;
    case Operator::shift_left:
      if (fixed && n == 0) return is(a);
      if (left.is(Operator::constant) && left.constant == 0) return is(a);
      break;
    case Operator::shift_right:
      if (fixed && n == 0) return is(a);
      if (fixed && n < 64 && left.possible >> n == 0) return is(constant(0));
      // The sign of a sign-extended value.
      if (fixed && n == 63 && left.is(Operator::arithmetic_shift_right) && is_constant(left.b))
        return is(make(Operator::shift_right, left.a, b));
      if (fixed && left.is(Operator::shift_left) && is_constant(left.b) && nodes_[left.b].constant <= n && n < 64) {
        // Up and down again: a smaller shift, and a mask for what fell off.
        uint64_t up = nodes_[left.b].constant;
        return is(and_(make(Operator::shift_right, left.a, constant(n - up)), ~uint64_t{0} >> n));
      }
      break;
    case Operator::arithmetic_shift_right:
      if (fixed && n == 0) return is(a);
      if (left.possible >> 63 == 0) return is(make(Operator::shift_right, a, b));
      break;
    case Operator::equal:
    case Operator::not_equal:
      if (a == b) return is(constant(op == Operator::equal));
      // A sign-extended value is zero when the value is.
      if (fixed && n == 0 && left.is(Operator::arithmetic_shift_right) && is_constant(left.b) &&
          nodes_[left.a].is(Operator::shift_left) && nodes_[nodes_[left.a].b].is(Operator::constant) &&
          nodes_[nodes_[left.a].b].constant == nodes_[left.b].constant &&
          fits(nodes_[left.a].a, static_cast<unsigned>(64 - nodes_[left.b].constant)))
        return is(make(op, nodes_[left.a].a, b));
      if (fixed && left.possible == 1 && n <= 1) return is((op == Operator::equal) == (n == 1) ? a : not_(a));
      break;
    case Operator::select:
      if (is_constant(c)) return is(nodes_[c].constant ? a : b);
      if (a == b) return is(a);
      break;
    default: break;
  }
  return 0;
}

}  // namespace matryoshka::jit
