// What CPUID answers; the leaves stand in cpu/cpuid.def.
#pragma once

#include "cpu/model.h"
#include "cpu/state/state.h"

namespace matryoshka {

// `apic_id` is the initial APIC ID of the processor that asks.
CpuidResult cpuid(const CpuModel& model, const CpuState& state, uint32_t apic_id, uint32_t leaf, uint32_t subleaf);

// The bits that XCR0 may hold on this model.
uint64_t supported_xcr0(const FeatureSet& features);

}  // namespace matryoshka
