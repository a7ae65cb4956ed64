// The firmware's configuration: the ports, and DMA with descriptors from memory.
#include "devices/fw_cfg.h"

#include "tests/fuzz/device_bench.h"

namespace matryoshka::fuzz {

namespace {

void fill(FwCfg& device) {
  device.add<uint64_t>(FwCfg::ram_size, 1 << 20);
  device.add_file("etc/one", std::vector<uint8_t>(70, 1));
  device.add_file("etc/two", std::vector<uint8_t>(5000, 2));
}

}  // namespace

void fw_cfg(Input input) {
  DeviceBench bench;
  FwCfg device(bench.memory);
  fill(device);
  bench.bus.map_ports(FwCfg::first_port, FwCfg::ports, device, 0, FwCfg::width);

  Operations({bench.bus,
              {{false, FwCfg::first_port, FwCfg::ports}},
              DmaMemory::size,
              [&](uint64_t address, ByteSpan bytes) { bench.memory.fill(address, bytes); },
              [&](uint64_t ticks) { bench.pass(ticks); },
              // A transfer: control, length and address, from a place in memory.
              [&](Input& in) {
                const uint32_t at = in.take<uint16_t>() * 4u;
                std::vector<uint8_t> request;
                append(request, __builtin_bswap32(uint32_t{in.take()} << 16 | (in.take() & 31)));
                append(request, __builtin_bswap32(static_cast<uint32_t>(in.number())));
                append(request, __builtin_bswap64(in.take() & 1 ? in.number() : in.take<uint16_t>()));
                bench.memory.fill(at % DmaMemory::size, request);
                if (in.take() & 1) bench.memory.make_live(in.bytes(16));
                bench.bus.write_port(0x518, 4, __builtin_bswap32(at));
              }})
      .run(input);
  bench.memory.make_live({});

  const std::vector<uint8_t> bytes = DeviceBench::saved(bench.clock, device);
  Clock clock;
  FwCfg other(bench.memory);
  fill(other);
  expect(DeviceBench::load(clock, other, bytes) && DeviceBench::saved(clock, other) == bytes,
         "what was loaded is what was saved");

  bench.bus.write_port(FwCfg::first_port, 2, FwCfg::signature);
  for (char expected : {'Q', 'E', 'M', 'U'})
    expect(bench.bus.read_port(FwCfg::first_port + 1, 1) == static_cast<uint8_t>(expected),
           "the signature can be read after anything");
}

}  // namespace matryoshka::fuzz
