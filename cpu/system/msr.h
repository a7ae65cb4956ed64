// RDMSR and WRMSR, for instructions and for whoever loads MSRs from lists; the registers stand in cpu/msr.def.
#pragma once

#include <cstdint>

namespace matryoshka {

class Processor;
struct CpuModel;
struct CpuState;

// False is #GP(0), which is left to the caller to raise; then nothing has changed.
[[nodiscard]] bool read_msr(Processor& cpu, uint32_t number, uint64_t& value);
[[nodiscard]] bool write_msr(Processor& cpu, uint32_t number, uint64_t value);

// The name in cpu/msr.def, for messages and the inspector; null if there is no such register in the table.
const char* msr_name(uint32_t number);

// The revision of the microcode update that CPUID leaf 1 puts into IA32_BIOS_SIGN_ID. Higher than any that Linux's lists of
// bad ones know: an old one would cost a Haswell the TSC deadline timer.
constexpr uint32_t microcode_revision = 0x100;

// The memory types as a BIOS leaves them behind, for boots without one: RAM write-back, ROM write-protected, video memory
// and everything from `hole` to 4 GiB uncached. Linux does without the PAT if the MTRRs are off. `hole` is a multiple of
// 1 MiB.
void set_firmware_memory_types(CpuState& state, const CpuModel& model, uint64_t hole);

}  // namespace matryoshka
