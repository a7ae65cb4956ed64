// The manual compares every element of one string with every element of the other. Here a row of that matrix, one element of the
// first string against the whole second, is a vector comparison and then a mask of bits.
#include "cpu/ops/sse_string.h"

#include <bit>

#include "cpu/ops/lanes_shuffle.h"
#include "cpu/ops/sse_operands.h"

namespace matryoshka::sse {

namespace {

// Imm8: element format 1:0, aggregation 3:2, polarity 5:4, output selection 6.
bool words(uint8_t control) { return control & 1; }
unsigned element_count(uint8_t control) { return words(control) ? 8 : 16; }

uint32_t ones(unsigned count) { return (uint32_t{1} << count) - 1; }

enum Aggregation { equal_any, ranges, equal_each, equal_ordered };

// The aggregated comparison before polarity ("IntRes1").
template <class T>
uint32_t aggregate(Packed first, unsigned first_length, Packed second, unsigned second_length, unsigned aggregation) {
  constexpr unsigned count = lane_count<T>;
  const auto a = first.as<T>(), b = second.as<T>();
  const uint32_t all = ones(count), valid_a = ones(first_length), valid_b = ones(second_length);
  auto bits = [](Packed mask) { return lanes::sign_mask<T>(mask); };
  // Elements by number from memory: a vector's cannot be picked by a variable.
  T elements[count];
  std::memcpy(elements, &a, sizeof elements);
  switch (aggregation) {
    case equal_any: {
      auto any = b != b;
      for (unsigned i = 0; i < first_length; ++i) any |= b == every<T>(elements[i]);
      return bits(any) & valid_b;
    }
    case ranges: {
      auto any = b != b;
      for (unsigned i = 0; i + 1 < first_length; i += 2) any |= (b >= every<T>(elements[i])) & (b <= every<T>(elements[i + 1]));
      return bits(any) & valid_b;
    }
    case equal_each:
      // Beyond both ends is equal, beyond one of them is not.
      return (bits(a == b) & valid_a & valid_b) | (all & ~valid_a & ~valid_b);
    default: {
      // Where does the first string stand inside the second, as far as the second goes? Places beyond the register do not count.
      uint32_t result = all;
      for (unsigned i = 0; i < first_length && result != 0; ++i)
        result &= (bits(b == every<T>(elements[i])) & valid_b) >> i | (all & ~(all >> i));
      return result;
    }
  }
}

// Up to the first null element.
unsigned implicit_length(Packed string, uint8_t control) {
  uint32_t nulls = words(control) ? lanes::sign_mask<uint16_t>(string.as<uint16_t>() == 0)
                                  : lanes::sign_mask<uint8_t>(string.as<uint8_t>() == 0);
  return static_cast<unsigned>(std::countr_zero(nulls | uint32_t{1} << element_count(control)));
}

// The magnitude of EAX or EDX (RAX or RDX with REX.W), no more than fits.
unsigned explicit_length(const Processor& cpu, const Op& op, unsigned number, uint8_t control) {
  uint64_t raw = cpu.state.gpr[number];
  int64_t value = op.flags & Op::rex_w ? static_cast<int64_t>(raw) : static_cast<int32_t>(raw);
  uint64_t magnitude = value < 0 ? -static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  return magnitude < element_count(control) ? static_cast<unsigned>(magnitude) : element_count(control);
}

bool compare(Processor& cpu, const Op& op, bool explicit_lengths, bool to_mask) {
  const uint8_t control = op.immediate8();
  const unsigned count = element_count(control);
  Packed second;
  if (!read_w_unaligned(cpu, op, second)) return false;
  const Packed first = xmm(cpu, op.reg);
  unsigned first_length = explicit_lengths ? explicit_length(cpu, op, RAX, control) : implicit_length(first, control);
  unsigned second_length = explicit_lengths ? explicit_length(cpu, op, RDX, control) : implicit_length(second, control);
  const uint32_t result = compare_strings(first, first_length, second, second_length, control);

  const bool alternative = control & 0x40;
  if (!to_mask) {
    unsigned index =
        result == 0 ? count : static_cast<unsigned>(alternative ? std::bit_width(result) - 1 : std::countr_zero(result));
    cpu.state.gpr[RCX] = index;
  } else if (!alternative) {
    set_xmm(cpu, 0, {result, 0});
  } else {
    // Each bit becomes an element of all ones.
    Packed mask;
    if (words(control)) {
      Lanes<uint16_t> lanes{};
      for (unsigned i = 0; i < 8; ++i) lanes[i] = result >> i & 1 ? 0xffff : 0;
      mask = lanes;
    } else {
      Lanes<uint8_t> lanes{};
      for (unsigned i = 0; i < 16; ++i) lanes[i] = result >> i & 1 ? 0xff : 0;
      mask = lanes;
    }
    set_xmm(cpu, 0, mask);
  }
  cpu.state.flags.set_bits((result != 0 ? rflags::CF : 0) | (second_length < count ? rflags::ZF : 0) |
                           (first_length < count ? rflags::SF : 0) | (result & 1 ? rflags::OF : 0));
  return true;
}

}  // namespace

uint32_t compare_strings(Packed first, unsigned first_length, Packed second, unsigned second_length, uint8_t control) {
  const unsigned aggregation = control >> 2 & 3, polarity = control >> 4 & 3;
  uint32_t result = 0;
  switch (control & 3) {
    case 0: result = aggregate<uint8_t>(first, first_length, second, second_length, aggregation); break;
    case 1: result = aggregate<uint16_t>(first, first_length, second, second_length, aggregation); break;
    case 2: result = aggregate<int8_t>(first, first_length, second, second_length, aggregation); break;
    default: result = aggregate<int16_t>(first, first_length, second, second_length, aggregation); break;
  }
  if (polarity == 1) return result ^ ones(element_count(control));
  if (polarity == 3) return result ^ ones(second_length);
  return result;
}

bool compare_explicit_mask(Processor& cpu, const Op& op) { return compare(cpu, op, true, true); }
bool compare_explicit_index(Processor& cpu, const Op& op) { return compare(cpu, op, true, false); }
bool compare_implicit_mask(Processor& cpu, const Op& op) { return compare(cpu, op, false, true); }
bool compare_implicit_index(Processor& cpu, const Op& op) { return compare(cpu, op, false, false); }

}  // namespace matryoshka::sse
