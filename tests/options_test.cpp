// The command line: what each option gives, and the sentence for what cannot be.
#include "devices/machine/options.h"

#include <catch2/catch.hpp>

#include "devices/machine/json.h"

using namespace matryoshka;

namespace {

using Line = std::vector<std::string>;

std::string refusal(const Line& line) {
  Options options;
  return parse_options(line, options);
}

// With a kernel, so that there is something to boot.
Options parse(Line line) {
  line.insert(line.end(), {"-kernel", "K"});
  Options options;
  INFO(line.front());
  REQUIRE(parse_options(line, options) == "");
  return options;
}

constexpr uint64_t mebi = uint64_t{1} << 20;

}  // namespace

TEST_CASE("options: memory is written as QEMU takes it") {
  struct Case {
    const char* text;
    uint64_t mebibytes;
  } cases[] = {{"512M", 512}, {"1G", 1024}, {"64", 64}, {"262144k", 256}, {"size=2G", 2048}, {"0x40", 64}, {"3584M", 3584}};
  for (const Case& c : cases) {
    INFO(c.text);
    CHECK(parse({"-m", c.text}).config.memory_bytes == c.mebibytes * mebi);
  }
  CHECK(parse({"-nographic"}).config.memory_bytes == 128 * mebi);
}

TEST_CASE("options: what cannot be is one sentence that names the option and the cure") {
  struct Case {
    Line line;
    const char* sentence;
  } cases[] = {
      {{}, "There is nothing to boot: give -kernel FILE, -bios FILE or --load-state FILE (--help lists all options)."},
      {{"-m", "12Q"}, "-m takes a size such as 512M, 1G or a number of mebibytes, not '12Q'."},
      {{"-m", ""}, "-m takes a size such as 512M, 1G or a number of mebibytes, not ''."},
      {{"-m", "18446744073709551616"}, "-m takes a size such as 512M, 1G or a number of mebibytes, not '18446744073709551616'."},
      {{"-m", "4G"}, "-m takes between 1 MiB and 3 584 MiB, not '4G'."},
      {{"-m", "18446744073709551615"}, "-m takes between 1 MiB and 3 584 MiB, not '18446744073709551615'."},
      {{"-m", "1500k"}, "-m takes whole mebibytes, not '1500k'."},
      {{"-smp", "2"}, "More than one processor (-smp 2) is not built yet."},
      {{"-smp", "9"}, "-smp takes a number from 1 to 8, not '9'."},
      {{"-smp", "1,cores=1"}, "-smp takes the number of processors and nothing more, not '1,cores=1'."},
      {{"-kernel"}, "-kernel needs a value: -kernel FILE."},
      {{"-kernel", "K", "-kernel", "L"}, "-kernel is given twice."},
      {{"--load-state", "F", "--small-caches"},
       "--load-state brings a machine of its own, so --small-caches cannot be given beside it."},
      {{"-initrd", "I"}, "-initrd needs a -kernel to go with it."},
      {{"-append", "quiet"}, "-append needs a -kernel to go with it."},
      {{"disk.img"}, "'disk.img' is not an option; --help lists them (a disk is -drive file=FILE)."},
      {{"-frobnicate"}, "There is no option '-frobnicate'; --help lists them."},
      {{"--no-reboot=yes"}, "-no-reboot stands alone and takes no value."},
      {{"-drive", "if=virtio"}, "-drive needs file=FILE."},
      {{"-drive", "file=d,format=vdi"}, "-drive takes format=raw, not 'vdi'."},
      {{"-drive", "file=d,format=qcow2"}, "-drive format=qcow2 is not built yet."},
      {{"-drive", "file=d,if=ide"}, "-drive if=ide is not built yet."},
      {{"-drive", "file=d,media=cdrom"}, "-drive media=cdrom is not built yet."},
      {{"-drive", "file=d,cache=none"}, "-drive does not know 'cache'; it takes file, format, if, readonly and media."},
      {{"-drive", "file=d,readonly=perhaps"}, "-drive takes readonly=on or readonly=off, not 'perhaps'."},
      {{"-device", "e1000"},
       "-device takes isa-debug-exit, not 'e1000'; the other devices are always there or have options of their own."},
      {{"-device", "isa-debug-exit,iobase=0x10000"},
       "-device isa-debug-exit takes iobase=PORT up to 0xfffc and iosize=4, not 'iobase=0x10000'."},
      {{"-serial", "pty"}, "-serial takes stdio, file:FILE or none, not 'pty'."},
      {{"-serial", "file:"}, "-serial takes stdio, file:FILE or none, not 'file:'."},
      {{"-kernel", "K", "-debugcon", "stdio"}, "-serial and -debugcon cannot both be stdio; give one of them file:FILE."},
      {{"-cdrom", "c.iso"}, "-cdrom is not built yet."},
      {{"-gdb", "tcp::1234"}, "-gdb is not built yet."},
      {{"-S"}, "-S is not built yet."},
      {{"-monitor", "vc"}, "-monitor takes stdio or none, not 'vc'."},
      {{"--trace", "vmexit"}, "--trace takes jit=FILE or vmexit=FILE, not 'vmexit'."},
      {{"--engine", "fast"}, "--engine takes jit, interp or verify, not 'fast'."},
      {{"--clock", "slow"}, "--clock takes virtual or host, not 'slow'."},
      {{"--epoch", "2025-13-01"},
       "--epoch takes now, seconds since 1970 or a time such as 2025-01-01T00:00:00, not '2025-13-01'."},
      {{"--max-instructions", "0"}, "--max-instructions takes a number above 0 such as 500000000 or 500M, not '0'."},
      {{"--stop-at", "-5"}, "--stop-at takes a number above 0 such as 500000000 or 500M, not '-5'."},
      {{"--type", "no arrow"}, "--type takes 'REGEX=>text', not 'no arrow'."},
      {{"--type", "x=>\\q"}, "--type knows \\n, \\r, \\t, \\e, \\\\ and \\xHH in its text, and 'x=>\\q' has something else."},
      {{"--until", ""}, "--until needs a regular expression."},
      {{"--load-state", "S", "-kernel", "K"}, "--load-state brings a machine of its own, so -kernel cannot be given beside it."},
      {{"-kernel", "K", "--record", "R", "--replay", "R"}, "--record and --replay cannot be given together."},
  };
  for (const Case& c : cases) {
    INFO((c.line.empty() ? "(nothing)" : c.line.front()));
    CHECK(refusal(c.line) == c.sentence);
  }
}

TEST_CASE("options: one dash or two, a value after a space or an equals sign") {
  CHECK(parse({"--m", "64M"}).config.memory_bytes == 64 * mebi);
  CHECK(parse({"-until", "x"}).until == "x");
  CHECK(parse({"--until=a=b"}).until == "a=b");
}

TEST_CASE("options: drives and modules, where a doubled comma is a comma") {
  Options o = parse({"-drive", "file=a,,b.img,format=raw,if=virtio,readonly=on", "-drive", "file=c", "-initrd", "one x=1,two"});
  REQUIRE(o.config.drives.size() == 2);
  CHECK(o.config.drives[0].image.name == "a,b.img");
  CHECK(o.config.drives[0].read_only);
  CHECK_FALSE(o.config.drives[1].read_only);
  REQUIRE(o.config.initrds.size() == 2);
  CHECK(o.config.initrds[0].name == "one");
  CHECK(o.config.initrds[1].name == "two");
  CHECK(o.config.initrd_arguments.size() == 2);
  std::vector<std::string> roles;
  for (const WantedFile& file : wanted_files(o)) roles.push_back(file.role);
  CHECK(roles == std::vector<std::string>{"kernel", "module", "module", "disk", "disk"});
}

TEST_CASE("options: debug-exit has QEMU's default port") {
  CHECK(parse({"-device", "isa-debug-exit"}).config.debug_exit_port == 0x501);
  CHECK(parse({"-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"}).config.debug_exit_port == 0xf4);
  CHECK(parse({"-nographic"}).config.debug_exit_port == -1);
}

TEST_CASE("options: the text of --type") {
  Options o = parse({"--type", "login: $=>root\\n", "--type", "# =>\\x03\\e\\\\=>"});
  REQUIRE(o.type.size() == 2);
  CHECK(o.type[0].pattern == "login: $");
  CHECK(o.type[0].text == "root\n");
  CHECK(o.type[1].text == "\x03\x1b\\=>");
}

TEST_CASE("options: times") {
  struct Case {
    const char* text;
    uint64_t seconds;
  } cases[] = {
      {"0", 0}, {"1735689600", 1735689600}, {"2025-01-01", 1735689600}, {"2024-02-29T12:34:56Z", 1709210096}, {"1970-01-01", 0}};
  for (const Case& c : cases) {
    INFO(c.text);
    CHECK(parse({"--epoch", c.text}).config.epoch_seconds == c.seconds);
  }
}

TEST_CASE("options: a person at a terminal gets real time, a program a run that repeats") {
  auto host_clock = [](Line line, bool terminal) {
    Options o = parse(std::move(line));
    settle(o, terminal, 1800000000);
    return o.config.host_clock;
  };
  CHECK(host_clock({"-nographic"}, true));
  CHECK_FALSE(host_clock({"-nographic"}, false));
  CHECK_FALSE(host_clock({"--until", "x"}, true));
  CHECK_FALSE(host_clock({"--clock", "virtual"}, true));
  CHECK(host_clock({"--clock", "host", "--until", "x"}, false));

  Options o = parse({"-nographic"});
  settle(o, true, 1800000000);
  CHECK(o.config.epoch_seconds == 1800000000);
  o = parse({"-nographic"});
  settle(o, false, 1800000000);
  CHECK(o.config.epoch_seconds == 1735689600);
}

TEST_CASE("options: files that were read and cannot be") {
  Options o = parse({"-drive", "file=d"});
  o.config.kernel.bytes = {1};
  CHECK(check_files(o) == "The disk 'd' is empty.");
  o.config.drives[0].image.bytes.resize(700);
  CHECK(check_files(o) == "The disk 'd' has 700 bytes, which is not a whole number of 512-byte sectors.");
  o.config.drives[0].image.bytes = {'Q', 'F', 'I', 0xfb};
  CHECK(check_files(o) ==
        "The disk 'd' is in the qcow2 format, which is not built yet; convert it with qemu-img convert -O raw.");
  o.config.drives[0].image.bytes.assign(1024, 0);
  CHECK(check_files(o) == "");
}

TEST_CASE("options: help lists every option, in 80 columns") {
  std::string help = help_text();
  for (const char* option :
       {"-m SIZE",    "-smp",         "-cpu",         "-kernel",   "-initrd",  "-append",   "-bios",
        "-drive",     "-cdrom",       "-serial",      "-debugcon", "-device",  "-gdb",      "-S",
        "-nographic", "-no-reboot",   "--engine",     "--clock",   "--until",  "--type",    "--max-instructions",
        "--stats",    "--save-state", "--load-state", "--record",  "--replay", "--stop-at", "--hash-every",
        "--trace",    "-monitor",     "--share",      "--seed",    "--epoch"}) {
    INFO(option);
    CHECK(help.find("\n  " + std::string(option)) != std::string::npos);
  }
  for (size_t at = 0, end; (end = help.find('\n', at)) != std::string::npos; at = end + 1) {
    INFO(help.substr(at, end - at));
    CHECK(end - at <= 80);
  }
}

TEST_CASE("options: the plan is JSON, whatever the names hold") {
  Options o = parse({"--type", "\"q\" \\d=>\x01", "-serial", "file:a\nb"});
  std::string plan = plan_json(o);
  CHECK(plan.find(R"("type":[{"pattern":"\"q\" \\d","bytes":[1]}])") != std::string::npos);
  CHECK(plan.find(R"("serial":{"kind":"file","path":"a\u000ab"})") != std::string::npos);
  CHECK(plan.find("maxInstructions") == std::string::npos);
}

TEST_CASE("json: commas stand between members and nowhere else") {
  JsonWriter json;
  json.object([&] {
    json.field("a", uint64_t{1});
    json.object("b", [] {});
    json.array("c", [&] {
      json.value("x");
      json.object([&] { json.field("y", true); });
    });
    json.field("d", 1.5);
  });
  CHECK(json.text() == R"({"a":1,"b":{},"c":["x",{"y":true}],"d":1.5})");
}
