#include "devices/fw_cfg.h"

#include "tests/device_bench.h"

using namespace matryoshka;
using namespace matryoshka::bench;

namespace {

struct FwCfgBench : Bench {
  Memory memory{1 << 16};
  FwCfg fw_cfg{memory};
  Bus bus;
  FwCfgBench() { bus.map_ports(FwCfg::first_port, FwCfg::ports, fw_cfg, 0, FwCfg::width); }

  void select(uint16_t key) { bus.write_port(0x510, 2, key); }
  std::string take(size_t count) {
    std::string bytes;
    while (count-- > 0) bytes += static_cast<char>(bus.read_port(0x511, 1));
    return bytes;
  }
  // Writes a request to 100h, starts it, and answers with what its control word became.
  uint32_t dma(uint32_t control, uint32_t length, uint64_t address) {
    REQUIRE(memory.store(0x100, __builtin_bswap32(control)));
    REQUIRE(memory.store(0x104, __builtin_bswap32(length)));
    REQUIRE(memory.store(0x108, __builtin_bswap64(address)));
    bus.write_port(0x518, 4, __builtin_bswap32(0x100));
    uint32_t result = 0;
    REQUIRE(memory.load(0x100, result));
    return __builtin_bswap32(result);
  }
  std::string text(uint64_t address, size_t size) { return {reinterpret_cast<char*>(memory.data.data()) + address, size}; }
};

constexpr uint32_t failed = 1, reads = 2, skips = 4, selects = 8, writes = 16;

std::vector<uint8_t> bytes(std::string_view text) { return {text.begin(), text.end()}; }

}  // namespace

TEST_CASE("fw_cfg: the signature is QEMU's, then zeroes") {
  FwCfgBench bench;
  bench.select(FwCfg::signature);
  CHECK(bench.take(6) == std::string("QEMU\0\0", 6));
}

TEST_CASE("fw_cfg: it says that it has DMA, and the address register says so too") {
  FwCfgBench bench;
  bench.select(FwCfg::interface_id);
  CHECK(bench.take(1) == "\3");
  CHECK(bench.bus.read_port(0x514, 4) == 0x554d4551);
  CHECK(bench.bus.read_port(0x518, 4) == 0x47464320);
}

TEST_CASE("fw_cfg: selecting starts an item anew") {
  FwCfgBench bench;
  bench.fw_cfg.add(FwCfg::processor_count, uint16_t{4});
  bench.select(FwCfg::processor_count);
  CHECK(bench.take(1) == "\4");
  bench.select(FwCfg::processor_count);
  CHECK(bench.take(2) == std::string("\4\0", 2));
}

TEST_CASE("fw_cfg: an item that does not exist is zeroes") {
  FwCfgBench bench;
  bench.select(0x1234);
  CHECK(bench.take(2) == std::string(2, '\0'));
}

TEST_CASE("fw_cfg: the directory lists files big-endian") {
  FwCfgBench bench;
  bench.fw_cfg.add_file("etc/one", bytes("1"));
  bench.fw_cfg.add_file("etc/two", bytes("22"));
  bench.select(FwCfg::file_directory);
  CHECK(bench.take(4) == std::string("\0\0\0\2", 4));
  CHECK(bench.take(8) == std::string("\0\0\0\1\0\x20\0\0", 8));
  CHECK(bench.take(56) == "etc/one" + std::string(49, '\0'));
  CHECK(bench.take(8) == std::string("\0\0\0\2\0\x21\0\0", 8));
  bench.select(0x21);
  CHECK(bench.take(2) == "22");
}

TEST_CASE("fw_cfg: DMA selects and reads in one request") {
  FwCfgBench bench;
  bench.fw_cfg.add_file("etc/one", bytes("hello"));
  CHECK(bench.dma(0x200000 | selects | reads, 5, 0x4000) == 0);
  CHECK(bench.text(0x4000, 5) == "hello");
}

TEST_CASE("fw_cfg: DMA skips, and reads zeroes beyond the end") {
  FwCfgBench bench;
  bench.fw_cfg.add_file("etc/one", bytes("hello"));
  bench.memory.data[0x4003] = 'x';
  CHECK(bench.dma(0x200000 | selects | skips, 3, 0) == 0);
  CHECK(bench.dma(reads, 4, 0x4000) == 0);
  CHECK(bench.text(0x4000, 4) == std::string("lo\0\0", 4));
}

TEST_CASE("fw_cfg: DMA that writes, or beyond RAM, or of absurd length is an error") {
  FwCfgBench bench;
  CHECK(bench.dma(writes, 4, 0x4000) == failed);
  CHECK(bench.dma(reads, 4, 0xffff) == failed);
  CHECK(bench.dma(reads, 0xffffffff, 0x4000) == failed);
  CHECK(bench.dma(selects | skips, 0xffffffff, 0) == 0);
  CHECK(bench.dma(skips, 0xffffffff, 0) == 0);
}

TEST_CASE("fw_cfg: a request outside RAM is ignored") {
  FwCfgBench bench;
  bench.bus.write_port(0x514, 4, 0xffffffff);
  bench.bus.write_port(0x518, 4, 0xffffffff);
  CHECK(bench.dma(selects, 0, 0) == 0);
}

TEST_CASE("fw_cfg: a snapshot goes on in the middle of an item") {
  FwCfgBench bench, other;
  bench.select(FwCfg::signature);
  bench.take(2);
  auto saved = save(bench.clock, bench.fw_cfg);
  REQUIRE(load(other.clock, other.fw_cfg, saved));
  CHECK(save(other.clock, other.fw_cfg) == saved);
  CHECK(other.take(2) == "MU");
}

TEST_CASE("fw_cfg: a storm does no harm") {
  FwCfgBench bench;
  bench.fw_cfg.add_file("etc/one", bytes("hello"));
  storm(bench.clock, bench.fw_cfg, {{0, FwCfg::ports, FwCfg::width}});
}

TEST_CASE("fw_cfg: a file that is added again replaces the first") {
  FwCfgBench bench;
  bench.fw_cfg.add_file("etc/one", bytes("first"));
  bench.fw_cfg.add_file("etc/two", bytes("other"));
  bench.fw_cfg.add_file("etc/one", bytes("again"));
  bench.select(FwCfg::file_directory);
  CHECK(bench.take(4) == std::string("\0\0\0\2", 4));
  bench.select(FwCfg::first_file);
  CHECK(bench.take(5) == "again");
}
