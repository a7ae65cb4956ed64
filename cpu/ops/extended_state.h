// FXSAVE and XSAVE with their relatives: "Managing State Using the XSAVE Feature Set".
#pragma once

#include <cstdint>

namespace matryoshka {

class Processor;
struct Op;
struct CpuState;

namespace extended_state {

// Where CPUID.0DH says that things are.
constexpr unsigned legacy_bytes = 512, header_bytes = 64;
constexpr unsigned pkru_offset = 2688, pkru_bytes = 8;  // in the standard format; the place that debuggers know by heart

// Sizes for CPUID.0DH: of the standard format with the components of XCR0, of the compacted one with those of XCR0 and IA32_XSS.
unsigned standard_bytes(uint64_t components);
unsigned compacted_bytes(uint64_t components);
// XINUSE: the components that are not in their initial configuration; also XGETBV with ECX = 1, after AND with XCR0.
uint64_t in_use(const CpuState& state);

bool fxsave(Processor&, const Op&);
bool fxrstor(Processor&, const Op&);
bool xsave(Processor&, const Op&);
bool xsaveopt(Processor&, const Op&);
bool xsavec(Processor&, const Op&);
bool xsaves(Processor&, const Op&);
bool xrstor(Processor&, const Op&);
bool xrstors(Processor&, const Op&);

bool read_pkru(Processor&, const Op&);   // RDPKRU
bool write_pkru(Processor&, const Op&);  // WRPKRU

}  // namespace extended_state
}  // namespace matryoshka
