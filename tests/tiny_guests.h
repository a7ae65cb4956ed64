// Guests of a few bytes, as multiboot images that carry their addresses: a header, 32-bit code, perhaps a text. The same as in
// tiny_guests.mjs.
#pragma once

#include <functional>
#include <string>

#include "devices/machine/machine.h"

namespace matryoshka::tiny {

// Bytes that will stand at an address.
using Code = std::function<Bytes(uint32_t address)>;

inline Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}
inline Bytes le32(uint32_t n) {
  return {static_cast<uint8_t>(n), static_cast<uint8_t>(n >> 8), static_cast<uint8_t>(n >> 16), static_cast<uint8_t>(n >> 24)};
}

inline Image multiboot(const Code& code) {
  constexpr uint32_t base = 0x100000, header = 32, magic = 0x1badb002, flags = 0x10000;
  return {"guest", le32(magic) + le32(flags) + le32(0u - magic - flags) + le32(base) + le32(base) + le32(0) + le32(0) +
                       le32(base + header) + code(base + header)};
}

// Writes a text to COM1, then goes on.
inline Code printing(const std::string& text, const Code& next) {
  return [=](uint32_t address) {
    const Bytes code = Bytes{0xeb, static_cast<uint8_t>(text.size() + 1)} + Bytes(text.begin(), text.end()) +
                       Bytes{0} +                                                     // jmp over it
                       Bytes{0xbe} + le32(address + 2) + Bytes{0xba} + le32(0x3f8) +  // mov esi, text; mov edx, COM1
                       Bytes{0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8};         // lodsb; out dx, al; until a zero
    return code + next(address + static_cast<uint32_t>(code.size()));
  };
}
inline Code exiting(uint32_t value) {
  return [=](uint32_t) { return Bytes{0xba} + le32(0xf4) + Bytes{0xb8} + le32(value) + Bytes{0xef, 0xeb, 0xfe}; };
}
inline Bytes looping(uint32_t) { return {0xeb, 0xfe}; }
inline Bytes halting(uint32_t) { return {0xfa, 0xf4, 0xeb, 0xfd}; }  // cli; hlt; again
inline Bytes faulting(uint32_t address) {
  return Bytes{0x0f, 0x01, 0x1d} + le32(address + 9) + Bytes{0x0f, 0x0b, 0, 0, 0, 0, 0, 0};  // lidt [zeros]; ud2
}
inline Bytes resetting(uint32_t) { return {0xb0, 0xfe, 0xe6, 0x64, 0xeb, 0xfe}; }  // the keyboard controller's reset line
// mov dx,604h; mov ax,2000h; out dx,ax: ACPI's soft off
inline Bytes powering_off(uint32_t) { return {0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef, 0xeb, 0xfe}; }
// Sends back what it receives, and ends with 1 at a q.
inline Bytes echoing(uint32_t address) {
  return Bytes{0xba} + le32(0x3fd) + Bytes{0xec, 0xa8, 0x01, 0x74, 0xf6, 0xba} + le32(0x3f8) +
         Bytes{0xec, 0x3c, 0x71, 0x74, 0x03, 0xee, 0xeb, 0xe9} + exiting(0)(address);
}
// Fills, copies and searches memory without end, with the TSC mixed in.
inline Bytes churning(uint32_t) {
  return Bytes{0xbf} + le32(0x200000) + Bytes{0xb9} + le32(700) + Bytes{0x0f, 0x31, 0xfc, 0xf3, 0xab} +  // rep stosd of the TSC
         Bytes{0xbe} + le32(0x200004) + Bytes{0xbf} + le32(0x201000) + Bytes{0xb9} + le32(900) + Bytes{0xf3, 0xa5} +  // rep movsd
         Bytes{0xbf} + le32(0x201003) + Bytes{0xb9} + le32(300) + Bytes{0xf3, 0xae} +  // repe scasb
         Bytes{0x43, 0xeb, 0xd1};                                                      // inc ebx; again
}

}  // namespace matryoshka::tiny
