#include "cpu/system/msr.h"

#include <catch2/catch.hpp>
#include <random>

#include "cpu/charges.h"
#include "tests/cpu_bench.h"
#include "tests/device_bench.h"

using namespace matryoshka;

namespace {

struct Msrs {
  explicit Msrs(const char* model = "matryoshka") : bench(CpuBench::Mode::long64, model), cpu(bench.cpu) {}
  uint64_t read(uint32_t number) {
    uint64_t value = 0;
    INFO("MSR " << std::hex << number);
    CHECK(read_msr(cpu, number, value));
    return value;
  }
  bool exists(uint32_t number) {
    uint64_t value;
    return read_msr(cpu, number, value);
  }
  bool write(uint32_t number, uint64_t value) { return write_msr(cpu, number, value); }
  CpuBench bench;
  Processor& cpu;
};

enum Number : uint32_t {
  TSC = 0x10,
  APIC_BASE = 0x1b,
  FEATURE_CONTROL = 0x3a,
  TSC_ADJUST = 0x3b,
  SPEC_CTRL = 0x48,
  PRED_CMD = 0x49,
  BIOS_SIGN_ID = 0x8b,
  ARCH_CAPABILITIES = 0x10a,
  FLUSH_CMD = 0x10b,
  MISC_ENABLE = 0x1a0,
  DEBUGCTL = 0x1d9,
  MTRR_BASE0 = 0x200,
  MTRR_MASK0 = 0x201,
  MTRR_FIX64K = 0x250,
  PAT = 0x277,
  MTRR_DEF_TYPE = 0x2ff,
  TSC_DEADLINE = 0x6e0,
  XSS = 0xda0,
  EFER = 0xc0000080,
  LSTAR = 0xc0000082,
  FMASK = 0xc0000084,
  FS_BASE = 0xc0000100,
  KERNEL_GS_BASE = 0xc0000102,
  TSC_AUX = 0xc0000103
};

constexpr uint64_t non_canonical = 0x0000'8000'0000'0000, highest_lower = 0x0000'7fff'ffff'ffff,
                   lowest_upper = 0xffff'8000'0000'0000;

}  // namespace

TEST_CASE("MSRs: all that Linux 6.1 reads at boot is there", "[msr]") {
  Msrs m;
  for (uint32_t n :
       {0x10u,       0x17u,       0x1bu,       0x34u,       0x3au,       0x3bu,       0x48u,      0x8bu,       0xceu,
        0xfeu,       0x10au,      0x140u,      0x174u,      0x175u,      0x176u,      0x179u,     0x17au,      0x1a0u,
        0x1d9u,      0x1dbu,      0x1dcu,      0x1ddu,      0x1deu,      0x200u,      0x20fu,     0x250u,      0x258u,
        0x259u,      0x268u,      0x26fu,      0x277u,      0x2ffu,      0x6e0u,      0xda0u,     0xc0000080u, 0xc0000081u,
        0xc0000082u, 0xc0000083u, 0xc0000084u, 0xc0000100u, 0xc0000101u, 0xc0000102u, 0xc0000103u})
    m.read(n);
  CHECK(m.write(PRED_CMD, 1));
  CHECK(m.write(FLUSH_CMD, 1));
  CHECK(m.write(0x391, 0x2000000f));  // the uncore driver, on loading
  CHECK(m.write(0x140, 0));
}

TEST_CASE("MSRs: unknown numbers and those of absent features are refused", "[msr]") {
  Msrs m;
  for (uint32_t n : {0x0u, 0x1au, 0x79u, 0xc1u, 0x123u, 0x186u, 0x19cu, 0x210u, 0x345u, 0x491u, 0x606u, 0x7ffu, 0x800u, 0x840u,
                     0xc00u, 0x40000000u, 0xc0000085u, 0xc0010015u, 0xffffffffu}) {
    INFO(std::hex << n);
    CHECK_FALSE(m.exists(n));
    CHECK_FALSE(m.write(n, 0));
  }
  CHECK(Msrs("default,-vmx").exists(0x480) == false);
  Msrs old("qemu32");
  for (uint32_t n : {+TSC_DEADLINE, +SPEC_CTRL, +ARCH_CAPABILITIES, +LSTAR, +FS_BASE, +TSC_AUX, +EFER, +XSS, 0xceu, 0x391u}) {
    INFO(std::hex << n);
    CHECK_FALSE(old.exists(n));
    CHECK_FALSE(old.write(n, 0));
  }
}

TEST_CASE("MSRs: EFER's rules", "[msr]") {
  Msrs m;
  uint64_t efer = m.read(EFER);
  CHECK(efer == 0xd01);                           // SCE, LME, LMA, NXE
  CHECK_FALSE(m.write(EFER, efer & ~efer::LME));  // paging is on
  CHECK_FALSE(m.write(EFER, efer | 1 << 12));
  CHECK(m.write(EFER, efer & ~(efer::LMA | efer::SCE)));
  CHECK(m.read(EFER) == 0xd00);  // LMA stays
  m.cpu.state.cr0 &= ~cr0::PG;
  m.cpu.state.msr.efer = 0;
  CHECK(m.write(EFER, efer::LME | efer::LMA));
  CHECK(m.read(EFER) == efer::LME);
  CHECK(m.write(EFER, 0));
  Msrs no_nx("matryoshka,-nx");
  CHECK_FALSE(no_nx.write(EFER, efer::NXE | efer::LME));
}

TEST_CASE("MSRs: execute-disable can be switched off", "[msr]") {
  Msrs m;
  m.cpu.state.msr.efer = 0;
  m.cpu.state.cr0 &= ~cr0::PG;
  CHECK(m.write(MISC_ENABLE, uint64_t{1} << 34));
  CHECK_FALSE(m.write(EFER, efer::NXE));
  CHECK(m.write(MISC_ENABLE, 1));
  CHECK(m.write(EFER, efer::NXE));
}

TEST_CASE("MSRs: MISC_ENABLE keeps what only says what there is", "[msr]") {
  Msrs m;
  CHECK(m.read(MISC_ENABLE) == 0x1801);  // fast strings; no BTS, no PEBS
  CHECK(m.write(MISC_ENABLE, ~uint64_t{0}));
  CHECK((m.read(MISC_ENABLE) & (1 << 7 | 1 << 18)) == 0);  // no PMU, no MONITOR
}

TEST_CASE("MSRs: addresses must be canonical", "[msr]") {
  Msrs m;
  for (uint32_t n : {0x175u, 0x176u, 0xc0000082u, 0xc0000083u, 0xc0000100u, 0xc0000101u, 0xc0000102u}) {
    INFO(std::hex << n);
    CHECK_FALSE(m.write(n, non_canonical));
    CHECK(m.write(n, highest_lower));
    CHECK(m.write(n, lowest_upper));
    CHECK(m.read(n) == lowest_upper);
  }
  CHECK(m.cpu.state.segment[FS].base == lowest_upper);
  CHECK_FALSE(m.write(FMASK, uint64_t{1} << 32));
  CHECK_FALSE(m.write(TSC_AUX, uint64_t{1} << 32));
}

TEST_CASE("MSRs: memory types", "[msr]") {
  Msrs m;
  CHECK(m.read(PAT) == 0x0007040600070406);
  CHECK(m.write(PAT, 0x0007010600070106));
  for (uint64_t bad : {2u, 3u, 8u, 0x80u}) {
    CHECK_FALSE(m.write(PAT, bad << 56));
    CHECK_FALSE(m.write(MTRR_FIX64K, bad << 8));
    CHECK_FALSE(m.write(MTRR_DEF_TYPE, bad));
    CHECK_FALSE(m.write(MTRR_BASE0, bad));
  }
  CHECK_FALSE(m.write(MTRR_DEF_TYPE, 7));  // UC- is for the PAT alone
  CHECK(m.read(0xfe) == 0x508);
  CHECK_FALSE(m.write(0xfe, 0x508));
  CHECK(m.write(MTRR_DEF_TYPE, 0xc06));
  CHECK_FALSE(m.write(MTRR_DEF_TYPE, 0x1006));
  CHECK(m.write(MTRR_BASE0, 0x7f'ffff'f006));
  CHECK_FALSE(m.write(MTRR_BASE0, 0x80'0000'0006));  // beyond the 39 physical bits
  CHECK_FALSE(m.write(MTRR_BASE0, 0x106));
  CHECK(m.write(MTRR_MASK0, 0x7f'c000'0800));
  CHECK_FALSE(m.write(MTRR_MASK0, 0x7f'c000'0400));
  CHECK(m.write(0x20f, 0x800));
  CHECK(m.read(0x20f) == 0x800);
}

TEST_CASE("MSRs: the memory types that firmware leaves", "[msr]") {
  Msrs m;
  set_firmware_memory_types(m.cpu.state, m.cpu.model, 0xc000'0000);
  CHECK(m.read(MTRR_DEF_TYPE) == 0xc06);
  CHECK(m.read(MTRR_BASE0) == 0xc000'0000);
  CHECK(m.read(MTRR_MASK0) == 0x7f'c000'0800);
  CHECK(m.read(0x258) == 0x0606060606060606);
  CHECK(m.read(0x259) == 0);
  CHECK(m.read(0x268) == 0x0505050505050505);
  set_firmware_memory_types(m.cpu.state, m.cpu.model, 0xb000'0000);
  CHECK(m.read(0x200) == 0xb000'0000);
  CHECK(m.read(0x201) == 0x7f'f000'0800);
  CHECK(m.read(0x202) == 0xc000'0000);
  CHECK(m.read(0x203) == 0x7f'c000'0800);
}

TEST_CASE("MSRs: the TSC, its adjustment and the deadline", "[msr]") {
  Msrs m;
  Clock& clock = m.bench.clock;
  clock.skip_to(1000);
  CHECK(m.read(TSC) == 1000);
  CHECK(m.write(TSC, 5000));
  CHECK(m.read(TSC) == 5000);
  CHECK(m.read(TSC_ADJUST) == 4000);
  CHECK(m.write(TSC_ADJUST, 0));
  CHECK(m.read(TSC) == 1000);
  CHECK(m.write(TSC_ADJUST, ~uint64_t{0} - 499));  // -500
  CHECK(m.read(TSC) == 500);
  m.cpu.apic.write(0, 0xf0, 4, 0x1ff);
  m.cpu.apic.write(0, 0x320, 4, 0x40040);
  CHECK(m.write(TSC_DEADLINE, 1500));
  CHECK(m.read(TSC_DEADLINE) == 1500);
  bench::pass(clock, 1000);
  CHECK(m.read(TSC_DEADLINE) == 0);
  CHECK(m.cpu.apic.has_interrupt());
}

TEST_CASE("MSRs: IA32_APIC_BASE moves the page and refuses reserved bits", "[msr]") {
  Msrs m;
  CHECK(m.read(APIC_BASE) == 0xfee00900);
  CHECK_FALSE(m.write(APIC_BASE, 0xfee00901));
  CHECK_FALSE(m.write(APIC_BASE, uint64_t{1} << 39 | 0x900));
  CHECK(m.cpu.mmu.physical_load(0xfee00030, 4) == 0x01050015);
  CHECK(m.write(APIC_BASE, 0xfed80900));
  CHECK(m.cpu.mmu.physical_load(0xfed80030, 4) == 0x01050015);
  CHECK(m.cpu.mmu.physical_load(0xfee00030, 4) != 0x01050015);
  CHECK(m.write(APIC_BASE, 0xfed80d00));  // x2APIC: no page
  CHECK(m.cpu.mmu.physical_load(0xfed80030, 4) != 0x01050015);
  CHECK(m.read(0x803) == 0x01050015);
  CHECK(m.write(APIC_BASE, 0xfee00100));
  CHECK(m.write(APIC_BASE, 0xfee00900));
  CHECK(m.cpu.mmu.physical_load(0xfee00030, 4) == 0x01050015);
  Msrs old("haswell,-x2apic");
  CHECK_FALSE(old.write(APIC_BASE, 0xfee00d00));
}

TEST_CASE("MSRs: what the processor says of itself", "[msr]") {
  Msrs m;
  CHECK(m.read(FEATURE_CONTROL) == 5);  // locked, with VMX outside of SMX
  CHECK_FALSE(m.write(FEATURE_CONTROL, 4));
  CHECK(Msrs("default,-vmx").read(FEATURE_CONTROL) == 1);
  uint64_t capabilities = m.read(ARCH_CAPABILITIES);
  // RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO
  CHECK((capabilities & 0x17b) == 0x17b);
  CHECK((capabilities & (1 << 2 | 1 << 7 | 1 << 19)) == 0);  // RSBA, TSX_CTRL, RRSBA
  CHECK_FALSE(m.write(ARCH_CAPABILITIES, capabilities));
  CHECK(m.write(SPEC_CTRL, 7));
  CHECK_FALSE(m.write(SPEC_CTRL, 8));
  CHECK_FALSE(m.exists(PRED_CMD));
  CHECK_FALSE(m.write(PRED_CMD, 2));
  CHECK_FALSE(m.write(FLUSH_CMD, 2));
  CHECK(m.write(DEBUGCTL, 2));
  CHECK_FALSE(m.write(DEBUGCTL, 4));
  CHECK_FALSE(m.write(0x1db, 0));
  CHECK_FALSE(m.write(XSS, 1));
  CHECK(m.write(BIOS_SIGN_ID, 0));
  CHECK(msr_name(EFER) == std::string("IA32_EFER"));
  CHECK(msr_name(0x1234) == nullptr);
}

TEST_CASE("MSRs: RDMSR and WRMSR as instructions", "[msr]") {
  CpuBench b;
  CpuState& s = b.cpu.state;
  s.gpr[RCX] = 0xffffffff00000000 | LSTAR;  // only ECX counts
  s.gpr[RAX] = 0xffffffff81234567, s.gpr[RDX] = 0x12345678ffffffff;
  b.execute("0f 30 0f 32", 2);  // wrmsr; rdmsr
  CHECK_FALSE(b.triple);
  CHECK(s.msr.lstar == 0xffffffff81234567);
  CHECK(s.gpr[RAX] == 0x81234567);
  CHECK(s.gpr[RDX] == 0xffffffff);
  CpuBench user(CpuBench::Mode::long64, "matryoshka", 3);
  user.cpu.state.gpr[RCX] = LSTAR;
  user.execute("0f 32");
  CHECK(user.triple);
}

TEST_CASE("RDTSC tells the clock, RDTSCP and RDPID the processor, and CR4.TSD keeps users out", "[msr]") {
  CpuBench b;
  CpuState& s = b.cpu.state;
  s.msr.tsc_aux = 0x1234;
  uint64_t end = s.rip + 11;
  b.code("0f 31 89 c3 0f 01 f9 f3 0f c7 fe");  // rdtsc; mov ebx, eax; rdtscp; rdpid rsi
  while (s.rip < end) b.run();
  CHECK(s.gpr[RBX] == 1);  // one tick for itself; the charge comes after
  CHECK(s.gpr[RAX] == 1 + rdtsc_charge + 2);
  CHECK(s.gpr[RCX] == 0x1234);
  CHECK(s.gpr[RSI] == 0x1234);
  CpuBench user(CpuBench::Mode::long64, "matryoshka", 3);
  user.execute("0f 31");
  CHECK_FALSE(user.triple);
  user.cpu.state.cr4 |= cr4::TSD;
  user.execute("0f 31");
  CHECK(user.triple);
}

TEST_CASE("RDRAND and RDSEED give a number of the operand's size and set CF alone", "[msr]") {
  CpuBench b;
  CpuState& s = b.cpu.state;
  s.gpr[RAX] = s.gpr[RBX] = s.gpr[RCX] = ~uint64_t{0};
  s.set_rflags(rflags::status | rflags::always_one);
  b.execute("66 0f c7 f0 0f c7 fb 48 0f c7 f1", 3);  // rdrand ax; rdseed ebx; rdrand rcx
  CHECK(s.gpr[RAX] >> 16 == 0xffffffffffff);
  CHECK(s.gpr[RBX] >> 32 == 0);
  CHECK(s.gpr[RCX] != ~uint64_t{0});
  CHECK((s.rflags() & rflags::status) == rflags::CF);
}

TEST_CASE("XSETBV and XGETBV", "[msr]") {
  auto set = [](uint64_t value, uint32_t number = 0) {
    CpuBench b;  // anew each time: a fault shuts it down
    CpuState& s = b.cpu.state;
    s.cr4 |= cr4::OSXSAVE;
    s.gpr[RAX] = static_cast<uint32_t>(value), s.gpr[RDX] = value >> 32, s.gpr[RCX] = number;
    b.execute("0f 01 d1");  // xsetbv
    return !b.triple && s.xcr0 == value;
  };
  CHECK(set(1));
  CHECK(set(0x203));
  CHECK_FALSE(set(2));     // x87 must be set
  CHECK_FALSE(set(7));     // AVX
  CHECK_FALSE(set(3, 1));  // XCR1
  CpuBench b;
  b.cpu.state.xcr0 = 0x203;
  b.cpu.state.cr4 |= cr4::OSXSAVE;
  b.cpu.state.gpr[RCX] = 0;
  b.execute("0f 01 d0");  // xgetbv
  CHECK(b.cpu.state.gpr[RAX] == 0x203);
  b.cpu.state.cr4 &= ~cr4::OSXSAVE;
  b.execute("0f 01 d0");
  CHECK(b.triple);
}

TEST_CASE("Hints, fences and flushes do nothing; CLFLUSH alone looks at its page", "[msr]") {
  CpuBench b;
  CpuState& s = b.cpu.state;
  s.gpr[RAX] = 0x123456789000;  // no page there
  s.gpr[RBX] = CpuBench::data_at;
  uint64_t start = s.rip;
  // nopw 0(rax,rax); endbr64; prefetcht0 (rax); prefetchw (rax); lfence; mfence; sfence; clflush (rbx); clflushopt (rbx); wbinvd
  b.execute("66 0f 1f 44 00 00 f3 0f 1e fa 0f 18 08 0f 0d 08 0f ae e8 0f ae f0 0f ae f8 0f ae 3b 66 0f ae 3b 0f 09", 10);
  CHECK_FALSE(b.triple);
  CHECK(s.rip == start + 34);
  b.execute("0f ae 38");  // clflush (rax)
  CHECK(b.triple);
}

TEST_CASE("MONITOR and MWAIT exist only where asked for, and MWAIT waits for an interrupt", "[msr]") {
  CpuBench without;
  without.execute("0f 01 c8");
  CHECK(without.triple);
  CpuBench b(CpuBench::Mode::long64, "matryoshka,+monitor");
  CpuState& s = b.cpu.state;
  s.gpr[RAX] = CpuBench::data_at;
  s.gpr[RCX] = s.gpr[RDX] = 0;
  b.execute("0f 01 c8 0f 01 c9 90", 2);
  CHECK_FALSE(b.triple);
  CHECK(s.activity == Activity::active);  // interrupts are off
  s.system_flags |= rflags::IF;
  b.execute("0f 01 c8 0f 01 c9 90", 60);
  CHECK(s.activity == Activity::halted);
}

TEST_CASE("MSRs: hostile writes leave every register readable and the state loadable", "[msr]") {
  auto name = GENERATE("matryoshka", "ivybridge-ep", "pentium4-662");
  Msrs m(name);
  std::mt19937_64 random(1);
  for (unsigned round = 0; round < 200'000; ++round) {
    static constexpr uint32_t starts[] = {0, 0x1a0, 0x200, 0x6e0, 0x800, 0xc00, 0xda0, 0xc0000080, 0xc0000100};
    uint32_t number = starts[random() % std::size(starts)] + random() % 0x100;
    uint64_t value = random() >> random() % 64;
    uint64_t before = 0, after = 0;
    bool readable = read_msr(m.cpu, number, before);
    bool written = write_msr(m.cpu, number, value);
    // A refused write changes nothing (but IA32_APIC_BASE may have changed which of the others exist).
    if (readable && !written && number != TSC) {
      REQUIRE(read_msr(m.cpu, number, after));
      REQUIRE(before == after);
    }
  }
  Archive saved = Archive::saving();
  m.cpu.serialize(saved);
  Archive loading = Archive::loading(saved.output().data(), saved.output().size());
  m.cpu.serialize(loading);
  CHECK(loading.ok());
  CHECK(loading.remaining() == 0);
}
