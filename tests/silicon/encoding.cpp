#include "tests/silicon/encoding.h"

namespace silicon {

namespace {

std::string_view next_token(std::string_view& text, char separator) {
  size_t end = text.find(separator);
  std::string_view token = text.substr(0, end);
  text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  return token;
}

bool is_hex(std::string_view t) {
  auto digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
  return t.size() >= 2 && digit(t[0]) && digit(t[1]);
}

uint8_t hex(std::string_view t) {
  auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'A' + 10; };
  return static_cast<uint8_t>(digit(t[0]) << 4 | digit(t[1]));
}

}  // namespace

Encoding Encoding::parse(std::string_view text) {
  Encoding e;
  bool have_opcode = false;
  while (!text.empty()) {
    std::string_view token = next_token(text, ' ');
    if (token.starts_with("VEX")) {
      e.vex = true;
      while (!token.empty()) {
        std::string_view part = next_token(token, '.');
        if (part == "L0" || part == "128") e.vex_length = 0;
        if (part == "L1" || part == "256") e.vex_length = 1;
        if (part == "66") e.mandatory = 0x66;
        if (part == "F3") e.mandatory = 0xf3;
        if (part == "F2") e.mandatory = 0xf2;
        if (part == "0F") e.map = two_byte;
        if (part == "0F38") e.map = map_0f38;
        if (part == "0F3A") e.map = map_0f3a;
        if (part == "W0") e.vex_w = 0;
        if (part == "W1") e.vex_w = 1;
      }
    } else if (token == "NFx") {
      e.no_repeat = true;
    } else if (token == "NP") {
      e.no_prefix = true;
    } else if (token[0] == '/') {
      e.modrm = true;
      if (token[1] != 'r') e.digit = token[1] - '0';
    } else if (is_hex(token) && have_opcode) {
      e.modrm = true;
      e.whole_modrm = hex(token);
      if (token.ends_with("+i")) e.modrm_span = 8;
    } else if (is_hex(token)) {
      uint8_t byte = hex(token);
      bool prefix_place = !e.vex && e.map == one_byte && !have_opcode;
      if (prefix_place && (byte == 0x66 || byte == 0xf2 || byte == 0xf3))
        e.mandatory = byte;
      else if (prefix_place && byte == 0x0f)
        e.map = two_byte;
      else if (!e.vex && e.map == two_byte && byte == 0x38)
        e.map = map_0f38;
      else if (!e.vex && e.map == two_byte && byte == 0x3a)
        e.map = map_0f3a;
      else
        e.opcode = byte, e.opcode_register = token.ends_with("+r"), have_opcode = true;
    }
  }
  return e;
}

}  // namespace silicon
