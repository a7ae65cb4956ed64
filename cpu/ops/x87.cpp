#include "cpu/ops/x87.h"

#include "cpu/isa.h"

namespace matryoshka::x87 {

namespace {

// ModRM.mod, which an Op no longer knows. Deviation: it is taken for the shortest form of the displacement, as assemblers choose
// it; a padded encoding gets a wrong mod in FOP.
unsigned mod_of(const Op& op) {
  if (!op.is_memory()) return 3;
  const bool has_base = op.base < CpuState::slot_zero * 8;
  if (!has_base) return 0;
  const bool is_bp = op.address_bits() == 16 ? op.rm == 6 : (op.base / 8 & 7) == RBP;
  if (op.displacement == 0 && !is_bp) return 0;
  return op.displacement == static_cast<int8_t>(op.displacement) ? 1 : 2;
}

// "x87 FPU Opcode Register": the low three bits of the first byte, and ModRM.
uint16_t opcode_of(const Op& op) {
  const char digit = rows[op.row()].encoding[1];  // D8 to DF
  const unsigned low = digit <= '9' ? digit - '8' : digit - 'A' + 2;
  return static_cast<uint16_t>(low << 8 | mod_of(op) << 6 | (op.reg & 7) << 3 | (op.rm & 7));
}

// Where segments are flat the Op has forgotten which one was meant. Deviation: then it is the one that the addressing form
// implies, also where an override prefix named another flat one.
uint16_t selector_of(const Processor& cpu, const Op& op) {
  auto segment = static_cast<Segments>(op.segment);
  if (segment == Segments::none) segment = op.flags & Op::stack_segment ? Segments::ss : Segments::ds;
  return cpu.state.segment[static_cast<unsigned>(segment)].selector;
}

}  // namespace

void record(Processor& cpu, const Op& op) {
  X87State& x87 = cpu.state.x87;
  x87.opcode = opcode_of(op);
  x87.instruction_pointer = cpu.instruction_start(op);
  x87.instruction_selector = cpu.state.segment[CS].selector;
  if (!op.is_memory()) return;
  x87.data_pointer = cpu.effective_address(op);
  x87.data_selector = selector_of(cpu, op);
}

void summarize(X87State& x87) {
  if (!(x87.status & status::ES)) x87.ignores_error = false;  // IGNNE# was for an error that is gone
  x87.status &= static_cast<uint16_t>(~(status::ES | status::B));
  if (has_pending_exception(x87)) x87.status |= status::ES | status::B;
}

void report(X87State& x87, uint16_t flags) {
  x87.status = static_cast<uint16_t>((x87.status & ~status::C1) | flags);
  summarize(x87);
}

void set_relation(X87State& x87, fp::Relation relation) {
  constexpr uint16_t codes = status::C0 | status::C2 | status::C3;
  x87.status = static_cast<uint16_t>((x87.status & ~codes) | fp::condition_codes(relation) << 8);
}

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
