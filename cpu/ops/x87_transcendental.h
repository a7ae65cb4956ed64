// "x87 FPU Transcendental Instructions"
#pragma once

namespace matryoshka {
class Processor;
struct Op;
}  // namespace matryoshka

namespace matryoshka::x87 {

bool f2xm1(Processor&, const Op&);
bool fyl2x(Processor&, const Op&);
bool fyl2xp1(Processor&, const Op&);
bool fpatan(Processor&, const Op&);
bool fsin(Processor&, const Op&);
bool fcos(Processor&, const Op&);
bool fsincos(Processor&, const Op&);
bool fptan(Processor&, const Op&);

}  // namespace matryoshka::x87
