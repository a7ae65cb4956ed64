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
bool random(Processor&, const Op&);  // RDRAND and RDSEED
bool monitor(Processor&, const Op&);
bool mwait(Processor&, const Op&);
bool xgetbv(Processor&, const Op&);
bool xsetbv(Processor&, const Op&);
bool flush_caches(Processor&, const Op&);  // INVD, WBINVD
bool flush_line(Processor&, const Op&);    // CLFLUSH, CLFLUSHOPT

}  // namespace model_ops
}  // namespace matryoshka
