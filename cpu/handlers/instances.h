// Ties each row of the table to its code: Text<row> is the row's semantics column, Instance<id> one instance of it.
#pragma once

#include <type_traits>

#include "cpu/domain/concrete.h"
#include "cpu/handlers.h"
#include "cpu/ops/alu.h"
#include "cpu/ops/bit.h"
#include "cpu/ops/control.h"
#include "cpu/ops/crypto.h"
#include "cpu/ops/data.h"
#include "cpu/ops/extended_state.h"
#include "cpu/ops/integer.h"
#include "cpu/ops/lanes.h"
#include "cpu/ops/lanes_shuffle.h"
#include "cpu/ops/mmx.h"
#include "cpu/ops/multiply.h"
#include "cpu/ops/shift.h"
#include "cpu/ops/sse_convert.h"
#include "cpu/ops/sse_float.h"
#include "cpu/ops/sse_integer.h"
#include "cpu/ops/sse_move.h"
#include "cpu/ops/sse_operands.h"
#include "cpu/ops/sse_string.h"
#include "cpu/ops/strings.h"
#include "cpu/ops/x87_arithmetic.h"
#include "cpu/ops/x87_compare.h"
#include "cpu/ops/x87_control.h"
#include "cpu/ops/x87_load_store.h"
#include "cpu/ops/x87_transcendental.h"
#include "cpu/system/model_ops.h"
#include "cpu/system/system.h"
#include "cpu/system/vmx.h"

namespace matryoshka {

template <unsigned RowNumber>
struct Text;

// An inline row's text can be run in any domain; a plain function is what it is. `none` stands in rows that only decode.
#define TEXT_inline(semantics) \
  template <class D>           \
  static bool run(D& d) {      \
    return semantics(d);       \
  }
#define TEXT_helper(semantics) static constexpr Handler plain = &semantics;
#define TEXT_leave(semantics) static constexpr Handler plain = &semantics;
#define TEXT_unsupported(semantics) static constexpr Handler plain = nullptr;

inline constexpr unsigned first_text = __COUNTER__ + 1;
#define ROW(encoding, mnemonic, operands, semantics, kind, attributes, feature) \
  template <>                                                                   \
  struct Text<__COUNTER__ - first_text> {                                       \
    TEXT_##kind(semantics)                                                      \
  };
#include "cpu/isa.def"
#undef ROW
#undef TEXT_inline
#undef TEXT_helper
#undef TEXT_leave
#undef TEXT_unsupported

template <unsigned Id>
struct Instance {
  static constexpr unsigned row = Id >> 3, bits = 8u << (Id >> 1 & 3);
  static constexpr bool memory = Id & 1;
  static bool run(Processor& cpu, const Op& op) {
    Concrete<row, bits, memory> d(cpu, op);
    return Text<row>::run(d);
  }
};

// Whether the decoder can ever produce this id: the width and the memory form fit the row's operands.
constexpr bool id_exists(unsigned id) {
  const Row& row = rows[id >> 3];
  OperandList operands = parse_operands(row.operands);
  unsigned width = id >> 1 & 3;
  bool memory = id & 1;
  if (memory ? !may_be_memory(operands) || must_be_register(operands) : must_be_memory(operands)) return false;
  switch (width_set(operands)) {
    case fixed_width: return width == fixed_width_code(operands);
    case double_quad: return width >= 2;
    default: return width >= 1;
  }
}

}  // namespace matryoshka
