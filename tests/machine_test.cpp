// The whole machine with guests of a few bytes: how runs end, snapshots, recordings, and what is refused.
#include <catch2/catch.hpp>

#include <algorithm>
#include <cstring>
#include <random>
#include <regex>

#include "tests/tiny_guests.h"

using namespace matryoshka;

namespace {

struct Listener : MachineListener {
  void output(Port port, uint8_t byte) override { text[static_cast<unsigned>(port)] += static_cast<char>(byte); }
  const std::string& serial() const { return text[0]; }
  std::string text[3];
};

MachineConfig configuration(Image kernel) {
  MachineConfig c;
  c.memory_bytes = 4 << 20;
  c.kernel = std::move(kernel);
  c.debug_exit_port = 0xf4;
  c.no_reboot = true;
  return c;
}

std::unique_ptr<Machine> make(MachineConfig config, MachineListener& listener) {
  std::string error;
  auto machine = Machine::create(std::move(config), listener, error);
  INFO(error);
  REQUIRE(machine);
  return machine;
}
std::unique_ptr<Machine> make(const tiny::Code& code, MachineListener& listener) {
  return make(configuration(tiny::multiboot(code)), listener);
}

std::unique_ptr<Machine> load(const Bytes& snapshot, MachineListener& listener) {
  std::string error;
  auto machine = Machine::load(snapshot, listener, error);
  INFO(error);
  REQUIRE(machine);
  return machine;
}

bool is_sentence(const std::string& text) { return std::regex_match(text, std::regex("[A-Z][^\\n]*[.]")); }

std::string refusal(MachineConfig config) {
  Listener listener;
  std::string error;
  auto machine = Machine::create(std::move(config), listener, error);
  return machine ? "" : error;
}
std::string refusal(const Bytes& snapshot) {
  Listener listener;
  std::string error;
  auto machine = Machine::load(snapshot, listener, error);
  return machine ? "" : error;
}

void type(Machine& machine, const std::string& text) {
  machine.input(Port::serial, reinterpret_cast<const uint8_t*>(text.data()), text.size());
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
  } cases[] = {{1, 1}, {3, 3}, {4, 504}, {100, 504}, {503, 504}, {504, 504}, {505, 505}, {506, 546}, {545, 546}, {547, 547}, {560, 560}, {600, 600}};
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
  while (sliced->run(1 + random() % 500) != StopReason::tick_limit) {}
  CHECK(sliced->ticks() == whole->ticks());
  CHECK(sliced->state_hash() == whole->state_hash());
}

// ---- Snapshots

TEST_CASE("machine: A loaded snapshot goes on as the saved machine does", "[machine]") {
  // Ticks to save at: at the start, within REP STOS, MOVS and SCAS, between, after a while.
  const uint64_t at = GENERATE(uint64_t{0}, uint64_t{2}, uint64_t{300}, uint64_t{747}, uint64_t{1200}, uint64_t{1700}, uint64_t{54'321});
  CAPTURE(at);
  Listener first, second;
  auto saved = make(tiny::churning, first);
  saved->run(at);
  auto loaded = load(saved->save(), second);
  for (uint64_t later : {0, 1, 100, 1000, 33'333}) {
    saved->run(later), loaded->run(later);
    CHECK(loaded->ticks() == saved->ticks());
    CHECK(loaded->state_hash() == saved->state_hash());
  }
}

TEST_CASE("machine: A snapshot keeps input that is on its way, and the timers", "[machine]") {
  Listener first, second;
  auto saved = make(tiny::printing("> ", tiny::echoing), first);
  saved->run(20'000);
  type(*saved, "a long line that does not fit the FIFO of a 16550A at once, at 115200 baud");
  saved->run(300'000);
  auto loaded = load(saved->save(), second);
  const std::string before = first.serial();
  CHECK(before.size() < 10);
  saved->run(20'000'000), loaded->run(20'000'000);
  CHECK(before + second.serial() == first.serial());
  CHECK(first.serial() == "> a long line that does not fit the FIFO of a 16550A at once, at 115200 baud");
  CHECK(loaded->state_hash() == saved->state_hash());
}

TEST_CASE("machine: A snapshot keeps the configuration", "[machine]") {
  Listener listener;
  MachineConfig config = configuration(tiny::multiboot(tiny::looping));
  config.command_line = "one two";
  config.cpu = "haswell,-sse42";
  config.drives.push_back({{"disk", Bytes(4096, 7)}});
  config.shared_folder = true;
  config.shared_files = {{"a/b", {1, 2}}};
  auto loaded = load(make(config, listener)->save(), listener);
  CHECK(loaded->config().command_line == "one two");
  CHECK(loaded->config().cpu == "haswell,-sse42");
  CHECK(loaded->config().drives.at(0).image.name == "disk");
  CHECK(loaded->config().shared_files.at(0).bytes == Bytes{1, 2});
  CHECK(loaded->config().no_reboot);
}

TEST_CASE("machine: A reset that was asked for survives a snapshot", "[machine]") {
  Listener first, second;
  MachineConfig config = configuration(tiny::multiboot(tiny::printing("x", tiny::looping)));
  config.no_reboot = false;
  auto saved = make(config, first);
  saved->run(10'000);
  saved->reset();
  load(saved->save(), second)->run(10'000);
  CHECK(second.serial() == "x");
}

// ---- Hostile snapshots

namespace {

// The checksum of snapshot.cpp, written once more.
uint64_t checksum(const uint8_t* data, size_t size) {
  uint64_t state = 0x6d617472796f7368;
  auto mix = [&](uint64_t word) { state = (state ^ word) * 0x9fb21c651e98df25, state ^= state >> 29; };
  for (; size >= 8; data += 8, size -= 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);
    mix(word);
  }
  uint64_t rest = size;
  for (size_t i = 0; i < size; ++i) rest = rest << 8 | data[i];
  mix(rest);
  return state ^ state >> 32;
}

void seal(Bytes& snapshot) {
  const uint64_t sum = checksum(snapshot.data(), snapshot.size() - 8);
  std::memcpy(snapshot.data() + snapshot.size() - 8, &sum, 8);
}

// The first `size` bytes as a file of its own, with a checksum that is right.
Bytes cut(const Bytes& snapshot, size_t size) {
  Bytes shorter(snapshot.begin(), snapshot.begin() + static_cast<ptrdiff_t>(size));
  shorter.resize(size + 8);
  seal(shorter);
  return shorter;
}

const Bytes& sample() {
  static const Bytes snapshot = [] {
    Listener listener;
    MachineConfig config = configuration(tiny::multiboot(tiny::churning));
    config.memory_bytes = 2 << 20;
    config.drives.push_back({{"disk", Bytes(4096, 7)}});
    config.shared_folder = true;
    config.shared_files = {{"file", {1, 2, 3}}};
    auto machine = make(config, listener);
    type(*machine, "abc");
    machine->run(54'321);
    return machine->save();
  }();
  return snapshot;
}

constexpr size_t head = sizeof "MATRYOSHKA SNAPSHOT" + 4;

// Where each section begins, and the end of the last.
std::vector<size_t> boundaries(const Bytes& s) {
  std::vector<size_t> found;
  for (size_t at = head; at < s.size() - 8;) {
    found.push_back(at);
    uint32_t name;
    uint64_t length;
    std::memcpy(&name, &s[at], 4);
    std::memcpy(&length, &s[at + 4 + name + 4], 8);
    at += 4 + name + 4 + 8 + length;
  }
  found.push_back(s.size() - 8);
  return found;
}

}  // namespace

TEST_CASE("machine: The snapshot of these tests is sound", "[machine][hostile]") {
  Bytes again = sample();
  seal(again);
  CHECK(again == sample());
  CHECK(refusal(sample()) == "");
  CHECK(boundaries(sample()).size() == 4);
}

TEST_CASE("machine: A snapshot that is not one, or a newer one", "[machine][hostile]") {
  Bytes s = sample();
  SECTION("empty") { CHECK(refusal(Bytes{}) == "This is not a snapshot of Matryoshka."); }
  SECTION("magic") {
    s[0] = 'm';
    CHECK(refusal(s) == "This is not a snapshot of Matryoshka.");
  }
  SECTION("version") {
    s[head - 4] = 99;
    CHECK(refusal(s) == "The snapshot was written by a newer version of this program.");
  }
  SECTION("a flipped bit") {
    s[s.size() / 2] ^= 1;
    CHECK(refusal(s) == "The snapshot is damaged or incomplete: its checksum does not match.");
  }
  SECTION("an unknown section") {
    s[boundaries(s)[1] + 4] = 'B';
    seal(s);
    CHECK(refusal(s) == "The snapshot cannot be used: it has a section 'Board' where 'board' belongs.");
  }
  SECTION("a newer section") {
    s[boundaries(s)[1] + 4 + 5] = 2;
    seal(s);
    CHECK(refusal(s) == "The snapshot cannot be used: its section 'board' was written by a newer version of this program.");
  }
  SECTION("something behind the last section") {
    s.insert(s.end() - 8, 0);
    seal(s);
    CHECK(refusal(s) == "The snapshot cannot be used: something follows its last section.");
  }
  SECTION("a section longer than the file") {
    s[boundaries(s)[2] + 4 + 6 + 4 + 7] = 0xff;
    seal(s);
    CHECK(refusal(s) == "The snapshot cannot be used: it ends in the middle of a section.");
  }
}

TEST_CASE("machine: A snapshot cut anywhere is refused with a sentence", "[machine][hostile]") {
  std::vector<size_t> places;
  for (size_t at : boundaries(sample()))
    for (int beside : {-1, 0, 1, 4}) places.push_back(at + static_cast<size_t>(beside));
  std::mt19937_64 random(7);
  for (unsigned i = 0; i < 200; ++i) places.push_back(random() % sample().size());
  for (size_t size : places) {
    if (size >= sample().size() - 8) continue;
    CAPTURE(size);
    const std::string plain = refusal(Bytes(sample().begin(), sample().begin() + static_cast<ptrdiff_t>(size)));
    const std::string sealed = refusal(cut(sample(), size));
    if (!is_sentence(plain) || !is_sentence(sealed)) FAIL(plain << " / " << sealed);
  }
}

TEST_CASE("machine: A snapshot with wrong bits is refused with a sentence, or runs without harm", "[machine][hostile]") {
  const std::vector<size_t> at = boundaries(sample());
  std::mt19937_64 random(11);
  unsigned refused = 0;
  constexpr unsigned tries = 600;
  for (unsigned i = 0; i < tries; ++i) {
    Bytes s = sample();
    // Mostly in what the board saves, one bit or a whole byte.
    const size_t first = i % 4 == 0 ? head : at[1], last = at[2] + 64, place = first + random() % (last - first);
    const uint8_t change = i & 1 ? static_cast<uint8_t>(1 << random() % 8) : static_cast<uint8_t>(1 + random() % 255);
    s[place] ^= change;
    seal(s);
    INFO("try " << i << ", byte " << place << " (board at " << at[1] << ") ^ " << unsigned{change});
    Listener listener;
    std::string error;
    auto machine = Machine::load(s, listener, error);
    if (!machine) {
      ++refused;
      if (!is_sentence(error)) FAIL(error);
      continue;
    }
    machine->run(3'000);
    machine->save();
  }
  CHECK(refused > 0);
  CHECK(refused < tries);
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
  (void)recorded->save();
  type(*recorded, "cq");
  CHECK(recorded->run(5'000'000) == StopReason::debug_exit);

  std::string error;
  REQUIRE(replayed->replay(recorded->recording(), error));
  while (replayed->run(777) == StopReason::budget) {}
  CHECK(second.serial() == first.serial());
  CHECK(second.serial() == "> ab> c");
  CHECK(replayed->ticks() == recorded->ticks());
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
  CHECK(refusal(Bytes{}) == "This is not a recording of Matryoshka.");
  CHECK(refusal({1, 2, 3}) == "This is not a recording of Matryoshka.");
  for (size_t size = 0; size < good.size(); ++size) {
    const std::string said = refusal(Bytes(good.begin(), good.begin() + static_cast<ptrdiff_t>(size)));
    if (!is_sentence(said)) FAIL(size << ": " << said);
  }
  Bytes longer = good;
  longer.push_back(0);
  CHECK(refusal(longer) == "The recording cannot be used: something follows its last input.");
  Bytes newer = good;
  newer[sizeof "MATRYOSHKA RECORDING"] = 9;
  CHECK(refusal(newer) == "The recording cannot be used: it was written by a newer version of this program.");
  auto different = make(tiny::looping, listener);
  std::string error;
  CHECK_FALSE(different->replay(good, error));
  CHECK(error == "The recording cannot be used: it was made with another configuration or other images.");
}

// ---- Configurations

TEST_CASE("machine: What create() refuses", "[machine]") {
  MachineConfig c = configuration(tiny::multiboot(tiny::looping));
  SECTION("memory") {
    const uint64_t bytes = GENERATE(uint64_t{0}, uint64_t{4096}, (uint64_t{1} << 20) - 4096, (uint64_t{4} << 20) + 1, uint64_t{4} << 30, ~uint64_t{0});
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
    CHECK(refusal(c) == "The ROM 'rom' has 65 537 bytes, and a ROM has a multiple of 64 KiB, at most 16 MiB; take a whole image, such as SeaBIOS's bios-256k.bin.");
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
        {0x3f8, "isa-debug-exit at ports 0x3f8 to 0x3fb would lie over the serial port at 0x3f8 to 0x3ff; choose other ports, such as iobase=0xf4."},
        {0x3f5, "isa-debug-exit at ports 0x3f5 to 0x3f8 would lie over the serial port at 0x3f8 to 0x3ff; choose other ports, such as iobase=0xf4."},
        {0xe6, "isa-debug-exit at ports 0xe6 to 0xe9 would lie over the debug console at 0xe9; choose other ports, such as iobase=0xf4."},
        {0x604, "isa-debug-exit at ports 0x604 to 0x607 would lie over ACPI's power management at 0x600 to 0x63f; choose other ports, such as iobase=0xf4."},
        {0xcf4, ""}, {0x3f4, ""}, {0x400, "isa-debug-exit at ports 0x400 to 0x403 would lie over the debug console at 0x402; choose other ports, such as iobase=0xf4."},
        {0x501, ""}, {0xfffc, ""}, {0xcfd, "isa-debug-exit at ports 0xcfd to 0xd00 would lie over PCI configuration at 0xcfc to 0xcff; choose other ports, such as iobase=0xf4."},
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
