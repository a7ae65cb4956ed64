// Names of the architectural registers, bits and vectors, spelled as Intel's manual spells them.
#pragma once

#include <cstdint>

namespace matryoshka {

enum Gpr : unsigned { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };
enum SegmentName : unsigned { ES, CS, SS, DS, FS, GS, segment_count };

namespace rflags {
constexpr uint64_t CF = 1 << 0, always_one = 1 << 1, PF = 1 << 2, AF = 1 << 4, ZF = 1 << 6, SF = 1 << 7, TF = 1 << 8, IF = 1 << 9,
                   DF = 1 << 10, OF = 1 << 11, IOPL = 3 << 12, NT = 1 << 14, RF = 1 << 16, VM = 1 << 17, AC = 1 << 18,
                   VIF = 1 << 19, VIP = 1 << 20, ID = 1 << 21;
constexpr uint64_t status = CF | PF | AF | ZF | SF | OF;
constexpr uint64_t all = status | TF | IF | DF | IOPL | NT | RF | VM | AC | VIF | VIP | ID;
}  // namespace rflags

namespace cr0 {
constexpr uint64_t PE = 1 << 0, MP = 1 << 1, EM = 1 << 2, TS = 1 << 3, ET = 1 << 4, NE = 1 << 5, WP = 1 << 16, AM = 1 << 18,
                   NW = 1 << 29, CD = 1 << 30, PG = uint64_t{1} << 31;
}
namespace cr4 {
constexpr uint64_t VME = 1 << 0, PVI = 1 << 1, TSD = 1 << 2, DE = 1 << 3, PSE = 1 << 4, PAE = 1 << 5, MCE = 1 << 6, PGE = 1 << 7,
                   PCE = 1 << 8, OSFXSR = 1 << 9, OSXMMEXCPT = 1 << 10, UMIP = 1 << 11, LA57 = 1 << 12, VMXE = 1 << 13,
                   SMXE = 1 << 14, FSGSBASE = 1 << 16, PCIDE = 1 << 17, OSXSAVE = 1 << 18, SMEP = 1 << 20, SMAP = 1 << 21,
                   PKE = 1 << 22;
}
namespace efer {
constexpr uint64_t SCE = 1 << 0, LME = 1 << 8, LMA = 1 << 10, NXE = 1 << 11;
}
namespace dr6 {
constexpr uint64_t BD = 1 << 13, BS = 1 << 14, BT = 1 << 15, always_one = 0xffff0ff0;
}
namespace dr7 {
constexpr uint64_t GD = 1 << 13, always_one = 1 << 10;
}
namespace xcr0 {
constexpr uint64_t x87 = 1 << 0, sse = 1 << 1, pkru = 1 << 9;
}

// Exceptions and interrupts by vector.
enum Vector : uint8_t {
  DE_vector = 0,
  DB_vector = 1,
  NMI_vector = 2,
  BP_vector = 3,
  OF_vector = 4,
  BR_vector = 5,
  UD_vector = 6,
  NM_vector = 7,
  DF_vector = 8,
  TS_vector = 10,
  NP_vector = 11,
  SS_vector = 12,
  GP_vector = 13,
  PF_vector = 14,
  MF_vector = 16,
  AC_vector = 17,
  MC_vector = 18,
  XM_vector = 19
};

namespace page_fault {
constexpr uint32_t present = 1, write = 2, user = 4, reserved = 8, fetch = 16, protection_key = 32;
}

}  // namespace matryoshka
