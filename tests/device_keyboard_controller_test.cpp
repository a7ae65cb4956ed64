// Facts from IBM's PS/2 hardware interface reference; "Linux" marks what its i8042, atkbd and psmouse drivers ask.
#include "devices/keyboard_controller.h"
#include "tests/device_bench.h"

using namespace matryoshka;
using namespace matryoshka::bench;

namespace {

using Sequence = std::vector<unsigned>;

constexpr unsigned irq1 = 1, irq12 = 12;
constexpr unsigned full = 0x01, from_mouse = 0x20;  // of the status register

struct KeyboardBench : Bench {
  std::vector<bool> a20_changes;
  unsigned resets = 0;
  KeyboardController controller{outputs()};

  KeyboardController::Outputs outputs() {
    return {IrqLine(irq, irq1), IrqLine(irq, irq12), [this](bool open) { a20_changes.push_back(open); }, [this] { ++resets; }};
  }
  unsigned status() { return static_cast<unsigned>(controller.read(KeyboardController::command_port, 0, 1)); }
  unsigned in() { return static_cast<unsigned>(controller.read(KeyboardController::data_port, 0, 1)); }
  void command(unsigned value) { controller.write(KeyboardController::command_port, 0, 1, value); }
  void data(unsigned value) { controller.write(KeyboardController::data_port, 0, 1, value); }
  void command(unsigned value, unsigned parameter) { command(value), data(parameter); }
  void mouse(unsigned value) { command(0xd4, value); }
  unsigned fast() { return static_cast<unsigned>(controller.read(KeyboardController::fast_port, 0, 1)); }
  void fast(unsigned value) { controller.write(KeyboardController::fast_port, 0, 1, value); }
  unsigned command_byte() {
    command(0x20);
    return in();
  }
  void command_byte(unsigned value) { command(0x60, value); }
  bool key(std::vector<uint8_t> bytes) { return controller.key(bytes); }
  // Everything waiting to be read.
  Sequence drain() {
    Sequence bytes;
    while (status() & full) bytes.push_back(in());
    return bytes;
  }
};

}  // namespace

TEST_CASE("keyboard_controller: commands with one answer") {
  struct Row {
    const char* name;
    unsigned command, answer;
  };
  auto row =
      GENERATE(Row{"self test", 0xaa, 0x55}, Row{"keyboard interface test", 0xab, 0x00}, Row{"mouse interface test", 0xa9, 0x00},
               Row{"read input port", 0xc0, 0x80}, Row{"read output port", 0xd0, 0xc3});
  INFO(row.name);
  KeyboardBench b;
  b.command(row.command);
  CHECK((b.status() & full) == full);
  CHECK((b.status() & from_mouse) == 0);
  CHECK(b.in() == row.answer);
  CHECK((b.status() & full) == 0);
}

TEST_CASE("keyboard_controller: the command byte and the RAM behind it can be written and read") {
  KeyboardBench b;
  b.command_byte(0x47);
  CHECK(b.command_byte() == 0x47);
  b.command(0x7f, 0x99);
  b.command(0x3f);
  CHECK(b.in() == 0x99);
}

TEST_CASE("keyboard_controller: enable and disable show in the command byte") {
  struct Row {
    unsigned command, before, after;
  };
  auto row = GENERATE(Row{0xad, 0x00, 0x10}, Row{0xae, 0x10, 0x00}, Row{0xa7, 0x00, 0x20}, Row{0xa8, 0x20, 0x00});
  KeyboardBench b;
  b.command_byte(row.before);
  b.command(row.command);
  CHECK(b.command_byte() == row.after);
}

TEST_CASE("keyboard_controller: status tells commands from data, and the self test passed") {
  KeyboardBench b;
  b.command_byte(0x00);
  CHECK((b.status() & 0x0c) == 0x00);
  b.command(0xaa);
  CHECK((b.status() & 0x0c) == 0x0c);
}

TEST_CASE("keyboard_controller: Linux loops bytes back to both sides") {
  KeyboardBench b;
  b.command_byte(0x03);
  b.command(0xd2, 0x5a);
  CHECK((b.status() & (full | from_mouse)) == full);
  CHECK(b.irq.level(irq1));
  CHECK(b.in() == 0x5a);
  CHECK_FALSE(b.irq.level(irq1));
  b.command(0xd3, 0xa5);
  CHECK((b.status() & (full | from_mouse)) == (full | from_mouse));
  CHECK(b.irq.level(irq12));
  CHECK(b.in() == 0xa5);
  CHECK_FALSE(b.irq.level(irq12));
}

TEST_CASE("keyboard_controller: keys in every combination of scan code set and translation") {
  struct Row {
    const char* name;
    std::vector<uint8_t> set2;
    Sequence translated;  // set 2 under translation, and set 1 without
  };
  auto row =
      GENERATE(Row{"A down", {0x1c}, {0x1e}}, Row{"A up", {0xf0, 0x1c}, {0x9e}}, Row{"Esc", {0x76, 0xf0, 0x76}, {0x01, 0x81}},
               Row{"F7, which lies beyond 7Fh", {0x83, 0xf0, 0x83}, {0x41, 0xc1}},
               Row{"cursor up", {0xe0, 0x75, 0xe0, 0xf0, 0x75}, {0xe0, 0x48, 0xe0, 0xc8}},
               Row{"Pause", {0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77}, {0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5}});
  INFO(row.name);
  KeyboardBench b;
  SECTION("set 2, translated") {
    b.command_byte(0x41);
    b.key(row.set2);
    CHECK(b.drain() == row.translated);
  }
  SECTION("set 2, as it is") {
    b.command_byte(0x01);
    b.key(row.set2);
    CHECK(b.drain() == Sequence(row.set2.begin(), row.set2.end()));
  }
  SECTION("set 1, as it is") {
    b.command_byte(0x01);
    b.data(0xf0), b.data(0x01);
    b.drain();
    b.key(row.set2);
    CHECK(b.drain() == row.translated);
  }
}

TEST_CASE("keyboard_controller: each byte has its own edge of IRQ1, if the command byte wants one") {
  KeyboardBench b;
  b.command_byte(0x41);
  b.key({0x1c, 0xf0, 0x1c});
  CHECK(b.irq.rises(irq1) == 1);
  b.in();
  CHECK(b.irq.rises(irq1) == 2);
  b.in();
  CHECK_FALSE(b.irq.level(irq1));
  b.command_byte(0x40);
  b.key({0x1c});
  CHECK(b.irq.rises(irq1) == 2);
}

TEST_CASE("keyboard_controller: a disabled keyboard keeps its bytes") {
  KeyboardBench b;
  b.command(0xad);
  b.key({0x1c});
  CHECK((b.status() & full) == 0);
  b.command(0xae);
  CHECK(b.in() == 0x1e);
}

TEST_CASE("keyboard_controller: the keyboard's commands") {
  struct Row {
    const char* name;
    Sequence sent, answered;
  };
  auto row =
      GENERATE(Row{"reset", {0xff}, {0xfa, 0xaa}}, Row{"identify", {0xf2}, {0xfa, 0xab, 0x83}}, Row{"echo", {0xee}, {0xee}},
               Row{"LEDs", {0xed, 0x07}, {0xfa, 0xfa}}, Row{"typematic", {0xf3, 0x20}, {0xfa, 0xfa}},
               Row{"which set", {0xf0, 0x00}, {0xfa, 0xfa, 0x02}}, Row{"no set 3", {0xf0, 0x03}, {0xfa, 0xfe}},
               Row{"defaults", {0xf6}, {0xfa}}, Row{"enable", {0xf4}, {0xfa}}, Row{"resend", {0xee, 0xfe}, {0xee, 0xee}},
               Row{"a command where a parameter should be", {0xed, 0xee}, {0xfa, 0xee}}, Row{"no command", {0x01}, {0xfe}});
  INFO(row.name);
  KeyboardBench b;
  b.command_byte(0x00);
  Sequence answered;
  for (unsigned byte : row.sent) {
    b.data(byte);
    for (unsigned answer : b.drain()) answered.push_back(answer);
  }
  CHECK(answered == row.answered);
}

TEST_CASE("keyboard_controller: translation goes over identification too, as Linux knows") {
  KeyboardBench b;
  b.command_byte(0x40);
  b.data(0xf2);
  CHECK(b.drain() == Sequence{0xfa, 0xab, 0x41});
}

TEST_CASE("keyboard_controller: LEDs are told, a disabled keyboard is silent, an answer goes ahead of keys") {
  KeyboardBench b;
  b.command_byte(0x00);
  b.data(0xed), b.data(0x05);
  CHECK(b.controller.leds() == 0x05);
  b.drain();
  b.data(0xf5);
  b.drain();
  b.key({0x1c});
  CHECK(b.drain().empty());
  b.data(0xf4);
  b.drain();
  b.command(0xad);
  b.key({0x1c});
  b.data(0xee);
  CHECK(b.drain() == Sequence{0xee, 0x1c});
}

TEST_CASE("keyboard_controller: a full keyboard takes no part of a key") {
  KeyboardBench b;
  b.command(0xad);
  unsigned taken = 0;
  while (b.key({0xe0, 0xf0, 0x75})) ++taken;
  CHECK(taken == 85);
  b.command(0xae);
  CHECK(b.drain().size() == 85 * 2);
}

TEST_CASE("keyboard_controller: the mouse's commands") {
  struct Row {
    const char* name;
    Sequence sent, answered;
  };
  auto row = GENERATE(Row{"reset", {0xff}, {0xfa, 0xaa, 0x00}}, Row{"identify", {0xf2}, {0xfa, 0x00}},
                      Row{"status", {0xe9}, {0xfa, 0x00, 0x02, 100}},
                      Row{"sample rate", {0xf3, 40, 0xe9}, {0xfa, 0xfa, 0xfa, 0x00, 0x02, 40}},
                      Row{"resolution", {0xe8, 3, 0xe9}, {0xfa, 0xfa, 0xfa, 0x00, 0x03, 100}},
                      Row{"scaling", {0xe7, 0xe9}, {0xfa, 0xfa, 0x10, 0x02, 100}},
                      Row{"remote, reporting", {0xf0, 0xf4, 0xe9}, {0xfa, 0xfa, 0xfa, 0x60, 0x02, 100}},
                      Row{"wheel", {0xf3, 200, 0xf3, 100, 0xf3, 80, 0xf2}, {0xfa, 0xfa, 0xfa, 0xfa, 0xfa, 0xfa, 0xfa, 0x03}},
                      Row{"wrap", {0xee, 0x55, 0xf2, 0xec, 0xf2}, {0xfa, 0x55, 0xf2, 0xfa, 0xfa, 0x00}},
                      Row{"read data", {0xeb}, {0xfa, 0x08, 0x00, 0x00}}, Row{"no command", {0x01}, {0xfe}});
  INFO(row.name);
  KeyboardBench b;
  Sequence answered;
  for (unsigned byte : row.sent) {
    b.mouse(byte);
    CHECK((b.status() & (full | from_mouse)) == (full | from_mouse));
    for (unsigned answer : b.drain()) answered.push_back(answer);
  }
  CHECK(answered == row.answered);
}

TEST_CASE("keyboard_controller: defaults stop the mouse's reporting and restore its rates") {
  KeyboardBench b;
  for (unsigned byte : {0xf4, 0xe7, 0xf3, 40, 0xf6}) b.mouse(byte);
  b.drain();
  b.mouse(0xe9);
  CHECK(b.drain() == Sequence{0xfa, 0x00, 0x02, 100});
}

TEST_CASE("keyboard_controller: movement packets") {
  struct Row {
    const char* name;
    int right, up;
    uint8_t buttons;
    Sequence packets;
  };
  auto row = GENERATE(Row{"right and up", 5, 3, 0, {0x08, 5, 3}}, Row{"left and down", -5, -3, 0, {0x38, 0xfb, 0xfd}},
                      Row{"buttons alone", 0, 0, 5, {0x0d, 0, 0}},
                      Row{"further than one packet", 300, 0, 1, {0x09, 0xff, 0, 0x09, 45, 0}}, Row{"nothing", 0, 0, 0, {}});
  INFO(row.name);
  KeyboardBench b;
  b.command_byte(0x02);
  b.mouse(0xf4);
  b.drain();
  b.controller.mouse(row.right, row.up, 0, row.buttons);
  CHECK(b.irq.level(irq12) == !row.packets.empty());
  CHECK(b.drain() == row.packets);
}

TEST_CASE("keyboard_controller: the wheel is the fourth byte once it has been asked for") {
  KeyboardBench b;
  for (unsigned byte : {0xf3, 200, 0xf3, 100, 0xf3, 80, 0xf4}) b.mouse(byte);
  b.drain();
  b.controller.mouse(0, 0, -1, 0);
  CHECK(b.drain() == Sequence{0x08, 0x00, 0x00, 0xff});
}

TEST_CASE("keyboard_controller: a remote mouse speaks only when asked, and movement adds up until then") {
  KeyboardBench b;
  b.mouse(0xf0), b.mouse(0xf4);
  b.drain();
  b.controller.mouse(3, 0, 0, 0);
  b.controller.mouse(4, -1, 0, 0);
  CHECK(b.drain().empty());
  b.mouse(0xeb);
  CHECK(b.drain() == Sequence{0xfa, 0x28, 7, 0xff});
}

TEST_CASE("keyboard_controller: a mouse that nobody reads loses no distance") {
  KeyboardBench b;
  b.mouse(0xf4);
  b.drain();
  for (unsigned i = 0; i < 1000; ++i) b.controller.mouse(1, 0, 0, 0);
  Sequence bytes = b.drain();
  REQUIRE(bytes.size() % 3 == 0);
  unsigned distance = 0;
  for (size_t i = 0; i < bytes.size(); i += 3) distance += bytes[i + 1];
  CHECK(distance == 1000);
}

TEST_CASE("keyboard_controller: the A20 gate opens and closes on every path") {
  KeyboardBench b;
  CHECK(b.controller.a20());
  SECTION("output port") {
    b.command(0xd1, 0xdd);
    CHECK_FALSE(b.controller.a20());
    b.command(0xd1, 0xdf);
  }
  SECTION("single commands") {
    b.command(0xdd);
    CHECK_FALSE(b.controller.a20());
    b.command(0xdf);
  }
  SECTION("port 92h") {
    b.fast(0x00);
    CHECK(b.fast() == 0x00);
    CHECK_FALSE(b.controller.a20());
    b.fast(0x02);
    CHECK(b.fast() == 0x02);
  }
  CHECK(b.controller.a20());
  CHECK(b.a20_changes == std::vector<bool>{false, true});
}

TEST_CASE("keyboard_controller: three ways to reset the machine, and none by accident") {
  KeyboardBench b;
  b.command(0xfe);
  CHECK(b.resets == 1);
  b.command(0xd1, 0xfe);
  CHECK(b.resets == 2);
  b.fast(0x03);
  CHECK(b.resets == 3);
  b.fast(0x03);  // bit 0 has to rise
  b.command(0xff);
  b.command(0xd1, 0xdf);
  CHECK(b.resets == 3);
}

TEST_CASE("keyboard_controller: a reset opens the A20 gate and forgets what was waiting") {
  KeyboardBench b;
  b.command(0xdd);
  b.command_byte(0x01);
  b.key({0x1c});
  b.controller.reset();
  CHECK(b.controller.a20());
  CHECK_FALSE(b.irq.level(irq1));
  CHECK((b.status() & full) == 0);
}

TEST_CASE("keyboard_controller: saved with keys and movement waiting, it goes on identically") {
  KeyboardBench a, b;
  a.command_byte(0x43);
  a.mouse(0xf4);
  a.in();
  a.command(0xdd);
  a.key({0xe0, 0x75, 0xe0, 0xf0, 0x75});
  a.controller.mouse(400, -400, 0, 1);
  auto saved = save(a.clock, a.controller);
  REQUIRE(load(b.clock, b.controller, saved));
  CHECK(save(b.clock, b.controller) == saved);
  CHECK_FALSE(b.controller.a20());
  CHECK(a.drain() == b.drain());
  CHECK(save(a.clock, a.controller) == save(b.clock, b.controller));
}

TEST_CASE("keyboard_controller: nonsense does no harm") {
  KeyboardBench b;
  std::mt19937 random(11);
  auto ports = {Window{KeyboardController::data_port, 1}, Window{KeyboardController::command_port, 1},
                Window{KeyboardController::fast_port, 1}};
  for (unsigned i = 0; i < 2000; ++i) {
    storm(b.clock, b.controller, ports, 10, static_cast<uint32_t>(random()));
    b.key({static_cast<uint8_t>(random()), static_cast<uint8_t>(random())});
    b.controller.mouse(static_cast<int>(random()), static_cast<int>(random()), static_cast<int>(random()),
                       static_cast<uint8_t>(random()));
  }
  KeyboardBench spare;
  storm_of_snapshots(
      save(b.clock, b.controller), [&](Clock&) { return std::make_unique<KeyboardController>(spare.outputs()); }, ports);
}
