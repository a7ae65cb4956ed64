// "x87 FPU Control Instructions": words, environment, the whole state. Those with N in their names do not wait.
#pragma once

namespace matryoshka {
class Processor;
struct Op;
}  // namespace matryoshka

namespace matryoshka::x87 {

bool fninit(Processor&, const Op&);
bool fnclex(Processor&, const Op&);
bool fldcw(Processor&, const Op&);
bool fnstcw(Processor&, const Op&);
bool fnstsw_m16(Processor&, const Op&);
bool fnstsw_ax(Processor&, const Op&);
bool fnstenv(Processor&, const Op&);
bool fldenv(Processor&, const Op&);
bool fnsave(Processor&, const Op&);
bool frstor(Processor&, const Op&);
bool fnop(Processor&, const Op&);
bool fwait(Processor&, const Op&);
bool ignored(Processor&, const Op&);  // FNENI, FNDISI, FNSETPM: of the 8087 and 80287

}  // namespace matryoshka::x87
