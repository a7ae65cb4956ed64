// What a processor's VMX can do, and the capability MSRs that tell software so: "VMX Capability Reporting Facility".
//
// One set of features, taken from controls.def and capabilities.def and thinned by -cpu; every MSR is computed from it, so that
// the pairs that software compares (plain and TRUE, entry and exit) cannot disagree.
#pragma once

#include <bitset>
#include <cstdint>
#include <string_view>

#include "vmx-model/fields.h"

namespace matryoshka::vmx {

enum class Capability : uint8_t {
#define CAPABILITY(reg, bit, name, support, needs, flag, title) name,
#include "vmx-model/capabilities.def"
#undef CAPABILITY
  count
};
constexpr unsigned capability_count = static_cast<unsigned>(Capability::count);

enum class CapabilityRegister : uint8_t { misc, ept_vpid };
struct CapabilityInfo {
  const char* name;
  CapabilityRegister reg;
  uint8_t bit;
  Support support;
  Control needs;
  const char* flag;
  const char* title;
};
extern const CapabilityInfo capability_table[capability_count];

// Which rows a processor has.
class Features {
 public:
  bool has(Control c) const { return controls_[static_cast<size_t>(c)]; }
  bool has(Capability c) const { return capabilities_[static_cast<size_t>(c)]; }

  // All that this project has.
  static Features all();
  // A flag of the tables, on or off, with what cannot be without it. False if no row has it, or none that is supported.
  enum class Answer : uint8_t { ok, unknown, unsupported };
  Answer set(std::string_view flag, bool on);

 private:
  void drop_dependents();
  std::bitset<control_count> controls_;
  std::bitset<capability_count> capabilities_;
};

// What the rest of the processor has, as far as VMX must know it.
struct Platform {
  unsigned physical_bits = 39, linear_bits = 48;
  uint64_t cr4_allowed = 0;  // bits that the processor lets CR4 have
  uint64_t efer_allowed = 0;
  uint64_t debugctl_allowed = 0;
};

class Capabilities {
 public:
  Capabilities() = default;
  Capabilities(const Features& features, const Platform& platform);

  bool has(Control c) const { return features_.has(c); }
  bool has(Capability c) const { return features_.has(c); }
  bool has(Field f) const { return info(f).needs == Control::count || has(info(f).needs); }
  const Platform& platform() const { return platform_; }

  // Bits that must be 1 and bits that may be 1, as the TRUE capability MSRs have them.
  uint32_t required(Word word) const { return required_[static_cast<unsigned>(word)]; }
  uint32_t allowed(Word word) const { return allowed_[static_cast<unsigned>(word)]; }

  static constexpr uint32_t revision = 0x004d4b31;  // of the VMCS format: what the first doubleword of a region must be
  static constexpr unsigned region_size = 4096, most_cr3_targets = 4, timer_rate = 5;
  static constexpr uint64_t cr0_fixed0 = 0x80000021, cr0_fixed1 = 0xffffffff, cr4_fixed0 = 0x2000;

  // The MSRs 480h to 491h; false where there is none.
  static constexpr uint32_t first_msr = 0x480, msr_count = 0x12;
  bool read_msr(uint32_t number, uint64_t& value) const;

  bool physical(uint64_t address) const { return address >> platform_.physical_bits == 0; }
  bool canonical(uint64_t address) const {
    const unsigned unused = 64 - platform_.linear_bits;
    return static_cast<uint64_t>(static_cast<int64_t>(address << unused) >> unused) == address;
  }

 private:
  Features features_;
  Platform platform_;
  uint32_t required_[word_count] = {}, allowed_[word_count] = {};
  uint64_t misc_ = 0, ept_vpid_ = 0, highest_index_ = 0;
};

}  // namespace matryoshka::vmx
