#include "devices/machine/memory_map.h"

#include <algorithm>

namespace matryoshka {

std::vector<MemoryRange> memory_map(uint64_t ram_size) {
  using namespace physical;
  std::vector<MemoryRange> map;
  auto add = [&](uint64_t first, uint64_t end, RangeType type) {
    if (first < end) map.push_back({first, end - first, type});
  };
  add(0, std::min(ram_size, low_end), RangeType::ram);
  add(low_end, 0xa0000, RangeType::reserved);
  add(firmware, one_mib, RangeType::reserved);
  add(one_mib, ram_below_hole(ram_size), RangeType::ram);
  add(four_gib, four_gib + ram_above_hole(ram_size), RangeType::ram);
  return map;
}

}  // namespace matryoshka
