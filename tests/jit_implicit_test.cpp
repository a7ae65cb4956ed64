// A region gives a helper only the registers that its operands name, and takes back only those, unless its row says IMPLICIT.
// So each other x87, MMX or SSE row must keep to them.
#include <catch2/catch.hpp>

#include "cpu/handlers/instances.h"
#include "tests/cpu_bench.h"

using namespace matryoshka;

namespace {

constexpr unsigned reg = RDX, rm = RDI;

// The registers that operands of this row name, given those numbers in ModRM.
struct Named {
  uint32_t all = 0, first = 0;
};
Named named(const OperandList& operands) {
  Named n;
  for (unsigned i = 0; i < operands.count; ++i) {
    const OperandSpec& o = operands.operand[i];
    uint32_t used = 0;
    switch (o.kind) {
      case OperandClass::general_rm:
      case OperandClass::register_rm:
      case OperandClass::general_opcode: used = 1u << rm; break;
      case OperandClass::general_reg: used = 1u << reg; break;
      case OperandClass::general_fixed: used = 1u << o.number; break;
      default: break;
    }
    n.all |= used;
    if (i == 0) n.first = used;
  }
  return n;
}

struct Result {
  bool ok = false;
  CpuState state;
};

// The row on registers, with a background of general registers and flags for all that it does not name.
Result run(CpuBench& b, const CpuState& start, const Op& op, uint32_t keeps, uint64_t background) {
  b.cpu.state = start;
  CpuState& s = b.cpu.state;
  for (unsigned n = 0; n < 16; ++n)
    if (!(keeps >> n & 1)) s.gpr[n] = background + n;
  s.flags.set_bits(background & rflags::status);
  b.cpu.fault.clear();
  bool ok = handler_for(op.id)(b.cpu, op);
  return {ok && !b.cpu.fault.pending, s};
}

// Whether its outcome depends on what it names alone, and all else stays.
bool keeps_to_operands(CpuBench& b, const CpuState& start, const Op& op) {
  constexpr uint64_t backgrounds[] = {0x1000, 0xfff0'0000'0000'08d5};
  Named n = named(operands_of(op.row()));
  Result results[2];
  for (unsigned i = 0; i < 2; ++i) {
    results[i] = run(b, start, op, n.all, backgrounds[i]);
    const CpuState& s = results[i].state;
    if ((s.rflags() & rflags::status) != (backgrounds[i] & rflags::status)) return false;
    for (unsigned g = 0; g < 16; ++g)
      if (!(n.first >> g & 1) && s.gpr[g] != (n.all >> g & 1 ? start.gpr[g] : backgrounds[i] + g)) return false;
  }
  const CpuState &x = results[0].state, &y = results[1].state;
  bool same = results[0].ok == results[1].ok && x.mxcsr == y.mxcsr && x.x87.status == y.x87.status && x.x87.valid == y.x87.valid;
  for (unsigned i = 0; i < 16; ++i) {
    if (n.first >> i & 1) same = same && x.gpr[i] == y.gpr[i];
    same = same && x.xmm[i].q[0] == y.xmm[i].q[0] && x.xmm[i].q[1] == y.xmm[i].q[1];
  }
  for (unsigned i = 0; i < 8; ++i) same = same && x.x87.registers[i].significand == y.x87.registers[i].significand;
  return same;
}

}  // namespace

TEST_CASE("jit: Helper rows without IMPLICIT keep to the registers that they name, and those with it do not", "[jit]") {
  CpuBench b;
  CpuState start = b.cpu.state;
  for (unsigned n = 0; n < 16; ++n)
    start.gpr[n] = uint64_t{0x1122334455667788} * (n + 1), start.xmm[n] = {{0x3ff8000000000000, n}};
  for (unsigned n = 0; n < 8; ++n) start.x87.registers[n] = {(uint64_t{0xc} << 60) + n, 0x3fff};
  start.x87.valid = 0xff, start.x87.set_top(0);
  unsigned tried = 0;
  for (unsigned id = 0; id < row_count * 8; ++id) {
    const Row& row = rows[id >> 3];
    constexpr uint32_t fpu = attribute::SSE_STATE | attribute::MMX_STATE | attribute::X87_STATE;
    if (row.kind != Kind::kind_helper || !(row.attributes & fpu) || id & 1 || !id_exists(id)) continue;
    Instruction in;
    in.row = static_cast<uint16_t>(id >> 3), in.length = 4;
    in.has_modrm = true, in.mod = 3, in.reg = reg, in.rm = rm;
    in.operand_size = 8u << (id >> 1 & 3), in.address_size = 64, in.rex = 0x40;
    Op op = lower(in, b.cpu.mode(), 4);
    if (op.id != id) continue;
    ++tried;
    INFO(row.mnemonic << " " << row.operands << ", " << row.encoding);
    CHECK(keeps_to_operands(b, start, op) == !(row.attributes & attribute::IMPLICIT));
  }
  CHECK(tried > 300);
}
