#include "devices/machine/monitor.h"

#include <algorithm>
#include <cinttypes>
#include <cstdlib>
#include <utility>

#include "cpu/disassemble.h"
#include "cpu/processor.h"
#include "devices/machine/inspector_text.h"
#include "vmx-model/describe.h"

namespace matryoshka {

using namespace vmx;

namespace {

std::string plain(std::string_view text) {
  std::string result;
  for (char c : text)
    if (c >= 'A' && c <= 'Z')
      result += static_cast<char>(c - 'A' + 'a');
    else if (c != ' ' && c != '-' && c != '_' && c != '/')
      result += c;
  return result;
}

bool read_number(const std::string& word, uint64_t& value) {
  constexpr size_t most_digits = 18;  // which fit
  if (word.empty() || word.size() > most_digits || word.find_first_not_of("0123456789") != std::string::npos) return false;
  value = std::strtoull(word.c_str(), nullptr, 10);
  return true;
}

// The reasons that words name: by number, by the whole name, or else all whose names begin so.
std::vector<unsigned> find_reasons_named(const std::vector<std::string>& words, size_t from) {
  std::string name;
  for (size_t i = from; i < words.size(); ++i) name += plain(words[i]);
  uint64_t number;
  if (read_number(words[from], number) && number < Trace::most_reasons && find_reason(static_cast<unsigned>(number)))
    return {static_cast<unsigned>(number)};
  std::vector<unsigned> found;
  for (unsigned n = 0; n < Trace::most_reasons; ++n) {
    const ReasonInfo* reason = find_reason(n);
    if (!reason) continue;
    const std::string title = plain(reason->title);
    if (title == name) return {n};
    if (title.starts_with(name)) found.push_back(n);
  }
  return found;
}

}  // namespace

const Monitor::Row Monitor::rows_[] = {
    {"help", "help", "this list", &Monitor::help},
    {"layers", "layers", "who runs whom: this machine, its Linux, guests and their guests", &Monitor::layers},
    {"regs", "regs [LAYER]", "registers of the layer that runs, or what the VMCS keeps of another (L1, L2, ...)", &Monitor::regs},
    {"exits", "exits [N | by-reason | follow]", "the last VM exits, or counts by reason; follow prints them as they come",
     &Monitor::exits},
    {"why", "why [exit | fail | N]", "what caused the last exit, the last failed entry, or event N", &Monitor::why},
    {"vmcs", "vmcs [control | guest | host | info | diff A B]", "the current VMCS by groups; diff compares it after two exits",
     &Monitor::vmcs},
    {"walk", "walk ADDRESS [LAYER]", "how a linear address is translated, level by level", &Monitor::walk},
    {"until", "until exit | entry | fail [REASON]", "run to the next VM exit (of that reason), entry, or failed entry",
     &Monitor::until},
    {"step", "step [N]", "run one instruction, or N", &Monitor::step},
    {"cont", "cont", "run", &Monitor::cont},
    {"pause", "pause", "stop running; Ctrl-C does so too, and gives up an until or a step", &Monitor::pause},
    {"quit", "quit", "end the machine", &Monitor::quit},
};

namespace {
constexpr const char* prompt = "(matryoshka) ";
}

// ---- The prompt

void Monitor::say(std::string_view text) {
  if (asked_)
    answer_ += text;
  else
    print(text);
}

void Monitor::print(std::string_view text) {
  for (char c : text) {
    if (c == '\n' && echo_) output_ += '\r';
    output_ += c;
  }
}

void Monitor::open(bool echo, bool pause) {
  // Whoever comes back to a prompt finds it as it was left; and what is waited for goes on.
  if (open_ && (!pause || paused_ || waiting_)) return;
  const bool first = !std::exchange(open_, true);
  echo_ = echo;
  if (first && echo_) print("This is the monitor; help lists its commands.\n");
  if (pause) {
    paused_ = true;
    print("\n" + where() + " at " + next_instruction() + "\n");
  }
  if (echo_) print(prompt + line_);
}

void Monitor::close() {
  open_ = paused_ = waiting_ = follow_ = asked_ = false;
  steps_ = 0;
  keys_.clear(), line_.clear(), escape_.clear();
  cpu_.vmx.trace.watch({});
  say("\n");
}

std::string Monitor::take_output() {
  if (follow_)
    for (const Trace& trace = cpu_.vmx.trace; told_ < trace.count(); ++told_)
      if (const TraceEvent* e = trace.find(told_)) print(event_line(*e));
  return std::exchange(output_, {});
}

void Monitor::type(std::string_view keys) {
  constexpr size_t most_ahead = 1 << 16;
  if (keys_.size() + keys.size() > most_ahead) return;
  keys_ += keys;
  // Ctrl-C: what was typed before it is forgotten, what is waited for is given up, and the machine pauses.
  if (const size_t at = keys_.rfind('\x03'); at != std::string::npos) {
    keys_.erase(0, at + 1);
    asked_ = waiting_ = false;
    steps_ = 0;
    line_.clear(), escape_.clear();
    say("^C\n" + pause({}));
    if (echo_) say(prompt);
  }
  work_off_keys();
}

void Monitor::work_off_keys() {
  constexpr size_t longest_line = 200;
  size_t done = 0;
  while (done < keys_.size() && !waiting_) {
    const char c = keys_[done++];
    if (echo_ && (c == '\x1b' || !escape_.empty())) {
      escape_ += c;
      take_escape();
    } else if (c == '\r' || c == '\n') {
      if (echo_) say("\n");
      remember();
      say(execute(std::exchange(line_, {})));
      if (echo_ && !waiting_) say(prompt);
    } else if (c == '\b' || c == 0x7f) {
      if (line_.empty()) continue;
      line_.pop_back();
      if (echo_) output_ += "\b \b";
    } else if (c >= ' ' && c <= '~' && line_.size() < longest_line) {
      line_ += c;
      if (echo_) output_ += c;
    }
  }
  keys_.erase(0, done);
}

// A key that comes as an escape sequence: CSI or SS3. The arrows up and down bring earlier lines back, the others do nothing.
void Monitor::take_escape() {
  const char c = escape_.back();
  if (escape_.size() == 1 || (escape_.size() == 2 && (c == '[' || c == 'O'))) return;
  if (escape_.size() > 2 && (c < '@' || c > '~') && escape_.size() < 16) return;
  escape_.clear();
  if (c == 'A' && recalled_ > 0)
    --recalled_;
  else if (c == 'B' && recalled_ < history_.size())
    ++recalled_;
  else
    return;
  for (size_t i = 0; i < line_.size(); ++i) output_ += "\b \b";
  line_ = recalled_ < history_.size() ? history_[recalled_] : std::string();
  output_ += line_;
}

void Monitor::remember() {
  constexpr size_t most = 100;
  if (!line_.empty() && (history_.empty() || history_.back() != line_)) history_.push_back(line_);
  if (history_.size() > most) history_.erase(history_.begin());
  recalled_ = history_.size();
}

bool Monitor::ask(std::string_view command) {
  if (waiting_) {
    answer_ = "The monitor waits for what `until` or `step` asked for; pause the machine first.\n";
    return true;
  }
  asked_ = true;
  say(execute(command));
  asked_ = waiting_;
  return !asked_;
}

std::string Monitor::execute(std::string_view given) {
  Words words;
  std::string word;
  for (char c : std::string(given) + " ") {
    if (c != ' ' && c != '\t')
      word += c;
    else if (!word.empty())
      words.push_back(std::exchange(word, {}));
  }
  if (words.empty()) return {};
  for (const Row& row : rows_)
    if (plain(row.name) == plain(words[0])) return (this->*row.action)(words);
  return "There is no command \"" + words[0].substr(0, 40) + "\"; help lists them.\n";
}

bool Monitor::arrived() {
  if (steps_ && --steps_ == 0) waiting_ = false, paused_ = true;
  if (cpu_.vmx.trace.met()) {
    cpu_.vmx.trace.watch({});
    waiting_ = false, paused_ = true;
    say(why({"why", std::to_string(cpu_.vmx.trace.count() - 1)}));
  } else if (!paused_ || waiting_) {
    return false;
  }
  say(where() + " at " + next_instruction() + "\n");
  if (!std::exchange(asked_, false) && echo_) say(prompt);
  work_off_keys();
  return paused_;
}

std::string Monitor::help(const Words&) {
  std::string text;
  for (const Row& row : rows_) text += formatted("  %-46s %s\n", row.usage, row.help);
  return text;
}

// ---- Where we are

std::string Monitor::where() const { return layer_name(running_depth(cpu_.vmx)); }

std::string Monitor::next_instruction() const {
  const CpuState& s = cpu_.state;
  const unsigned bits = cpu_.mode().code_bits;
  const uint64_t linear = bits == 64 ? s.rip : static_cast<uint32_t>(s.rip + s.segment[CS].base);
  Mmu::CodePage page{};
  // Right behind an exit the processor may not have been there yet; under EPT it is left at that.
  if (uint64_t physical;
      !cpu_.mmu.known_code_page(linear, page) && !cpu_.mmu.limits.ept.on && peek_physical(s, cpu_.memory, linear, physical))
    page.host = cpu_.memory.readable_page(physical);
  if (!page.host) return formatted("%#" PRIx64, s.rip);
  const uint64_t in_page = page_size - (linear & (page_size - 1));
  Instruction in;
  if (cpu_.decoder().decode({page.host + (linear & (page_size - 1)), static_cast<size_t>(std::min<uint64_t>(in_page, 15))}, bits,
                            in) != DecodeResult::ok)
    return formatted("%#" PRIx64, s.rip);
  return formatted("%#" PRIx64 ": ", s.rip) + disassemble(in, bits, s.rip);
}

std::string Monitor::layers(const Words&) { return layers_text(cpu_.vmx); }

// ---- Registers

namespace {

// The layer that a word names, or 0.
unsigned layer_number(const std::string& word) {
  const bool lettered = word.size() == 2 && (word[0] == 'L' || word[0] == 'l');
  const char digit = lettered ? word[1] : word.size() == 1 ? word[0] : '0';
  return digit >= '1' && digit <= '9' ? static_cast<unsigned>(digit - '0') : 0;
}

constexpr const char* no_such_layer =
    "Layers are called L1 (the host), L2 (a guest), L3 and so on; `layers` lists those there are.\n";

}  // namespace

std::string Monitor::regs(const Words& words) {
  const CpuState& s = cpu_.state;
  const unsigned running = running_depth(cpu_.vmx);
  const unsigned asked = words.size() > 1 ? layer_number(words[1]) : running;
  if (asked == 0) return no_such_layer;
  if (asked != running) {
    const Vmcs* v = asked == 1 ? cpu_.vmx.current() : keeper_of(cpu_.vmx, asked);
    if (!v) return no_such_layer;
    return layer_name(asked) + ", as its VMCS keeps it:\n" + kept_registers_text(*v, asked == 1);
  }
  static constexpr const char* names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                          "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
  std::string text = where() + " at " + next_instruction() + "\n";
  for (unsigned i = 0; i < 16; ++i) text += formatted("%-6s %016" PRIx64 "%s", names[i], s.gpr[i], i % 4 == 3 ? "\n" : "  ");
  text += formatted("rip    %016" PRIx64 "  rflags %016" PRIx64 "  cr0    %016" PRIx64 "  cr2    %016" PRIx64 "\n", s.rip,
                    s.rflags(), s.cr0, s.cr2);
  text += formatted("cr3    %016" PRIx64 "  cr4    %016" PRIx64 "  efer   %016" PRIx64 "  dr7    %016" PRIx64 "\n", s.cr3, s.cr4,
                    s.msr.efer, s.dr7);
  static constexpr const char* segment_names[] = {"es", "cs", "ss", "ds", "fs", "gs"};
  for (unsigned i = 0; i < segment_count; ++i)
    text += formatted("%-6s %04x base %016" PRIx64 " limit %08x rights %05x  %s\n", segment_names[i], s.segment[i].selector,
                      s.segment[i].base, s.segment[i].limit, s.segment[i].rights,
                      describe_field(Field::guest_es_rights, s.segment[i].rights).c_str());
  return text;
}

// ---- Exits

std::string Monitor::exits(const Words& words) {
  const Trace& trace = cpu_.vmx.trace;
  if (words.size() > 1 && plain(words[1]) == "byreason") return reasons_text(trace);
  if (words.size() > 1 && plain(words[1]) == "follow") {
    follow_ = true, paused_ = false;
    told_ = trace.count();
    return "Every entry and exit is printed from now on; pause ends it.\n";
  }
  uint64_t wanted = 20;
  if (words.size() > 1 && !read_number(words[1], wanted)) return "exits takes a number, by-reason or follow.\n";
  return exits_text(trace, wanted);
}

std::string Monitor::why(const Words& words) {
  const Vmx& vmx = cpu_.vmx;
  const std::string what = words.size() > 1 ? plain(words[1]) : "exit";
  if (what == "exit") return why_exit_text(vmx);
  if (what == "fail") return why_fail_text(vmx);
  uint64_t number;
  if (!read_number(words[1], number)) return "why takes exit, fail, or the number of an event from `exits`.\n";
  const TraceEvent* e = vmx.trace.find(number);
  return e ? why_text(vmx, *e) : "There is no event of that number, or it has been overwritten by later ones.\n";
}

// ---- The VMCS

std::string Monitor::compare(const Words& words) {
  uint64_t numbers[2];
  if (words.size() != 4 || !read_number(words[2], numbers[0]) || !read_number(words[3], numbers[1]))
    return "vmcs diff takes the numbers of two exits; `exits` shows them.\n";
  const ExitCopy* copies[2];
  for (unsigned i = 0; i < 2; ++i) {
    copies[i] = cpu_.vmx.trace.find_copy(numbers[i]);
    if (!copies[i]) return formatted("Event %" PRIu64 " is no exit, or none of the last %u events.\n", numbers[i], Trace::copies);
  }
  std::string text;
  for (unsigned i = 0; i < field_count; ++i) {
    const auto f = static_cast<Field>(i);
    if (copies[0]->fields[i] == copies[1]->fields[i]) continue;
    text += std::string(info(f).title) + "\n  " +
            number_with_words(copies[0]->fields[i], describe_field(f, copies[0]->fields[i])) + "\n  " +
            number_with_words(copies[1]->fields[i], describe_field(f, copies[1]->fields[i])) + "\n";
  }
  return text.empty() ? "Not a field differs.\n" : text;
}

std::string Monitor::vmcs(const Words& words) {
  const Vmx& vmx = cpu_.vmx;
  const std::string what = words.size() > 1 ? plain(words[1]) : "";
  if (what == "diff") return compare(words);
  static constexpr std::pair<const char*, Group> groups[] = {
      {"control", Group::control}, {"info", Group::read_only}, {"guest", Group::guest}, {"host", Group::host}};
  const auto found = std::find_if(std::begin(groups), std::end(groups), [&](const auto& g) { return what == g.first; });
  if (!what.empty() && found == std::end(groups))
    return "The groups are control, guest, host and info; `vmcs` alone shows all.\n";
  if (!vmx.current()) return no_current_vmcs;
  const Vmcs& v = *vmx.current();
  std::string text = formatted("VMCS %#" PRIx64 ", %s, current\n", v.address, v.launched ? "launched" : "clear");
  for (const auto& [name, group] : groups) {
    if (!what.empty() && group != found->second) continue;
    text += std::string(describe_group(group)) + "\n";
    for (unsigned i = 0; i < field_count; ++i) {
      const auto f = static_cast<Field>(i);
      if (info(f).group != group || !vmx.capabilities().has(f)) continue;
      text += formatted("  %04x  %-52s ", info(f).encoding(), info(f).title) + number_with_words(v[f], describe_field(f, v[f])) +
              "\n";
    }
  }
  return text;
}

// ---- A walk

std::string Monitor::walk(const Words& words) {
  uint64_t linear;
  if (words.size() < 2 || !read_address(words[1], linear))
    return "walk takes a linear address, such as 0xffffffff81000000, and perhaps a layer.\n";
  const unsigned asked = words.size() > 2 ? layer_number(words[2]) : running_depth(cpu_.vmx);
  const std::optional<WalkRoot> root = asked ? walk_root(cpu_, asked) : std::nullopt;
  return root ? layer_walk_text(cpu_, asked, *root, linear) : no_such_layer;
}

// ---- Running

std::string Monitor::until(const Words& words) {
  const std::string what = words.size() > 1 ? plain(words[1]) : "";
  Trace::Watch watch{true, TraceEvent::exit, -1};
  if (what == "entry")
    watch.kind = TraceEvent::entry;
  else if (what == "fail")
    watch.kind = TraceEvent::failed_entry;
  else if (what != "exit")
    return "until takes exit, entry or fail; until exit HLT waits for an exit of that reason.\n";
  if (words.size() > 2) {
    if (watch.kind != TraceEvent::exit) return "Only exits have reasons: until exit HLT.\n";
    const std::vector<unsigned> found = find_reasons_named(words, 2);
    if (found.empty()) return "There is no exit reason of that name; `exits by-reason` lists those that came.\n";
    if (found.size() > 1) {
      std::string text = "Several reasons begin so; give more of the name, or its number:\n";
      for (unsigned n : found) text += formatted("  %2u  ", n) + describe_reason(n) + "\n";
      return text;
    }
    if (!find_reason(found[0])->raised) return "This processor never exits so: " + describe_reason(found[0]) + ".\n";
    watch.reason = static_cast<int>(found[0]);
  }
  cpu_.vmx.trace.watch(watch);
  paused_ = false, waiting_ = true;
  return {};
}

std::string Monitor::step(const Words& words) {
  uint64_t count = 1;
  if (words.size() > 1 && (!read_number(words[1], count) || count == 0)) return "step takes a number of instructions.\n";
  cpu_.vmx.trace.watch({});
  steps_ = count;
  paused_ = false, waiting_ = true;
  return {};
}

std::string Monitor::cont(const Words&) {
  cpu_.vmx.trace.watch({});
  paused_ = false;
  return {};
}

std::string Monitor::pause(const Words&) {
  follow_ = false, paused_ = true;
  cpu_.vmx.trace.watch({});
  return where() + " at " + next_instruction() + "\n";
}

std::string Monitor::quit(const Words&) {
  quits_ = true, paused_ = false;
  return {};
}

}  // namespace matryoshka
