// Facts from the 82C54 data sheet. Times are in periods of the counters' clock, 1,193,182 to the second.
#include "devices/pit.h"
#include "tests/device_bench.h"

using namespace matryoshka;
using namespace matryoshka::bench;

namespace {

constexpr unsigned irq0 = 0;

struct PitBench : Bench {
  Pit pit{clock, IrqLine(irq, irq0)};

  // The first nanosecond of a period.
  static uint64_t time_of(uint64_t instant) {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(instant) * second + Pit::frequency - 1) / Pit::frequency);
  }
  uint64_t instant = 0;
  void periods(uint64_t count) {
    instant += count;
    pass_until(time_of(instant));
  }
  void control(unsigned value) { pit.write(Pit::counter_ports, 3, 1, value); }
  void out(unsigned counter, unsigned value) { pit.write(Pit::counter_ports, counter, 1, value); }
  unsigned in(unsigned counter) { return static_cast<unsigned>(pit.read(Pit::counter_ports, counter, 1)); }
  void start(unsigned counter, unsigned mode, unsigned count, bool bcd = false) {
    control(counter << 6 | 0x30 | mode << 1 | bcd);
    out(counter, count & 0xff);
    out(counter, count >> 8);
  }
  unsigned latched(unsigned counter) {
    control(counter << 6);
    unsigned low = in(counter);
    return in(counter) << 8 | low;
  }
  unsigned status(unsigned counter) {
    control(0xe0 | 2u << counter);
    return in(counter);
  }
  bool output(unsigned counter) { return status(counter) & 0x80; }
  void port61(unsigned value) { pit.write(Pit::system_port, 0, 1, value); }
  unsigned port61() { return static_cast<unsigned>(pit.read(Pit::system_port, 0, 1)); }
  // The output in each of the coming periods, a character each.
  std::string trace(unsigned counter, unsigned length) {
    std::string levels;
    for (unsigned i = 0; i < length; ++i, periods(1)) levels += output(counter) ? '#' : '_';
    return levels;
  }
};

}  // namespace

TEST_CASE("pit: the six waveforms after a count of 4 is written, counter 2 with its gate open") {
  struct Row {
    unsigned mode;
    const char* levels;
  };
  // The period of the write comes first; the count is loaded at the start of the next.
  auto row = GENERATE(Row{0, "_____########"},  // high N + 1 periods after the write, for good
                      Row{1, "#############"},  // waits for a trigger
                      Row{2, "####_###_###_"},  // low in the last period of each cycle
                      Row{3, "###__##__##__"},  // square
                      Row{4, "#####_#######"},  // one low period after N + 1
                      Row{5, "#############"});
  INFO("mode " << row.mode);
  PitBench b;
  b.port61(0x01);
  b.periods(10);
  b.start(2, row.mode, 4);
  CHECK(b.trace(2, 13) == row.levels);
}

TEST_CASE("pit: a square wave of an odd count is high for the longer half") {
  PitBench b;
  b.port61(0x01);
  b.start(2, 3, 5);
  CHECK(b.trace(2, 12) == "####__###__#");
}

TEST_CASE("pit: modes 1 and 5 start when their gate rises, and start anew when it rises again") {
  struct Row {
    unsigned mode;
    const char* levels;
  };
  auto row = GENERATE(Row{1, "#____####"}, Row{5, "#####_###"});
  INFO("mode " << row.mode);
  PitBench b;
  b.start(2, row.mode, 4);
  b.periods(3);
  b.port61(0x01);
  CHECK(b.trace(2, 9) == row.levels);
  SECTION("again") {
    b.port61(0x00);
    b.port61(0x01);
    b.periods(3);
    b.port61(0x00);
    b.port61(0x01);
    CHECK(b.trace(2, 9).substr(1) == std::string(row.levels).substr(1));
  }
}

TEST_CASE("pit: a closed gate stops modes 0 and 4 where they are") {
  auto mode = GENERATE(0u, 4u);
  PitBench b;
  b.port61(0x01);
  b.start(2, mode, 100);
  b.periods(11);
  CHECK(b.latched(2) == 90);
  b.port61(0x00);
  b.periods(1000);
  CHECK(b.latched(2) == 90);
  b.port61(0x01);
  b.periods(10);
  CHECK(b.latched(2) == 80);
}

TEST_CASE("pit: a closed gate puts the output of modes 2 and 3 high, and opening it starts the cycle anew") {
  auto mode = GENERATE(2u, 3u);
  PitBench b;
  b.port61(0x01);
  b.start(2, mode, 10);
  b.periods(10);  // in the low part of either mode
  REQUIRE_FALSE(b.output(2));
  b.port61(0x00);
  CHECK(b.output(2));
  b.periods(100);
  CHECK(b.output(2));
  b.port61(0x01);
  b.periods(1);
  CHECK(b.latched(2) == 10);
}

TEST_CASE("pit: counters count down, in binary or in decimal, and wrap") {
  struct Row {
    bool bcd;
    unsigned count, periods, value;
  };
  auto row = GENERATE(Row{false, 0x1000, 1, 0x1000}, Row{false, 0x1000, 2, 0x0fff}, Row{false, 0x0003, 5, 0xffff},
                      Row{true, 0x1000, 2, 0x0999}, Row{true, 0x0003, 5, 0x9999}, Row{false, 0x0000, 2, 0xffff},
                      Row{true, 0x0000, 2, 0x9999});
  PitBench b;
  b.start(0, 0, row.count, row.bcd);
  b.periods(row.periods);
  CHECK(b.latched(0) == row.value);
}

TEST_CASE("pit: mode 3 counts by twos") {
  PitBench b;
  b.start(0, 3, 8);
  std::vector<unsigned> values;
  for (unsigned i = 0; i < 8; ++i) b.periods(1), values.push_back(b.latched(0));
  CHECK(values == std::vector<unsigned>{8, 6, 4, 2, 8, 6, 4, 2});
}

TEST_CASE("pit: a new count waits for the end of the cycle in mode 2 and of the half-cycle in mode 3") {
  struct Row {
    unsigned mode;
    const char* levels;
  };
  auto row = GENERATE(Row{2, "#####_###_###_"}, Row{3, "###__##__##__#"});
  PitBench b;
  b.start(0, row.mode, 6);
  b.periods(1);
  b.out(0, 4);
  b.out(0, 0);
  CHECK(b.trace(0, 14) == row.levels);
}

TEST_CASE("pit: in mode 0 the first byte of a new count stops the old one and lowers the output") {
  PitBench b;
  b.start(0, 0, 2);
  b.periods(5);
  REQUIRE(b.output(0));
  b.out(0, 3);
  CHECK_FALSE(b.output(0));
  b.periods(100);
  b.out(0, 0);
  CHECK(b.trace(0, 6) == "____##");
}

TEST_CASE("pit: a latched count waits for its reader, and a second latch command is ignored") {
  PitBench b;
  b.start(0, 2, 0x1234);
  b.periods(1);
  b.control(0x00);
  b.periods(50);
  b.control(0x00);
  CHECK(b.in(0) == 0x34);
  CHECK(b.in(0) == 0x12);
  CHECK(b.in(0) == (0x1234 - 50 & 0xff));
}

TEST_CASE("pit: read-back latches status before count, of all chosen counters") {
  PitBench b;
  b.start(0, 2, 0x1234);
  b.start(2, 3, 0x4000);
  b.periods(1);
  b.control(0xc0 | 0x0a);  // both of counters 0 and 2
  CHECK(b.in(0) == 0xb4);  // OUT, low then high, mode 2
  CHECK(b.in(0) == 0x34);
  CHECK(b.in(0) == 0x12);
  CHECK(b.in(2) == 0xb6);
}

TEST_CASE("pit: the null count bit stands until the count is loaded") {
  PitBench b;
  b.control(0x34);
  CHECK((b.status(0) & 0x40) == 0x40);
  b.out(0, 10);
  b.out(0, 0);
  CHECK((b.status(0) & 0x40) == 0x40);
  b.periods(1);
  CHECK((b.status(0) & 0x40) == 0x00);
  b.out(0, 20);
  b.out(0, 0);
  CHECK((b.status(0) & 0x40) == 0x40);
  b.periods(10);
  CHECK((b.status(0) & 0x40) == 0x00);
}

TEST_CASE("pit: one-byte access programs one byte and reads the same one") {
  PitBench b;
  b.control(0x14);  // low byte only, mode 2
  b.out(0, 0x50);
  b.periods(1);
  CHECK(b.in(0) == 0x50);
  CHECK(b.in(0) == 0x50);
  b.control(0x24);  // high byte only
  b.out(0, 0x12);
  b.periods(1);
  CHECK(b.in(0) == 0x12);
}

TEST_CASE("pit: IRQ0 rises once per cycle, without drift over an hour") {
  PitBench b;
  b.start(0, 2, 11'932);  // Linux's HZ=100
  unsigned before = b.irq.rises(irq0);
  b.pass_until(3600 * second);
  uint64_t elapsed = 3600 * Pit::frequency - 1;  // the count was loaded at the first period
  CHECK(b.irq.rises(irq0) - before == elapsed / 11'932);
}

TEST_CASE("pit: IRQ0 rises in exactly the nanosecond in which its period begins") {
  PitBench b;
  b.start(0, 0, 1000);
  uint64_t due = PitBench::time_of(1001);
  b.pass_until(due - 1);
  CHECK_FALSE(b.irq.level(irq0));
  b.pass_until(due);
  CHECK(b.irq.level(irq0));
}

TEST_CASE("pit: only a counter 0 that can still change its output wakes an idle guest") {
  PitBench b;
  b.port61(0x03);
  b.start(1, 2, 18);
  b.start(2, 3, 1000);
  CHECK(b.clock.next_deadline() == Clock::never);
  b.start(0, 0, 1000);
  b.pass(second);
  CHECK(b.clock.next_deadline() == Clock::never);
}

TEST_CASE("pit: port 61h keeps its four bits, shows OUT2 and toggles with memory refresh") {
  PitBench b;
  b.start(2, 0, 100);
  b.port61(0xff);
  CHECK((b.port61() & 0x0f) == 0x0f);
  CHECK((b.port61() & 0x20) == 0x00);
  b.periods(101);
  CHECK((b.port61() & 0x20) == 0x20);
  unsigned toggles = 0;
  for (unsigned i = 0, before = b.port61() & 0x10; i < 18 * 20; ++i) {
    b.periods(1);
    toggles += (b.port61() & 0x10) != before;
    before = b.port61() & 0x10;
  }
  CHECK(toggles == 20);
}

TEST_CASE("pit: a counter left alone for days is found where it should be") {
  PitBench b;
  b.port61(0x01);
  b.start(2, 2, 3);
  b.periods(1 + 3 * 40'000'000'000);
  CHECK(b.trace(2, 6) == "##_##_");
}

TEST_CASE("pit: a reset stops the counters and closes counter 2's gate") {
  PitBench b;
  b.port61(0x03);
  b.start(0, 2, 100);
  b.periods(10);
  b.pit.reset();
  CHECK_FALSE(b.irq.level(irq0));
  CHECK(b.clock.next_deadline() == Clock::never);
  CHECK((b.port61() & 0x0f) == 0x00);
}

TEST_CASE("pit: saved in the middle of everything, it goes on identically") {
  auto mode = GENERATE(0u, 1u, 2u, 3u, 4u, 5u);
  PitBench a, b;
  a.port61(0x01);
  a.start(0, mode, 1000);
  a.start(2, mode, 777);
  a.control(0x00);
  a.in(0);
  a.periods(300);
  auto saved = save(a.clock, a.pit);
  REQUIRE(load(b.clock, b.pit, saved));
  CHECK(save(b.clock, b.pit) == saved);
  b.instant = a.instant;
  b.irq.set_irq(irq0, a.irq.level(irq0));
  for (PitBench* bench : {&a, &b}) bench->periods(5000), bench->port61(0x00), bench->port61(0x01), bench->periods(500);
  CHECK(a.irq.level(irq0) == b.irq.level(irq0));
  CHECK(save(a.clock, a.pit) == save(b.clock, b.pit));
}

TEST_CASE("pit: nonsense does no harm") {
  PitBench b;
  storm(b.clock, b.pit, {{Pit::counter_ports, 4}, {Pit::system_port, 1}});
  Bench spare;
  storm_of_snapshots(save(b.clock, b.pit), [&](Clock& clock) { return std::make_unique<Pit>(clock, IrqLine(spare.irq, irq0)); },
                     {{Pit::counter_ports, 4}, {Pit::system_port, 1}});
}
