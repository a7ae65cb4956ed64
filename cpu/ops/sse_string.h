// PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM: "String and Text Processing Instructions".
#pragma once

#include <cstdint>

#include "cpu/ops/vector.h"

namespace matryoshka {

class Processor;
struct Op;

namespace sse {

// What the aggregation gives after polarity ("IntRes2"): one bit per element of the second operand.
uint32_t compare_strings(Packed first, unsigned first_length, Packed second, unsigned second_length, uint8_t control);

bool compare_explicit_mask(Processor&, const Op&);   // PCMPESTRM
bool compare_explicit_index(Processor&, const Op&);  // PCMPESTRI
bool compare_implicit_mask(Processor&, const Op&);   // PCMPISTRM
bool compare_implicit_index(Processor&, const Op&);  // PCMPISTRI

}  // namespace sse
}  // namespace matryoshka
