// The whole machine with guests of a few bytes: how runs end, recordings, and what is refused.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <random>

#include "devices/machine/input_log.h"
#include "tests/tiny_machines.h"

using namespace matryoshka;

using tiny::configuration, tiny::is_sentence, tiny::Listener, tiny::make, tiny::type;

namespace {

std::string refusal(MachineConfig config) {
  Listener listener;
  std::string error;
  auto machine = Machine::create(std::move(config), listener, error);
  return machine ? "" : error;
}

}  // namespace

// ---- How runs end

TEST_CASE("machine: A guest speaks and leaves with a number", "[machine]") {
  Listener listener;
  auto machine = make(tiny::printing("hello", tiny::exiting(21)), listener);
  CHECK(machine->run(1'000'000) == StopReason::debug_exit);
  CHECK(machine->exit_code() == 43);
  CHECK(listener.serial() == "hello");
}

TEST_CASE("machine: ACPI's soft off", "[machine]") {
  Listener listener;
  auto machine = make(tiny::powering_off, listener);
  CHECK(machine->run(1'000'000) == StopReason::power_off);
}

TEST_CASE("machine: A triple fault ends the run, or boots again", "[machine]") {
  const bool no_reboot = GENERATE(true, false);
  Listener listener;
  MachineConfig config = configuration(tiny::multiboot(tiny::printing("x", tiny::faulting)));
  config.no_reboot = no_reboot;
  auto machine = make(config, listener);
  CHECK(machine->run(100'000) == (no_reboot ? StopReason::triple_fault : StopReason::budget));
  CHECK((listener.serial() == "x") == no_reboot);
}

TEST_CASE("machine: The keyboard controller resets the machine", "[machine]") {
  const bool no_reboot = GENERATE(true, false);
  Listener listener;
  MachineConfig config = configuration(tiny::multiboot(tiny::printing("x", tiny::resetting)));
  config.no_reboot = no_reboot;
  auto machine = make(config, listener);
  CHECK(machine->run(100'000) == (no_reboot ? StopReason::reset : StopReason::budget));
  CHECK((listener.serial() == "x") == no_reboot);
}

TEST_CASE("machine: HLT with interrupts off is the end, and stays it", "[machine]") {
  Listener listener;
  auto machine = make(tiny::halting, listener);
  CHECK(machine->run(100'000) == StopReason::halted);
  const uint64_t ticks = machine->ticks(), hash = machine->state_hash();
  CHECK(machine->run(100'000) == StopReason::halted);
  CHECK(machine->ticks() == ticks);
  CHECK(machine->state_hash() == hash);
}

namespace {

// mov dword [address], value
Bytes store(uint32_t address, uint32_t value) {
  using tiny::operator+, tiny::le32;
  return Bytes{0xc7, 0x05} + le32(address) + le32(value);
}
// What a halted guest with interrupts off may still hear: a gate for vector 2 whose handler leaves with 7, then `setup` and
// CLI, HLT.
tiny::Code asleep(const Bytes& setup) {
  using tiny::operator+, tiny::le32;
  constexpr uint32_t stack = 0x130000, idt = 0x120000, idtr = 0x121000, handler = 0x122000;
  return [=](uint32_t) {
    // mov al,7; out f4h,al; jmp $
    return Bytes{0xbc} + le32(stack) + store(handler, 0xf4e607b0) + store(handler + 4, 0xfeebu) +
           store(idt + 16, 0x00100000 | (handler & 0xffff)) + store(idt + 20, (handler & 0xffff0000) | 0x8e00) +
           store(idtr, 0xff | idt << 16) + store(idtr + 4, idt >> 16) + Bytes{0x0f, 0x01, 0x1d} + le32(idtr) + setup +
           Bytes{0xfa, 0xf4, 0xeb, 0xfd};
  };
}

Bytes outs(std::initializer_list<std::pair<uint8_t, uint8_t>> writes) {
  Bytes code;
  for (auto [port, value] : writes) code.insert(code.end(), {0xb0, value, 0xe6, port});  // mov al,value; out port,al
  return code;
}

}  // namespace

TEST_CASE("machine: A guest halted with interrupts off wakes by what is no interrupt, and by nothing else", "[machine]") {
  using tiny::operator+;
  const Bytes pit = outs({{0x43, 0x34}, {0x40, 0x00}, {0x40, 0x10}});  // counter 0, mode 2
  const Bytes pic = outs({{0x20, 0x11}, {0x21, 0x20}, {0x21, 0x04}, {0x21, 0x01}, {0x21, 0xfe}});
  auto lint0 = [](uint32_t value) { return store(0xfee00350, value); };
  auto io_apic = [](uint32_t entry) { return store(0xfec00000, 0x14) + store(0xfec00010, entry); };
  auto hpet = [](uint32_t message) {
    return store(0xfed00100, 0x4004) + store(0xfed00108, 1000) + store(0xfed0010c, 0) + store(0xfed00110, message) +
           store(0xfed00114, 0xfee00000) + store(0xfed00010, 1);
  };
  constexpr uint32_t vector = 0x30, nmi = 0x400, init = 0x500, masked = 0x10000;
  const struct {
    const char* what;
    Bytes setup;
    StopReason end;
  } cases[] = {
      {"nothing is set up", {}, StopReason::halted},
      {"the 8254 by the 8259, LINT0 as ExtINT", pic + pit, StopReason::halted},
      {"the same, LINT0 as NMI", pic + pit + lint0(nmi), StopReason::debug_exit},
      {"LINT0 as NMI, but masked", pic + pit + lint0(nmi | masked), StopReason::halted},
      {"the I/O APIC with a vector", pit + io_apic(vector), StopReason::halted},
      {"the I/O APIC with NMI", pit + io_apic(nmi), StopReason::debug_exit},
      {"the same, masked", pit + io_apic(nmi | masked), StopReason::halted},
      {"the I/O APIC with NMI for somebody else", pit + store(0xfec00000, 0x15) + store(0xfec00010, 5u << 24) + io_apic(nmi),
       StopReason::halted},
      {"the I/O APIC with INIT", pit + io_apic(init), StopReason::triple_fault},  // at the reset vector, where no ROM is
      {"a message of the HPET with a vector", hpet(vector), StopReason::halted},
      {"a message of the HPET with NMI", hpet(nmi), StopReason::debug_exit},
  };
  for (const auto& c : cases) {
    INFO(c.what);
    Listener listener;
    auto machine = make(asleep(c.setup), listener);
    StopReason end = machine->run(20'000);
    CHECK(end == c.end);
    if (end == StopReason::debug_exit) CHECK(machine->exit_code() == 15);
  }
}

TEST_CASE("machine: Within an NMI handler the next NMI does not wake", "[machine]") {
  using tiny::operator+;
  // The handler halts instead of leaving.
  const Bytes setup = store(0x122000, 0xfdebf4fa) + outs({{0x43, 0x34}, {0x40, 0x00}, {0x40, 0x10}}) + store(0xfec00000, 0x14) +
                      store(0xfec00010, 0x400);
  Listener listener;
  auto machine = make(asleep(setup), listener);
  CHECK(machine->run(20'000) == StopReason::halted);
}

TEST_CASE("machine: A guest whose timer ticks and never wakes it leaves the host its turns", "[machine]") {
  using tiny::operator+;
  // The 8259 masks everything; sti; hlt.
  const Bytes code = outs({{0x21, 0xff}, {0x43, 0x34}, {0x40, 0x00}, {0x40, 0x10}}) + Bytes{0xfb, 0xf4, 0xeb, 0xfd};
  Listener listener;
  auto machine = make([&](uint32_t) { return code; }, listener);
  CHECK(machine->run(20'000) == StopReason::budget);
  const uint64_t slept = machine->stats().idle_nanoseconds;
  CHECK(machine->run(20'000) == StopReason::budget);
  CHECK(machine->stats().idle_nanoseconds > slept);
}

TEST_CASE("machine: A tick limit ends the run at the first instruction boundary at or after it", "[machine]") {
  // Ticks: nop 1, out 501, nop 1, rdtsc 41, nop 1, then REP STOSB of 100, one for each byte; EDI points to spare RAM.
  const Bytes code = {0xbf, 0, 0, 0x20, 0, 0xb9, 100, 0, 0, 0, 0x90, 0xe6, 0x80, 0x90, 0x0f, 0x31, 0x90, 0xf3, 0xaa, 0xeb, 0xfe};
  const struct {
    uint64_t limit, end;
  } cases[] = {{1, 1},     {3, 3},     {4, 504},   {100, 504}, {503, 504}, {504, 504},
               {505, 505}, {506, 546}, {545, 546}, {547, 547}, {560, 560}, {600, 600}};
  Listener stepped_listener;
  auto stepped = make([&](uint32_t) { return code; }, stepped_listener);
  for (auto [limit, end] : cases) {
    CAPTURE(limit);
    Listener listener;
    auto machine = make([&](uint32_t) { return code; }, listener);
    machine->set_tick_limit(limit), stepped->set_tick_limit(limit);
    CHECK(machine->run(1'000'000) == StopReason::tick_limit);
    CHECK(stepped->run(1'000'000) == StopReason::tick_limit);
    CHECK(machine->ticks() == end);
    CHECK(stepped->ticks() == end);
    CHECK(machine->state_hash() == stepped->state_hash());
  }
}

TEST_CASE("machine: A guest that sleeps for centuries can still be saved", "[machine][hostile]") {
  using tiny::operator+;
  // The HPET's first comparator 2^56 counts away: enabled, and the counter on. Then sti, hlt, hlt.
  auto sleeping = [](uint32_t) {
    return store(0xfed0010c, 0x01000000) + store(0xfed00100, 4) + store(0xfed00010, 1) + Bytes{0xfb, 0xf4, 0xeb, 0xfd};
  };
  Listener listener;
  auto machine = make(sleeping, listener);
  machine->run(100'000);
  CHECK(tiny::load(tiny::save(*machine), listener)->state_hash() == machine->state_hash());
}

TEST_CASE("machine: A key is replayed at its time, whether the guest ran before time went on or not", "[machine]") {
  const bool ran = GENERATE(true, false);
  auto sleeping = [](uint32_t) { return Bytes{0xfb, 0xf4, 0xeb, 0xfd}; };  // sti; hlt; again
  Listener first, second;
  MachineConfig config = configuration(tiny::multiboot(sleeping));
  config.host_clock = true;
  auto recorded = make(config, first), replayed = make(config, second);
  recorded->record();
  recorded->run(1000);
  recorded->pace(1'000'000);
  type(*recorded, "k");
  if (ran) recorded->run(1000);
  recorded->pace(5'000'000);
  recorded->run(1000);
  std::string error;
  REQUIRE(replayed->replay(recorded->recording(), error));
  replayed->run(1000);
  CHECK(replayed->state_hash() == recorded->state_hash());
}

TEST_CASE("machine: A key that is pressed between two events of a sleeping guest is replayed between them", "[machine]") {
  using tiny::operator+;
  const Bytes sleeping = outs({{0x21, 0xff}, {0x43, 0x34}, {0x40, 0x00}, {0x40, 0x10}}) + Bytes{0xfb, 0xf4, 0xeb, 0xfd};
  auto code = [&](uint32_t) { return sleeping; };
  Listener first, second;
  auto recorded = make(code, first), replayed = make(code, second);
  recorded->record();
  recorded->run(20'000);
  type(*recorded, "k");
  const uint64_t end = recorded->ticks() + 1000;
  std::string error;
  REQUIRE(replayed->replay(recorded->recording(), error));
  for (Machine* machine : {recorded.get(), replayed.get()}) {
    machine->set_tick_limit(end);
    while (machine->run(1000) == StopReason::budget) {
    }
  }
  CHECK(replayed->state_hash() == recorded->state_hash());
}

TEST_CASE("machine: A tick limit is met exactly", "[machine]") {
  Listener listener;
  auto machine = make(tiny::looping, listener);
  machine->set_tick_limit(12'345);
  CHECK(machine->run(1'000'000) == StopReason::tick_limit);
  CHECK(machine->ticks() == 12'345);
}

TEST_CASE("machine: stop() from a listener ends the run after the present instruction", "[machine]") {
  struct Stopping : Listener {
    void output(Port port, uint8_t byte) override { Listener::output(port, byte), machine->stop(); }
    Machine* machine = nullptr;
  } listener;
  auto machine = make(tiny::printing("ab", tiny::looping), listener);
  listener.machine = machine.get();
  CHECK(machine->run(1'000'000) == StopReason::stopped);
  CHECK(listener.serial() == "a");
  CHECK(machine->run(1'000'000) == StopReason::stopped);
  CHECK(listener.serial() == "ab");
}

TEST_CASE("machine: The reset button acts at once, not at the end of the next slice", "[machine]") {
  Listener listener;
  MachineConfig config = configuration(tiny::multiboot(tiny::printing("x", tiny::looping)));
  config.no_reboot = false;
  auto machine = make(config, listener);
  machine->run(10'000);
  machine->reset();
  machine->run(5'000);
  CHECK(listener.serial() == "xx");
}

TEST_CASE("machine: Slices of any size lead to the same state", "[machine]") {
  Listener one, other;
  auto whole = make(tiny::churning, one), sliced = make(tiny::churning, other);
  whole->set_tick_limit(300'000), sliced->set_tick_limit(300'000);
  CHECK(whole->run(1'000'000) == StopReason::tick_limit);
  std::mt19937 random(1);
  while (sliced->run(1 + random() % 500) != StopReason::tick_limit) {
  }
  CHECK(sliced->ticks() == whole->ticks());
  CHECK(sliced->state_hash() == whole->state_hash());
}

// ---- Recordings

TEST_CASE("machine: A replay repeats a recording bit for bit", "[machine]") {
  Listener first, second;
  MachineConfig config = configuration(tiny::multiboot(tiny::printing("> ", tiny::echoing)));
  config.no_reboot = false;
  auto recorded = make(config, first), replayed = make(config, second);
  recorded->record();
  recorded->run(10'000);
  type(*recorded, "ab");
  recorded->run(1'000'000);
  recorded->reset();
  recorded->run(100'000);
  recorded->resize_console(100, 40);
  (void)tiny::save(*recorded);
  type(*recorded, "cq");
  CHECK(recorded->run(5'000'000) == StopReason::debug_exit);

  std::string error;
  REQUIRE(replayed->replay(recorded->recording(), error));
  while (replayed->run(777) == StopReason::budget) {
  }
  CHECK(second.serial() == first.serial());
  CHECK(second.serial() == "> ab> c");
  CHECK(replayed->ticks() == recorded->ticks());
  CHECK(replayed->state_hash() == recorded->state_hash());
}

TEST_CASE("machine: A recording under the host clock replays to the same state", "[machine]") {
  Listener first, second;
  MachineConfig config = configuration(tiny::multiboot(tiny::churning));
  config.host_clock = true;
  auto recorded = make(config, first), replayed = make(config, second);
  recorded->record();
  for (uint64_t nanoseconds : {3'000, 70'000, 20'000}) {
    recorded->run(20'000);
    recorded->pace(nanoseconds);
  }
  std::string error;
  REQUIRE(replayed->replay(recorded->recording(), error));
  for (Machine* machine : {recorded.get(), replayed.get()}) {
    machine->set_tick_limit(100'000);
    CHECK(machine->run(200'000) == StopReason::tick_limit);
  }
  CHECK(replayed->state_hash() == recorded->state_hash());
}

TEST_CASE("machine: A replay takes no input but the recording's", "[machine]") {
  Listener first, second;
  auto recorded = make(tiny::echoing, first), replayed = make(tiny::echoing, second);
  recorded->record();
  recorded->run(100'000);
  std::string error;
  REQUIRE(replayed->replay(recorded->recording(), error));
  type(*replayed, "x");
  replayed->run(1'000'000);
  CHECK(second.serial() == "");
}

TEST_CASE("machine: What a replay refuses", "[machine][hostile]") {
  Listener listener;
  auto machine = make(tiny::echoing, listener);
  machine->record();
  machine->run(1'000);
  type(*machine, "ab");
  machine->run(1'000);
  const Bytes good = machine->recording();
  auto refusal = [&](const Bytes& log) {
    std::string error;
    auto other = make(tiny::echoing, listener);
    return other->replay(log, error) ? std::string() : error;
  };
  CHECK(refusal(good) == "");
  CHECK(refusal(Bytes{}) == "It is not a recording of Matryoshka.");
  CHECK(refusal({1, 2, 3}) == "It is not a recording of Matryoshka.");
  const std::string damaged = "It is damaged or incomplete: its checksum does not match.";
  for (size_t size = sizeof "MATRYOSHKA RECORDING" + 4; size < good.size(); ++size)
    CHECK(refusal(Bytes(good.begin(), good.begin() + static_cast<ptrdiff_t>(size))) == damaged);
  for (size_t bit = 8 * (sizeof "MATRYOSHKA RECORDING" + 4); bit < 8 * good.size(); ++bit) {
    Bytes wrong = good;
    wrong[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    if (refusal(wrong) != damaged) FAIL("bit " << bit);
  }
  Bytes longer = good;
  longer.insert(longer.end() - 8, 0);
  tiny::seal(longer);
  CHECK(refusal(longer) == "It cannot be used, and may be damaged: something follows its last input.");
  Bytes newer = good;
  newer[sizeof "MATRYOSHKA RECORDING"] = 9;
  CHECK(refusal(newer) == "It was written by a newer version of this program; replay it with that one.");
  auto different = make(tiny::looping, listener);
  std::string error;
  CHECK_FALSE(different->replay(good, error));
  CHECK(error == "It was made with another configuration or other images; give those, or the snapshot that it began from.");
}

TEST_CASE("machine: What a recording may not say", "[machine][hostile]") {
  using Kind = InputEvent::Kind;
  Listener listener;
  const InputEvent bad[] = {
      {Kind::ratio, 5, 0},
      {Kind::ratio, 5, InputEvent::most_ratio + 1},
      {Kind::skip, 5, Clock::never / 4 + 1},
      {Kind::skip, 5, ~uint64_t{0}},
      {static_cast<Kind>(static_cast<unsigned>(Kind::last) + 1), 5, 1},
      {Kind::serial, 3, 0},  // before the one in front of it
  };
  const InputEvent good[] = {
      {Kind::ratio, 5, 1}, {Kind::ratio, 5, InputEvent::most_ratio}, {Kind::skip, 5, Clock::never / 4}, {Kind::skip, 5, 0}};
  auto answer = [&](const InputEvent& event) {
    auto machine = make(tiny::looping, listener);
    InputLog log;
    log.start_recording();
    log.add({Kind::power_button, 4});
    log.add(event);
    std::string error;
    if (!machine->replay(log.write(machine->state_hash()), error)) return error;
    machine->run(100'000);
    return std::string();
  };
  for (const InputEvent& event : bad) {
    CAPTURE(static_cast<unsigned>(event.kind), event.value);
    CHECK(answer(event).rfind("It cannot be used, and may be damaged: ", 0) == 0);
  }
  for (const InputEvent& event : good) {
    CAPTURE(static_cast<unsigned>(event.kind), event.value);
    CHECK(answer(event) == "");
  }
}

TEST_CASE("machine: A recording of version 1, which has no checksum, is replayed", "[machine]") {
  Listener first, second;
  auto recorded = make(tiny::echoing, first), replayed = make(tiny::echoing, second);
  recorded->record();
  type(*recorded, "abq");
  CHECK(recorded->run(5'000'000) == StopReason::debug_exit);
  Bytes old = recorded->recording();
  old.resize(old.size() - 8);
  old[sizeof "MATRYOSHKA RECORDING"] = 1;
  std::string error;
  REQUIRE(replayed->replay(old, error));
  CHECK(replayed->run(5'000'000) == StopReason::debug_exit);
  CHECK(second.serial() == "ab");
}

// ---- Configurations

TEST_CASE("machine: What create() refuses", "[machine]") {
  MachineConfig c = configuration(tiny::multiboot(tiny::looping));
  SECTION("memory") {
    const uint64_t bytes = GENERATE(uint64_t{0}, uint64_t{4096}, (uint64_t{1} << 20) - 4096, (uint64_t{4} << 20) + 1,
                                    uint64_t{4} << 30, ~uint64_t{0});
    c.memory_bytes = bytes;
    CHECK(refusal(c) == "The memory size must lie between 1 MiB and 3584 MiB; -m 128M is a good start.");
  }
  SECTION("processors") {
    c.processors = 2;
    CHECK(is_sentence(refusal(c)));
  }
  SECTION("drives") {
    for (unsigned i = 0; i < 21; ++i) c.drives.push_back({{"disk", Bytes(512)}});
    CHECK(refusal(c) == "There is room for 20 drives, and 21 were asked for; leave some -drive options away.");
    c.drives.pop_back();
    CHECK(refusal(c) == "");
  }
  SECTION("nothing to boot") {
    c.kernel = {};
    CHECK(refusal(c) == "There is nothing to boot: give a kernel with -kernel, or a ROM with -bios.");
  }
  SECTION("a ROM of an odd size") {
    c.bios = {"rom", Bytes(0x10001)};
    CHECK(refusal(c) ==
          "The ROM 'rom' has 65 537 bytes, and a ROM has a multiple of 64 KiB, at most 16 MiB; take a whole image, such as "
          "SeaBIOS's bios-256k.bin.");
  }
  SECTION("a processor nobody knows") {
    c.cpu = "z80";
    CHECK(is_sentence(refusal(c)));
  }
  SECTION("a kernel that is none") {
    c.kernel.bytes = Bytes(100, 1);
    CHECK(refusal(c).rfind("The kernel 'guest' is not one that this machine can load", 0) == 0);
    CHECK(is_sentence(refusal(c)));
  }
  SECTION("isa-debug-exit over another device") {
    c.debugcon = true;
    const std::pair<int, const char*> cases[] = {
        {0x3f8,
         "isa-debug-exit at ports 0x3f8 to 0x3fb would lie over the serial port at 0x3f8 to 0x3ff; choose other ports, such as "
         "iobase=0xf4."},
        {0x3f5,
         "isa-debug-exit at ports 0x3f5 to 0x3f8 would lie over the serial port at 0x3f8 to 0x3ff; choose other ports, such as "
         "iobase=0xf4."},
        {0xe6,
         "isa-debug-exit at ports 0xe6 to 0xe9 would lie over the debug console at 0xe9; choose other ports, such as "
         "iobase=0xf4."},
        {0x604,
         "isa-debug-exit at ports 0x604 to 0x607 would lie over ACPI's power management at 0x600 to 0x63f; choose other ports, "
         "such as iobase=0xf4."},
        {0xcf4, ""},
        {0x3f4, ""},
        {0x400,
         "isa-debug-exit at ports 0x400 to 0x403 would lie over the debug console at 0x402; choose other ports, such as "
         "iobase=0xf4."},
        {0x501, ""},
        {0xfffc, ""},
        {0xcfd,
         "isa-debug-exit at ports 0xcfd to 0xd00 would lie over PCI configuration at 0xcfc to 0xcff; choose other ports, such as "
         "iobase=0xf4."},
    };
    for (auto [port, sentence] : cases) {
      c.debug_exit_port = port;
      CAPTURE(port);
      CHECK(refusal(c) == sentence);
    }
    c.debugcon = false, c.debug_exit_port = 0xe6;
    CHECK(refusal(c) == "");
  }
  SECTION("names that leave the shared folder") {
    c.shared_folder = true;
    c.shared_files = {{"a/../../b", {1}}};
    CHECK(refusal(c) == "The shared folder has no room for a/../../b: it takes 256 MiB, and names without '..'.");
  }
  SECTION("more than the shared folder holds") {
    c.shared_folder = true;
    c.shared_files = {{"big", Bytes((256 << 20) + 1)}};
    CHECK(refusal(c) == "The shared folder has no room for big: it takes 256 MiB, and names without '..'.");
  }
}
