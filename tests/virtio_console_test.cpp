#include "devices/virtio_console.h"

#include "tests/virtio_driver.h"

using namespace matryoshka;
using namespace matryoshka::bench;

namespace {

using D = VirtioDriver;
constexpr unsigned receive_queue = 0, transmit_queue = 1;
constexpr uint64_t buffer = 0x8000;

struct ConsoleBoard : VirtioBoard {
  VirtioConsole console{pci, {3}, memory, bytes};
  VirtioDriver driver{*this, 3};
  size_t type(std::string_view text) { return console.receive({reinterpret_cast<const uint8_t*>(text.data()), text.size()}); }
  void write(std::string_view text, uint64_t address) { REQUIRE(memory.write(address, text.data(), text.size())); }
  std::string text(uint64_t address, size_t size) { return {reinterpret_cast<const char*>(memory.data.data()) + address, size}; }
};

}  // namespace

TEST_CASE("virtio console: what the guest transmits comes out") {
  ConsoleBoard board;
  board.driver.start();
  board.write("hello", buffer);
  board.driver.send(transmit_queue, {{buffer, 2}, {buffer + 2, 3}});
  CHECK(board.bytes.text == "hello");
  CHECK(board.driver.used(transmit_queue) == std::vector<uint32_t>{0});
}

TEST_CASE("virtio console: keys go into the buffer that waits for them") {
  ConsoleBoard board;
  board.driver.start();
  board.driver.send(receive_queue, {{buffer, 64, D::device_writes}});
  CHECK(board.type("ls\n") == 3);
  CHECK(board.text(buffer, 3) == "ls\n");
  CHECK(board.driver.used(receive_queue) == std::vector<uint32_t>{3});
  CHECK(board.irq.level(18));
}

TEST_CASE("virtio console: keys wait for a buffer") {
  ConsoleBoard board;
  board.type("abc");
  board.driver.start();
  board.driver.send(receive_queue, {{buffer, 2, D::device_writes}});
  CHECK(board.text(buffer, 2) == "ab");
  board.driver.send(receive_queue, {{buffer + 8, 2, D::device_writes}});
  CHECK(board.text(buffer + 8, 1) == "c");
}

TEST_CASE("virtio console: a guest that does not read gets at most 64 KiB of keys") {
  ConsoleBoard board;
  CHECK(board.type(std::string(100'000, 'x')) == 65536);
  CHECK(board.type("y") == 0);
}

TEST_CASE("virtio console: a new size changes the configuration and interrupts") {
  ConsoleBoard board;
  board.driver.start(1);
  board.console.resize(132, 43);
  CHECK(board.driver.device_config(0, 2) == 132);
  CHECK(board.driver.device_config(2, 2) == 43);
  CHECK(board.driver.isr() == 2);
  board.console.resize(132, 43);
  CHECK(board.driver.isr() == 0);
}

TEST_CASE("virtio console: an emergency write needs no driver") {
  ConsoleBoard board;
  board.driver.set_device_config(8, 4, '!');
  CHECK(board.bytes.text == "!");
}

TEST_CASE("virtio console: a chain of absurd length needs a reset") {
  ConsoleBoard board;
  board.driver.start();
  board.driver.send(transmit_queue, {{buffer, 0xffffffff}});
  CHECK(board.driver.needs_reset());
  CHECK(board.bytes.text.empty());
}

TEST_CASE("virtio console: keys and size survive a snapshot") {
  ConsoleBoard board;
  board.type("abc");
  board.console.resize(100, 30);
  auto saved = save(board.clock, board.console);
  ConsoleBoard other;
  REQUIRE(load(other.clock, other.console, saved));
  CHECK(save(other.clock, other.console) == saved);
  CHECK(other.driver.device_config(0, 2) == 100);
  other.driver.start();
  other.type("d");
  other.driver.send(receive_queue, {{buffer, 64, D::device_writes}});
  CHECK(other.text(buffer, 4) == "abcd");
}

TEST_CASE("virtio console: a rampage of the driver does no harm") {
  ConsoleBoard board;
  board.type(std::string(5000, 'k'));
  rampage(board, board.driver, 3);
}
