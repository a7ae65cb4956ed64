// Which bits control registers and IA32_EFER may have, by the processor's features.
#pragma once

#include <cstdint>

#include "cpu/model.h"

namespace matryoshka {

namespace system {
uint64_t supported_cr4(const CpuModel& model);
}
uint64_t supported_efer(const FeatureSet& features);

}  // namespace matryoshka
