// The VMCS fields by name; fields.def is the table. An encoding is computed from the row: "Field Encoding in VMCS".
#pragma once

#include <cstdint>

#include "vmx-model/controls.h"

namespace matryoshka::vmx {

enum class Field : uint8_t {
#define FIELD(name, width, group, index, needs, title) name,
#include "vmx-model/fields.def"
#undef FIELD
  count
};
constexpr unsigned field_count = static_cast<unsigned>(Field::count);

enum class Width : uint8_t { word, quad, doubleword, natural };
enum class Group : uint8_t { control, read_only, guest, host };

struct FieldInfo {
  const char* name;
  Width width;
  Group group;
  uint16_t index;
  Control needs;  // Control::count: always there
  const char* title;

  // Bit 0 asks for the upper half of a 64-bit field.
  constexpr uint32_t encoding() const {
    return static_cast<uint32_t>(width) << 13 | static_cast<uint32_t>(group) << 10 | static_cast<uint32_t>(index) << 1;
  }
  constexpr uint64_t mask() const {
    return width == Width::word ? 0xffff : width == Width::doubleword ? 0xffffffff : ~uint64_t{0};
  }
};

namespace detail {
constexpr Control always = Control::count;
#define CONTROL(word, bit, name, support, flag, title) constexpr Control word##_##name = Control::word##_##name;
#include "vmx-model/controls.def"
#undef CONTROL
inline constexpr FieldInfo fields[] = {
#define FIELD(name, width, group, index, needs, title) {#name, Width::width, Group::group, index, needs, title},
#include "vmx-model/fields.def"
#undef FIELD
};
}  // namespace detail

constexpr const FieldInfo& info(Field f) { return detail::fields[static_cast<unsigned>(f)]; }

// The field of an encoding, whether its upper half is meant or not; Field::count if there is none in the table.
Field find_field(uint32_t encoding);

// Fields that stand in rows of eight, one for each segment register: `first` plus the register's place, in the order ES, CS, SS,
// DS, FS, GS, LDTR, TR.
constexpr Field nth(Field first, unsigned place) { return static_cast<Field>(static_cast<unsigned>(first) + place); }

}  // namespace matryoshka::vmx
