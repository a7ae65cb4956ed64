// Configuration space: every register of several functions, their windows moved about and laid over each other, messages.
#include "devices/pci.h"

#include <deque>

#include "devices/piix.h"
#include "devices/virtio_rng.h"
#include "tests/fuzz/device_bench.h"

namespace matryoshka::fuzz {

namespace {

// A function with every kind of window.
class Windows final : public PciFunction {
 public:
  Windows(PciBus& pci, PciAddress address) : PciFunction(pci, address, {0x1234, 0x5678, 0xff0000}) {
    add_interrupt_pin(2);
    add_bar(0, Bar::io, 16);
    add_bar(1, Bar::memory32, 0x1000);
    add_bar(2, Bar::memory64, 0x10000);
    add_msi();
    add_msix(4, 3);
  }
  const char* name() const override { return "windows"; }
  uint64_t read_bar(unsigned, uint64_t offset, unsigned) override { return offset; }
  void write_bar(unsigned bar, uint64_t offset, unsigned, uint64_t value) override {
    if (bar == 0) set_intx(value & 1);
    if (bar == 1) send_msix(static_cast<uint16_t>(offset));
    if (bar == 2) send_msi();
  }
};

struct Functions {
  explicit Functions(DeviceBench& bench)
      : bridge(bench.pci, [](uint64_t, uint64_t, bool, bool) {}),
        isa(bench.pci),
        power(bench.pci),
        windows(bench.pci, {3}),
        rng(bench.pci, {4}, bench.memory, [](std::span<uint8_t> bytes) { std::fill(bytes.begin(), bytes.end(), uint8_t{4}); }) {
    for (Device* device : all()) device->reset();
  }
  std::vector<Device*> all() { return {&bridge, &isa, &power, &windows, &rng}; }
  HostBridge bridge;
  IsaBridge isa;
  PowerFunction power;
  Windows windows;
  VirtioRng rng;
};

std::vector<uint8_t> saved(DeviceBench& bench, Functions& functions) {
  Archive ar = Archive::saving();
  bench.pci.serialize(ar);
  for (Device* device : functions.all()) device->serialize(ar);
  return ar.output();
}

}  // namespace

void pci(Input input) {
  DeviceBench bench;
  Functions functions(bench);
  expect(bench.pci.assign_resources(), "the windows fit");
  std::vector<Region> regions = pci_regions(bench.bus);
  regions.push_back({false, 0xcf8, 8});
  Operations({bench.bus, regions, DmaMemory::size, [&](uint64_t address, ByteSpan bytes) { bench.memory.fill(address, bytes); },
              [&](uint64_t ticks) { bench.pass(ticks); },
              // A register of a function that is there, and a value that means something.
              [&](Input& in) {
                constexpr uint32_t values[] = {0, ~0u, 7, 0x0fffffff, 0xfee00000, 0xcf8, 0xc000, 0xe0000000};
                const unsigned function = in.take() % 8 == 7 ? 9 : in.take() % 5 * 8, offset = in.take();
                write_config(bench.bus, function, offset, values[in.take() % std::size(values)], 1u << in.take() % 3);
              }})
      .run(input);

  const std::vector<uint8_t> bytes = saved(bench, functions);
  DeviceBench other_bench;
  Functions other(other_bench);
  Archive ar = Archive::loading(bytes.data(), bytes.size());
  other_bench.pci.serialize(ar);
  for (Device* device : other.all()) device->serialize(ar);
  expect(ar.ok() && ar.remaining() == 0 && saved(other_bench, other) == bytes, "what was loaded is what was saved");

  for (Device* device : functions.all()) device->reset();
  expect(bench.pci.assign_resources(), "the windows fit after anything");
  expect(read_config(bench.bus, 4 * 8, 0) == 0x10441af4, "a function can be found after anything");
}

}  // namespace matryoshka::fuzz
