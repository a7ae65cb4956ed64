// Snapshots that somebody has changed. In the file any change is found by the checksum, unless that was changed, too. The
// configuration and the state are also changed alone: then what is accepted must run, and save and load as itself.
#include "tests/fuzz/guest.h"

namespace matryoshka::fuzz {

namespace {

// A place and bytes, again and again; now and then the end is cut off or something is added.
Bytes changed(Bytes bytes, Input& input) {
  while (!input.empty() && !bytes.empty()) {
    const uint8_t shape = input.take();
    if (shape == 0xff) {
      bytes.resize(input.take<uint32_t>() % (bytes.size() + 16));
      continue;
    }
    const size_t at = input.take<uint32_t>() % bytes.size();
    const ByteSpan more = input.bytes(1 + shape % 9);
    std::copy_n(more.begin(), std::min(more.size(), bytes.size() - at), bytes.begin() + static_cast<ptrdiff_t>(at));
  }
  return bytes;
}

struct Originals {
  Originals() {
    static Listener listener;
    machine = make_machine(small_machine(), listener);
    run_on(*machine, 5000);
    snapshot = save(*machine);
    MachineConfig config = small_machine();
    Archive ar = Archive::saving();
    config.serialize(ar);
    configuration = ar.output();
    hash = machine->state_hash();
  }
  std::unique_ptr<Machine> machine;
  Bytes snapshot, configuration;
  uint64_t hash = 0;
};

bool is_sentence(const std::string& text) { return !text.empty() && text.back() == '.' && text.find('\n') == std::string::npos; }

void change_file(const Originals& original, Input& input, bool sealed) {
  Bytes bytes = changed(original.snapshot, input);
  // Somebody who can change a file can change its checksum.
  if (sealed) seal(bytes);
  Listener listener;
  std::string error;
  auto machine = load(bytes, listener, error);
  expect(machine || is_sentence(error), "a refusal is one sentence");
  expect(sealed || (machine != nullptr) == (bytes == original.snapshot), "a changed snapshot is refused");
  expect(original.machine->state_hash() == original.hash, "a refused snapshot leaves the machine that is there alone");
  if (machine) run_on(*machine, 3000);
}

void change_configuration(const Originals& original, Input& input) {
  const Bytes bytes = changed(original.configuration, input);
  Archive ar = Archive::loading(bytes.data(), bytes.size());
  MachineConfig config;
  config.serialize(ar);
  if (!ar.ok() || ar.remaining() != 0) return;
  // As large as it says, but a fuzzer has only so much memory.
  config.memory_bytes %= uint64_t{16} << 20;
  Listener listener;
  std::string error;
  auto machine = Machine::create(config, listener, error);
  expect(machine || !error.empty(), "a refusal says why");
  if (machine) run_on(*machine, 3000);
}

void change_state(Input& input) {
  static ReusedMachine one(small_machine(), 5000), other(small_machine());
  if (!one.load(changed(one.first(), input), one.first_memory())) return;
  run_on(one.machine(), 10'000);
  (void)save(one.machine());  // which drops what is derived, as loading does
  expect(other.load(one.state(), one.memory()), "what came of an accepted snapshot can be saved and loaded");
  expect(other.same(one), "what was loaded is what was saved");
}

}  // namespace

void snapshot(Input input) {
  static const Originals original;
  const uint8_t head = input.take();
  if (head < 0x20) return change_file(original, input, head & 1);
  if (head < 0x40) return change_configuration(original, input);
  change_state(input);
}

}  // namespace matryoshka::fuzz
