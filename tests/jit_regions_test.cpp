// Which code becomes a region, what a region assumes, and how it goes again.
#include <catch2/catch.hpp>

#include "tests/cpu_bench.h"
#include "wasm-jit/code_cache.h"
#include "wasm-jit/vector_step.h"

using namespace matryoshka;

namespace {

constexpr uint64_t code = CpuBench::code_at;

Block* block_at(CpuBench& b, uint64_t physical) { return b.cpu.blocks().find(physical, b.cpu.mode_key()); }

// Forms a region where the code at `rip` has run before.
bool form_at(CpuBench& b, uint64_t rip, jit::Region& region) {
  b.cpu.state.rip = rip;
  Block* block = block_at(b, rip);
  REQUIRE(block);
  return jit::form(b.cpu, *block, {}, RegionEngine::longest_region, region);
}

// Has a region everywhere, which does nothing but note where it was entered.
class EmptyRegions final : public RegionEngine {
 public:
  explicit EmptyRegions(Processor& cpu) : cpu_(cpu) { cpu.set_regions(this); }
  ~EmptyRegions() override { cpu_.set_regions(nullptr); }
  std::vector<uint64_t> entered;

  Outcome run(uint32_t, int32_t budget) override {
    entered.push_back(cpu_.state.rip);
    return {End::interpreted, budget, nullptr, nullptr};
  }
  void link(void*, const Block&) override {}
  void taken_over(const Block&, const Op&, bool) override {}
  void consider(Processor&, Block&) override {}
  void compile_now() override {}
  uint32_t entry_for(uint64_t, uint32_t) const override { return 1; }
  uint64_t drop_written(uint64_t, uint64_t) override { return 0; }
  void drop_all() override {}

 private:
  Processor& cpu_;
};

}  // namespace

TEST_CASE("jit: An instruction across two pages is watched in both", "[jit]") {
  CpuBench b;
  b.put_bytes(code + 0xf00, {0xe9, 0xf8, 0, 0, 0});            // jmp to the page's last three bytes
  b.put_bytes(code + 0xffd, {0xb8, 1, 0, 0, 0});               // mov eax,1
  b.put_bytes(code + 0x1002, {0xe9, 0xf9, 0xfe, 0xff, 0xff});  // jmp to the start
  b.cpu.state.rip = code + 0xf00;
  b.run(6);
  jit::Region region;
  REQUIRE(form_at(b, code + 0xf00, region));
  REQUIRE(region.pages.size() == 2);
  CHECK(region.pages[0].granules == (uint64_t{1} << 63 | uint64_t{1} << 60));
  CHECK(region.pages[1].granules == 1);
}

TEST_CASE("jit: VEX instructions are in no region where the mode has none", "[jit]") {
  CpuBench b(CpuBench::Mode::protected32);
  b.cpu.state.cr0 &= ~cr0::PE;  // real mode that has kept its 32-bit segments
  b.cpu.derive();
  b.execute("c4 e2 78 f2 c3");  // andn eax,eax,ebx
  REQUIRE(b.triple);
  jit::Region region;
  CHECK_FALSE(form_at(b, code, region));
}

TEST_CASE("jit: A region that knows a page by two addresses is dropped once", "[jit]") {
  CpuBench b;
  jit::CodeCache cache(b.cpu.blocks(), b.memory, 0);
  jit::Region region;
  region.key = {code, b.cpu.mode_key()};
  region.pages = {{0, code, 1}, {1, code, 2}};
  cache.add(region);
  CHECK(cache.drop_written(code, 3) == 0);
  CHECK(cache.size() == 0);
  CHECK(cache.dropped_count == 1);
}

TEST_CASE("jit: A block whose region was dropped while it waited may become hot again", "[jit]") {
  CpuBench b;
  b.execute("eb fe");
  Block* block = block_at(b, code);
  REQUIRE(block);
  block->heat = 100;
  jit::CodeCache cache(b.cpu.blocks(), b.memory, 0);
  jit::Region region;
  region.key = {code, b.cpu.mode_key()};
  region.pages = {{0, code, 3}};
  cache.add(region);
  cache.drop_written(code, 2);
  CHECK(block->heat == 0);
}

TEST_CASE("jit: No region is entered where a direct jump can leave the canonical addresses", "[jit]") {
  CpuBench b;
  // The first 2 MiB once more, below the end of the lower half.
  constexpr uint64_t again = 0x7fffffe00000;
  b.put(0x10000 + 8 * 255, uint64_t{0x15007});
  b.put(0x15000 + 8 * 511, uint64_t{0x16007});
  b.put(0x16000 + 8 * 511, uint64_t{0x87});
  EmptyRegions regions(b.cpu);
  b.code("ff c0 eb fc");  // inc eax, for ever
  b.run(4);
  CHECK(regions.entered == std::vector<uint64_t>{code, code});
  regions.entered.clear();
  b.cpu.state.rip = again + code;
  b.run(4);
  CHECK(regions.entered.empty());
  CHECK(b.cpu.state.gpr[RAX] == 4);
}

TEST_CASE("jit: What is canonical is part of the mode", "[jit]") {
  CpuBench b;
  uint32_t four = b.cpu.mode_key();
  b.cpu.state.cr4 ^= cr4::LA57;
  b.cpu.derive();
  CHECK(b.cpu.mode_key() != four);
}

TEST_CASE("jit: Every function in the table of vector rows is some row's", "[jit]") { CHECK(jit::unused_vector_rows() == 0); }

TEST_CASE("jit: Bytes that are read in two ways belong to both", "[jit]") {
  // JE over the prefix of LOCK ADD: with it and without it the code goes on at the same INC.
  CpuBench b(CpuBench::Mode::long64);
  b.cpu.state.gpr[RDI] = CpuBench::data_at;
  b.cpu.state.gpr[RCX] = 8;
  b.code("f6 c1 01 74 01 f0 83 07 01 ff c3 ff c9 75 f1 f4");
  b.run(100);
  REQUIRE(b.cpu.state.gpr[RBX] == 8);
  jit::Region region;
  REQUIRE(form_at(b, CpuBench::code_at, region));
  unsigned increments = 0;
  for (const jit::Node& node : region.nodes) {
    int64_t at = node.start;
    for (const jit::Step& step : node.steps) {
      CHECK(step.start == at);
      at = step.end;
      if (step.kind == jit::Step::Kind::text) CHECK_FALSE(step.recording.effects.empty());
      increments += std::string_view(rows[step.op.row()].mnemonic) == "INC";
    }
    CHECK(node.end == at);
  }
  CHECK(increments == 1);
}
