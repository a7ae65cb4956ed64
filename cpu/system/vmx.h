// The VMX instructions: operands, modes and privilege. What they do stands in vmx-model/.
#pragma once

#include "cpu/instruction.h"
#include "cpu/model.h"
#include "vmx-model/capabilities.h"

namespace matryoshka {

class Processor;

namespace system {

vmx::Capabilities vmx_capabilities(const CpuModel& model);

bool vmxon(Processor&, const Op&);
bool vmxoff(Processor&, const Op&);
bool vmclear(Processor&, const Op&);
bool vmptrld(Processor&, const Op&);
bool vmptrst(Processor&, const Op&);
bool vmread(Processor&, const Op&);
bool vmwrite(Processor&, const Op&);
bool vmlaunch(Processor&, const Op&);
bool vmresume(Processor&, const Op&);
bool vmcall(Processor&, const Op&);
bool vmfunc(Processor&, const Op&);
bool invept(Processor&, const Op&);
bool invvpid(Processor&, const Op&);

// "VM-Exit Instruction-Information Field" of an instruction with a memory operand and perhaps a register, and the displacement,
// which is its exit qualification.
uint32_t memory_operand_info(const Op& op);
uint64_t displacement_of(const Op& op, const Processor& cpu);

}  // namespace system
}  // namespace matryoshka
