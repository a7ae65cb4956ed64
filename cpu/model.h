// CPU models by name: what CPUID and the capability MSRs say, and which rows of the instruction table exist.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cpu/features.h"
#include "vmx-model/capabilities.h"

namespace matryoshka {

struct CpuidResult {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

struct CpuModel {
  std::string name;
  std::string vendor = "GenuineIntel";
  std::string brand;
  unsigned family = 6, model = 60, stepping = 3;
  FeatureSet features;
  vmx::Features vmx;  // what VMX has, where there is VMX
  unsigned physical_bits = 39, linear_bits = 48;
  uint32_t max_leaf = 0x16;  // highest basic CPUID leaf
  unsigned processors = 1;   // in the machine, each a core of its own in one package: CPUID tells of them

  // "haswell,+avx,-sse4_2": a row of the model table with flags added and taken away. On failure `error` is a sentence.
  static bool parse(std::string_view text, CpuModel& model, std::string& error);
  static std::string list();  // names and descriptions, for --help

  // The TSC runs at 1 GHz, from a 25 MHz crystal that also drives the APIC timer; CPUID.15H says so.
  static constexpr uint32_t crystal_hertz = 25'000'000, tsc_per_crystal = 40;
};

}  // namespace matryoshka
