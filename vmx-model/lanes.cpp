#include "vmx-model/lanes.h"

#include <algorithm>

#include "vmx-model/exit.h"

namespace matryoshka::vmx {

std::string layer_name(unsigned depth) {
  std::string name = "L" + std::to_string(depth);
  if (depth == 1) return name + " host";
  name += " guest";
  for (unsigned i = 2; i < depth; ++i) name += "'s guest";
  return name;
}

Lane& Lanes::lane(uint64_t vmcs) {
  auto found = std::find_if(lanes_.begin(), lanes_.end(), [=](const Lane& l) { return l.vmcs == vmcs; });
  if (found == lanes_.end()) {
    if (lanes_.size() == most)
      lanes_.erase(
          std::min_element(lanes_.begin(), lanes_.end(), [](const Lane& a, const Lane& b) { return a.last_used < b.last_used; }));
    lanes_.push_back({});
    lanes_.back().vmcs = vmcs;
    found = lanes_.end() - 1;
  }
  found->last_used = ++uses_;
  return *found;
}

const Lane* Lanes::find(uint64_t vmcs) const {
  auto found = std::find_if(lanes_.begin(), lanes_.end(), [=](const Lane& l) { return l.vmcs == vmcs; });
  return found == lanes_.end() ? nullptr : &*found;
}

void Lanes::entered(uint64_t vmcs) {
  const Lane* parent = nullptr;
  for (const Lane& other : lanes_)
    if (other.unfinished && other.vmcs != vmcs && (!parent || other.last_used > parent->last_used)) parent = &other;
  const uint64_t of = parent ? parent->vmcs : 0;
  const unsigned depth = parent ? std::min(parent->depth + 1, deepest) : 2;
  Lane& l = lane(vmcs);
  // Once a child, a VMCS stays one while its parent waits; entered with nobody waiting it is root operation's own.
  l.parent = of, l.depth = depth;
  l.unfinished = false;
  ++l.entries;
}

void Lanes::left(uint64_t vmcs, uint16_t reason, uint64_t instructions) {
  Lane& l = lane(vmcs);
  ++l.exits;
  l.instructions += instructions;
  l.last_exit = reason;
  l.unfinished = reason == static_cast<uint16_t>(Reason::vmlaunch) || reason == static_cast<uint16_t>(Reason::vmresume);
}

void Lane::serialize(Archive& ar) {
  ar(vmcs, parent, depth, entries, exits, instructions, last_exit, unfinished, last_used);
  ar.require(depth >= 2 && depth <= Lanes::deepest, "the saved trace has a guest of impossible depth");
}

void Lanes::serialize(Archive& ar) {
  auto count = static_cast<uint32_t>(lanes_.size());
  ar(uses_, count);
  ar.require(count <= most, "the saved trace has more guests than it remembers");
  if (ar.is_loading()) lanes_.assign(ar.ok() ? count : 0, {});
  for (Lane& lane : lanes_) ar(lane);
}

}  // namespace matryoshka::vmx
