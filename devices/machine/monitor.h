// The inspector's commands: what a person types at the monitor prompt, in a terminal or in the page.
//
// A command looks at the machine and changes nothing in it but when it runs and where it stops, so looking makes no difference to
// what the guest sees. There is one for the native program, the Node tool and the page.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace matryoshka {

class Processor;

class Monitor {
 public:
  explicit Monitor(Processor& cpu) : cpu_(cpu) {}

  // ---- The prompt: keys in, text out. A terminal without line editing of its own wants `echo`.

  void open(bool echo, bool pause);
  void close();
  bool is_open() const { return open_; }
  void type(std::string_view keys);
  std::string take_output();

  // ---- For programs: one command, whose answer keeps out of the prompt. False: it waits (until, step), and the answer is there
  // when pending() has become false.

  bool ask(std::string_view command);
  bool pending() const { return asked_; }
  std::string take_answer() { return std::exchange(answer_, {}); }

  // ---- For the board

  bool paused() const { return paused_; }
  bool take_quit() { return std::exchange(quits_, false); }
  // Told behind each run of the processor: whether what was waited for has come, so that the machine pauses.
  [[nodiscard]] bool arrived();
  // How far the processor may run: `step` wants one instruction.
  uint64_t limit(uint64_t now, uint64_t limit) const { return steps_ ? now + 1 : limit; }

 private:
  using Words = std::vector<std::string>;
  using Action = std::string (Monitor::*)(const Words&);
  struct Row {
    const char* name;
    const char* usage;
    const char* help;
    Action action;
  };
  static const Row rows_[];

  std::string help(const Words&);
  std::string layers(const Words&);
  std::string regs(const Words&);
  std::string exits(const Words&);
  std::string why(const Words&);
  std::string vmcs(const Words&);
  std::string walk(const Words&);
  std::string until(const Words&);
  std::string step(const Words&);
  std::string cont(const Words&);
  std::string pause(const Words&);

  std::string quit(const Words&);

  std::string execute(std::string_view line);
  void work_off_keys();
  void take_escape();
  void remember();
  void say(std::string_view text);
  void print(std::string_view text);
  std::string where() const;
  std::string next_instruction() const;
  std::string compare(const Words& words);

  Processor& cpu_;
  bool open_ = false, echo_ = false;
  bool asked_ = false;  // the command that runs, or waits, came through ask()
  bool paused_ = false, quits_ = false;
  bool waiting_ = false;  // until or step: the next command comes after it
  bool follow_ = false;
  uint64_t told_ = 0;  // events up to here have been shown by `exits follow`
  uint64_t steps_ = 0;
  std::string keys_, line_, escape_, output_, answer_;
  std::vector<std::string> history_;
  size_t recalled_ = 0;  // the place in it that the arrows have reached
};

}  // namespace matryoshka
