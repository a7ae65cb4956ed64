// Decoding and lowering. A length lies between 1 and 15, and what stands behind it has no influence.
#include <algorithm>
#include <cstring>

#include "cpu/decode.h"
#include "cpu/vectors/vector_runner.h"
#include "tests/fuzz/fuzz.h"

namespace matryoshka::fuzz {

namespace {

bool same(const Instruction& a, const Instruction& b) {
  auto key = [](const Instruction& i) {
    return std::tuple(i.row, i.length, i.opcode, i.lock, i.rep, i.repne, i.operand_size_prefix, i.address_size_prefix,
                      i.override_segment, i.rex, i.vex, i.vex_register, i.vex_length, i.operand_size, i.address_size);
  };
  auto operands = [](const Instruction& i) {
    return std::tuple(i.has_modrm, i.is_memory, i.mod, i.reg, i.rm, i.base, i.index, i.scale, i.displacement, i.immediate,
                      i.immediate2);
  };
  return key(a) == key(b) && operands(a) == operands(b);
}

}  // namespace

void decoder(Input input) {
  static const Decoder all(VectorRunner::all_features()), none(FeatureSet{});
  const uint8_t flags = input.take();
  const Decoder& tables = flags & 0x80 ? none : all;
  CodeMode mode;
  constexpr uint8_t bits[] = {16, 32, 64, 64};
  mode.code_bits = bits[flags & 3];
  mode.stack_bits = mode.code_bits == 64 ? 64 : flags & 4 ? 32 : 16;
  mode.flat_data = mode.code_bits == 64 || flags & 8;
  mode.flat_code = mode.code_bits == 64 || flags & 16;
  mode.sse_ready = flags & 32, mode.x87_ready = flags & 64;

  // As much as a processor ever hands over, in a place of its own so that one byte too far is seen.
  const std::vector<uint8_t> code = [&] {
    ByteSpan taken = input.bytes(15);
    return std::vector<uint8_t>(taken.begin(), taken.end());
  }();
  Instruction in;
  const DecodeResult result = tables.decode(code, mode.code_bits, in);
  expect(in.length <= 15 && in.length <= code.size(), "an instruction is no longer than 15 bytes, and than what was given");
  if (result == DecodeResult::needs_more) {
    expect(code.size() < 15, "15 bytes are enough to know an instruction");
    return;
  }
  if (result != DecodeResult::ok) {
    (void)lower_undecodable(result, std::max<uint8_t>(in.length, 1), mode, 1);
    return;
  }
  expect(in.length > 0, "an instruction has a length");
  const Op op = lower(in, mode, in.length);
  expect(op.length == in.length && op.offset == in.length, "lowering keeps the length");

  std::vector<uint8_t> cut(code.begin(), code.begin() + in.length);
  Instruction alone, before_others;
  expect(tables.decode(cut, mode.code_bits, alone) == DecodeResult::ok && same(in, alone),
         "an instruction needs only its own bytes");
  cut.resize(15, static_cast<uint8_t>(flags ^ 0x5a));
  expect(tables.decode(cut, mode.code_bits, before_others) == DecodeResult::ok && same(in, before_others),
         "what follows an instruction has no influence");
  for (unsigned length = 0; length < in.length; ++length) {
    Instruction part;
    expect(tables.decode({code.data(), length}, mode.code_bits, part) == DecodeResult::needs_more,
           "a part of an instruction is none");
  }
}

}  // namespace matryoshka::fuzz
