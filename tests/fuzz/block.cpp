// A short block from any state, in each mode and at each level, in the memory that the vector runner gives it.
#include <algorithm>

#include "cpu/vectors/vector_runner.h"
#include "tests/fuzz/valid_state.h"

namespace matryoshka::fuzz {

namespace {

using Mode = VectorRunner::Mode;

// Where registers like to point: into the data, at its end, at the code, at nothing.
constexpr uint64_t code_at = 0x10000, data_at = 0x20000, stack_at = 0x31000;
constexpr uint64_t places[] = {0, 1, data_at, data_at + 0x800, data_at + 0xff8, code_at, stack_at - 8, 0x8000};

void set_registers(CpuState& s, Input& input) {
  for (unsigned i = 0; i < 16; ++i) {
    const uint8_t shape = input.take();
    s.gpr[i] = shape < 0xc0 ? places[shape % std::size(places)] + shape / 8 : input.number();
  }
  s.gpr[RSP] = stack_at - (s.gpr[RSP] & 0x7f8);
  s.set_rflags(input.take<uint32_t>() & rflags::all & ~(rflags::VM | rflags::TF | rflags::VIP | rflags::VIF));
}

void set_units(CpuState& s, Input& input) {
  s.mxcsr = input.take<uint16_t>();
  s.x87.control = static_cast<uint16_t>((input.take<uint16_t>() & 0x1f3f) | 0x40);
  s.x87.status = input.take<uint16_t>();
  s.x87.valid = input.take();
  for (auto& r : s.x87.registers) r = {input.take<uint64_t>(), input.take<uint16_t>()};
  for (Xmm& r : s.xmm) r.q[0] = input.take<uint64_t>(), r.q[1] = input.take<uint64_t>();
}

}  // namespace

void block(Input input) {
  static VectorRunner runner;
  const uint8_t head = input.take();
  const auto mode = static_cast<Mode>(head & 3);
  CpuState& s = runner.begin(mode, head >> 2 & 3);
  set_registers(s, input);
  if (mode == Mode::real16) {
    // Segments of 64 KiB, which these places lie beyond.
    s.segment[CS].selector = code_at >> 4, s.segment[CS].base = code_at;
    s.segment[DS].selector = data_at >> 4, s.segment[DS].base = data_at;
    for (unsigned i = 0; i < 16; ++i) s.gpr[i] &= 0xffff;
  } else {
    s.rip = code_at;
    if (head & 16) s.cr0 |= cr0::WP;
    if (head & 32) s.cr0 |= cr0::TS;
    if (head & 64) s.cr0 |= cr0::EM;
    if (mode == Mode::protected16) s.gpr[RSP] &= 0xffff, s.rip = 0x8000;
  }
  const size_t length = input.take() % 64 + 1u;
  // The bytes end where the page does, if the input says so: the next page cannot be fetched from.
  const ByteSpan code = input.bytes(length);
  if (head & 128 && mode != Mode::real16) s.rip = (s.rip | (page_size - 1)) + 1 - code.size();
  const uint64_t linear = s.segment[CS].base + s.rip;
  set_units(s, input);

  bool placed = runner.window(linear, code, VectorRunner::executable);
  std::vector<uint8_t> data(page_size, 0x11);
  const ByteSpan rest = input.bytes(page_size);
  std::copy(rest.begin(), rest.end(), data.begin());
  placed = placed && runner.window(data_at, data, VectorRunner::writable);
  if (mode != Mode::real16)
    placed = placed && runner.window(stack_at - page_size, data, VectorRunner::writable | VectorRunner::supervisor);
  expect(placed, "there is room for three pages");
  (void)runner.run(8);
  expect_valid(runner.state());
}

}  // namespace matryoshka::fuzz
