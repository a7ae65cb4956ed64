#pragma once

#include <cstdint>
#include <string_view>

namespace silicon {

// What the encoding column says, taken apart.
struct Encoding {
  enum Map : uint8_t { one_byte, two_byte, map_0f38, map_0f3a };
  Map map = one_byte;
  uint8_t mandatory = 0;   // 66, F2 or F3 if the row demands it
  bool no_prefix = false;  // "NP"
  bool no_repeat = false;  // "NFx"
  uint8_t opcode = 0;
  bool opcode_register = false;  // "+r"
  bool modrm = false;
  int digit = -1;        // ModRM.reg, if it is part of the opcode
  int whole_modrm = -1;  // a ModRM byte that is part of the opcode
  unsigned modrm_span = 1;
  bool vex = false;
  int vex_length = -1, vex_w = -1;

  static Encoding parse(std::string_view text);
};

}  // namespace silicon
