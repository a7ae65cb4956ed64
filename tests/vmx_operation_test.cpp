// VMX operation where a program on one bare processor cannot come: start-up IPIs, VMX aborts, hosts outside of IA-32e mode; and
// what a hostile hypervisor does with regions and tables where there is no memory.
#include <catch2/catch.hpp>

#include "tests/cpu_system_bench.h"
#include "tests/good_vmcs.h"

using namespace matryoshka;
using namespace matryoshka::good_vmcs;
using vmx::Reason;

namespace {

class VmxBench : public SystemBench {
 public:
  static constexpr uint64_t vmxon_at = 0x40000, vmcs_at = 0x41000, list_at = 0x42000, tables_at = 0x44000, ept_at = 0x48000,
                            guest_at = 0x110000, exits_at = 0x120000;

  explicit VmxBench(Mode mode = Mode::long64) : SystemBench(mode) {
    if (mode == Mode::protected32) pae_paging();
    turn_on(cpu, memory, vmxon_at, vmcs_at);
    write_host(cpu, exits_at, stack_at);
    write_guest(cpu, guest_at, stack_at - 0x1000);
    put_bytes(guest_at, {0xf4});              // hlt
    put_bytes(exits_at, {0x90, 0xeb, 0xfd});  // nop, for ever
    code("0f 01 c2");                         // vmlaunch
  }
  // The first 4 MiB as themselves.
  void pae_paging() {
    put(tables_at, uint64_t{(tables_at + 0x1000) | 1});
    for (uint64_t i = 0; i < 2; ++i) put(tables_at + 0x1000 + 8 * i, i << 21 | 0x87);
    CpuState& s = cpu.state;
    s.cr3 = tables_at, s.cr4 |= cr4::PAE, s.cr0 |= cr0::PG;
    s.pdpte[0] = (tables_at + 0x1000) | 1;
    cpu.forget_caches();
  }
  // The first 512 GiB as themselves.
  void use_ept() {
    put(ept_at, uint64_t{(ept_at + 0x1000) | 7});
    for (uint64_t i = 0; i < 512; ++i) put(ept_at + 0x1000 + 8 * i, i << 30 | 0xb7);
    write(cpu, Field::eptp, ept_at | 3 << 3 | 6);
    set(cpu, Control::secondary_ept);
  }
  // An interprocessor interrupt to itself, by its physical destination.
  void send(uint32_t command) { cpu.apic.write(0, 0x300, 4, command); }
  Reason reason() const { return static_cast<Reason>(read(cpu, Field::exit_reason)); }
  uint32_t abort_indicator() { return get<uint32_t>(vmcs_at + 4); }
  bool in_host() const { return !cpu.vmx.non_root() && cpu.state.rip >= exits_at && cpu.state.rip < exits_at + 3; }
  // A list with one entry.
  void list(Field address, Field count, uint64_t head, uint64_t value = 0) {
    put(list_at, head), put(list_at + 8, value);
    write(cpu, address, list_at), write(cpu, count, 1);
  }
};

}  // namespace

// ---- INIT and start-up IPIs: "Other Causes of VM Exits"

TEST_CASE("VMX: a SIPI exits from the wait for it, with its vector", "[vmx]") {
  VmxBench b;
  write(b.cpu, Field::guest_activity, 3);
  b.run(10);
  REQUIRE(b.cpu.vmx.non_root());
  CHECK(b.cpu.idle());
  CHECK_FALSE(b.cpu.can_wake());
  b.send(0x4600 | 0x9a);
  b.run(10);
  CHECK(b.in_host());
  CHECK(b.reason() == Reason::sipi);
  CHECK(read(b.cpu, Field::exit_qualification) == 0x9a);
  CHECK(read(b.cpu, Field::guest_activity) == 3);
}

TEST_CASE("VMX: a SIPI that nobody waits for is lost", "[vmx]") {
  VmxBench b;
  SECTION("in a guest") {
    b.put_bytes(b.guest_at, {0x90, 0xeb, 0xfd});
    b.run(5);
    b.send(0x4600 | 0x9a);
    b.run(20);
    CHECK(b.cpu.vmx.non_root());
    CHECK(b.cpu.state.rip - b.guest_at < 3);
  }
  SECTION("in root operation, before a guest that waits") {
    write(b.cpu, Field::guest_activity, 3);
    b.put_bytes(b.code_at, {0x90, 0x90, 0x0f, 0x01, 0xc2});
    b.run(1);
    b.send(0x4600 | 0x9a);
    b.run(20);
    CHECK(b.cpu.vmx.non_root());
  }
}

TEST_CASE("VMX: an INIT exits from a guest, and from one that halts or is shut down", "[vmx]") {
  for (uint64_t activity : {0, 1, 2}) {
    VmxBench b;
    b.put_bytes(b.guest_at, {0x90, 0xeb, 0xfd});
    write(b.cpu, Field::guest_activity, activity);
    b.run(5);
    REQUIRE(b.cpu.vmx.non_root());
    b.send(0x4500);
    b.run(5);
    CHECK(b.in_host());
    CHECK(b.reason() == Reason::init_signal);
    CHECK(read(b.cpu, Field::guest_activity) == activity);
  }
}

TEST_CASE("VMX: an INIT waits in root operation, and while a guest waits for a SIPI", "[vmx]") {
  VmxBench b;
  SECTION("until VMXOFF") {
    b.put_bytes(b.code_at, {0x90, 0x90, 0x0f, 0x01, 0xc4});  // nop; nop; vmxoff
    b.send(0x4500);
    b.run(2);
    CHECK(b.cpu.state.rip == b.code_at + 2);
    b.run(2);
    CHECK_FALSE(b.cpu.vmx.on());
    CHECK_FALSE(b.cpu.state.protected_mode());
  }
  SECTION("until the next guest is entered") {
    b.send(0x4500);
    b.run(5);
    CHECK(b.reason() == Reason::init_signal);
    CHECK(read(b.cpu, Field::guest_rip) == b.guest_at);
  }
  SECTION("until the SIPI has come") {
    write(b.cpu, Field::guest_activity, 3);
    b.run(5);
    b.send(0x4500);
    b.run(5);
    CHECK(b.cpu.vmx.non_root());
    b.send(0x4600 | 1);
    b.run(5);
    CHECK(b.reason() == Reason::sipi);
    CHECK(b.in_host());
  }
}

// ---- "VMX Aborts": the indicator tells the cause, and the processor shuts down

TEST_CASE("VMX: an exit that cannot be completed aborts", "[vmx]") {
  constexpr uint64_t star = 0xc0000081, fs_base = 0xc0000100, reserved = uint64_t{1} << 32, nothing = 0x7fff;
  struct {
    const char* what;
    Field address, count;
    uint64_t head, value;
    uint32_t indicator;
  } const rows[] = {
      {"store: no such MSR", Field::exit_msr_store, Field::exit_msr_store_count, nothing, 0, 1},
      {"store: reserved bits", Field::exit_msr_store, Field::exit_msr_store_count, star | reserved, 0, 1},
      {"load: no such MSR", Field::exit_msr_load, Field::exit_msr_load_count, nothing, 0, 4},
      {"load: reserved bits", Field::exit_msr_load, Field::exit_msr_load_count, star | reserved, 0, 4},
      {"load: a bad value", Field::exit_msr_load, Field::exit_msr_load_count, 0xc0000082, uint64_t{1} << 60, 4},
      {"load: FS.base", Field::exit_msr_load, Field::exit_msr_load_count, fs_base, 0, 4},
  };
  for (const auto& row : rows) {
    INFO(row.what);
    VmxBench b;
    set(b.cpu, Control::primary_hlt_exiting);
    b.list(row.address, row.count, row.head, row.value);
    b.run(10);
    CHECK(b.abort_indicator() == row.indicator);
    CHECK(b.triple);
    CHECK(b.cpu.state.activity == Activity::shutdown);
    CHECK_FALSE(b.cpu.vmx.non_root());
  }
}

TEST_CASE("VMX: a list where there is no memory aborts, and so does one that is too long", "[vmx]") {
  VmxBench b;
  set(b.cpu, Control::primary_hlt_exiting);
  SECTION("outside of RAM") {
    b.list(Field::exit_msr_store, Field::exit_msr_store_count, 0), write(b.cpu, Field::exit_msr_store, 0x7fffff0000);
  }
  SECTION("too long") {
    for (uint64_t i = 0; i < 520; ++i) b.put(b.guest_at + 0x10000 + 16 * i, uint64_t{0xc0000081});
    write(b.cpu, Field::exit_msr_store, b.guest_at + 0x10000), write(b.cpu, Field::exit_msr_store_count, 0xffffff);
  }
  b.run(10);
  CHECK(b.abort_indicator() == 1);
  CHECK(b.triple);
}

TEST_CASE("VMX: a host with PAE paging whose PDPTEs have gone bad aborts", "[vmx]") {
  VmxBench b(Mode::protected32);
  b.use_ept();
  set(b.cpu, Control::primary_hlt_exiting);
  SECTION("good") {
    b.run(3);
    CHECK(b.in_host());
    CHECK(b.abort_indicator() == 0);
    CHECK(b.cpu.mode().code_bits == 32);
  }
  SECTION("bad") {
    b.put(b.tables_at + 8, uint64_t{0x1e1});
    b.run(10);
    CHECK(b.abort_indicator() == 2);
    CHECK(b.triple);
  }
}

TEST_CASE("VMX: a guest that has gone to IA-32e mode cannot exit to a host that is not there", "[vmx]") {
  VmxBench b(Mode::protected32);
  b.use_ept();
  set(b.cpu, Control::secondary_unrestricted_guest);
  set(b.cpu, Control::entry_load_efer), set(b.cpu, Control::exit_load_efer);
  set(b.cpu, Control::primary_hlt_exiting);
  flip(b.cpu, Field::guest_cr0, cr0::PG);
  write(b.cpu, Field::guest_efer, efer::LME);
  write(b.cpu, Field::guest_cr3, 0x10000);
  b.put(0x10000, uint64_t{0x11007}), b.put(0x11000, uint64_t{0x12007});
  for (uint64_t i = 0; i < 4; ++i) b.put(0x12000 + 8 * i, i << 21 | 0x87);
  b.put_bytes(b.guest_at, {0x0f, 0x20, 0xc0, 0x0f, 0xba, 0xe8, 0x1f, 0x0f, 0x22, 0xc0, 0xf4});  // CR0.PG; hlt
  b.run(10);
  CHECK(b.abort_indicator() == 6);
  CHECK(b.triple);
}

// ---- "Delivery of Pending Debug Exceptions after VM Entry"

TEST_CASE("VMX: a breakpoint is pending at an entry only if it was enabled", "[vmx]") {
  struct {
    uint64_t pending, activity;
    bool exits;
    uint64_t qualification;
  } const rows[] = {
      {0x0003, 0, false, 0},     {0x1003, 0, true, 3},  {0x1000, 0, true, 0}, {0x4000, 0, true, 0x4000},
      {0x4002, 0, true, 0x4002}, {0x1001, 2, false, 0}, {0x1001, 1, true, 1},
  };
  for (const auto& row : rows) {
    INFO(row.pending << " " << row.activity);
    VmxBench b;
    b.put_bytes(b.guest_at, {0x90, 0xeb, 0xfd});
    write(b.cpu, Field::guest_pending_debug, row.pending);
    write(b.cpu, Field::guest_activity, row.activity);
    write(b.cpu, Field::exception_bitmap, 1 << DB_vector);
    b.run(6);
    CHECK(b.in_host() == row.exits);
    if (row.exits) CHECK(read(b.cpu, Field::exit_qualification) == row.qualification);
  }
}

TEST_CASE("VMX: an injected #DB leaves DR7.GD alone", "[vmx]") {
  for (uint64_t info : {0x80000301, 0x80000501}) {
    VmxBench b;
    set(b.cpu, Control::primary_hlt_exiting);  // the handlers halt
    set(b.cpu, Control::entry_load_debug_controls), set(b.cpu, Control::exit_save_debug_controls);
    write(b.cpu, Field::guest_dr7, 0x2400);
    write(b.cpu, Field::entry_interruption_info, info), write(b.cpu, Field::entry_instruction_length, 1);
    b.run(6);
    REQUIRE(b.in_host());
    CHECK(read(b.cpu, Field::guest_rip) == b.handler(DB_vector));
    CHECK(read(b.cpu, Field::guest_dr7) == 0x2400);
  }
}

TEST_CASE("VMX: an injected event wakes the guest, even one that cannot be delivered", "[vmx]") {
  for (uint64_t activity : {1, 2}) {
    VmxBench b;
    write(b.cpu, Field::guest_activity, activity);
    write(b.cpu, Field::guest_idtr_limit, 0);
    write(b.cpu, Field::exception_bitmap, 1 << GP_vector);
    write(b.cpu, Field::entry_interruption_info, 0x80000202);
    b.run(6);
    REQUIRE(b.in_host());
    CHECK(read(b.cpu, Field::vectoring_info) == 0x80000202);
    CHECK(read(b.cpu, Field::guest_activity) == 0);
  }
}

// ---- Hostile hypervisors

TEST_CASE("VMX: regions where there is no memory are refused", "[vmx]") {
  for (uint64_t region : {uint64_t{0xfee00000}, uint64_t{0xa0000}, uint64_t{0x7fffff000}}) {
    INFO(region);
    VmxBench b;
    b.cpu.vmx.vmptrld(region);
    CHECK(b.cpu.state.flags.zf());
    CHECK(read(b.cpu, Field::instruction_error) == 11);
    CHECK(b.cpu.vmx.current()->address == b.vmcs_at);
    b.cpu.vmx.vmclear(region);  // there is nothing to be written
    CHECK_FALSE(b.cpu.state.flags.zf());
    CHECK_FALSE(b.cpu.state.flags.cf());
    b.cpu.vmx.vmxoff();
    b.cpu.vmx.vmxon(region);
    CHECK(b.cpu.state.flags.cf());
  }
}

TEST_CASE("VMX: what a device has in place of a table ends in an exit", "[vmx]") {
  VmxBench b;
  set(b.cpu, Control::primary_hlt_exiting);
  SECTION("EPT") {
    set(b.cpu, Control::secondary_ept);
    for (uint64_t root : {uint64_t{0xfee00000}, uint64_t{0xa0000}, uint64_t{0x7fffff000}}) {
      write(b.cpu, Field::eptp, root | 3 << 3 | 6);
      b.cpu.state.rip = b.code_at;
      b.code(root == 0xfee00000 ? "0f 01 c2" : "0f 01 c3");
      b.run(3);
      CHECK((b.reason() == Reason::ept_violation || b.reason() == Reason::ept_misconfiguration));
      CHECK(b.in_host());
    }
  }
  SECTION("bitmaps: all ones, so everything exits") {
    set(b.cpu, Control::primary_io_bitmaps), set(b.cpu, Control::primary_msr_bitmaps);
    write(b.cpu, Field::io_bitmap_a, 0x7fffff000), write(b.cpu, Field::msr_bitmap, 0x7fffff000);
    b.put_bytes(b.guest_at, {0xe4, 0x80});  // in al, 80h
    b.run(3);
    CHECK(b.reason() == Reason::io_instruction);
  }
  SECTION("the virtual-APIC page") {
    set(b.cpu, Control::primary_tpr_shadow);
    write(b.cpu, Field::virtual_apic, 0x7fffff000);
    b.put_bytes(b.guest_at, {0x44, 0x0f, 0x22, 0xc0, 0x44, 0x0f, 0x20, 0xc3, 0xf4});  // mov cr8, rax; mov rbx, cr8; hlt
    b.run(6);
    CHECK(b.in_host());
  }
}

TEST_CASE("VMX: EPT that leads back into itself is walked four levels and no further", "[vmx]") {
  VmxBench b;
  set(b.cpu, Control::primary_hlt_exiting), set(b.cpu, Control::secondary_ept);
  for (uint64_t i = 0; i < 512; ++i) b.put(b.ept_at + 8 * i, b.ept_at | 7);
  write(b.cpu, Field::eptp, b.ept_at | 3 << 3 | 6);
  b.run(20);
  CHECK((b.in_host() || b.cpu.vmx.non_root()));
}

TEST_CASE("VMX: a storm of exits costs each its tick, and the run ends when it should", "[vmx]") {
  VmxBench b;
  set(b.cpu, Control::primary_hlt_exiting);
  b.put_bytes(b.exits_at, {0x0f, 0x01, 0xc3});  // vmresume: HLT exits again
  for (unsigned i = 0; i < 100; ++i) {
    const uint64_t end = b.clock.ticks + 1000;
    b.cpu.run(end);
    CHECK(b.clock.ticks - end <= 2);
  }
  CHECK(b.cpu.vmx.trace.exits[static_cast<unsigned>(Reason::hlt)] > 20'000);
}

TEST_CASE("VMX: an exit with long lists costs as much time as they are long", "[vmx]") {
  VmxBench b;
  set(b.cpu, Control::primary_hlt_exiting);
  constexpr uint64_t list = 0x400000, length = 512;
  for (uint64_t i = 0; i < length; ++i) b.put(list + 16 * i, uint64_t{0xc0000081});
  for (auto [address, count] : {std::pair{Field::exit_msr_store, Field::exit_msr_store_count},
                                {Field::exit_msr_load, Field::exit_msr_load_count},
                                {Field::entry_msr_load, Field::entry_msr_load_count}})
    write(b.cpu, address, list), write(b.cpu, count, length);
  b.run(3 * length);
  CHECK(b.cpu.vmx.trace.exits[static_cast<unsigned>(Reason::hlt)] == 1);
}

TEST_CASE("VMX: more regions than the processor keeps become current, one after the other", "[vmx]") {
  VmxBench b;
  constexpr uint64_t regions = 0x400000;
  for (uint64_t i = 0; i < 200; ++i) {
    b.put(regions + 0x1000 * i, vmx::Capabilities::revision);
    b.cpu.vmx.vmptrld(regions + 0x1000 * i);
    write(b.cpu, Field::guest_rip, i);
  }
  CHECK(b.cpu.vmx.active().all().size() <= 64);
  for (uint64_t i = 0; i < 200; ++i) {
    b.cpu.vmx.vmptrld(regions + 0x1000 * i);
    CHECK(read(b.cpu, Field::guest_rip) == i);
  }
}

// ---- What a fuzzer has found on the way

TEST_CASE("strings: a REP STOS that overwrites itself is fetched again, wherever its portion ends", "[traps]") {
  for (uint64_t count : {3, 20})
    for (unsigned step : {1u, 3u, 1000u}) {
      CpuBench b(Mode::protected16);
      b.cpu.state.gpr[RDI] = 0x0ffc, b.cpu.state.gpr[RCX] = count, b.cpu.state.gpr[RAX] = 0x9090;
      b.code("f3 ab");  // at 1000h: the third word that is stored is these two bytes
      for (uint64_t end = b.clock.ticks + 10; b.clock.ticks < end;) b.cpu.run(std::min(end, b.clock.ticks + step));
      INFO(count << " in steps of " << step);
      CHECK(b.cpu.state.gpr[RCX] == count - 3);
      CHECK(b.cpu.state.rip == 0x100c);  // two NOPs, and five ADDs of two bytes
    }
}
