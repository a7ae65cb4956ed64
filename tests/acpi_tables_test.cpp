#include "devices/acpi_tables.h"

#include <catch2/catch.hpp>
#include <map>
#include <numeric>

#include "devices/aml.h"

using namespace matryoshka;

namespace {

uint8_t sum(ByteSpan bytes) { return static_cast<uint8_t>(std::accumulate(bytes.begin(), bytes.end(), 0)); }

// Follows the pointers as an operating system does, with the tables at E0000h.
struct Reader {
  static constexpr uint32_t base = 0xe0000;
  explicit Reader(const AcpiBoard& board) : placed(AcpiTables(board).placed(base)) {
    uint64_t xsdt = peek<uint64_t>(placed.rsdp, 24);
    ByteSpan root = at(xsdt);
    for (size_t i = 36; i < root.size(); i += 8) {
      ByteSpan table = at(peek<uint64_t>(root, i));
      tables[std::string(table.begin(), table.begin() + 4)] = table;
    }
    tables["DSDT"] = at(peek<uint32_t>(tables["FACP"], 40));
    tables["XSDT"] = root;
    tables["RSDT"] = at(peek<uint32_t>(placed.rsdp, 16));
  }
  ByteSpan at(uint64_t address) const {
    ByteSpan rest = ByteSpan(placed.tables).subspan(address - base);
    return rest.first(peek<uint32_t>(rest, 4));
  }
  AcpiTables::Placed placed;
  std::map<std::string, ByteSpan> tables;
};

aml::Code code(std::initializer_list<uint8_t> bytes) { return bytes; }

}  // namespace

TEST_CASE("acpi: every table's bytes add up to zero") {
  Reader reader({});
  CHECK(sum(reader.placed.rsdp) == 0);
  CHECK(sum(ByteSpan(reader.placed.rsdp).first(20)) == 0);
  for (const char* name : {"XSDT", "RSDT", "FACP", "DSDT", "APIC", "HPET"}) {
    INFO(name);
    REQUIRE(reader.tables.count(name) == 1);
    CHECK(sum(reader.tables[name]) == 0);
  }
}

TEST_CASE("acpi: RSDT and XSDT name the same tables") {
  Reader reader({});
  for (size_t i = 0; i < 3; ++i)
    CHECK(peek<uint32_t>(reader.tables["RSDT"], 36 + 4 * i) == peek<uint64_t>(reader.tables["XSDT"], 36 + 8 * i));
}

TEST_CASE("acpi: the FACS is aligned to 64 bytes") {
  Reader reader({});
  uint32_t facs = peek<uint32_t>(reader.tables["FACP"], 36);
  CHECK(facs % 64 == 0);
  CHECK(peek<uint32_t>(reader.at(facs), 0) == 0x53434146);
}

TEST_CASE("acpi: the FADT tells of an 8042 and of VGA only where they are") {
  AcpiBoard board;
  CHECK((peek<uint16_t>(Reader(board).tables["FACP"], 109) & 6) == 4);
  board.keyboard_controller = board.vga = true;
  CHECK((peek<uint16_t>(Reader(board).tables["FACP"], 109) & 6) == 2);
}

TEST_CASE("acpi: the MADT has each processor and the I/O APIC after them") {
  AcpiBoard board;
  board.processors = 3;
  Reader reader(board);
  ByteSpan madt = reader.tables["APIC"];
  for (uint8_t i = 0; i < 3; ++i) CHECK(madt[44 + 8 * i + 3] == i);
  CHECK(madt[44 + 24] == 1);
  CHECK(madt[44 + 24 + 2] == 3);
  CHECK(peek<uint32_t>(madt, 44 + 24 + 4) == 0xfec00000);
}

TEST_CASE("acpi: the script for firmware makes the same tables") {
  AcpiTables tables({});
  std::map<std::string, std::pair<std::vector<uint8_t>, uint64_t>> files = {
      {AcpiTables::rsdp_file, {tables.rsdp(), 0xf0000}}, {AcpiTables::tables_file, {tables.tables(), 0xe0000}}};
  auto script = tables.script();
  REQUIRE(script.size() % 128 == 0);
  for (size_t at = 0; at < script.size(); at += 128) {
    ByteSpan command = ByteSpan(script).subspan(at, 128);
    auto file = [&](size_t offset) -> auto& { return files.at(reinterpret_cast<const char*>(command.data() + offset)); };
    if (peek<uint32_t>(command, 0) == 2) {
      auto& bytes = file(4).first;
      uint32_t offset = peek<uint32_t>(command, 116);
      uint8_t size = command[120];
      uint64_t value = 0;
      std::memcpy(&value, &bytes[offset], size);
      value += file(60).second;
      std::memcpy(&bytes[offset], &value, size);
    } else if (peek<uint32_t>(command, 0) == 3) {
      auto& bytes = file(4).first;
      bytes[peek<uint32_t>(command, 60)] -=
          sum(ByteSpan(bytes).subspan(peek<uint32_t>(command, 64), peek<uint32_t>(command, 68)));
    }
  }
  auto placed = tables.placed(0xe0000);
  CHECK(files.at(AcpiTables::tables_file).first == placed.tables);
  CHECK(files.at(AcpiTables::rsdp_file).first == placed.rsdp);
}

TEST_CASE("aml: integers take the shortest form") {
  CHECK(aml::integer(0) == code({0x00}));
  CHECK(aml::integer(1) == code({0x01}));
  CHECK(aml::integer(0x80) == code({0x0a, 0x80}));
  CHECK(aml::integer(0x1234) == code({0x0b, 0x34, 0x12}));
  CHECK(aml::integer(0x12345678) == code({0x0c, 0x78, 0x56, 0x34, 0x12}));
}

TEST_CASE("aml: names are padded and paths prefixed") {
  CHECK(aml::path("ISA") == code({'I', 'S', 'A', '_'}));
  CHECK(aml::path("\\_SB.PCI0") == code({'\\', 0x2e, '_', 'S', 'B', '_', 'P', 'C', 'I', '0'}));
}

TEST_CASE("aml: an EISA identifier is packed into four bytes") {
  CHECK(aml::eisa_id("PNP0A03") == code({0x0c, 0x41, 0xd0, 0x0a, 0x03}));
}

TEST_CASE("aml: a length counts its own bytes") {
  auto length = [](size_t body) {
    auto whole = aml::with_length(aml::Code(body));
    size_t prefix = whole.size() - body;
    return std::vector<uint8_t>(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(prefix));
  };
  CHECK(length(0x3e) == code({0x3f}));
  CHECK(length(0x3f) == code({0x41, 0x04}));                 // 65 with both bytes
  CHECK(length(0xffd) == code({0x4f, 0xff}));                // 4 095
  CHECK(length(0xffe) == code({0x81, 0x00, 0x01}));          // 4 097
  CHECK(length(0xffffc) == code({0x8f, 0xff, 0xff}));        // 1 048 575
  CHECK(length(0xffffd) == code({0xc1, 0x00, 0x00, 0x01}));  // 1 048 577
}
