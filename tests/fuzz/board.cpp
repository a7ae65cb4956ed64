// The whole machine, by the operations of a guest that does whatever it likes, while the processor runs a small honest one.
// It can be saved, and the machine that is loaded goes on as this one does; and after a press of the reset button it
// starts the honest guest as if nothing had been.
#include "tests/fuzz/guest.h"
#include "tests/fuzz/operations.h"

namespace matryoshka::fuzz {

namespace {

const Region fixed_regions[] = {
    {false, 0x20, 2},         {false, 0xa0, 2},         {false, 0x4d0, 2},         {false, 0x40, 4},
    {false, 0x60, 5},         {false, 0x70, 4},         {false, 0x3f8, 8},         {false, 0x600, 0x40},
    {false, 0xb2, 2},         {false, 0x510, 12},       {false, 0xcf8, 8},         {false, 0x80, 16},
    {false, 0x92, 1},         {true, 0xfec00000, 0x40}, {true, 0xfed00000, 0x160}, {true, 0xfee00000, 0x400},
    {true, 0xa0000, 0x20000}, {false, 0xf4, 4},
};

void something_from_outside(Machine& machine, Input& input) {
  const uint8_t what = input.take();
  switch (what & 7) {
    case 0:
    case 1: {
      const ByteSpan keys = input.bytes(what >> 3);
      return machine.input(what & 1 ? Port::console : Port::serial, keys.data(), keys.size());
    }
    case 2: return machine.resize_console(input.take<uint16_t>(), input.take<uint16_t>());
    case 3: return machine.press_power_button();
    case 4: return machine.reset();
    case 5: return (void)save(machine);
    default: return run_on(machine, what * 64);
  }
}

}  // namespace

void board(Input input) {
  static ReusedMachine one(small_machine(), 3000), other(small_machine());
  one.start_again();
  std::vector<Region> regions(std::begin(fixed_regions), std::end(fixed_regions));
  for (const Region& region : pci_regions(one.board().bus())) regions.push_back(region);
  Operations({one.board().bus(), regions, one.board().memory().ram_size(),
              [&](uint64_t address, ByteSpan bytes) { (void)one.board().memory().write(address, bytes.data(), bytes.size()); },
              [&](uint64_t ticks) { run_on(one.machine(), ticks); },
              [&](Input& in) { something_from_outside(one.machine(), in); }})
      .run(input);

  (void)save(one.machine());  // which drops what is derived, as loading does
  expect(other.load(one.state(), one.memory()), "a snapshot of anything can be loaded");
  expect(other.same(one), "what was loaded is what was saved");
  for (ReusedMachine* m : {&one, &other}) run_on(m->machine(), 5000);
  expect(other.same(one), "both machines go on alike");

  one.listener.serial.clear();
  one.machine().reset();
  run_on(one.machine(), 5000);
  expect(one.listener.serial.starts_with("ok"), "the reset button starts the guest anew");
}

}  // namespace matryoshka::fuzz
