// The whole PC, and all that a host program can do with it: a page, a terminal, a test.
//
// A Machine owns everything; there is no global state. The host gives it a configuration with the bytes of every image in
// it, runs it in slices, and is told of output as it happens. What the guest sees depends on the configuration and on the
// inputs with the tick counts at which they arrived, and on nothing else: those two make a recording.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace matryoshka {

class Archive;
class SnapshotWriter;

using Bytes = std::vector<uint8_t>;

namespace vmx {
class Trace;
}
namespace jit {
class ModuleHost;
struct Statistics;
}  // namespace jit

// A snapshot of version 1 counts the bytes of an image in 32 bits.
constexpr size_t most_image_bytes = 0xffffffff;

struct Image {
  std::string name;  // for error sentences: the file's name as the user gave it
  Bytes bytes;
  bool given() const { return !name.empty(); }
};

struct DriveConfig {
  Image image;
  enum class Interface : uint8_t { virtio } interface = Interface::virtio;
  bool read_only = false;
  // Of the image, by which a snapshot knows it. They are found when a snapshot is made or loaded.
  uint64_t size = 0, hash = 0;
  void identify();
};

struct MachineConfig {
  uint64_t memory_bytes = uint64_t{128} << 20;
  unsigned processors = 1;
  std::string cpu = "default";  // MODEL,+flag,-flag
  Image kernel;
  std::vector<Image> initrds;  // one for Linux; for multiboot one per module, `arguments` beside each
  std::vector<std::string> initrd_arguments;
  std::string command_line;
  Image bios;
  std::vector<DriveConfig> drives;
  bool debugcon = false;
  int debug_exit_port = -1;             // isa-debug-exit, or -1
  bool shared_folder = false;           // virtio-9p with tag `share`, which begins with a copy of these files,
  std::vector<Image> shared_files;      // named by their paths in it; what the guest writes stays in the machine
  bool inspector_share = false;         // virtio-9p with tag `l0`, which has what the inspector knows as files
  bool small_tlbs = false;              // for tests: the guest may notice in accessed and dirty bits, and no snapshot knows it
  bool no_reboot = false;               // a reset of the guest's own ends the run
  bool host_clock = false;              // paced to real time; else virtual time, which repeats bit for bit
  uint64_t epoch_seconds = 1735689600;  // what the RTC shows at tick 0: 2025-01-01 00:00:00 UTC
  uint64_t seed = 1;                    // of RDRAND and virtio-rng
  void serialize(Archive& ar);
  // Those whose bytes are in a snapshot, in the order in which they stand there.
  std::vector<Image*> saved_images();
  // Gives the drives of a loaded configuration their images. The sentence of refusal, or nothing.
  std::string attach(std::vector<DriveConfig> given, bool spare_allowed);
};

// How hot code is compiled; nothing of this can be seen by the guest, but for what small caches forget.
struct JitConfig {
  uint64_t after = 0;         // instructions from a place on before it is compiled; 0: what the JIT thinks best
  bool verify = false;        // hold every run of a region against the interpreter
  bool trace = false;         // write every region down, for take_jit_trace()
  bool small_caches = false;  // room for a few regions only, for tests
};

enum class StopReason : uint8_t {
  budget,      // the slice is used up
  idle,        // halted until wake_time() or an input; only under the host clock
  stopped,     // the host asked for it (stop())
  tick_limit,  // set_tick_limit() reached
  power_off,
  reset,         // the guest asked for a reset and no_reboot is set
  debug_exit,    // exit_code() has the value
  triple_fault,  // and no_reboot is set; otherwise the machine resets itself
  halted,        // HLT with interrupts off and nothing that could ever wake it
  boot_failed,   // after a reset the guest could not be loaded again; boot_error() says why
  paused,        // the monitor holds the machine
  quit,          // and wants it to end
  difference     // JitConfig::verify: a region and the interpreter do not agree; verification() says how
};

enum class Port : uint8_t { serial, console, debugcon };

// Told of things as they happen, from inside run(). May call Machine::input() and stop(), nothing else.
class MachineListener {
 public:
  virtual ~MachineListener() = default;
  virtual void output(Port port, uint8_t byte) = 0;
};

struct MachineStats {
  uint64_t ticks = 0, retired = 0;
  uint64_t guest_nanoseconds = 0;
  uint64_t idle_nanoseconds = 0;  // of them, halted
  uint64_t rep_iterations = 0;
  uint64_t blocks_built = 0, blocks_dropped = 0;
  uint64_t interrupts = 0;
  uint64_t in_regions = 0;  // of the retired, those that the JIT ran
  const jit::Statistics* jit = nullptr;
  uint8_t post_code = 0;  // the last one that the guest wrote
  const vmx::Trace* vmx = nullptr;
};

class Machine {
 public:
  // Null, with one sentence in `error`, if the configuration cannot be run. Nothing is left half-made.
  static std::unique_ptr<Machine> create(MachineConfig config, MachineListener& listener, std::string& error);
  virtual ~Machine() = default;

  // From now on hot code is compiled, if the host can: a page or Node, not a native program. The guest cannot tell.
  virtual void compile_with(jit::ModuleHost& host, const JitConfig& jit) = 0;
  // What verifying has come to, as text: a line that says how much was compared, or several about a difference.
  virtual std::string verification() const = 0;
  // The regions that were compiled since the last call, guest code beside WebAssembly.
  virtual std::string take_jit_trace() = 0;

  // Runs for about `ticks` more ticks. Under the virtual clock a halted guest skips to its next event.
  virtual StopReason run(uint64_t ticks) = 0;
  virtual void stop() = 0;  // run() returns after the present instruction
  // run() returns at the first instruction boundary at or after that tick, which is the tick itself unless what came before
  // it costs more than one (IN, OUT, RDTSC, PAUSE: cpu/charges.h). Between two iterations of REP is a boundary. ~0 for none.
  virtual void set_tick_limit(uint64_t ticks) = 0;
  virtual void reset() = 0;  // the reset button
  virtual void press_power_button() = 0;
  virtual unsigned exit_code() const = 0;
  virtual const std::string& boot_error() const = 0;

  // Input takes effect at the present tick, and is written to the recording if there is one.
  virtual void input(Port port, const uint8_t* bytes, size_t size) = 0;
  virtual void resize_console(unsigned columns, unsigned rows) = 0;

  // Host clock only: nanoseconds of real time that have passed since the last call, chosen by the host at slice ends.
  virtual void pace(uint64_t real_nanoseconds) = 0;
  virtual uint64_t nanoseconds_until_wake() const = 0;

  // The inspector's prompt (monitor.h). While it is open, keys may go to it; while it holds the machine, run() answers `paused`.
  // `echo`: it does its own line editing, for a terminal that does none. `pause`: the machine stops where it is.
  virtual void open_monitor(bool echo, bool pause) = 0;
  virtual void close_monitor() = 0;
  virtual void type_at_monitor(const uint8_t* bytes, size_t size) = 0;
  virtual std::string take_monitor_output() = 0;
  virtual bool monitor_holds() const = 0;
  // One command for a program, beside the prompt. False: it waits (until, step); the answer is there once nothing is pending.
  virtual bool ask_monitor(const std::string& command) = 0;
  virtual bool monitor_pending() const = 0;
  virtual std::string take_monitor_answer() = 0;
  // What the inspector's panes show, as JSON (panes.h).
  virtual std::string panes() const = 0;
  // VM entries and exits as lines of JSON, from now on; those since the last call.
  virtual void trace_vm_exits() = 0;
  virtual std::string take_vm_exits() = 0;

  virtual uint64_t ticks() const = 0;
  virtual MachineStats stats() const = 0;
  virtual uint64_t state_hash() = 0;  // over every saved bit and all of RAM

  // A snapshot of everything, or of what has changed since a whole one: the last that this machine was saved to or loaded from.
  // Null, with a sentence, if there is none. The pieces are taken from the machine as it stands, so it must not be touched
  // until the writer has given them all. snapshot.h has the writer, and the loader.
  enum class Extent : uint8_t { whole, changes };
  virtual std::unique_ptr<SnapshotWriter> save(Extent extent, std::string& error) = 0;

  // Recording: inputs with their ticks from now on. Replaying: inputs come from the log, input() is refused.
  virtual void record() = 0;
  virtual Bytes recording() const = 0;
  virtual bool replay(const Bytes& log, std::string& error) = 0;

  virtual std::string describe_processor() const = 0;  // registers, as text: for error messages and the monitor
  virtual const MachineConfig& config() const = 0;
};

}  // namespace matryoshka
