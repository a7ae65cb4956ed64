// What a client may call a file: one component of well-formed UTF-8, so that no request leads out of the tree.
#pragma once

#include <string>

#include "devices/file_tree.h"

namespace matryoshka {

constexpr size_t longest_file_name = 255;

// Well-formed UTF-8 without zero.
bool is_text(const std::string& text);
FileError check_name(const std::string& name);

}  // namespace matryoshka
