// Instructions that ask the processor about itself, its clocks and its dice, or order memory: the rows of isa/model.def.
#pragma once

namespace matryoshka {

class Processor;
struct Op;

namespace model_ops {

bool cpuid(Processor&, const Op&);
bool rdmsr(Processor&, const Op&);
bool wrmsr(Processor&, const Op&);
bool rdtsc(Processor&, const Op&);
bool rdtscp(Processor&, const Op&);
bool rdpmc(Processor&, const Op&);
bool rdpid(Processor&, const Op&);
bool rdrand(Processor&, const Op&);
bool rdseed(Processor&, const Op&);
bool monitor(Processor&, const Op&);
bool mwait(Processor&, const Op&);
bool xgetbv(Processor&, const Op&);
bool xsetbv(Processor&, const Op&);
bool invd(Processor&, const Op&);
bool wbinvd(Processor&, const Op&);
bool flush_line(Processor&, const Op&);  // CLFLUSH, CLFLUSHOPT

}  // namespace model_ops
}  // namespace matryoshka
