#include "mmu/worlds.h"

#include <algorithm>

namespace matryoshka {

void Worlds::enter_guest(const World& world, const RootContext& left) {
  in_guest_ = true;
  left_ = left;
  if (world != present_) {
    put_to_sleep();
    wake(world);
    present_ = world;
  }
  if (world.vpid != 0) return;
  root_.each([](TlbSet& s) { s.flush(false); });
  guest_.each([](TlbSet& s) { s.flush(false); });
}

void Worlds::enter_root(const RootContext& entered) {
  in_guest_ = false;
  if (entered != left_) root_.each([](TlbSet& s) { s.flush(false); });
  if (present_.vpid != 0) return;
  root_.each([](TlbSet& s) { s.flush(false); });
  guest_.each([](TlbSet& s) { s.flush(false); });
}

void Worlds::forget_everything() {
  root_.each([](TlbSet& s) { s.flush(false); });
  guest_.each([](TlbSet& s) { s.flush(false); });
  sleepers_.clear();
}

void Worlds::put_to_sleep() {
  Sleeper sleeper{present_, {}};
  bool knows_any = false;
  for (unsigned i = 0; i < TlbSets::count; ++i) {
    TlbSet& set = guest_.at(i);
    set.for_each([&](const TlbEntry& e, uint64_t page) { sleeper.known[i].push_back({page, e.info}); });
    knows_any |= !sleeper.known[i].empty();
    set.flush(false);
  }
  if (!knows_any || present_.vpid == 0) return;
  ++switches;
  if (sleepers_.size() == most_sleepers) sleepers_.erase(sleepers_.begin());
  sleepers_.push_back(std::move(sleeper));
}

void Worlds::wake(const World& world) {
  auto found = std::find_if(sleepers_.begin(), sleepers_.end(), [&](const Sleeper& s) { return s.world == world; });
  if (found == sleepers_.end()) return;
  for (unsigned i = 0; i < TlbSets::count; ++i)
    for (const Known& k : found->known[i])
      guest_.at(i).fill(k.page, {k.page ^ TlbEntry::withheld, k.page ^ TlbEntry::withheld, 0, k.info});
  sleepers_.erase(found);
}

// Everything `doomed` in the worlds that `of` picks by `name`, whether they sleep or not.
template <class Doomed>
void Worlds::drop(bool (*of)(const World&, uint64_t), uint64_t name, Doomed doomed) {
  if (of(present_, name)) guest_.each([&](TlbSet& s) { s.drop_if(doomed); });
  for (Sleeper& s : sleepers_)
    if (of(s.world, name)) s.drop_if(doomed);
}

namespace {
bool has_ept(const World& w, uint64_t root) { return w.ept_root == root; }
bool has_any_ept(const World& w, uint64_t) { return w.ept_root != World::none; }
bool has_vpid(const World& w, uint64_t vpid) { return w.vpid == vpid; }
bool has_any_vpid(const World& w, uint64_t) { return w.vpid != 0; }
bool all(const TlbEntry&, uint64_t) { return true; }
}  // namespace

void Worlds::invalidate_ept(uint64_t ept_root) { drop(has_ept, ept_root, all); }
void Worlds::invalidate_every_ept() { drop(has_any_ept, 0, all); }
void Worlds::invalidate_vpid_address(uint16_t vpid, uint64_t address) {
  drop(has_vpid, vpid, [=](const TlbEntry& e, uint64_t page) { return TlbSet::same_page(e, page, address); });
}
void Worlds::invalidate_vpid(uint16_t vpid, bool keep_global) {
  drop(has_vpid, vpid, [=](const TlbEntry& e, uint64_t) { return !(keep_global && e.info & TlbEntry::global); });
}
void Worlds::invalidate_every_vpid() { drop(has_any_vpid, 0, all); }

}  // namespace matryoshka
