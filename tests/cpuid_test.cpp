#include "cpu/system/cpuid.h"

#include <catch2/catch.hpp>
#include <cstring>

#include "tests/cpu_bench.h"

using namespace matryoshka;

namespace {

CpuModel model_of(const char* text) {
  CpuModel model;
  std::string error;
  REQUIRE(CpuModel::parse(text, model, error));
  return model;
}

struct Asker {
  explicit Asker(const char* text = "matryoshka") : model(model_of(text)) {}
  CpuidResult operator()(uint32_t leaf, uint32_t subleaf = 0) const { return cpuid(model, state, apic_id, leaf, subleaf); }
  std::string words(std::initializer_list<uint32_t> values) const {
    std::string text;
    for (uint32_t v : values)
      for (unsigned i = 0; i < 32; i += 8) text += static_cast<char>(v >> i);
    return text;
  }
  std::string brand() const {
    std::string text;
    for (uint32_t leaf = 0x80000002; leaf <= 0x80000004; ++leaf) {
      CpuidResult r = (*this)(leaf);
      text += words({r.eax, r.ebx, r.ecx, r.edx});
    }
    return text.c_str();
  }
  CpuModel model;
  CpuState state;
  uint32_t apic_id = 0;
};

bool same(const CpuidResult& a, const CpuidResult& b) {
  return a.eax == b.eax && a.ebx == b.ebx && a.ecx == b.ecx && a.edx == b.edx;
}

}  // namespace

TEST_CASE("CPUID: vendor, highest leaf and signature", "[cpuid]") {
  Asker ask;
  CpuidResult r = ask(0);
  CHECK(r.eax == 0x16);
  CHECK(ask.words({r.ebx, r.edx, r.ecx}) == "GenuineIntel");
  CHECK(ask(1).eax == 0x306c3);
  CHECK(Asker("pentium4-662")(1).eax == 0xf43);
  CHECK(Asker("nehalem")(1).eax == 0x106a5);
  CHECK(Asker("westmere")(1).eax == 0x206c2);
  CHECK(Asker("ivybridge-ep")(1).eax == 0x306e4);
  CHECK(Asker("qemu32")(1).eax == 0x663);
}

TEST_CASE("CPUID: every flag of the model shows in its bit, and no other", "[cpuid]") {
  auto name = GENERATE("matryoshka", "haswell", "qemu32");
  Asker ask(name);
  for (const FeatureInfo& info : feature_table) {
    if (info.leaf < 0x80000000 && info.leaf > ask.model.max_leaf) continue;
    CpuidResult r = ask(info.leaf, info.subleaf);
    uint32_t registers[] = {r.eax, r.ebx, r.ecx, r.edx};
    INFO(name << " " << info.name);
    CHECK((registers[static_cast<unsigned>(info.reg)] >> info.bit & 1) == ask.model.features.has(info.feature));
  }
}

TEST_CASE("CPUID: the bits that follow CR4 and IA32_APIC_BASE", "[cpuid]") {
  Asker ask;
  CHECK((ask(1).ecx >> 27 & 1) == 0);
  CHECK((ask(7).ecx >> 4 & 1) == 0);
  CHECK((ask(1).edx >> 9 & 1) == 1);
  ask.state.cr4 = cr4::OSXSAVE | cr4::PKE;
  ask.state.msr.apic_base = 0xfee00100;
  CHECK((ask(1).ecx >> 27 & 1) == 1);
  CHECK((ask(7).ecx >> 4 & 1) == 1);
  CHECK((ask(1).edx >> 9 & 1) == 0);
}

TEST_CASE("CPUID: IA32_MISC_ENABLE can limit the leaves and hide execute-disable", "[cpuid]") {
  Asker ask;
  ask.state.msr.misc_enable |= uint64_t{1} << 22 | uint64_t{1} << 34;
  CHECK(ask(0).eax == 2);
  CHECK(same(ask(7), ask(2)));
  CHECK((ask(0x80000001).edx >> 20 & 1) == 0);
}

TEST_CASE("CPUID: caches agree with the line size of leaf 1", "[cpuid]") {
  Asker ask;
  uint32_t line = (ask(1).ebx >> 8 & 0xff) * 8;
  CHECK(line == 64);
  constexpr uint32_t sizes[] = {32 << 10, 32 << 10, 256 << 10, 8 << 20}, levels[] = {1, 1, 2, 3}, types[] = {1, 2, 3, 3};
  for (uint32_t i = 0; i < 4; ++i) {
    CpuidResult r = ask(4, i);
    CHECK((r.eax & 31) == types[i]);
    CHECK((r.eax >> 5 & 7) == levels[i]);
    CHECK((r.ebx & 0xfff) + 1 == line);
    CHECK(((r.ebx >> 22) + 1) * ((r.ebx >> 12 & 0x3ff) + 1) * ((r.ebx & 0xfff) + 1) * (r.ecx + 1) == sizes[i]);
  }
  CHECK((ask(4, 4).eax & 31) == 0);
}

TEST_CASE("CPUID: topology of one processor and of six", "[cpuid]") {
  Asker ask;
  CHECK((ask(1).edx >> 28 & 1) == 0);
  CHECK(ask(0xb, 1).eax == 0);
  CHECK(ask(0xb, 1).ebx == 1);
  ask.model.processors = 6;
  ask.apic_id = 5;
  CHECK((ask(1).edx >> 28 & 1) == 1);
  CHECK((ask(1).ebx >> 16 & 0xff) == 8);
  CHECK(ask(1).ebx >> 24 == 5);
  CHECK(ask(4, 3).eax >> 26 == 7);
  CHECK((ask(4, 3).eax >> 14 & 0xfff) == 7);
  CHECK((ask(4, 0).eax >> 14 & 0xfff) == 0);
  CHECK(same(ask(0xb, 0), {0, 1, 0x100, 5}));
  CHECK(same(ask(0xb, 1), {3, 6, 0x201, 5}));
  CHECK(same(ask(0xb, 2), {0, 0, 2, 5}));
  CHECK(same(ask(0xb, 7), {0, 0, 7, 5}));
}

TEST_CASE("CPUID: sizes of the extended state match XCR0", "[cpuid]") {
  Asker ask;
  CpuidResult r = ask(0xd);
  CHECK(r.eax == 0x203);  // x87, SSE, PKRU
  CHECK(r.ebx == 576);
  CHECK(r.ecx == 2696);
  ask.state.xcr0 = 0x203;
  CHECK(ask(0xd).ebx == 2696);
  CHECK(same(ask(0xd, 1), {0xf, 584, 0, 0}));
  CHECK(same(ask(0xd, 9), {8, 2688, 0, 0}));
  CHECK(same(ask(0xd, 2), {}));
  CHECK(same(Asker("matryoshka,-pku")(0xd, 9), {}));
  CHECK(same(Asker("haswell")(0xd), {3, 576, 576, 0}));
  CHECK(same(Asker("haswell")(0xd, 1), {1, 0, 0, 0}));
}

TEST_CASE("CPUID: clocks and addresses", "[cpuid]") {
  Asker ask;
  CHECK(same(ask(0x15), {1, 40, 25'000'000, 0}));
  CHECK(same(ask(0x16), {1000, 1000, 100, 0}));
  CHECK(ask(6).eax == 4);  // ARAT
  CHECK(ask(0x80000007).edx == 1 << 8);
  CHECK(ask(0x80000008).eax == 0x3027);
  CHECK(ask(0x80000000).eax == 0x80000008);
  CHECK(ask(0xa).eax == 0);
}

TEST_CASE("CPUID: the brand string", "[cpuid]") {
  CHECK(Asker().brand() == "Matryoshka x86-64 processor @ 1.00GHz");
  CHECK(Asker("haswell").brand() == "Intel(R) Core(TM) i7-4770 CPU @ 3.40GHz");
}

TEST_CASE("CPUID: a leaf out of range answers as the highest basic one", "[cpuid]") {
  Asker ask;
  for (uint32_t leaf : {0x17u, 0x40000000u, 0x80000009u, 0xc0000000u, 0xffffffffu}) CHECK(same(ask(leaf), ask(0x16)));
  Asker haswell("haswell");
  CHECK(same(haswell(0x40000001, 1), haswell(0xd, 1)));
  CHECK(same(ask(3), {}));
  CHECK(same(ask(7, 1), {}));
}

TEST_CASE("CPUID: MONITOR's leaf is empty while MONITOR is hidden", "[cpuid]") {
  CHECK(same(Asker()(5), {}));
  CHECK(same(Asker("matryoshka,+monitor")(5), {64, 64, 3, 0}));
}

TEST_CASE("CPUID, the instruction: registers are zero-extended, and leaf 1 loads the microcode revision", "[cpuid]") {
  CpuBench b;
  b.cpu.state.gpr[RAX] = 0xffffffff00000001;
  b.cpu.state.gpr[RBX] = b.cpu.state.gpr[RCX] = b.cpu.state.gpr[RDX] = ~uint64_t{0};
  b.execute("0f a2");  // cpuid
  CHECK(b.cpu.state.gpr[RAX] == 0x306c3);
  CHECK(b.cpu.state.gpr[RBX] >> 32 == 0);
  CHECK(b.cpu.state.gpr[RDX] >> 32 == 0);
  CHECK(b.cpu.state.msr.bios_sign_id >> 32 == 0x100);
}
