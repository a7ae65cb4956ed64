#include "devices/pci.h"

#include "devices/piix.h"
#include "tests/virtio_driver.h"

using namespace matryoshka;
using namespace matryoshka::bench;

namespace {

// A function with one window of each kind, a scratch register behind each, and both kinds of messages.
class Probe : public PciFunction {
 public:
  Probe(PciBus& pci, PciAddress address, bool msi = false) : PciFunction(pci, address, {0x1234, 0x5678, 0xff0000, 7}) {
    add_interrupt_pin(1);
    add_bar(0, Bar::io, 0x20);
    add_bar(1, Bar::memory32, 0x1000);
    add_bar(2, Bar::memory64, 0x100000);
    if (msi) add_msi();
    add_msix(4, 3);
  }
  const char* name() const override { return "probe"; }
  uint64_t read_bar(unsigned bar, uint64_t, unsigned) override { return scratch[bar]; }
  void write_bar(unsigned bar, uint64_t, unsigned, uint64_t value) override { scratch[bar] = value; }
  using PciFunction::send_msi;
  using PciFunction::send_msix;
  using PciFunction::set_intx;
  uint64_t scratch[6] = {};
};

constexpr unsigned command = 0x04, io_decode = 1, memory_decode = 2, master = 4;

}  // namespace

TEST_CASE("pci: an empty slot reads as all ones") {
  VirtioBoard board;
  CHECK(board.config({5}, 0) == 0xffffffff);
}

TEST_CASE("pci: a function shows its identity") {
  VirtioBoard board;
  Probe probe(board.pci, {5});
  CHECK(board.config({5}, 0x00) == 0x56781234);
  CHECK(board.config({5}, 0x08) == 0xff000007);
}

TEST_CASE("pci: identity is not writable") {
  VirtioBoard board;
  Probe probe(board.pci, {5});
  board.set_config({5}, 0x00, 0);
  CHECK(board.config({5}, 0x00) == 0x56781234);
}

TEST_CASE("pci: the address register takes only doublewords") {
  VirtioBoard board;
  board.bus.write_port(0xcf8, 4, 0x80001234);
  board.bus.write_port(0xcf9, 1, 6);
  CHECK(board.bus.read_port(0xcf8, 4) == 0x80001234);
}

TEST_CASE("pci: another bus has no functions") {
  VirtioBoard board;
  Probe probe(board.pci, {5});
  board.bus.write_port(0xcf8, 4, 0x80012800);
  CHECK(board.bus.read_port(0xcfc, 4) == 0xffffffff);
}

TEST_CASE("pci: all ones written to a base address read back its size") {
  VirtioBoard board;
  Probe probe(board.pci, {5});
  for (unsigned bar : {0x10, 0x14, 0x18, 0x1c}) board.set_config({5}, bar, 0xffffffff);
  CHECK(board.config({5}, 0x10) == 0xffffffe1);  // I/O, 32 ports
  CHECK(board.config({5}, 0x14) == 0xfffff000);  // memory, 4 KiB
  CHECK(board.config({5}, 0x18) == 0xfff00004);  // 64-bit memory, 1 MiB
  CHECK(board.config({5}, 0x1c) == 0xffffffff);
}

TEST_CASE("pci: a window answers only while decoding is on, and where it was last put") {
  VirtioBoard board;
  Probe probe(board.pci, {5});
  probe.scratch[1] = 0x55;
  board.set_config({5}, 0x14, 0xe0000000);
  CHECK(board.bus.read_memory(0xe0000000, 1) == 0xff);
  board.set_config({5}, command, memory_decode, 2);
  CHECK(board.bus.read_memory(0xe0000000, 1) == 0x55);
  board.set_config({5}, 0x14, 0xe0005000);
  CHECK(board.bus.read_memory(0xe0000000, 1) == 0xff);
  CHECK(board.bus.read_memory(0xe0005000, 1) == 0x55);
}

TEST_CASE("pci: a 64-bit window can lie above 4 GiB") {
  VirtioBoard board;
  Probe probe(board.pci, {5});
  board.set_config({5}, 0x18, 0);
  board.set_config({5}, 0x1c, 0x20);
  board.set_config({5}, command, memory_decode, 2);
  board.bus.write_memory(0x2000000008, 4, 77);
  CHECK(probe.scratch[2] == 77);
}

TEST_CASE("pci: an I/O window answers at its ports") {
  VirtioBoard board;
  Probe probe(board.pci, {5});
  board.set_config({5}, 0x10, 0xc000);
  board.set_config({5}, command, io_decode, 2);
  board.bus.write_port(0xc004, 4, 99);
  CHECK(probe.scratch[0] == 99);
}

TEST_CASE("pci: reset takes the windows away") {
  VirtioBoard board;
  Probe probe(board.pci, {5});
  board.pci.assign_resources();
  probe.reset();
  CHECK(board.config({5}, 0x14) == 0);
  CHECK(board.bus.read_memory(0xe0100000, 1) == 0xff);
}

TEST_CASE("pci: assigned resources are aligned, disjoint and decoded") {
  VirtioBoard board;
  Probe one(board.pci, {5}), two(board.pci, {6});
  REQUIRE(board.pci.assign_resources());
  one.scratch[1] = 1, two.scratch[1] = 2, one.scratch[2] = 3, two.scratch[2] = 4;
  auto at = [&](uint8_t slot, unsigned bar) { return board.bus.read_memory(board.config({slot}, bar) & ~15u, 1); };
  CHECK(at(5, 0x14) == 1);
  CHECK(at(6, 0x14) == 2);
  CHECK(at(5, 0x18) == 3);
  CHECK(at(6, 0x18) == 4);
  CHECK((board.config({5}, 0x18) & 0xfffff) == 4);
}

TEST_CASE("pci: slot 3 pin A arrives at GSI 18 and, by the ISA bridge, at interrupt 11") {
  VirtioBoard board;
  IsaBridge bridge(board.pci);
  Probe probe(board.pci, {3});
  board.pci.assign_resources();
  probe.set_intx(true);
  CHECK(board.irq.level(18));
  CHECK(board.irq.level(11));
  CHECK(board.config({3}, 0x3c, 1) == 11);
  probe.set_intx(false);
  CHECK_FALSE(board.irq.level(18));
  CHECK_FALSE(board.irq.level(11));
}

TEST_CASE("pci: a wire stays up while one of its functions holds it") {
  VirtioBoard board;
  Probe one(board.pci, {3}), two(board.pci, {7});  // four slots apart: the same wire
  one.set_intx(true);
  two.set_intx(true);
  one.set_intx(false);
  CHECK(board.irq.level(18));
  two.set_intx(false);
  CHECK_FALSE(board.irq.level(18));
}

TEST_CASE("pci: INTx disable lowers the wire but leaves the status bit") {
  VirtioBoard board;
  Probe probe(board.pci, {3});
  probe.set_intx(true);
  board.set_config({3}, command, 0x400, 2);
  CHECK_FALSE(board.irq.level(18));
  CHECK((board.config({3}, 0x06, 2) & 8) == 8);
}

TEST_CASE("pci: a route that changes moves the level to the new ISA interrupt") {
  VirtioBoard board;
  IsaBridge bridge(board.pci);
  Probe probe(board.pci, {3});
  board.pci.assign_resources();
  probe.set_intx(true);
  board.set_config({1}, 0x62, 5, 1);
  CHECK_FALSE(board.irq.level(11));
  CHECK(board.irq.level(5));
}

TEST_CASE("pci: MSI sends its address and data") {
  VirtioBoard board;
  Probe probe(board.pci, {5}, true);
  unsigned msi = board.config({5}, 0x34, 1);
  REQUIRE(board.config({5}, msi, 1) == 5);
  board.set_config({5}, msi + 4, 0xfee01000);
  board.set_config({5}, msi + 12, 0x41, 2);
  probe.send_msi();
  CHECK(board.messages.sent.empty());
  board.set_config({5}, msi + 2, 1, 2);
  board.set_config({5}, command, master, 2);
  probe.send_msi();
  CHECK(board.messages.sent == std::vector<Messages::Message>{{0xfee01000, 0x41}});
}

namespace {

// MSI-X on: the table lies at base address 4, entry 1 goes to vector 52h.
struct MsixBoard : VirtioBoard {
  MsixBoard() {
    pci.assign_resources();
    set_config({5}, command, memory_decode | master, 2);
    table = config({5}, 0x20);
    bus.write_memory(table + 16, 8, 0xfee00000);
    bus.write_memory(table + 24, 4, 0x52);
    set_config({5}, 0x42, 0x8000, 2);
  }
  Probe probe{pci, {5}};
  uint64_t table;
};

}  // namespace

TEST_CASE("pci: an unmasked MSI-X vector is sent at once") {
  MsixBoard board;
  board.bus.write_memory(board.table + 28, 4, 0);
  board.probe.send_msix(1);
  CHECK(board.messages.sent == std::vector<Messages::Message>{{0xfee00000, 0x52}});
}

TEST_CASE("pci: a masked MSI-X vector waits in the pending array until it is unmasked") {
  MsixBoard board;
  board.probe.send_msix(1);
  CHECK(board.messages.sent.empty());
  CHECK(board.bus.read_memory(board.table + 0x800, 8) == 2);
  board.bus.write_memory(board.table + 28, 4, 0);
  CHECK(board.messages.sent.size() == 1);
  CHECK(board.bus.read_memory(board.table + 0x800, 8) == 0);
}

TEST_CASE("pci: the function mask holds every MSI-X vector back") {
  MsixBoard board;
  board.bus.write_memory(board.table + 28, 4, 0);
  board.set_config({5}, 0x42, 0xc000, 2);
  board.probe.send_msix(1);
  CHECK(board.messages.sent.empty());
  board.set_config({5}, 0x42, 0x8000, 2);
  CHECK(board.messages.sent.size() == 1);
}

TEST_CASE("pci: a vector beyond the table is nobody's") {
  MsixBoard board;
  board.probe.send_msix(3);
  board.probe.send_msix(0xffff);
  CHECK(board.messages.sent.empty());
}

TEST_CASE("pci: a saved function goes on identically in a new machine") {
  MsixBoard board;
  board.probe.send_msix(1);
  board.probe.set_intx(true);
  auto saved = save(board.clock, board.probe);

  MsixBoard other;
  REQUIRE(load(other.clock, other.probe, saved));
  CHECK(save(other.clock, other.probe) == saved);
  other.bus.write_memory(other.table + 28, 4, 0);
  CHECK(other.messages.sent == std::vector<Messages::Message>{{0xfee00000, 0x52}});
}

TEST_CASE("pci: the state of another function is refused") {
  VirtioBoard board;
  Probe probe(board.pci, {5});
  auto saved = save(board.clock, probe);
  saved[8 * 4] ^= 1;  // the vendor's first byte, behind the clock's four numbers
  Archive ar = Archive::loading(saved.data(), saved.size());
  board.clock.serialize(ar);
  probe.serialize(ar);
  CHECK(ar.error() == "the saved state has a PCI function that is not this machine's");
}

TEST_CASE("pci: PAM registers report who answers in the BIOS area") {
  VirtioBoard board;
  std::map<uint64_t, std::string> segments;
  HostBridge bridge(board.pci, [&](uint64_t first, uint64_t size, bool read, bool write) {
    segments[first] = std::to_string(size >> 10) + (read ? "r" : "") + (write ? "w" : "");
  });
  board.set_config({0}, 0x59, 0x30, 1);
  board.set_config({0}, 0x5f, 0x12, 1);
  CHECK(segments[0xf0000] == "64rw");
  CHECK(segments[0xe8000] == "16w");
  CHECK(segments[0xec000] == "16r");
}

TEST_CASE("pci: function 0 says that its slot holds more") {
  VirtioBoard board;
  IsaBridge bridge(board.pci);
  CHECK(board.config({1}, 0x0e, 1) == 0x00);
  PowerFunction power(board.pci);
  CHECK(board.config({1}, 0x0e, 1) == 0x80);
  CHECK(board.config({1, 3}, 0x40) == 0x601);
}

TEST_CASE("pci: a storm of configuration accesses does no harm") {
  VirtioBoard board;
  HostBridge host(board.pci, {});
  IsaBridge bridge(board.pci);
  Probe probe(board.pci, {5}, true);
  std::mt19937 random(1);
  for (unsigned i = 0; i < 20'000; ++i) {
    PciAddress at{static_cast<uint8_t>(random() % 6), 0};
    board.set_config(at, random() % 256, random(), 1u << random() % 3);
    probe.set_intx(random() % 2);
    probe.send_msix(random() % 4);
    probe.send_msi();
    board.bus.write_memory(random() % 2 ? random() : board.config({5}, 0x20) + random() % 0x1000, 1u << random() % 4, random());
  }
}

TEST_CASE("pci: which of two windows lies on top does not depend on which was moved last") {
  VirtioBoard board;
  Probe below(board.pci, {5}), above(board.pci, {6});
  below.scratch[1] = 1, above.scratch[1] = 2;
  for (uint8_t slot : {5, 6}) board.set_config({slot}, command, memory_decode, 2);
  auto put = [&](uint8_t slot) { board.set_config({slot}, 0x14, 0), board.set_config({slot}, 0x14, 0xe0000000); };
  put(5), put(6);
  CHECK(board.bus.read_memory(0xe0000000, 4) == 2);
  put(6), put(5);
  CHECK(board.bus.read_memory(0xe0000000, 4) == 2);
}
