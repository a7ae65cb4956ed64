#include "devices/machine/monitor.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "cpu/disassemble.h"
#include "cpu/processor.h"
#include "devices/machine/panes.h"
#include "devices/machine/walk_text.h"
#include "vmx-model/describe.h"

namespace matryoshka {

using namespace vmx;

namespace {

template <class... Values>
std::string line(const char* format, Values... values) {
  char text[320];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

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
  char* end;
  value = std::strtoull(word.c_str(), &end, 0);
  if (*end != 0 && word.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos)
    value = std::strtoull(word.c_str(), &end, 16);
  return !word.empty() && *end == 0;
}

// The reasons that words name: by number, by the whole name, or else all whose names begin so.
std::vector<unsigned> find_reasons_named(const std::vector<std::string>& words, size_t from) {
  std::string name;
  for (size_t i = from; i < words.size(); ++i) name += plain(words[i]);
  uint64_t number;
  if (read_number(words[from], number) && find_reason(static_cast<unsigned>(number))) return {static_cast<unsigned>(number)};
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

std::string number_with_words(uint64_t value, const std::string& words) {
  return hexadecimal(value) + (words.empty() ? "" : "  " + words);
}

std::string event_line(const TraceEvent& e) {
  std::string text =
      line("%8" PRIu64 "  tick %-12" PRIu64 " VMCS %#" PRIx64 "  rip %#" PRIx64 "  ", e.number, e.tick, e.vmcs, e.guest_rip);
  text += title_of(e);
  if (const std::string what = what_of(e); !what.empty()) text += (e.kind == TraceEvent::entry ? ", " : ": ") + what;
  if (e.kind == TraceEvent::exit) text += line("  (after %" PRIu64 " instructions)", e.spent);
  return text + "\n";
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
  for (const Row& row : rows_) text += line("  %-46s %s\n", row.usage, row.help);
  return text;
}

// ---- Where we are

std::string Monitor::where() const {
  const Vmx& vmx = cpu_.vmx;
  if (!vmx.non_root()) return layer_name(1);
  const Lane* lane = vmx.trace.lanes().find(vmx.current()->address);
  return layer_name(lane ? lane->depth : 2);
}

std::string Monitor::next_instruction() const {
  const CpuState& s = cpu_.state;
  const unsigned bits = cpu_.mode().code_bits;
  const uint64_t linear = bits == 64 ? s.rip : static_cast<uint32_t>(s.rip + s.segment[CS].base);
  Mmu::CodePage page{};
  // Right behind an exit the processor may not have been there yet; under EPT it is left at that.
  if (uint64_t physical;
      !cpu_.mmu.known_code_page(linear, page) && !cpu_.mmu.limits.ept.on && peek_physical(s, cpu_.memory, linear, physical))
    page.host = cpu_.memory.readable_page(physical);
  if (!page.host) return line("%#" PRIx64, s.rip);
  const uint64_t in_page = page_size - (linear & (page_size - 1));
  Instruction in;
  if (cpu_.decoder().decode({page.host + (linear & (page_size - 1)), static_cast<size_t>(std::min<uint64_t>(in_page, 15))}, bits,
                            in) != DecodeResult::ok)
    return line("%#" PRIx64, s.rip);
  return line("%#" PRIx64 ": ", s.rip) + disassemble(in, bits, s.rip);
}

std::string Monitor::layers(const Words&) {
  std::string text = "L0 this machine\n";
  const std::vector<Layer> layers = layers_of(cpu_.vmx);
  for (const Layer& layer : layers) {
    text += (layer.running ? "* " : "  ") + std::string(layer.lane ? 2 * (layer.depth - 1) : 0, ' ') + layer_name(layer.depth);
    if (!layer.lane) {
      text += "  " + layer.state + "\n";
      continue;
    }
    text += line("  VMCS %#" PRIx64 " (%s), %" PRIu64 " entries, %" PRIu64 " exits, %" PRIu64 " instructions\n", layer.lane->vmcs,
                 layer.state.c_str(), layer.lane->entries, layer.lane->exits, layer.lane->instructions);
  }
  if (layers.size() == 1) text += "No guest has been entered yet. A command such as `vmm` in the machine's Linux starts one.\n";
  return text;
}

// ---- Registers

namespace {

std::string registers_of(const Vmcs& v, bool host) {
  auto f = [&](Field g, Field h) { return v[host ? h : g]; };
  std::string text = line("rip    %016" PRIx64 "  rsp    %016" PRIx64, f(Field::guest_rip, Field::host_rip),
                          f(Field::guest_rsp, Field::host_rsp));
  if (!host) text += line("  rflags %016" PRIx64, v[Field::guest_rflags]);
  text += line("\ncr0    %016" PRIx64 "  cr3    %016" PRIx64 "  cr4    %016" PRIx64 "\n", f(Field::guest_cr0, Field::host_cr0),
               f(Field::guest_cr3, Field::host_cr3), f(Field::guest_cr4, Field::host_cr4));
  return text + "General registers are not in a VMCS: the layer above has saved them wherever it pleases.\n";
}

// The layer that a word names, or 0.
unsigned layer_number(const std::string& word) {
  const bool lettered = word.size() == 2 && (word[0] == 'L' || word[0] == 'l');
  const char digit = lettered ? word[1] : word.size() == 1 ? word[0] : '0';
  return digit >= '1' && digit <= '9' ? static_cast<unsigned>(digit - '0') : 0;
}

constexpr const char* no_such_layer =
    "Layers are called L1 (the host), L2 (a guest), L3 and so on; `layers` lists those there are.\n";

// The VMCS that keeps a layer which does not run at the moment.
const Vmcs* keeper_of(const Vmx& vmx, unsigned depth) {
  const Lane* best = nullptr;
  for (const Lane& lane : vmx.trace.lanes().all())
    if (lane.depth == depth && (!best || lane.last_used > best->last_used)) best = &lane;
  if (!best) return nullptr;
  for (const auto& v : vmx.active().all())
    if (v->address == best->vmcs) return v.get();
  return nullptr;
}

unsigned running_depth(const Vmx& vmx) {
  if (!vmx.non_root()) return 1;
  const Lane* lane = vmx.trace.lanes().find(vmx.current()->address);
  return lane ? lane->depth : 2;
}

}  // namespace

std::string Monitor::regs(const Words& words) {
  const CpuState& s = cpu_.state;
  const unsigned running = running_depth(cpu_.vmx);
  const unsigned asked = words.size() > 1 ? layer_number(words[1]) : running;
  if (asked == 0) return no_such_layer;
  if (asked != running) {
    const Vmcs* v = asked == 1 ? cpu_.vmx.current() : keeper_of(cpu_.vmx, asked);
    if (!v) return no_such_layer;
    return layer_name(asked) + ", as its VMCS keeps it:\n" + registers_of(*v, asked == 1);
  }
  static constexpr const char* names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                          "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
  std::string text = where() + " at " + next_instruction() + "\n";
  for (unsigned i = 0; i < 16; ++i) text += line("%-6s %016" PRIx64 "%s", names[i], s.gpr[i], i % 4 == 3 ? "\n" : "  ");
  text += line("rip    %016" PRIx64 "  rflags %016" PRIx64 "  cr0    %016" PRIx64 "  cr2    %016" PRIx64 "\n", s.rip, s.rflags(),
               s.cr0, s.cr2);
  text += line("cr3    %016" PRIx64 "  cr4    %016" PRIx64 "  efer   %016" PRIx64 "  dr7    %016" PRIx64 "\n", s.cr3, s.cr4,
               s.msr.efer, s.dr7);
  static constexpr const char* segment_names[] = {"es", "cs", "ss", "ds", "fs", "gs"};
  for (unsigned i = 0; i < segment_count; ++i)
    text += line("%-6s %04x base %016" PRIx64 " limit %08x rights %05x  %s\n", segment_names[i], s.segment[i].selector,
                 s.segment[i].base, s.segment[i].limit, s.segment[i].rights,
                 describe_field(Field::guest_es_rights, s.segment[i].rights).c_str());
  return text;
}

// ---- Exits

std::string Monitor::exits(const Words& words) {
  const Trace& trace = cpu_.vmx.trace;
  if (words.size() > 1 && plain(words[1]) == "byreason") {
    std::string text;
    std::vector<unsigned> order;
    for (unsigned n = 0; n < Trace::most_reasons; ++n)
      if (trace.exits[n]) order.push_back(n);
    std::sort(order.begin(), order.end(), [&](unsigned a, unsigned b) { return trace.exits[a] > trace.exits[b]; });
    for (unsigned n : order) text += line("%10" PRIu64 "  %2u  %s\n", trace.exits[n], n, describe_reason(n).c_str());
    return text + line("%10" PRIu64 "  entries, and %" PRIu64 " that failed\n", trace.entries, trace.failed_entries);
  }
  if (words.size() > 1 && plain(words[1]) == "follow") {
    follow_ = true, paused_ = false;
    told_ = trace.count();
    return "Every entry and exit is printed from now on; pause ends it.\n";
  }
  uint64_t wanted = 20;
  if (words.size() > 1 && !read_number(words[1], wanted)) return "exits takes a number, by-reason or follow.\n";
  wanted = std::min<uint64_t>(wanted, Trace::ring_size);
  std::string text;
  for (uint64_t n = trace.count() > wanted ? trace.count() - wanted : 0; n < trace.count(); ++n)
    if (const TraceEvent* e = trace.find(n)) text += event_line(*e);
  return text.empty() ? "No guest has been entered yet.\n" : text;
}

std::string Monitor::why(const Words& words) {
  const Vmx& vmx = cpu_.vmx;
  const Trace& trace = vmx.trace;
  const std::string what = words.size() > 1 ? plain(words[1]) : "exit";
  uint64_t number = trace.count();
  if (what == "exit" || what == "fail") {
    const auto kind = what == "exit" ? TraceEvent::exit : TraceEvent::failed_entry;
    while (number > 0 && trace.find(number - 1) && trace.find(number - 1)->kind != kind) --number;
    if (number == 0 || !trace.find(number - 1))
      return what == "exit" ? "There was no VM exit, or it is too long ago.\n"
                            : "No VM entry has failed, or it is too long ago.\n";
    --number;
  } else if (!read_number(words[1], number)) {
    return "why takes exit, fail, or the number of an event from `exits`.\n";
  }
  const TraceEvent* e = trace.find(number);
  if (!e) return "There is no event of that number, or it has been overwritten by later ones.\n";
  std::string text = event_line(*e);
  if (e->kind == TraceEvent::entry) return text;
  if (e->kind == TraceEvent::failed_entry) {
    const EntryFailure& failure = trace.last_failure();
    if (failure.number != number) return text + "Which checks failed is remembered for the last failure only.\n";
    if (failure.error != InstructionError::none)
      text += line("VM-instruction error %u: %s\n", static_cast<unsigned>(failure.error), describe(failure.error));
    for (const FailedCheck& failed : failure.checks) {
      text += std::string("  ") + failed.row->id + ": " + failed.row->sentence + "\n    \"" + failed.row->title + "\"\n";
      for (unsigned i = 0; i < 4 && failed.row->fields[i] != Field::count; ++i)
        text += "    " + std::string(info(failed.row->fields[i]).title) + " = " +
                number_with_words(failed.values[i], describe_field(failed.row->fields[i], failed.values[i])) + "\n";
    }
    return text;
  }
  const ReasonInfo* reason = find_reason(e->reason);
  text += line("  reason %u: %s\n", e->reason, reason ? reason->when : "");
  text += "  cause: " + e->cause.describe() + "\n";
  if (e->cause.kind() == Cause::control) {
    const Field word = field_of(info(static_cast<Control>(e->cause.detail())).word);
    for (const auto& v : vmx.active().all())
      if (v->address == e->vmcs) {
        const Origin& origin = v->origins[static_cast<unsigned>(word)];
        if (origin.tick)
          text +=
              std::string("  ") + info(word).title +
              line(" was written last by the VMWRITE before rip %#" PRIx64 ", at tick %" PRIu64 "\n", origin.rip, origin.tick);
      }
  }
  text +=
      "  exit qualification " + number_with_words(e->qualification, describe_qualification(e->reason, e->qualification)) + "\n";
  if (e->guest_linear || e->guest_physical)
    text +=
        line("  guest-linear address %#" PRIx64 ", guest-physical address %#" PRIx64 "\n", e->guest_linear, e->guest_physical);
  if (e->vectoring) text += "  while delivering " + describe_event(e->vectoring) + "\n";
  if (e->instruction_length) text += line("  instruction length %u\n", e->instruction_length);
  return text;
}

// ---- The VMCS

std::string Monitor::compare(const Words& words) {
  uint64_t numbers[2];
  if (words.size() != 4 || !read_number(words[2], numbers[0]) || !read_number(words[3], numbers[1]))
    return "vmcs diff takes the numbers of two exits; `exits` shows them.\n";
  const ExitCopy* copies[2];
  for (unsigned i = 0; i < 2; ++i) {
    copies[i] = cpu_.vmx.trace.find_copy(numbers[i]);
    if (!copies[i]) return line("Event %" PRIu64 " is no exit, or none of the last %u events.\n", numbers[i], Trace::copies);
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
  if (!vmx.current()) return "There is no current VMCS.\n";
  const Vmcs& v = *vmx.current();
  std::string text = line("VMCS %#" PRIx64 ", %s, current\n", v.address, v.launched ? "launched" : "clear");
  for (const auto& [name, group] : groups) {
    if (!what.empty() && group != found->second) continue;
    text += std::string(describe_group(group)) + "\n";
    for (unsigned i = 0; i < field_count; ++i) {
      const auto f = static_cast<Field>(i);
      if (info(f).group != group || !vmx.capabilities().has(f)) continue;
      text += line("  %04x  %-52s ", info(f).encoding(), info(f).title) + number_with_words(v[f], describe_field(f, v[f])) + "\n";
    }
  }
  return text;
}

// ---- A walk

std::string Monitor::walk(const Words& words) {
  const CpuState& s = cpu_.state;
  const Vmx& vmx = cpu_.vmx;
  uint64_t linear;
  if (words.size() < 2 || !read_number(words[1], linear))
    return "walk takes a linear address, such as 0xffffffff81000000, and perhaps a layer.\n";
  const unsigned running = running_depth(vmx), asked = words.size() > 2 ? layer_number(words[2]) : running;
  if (asked == 0) return no_such_layer;
  WalkRoot root;
  if (asked == running) {
    root = {s.cr0, s.cr3, s.cr4, s.msr.efer, {s.pdpte[0], s.pdpte[1], s.pdpte[2], s.pdpte[3]}, cpu_.mmu.limits.ept};
  } else if (asked == 1) {
    const Vmcs& v = *vmx.current();
    const bool wide = v.has(Control::exit_host_address_space_size);
    root = {v[Field::host_cr0], v[Field::host_cr3], v[Field::host_cr4], wide ? uint64_t{efer::LMA} : 0, {}, {}};
  } else {
    const Vmcs* v = keeper_of(vmx, asked);
    if (!v) return no_such_layer;
    root = {(*v)[Field::guest_cr0],
            (*v)[Field::guest_cr3],
            (*v)[Field::guest_cr4],
            v->has(Control::entry_ia32e_mode_guest) ? uint64_t{efer::LMA} : 0,
            {},
            {}};
    for (unsigned i = 0; i < 4; ++i) root.pdpte[i] = (*v)[nth(Field::guest_pdpte_0, i)];
    root.ept = cpu_.mmu.limits.ept;
    root.ept.on = v->has(Control::secondary_ept);
    root.ept.pointer = (*v)[Field::eptp];
  }
  return layer_name(asked) + ":\n" + walk_text(cpu_.memory, root, linear);
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
      for (unsigned n : found) text += line("  %2u  ", n) + describe_reason(n) + "\n";
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
