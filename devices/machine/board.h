// The board: every device, and the wires between them. machine.cpp makes it and runs it; snapshot.cpp saves and loads it.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "cpu/processor.h"
#include "cpu/region_verifier.h"
#include "devices/acpi_tables.h"
#include "devices/coprocessor_error.h"
#include "devices/debug_ports.h"
#include "devices/fw_cfg.h"
#include "devices/hpet.h"
#include "devices/io_apic.h"
#include "devices/keyboard_controller.h"
#include "devices/machine/boot.h"
#include "devices/machine/entropy.h"
#include "devices/machine/input_log.h"
#include "devices/machine/inspector_tree.h"
#include "devices/machine/machine.h"
#include "devices/machine/monitor.h"
#include "devices/machine/panes.h"
#include "devices/machine/snapshot.h"
#include "devices/memory_disk.h"
#include "devices/memory_tree.h"
#include "devices/pci.h"
#include "devices/pic.h"
#include "devices/piix.h"
#include "devices/pit.h"
#include "devices/power.h"
#include "devices/rtc.h"
#include "devices/uart.h"
#include "devices/virtio_9p.h"
#include "devices/virtio_block.h"
#include "devices/virtio_console.h"
#include "devices/virtio_rng.h"
#include "mmu/memory.h"
#include "wasm-jit/engine.h"

namespace matryoshka {

class Board final : public Machine, private ProcessorHost {
 public:
  Board(MachineConfig config, const CpuModel& model, MachineListener& listener);

  bool has_memory() const { return memory_.allocated(); }
  // The name of a shared file that found no place, or nothing.
  std::string fill_shared_folder();
  // The sentence of refusal if isa-debug-exit was put where another device is, or nothing.
  std::string port_conflict();
  // Loads the guest as at power-on. The sentence of refusal, or nothing.
  std::string boot();
  void serialize(Archive& ar);
  // Makes what is derived from what was loaded, memory included.
  void after_load();
  // For tests that stand in for the guest: what its processor reaches.
  Bus& bus() { return bus_; }
  PhysicalMemory& memory() { return memory_; }

  StopReason run(uint64_t ticks) override;
  void stop() override;
  void set_tick_limit(uint64_t ticks) override { tick_limit_ = ticks; }
  void reset() override;
  void press_power_button() override;
  unsigned exit_code() const override { return exit_code_; }
  const std::string& boot_error() const override { return boot_error_; }
  void input(Port port, const uint8_t* bytes, size_t size) override;
  void resize_console(unsigned columns, unsigned rows) override;
  void pace(uint64_t real_nanoseconds) override;
  uint64_t nanoseconds_until_wake() const override;
  uint64_t ticks() const override { return clock_.ticks; }
  void compile_with(jit::ModuleHost& host, const JitConfig& jit) override;
  std::string verification() const override;
  std::string take_jit_trace() override { return jit_ ? jit_->take_trace() : std::string(); }
  void open_monitor(bool echo, bool pause) override { monitor_.open(echo, pause); }
  void close_monitor() override { monitor_.close(); }
  void type_at_monitor(const uint8_t* bytes, size_t size) override {
    monitor_.type({reinterpret_cast<const char*>(bytes), size});
  }
  std::string take_monitor_output() override { return monitor_.take_output(); }
  bool monitor_holds() const override { return monitor_.paused(); }
  bool ask_monitor(const std::string& command) override { return monitor_.ask(command); }
  bool monitor_pending() const override { return monitor_.pending(); }
  std::string take_monitor_answer() override { return monitor_.take_answer(); }
  std::string panes() const override { return panes_json(cpu_); }
  void trace_vm_exits() override { cpu_.vmx.trace.keep_lines(); }
  std::string take_vm_exits() override { return cpu_.vmx.trace.take_lines(); }
  MachineStats stats() const override;
  uint64_t state_hash() override;
  std::unique_ptr<SnapshotWriter> save(Extent extent, std::string& error) override;
  void record() override;
  Bytes recording() const override;
  bool replay(const Bytes& log, std::string& error) override;
  std::string describe_processor() const override;
  const MachineConfig& config() const override { return config_; }

 private:
  friend class SnapshotWriter;
  friend class SnapshotLoader;

  // The board's own interrupt lines: 0 to 15 go to the 8259 pair and, with IRQ 0 on input 2, to the I/O APIC; 16 to 23 to the
  // I/O APIC alone. The 8254 and the RTC come in on lines of their own, which the HPET's legacy replacement cuts.
  class Wires final : public IrqSink {
   public:
    explicit Wires(Board& board) : board_(board) {}
    static constexpr unsigned from_pit = 32, from_rtc = 33, to_processor = 34;
    void set_irq(unsigned line, bool level) override;
    // Puts the levels of the 8254 and the RTC back on their lines, or takes them off.
    void legacy_replacement_changed(bool on);
    void serialize(Archive& ar) { ar(pit_, rtc_); }

   private:
    void route(unsigned line, bool level);
    Board& board_;
    bool pit_ = false, rtc_ = false;
  };
  class Output final : public ByteSink {
   public:
    Output(MachineListener& listener, Port port) : listener_(listener), port_(port) {}
    void put(uint8_t byte) override { listener_.output(port_, byte); }

   private:
    MachineListener& listener_;
    Port port_;
  };

  StopReason run_slice(uint64_t ticks);
  struct PortRange {
    uint16_t first;
    unsigned count;
    BusTarget& target;
    unsigned window, widest;
    const char* owner;  // for sentences
  };
  std::vector<PortRange> port_ranges();
  void map_devices();
  void power_on_reset();
  void end(StopReason reason);
  void request_reset();
  void apply(const InputEvent& event);
  void accept(InputEvent event);
  void skip_idle(uint64_t time);
  bool deaf() const;
  static void enter(Processor& cpu, const BootEntry& entry);
  void each_device(const std::function<void(Device&)>& visit);

  // ProcessorHost
  void triple_fault() override;
  void numeric_error() override { coprocessor_.error(); }
  uint64_t random() override { return entropy_.next(); }

  MachineConfig config_;
  Clock clock_;
  Bus bus_;
  PhysicalMemory memory_;
  ApicBus apic_bus_;
  Entropy entropy_;
  Wires wires_{*this};
  Output serial_output_, console_output_, debug_output_;

  Processor cpu_;
  Monitor monitor_{cpu_};
  std::unique_ptr<jit::Engine> jit_;
  std::unique_ptr<RegionVerifier> verifier_;
  Pic pic_;
  IoApic io_apic_;
  Hpet hpet_;
  Pit pit_;
  Rtc rtc_;
  KeyboardController keyboard_;
  Uart uart_;
  Power power_;
  CoprocessorError coprocessor_;
  DebugPorts debug_ports_;
  FwCfg fw_cfg_;
  PciBus pci_;
  HostBridge host_bridge_;
  IsaBridge isa_bridge_;
  PowerFunction power_function_;
  VirtioConsole console_;
  VirtioRng rng_;
  std::vector<std::unique_ptr<MemoryDisk>> disks_;
  std::vector<std::unique_ptr<VirtioBlock>> drives_;
  std::unique_ptr<MemoryTree> shared_;
  std::unique_ptr<Virtio9p> share_;
  std::unique_ptr<InspectorTree> inspector_;
  std::unique_ptr<Virtio9p> inspector_share_;

  // How the running slice is to end.
  std::optional<StopReason> ended_;
  bool reset_wanted_ = false;
  uint64_t tick_limit_ = ~uint64_t{0};
  unsigned exit_code_ = 0;
  std::string boot_error_;
  uint64_t idle_nanoseconds_ = 0;

  // The host clock: real time as far as it has been told, and ticks at the last telling. Not part of the state, since a replay is
  // told nothing.
  uint64_t real_now_ = 0;
  uint64_t paced_ticks_ = 0;

  InputLog log_;
  // The whole snapshot against which changes are told: a page is dirty if it was written since. 0 for none.
  uint64_t base_ = 0;
};

}  // namespace matryoshka
