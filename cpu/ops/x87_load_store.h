// "x87 FPU Data Transfer Instructions" and "x87 FPU Load Constant Instructions", with the stack control instructions.
#pragma once

#include "cpu/float/float80.h"

namespace matryoshka {
class Processor;
struct Op;
}  // namespace matryoshka

namespace matryoshka::x87 {

bool fld_m32(Processor&, const Op&);
bool fld_m64(Processor&, const Op&);
bool fld_m80(Processor&, const Op&);
bool fld_register(Processor&, const Op&);
bool fild_m16(Processor&, const Op&);
bool fild_m32(Processor&, const Op&);
bool fild_m64(Processor&, const Op&);
bool fbld(Processor&, const Op&);
bool load_constant(Processor&, const Op&, fp::Constant);
template <fp::Constant which>
bool fld_constant(Processor& cpu, const Op& op) {
  return load_constant(cpu, op, which);
}

bool fst_m32(Processor&, const Op&);
bool fst_m64(Processor&, const Op&);
bool fst_register(Processor&, const Op&);
bool fstp_m32(Processor&, const Op&);
bool fstp_m64(Processor&, const Op&);
bool fstp_m80(Processor&, const Op&);
bool fstp_register(Processor&, const Op&);
bool fstp_register_silent(Processor&, const Op&);  // the alias at D9 /3, for which an empty ST(0) is no exception
bool fist_m16(Processor&, const Op&);
bool fist_m32(Processor&, const Op&);
bool fistp_m16(Processor&, const Op&);
bool fistp_m32(Processor&, const Op&);
bool fistp_m64(Processor&, const Op&);
bool fisttp_m16(Processor&, const Op&);
bool fisttp_m32(Processor&, const Op&);
bool fisttp_m64(Processor&, const Op&);
bool fbstp(Processor&, const Op&);

bool fxch(Processor&, const Op&);
// The last four are the opposites of the first.
enum class MoveIf : uint8_t { below, equal, below_or_equal, unordered, not_below, not_equal, not_below_or_equal, not_unordered };
bool move_if(Processor&, const Op&, MoveIf);
template <MoveIf condition>
bool fcmov(Processor& cpu, const Op& op) {
  return move_if(cpu, op, condition);
}

bool fincstp(Processor&, const Op&);
bool fdecstp(Processor&, const Op&);
bool ffree(Processor&, const Op&);
bool ffreep(Processor&, const Op&);  // FFREE, then a pop

}  // namespace matryoshka::x87
