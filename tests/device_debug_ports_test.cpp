#include "devices/debug_ports.h"
#include "tests/device_bench.h"

using namespace matryoshka;
using namespace matryoshka::bench;

namespace {

struct DebugBench : Bench {
  std::vector<uint32_t> exits;
  DebugPorts ports{bytes, [this](uint32_t value) { exits.push_back(value); }};
};

}  // namespace

TEST_CASE("debug_ports: the console passes bytes on and is found by reading E9h") {
  DebugBench b;
  for (char c : std::string("SeaBIOS")) b.ports.write(DebugPorts::console, 0, 1, static_cast<uint8_t>(c));
  CHECK(b.bytes.text == "SeaBIOS");
  CHECK(b.ports.read(DebugPorts::console, 0, 1) == 0xe9);
}

TEST_CASE("debug_ports: debug-exit hands on the value; the exit status is twice that and one") {
  struct Row {
    unsigned size;
    uint32_t value, status;
  };
  auto row = GENERATE(Row{1, 0x00, 1}, Row{1, 0x10, 33}, Row{4, 0x1234, 0x2469});
  DebugBench b;
  b.ports.write(DebugPorts::debug_exit, 0, row.size, row.value);
  REQUIRE(b.exits == std::vector<uint32_t>{row.value});
  CHECK(DebugPorts::exit_status(b.exits[0]) == row.status);
  CHECK(b.ports.read(DebugPorts::debug_exit, 0, row.size) == 0);
}

TEST_CASE("debug_ports: the last POST code is remembered") {
  DebugBench b;
  CHECK(b.ports.post_code() == 0x00);
  b.ports.write(DebugPorts::post_code_port, 0, 1, 0x55);
  b.ports.write(DebugPorts::post_code_port, 0, 1, 0xaa);
  CHECK(b.ports.post_code() == 0xaa);
  CHECK(b.ports.read(DebugPorts::post_code_port, 0, 1) == 0xaa);
}

TEST_CASE("debug_ports: saved and loaded, the POST code is the same") {
  DebugBench a, b;
  a.ports.write(DebugPorts::post_code_port, 0, 1, 0x37);
  REQUIRE(load(b.clock, b.ports, save(a.clock, a.ports)));
  CHECK(b.ports.post_code() == 0x37);
}

TEST_CASE("debug_ports: nonsense does no harm") {
  DebugBench b;
  storm(b.clock, b.ports, {{DebugPorts::console, 1}, {DebugPorts::debug_exit, 4, 4}, {DebugPorts::post_code_port, 1}});
  CHECK_FALSE(b.exits.empty());
}
