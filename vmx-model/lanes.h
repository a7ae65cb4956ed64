// Who runs whom: the VMCSs that have been entered, and how deep each guest lies.
//
// Depth is derived from what happened, not guessed from addresses. When a guest executes VMLAUNCH or VMRESUME it exits, and its
// host enters another VMCS in its place: that one holds the guest's guest. So a VMCS that is entered while another's last exit
// was VMLAUNCH or VMRESUME, and has not been entered since, is that one's child.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cpu/state/archive.h"

namespace matryoshka::vmx {

struct Lane {
  uint64_t vmcs = 0, parent = 0;  // addresses; no parent: 0, the host is root operation
  unsigned depth = 2;             // L2 is a guest of the Linux that this machine booted
  uint64_t entries = 0, exits = 0, instructions = 0;
  uint16_t last_exit = 0;
  bool unfinished = false;  // its last exit was VMLAUNCH or VMRESUME: somebody else runs in its place
  uint64_t last_used = 0;
  void serialize(Archive& ar);
};

// "L1 host", "L2 guest", "L3 guest's guest".
std::string layer_name(unsigned depth);

class Lanes {
 public:
  static constexpr unsigned deepest = 64;  // two VMCSs can be entered in such turns that each looks like the other's child

  void entered(uint64_t vmcs);
  void left(uint64_t vmcs, uint16_t reason, uint64_t instructions);
  const Lane* find(uint64_t vmcs) const;
  const std::vector<Lane>& all() const { return lanes_; }
  void serialize(Archive& ar);

 private:
  static constexpr size_t most = 64;
  Lane& lane(uint64_t vmcs);
  std::vector<Lane> lanes_;
  uint64_t uses_ = 0;
};

}  // namespace matryoshka::vmx
