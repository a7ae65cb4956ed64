// Facts from the 8259A data sheet.
#include "devices/pic.h"
#include "tests/device_bench.h"

using namespace matryoshka;
using namespace matryoshka::bench;

namespace {

constexpr unsigned intr = 0;
constexpr unsigned first_base = 0x20, second_base = 0x28;

// A pair set up as a PC's firmware and Linux do it: vectors 20h and 28h, everything unmasked.
struct PicBench : Bench {
  Pic pic{IrqLine(irq, intr)};

  explicit PicBench(unsigned first_icw4 = 0x01, unsigned second_icw4 = 0x01) {
    set_up(Pic::first_ports, first_base, 0x04, first_icw4);
    set_up(Pic::second_ports, second_base, 0x02, second_icw4);
  }
  void set_up(unsigned chip, unsigned base, unsigned icw3, unsigned icw4) {
    command(chip, 0x11);
    data(chip, base);
    data(chip, icw3);
    data(chip, icw4);
    data(chip, 0x00);
  }
  void command(unsigned chip, unsigned value) { pic.write(chip, 0, 1, value); }
  void data(unsigned chip, unsigned value) { pic.write(chip, 1, 1, value); }
  void command(unsigned value) { command(Pic::first_ports, value); }
  unsigned status(unsigned chip = Pic::first_ports) { return static_cast<unsigned>(pic.read(chip, 0, 1)); }
  unsigned masks(unsigned chip = Pic::first_ports) { return static_cast<unsigned>(pic.read(chip, 1, 1)); }
  void set(unsigned line, bool level) { pic.set_irq(line, level); }
  void edge(unsigned line) { set(line, false), set(line, true); }
  bool requested() { return irq.level(intr); }
  unsigned acknowledge() { return pic.acknowledge(); }
};

constexpr unsigned read_irr = 0x0a, read_isr = 0x0b, poll = 0x0c;
constexpr unsigned nonspecific_eoi = 0x20, specific_eoi = 0x60, rotate_on_eoi = 0xa0, rotate_on_specific_eoi = 0xe0,
                   set_priority = 0xc0, rotate_on_auto_eoi = 0x80, no_rotate_on_auto_eoi = 0x00;

}  // namespace

TEST_CASE("pic: each line has its vector") {
  auto line = GENERATE(0u, 1u, 3u, 4u, 5u, 6u, 7u, 8u, 9u, 10u, 11u, 12u, 13u, 14u, 15u);
  PicBench b;
  b.set(line, true);
  CHECK(b.requested());
  CHECK(b.acknowledge() == (line < 8 ? first_base + line : second_base + line - 8));
  CHECK_FALSE(b.requested());
}

TEST_CASE("pic: nothing is requested before the initialization words are complete") {
  PicBench b;
  b.command(0x11);
  b.set(3, true);
  CHECK_FALSE(b.requested());
  b.data(Pic::first_ports, 0x20);
  b.data(Pic::first_ports, 0x04);
  CHECK_FALSE(b.requested());
  b.data(Pic::first_ports, 0x01);
  CHECK(b.requested());
}

TEST_CASE("pic: ICW1 clears the masks and forgets edges, so a line must rise again") {
  PicBench b;
  b.data(Pic::first_ports, 0xff);
  b.set(3, true);
  b.set_up(Pic::first_ports, first_base, 0x04, 0x01);
  CHECK(b.masks() == 0x00);
  CHECK_FALSE(b.requested());
  b.edge(3);
  CHECK(b.requested());
}

TEST_CASE("pic: a single chip expects no ICW3") {
  PicBench b;
  b.command(0x13);
  b.data(Pic::first_ports, 0x40);
  b.data(Pic::first_ports, 0x01);
  b.data(Pic::first_ports, 0xfe);
  CHECK(b.masks() == 0xfe);
  b.set(0, true);
  CHECK(b.acknowledge() == 0x40);
}

TEST_CASE("pic: a service in progress holds back its own level and lower ones, not higher ones") {
  PicBench b;
  b.set(4, true);
  CHECK(b.acknowledge() == 0x24);
  b.edge(4);
  b.edge(5);
  CHECK_FALSE(b.requested());
  b.edge(3);
  CHECK(b.requested());
  CHECK(b.acknowledge() == 0x23);
  b.command(nonspecific_eoi);  // ends 3
  CHECK_FALSE(b.requested());
  b.command(nonspecific_eoi);  // ends 4
  CHECK(b.acknowledge() == 0x24);
  b.command(nonspecific_eoi);
  CHECK(b.acknowledge() == 0x25);
}

TEST_CASE("pic: IRR shows requests, ISR shows services") {
  PicBench b;
  b.set(1, true);
  b.set(6, true);
  CHECK(b.status() == 0x42);
  b.acknowledge();
  b.command(read_isr);
  CHECK(b.status() == 0x02);
  b.command(read_irr);
  CHECK(b.status() == 0x40);
}

TEST_CASE("pic: an edge is taken once; a level asks again after its end of interrupt") {
  PicBench b;
  b.pic.write(Pic::edge_level_ports, 0, 1, 0x20);  // line 5 by level
  b.set(4, true);
  b.set(5, true);
  CHECK(b.acknowledge() == 0x24);
  b.command(nonspecific_eoi);
  CHECK(b.acknowledge() == 0x25);
  CHECK_FALSE(b.requested());
  b.command(nonspecific_eoi);
  CHECK(b.requested());
  b.set(5, false);
  CHECK_FALSE(b.requested());
}

TEST_CASE("pic: ELCR has no bits for the timer, the keyboard, the cascade, the clock and the coprocessor") {
  PicBench b;
  b.pic.write(Pic::edge_level_ports, 0, 1, 0xff);
  b.pic.write(Pic::edge_level_ports, 1, 1, 0xff);
  CHECK(b.pic.read(Pic::edge_level_ports, 0, 1) == 0xf8);
  CHECK(b.pic.read(Pic::edge_level_ports, 1, 1) == 0xde);
}

TEST_CASE("pic: a request that goes before its acknowledge gives spurious level 7, with nothing in service") {
  PicBench b;
  b.set(3, true);
  b.set(3, false);
  CHECK(b.acknowledge() == 0x27);
  b.command(read_isr);
  CHECK(b.status() == 0x00);
}

TEST_CASE("pic: a request withdrawn at the second chip is withdrawn at the first as well") {
  PicBench b;
  b.set(10, true);
  b.set(10, false);
  CHECK_FALSE(b.requested());
  CHECK(b.acknowledge() == 0x27);
  for (unsigned chip : {Pic::first_ports, Pic::second_ports}) {
    b.command(chip, read_isr);
    CHECK(b.status(chip) == 0x00);
  }
}

TEST_CASE("pic: the second chip stands at level 2: above 3, below 1") {
  PicBench b;
  b.set(3, true);
  b.set(14, true);
  CHECK(b.acknowledge() == 0x2e);
  b.set(1, true);
  CHECK(b.acknowledge() == 0x21);
  CHECK_FALSE(b.requested());
  b.command(nonspecific_eoi);
  b.command(Pic::second_ports, nonspecific_eoi);
  b.command(nonspecific_eoi);
  CHECK(b.acknowledge() == 0x23);
}

TEST_CASE("pic: two requests of the second chip come one after the other") {
  PicBench b;
  b.set(12, true);
  b.set(14, true);
  CHECK(b.acknowledge() == 0x2c);
  b.command(Pic::second_ports, nonspecific_eoi);
  CHECK_FALSE(b.requested());  // level 2 is still in service
  b.command(nonspecific_eoi);
  CHECK(b.acknowledge() == 0x2e);
}

TEST_CASE("pic: the special fully nested mode lets a higher request through a second chip in service") {
  PicBench b(0x11);
  b.set(14, true);
  CHECK(b.acknowledge() == 0x2e);
  b.set(15, true);
  CHECK_FALSE(b.requested());
  b.set(8, true);
  CHECK(b.acknowledge() == 0x28);
}

TEST_CASE("pic: automatic end of interrupt leaves nothing in service") {
  PicBench b(0x03);
  b.set(4, true);
  CHECK(b.acknowledge() == 0x24);
  b.command(read_isr);
  CHECK(b.status() == 0x00);
  b.edge(4);
  CHECK(b.requested());
}

TEST_CASE("pic: the eight end-of-interrupt commands") {
  struct Row {
    const char* name;
    unsigned command;
    unsigned in_service_after;  // with levels 2 and 5 in service before
    unsigned first_after;       // the level served first when all ask, once nothing is in service
  };
  auto row = GENERATE(Row{"non-specific EOI", nonspecific_eoi, 0x20, 0}, Row{"specific EOI of 5", specific_eoi | 5, 0x04, 0},
                      Row{"rotate on non-specific EOI", rotate_on_eoi, 0x20, 3},
                      Row{"rotate on specific EOI of 5", rotate_on_specific_eoi | 5, 0x04, 6},
                      Row{"set priority, 4 lowest", set_priority | 4, 0x24, 5}, Row{"no operation", 0x40, 0x24, 0},
                      Row{"rotate in AEOI, set", rotate_on_auto_eoi, 0x24, 0},
                      Row{"rotate in AEOI, clear", no_rotate_on_auto_eoi, 0x24, 0});
  INFO(row.name);
  PicBench b;
  b.command(0x13);  // alone, so that level 2 is a level like any other
  b.data(Pic::first_ports, 0x20);
  b.data(Pic::first_ports, 0x01);
  b.set(5, true);
  b.acknowledge();
  b.set(8, true);  // the second chip's output is line 2
  b.acknowledge();
  b.command(read_isr);
  REQUIRE(b.status() == 0x24);
  b.command(row.command);
  CHECK(b.status() == row.in_service_after);
  b.command(specific_eoi | 2);
  b.command(specific_eoi | 5);
  for (unsigned line : {0u, 1u, 3u, 4u, 5u, 6u, 7u}) b.edge(line);
  CHECK(b.acknowledge() == 0x20 + row.first_after);
}

TEST_CASE("pic: rotation in automatic end of interrupt puts each served level last") {
  PicBench b(0x03);
  b.command(rotate_on_auto_eoi);
  for (unsigned line : {0u, 1u, 3u}) b.edge(line);
  CHECK(b.acknowledge() == 0x20);
  b.edge(0);
  CHECK(b.acknowledge() == 0x21);
  CHECK(b.acknowledge() == 0x23);
  CHECK(b.acknowledge() == 0x20);
}

TEST_CASE("pic: the special mask mode lets lower levels through a masked level in service") {
  PicBench b;
  b.set(3, true);
  b.acknowledge();
  b.set(6, true);
  b.data(Pic::first_ports, 0x08);
  CHECK_FALSE(b.requested());
  b.command(0x68);  // special mask on
  CHECK(b.requested());
  b.command(0x48);  // off
  CHECK_FALSE(b.requested());
  b.command(0x68);
  b.command(nonspecific_eoi);  // does not touch a masked level in this mode
  b.command(read_isr);
  CHECK(b.status() == 0x08);
}

TEST_CASE("pic: a poll acknowledges by reading") {
  PicBench b;
  b.command(poll);
  CHECK(b.status() == 0x00);
  b.set(4, true);
  b.command(poll);
  CHECK(b.status() == 0x84);
  CHECK_FALSE(b.requested());
  b.command(read_isr);
  CHECK(b.status() == 0x10);
}

TEST_CASE("pic: masks hold requests back without losing them") {
  PicBench b;
  b.data(Pic::first_ports, 0x10);
  b.set(4, true);
  CHECK_FALSE(b.requested());
  CHECK(b.status() == 0x10);
  b.data(Pic::first_ports, 0x00);
  CHECK(b.requested());
}

TEST_CASE("pic: after a reset nothing is requested until the chips are set up again") {
  PicBench b;
  b.set(3, true);
  b.pic.reset();
  CHECK_FALSE(b.requested());
  b.edge(4);
  CHECK_FALSE(b.requested());
}

TEST_CASE("pic: saved between acknowledge and end of interrupt, it goes on identically") {
  PicBench a, b;
  a.set(14, true);
  a.set(3, true);
  a.acknowledge();
  auto saved = save(a.clock, a.pic);
  b.set(9, true);
  REQUIRE(load(b.clock, b.pic, saved));
  CHECK(save(b.clock, b.pic) == saved);
  for (PicBench* bench : {&a, &b}) {
    bench->command(Pic::second_ports, nonspecific_eoi);
    bench->command(nonspecific_eoi);
  }
  CHECK(a.acknowledge() == 0x23);
  CHECK(b.acknowledge() == 0x23);
  CHECK(save(a.clock, a.pic) == save(b.clock, b.pic));
}

TEST_CASE("pic: nonsense does no harm") {
  PicBench b;
  std::mt19937 random(7);
  for (unsigned i = 0; i < 2000; ++i) {
    storm(b.clock, b.pic, {{Pic::first_ports, 2}, {Pic::second_ports, 2}, {Pic::edge_level_ports, 2}}, 4,
          static_cast<uint32_t>(random()));
    b.set(static_cast<unsigned>(random() % 20), random() & 1);
    if (random() & 1) b.acknowledge();
  }
  Bench spare;
  storm_of_snapshots(save(b.clock, b.pic), [&](Clock&) { return std::make_unique<Pic>(IrqLine(spare.irq, intr)); },
                     {{Pic::first_ports, 2}, {Pic::second_ports, 2}, {Pic::edge_level_ports, 2}});
}
