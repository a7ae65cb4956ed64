// CPUID feature flags by name; features.def is the table.
#pragma once

#include <bitset>
#include <cstdint>

namespace matryoshka {

enum class Feature : uint8_t {
  BASE,
#define FEATURE(name, leaf, subleaf, reg, bit, linux_name) name,
#include "cpu/features.def"
#undef FEATURE
  count
};

struct FeatureSet {
  std::bitset<static_cast<size_t>(Feature::count)> bits;
  FeatureSet() { set(Feature::BASE); }
  bool has(Feature f) const { return bits[static_cast<size_t>(f)]; }
  void set(Feature f, bool on = true) { bits[static_cast<size_t>(f)] = on; }
};

struct FeatureInfo {
  Feature feature;
  const char* name;
  uint32_t leaf, subleaf;
  enum class Register : uint8_t { eax, ebx, ecx, edx } reg;
  uint8_t bit;
  const char* linux_name;
};

inline constexpr FeatureInfo feature_table[] = {
#define FEATURE(name, leaf, subleaf, reg, bit, linux_name) \
  {Feature::name, #name, leaf, subleaf, FeatureInfo::Register::reg, bit, linux_name},
#include "cpu/features.def"
#undef FEATURE
};

}  // namespace matryoshka
