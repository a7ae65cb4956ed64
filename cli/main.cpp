// The native machine in a terminal. Reads files, moves bytes between the terminal and the guest, and turns the way a run
// ended into an exit status; everything else is the machine's. cli/matryoshka.mjs is its sibling for the WebAssembly build.
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <utility>

#include "cli/gzip.h"
#include "cli/script.h"
#include "cli/terminal.h"
#include "cli/vectors.h"
#include "devices/machine/machine.h"
#include "devices/machine/options.h"
#include "devices/machine/report.h"
#include "devices/machine/snapshot.h"

namespace matryoshka {
namespace {

enum Status : int { ended_well = 0, failed = 1, bad_usage = 2, limit = 3, triple_fault = 4, interrupted = 130 };

// Between two looks at the keyboard; about 5 ms of guest work.
constexpr uint64_t slice_ticks = 400'000;
// Milliseconds; below the second after which the machine takes a pause for a sleep of the computer and gives the time up.
constexpr uint64_t longest_wait = 500;

volatile std::sig_atomic_t signalled = 0, resized = 1;

void say(std::string sentence) {
  if (!sentence.empty() && sentence.back() != '.') sentence += '.';
  std::fprintf(stderr, "matryoshka: %s\n", sentence.c_str());
}

std::string file_error(const std::string& what, const std::string& path) {
  return what + " '" + path + "': " + std::strerror(errno) + ".";
}

// --- Files -------------------------------------------------------------------

std::string read_file(const WantedFile& wanted) {
  const std::string& path = wanted.image->name;
  auto fail = [&] { return file_error("Cannot read the " + wanted.role, path); };
  FILE* file = std::fopen(path.c_str(), "rb");
  if (!file) return fail();
  struct stat facts;
  bool is_file = fstat(fileno(file), &facts) == 0 && !S_ISDIR(facts.st_mode);
  // A pipe or a device may never end.
  const size_t most = is_file && S_ISREG(facts.st_mode) ? most_image_bytes : size_t{1} << 30;
  if (!is_file || static_cast<uint64_t>(facts.st_size) > most) {
    std::fclose(file);
    errno = is_file ? EFBIG : EISDIR;
    return fail();
  }
  Bytes& bytes = wanted.image->bytes;
  bytes.resize(static_cast<size_t>(facts.st_size));
  size_t got = std::fread(bytes.data(), 1, bytes.size(), file);
  bytes.resize(got);
  for (uint8_t piece[65536]; bytes.size() <= most && (got = std::fread(piece, 1, sizeof piece, file)) != 0;)
    bytes.insert(bytes.end(), piece, piece + got);
  bool good = !std::ferror(file);
  if (bytes.size() > most) good = false, errno = EFBIG;
  std::fclose(file);
  return good ? std::string() : fail();
}

// A copy of the shared folder: plain files and the folders they are in; links are not followed.
std::string read_share(Options& options) {
  namespace fs = std::filesystem;
  if (options.share.empty()) return {};
  std::error_code failure;
  std::vector<Image>& files = options.config.shared_files;
  fs::recursive_directory_iterator at(options.share, failure), end;
  for (; !failure && at != end; at.increment(failure))
    if (at->is_regular_file(failure) && !at->is_symlink()) files.push_back({at->path().string(), {}});
  if (failure) return "Cannot read the shared folder '" + options.share + "': " + failure.message() + ".";
  std::sort(files.begin(), files.end(), [](const Image& a, const Image& b) { return a.name < b.name; });
  for (Image& file : files) {
    if (std::string error = read_file({"shared file", &file}); !error.empty()) return error;
    file.name = fs::path(file.name).lexically_relative(options.share).string();
  }
  return {};
}

std::string read_files(Options& options) {
  if (std::string error = read_share(options); !error.empty()) return error;
  for (const WantedFile& wanted : wanted_files(options))
    if (std::string error = read_file(wanted); !error.empty()) return error;
  return check_files(options);
}

// Opened before the machine starts, so that a wrong path costs nobody a run.
class OutputFile {
 public:
  OutputFile() = default;
  ~OutputFile() { close(); }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  std::string open(const std::string& path) {
    path_ = path;
    if (!path.empty() && !(file_ = std::fopen(path.c_str(), "wb"))) return file_error("Cannot write", path);
    return {};
  }
  bool wanted() const { return file_ != nullptr; }
  void write(const void* data, size_t size) { good_ = good_ && std::fwrite(data, 1, size, file_) == size; }
  void flush() {
    if (file_) std::fflush(file_);
  }
  // The sentence, if not everything could be written.
  std::string close() {
    if (!file_) return {};
    good_ = std::fclose(file_) == 0 && good_;
    file_ = nullptr;
    return good_ ? std::string() : file_error("Cannot write", path_);
  }

 private:
  std::string path_;
  FILE* file_ = nullptr;
  bool good_ = true;
};

struct Outputs {
  OutputFile serial, debugcon, stats, save_state, save_changes, record, trace_vmexit;

  std::string open(const Options& o) {
    std::string error;
    auto one = [&](OutputFile& file, const std::string& path) {
      if (error.empty()) error = file.open(path);
    };
    one(serial, o.serial.path);
    one(debugcon, o.debugcon.path);
    one(stats, o.stats);
    one(save_state, o.save_state);
    one(save_changes, o.save_changes);
    one(record, o.record);
    one(trace_vmexit, o.trace_vmexit);
    return error;
  }
  std::string close() {
    std::string error;
    for (OutputFile* file : {&serial, &debugcon, &stats, &save_state, &save_changes, &record, &trace_vmexit})
      if (std::string e = file->close(); error.empty()) error = e;
    return error;
  }
};

// --- The guest's side --------------------------------------------------------

class Host final : public MachineListener {
 public:
  Host(const Options& options, Outputs& outputs, Script& script) : options_(options), outputs_(outputs), script_(script) {}

  void attach(Machine* machine) { machine_ = machine; }
  bool matched() const { return matched_; }
  // The port that the keyboard talks to: the serial port, until a guest writes to its virtio console.
  Port keyboard() const { return keyboard_; }

  void output(Port port, uint8_t byte) override {
    if (port == Port::debugcon) return send(options_.debugcon, outputs_.debugcon, byte);
    send(port == Port::serial ? options_.serial : Sink{Sink::Kind::terminal, {}}, outputs_.serial, byte);
    if (port == Port::console) keyboard_ = port;
    switch (script_.watch(port, byte)) {
      case Script::Action::none: break;
      case Script::Action::type: {
        const std::string& text = script_.typed();
        machine_->input(port, reinterpret_cast<const uint8_t*>(text.data()), text.size());
        break;
      }
      case Script::Action::end:
        matched_ = true;
        machine_->stop();
        break;
    }
  }

  void flush() {
    std::fflush(stdout);
    outputs_.serial.flush();
    outputs_.debugcon.flush();
  }

 private:
  static void send(const Sink& sink, OutputFile& file, uint8_t byte) {
    if (sink.kind == Sink::Kind::terminal) std::fputc(byte, stdout);
    if (sink.kind == Sink::Kind::file) file.write(&byte, 1);
  }

  const Options& options_;
  Outputs& outputs_;
  Script& script_;
  Machine* machine_ = nullptr;
  bool matched_ = false;
  Port keyboard_ = Port::serial;
};

// Keys on their way to the guest, or to the monitor. Ctrl-A is ours, as in QEMU.
class Keyboard {
 public:
  Keyboard(bool raw, bool wanted, bool monitors) : raw_(raw), open_(wanted), monitors_(monitors) {}

  // Nothing will come any more.
  bool ended() const { return !open_; }

  // Waits for a key at most so long. False when the user asked for the end.
  bool poll(Machine& machine, Port port, int milliseconds) {
    pollfd descriptor{open_ ? STDIN_FILENO : -1, POLLIN, 0};
    if (::poll(&descriptor, 1, milliseconds) <= 0 || descriptor.revents == 0) return true;
    uint8_t keys[4096];
    ssize_t count = read(STDIN_FILENO, keys, sizeof keys);
    if (count <= 0) {
      open_ = count < 0 && (errno == EINTR || errno == EAGAIN);
      return true;
    }
    if (!raw_) {
      pass(machine, port, Bytes(keys, keys + count));
      return true;
    }
    Bytes typed;
    for (ssize_t i = 0; i < count; i++) {
      constexpr uint8_t control_a = 1;
      if (!escaped_ && keys[i] == control_a) {
        escaped_ = true;
      } else if (escaped_ && (keys[i] | 0x20) == 'x') {
        return false;
      } else if (escaped_ && (keys[i] | 0x20) == 'c') {
        pass(machine, port, std::exchange(typed, {}));
        escaped_ = false;
        monitors_ = !monitors_;
        if (monitors_)
          machine.open_monitor(true, true);
        else
          machine.close_monitor();
      } else {
        if (!escaped_ || keys[i] == control_a) typed.push_back(keys[i]);
        escaped_ = false;
      }
    }
    pass(machine, port, typed);
    return true;
  }

 private:
  void pass(Machine& machine, Port port, const Bytes& keys) {
    if (keys.empty()) return;
    if (monitors_)
      machine.type_at_monitor(keys.data(), keys.size());
    else
      machine.input(port, keys.data(), keys.size());
  }

  bool raw_, open_, monitors_, escaped_ = false;
};

// --- The run -----------------------------------------------------------------

struct Ending {
  int status;
  std::string name;
  std::string sentence;  // for standard error, or empty
  std::string details = {};
};

Ending ending_of(StopReason reason, const Machine& machine, const Options& options) {
  std::string missed = options.until.empty() ? "" : " before --until was met";
  switch (reason) {
    case StopReason::power_off:
      return {ended_well, name(reason), missed.empty() ? "" : "The guest switched itself off" + missed + "."};
    case StopReason::reset: return {ended_well, name(reason), missed.empty() ? "" : "The guest restarted" + missed + "."};
    case StopReason::debug_exit: return {static_cast<int>(machine.exit_code() & 0xff), name(reason), ""};
    case StopReason::triple_fault:
      return {triple_fault, name(reason), "The guest ended in a triple fault.", machine.describe_processor()};
    case StopReason::halted: return {limit, name(reason), "The guest has halted with interrupts off, and nothing can wake it."};
    case StopReason::boot_failed:
      return {failed, name(reason), "The guest cannot be loaded again after its reset: " + machine.boot_error()};
    default: return {limit, name(reason), ""};
  }
}

uint64_t now_nanoseconds() {
  return static_cast<uint64_t>(std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
}

void print_hash(Machine& machine, Host& host) {
  host.flush();
  std::fprintf(stderr, "hash %llu %016llx\n", static_cast<unsigned long long>(machine.ticks()),
               static_cast<unsigned long long>(machine.state_hash()));
}

Ending run(Machine& machine, Host& host, Keyboard& keyboard, const Options& options, OutputFile& exits) {
  auto tell = [&] {
    if (std::string text = machine.take_monitor_output(); !text.empty()) std::fwrite(text.data(), 1, text.size(), stdout);
    if (!exits.wanted()) return;
    std::string lines = machine.take_vm_exits();
    exits.write(lines.data(), lines.size());
  };
  uint64_t last_pace = now_nanoseconds();
  uint64_t start = machine.ticks();
  uint64_t limit_at = options.max_instructions > ~uint64_t{0} - start ? ~uint64_t{0} : start + options.max_instructions;
  uint64_t next_hash = options.hash_every ? (start / options.hash_every + 1) * options.hash_every : ~uint64_t{0};
  if (options.stop_at <= start && options.stop_at != ~uint64_t{0})
    return {bad_usage, "error",
            "--stop-at " + std::to_string(options.stop_at) + " lies before tick " + std::to_string(start) +
                ", where this machine stands."};
  // What a program has written to the monitor is heard before anything runs.
  if (options.monitor) keyboard.poll(machine, host.keyboard(), 100);
  while (true) {
    if (signalled) return {interrupted, "interrupted", ""};
    if (resized) {
      resized = 0;
      unsigned columns, rows;
      if (terminal_size(columns, rows) && !options.replay.given()) machine.resize_console(columns, rows);
    }
    machine.set_tick_limit(std::min({limit_at, next_hash, options.stop_at}));
    StopReason reason = machine.run(slice_ticks);
    tell();
    if (host.matched()) return {ended_well, "match", ""};

    int wait = 0;
    switch (reason) {
      case StopReason::budget:
      case StopReason::stopped: break;
      case StopReason::paused:
        if (keyboard.ended()) return {ended_well, "quit", ""};
        wait = longest_wait;
        break;
      case StopReason::quit: return {ended_well, name(reason), ""};
      case StopReason::idle:
        wait = static_cast<int>(std::min<uint64_t>(machine.nanoseconds_until_wake() / 1'000'000 + 1, longest_wait));
        break;
      case StopReason::tick_limit:
        if (machine.ticks() >= next_hash) {
          print_hash(machine, host);
          next_hash = (machine.ticks() / options.hash_every + 1) * options.hash_every;
        } else if (machine.ticks() >= options.stop_at) {
          print_hash(machine, host);
        }
        if (machine.ticks() >= options.stop_at) return {ended_well, "stop-at", ""};
        if (machine.ticks() >= limit_at) return {limit, "max-instructions", "The limit of --max-instructions was reached."};
        break;
      default: return ending_of(reason, machine, options);
    }
    host.flush();
    if (!keyboard.poll(machine, host.keyboard(), wait)) return {ended_well, "quit", ""};
    if (options.config.host_clock) {
      uint64_t now = now_nanoseconds();
      machine.pace(now - last_pace);
      last_pace = now;
    }
  }
}

std::string save(Machine& machine, Machine::Extent extent, OutputFile& file) {
  if (!file.wanted()) return {};
  std::string error;
  std::unique_ptr<SnapshotWriter> writer = machine.save(extent, error);
  if (!writer) return error;
  Gzip gzip([&](const uint8_t* bytes, size_t size) { file.write(bytes, size); });
  for (Bytes piece; writer->next(piece);) gzip.add(piece);
  gzip.finish();
  return {};
}

std::string write_results(Machine& machine, Outputs& outputs, const Ending& ending, uint64_t began) {
  // The changes first: they are told against what was loaded.
  std::string refusal = save(machine, Machine::Extent::changes, outputs.save_changes);
  if (refusal.empty()) refusal = save(machine, Machine::Extent::whole, outputs.save_state);
  if (outputs.record.wanted()) {
    Bytes log = machine.recording();
    outputs.record.write(log.data(), log.size());
  }
  if (outputs.stats.wanted()) {
    rusage usage = {};
    getrusage(RUSAGE_SELF, &usage);
    RunFigures figures{"native", static_cast<double>(now_nanoseconds() - began) / 1e9,
                       static_cast<uint64_t>(usage.ru_maxrss) * 1024, ending.name, static_cast<unsigned>(ending.status)};
    std::string text = stats_json(machine.stats(), figures) + "\n";
    outputs.stats.write(text.data(), text.size());
  }
  std::string failure = outputs.close();
  return refusal.empty() ? failure : refusal;
}

void handle_signals() {
  struct sigaction action = {};
  action.sa_handler = [](int) { signalled = 1; };
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
  action.sa_handler = [](int) { resized = 1; };
  sigaction(SIGWINCH, &action, nullptr);
}

// The machine of --load-state and its --base. Null, with a sentence.
std::unique_ptr<Machine> load(Options& options, MachineListener& listener, std::string& error) {
  SnapshotLoader loader(listener, std::move(options.config.drives), options.base.given());
  auto feed = [&](Image& image) {
    if (!gunzip(image.bytes, [&](const uint8_t* bytes, size_t size) { return loader.add(bytes, size); })) loader.damaged();
    Bytes().swap(image.bytes);
  };
  if (options.base.given()) {
    feed(options.base);
    if (!loader.end_of_base()) return error = refused(options.base, "base", loader.error()), nullptr;
  }
  feed(options.load_state);
  std::unique_ptr<Machine> machine = loader.finish();
  if (!machine) error = refused(options.load_state, "snapshot", loader.error());
  return machine;
}

int matryoshka_main(const std::vector<std::string>& arguments) {
  if (!arguments.empty() && arguments[0] == "vectors") return vectors_command({arguments.begin() + 1, arguments.end()});
  Options options;
  auto refuse = [](const std::string& sentence) {
    say(sentence);
    return int{bad_usage};
  };
  if (std::string error = parse_options(arguments, options); !error.empty()) return refuse(error);
  if (options.help) {
    std::fputs(help_text().c_str(), stdout);
    return ended_well;
  }
  if (options.engine == Options::Engine::jit || options.engine == Options::Engine::verify)
    return refuse("--engine jit and --engine verify make WebAssembly, which a native program cannot run; leave --native away.");
  if (options.jit.trace)
    return refuse("--trace jit shows WebAssembly, which a native program does not make; leave --native away.");
  settle(options, isatty(STDIN_FILENO), static_cast<uint64_t>(std::time(nullptr)));
  Script script;
  if (std::string error = script.prepare(options); !error.empty()) return refuse(error);
  if (std::string error = read_files(options); !error.empty()) return refuse(error);
  Outputs outputs;
  if (std::string error = outputs.open(options); !error.empty()) return refuse(error);

  uint64_t began = now_nanoseconds();
  Host host(options, outputs, script);
  std::string error;
  std::unique_ptr<Machine> machine =
      options.load_state.given() ? load(options, host, error) : Machine::create(std::move(options.config), host, error);
  if (!machine) return refuse(error);
  options.config.host_clock = machine->config().host_clock;
  host.attach(machine.get());
  if (options.replay.given() && !machine->replay(options.replay.bytes, error))
    return refuse(refused(options.replay, "recording", error));
  if (!options.record.empty()) machine->record();

  handle_signals();
  Ending ending;
  {
    const bool keys = options.serial.kind == Sink::Kind::terminal && !options.replay.given();
    RawTerminal terminal(keys && !options.monitor);
    Keyboard keyboard(terminal.raw(), keys || options.monitor, options.monitor);
    if (options.monitor) machine->open_monitor(false, false);
    if (outputs.trace_vmexit.wanted()) machine->trace_vm_exits();
    ending = run(*machine, host, keyboard, options, outputs.trace_vmexit);
    host.flush();
  }
  if (!ending.sentence.empty()) say(ending.sentence);
  std::fputs(ending.details.c_str(), stderr);
  if (std::string failure = write_results(*machine, outputs, ending, began); !failure.empty()) {
    say(failure);
    return failed;
  }
  return ending.status;
}

}  // namespace
}  // namespace matryoshka

int main(int argc, char** argv) try {
  return matryoshka::matryoshka_main({argv + 1, argv + argc});
} catch (const std::bad_alloc&) {
  matryoshka::say("The host did not give the memory that these files and options need.");
  return matryoshka::bad_usage;
}
