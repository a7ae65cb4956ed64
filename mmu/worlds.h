// Translations of several worlds at once: "Caching Translation Information" for VMX.
//
// A translation belongs to the world that made it: to VMX root operation, or to a guest, named by its VPID and by the EPT that it
// ran under. VM entries and exits only change worlds and forget nothing. The sets of root operation and those of the present
// guest stand at addresses of their own, which compiled code knows, so going from one to the other costs nothing. When another
// guest is entered (a hypervisor with several, or one inside another) the translations of the one before are put to sleep as
// short lists: what was known, without the tags that let fast accesses through. So whatever takes tags away (a page that gets
// code, a snapshot, a watch point) has to look at the live sets only, and a translation that wakes up opens its tags by the slow
// path when it is first used.
//
// A guest's PCID makes another world as well where an entry brings it; a guest that changes its PCID itself forgets what it knew,
// as root operation does. A translation also has the rights in it that CR0.WP, CR4.SMAP and the like gave when it was made, so a
// world is a different one where these differ.
//
// VPID 0 is what a guest without VPIDs has, and root operation: both forget everything at each transition.
#pragma once

#include <cstdint>
#include <vector>

#include "mmu/tlb.h"

namespace matryoshka {

// The sets of one world, by who accesses: user, supervisor, supervisor with AC set (SMAP lets it through).
struct TlbSets {
  TlbSet user_data, supervisor_data, supervisor_ac_data;
  TlbSet user_code, supervisor_code;

  static constexpr unsigned count = 5;
  TlbSet& at(unsigned i) {
    TlbSet* all[count] = {&user_data, &supervisor_data, &supervisor_ac_data, &user_code, &supervisor_code};
    return *all[i];
  }
  template <class What>
  void each(What what) {
    for (unsigned i = 0; i < count; ++i) what(at(i));
  }
};

struct World {
  uint16_t vpid = 0, pcid = 0;
  uint64_t ept_root = none;  // bits 51:12 of the EPTP, or none
  // What its translations were made under. Hardware looks at CR0.WP and its like with each access; here they are in the entries.
  uint64_t rights = 0;
  static constexpr uint64_t none = ~uint64_t{0};
  bool operator==(const World&) const = default;
};

// What root operation's translations were made under.
struct RootContext {
  uint64_t rights = 0;
  uint16_t pcid = 0;
  bool operator==(const RootContext&) const = default;
};

class Worlds {
 public:
  TlbSets& root_sets() { return root_; }
  TlbSets& guest_sets() { return guest_; }

  // For tests.
  void limit_entries(unsigned most) {
    for (TlbSets* sets : {&root_, &guest_}) sets->each([=](TlbSet& set) { set.most_used = static_cast<uint16_t>(most); });
  }

  bool in_guest() const { return in_guest_; }
  void enter_guest(const World& world, const RootContext& left);
  // The guest may have changed what its translations are made under.
  void leave_guest(uint64_t rights, uint16_t pcid) { present_.rights = rights, present_.pcid = pcid; }
  void enter_root(const RootContext& entered);
  void forget_everything();

  // "INVEPT": all that was made under one EPT, or under any.
  void invalidate_ept(uint64_t ept_root);
  void invalidate_every_ept();
  // "INVVPID": for one VPID, an address or all of it, perhaps without global pages; for every VPID but 0.
  void invalidate_vpid_address(uint16_t vpid, uint64_t address);
  void invalidate_vpid(uint16_t vpid, bool keep_global);
  void invalidate_every_vpid();

  // Invalidations that instructions ask for in the present world. They reach what its VPID has under other EPTs as well.
  template <class Live, class Doomed>
  void flush_present(Live live, Doomed doomed) {
    if (!in_guest_) return root_.each(live);
    guest_.each(live);
    for (Sleeper& s : sleepers_)
      if (s.world.vpid == present_.vpid) s.drop_if(doomed);
  }
  // What the present guest knew under other PCIDs.
  void forget_sleepers() {
    std::erase_if(sleepers_, [this](const Sleeper& s) { return in_guest_ && s.world.vpid == present_.vpid; });
  }
  template <class What>
  void each_live_data(What what) {
    for (TlbSets* sets : {&root_, &guest_}) what(sets->user_data), what(sets->supervisor_data), what(sets->supervisor_ac_data);
  }

  uint64_t switches = 0;  // a statistic: how often one guest's translations made room for another's

 private:
  struct Known {
    uint64_t page, info;
  };
  struct Sleeper {
    World world;
    std::vector<Known> known[TlbSets::count];
    template <class Doomed>
    void drop_if(Doomed doomed) {
      for (auto& list : known) std::erase_if(list, [&](const Known& k) { return doomed(TlbEntry{0, 0, 0, k.info}, k.page); });
    }
  };
  static constexpr unsigned most_sleepers = 8;

  template <class Doomed>
  void drop(bool (*of)(const World&, uint64_t), uint64_t name, Doomed doomed);
  void put_to_sleep();
  void wake(const World& world);

  TlbSets root_, guest_;
  World present_;  // whose translations the guest sets hold
  bool in_guest_ = false;
  RootContext left_;
  std::vector<Sleeper> sleepers_;  // the one that slept longest first
};

}  // namespace matryoshka
