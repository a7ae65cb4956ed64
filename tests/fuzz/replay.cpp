// Recordings: bytes that claim to be one, and one made of the input, which must do again what it did.
#include "devices/machine/board.h"
#include "tests/fuzz/guest.h"

namespace matryoshka::fuzz {

namespace {

void load_recording(Machine& machine, ByteSpan claimed, bool with_hash) {
  Bytes bytes(claimed.begin(), claimed.end());
  // Where the hash stands in one that is written by this program, found by writing two.
  if (with_hash) {
    const uint64_t hash = machine.state_hash();
    const Bytes zero = InputLog().write(0), ones = InputLog().write(~uint64_t{0});
    size_t at = 0;
    while (at < zero.size() && zero[at] == ones[at]) ++at;
    for (size_t i = 0; i < at && i < bytes.size(); ++i) bytes[i] = zero[i];
    if (bytes.size() >= at + sizeof hash) poke(bytes, at, hash);
    seal(bytes);
  }
  std::string error;
  if (!machine.replay(bytes, error)) {
    expect(!error.empty() && error.back() == '.' && error.find('\n') == std::string::npos, "a refusal is one sentence");
    return;
  }
  run_on(machine, 20'000);
}

void record_and_replay(Machine& machine, Machine& again, Input& input) {
  machine.record();
  while (!input.empty()) {
    const uint8_t what = input.take();
    switch (what & 7) {
      case 0:
      case 1: {
        const ByteSpan keys = input.bytes(what >> 3);
        machine.input(what & 1 ? Port::console : Port::serial, keys.data(), keys.size());
        break;
      }
      case 2: machine.resize_console(input.take(), input.take()); break;
      case 3: machine.press_power_button(); break;
      case 4: machine.reset(); break;
      case 5: (void)save(machine); break;
      case 6: machine.pace(input.number()); break;
      case 7: run_on(machine, uint64_t{input.take()} << (what >> 4)); break;
    }
    if (machine.ticks() > 200'000) break;
  }
  const uint64_t end = machine.ticks() + 1000;
  machine.set_tick_limit(end);
  run_on(machine, 1000);

  std::string error;
  expect(again.replay(machine.recording(), error), "a recording can be replayed");
  again.set_tick_limit(end);
  run_on(again, end - again.ticks());
  expect(again.state_hash() == machine.state_hash(), "a replay does what was done");
}

}  // namespace

void replay(Input input) {
  static const MachineConfig configs[] = {small_machine(), [] {
                                            MachineConfig config = small_machine();
                                            config.host_clock = true;
                                            return config;
                                          }()};
  const uint8_t head = input.take();
  Listener listener, other_listener;
  auto machine = make_machine(configs[head & 1], listener);
  if (head & 2) return load_recording(*machine, input.all(), head & 4);
  auto again = make_machine(configs[head & 1], other_listener);
  record_and_replay(*machine, *again, input);
}

}  // namespace matryoshka::fuzz
