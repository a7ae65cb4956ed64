// A small machine with every device, and a guest that answers each interrupt and otherwise sleeps.
#pragma once

#include <algorithm>

#include "devices/machine/board.h"
#include "devices/machine/hash.h"
#include "devices/machine/snapshot.h"
#include "tests/fuzz/fuzz.h"
#include "tests/tiny_guests.h"

namespace matryoshka::fuzz {

struct Listener final : MachineListener {
  void output(Port port, uint8_t byte) override {
    if (port == Port::serial && serial.size() < 1000) serial += static_cast<char>(byte);
  }
  std::string serial;
};

// Says ok, sets up 256 gates, and halts with interrupts on. An exception ends as a triple fault sooner or later, since its
// error code stays on the stack, and the machine begins again.
inline Bytes answering(uint32_t address) {
  using tiny::operator+;
  using tiny::le32;
  constexpr uint32_t idt = 0x9000;
  const uint32_t handler = address + 100;
  Bytes code = Bytes{0xbc} + le32(0x8000) +                                       // mov esp
               Bytes{0xbf} + le32(idt) + Bytes{0xb9} + le32(256) +                // mov edi; mov ecx
               Bytes{0xb8} + le32((handler & 0xffff) | 0x100000) + Bytes{0xab} +  // mov eax, low half; stosd
               Bytes{0xb8} + le32((handler & 0xffff0000) | 0x8e00) + Bytes{0xab} + Bytes{0xe2, 0xf2} +  // high half; loop
               Bytes{0x66, 0xc7, 0x05} + le32(0x8ff8) + Bytes{0xff, 0x07} +                             // mov word [8ff8h], 7ffh
               Bytes{0xc7, 0x05} + le32(0x8ffa) + le32(idt) +                                           // mov dword [8ffah], idt
               Bytes{0x0f, 0x01, 0x1d} + le32(0x8ff8) +                                                 // lidt
               Bytes{0xfb, 0xf4, 0xeb, 0xfc};                                                           // sti; hlt; again
  code.resize(100, 0x90);
  return code + Bytes{0x50, 0xb0, 0x20, 0xe6, 0x20, 0xe6, 0xa0, 0x31, 0xc0, 0xa3} +
         le32(0xfee000b0) +  // end of interrupt, both kinds
         Bytes{0x58, 0xcf};
}

inline MachineConfig small_machine() {
  MachineConfig config;
  config.memory_bytes = 2 << 20;
  config.kernel = tiny::multiboot(tiny::printing("ok", answering));
  config.drives.push_back({{"disk", Bytes(8192, 0xdd)}, DriveConfig::Interface::virtio, false});
  config.shared_folder = true;
  config.shared_files = {{"dir/hello", Bytes(5, 'h')}};
  config.debugcon = true;
  config.debug_exit_port = 0xf4;
  return config;
}

inline std::unique_ptr<Machine> make_machine(const MachineConfig& config, MachineListener& listener) {
  std::string error;
  auto machine = Machine::create(config, listener, error);
  expect(machine != nullptr, "the small machine can be made");
  return machine;
}

inline Bytes save(Machine& machine) {
  std::string error;
  auto writer = machine.save(Machine::Extent::whole, error);
  expect(writer != nullptr, "a whole snapshot can always be made");
  Bytes all;
  for (Bytes piece; writer->next(piece);) append(all, piece);
  return all;
}
// The machine, or null and a sentence.
inline std::unique_ptr<Machine> load(const Bytes& snapshot, MachineListener& listener, std::string& error) {
  SnapshotLoader loader(listener, small_machine().drives, false);
  (void)loader.add(snapshot.data(), snapshot.size());
  auto machine = loader.finish();
  error = loader.error();
  return machine;
}
// Makes the checksum that ends a snapshot or a recording right.
inline void seal(Bytes& file) {
  if (file.size() < sizeof(uint64_t)) return;
  Hash hash;
  hash.add(file.data(), file.size() - sizeof(uint64_t));
  poke(file, file.size() - sizeof(uint64_t), hash.value());
}

// A machine that can be put into a state again and again, which is ten times as fast as making one.
class ReusedMachine {
 public:
  explicit ReusedMachine(const MachineConfig& config, uint64_t ticks = 0) : machine_(make_machine(config, listener)) {
    if (ticks != 0) (void)machine_->run(ticks);
    first_ = state();
    first_memory_.assign(memory().begin(), memory().end());
  }
  // All but the memory.
  Bytes state() {
    Archive ar = Archive::saving();
    board().serialize(ar);
    return std::move(ar.output());
  }
  std::span<uint8_t> memory() { return board().memory().ram(); }
  bool load(const Bytes& state, std::span<const uint8_t> contents) {
    Archive ar = Archive::loading(state.data(), state.size());
    board().serialize(ar);
    std::memcpy(memory().data(), contents.data(), contents.size());
    board().after_load();
    return ar.ok() && ar.remaining() == 0;
  }
  bool same(ReusedMachine& other) {
    return state() == other.state() && std::memcmp(memory().data(), other.memory().data(), memory().size()) == 0;
  }
  void start_again() {
    listener.serial.clear();
    expect(load(first_, first_memory_), "the first state can be loaded");
  }
  const Bytes& first() const { return first_; }
  const Bytes& first_memory() const { return first_memory_; }
  Board& board() { return static_cast<Board&>(*machine_); }
  Machine& machine() { return *machine_; }
  Listener listener;

 private:
  std::unique_ptr<Machine> machine_;
  Bytes first_, first_memory_;
};

// So many ticks, however often the guest or a device ends the run.
inline void run_on(Machine& machine, uint64_t ticks) {
  const uint64_t end = machine.ticks() + ticks;
  for (unsigned stops = 0; machine.ticks() < end && stops < 3; ++stops)
    if (machine.run(end - machine.ticks()) == StopReason::halted) return;
}

}  // namespace matryoshka::fuzz
