// Facts from the 82371AB (PIIX4) data sheet and the ACPI specification.
#include "devices/power.h"
#include "tests/device_bench.h"

using namespace matryoshka;
using namespace matryoshka::bench;

namespace {

enum Register : unsigned { PM1_STS = 0x00, PM1_EN = 0x02, PM1_CNT = 0x04, PM_TMR = 0x08, GPE0_STS = 0x0c, GPE0_EN = 0x0e };
constexpr unsigned timer = 1, power_button = 1 << 8;
constexpr unsigned sci = 9;

struct PowerBench : Bench {
  unsigned power_offs = 0, resets = 0;
  Power power;
  explicit PowerBench(unsigned timer_bits = 24) : power(clock, outputs(), timer_bits) {}

  Power::Outputs outputs() {
    return {IrqLine(irq, sci), [this] { ++power_offs; }, [this] { ++resets; }};
  }
  unsigned in(unsigned reg, unsigned size = 2) { return static_cast<unsigned>(power.read(Power::registers, reg, size)); }
  void out(unsigned reg, unsigned value, unsigned size = 2) { power.write(Power::registers, reg, size, value); }
};

}  // namespace

TEST_CASE("power: the machine starts in ACPI mode and stays there") {
  PowerBench b;
  CHECK(b.in(PM1_CNT) == 0x0001);
  b.out(PM1_CNT, 0x0000);
  CHECK(b.in(PM1_CNT) == 0x0001);
}

TEST_CASE("power: SLP_EN with S5's type turns the machine off, and with no other") {
  struct Row {
    unsigned control;
    unsigned power_offs;
  };
  auto row = GENERATE(Row{0x2001, 1}, Row{0x0001, 0}, Row{0x2401, 0}, Row{0x3c01, 0});
  auto bytewise = GENERATE(false, true);
  INFO("PM1_CNT " << row.control << (bytewise ? " by bytes" : ""));
  PowerBench b;
  if (bytewise) {
    b.out(PM1_CNT, row.control & 0xff, 1);
    b.out(PM1_CNT + 1, row.control >> 8, 1);
  } else {
    b.out(PM1_CNT, row.control);
  }
  CHECK(b.power_offs == row.power_offs);
  CHECK((b.in(PM1_CNT)&0x2000) == 0);  // SLP_EN reads as zero
}

TEST_CASE("power: the timer counts 3,579,545 to the second, exactly, and wraps at its width") {
  struct Row {
    unsigned bits;
    uint64_t time;
    unsigned count;
  };
  auto row = GENERATE(Row{24, second, 3'579'545}, Row{24, 0, 0}, Row{24, 3600 * second, 12'886'362'000 % (1 << 24)},
                      Row{32, 3600 * second, 12'886'362'000 % (uint64_t{1} << 32)}, Row{24, 279, 0}, Row{24, 280, 1});
  PowerBench b(row.bits);
  b.pass_until(row.time);
  CHECK(b.in(PM_TMR, 4) == row.count);
  CHECK(b.in(PM_TMR + 2, 1) == (row.count >> 16 & 0xff));
  b.out(PM_TMR, 0, 4);
  CHECK(b.in(PM_TMR, 4) == row.count);
}

TEST_CASE("power: TMR_STS is set when the timer's top bit changes, and cleared by writing 1") {
  PowerBench b;
  constexpr uint64_t half = 2'343'484'438;  // the first nanosecond with bit 23 set
  b.pass_until(half - 1);
  CHECK((b.in(PM1_STS)&timer) == 0);
  b.pass_until(half);
  CHECK((b.in(PM1_STS)&timer) == timer);
  b.out(PM1_STS, 0);
  CHECK((b.in(PM1_STS)&timer) == timer);
  b.out(PM1_STS, timer);
  CHECK((b.in(PM1_STS)&timer) == 0);
  b.pass(half);
  CHECK((b.in(PM1_STS)&timer) == timer);
}

TEST_CASE("power: the timer's carry interrupts only if enabled, and wakes nobody otherwise") {
  PowerBench b;
  CHECK(b.clock.next_deadline() == Clock::never);
  b.out(PM1_EN, timer);
  b.pass_until_next();
  CHECK(b.irq.level(sci));
  CHECK((b.in(PM_TMR, 4)) == 1 << 23);
  CHECK(b.clock.next_deadline() == Clock::never);
  b.out(PM1_STS, timer);
  CHECK_FALSE(b.irq.level(sci));
}

TEST_CASE("power: the power button raises the SCI once its event is enabled") {
  PowerBench b;
  b.power.press_power_button();
  CHECK(b.in(PM1_STS) == power_button);
  CHECK_FALSE(b.irq.level(sci));
  b.out(PM1_EN, power_button);
  CHECK(b.irq.level(sci));
  b.out(PM1_STS, power_button);
  CHECK_FALSE(b.irq.level(sci));
  CHECK(b.in(PM1_STS) == 0);
}

TEST_CASE("power: general-purpose events have status and enable of their own") {
  PowerBench b;
  b.out(GPE0_EN, 0x0004);
  b.power.raise_general_event(3);
  CHECK_FALSE(b.irq.level(sci));
  b.power.raise_general_event(2);
  CHECK(b.irq.level(sci));
  CHECK(b.in(GPE0_STS) == 0x000c);
  b.out(GPE0_STS, 0x0004);
  CHECK_FALSE(b.irq.level(sci));
  CHECK(b.in(GPE0_STS) == 0x0008);
}

TEST_CASE("power: a status byte is cleared by its own byte alone") {
  PowerBench b;
  b.power.press_power_button();
  b.out(PM1_STS, 0xff, 1);
  CHECK(b.in(PM1_STS) == power_button);
  b.out(PM1_STS + 1, 0x01, 1);
  CHECK(b.in(PM1_STS) == 0);
}

TEST_CASE("power: CF9h resets as RST_CPU rises") {
  PowerBench b;
  auto out = [&](unsigned value) { b.power.write(Power::reset_control, 0, 1, value); };
  out(0x02);
  CHECK(b.resets == 0);
  out(0x06);
  CHECK(b.resets == 1);
  out(0x06);
  CHECK(b.resets == 1);
  CHECK(b.power.read(Power::reset_control, 0, 1) == 0x06);
  out(0x00);
  out(Power::reset_value);
  CHECK(b.resets == 2);
}

TEST_CASE("power: the SMI command port remembers and does nothing") {
  PowerBench b;
  b.power.write(Power::smi_command, 0, 1, 0xf1);
  b.power.write(Power::smi_command, 1, 1, 0x42);
  CHECK(b.power.read(Power::smi_command, 0, 1) == 0xf1);
  CHECK(b.power.read(Power::smi_command, 1, 1) == 0x42);
}

TEST_CASE("power: a reset clears events and the SCI") {
  PowerBench b;
  b.out(PM1_EN, power_button);
  b.power.press_power_button();
  b.pass(10 * second);
  b.power.reset();
  CHECK_FALSE(b.irq.level(sci));
  CHECK(b.in(PM1_STS) == 0);
  CHECK(b.in(PM1_EN) == 0);
}

TEST_CASE("power: saved before a carry, it goes on identically") {
  PowerBench a, b;
  a.out(PM1_EN, timer | power_button);
  a.pass(second);
  a.power.raise_general_event(5);
  auto saved = save(a.clock, a.power);
  REQUIRE(load(b.clock, b.power, saved));
  CHECK(save(b.clock, b.power) == saved);
  for (PowerBench* bench : {&a, &b}) {
    bench->pass(2 * second);
    CHECK(bench->irq.level(sci));
    CHECK(bench->in(PM1_STS) == timer);
  }
  CHECK(save(a.clock, a.power) == save(b.clock, b.power));
}

TEST_CASE("power: nonsense does no harm") {
  PowerBench b;
  storm(b.clock, b.power, {{Power::registers, 64, 4}, {Power::smi_command, 2}, {Power::reset_control, 1}});
  PowerBench spare;
  storm_of_snapshots(save(b.clock, b.power), [&](Clock& clock) { return std::make_unique<Power>(clock, spare.outputs()); },
                     {{Power::registers, 64, 4}, {Power::smi_command, 2}, {Power::reset_control, 1}});
}
