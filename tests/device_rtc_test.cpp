// Facts from the MC146818 data sheet, for a 32,768 Hz crystal.
#include "devices/rtc.h"
#include "tests/device_bench.h"

using namespace matryoshka;
using namespace matryoshka::bench;

namespace {

enum Register : unsigned {
  seconds,
  seconds_alarm,
  minutes,
  minutes_alarm,
  hours,
  hours_alarm,
  weekday,
  day,
  month,
  year,
  A,
  B,
  C,
  D,
  century = 0x32
};
constexpr unsigned SET = 0x80, PIE = 0x40, AIE = 0x20, UIE = 0x10, DM = 0x04, H24 = 0x02;
constexpr unsigned UIP = 0x80;
constexpr unsigned irq8 = 8;

constexpr int64_t before_a_leap_day = 951'782'399;  // Mon 2000-02-28 23:59:59 UTC

struct RtcBench : Bench {
  Rtc rtc;
  explicit RtcBench(int64_t epoch = 0) : rtc(clock, IrqLine(irq, irq8), epoch) {}
  unsigned in(unsigned reg) {
    rtc.write(0, 0, 1, reg);
    return static_cast<unsigned>(rtc.read(0, 1, 1));
  }
  void out(unsigned reg, unsigned value) {
    rtc.write(0, 0, 1, reg);
    rtc.write(0, 1, 1, value);
  }
  // Century, year, month, day, weekday, hour, minute, second as the registers have them.
  std::vector<unsigned> time() {
    std::vector<unsigned> fields;
    for (unsigned reg : {century, year, month, day, weekday, hours, minutes, seconds}) fields.push_back(in(reg));
    return fields;
  }
};

using Fields = std::vector<unsigned>;

}  // namespace

TEST_CASE("rtc: the epoch shows as date and time, in BCD and 24 hours") {
  struct Row {
    int64_t epoch;
    Fields fields;
  };
  auto row = GENERATE(Row{0, {0x19, 0x70, 0x01, 0x01, 5, 0x00, 0x00, 0x00}},              // a Thursday
                      Row{951'782'399, {0x20, 0x00, 0x02, 0x28, 2, 0x23, 0x59, 0x59}},    // a Monday
                      Row{1'709'210'096, {0x20, 0x24, 0x02, 0x29, 5, 0x12, 0x34, 0x56}},  // a leap day
                      Row{4'102'444'800, {0x21, 0x00, 0x01, 0x01, 6, 0x00, 0x00, 0x00}});
  RtcBench b(row.epoch);
  CHECK(b.time() == row.fields);
}

TEST_CASE("rtc: time passes, over days, leap days and centuries") {
  struct Row {
    int64_t epoch;
    uint64_t elapsed;
    Fields fields;
  };
  auto row = GENERATE(Row{before_a_leap_day, 1, {0x20, 0x00, 0x02, 0x29, 3, 0x00, 0x00, 0x00}},
                      Row{946'684'799, 1, {0x20, 0x00, 0x01, 0x01, 7, 0x00, 0x00, 0x00}},  // the century follows
                      Row{0, 365 * 86'400, {0x19, 0x71, 0x01, 0x01, 6, 0x00, 0x00, 0x00}});
  RtcBench b(row.epoch);
  b.pass(row.elapsed * second);
  CHECK(b.time() == row.fields);
}

TEST_CASE("rtc: a second is over after a second, not a nanosecond before") {
  RtcBench b;
  b.pass(second - 1);
  CHECK(b.in(seconds) == 0x00);
  b.pass(1);
  CHECK(b.in(seconds) == 0x01);
}

TEST_CASE("rtc: hours in all four formats") {
  struct Row {
    unsigned control;
    unsigned hour;
    unsigned field;
  };
  auto row = GENERATE(Row{H24, 0, 0x00}, Row{H24, 13, 0x13}, Row{H24 | DM, 23, 23}, Row{0, 0, 0x12}, Row{0, 11, 0x11},
                      Row{0, 12, 0x92}, Row{0, 23, 0x91}, Row{DM, 0, 12}, Row{DM, 13, 0x81}, Row{DM, 22, 0x8a});
  INFO("register B " << row.control << ", hour " << row.hour);
  RtcBench b;
  // One second before the hour, told in the format under test.
  b.out(B, SET | row.control);
  unsigned previous = (row.hour + 23) % 24;
  unsigned twelve = previous % 12 == 0 ? 12 : previous % 12;
  unsigned dial = row.control & H24 ? previous : twelve;
  unsigned encoded = row.control & DM ? dial : dial / 10 << 4 | dial % 10;
  b.out(hours, row.control & H24 || previous < 12 ? encoded : encoded | 0x80);
  b.out(minutes, row.control & DM ? 59 : 0x59);
  b.out(seconds, row.control & DM ? 59 : 0x59);
  b.out(B, row.control);
  b.pass(second);
  CHECK(b.in(hours) == row.field);
}

TEST_CASE("rtc: UIP is up for 2,228 us before each update, the last 244 us of quiet included") {
  RtcBench b;
  b.pass(second - 2'228 * microsecond - 1);
  CHECK((b.in(A)&UIP) == 0);
  b.pass(1);
  CHECK((b.in(A)&UIP) == UIP);
  b.pass(2'228 * microsecond - 1);
  CHECK((b.in(A)&UIP) == UIP);
  b.pass(1);
  CHECK((b.in(A)&UIP) == 0);
}

TEST_CASE("rtc: SET stops updates, UIP and the update interrupt, and time goes on from what is written") {
  RtcBench b;
  b.out(B, UIE | H24);
  b.out(B, SET | UIE | H24);
  CHECK(b.in(B) == (SET | H24));
  b.pass(second - 1);
  CHECK((b.in(A)&UIP) == 0);
  b.pass(10 * second);
  CHECK(b.in(seconds) == 0x00);
  CHECK((b.in(C)&0xb0) == 0x00);
  b.out(seconds, 0x30);
  b.out(B, H24);
  b.pass(second);
  CHECK(b.in(seconds) == 0x31);
}

TEST_CASE("rtc: a divider released from reset updates half a second later") {
  RtcBench b;
  b.pass(millisecond);
  b.out(A, 0x70);
  b.pass(10 * second);
  CHECK(b.in(seconds) == 0x00);
  b.out(A, 0x26);
  b.pass(second / 2 - 1);
  CHECK(b.in(seconds) == 0x00);
  b.pass(1);
  CHECK(b.in(seconds) == 0x01);
  b.pass(second);
  CHECK(b.in(seconds) == 0x02);
}

TEST_CASE("rtc: the update-ended interrupt comes each second and stands until register C is read") {
  RtcBench b;
  b.out(B, UIE | H24);
  b.pass(second - 1);
  CHECK_FALSE(b.irq.level(irq8));
  b.pass(1);
  CHECK(b.irq.level(irq8));
  b.pass(5 * second);
  CHECK(b.irq.rises(irq8) == 1);
  CHECK((b.in(C)&0xb0) == 0x90);
  CHECK_FALSE(b.irq.level(irq8));
  CHECK((b.in(C)&0xb0) == 0x00);
  b.pass(second);
  CHECK(b.irq.level(irq8));
}

TEST_CASE("rtc: flags stand without their enables, and IRQF only with one") {
  RtcBench b;
  b.pass(second);
  CHECK((b.in(C)&0x90) == 0x10);
  CHECK(b.irq.rises(irq8) == 0);
}

TEST_CASE("rtc: the periodic interrupt has the rate that register A selects") {
  struct Row {
    unsigned select;
    unsigned rate;
  };
  auto row = GENERATE(Row{1, 256}, Row{2, 128}, Row{3, 8192}, Row{6, 1024}, Row{10, 64}, Row{15, 2}, Row{0, 0});
  INFO("rate selection " << row.select);
  RtcBench b;
  b.out(A, 0x20 | row.select);
  b.out(B, PIE | H24);
  unsigned interrupts = 0;
  while (b.clock.next_deadline() <= 3 * second) {
    b.pass_until_next();
    CHECK((b.in(C)&0xc0) == 0xc0);
    ++interrupts;
  }
  CHECK(interrupts == 3 * row.rate);
}

TEST_CASE("rtc: the alarm comes when hours, minutes and seconds match, C0h and above matching all") {
  struct Row {
    unsigned hour, minute, second;
    uint64_t after;  // seconds from midnight to the first alarm, 0 for never
  };
  auto row =
      GENERATE(Row{0x00, 0x00, 0x05, 5}, Row{0x01, 0x30, 0x00, 5400}, Row{0xff, 0x00, 0x00, 3600}, Row{0xff, 0xff, 0x10, 10},
               Row{0xc0, 0xc0, 0xc0, 1}, Row{0x00, 0x00, 0x00, 86'400}, Row{0x25, 0x00, 0x00, 0}, Row{0x00, 0x0a, 0x00, 0});
  RtcBench b;
  b.out(hours_alarm, row.hour);
  b.out(minutes_alarm, row.minute);
  b.out(seconds_alarm, row.second);
  b.out(B, AIE | H24);
  if (row.after == 0) {
    CHECK(b.clock.next_deadline() == Clock::never);
  } else {
    CHECK(b.clock.next_deadline() == row.after * second);
    b.pass_until_next();
    CHECK((b.in(C)&0xa0) == 0xa0);
  }
}

TEST_CASE("rtc: an alarm that nobody waited for still left its flag") {
  RtcBench b;
  b.out(hours_alarm, 0x02);
  b.out(minutes_alarm, 0x00);
  b.out(seconds_alarm, 0x00);
  b.pass(7199 * second);
  CHECK((b.in(C)&0x20) == 0x00);
  b.pass(10 * second);
  CHECK((b.in(C)&0x20) == 0x20);
}

TEST_CASE("rtc: registers C and D cannot be written, UIP neither, and D says the battery is good") {
  RtcBench b;
  b.out(C, 0xff);
  CHECK(b.in(C) == 0x00);
  b.out(D, 0x00);
  CHECK(b.in(D) == 0x80);
  b.out(A, 0xa6);
  CHECK(b.in(A) == 0x26);
}

TEST_CASE("rtc: CMOS memory keeps what is written, through a reset as well, and the index's top bit masks NMI") {
  RtcBench b;
  for (unsigned i = 0x0e; i < 0x80; ++i)
    if (i != century) b.out(i, i ^ 0x55);
  b.rtc.reset();
  for (unsigned i = 0x0e; i < 0x80; ++i)
    if (i != century) CHECK(b.in(i) == (i ^ 0x55));
  CHECK_FALSE(b.rtc.nmi_masked());
  b.in(0x80 | 0x0f);
  CHECK(b.rtc.nmi_masked());
}

TEST_CASE("rtc: a reset ends interrupts and keeps the time") {
  RtcBench b;
  b.out(B, UIE | PIE | AIE | DM | H24);
  b.pass(42 * second);
  CHECK(b.irq.level(irq8));
  b.rtc.reset();
  CHECK_FALSE(b.irq.level(irq8));
  CHECK(b.in(B) == (DM | H24));
  CHECK(b.in(C) == 0x00);
  CHECK(b.in(seconds) == 42);
}

TEST_CASE("rtc: firmware finds the memory's size in KiB, in 64 KiB above 16 MiB and above 4 GiB") {
  RtcBench b;
  b.rtc.set_memory_size(512 << 20, uint64_t{3} << 30);
  auto word = [&](unsigned i) { return b.in(i + 1) << 8 | b.in(i); };
  CHECK(word(0x15) == 640);
  CHECK(word(0x17) == 0xffff);
  CHECK(word(0x30) == 0xffff);
  CHECK(word(0x34) == (512 - 16) * 16);
  CHECK(word(0x5b) == 0xc000);
  CHECK(b.in(0x5d) == 0);
}

TEST_CASE("rtc: nothing wakes a guest that has no interrupt enabled") {
  RtcBench b;
  CHECK(b.clock.next_deadline() == Clock::never);
  b.out(B, UIE | H24);
  b.pass(second);
  CHECK(b.clock.next_deadline() == Clock::never);  // raised, and not yet seen
}

TEST_CASE("rtc: saved between two periodic interrupts, it goes on identically") {
  RtcBench a(before_a_leap_day), b;
  a.out(A, 0x2a);
  a.out(B, PIE | UIE | H24);
  a.pass(1'234'567'890);
  auto saved = save(a.clock, a.rtc);
  REQUIRE(load(b.clock, b.rtc, saved));
  CHECK(save(b.clock, b.rtc) == saved);
  for (unsigned i = 0; i < 100; ++i) {
    CHECK(a.in(C) == b.in(C));
    CHECK(a.clock.next_deadline() == b.clock.next_deadline());
    a.pass(17 * millisecond);
    b.pass(17 * millisecond);
  }
  CHECK(a.time() == b.time());
  CHECK(save(a.clock, a.rtc) == save(b.clock, b.rtc));
}

TEST_CASE("rtc: nonsense does no harm") {
  RtcBench b;
  std::mt19937 random(3);
  for (unsigned i = 0; i < 5000; ++i) {
    b.out(static_cast<unsigned>(random() % 16), static_cast<unsigned>(random() & 0xff));
    b.in(static_cast<unsigned>(random() % 16));
    b.pass(random() % 4 == 0 ? random() % (100 * second) : random() % millisecond);
  }
  storm(b.clock, b.rtc, {{0, 2}});
  Bench spare;
  storm_of_snapshots(save(b.clock, b.rtc),
                     [&](Clock& clock) { return std::make_unique<Rtc>(clock, IrqLine(spare.irq, irq8), 0); }, {{0, 2}});
}
