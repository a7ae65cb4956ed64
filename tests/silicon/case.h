// One experiment: an instruction, the state it starts from, and the state that came of it.
#pragma once

#include <cstdint>
#include <cstring>

namespace silicon {

// The same places in the silicon's address space and in the model's. All lie below 2 GiB, so that 32-bit code and absolute
// 32-bit displacements reach them, and none is near a round number. Everything between them is unmapped.
constexpr uint64_t page = 4096;
constexpr uint64_t exchange_at = 0x12345000;  // silicon only: what the entry and exit code moves registers through
constexpr uint64_t code64_at = 0x23456000;    // one page; the instruction ends where the page does, the next leads out
constexpr uint64_t code32_at = 0x23556000;
constexpr uint64_t code16_at = 0x23756000;
constexpr uint64_t edge_at = 0x23856000;  // one page with nothing behind it, for finding out what a fetch wants
constexpr uint64_t trap_at = 0x23656000;  // three pages of INT3, for instructions that jump
constexpr uint64_t trap_pages = 3;
constexpr uint64_t data_at = 0x34567000;  // two writable pages, then a read-only one
constexpr uint64_t data_pages = 2;
constexpr uint64_t read_only_at = data_at + data_pages * page;
constexpr uint8_t read_only_first = 0xff;  // its first byte, so that no selector across the edge names a small entry
constexpr uint64_t stack_at = 0x34812000;  // one page
constexpr uint64_t fs_base = 0x10040000, gs_base = 0x0ffe1230;  // 64-bit mode only

// FXSAVE's image.
struct alignas(64) Floating {
  uint16_t control, status;
  uint8_t tags, reserved;
  uint16_t opcode;
  uint64_t instruction, data;
  uint32_t mxcsr, mxcsr_mask;
  struct {
    uint64_t significand;
    uint16_t sign_exponent;
    uint8_t reserved[6];
  } st[8];
  uint64_t xmm[16][2];
  uint8_t rest[96];
};
static_assert(sizeof(Floating) == 512);

struct Window {
  static constexpr unsigned most = 256, count = 3;
  uint64_t address = 0;
  uint16_t size = 0;
  uint8_t bytes[most];
};

struct Case {
  uint16_t row = 0;
  uint64_t number = 0;     // within its campaign
  uint8_t bits = 64;       // 16, 32 or 64
  bool segmented = false;  // code, stack and data have segments of their own, out of segments.h
  bool tables = false;     // may look at the descriptor tables and load segment registers
  bool at_edge = false;    // ends at the end of the last executable page
  bool stepped = false;    // TF is set: one instruction, or one iteration of a repeated one, then #DB
  bool trapped = false;    // stands among INT3s, because it jumps
  bool floating = false;   // the x87 and SSE state matters
  uint8_t length = 0;
  uint8_t code[16];
  uint64_t gpr[16];
  uint64_t flags = 2;
  uint8_t windows = 0;
  Window window[Window::count];
  uint16_t selector[6];  // ES CS SS DS FS GS, where segmented or tables
  uint32_t code_base = 0;
  uint64_t operand = 0;  // the linear address of the memory operand, if ModRM names one
  Floating fx;

  // The linear address, and what RIP holds.
  uint64_t code_at() const {
    if (trapped) return trap_at + page + page / 2;
    if (at_edge) return edge_at + page - length;
    return (bits == 64 ? code64_at : bits == 32 ? code32_at : code16_at) + page - length;
  }
  uint64_t rip() const { return code_at() - code_base; }
};

struct Outcome {
  static constexpr uint8_t none = 0xff;
  uint64_t gpr[16];
  uint64_t rip, flags;
  uint8_t exception;  // vector, or none
  uint8_t died;       // signal that killed the child, or 0
  uint32_t error;
  uint64_t cr2;
  uint16_t selector[6];
  uint64_t fs_base, gs_base;
  uint8_t bytes[Window::count][Window::most];  // the windows afterwards
  uint64_t stray;                              // a changed byte outside the windows, or 0
  Floating fx;
};

}  // namespace silicon
