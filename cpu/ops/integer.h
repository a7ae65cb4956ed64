// Integer instructions that are plain functions: rare, or too large for a text.
#pragma once

namespace matryoshka {

class Processor;
struct Op;

namespace integer {
// divide.cpp
bool div(Processor&, const Op&);
bool idiv(Processor&, const Op&);
// decimal.cpp
bool daa(Processor&, const Op&);
bool das(Processor&, const Op&);
bool aaa(Processor&, const Op&);
bool aas(Processor&, const Op&);
bool aam(Processor&, const Op&);
bool aad(Processor&, const Op&);
// stack.cpp
bool pop_memory(Processor&, const Op&);
bool push_all(Processor&, const Op&);
bool pop_all(Processor&, const Op&);
bool enter(Processor&, const Op&);
bool xlat(Processor&, const Op&);
bool compare_exchange_pair(Processor&, const Op&);  // CMPXCHG8B, CMPXCHG16B
// scatter.cpp
bool pdep(Processor&, const Op&);
bool pext(Processor&, const Op&);
}  // namespace integer
}  // namespace matryoshka
