// The transport and the queues, tried through the smallest device there is: one that counts requests and echoes them.
#include "devices/virtio_pci.h"

#include "tests/virtio_driver.h"

using namespace matryoshka;
using namespace matryoshka::bench;

namespace {

class Echo : public VirtioPci {
 public:
  Echo(PciBus& pci, PciAddress address, GuestMemory& memory)
      : VirtioPci(pci, address, memory, {Type::console, 0x078000, 2, 64, 1 << 3}) {}
  const char* name() const override { return "echo"; }
  void kicked(unsigned queue) override {
    serve(queue, [&](const VirtChain& chain, uint32_t& written) {
      ++requests;
      std::vector<uint8_t> bytes(std::min<uint64_t>(chain.readable(), 1 << 16));
      if (!chain.read(memory_, 0, bytes.data(), bytes.size())) return false;
      bytes.resize(std::min<uint64_t>(bytes.size(), chain.writable()));
      written = static_cast<uint32_t>(bytes.size());
      return chain.write(memory_, 0, bytes.data(), bytes.size());
    });
  }
  void device_reset() override { ++resets; }
  ByteSpan device_config() override { return settings; }
  using VirtioPci::notify_config;
  unsigned requests = 0, resets = 0;
  uint8_t settings[4] = {1, 2, 3, 4};
};

using D = VirtioDriver;

struct EchoBoard : VirtioBoard {
  Echo echo{pci, {3}, memory};
  VirtioDriver driver{*this, 3};

  void enable_msix() {
    unsigned at = config({3}, 0x34, 1);
    REQUIRE(config({3}, at, 1) == 0x11);
    uint64_t table = config({3}, 0x14);
    for (unsigned v = 0; v < 3; ++v) {
      bus.write_memory(table + 16 * v, 8, 0xfee00000);
      bus.write_memory(table + 16 * v + 8, 8, 0x40 + v);
    }
    set_config({3}, at + 2, 0x8000, 2);
  }
};

constexpr uint64_t text_at = 0x8000, answer_at = 0x9000;

}  // namespace

TEST_CASE("virtio: the device is a modern one") {
  EchoBoard board;
  CHECK(board.config({3}, 0x00) == 0x10431af4);
  CHECK(board.config({3}, 0x08, 1) == 1);
  CHECK(board.driver.common(0x12, 2) == 2);
}

TEST_CASE("virtio: it offers its own features and the transport's") {
  EchoBoard board;
  CHECK(board.driver.offered() == (uint64_t{1} << 3 | uint64_t{1} << 28 | uint64_t{1} << 29 | uint64_t{1} << 32));
}

TEST_CASE("virtio: features that were not offered are refused") {
  EchoBoard board;
  board.driver.negotiate(D::version_1 | 1 << 5);
  CHECK(board.driver.common(D::status, 1) == 3);
}

TEST_CASE("virtio: a driver that does not accept version 1 is refused") {
  EchoBoard board;
  board.driver.negotiate(0);
  CHECK(board.driver.common(D::status, 1) == 3);
}

TEST_CASE("virtio: a request is answered and its length handed back") {
  EchoBoard board;
  board.driver.start();
  board.driver.put(text_at, uint64_t{0x1122334455667788});
  board.driver.send(0, {{text_at, 8}, {answer_at, 16, D::device_writes}});
  CHECK(board.driver.used(0) == std::vector<uint32_t>{8});
  CHECK(board.driver.get<uint64_t>(answer_at) == 0x1122334455667788);
}

TEST_CASE("virtio: a request may be scattered over many buffers") {
  EchoBoard board;
  board.driver.start();
  board.driver.put(text_at, uint64_t{0x1122334455667788});
  board.driver.send(
      0,
      {{text_at, 3}, {text_at + 3, 0}, {text_at + 3, 5}, {answer_at, 1, D::device_writes}, {answer_at + 1, 9, D::device_writes}});
  CHECK(board.driver.used(0) == std::vector<uint32_t>{8});
  CHECK(board.driver.get<uint64_t>(answer_at) == 0x1122334455667788);
}

TEST_CASE("virtio: an indirect table stands for a chain") {
  EchoBoard board;
  board.driver.start(uint64_t{1} << 28);
  board.driver.put(text_at, uint32_t{42});
  board.driver.put(0x7000, D::Buffer{text_at, 4, D::next, 1});
  board.driver.put(0x7010, D::Buffer{answer_at, 4, D::device_writes, 0});
  board.driver.send(0, {{0x7000, 32, D::indirect}});
  CHECK(board.driver.get<uint32_t>(answer_at) == 42);
}

TEST_CASE("virtio: an indirect table that was not negotiated is an error") {
  EchoBoard board;
  board.driver.start();
  board.driver.send(0, {{0x7000, 32, D::indirect}});
  CHECK(board.driver.needs_reset());
}

TEST_CASE("virtio: INTx rises with a used buffer and falls when the ISR is read") {
  EchoBoard board;
  board.driver.start();
  board.driver.send(0, {{text_at, 4}});
  CHECK(board.irq.level(18));
  CHECK(board.driver.isr() == 1);
  CHECK_FALSE(board.irq.level(18));
  CHECK(board.driver.isr() == 0);
}

TEST_CASE("virtio: with MSI-X each queue sends its own vector and the ISR stays zero") {
  EchoBoard board;
  board.enable_msix();
  board.driver.start();
  board.driver.set_common(D::queue_select, 2, 1);
  board.driver.set_common(D::queue_vector, 2, 2);
  board.driver.send(1, {{text_at, 4}});
  CHECK(board.messages.sent == std::vector<Messages::Message>{{0xfee00000, 0x42}});
  CHECK_FALSE(board.irq.level(18));
  CHECK(board.driver.isr() == 0);
}

TEST_CASE("virtio: a vector that does not exist reads back as none") {
  EchoBoard board;
  board.driver.set_common(D::config_vector, 2, 3);
  CHECK(board.driver.common(D::config_vector, 2) == 0xffff);
}

TEST_CASE("virtio: a driver that wants no interrupts gets none") {
  EchoBoard board;
  board.driver.start();
  board.driver.put(D::available(0), uint16_t{1});
  board.driver.send(0, {{text_at, 4}});
  CHECK(board.irq.rises(18) == 0);
}

TEST_CASE("virtio: the event index says at which used buffer to interrupt") {
  EchoBoard board;
  board.driver.start(uint64_t{1} << 29);
  board.driver.put(D::available(0) + 4 + 2 * D::size, uint16_t{1});  // used_event: after the second
  board.driver.send(0, {{text_at, 4}});
  CHECK(board.irq.rises(18) == 0);
  board.driver.send(0, {{text_at, 4}});
  CHECK(board.irq.rises(18) == 1);
  CHECK(board.driver.get<uint16_t>(D::used_ring(0) + 4 + 8 * D::size) == 2);  // avail_event: the next one
}

TEST_CASE("virtio: a configuration change interrupts and moves the generation on") {
  EchoBoard board;
  board.driver.start();
  auto generation = board.driver.common(0x15, 1);
  board.echo.notify_config();
  CHECK(board.driver.isr() == 2);
  CHECK(board.driver.common(0x15, 1) == generation + 1);
}

TEST_CASE("virtio: status zero resets queues and device") {
  EchoBoard board;
  board.driver.start();
  board.driver.set_common(D::status, 1, 0);
  CHECK(board.echo.resets == 2);  // one by start() itself
  CHECK(board.driver.common(D::queue_enable, 2) == 0);
  CHECK(board.driver.common(D::queue_size, 2) == 64);
}

TEST_CASE("virtio: a device without bus mastering does not touch memory") {
  EchoBoard board;
  board.driver.start();
  board.set_config({3}, 0x04, 2, 2);
  board.driver.send(0, {{text_at, 4}});
  CHECK(board.echo.requests == 0);
}

TEST_CASE("virtio: the window in configuration space reaches the structures") {
  EchoBoard board;
  unsigned at = board.driver.window();
  board.set_config({3}, at + 8, 0x2002);
  board.set_config({3}, at + 12, 2);
  CHECK(board.config({3}, at + 16, 2) == 0x0403);
  board.set_config({3}, at + 8, D::queue_select);
  board.set_config({3}, at + 16, 1, 2);
  CHECK(board.driver.common(D::queue_select, 2) == 1);
}

TEST_CASE("virtio: the window in configuration space ignores accesses that make no sense") {
  EchoBoard board;
  unsigned at = board.driver.window();
  for (uint32_t offset : {0x4000u, 0xfffffffcu, 1u})
    for (uint32_t length : {0u, 3u, 4u, 8u, 0xffffffffu}) {
      board.set_config({3}, at + 8, offset);
      board.set_config({3}, at + 12, length);
      board.set_config({3}, at + 16, 0xffffffff);
      board.config({3}, at + 16);
    }
  CHECK(board.driver.common(D::status, 1) == 0);
}

// --- drivers that lie ------------------------------------------------------------------------------------------------

TEST_CASE("virtio: a chain that loops needs a reset") {
  EchoBoard board;
  board.driver.start();
  board.driver.describe(0, 0, {text_at, 4, D::next, 1});
  board.driver.describe(0, 1, {text_at, 4, D::next, 0});
  board.driver.offer(0, 0);
  board.driver.kick(0);
  CHECK(board.driver.needs_reset());
  CHECK(board.driver.isr() == 2);
  CHECK(board.echo.requests == 0);
}

TEST_CASE("virtio: an indirect table that loops needs a reset") {
  EchoBoard board;
  board.driver.start(uint64_t{1} << 28);
  board.driver.put(0x7000, D::Buffer{text_at, 4, D::next, 0});
  board.driver.send(0, {{0x7000, 16, D::indirect}});
  CHECK(board.driver.needs_reset());
}

TEST_CASE("virtio: an indirect table within an indirect table needs a reset") {
  EchoBoard board;
  board.driver.start(uint64_t{1} << 28);
  board.driver.put(0x7000, D::Buffer{0x7000, 16, D::indirect, 0});
  board.driver.send(0, {{0x7000, 16, D::indirect}});
  CHECK(board.driver.needs_reset());
}

TEST_CASE("virtio: an indirect table of an impossible length needs a reset") {
  for (uint32_t length : {0u, 8u, 17u, 0xfffffff0u}) {
    EchoBoard board;
    board.driver.start(uint64_t{1} << 28);
    board.driver.send(0, {{0x7000, length, D::indirect}});
    CHECK(board.driver.needs_reset());
  }
}

TEST_CASE("virtio: a buffer outside RAM needs a reset") {
  for (uint64_t address : {uint64_t{1} << 20, (uint64_t{1} << 20) - 2, ~uint64_t{0} - 1}) {
    EchoBoard board;
    board.driver.start();
    board.driver.send(0, {{address, 4}});
    CHECK(board.driver.needs_reset());
  }
}

TEST_CASE("virtio: a head or a link beyond the table needs a reset") {
  EchoBoard board;
  board.driver.start();
  board.driver.offer(0, D::size);
  board.driver.kick(0);
  CHECK(board.driver.needs_reset());

  board.driver.start();
  board.driver.describe(0, 0, {text_at, 4, D::next, D::size});
  board.driver.put(D::available(0), uint64_t{0});
  board.driver.offer(0, 0);
  board.driver.kick(0);
  CHECK(board.driver.needs_reset());
}

TEST_CASE("virtio: a readable buffer behind a writable one needs a reset") {
  EchoBoard board;
  board.driver.start();
  board.driver.send(0, {{answer_at, 4, D::device_writes}, {text_at, 4}});
  CHECK(board.driver.needs_reset());
}

TEST_CASE("virtio: more requests than places need a reset") {
  EchoBoard board;
  board.driver.start();
  board.driver.put(D::available(0) + 2, uint16_t{D::size + 1});
  board.driver.kick(0);
  CHECK(board.driver.needs_reset());
}

TEST_CASE("virtio: rings outside RAM need a reset") {
  for (unsigned area : {D::descriptors, D::driver_area, D::device_area}) {
    EchoBoard board;
    board.driver.start();
    board.driver.set_common(D::status, 1, 0);
    board.driver.negotiate(D::version_1);
    board.driver.set_common(D::descriptors, 8, D::table(0));
    board.driver.set_common(D::driver_area, 8, D::available(0));
    board.driver.set_common(D::device_area, 8, D::used_ring(0));
    board.driver.set_common(area, 8, 0xfffffffffffff000);
    board.driver.set_common(D::queue_enable, 2, 1);
    board.driver.set_common(D::status, 1, 15);
    board.driver.send(0, {{text_at, 4}});
    CHECK(board.driver.needs_reset());
  }
}

TEST_CASE("virtio: queue sizes of 0, of no power of two and beyond the largest do no harm") {
  for (unsigned size : {0u, 3u, 65u, 0xffffu}) {
    EchoBoard board;
    board.driver.negotiate(D::version_1);
    board.driver.set_common(D::queue_size, 2, size);
    CHECK(board.driver.common(D::queue_size, 2) <= 64);
    board.driver.set_common(D::queue_enable, 2, 1);
    board.driver.set_common(D::status, 1, 15);
    board.driver.kick(0);
    CHECK(board.driver.needs_reset() == (size == 3));
  }
}

TEST_CASE("virtio: a device whose answers feed its own ring stops after one round") {
  EchoBoard board;
  board.driver.start();
  // Each request writes a new available index over the ring, always sixteen ahead.
  for (uint16_t i = 0; i < D::size; i += 2) {
    board.driver.put(text_at + i, static_cast<uint16_t>(2 * D::size));
    board.driver.describe(0, i, {text_at + i, 2, D::next, static_cast<uint16_t>(i + 1)});
    board.driver.describe(0, static_cast<uint16_t>(i + 1), {D::available(0) + 2, 2, D::device_writes});
  }
  board.driver.offer(0, 0);
  board.driver.kick(0);
  CHECK(board.echo.requests <= D::size);
}

TEST_CASE("virtio: a broken device does nothing until it is reset") {
  EchoBoard board;
  board.driver.start();
  board.driver.send(0, {{~uint64_t{0}, 4}});
  REQUIRE(board.driver.needs_reset());
  unsigned before = board.echo.requests;
  board.driver.send(0, {{text_at, 4}});
  CHECK(board.echo.requests == before);
  board.driver.start();
  CHECK_FALSE(board.driver.needs_reset());
}

TEST_CASE("virtio: a saved device goes on identically") {
  EchoBoard board;
  board.driver.start(uint64_t{1} << 29);
  board.driver.send(0, {{text_at, 4}});
  auto saved = save(board.clock, board.echo);

  EchoBoard other;
  other.memory.data = board.memory.data;
  REQUIRE(load(other.clock, other.echo, saved));
  CHECK(save(other.clock, other.echo) == saved);
  for (EchoBoard* b : {&board, &other}) {
    b->driver.describe(0, 5, {text_at, 4, 0, 0});
    b->driver.offer(0, 5);
    b->driver.kick(0);
  }
  CHECK(board.memory.data == other.memory.data);
  CHECK(save(board.clock, board.echo) == save(other.clock, other.echo));
}

TEST_CASE("virtio: damaged snapshots do no harm") {
  EchoBoard board;
  board.driver.start();
  auto good = save(board.clock, board.echo);
  std::mt19937 random(1);
  for (unsigned round = 0; round < 300; ++round) {
    auto damaged = good;
    for (unsigned i = 0; i < 8; ++i) damaged[random() % damaged.size()] = static_cast<uint8_t>(random());
    if (round % 4 == 0) damaged.resize(random() % damaged.size());
    EchoBoard other;
    (void)load(other.clock, other.echo, damaged);
    other.driver.kick(0);
    other.driver.kick(1);
    other.driver.common(D::descriptors, 8);
  }
}

TEST_CASE("virtio: a rampage of the driver does no harm") {
  EchoBoard board;
  rampage(board, board.driver, 3);
}
