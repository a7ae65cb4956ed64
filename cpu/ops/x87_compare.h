// "x87 FPU Comparison Instructions", with FXAM.
#pragma once

namespace matryoshka {
class Processor;
struct Op;
}  // namespace matryoshka

namespace matryoshka::x87 {

bool fcom_m32(Processor&, const Op&);
bool fcom_m64(Processor&, const Op&);
bool fcom_register(Processor&, const Op&);
bool fcomp_m32(Processor&, const Op&);
bool fcomp_m64(Processor&, const Op&);
bool fcomp_register(Processor&, const Op&);
bool fcompp(Processor&, const Op&);
bool ficom_m16(Processor&, const Op&);
bool ficom_m32(Processor&, const Op&);
bool ficomp_m16(Processor&, const Op&);
bool ficomp_m32(Processor&, const Op&);
bool fucom(Processor&, const Op&);
bool fucomp(Processor&, const Op&);
bool fucompp(Processor&, const Op&);
bool fcomi(Processor&, const Op&);
bool fcomip(Processor&, const Op&);
bool fucomi(Processor&, const Op&);
bool fucomip(Processor&, const Op&);
bool ftst(Processor&, const Op&);
bool fxam(Processor&, const Op&);

}  // namespace matryoshka::x87
