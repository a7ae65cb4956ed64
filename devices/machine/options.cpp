#include "devices/machine/options.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>

#include "devices/machine/boot.h"
#include "devices/machine/json.h"

namespace matryoshka {
namespace {

constexpr uint64_t mebi = uint64_t{1} << 20;
constexpr uint64_t least_memory = mebi, most_memory = 3584 * mebi;

using Text = std::string_view;

std::string quoted(Text text) { return "'" + std::string(text) + "'"; }
std::string not_built(const std::string& what) { return what + " is not built yet."; }

// --- Values ------------------------------------------------------------------

// Digits, or 0x and hexadecimal digits, and nothing else.
bool parse_number(Text text, uint64_t& number) {
  unsigned base = 10;
  if (text.size() > 2 && text[0] == '0' && (text[1] | 0x20) == 'x') {
    base = 16;
    text.remove_prefix(2);
  }
  if (text.empty()) return false;
  number = 0;
  for (char c : text) {
    unsigned digit = c >= '0' && c <= '9' ? c - '0' : std::isxdigit(static_cast<unsigned char>(c)) ? (c | 0x20) - 'a' + 10 : 99;
    if (digit >= base || number > (~uint64_t{0} - digit) / base) return false;
    number = number * base + digit;
  }
  return true;
}

// A number with K, M or G after it, in steps of 1,000 or 1,024.
bool parse_scaled(Text text, uint64_t step, uint64_t& number, bool& had_suffix) {
  uint64_t scale = 1;
  had_suffix = true;
  switch (text.empty() ? '\0' : text.back() | 0x20) {
    case 'g': scale *= step; [[fallthrough]];
    case 'm': scale *= step; [[fallthrough]];
    case 'k':
      scale *= step;
      text.remove_suffix(1);
      break;
    default: had_suffix = false;
  }
  if (!parse_number(text, number) || number > ~uint64_t{0} / scale) return false;
  number *= scale;
  return true;
}

bool parse_count(Text text, uint64_t& number) {
  bool suffix;
  return parse_scaled(text, 1000, number, suffix);
}

// \n \r \t \e \\ and \xHH in the text of --type.
bool unescape(Text text, std::string& result) {
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] != '\\') {
      result += text[i];
      continue;
    }
    if (++i == text.size()) return false;
    switch (text[i]) {
      case 'n': result += '\n'; break;
      case 'r': result += '\r'; break;
      case 't': result += '\t'; break;
      case 'e': result += '\x1b'; break;
      case '\\': result += '\\'; break;
      case 'x': {
        uint64_t byte;
        if (i + 2 >= text.size() || !parse_number("0x" + std::string(text.substr(i + 1, 2)), byte)) return false;
        result += static_cast<char>(byte);
        i += 2;
        break;
      }
      default: return false;
    }
  }
  return true;
}

// QEMU's "key=value,key=value", where a doubled comma is a comma. A word without = is a key with the value "on", or, if it
// comes first and `first_key` says so, the value of that key.
struct Property {
  std::string key, value;
};
std::vector<Property> parse_properties(Text text, const char* first_key = nullptr) {
  std::vector<Property> properties;
  std::string item;
  auto take = [&] {
    if (item.empty()) return;
    size_t equals = item.find('=');
    if (equals != std::string::npos)
      properties.push_back({item.substr(0, equals), item.substr(equals + 1)});
    else if (properties.empty() && first_key)
      properties.push_back({first_key, item});
    else
      properties.push_back({item, "on"});
    item.clear();
  };
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] != ',') {
      item += text[i];
    } else if (i + 1 < text.size() && text[i + 1] == ',') {
      item += text[i++];
    } else {
      take();
    }
  }
  take();
  return properties;
}

bool parse_switch(const std::string& text, bool& on) {
  if (text == "on" || text == "yes" || text == "true") return on = true, true;
  if (text == "off" || text == "no" || text == "false") return on = false, true;
  return false;
}

// 2025-01-01, 2025-01-01T12:30:00, in UTC; or seconds since 1970.
bool parse_epoch(const std::string& text, uint64_t& seconds) {
  if (parse_number(text, seconds)) return true;
  unsigned year, month, day, hour = 0, minute = 0, second = 0;
  int used = 0;
  if (std::sscanf(text.c_str(), "%4u-%2u-%2u%n", &year, &month, &day, &used) != 3) return false;
  const char* rest = text.c_str() + used;
  if (*rest != '\0') {
    if (std::sscanf(rest, "T%2u:%2u:%2u%n", &hour, &minute, &second, &used) != 3) return false;
    rest += used;
    if (*rest == 'Z') rest++;
    if (*rest != '\0') return false;
  }
  if (year < 1970 || year > 2099 || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 59)
    return false;
  // Days since 1970 of the civil calendar; years begin in March so that the leap day is the last.
  unsigned y = month <= 2 ? year - 1 : year, m = (month + 9) % 12;
  uint64_t days = uint64_t{365} * y + y / 4 - y / 100 + y / 400 + (m * 306 + 5) / 10 + (day - 1) - 719468;
  seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
  return true;
}

// --- What each option does ---------------------------------------------------
// Each answers with a sentence of refusal, or nothing.

std::string read_image(Image& image, const std::string& path, const char* option) {
  if (path.empty()) return std::string(option) + " needs a file.";
  image.name = path;
  return {};
}

std::string read_count(const std::string& value, const char* option, uint64_t& number) {
  if (!parse_count(value, number) || number == 0)
    return std::string(option) + " takes a number above 0 such as 500000000 or 500M, not " + quoted(value) + ".";
  return {};
}

std::string read_memory(Options& o, const std::string& value) {
  uint64_t size = 0;
  bool suffix = false, good = true;
  for (const Property& p : parse_properties(value, "size"))
    good = good && p.key == "size" && parse_scaled(p.value, 1024, size, suffix);
  if (good && !suffix) size = size > most_memory ? most_memory + 1 : size * mebi;
  if (!good || size == 0) return "-m takes a size such as 512M, 1G or a number of mebibytes, not " + quoted(value) + ".";
  if (size < least_memory || size > most_memory)
    return "-m takes between " + memory_size(least_memory) + " and " + memory_size(most_memory) + ", not " + quoted(value) + ".";
  if (size % mebi != 0) return "-m takes whole mebibytes, not " + quoted(value) + ".";
  o.config.memory_bytes = size;
  return {};
}

std::string read_smp(Options&, const std::string& value) {
  uint64_t processors = 0;
  bool good = false;
  for (const Property& p : parse_properties(value, "cpus")) {
    if (p.key != "cpus") return "-smp takes the number of processors and nothing more, not " + quoted(value) + ".";
    good = parse_number(p.value, processors);
  }
  if (!good || processors == 0 || processors > 8) return "-smp takes a number from 1 to 8, not " + quoted(value) + ".";
  if (processors > 1) return not_built("More than one processor (-smp " + value + ")");
  return {};
}

std::string read_drive(Options& o, const std::string& value) {
  DriveConfig drive;
  for (const Property& p : parse_properties(value)) {
    if (p.key == "file") {
      drive.image.name = p.value;
    } else if (p.key == "format") {
      if (p.value == "qcow2") return not_built("-drive format=qcow2");
      if (p.value != "raw") return "-drive takes format=raw, not " + quoted(p.value) + ".";
    } else if (p.key == "if") {
      if (p.value == "ide") return not_built("-drive if=ide");
      if (p.value != "virtio") return "-drive takes if=virtio, not " + quoted(p.value) + ".";
    } else if (p.key == "readonly" || p.key == "read-only") {
      if (!parse_switch(p.value, drive.read_only))
        return "-drive takes readonly=on or readonly=off, not " + quoted(p.value) + ".";
    } else if (p.key == "media") {
      if (p.value == "cdrom") return not_built("-drive media=cdrom");
      if (p.value != "disk") return "-drive takes media=disk, not " + quoted(p.value) + ".";
    } else {
      return "-drive does not know " + quoted(p.key) + "; it takes file, format, if, readonly and media.";
    }
  }
  if (drive.image.name.empty()) return "-drive needs file=FILE.";
  o.config.drives.push_back(std::move(drive));
  return {};
}

std::string read_device(Options& o, const std::string& value) {
  std::vector<Property> properties = parse_properties(value, "driver");
  if (properties.empty() || properties[0].key != "driver" || properties[0].value != "isa-debug-exit")
    return "-device takes isa-debug-exit, not " + quoted(properties.empty() ? value : properties[0].value) +
           "; the other devices are always there or have options of their own.";
  uint64_t port = 0x501;  // QEMU's default
  for (const Property& p : properties) {
    uint64_t number;
    if (p.key == "driver") continue;
    if (p.key == "iobase" && parse_number(p.value, number) && number <= 0xfffc)
      port = number;
    else if (p.key != "iosize" || (p.value != "4" && p.value != "0x04"))
      return "-device isa-debug-exit takes iobase=PORT up to 0xfffc and iosize=4, not " + quoted(p.key + "=" + p.value) + ".";
  }
  o.config.debug_exit_port = static_cast<int>(port);
  return {};
}

std::string read_sink(const std::string& value, const char* option, Sink& sink) {
  if (value == "stdio" || value == "mon:stdio") {
    sink = {Sink::Kind::terminal, {}};
  } else if (value == "none" || value == "null") {
    sink = {Sink::Kind::none, {}};
  } else if (value.rfind("file:", 0) == 0 && value.size() > 5) {
    sink = {Sink::Kind::file, value.substr(5)};
  } else {
    return std::string(option) + " takes stdio, file:FILE or none, not " + quoted(value) + ".";
  }
  return {};
}

std::string read_initrd(Options& o, const std::string& value) {
  o.config.initrds.clear();
  o.config.initrd_arguments.clear();
  for (BootFile& module : parse_modules(value)) {
    if (module.name.empty()) return "-initrd has an empty file name in " + quoted(value) + ".";
    o.config.initrds.push_back({std::move(module.name), {}});
    o.config.initrd_arguments.push_back(std::move(module.arguments));
  }
  if (o.config.initrds.empty()) return "-initrd needs a file.";
  return {};
}

std::string read_type(Options& o, const std::string& value) {
  size_t arrow = value.find("=>");
  TypeRule rule;
  if (arrow == std::string::npos || arrow == 0) return "--type takes 'REGEX=>text', not " + quoted(value) + ".";
  rule.pattern = value.substr(0, arrow);
  if (!unescape(Text(value).substr(arrow + 2), rule.text))
    return "--type knows \\n, \\r, \\t, \\e, \\\\ and \\xHH in its text, and " + quoted(value) + " has something else.";
  o.type.push_back(std::move(rule));
  return {};
}

std::string read_clock(Options& o, const std::string& value) {
  if (value == "virtual") return o.clock = Options::Clock::virtual_time, std::string();
  if (value == "host") return o.clock = Options::Clock::host, std::string();
  return "--clock takes virtual or host, not " + quoted(value) + ".";
}

std::string read_trace(Options& o, const std::string& value) {
  size_t equals = value.find('=');
  Text what = Text(value).substr(0, equals);
  bool has_file = equals != std::string::npos && equals + 1 < value.size();
  if (!has_file || (what != "jit" && what != "vmexit"))
    return "--trace takes jit=FILE or vmexit=FILE, not " + quoted(value) + ".";
  std::string& file = what == "jit" ? o.trace_jit : o.trace_vmexit;
  if (!file.empty()) return "--trace " + std::string(what) + " is given twice.";
  file = value.substr(equals + 1);
  o.jit.trace = !o.trace_jit.empty();
  return {};
}

std::string read_engine(Options& o, const std::string& value) {
  if (value == "interp") return o.engine = Options::Engine::interpreter, std::string();
  if (value == "jit") return o.engine = Options::Engine::jit, std::string();
  if (value == "verify") return o.engine = Options::Engine::verify, o.jit.verify = true, std::string();
  return "--engine takes jit, interp or verify, not " + quoted(value) + ".";
}

std::string read_epoch(Options& o, const std::string& value) {
  o.epoch_now = value == "now";
  if (!o.epoch_now && !parse_epoch(value, o.config.epoch_seconds))
    return "--epoch takes now, seconds since 1970 or a time such as 2025-01-01T00:00:00, not " + quoted(value) + ".";
  return {};
}

// --- The table ---------------------------------------------------------------

enum class Group : uint8_t { machine, boot, devices, run, state, later, none };
constexpr const char* group_titles[] = {"The machine",          "What it boots",      "Disks, ports, folders",
                                        "How long, how driven", "State and evidence", "Known, and not built yet"};

struct Row {
  const char* name;
  const char* value;  // null: the option stands alone
  Group group;
  const char* help;
  std::string (*read)(Options&, const std::string&);
};

const Row table[] = {
    {"m", "SIZE", Group::machine, "memory: 512M, 1G or mebibytes; 128M if not given", read_memory},
    {"smp", "N", Group::machine, "processors; 1 for now", read_smp},
    {"cpu", "MODEL", Group::machine, "processor model, then +flag,-flag",
     [](Options& o, const std::string& v) {
       o.config.cpu = v;
       return v.empty() ? std::string("-cpu needs a model, such as default or nehalem,-x2apic.") : std::string();
     }},
    {"engine", "KIND", Group::machine,
     "what runs the instructions: jit compiles hot code to WebAssembly, interp interprets all; the guest cannot tell. verify "
     "runs "
     "what is compiled both ways and ends with status 5 at the first difference",
     read_engine},
    {"jit-after", "N", Group::machine,
     "compile what has run for N instructions; 1 compiles everything, which is slow and for tests",
     [](Options& o, const std::string& v) { return read_count(v, "--jit-after", o.jit.after); }},
    {"small-caches", nullptr, Group::machine, "TLBs of 4 entries and room for few compiled regions, for tests",
     [](Options& o, const std::string&) {
       o.config.small_tlbs = o.jit.small_caches = true;
       return std::string();
     }},
    {"clock", "KIND", Group::machine,
     "virtual repeats bit for bit, host follows real time; if not given: host for somebody at a terminal, virtual for a run that "
     "a program drives",
     read_clock},
    {"epoch", "TIME", Group::machine, "what the clock shows at the start: now, 2025-01-01T00:00:00 or seconds", read_epoch},
    {"seed", "N", Group::machine, "of the guest's random numbers",
     [](Options& o, const std::string& v) {
       return parse_number(v, o.config.seed) ? std::string() : "--seed takes a number, not " + quoted(v) + ".";
     }},
    {"no-reboot", nullptr, Group::machine, "a reset or a triple fault ends the run",
     [](Options& o, const std::string&) {
       o.config.no_reboot = true;
       return std::string();
     }},

    {"kernel", "FILE", Group::boot, "bzImage, vmlinux or a multiboot ELF image",
     [](Options& o, const std::string& v) { return read_image(o.config.kernel, v, "-kernel"); }},
    {"initrd", "FILE", Group::boot,
     "initial RAM disk; for multiboot 'FILE arguments,FILE arguments'. A comma in a name is written twice", read_initrd},
    {"append", "TEXT", Group::boot, "the kernel's command line",
     [](Options& o, const std::string& v) {
       o.config.command_line = v;
       return std::string();
     }},
    {"bios", "FILE", Group::boot, "a ROM to start from; the last POST code that it writes to port 80h or 190h is in --stats",
     [](Options& o, const std::string& v) { return read_image(o.config.bios, v, "-bios"); }},

    {"drive", "file=FILE,...", Group::devices,
     "a disk: format=raw,if=virtio,readonly=on|off. What the guest writes is kept in memory and in --save-state; FILE itself "
     "does not change",
     read_drive},
    {"serial", "stdio|file:FILE|none", Group::devices, "where the serial port goes; stdio if not given",
     [](Options& o, const std::string& v) { return read_sink(v, "-serial", o.serial); }},
    {"debugcon", "file:FILE|stdio", Group::devices, "debug console at ports 402h and E9h",
     [](Options& o, const std::string& v) {
       o.config.debugcon = true;
       return read_sink(v, "-debugcon", o.debugcon);
     }},
    {"device", "isa-debug-exit", Group::devices, "a port by which the guest ends the run: isa-debug-exit,iobase=0xf4",
     read_device},
    {"share", "DIR", Group::devices,
     "a folder that the guest can mount: 9p, tag `share`. It is a copy: what the guest writes there stays in the machine",
     [](Options& o, const std::string& v) {
       o.share = v;
       o.config.shared_folder = true;
       return v.empty() ? std::string("--share needs a folder.") : std::string();
     }},
    {"l0", nullptr, Group::devices,
     "a 9p share with tag `l0`, which has what the monitor tells of VM exits as files: mount -t 9p l0 /l0",
     [](Options& o, const std::string&) {
       o.config.inspector_share = true;
       return std::string();
     }},
    {"nographic", nullptr, Group::devices, "accepted: there is no display here",
     [](Options&, const std::string&) { return std::string(); }},
    {"monitor", "stdio|none", Group::devices,
     "stdio: the monitor takes the lines of standard input, and help lists its commands. In a terminal Ctrl-A C opens it as well",
     [](Options& o, const std::string& v) {
       o.monitor = v == "stdio";
       return v == "none" || v == "stdio" ? std::string() : "-monitor takes stdio or none, not " + quoted(v) + ".";
     }},

    {"until", "REGEX", Group::run,
     "end with status 0 when a line of serial output matches, at that very byte; the expression sees one line at a time, as far "
     "as it is written",
     [](Options& o, const std::string& v) {
       o.until = v;
       return v.empty() ? std::string("--until needs a regular expression.") : std::string();
     }},
    {"type", "'REGEX=>text'", Group::run,
     "when a line matches, type the text (\\n is Enter). Given several times it is a script: each is used once, in order",
     read_type},
    {"max-instructions", "N", Group::run, "end with status 3 after so many ticks, as --stop-at counts them; 500M is 500 million",
     [](Options& o, const std::string& v) { return read_count(v, "--max-instructions", o.max_instructions); }},
    {"stop-at", "N", Group::run,
     "stop at the first instruction boundary at or after this tick, print the state's hash, end with status 0",
     [](Options& o, const std::string& v) { return read_count(v, "--stop-at", o.stop_at); }},

    {"stats", "FILE", Group::state, "write figures of the run as JSON",
     [](Options& o, const std::string& v) {
       o.stats = v;
       return v.empty() ? std::string("--stats needs a file.") : std::string();
     }},
    {"hash-every", "N", Group::state,
     "print `hash TICK VALUE` on standard error every N ticks, at the first instruction boundary there or after",
     [](Options& o, const std::string& v) { return read_count(v, "--hash-every", o.hash_every); }},
    {"trace", "jit=FILE|vmexit=FILE", Group::state,
     "write each region that is compiled, the guest's instructions beside their WebAssembly; or each VM entry and exit as a line "
     "of "
     "JSON, with what caused it",
     read_trace},
    {"save-state", "FILE", Group::state, "write the whole machine at the end; of drives, what the guest wrote to them",
     [](Options& o, const std::string& v) {
       o.save_state = v;
       return v.empty() ? std::string("--save-state needs a file.") : std::string();
     }},
    {"save-changes", "FILE", Group::state,
     "write what has changed since the snapshot that was loaded, which becomes the file's base",
     [](Options& o, const std::string& v) {
       o.save_changes = v;
       return v.empty() ? std::string("--save-changes needs a file.") : std::string();
     }},
    {"load-state", "FILE", Group::state,
     "go on from there; the file carries the machine's configuration. If it had drives, give them again with -drive",
     [](Options& o, const std::string& v) { return read_image(o.load_state, v, "--load-state"); }},
    {"base", "FILE", Group::state, "the whole snapshot that the changes in --load-state belong to",
     [](Options& o, const std::string& v) { return read_image(o.base, v, "--base"); }},
    {"record", "FILE", Group::state, "write every input with its tick",
     [](Options& o, const std::string& v) {
       o.record = v;
       return v.empty() ? std::string("--record needs a file.") : std::string();
     }},
    {"replay", "FILE", Group::state, "take the input from a recording",
     [](Options& o, const std::string& v) { return read_image(o.replay, v, "--replay"); }},

    {"cdrom", "FILE", Group::later, "a CD image", [](Options&, const std::string&) { return not_built("-cdrom"); }},
    {"gdb", "tcp::PORT", Group::later, "a port for a debugger", [](Options&, const std::string&) { return not_built("-gdb"); }},
    {"S", nullptr, Group::later, "wait before the first instruction",
     [](Options&, const std::string&) { return not_built("-S"); }},

    {"help", nullptr, Group::none, "this text",
     [](Options& o, const std::string&) {
       o.help = true;
       return std::string();
     }},
    {"h", nullptr, Group::none, "",
     [](Options& o, const std::string&) {
       o.help = true;
       return std::string();
     }},
};

const Row* find_row(Text name) {
  for (const Row& row : table)
    if (name == row.name) return &row;
  return nullptr;
}

// QEMU's options have one dash and ours two; both are taken either way.
std::string spelling(const Row& row) {
  static constexpr Text qemu[] = {"m",      "smp",      "cpu",    "no-reboot", "kernel",  "initrd", "append", "bios", "drive",
                                  "serial", "debugcon", "device", "nographic", "monitor", "cdrom",  "gdb",    "S",    "h"};
  for (Text name : qemu)
    if (name == row.name) return "-" + std::string(name);
  return "--" + std::string(row.name);
}

std::string check_together(const Options& o, const std::vector<const Row*>& given) {
  bool loading = o.load_state.given();
  if (loading)
    for (const Row* row : given)
      if (row->group == Group::boot || row->name == Text("m") || row->name == Text("cpu") || row->name == Text("l0") ||
          row->name == Text("small-caches"))
        return "--load-state brings a machine of its own, so " + spelling(*row) + " cannot be given beside it.";
  if (o.base.given() && !loading) return "--base goes with --load-state, and names the snapshot that its changes belong to.";
  if (!o.save_changes.empty() && !loading)
    return "--save-changes needs --load-state, because changes are told against a snapshot; --save-state writes everything.";
  if (!o.config.kernel.given()) {
    if (!o.config.initrds.empty()) return "-initrd needs a -kernel to go with it.";
    if (!o.config.command_line.empty()) return "-append needs a -kernel to go with it.";
    if (!o.config.bios.given() && !loading)
      return "There is nothing to boot: give -kernel FILE, -bios FILE or --load-state FILE (--help lists all options).";
  }
  if (o.config.kernel.given() && o.config.bios.given()) return "-kernel and -bios cannot be given together yet.";
  if (o.replay.given() && !o.record.empty()) return "--record and --replay cannot be given together.";
  if (o.replay.given() && !o.type.empty())
    return "--replay takes all input from the recording, so --type cannot be given beside it.";
  if (o.serial.kind == Sink::Kind::terminal && o.debugcon.kind == Sink::Kind::terminal)
    return "-serial and -debugcon cannot both be stdio; give one of them file:FILE.";
  return {};
}

}  // namespace

std::string parse_options(const std::vector<std::string>& arguments, Options& options) {
  std::vector<const Row*> given;
  for (size_t i = 0; i < arguments.size(); i++) {
    const std::string& argument = arguments[i];
    if (argument.size() < 2 || argument[0] != '-')
      return quoted(argument) + " is not an option; --help lists them (a disk is -drive file=FILE).";
    bool two_dashes = argument[1] == '-';
    std::string name = argument.substr(two_dashes ? 2 : 1), value;
    size_t equals = two_dashes ? name.find('=') : std::string::npos;
    if (equals != std::string::npos) {
      value = name.substr(equals + 1);
      name.resize(equals);
    }
    const Row* row = find_row(name);
    if (!row) return "There is no option " + quoted(argument.substr(0, argument.find('='))) + "; --help lists them.";
    if (row->value) {
      if (equals == std::string::npos) {
        if (++i == arguments.size()) return spelling(*row) + " needs a value: " + spelling(*row) + " " + row->value + ".";
        value = arguments[i];
      }
    } else if (equals != std::string::npos) {
      return spelling(*row) + " stands alone and takes no value.";
    }
    bool repeatable = row->read == read_drive || row->read == read_type || row->read == read_trace;
    for (const Row* earlier : given)
      if (earlier == row && !repeatable) return spelling(*row) + " is given twice.";
    given.push_back(row);
    if (std::string error = row->read(options, value); !error.empty()) return error;
    if (options.help) return {};
  }
  return check_together(options, given);
}

void settle(Options& o, bool at_terminal, uint64_t now_seconds) {
  bool driven = !o.until.empty() || !o.type.empty() || o.max_instructions != ~uint64_t{0} || o.stop_at != ~uint64_t{0} ||
                o.hash_every != 0 || !o.record.empty() || o.replay.given();
  if (o.clock == Options::Clock::open) {
    o.clock = at_terminal && !driven ? Options::Clock::host : Options::Clock::virtual_time;
    if (o.clock == Options::Clock::host && o.config.epoch_seconds == MachineConfig{}.epoch_seconds) o.epoch_now = true;
  }
  o.config.host_clock = o.clock == Options::Clock::host;
  if (o.epoch_now) o.config.epoch_seconds = now_seconds;
}

std::vector<WantedFile> wanted_files(Options& o) {
  std::vector<WantedFile> files;
  auto want = [&](const char* role, Image& image) {
    if (image.given()) files.push_back({role, &image});
  };
  want("kernel", o.config.kernel);
  for (Image& initrd : o.config.initrds) want(o.config.initrds.size() == 1 ? "initrd" : "module", initrd);
  want("ROM", o.config.bios);
  for (DriveConfig& drive : o.config.drives) want("disk", drive.image);
  want("snapshot", o.load_state);
  want("base", o.base);
  want("recording", o.replay);
  return files;
}

std::string check_files(Options& o) {
  for (const WantedFile& file : wanted_files(o)) {
    const Bytes& bytes = file.image->bytes;
    if (file.image == &o.load_state || file.image == &o.base) continue;  // the loader's business
    std::string subject = "The " + file.role + " " + quoted(file.image->name);
    if (bytes.empty()) return subject + " is empty.";
    static constexpr uint8_t qcow[] = {'Q', 'F', 'I', 0xfb};
    if (file.role == "disk") {
      if (bytes.size() >= 4 && std::equal(qcow, qcow + 4, bytes.begin()))
        return subject + " is in the qcow2 format, which is not built yet; convert it with qemu-img convert -O raw.";
      if (bytes.size() % 512 != 0)
        return subject + " has " + grouped(bytes.size()) + " bytes, which is not a whole number of 512-byte sectors.";
    }
  }
  return {};
}

std::string refused(const Image& image, const std::string& role, std::string sentence) {
  if (!sentence.empty()) sentence[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(sentence[0])));
  return "The " + role + " " + quoted(image.name) + " is refused: " + sentence;
}

std::string help_text() {
  constexpr size_t column = 30, width = 80;
  std::string text =
      "usage: ./matryoshka [--native] OPTION...\n\n"
      "Runs the machine in this terminal. Options are QEMU's where QEMU has one, and\n"
      "may be written with one dash or two. --native takes the native build instead\n"
      "of the WebAssembly build in Node.\n";
  auto line = [&](const Row& row) {
    std::string left = "  " + spelling(row) + (row.value ? " " + std::string(row.value) : "");
    if (left.size() + 2 > column) {
      text += left + "\n";
      left.clear();
    }
    Text help = row.help;
    while (!help.empty()) {
      size_t end = help.size() <= width - column ? help.size() : help.rfind(' ', width - column);
      left.resize(column, ' ');
      text += left;
      text += help.substr(0, end);
      text += '\n';
      left.clear();
      help.remove_prefix(std::min(end + 1, help.size()));
    }
  };
  for (unsigned group = 0; group < static_cast<unsigned>(Group::none); group++) {
    text += "\n" + std::string(group_titles[group]) + "\n";
    for (const Row& row : table)
      if (static_cast<unsigned>(row.group) == group) line(row);
  }
  text +=
      "\n"
      "In a terminal Ctrl-A X ends the run, and Ctrl-A Ctrl-A sends Ctrl-A.\n"
      "\n"
      "Exit status: 0 power-off, reset with -no-reboot, match of --until or --stop-at;\n"
      "1 not all could be written that was asked for;\n"
      "2 an error in the options or files; 3 a limit, or a guest that has halted for\n"
      "good; 4 a triple fault with -no-reboot; 5 a difference under --engine verify;\n"
      "from isa-debug-exit what QEMU makes of the value: value * 2 + 1.\n";
  return text;
}

std::string plan_json(Options& o) {
  JsonWriter json;
  auto sink = [&](const char* name, const Sink& s) {
    static constexpr const char* kinds[] = {"none", "terminal", "file"};
    json.object(name, [&] {
      json.field("kind", kinds[static_cast<unsigned>(s.kind)]);
      json.field("path", s.path);
    });
  };
  auto count = [&](const char* name, uint64_t number) {
    if (number != ~uint64_t{0}) json.field(name, number);
  };
  json.object([&] {
    json.field("memory", o.config.memory_bytes);
    json.field("hostClock", o.config.host_clock);
    json.field("verify", o.jit.verify);
    json.array("files", [&] {
      for (const WantedFile& file : wanted_files(o))
        json.object([&] {
          json.field("role", file.role);
          json.field("path", file.image->name);
        });
    });
    json.field("loadState", o.load_state.given());
    json.field("replay", o.replay.given());
    sink("serial", o.serial);
    sink("debugcon", o.debugcon);
    json.field("share", o.share);
    json.field("until", o.until);
    json.array("type", [&] {
      for (const TypeRule& rule : o.type)
        json.object([&] {
          json.field("pattern", rule.pattern);
          json.array("bytes", [&] {
            for (char c : rule.text) json.value(uint64_t{static_cast<uint8_t>(c)});
          });
        });
    });
    count("maxInstructions", o.max_instructions);
    count("stopAt", o.stop_at);
    json.field("hashEvery", o.hash_every);
    json.field("stats", o.stats);
    json.field("saveState", o.save_state);
    json.field("saveChanges", o.save_changes);
    json.field("record", o.record);
    json.field("traceJit", o.trace_jit);
    json.field("traceVmexit", o.trace_vmexit);
    json.field("monitor", o.monitor);
  });
  return json.text();
}

}  // namespace matryoshka
