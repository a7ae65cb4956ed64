#include "devices/ninep_name.h"

#include <cstdint>

namespace matryoshka {

// The Unicode Standard, "Unicode Encoding Forms".
bool is_text(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    auto byte = [&](size_t at) { return at < text.size() ? static_cast<uint8_t>(text[at]) : uint8_t{0}; };
    uint8_t first = byte(i);
    unsigned more = first < 0x80 ? 0 : first >= 0xc2 && first < 0xe0 ? 1 : first >= 0xe0 && first < 0xf0 ? 2 : 3;
    if (first == 0 || (more == 3 && (first < 0xf0 || first > 0xf4))) return false;
    uint8_t least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80, most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    for (unsigned k = 1; k <= more; ++k) {
      if (byte(i + k) < (k == 1 ? least : 0x80) || byte(i + k) > (k == 1 ? most : 0xbf)) return false;
    }
    i += more + 1;
  }
  return true;
}

FileError check_name(const std::string& name) {
  if (name.size() > longest_file_name) return FileError::name_too_long;
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos || !is_text(name))
    return FileError::invalid;
  return FileError::none;
}

}  // namespace matryoshka
