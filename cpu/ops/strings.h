// MOVS CMPS STOS LODS SCAS, with and without REP.
#pragma once

#include <cstdint>

namespace matryoshka {

class Processor;
struct Op;

namespace string {
bool movs(Processor&, const Op&);
bool cmps(Processor&, const Op&);
bool stos(Processor&, const Op&);
bool lods(Processor&, const Op&);
bool scas(Processor&, const Op&);
}  // namespace string
}  // namespace matryoshka
