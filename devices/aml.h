// Writes ACPI Machine Language: each function encodes one construct of the ACPI Specification, "ACPI Machine Language (AML)
// Specification", and nests as the source language does:
//
//   aml::device("COM1", {aml::name("_HID", aml::eisa_id("PNP0501")),
//                        aml::name("_CRS", aml::resources({aml::io(0x3f8, 8), aml::irq(4)}))})
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "devices/bus/bytes.h"

namespace matryoshka::aml {

using Code = std::vector<uint8_t>;

template <class Parts>
Code join(const Parts& parts) {
  Code code;
  for (const Code& part : parts) append(code, part);
  return code;
}
inline Code op(std::initializer_list<uint8_t> bytes) { return bytes; }

// "Package Length Encoding": the length counts its own bytes; six bits in one byte, else four and then eights.
inline Code with_length(Code body) {
  Code code;
  size_t size = body.size() + 1;
  if (size < 0x40) {
    code = op({static_cast<uint8_t>(size)});
  } else {
    unsigned more = ++size < 0x1000 ? 1 : ++size < 0x100000 ? 2 : 3;
    if (more == 3) ++size;
    code = op({static_cast<uint8_t>(more << 6 | (size & 0xf))});
    for (unsigned i = 0; i < more; ++i) code.push_back(static_cast<uint8_t>(size >> (4 + 8 * i)));
  }
  append(code, body);
  return code;
}

// "\\_SB.PCI0": each segment is four characters, filled up with underscores.
inline Code path(std::string_view text) {
  Code code;
  if (text.starts_with('\\')) {
    code.push_back('\\');
    text.remove_prefix(1);
  }
  auto segments = std::count(text.begin(), text.end(), '.') + 1;
  if (segments == 2) code.push_back(0x2e);
  if (segments > 2) append(code, op({0x2f, static_cast<uint8_t>(segments)}));
  for (size_t at = 0; at <= text.size();) {
    size_t end = std::min(text.find('.', at), text.size());
    std::string_view segment = text.substr(at, end - at);
    append(code, segment);
    code.insert(code.end(), 4 - std::min<size_t>(segment.size(), 4), '_');
    at = end + 1;
  }
  return code;
}

inline Code integer(uint64_t value) {
  if (value <= 1) return op({static_cast<uint8_t>(value)});
  unsigned size = value <= 0xff ? 1 : value <= 0xffff ? 2 : value <= 0xffffffff ? 4 : 8;
  Code code = op({static_cast<uint8_t>(size == 1 ? 0x0a : size == 2 ? 0x0b : size == 4 ? 0x0c : 0x0e)});
  for (unsigned i = 0; i < size; ++i) code.push_back(static_cast<uint8_t>(value >> 8 * i));
  return code;
}

inline Code string(std::string_view text) {
  Code code = op({0x0d});
  append(code, text);
  code.push_back(0);
  return code;
}

// Three letters in five bits each, four hexadecimal digits, most significant byte first.
inline Code eisa_id(std::string_view id) {
  auto letter = [&](size_t i) { return static_cast<uint32_t>(id[i] - '@') & 0x1f; };
  auto digit = [&](size_t i) { return static_cast<uint32_t>(id[i] <= '9' ? id[i] - '0' : id[i] - 'A' + 10); };
  uint32_t big = letter(0) << 26 | letter(1) << 21 | letter(2) << 16 | digit(3) << 12 | digit(4) << 8 | digit(5) << 4 | digit(6);
  return integer(__builtin_bswap32(big));
}

inline Code name(std::string_view what, const Code& value) { return join(std::vector{op({0x08}), path(what), value}); }

inline Code package(const std::vector<Code>& elements) {
  Code code = op({0x12});
  append(code, with_length(join(std::vector{op({static_cast<uint8_t>(elements.size())}), join(elements)})));
  return code;
}
inline Code buffer(const Code& bytes) {
  Code code = op({0x11});
  append(code, with_length(join(std::vector{integer(bytes.size()), bytes})));
  return code;
}

inline Code scope(std::string_view where, const std::vector<Code>& terms) {
  return join(std::vector{op({0x10}), with_length(join(std::vector{path(where), join(terms)}))});
}
inline Code device(std::string_view what, const std::vector<Code>& terms) {
  return join(std::vector{op({0x5b, 0x82}), with_length(join(std::vector{path(what), join(terms)}))});
}
inline Code method(std::string_view what, uint8_t arguments, const std::vector<Code>& terms) {
  return join(std::vector{op({0x14}), with_length(join(std::vector{path(what), op({arguments}), join(terms)}))});
}
inline Code argument(unsigned n) { return op({static_cast<uint8_t>(0x68 + n)}); }
inline Code store(const Code& value, const Code& target) { return join(std::vector{op({0x70}), value, target}); }
inline Code when(const Code& condition, const std::vector<Code>& terms) {
  return join(std::vector{op({0xa0}), with_length(join(std::vector{condition, join(terms)}))});
}
inline Code give(const Code& value) { return join(std::vector{op({0xa4}), value}); }

// Resource descriptors: ACPI Specification, "Resource Data Types for ACPI".
inline Code io(uint16_t first, uint8_t count) {
  Code code = op({0x47, 1});
  append<uint16_t>(code, first);
  append<uint16_t>(code, first);
  append(code, op({1, count}));
  return code;
}
inline Code irq(unsigned line) {
  Code code = op({0x22});
  append<uint16_t>(code, static_cast<uint16_t>(1u << line));
  return code;
}
inline Code memory_fixed(uint32_t first, uint32_t size) {
  Code code = op({0x86, 9, 0, 1});
  append(code, first);
  append(code, size);
  return code;
}

// A window that a bridge hands on to what is behind it.
enum class Window : uint8_t { memory = 0, io = 1, bus = 2 };
template <class T>
Code window(Window type, T first, T last) {
  constexpr uint8_t both_ends_fixed = 0x0c;
  Code code = op({sizeof(T) == 2 ? uint8_t{0x88} : uint8_t{0x87}});
  append<uint16_t>(code, static_cast<uint16_t>(3 + 5 * sizeof(T)));
  append(code, op({static_cast<uint8_t>(type), both_ends_fixed,
                   static_cast<uint8_t>(type == Window::io ? 3 : type == Window::memory)}));
  for (T field : {T{0}, first, last, T{0}, static_cast<T>(last - first + 1)}) append(code, field);
  return code;
}
inline Code resources(const std::vector<Code>& descriptors) {
  Code list = join(descriptors);
  append(list, op({0x79, 0}));
  return buffer(list);
}

}  // namespace matryoshka::aml
