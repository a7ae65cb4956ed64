// A VMCS that passes every check: a host that goes on as the processor is, and a guest like it. Tests change what they are about.
#pragma once

#include "cpu/processor.h"

namespace matryoshka::good_vmcs {

using vmx::Control;
using vmx::Field;

inline void write(Processor& cpu, Field f, uint64_t value) {
  cpu.vmx.vmwrite(info(f).encoding(), value);
  if (info(f).width == vmx::Width::quad) cpu.vmx.vmwrite(info(f).encoding() | 1, value >> 32);
}
inline uint64_t read(const Processor& cpu, Field f) { return cpu.vmx.current() ? (*cpu.vmx.current())[f] : 0; }
inline void flip(Processor& cpu, Field f, uint64_t bits) { write(cpu, f, read(cpu, f) ^ bits); }

inline void set(Processor& cpu, Control control) {
  if (info(control).word == vmx::Word::secondary) set(cpu, Control::primary_secondary_controls);
  const Field f = field_of(info(control).word);
  write(cpu, f, read(cpu, f) | info(control).mask());
}
inline void clear(Processor& cpu, Control control) {
  const Field f = field_of(info(control).word);
  write(cpu, f, read(cpu, f) & ~uint64_t{info(control).mask()});
}

// VMX operation with the VMCS at `vmcs` current and clear. The memory must be there.
inline void turn_on(Processor& cpu, PhysicalMemory& memory, uint64_t vmxon_region, uint64_t vmcs) {
  cpu.state.cr4 |= cr4::VMXE, cpu.state.cr0 |= cr0::NE;
  cpu.derive();
  const uint32_t revision = vmx::Capabilities::revision;
  for (uint64_t region : {vmxon_region, vmcs}) (void)memory.write(region, &revision, sizeof revision);
  cpu.vmx.vmxon(vmxon_region);
  cpu.vmx.vmclear(vmcs), cpu.vmx.vmptrld(vmcs);
}

inline void write_host(Processor& cpu, uint64_t rip, uint64_t rsp) {
  const CpuState& s = cpu.state;
  for (vmx::Word word : {vmx::Word::pin, vmx::Word::primary, vmx::Word::secondary, vmx::Word::exit, vmx::Word::entry})
    write(cpu, field_of(word), cpu.vmx.capabilities().required(word));
  if (s.long_mode()) set(cpu, Control::exit_host_address_space_size), set(cpu, Control::entry_ia32e_mode_guest);
  write(cpu, Field::link_pointer, ~uint64_t{0});
  write(cpu, Field::host_cr0, s.cr0), write(cpu, Field::host_cr3, s.cr3), write(cpu, Field::host_cr4, s.cr4);
  for (auto [f, segment] : {std::pair{Field::host_cs_selector, CS},
                            {Field::host_ss_selector, SS},
                            {Field::host_ds_selector, DS},
                            {Field::host_es_selector, ES}})
    write(cpu, f, s.segment[segment].selector);
  write(cpu, Field::host_tr_selector, s.tr.selector), write(cpu, Field::host_tr_base, s.tr.base);
  write(cpu, Field::host_gdtr_base, s.gdtr.base), write(cpu, Field::host_idtr_base, s.idtr.base);
  write(cpu, Field::host_pat, s.msr.pat), write(cpu, Field::host_efer, s.msr.efer);
  write(cpu, Field::host_rip, rip), write(cpu, Field::host_rsp, rsp);
}

inline void write_guest(Processor& cpu, uint64_t rip, uint64_t rsp) {
  const CpuState& s = cpu.state;
  write(cpu, Field::guest_cr0, s.cr0), write(cpu, Field::guest_cr3, s.cr3), write(cpu, Field::guest_cr4, s.cr4);
  const Segment* segments[] = {&s.segment[ES], &s.segment[CS], &s.segment[SS], &s.segment[DS],
                               &s.segment[FS], &s.segment[GS], &s.ldtr,        &s.tr};
  for (unsigned i = 0; i < std::size(segments); ++i) {
    write(cpu, nth(Field::guest_es_selector, i), segments[i]->selector);
    write(cpu, nth(Field::guest_es_rights, i), segments[i]->rights);
    write(cpu, nth(Field::guest_es_limit, i), segments[i]->limit);
    write(cpu, nth(Field::guest_es_base, i), segments[i]->base);
  }
  write(cpu, Field::guest_gdtr_base, s.gdtr.base), write(cpu, Field::guest_gdtr_limit, s.gdtr.limit);
  write(cpu, Field::guest_idtr_base, s.idtr.base), write(cpu, Field::guest_idtr_limit, s.idtr.limit);
  write(cpu, Field::guest_pat, s.msr.pat), write(cpu, Field::guest_efer, s.msr.efer);
  write(cpu, Field::guest_rflags, rflags::always_one), write(cpu, Field::guest_dr7, dr7::always_one);
  write(cpu, Field::guest_rip, rip), write(cpu, Field::guest_rsp, rsp);
  for (unsigned i = 0; i < 4; ++i) write(cpu, nth(Field::guest_pdpte_0, i), s.pdpte[i]);
}

}  // namespace matryoshka::good_vmcs
