// Every entry check has a case that violates it and nothing else in its stage comes first by accident: a good VMCS, one change,
// and the row is among those that fail. A row without a case fails the test.
#include <catch2/catch.hpp>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "devices/bus/bus.h"
#include "mmu/memory.h"
#include "vmx-model/checks.h"

using namespace matryoshka;
using namespace matryoshka::vmx;

namespace {

constexpr uint64_t page = 0x5000, beyond = uint64_t{1} << 39, non_canonical = uint64_t{1} << 60;

struct Sample {
  Bus bus;
  PhysicalMemory memory{uint64_t{1} << 20, bus};
  Capabilities capabilities;
  Vmcs v;
  bool long_mode = true;

  explicit Sample() {
    Platform platform;
    platform.cr4_allowed = 0x3727ff;
    platform.efer_allowed = 0xd01;
    platform.debugctl_allowed = 3;
    capabilities = Capabilities(Features::all(), platform);
    for (Word word : {Word::pin, Word::primary, Word::secondary, Word::exit, Word::entry})
      v.set(field_of(word), capabilities.required(word));
    v.address = 0x1000;
    set(Field::host_cr0, 0x80000021), set(Field::guest_cr0, 0x80000021);
    set(Field::host_cr4, 0x2020), set(Field::guest_cr4, 0x2020);
    for (unsigned i = 0; i < 7; ++i) set(nth(Field::host_es_selector, i), 8 + 8 * i);
    on(Control::exit_host_address_space_size), on(Control::entry_ia32e_mode_guest);
    for (unsigned i = 0; i < 6; ++i) set(nth(Field::guest_es_rights, i), 0xc093), set(nth(Field::guest_es_limit, i), 0xffffffff);
    set(Field::guest_cs_rights, 0xa09b);
    set(Field::guest_ldtr_rights, 0x10000);
    set(Field::guest_tr_rights, 0x8b), set(Field::guest_tr_limit, 0x67);
    set(Field::guest_rflags, 2);
    set(Field::link_pointer, ~uint64_t{0});
    set(Field::guest_pat, 0x0007040600070406), set(Field::host_pat, 0x0007040600070406);
  }
  void set(Field f, uint64_t value) { v.set(f, value); }
  void flip(Field f, uint64_t bits) { v.set(f, v[f] ^ bits); }
  void on(Control c) {
    if (info(c).word == Word::secondary) flip_on(Control::primary_secondary_controls);
    flip_on(c);
  }
  void off(Control c) { set(field_of(info(c).word), v[field_of(info(c).word)] & ~uint64_t{info(c).mask()}); }
  void flip_on(Control c) { set(field_of(info(c).word), v[field_of(info(c).word)] | info(c).mask()); }
  void inject(EventType type, uint8_t vector, bool error = false) {
    set(Field::entry_interruption_info, event_info(vector, type, error));
  }

  // Other kinds of guest
  void ept() { on(Control::secondary_ept), set(Field::eptp, page | 0x1e); }
  void unrestricted() { ept(), on(Control::secondary_unrestricted_guest); }
  void guest32() { off(Control::entry_ia32e_mode_guest), set(Field::guest_cs_rights, 0xc09b), set(Field::guest_cr4, 0x2000); }
  void host32() { guest32(), off(Control::exit_host_address_space_size), long_mode = false; }
  void v86() {
    guest32();
    set(Field::guest_rflags, 0x20002);
    for (unsigned i = 0; i < 6; ++i) {
      set(nth(Field::guest_es_selector, i), 0x100 * i), set(nth(Field::guest_es_base, i), 0x1000 * i);
      set(nth(Field::guest_es_limit, i), 0xffff), set(nth(Field::guest_es_rights, i), 0xf3);
    }
  }
  void ldtr() { set(Field::guest_ldtr_rights, 0x82), set(Field::guest_ldtr_limit, 0xff); }

  std::set<std::string> failing() {
    std::set<std::string> ids;
    for (const CheckRow* row : violations({v, capabilities, memory, long_mode, v.address})) ids.insert(row->id);
    return ids;
  }
};

using F = Field;
using C = Control;
// What makes a good VMCS of the right kind, and then the one thing that is wrong.
struct Case {
  std::function<void(Sample&)> kind, wrong;
};

void plain(Sample&) {}

std::map<std::string, Case> cases() {
  std::map<std::string, Case> all;
  auto add = [&](const std::string& id, std::function<void(Sample&)> wrong, std::function<void(Sample&)> kind = plain) {
    all[id] = {std::move(kind), std::move(wrong)};
  };
  auto field = [](Field f, uint64_t value) { return [=](Sample& s) { s.set(f, value); }; };
  auto with = [](Control c, Field f, uint64_t value) { return [=](Sample& s) { s.on(c), s.set(f, value); }; };

  // Controls
  add("pin_reserved", [](Sample& s) { s.flip(F::pin_controls, 1 << 8); });
  add("primary_reserved", [](Sample& s) { s.flip(F::primary_controls, 1 << 1); });
  add("secondary_reserved", [](Sample& s) { s.on(C::primary_secondary_controls), s.set(F::secondary_controls, 1 << 15); });
  add("cr3_target_count", field(F::cr3_target_count, 5));
  add("io_bitmap_a", with(C::primary_io_bitmaps, F::io_bitmap_a, page + 1));
  add("io_bitmap_b", with(C::primary_io_bitmaps, F::io_bitmap_b, beyond));
  add("msr_bitmap", with(C::primary_msr_bitmaps, F::msr_bitmap, page + 0x800));
  add("virtual_apic", with(C::primary_tpr_shadow, F::virtual_apic, page + 8));
  add("tpr_threshold_reserved", with(C::primary_tpr_shadow, F::tpr_threshold, 0x10));
  add("tpr_threshold", with(C::primary_tpr_shadow, F::tpr_threshold, 1));
  add("virtual_nmis", [](Sample& s) { s.on(C::pin_virtual_nmis); });
  add("nmi_window", [](Sample& s) { s.on(C::primary_nmi_window_exiting); });
  add("apic_access", with(C::secondary_apic_accesses, F::apic_access, page + 16));
  add("tpr_shadow_wanted", [](Sample& s) { s.on(C::secondary_virtual_interrupt_delivery); });
  add("x2apic_or_accesses", [](Sample& s) { s.on(C::secondary_x2apic_mode), s.on(C::secondary_apic_accesses); });
  add("vpid", [](Sample& s) { s.on(C::secondary_vpid); });
  add("eptp_type", field(F::eptp, page | 0x1c), [](Sample& s) { s.ept(); });
  add("eptp_walk_length", field(F::eptp, page | 0x16), [](Sample& s) { s.ept(); });
  add(
      "eptp_accessed_dirty",
      [](Sample& s) {
        Features without = Features::all();
        (void)without.set("vmx-eptad", false);
        s.capabilities = Capabilities(without, s.capabilities.platform());
        s.set(F::eptp, page | 0x5e);
      },
      [](Sample& s) { s.ept(); });
  add("eptp_reserved", field(F::eptp, page | 0x9e), [](Sample& s) { s.ept(); });
  add("unrestricted_guest", [](Sample& s) { s.on(C::secondary_unrestricted_guest); });
  add("exit_reserved", [](Sample& s) { s.flip(F::exit_controls, 1 << 0); });
  add("save_preemption_timer", [](Sample& s) { s.on(C::exit_save_preemption_timer); });
  for (auto [id, address, count] : {std::tuple{"exit_msr_store", F::exit_msr_store, F::exit_msr_store_count},
                                    {"exit_msr_load", F::exit_msr_load, F::exit_msr_load_count},
                                    {"entry_msr_load", F::entry_msr_load, F::entry_msr_load_count}})
    add(id, [address = address, count = count](Sample& s) { s.set(count, 1), s.set(address, page + 8); });
  add("entry_reserved", [](Sample& s) { s.flip(F::entry_controls, 1 << 30); });
  add("injection_type", [](Sample& s) { s.inject(static_cast<EventType>(1), 3); });
  add("injection_vector", [](Sample& s) { s.inject(EventType::nmi, 3); });
  add("injection_error_code", [](Sample& s) { s.inject(EventType::hardware_exception, 13, false); });
  add("injection_reserved",
      [](Sample& s) { s.inject(EventType::hardware_exception, 6), s.flip(F::entry_interruption_info, 1 << 12); });
  add("injection_error_bits",
      [](Sample& s) { s.inject(EventType::hardware_exception, 13, true), s.set(F::entry_error_code, 0x10000); });
  add("injection_length",
      [](Sample& s) { s.inject(EventType::software_interrupt, 0x80), s.set(F::entry_instruction_length, 16); });

  // Host state
  add("host_cr0", [](Sample& s) { s.flip(F::host_cr0, 1 << 5); });
  add("host_cr4", [](Sample& s) { s.flip(F::host_cr4, 1 << 13); });
  add("host_cr3", field(F::host_cr3, beyond));
  add("host_sysenter_esp", field(F::host_sysenter_esp, non_canonical));
  add("host_sysenter_eip", field(F::host_sysenter_eip, non_canonical));
  add("host_pat", with(C::exit_load_pat, F::host_pat, 2));
  add("host_efer", with(C::exit_load_efer, F::host_efer, 0x502));
  add("host_efer_mode", with(C::exit_load_efer, F::host_efer, 0x400));
  const char* names[] = {"es", "cs", "ss", "ds", "fs", "gs", "tr"};
  for (unsigned i = 0; i < 7; ++i)
    add("host_" + std::string(names[i]) + "_selector", field(nth(F::host_es_selector, i), 8 | 1 << i % 3));
  add("host_cs_null", field(F::host_cs_selector, 0));
  add("host_tr_null", field(F::host_tr_selector, 0));
  add("host_ss_null", field(F::host_ss_selector, 0), [](Sample& s) { s.host32(); });
  for (auto [id, f] : {std::pair{"host_fs_base", F::host_fs_base},
                       {"host_gs_base", F::host_gs_base},
                       {"host_gdtr_base", F::host_gdtr_base},
                       {"host_idtr_base", F::host_idtr_base},
                       {"host_tr_base", F::host_tr_base}})
    add(id, field(f, non_canonical));
  add("space_outside_long_mode", [](Sample& s) { s.long_mode = false; });
  add("space_in_long_mode", [](Sample& s) { s.off(C::exit_host_address_space_size); });
  add(
      "space_32_guest", [](Sample& s) { s.on(C::entry_ia32e_mode_guest); }, [](Sample& s) { s.host32(); });
  add(
      "space_32_pcide", [](Sample& s) { s.flip(F::host_cr4, 1 << 17); }, [](Sample& s) { s.host32(); });
  add("space_32_rip", field(F::host_rip, uint64_t{1} << 32), [](Sample& s) { s.host32(); });
  add("space_64_pae", [](Sample& s) { s.flip(F::host_cr4, 1 << 5); });
  add("space_64_rip", field(F::host_rip, non_canonical));

  // Guest registers
  add("guest_cr0_fixed", [](Sample& s) { s.flip(F::guest_cr0, 1 << 5); });
  add(
      "guest_cr0_paging", [](Sample& s) { s.flip(F::guest_cr0, 1); }, [](Sample& s) { s.unrestricted(), s.guest32(); });
  add("guest_cr4_fixed", [](Sample& s) { s.flip(F::guest_cr4, 1 << 13); });
  add("guest_debugctl", with(C::entry_load_debug_controls, F::guest_debugctl, 1 << 5));
  add("guest_ia32e_paging", [](Sample& s) { s.flip(F::guest_cr4, 1 << 5); });
  add(
      "guest_pcide", [](Sample& s) { s.flip(F::guest_cr4, 1 << 17); }, [](Sample& s) { s.guest32(); });
  add("guest_cr3", field(F::guest_cr3, beyond));
  add("guest_dr7", with(C::entry_load_debug_controls, F::guest_dr7, uint64_t{1} << 32));
  add("guest_sysenter_esp", field(F::guest_sysenter_esp, non_canonical));
  add("guest_sysenter_eip", field(F::guest_sysenter_eip, non_canonical));
  add("guest_pat", with(C::entry_load_pat, F::guest_pat, 0x300));
  add("guest_efer", with(C::entry_load_efer, F::guest_efer, 0x502));
  add("guest_efer_lma", with(C::entry_load_efer, F::guest_efer, 0));
  add("guest_efer_lme", with(C::entry_load_efer, F::guest_efer, 0x400));

  // Guest segments
  add("tr_selector", field(F::guest_tr_selector, 0x44));
  add("ldtr_selector", field(F::guest_ldtr_selector, 0x44), [](Sample& s) { s.ldtr(); });
  add("ss_selector", field(F::guest_ss_selector, 1));
  const char* places[] = {"es", "cs", "ss", "ds", "fs", "gs"};
  auto v86 = [](Sample& s) { s.v86(); };
  for (unsigned i = 0; i < 6; ++i) {
    const std::string name = places[i];
    const Field rights = nth(F::guest_es_rights, i), limit = nth(F::guest_es_limit, i), base = nth(F::guest_es_base, i);
    add(name + "_base_v86", field(base, 8), v86);
    add(name + "_limit_v86", field(limit, 0x1ffff), v86);
    add(name + "_rights_v86", field(rights, 0x93), v86);
    add(name + "_base", field(base, name == "fs" || name == "gs" ? non_canonical : uint64_t{1} << 32));
    add(name + "_type", [=](Sample& s) { s.flip(rights, 1); });
    add(name + "_s", [=](Sample& s) { s.flip(rights, 1 << 4); });
    add(name + "_present", [=](Sample& s) { s.flip(rights, 1 << 7); });
    add(name + "_reserved", [=](Sample& s) { s.flip(rights, 1 << 8); });
    add(name + "_granularity", field(limit, 0xffe));
    if (i != 1 && i != 2) add(name + "_dpl", field(nth(F::guest_es_selector, i), 3));
  }
  add("cs_dpl", field(F::guest_cs_rights, 0xa0fb));
  add("ss_dpl", [](Sample& s) { s.set(F::guest_ss_rights, 0xc0f3), s.set(F::guest_cs_rights, 0xa0fb); });
  add(
      "ss_dpl_0", [](Sample& s) { s.set(F::guest_ss_rights, 0xc0f3); },
      [](Sample& s) { s.unrestricted(), s.guest32(), s.set(F::guest_cr0, 0x20), s.set(F::guest_cs_rights, 0xc09f); });
  add("cs_size", [](Sample& s) { s.flip(F::guest_cs_rights, 1 << 14); });
  add("tr_base", field(F::guest_tr_base, non_canonical));
  add("ldtr_base", field(F::guest_ldtr_base, non_canonical), [](Sample& s) { s.ldtr(); });
  for (auto [id, bits] : {std::pair{"type", 9u}, {"s", 1u << 4}, {"present", 1u << 7}, {"reserved", 1u << 8}}) {
    add("tr_" + std::string(id), [bits = bits](Sample& s) { s.flip(F::guest_tr_rights, bits); });
    add(
        "ldtr_" + std::string(id), [bits = bits](Sample& s) { s.flip(F::guest_ldtr_rights, bits); }, [](Sample& s) { s.ldtr(); });
  }
  add("tr_granularity", [](Sample& s) { s.flip(F::guest_tr_rights, 1 << 15); });
  add("tr_usable", [](Sample& s) { s.flip(F::guest_tr_rights, 1 << 16); });
  add(
      "ldtr_granularity", [](Sample& s) { s.flip(F::guest_ldtr_rights, 1 << 15); }, [](Sample& s) { s.ldtr(); });
  add("gdtr_base", field(F::guest_gdtr_base, non_canonical));
  add("idtr_base", field(F::guest_idtr_base, non_canonical));
  add("gdtr_limit", field(F::guest_gdtr_limit, 0x10000));
  add("idtr_limit", field(F::guest_idtr_limit, 0x10000));

  // The rest of the guest's state
  add("rip_32", field(F::guest_rip, uint64_t{1} << 32), [](Sample& s) { s.guest32(); });
  add("rip_64", field(F::guest_rip, non_canonical));
  add("rflags_reserved", field(F::guest_rflags, 0));
  add("rflags_vm", field(F::guest_rflags, 0x20002));
  add("rflags_if", [](Sample& s) { s.inject(EventType::external_interrupt, 0x20); });
  add("activity_known", field(F::guest_activity, 4));
  add("activity_hlt_dpl", [](Sample& s) {
    s.set(F::guest_activity, 1), s.set(F::guest_ss_selector, 3), s.set(F::guest_cs_selector, 3);
    s.set(F::guest_ss_rights, 0xc0f3), s.set(F::guest_cs_rights, 0xa0fb);
  });
  add("activity_blocking", [](Sample& s) { s.set(F::guest_activity, 1), s.set(F::guest_interruptibility, 2); });
  add("activity_injection", [](Sample& s) { s.set(F::guest_activity, 2), s.inject(EventType::hardware_exception, 6); });
  add("interruptibility_reserved", field(F::guest_interruptibility, 1 << 5));
  add("blocking_both", [](Sample& s) { s.set(F::guest_interruptibility, 3), s.set(F::guest_rflags, 0x202); });
  add("blocking_sti_if", field(F::guest_interruptibility, 1));
  add("blocking_interrupt", [](Sample& s) {
    s.inject(EventType::external_interrupt, 0x20), s.set(F::guest_rflags, 0x202), s.set(F::guest_interruptibility, 1);
  });
  add("blocking_nmi_sti",
      [](Sample& s) { s.inject(EventType::nmi, 2), s.set(F::guest_rflags, 0x202), s.set(F::guest_interruptibility, 1); });
  add("blocking_nmi_mov_ss", [](Sample& s) { s.inject(EventType::nmi, 2), s.set(F::guest_interruptibility, 2); });
  add("blocking_smi", field(F::guest_interruptibility, 4));
  add("blocking_virtual_nmi", [](Sample& s) {
    s.on(C::pin_nmi_exiting), s.on(C::pin_virtual_nmis), s.inject(EventType::nmi, 2), s.set(F::guest_interruptibility, 8);
  });
  add("blocking_enclave", field(F::guest_interruptibility, 16));
  add("pending_debug_reserved", field(F::guest_pending_debug, 1 << 4));
  add("pending_debug_step", [](Sample& s) { s.set(F::guest_interruptibility, 2), s.set(F::guest_rflags, 0x102); });
  add("link_pointer_address", field(F::link_pointer, page + 1));
  add("link_pointer_revision", field(F::link_pointer, page));
  add("link_pointer_current", [](Sample& s) {
    uint32_t revision = Capabilities::revision;
    REQUIRE(s.memory.write(s.v.address, &revision, sizeof revision));
    s.set(F::link_pointer, s.v.address);
  });
  add("pdptes", field(F::guest_pdpte_1, 0x1e1), [](Sample& s) { s.guest32(), s.ept(), s.set(F::guest_cr4, 0x2020); });
  return all;
}

}  // namespace

TEST_CASE("VM entry: every check has a case that violates it", "[vmx]") {
  const auto all = cases();
  std::set<std::string> rows;
  for (unsigned i = 0; i < check_count; ++i) {
    const std::string id = check_rows[i].id;
    INFO(id);
    CHECK(rows.insert(id).second);
    REQUIRE(all.count(id) == 1);
    Sample good;
    all.at(id).kind(good);
    CHECK(good.failing() == std::set<std::string>{});
    Sample bad;
    all.at(id).kind(bad);
    all.at(id).wrong(bad);
    CHECK(bad.failing().count(id) == 1);
    CHECK(std::string(check_rows[i].sentence).size() > 10);
    CHECK(check_rows[i].fields[0] != Field::count);
  }
  for (const auto& [id, unused] : all) CHECK(rows.count(id) == 1);
}

TEST_CASE("VM entry: an unrestricted guest may be in real-address mode", "[vmx]") {
  Sample s;
  s.unrestricted();
  s.guest32();
  s.set(Field::guest_cr0, 0x20);
  s.set(Field::guest_cs_rights, 0x93), s.set(Field::guest_cs_limit, 0xffff);
  CHECK(s.failing() == std::set<std::string>{});
  s.off(Control::secondary_unrestricted_guest);
  CHECK(s.failing().count("guest_cr0_fixed") == 1);
}
