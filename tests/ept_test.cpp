// Every entry of EPT that there can be, as far as it matters: all rights with all memory types and accesses, and each bit at each
// level. What is expected is said here once more, from "Format of an EPT ... Entry", "EPT Misconfigurations" and "EPT
// Violations".
#include "mmu/ept.h"

#include <catch2/catch.hpp>
#include <string>

#include "devices/bus/bus.h"

using namespace matryoshka;

namespace {

constexpr uint64_t R = 1, W = 2, X = 4, all = 7, large = 0x80, write_back = 6 << 3, tables_at = 0x10000, data_at = 0x40000000;
constexpr unsigned physical_bits = 39;

enum class Answer { allowed, violation, misconfiguration };

struct EptBench {
  Bus bus;
  PhysicalMemory memory{1 << 20, bus};
  Ept ept;
  Fault fault;
  EptTranslation result{};

  EptBench() { ept.on = true, ept.pointer = tables_at | 0x1e, ept.physical_bits = physical_bits; }
  // The walk to address 0: tables one behind the other, but for what stands at `level` (3 for the PML4, 0 for the last).
  Answer walk(unsigned level, uint64_t entry, AccessKind kind = AccessKind::read) {
    for (unsigned i = 0; i < 4; ++i) {
      const uint64_t address = tables_at + page_size * (3 - i);
      const uint64_t good = i == 0 ? data_at | all | write_back : (address + page_size) | all;
      const uint64_t value = i == level ? entry : good;
      REQUIRE(memory.write(address, &value, sizeof value));
    }
    fault.clear();
    if (ept_walk(memory, ept, 0, {kind, true, 0x1234, false, false}, result, fault)) return Answer::allowed;
    const auto& exit = fault.pending_exit;
    return exit.reason == ept_exit::violation ? Answer::violation : Answer::misconfiguration;
  }
};

struct Level {
  const char* name;
  unsigned number;
  uint64_t good;      // an entry that maps what is there, or leads on
  uint64_t reserved;  // bits below 12, or of the address, that must be 0
  bool leaf;
};
constexpr uint64_t beyond_width = 0x000fffffffffffff & ~((uint64_t{1} << physical_bits) - 1);
constexpr Level levels[] = {
    {"PML4E", 3, (tables_at + 0x1000) | all, 0xf8, false},
    {"PDPTE", 2, (tables_at + 0x2000) | all, 0x78, false},
    {"PDPTE of 1 GByte", 2, data_at | all | large | write_back, 0x3ffff000, true},
    {"PDE", 1, (tables_at + 0x3000) | all, 0x78, false},
    {"PDE of 2 MBytes", 1, data_at | all | large | write_back, 0x1ff000, true},
    {"PTE", 0, data_at | all | write_back, 0, true},
};

uint64_t needed(AccessKind kind) { return kind == AccessKind::read ? R : kind == AccessKind::write ? W : X; }

}  // namespace

TEST_CASE("EPT: all rights with all memory types, for each access", "[ept]") {
  EptBench b;
  for (const Level& level : levels) {
    if (!level.leaf) continue;
    for (bool execute_only : {true, false})
      for (uint64_t rights = 0; rights < 8; ++rights)
        for (uint64_t type = 0; type < 8; ++type)
          for (AccessKind kind : {AccessKind::read, AccessKind::write, AccessKind::fetch}) {
            b.ept.execute_only = execute_only;
            const bool bad_rights = rights == W || rights == (W | X) || (rights == X && !execute_only);
            const bool bad_type = type == 2 || type == 3 || type == 7;
            const Answer expected = rights == 0              ? Answer::violation
                                    : bad_rights || bad_type ? Answer::misconfiguration
                                    : rights & needed(kind)  ? Answer::allowed
                                                             : Answer::violation;
            INFO(level.name << " rights " << rights << " type " << type << " access " << needed(kind));
            REQUIRE(b.walk(level.number, (level.good & ~uint64_t{0x3f}) | rights | type << 3, kind) == expected);
            if (expected == Answer::allowed) {
              CHECK(b.result.physical == data_at);
              CHECK((b.result.readable | b.result.writable << 1 | b.result.executable << 2) == rights);
            } else if (expected == Answer::violation) {
              CHECK(b.fault.pending_exit.qualification == (needed(kind) | rights << 3 | 0x180));
              CHECK(b.fault.pending_exit.guest_linear == 0x1234);
            }
          }
  }
}

TEST_CASE("EPT: each bit at each level", "[ept]") {
  EptBench b;
  for (const Level& level : levels)
    for (unsigned bit = 3; bit < 64; ++bit) {
      const uint64_t mask = uint64_t{1} << bit;
      if (level.leaf && bit < 6) continue;                                    // the memory type
      if (mask == large && level.number != 3 && level.number != 0) continue;  // another kind of entry
      INFO(level.name << " bit " << bit);
      const Answer got = b.walk(level.number, level.good ^ mask);
      if (mask & (level.reserved | beyond_width)) {
        CHECK(got == Answer::misconfiguration);
        // An entry that is not present says nothing else.
        CHECK(b.walk(level.number, (level.good ^ mask) & ~all) == Answer::violation);
      } else if (level.leaf || bit < 12 || bit > 51) {
        CHECK(got == Answer::allowed);
      }
    }
}

TEST_CASE("EPT: rights are those of all levels together", "[ept]") {
  EptBench b;
  for (unsigned level = 1; level < 4; ++level)
    for (uint64_t rights : {R, R | W, R | X, X})
      for (AccessKind kind : {AccessKind::read, AccessKind::write, AccessKind::fetch}) {
        const uint64_t address = tables_at + page_size * (4 - level);
        INFO(level << " " << rights << " " << needed(kind));
        CHECK(b.walk(level, address | rights, kind) == (rights & needed(kind) ? Answer::allowed : Answer::violation));
        if (!(rights & needed(kind))) CHECK((b.fault.pending_exit.qualification >> 3 & 7) == rights);
      }
}

TEST_CASE("EPT: without the capability a large page is a reserved bit", "[ept]") {
  EptBench b;
  b.ept.large_pages = b.ept.gigabyte_pages = false;
  CHECK(b.walk(2, data_at | all | large | write_back) == Answer::misconfiguration);
  CHECK(b.walk(1, data_at | all | large | write_back) == Answer::misconfiguration);
}
