// What --engine verify notices: an engine whose regions do what a test says, held against the interpreter.
#include "cpu/region_verifier.h"

#include <catch2/catch.hpp>
#include <functional>

#include "tests/cpu_bench.h"

using namespace matryoshka;

namespace {

constexpr uint64_t code = CpuBench::code_at, data = CpuBench::data_at;

// Has one region, at the start of the code.
class OneRegion final : public RegionEngine {
 public:
  // Does its work on the processor and answers how many ticks that took, at most the budget.
  std::function<int32_t(int32_t budget)> work;
  End end = End::next;
  Op op = {};

  Outcome run(uint32_t, int32_t budget) override {
    int32_t ticks = work(budget);
    return {ticks ? end : End::interpreted, budget - ticks, &op, nullptr};
  }
  void link(void*, const Block&) override {}
  void taken_over(const Block&, const Op&, bool) override {}
  void consider(Processor&, Block&) override {}
  void compile_now() override {}
  uint32_t entry_for(uint64_t physical, uint32_t) const override { return physical == code ? 1 : 0; }
  uint64_t drop_written(uint64_t, uint64_t) override { return 0; }
  void drop_all() override {}
};

// A machine that goes round in: inc eax; mov [rbx],eax; jmp to the start.
struct Bench {
  CpuBench b;
  OneRegion regions;
  std::unique_ptr<RegionVerifier> verifier;

  Bench() {
    b.cpu.set_regions(&regions);
    verifier = std::make_unique<RegionVerifier>(b.cpu, 1);
    b.cpu.set_verifier(verifier.get());
    b.cpu.state.gpr[RBX] = data;
    b.code("ff c0 89 03 eb fa");
    regions.work = [this](int32_t budget) { return round(budget); };
  }
  ~Bench() {
    b.cpu.set_verifier(nullptr);
    b.cpu.set_regions(nullptr);
  }

  // One time round as the interpreter would go, if the budget allows it and the store needs no look at the tables.
  int32_t round(int32_t budget) {
    CpuState& s = b.cpu.state;
    if (budget < 3) return 0;
    if (!b.cpu.mmu.try_store(s.gpr[RBX], static_cast<uint32_t>(s.gpr[RAX] + 1))) return 0;
    increment();
    return 3;
  }
  void increment() {
    CpuState& s = b.cpu.state;
    bool carry = s.flags.cf();
    s.gpr[RAX] = static_cast<uint32_t>(s.gpr[RAX] + 1);
    uint64_t flags = s.gpr[RAX] & 15 ? 0 : rflags::AF;
    s.flags.result = static_cast<int32_t>(s.gpr[RAX]);
    s.flags.aux = uint64_t{carry} << 63 | uint64_t{carry} << 62 | (flags ? StatusFlags::aux_af : 0);
  }
  std::string run(unsigned ticks = 600) {
    b.run(ticks);
    return verifier->difference();
  }
};

using Catch::Matchers::Contains;

}  // namespace

TEST_CASE("verify: A region that does the same is counted", "[verify]") {
  Bench t;
  CHECK(t.run() == "");
  CHECK(t.verifier->figures().instructions > 300);
  CHECK(t.b.cpu.state.gpr[RAX] == 200);
  CHECK(t.b.get<uint32_t>(data) == 200);
}

TEST_CASE("verify: A wrong register is found, with the instructions that lead to it", "[verify]") {
  Bench t;
  t.regions.work = [&](int32_t budget) {
    int32_t ticks = t.round(budget);
    if (t.b.cpu.state.gpr[RAX] == 100) t.b.cpu.state.gpr[RCX] ^= 4;
    return ticks;
  };
  std::string report = t.run();
  CHECK_THAT(report, Contains("rcx     region 0000000000000004, interpreter 0000000000000000"));
  CHECK_THAT(report, Contains("inc eax") && Contains("mov dword ptr [rbx], eax") && Contains("after 3 ticks"));
  // The interpreter's outcome stays.
  CHECK(t.b.cpu.state.gpr[RCX] == 0);
  CHECK(t.b.cpu.state.gpr[RAX] == 100);
}

TEST_CASE("verify: A wrong flag is found", "[verify]") {
  Bench t;
  t.regions.work = [&](int32_t budget) {
    int32_t ticks = t.round(budget);
    t.b.cpu.state.flags.aux &= ~StatusFlags::aux_af;
    return ticks;
  };
  CHECK_THAT(t.run(), Contains("rflags  region"));
}

TEST_CASE("verify: A wrong byte in memory is found, and a store too many on an open page", "[verify]") {
  Bench t;
  uint32_t offset = GENERATE(0u, 0x800u);
  t.regions.work = [&](int32_t budget) {
    int32_t ticks = t.round(budget);
    if (ticks && t.b.cpu.state.gpr[RAX] == 100) (void)t.b.cpu.mmu.try_store(data + offset, uint8_t{7});
    return ticks;
  };
  CHECK_THAT(t.run(), Contains(offset ? "memory  at 200800: region 0000000000000007, interpreter 0000000000000000"
                                      : "memory  at 200000: region 0000000000000007, interpreter 0000000000000064"));
  CHECK(t.b.get<uint32_t>(data) == 100);
  CHECK(t.b.get<uint8_t>(data + 0x800) == 0);
}

TEST_CASE("verify: A wrong number of ticks is found", "[verify]") {
  Bench t;
  t.regions.work = [&](int32_t budget) { return t.round(budget) ? 2 : 0; };
  CHECK(t.run() != "");
}

TEST_CASE("verify: A store that skips the dirty mark is found", "[verify]") {
  Bench t;
  t.regions.work = [&](int32_t budget) {
    // Past the tags: straight to the bytes of a page that is not open.
    if (budget < 3) return 0;
    t.increment();
    auto value = static_cast<uint32_t>(t.b.cpu.state.gpr[RAX]);
    std::memcpy(t.b.memory.ram().data() + data, &value, 4);
    return 3;
  };
  t.b.memory.clear_dirty();
  t.b.cpu.mmu.withhold_all_writes();
  CHECK_THAT(t.run(), Contains("page 200000 is marked as written only by the interpreter"));
}

TEST_CASE("verify: A fill that the interpreter does not make is found", "[verify]") {
  Bench t;
  t.regions.work = [&](int32_t budget) {
    int32_t ticks = t.round(budget);
    uint8_t byte;
    if (ticks) (void)t.b.cpu.mmu.load_slow(0x700000, &byte, 1);
    return ticks;
  };
  CHECK_THAT(t.run(), Contains("tlb     region: page 700000"));
  // The walk has set accessed bits; they were taken back.
  CHECK((t.b.get<uint64_t>(0x12000 + 8 * 3) & 0x20) == 0);
}

TEST_CASE("verify: An entry that lets through what it may not is found", "[verify]") {
  Bench t;
  t.regions.work = [&](int32_t budget) {
    int32_t ticks = t.round(budget);
    uint8_t byte = 0;
    if (ticks) {
      (void)t.b.cpu.mmu.load_slow(data + 0x1000, &byte, 1);
      t.b.cpu.mmu.data_set()->at(data + 0x1000).addend += page_size;
    }
    return ticks;
  };
  CHECK(t.run() != "");
}

TEST_CASE("verify: A fault that only the region meets is found", "[verify]") {
  Bench t;
  t.regions.work = [&](int32_t budget) {
    int32_t ticks = t.round(budget);
    t.regions.end = RegionEngine::End::next;
    if (t.b.cpu.state.gpr[RAX] != 100) return ticks;
    RegionContext c = t.b.cpu.region_context();
    *c.block_ops = &t.regions.op, *c.block_ticks = t.b.clock.ticks + 3, *c.block_rip = code;
    t.b.cpu.fault.raise(GP_vector, 0);
    t.regions.end = RegionEngine::End::faulted;
    return ticks;
  };
  CHECK_THAT(t.run(), Contains("fault   only the region has met one, with vector 13"));
}

TEST_CASE("verify: A region that comes to a device is taken back and not compared", "[verify]") {
  struct Device final : BusTarget {
    unsigned reads = 0;
    uint64_t read(unsigned, uint64_t, unsigned) override { return ++reads; }
    void write(unsigned, uint64_t, unsigned, uint64_t) override {}
  } device;
  Bench t;
  t.b.bus.map_memory(0xfd0000000, 0x1000, device);
  t.b.put(0x11000 + 8 * 1, uint64_t{0xfc0000087});  // the second gigabyte, in one page that the device is in
  t.b.cpu.state.gpr[RBX] = 0x50000000;
  t.b.code("ff c0 8b 0b eb fa");  // inc eax; mov ecx,[rbx]; jmp
  t.regions.work = [&](int32_t) {
    uint32_t value;
    (void)t.b.cpu.mmu.load_slow(0x50000000, &value, 4);
    return 3;
  };
  CHECK(t.run(30) == "");
  CHECK(device.reads == 10);
  CHECK(t.b.cpu.state.gpr[RCX] == 10);
  CHECK(t.verifier->figures().set_aside == 10);
  CHECK(t.verifier->figures().runs == 0);
}
