#include "devices/virtio_9p.h"

#include "tests/ninep_client.h"
#include "tests/virtio_driver.h"

using namespace matryoshka;
using namespace matryoshka::bench;

namespace {

constexpr uint64_t request_at = 0x8000, answer_at = 0x9000;

struct ShareBoard : VirtioBoard {
  MemoryTree tree;
  Virtio9p share{pci, {3}, memory, tree, "lab"};
  VirtioDriver driver{*this, 3};

  Answer ask(const Ask& request, uint32_t room = 4096) {
    auto message = request.message();
    REQUIRE(memory.write(request_at, message.data(), message.size()));
    driver.send(0, {{request_at, static_cast<uint32_t>(message.size())}, {answer_at, room, VirtioDriver::device_writes}});
    auto used = driver.used(0);
    Answer answer;
    if (!used.empty()) answer.bytes.assign(memory.data.begin() + answer_at, memory.data.begin() + answer_at + used.back());
    return answer;
  }
  Answer version() { return ask(Ask(t_version) << uint32_t{8192} << std::string("9P2000.L")); }
};

}  // namespace

TEST_CASE("virtio 9p: the mount tag stands in the configuration") {
  ShareBoard board;
  CHECK(board.driver.device_config(0, 2) == 3);
  CHECK(board.driver.device_config(2, 2) == ('a' << 8 | 'l'));
  CHECK(board.driver.device_config(4, 1) == 'b');
}

TEST_CASE("virtio 9p: a message is answered in the same request") {
  ShareBoard board;
  board.driver.start(1);
  CHECK(board.version().type() == 101);
  CHECK(board.irq.level(18));
}

TEST_CASE("virtio 9p: a reset of the device ends the session") {
  ShareBoard board;
  board.driver.start();
  board.version();
  Ask attach(t_attach);
  attach << uint32_t{0} << ~uint32_t{0} << std::string("root") << std::string("") << uint32_t{0};
  CHECK(board.ask(attach).error() == 0);
  CHECK(board.ask(attach).error() != 0);
  board.driver.set_common(VirtioDriver::status, 1, 0);
  board.driver.put(VirtioDriver::available(0), uint64_t{0});
  board.driver.put(VirtioDriver::used_ring(0), uint64_t{0});
  board.driver.start();
  CHECK(board.ask(attach).error() == 0);
}

TEST_CASE("virtio 9p: a request without room for an answer needs a reset") {
  ShareBoard board;
  board.driver.start();
  board.ask(Ask(t_version) << uint32_t{8192} << std::string("9P2000.L"), 8);
  CHECK(board.driver.needs_reset());
}

TEST_CASE("virtio 9p: a request of absurd length needs a reset") {
  ShareBoard board;
  board.driver.start();
  board.driver.send(0, {{request_at, 0xffffffff}, {answer_at, 64, VirtioDriver::device_writes}});
  CHECK(board.driver.needs_reset());
}

TEST_CASE("virtio 9p: a session goes on after a snapshot") {
  ShareBoard board;
  board.driver.start();
  board.version();
  board.ask(Ask(t_attach) << uint32_t{0} << ~uint32_t{0} << std::string("root") << std::string("") << uint32_t{0});
  auto saved = save(board.clock, board.share);
  ShareBoard other;
  other.memory.data = board.memory.data;
  REQUIRE(load(other.clock, other.share, saved));
  CHECK(save(other.clock, other.share) == saved);
}

TEST_CASE("virtio 9p: a rampage of the driver does no harm") {
  ShareBoard board;
  rampage(board, board.driver, 3);
}
