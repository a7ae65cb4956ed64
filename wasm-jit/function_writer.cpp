// Values as wasm. A guest's 32-bit arithmetic is written with 32-bit instructions: V8 knows that these clear the upper half, so
// the masks that the texts ask for cost nothing.
#include "wasm-jit/function_writer.h"

#include <algorithm>

namespace matryoshka::jit {

uint32_t FunctionWriter::temporary(WasmType type) {
  unsigned kind = pool_of(type);
  if (used_[kind] == pool_[kind].size()) pool_[kind].push_back(new_local(type));
  return pool_[kind][used_[kind]++];
}

void FunctionWriter::next_instruction() {
  graph.clear();
  std::fill(std::begin(used_), std::end(used_), 0);
}

void FunctionWriter::want(Value v) {
  Expression& e = graph[v];
  if (++e.uses > 1 || e.is(Operator::constant) || e.is(local_value)) return;
  Value a = e.a, b = e.b, c = e.c;
  bool ternary = e.is(Operator::select);
  want(a);
  if (b != a) want(b);
  if (ternary) want(c);
}

void FunctionWriter::wide(Value v) {
  Expression& e = graph[v];
  if (e.is(Operator::constant)) return code.i64(e.constant);
  if (e.local != Graph::no_local) return code.get(e.local);
  compute(v);
  if (graph[v].uses > 1) {
    uint32_t local = temporary(WasmType::i64);
    graph[v].local = local;
    code.tee(local);
  }
}

void FunctionWriter::narrow(Value v) {
  const Expression& e = graph[v];
  if (e.is(Operator::constant)) return code.i32(static_cast<uint32_t>(e.constant));
  if (e.local == Graph::no_local && e.uses <= 1 && has_narrow_form(e)) return compute_narrow(v);
  wide(v);
  code.op(Wasm::i32_wrap_i64);
}

void FunctionWriter::condition(Value v) {
  if (graph.fits(v, 32)) return narrow(v);
  // All 64 bits are asked about.
  wide(v), code.i64(0), code.op(Wasm::i64_ne);
}

// ---- Operators

bool FunctionWriter::is_sign_extension(Value v, unsigned bits) const {
  const Expression& e = graph[v];
  return e.is(Operator::arithmetic_shift_right) && graph.is_constant(e.b, 64 - bits) && graph[e.a].is(Operator::shift_left) &&
         graph.is_constant(graph[e.a].b, 64 - bits);
}

// Whether the low half of the result follows from the low halves of the operands, or the operands have no upper half.
bool FunctionWriter::has_narrow_form(const Expression& e) const {
  switch (e.op) {
    case Operator::add:
    case Operator::subtract:
    case Operator::multiply:
    case Operator::and_:
    case Operator::or_:
    case Operator::xor_:
    case Operator::not_: return true;
    case Operator::shift_left: return graph[e.b].possible < 32;
    case Operator::shift_right: return graph.fits(e.a, 32) && graph[e.b].possible < 32;
    case Operator::arithmetic_shift_right: return false;
    case Operator::equal:
    case Operator::not_equal:
    case Operator::less:
    case Operator::greater_or_equal:
    case Operator::less_signed: return true;
    case Operator::select: return true;
    default: return false;
  }
}

void FunctionWriter::comparison(const Expression& e, Wasm wide_op, Wasm narrow_op) {
  Value a = e.a, b = e.b;
  if (graph.fits(a, 32) && graph.fits(b, 32)) {
    if (narrow_op == Wasm::i32_eq && graph.is_constant(b, 0)) {
      narrow(a);
      return code.op(Wasm::i32_eqz);
    }
    narrow(a), narrow(b);
    return code.op(narrow_op);
  }
  if (wide_op == Wasm::i64_eq && graph.is_constant(b, 0)) {
    wide(a);
    return code.op(Wasm::i64_eqz);
  }
  wide(a), wide(b);
  code.op(wide_op);
}

// As an i32.
void FunctionWriter::compute_narrow(Value v) {
  const Expression e = graph[v];
  auto both = [&](Wasm w) {
    narrow(e.a), narrow(e.b);
    code.op(w);
  };
  switch (e.op) {
    case Operator::add: return both(Wasm::i32_add);
    case Operator::subtract: return both(Wasm::i32_sub);
    case Operator::multiply: return both(Wasm::i32_mul);
    case Operator::and_:
      // A mask of the whole half is no work here.
      if (graph.is_constant(e.b) && static_cast<uint32_t>(graph[e.b].constant) == ~uint32_t{0}) return narrow(e.a);
      return both(Wasm::i32_and);
    case Operator::or_: return both(Wasm::i32_or);
    case Operator::xor_: return both(Wasm::i32_xor);
    case Operator::not_: narrow(e.a), code.i32(~uint32_t{0}); return code.op(Wasm::i32_xor);
    case Operator::shift_left: return both(Wasm::i32_shl);
    case Operator::shift_right: return both(Wasm::i32_shr_u);
    case Operator::equal: return comparison(e, Wasm::i64_eq, Wasm::i32_eq);
    case Operator::not_equal: return comparison(e, Wasm::i64_ne, Wasm::i32_ne);
    case Operator::less: return comparison(e, Wasm::i64_lt_u, Wasm::i32_lt_u);
    case Operator::greater_or_equal: return comparison(e, Wasm::i64_ge_u, Wasm::i32_ge_u);
    case Operator::less_signed:
      // Between two sign-extended halves: a comparison of halves.
      if ((is_sign_extension(e.a, 32) || graph.fits(e.a, 31)) && (is_sign_extension(e.b, 32) || graph.fits(e.b, 31))) {
        auto half = [&](Value x) { narrow(is_sign_extension(x, 32) ? graph[graph[x].a].a : x); };
        half(e.a), half(e.b);
        return code.op(Wasm::i32_lt_s);
      }
      wide(e.a), wide(e.b);
      return code.op(Wasm::i64_lt_s);
    case Operator::select: narrow(e.a), narrow(e.b), condition(e.c); return code.op(Wasm::select);
    default: code.op(Wasm::unreachable);
  }
}

void FunctionWriter::compute(Value v) {
  const Expression e = graph[v];
  auto both = [&](Wasm w) {
    wide(e.a), wide(e.b);
    code.op(w);
  };
  // A result without an upper half, of an operation that works on halves.
  bool half = graph.fits(v, 32) && has_narrow_form(e);
  if (half && e.is(Operator::and_)) {
    // The low part of a register: one instruction either way, but the operand may have a narrow form.
    const Expression& left = graph[e.a];
    half = left.local == Graph::no_local && left.uses <= 1 && has_narrow_form(left);
    half = half || (graph.is_constant(e.b) && graph[e.b].constant == 0xffffffff) || graph.fits(e.a, 32);
  } else if (half && (e.is(Operator::or_) || e.is(Operator::xor_) || e.is(Operator::select))) {
    half = graph.fits(e.a, 32) && graph.fits(e.b, 32);
  }
  if (half) {
    compute_narrow(v);
    return code.op(Wasm::i64_extend_i32_u);
  }
  switch (e.op) {
    case Operator::add: return both(Wasm::i64_add);
    case Operator::subtract: return both(Wasm::i64_sub);
    case Operator::multiply: return both(Wasm::i64_mul);
    case Operator::multiply_high: return multiply_high(e.a, e.b, false);
    case Operator::multiply_high_signed: return multiply_high(e.a, e.b, true);
    case Operator::and_: return both(Wasm::i64_and);
    case Operator::or_: return both(Wasm::i64_or);
    case Operator::xor_: return both(Wasm::i64_xor);
    case Operator::not_: wide(e.a), code.i64(~uint64_t{0}); return code.op(Wasm::i64_xor);
    case Operator::shift_left: return both(Wasm::i64_shl);
    case Operator::shift_right: return both(Wasm::i64_shr_u);
    case Operator::arithmetic_shift_right:
      for (auto [bits, op] : {std::pair{8u, Wasm::i64_extend8_s}, {16u, Wasm::i64_extend16_s}, {32u, Wasm::i64_extend32_s}})
        if (is_sign_extension(v, bits)) {
          wide(graph[e.a].a);
          return code.op(op);
        }
      return both(Wasm::i64_shr_s);
    case Operator::equal:
    case Operator::not_equal:
    case Operator::less:
    case Operator::greater_or_equal:
    case Operator::less_signed: compute_narrow(v); return code.op(Wasm::i64_extend_i32_u);
    case Operator::select: wide(e.a), wide(e.b), condition(e.c); return code.op(Wasm::select);
    case Operator::count_leading_zeros: wide(e.a); return code.op(Wasm::i64_clz);
    case Operator::count_trailing_zeros: wide(e.a); return code.op(Wasm::i64_ctz);
    case Operator::count_ones: wide(e.a); return code.op(Wasm::i64_popcnt);
    case Operator::reverse_bytes: return reverse_bytes(e.a);
    default: code.op(Wasm::unreachable);
  }
}

// The upper half of a 128-bit product, from products of halves. Signed: less the other operand for each negative one.
void FunctionWriter::multiply_high(Value a, Value b, bool is_signed) {
  uint32_t x = temporary(WasmType::i64), y = temporary(WasmType::i64), middle = temporary(WasmType::i64);
  wide(a), code.set(x);
  wide(b), code.set(y);
  auto low = [&](uint32_t l) { code.get(l), code.i64(0xffffffff), code.op(Wasm::i64_and); };
  auto high = [&](uint32_t l) { code.get(l), code.i64(32), code.op(Wasm::i64_shr_u); };
  auto product = [&](auto p, uint32_t m, auto q, uint32_t n) { p(m), q(n), code.op(Wasm::i64_mul); };
  // middle = x.high * y.low + (x.low * y.low >> 32)
  product(high, x, low, y);
  product(low, x, low, y), code.i64(32), code.op(Wasm::i64_shr_u), code.op(Wasm::i64_add), code.set(middle);
  // x.high * y.high + middle.high + ((x.low * y.high + middle.low) >> 32)
  product(high, x, high, y);
  high(middle), code.op(Wasm::i64_add);
  product(low, x, high, y), low(middle), code.op(Wasm::i64_add), code.i64(32), code.op(Wasm::i64_shr_u), code.op(Wasm::i64_add);
  if (!is_signed) return;
  auto less_if_negative = [&](uint32_t sign, uint32_t other) {
    code.get(sign), code.i64(63), code.op(Wasm::i64_shr_s), code.get(other), code.op(Wasm::i64_and), code.op(Wasm::i64_sub);
  };
  less_if_negative(x, y);
  less_if_negative(y, x);
}

// Swaps bytes, then pairs, then halves.
void FunctionWriter::reverse_bytes(Value v) {
  uint32_t x = temporary(WasmType::i64);
  wide(v), code.set(x);
  for (auto [distance, mask] : {std::pair{8u, 0x00ff00ff00ff00ffu}, {16u, 0x0000ffff0000ffffu}}) {
    code.get(x), code.i64(distance), code.op(Wasm::i64_shr_u), code.i64(mask), code.op(Wasm::i64_and);
    code.get(x), code.i64(mask), code.op(Wasm::i64_and), code.i64(distance), code.op(Wasm::i64_shl);
    code.op(Wasm::i64_or), code.set(x);
  }
  code.get(x), code.i64(32), code.op(Wasm::i64_shr_u);
  code.get(x), code.i64(32), code.op(Wasm::i64_shl);
  code.op(Wasm::i64_or);
}

WasmWriter FunctionWriter::finish(const WasmWriter& first) const {
  WasmWriter body, groups;
  uint32_t count = 0;
  for (size_t i = 0; i < locals_.size();) {
    size_t same = i;
    while (same < locals_.size() && locals_[same] == locals_[i]) ++same;
    groups.number(same - i);
    groups.byte(static_cast<uint8_t>(locals_[i]));
    ++count;
    i = same;
  }
  body.number(count);
  body.append(groups);
  body.append(first);
  body.append(code);
  body.end();
  return body;
}

}  // namespace matryoshka::jit
