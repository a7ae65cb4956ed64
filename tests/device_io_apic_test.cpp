// Facts from the 82093AA data sheet and, for version 20h, of the ICH family's.
#include "devices/io_apic.h"
#include "tests/device_bench.h"

using namespace matryoshka;
using namespace matryoshka::bench;

namespace {

constexpr uint32_t logical = 1 << 11, level = 1 << 15, masked = 1 << 16, remote_irr = 1 << 14;

struct IoApicBench : Bench {
  IoApic io_apic{messages, 2};
  void select(unsigned index) { io_apic.write(0, 0x00, 4, index); }
  uint32_t in(unsigned index) {
    select(index);
    return static_cast<uint32_t>(io_apic.read(0, 0x10, 4));
  }
  void out(unsigned index, uint32_t value) {
    select(index);
    io_apic.write(0, 0x10, 4, value);
  }
  void redirect(unsigned input, uint32_t low, uint32_t destination = 0) {
    out(0x11 + 2 * input, destination << 24);
    out(0x10 + 2 * input, low);
  }
  uint32_t entry(unsigned input) { return in(0x10 + 2 * input); }
  size_t sent() const { return messages.sent.size(); }
};

}  // namespace

TEST_CASE("io_apic: identification, version 20h with 24 entries, arbitration") {
  IoApicBench b;
  CHECK(b.in(0x00) == 0x02000000);
  CHECK(b.in(0x01) == 0x00170020);
  CHECK(b.in(0x02) == 0x02000000);
  b.out(0x00, 0xffffffff);
  CHECK(b.in(0x00) == 0x0f000000);
  b.out(0x01, 0xffffffff);
  CHECK(b.in(0x01) == 0x00170020);
}

TEST_CASE("io_apic: after reset every entry is masked and all else is zero") {
  IoApicBench b;
  for (unsigned input = 0; input < 24; ++input) b.redirect(input, 0x30 + input, 5);
  b.io_apic.reset();
  for (unsigned input = 0; input < 24; ++input) {
    CHECK(b.in(0x10 + 2 * input) == 0x00010000);
    CHECK(b.in(0x11 + 2 * input) == 0x00000000);
  }
}

TEST_CASE("io_apic: delivery status and remote IRR cannot be written, nor reserved bits") {
  IoApicBench b;
  b.out(0x10, 0xffffffff);
  b.out(0x11, 0xffffffff);
  CHECK(b.in(0x10) == 0x0001afff);
  CHECK(b.in(0x11) == 0xff000000);
}

TEST_CASE("io_apic: messages have the form that a device with MSI writes") {
  struct Row {
    const char* name;
    uint32_t low, destination;
    Messages::Message message;
  };
  auto row = GENERATE(Row{"fixed, edge, physical", 0x31, 0, {0xfee00000, 0x0031}},
                      Row{"lowest priority, logical", 0x1a5 | logical, 0x0f, {0xfee0f004, 0x01a5}},
                      Row{"level", 0x40 | level, 3, {0xfee03000, 0xc040}}, Row{"NMI", 0x400, 1, {0xfee01000, 0x0400}},
                      Row{"ExtINT", 0x700, 0, {0xfee00000, 0x0700}},
                      Row{"polarity does not travel", 0x31 | 1 << 13, 0, {0xfee00000, 0x0031}});
  INFO(row.name);
  IoApicBench b;
  b.redirect(9, row.low, row.destination);
  b.io_apic.set_irq(9, true);
  REQUIRE(b.sent() == 1);
  CHECK(b.messages.sent[0] == row.message);
}

TEST_CASE("io_apic: an edge is sent once, and again when the line rises again") {
  IoApicBench b;
  b.redirect(4, 0x34);
  b.io_apic.set_irq(4, true);
  b.io_apic.set_irq(4, true);
  CHECK(b.sent() == 1);
  b.io_apic.set_irq(4, false);
  CHECK(b.sent() == 1);
  b.io_apic.set_irq(4, true);
  CHECK(b.sent() == 2);
}

TEST_CASE("io_apic: an edge on a masked input is lost, a level waits") {
  struct Row {
    uint32_t trigger;
    size_t after_unmasking;
  };
  auto row = GENERATE(Row{0, 0}, Row{level, 1});
  IoApicBench b;
  b.redirect(4, 0x34 | row.trigger | masked);
  b.io_apic.set_irq(4, true);
  CHECK(b.sent() == 0);
  b.redirect(4, 0x34 | row.trigger);
  CHECK(b.sent() == row.after_unmasking);
}

TEST_CASE("io_apic: a level sets remote IRR and is not sent again until its end of interrupt") {
  IoApicBench b;
  b.redirect(16, 0x50 | level);
  b.io_apic.set_irq(16, true);
  CHECK(b.entry(16) == (0x50u | level | remote_irr));
  b.io_apic.set_irq(16, false);
  b.io_apic.set_irq(16, true);
  CHECK(b.sent() == 1);
  SECTION("still asserted") {
    b.io_apic.end_of_interrupt(0x50);
    CHECK(b.sent() == 2);
    CHECK(b.entry(16) == (0x50u | level | remote_irr));
  }
  SECTION("released") {
    b.io_apic.set_irq(16, false);
    b.io_apic.end_of_interrupt(0x50);
    CHECK(b.sent() == 1);
    CHECK(b.entry(16) == (0x50u | level));
  }
  SECTION("another vector's") {
    b.io_apic.end_of_interrupt(0x51);
    CHECK(b.entry(16) == (0x50u | level | remote_irr));
  }
  SECTION("through the EOI register") {
    b.io_apic.set_irq(16, false);
    b.io_apic.write(0, 0x40, 4, 0x50);
    CHECK(b.entry(16) == (0x50u | level));
  }
}

TEST_CASE("io_apic: one end of interrupt serves every entry with its vector") {
  IoApicBench b;
  b.redirect(16, 0x50 | level);
  b.redirect(17, 0x50 | level);
  b.io_apic.set_irq(16, true);
  b.io_apic.set_irq(17, true);
  b.io_apic.end_of_interrupt(0x50);
  CHECK(b.sent() == 4);
}

TEST_CASE("io_apic: turning an entry to edge and back clears remote IRR, as older drivers do it") {
  IoApicBench b;
  b.redirect(16, 0x50 | level);
  b.io_apic.set_irq(16, true);
  b.io_apic.set_irq(16, false);
  b.out(0x10 + 2 * 16, 0x50 | masked);
  b.out(0x10 + 2 * 16, 0x50 | level);
  CHECK(b.entry(16) == (0x50u | level));
}

TEST_CASE("io_apic: reserved delivery modes send nothing") {
  auto mode = GENERATE(3u, 6u);
  IoApicBench b;
  b.redirect(1, mode << 8 | 0x31);
  b.io_apic.set_irq(1, true);
  CHECK(b.sent() == 0);
}

TEST_CASE("io_apic: indices beyond the table read as zero, inputs beyond it are nobody's") {
  IoApicBench b;
  for (unsigned index : {0x03u, 0x0fu, 0x40u, 0xffu}) {
    b.out(index, 0xffffffff);
    CHECK(b.in(index) == 0);
  }
  b.io_apic.set_irq(24, true);
  b.io_apic.set_irq(1000, true);
  CHECK(b.sent() == 0);
}

TEST_CASE("io_apic: saved with a level in service, it goes on identically") {
  IoApicBench a, b;
  a.redirect(16, 0x50 | level, 1);
  a.redirect(4, 0x34);
  a.io_apic.set_irq(16, true);
  auto saved = save(a.clock, a.io_apic);
  REQUIRE(load(b.clock, b.io_apic, saved));
  CHECK(save(b.clock, b.io_apic) == saved);
  a.messages.sent.clear();
  for (IoApicBench* bench : {&a, &b}) {
    bench->io_apic.end_of_interrupt(0x50);
    bench->io_apic.set_irq(4, true);
  }
  CHECK(a.messages.sent == b.messages.sent);
  CHECK(save(a.clock, a.io_apic) == save(b.clock, b.io_apic));
}

TEST_CASE("io_apic: nonsense does no harm") {
  IoApicBench b;
  std::mt19937 random(5);
  for (unsigned i = 0; i < 2000; ++i) {
    b.out(static_cast<unsigned>(random() % 0x42), static_cast<uint32_t>(random()));
    b.io_apic.set_irq(static_cast<unsigned>(random() % 26), random() & 1);
    b.io_apic.end_of_interrupt(static_cast<uint8_t>(random()));
  }
  storm(b.clock, b.io_apic, {{0, 0x50, 4}});
  Bench spare;
  storm_of_snapshots(save(b.clock, b.io_apic), [&](Clock&) { return std::make_unique<IoApic>(spare.messages, uint8_t{0}); },
                     {{0, 0x50, 4}});
}
