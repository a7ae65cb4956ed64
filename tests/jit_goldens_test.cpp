// What the emitter writes for blocks of every kind, pinned as text: tests/goldens/NAME.txt. Whoever changes the emission reads
// the diff of
//
//   GOLDENS=write build/native/tests/unit-tests '[goldens]'
#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "cpu/disassemble.h"
#include "tests/cpu_bench.h"
#include "wasm-jit/emitter.h"
#include "wasm-jit/wasm_text.h"

using namespace matryoshka;

namespace {

using Mode = CpuBench::Mode;

struct Golden {
  const char* name;
  Mode mode;
  const char* code;  // has run for a while when it is compiled
};

// clang-format off
constexpr Golden goldens[] = {
    {"count_down", Mode::long64, "48 01 c8 48 ff c9 75 f8"},
    {"sum_array", Mode::long64, "48 03 04 cb 48 ff c1 48 39 d1 72 f4"},
    {"byte_copy", Mode::long64, "8a 06 88 07 48 ff c6 48 ff c7 48 ff ca 75 f1"},
    {"list_walk", Mode::long64, "48 8b 00 48 85 c0 75 f8"},
    {"signed_compare", Mode::long64, "39 c8 7e 02 29 c8 ff c1 83 f9 64 7c f3"},
    {"unsigned_compare", Mode::long64, "48 39 c8 76 02 48 91 48 83 e9 01 73 f3"},
    {"byte_registers", Mode::long64, "00 dc 88 f1 28 cf 75 f8"},
    {"word_arithmetic", Mode::long64, "66 01 c8 66 6b d0 07 66 39 c2 75 f4"},
    {"add_with_carry", Mode::long64, "48 01 c8 48 83 d2 00 73 f7"},
    {"subtract_with_borrow", Mode::long64, "48 29 c8 48 19 d2 78 f8"},
    {"increment_keeps_carry", Mode::long64, "48 39 d8 48 ff c1 48 83 d2 00 eb f4"},
    {"shifts", Mode::long64, "48 c1 e0 03 c1 e9 05 48 d1 fa 48 c1 c3 07 73 f0"},
    {"shift_by_cl", Mode::long64, "d3 e0 48 d3 ea 75 f9"},
    {"double_shift", Mode::long64, "48 0f a4 d0 0c 0f ac d9 04 eb f5"},
    {"multiply", Mode::long64, "48 f7 e1 48 0f af d0 f7 eb 70 f5"},
    {"divide", Mode::long64, "31 d2 f7 f1 ff c9 75 f8"},
    {"bits", Mode::long64, "48 0f bc c1 48 0f bd d1 48 0f ba e1 05 48 0f ba e9 09 72 ec"},
    {"popcount", Mode::long64, "f3 48 0f b8 c1 f3 48 0f bd d0 f3 48 0f bc d8 eb ef"},
    {"set_and_move_if", Mode::long64, "39 c8 0f 9c c2 48 0f 4d d8 ff c9 75 f3"},
    {"widen", Mode::long64, "0f b6 06 48 0f bf 4e 02 48 63 56 04 48 83 c6 08 eb ee"},
    {"sign_extend", Mode::long64, "48 98 48 99 66 99 eb f8"},
    {"byte_swap", Mode::long64, "48 0f c8 0f c9 eb f9"},
    {"read_modify_write", Mode::long64, "83 03 01 48 31 4b 08 f6 53 10 66 f7 5b 12 eb f0"},
    {"exchange", Mode::long64, "48 87 03 48 0f c1 4b 08 48 0f b1 53 10 74 f1"},
    {"push_pop", Mode::long64, "50 51 58 59 eb fa"},
    {"call_return", Mode::long64, "e8 07 00 00 00 48 ff c9 75 f6 eb 04 48 01 c8 c3 eb fe"},
    {"indirect_jump", Mode::long64, "48 83 c1 08 ff 24 0b"},
    {"rip_relative", Mode::long64, "48 8b 05 f9 ff ff ff 48 8d 0d f2 ff ff ff eb f0"},
    {"segment_base", Mode::long64, "64 48 8b 04 25 28 00 00 00 65 48 89 01 eb f1"},
    {"nested_loops", Mode::long64, "b9 08 00 00 00 48 01 c8 ff c9 75 f9 48 ff ca 75 ef"},
    {"flags_pushed", Mode::long64, "01 c8 9c 58 eb fa"},
    {"flags_of_several", Mode::long64, "a8 01 74 04 01 c8 eb 02 29 c8 70 f4 0f 9a c0 eb ef"},
    {"direction", Mode::long64, "fc ac aa fd eb fa"},
    {"vector_add", Mode::long64, "f3 0f 6f 06 66 0f fe c1 f3 0f 7f 06 48 83 c6 10 eb ee"},
    {"scalar_double", Mode::long64, "f2 0f 59 c1 f2 0f 58 06 f2 0f 2c c0 eb f2"},
    {"x87", Mode::long64, "dd 06 dc c8 dd 1e eb f8"},
    {"not_in_a_region", Mode::long64, "ff c0 0f a2 eb fa"},
    {"stack_frame", Mode::protected32, "55 89 e5 83 ec 10 8b 45 08 c9 eb f4"},
    {"joined_streams", Mode::long64, "f6 c1 01 74 01 f0 83 07 01 ff c3 ff c9 75 f1"},
    {"segment_limit", Mode::protected32, "64 a1 28 00 00 00 65 89 01 eb f5"},
    {"wrap_32", Mode::protected32, "8d 44 88 ff 01 08 e2 f8"},
    {"bcd", Mode::protected32, "27 d4 0a eb fb"},
};
// clang-format on

// Addresses that stay what they are, whatever the program around them looks like.
class InventedHost final : public jit::EmitterHost {
 public:
  jit::Address new_cell() override { return cells_ += 40; }
  jit::Address keep(const Op&) override { return ops_ += 32; }
  jit::Address keep(std::vector<jit::ExitSite>) override { return 40000; }
  uint32_t helper_slot(const Op&) override { return 77; }

 private:
  jit::Address cells_ = 20000, ops_ = 30000;
};

jit::Layout invented_layout() {
  jit::Layout l;
  l.gpr = 1000, l.rip = 1200, l.flag_result = 1208, l.flag_aux = 1216, l.system_flags = 1224, l.segment_base = 1300;
  l.segment_room = 1360;
  l.attention = 1400, l.processor = 1500, l.block_ops = 1600, l.block_rip = 1608, l.block_ticks = 1616, l.end_ticks = 1624;
  l.budget_left = 1632, l.fault_op = 1640;
  l.interpreted_cell = 2000, l.refused_cell = 2100, l.fault_cell = 2200, l.indirect_cell = 2300;
  l.xmm = 1700, l.mxcsr = 1960, l.sti_shadow = 1964, l.run_and_go_on = 78, l.run_and_leave = 79, l.next_cell = 2400;
  l.jumps = 3000, l.data_tlb = 100000, l.code_tlb = 200000;
  return l;
}

std::string emitted(const Golden& golden) {
  CpuBench b(golden.mode);
  for (unsigned r : {RBX, RSI, RDI}) b.cpu.state.gpr[r] = CpuBench::data_at + 0x100;
  b.cpu.state.gpr[RCX] = 3;
  b.code(std::string(golden.code) + " f4");  // HLT, which no region has
  b.run(60);
  b.cpu.state.rip = CpuBench::code_at;
  Block* block = b.cpu.blocks().find(CpuBench::code_at, b.cpu.mode_key());
  REQUIRE(block);
  jit::Region region;
  if (!jit::form(b.cpu, *block, jit::SlowSites(), RegionEngine::longest_region, region)) return "no region\n";
  InventedHost host;
  std::vector<jit::StepMark> marks;
  jit::WasmWriter body = jit::emit(region, invented_layout(), host, &marks);
  std::vector<jit::Note> notes;
  for (const jit::StepMark& mark : marks)
    notes.push_back({mark.offset, disassemble_at(b.cpu, CpuBench::code_at + static_cast<uint64_t>(mark.distance))});
  return jit::text_of(body, notes);
}

std::string first_difference(const std::string& was, const std::string& is) {
  std::istringstream old_text(was), new_text(is);
  std::string x, y, guest;
  for (unsigned line = 1;; ++line) {
    bool more = static_cast<bool>(std::getline(old_text, x)), others = static_cast<bool>(std::getline(new_text, y));
    if (!more && !others) return {};
    if (x != y || more != others)
      return "line " + std::to_string(line) + ", after the guest's \"" + guest + "\": was \"" + (more ? x : "the end") +
             "\", is \"" + (others ? y : "the end") + "\"";
    if (y.rfind(";; ", 0) == 0) guest = y.substr(3);
  }
}

}  // namespace

TEST_CASE("jit: What is emitted for blocks of every kind is what was reviewed", "[jit][goldens]") {
  const char* wish = std::getenv("GOLDENS");
  bool writes = wish && std::string(wish) == "write";
  for (const Golden& golden : goldens) {
    std::string path = std::string(GOLDENS_FOLDER) + "/" + golden.name + ".txt", text = emitted(golden);
    if (writes) {
      std::ofstream(path) << text;
      continue;
    }
    std::ifstream file(path);
    std::stringstream kept;
    kept << file.rdbuf();
    INFO(golden.name << ": " << first_difference(kept.str(), text));
    INFO("If that is meant, GOLDENS=write build/native/tests/unit-tests '[goldens]' writes it; then read git diff tests/goldens");
    CHECK((kept.str() == text));
  }
}
