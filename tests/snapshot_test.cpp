// Snapshots: that a loaded machine goes on as the saved one does, what changes against a base hold, and what is refused.
#include <algorithm>
#include <cstring>
#include <random>

#include "tests/tiny_machines.h"

using namespace matryoshka;
using tiny::configuration, tiny::is_sentence, tiny::Listener, tiny::load, tiny::make, tiny::refusal, tiny::save, tiny::seal,
    tiny::try_load, tiny::type;

namespace {

constexpr auto changes = Machine::Extent::changes;

DriveConfig drive(const std::string& name, uint8_t fill = 7, size_t size = 4096) { return {{name, Bytes(size, fill)}}; }
std::vector<DriveConfig> drives() { return {drive("disk")}; }

// Fills a page with zeroes and with ones in turns, 1,029 ticks each.
Bytes blinking(uint32_t) {
  return {0x31, 0xdb,  // xor ebx, ebx
          0x89, 0xd8, 0xbf, 0,    0,    0x20, 0,    0xb9, 0,
          4,    0,    0,    0xf3, 0xab, 0xf7, 0xd3, 0xeb, 0xee};  // fill [200000h] with ebx; not ebx; again
}
// Sends itself an INIT, and counts on.
Bytes initializing(uint32_t) {
  return tiny::operator+(Bytes{0xc7, 0x05, 0x10, 0x03, 0xe0, 0xfe, 0, 0, 0, 0},
                         Bytes{0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0, 0x45, 0, 0, 0x40, 0xeb, 0xfd});
}

void go_on_alike(Machine& one, Machine& other) {
  for (uint64_t later : {0, 1, 100, 1000, 33'333}) {
    one.run(later), other.run(later);
    CHECK(other.ticks() == one.ticks());
    CHECK(other.state_hash() == one.state_hash());
  }
}

}  // namespace

// ---- Whole ones

TEST_CASE("snapshot: A loaded snapshot goes on as the saved machine does", "[snapshot]") {
  // Ticks to save at: at the start, within REP STOS, MOVS and SCAS, between, after a while.
  const uint64_t at =
      GENERATE(uint64_t{0}, uint64_t{2}, uint64_t{300}, uint64_t{747}, uint64_t{1200}, uint64_t{1700}, uint64_t{54'321});
  CAPTURE(at);
  Listener first, second;
  auto saved = make(tiny::churning, first);
  saved->run(at);
  auto loaded = load(save(*saved), second);
  go_on_alike(*saved, *loaded);
}

TEST_CASE("snapshot: A snapshot keeps input that is on its way, and the timers", "[snapshot]") {
  Listener first, second;
  auto saved = make(tiny::printing("> ", tiny::echoing), first);
  saved->run(20'000);
  type(*saved, "a long line that does not fit the FIFO of a 16550A at once, at 115200 baud");
  saved->run(300'000);
  auto loaded = load(save(*saved), second);
  const std::string before = first.serial();
  CHECK(before.size() < 10);
  saved->run(20'000'000), loaded->run(20'000'000);
  CHECK(before + second.serial() == first.serial());
  CHECK(first.serial() == "> a long line that does not fit the FIFO of a 16550A at once, at 115200 baud");
  CHECK(loaded->state_hash() == saved->state_hash());
}

TEST_CASE("snapshot: A snapshot keeps the configuration", "[snapshot]") {
  Listener listener;
  MachineConfig config = configuration(tiny::multiboot(tiny::looping));
  config.command_line = "one two";
  config.cpu = "haswell,-sse42";
  config.drives = drives();
  config.shared_folder = true;
  config.shared_files = {{"a/b", {1, 2}}};
  config.inspector_share = true;
  auto loaded = load(save(*make(config, listener)), listener, {drives()});
  CHECK(loaded->config().command_line == "one two");
  CHECK(loaded->config().cpu == "haswell,-sse42");
  CHECK(loaded->config().drives.at(0).image.name == "disk");
  CHECK(loaded->config().shared_files.at(0).bytes == Bytes{1, 2});
  CHECK(loaded->config().inspector_share);
  CHECK(loaded->config().no_reboot);
}

TEST_CASE("snapshot: A reset that was asked for survives a snapshot", "[snapshot]") {
  Listener first, second;
  MachineConfig config = configuration(tiny::multiboot(tiny::printing("x", tiny::looping)));
  config.no_reboot = false;
  auto saved = make(config, first);
  saved->run(10'000);
  saved->reset();
  load(save(*saved), second)->run(10'000);
  CHECK(second.serial() == "x");
}

TEST_CASE("snapshot: Any tick will do", "[snapshot]") {
  std::mt19937 random(3);
  for (unsigned i = 0; i < 60; ++i) {
    const uint64_t at = random() % 10'000;
    INFO("try " << i << " of seed 3: tick " << at);
    Listener first, second;
    auto saved = make(tiny::churning, first);
    saved->run(at);
    auto loaded = load(save(*saved), second, {{}, {}, 1 + random() % 5000});
    REQUIRE(loaded->state_hash() == saved->state_hash());
    saved->run(5000), loaded->run(5000);
    REQUIRE(loaded->state_hash() == saved->state_hash());
  }
}

TEST_CASE("snapshot: An INIT on its way arrives in both", "[snapshot]") {
  for (uint64_t tick = 1; tick < 12; ++tick) {
    CAPTURE(tick);
    Listener first, second;
    auto saved = make(initializing, first);
    saved->set_tick_limit(tick);
    saved->run(100);
    auto loaded = load(save(*saved), second);
    saved->set_tick_limit(~uint64_t{0});
    go_on_alike(*saved, *loaded);
  }
  Listener listener;
  auto machine = make(initializing, listener);
  machine->run(100'000);
  CHECK(machine->describe_processor().find("rip    00000000001") == std::string::npos);  // it does not count on
}

TEST_CASE("snapshot: The guest's exit code is kept", "[snapshot]") {
  Listener first, second;
  auto saved = make(tiny::exiting(21), first);
  CHECK(saved->run(1'000'000) == StopReason::debug_exit);
  CHECK(load(save(*saved), second)->exit_code() == 43);
}

TEST_CASE("snapshot: One that is taken in a replay goes on as the replay does", "[snapshot]") {
  Listener one, two, three;
  auto recorded = make(tiny::churning, one), replayed = make(tiny::churning, two);
  recorded->record();
  recorded->run(60'000);
  std::string error;
  REQUIRE(replayed->replay(recorded->recording(), error));
  replayed->run(20'000);
  auto loaded = load(save(*replayed), three);
  go_on_alike(*replayed, *loaded);
}

TEST_CASE("snapshot: Pages of zeroes take no room, and pieces are small", "[snapshot]") {
  Listener listener;
  MachineConfig config = configuration(tiny::multiboot(tiny::looping));
  config.memory_bytes = 64 << 20;
  config.shared_folder = true;
  config.shared_files = {{"large", Bytes(5 << 20, 1)}};
  auto machine = make(config, listener);
  std::string error;
  auto writer = machine->save(Machine::Extent::whole, error);
  size_t size = 0;
  for (Bytes piece; writer->next(piece); size += piece.size()) CHECK(piece.size() <= (1 << 20) + 4096 + 16);
  // The file in the configuration and in the share.
  CHECK(size < (10 << 20) + 500'000);
}

// ---- Changes

TEST_CASE("snapshot: Changes are what was written since the base", "[snapshot]") {
  Listener first, second;
  MachineConfig config = configuration(tiny::multiboot(tiny::churning));
  config.shared_folder = true;
  config.shared_files = {{"large", Bytes(100'000, 1)}};
  auto saved = make(config, first);
  saved->run(5'000);
  const Bytes base = save(*saved);
  for (uint64_t more : {0, 3, 2'500, 20'000}) {
    CAPTURE(more);
    saved->run(more);
    const Bytes file = save(*saved, changes);
    // Two pages of data; the stack, tables, kernel and images are in the base alone.
    CHECK(file.size() < base.size() - 100'000);
    auto loaded = load(file, second, {{}, base});
    CHECK(loaded->config().shared_files.at(0).bytes.size() == 100'000);
    go_on_alike(*saved, *loaded);
  }
}

TEST_CASE("snapshot: A page that has become zero is a change", "[snapshot]") {
  Listener first, second;
  auto saved = make(blinking, first);
  saved->run(2 * 1029 + 10);  // ones
  const Bytes base = save(*saved);
  saved->run(1029);  // zeroes
  const Bytes file = save(*saved, changes);
  CHECK(base.size() - file.size() > 4096);
  auto loaded = load(file, second, {{}, base});
  CHECK(loaded->state_hash() == saved->state_hash());
}

TEST_CASE("snapshot: A machine that was loaded with changes saves changes to the same base", "[snapshot]") {
  Listener listener;
  auto first = make(tiny::churning, listener);
  first->run(1'000);
  const Bytes base = save(*first);
  first->run(1'000);
  auto second = load(save(*first, changes), listener, {{}, base});
  second->run(1);
  auto third = load(save(*second, changes), listener, {{}, base});
  go_on_alike(*second, *third);
}

TEST_CASE("snapshot: A base that is none, or another, or missing", "[snapshot][hostile]") {
  Listener listener;
  auto machine = make(tiny::churning, listener);
  std::string error;
  CHECK(machine->save(changes, error) == nullptr);
  CHECK(error == "There is no whole snapshot that changes could be told against; save the whole machine first, or load it.");
  const Bytes base = save(*machine);
  machine->run(100);
  const Bytes file = save(*machine, changes), other = save(*machine);
  CHECK(refusal(file, {{}, base}) == "");
  CHECK(refusal(file) == "It holds only the changes since another snapshot; give that one as well, with --base FILE.");
  CHECK(refusal(file, {{}, other}) ==
        "It holds the changes since another snapshot than the one given with --base; give the one that it was made from.");
  CHECK(refusal(file, {{}, file}) == "It holds only changes itself; give the whole snapshot that they belong to.");
  CHECK(refusal(other, {{}, base}) == "It is a whole snapshot, which has no base; leave --base away.");
  CHECK(refusal(file, {{}, Bytes(base.begin(), base.end() - 1)}) == "It is incomplete: its end is missing.");
}

// ---- Drives

TEST_CASE("snapshot: Drives are not in it, but what was written to them is, and they are given again", "[snapshot]") {
  Listener listener;
  MachineConfig config = configuration(tiny::multiboot(tiny::looping));
  config.drives = {drive("one", 1, 1 << 20), drive("two", 2, 1 << 20), drive("twin of two", 2, 1 << 20)};
  config.drives[1].read_only = true;
  const Bytes file = save(*make(config, listener));
  CHECK(file.size() < 500'000);
  auto loaded = load(file, listener, {{drive("moved", 2, 1 << 20), drive("one", 1, 1 << 20), drive("two", 2, 1 << 20)}});
  CHECK(loaded->config().drives.at(0).image.bytes == Bytes(1 << 20, 1));
  CHECK(loaded->config().drives.at(1).image.bytes == Bytes(1 << 20, 2));
  CHECK(loaded->config().drives.at(1).read_only);
  CHECK(loaded->config().drives.at(2).image.bytes == Bytes(1 << 20, 2));
  CHECK(loaded->config().drives.at(1).image.name == "moved");
}

TEST_CASE("snapshot: A drive that is missing, has changed or is too many", "[snapshot][hostile]") {
  Listener listener;
  MachineConfig config = configuration(tiny::multiboot(tiny::looping));
  config.drives = drives();
  const Bytes file = save(*make(config, listener));
  CHECK(refusal(file) == "Its drive 'disk' of 4 096 bytes is not in it; give it again with -drive file=FILE.");
  CHECK(refusal(file, {{drive("disk", 8)}}) ==
        "Its drive 'disk' of 4 096 bytes has changed since it was made; give the file as it was then.");
  CHECK(refusal(file, {{drive("other", 7, 8192)}}) ==
        "Its drive 'disk' of 4 096 bytes is none of those given; give it as it was then with -drive file=FILE.");
  CHECK(refusal(file, {{drive("disk"), drive("spare", 9)}}) ==
        "It has no drive like 'spare'; drives cannot be added to a saved machine, so leave that one away.");
  CHECK(refusal(file, {{drive("disk")}}) == "");
}

// ---- Hostile ones

namespace {

const Bytes& sample() {
  static const Bytes snapshot = [] {
    Listener listener;
    MachineConfig config = configuration(tiny::multiboot(tiny::churning));
    config.memory_bytes = 2 << 20;
    config.drives = drives();
    config.shared_folder = true;
    config.shared_files = {{"file", {1, 2, 3}}};
    auto machine = make(config, listener);
    type(*machine, "abc");
    machine->run(54'321);
    return save(*machine);
  }();
  return snapshot;
}
std::string sample_refusal(const Bytes& bytes) { return refusal(bytes, {drives()}); }

constexpr size_t head = sizeof "MATRYOSHKA SNAPSHOT" + 4;

struct Section {
  std::string name;
  size_t at, body, end;
};
std::vector<Section> sections(const Bytes& s) {
  std::vector<Section> found;
  for (size_t at = head; at < s.size() - 8;) {
    uint32_t name;
    uint64_t length;
    std::memcpy(&name, &s[at], 4);
    std::memcpy(&length, &s[at + 4 + name + 4], 8);
    const size_t body = at + 4 + name + 4 + 8;
    found.push_back({std::string(s.begin() + static_cast<ptrdiff_t>(at) + 4, s.begin() + static_cast<ptrdiff_t>(at) + 4 + name),
                     at, body, body + length});
    at = body + length;
  }
  return found;
}
Section section(const std::string& name) {
  for (const Section& s : sections(sample()))
    if (s.name == name) return s;
  FAIL(name);
  return {};
}

}  // namespace

TEST_CASE("snapshot: The one of these tests is sound", "[snapshot][hostile]") {
  Bytes again = sample();
  seal(again);
  CHECK(again == sample());
  CHECK(sample_refusal(sample()) == "");
  std::string names;
  for (const Section& s : sections(sample())) names += s.name + " ";
  CHECK(names == "snapshot configuration image image board memory ");
}

TEST_CASE("snapshot: One that is none, or newer, or wrongly put together", "[snapshot][hostile]") {
  Bytes s = sample();
  const std::string unusable = "It cannot be used, and may be damaged: ";
  SECTION("empty") { CHECK(sample_refusal(Bytes{}) == "It is empty."); }
  SECTION("empty, and said so") {
    tiny::Listener listener;
    SnapshotLoader loader(listener, {}, false);
    CHECK(loader.add(nullptr, 0));
    CHECK(loader.finish() == nullptr);
    CHECK(loader.error() == "It is empty.");
  }
  SECTION("magic") {
    s[0] = 'm';
    CHECK(sample_refusal(s) == "It is not a snapshot of Matryoshka.");
  }
  SECTION("version") {
    s[head - 4] = 99;
    CHECK(sample_refusal(s) == "It was written by a newer version of this program; load it with that one.");
  }
  SECTION("a flipped bit") {
    s[section("memory").end - 2000] ^= 1;
    CHECK(sample_refusal(s) == "It is damaged or incomplete: its checksum does not match.");
  }
  SECTION("an unknown section") {
    s[section("board").at + 4] = 'B';
    CHECK(sample_refusal(s) == unusable + "it has a section 'Board' where 'board' belongs.");
  }
  SECTION("a newer section") {
    ++s[section("board").at + 4 + 5];
    CHECK(sample_refusal(s) == "Its section 'board' was written by a newer version of this program; load it with that one.");
  }
  SECTION("something behind the end") {
    s.push_back(0);
    CHECK(sample_refusal(s) == unusable + "something follows its end.");
  }
  SECTION("a page that the machine has not") {
    s[section("memory").body + 3] = 0x7f;
    CHECK(sample_refusal(s) == unusable + "a page of memory is out of order.");
  }
  SECTION("pages that go backwards") {
    s[section("memory").body + 4 + 4096] = s[section("memory").body];
    CHECK(sample_refusal(s) == unusable + "a page of memory is out of order.");
  }
}

TEST_CASE("snapshot: No length makes the loader hold more than the machine can have", "[snapshot][hostile]") {
  // Each claims more than there can be, and is refused before any of it has come.
  const std::string name = GENERATE("snapshot", "configuration", "image", "board", "memory");
  const Section claimed = section(name);
  CAPTURE(name);
  Bytes s(sample().begin(), sample().begin() + static_cast<ptrdiff_t>(claimed.body));
  const uint64_t length = GENERATE(~uint64_t{0}, uint64_t{1} << 32, uint64_t{600} << 20);
  std::memcpy(&s[claimed.body - 8], &length, 8);
  CHECK(sample_refusal(s) == "It cannot be used, and may be damaged: its section '" + name + "' is larger than it can be.");
}

TEST_CASE("snapshot: Bytes without end are refused as soon as they are wrong", "[snapshot][hostile]") {
  for (const Section& s : sections(sample())) {
    CAPTURE(s.name);
    Listener listener;
    SnapshotLoader loader(listener, drives(), false);
    REQUIRE(loader.add(sample().data(), s.at));
    const Bytes zeroes(4096);
    CHECK_FALSE((loader.add(zeroes.data(), zeroes.size()) && loader.add(zeroes.data(), zeroes.size())));
    CHECK(is_sentence(loader.error()));
    CHECK(loader.finish() == nullptr);
  }
}

TEST_CASE("snapshot: One cut anywhere is refused with a sentence", "[snapshot][hostile]") {
  std::vector<size_t> places = {sample().size() - 1, sample().size() - 8};
  for (const Section& s : sections(sample()))
    for (size_t at : {s.at, s.body, s.end})
      for (int beside : {-1, 0, 1, 4}) places.push_back(at + static_cast<size_t>(beside));
  std::mt19937_64 random(7);
  for (unsigned i = 0; i < 200; ++i) places.push_back(random() % sample().size());
  for (size_t size : places) {
    CAPTURE(size);
    const std::string said = sample_refusal(Bytes(sample().begin(), sample().begin() + static_cast<ptrdiff_t>(size)));
    if (!is_sentence(said)) FAIL(said);
  }
}

TEST_CASE("snapshot: Any bit that is wrong is found", "[snapshot][hostile]") {
  std::mt19937_64 random(13);
  for (unsigned i = 0; i < 400; ++i) {
    Bytes s = sample();
    const size_t place = random() % s.size();
    s[place] ^= static_cast<uint8_t>(1 << random() % 8);
    const std::string said = sample_refusal(s);
    if (!is_sentence(said)) FAIL("try " << i << " of seed 13, byte " << place << ": " << said);
  }
}

TEST_CASE("snapshot: One with wrong bits is refused with a sentence, or runs without harm", "[snapshot][hostile]") {
  const Section board = section("board"), memory = section("memory");
  std::mt19937_64 random(11);
  unsigned refused = 0;
  constexpr unsigned tries = 600;
  for (unsigned i = 0; i < tries; ++i) {
    Bytes s = sample();
    // Mostly in what the board saves, one bit or a whole byte.
    const size_t first = i % 4 == 0 ? head : board.at, last = memory.body + 64, place = first + random() % (last - first);
    const uint8_t change = i & 1 ? static_cast<uint8_t>(1 << random() % 8) : static_cast<uint8_t>(1 + random() % 255);
    s[place] ^= change;
    seal(s);
    INFO("try " << i << ", byte " << place << " (board at " << board.at << ") ^ " << unsigned{change});
    Listener listener;
    std::string error;
    auto machine = try_load(s, listener, error, {drives()});
    if (!machine) {
      ++refused;
      if (!is_sentence(error)) FAIL(error);
      continue;
    }
    machine->run(3'000);
    (void)save(*machine);
  }
  CHECK(refused > 0);
  CHECK(refused < tries);
}
