// Facts from the IA-PC HPET specification 1.0a. The counter's period is 100 ns.
#include "devices/hpet.h"
#include "tests/device_bench.h"

using namespace matryoshka;
using namespace matryoshka::bench;

namespace {

enum Register : unsigned { capabilities = 0x000, configuration = 0x010, status = 0x020, counter = 0x0f0 };
constexpr unsigned timer_configuration(unsigned timer) { return 0x100 + 0x20 * timer; }
constexpr unsigned comparator(unsigned timer) { return 0x108 + 0x20 * timer; }
constexpr unsigned message(unsigned timer) { return 0x110 + 0x20 * timer; }

constexpr uint64_t level = 1 << 1, enable = 1 << 2, periodic = 1 << 3, set_value = 1 << 6, force_32_bit = 1 << 8, fsb = 1 << 14;
constexpr uint64_t route(unsigned input) { return uint64_t{input} << 9; }

constexpr unsigned irq0 = 100, irq8 = 108;  // on the bench, apart from the I/O APIC's inputs 0 to 23
constexpr uint64_t tick = 100;

struct HpetBench : Bench {
  std::vector<bool> legacy_changes;
  Hpet hpet{clock,
            {.irq0 = IrqLine(irq, irq0),
             .irq8 = IrqLine(irq, irq8),
             .io_apic = &irq,
             .messages = &messages,
             .legacy_replacement = [this](bool on) { legacy_changes.push_back(on); }}};

  uint64_t in(unsigned reg, unsigned size = 8) {
    uint64_t value = hpet.read(0, reg, size);
    return size == 8 ? value : value & 0xffffffff;  // as the bus cuts it
  }
  void out(unsigned reg, uint64_t value, unsigned size = 8) { hpet.write(0, reg, size, value); }
};

}  // namespace

TEST_CASE("hpet: capabilities: Intel, revision 1, three timers, 64 bits, legacy replacement, 100 ns") {
  HpetBench b;
  CHECK(b.in(capabilities) == 0x05f5e100'8086a201);
  CHECK(b.in(capabilities + 4, 4) == 100'000'000);  // femtoseconds
  b.out(capabilities, 0);
  CHECK(b.in(capabilities) == 0x05f5e100'8086a201);
}

TEST_CASE("hpet: every timer can be periodic, 64 bits wide, sent as a message, and routed to inputs 20 to 23") {
  auto timer = GENERATE(0u, 1u, 2u);
  HpetBench b;
  CHECK(b.in(timer_configuration(timer)) == 0x00f00000'00008030);
}

TEST_CASE("hpet: the counter runs only while enabled, and can be written") {
  HpetBench b;
  b.pass(second);
  CHECK(b.in(counter) == 0);
  b.out(counter, 1000);
  b.out(configuration, 1);
  b.pass(12'345 * tick + 99);
  CHECK(b.in(counter) == 13'345);
  b.out(configuration, 0);
  b.pass(second);
  CHECK(b.in(counter) == 13'345);
}

TEST_CASE("hpet: halves of the counter can be read and written alone") {
  HpetBench b;
  b.out(counter, 0x89abcdef, 4);
  b.out(counter + 4, 0x01234567, 4);
  CHECK(b.in(counter) == 0x01234567'89abcdef);
  CHECK(b.in(counter, 4) == 0x89abcdef);
  CHECK(b.in(counter + 4, 4) == 0x01234567);
}

TEST_CASE("hpet: a one-shot timer interrupts at its count, once") {
  HpetBench b;
  b.out(timer_configuration(0), enable | route(20));
  b.out(comparator(0), 500);
  b.out(configuration, 1);
  b.pass(500 * tick - 1);
  CHECK(b.irq.rises(20) == 0);
  b.pass(1);
  CHECK(b.irq.rises(20) == 1);
  b.pass(second);
  CHECK(b.irq.rises(20) == 1);
  CHECK(b.clock.next_deadline() == Clock::never);
}

TEST_CASE("hpet: a comparator set to the present count matches; one already passed does not") {
  struct Row {
    uint64_t value;
    unsigned interrupts;
  };
  auto row = GENERATE(Row{1000, 1}, Row{999, 0});
  HpetBench b;
  b.out(timer_configuration(0), enable | route(20));
  b.out(configuration, 1);
  b.pass(1000 * tick);
  b.out(comparator(0), row.value);
  b.pass(second);
  CHECK(b.irq.rises(20) == row.interrupts);
}

TEST_CASE("hpet: Linux's way to a periodic tick: accumulator first under VAL_SET, then the period") {
  HpetBench b;
  b.out(timer_configuration(0), enable | periodic | set_value | force_32_bit | route(20), 4);
  b.out(comparator(0), 5'000, 4);
  b.out(comparator(0), 10'000, 4);
  b.out(configuration, 1);
  b.pass(5'000 * tick - 1);
  CHECK(b.irq.rises(20) == 0);
  b.pass(1);
  CHECK(b.irq.rises(20) == 1);
  CHECK(b.in(comparator(0)) == 15'000);
  b.pass(9 * 10'000 * tick);
  CHECK(b.irq.rises(20) == 10);
  CHECK((b.in(timer_configuration(0)) & set_value) == 0);
}

TEST_CASE("hpet: a periodic timer does not drift over an hour") {
  HpetBench b;
  b.out(timer_configuration(0), enable | periodic | set_value | route(20));
  b.out(comparator(0), 99'991);
  b.out(configuration, 1);
  b.pass(3600 * second);
  CHECK(b.irq.rises(20) == 36'000'000'000 / 99'991);
}

TEST_CASE("hpet: a 32-bit comparator matches again when its half of the counter comes round") {
  HpetBench b;
  b.out(timer_configuration(0), enable | force_32_bit | route(20));
  b.out(comparator(0), 0xffffffff'00000010);
  CHECK(b.in(comparator(0)) == 0x10);
  b.out(configuration, 1);
  b.pass(0x10 * tick);
  CHECK(b.irq.rises(20) == 1);
  b.pass((uint64_t{1} << 32) * tick);
  CHECK(b.irq.rises(20) == 2);
}

TEST_CASE("hpet: a level stands, and shows in the status register, until 1 is written to its bit") {
  HpetBench b;
  b.out(timer_configuration(1), enable | level | route(21));
  b.out(comparator(1), 10);
  b.out(configuration, 1);
  b.pass(10 * tick);
  CHECK(b.irq.level(21));
  CHECK(b.in(status) == 0x2);
  b.out(status, 0x1);
  CHECK(b.irq.level(21));
  b.out(status, 0x2);
  CHECK_FALSE(b.irq.level(21));
  CHECK(b.in(status) == 0x0);
}

TEST_CASE("hpet: the status bit is set with the interrupt disabled, without waking anybody") {
  HpetBench b;
  b.out(timer_configuration(1), level | route(21));
  b.out(comparator(1), 10);
  b.out(configuration, 1);
  CHECK(b.clock.next_deadline() == Clock::never);
  b.pass(20 * tick);
  CHECK(b.in(status) == 0x2);
  CHECK_FALSE(b.irq.level(21));
  b.out(timer_configuration(1), enable | level | route(21));
  CHECK(b.irq.level(21));
}

TEST_CASE("hpet: a periodic comparator moves on unobserved") {
  HpetBench b;
  b.out(timer_configuration(2), periodic | set_value);
  b.out(comparator(2), 1000);
  b.out(configuration, 1);
  b.pass(10'500 * tick);
  CHECK(b.in(comparator(2)) == 11'000);
}

TEST_CASE("hpet: legacy replacement takes IRQ0 and IRQ8, and says so") {
  HpetBench b;
  b.out(configuration, 3);
  CHECK(b.hpet.legacy_replacement());
  CHECK(b.legacy_changes == std::vector<bool>{true});
  for (unsigned timer : {0u, 1u, 2u}) {
    b.out(timer_configuration(timer), enable | route(20 + timer));
    b.out(comparator(timer), b.in(counter) + 10);
  }
  b.pass(10 * tick);
  CHECK(b.irq.rises(irq0) == 1);
  CHECK(b.irq.rises(irq8) == 1);
  CHECK(b.irq.rises(20) == 0);
  CHECK(b.irq.rises(21) == 0);
  CHECK(b.irq.rises(22) == 1);
  b.out(configuration, 1);
  CHECK_FALSE(b.irq.level(irq0));
  CHECK(b.legacy_changes == std::vector<bool>{true, false});
}

TEST_CASE("hpet: FSB delivery writes the message instead of raising a wire") {
  HpetBench b;
  b.out(timer_configuration(2), enable | fsb | route(22));
  b.out(message(2), 0xfee01000'00004041);
  b.out(comparator(2), 10);
  b.out(configuration, 1);
  b.pass(10 * tick);
  CHECK(b.messages.sent == std::vector<Messages::Message>{{0xfee01000, 0x4041}});
  CHECK(b.irq.rises(22) == 0);
}

TEST_CASE("hpet: an input that a timer may not have is never driven") {
  HpetBench b;
  b.out(timer_configuration(0), enable | route(4));
  b.out(comparator(0), 10);
  b.out(configuration, 1);
  b.pass(100 * tick);
  CHECK(b.irq.rises(4) == 0);
}

TEST_CASE("hpet: a reset halts the counter, lowers the wires and gives IRQ0 and IRQ8 back") {
  HpetBench b;
  b.out(configuration, 3);
  b.out(timer_configuration(0), enable | level);
  b.out(comparator(0), 10);
  b.pass(10 * tick);
  REQUIRE(b.irq.level(irq0));
  b.hpet.reset();
  CHECK_FALSE(b.irq.level(irq0));
  CHECK(b.legacy_changes == std::vector<bool>{true, false});
  CHECK(b.clock.next_deadline() == Clock::never);
  CHECK(b.in(counter) == 0);
  CHECK(b.in(comparator(0)) == ~uint64_t{0});
}

TEST_CASE("hpet: saved between two periods, it goes on identically") {
  HpetBench a, b;
  a.out(timer_configuration(0), enable | periodic | set_value | route(20));
  a.out(comparator(0), 777);
  a.out(timer_configuration(1), enable | level | route(21));
  a.out(comparator(1), 5'000);
  a.out(configuration, 1);
  a.pass(1'234 * tick + 56);
  auto saved = save(a.clock, a.hpet);
  REQUIRE(load(b.clock, b.hpet, saved));
  CHECK(save(b.clock, b.hpet) == saved);
  unsigned before = a.irq.rises(20);
  a.pass(10'000 * tick);
  b.pass(10'000 * tick);
  CHECK(a.irq.rises(20) - before == b.irq.rises(20));
  CHECK(b.irq.level(21));
  CHECK(save(a.clock, a.hpet) == save(b.clock, b.hpet));
}

TEST_CASE("hpet: nonsense does no harm") {
  HpetBench b;
  storm(b.clock, b.hpet, {{0, 0x180, 8}});
  HpetBench spare;
  storm_of_snapshots(save(b.clock, b.hpet),
                     [&](Clock& clock) {
                       return std::make_unique<Hpet>(clock, Hpet::Outputs{IrqLine(spare.irq, irq0), IrqLine(spare.irq, irq8),
                                                                          &spare.irq, &spare.messages, nullptr});
                     },
                     {{0, 0x180, 8}});
}
