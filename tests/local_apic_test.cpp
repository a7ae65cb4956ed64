#include "cpu/system/local_apic.h"

#include <catch2/catch.hpp>
#include <memory>

#include "tests/device_bench.h"

using namespace matryoshka;
using bench::microsecond;

namespace {

struct Host final : LocalApicHost {
  void apic_notice() override { ++notices; }
  void apic_nmi() override { ++nmis; }
  void apic_init() override { ++inits; }
  void apic_sipi(uint8_t vector) override { sipi = vector; }
  unsigned notices = 0, nmis = 0, inits = 0;
  int sipi = -1;
};

// Offsets in the page.
enum Offset : uint64_t {
  id = 0x20,
  version = 0x30,
  tpr = 0x80,
  ppr = 0xa0,
  eoi = 0xb0,
  ldr = 0xd0,
  dfr = 0xe0,
  svr = 0xf0,
  isr = 0x100,
  tmr = 0x180,
  irr = 0x200,
  esr = 0x280,
  icr = 0x300,
  icr_high = 0x310,
  lvt_timer = 0x320,
  lvt_thermal = 0x330,
  lvt_performance = 0x340,
  lvt_lint0 = 0x350,
  lvt_lint1 = 0x360,
  lvt_error = 0x370,
  initial = 0x380,
  current = 0x390,
  divide = 0x3e0
};
constexpr uint32_t masked = 1 << 16, periodic = 1 << 17, tsc_deadline = 2 << 17, divide_by_1 = 0xb, divide_by_2 = 0;

struct Local {
  explicit Local(Clock& clock, uint32_t number = 0) : apic(clock, state, host) {
    apic.set_initial_id(number);
    write(svr, 0x1ff);
  }
  uint32_t read(uint64_t offset) { return static_cast<uint32_t>(apic.read(0, offset, 4)); }
  void write(uint64_t offset, uint32_t value) { apic.write(0, offset, 4, value); }
  void serialize(Archive& ar) { ar(state), apic.serialize(ar); }

  Host host;
  CpuState state;
  LocalApic apic;
};

struct Bench {
  Clock clock;
  Local local{clock};
  LocalApic& apic = local.apic;
  uint32_t read(uint64_t offset) { return local.read(offset); }
  void write(uint64_t offset, uint32_t value) { local.write(offset, value); }
  void pass(uint64_t nanoseconds) { bench::pass(clock, nanoseconds); }
  void self_ipi(uint8_t vector) { write(icr, 1 << 18 | vector); }
  void to_x2apic() { REQUIRE(apic.set_base(local.state.msr.apic_base | LocalApic::base_x2apic)); }
};

struct Pair {
  Clock clock;
  Local first{clock, 0}, second{clock, 1};
  ApicBus bus;
  Pair() { bus.attach(first.apic), bus.attach(second.apic); }
  void send(uint32_t destination, uint32_t low) {
    first.write(icr_high, destination << 24);
    first.write(icr, low);
  }
};

}  // namespace

TEST_CASE("Local APIC: state after reset", "[apic]") {
  Clock clock;
  Host host;
  CpuState state;
  LocalApic apic(clock, state, host);
  auto read = [&](uint64_t offset) { return static_cast<uint32_t>(apic.read(0, offset, 4)); };
  CHECK(state.msr.apic_base == 0xfee00900);  // enabled, bootstrap processor
  CHECK(apic.page() == 0xfee00000);
  CHECK(read(version) == 0x01050015);  // six LVT entries, EOI broadcasts can be suppressed
  CHECK(read(id) == 0);
  CHECK(read(svr) == 0xff);  // software-disabled
  CHECK(read(dfr) == 0xffffffff);
  CHECK(read(ldr) == 0);
  for (uint64_t entry = lvt_timer; entry <= lvt_error; entry += 0x10) CHECK(read(entry) == masked);
  CHECK_FALSE(apic.has_interrupt());
  CHECK_FALSE(apic.accepts_pic());
}

TEST_CASE("Local APIC: a fixed interrupt goes from request to service to its end", "[apic]") {
  Bench b;
  b.self_ipi(0x41);
  CHECK(b.apic.has_interrupt());
  CHECK(b.read(irr + 0x20) == 1 << 1);  // 41h is bit 1 of the third word
  CHECK(b.apic.acknowledge() == 0x41);
  CHECK(b.read(irr + 0x20) == 0);
  CHECK(b.read(isr + 0x20) == 1 << 1);
  CHECK(b.read(ppr) == 0x40);
  CHECK_FALSE(b.apic.has_interrupt());
  b.write(eoi, 0);
  CHECK(b.read(isr + 0x20) == 0);
  CHECK(b.read(ppr) == 0);
}

TEST_CASE("Local APIC: a higher class interrupts a lower one, its own class waits", "[apic]") {
  Bench b;
  b.self_ipi(0x45);
  CHECK(b.apic.acknowledge() == 0x45);
  b.self_ipi(0x4f);
  CHECK_FALSE(b.apic.has_interrupt());  // class 4 is being served
  b.self_ipi(0x51);
  CHECK(b.apic.acknowledge() == 0x51);
  b.write(eoi, 0);
  CHECK_FALSE(b.apic.has_interrupt());
  b.write(eoi, 0);
  CHECK(b.apic.acknowledge() == 0x4f);
}

TEST_CASE("Local APIC: the task priority holds its class back, by TPR and by CR8", "[apic]") {
  Bench b;
  b.self_ipi(0x62);
  b.apic.set_cr8(6);
  CHECK(b.read(tpr) == 0x60);
  CHECK_FALSE(b.apic.has_interrupt());
  b.local.host.notices = 0;
  b.apic.set_cr8(5);
  CHECK(b.local.host.notices > 0);
  CHECK(b.apic.has_interrupt());
  b.write(tpr, 0x6f);
  CHECK(b.apic.cr8() == 6);
  CHECK(b.read(ppr) == 0x6f);
}

TEST_CASE("Local APIC: an interrupt that is gone by the acknowledge becomes the spurious one", "[apic]") {
  Bench b;
  b.write(svr, 0x1f3);
  b.self_ipi(0x62);
  b.write(tpr, 0xf0);
  CHECK(b.apic.acknowledge() == 0xf3);
  CHECK(b.read(isr + 0x30) == 0);
  b.write(tpr, 0);
  CHECK(b.apic.acknowledge() == 0x62);
}

TEST_CASE("Local APIC: software-disabled it masks its sources and takes no fixed interrupts, but NMIs", "[apic]") {
  Bench b;
  b.write(lvt_timer, 0x40);
  b.write(svr, 0x0ff);
  CHECK(b.read(lvt_timer) == (masked | 0x40));
  b.write(lvt_timer, 0x40);
  CHECK(b.read(lvt_timer) == (masked | 0x40));
  b.self_ipi(0x50);
  CHECK_FALSE(b.apic.has_interrupt());
  b.write(icr, 1 << 18 | ApicMessage::nmi << 8);
  CHECK(b.local.host.nmis == 1);
}

TEST_CASE("Local APIC: the timer counts the 25 MHz crystal", "[apic]") {
  Bench b;
  b.write(divide, divide_by_1);
  b.write(lvt_timer, 0x40);
  b.write(initial, 25'000);  // a millisecond
  b.pass(400 * microsecond);
  CHECK(b.read(current) == 15'000);
  b.pass(600 * microsecond - 1);
  CHECK_FALSE(b.apic.has_interrupt());
  b.pass(1);
  CHECK(b.apic.acknowledge() == 0x40);
  CHECK(b.read(current) == 0);
  b.pass(bench::second);
  CHECK_FALSE(b.apic.has_interrupt());  // one shot
}

TEST_CASE("Local APIC: every divisor", "[apic]") {
  struct Case {
    uint32_t code, divisor;
  };
  auto c = GENERATE(Case{0x0, 2}, Case{0x1, 4}, Case{0x2, 8}, Case{0x3, 16}, Case{0x8, 32}, Case{0x9, 64}, Case{0xa, 128},
                    Case{0xb, 1});
  Bench b;
  b.write(divide, c.code);
  b.write(initial, 1'000'000);
  b.pass(40 * c.divisor * 10);
  INFO("divisor " << c.divisor);
  CHECK(b.read(current) == 1'000'000 - 10);
}

TEST_CASE("Local APIC: a periodic timer keeps its phase", "[apic]") {
  Bench b;
  b.write(divide, divide_by_1);
  b.write(lvt_timer, periodic | 0x40);
  b.write(initial, 100);  // 4 us
  for (unsigned i = 0; i < 5; ++i) {
    b.pass(4 * microsecond);
    CHECK(b.apic.acknowledge() == 0x40);
    b.write(eoi, 0);
  }
  b.pass(microsecond);
  CHECK(b.read(current) == 75);
  // Nobody looks for a while, and time moves in one jump.
  b.clock.skip_to(b.clock.now() + 1001 * microsecond);
  b.clock.run_due();
  CHECK(b.apic.acknowledge() == 0x40);
  CHECK_FALSE(b.apic.has_interrupt());
  CHECK(b.read(current) == 50);
}

TEST_CASE("Local APIC: a masked timer counts, a stopped one does not", "[apic]") {
  Bench b;
  b.write(lvt_timer, masked | periodic | 0x40);
  b.write(divide, divide_by_2);
  b.write(initial, 100);
  b.pass(8 * microsecond);
  CHECK_FALSE(b.apic.has_interrupt());
  b.write(lvt_timer, periodic | 0x40);
  b.pass(8 * microsecond);
  CHECK(b.apic.has_interrupt());
  b.write(initial, 0);
  CHECK(b.clock.next_deadline() == Clock::never);
}

TEST_CASE("Local APIC: the TSC deadline fires when the TSC gets there, and reads as zero afterwards", "[apic]") {
  Bench b;
  b.apic.set_tsc_deadline(500);
  CHECK(b.apic.tsc_deadline() == 0);  // not in this mode
  b.local.state.msr.tsc_offset = 1'000'000;
  b.write(lvt_timer, tsc_deadline | 0x40);
  b.write(initial, 1000);
  CHECK(b.read(initial) == 0);
  b.apic.set_tsc_deadline(1'002'000);
  CHECK(b.apic.tsc_deadline() == 1'002'000);
  b.pass(1999);
  CHECK_FALSE(b.apic.has_interrupt());
  b.pass(1);
  CHECK(b.apic.acknowledge() == 0x40);
  CHECK(b.apic.tsc_deadline() == 0);
  b.write(eoi, 0);
  b.apic.set_tsc_deadline(1);  // already past
  CHECK(b.apic.has_interrupt());
}

TEST_CASE("Local APIC: a TSC that jumps takes the deadline with it", "[apic]") {
  Bench b;
  b.write(lvt_timer, tsc_deadline | 0x40);
  b.apic.set_tsc_deadline(10'000);
  b.local.state.msr.tsc_offset = 9'000;
  b.apic.tsc_changed();
  b.pass(1'000);
  CHECK(b.apic.has_interrupt());
}

TEST_CASE("Local APIC: leaving the deadline mode disarms it; the farthest deadline does not overflow", "[apic]") {
  Bench b;
  b.write(lvt_timer, tsc_deadline | 0x40);
  b.pass(10);
  b.apic.set_tsc_deadline(~uint64_t{0});
  CHECK(b.clock.next_deadline() > uint64_t{1} << 63);
  b.write(lvt_timer, 0x40);
  CHECK(b.clock.next_deadline() == Clock::never);
  b.write(lvt_timer, tsc_deadline | 0x40);
  CHECK(b.apic.tsc_deadline() == 0);
}

TEST_CASE("Local APIC: the end of a level-triggered interrupt is told to the I/O APICs, unless suppressed", "[apic]") {
  Bench b;
  ApicBus bus;
  bus.attach(b.apic);
  std::vector<uint8_t> ended;
  b.apic.end_of_interrupt = [&](uint8_t vector) { ended.push_back(vector); };
  auto serve = [&](uint32_t data) {
    bus.deliver_message(0xfee00000, data);
    b.apic.acknowledge();
    b.write(eoi, 0);
  };
  serve(0x31);  // edge
  CHECK(ended.empty());
  serve(0xc000 | 0x32);
  CHECK(ended == std::vector<uint8_t>{0x32});
  b.write(svr, 0x11ff);
  serve(0xc000 | 0x33);
  CHECK(ended == std::vector<uint8_t>{0x32});
  CHECK(b.read(tmr + 0x10) == (1u << 0x12 | 1u << 0x13));
}

TEST_CASE("Local APIC: the 8259 comes through LINT0, through no APIC, or by message", "[apic]") {
  Bench b;
  CHECK_FALSE(b.apic.accepts_pic());
  b.write(lvt_lint0, 0x700);
  CHECK(b.apic.accepts_pic());
  b.write(lvt_lint0, masked | 0x700);
  CHECK_FALSE(b.apic.accepts_pic());
  ApicBus bus;
  bus.attach(b.apic);
  bus.deliver_message(0xfee00000, 0x700);
  CHECK(b.apic.accepts_pic());
  b.apic.pic_acknowledged();
  CHECK_FALSE(b.apic.accepts_pic());
  b.apic.reset(false);
  b.apic.set_virtual_wire();
  CHECK(b.apic.accepts_pic());
}

TEST_CASE("Local APIC: LINT1 as NMI answers to edges, LINT0 as a level asks again after its end", "[apic]") {
  Bench b;
  b.write(lvt_lint1, 0x400);
  b.apic.set_lint(1, true);
  b.apic.set_lint(1, true);
  CHECK(b.local.host.nmis == 1);
  b.write(lvt_lint0, 0x8000 | 0x55);
  b.apic.set_lint(0, true);
  CHECK(b.read(lvt_lint0) == (0xc000 | 0x55));  // remote IRR
  CHECK(b.apic.acknowledge() == 0x55);
  b.write(eoi, 0);
  CHECK(b.apic.acknowledge() == 0x55);
  b.apic.set_lint(0, false);
  b.write(eoi, 0);
  CHECK_FALSE(b.apic.has_interrupt());
  CHECK(b.read(lvt_lint0) == (0x8000 | 0x55));
}

TEST_CASE("Local APIC: an overflow of a performance counter masks its entry", "[apic]") {
  Bench b;
  b.write(lvt_performance, 0x400);
  b.apic.performance_interrupt();
  b.apic.performance_interrupt();
  CHECK(b.local.host.nmis == 1);
  CHECK(b.read(lvt_performance) == (masked | 0x400));
}

TEST_CASE("Local APIC: errors wait for a write to the status register, and raise an interrupt once", "[apic]") {
  Bench b;
  b.write(lvt_error, 0xfe);
  b.self_ipi(0x0f);  // not a vector for interrupts
  CHECK(b.read(esr) == 0);
  CHECK(b.apic.acknowledge() == 0xfe);
  b.write(eoi, 0);
  b.self_ipi(0x0f);
  CHECK_FALSE(b.apic.has_interrupt());
  b.write(esr, 0);
  CHECK(b.read(esr) == 0x20);  // send illegal vector
  b.read(0x040);
  b.write(esr, 0);
  CHECK(b.read(esr) == 0x80);  // illegal register address
  ApicBus bus;
  bus.attach(b.apic);
  bus.deliver_message(0xfee00000, 0x05);
  b.write(esr, 0);
  CHECK(b.read(esr) == 0x40);  // received illegal vector
  b.write(esr, 0);
  CHECK(b.read(esr) == 0);
}

TEST_CASE("Local APIC: physical, flat, cluster and broadcast destinations", "[apic]") {
  Pair p;
  auto second_has = [&](uint8_t vector) {
    bool got = p.second.apic.requested(vector);
    return got;
  };
  p.send(1, 0x50);
  CHECK(second_has(0x50));
  CHECK_FALSE(p.first.apic.requested(0x50));
  p.second.write(ldr, 0x0200'0000);
  p.send(0x02, 0x51 | 1 << 11);
  CHECK(second_has(0x51));
  p.send(0x01, 0x52 | 1 << 11);
  CHECK_FALSE(second_has(0x52));
  p.second.write(dfr, 0x0fff'ffff);
  p.second.write(ldr, 0x3200'0000);  // cluster 3, member 1
  p.send(0x32, 0x53 | 1 << 11);
  CHECK(second_has(0x53));
  p.send(0x22, 0x54 | 1 << 11);
  CHECK_FALSE(second_has(0x54));
  p.send(0xff, 0x55);
  CHECK(second_has(0x55));
  CHECK(p.first.apic.requested(0x55));
}

TEST_CASE("Local APIC: shorthands, INIT, start-up and NMI between processors", "[apic]") {
  Pair p;
  p.send(0, 3 << 18 | 0x4500);  // INIT to all but self
  CHECK(p.second.host.inits == 1);
  CHECK(p.first.host.inits == 0);
  p.send(0, 3 << 18 | 0x8500);  // INIT level de-assert: nothing
  CHECK(p.second.host.inits == 1);
  p.send(1, 0x4600 | 0x9a);
  CHECK(p.second.host.sipi == 0x9a);
  p.send(0, 2 << 18 | 0x60);  // all with self
  CHECK(p.first.apic.requested(0x60));
  CHECK(p.second.apic.requested(0x60));
  p.send(1, 0x4400);
  CHECK(p.second.host.nmis == 1);
  CHECK((p.first.read(icr) & 1 << 12) == 0);  // always idle
}

TEST_CASE("Local APIC: lowest priority goes to the least busy, else to the first", "[apic]") {
  Pair p;
  p.first.write(ldr, 0x0100'0000);
  p.second.write(ldr, 0x0200'0000);
  constexpr uint32_t lowest = 1 << 8, logical = 1 << 2;
  p.bus.deliver_message(0xfee00000 | 3 << 12 | logical | 1 << 3, lowest | 0x61);
  CHECK(p.first.apic.requested(0x61));
  CHECK_FALSE(p.second.apic.requested(0x61));
  p.first.apic.set_cr8(5);
  p.bus.deliver_message(0xfee00000 | 3 << 12 | logical | 1 << 3, lowest | 0x62);
  CHECK(p.second.apic.requested(0x62));
  p.second.write(svr, 0xff);  // software-disabled: no candidate
  p.bus.deliver_message(0xfee00000 | 3 << 12 | logical | 1 << 3, lowest | 0x63);
  CHECK(p.first.apic.requested(0x63));
}

TEST_CASE("Local APIC: x2APIC by MSR, with a logical ID from the ID", "[apic]") {
  Clock clock;
  Local local(clock, 0x23);
  uint64_t value;
  CHECK_FALSE(local.apic.read_msr(0x802, value));  // not yet
  REQUIRE(local.apic.set_base(local.state.msr.apic_base | LocalApic::base_x2apic));
  CHECK(local.apic.page() == ~uint64_t{0});
  REQUIRE(local.apic.read_msr(0x802, value));
  CHECK(value == 0x23);
  REQUIRE(local.apic.read_msr(0x80d, value));
  CHECK(value == (2u << 16 | 1u << 3));
  REQUIRE(local.apic.write_msr(0x83f, 0x77));
  CHECK(local.apic.requested(0x77));
  REQUIRE(local.apic.write_msr(0x830, uint64_t{0x23} << 32 | 0x78));
  CHECK(local.apic.requested(0x78));
  REQUIRE(local.apic.write_msr(0x830, uint64_t{0xffffffff} << 32 | 0x79));
  CHECK(local.apic.requested(0x79));
  REQUIRE(local.apic.write_msr(0x830, uint64_t{0x2'0008} << 32 | 1 << 11 | 0x7a));
  CHECK(local.apic.requested(0x7a));
  REQUIRE(local.apic.write_msr(0x830, uint64_t{0x2'0004} << 32 | 1 << 11 | 0x7b));
  CHECK_FALSE(local.apic.requested(0x7b));
}

TEST_CASE("Local APIC: what x2APIC mode refuses", "[apic]") {
  Bench b;
  b.to_x2apic();
  uint64_t value;
  for (uint32_t index : {0x800u, 0x809u, 0x80bu, 0x80eu, 0x82fu, 0x831u, 0x83fu, 0x840u, 0xbffu, 0x7ffu}) {
    INFO(std::hex << index);
    CHECK_FALSE(b.apic.read_msr(index, value));
  }
  for (uint32_t index : {0x802u, 0x803u, 0x80au, 0x80du, 0x80eu, 0x810u, 0x820u, 0x831u, 0x839u}) {
    INFO(std::hex << index);
    CHECK_FALSE(b.apic.write_msr(index, 0));
  }
  CHECK_FALSE(b.apic.write_msr(0x80b, 1));
  CHECK_FALSE(b.apic.write_msr(0x808, 0x100));
  CHECK_FALSE(b.apic.write_msr(0x832, 1 << 19));
  CHECK_FALSE(b.apic.write_msr(0x838, uint64_t{1} << 32));
  CHECK(b.apic.write_msr(0x80b, 0));
}

TEST_CASE("Local APIC: the changes of mode that IA32_APIC_BASE allows", "[apic]") {
  Bench b;
  uint64_t disabled = 0xfee00100, xapic = 0xfee00900, x2apic = 0xfee00d00, nonsense = 0xfee00500;
  CHECK_FALSE(b.apic.set_base(nonsense));
  b.write(lvt_timer, 0x40);
  CHECK(b.apic.set_base(disabled));
  CHECK(b.apic.page() == ~uint64_t{0});
  CHECK(b.apic.accepts_pic());
  CHECK_FALSE(b.apic.set_base(x2apic));
  CHECK(b.apic.set_base(xapic));
  CHECK(b.read(lvt_timer) == masked);  // what was set up is lost
  CHECK(b.read(svr) == 0xff);
  CHECK(b.apic.set_base(x2apic));
  CHECK_FALSE(b.apic.set_base(xapic));
  CHECK(b.local.state.msr.apic_base == x2apic);
  CHECK(b.apic.set_base(disabled));
  CHECK(b.apic.set_base(0xfec80900));  // enabled elsewhere
  CHECK(b.apic.page() == 0xfec80000);
}

TEST_CASE("Local APIC: INIT keeps the ID and the mode, and stops the timer", "[apic]") {
  Bench b;
  b.to_x2apic();
  REQUIRE(b.apic.write_msr(0x838, 1000));
  b.apic.reset(true);
  CHECK(b.apic.x2apic());
  CHECK(b.clock.next_deadline() == Clock::never);
  b.apic.reset(false);
  CHECK_FALSE(b.apic.x2apic());
}

TEST_CASE("Local APIC: parts of a register and odd writes", "[apic]") {
  Bench b;
  CHECK(b.apic.read(0, version, 1) == 0x15);
  CHECK(b.apic.read(0, version + 2, 1) == 0x05);
  CHECK(b.apic.read(0, version + 4, 4) == 0);
  CHECK(b.apic.read(0, version, 8) == 0x01050015);
  b.apic.write(0, tpr, 1, 0x50);
  b.apic.write(0, tpr + 4, 4, 0x50);
  CHECK(b.read(tpr) == 0);
}

TEST_CASE("Local APIC: a saved one goes on where it was", "[apic]") {
  Bench b;
  b.write(divide, divide_by_1);
  b.write(lvt_timer, periodic | 0x40);
  b.write(initial, 100);
  b.self_ipi(0x80);
  b.apic.acknowledge();
  b.self_ipi(0x31);
  b.pass(3 * microsecond);
  auto saved = bench::save(b.clock, b.local);

  Bench other;
  REQUIRE(bench::load(other.clock, other.local, saved));
  CHECK(bench::save(other.clock, other.local) == saved);
  CHECK(other.read(current) == 25);
  CHECK(other.apic.in_service(0x80));
  CHECK(other.apic.requested(0x31));
  other.pass(microsecond);
  CHECK(other.apic.requested(0x40));
}

TEST_CASE("Local APIC: nonsense of all kinds", "[apic]") {
  Bench b;
  bench::storm(b.clock, b.apic, {{0, 0x1000, 8}});
  auto saved = bench::save(b.clock, b.local);
  struct Part : BusTarget {
    explicit Part(Clock& clock) : local(clock) {}
    uint64_t read(unsigned w, uint64_t o, unsigned s) override { return local.apic.read(w, o, s); }
    void write(unsigned w, uint64_t o, unsigned s, uint64_t v) override { local.apic.write(w, o, s, v); }
    void serialize(Archive& ar) { local.serialize(ar); }
    Local local;
  };
  bench::storm_of_snapshots(saved, [](Clock& clock) { return std::make_unique<Part>(clock); }, {{0, 0x1000, 8}});
}
