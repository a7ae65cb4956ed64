// The tables of VT-x against numbers of the manual, and what follows from them.
#include "cpu/system/vmx.h"

#include <catch2/catch.hpp>
#include <set>
#include <string>

#include "cpu/model.h"
#include "vmx-model/capabilities.h"
#include "vmx-model/cause.h"
#include "vmx-model/exit.h"

using namespace matryoshka;
using namespace matryoshka::vmx;

namespace {

Capabilities capabilities_of(const char* text) {
  CpuModel model;
  std::string error;
  REQUIRE(CpuModel::parse(text, model, error));
  return system::vmx_capabilities(model);
}

uint64_t msr(const Capabilities& c, uint32_t number) {
  uint64_t value = 0;
  REQUIRE(c.read_msr(number, value));
  return value;
}

}  // namespace

TEST_CASE("VMCS: encodings are those of the manual", "[vmx]") {
  static constexpr struct {
    Field field;
    uint32_t encoding;
  } known[] = {
      {Field::vpid, 0x0000},
      {Field::guest_tr_selector, 0x080e},
      {Field::host_tr_selector, 0x0c0c},
      {Field::msr_bitmap, 0x2004},
      {Field::eptp, 0x201a},
      {Field::guest_physical_address, 0x2400},
      {Field::link_pointer, 0x2800},
      {Field::guest_pdpte_3, 0x2810},
      {Field::host_efer, 0x2c02},
      {Field::pin_controls, 0x4000},
      {Field::secondary_controls, 0x401e},
      {Field::instruction_error, 0x4400},
      {Field::exit_instruction_info, 0x440e},
      {Field::preemption_timer, 0x482e},
      {Field::host_sysenter_cs, 0x4c00},
      {Field::cr3_target_3, 0x600e},
      {Field::exit_qualification, 0x6400},
      {Field::guest_linear_address, 0x640a},
      {Field::guest_sysenter_eip, 0x6826},
      {Field::host_rip, 0x6c16},
  };
  for (const auto& [field, encoding] : known) {
    INFO(info(field).name);
    CHECK(info(field).encoding() == encoding);
  }
}

TEST_CASE("VMCS: each encoding leads back to its field, and others to none", "[vmx]") {
  unsigned found = 0;
  for (uint32_t encoding = 0; encoding < 0x10000; ++encoding) {
    const Field f = find_field(encoding);
    if (f == Field::count) continue;
    ++found;
    CHECK((info(f).encoding() | (encoding & 1)) == encoding);
    if (encoding & 1) CHECK(info(f).width == Width::quad);
  }
  unsigned quads = 0;
  for (unsigned i = 0; i < field_count; ++i) quads += info(static_cast<Field>(i)).width == Width::quad;
  CHECK(found == field_count + quads);
}

TEST_CASE("VMX: the capability MSRs are consistent", "[vmx]") {
  for (const char* text : {"matryoshka", "matryoshka,-vmx-ept", "matryoshka,-vmx-vpid", "matryoshka,-vmx-secondary-ctls",
                           "matryoshka,-vmx-vnmi", "nehalem,+vmx"}) {
    INFO(text);
    const Capabilities c = capabilities_of(text);
    // What must be 1 may be 1, and the TRUE registers only relax what must be.
    for (auto [plain, exact] : {std::pair{0x481u, 0x48du}, {0x482u, 0x48eu}, {0x483u, 0x48fu}, {0x484u, 0x490u}}) {
      const uint64_t p = msr(c, plain), e = msr(c, exact);
      CHECK(((p & ~(p >> 32)) & 0xffffffff) == 0);
      CHECK(p >> 32 == e >> 32);
      CHECK((static_cast<uint32_t>(e) & ~static_cast<uint32_t>(p)) == 0);
    }
    // "VM entry and VM exit controls ... in pairs".
    CHECK(c.has(Control::entry_load_efer) == c.has(Control::exit_load_efer));
    CHECK(c.has(Control::entry_load_pat) == c.has(Control::exit_load_pat));
    uint64_t ignored;
    const bool nested_paging = c.has(Control::secondary_ept), tags = c.has(Control::secondary_vpid);
    CHECK(c.read_msr(0x48c, ignored) == (nested_paging || tags));
    if (nested_paging || tags) {
      CHECK(((ignored & 0xffffffff) != 0) == nested_paging);
      CHECK((ignored >> 32 != 0) == tags);
    }
    CHECK((msr(c, 0x480) >> 32 & 0x1fff) == 4096);
    // IA32_VMX_VMCS_ENUM: the highest index that VMREAD knows.
    uint64_t highest = 0;
    for (unsigned i = 0; i < field_count; ++i)
      if (c.has(static_cast<Field>(i))) highest = std::max<uint64_t>(highest, info(static_cast<Field>(i)).index);
    CHECK(msr(c, 0x48a) == highest << 1);
  }
}

TEST_CASE("VMX: a feature that is taken away takes along what needs it", "[vmx]") {
  const Capabilities c = capabilities_of("matryoshka,-vmx-ept");
  CHECK_FALSE(c.has(Control::secondary_ept));
  CHECK_FALSE(c.has(Control::secondary_unrestricted_guest));
  CHECK_FALSE(c.has(Capability::invept));
  CHECK_FALSE(c.has(Field::eptp));
  CHECK(c.has(Control::secondary_vpid));
  const Capabilities none = capabilities_of("matryoshka,-vmx-secondary-ctls");
  CHECK(none.allowed(Word::secondary) == 0);
  CHECK_FALSE(none.has(Capability::invvpid));
}

TEST_CASE("VMX: every flag of -cpu names one row", "[vmx]") {
  std::set<std::string> flags;
  for (const ControlInfo& row : control_table) CHECK(flags.insert(row.flag).second);
  for (const CapabilityInfo& row : capability_table) CHECK(flags.insert(row.flag).second);
}

TEST_CASE("VMX: every cause can be said", "[vmx]") {
  for (unsigned kind = 0; kind < Cause::count; ++kind)
    CHECK(Cause(static_cast<Cause::Kind>(kind)).describe() != "an unknown cause");
  CHECK(Cause(Control::primary_hlt_exiting).describe() == "HLT exiting (Primary processor-based VM-execution controls, bit 7)");
}
