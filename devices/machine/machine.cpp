// The board is put together here, and run.
#include <algorithm>
#include <cstdio>

#include "cpu/system/msr.h"
#include "devices/machine/board.h"
#include "devices/machine/boot.h"
#include "devices/machine/boot_tables.h"
#include "devices/machine/memory_map.h"

namespace matryoshka {

namespace {

constexpr uint8_t console_slot = 3, rng_slot = 4, share_slot = 5, first_drive_slot = 6, most_drives = 20;
constexpr uint8_t inspector_slot = first_drive_slot + most_drives;
constexpr uint64_t io_apic_base = 0xfec00000, hpet_base = 0xfed00000;
constexpr uint16_t pm_base = 0x600;

std::string drive_serial(size_t number) { return "matryoshka-disk-" + std::to_string(number); }

}  // namespace

// ---- Putting it together

Board::Board(MachineConfig config, const CpuModel& model, MachineListener& listener)
    : config_(std::move(config)),
      memory_(config_.memory_bytes, bus_),
      entropy_(config_.seed),
      serial_output_(listener, Port::serial),
      console_output_(listener, Port::console),
      debug_output_(listener, Port::debugcon),
      cpu_(model, memory_, bus_, clock_, *this),
      pic_(IrqLine(wires_, Wires::to_processor)),
      io_apic_(apic_bus_, 1),
      hpet_(clock_, {IrqLine(wires_, 0), IrqLine(wires_, 8), &io_apic_, &apic_bus_,
                     [this](bool on) { wires_.legacy_replacement_changed(on); }}),
      pit_(clock_, IrqLine(wires_, Wires::from_pit)),
      rtc_(clock_, IrqLine(wires_, Wires::from_rtc), static_cast<int64_t>(config_.epoch_seconds)),
      keyboard_(
          {IrqLine(wires_, 1), IrqLine(wires_, 12), [this](bool open) { cpu_.set_a20(open); }, [this] { request_reset(); }}),
      uart_(clock_, IrqLine(wires_, 4), serial_output_),
      power_(clock_, {IrqLine(wires_, 9), [this] { end(StopReason::power_off); }, [this] { request_reset(); }}),
      coprocessor_(IrqLine(wires_, 13), [this] { cpu_.ignore_numeric_error(); }),
      debug_ports_(debug_output_,
                   [this](uint32_t value) {
                     exit_code_ = DebugPorts::exit_status(value);
                     end(StopReason::debug_exit);
                   }),
      fw_cfg_(memory_),
      pci_(bus_, apic_bus_, wires_),
      host_bridge_(pci_,
                   [this](uint64_t first, uint64_t size, bool read_ram, bool write_ram) {
                     for (uint64_t at = first; at < first + size; at += 0x4000)
                       memory_.set_shadow(static_cast<unsigned>((at - 0xc0000) / 0x4000), read_ram, write_ram);
                     cpu_.forget_caches();
                   }),
      isa_bridge_(pci_),
      power_function_(pci_),
      console_(pci_, {console_slot}, memory_, console_output_),
      rng_(pci_, {rng_slot}, memory_, [this](std::span<uint8_t> bytes) {
        for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(entropy_.next() >> 56);
      }) {
  for (size_t i = 0; i < config_.drives.size(); ++i) {
    const DriveConfig& drive = config_.drives[i];
    disks_.push_back(std::make_unique<MemoryDisk>(drive.image.bytes, drive.read_only));
    drives_.push_back(std::make_unique<VirtioBlock>(pci_, PciAddress{static_cast<uint8_t>(first_drive_slot + i)}, memory_, clock_,
                                                    *disks_.back(), drive_serial(i)));
  }
  auto guest_time = [this] {
    uint64_t now = clock_.now();
    return FileTree::Time{config_.epoch_seconds + now / 1'000'000'000, now % 1'000'000'000};
  };
  if (config_.shared_folder) {
    shared_ = std::make_unique<MemoryTree>(uint64_t{256} << 20, guest_time);
    share_ = std::make_unique<Virtio9p>(pci_, PciAddress{share_slot}, memory_, *shared_, "share");
  }
  if (config_.inspector_share) {
    inspector_ = std::make_unique<InspectorTree>(cpu_, guest_time);
    inspector_share_ = std::make_unique<Virtio9p>(pci_, PciAddress{inspector_slot}, memory_, *inspector_, "l0");
  }
  cpu_.pic = &pic_;
  if (config_.small_tlbs) cpu_.mmu.limit_entries(4);
  cpu_.apic.set_initial_id(0);
  cpu_.apic.end_of_interrupt = [this](uint8_t vector) { io_apic_.end_of_interrupt(vector); };
  apic_bus_.attach(cpu_.apic);
  map_devices();
}

// Every port range that is taken whatever the guest does. A later one lies over an earlier.
std::vector<Board::PortRange> Board::port_ranges() {
  std::vector<PortRange> ranges = {
      {0x20, Pic::window_length, pic_, Pic::first_ports, 1, "the interrupt controller"},
      {0xa0, Pic::window_length, pic_, Pic::second_ports, 1, "the second interrupt controller"},
      {0x4d0, Pic::window_length, pic_, Pic::edge_level_ports, 1, "the interrupt controllers' edge and level registers"},
      {0x40, Pit::counter_ports_length, pit_, Pit::counter_ports, 1, "the interval timer"},
      {0x61, Pit::system_port_length, pit_, Pit::system_port, 1, "system control port B"},
      {0x70, Rtc::window_length, rtc_, 0, 1, "the real-time clock"},
      {0x60, KeyboardController::window_length, keyboard_, KeyboardController::data_port, 1, "the keyboard controller"},
      {0x64, KeyboardController::window_length, keyboard_, KeyboardController::command_port, 1, "the keyboard controller"},
      {0x92, KeyboardController::window_length, keyboard_, KeyboardController::fast_port, 1, "system control port A"},
      {0x3f8, Uart::window_length, uart_, 0, 1, "the serial port"},
      {pm_base, Power::registers_length, power_, Power::registers, Power::registers_width, "ACPI's power management"},
      {0xb2, Power::smi_command_length, power_, Power::smi_command, 1, "ACPI's SMI command"},
      {0xf0, CoprocessorError::window_length, coprocessor_, 0, 1, "the coprocessor error register"},
      {0x80, DebugPorts::post_code_length, debug_ports_, DebugPorts::post_code_port, 1, "the POST code port"},
      {0x190, DebugPorts::post_code_length, debug_ports_, DebugPorts::post_code_port, 1, "the POST code port"},
      {FwCfg::first_port, FwCfg::ports, fw_cfg_, 0, FwCfg::width, "fw_cfg"},
      {0xcf8, 4, pci_, PciBus::config_address, 4, "PCI configuration"},
      {0xcfc, 4, pci_, PciBus::config_data, 4, "PCI configuration"},
      // Lies inside the configuration address's dword and answers to byte accesses.
      {0xcf9, Power::reset_control_length, power_, Power::reset_control, 1, "the reset register"},
  };
  if (config_.debugcon) {
    ranges.push_back({0x402, DebugPorts::console_length, debug_ports_, DebugPorts::console, 1, "the debug console"});
    ranges.push_back({0xe9, DebugPorts::console_length, debug_ports_, DebugPorts::console, 1, "the debug console"});
  }
  return ranges;
}

std::string Board::port_conflict() {
  auto hex = [](unsigned port) {
    char text[8];
    std::snprintf(text, sizeof text, "0x%x", port);
    return std::string(text);
  };
  if (config_.debug_exit_port < 0) return {};
  auto first = static_cast<unsigned>(config_.debug_exit_port), last = first + DebugPorts::debug_exit_length - 1;
  for (const PortRange& taken : port_ranges())
    if (first < taken.first + taken.count && last >= taken.first)
      return "isa-debug-exit at ports " + hex(first) + " to " + hex(last) + " would lie over " + taken.owner + " at " +
             hex(taken.first) + (taken.count > 1 ? " to " + hex(taken.first + taken.count - 1) : "") +
             "; choose other ports, such as iobase=0xf4.";
  return {};
}

void Board::map_devices() {
  for (const PortRange& range : port_ranges()) bus_.map_ports(range.first, range.count, range.target, range.window, range.widest);
  if (config_.debug_exit_port >= 0)
    bus_.map_ports(static_cast<uint16_t>(config_.debug_exit_port), DebugPorts::debug_exit_length, debug_ports_,
                   DebugPorts::debug_exit, DebugPorts::debug_exit_width);
  bus_.map_memory(io_apic_base, IoApic::window_length, io_apic_, 0, IoApic::window_width);
  bus_.map_memory(hpet_base, Hpet::window_length, hpet_);
}

void Board::Wires::set_irq(unsigned line, bool level) {
  if (line == to_processor) {
    board_.cpu_.set_intr(level);
    board_.cpu_.apic.set_lint(0, level);
  } else if (line == from_pit || line == from_rtc) {
    (line == from_pit ? pit_ : rtc_) = level;
    if (!board_.hpet_.legacy_replacement()) route(line == from_pit ? 0 : 8, level);
  } else {
    route(line, level);
  }
}

void Board::Wires::legacy_replacement_changed(bool on) {
  route(0, !on && pit_);
  route(8, !on && rtc_);
}

void Board::Wires::route(unsigned line, bool level) {
  if (line < 16) board_.pic_.set_irq(line, level);
  board_.io_apic_.set_irq(line == 0 ? 2 : line, level);
}

void Board::each_device(const std::function<void(Device&)>& visit) {
  Device* devices[] = {&pic_,         &io_apic_,    &hpet_,           &pit_,         &rtc_,    &keyboard_,
                       &uart_,        &power_,      &coprocessor_,    &debug_ports_, &fw_cfg_, &pci_,
                       &host_bridge_, &isa_bridge_, &power_function_, &console_,     &rng_};
  for (Device* device : devices) visit(*device);
  if (share_) visit(*share_);
  for (auto& drive : drives_) visit(*drive);
  if (inspector_share_) visit(*inspector_share_);
}

std::string Board::fill_shared_folder() {
  for (const Image& file : config_.shared_files)
    if (!shared_ || !shared_->add(file.name, file.bytes)) return file.name;
  return {};
}

// ---- Starting the guest

void Board::power_on_reset() {
  each_device([](Device& device) { device.reset(); });
  cpu_.reset();
  rtc_.set_memory_size(memory_.ram_below_4g(), memory_.ram_above_4g());
}

std::string Board::boot() {
  power_on_reset();
  if (config_.bios.given()) memory_.set_rom(config_.bios.bytes);

  AcpiBoard acpi_board;
  acpi_board.processors = config_.processors;
  acpi_board.pci_window_first = static_cast<uint32_t>(physical::pci_hole);
  acpi_board.keyboard_controller = true;
  AcpiTables acpi(acpi_board);
  SmbiosTables smbios({config_.processors, config_.memory_bytes, cpu_.model.brand});

  fw_cfg_.add<uint64_t>(FwCfg::ram_size, config_.memory_bytes);
  fw_cfg_.add<uint16_t>(FwCfg::processor_count, static_cast<uint16_t>(config_.processors));
  fw_cfg_.add<uint16_t>(FwCfg::most_processors, static_cast<uint16_t>(config_.processors));
  fw_cfg_.add<uint16_t>(FwCfg::no_graphic, 1);
  fw_cfg_.add<uint16_t>(FwCfg::boot_menu, 0);

  if (config_.bios.given()) {
    fw_cfg_.add_file(AcpiTables::tables_file, acpi.tables());
    fw_cfg_.add_file(AcpiTables::rsdp_file, acpi.rsdp());
    fw_cfg_.add_file(AcpiTables::script_file, acpi.script());
    fw_cfg_.add_file(SmbiosTables::entry_file, smbios.entry(0));
    fw_cfg_.add_file(SmbiosTables::structures_file, smbios.structures());
    std::vector<uint8_t> map;
    for (const MemoryRange& range : memory_map(config_.memory_bytes)) {
      append(map, range.first);
      append(map, range.size);
      append(map, static_cast<uint32_t>(range.type));
    }
    fw_cfg_.add_file("etc/e820", map);
    return {};
  }
  if (!pci_.assign_resources()) return "The PCI devices asked for do not fit the address space; leave some -drive options away.";
  // What firmware would have done for the interrupts: PCI's come on ISA lines 10 and 11 by level.
  bus_.write_port(0x4d1, 1, 0x0c);
  cpu_.apic.set_virtual_wire();
  set_firmware_memory_types(cpu_.state, cpu_.model, physical::pci_hole);
  if (std::string error = place_tables(acpi, smbios, memory_); !error.empty()) return error;

  BootRequest request;
  request.kernel = {config_.kernel.name, config_.kernel.bytes};
  for (size_t i = 0; i < config_.initrds.size(); ++i)
    request.modules.push_back({config_.initrds[i].name, config_.initrds[i].bytes,
                               i < config_.initrd_arguments.size() ? config_.initrd_arguments[i] : std::string()});
  request.command_line = config_.command_line;
  request.ram_size = config_.memory_bytes;
  request.long_mode = cpu_.model.features.has(Feature::LM);
  request.rsdp = rsdp_address;
  BootEntry entry;
  if (std::string error = load_kernel(request, memory_, entry); !error.empty()) return error;
  enter(cpu_, entry);
  return {};
}

// The processor as the loader's entry describes it.
void Board::enter(Processor& cpu, const BootEntry& entry) {
  CpuState& s = cpu.state;
  if (entry.mode == BootEntry::Mode::real) return;
  bool long_mode = entry.mode == BootEntry::Mode::long64;
  s.cr0 = cr0::PE | cr0::ET | cr0::NE | cr0::CD | cr0::NW;
  if (long_mode) {
    s.cr3 = entry.cr3;
    s.cr4 = cr4::PAE;
    s.msr.efer = efer::LME | efer::LMA;
    s.cr0 |= cr0::PG;
  }
  s.cr0 &= ~(cr0::CD | cr0::NW);
  for (unsigned i = 0; i < segment_count; ++i) s.segment[i] = {entry.data, 0xc093, 0xffffffff, 0};
  s.segment[CS] = {entry.code, long_mode ? 0xa09bu : 0xc09bu, 0xffffffff, 0};
  s.tr = {entry.task, 0x8b, 0x67, 0};
  s.gdtr = {entry.descriptors_limit, entry.descriptors};
  s.idtr = {0, 0};
  s.rip = entry.rip;
  s.gpr[RDX] = 0;
  s.gpr[RAX] = entry.rax, s.gpr[RBX] = entry.rbx, s.gpr[RSI] = entry.rsi;
  cpu.forget_caches();
}

// ---- Running

void Board::end(StopReason reason) {
  ended_ = reason;
  cpu_.stop();
}

void Board::stop() { end(StopReason::stopped); }

void Board::reset() { accept({InputEvent::Kind::reset}); }

// A reset takes effect between two instructions: whoever asks may be in the middle of one.
void Board::request_reset() {
  reset_wanted_ = true;
  cpu_.stop();
}

void Board::triple_fault() {
  if (config_.no_reboot)
    end(StopReason::triple_fault);
  else
    request_reset();
}

void Board::compile_with(jit::ModuleHost& host, const JitConfig& jit) {
  jit_ = std::make_unique<jit::Engine>(cpu_, host, jit.small_caches ? jit::Engine::least_capacity : jit::Engine::capacity);
  if (jit.after) jit_->hot = static_cast<uint32_t>(std::min<uint64_t>(jit.after, 1u << 30));
  if (jit.trace) jit_->trace();
  cpu_.set_regions(jit_.get());
  if (!jit.verify) return;
  verifier_ = std::make_unique<RegionVerifier>(cpu_, config_.seed);
  cpu_.set_verifier(verifier_.get());
}

std::string Board::verification() const {
  if (!verifier_) return {};
  if (!verifier_->difference().empty()) return verifier_->difference();
  const RegionVerifier::Figures& f = verifier_->figures();
  return "Verified " + grouped(f.instructions) + " instructions in " + grouped(f.runs) + " runs of regions, with seed " +
         std::to_string(config_.seed) + "; 0 differences. Not compared: " + grouped(f.set_aside) + " runs that came to a device.";
}

StopReason Board::run(uint64_t ticks) {
  StopReason reason = run_slice(ticks);
  if (jit_) jit_->flush();
  return reason;
}

StopReason Board::run_slice(uint64_t ticks) {
  ended_.reset();
  constexpr unsigned most_naps = 10'000;
  unsigned naps = 0;
  uint64_t end_of_slice = ticks > ~clock_.ticks ? ~uint64_t{0} : clock_.ticks + ticks;
  for (;;) {
    while (log_.next_tick() <= clock_.ticks) apply(log_.take());
    if (reset_wanted_) {
      reset_wanted_ = false;
      if (config_.no_reboot) return StopReason::reset;
      boot_error_ = boot();
      reset_wanted_ = !boot_error_.empty();
      if (reset_wanted_) return StopReason::boot_failed;
    }
    if (monitor_.take_quit()) return StopReason::quit;
    if (monitor_.paused()) return StopReason::paused;
    uint64_t limit = std::min({end_of_slice, tick_limit_, log_.next_tick()});
    cpu_.run(monitor_.limit(clock_.ticks, limit));
    if (verifier_ && !verifier_->difference().empty()) return StopReason::difference;
    if (monitor_.arrived()) return StopReason::paused;
    if (ended_) return *ended_;
    if (reset_wanted_) continue;
    if (clock_.ticks >= tick_limit_) return StopReason::tick_limit;
    if (clock_.ticks >= end_of_slice) return StopReason::budget;
    if (!cpu_.idle() || cpu_.can_wake()) continue;

    // Halted. Under the virtual clock nothing happens until the next deadline, so it is now.
    uint64_t next = clock_.next_deadline();
    if (bool nothing_wakes = deaf(); next == Clock::never || nothing_wakes) {
      if (log_.next_tick() != ~uint64_t{0}) {
        apply(log_.take());
        continue;
      }
      return nothing_wakes ? StopReason::halted : StopReason::idle;
    }
    if (config_.host_clock) {
      if (log_.replaying() && log_.next_tick() != ~uint64_t{0}) {
        apply(log_.take());
        continue;
      }
      return StopReason::idle;
    }
    // A guest may sleep through one event after the other for ever; the host program has its turn all the same.
    if (++naps == most_naps) return StopReason::budget;
    // A tick of its own, so that an input between two skips has its place in a recording.
    clock_.ticks += 1;
    skip_idle(next);
  }
}

// Whether the halted processor can hear nothing more. With interrupts off, and in the shutdown state, it hears NMIs, except
// within an NMI handler, and INIT; one that waits for a startup message hears INIT alone. Both come as messages from devices,
// or by LINT0, which carries the 8259's request. SMIs do not exist here, and nothing is wired to LINT1.
bool Board::deaf() const {
  const CpuState& s = cpu_.state;
  if (cpu_.hears_interrupts() || cpu_.vmx.timer_armed()) return false;
  bool hears_nmi = s.activity != Activity::wait_for_sipi && !cpu_.vmx.nmi_blocked();
  auto heard = [&](ApicMessage::Mode mode) { return mode == ApicMessage::init || (mode == ApicMessage::nmi && hears_nmi); };
  auto message_heard = [&](uint64_t address, uint32_t data) {
    ApicMessage message = ApicBus::decode_message(address, data);
    return heard(message.mode) && cpu_.apic.addressed_by(message);
  };
  return !heard(cpu_.apic.lint_mode(0)) && !io_apic_.may_send(message_heard) && !hpet_.may_send(message_heard) &&
         !pci_.may_send(message_heard);
}

void Board::skip_idle(uint64_t time) {
  if (time > clock_.now()) idle_nanoseconds_ += time - clock_.now();
  clock_.skip_to(time);
  clock_.run_due();
  cpu_.notice();
}

// ---- Input

void Board::accept(InputEvent event) {
  if (log_.replaying()) return;
  event.tick = clock_.ticks;
  log_.add(event);
  apply(event);
}

void Board::apply(const InputEvent& event) {
  using Kind = InputEvent::Kind;
  // The input before this one may have armed a timer for the same moment. Whether the host program has run the guest between the
  // two is not recorded, so it makes no difference.
  clock_.run_due();
  switch (event.kind) {
    case Kind::serial: uart_.receive(event.bytes); break;
    case Kind::console: console_.receive(event.bytes); break;
    case Kind::resize: console_.resize(static_cast<uint16_t>(event.value), static_cast<uint16_t>(event.value >> 16)); break;
    case Kind::ratio: clock_.set_ratio(event.value); break;
    case Kind::skip: skip_idle(event.value); break;
    case Kind::reset: request_reset(); break;
    case Kind::power_button: power_.press_power_button(); break;
    case Kind::caches_dropped: cpu_.forget_caches(); break;
  }
  cpu_.notice();
}

void Board::input(Port port, const uint8_t* bytes, size_t size) {
  if (port == Port::debugcon || size == 0) return;
  accept({port == Port::serial ? InputEvent::Kind::serial : InputEvent::Kind::console, 0, 0, Bytes(bytes, bytes + size)});
}

void Board::resize_console(unsigned columns, unsigned rows) {
  accept({InputEvent::Kind::resize, 0, (columns & 0xffff) | uint64_t{rows & 0xffff} << 16});
}

void Board::press_power_button() { accept({InputEvent::Kind::power_button}); }

void Board::record() {
  log_.start_hash = state_hash();
  log_.start_recording();
}

Bytes Board::recording() const { return log_.write(log_.start_hash); }

bool Board::replay(const Bytes& log, std::string& error) { return log_.read(log, state_hash(), error); }

// ---- The host clock

// Guest time follows real time. A busy guest gets a ratio such that the next slice, if it takes as many ticks as the last, ends
// where real time will be; an idle one is moved up to the present. After a long pause (a hidden tab) the lost time is
// given up rather than caught up with.
void Board::pace(uint64_t real_nanoseconds) {
  if (!config_.host_clock || log_.replaying()) return;
  constexpr uint64_t longest_catch_up = 1'000'000'000;
  real_now_ += real_nanoseconds;
  uint64_t now = clock_.now();
  if (real_now_ > now + longest_catch_up || now > real_now_ + longest_catch_up) real_now_ = now;
  uint64_t ticks = clock_.ticks - paced_ticks_;
  paced_ticks_ = clock_.ticks;
  if (cpu_.idle() && !cpu_.can_wake()) {
    uint64_t target = std::min(real_now_, clock_.next_deadline());
    if (target > now) accept({InputEvent::Kind::skip, 0, target});
    return;
  }
  if (ticks < 1000) return;
  double wanted = static_cast<double>(real_nanoseconds) + (static_cast<double>(real_now_) - static_cast<double>(now));
  double ratio = std::clamp(wanted / static_cast<double>(ticks), 0.05, 1000.0);
  accept({InputEvent::Kind::ratio, 0, static_cast<uint64_t>(ratio * 4294967296.0)});
}

uint64_t Board::nanoseconds_until_wake() const {
  if (!cpu_.idle() || cpu_.can_wake()) return 0;
  uint64_t next = clock_.next_deadline();
  return next == Clock::never ? next : next <= clock_.now() ? 0 : next - clock_.now();
}

MachineStats Board::stats() const {
  MachineStats s;
  s.ticks = clock_.ticks;
  s.retired = cpu_.state.retired;
  s.guest_nanoseconds = clock_.now();
  s.idle_nanoseconds = idle_nanoseconds_;
  s.rep_iterations = cpu_.rep_iterations;
  s.blocks_built = cpu_.blocks().built, s.blocks_dropped = cpu_.blocks().dropped;
  s.interrupts = cpu_.interrupts_delivered;
  s.in_regions = cpu_.instructions_in_regions;
  if (jit_) s.jit = &jit_->statistics();
  s.post_code = debug_ports_.post_code();
  if (cpu_.model.features.has(Feature::VMX)) s.vmx = &cpu_.vmx.trace;
  return s;
}

std::string Board::describe_processor() const {
  static constexpr const char* names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                          "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
  const CpuState& s = cpu_.state;
  std::string text;
  auto add = [&](const char* name, uint64_t value) {
    char line[40];
    std::snprintf(line, sizeof line, "%-6s %016llx  ", name, static_cast<unsigned long long>(value));
    text += line;
  };
  for (unsigned i = 0; i < 16; ++i) {
    add(names[i], s.gpr[i]);
    if (i % 4 == 3) text += '\n';
  }
  add("rip", s.rip), add("rflags", s.rflags()), add("cr2", s.cr2), add("cr3", s.cr3);
  text += '\n';
  add("cr0", s.cr0), add("cr4", s.cr4), add("efer", s.msr.efer), add("cs", s.segment[CS].selector);
  text += '\n';
  return text;
}

// ---- Making one

std::unique_ptr<Machine> Machine::create(MachineConfig config, MachineListener& listener, std::string& error) {
  CpuModel model;
  if (!CpuModel::parse(config.cpu, model, error)) return nullptr;
  if (config.processors != 1) {
    error = "More than one processor is not built yet; leave -smp at 1.";
    return nullptr;
  }
  constexpr uint64_t least = uint64_t{1} << 20, most = uint64_t{3584} << 20;
  if (config.memory_bytes < least || config.memory_bytes > most || config.memory_bytes % page_size) {
    error = "The memory size must lie between 1 MiB and 3584 MiB; -m 128M is a good start.";
    return nullptr;
  }
  if (config.drives.size() > most_drives) {
    error =
        "There is room for 20 drives, and " + grouped(config.drives.size()) + " were asked for; leave some -drive options away.";
    return nullptr;
  }
  if (!config.kernel.given() && !config.bios.given()) {
    error = "There is nothing to boot: give a kernel with -kernel, or a ROM with -bios.";
    return nullptr;
  }
  if (config.bios.given() &&
      (config.bios.bytes.empty() || config.bios.bytes.size() % 0x10000 || config.bios.bytes.size() > (16u << 20))) {
    error = the_file("ROM", config.bios.name) + " has " + grouped(config.bios.bytes.size()) +
            " bytes, and a ROM has a multiple of 64 KiB, at most 16 MiB; take a whole image, such as SeaBIOS's bios-256k.bin.";
    return nullptr;
  }
  auto board = std::make_unique<Board>(std::move(config), model, listener);
  if (!board->has_memory()) {
    error =
        "The host did not give " + memory_size(board->config().memory_bytes) + " of memory for the guest; ask for less with -m.";
    return nullptr;
  }
  error = board->port_conflict();
  if (!error.empty()) return nullptr;
  if (std::string file = board->fill_shared_folder(); !file.empty()) {
    error = "The shared folder has no room for " + file + ": it takes 256 MiB, and names without '..'.";
    return nullptr;
  }
  error = board->boot();
  if (!error.empty()) return nullptr;
  return board;
}

}  // namespace matryoshka
