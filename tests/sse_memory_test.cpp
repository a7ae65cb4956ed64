// What all SIMD rows have in common: memory operands give what registers give, alignment is asked for where the table says so,
// and a fault leaves everything as it was.
#include <catch2/catch.hpp>
#include <cctype>
#include <random>
#include <set>

#include "tests/sse_bench.h"

using namespace matryoshka;

namespace {

bool is_simd(const Row& row) { return row.family == Family::mmx || row.family == Family::sse || row.family == Family::crypto; }

bool is_state_management(const Row& row) {
  return std::string_view(row.operands) == "M" || std::string_view(row.operands) == "Md";
}

// The place of the operand that may be memory, and its size in bytes (in a row whose size follows REX.W: without it).
int memory_operand(const Row& row, unsigned& bytes) {
  OperandList list = parse_operands(row.operands);
  for (unsigned i = 0; i < list.count; ++i) switch (list.operand[i].kind) {
      case OperandClass::xmm_rm:
      case OperandClass::mmx_rm:
      case OperandClass::general_rm:
      case OperandClass::memory_only: bytes = bits_of_size(list.operand[i].size, 32) / 8; return static_cast<int>(i);
      default: break;
    }
  return -1;
}

SimdState random_state(std::mt19937_64& random) {
  SimdState s;
  for (Xmm& x : s.xmm) x = {{random(), random()}};
  for (uint64_t& m : s.mm) m = random();
  for (uint64_t& g : s.gpr) g = random();
  return s;
}

// Register loads from memory clear the rest, or have one lane to choose from.
const std::set<std::string_view> differs_by_form = {"MOVSS", "MOVSD", "INSERTPS"};

}  // namespace

TEST_CASE("SIMD memory sources give what register sources give", "[sse]") {
  const uint64_t seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  SimdBench bench;
  unsigned compared = 0;
  for (const Row& row : rows) {
    unsigned bytes = 0;
    int place = memory_operand(row, bytes);
    if (!is_simd(row) || place < 1 || must_be_memory(parse_operands(row.operands)) || differs_by_form.count(row.mnemonic))
      continue;
    INFO(row.mnemonic << ' ' << row.operands);
    for (int i = 0; i < 8; ++i) {
      SimdState input = random_state(random);
      auto immediate = static_cast<uint8_t>(random());
      bench.load(input);
      REQUIRE(bench.step(register_form(row, immediate)));
      SimdState from_register = bench.result();
      bench.load(input);
      OperandClass kind = parse_operands(row.operands).operand[place].kind;
      Xmm source = kind == OperandClass::mmx_rm       ? Xmm{{input.mm[2], 0}}
                   : kind == OperandClass::general_rm ? Xmm{{input.gpr[2], 0}}
                                                      : input.xmm[2];
      bench.machine.put(SimdBench::data_at, source);
      REQUIRE(bench.step(memory_form(row, immediate)));
      SimdState from_memory = bench.result();
      for (unsigned r = 0; r < 4; ++r) {
        CHECK(text_of(from_memory.xmm[r]) == text_of(from_register.xmm[r]));
        CHECK(from_memory.mm[r] == from_register.mm[r]);
        CHECK(from_memory.gpr[r] == from_register.gpr[r]);
      }
      CHECK(from_memory.flags == from_register.flags);
      CHECK(from_memory.mxcsr == from_register.mxcsr);
      ++compared;
    }
  }
  CHECK(compared > 2000);
}

TEST_CASE("SIMD memory operands read no byte beyond their size, and fault without effect", "[sse]") {
  std::mt19937_64 random(1);
  SimdBench bench;
  // 600000 to 7fffff is mapped, 800000 is not.
  bench.machine.put(0x12000 + 8 * 4, uint64_t{0});
  bench.cpu.forget_caches();
  for (const Row& row : rows) {
    unsigned bytes = 0;
    if (!is_simd(row) || is_state_management(row) || memory_operand(row, bytes) < 0) continue;
    INFO(row.mnemonic << ' ' << row.operands);
    SimdState input = random_state(random);
    bench.load(input);
    bench.cpu.state.x87.status = 0x1000;
    bench.cpu.state.x87.valid = 0x0f;
    bench.cpu.state.gpr[RSI] = 0x800000 - bytes;
    CHECK(bench.step(memory_form(row, 0)));

    bench.load(input);
    bench.cpu.state.x87.status = 0x1000;
    bench.cpu.state.x87.valid = 0x0f;
    bench.cpu.state.gpr[RSI] = row.attributes & attribute::ALIGNED ? 0x800000 : 0x800000 - bytes + 1;
    bench.machine.put(0x800000 - 16, Xmm{{0x1111, 0x2222}});
    CHECK(!bench.step(memory_form(row, 0)));
    CHECK(bench.cpu.fault.vector == PF_vector);
    CHECK(bench.cpu.fault.address == 0x800000);
    SimdState after = bench.result();
    for (unsigned r = 0; r < 4; ++r) {
      CHECK(text_of(after.xmm[r]) == text_of(input.xmm[r]));
      CHECK(after.mm[r] == input.mm[r]);
      CHECK(after.gpr[r] == input.gpr[r]);
    }
    CHECK(after.mxcsr == input.mxcsr);
    CHECK(bench.cpu.state.x87.status == 0x1000);
    CHECK(bench.cpu.state.x87.valid == 0x0f);
    CHECK(bench.machine.get(0x800000 - 16) == 0x1111);
  }
}

TEST_CASE("SIMD memory operands are aligned where the table says so", "[sse]") {
  SimdBench bench;
  for (const Row& row : rows) {
    unsigned bytes = 0;
    if (!is_simd(row) || is_state_management(row) || memory_operand(row, bytes) < 0) continue;
    INFO(row.mnemonic << ' ' << row.operands);
    const bool aligned = row.attributes & attribute::ALIGNED;
    if (aligned) CHECK(bytes == 16);
    bench.load({});
    bench.cpu.state.gpr[RSI] = SimdBench::data_at + 8;
    CHECK(bench.step(memory_form(row, 0)) == !aligned);
    if (!aligned) continue;
    CHECK(bench.cpu.fault.vector == GP_vector);
    CHECK(bench.cpu.fault.has_error_code);
    CHECK(bench.cpu.fault.error_code == 0);
  }
}

TEST_CASE("SIMD rows ask for the state that they use", "[sse]") {
  const std::set<std::string_view> general_only = {"MOVNTI", "CRC32",    "FXSAVE", "FXRSTOR", "XSAVE",  "XRSTOR",
                                                   "XSAVEC", "XSAVEOPT", "XSAVES", "XRSTORS", "RDPKRU", "WRPKRU"};
  for (const Row& row : rows) {
    if (!is_simd(row)) continue;
    INFO(row.mnemonic << ' ' << row.operands);
    bool xmm = false, mmx = std::string_view(row.mnemonic) == "EMMS";
    OperandList list = parse_operands(row.operands);
    for (unsigned i = 0; i < list.count; ++i) switch (list.operand[i].kind) {
        case OperandClass::xmm_reg:
        case OperandClass::xmm_rm:
        case OperandClass::xmm_register_rm: xmm = true; break;
        case OperandClass::mmx_reg:
        case OperandClass::mmx_rm:
        case OperandClass::mmx_register_rm: mmx = true; break;
        default: break;
      }
    if (std::string_view(row.mnemonic).ends_with("MXCSR")) xmm = true;
    if (general_only.count(row.mnemonic)) xmm = mmx = false;
    CHECK(bool(row.attributes & attribute::SSE_STATE) == xmm);
    CHECK(bool(row.attributes & attribute::MMX_STATE) == mmx);
  }
}
