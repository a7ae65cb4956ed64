#include "cpu/system/cpuid.h"

#include <bit>
#include <cstring>

#include "cpu/ops/extended_state.h"
#include "cpu/system/local_apic.h"

namespace matryoshka {
namespace {

constexpr uint32_t any = 0xffffffff, max_extended_leaf = 0x80000008, cache_line = 64;

constexpr uint64_t misc_enable_limit_cpuid = uint64_t{1} << 22, misc_enable_xd_disable = uint64_t{1} << 34;

// Leaf 4's caches. The last level is shared by all processors.
struct Cache {
  uint32_t type;  // 1 data, 2 instructions, 3 both
  uint32_t level, kilobytes, ways;
  bool shared;
};
constexpr Cache caches[] = {{1, 1, 32, 8, false}, {2, 1, 32, 8, false}, {3, 2, 256, 8, false}, {3, 3, 8192, 16, true}};

struct Question {
  const CpuModel& model;
  const CpuState& state;
  uint32_t apic_id, leaf, subleaf;

  bool has(Feature f) const { return model.features.has(f); }

  uint32_t max_leaf() const { return state.msr.misc_enable & misc_enable_limit_cpuid ? 2 : model.max_leaf; }
  static uint32_t text(const std::string& from, size_t at, char fill) {
    char characters[4];
    for (size_t i = 0; i < 4; ++i) characters[i] = at + i < from.size() ? from[at + i] : fill;
    uint32_t value;
    std::memcpy(&value, characters, 4);
    return value;
  }
  uint32_t vendor(size_t at) const { return text(model.vendor, at, ' '); }
  uint32_t brand(size_t at) const { return text(model.brand, at, '\0'); }

  uint32_t signature() const {
    uint32_t base = model.family < 15 ? model.family : 15, extended = model.family - base;
    return extended << 20 | model.model >> 4 << 16 | base << 8 | (model.model & 15) << 4 | model.stepping;
  }
  uint32_t logical_processors() const { return std::bit_ceil(model.processors); }
  uint32_t multithreading() const { return model.processors > 1 ? 1u << 28 : 0; }
  uint32_t osxsave() const { return has(Feature::XSAVE) && state.cr4 & cr4::OSXSAVE ? 1u << 27 : 0; }
  uint32_t ospke() const { return has(Feature::PKU) && state.cr4 & cr4::PKE ? 1u << 4 : 0; }
  uint32_t has_monitor(uint32_t value) const { return has(Feature::MONITOR) ? value : 0; }
  uint32_t package_shift() const { return static_cast<uint32_t>(std::bit_width(model.processors - 1)); }
  static uint32_t megahertz() { return uint64_t{CpuModel::crystal_hertz} * CpuModel::tsc_per_crystal / 1'000'000; }

  const Cache& cache() const { return caches[subleaf & 3]; }
  uint32_t cache_type() const {
    constexpr uint32_t self_initializing = 1 << 8;
    uint32_t sharing = cache().shared ? logical_processors() - 1 : 0;
    return (logical_processors() - 1) << 26 | sharing << 14 | self_initializing | cache().level << 5 | cache().type;
  }
  uint32_t cache_ways() const { return (cache().ways - 1) << 22 | (cache_line - 1); }
  uint32_t cache_sets() const { return cache().kilobytes * 1024 / cache_line / cache().ways - 1; }
  uint32_t cache_traits() const { return cache().shared ? 2 : 0; }  // inclusive of lower levels

  uint32_t xcr0_allowed() const { return static_cast<uint32_t>(supported_xcr0(model.features)); }
  uint32_t xsave_bytes(uint64_t components) const { return has(Feature::XSAVE) ? extended_state::standard_bytes(components) : 0; }
  uint32_t compacted_bytes() const {
    return has(Feature::XSAVEC) || has(Feature::XSAVES) ? extended_state::compacted_bytes(state.xcr0 | state.msr.xss) : 0;
  }
  uint32_t has_pkru(uint32_t value) const { return xcr0_allowed() & xcr0::pkru ? value : 0; }

  // "INPUT EAX: Initial Value ... CPUID returns the data for the highest basic information leaf."
  void stay_in_range() {
    bool known = leaf <= max_leaf() || (leaf >= 0x80000000 && leaf <= max_extended_leaf);
    if (!known) leaf = max_leaf();
  }
};

// Flags that are absent for the moment though the model has them.
bool hidden(const Question& c, Feature f) {
  if (f == Feature::APIC) return !(c.state.msr.apic_base & LocalApic::base_enable);
  if (f == Feature::NX) return c.state.msr.misc_enable & misc_enable_xd_disable;
  return false;
}

void add_features(const Question& c, CpuidResult& r) {
  uint32_t* registers[] = {&r.eax, &r.ebx, &r.ecx, &r.edx};
  bool heeds_subleaf = c.leaf == 7 || c.leaf == 0xd;
  for (const FeatureInfo& info : feature_table)
    if (info.leaf == c.leaf && (!heeds_subleaf || info.subleaf == c.subleaf) && c.has(info.feature) && !hidden(c, info.feature))
      *registers[static_cast<unsigned>(info.reg)] |= 1u << info.bit;
}

}  // namespace

uint64_t supported_xcr0(const FeatureSet& features) {
  if (!features.has(Feature::XSAVE)) return 0;
  return xcr0::x87 | xcr0::sse | (features.has(Feature::PKU) ? xcr0::pkru : 0);
}

CpuidResult cpuid(const CpuModel& model, const CpuState& state, uint32_t apic_id, uint32_t leaf, uint32_t subleaf) {
  Question c{model, state, apic_id, leaf, subleaf};
  c.stay_in_range();
  CpuidResult r;
#define LEAF(number, first, last, title, a, b, cx, d)                \
  if (c.leaf == number && c.subleaf >= first && c.subleaf <= last) { \
    r = {uint32_t{a}, uint32_t{b}, uint32_t{cx}, uint32_t{d}};       \
  }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtype-limits"
#include "cpu/cpuid.def"
#pragma GCC diagnostic pop
#undef LEAF
  add_features(c, r);
  return r;
}

}  // namespace matryoshka
