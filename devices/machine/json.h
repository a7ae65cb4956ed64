// Writes JSON: what the host programs and the page are told. It only writes; nothing here parses.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace matryoshka {

class JsonWriter {
 public:
  template <class Body>
  void object(Body body) {
    enclosed('{', '}', body);
  }
  template <class Body>
  void object(std::string_view name, Body body) {
    key(name);
    object(body);
  }
  template <class Body>
  void array(std::string_view name, Body body) {
    key(name);
    enclosed('[', ']', body);
  }

  void field(std::string_view name, std::string_view text) {
    key(name);
    value(text);
  }
  void field(std::string_view name, const char* text) { field(name, std::string_view(text)); }
  void field(std::string_view name, uint64_t number) {
    key(name);
    value(number);
  }
  void field(std::string_view name, unsigned number) { field(name, uint64_t{number}); }
  void field(std::string_view name, double number) {
    key(name);
    char digits[32];
    std::snprintf(digits, sizeof digits, "%.6g", std::isfinite(number) ? number : 0.0);
    text_ += digits;
    first_ = false;
  }
  void field(std::string_view name, bool truth) {
    key(name);
    text_ += truth ? "true" : "false";
    first_ = false;
  }

  void value(uint64_t number) {
    comma();
    text_ += std::to_string(number);
    first_ = false;
  }
  void value(std::string_view text) {
    comma();
    text_ += '"';
    for (char c : text) character(c);
    text_ += '"';
    first_ = false;
  }

  const std::string& text() const { return text_; }

 private:
  template <class Body>
  void enclosed(char open, char close, Body body) {
    comma();
    text_ += open;
    first_ = true;
    body();
    text_ += close;
    first_ = false;
  }
  void key(std::string_view name) {
    value(name);
    text_ += ':';
    first_ = true;
  }
  void comma() {
    if (!first_) text_ += ',';
  }
  void character(char c) {
    if (c == '"' || c == '\\') {
      text_ += '\\';
      text_ += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
      text_ += escape;
    } else {
      text_ += c;
    }
  }

  std::string text_;
  bool first_ = true;
};

}  // namespace matryoshka
