// String instructions.
//
// A repeated one runs in portions: as many iterations as may pass before the next event, and no more than a few thousand at a
// time, so that the host stays in charge. Between portions the processor is at the instruction's start again with rCX, rSI and
// rDI advanced, as the architecture has it for interrupts. Each iteration costs a tick, and the instruction one more when it
// ends, so it does not matter to the clock how it was cut. An iteration that leaves something to look at (it reached a device, it
// met a data breakpoint) ends its portion, so what comes of it does not depend on the cut either.
//
// MOVS and STOS over plain memory go a run at a time, to the nearer end of the two pages.
#include "cpu/ops/strings.h"

#include <algorithm>
#include <cstring>

#include "cpu/processor.h"

namespace matryoshka::string {

namespace {

constexpr uint64_t portion = 4096;

// The index registers and counter of one instruction, at its address size.
struct Indexes {
  Processor& cpu;
  const Op& op;
  uint64_t mask = op.address_mask();
  int64_t direction = cpu.state.system_flags & rflags::DF ? -1 : 1;

  uint64_t get(unsigned reg) const { return cpu.state.gpr[reg] & mask; }
  void advance(unsigned reg, uint64_t bytes) const {
    cpu.write_gpr(reg * 8, op.address_bits(), cpu.state.gpr[reg] + static_cast<uint64_t>(direction) * bytes);
  }
  void set_count(uint64_t count) const { cpu.write_gpr(RCX * 8, op.address_bits(), count); }

  [[nodiscard]] bool source(unsigned size, uint64_t& linear) const {
    if (op.flags & Op::checked) return cpu.segment_address(op.segment, get(RSI), size, AccessKind::read, linear);
    linear = get(RSI) + cpu.segment_base(op.segment);
    return true;
  }
  [[nodiscard]] bool destination(unsigned size, AccessKind kind, uint64_t& linear) const {
    if (!cpu.mode().flat_data) return cpu.segment_address(ES, get(RDI), size, kind, linear);
    linear = get(RDI);
    return true;
  }
};

// What to do after an iteration.
enum class Step { fault, more, enough };

// Runs `iteration(indexes, allowed, done)` until rCX is used up. It may do up to `allowed` iterations at once and says in
// `done` how many it did, the index registers already advanced.
template <class Iteration>
bool repeat(Processor& cpu, const Op& op, Iteration iteration) {
  Indexes x{cpu, op};
  uint64_t done = 0;
  if (!(op.flags & (Op::rep | Op::repne))) return iteration(x, uint64_t{1}, done) != Step::fault;

  const uint64_t allowed = std::min(cpu.ticks_left(op), portion);
  uint64_t spent = 0;
  bool enough = false;
  while (!enough) {
    uint64_t count = x.get(RCX);
    // Also behind the last iteration, as where the ticks end there; but a single step over it is one over the instruction.
    if (spent != 0 && cpu.attention_wanted() && !(count == 0 && cpu.stepping())) return cpu.again(op, 0);
    if (count == 0) break;
    if (spent == allowed) return cpu.again(op, 0);
    done = 0;
    Step step = iteration(x, std::min(count, allowed - spent), done);
    spent += done;
    cpu.charge(done);  // now: the next iteration may ask a device for the time
    // Nothing done leaves even the upper half of RCX alone under 32-bit addressing.
    if (done != 0) x.set_count(count - done);
    if (step == Step::fault) return false;
    enough = step == Step::enough;
  }
  // The instruction's own tick must fit as well. A comparison that has met its end cannot be taken up again, and a single step
  // over the last iteration is one over the instruction.
  if (!enough && !cpu.stepping() && cpu.ticks_left(op) == 0) return cpu.again(op, 0);
  return true;
}

template <class T>
void compare(Processor& cpu, T a, T b) {
  T difference = static_cast<T>(a - b);
  uint64_t carries = (~uint64_t{a} & b) | ((~uint64_t{a} | b) & difference);
  constexpr unsigned width = 8 * sizeof(T);
  cpu.state.flags.result = static_cast<std::make_signed_t<T>>(difference);
  cpu.state.flags.aux = (carries << (64 - width) & uint64_t{3} << 62) | (carries & StatusFlags::aux_af);
}

// REPE goes on while equal, REPNE while not.
Step after_comparison(Processor& cpu, const Op& op) {
  bool equal = cpu.state.flags.zf();
  return (op.flags & Op::rep && !equal) || (op.flags & Op::repne && equal) ? Step::enough : Step::more;
}

// Whole elements from `linear` on to the end of its page that lies in the direction.
template <class T>
uint64_t elements_in_page(uint64_t linear, int64_t direction) {
  const uint64_t offset = linear & (page_size - 1);
  const uint64_t to_end = (page_size - offset) / sizeof(T);
  return direction > 0 || to_end == 0 ? to_end : offset / sizeof(T) + 1;
}

// What MOVS does to elements that lie one behind the other: if the target overlaps what is still to be read, that repeats.
template <class T>
void move_run(uint8_t* target, const uint8_t* source, uint64_t count, int64_t direction) {
  constexpr uint64_t worth_a_call = 64;
  const uint64_t size = count * sizeof(T);
  if (direction > 0 && size > worth_a_call && (target <= source || target >= source + size)) {
    std::memmove(target, source, size);
    return;
  }
  const ptrdiff_t step = direction * static_cast<ptrdiff_t>(sizeof(T));
  for (uint64_t i = 0; i < count; ++i, target += step, source += step) {
    T value;
    std::memcpy(&value, source, sizeof value);
    std::memcpy(target, &value, sizeof value);
  }
}

template <template <class> class Instruction>
bool by_operand_size(Processor& cpu, const Op& op) {
  switch (op.operand_bits()) {
    case 8: return Instruction<uint8_t>::run(cpu, op);
    case 16: return Instruction<uint16_t>::run(cpu, op);
    case 32: return Instruction<uint32_t>::run(cpu, op);
    default: return Instruction<uint64_t>::run(cpu, op);
  }
}

template <class T>
struct Movs {
  static bool run(Processor& cpu, const Op& op) {
    return repeat(cpu, op, [&](const Indexes& x, uint64_t allowed, uint64_t& done) {
      uint64_t from, to;
      if (!x.source(sizeof(T), from)) return Step::fault;
      if (allowed > 1 && cpu.mode().flat_data && !(op.flags & Op::checked)) {
        if (!x.destination(sizeof(T), AccessKind::write, to)) return Step::fault;
        const uint64_t count = std::min({allowed, elements_in_page<T>(from, x.direction), elements_in_page<T>(to, x.direction)});
        const uint8_t* source = count ? cpu.mmu.readable_run(from) : nullptr;
        uint8_t* target = source ? cpu.mmu.writable_run(to) : nullptr;
        if (target) {
          move_run<T>(target, source, count, x.direction);
          x.advance(RSI, count * sizeof(T));
          x.advance(RDI, count * sizeof(T));
          done = count;
          return Step::more;
        }
      }
      T value;
      // What the read meets comes before what the write's segment says.
      if (!cpu.load(op, from, value) || !x.destination(sizeof(T), AccessKind::write, to) || !cpu.store(op, to, value))
        return Step::fault;
      x.advance(RSI, sizeof(T));
      x.advance(RDI, sizeof(T));
      done = 1;
      return Step::more;
    });
  }
};

template <class T>
struct Stos {
  static bool run(Processor& cpu, const Op& op) {
    auto value = static_cast<T>(cpu.state.gpr[RAX]);
    return repeat(cpu, op, [&](const Indexes& x, uint64_t allowed, uint64_t& done) {
      uint64_t to;
      if (!x.destination(sizeof(T), AccessKind::write, to)) return Step::fault;
      const uint64_t count = std::min(allowed, elements_in_page<T>(to, x.direction));
      uint8_t* target = allowed > 1 && count > 0 && cpu.mode().flat_data ? cpu.mmu.writable_run(to) : nullptr;
      if (target) {
        uint8_t* lowest = x.direction > 0 ? target : target - (count - 1) * sizeof(T);
        if (sizeof(T) == 1 || value == 0)
          std::memset(lowest, static_cast<int>(value & 0xff), count * sizeof(T));
        else
          for (uint64_t i = 0; i < count; ++i) std::memcpy(lowest + i * sizeof(T), &value, sizeof(T));
        x.advance(RDI, count * sizeof(T));
        done = count;
        return Step::more;
      }
      if (!cpu.store(op, to, value)) return Step::fault;
      x.advance(RDI, sizeof(T));
      done = 1;
      return Step::more;
    });
  }
};

template <class T>
struct Lods {
  static bool run(Processor& cpu, const Op& op) {
    return repeat(cpu, op, [&](const Indexes& x, uint64_t, uint64_t& done) {
      uint64_t from;
      T value;
      if (!x.source(sizeof(T), from) || !cpu.load(op, from, value)) return Step::fault;
      cpu.write_gpr(RAX * 8, 8 * sizeof(T), value);
      x.advance(RSI, sizeof(T));
      done = 1;
      return Step::more;
    });
  }
};

template <class T>
struct Scas {
  static bool run(Processor& cpu, const Op& op) {
    return repeat(cpu, op, [&](const Indexes& x, uint64_t, uint64_t& done) {
      uint64_t at;
      T value;
      if (!x.destination(sizeof(T), AccessKind::read, at) || !cpu.load(op, at, value)) return Step::fault;
      compare<T>(cpu, static_cast<T>(cpu.state.gpr[RAX]), value);
      x.advance(RDI, sizeof(T));
      done = 1;
      return after_comparison(cpu, op);
    });
  }
};

template <class T>
struct Cmps {
  static bool run(Processor& cpu, const Op& op) {
    return repeat(cpu, op, [&](const Indexes& x, uint64_t, uint64_t& done) {
      uint64_t first, second;
      T a, b;
      if (!x.source(sizeof(T), first) || !cpu.load(op, first, a)) return Step::fault;
      if (!x.destination(sizeof(T), AccessKind::read, second) || !cpu.load(op, second, b)) return Step::fault;
      compare<T>(cpu, a, b);
      x.advance(RSI, sizeof(T));
      x.advance(RDI, sizeof(T));
      done = 1;
      return after_comparison(cpu, op);
    });
  }
};

}  // namespace

bool movs(Processor& cpu, const Op& op) { return by_operand_size<Movs>(cpu, op); }
bool cmps(Processor& cpu, const Op& op) { return by_operand_size<Cmps>(cpu, op); }
bool stos(Processor& cpu, const Op& op) { return by_operand_size<Stos>(cpu, op); }
bool lods(Processor& cpu, const Op& op) { return by_operand_size<Lods>(cpu, op); }
bool scas(Processor& cpu, const Op& op) { return by_operand_size<Scas>(cpu, op); }

}  // namespace matryoshka::string
