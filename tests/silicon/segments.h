// The descriptor tables that cases run under: a local table that the silicon side gives to Linux by modify_ldt and the model
// finds in memory, and Linux's own global table as far as a program can tell.
#pragma once

#include <cstdint>

#include "tests/silicon/case.h"

namespace silicon {

struct SegmentChoice {
  uint8_t type;  // of the descriptor, always accessed: Linux sets that bit
  uint32_t base;
  uint32_t limit;  // as in the descriptor, 20 bits
  bool pages, big, present;

  bool is_code() const { return type & 8; }
  bool writable() const { return (type & 10) == 2; }
  bool readable() const { return (type & 10) != 8; }
  bool expand_down() const { return (type & 12) == 4; }
  bool conforming() const { return (type & 12) == 12; }
  uint64_t descriptor() const {
    return (limit & 0xffff) | uint64_t{base & 0xffffff} << 16 | uint64_t{0x70u | (present ? 0x80u : 0u) | type} << 40 |
           uint64_t{limit >> 16} << 48 | uint64_t{big} << 54 | uint64_t{pages} << 55 | uint64_t{base >> 24} << 56;
  }
};

constexpr uint8_t data_type = 3, read_only_type = 1, expand_down_type = 7, code_type = 11, execute_only_type = 9,
                  conforming_type = 15;
constexpr uint32_t code16_base = code16_at - 0x7000, trap16_base = trap_at - 0x3000, data16_base = data_at - 0x3000,
                   stack16_base = stack_at - 0x4000;

constexpr SegmentChoice local_table[] = {
    // Code. Two 16-bit segments for jumps, of which the second ends among the traps, and two for other instructions; the first
    // 32-bit one reaches both places, the second ends among the traps.
    {code_type, trap16_base, 0xffff, false, false, true},
    {code_type, trap16_base, 0x53ff, false, false, true},
    {code_type, code16_base, 0xffff, false, false, true},
    {execute_only_type, code16_base, 0xffff, false, false, true},
    {code_type, 0x23000000, 0xfff, true, true, true},
    {code_type, 0x23000000, 0x657, true, true, true},
    {execute_only_type, 0x23400000, 0xfffff, true, true, true},
    {conforming_type, code16_base, 0xffff, false, false, false},  // not present: Linux allows no other conforming ones
    // Data: wide, ending within the data pages, read-only, expand-down, and one through which addresses wrap.
    {data_type, data16_base, 0xffff, false, false, true},
    {data_type, data16_base, 0x47ff, false, false, true},
    {data_type, 0x30000000, 0x4567, true, true, true},
    {read_only_type, data_at - 0x2000, 0x6fff, false, false, true},
    {expand_down_type, data16_base, 0x37ff, false, false, true},
    {expand_down_type, data16_base, 0x3fff, false, true, true},
    {data_type, data16_base, 0xffff, false, false, false},  // not present
    {data_type, 0xf0000000, 0xfffff, true, true, true},
    // Stacks: 16 and 32 bits wide, expand-down, ending within the page.
    {data_type, stack16_base, 0xffff, false, false, true},
    {data_type, 0x30000000, 0x4812, true, true, true},
    {expand_down_type, stack16_base, 0x43ff, false, false, true},
    {expand_down_type, stack16_base, 0x43ff, false, true, true},
    {data_type, stack16_base, 0x4bff, false, false, true},
};
constexpr unsigned local_count = sizeof local_table / sizeof local_table[0];
constexpr unsigned first_code16 = 0, first_code32 = 4, first_data = 8, first_stack = 16;
constexpr uint16_t local_selector(unsigned index) { return static_cast<uint16_t>(index * 8 | 7); }

// arch/x86/include/asm/segment.h of Linux names them. The entry that holds the processor's number is left out: no case uses it.
constexpr uint64_t global_table[] = {
    0,
    0x00cf9b000000ffff,  // 32-bit kernel code
    0x00af9b000000ffff,  // kernel code
    0x00cf93000000ffff,  // kernel data
    0x00cffb000000ffff,  // 32-bit user code
    0x00cff3000000ffff,  // user data
    0x00affb000000ffff,  // user code
    0,
    0x00008b0000000067,  // task state, of two entries
    0,
    0x0000820000000fff,  // local table, of two entries
    0,
};
constexpr unsigned global_count = sizeof global_table / sizeof global_table[0];
constexpr uint16_t user_code32 = 0x23, user_data = 0x2b, user_code64 = 0x33;

}  // namespace silicon
