// The text of a decoded instruction in Intel's syntax, for people: "add qword ptr [rax+0x8], rbx".
//
// Mnemonics and operands come from the instruction table's own letters. Numbers are hexadecimal and unsigned, the targets of
// jumps are addresses, and what an instruction uses without naming it (the stack, RSI and RDI of MOVS) is not shown.
#pragma once

#include <cstdint>
#include <string>

#include "cpu/instruction.h"

namespace matryoshka {

class Processor;

// `rip` is where the instruction stands.
std::string disassemble(const Instruction& instruction, unsigned code_bits, uint64_t rip);

// What stands at RIP in the processor's present mode, as far as its fetch TLB knows the page.
std::string disassemble_at(const Processor& cpu, uint64_t rip);

}  // namespace matryoshka
