#include "devices/smbios_tables.h"

#include <catch2/catch.hpp>
#include <numeric>

using namespace matryoshka;

namespace {

uint8_t sum(ByteSpan bytes) { return static_cast<uint8_t>(std::accumulate(bytes.begin(), bytes.end(), 0)); }

}  // namespace

TEST_CASE("smbios: the entry point's two sums are zero and it tells place, length and number") {
  SmbiosTables tables({2, 256 << 20});
  auto entry = tables.entry(0xf0100);
  REQUIRE(entry.size() == 0x1f);
  CHECK(sum(entry) == 0);
  CHECK(sum(ByteSpan(entry).subspan(0x10)) == 0);
  CHECK(peek<uint16_t>(entry, 0x16) == tables.structures().size());
  CHECK(peek<uint32_t>(entry, 0x18) == 0xf0100);
  CHECK(peek<uint16_t>(entry, 0x1c) == 8);
}

TEST_CASE("smbios: walking the structures ends at type 127") {
  SmbiosTables tables({2, 256 << 20});
  ByteSpan s = tables.structures();
  std::vector<unsigned> types;
  for (size_t at = 0; at < s.size();) {
    types.push_back(s[at]);
    at += s[at + 1];
    while (s[at] != 0 || s[at + 1] != 0) ++at;
    at += 2;
  }
  CHECK(types == std::vector<unsigned>{0, 1, 4, 16, 17, 19, 32, 127});
}

TEST_CASE("smbios: the memory device has the machine's size in mebibytes") {
  SmbiosTables tables({1, 384 << 20});
  ByteSpan s = tables.structures();
  size_t at = 0;
  while (s[at] != 17) {
    at += s[at + 1];
    while (s[at] != 0 || s[at + 1] != 0) ++at;
    at += 2;
  }
  CHECK(peek<uint16_t>(s, at + 0x0c) == 384);
}
