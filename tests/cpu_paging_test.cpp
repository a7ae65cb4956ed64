// Page walks, permissions, accessed and dirty bits and the TLB, in every paging mode.
//
// An access answers with what a program would see: "ok", or the exception, as in "#PF 7" with its error code in decimal.
#include <catch2/catch.hpp>

#include "tests/cpu_bench.h"

using namespace matryoshka;

namespace {

constexpr uint64_t P = 1, RW = 2, US = 4, A = 32, D = 64, PS = 128, G = 256, XD = uint64_t{1} << 63;
constexpr uint64_t frame = 0x800000, other_frame = 0xa00000;  // what test pages map to

enum class Paging { bits32, pae, four, five };

// Tables built entry by entry; the first 16 MiB are mapped to themselves for code.
class Walker : public CpuBench {
 public:
  explicit Walker(Paging paging = Paging::four, const char* model = "default,+la57")
      : CpuBench(paging == Paging::four || paging == Paging::five ? Mode::long64 : Mode::protected32, model), paging_(paging) {
    CpuState& s = cpu.state;
    s.cr3 = new_table();
    s.cr0 |= cr0::PG | cr0::WP;
    s.cr4 |= cr4::PGE | cr4::PSE;
    if (paging != Paging::bits32) s.cr4 |= cr4::PAE, s.msr.efer |= efer::NXE;
    if (paging == Paging::five) s.cr4 |= cr4::LA57;
    unsigned large = paging == Paging::bits32 ? 22 : 21;
    for (uint64_t at = 0; at < ram_bytes; at += uint64_t{1} << large) entry(at, large) = at | P | RW | US | PS | A | D;
    begin();
  }

  // After state was changed behind the processor's back.
  void begin() {
    if (paging_ == Paging::pae) REQUIRE(load_pdptes(cpu.state, memory, cpu.mmu.limits, cpu.state.cr3, cpu.fault));
    cpu.mmu.flush_all();
    cpu.derive();
  }

  // One entry as a value in memory: reads and assigns.
  struct Slot {
    Walker& walker;
    uint64_t at;
    Slot& operator=(uint64_t value) {
      if (walker.paging_ == Paging::bits32)
        walker.put(at, static_cast<uint32_t>(value));
      else
        walker.put(at, value);
      return *this;
    }
    operator uint64_t() const { return walker.paging_ == Paging::bits32 ? walker.get<uint32_t>(at) : walker.get<uint64_t>(at); }
  };
  // The entry that maps pages of 2^shift bytes (12 a PTE, 21 or 22 a PDE, 30, 39, 48), with permissive tables above it.
  Slot entry(uint64_t linear, unsigned shift = 12) {
    const unsigned bits = paging_ == Paging::bits32 ? 10 : 9, size = bits == 10 ? 4 : 8;
    unsigned at = paging_ == Paging::bits32 ? 22 : paging_ == Paging::pae ? 30 : paging_ == Paging::four ? 39 : 48;
    for (uint64_t table = cpu.state.cr3;; at -= bits) {
      Slot slot{*this, table + (linear >> at & ((1u << bits) - 1)) * size};
      if (at == shift) return slot;
      if (!(slot & P)) slot = new_table() | (paging_ == Paging::pae && at == 30 ? P : P | RW | US);
      table = slot & 0xfffff000;
    }
  }
  uint64_t new_table() { return next_table_ += 0x1000; }

  void set_user(bool user) {
    cpu.state.segment[SS].rights = (cpu.state.segment[SS].rights & ~0x60u) | (user ? 0x60 : 0);
    cpu.derive();
  }

  std::string outcome(bool ok) {
    if (ok) return "ok";
    std::string name = cpu.fault.vector == PF_vector   ? "#PF"
                       : cpu.fault.vector == GP_vector ? "#GP"
                       : cpu.fault.vector == SS_vector ? "#SS"
                                                       : "#?";
    return name + " " + std::to_string(cpu.fault.error_code);
  }
  std::string read(uint64_t at) { return outcome(cpu.mmu.try_load(at, value) || cpu.mmu.load_slow(at, &value, sizeof value)); }
  std::string write(uint64_t at, uint32_t what = 0x12345678) {
    return outcome(cpu.mmu.try_store(at, what) || cpu.mmu.store_slow(at, &what, sizeof what));
  }
  std::string fetch(uint64_t at) {
    Mmu::CodePage page{};
    bool ok = cpu.mmu.fetch_page(at, page);
    fetched = page.physical;
    return outcome(ok);
  }

  // Runs code; the first exception stops it.
  std::string executed(const std::string& hex, unsigned instructions = 1) {
    event.clear();
    execute(hex, instructions);
    return event.empty() ? "ok" : event;
  }
  bool takes_event(uint8_t vector, bool, uint32_t error) override {
    event = (vector == PF_vector   ? "#PF "
             : vector == GP_vector ? "#GP "
             : vector == SS_vector ? "#SS "
                                   : "#" + std::to_string(vector) + " ") +
            std::to_string(error);
    cpu.stop();
    return true;
  }

  uint32_t value = 0;
  uint64_t fetched = 0;
  std::string event;

 private:
  Paging paging_;
  uint64_t next_table_ = 0x400000;
};

std::string describe(Paging paging) {
  return paging == Paging::bits32 ? "32-bit" : paging == Paging::pae ? "PAE" : paging == Paging::four ? "4-level" : "5-level";
}

constexpr uint64_t somewhere = 0x40000000;  // 1 GiB: nothing is mapped there at first

}  // namespace

// ---- Walks

TEST_CASE("paging: Every page size of every mode leads to its frame", "[paging]") {
  struct Row {
    Paging paging;
    unsigned shift;
    uint64_t linear, entry, physical;
  };
  const Row row = GENERATE(values<Row>({
      {Paging::bits32, 12, 0x40001234, frame | 1, frame + 0x234},
      {Paging::bits32, 22, 0x40001234, frame | PS | 1, frame + 0x1234},
      {Paging::bits32, 22, 0xffc01234, frame | PS | 1, frame + 0x1234},
      {Paging::pae, 12, 0x40001234, frame | 1, frame + 0x234},
      {Paging::pae, 21, 0xffe01234, frame | PS | 1, frame + 0x1234},
      {Paging::four, 12, 0x40001234, frame | 1, frame + 0x234},
      {Paging::four, 21, 0x40001234, frame | PS | 1, frame + 0x1234},
      {Paging::four, 30, 0x7fc0801234, PS | 1, 0x801234},
      {Paging::four, 12, 0xffffffff80001234, frame | 1, frame + 0x234},
      {Paging::five, 12, 0x00ff800000001234, frame | 1, frame + 0x234},
      {Paging::five, 21, 0xff00000000001234, frame | PS | 1, frame + 0x1234},
      {Paging::five, 30, 0x0080000000801234, PS | 1, 0x801234},
  }));
  CAPTURE(describe(row.paging), row.shift, row.linear);
  Walker w(row.paging);
  w.entry(row.linear, row.shift) = row.entry;
  w.begin();
  w.put(row.physical, uint32_t{0xcafe});
  CHECK(w.read(row.linear) == "ok");
  CHECK(w.value == 0xcafe);
  CHECK(w.fetch(row.linear) == "ok");
  CHECK(w.fetched == (row.physical & ~uint64_t{0xfff}));
}

TEST_CASE("paging: Without CR4.PSE the PS bit of a directory entry means nothing", "[paging]") {
  Walker w(Paging::bits32);
  w.entry(somewhere) = frame | P;
  w.entry(somewhere, 22) = w.entry(somewhere, 22) | PS;
  w.cpu.state.cr4 &= ~cr4::PSE;
  w.put(frame, uint32_t{7});
  w.begin();
  CHECK(w.read(somewhere) == "ok");
  CHECK(w.value == 7);
}

TEST_CASE("paging: PSE-36 takes bits 39:32 of a 4 MiB frame from bits 20:13", "[paging]") {
  Walker w(Paging::bits32);  // 39 physical bits
  w.entry(somewhere, 22) = 1 << 13 | PS | P;
  w.begin();
  CHECK(w.fetch(somewhere + 0x5000) == "ok");
  CHECK(w.fetched == 0x100005000);
  w.entry(somewhere, 22) = 1 << 20 | PS | P;  // bit 39 of the address
  w.begin();
  CHECK(w.read(somewhere) == "#PF 9");
  w.entry(somewhere, 22) = 1 << 21 | PS | P;
  w.begin();
  CHECK(w.read(somewhere) == "#PF 9");
}

TEST_CASE("paging: Reserved bits", "[paging]") {
  struct Row {
    Paging paging;
    unsigned shift;
    uint64_t entry;
  };
  const Row row = GENERATE(values<Row>({
      {Paging::pae, 12, uint64_t{1} << 39},
      {Paging::pae, 12, uint64_t{1} << 52},
      {Paging::pae, 21, uint64_t{1} << 62},
      {Paging::pae, 21, PS | 1 << 13},
      {Paging::pae, 21, PS | 1 << 20},
      {Paging::four, 12, uint64_t{1} << 39},
      {Paging::four, 12, uint64_t{1} << 51},
      {Paging::four, 21, uint64_t{1} << 39},
      {Paging::four, 21, PS | 1 << 13},
      {Paging::four, 21, PS | 1 << 20},
      {Paging::four, 30, PS | 1 << 13},
      {Paging::four, 30, PS | 1 << 29},
      {Paging::four, 39, PS},
      {Paging::four, 39, uint64_t{1} << 40},
      {Paging::five, 48, PS},
      {Paging::five, 48, uint64_t{1} << 51},
      {Paging::five, 39, PS},
  }));
  CAPTURE(describe(row.paging), row.shift, row.entry);
  Walker w(row.paging);
  w.entry(somewhere) = frame | P | RW | US;
  w.entry(somewhere, row.shift) = (row.shift == 12  ? frame
                                   : row.entry & PS ? 0
                                                    : uint64_t{w.entry(somewhere, row.shift)}) |
                                  row.entry | P | RW | US;
  if (row.shift > 30) w.entry(somewhere, row.shift) = w.entry(somewhere, row.shift) | row.entry;
  w.begin();
  const uint64_t before = w.entry(somewhere, row.shift);
  CHECK(w.read(somewhere) == "#PF 9");
  CHECK(w.write(somewhere) == "#PF 11");
  CHECK(w.fetch(somewhere) == "#PF 25");
  CHECK(w.cpu.fault.address == somewhere);
  CHECK(w.entry(somewhere, row.shift) == before);
}

TEST_CASE("paging: Bits that programs may use are not reserved", "[paging]") {
  const Paging paging = GENERATE(Paging::bits32, Paging::pae, Paging::four, Paging::five);
  CAPTURE(describe(paging));
  Walker w(paging);
  w.entry(somewhere) =
      frame | P | 7 << 9 | 0x98 | (paging >= Paging::four ? uint64_t{0x7ff} << 52 : 0);  // ignored, PAT, PCD, PWT
  w.begin();
  CHECK(w.read(somewhere) == "ok");
}

TEST_CASE("paging: XD is reserved without EFER.NXE, and fetches are not told from reads then", "[paging]") {
  const Paging paging = GENERATE(Paging::pae, Paging::four);
  CAPTURE(describe(paging));
  Walker w(paging);
  w.cpu.state.msr.efer &= ~efer::NXE;
  w.entry(somewhere) = frame | P | XD;
  w.begin();
  CHECK(w.read(somewhere) == "#PF 9");
  CHECK(w.fetch(somewhere) == "#PF 9");
  CHECK(w.fetch(somewhere + 0x1000) == "#PF 0");
  w.cpu.state.cr4 |= cr4::SMEP;
  CHECK(w.fetch(somewhere + 0x1000) == "#PF 16");
}

TEST_CASE("paging: A processor without 1 GiB pages holds PS reserved there", "[paging]") {
  Walker w(Paging::four, "default,-pdpe1gb");
  w.entry(somewhere, 30) = PS | P;
  w.begin();
  CHECK(w.read(somewhere) == "#PF 9");
}

TEST_CASE("paging: PAE uses the four entries loaded with CR3, whatever memory says later", "[paging]") {
  Walker w(Paging::pae);
  w.entry(somewhere) = frame | P;
  w.begin();
  w.entry(somewhere, 30) = 0;
  CHECK(w.read(somewhere) == "ok");
  w.cpu.state.gpr[RAX] = w.cpu.state.cr3;
  CHECK(w.executed("0f 22 d8") == "ok");  // mov cr3,eax
  CHECK(w.read(somewhere) == "#PF 0");
}

TEST_CASE("paging: A PDPTE with reserved bits refuses MOV CR3 and changes nothing", "[paging]") {
  const uint64_t bad = GENERATE(uint64_t{2}, uint64_t{4}, uint64_t{0x20}, uint64_t{0x100}, uint64_t{1} << 39, XD);
  CAPTURE(bad);
  Walker w(Paging::pae);
  w.put(0x500fe0 + 24, P | bad);
  const uint64_t old = w.cpu.state.cr3;
  w.cpu.state.gpr[RAX] = 0x500fe0;
  CHECK(w.executed("0f 22 d8") == "#GP 0");
  CHECK(w.cpu.state.cr3 == old);
  w.put(0x500fe0 + 24, bad & ~P);  // not present: the rest is free
  CHECK(w.executed("0f 22 d8") == "ok");
}

// ---- Permissions

TEST_CASE("paging: Every cell of the permission matrix", "[paging]") {
  // "Determination of Access Rights", once more and in one expression each.
  Walker w(Paging::four);
  CpuState& s = w.cpu.state;
  unsigned wrong = 0, cells = 0;
  for (unsigned cell = 0; cell < 1u << 12; ++cell) {
    auto bit = [&](unsigned i) { return (cell >> i & 1) != 0; };
    const bool rw = bit(0), us = bit(1), xd = bit(2), wp = bit(3), smep = bit(4), smap = bit(5), ac = bit(6), user = bit(7),
               pke = bit(8), ad = bit(9), wd = bit(10), above = bit(11);
    // The bits stand in the last entry, or in the directory above it.
    const uint64_t bits = (rw ? RW : 0) | (us ? US : 0) | (xd ? XD : 0), all = RW | US;
    w.entry(somewhere) = frame | P | (above ? all : bits) | uint64_t{5} << 59;
    w.entry(somewhere, 21) = (w.entry(somewhere, 21) & 0xfffff000) | P | (above ? bits : all);
    s.cr0 = (s.cr0 & ~cr0::WP) | (wp ? cr0::WP : 0);
    s.cr4 =
        (s.cr4 & ~(cr4::SMEP | cr4::SMAP | cr4::PKE)) | (smep ? cr4::SMEP : 0) | (smap ? cr4::SMAP : 0) | (pke ? cr4::PKE : 0);
    s.system_flags = rflags::always_one | (ac ? rflags::AC : 0);
    s.pkru = (ad ? 1u << 10 : 0) | (wd ? 2u << 10 : 0);
    w.set_user(user);
    w.cpu.mmu.flush_all();

    const bool reachable = user ? us : !(us && smap && !ac);
    const bool key_read = us && pke && ad, key_write = us && pke && (ad || (wd && (user || wp)));
    const bool may_read = reachable && !key_read;
    const bool may_write = reachable && !key_write && (rw || (!user && !wp));
    const bool may_fetch = !xd && (user ? us : !(us && smep));
    auto expected = [&](bool may, unsigned code, bool key) {
      return may ? std::string("ok") : "#PF " + std::to_string(1 + code + (user ? 4 : 0) + (key ? 32 : 0));
    };
    const std::string got[3] = {w.read(somewhere), w.write(somewhere), w.fetch(somewhere)};
    const std::string want[3] = {expected(may_read, 0, key_read), expected(may_write, 2, key_write),
                                 expected(may_fetch, 16, false)};
    for (unsigned i = 0; i < 3; ++i, ++cells)
      if (got[i] != want[i] && ++wrong < 10)
        UNSCOPED_INFO("access " << i << ": " << got[i] << " for " << want[i]
                                << ", rw us xd wp smep smap ac user pke ad wd above = " << rw << us << xd << wp << smep << smap
                                << ac << user << pke << ad << wd << above);
  }
  CHECK(cells == 3 * 4096);
  CHECK(wrong == 0);
}

TEST_CASE("paging: The processor's own accesses meet SMAP even with AC set", "[paging]") {
  Walker w;
  CpuState& s = w.cpu.state;
  w.entry(somewhere) = frame | P | RW | US;
  s.cr4 |= cr4::SMAP;
  s.system_flags |= rflags::AC;
  w.begin();
  s.gpr[RBX] = somewhere;
  CHECK(w.executed("8b 03") == "ok");  // mov eax,[rbx]
  s.gdtr = {0xffff, somewhere};
  s.gpr[RAX] = 8;
  CHECK(w.executed("8e d8") == "#PF 1");  // mov ds,eax
}

TEST_CASE("paging: Alignment is checked before the walk, canonical form before alignment", "[paging]") {
  Walker w;
  CpuState& s = w.cpu.state;
  s.cr0 |= cr0::AM;
  s.system_flags |= rflags::AC;
  w.set_user(true);
  CHECK(w.read(somewhere + 1) == "#? 0");  // #AC, though the page is absent
  CHECK(w.read(0x0000800000000001) == "#GP 0");
}

// ---- Accessed and dirty bits

TEST_CASE("paging: A read sets A at every level, a write D in the last alone", "[paging]") {
  struct Row {
    Paging paging;
    unsigned leaf;
    std::vector<unsigned> tables;
  };
  const Row row = GENERATE(values<Row>({
      {Paging::bits32, 12, {22}},
      {Paging::bits32, 22, {}},
      {Paging::pae, 12, {21}},
      {Paging::pae, 21, {}},
      {Paging::four, 12, {39, 30, 21}},
      {Paging::four, 21, {39, 30}},
      {Paging::four, 30, {39}},
      {Paging::five, 12, {48, 39, 30, 21}},
  }));
  CAPTURE(describe(row.paging), row.leaf);
  Walker w(row.paging);
  const uint64_t linear = row.leaf == 30 ? somewhere + frame : somewhere;
  w.entry(somewhere, row.leaf) = (row.leaf == 30 ? 0 : frame) | P | RW | (row.leaf == 12 ? 0 : PS);
  w.begin();
  for (unsigned table : row.tables) REQUIRE((w.entry(somewhere, table) & (A | D)) == 0);
  REQUIRE(w.read(linear) == "ok");
  CHECK((w.entry(somewhere, row.leaf) & (A | D)) == A);
  REQUIRE(w.write(linear) == "ok");
  CHECK((w.entry(somewhere, row.leaf) & (A | D)) == (A | D));
  for (unsigned table : row.tables) CHECK((w.entry(somewhere, table) & (A | D)) == A);
}

TEST_CASE("paging: PAE never marks its top entries", "[paging]") {
  Walker w(Paging::pae);
  w.entry(somewhere) = frame | P | RW;
  w.begin();
  REQUIRE(w.write(somewhere) == "ok");
  CHECK((w.entry(somewhere, 30) & (A | D)) == 0);
}

TEST_CASE("paging: A refused access marks nothing", "[paging]") {
  Walker w;
  w.entry(somewhere) = frame | P;
  w.begin();
  CHECK(w.write(somewhere) == "#PF 3");
  w.set_user(true);
  CHECK(w.read(somewhere) == "#PF 5");
  for (unsigned shift : {12, 21, 30, 39}) CHECK((w.entry(somewhere, shift) & (A | D)) == 0);
}

TEST_CASE("paging: A fetch sets A and not D", "[paging]") {
  Walker w;
  w.entry(somewhere) = frame | P | RW;
  w.begin();
  CHECK(w.fetch(somewhere) == "ok");
  CHECK((w.entry(somewhere) & (A | D)) == A);
}

TEST_CASE("paging: Bits that a program clears come back only after the TLB has let go", "[paging]") {
  Walker w;
  w.entry(somewhere) = frame | P | RW;
  w.begin();
  REQUIRE(w.write(somewhere) == "ok");
  w.entry(somewhere) = frame | P | RW;
  REQUIRE(w.write(somewhere) == "ok");
  CHECK((w.entry(somewhere) & (A | D)) == 0);
  w.cpu.mmu.flush_page(somewhere);
  REQUIRE(w.read(somewhere) == "ok");
  CHECK((w.entry(somewhere) & (A | D)) == A);
}

// ---- The TLB

TEST_CASE("paging: A stale entry goes on being used, a missing one is not remembered", "[paging]") {
  Walker w;
  CHECK(w.read(somewhere) == "#PF 0");
  w.entry(somewhere) = frame | P | RW;
  CHECK(w.read(somewhere) == "ok");  // no flush is needed to add a page
  w.entry(somewhere) = other_frame | P;
  w.put(frame, uint32_t{1});
  w.put(other_frame, uint32_t{2});
  CHECK(w.read(somewhere) == "ok");
  CHECK(w.value == 1);
  w.cpu.mmu.flush_page(somewhere);
  CHECK(w.read(somewhere) == "ok");
  CHECK(w.value == 2);
}

TEST_CASE("paging: A page that was made writable needs no flush after the fault", "[paging]") {
  Walker w;
  w.entry(somewhere) = frame | P;
  w.begin();
  CHECK(w.read(somewhere) == "ok");
  CHECK(w.write(somewhere) == "#PF 3");
  w.entry(somewhere) = frame | P | RW;
  CHECK(w.write(somewhere) == "ok");
}

TEST_CASE("paging: What flushes what", "[paging]") {
  struct Row {
    const char* what;
    const char* code;
    bool drops_plain, drops_global;
    uint64_t type, descriptor_pcid;
  };
  const Row row = GENERATE(values<Row>({
      {"mov cr3,rax", "0f 22 d8", true, false, 0, 0},
      {"mov cr4,rax with PGE off", "0f 22 e2", true, true, 0, 0},
      {"invlpg [rbx]", "0f 01 3b", true, true, 0, 0},
      {"invpcid address", "66 0f 38 82 0e", true, true, 0, 0},
      {"invpcid single context", "66 0f 38 82 0e", true, false, 1, 0},
      {"invpcid all with global", "66 0f 38 82 0e", true, true, 2, 0},
      {"invpcid all", "66 0f 38 82 0e", true, false, 3, 0},
      {"nop", "90", false, false, 0, 0},
  }));
  const bool global = GENERATE(false, true);
  CAPTURE(row.what, global);
  Walker w;
  CpuState& s = w.cpu.state;
  w.entry(somewhere) = frame | P | RW | (global ? G : 0);
  w.begin();
  REQUIRE(w.read(somewhere) == "ok");
  w.entry(somewhere) = 0;
  s.gpr[RAX] = s.cr3, s.gpr[RBX] = somewhere, s.gpr[RCX] = row.type, s.gpr[RDX] = s.cr4 & ~cr4::PGE,
  s.gpr[RSI] = CpuBench::data_at;
  w.put(CpuBench::data_at, row.descriptor_pcid);
  w.put(CpuBench::data_at + 8, somewhere);
  REQUIRE(w.executed(row.code) == "ok");
  CHECK(w.read(somewhere) == ((global ? row.drops_global : row.drops_plain) ? "#PF 0" : "ok"));
}

TEST_CASE("paging: INVLPG anywhere in a large page drops all of it", "[paging]") {
  struct Row {
    Paging paging;
    unsigned shift;
    uint64_t beyond;
  };
  const Row row = GENERATE(values<Row>({{Paging::bits32, 22, 0x3ff000},
                                        {Paging::pae, 21, 0x1ff000},
                                        {Paging::four, 21, 0x1ff123},
                                        {Paging::four, 30, 0x3ffff000}}));
  CAPTURE(describe(row.paging), row.shift);
  Walker w(row.paging);
  w.entry(somewhere, row.shift) = (row.shift == 30 ? 0 : frame) | P | RW | PS | G;
  w.begin();
  REQUIRE(w.read(somewhere + 0x3000) == "ok");
  w.entry(somewhere, row.shift) = 0;
  w.cpu.state.gpr[RBX] = somewhere + row.beyond;
  REQUIRE(w.executed("0f 01 3b") == "ok");
  CHECK(w.read(somewhere + 0x3000) == "#PF 0");
}

TEST_CASE("paging: INVLPG of a non-canonical address is no fault and no flush", "[paging]") {
  Walker w;
  w.entry(somewhere) = frame | P;
  w.begin();
  REQUIRE(w.read(somewhere) == "ok");
  w.entry(somewhere) = 0;
  w.cpu.state.gpr[RBX] = uint64_t{1} << 52 | somewhere;
  CHECK(w.executed("0f 01 3b") == "ok");
  CHECK(w.read(somewhere) == "ok");
}

TEST_CASE("paging: A new CR0.WP, CR4.SMAP or PKRU counts at once", "[paging]") {
  Walker w;
  CpuState& s = w.cpu.state;
  w.entry(somewhere) = frame | P | US | D;
  s.cr0 &= ~cr0::WP;
  w.begin();
  s.gpr[RBX] = somewhere;
  SECTION("CR0.WP") {
    CHECK(w.executed("89 03") == "ok");  // mov [rbx],eax
    s.gpr[RAX] = s.cr0 | cr0::WP;
    CHECK(w.executed("0f 22 c0 89 03", 2) == "#PF 3");
    CHECK(s.cr2 == somewhere);
  }
  SECTION("CR4.SMAP") {
    CHECK(w.executed("8b 0b") == "ok");  // mov ecx,[rbx]
    s.gpr[RAX] = s.cr4 | cr4::SMAP;
    CHECK(w.executed("0f 22 e0 8b 0b", 2) == "#PF 1");
    CHECK(w.executed("0f 01 cb 8b 0b", 2) == "ok");     // stac
    CHECK(w.executed("0f 01 ca 8b 0b", 2) == "#PF 1");  // clac
  }
  SECTION("PKRU") {
    s.cr4 |= cr4::PKE;
    w.begin();
    CHECK(w.executed("8b 33") == "ok");  // mov esi,[rbx]
    s.gpr[RAX] = 1, s.gpr[RCX] = s.gpr[RDX] = 0;
    CHECK(w.executed("0f 01 ef 8b 33", 2) == "#PF 33");  // wrpkru
  }
}

// ---- Accesses across pages

TEST_CASE("paging: A store that faults on its second page writes nothing", "[paging]") {
  Walker w;
  w.entry(somewhere) = frame | P | RW;
  w.entry(somewhere + 0x1000) = GENERATE(uint64_t{0}, other_frame | P);
  w.begin();
  w.put(frame + 0xff8, ~uint64_t{0});
  CHECK(w.write(somewhere + 0xffe) == (w.entry(somewhere + 0x1000) & P ? "#PF 3" : "#PF 2"));
  CHECK(w.cpu.fault.address == somewhere + 0x1000);
  CHECK(w.get(frame + 0xff8) == ~uint64_t{0});
}

TEST_CASE("paging: Loads and stores take their halves from both pages", "[paging]") {
  Walker w;
  w.entry(somewhere) = other_frame | P | RW;
  w.entry(somewhere + 0x1000) = frame | P | RW;  // not in physical order
  w.begin();
  CHECK(w.write(somewhere + 0xfff, 0x44332211) == "ok");
  CHECK(w.get<uint8_t>(other_frame + 0xfff) == 0x11);
  CHECK(w.get<uint32_t>(frame) == 0x443322);
  CHECK(w.read(somewhere + 0xfff) == "ok");
  CHECK(w.value == 0x44332211);
}

TEST_CASE("paging: A read-modify-write of a read-only page faults as a write and leaves flags alone", "[paging]") {
  const auto code = GENERATE("83 03 01", "f0 ff 03", "0f b1 0b", "87 0b", "0f ab 0b", "d1 23", "f7 1b");
  CAPTURE(code);
  Walker w;
  w.entry(somewhere) = frame | P;
  w.begin();
  w.put(frame, uint32_t{5});
  w.cpu.state.gpr[RBX] = somewhere;
  w.cpu.state.set_rflags(rflags::always_one | rflags::CF | rflags::ZF);
  CHECK(w.executed(code) == "#PF 3");
  CHECK(w.cpu.state.cr2 == somewhere);
  CHECK(w.cpu.state.rflags() == (rflags::always_one | rflags::CF | rflags::ZF));
  CHECK(w.get<uint32_t>(frame) == 5);
}

TEST_CASE("paging: A push that faults leaves RSP", "[paging]") {
  Walker w;
  w.cpu.state.gpr[RSP] = somewhere;
  CHECK(w.executed("50") == "#PF 2");
  CHECK(w.cpu.state.cr2 == somewhere - 8);
  CHECK(w.cpu.state.gpr[RSP] == somewhere);
}

TEST_CASE("paging: Code that runs into an absent page faults with the page's address", "[paging]") {
  Walker w;
  w.entry(somewhere) = frame | P | RW;
  w.begin();
  w.put_bytes(frame + 0xffe, {0x90, 0x05});  // nop; add eax,... with its constant on the next page
  w.cpu.state.rip = somewhere + 0xffe;
  w.run(2);
  CHECK(w.event == "#PF 16");
  CHECK(w.cpu.state.cr2 == somewhere + 0x1000);
  CHECK(w.cpu.state.rip == somewhere + 0xfff);
}

// ---- Addresses

TEST_CASE("paging: A non-canonical address is #GP, through the stack #SS", "[paging]") {
  struct Row {
    const char* code;
    const char* outcome;
  };
  const Row row = GENERATE(values<Row>({{"8b 03", "#GP 0"},
                                        {"89 03", "#GP 0"},
                                        {"8b 45 00", "#SS 0"},
                                        {"50", "#SS 0"},
                                        {"58", "#SS 0"},
                                        {"64 8b 03", "#GP 0"},
                                        {"36 8b 03", "#GP 0"},
                                        {"3e 8b 45 00", "#SS 0"},
                                        {"48 8b 04 24", "#SS 0"},
                                        {"e8 00 00 00 00", "#SS 0"},
                                        {"ff e3", "#GP 0"},
                                        {"0f 18 0b", "ok"}}));
  CAPTURE(row.code);
  Walker w;
  CpuState& s = w.cpu.state;
  s.gpr[RBX] = s.gpr[RBP] = s.gpr[RSP] = 0x0000800000000100;
  CHECK(w.executed(row.code) == row.outcome);
}

TEST_CASE("paging: An access that only ends beyond the canonical half faults too", "[paging]") {
  Walker w;
  w.entry(0x00007ffffffff000) = frame | P | RW;
  w.begin();
  CHECK(w.read(0x00007ffffffffffc) == "ok");
  CHECK(w.read(0x00007ffffffffffd) == "#GP 0");
}

TEST_CASE("paging: Five levels make 57 bits canonical", "[paging]") {
  Walker w(Paging::five);
  CHECK(w.read(0x0000800000000000) == "#PF 0");
  CHECK(w.read(0x00ffffffffff0000) == "#PF 0");
  CHECK(w.read(0x0100000000000000) == "#GP 0");
}

TEST_CASE("paging: Outside long mode addresses wrap at 4 GiB", "[paging]") {
  const Paging paging = GENERATE(Paging::bits32, Paging::pae);
  CAPTURE(describe(paging));
  Walker w(paging);
  w.entry(0xfffff000) = frame | P | RW;
  w.begin();
  REQUIRE(w.write(0xfffffffe, 0x44332211) == "ok");
  CHECK(w.get<uint16_t>(frame + 0xffe) == 0x2211);
  CHECK(w.get<uint16_t>(0) == 0x4433);
}

TEST_CASE("paging: Memory types change no translation", "[paging]") {
  Walker w;
  CpuState& s = w.cpu.state;
  s.msr.pat = 0, s.msr.mtrr_def_type = 0xc00;  // all uncacheable
  w.entry(somewhere) = frame | P | RW | PS | 0x18;
  w.begin();
  CHECK(w.write(somewhere, 99) == "ok");
  CHECK(w.get<uint32_t>(frame) == 99);
}

TEST_CASE("paging: What a guest knew before another ran becomes fast again, be its page odd or even", "[paging]") {
  Walker w;
  Mmu& mmu = w.cpu.mmu;
  auto enter = [&](uint16_t vpid) { mmu.enter_guest({.vpid = vpid}, mmu.context(), {}, World::none, nullptr); };
  for (uint64_t page : {uint64_t{0x600000}, uint64_t{0x601000}}) {
    CAPTURE(page);
    Mmu::CodePage code;
    enter(1);
    REQUIRE(mmu.fetch_page(page, code));
    REQUIRE(mmu.known_code_page(page, code));
    enter(2);
    enter(1);
    CHECK_FALSE(mmu.known_code_page(page, code));  // memory may have become something else meanwhile
    REQUIRE(mmu.fetch_page(page, code));
    CHECK(mmu.known_code_page(page, code));
    CHECK(code.physical == page);
  }
}
