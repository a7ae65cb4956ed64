// What JavaScript may call: a machine behind a handful of functions of the wasm module, one machine to an instance.
//
// Arguments are numbers. Bytes go in through memory that mx_buffer() or mx_file() gave, and come back through mx_result().
// Functions that can be refused return 0 for success, and otherwise leave one sentence in the result. Counts are doubles,
// exact up to 2^53. JavaScript calls mx_run() for every slice, and it stays a wasm function of its own: V8 compiles a
// function well only when it is entered anew.
#include <emscripten.h>

#include <algorithm>
#include <cstring>

#include "devices/machine/json.h"
#include "devices/machine/machine.h"
#include "devices/machine/options.h"
#include "devices/machine/report.h"
#include "devices/machine/snapshot.h"
#include "wasm-jit/engine.h"
#include "web/api/compiler.h"

using namespace matryoshka;

extern "C" {
// The one import of ours: a byte that the guest wrote. JavaScript may call mx_input() and mx_stop() from inside it.
__attribute__((import_module("host"), import_name("output"))) void host_output(unsigned port, unsigned byte);
}

namespace {

class Host final : public MachineListener {
 public:
  void output(Port port, uint8_t byte) override { host_output(static_cast<unsigned>(port), byte); }
};

// An instance is one machine's, so this is the one place that may be static.
struct Session {
  Host host;
  Compiler compiler;
  Options options;
  std::unique_ptr<SnapshotLoader> loader;
  std::unique_ptr<Machine> machine;
  std::unique_ptr<SnapshotWriter> writer;
  Bytes buffer;
  Bytes result;

  int answer(const std::string& text) {
    result.assign(text.begin(), text.end());
    return text.empty() ? 0 : 1;
  }
};

Session& session() {
  static Session* session = new Session;
  return *session;
}

uint64_t count(double number) { return number >= 0x1p63 ? ~uint64_t{0} : number > 0 ? static_cast<uint64_t>(number) : 0; }

}  // namespace

#define EXPORT extern "C" EMSCRIPTEN_KEEPALIVE

EXPORT uint8_t* mx_buffer(size_t size) {
  session().buffer.resize(size);
  return session().buffer.data();
}
EXPORT const uint8_t* mx_result() { return session().result.data(); }
EXPORT size_t mx_result_size() { return session().result.size(); }

// The buffer holds the arguments, a NUL after each. 0: the result is the plan as JSON; 1: a sentence; 2: the help text.
EXPORT int mx_configure(int at_terminal, double now_seconds) {
  Session& s = session();
  std::vector<std::string> arguments;
  for (size_t i = 0; i < s.buffer.size(); i += arguments.back().size() + 1) {
    const char* text = reinterpret_cast<const char*>(s.buffer.data()) + i;
    arguments.emplace_back(text, strnlen(text, s.buffer.size() - i));
  }
  s.options = {};
  if (s.answer(parse_options(arguments, s.options))) return 1;
  if (s.options.help) {
    s.answer(help_text());
    return 2;
  }
  settle(s.options, at_terminal != 0, count(now_seconds));
  s.answer(plan_json(s.options));
  return 0;
}

// Where the bytes of the plan's file `index` go.
EXPORT uint8_t* mx_file(unsigned index, size_t size) {
  std::vector<WantedFile> files = wanted_files(session().options);
  if (index >= files.size()) return nullptr;
  Bytes& bytes = files[index].image->bytes;
  bytes.resize(size);
  return bytes.data();
}

// Where the bytes of one more file of the shared folder go; its path in the folder is in the buffer.
EXPORT uint8_t* mx_shared_file(size_t size) {
  Session& s = session();
  std::vector<Image>& files = s.options.config.shared_files;
  files.push_back({std::string(s.buffer.begin(), s.buffer.end()), Bytes(size)});
  return files.back().bytes.data();
}

// A plan with a snapshot is made from the unpacked bytes of its base, if it has one, and of the snapshot, in pieces that the
// buffer brings. `spare_drives`: a drive of the plan that the snapshot has not is no mistake.
EXPORT void mx_load_begin(int spare_drives) {
  Session& s = session();
  auto rule = spare_drives ? SnapshotLoader::Drives::spare_allowed : SnapshotLoader::Drives::all_belong;
  s.loader = std::make_unique<SnapshotLoader>(s.host, std::move(s.options.config.drives), s.options.base.given(), rule);
}
EXPORT int mx_load_piece(size_t size) {
  Session& s = session();
  return s.loader->add(s.buffer.data(), std::min(size, s.buffer.size())) ? 0 : 1;
}
// After the last piece of each file, or one that was refused. `unpacked`: the file could be read to its end.
EXPORT int mx_load_end(int of_base, int unpacked) {
  Session& s = session();
  if (!unpacked) s.loader->damaged();
  bool good = of_base ? s.loader->end_of_base() : (s.machine = s.loader->finish()) != nullptr;
  if (!good)
    return s.answer(refused(of_base ? s.options.base : s.options.load_state, of_base ? "base" : "snapshot", s.loader->error()));
  return 0;
}

// Makes the machine from the plan and its files, if no snapshot has brought it.
EXPORT int mx_create() {
  Session& s = session();
  s.loader.reset();
  if (s.answer(check_files(s.options))) return 1;
  std::string error;
  if (!s.machine) s.machine = Machine::create(std::move(s.options.config), s.host, error);
  if (!s.machine) return s.answer(error);
  const Image& log = s.options.replay;
  if (log.given() && !s.machine->replay(log.bytes, error)) {
    s.machine.reset();
    return s.answer(refused(log, "recording", error));
  }
  if (s.options.engine != Options::Engine::interpreter) s.machine->compile_with(s.compiler, s.options.jit);
  s.options = {};
  return 0;
}

EXPORT int mx_run(double ticks) { return static_cast<int>(session().machine->run(count(ticks))); }
EXPORT void mx_stop() { session().machine->stop(); }
EXPORT void mx_set_tick_limit(double ticks) { session().machine->set_tick_limit(ticks < 0 ? ~uint64_t{0} : count(ticks)); }
EXPORT void mx_reset() { session().machine->reset(); }
EXPORT void mx_press_power_button() { session().machine->press_power_button(); }
EXPORT unsigned mx_exit_code() { return session().machine->exit_code(); }

// The first `size` bytes of the buffer, typed.
EXPORT void mx_input(unsigned port, size_t size) {
  Session& s = session();
  s.machine->input(static_cast<Port>(port), s.buffer.data(), std::min(size, s.buffer.size()));
}
EXPORT void mx_resize(unsigned columns, unsigned rows) { session().machine->resize_console(columns, rows); }

EXPORT void mx_pace(double real_nanoseconds) { session().machine->pace(count(real_nanoseconds)); }
EXPORT double mx_nanoseconds_until_wake() { return static_cast<double>(session().machine->nanoseconds_until_wake()); }
EXPORT int mx_host_clock() { return session().machine->config().host_clock; }

EXPORT double mx_ticks() { return static_cast<double>(session().machine->ticks()); }
EXPORT double mx_retired() { return static_cast<double>(session().machine->stats().retired); }
EXPORT uint64_t mx_hash() { return session().machine->state_hash(); }

// The result is the JSON of --stats; what the host adds is in the buffer as "ended", a NUL after it.
EXPORT void mx_stats(double wall_seconds, double peak_memory_bytes, unsigned status) {
  Session& s = session();
  std::string ended(s.buffer.begin(), std::find(s.buffer.begin(), s.buffer.end(), 0));
  s.answer(stats_json(s.machine->stats(), {"wasm", wall_seconds, count(peak_memory_bytes), ended, status}));
}
EXPORT void mx_jit_trace() { session().answer(session().machine->take_jit_trace()); }
EXPORT void mx_verification() { session().answer(session().machine->verification()); }
// The inspector's prompt: keys come in the buffer, text goes out as the result.
EXPORT void mx_monitor_open(int echo, int pause) { session().machine->open_monitor(echo != 0, pause != 0); }
EXPORT void mx_monitor_close() { session().machine->close_monitor(); }
EXPORT void mx_monitor_type(size_t size) {
  Session& s = session();
  s.machine->type_at_monitor(s.buffer.data(), std::min(size, s.buffer.size()));
}
EXPORT void mx_monitor_output() { session().answer(session().machine->take_monitor_output()); }
EXPORT int mx_monitor_holds() { return session().machine->monitor_holds(); }
// A command beside the prompt; it is in the buffer. 0: the answer is the result; 1: it comes when nothing is pending any more.
EXPORT int mx_monitor_ask(size_t size) {
  Session& s = session();
  if (!s.machine->ask_monitor(std::string(s.buffer.begin(), s.buffer.begin() + std::min(size, s.buffer.size())))) return 1;
  s.answer(s.machine->take_monitor_answer());
  return 0;
}
EXPORT int mx_monitor_pending() { return session().machine->monitor_pending(); }
EXPORT void mx_monitor_answer() { session().answer(session().machine->take_monitor_answer()); }
EXPORT void mx_panes() { session().answer(session().machine->panes()); }
EXPORT void mx_trace_vm_exits() { session().machine->trace_vm_exits(); }
EXPORT void mx_vm_exits() { session().answer(session().machine->take_vm_exits()); }

EXPORT void mx_describe() { session().answer(session().machine->describe_processor()); }
EXPORT void mx_boot_error() { session().answer(session().machine->boot_error()); }

// Begins a snapshot; nothing but mx_save_piece() may be called until that answers 0. The result is a piece if it answers 1.
EXPORT int mx_save_begin(int changes) {
  Session& s = session();
  std::string error;
  s.writer = s.machine->save(changes ? Machine::Extent::changes : Machine::Extent::whole, error);
  return s.answer(error);
}
EXPORT int mx_save_piece() {
  Session& s = session();
  if (s.writer->next(s.result)) return 1;
  s.writer.reset();
  return 0;
}
EXPORT void mx_record() { session().machine->record(); }
EXPORT void mx_recording() { session().result = session().machine->recording(); }
// Large results are given back when they have been read.
EXPORT void mx_drop_result() { Bytes().swap(session().result); }
