#include "cpu/ops/x87.h"

namespace matryoshka::x87 {

bool stack_underflow(X87State& x87) {
  report(x87, status::IE | status::SF);
  return x87.control & fp::invalid;
}

bool stack_overflow(X87State& x87) {
  report(x87, status::IE | status::SF | status::C1);
  return x87.control & fp::invalid;
}

bool ready_to_push_second(X87State& x87) {
  const bool underflow = x87.empty(0);
  if (!underflow && x87.empty(7)) return true;
  if (underflow ? stack_underflow(x87) : stack_overflow(x87)) {
    set(x87, 0, fp::float80_indefinite);
    push(x87, fp::float80_indefinite);
  }
  return false;
}

}  // namespace matryoshka::x87
