// A hostile hypervisor. It begins with a VMCS that would do; the input changes fields, lists of MSRs, EPT, bitmaps, registers and
// memory, makes other places current, and writes the host's code and the guest's. Then come VMLAUNCH and what follows: entries
// that fail, exits, aborts. The processor must end in a valid state, the same in small steps with snapshots in between as at a
// stretch; and a snapshot whose VMX section somebody has changed runs, and saves and loads as itself.
#include "tests/fuzz/small_machine.h"
#include "tests/good_vmcs.h"

namespace matryoshka::fuzz {

namespace {

using namespace good_vmcs;

constexpr uint64_t vmxon_at = 0x30000, vmcs_at = 0x31000, other_vmcs_at = 0x32000, io_bitmaps_at = 0x33000,
                   msr_bitmap_at = 0x35000, virtual_apic_at = 0x36000, apic_page_at = 0x37000, ept_at = 0x38000,
                   lists_at = 0x3d000, guest_code_at = 0x40000, exits_at = 0x42000, guest_stack_at = 0x44000;
// Where a hypervisor's pointers lead: to its own tables, to devices, beyond RAM, beyond the physical-address width.
constexpr uint64_t vmx_places[] = {vmxon_at,
                                   vmcs_at,
                                   other_vmcs_at,
                                   io_bitmaps_at,
                                   msr_bitmap_at,
                                   virtual_apic_at,
                                   ept_at,
                                   ept_at + 0x1000,
                                   lists_at,
                                   guest_code_at,
                                   tables_at,
                                   code_at,
                                   device_at,
                                   rom_at,
                                   0xa0000,
                                   ram_bytes,
                                   ram_bytes - 16,
                                   0xfee00000,
                                   0x7fffff000,
                                   uint64_t{1} << 39,
                                   ~0xfffull,
                                   1,
                                   0};
constexpr uint32_t listed_msrs[] = {0x10,  0x1b,       0x3a,       0x174,      0x175,      0x176,      0x1d9,      0x277,
                                    0x2ff, 0x480,      0x6e0,      0x802,      0x830,      0x79,       0x9b,       0xda0,
                                    0x48,  0xc0000080, 0xc0000081, 0xc0000082, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103};

uint64_t vmx_place(Input& input) {
  const uint8_t which = input.take();
  return which < 0xe0 ? vmx_places[which % std::size(vmx_places)] + which / std::size(vmx_places) % 2 * 8 : input.number();
}

// Where the tables of a hypervisor are, besides what every VMCS has.
void write_pointers(Processor& cpu) {
  write(cpu, Field::io_bitmap_a, io_bitmaps_at), write(cpu, Field::io_bitmap_b, io_bitmaps_at + page_size);
  write(cpu, Field::msr_bitmap, msr_bitmap_at);
  write(cpu, Field::virtual_apic, virtual_apic_at), write(cpu, Field::apic_access, apic_page_at);
  write(cpu, Field::vpid, 1), write(cpu, Field::eptp, ept_at | 3 << 3 | 6);
  write(cpu, Field::exit_msr_store, lists_at), write(cpu, Field::exit_msr_load, lists_at + 0x400);
  write(cpu, Field::entry_msr_load, lists_at + 0x800);
}

// The first 2 MiB page by page, as themselves, and the device's window.
void build_ept(SmallMachine& m) {
  constexpr uint64_t all = 7, write_back = 6 << 3, large = 0x80;
  m.put(ept_at, (ept_at + 0x1000) | all);
  m.put(ept_at + 0x1000, (ept_at + 0x2000) | all), m.put(ept_at + 0x1000 + 24, (ept_at + 0x4000) | all);
  m.put(ept_at + 0x2000, (ept_at + 0x3000) | all);
  for (uint64_t i = 0; i < 512; ++i) m.put(ept_at + 0x3000 + 8 * i, i << 12 | all | write_back);
  m.put(ept_at + 0x4000 + (device_at >> 21 & 511) * 8, device_at | large | all | write_back);
  set(m.cpu(), Control::secondary_ept);
}

// Real-address mode or protected mode without paging; for that it must be unrestricted.
void without_paging(Processor& cpu, bool real) {
  set(cpu, Control::secondary_unrestricted_guest);
  clear(cpu, Control::entry_ia32e_mode_guest);
  write(cpu, Field::guest_cr0, cr0::ET | cr0::NE | (real ? 0 : cr0::PE));
  flip(cpu, Field::guest_cr4, read(cpu, Field::guest_cr4) & cr4::PCIDE);
  for (unsigned i = 0; i < 6; ++i) {
    const bool code = i == 1;
    write(cpu, nth(Field::guest_es_rights, i), (real ? 0x93 : 0xc093) | (code ? 8 : 0));
    if (!real) continue;
    write(cpu, nth(Field::guest_es_selector, i), 0x4000), write(cpu, nth(Field::guest_es_base, i), 0x40000);
    write(cpu, nth(Field::guest_es_limit, i), 0xffff);
  }
  if (real) write(cpu, Field::guest_rip, 0), write(cpu, Field::guest_idtr_base, 0), write(cpu, Field::guest_rsp, 0x4000);
}

void change_controls(Processor& cpu, Input& input) {
  const auto control = static_cast<Control>(input.take() % vmx::control_count);
  if (input.take() & 1)
    clear(cpu, control);
  else
    set(cpu, control);
}

void change_field(Processor& cpu, Input& input) {
  const auto f = static_cast<Field>(input.take() % vmx::field_count);
  switch (input.take() % 4) {
    case 0: write(cpu, f, input.number()); break;
    case 1: write(cpu, f, vmx_place(input)); break;
    case 2: flip(cpu, f, uint64_t{1} << input.take() % 64); break;
    case 3: write(cpu, f, input.take()); break;
  }
}

void inject(Processor& cpu, Input& input) {
  const uint8_t shape = input.take();
  write(cpu, Field::entry_interruption_info, uint64_t{1} << 31 | (shape & 7) << 8 | (shape >> 3 & 1) << 11 | input.take());
  write(cpu, Field::entry_error_code, input.take());
  write(cpu, Field::entry_instruction_length, shape >> 4);
}

void list_msr(SmallMachine& m, Input& input) {
  static constexpr Field counts[] = {Field::exit_msr_store_count, Field::exit_msr_load_count, Field::entry_msr_load_count};
  const uint8_t which = input.take();
  const uint64_t slot = which >> 2 & 7, list = which % 3;
  m.put(lists_at + 0x400 * list + 16 * slot, uint64_t{input.one_of(listed_msrs)});
  m.put(lists_at + 0x400 * list + 16 * slot + 8, input.number());
  // Now and then as many as the field can say.
  write(m.cpu(), counts[list], which & 0x80 ? input.number() : slot + 1);
}

// What the input makes of it all. Instructions that look at pointers are called as the processor does.
void damage(SmallMachine& m, Input& input) {
  Processor& cpu = m.cpu();
  for (unsigned left = input.take() % 24; left > 0; --left) {
    switch (input.take() % 14) {
      case 0: change_controls(cpu, input); break;
      case 1:
      case 2: change_field(cpu, input); break;
      case 3: inject(cpu, input); break;
      case 4: list_msr(m, input); break;
      case 5: m.put(ept_at + (input.take<uint16_t>() & 0x4ff8), vmx_place(input) | input.take<uint16_t>() % 0x1000); break;
      case 6: m.put(tables_at + (input.take<uint16_t>() & 0x5ff8), vmx_place(input) | input.take<uint16_t>() % 0x1000); break;
      case 7: m.put(io_bitmaps_at + input.take<uint16_t>() % 0x3000, input.take()); break;
      case 8: cpu.state.gpr[input.take() % 16] = vmx_place(input); break;
      case 9: m.put(vmx_place(input), input.number()); break;
      case 10: {  // another region becomes current, or this one does again
        const uint64_t region = vmx_place(input);
        if (input.take() & 1) m.put(region, vmx::Capabilities::revision);
        cpu.vmx.vmptrld(region);
        break;
      }
      case 11: cpu.vmx.vmclear(vmx_place(input)); break;
      case 12: cpu.vmx.invept(input.take() % 4, vmx_place(input) | input.take(), 0); break;
      case 13: cpu.vmx.invvpid(input.take() % 5, input.take(), vmx_place(input)); break;
    }
  }
}

void set_up(SmallMachine& m, Input input) {
  static constexpr Mode modes[] = {Mode::long64, Mode::long64, Mode::pae, Mode::paged32};
  m.start_again();
  const uint8_t head = input.take();
  build(m, modes[head & 3]);
  Processor& cpu = m.cpu();
  m.put(other_vmcs_at, vmx::Capabilities::revision);
  turn_on(cpu, m.memory(), vmxon_at, vmcs_at);
  write_host(cpu, exits_at, stack_at);
  write_pointers(cpu);
  write_guest(cpu, guest_code_at, guest_stack_at);
  if (head & 4) build_ept(m);
  if ((head & 12) == 12) without_paging(cpu, head & 16);
  damage(m, input);

  // The host skips what has exited and enters again; the input may put its own code in front. Behind the guest's stand jumps.
  static constexpr uint8_t enters[] = {0x0f, 0x01, 0xc2, 0x0f, 0x01, 0xc3},
                           goes_on[] = {0xb8, 0x0c, 0x44, 0x00, 0x00, 0x0f, 0x78, 0xc1,   // mov eax, length; vmread rcx, rax
                                        0xb8, 0x1e, 0x68, 0x00, 0x00, 0x0f, 0x78, 0xc2,   // mov eax, RIP; vmread rdx, rax
                                        0x01, 0xca, 0x0f, 0x79, 0xc2,                     // add edx, ecx; vmwrite rax, rdx
                                        0x0f, 0x01, 0xc3, 0x0f, 0x01, 0xc2, 0xeb, 0xfe};  // vmresume; vmlaunch; jmp $
  const ByteSpan before = input.bytes(head & 32 ? input.take() % 32 : 0),
                 handler = input.bytes(head & 64 ? input.take() % 64 : 0);
  auto put_code = [&](uint64_t at, ByteSpan own, ByteSpan then) {
    (void)m.memory().write(at, own.data(), own.size());
    (void)m.memory().write(at + own.size(), then.data(), then.size());
  };
  put_code(code_at, before, enters);
  put_code(exits_at, handler, goes_on);
  std::vector<uint8_t> guest(0x1000);
  for (size_t i = 0; i < guest.size(); ++i) guest[i] = i % 2 ? 0xfe : 0xeb;
  const ByteSpan rest = input.bytes(guest.size());
  std::copy(rest.begin(), rest.end(), guest.begin());
  (void)m.memory().write(guest_code_at, guest.data(), guest.size());
  cpu.forget_caches();
}

// In stretches, with what `between` does after each. What an engine has derived is dropped there, so that it makes no difference
// which entries of EPT were cached: that is the one thing in which hardware may differ from itself.
template <class Between>
void run_in_stretches(SmallMachine& m, uint64_t step, Between between) {
  constexpr uint64_t ticks = 400, stretch = 130;
  for (uint64_t end = stretch; end < ticks; end += stretch) {
    m.run(end, step);
    if (m.stopped()) return;
    (void)m.skip_sleep();
    between();
  }
}

// A snapshot's VMX section is its last.
void change_section(SmallMachine& m, std::vector<uint8_t> saved, Input& input) {
  Archive section = Archive::saving();
  m.cpu().vmx.serialize(section);
  const size_t size = section.output().size();
  for (unsigned left = input.take() % 16; left > 0; --left) {
    const uint64_t value = vmx_place(input);
    // The flags stand in front; each VMCS is long.
    const size_t at = saved.size() - size + input.take<uint16_t>() % (input.take() & 1 ? std::min<size_t>(size, 64) : size);
    std::memcpy(saved.data() + at, &value, std::min(sizeof value, saved.size() - at));
  }
  if (!m.load(saved)) return;
  m.run(m.ticks() + 100, 100);
  const std::vector<uint8_t> end = m.save();
  expect(m.load(end), "what came of an accepted snapshot can be loaded");
  expect(m.save() == end, "what was loaded is what was saved");
}

}  // namespace

void vmx(Input input) {
  static SmallMachine at_a_stretch, in_steps;
  for (SmallMachine* m : {&at_a_stretch, &in_steps}) set_up(*m, input);
  const uint8_t shape = input.take();
  run_in_stretches(at_a_stretch, 1000, [&] { at_a_stretch.cpu().forget_caches(); });
  expect_valid(at_a_stretch.cpu().state);
  const std::vector<uint8_t> end = at_a_stretch.save();

  constexpr uint64_t steps[] = {1, 2, 3, 7};
  run_in_stretches(in_steps, steps[shape >> 5 & 3],
                   [&] { expect(in_steps.load(in_steps.save()), "a snapshot on the way can be loaded"); });
  expect(in_steps.save() == end && in_steps.same_memory(at_a_stretch),
         "instructions in small steps, with snapshots, do what they do at a stretch");
  if (shape & 128) change_section(in_steps, end, input);
}

}  // namespace matryoshka::fuzz
