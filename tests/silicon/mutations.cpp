#include "tests/silicon/mutations.h"

#include <string_view>
#include <utility>

#include "cpu/isa.h"

namespace silicon {
namespace {

using namespace matryoshka;

bool is(const Case& c, std::string_view mnemonic) { return mnemonic == rows[c.row].mnemonic; }
bool has_operands(const Case& c, std::string_view operands) { return operands == rows[c.row].operands; }
bool completed(const Outcome& out) { return out.exception == Outcome::none; }

constexpr Mutation list[] = {
    {"ADC forgets the carry in 64-bit operands",
     [](const Case& c, const Instruction& in, CpuState& s) {
       if (is(c, "ADC") && in.operand_size == 64) s.set_rflags(s.rflags() & ~uint64_t{rflags::CF});
     },
     nullptr},
    {"MOV to a 32-bit register keeps the upper half", nullptr,
     [](const Case& c, const Instruction& in, Outcome& out) {
       if (is(c, "MOV") && has_operands(c, "Gv,Ev") && c.bits == 64 && in.operand_size == 32 && completed(out))
         out.gpr[in.reg] |= c.gpr[in.reg] & 0xffffffff00000000;
     }},
    {"SHL by CL counts modulo 32 in 64-bit operands",
     [](const Case& c, const Instruction& in, CpuState& s) {
       if (is(c, "SHL") && has_operands(c, "Ev,CL") && in.operand_size == 64) s.gpr[RCX] &= ~uint64_t{0x20};
     },
     [](const Case& c, const Instruction& in, Outcome& out) {
       bool own_count = in.is_memory || in.rm != RCX;
       if (is(c, "SHL") && has_operands(c, "Ev,CL") && own_count) out.gpr[RCX] = c.gpr[RCX];
     }},
    {"IMUL sets CF alone", nullptr,
     [](const Case& c, const Instruction&, Outcome& out) {
       if (is(c, "IMUL")) out.flags &= ~uint64_t{rflags::OF};
     }},
    {"STOS goes upwards whatever DF says",
     [](const Case& c, const Instruction&, CpuState& s) {
       if (is(c, "STOS")) s.system_flags &= ~uint64_t{rflags::DF};
     },
     [](const Case& c, const Instruction&, Outcome& out) {
       if (is(c, "STOS")) out.flags |= c.flags & rflags::DF;
     }},
    {"CMPXCHG of a read-only page faults as a read", nullptr,
     [](const Case& c, const Instruction&, Outcome& out) {
       constexpr uint32_t write = 2;
       if (is(c, "CMPXCHG") && out.exception == PF_vector) out.error &= ~write;
     }},
    {"FADD has no precision control",
     [](const Case& c, const Instruction&, CpuState& s) {
       constexpr uint16_t extended = 0x300;
       if (is(c, "FADD")) s.x87.control |= extended;
     },
     [](const Case& c, const Instruction&, Outcome& out) {
       if (is(c, "FADD")) out.fx.control = c.fx.control;
     }},
    {"MINPS takes the first operand if one is a NaN",
     [](const Case& c, const Instruction& in, CpuState& s) {
       if (is(c, "MINPS") && !in.is_memory) std::swap(s.xmm[in.reg], s.xmm[in.rm]);
     },
     [](const Case& c, const Instruction& in, Outcome& out) {
       if (!is(c, "MINPS") || in.is_memory || in.reg == in.rm) return;
       std::memcpy(out.fx.xmm[in.rm], c.fx.xmm[in.rm], sizeof out.fx.xmm[0]);
       if (!completed(out)) std::memcpy(out.fx.xmm[in.reg], c.fx.xmm[in.reg], sizeof out.fx.xmm[0]);
     }},
    {"PUSH SP stores what SP becomes, as an 8086", nullptr,
     [](const Case& c, const Instruction& in, Outcome& out) {
       if (!is(c, "PUSH") || !has_operands(c, "Zv") || in.rm != RSP || c.bits != 64 || !completed(out)) return;
       for (unsigned i = 0; i < c.windows; ++i) {
         uint64_t at = out.gpr[RSP] - c.window[i].address;
         if (at + 8 <= c.window[i].size) std::memcpy(out.bytes[i] + at, &out.gpr[RSP], in.operand_size / 8);
       }
     }},
    {"A segment's limit counts one byte too many",
     [](const Case& c, const Instruction&, CpuState& s) {
       Segment& ds = s.segment[DS];
       if (c.segmented && !ds.unusable() && !ds.expand_down() && ds.limit != 0xffffffff) ++ds.limit;
     },
     nullptr},
    {"LOOP under 67 counts all of RCX", nullptr,
     [](const Case& c, const Instruction& in, Outcome& out) {
       if (is(c, "LOOP") && c.bits == 64 && in.address_size == 32 && completed(out)) out.gpr[RCX] = c.gpr[RCX] - 1;
     }},
    {"CVTSD2SI rounds to nearest whatever MXCSR says",
     [](const Case& c, const Instruction&, CpuState& s) {
       constexpr uint32_t rounding = 0x6000;
       if (is(c, "CVTSD2SI")) s.mxcsr &= ~rounding;
     },
     [](const Case& c, const Instruction&, Outcome& out) {
       constexpr uint32_t rounding = 0x6000;
       if (is(c, "CVTSD2SI")) out.fx.mxcsr |= c.fx.mxcsr & rounding;
     }},
};

}  // namespace

std::span<const Mutation> mutations() { return list; }

}  // namespace silicon
