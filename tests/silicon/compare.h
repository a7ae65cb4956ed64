// What must be equal after a case, and what need not be.
#pragma once

#include <string>

#include "cpu/instruction.h"
#include "tests/silicon/case.h"

namespace silicon {

// The differences as " what expected/got", or nothing.
std::string differences(const Case& c, const matryoshka::Instruction& in, const Outcome& want, const Outcome& got);
// The case itself, in one line.
std::string describe(const Case& c, const matryoshka::Instruction& in);

}  // namespace silicon
