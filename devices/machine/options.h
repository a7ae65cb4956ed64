// The command line, read once for the native program, the Node tool and the page: QEMU's options where QEMU has one, and
// ours beside them. options.cpp has them all in one table; `--help` prints that table.
//
// Reading the line does not touch a file. What comes out is a configuration whose images have names and no bytes, and
// wanted_files() says where the host is to put the bytes. Options of parts that are not built yet are known and refused
// with a sentence, so nobody waits for a thing that was silently left out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "devices/machine/machine.h"

namespace matryoshka {

// When the line that the guest is writing matches `pattern`, `text` is typed. Rules are a script: each is used once, and
// the next waits for the one before it.
struct TypeRule {
  std::string pattern;
  std::string text;
};

struct Sink {
  enum class Kind : uint8_t { none, terminal, file } kind = Kind::none;
  std::string path;
};

struct Options {
  bool help = false;
  MachineConfig config;
  Image load_state;  // a snapshot to go on from, instead of a machine made from `config`; it may need the drives of `config`
  Image base;        // the whole snapshot to which load_state holds the changes
  Image replay;      // a recording to follow

  enum class Engine : uint8_t { best, interpreter, jit, verify } engine = Engine::best;  // best: jit where there is one
  JitConfig jit;
  Sink serial{Sink::Kind::terminal, {}};
  Sink debugcon;
  std::string share;  // the folder that the guest sees as 9p `share`

  std::string until;  // an ECMAScript regular expression, or empty
  std::vector<TypeRule> type;
  uint64_t max_instructions = ~uint64_t{0};
  uint64_t stop_at = ~uint64_t{0};
  uint64_t hash_every = 0;
  std::string stats, save_state, save_changes, record;  // files to write at the end
  std::string trace_vmexit, trace_jit;                  // and while it runs
  bool monitor = false;                                 // standard input is the monitor's

  // Left open by the line; settle() decides.
  enum class Clock : uint8_t { open, virtual_time, host } clock = Clock::open;
  bool epoch_now = false;
};

// Empty, or one sentence that says what is wrong and what would be right. `arguments` are those after the program's name.
[[nodiscard]] std::string parse_options(const std::vector<std::string>& arguments, Options& options);

// Decides what the line left open. Somebody who sits at a terminal wants real time; a run that is driven by a program
// (--until, --hash-every and the like, or input that is no terminal) wants to repeat, and gets the virtual clock.
void settle(Options& options, bool at_terminal, uint64_t now_seconds);

struct WantedFile {
  std::string role;  // "kernel", as it is called in sentences
  Image* image;      // named; the bytes go here
};
std::vector<WantedFile> wanted_files(Options& options);

// The sentence for a file that was read but cannot be what it should.
[[nodiscard]] std::string check_files(Options& options);

// The same for what the machine says of a snapshot or recording, which it has only as bytes.
std::string refused(const Image& image, const std::string& role, std::string sentence);

std::string help_text();
// For hosts written in JavaScript: what to read, where to send output, when to stop.
std::string plan_json(Options& options);

}  // namespace matryoshka
