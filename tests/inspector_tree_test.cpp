// The share `l0`: names, contents made at open, bounds, and what a snapshot keeps of it.
#include "devices/machine/inspector_tree.h"

#include <random>
#include <set>

#include "devices/machine/monitor.h"
#include "tests/cpu_bench.h"
#include "tests/ninep_client.h"
#include "vmx-model/describe.h"

using namespace matryoshka;
using namespace matryoshka::bench;
using namespace matryoshka::vmx;

namespace {

uint32_t number(FileError error) { return static_cast<uint32_t>(error); }
constexpr uint64_t vmxon_region = 0x40000, first = 0x41000, another = 0x42000, tables = 0x50000;

// A processor in VMX operation with `first` current.
struct Hypervisor : CpuBench {
  Hypervisor() : CpuBench(Mode::long64) {
    for (uint64_t region : {vmxon_region, first, another})
      REQUIRE(memory.write(region, &Capabilities::revision, sizeof Capabilities::revision));
    cpu.vmx.vmxon(vmxon_region);
    cpu.vmx.vmptrld(first);
    put(Field::guest_rip, 0x1234);
  }
  void put(Field f, uint64_t value) { cpu.vmx.vmwrite(info(f).encoding(), value); }
  void happens(TraceEvent::Kind kind, Reason reason, Cause cause) {
    TraceEvent e;
    e.kind = kind, e.reason = static_cast<uint16_t>(reason), e.cause = cause;
    e.vmcs = cpu.vmx.current()->address, e.guest_rip = (*cpu.vmx.current())[Field::guest_rip], e.tick = 77;
    cpu.vmx.trace.add(e, *cpu.vmx.current());
  }
  void exits() {
    happens(TraceEvent::entry, Reason{}, {});
    happens(TraceEvent::exit, Reason::hlt, Control::primary_hlt_exiting);
  }
  std::string monitor(const char* command) {
    Monitor m(cpu);
    REQUIRE(m.ask(command));
    return m.take_answer();
  }
  InspectorTree tree{cpu, [] { return FileTree::Time{5, 6}; }};
};

struct Share : Hypervisor, NinepClient {
  Share() : NinepClient(tree) {}
  static std::vector<std::string> names(const std::string& path) {
    std::vector<std::string> parts(1);
    for (char c : path)
      if (c == '/')
        parts.emplace_back();
      else
        parts.back() += c;
    return parts;
  }
  // Whether the walk led all the way.
  bool walks(uint32_t fid, const std::string& path) {
    Answer answer = walk(0, fid, names(path));
    return answer.error() == 0 && answer.at<uint16_t>(0) == names(path).size();
  }
  std::string contents(const std::string& path) {
    constexpr uint32_t fid = 99;
    INFO(path);
    REQUIRE(walks(fid, path));
    REQUIRE(open(fid, 0).error() == 0);
    const std::string text = read(fid, 0, 60000);
    CHECK(size(fid) == text.size());
    ask(Ask(t_clunk) << fid);
    return text;
  }
  std::string list(const std::string& path) {
    std::string text;
    FileTree::Node node = tree.root();
    for (const std::string& name : names(path))
      if (!name.empty()) REQUIRE(tree.find(node, name, node) == FileError::none);
    FileTree::Entry entry;
    for (uint64_t cookie = 2; tree.next_entry(node, cookie, entry) == FileError::none; cookie = entry.cookie)
      text += entry.name + " ";
    return text;
  }
};

}  // namespace

TEST_CASE("l0: fields are called as in the manual, and no two of a group alike") {
  std::set<std::string> groups, fields;
  for (unsigned i = 0; i < manual_group_count; ++i) groups.insert(file_name(static_cast<ManualGroup>(i)));
  CHECK(groups == std::set<std::string>{"guest-state", "host-state", "vm-execution-control", "vm-exit-control",
                                        "vm-entry-control", "vm-exit-information"});
  for (unsigned i = 0; i < field_count; ++i) {
    const std::string name = file_name(static_cast<Field>(i));
    CHECK(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos);
    fields.insert(file_name(manual_group(static_cast<Field>(i))) + "/" + name);
  }
  CHECK(fields.size() == field_count);
  for (const char* name : {"guest-state/rip", "guest-state/ia32-efer", "host-state/cr3", "vm-execution-control/ept-pointer",
                           "vm-execution-control/cr0-guest-host-mask", "vm-exit-information/exit-qualification"})
    CHECK(fields.count(name) == 1);
}

TEST_CASE("l0: what there is to list") {
  Share s;
  CHECK(s.list("") == "README layers exits exits-by-reason why why-fail regs vmcs walk ");
  CHECK(s.list("vmcs") == "current 0x41000 ");
  s.cpu.vmx.vmptrld(another);
  s.exits();
  CHECK(s.list("vmcs") == "current last-exit 0x41000 0x42000 ");
  CHECK(s.list("vmcs/current") ==
        "guest-state host-state vm-execution-control vm-exit-control vm-entry-control vm-exit-information state ");
  CHECK(s.list("vmcs/0x41000/vm-entry-control").find("vm-entry-interruption-information-field ") != std::string::npos);
  CHECK(s.list("walk") == "L1 L2 ");
  CHECK(s.list("walk/L2").empty());
}

TEST_CASE("l0: before any guest") {
  Share s;
  s.cpu.vmx.vmclear(first);
  CHECK(s.contents("exits") == "No guest has been entered yet.\n");
  CHECK(s.contents("why") == "There was no VM exit, or it is too long ago.\n");
  CHECK(s.contents("regs") == "There is no current VMCS.\n");
  CHECK(s.contents("walk/1000") == "There is no current VMCS.\n");
  CHECK_FALSE(s.walks(1, "vmcs/current"));
  CHECK_FALSE(s.walks(1, "vmcs/last-exit"));
  CHECK_FALSE(s.walks(1, "vmcs/0x41000"));
}

TEST_CASE("l0: a field of the current VMCS, by name and by address, is what VMREAD gives and not what memory has") {
  Share s;
  s.put(Field::guest_rip, 0xffffffff81000000);
  s.put(Field::guest_activity, 1);
  CHECK(s.contents("vmcs/current/guest-state/rip") == "0xffffffff81000000\n");
  CHECK(s.contents("vmcs/0x41000/guest-state/rip") == "0xffffffff81000000\n");
  CHECK(s.contents("vmcs/41000/guest-state/activity-state") == "0x1  HLT\n");
  CHECK(s.contents("vmcs/current/state") == "0x41000  L2 guest, clear, active, current\n");
  s.cpu.vmx.vmptrld(another);
  CHECK(s.contents("vmcs/current/guest-state/rip") == "0\n");
  CHECK(s.contents("vmcs/0x41000/state") == "0x41000  L2 guest, clear, active\n");
}

TEST_CASE("l0: an open file stands still, and has its true length") {
  Share s;
  REQUIRE(s.walks(1, "vmcs/current/guest-state/rip"));
  REQUIRE(s.walks(2, "vmcs/current/guest-state/rip"));
  REQUIRE(s.open(1, 0).error() == 0);
  s.put(Field::guest_rip, 0x123456789);
  CHECK(s.read(1) == "0x1234\n");
  CHECK(s.read(1, 2, 3) == "123");
  CHECK(s.read(1, ~uint64_t{0}).empty());
  CHECK(s.size(1) == 7);
  CHECK(s.size(2) == 12);
  REQUIRE(s.open(2, 0).error() == 0);
  CHECK(s.read(2) == "0x123456789\n");
  // Nor does it go with its VMCS.
  s.cpu.vmx.vmclear(first);
  CHECK(s.read(1) == "0x1234\n");
}

TEST_CASE("l0: a folder whose VMCS is gone is stale, not another's") {
  Share s;
  REQUIRE(s.walks(1, "vmcs/0x41000"));
  s.cpu.vmx.vmclear(first);
  CHECK(s.ask(Ask(t_getattr) << uint32_t{1} << uint64_t{0x7ff}).error() == number(FileError::stale));
  CHECK(s.open(1, 0).error() == number(FileError::stale));
  CHECK(s.walk(1, 2, {"state"}).error() == number(FileError::stale));
}

TEST_CASE("l0: exits, their cause and their numbers are what the monitor says") {
  Share s;
  s.exits();
  CHECK(s.contents("exits") == s.monitor("exits"));
  CHECK(s.contents("exits-by-reason") == s.monitor("exits by-reason"));
  CHECK(s.contents("layers") == s.monitor("layers"));
  CHECK(s.contents("regs") == s.monitor("regs L2"));
  CHECK(s.contents("why") == s.monitor("why"));
  CHECK(s.contents("why").find("cause: HLT exiting") != std::string::npos);
  CHECK(s.contents("why-fail") == s.monitor("why fail"));
  s.put(Field::guest_rip, 0x1236);
  CHECK(s.contents("vmcs/last-exit/guest-state/rip") == "0x1234\n");
  CHECK(s.contents("vmcs/current/guest-state/rip") == "0x1236\n");
  CHECK(s.contents("vmcs/last-exit/state") == s.monitor("exits 1"));
}

TEST_CASE("l0: a walk goes through the tables of the current VMCS's guest, or of a layer") {
  Share s;
  s.put(Field::guest_cr0, 0x80000001), s.put(Field::guest_cr4, 0x20), s.put(Field::guest_cr3, tables);
  s.put(Field::entry_controls, info(Control::entry_ia32e_mode_guest).mask());
  const uint64_t entries[] = {tables + 0x1003, tables + 0x2003, 0x00800083};
  for (unsigned i = 0; i < 3; ++i) REQUIRE(s.memory.write(tables + 0x1000 * i, &entries[i], 8));
  s.exits();
  for (const char* name : {"walk/1234", "walk/0x1234", "walk/L2/0001234"}) {
    CHECK(s.contents(name) == s.monitor("walk 0x1234 L2"));
    CHECK(s.contents(name).ends_with("linear 0x1234 is physical 0x801234\n"));
  }
  CHECK(s.contents("walk/L1/0x1234") == s.monitor("walk 0x1234 L1"));
  CHECK(s.contents("walk/ffffffff81000000").ends_with("linear 0xffffffff81000000: #PF, for it is not mapped\n"));
  CHECK(s.contents("walk/0xff80000000000000").find("not canonical") != std::string::npos);
  for (const char* name :
       {"walk/0x", "walk/12345678123456781", "walk/-1", "walk/10g", "walk/0x8000000000000000", "walk/L3/0", "walk/L0"})
    CHECK_FALSE(s.walks(1, name));
}

TEST_CASE("l0: guests that seem to run each other do not nest for ever", "[hostile]") {
  Share s;
  for (unsigned i = 0; i < 1000; ++i) {
    s.cpu.vmx.vmptrld(i & 1 ? first : another);
    s.happens(TraceEvent::entry, Reason{}, {});
    s.happens(TraceEvent::exit, Reason::vmlaunch, Cause::unconditional);
  }
  for (const Lane& lane : s.cpu.vmx.trace.lanes().all()) CHECK(lane.depth <= Lanes::deepest);
  CHECK(s.contents("layers").size() < 4000);
}

TEST_CASE("l0: nothing can be written or made") {
  Share s;
  REQUIRE(s.walks(1, "why"));
  REQUIRE(s.walks(2, "vmcs"));
  CHECK(s.open(1, 1).error() == number(FileError::read_only));
  CHECK(s.open(1, 2).error() == number(FileError::read_only));
  CHECK(s.ask(Ask(t_mkdir) << uint32_t{2} << std::string("x") << uint32_t{0} << uint32_t{0}).error() ==
        number(FileError::read_only));
  CHECK(s.ask(Ask(t_unlinkat) << uint32_t{2} << std::string("current") << uint32_t{0}).error() == number(FileError::read_only));
  REQUIRE(s.open(1, 0).error() == 0);
  CHECK(s.write(1, 0, "x").error() == number(FileError::bad_file));
}

TEST_CASE("l0: open files may hold so much together, and no more", "[hostile]") {
  Share s;
  for (unsigned i = 0; i < 100; ++i) s.exits();
  uint32_t fid = 1;
  FileError error = FileError::none;
  for (; error == FileError::none && fid < 5000; ++fid) {
    REQUIRE(s.walks(fid, "exits"));
    error = static_cast<FileError>(s.open(fid, 0).error());
  }
  CHECK(error == FileError::too_many_open);
  CHECK(fid > 1000);
  s.ask(Ask(t_clunk) << uint32_t{1});
  CHECK(s.open(fid - 1, 0).error() == 0);
}

TEST_CASE("l0: a node that is none is stale whatever is asked of it", "[hostile]") {
  Share s;
  s.exits();
  std::mt19937_64 random(1);
  std::optional<std::vector<uint8_t>> made;
  for (unsigned i = 0; i < 20000; ++i) {
    // Often near to one that is.
    const FileTree::Node node = random() >> (random() & 7) & (random() & 1 ? ~uint64_t{0} : 0xfe00000000083fff);
    FileTree::Attributes attributes;
    FileTree::Node found;
    FileTree::Entry entry;
    const FileError looked = s.tree.attributes(node, attributes);
    INFO(node);
    const bool folder = looked == FileError::none && (attributes.mode & FileTree::kind_mask) == FileTree::directory;
    CHECK((looked == FileError::none || looked == FileError::stale));
    CHECK((s.tree.open(node, false, made) == looked));
    CHECK((s.tree.next_entry(node, random(), entry) == FileError::none) <= folder);
    CHECK((s.tree.find(node, "state", found) == FileError::none) <= folder);
  }
}

TEST_CASE("l0: a snapshot keeps the exits and what is open", "[snapshot]") {
  Share s;
  s.exits();
  REQUIRE(s.walks(1, "why"));
  REQUIRE(s.open(1, 0).error() == 0);
  const std::string was = s.read(1, 0, 60000), exits = s.contents("exits");
  Archive out = Archive::saving();
  out(s.server, s.cpu.vmx);

  Share other;
  for (unsigned i = 0; i < 100; ++i) other.exits();  // of which nothing is left
  Archive in = Archive::loading(out.output().data(), out.output().size());
  in(other.server, other.cpu.vmx);
  REQUIRE(in.ok());
  CHECK(in.remaining() == 0);
  CHECK(other.read(1, 0, 60000) == was);
  CHECK(other.contents("exits") == exits);
  CHECK(other.contents("layers") == s.contents("layers"));
  CHECK(other.contents("vmcs/last-exit/guest-state/rip") == "0x1234\n");
  Archive again = Archive::saving();
  again(other.server, other.cpu.vmx);
  Archive once_more = Archive::saving();
  once_more(s.server, s.cpu.vmx);
  CHECK(again.output() == once_more.output());
}

TEST_CASE("l0: a saved trace that names what does not exist is refused, or is harmless", "[snapshot][hostile]") {
  Share s;
  s.exits();
  s.cpu.vmx.trace.add_failure({0, InstructionError::none, {{&check_rows[1], {}}}});
  s.happens(TraceEvent::failed_entry, Reason::invalid_guest_state, Cause::entry_check);
  Archive out = Archive::saving();
  out(s.cpu.vmx.trace);
  std::mt19937 random(7);
  unsigned refused = 0;
  for (unsigned i = 0; i < 3000; ++i) {
    std::vector<uint8_t> bytes = out.output();
    bytes[random() % bytes.size()] = static_cast<uint8_t>(random());
    Archive in = Archive::loading(bytes.data(), bytes.size());
    Trace trace;
    in(trace);
    refused += !in.ok();
    if (!in.ok()) continue;
    s.cpu.vmx.trace = trace;
    for (const char* path : {"layers", "exits", "exits-by-reason", "why", "why-fail"}) CHECK_FALSE(s.contents(path).empty());
  }
  CHECK(refused > 50);  // the rest changed what may be anything
}
