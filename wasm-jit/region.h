// A region: the blocks round a hot place that are compiled together, with one entry, as a graph without irreducible loops.
//
// Places in a region are distances from its entry, because the same physical page may be mapped anywhere: RIP is a parameter.
// A direct call that leads to observed code is followed, in a context of its own which remembers where it returns to; so a
// leaf function is inlined at each of its calls, and its RET is one comparison.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "cpu/domain/tree.h"
#include "cpu/instruction.h"
#include "cpu/processor.h"

namespace matryoshka::jit {

// Everything that a translation assumes beside its bytes. CodeMode::key() holds what decoding depends on, which TLB set data
// accesses use and which addresses are canonical.
struct RegionKey {
  uint64_t physical = 0;  // of the entry's first byte
  uint32_t mode = 0;
  bool operator==(const RegionKey&) const = default;
};

// Instructions that regions have left to the interpreter often: they get a way of their own, a call.
class SlowSites {
 public:
  // True when it has happened so often for the first time.
  bool note(uint64_t physical) {
    if (counts_.size() == most) counts_.clear();
    return ++counts_[physical] == often;
  }
  bool is_slow(uint64_t physical) const {
    auto found = counts_.find(physical);
    return found != counts_.end() && found->second >= often / 4;
  }

 private:
  // By then leaving has cost as much as compiling again.
  static constexpr uint32_t often = 6000;
  static constexpr size_t most = 1 << 16;
  std::unordered_map<uint64_t, uint32_t> counts_;
};

struct Step {
  enum class Kind : uint8_t {
    text,
    vector,
    helper,
    call,  // a row of kind leave after which the region goes on, most likely
    last   // another row of kind leave, or a repeated string instruction
  };
  Kind kind;
  int64_t start, end;         // distances of its first byte and of the byte behind it
  Op op;                      // lowered as a block of its own
  bool slow = false;          // leaves often: SlowSites
  tree::Recording recording;  // of a text; of a vector instruction, where its memory operand is
};

// Where control goes: a node of the region, or out of it.
struct Edge {
  static constexpr int outside = -1;
  int node = outside;
  int64_t distance = 0;
};

struct Node {
  enum class Ending : uint8_t {
    goes,      // to `next`
    branches,  // to `taken` if the last step's condition holds, else to `next`
    indirect,  // wherever the last step says
    returns,   // the same, most likely to `next`
    left,      // the last step has done so
  };
  int64_t start = 0, end = 0;
  std::vector<Step> steps;
  Ending ending = Ending::goes;
  Edge next, taken;

  // Set by arrange().
  std::vector<int> before;  // nodes that lead here, forwards
  int dominator = -1;
  bool loops = false;        // some edge comes back here
  unsigned longest = 0;      // instructions on the longest way to the next check of the budget
  uint32_t pages_known = 0;  // of Region::pages, by index: those that every way here has gone through
};

struct CodePageUse {
  int64_t delta;  // in pages, from the entry's
  uint64_t physical;
  uint64_t granules;  // of 64 bytes
};

struct Region {
  RegionKey key;
  CodeMode mode;
  std::vector<Node> nodes;  // in reverse postorder, the entry first
  std::vector<CodePageUse> pages;
  unsigned instructions = 0;

  // Which of the pages holds this place; an entry may lie anywhere in its page.
  unsigned page_of(int64_t distance) const {
    int64_t delta = (static_cast<int64_t>(key.physical & (page_size - 1)) + distance) >> 12;
    for (unsigned i = 0; i < pages.size(); ++i)
      if (pages[i].delta == delta) return i;
    return no_page;
  }
  static constexpr unsigned no_page = 31;
};

// Decodes what lies round the processor's RIP, along edges that have been taken. False if not even its first instruction can be
// compiled.
bool form(const Processor& cpu, const Block& entry, const SlowSites& slow, unsigned most_instructions, Region& region);

// Puts the nodes into reverse postorder, turns edges into the middle of a loop into exits, and finds dominators and loops.
void arrange(Region& region);

}  // namespace matryoshka::jit
