#include "vmx-model/fields.h"

namespace matryoshka::vmx {

namespace {

constexpr unsigned most_indices = 64;  // no group of one width has as many

// By width, group and index: the place in the table plus 1.
struct Places {
  uint8_t at[4][4][most_indices] = {};
  constexpr Places() {
    for (unsigned i = 0; i < field_count; ++i) {
      const FieldInfo& f = info(static_cast<Field>(i));
      at[static_cast<unsigned>(f.width)][static_cast<unsigned>(f.group)][f.index] = static_cast<uint8_t>(i + 1);
    }
  }
};
constexpr Places places;
static_assert(field_count < 255);

}  // namespace

Field find_field(uint32_t encoding) {
  const unsigned width = encoding >> 13 & 3, group = encoding >> 10 & 3, index = encoding >> 1 & 0x1ff;
  const bool upper_half = encoding & 1;
  if (encoding >> 15 || encoding >> 12 & 1 || index >= most_indices) return Field::count;
  if (upper_half && width != static_cast<unsigned>(Width::quad)) return Field::count;
  const unsigned place = places.at[width][group][index];
  return place == 0 ? Field::count : static_cast<Field>(place - 1);
}

}  // namespace matryoshka::vmx
