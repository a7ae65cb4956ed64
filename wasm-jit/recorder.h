// What each inline row's text does, as a recording: the text itself, run once in the tree domain.
#pragma once

#include "cpu/domain/tree.h"

namespace matryoshka::jit {

// Whether the instance Op::id has a text: it is one of an inline row.
bool can_record(uint16_t id);
// Only where its memory operand is, if it has one: one effect.
void record_address(const Op& op, tree::Recording& recording);
void record(const Op& op, tree::Recording& recording);

}  // namespace matryoshka::jit
