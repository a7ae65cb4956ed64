// Table and field names: Advanced Configuration and Power Interface Specification 6.4, "ACPI Software Programming Model";
// for HPET, IA-PC HPET Specification 1.0a, "The ACPI 2.0 HPET Description Table".
#include "devices/acpi_tables.h"

#include <cstring>
#include <numeric>

#include "devices/aml.h"

namespace matryoshka {

namespace {

constexpr uint16_t sci_interrupt = 9, pm_event = 0x600, pm_control = 0x604, pm_timer = 0x608, general_events = 0x60c,
                   reset_register = 0xcf9;
constexpr uint32_t local_apic = 0xfee00000, io_apic = 0xfec00000, hpet = 0xfed00000;
constexpr uint32_t header_size = 36, checksum_at = 9;
constexpr uint8_t maker[] = {'M', 'A', 'T', 'R', 'Y', 'O'};

enum class Space : uint8_t { memory = 0, io = 1 };

// "Generic Address Structure"
void append_address(std::vector<uint8_t>& bytes, Space space, uint8_t bits, uint64_t address) {
  uint8_t access = bits == 8 ? 1 : bits == 16 ? 2 : bits == 32 ? 3 : 0;
  append(bytes, aml::op({static_cast<uint8_t>(space), bits, 0, access}));
  append<uint64_t>(bytes, address);
}

// "Fixed ACPI Description Table", revision 4. The two pointers are filled in by the caller.
constexpr uint32_t fadt_facs = 36, fadt_dsdt = 40, fadt_x_dsdt = 140, fadt_size = 244;
std::vector<uint8_t> fadt(const AcpiBoard& board) {
  constexpr uint8_t century_register = 0x32, desktop = 1;
  constexpr uint16_t no_c2 = 0x65, no_c3 = 0x3e9;
  constexpr uint32_t wbinvd = 1 << 0, c1_everywhere = 1 << 2, no_sleep_button = 1 << 5, has_reset_register = 1 << 10;
  std::vector<uint8_t> t(fadt_size - header_size);
  auto put = [&](uint32_t offset, auto value) { poke(t, offset - header_size, value); };
  auto put_address = [&](uint32_t offset, uint8_t bits, uint16_t port) {
    std::vector<uint8_t> address;
    append_address(address, Space::io, bits, port);
    std::memcpy(t.data() + offset - header_size, address.data(), address.size());
  };
  put(45, desktop);
  put(46, sci_interrupt);
  // No SMI command port: ACPI mode is on from the start, and SCI_EN reads as one.
  put(56, uint32_t{pm_event});
  put(64, uint32_t{pm_control});
  put(76, uint32_t{pm_timer});
  put(80, uint32_t{general_events});
  put(88, uint8_t{4});
  put(89, uint8_t{2});
  put(91, uint8_t{4});
  put(92, uint8_t{4});
  put(96, no_c2);
  put(98, no_c3);
  put(108, century_register);
  // IAPC_BOOT_ARCH: legacy devices; an 8042; no VGA.
  put(109, static_cast<uint16_t>(1 | (board.keyboard_controller ? 2 : 0) | (board.vga ? 0 : 4)));
  put(112, wbinvd | c1_everywhere | no_sleep_button | has_reset_register);
  put_address(116, 8, reset_register);
  put(128, uint8_t{6});
  put_address(148, 32, pm_event);
  put_address(172, 16, pm_control);
  put_address(208, 32, pm_timer);
  put_address(220, 32, general_events);
  return t;
}

// "Multiple APIC Description Table"
std::vector<uint8_t> madt(const AcpiBoard& board) {
  constexpr uint16_t active_high_level = 0x0d;
  constexpr uint8_t every_processor = 0xff;
  std::vector<uint8_t> t;
  append(t, local_apic);
  append<uint32_t>(t, 1);  // a pair of 8259s as well
  for (unsigned i = 0; i < board.processors; ++i) append(t, aml::op({0, 8, uint8_t(i), uint8_t(i), 1, 0, 0, 0}));
  append(t, aml::op({1, 12, uint8_t(board.processors), 0}));
  append(t, io_apic);
  append<uint32_t>(t, 0);  // its first global interrupt
  auto override_irq = [&](uint8_t irq, uint32_t global, uint16_t flags) {
    append(t, aml::op({2, 10, 0, irq}));
    append(t, global);
    append(t, flags);
  };
  override_irq(0, 2, 0);
  override_irq(sci_interrupt, sci_interrupt, active_high_level);
  append(t, aml::op({4, 6, every_processor, 0, 0, 1}));  // NMI at LINT1
  return t;
}

std::vector<uint8_t> hpet_table(const AcpiBoard& board) {
  std::vector<uint8_t> t;
  append(t, board.hpet_id);
  append_address(t, Space::memory, 64, hpet);
  append(t, aml::op({0, 0, 0, 0}));  // the first; least tick 0; no page protection
  return t;
}

// Where the four pins of 32 slots arrive: PIRQ A-D are inputs 16-19 of the I/O APIC, or by the ISA bridge's route registers
// lines 10, 10, 11 and 11 of the 8259s. devices/piix.h holds the wiring itself.
aml::Code pci_routing(bool apic) {
  std::vector<aml::Code> routes;
  for (uint32_t slot = 0; slot < 32; ++slot)
    for (uint32_t pin = 0; pin < 4; ++pin) {
      uint32_t wire = (slot + pin - 1) & 3;
      routes.push_back(aml::package({aml::integer(slot << 16 | 0xffff), aml::integer(pin), aml::integer(0),
                                     aml::integer(apic ? 16 + wire : 10 + wire / 2)}));
    }
  return aml::package(routes);
}

aml::Code isa_devices(const AcpiBoard& board) {
  using namespace aml;
  std::vector<Code> devices = {
      name("_ADR", integer(0x00010000)),
      device("RTC", {name("_HID", eisa_id("PNP0B00")), name("_CRS", resources({io(0x70, 2), irq(8)}))}),
      device("MISC", {name("_HID", eisa_id("PNP0C02")), name("_CRS", resources({io(pm_event, 0x40), io(0x4d0, 2)}))}),
  };
  constexpr uint16_t ports[] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
  for (unsigned i = 0; i < board.serial_ports && i < 4; ++i) {
    std::string port = "COM" + std::to_string(i + 1);
    devices.push_back(device(port, {name("_HID", eisa_id("PNP0501")), name("_UID", integer(i + 1)), name("_STA", integer(0xf)),
                                    name("_CRS", resources({io(ports[i], 8), irq(i % 2 == 0 ? 4 : 3)}))}));
  }
  if (board.keyboard_controller) {
    devices.push_back(
        device("KBD", {name("_HID", eisa_id("PNP0303")), name("_CRS", resources({io(0x60, 1), io(0x64, 1), irq(1)}))}));
    devices.push_back(device("MOU", {name("_HID", eisa_id("PNP0F13")), name("_CRS", resources({irq(12)}))}));
  }
  if (board.fw_cfg)
    devices.push_back(
        device("FWCF", {name("_HID", string("QEMU0002")), name("_STA", integer(0xb)), name("_CRS", resources({io(0x510, 12)}))}));
  return device("ISA", devices);
}

aml::Code dsdt(const AcpiBoard& board) {
  using namespace aml;
  Code windows = resources({window<uint16_t>(Window::bus, 0, 0), io(0xcf8, 8), window<uint16_t>(Window::io, 0, 0xcf7),
                            window<uint16_t>(Window::io, 0xd00, 0xffff), window<uint32_t>(Window::memory, 0xa0000, 0xbffff),
                            window<uint32_t>(Window::memory, board.pci_window_first, board.pci_window_last)});
  std::vector<Code> processors;
  for (unsigned i = 0; i < board.processors; ++i)
    processors.push_back(device("C" + std::to_string(100 + i), {name("_HID", string("ACPI0007")), name("_UID", integer(i))}));
  return join(std::vector<Code>{
      // The operating system says which interrupt controllers it uses before it asks for the routing.
      name("PICM", integer(0)),
      method("_PIC", 1, {store(argument(0), path("PICM"))}),
      name("_S5", package({integer(0), integer(0), integer(0), integer(0)})),
      scope("\\_SB", {join(processors),
                      device("PCI0", {name("_HID", eisa_id("PNP0A03")), name("_UID", integer(0)), name("_CRS", windows),
                                      name("PRTA", pci_routing(true)), name("PRTP", pci_routing(false)),
                                      method("_PRT", 0, {when(path("PICM"), {give(path("PRTA"))}), give(path("PRTP"))}),
                                      isa_devices(board)}),
                      device("HPET", {name("_HID", eisa_id("PNP0103")), name("_UID", integer(0)),
                                      name("_CRS", resources({memory_fixed(hpet, 0x400)}))})}),
  });
}

void fix_checksum(std::vector<uint8_t>& bytes, uint32_t offset, uint32_t start, uint32_t length) {
  bytes[offset] = 0;
  bytes[offset] = static_cast<uint8_t>(-std::accumulate(bytes.begin() + start, bytes.begin() + start + length, 0));
}

}  // namespace

AcpiTables::AcpiTables(const AcpiBoard& board) {
  // "Firmware ACPI Control Structure": 64 bytes without the common header, and first because it must be aligned to 64.
  constexpr uint32_t facs = 0, facs_size = 64;
  append(tables_, "FACS");
  append(tables_, facs_size);
  tables_.resize(facs_size);
  tables_[32] = 2;  // version

  uint32_t dsdt_at = add("DSDT", 2, dsdt(board));
  uint32_t fadt_at = add("FACP", 4, fadt(board));
  point(fadt_at + fadt_facs, 4, facs);
  point(fadt_at + fadt_dsdt, 4, dsdt_at);
  point(fadt_at + fadt_x_dsdt, 8, dsdt_at);
  uint32_t madt_at = add("APIC", 3, madt(board));
  uint32_t hpet_at = add("HPET", 1, hpet_table(board));

  const uint32_t roots[] = {fadt_at, madt_at, hpet_at};
  constexpr uint32_t count = 3;
  uint32_t rsdt_at = add("RSDT", 1, std::vector<uint8_t>(4 * count));
  uint32_t xsdt_at = add("XSDT", 1, std::vector<uint8_t>(8 * count));
  for (uint32_t i = 0; i < count; ++i) {
    point(rsdt_at + header_size + 4 * i, 4, roots[i]);
    point(xsdt_at + header_size + 8 * i, 8, roots[i]);
  }

  // "Root System Description Pointer (RSDP)"
  constexpr uint32_t rsdp_size = 36, first_part = 20;
  append(rsdp_, "RSD PTR ");
  append<uint8_t>(rsdp_, 0);
  append(rsdp_, ByteSpan(maker));
  append<uint8_t>(rsdp_, 2);  // revision
  append<uint32_t>(rsdp_, 0);
  append(rsdp_, rsdp_size);
  rsdp_.resize(rsdp_size);
  point(16, 4, rsdt_at, true);
  point(24, 8, xsdt_at, true);
  checksums_.push_back({true, 8, 0, first_part});
  checksums_.push_back({true, 32, 0, rsdp_size});
}

// "System Description Table Header" and the body; answers with the table's offset.
uint32_t AcpiTables::add(const char* signature, uint8_t revision, const std::vector<uint8_t>& body) {
  tables_.resize(align_up(tables_.size(), 16));
  auto at = static_cast<uint32_t>(tables_.size());
  auto length = static_cast<uint32_t>(header_size + body.size());
  append(tables_, signature);
  append(tables_, length);
  append(tables_, aml::op({revision, 0}));
  append(tables_, ByteSpan(maker));
  append(tables_, "BOARD   ");
  append<uint32_t>(tables_, 1);
  append(tables_, "MTRY");
  append<uint32_t>(tables_, 1);
  append(tables_, body);
  checksums_.push_back({false, at + checksum_at, at, length});
  return at;
}

void AcpiTables::point(uint32_t offset, uint8_t size, uint64_t target, bool in_rsdp) {
  std::memcpy((in_rsdp ? rsdp_ : tables_).data() + offset, &target, size);
  pointers_.push_back({in_rsdp, offset, size});
}

AcpiTables::Placed AcpiTables::placed(uint64_t tables_address) const {
  Placed p{tables_, rsdp_};
  for (const Pointer& pointer : pointers_) {
    uint8_t* field = (pointer.in_rsdp ? p.rsdp : p.tables).data() + pointer.offset;
    uint64_t value = 0;
    std::memcpy(&value, field, pointer.size);
    value += tables_address;
    std::memcpy(field, &value, pointer.size);
  }
  for (const Checksum& sum : checksums_) fix_checksum(sum.in_rsdp ? p.rsdp : p.tables, sum.offset, sum.start, sum.length);
  return p;
}

// QEMU's table-loader script, as SeaBIOS reads it: commands of 128 bytes that allocate files, add the address of one to a
// field of another, and sum.
std::vector<uint8_t> AcpiTables::script() const {
  constexpr uint32_t allocate = 1, add_pointer = 2, add_checksum = 3;
  constexpr uint8_t high_memory = 1, f_segment = 2;
  constexpr size_t command_size = 128, name_size = 56;
  std::vector<uint8_t> script;
  auto command = [&](uint32_t what) {
    script.resize(align_up(script.size(), command_size));
    append(script, what);
  };
  auto file = [&](const char* name) {
    size_t end = script.size() + name_size;
    append(script, name);
    script.resize(end);
  };
  auto file_of = [](bool in_rsdp) { return in_rsdp ? rsdp_file : tables_file; };

  command(allocate), file(rsdp_file), append<uint32_t>(script, 16), append(script, f_segment);
  command(allocate), file(tables_file), append<uint32_t>(script, 64), append(script, high_memory);
  for (const Pointer& p : pointers_)
    command(add_pointer), file(file_of(p.in_rsdp)), file(tables_file), append(script, p.offset), append(script, p.size);
  for (const Checksum& c : checksums_)
    command(add_checksum), file(file_of(c.in_rsdp)), append(script, c.offset), append(script, c.start), append(script, c.length);
  script.resize(align_up(script.size(), command_size));
  return script;
}

}  // namespace matryoshka
