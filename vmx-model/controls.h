// The control bits by name, and the five fields (words) that hold them. controls.def is the table.
#pragma once

#include <cstdint>

namespace matryoshka::vmx {

enum class Word : uint8_t { pin, primary, secondary, exit, entry };
constexpr unsigned word_count = 5;

enum class Control : uint8_t {
#define CONTROL(word, bit, name, support, flag, title) word##_##name,
#include "vmx-model/controls.def"
#undef CONTROL
  count
};
constexpr unsigned control_count = static_cast<unsigned>(Control::count);

enum class Support : uint8_t { absent, v1 };

struct ControlInfo {
  const char* name;
  Word word;
  uint8_t bit;
  Support support;
  const char* flag;   // in -cpu
  const char* title;  // in the manual

  constexpr uint32_t mask() const { return uint32_t{1} << bit; }
};

inline constexpr ControlInfo control_table[] = {
#define CONTROL(word, bit, name, support, flag, title) {#name, Word::word, bit, Support::support, flag, title},
#include "vmx-model/controls.def"
#undef CONTROL
};
constexpr const ControlInfo& info(Control c) { return control_table[static_cast<unsigned>(c)]; }

// "Reserved Controls and Default Settings": the bits that are 1 by default. Software that knows no better leaves them 1; the TRUE
// capability MSRs tell which of them may be 0, and those are the ones that have a row.
struct WordInfo {
  const char* title;
  uint32_t default1;
};
inline constexpr WordInfo word_table[word_count] = {
    {"Pin-based VM-execution controls", 0x00000016},
    {"Primary processor-based VM-execution controls", 0x0401e172},
    {"Secondary processor-based VM-execution controls", 0},
    {"VM-exit controls", 0x00036dff},
    {"VM-entry controls", 0x000011ff},
};

}  // namespace matryoshka::vmx
