// "Task Switching", with 16-bit and 32-bit TSSs. Long mode has no task switches; its callers never come here.
#include "cpu/system/tasks.h"

namespace matryoshka::system {

namespace {

// "32-Bit Task-State Segment (TSS)" and "16-Bit Task-State Segment (TSS)".
struct Layout {
  unsigned width;  // of a register field
  uint32_t limit;  // the least
  uint32_t saved;  // first byte that a switch writes: the instruction pointer
  uint32_t cr3, instruction_pointer, flags, registers, segments, ldt, trap;
  unsigned segment_fields, segment_stride;

  uint32_t saved_end() const { return segments + segment_fields * segment_stride; }
};
constexpr Layout layout32{4, 0x67, 0x20, 0x1c, 0x20, 0x24, 0x28, 0x48, 0x60, 0x64, 6, 4};
constexpr Layout layout16{2, 0x2b, 0x0e, 0, 0x0e, 0x10, 0x12, 0x22, 0x2a, 0, 4, 2};

const Layout& layout_of(unsigned type) { return type & 8 ? layout32 : layout16; }

// What a TSS holds of a task, read before anything changes.
struct Image {
  uint32_t cr3 = 0, instruction_pointer, flags, registers[8];
  uint16_t segments[segment_count] = {};
  uint16_t ldt;
  bool trap = false;
};

template <class T>
bool field(Processor& cpu, uint64_t address, unsigned width, T& value) {
  if (width == 4) {
    uint32_t v = 0;
    bool ok = cpu.mmu.system_load(address, v);
    return value = static_cast<T>(v), ok;
  }
  uint16_t v = 0;
  bool ok = cpu.mmu.system_load(address, v);
  return value = static_cast<T>(v), ok;
}

bool store_field(Processor& cpu, uint64_t address, unsigned width, uint64_t value) {
  return width == 4 ? cpu.mmu.system_store(address, static_cast<uint32_t>(value))
                    : cpu.mmu.system_store(address, static_cast<uint16_t>(value));
}

bool read_image(Processor& cpu, uint64_t base, const Layout& at, Image& image) {
  const unsigned w = at.width;
  if (!field(cpu, base + at.instruction_pointer, w, image.instruction_pointer) || !field(cpu, base + at.flags, w, image.flags))
    return false;
  for (unsigned i = 0; i < 8; ++i) {
    if (!field(cpu, base + at.registers + w * i, w, image.registers[i])) return false;
    // What a 16-bit task finds in the upper halves is undefined; all ones is what processors show.
    if (w == 2) image.registers[i] |= 0xffff0000;
  }
  for (unsigned i = 0; i < at.segment_fields; ++i)
    if (!field(cpu, base + at.segments + at.segment_stride * i, 2, image.segments[i])) return false;
  if (!field(cpu, base + at.ldt, 2, image.ldt)) return false;
  if (w == 2) return true;
  uint16_t trap;
  if (!field(cpu, base + at.cr3, 4, image.cr3) || !field(cpu, base + at.trap, 2, trap)) return false;
  image.trap = trap & 1;
  return true;
}

// The caller has probed the whole range, so that no store fails.
void save_image(Processor& cpu, const Layout& at, uint64_t flags) {
  const CpuState& s = cpu.state;
  const uint64_t base = s.tr.base;
  bool ok =
      store_field(cpu, base + at.instruction_pointer, at.width, s.rip) && store_field(cpu, base + at.flags, at.width, flags);
  for (unsigned i = 0; i < 8 && ok; ++i) ok = store_field(cpu, base + at.registers + at.width * i, at.width, s.gpr[i]);
  for (unsigned i = 0; i < at.segment_fields && ok; ++i)
    ok = store_field(cpu, base + at.segments + at.segment_stride * i, 2, s.segment[i].selector);
}

bool probe_descriptor(Processor& cpu, uint16_t selector) {
  return cpu.mmu.system_probe_store(cpu.state.gdtr.base + (selector & 0xfff8) + 5, 1);
}

// ---- After the point of no return: the segments of the new task

bool load_ldt(Processor& cpu, uint16_t selector, Blame blame) {
  if (is_null(selector)) return true;
  Descriptor d;
  if (selector & 4) return blame(cpu, selector);
  if (!fetch_descriptor(cpu, selector, d, blame)) return false;
  if (d.is_code_or_data() || d.type() != descriptor_type::ldt || !d.present()) return blame(cpu, selector);
  cpu.state.ldtr = d.load(selector);
  return true;
}

bool load_code(Processor& cpu, uint16_t selector, Blame blame) {
  Descriptor d;
  const unsigned rpl = rpl_of(selector);
  if (is_null(selector)) return blame(cpu, selector);
  if (!fetch_descriptor(cpu, selector, d, blame)) return false;
  if (!is_code(d) || (is_conforming(d) ? d.dpl() > rpl : d.dpl() != rpl)) return blame(cpu, selector);
  if (!d.present()) return blame.refuse(cpu, NP_vector, selector);
  if (!mark_accessed(cpu, selector, d)) return false;
  cpu.state.segment[CS] = d.load(selector);
  return true;
}

bool load_data(Processor& cpu, SegmentName name, uint16_t selector, unsigned cpl, Blame blame) {
  if (is_null(selector)) return true;
  Descriptor d;
  if (!fetch_descriptor(cpu, selector, d, blame)) return false;
  if (!is_readable(d)) return blame(cpu, selector);
  if (!(is_code(d) && is_conforming(d)) && (rpl_of(selector) > d.dpl() || cpl > d.dpl())) return blame(cpu, selector);
  if (!d.present()) return blame.refuse(cpu, NP_vector, selector);
  if (!mark_accessed(cpu, selector, d)) return false;
  cpu.state.segment[name] = d.load(selector);
  return true;
}

// The first fault is the one that is raised; the switch is completed all the same, so that a good stack serves its handler.
bool load_segments(Processor& cpu, const Image& image, uint32_t external) {
  CpuState& s = cpu.state;
  const Blame blame{TS_vector, external};
  Fault first;
  auto take = [&](bool good) {
    if (!good && !first.pending) first = cpu.fault;
    cpu.fault.clear();
  };
  take(load_ldt(cpu, image.ldt, blame));
  if (!s.virtual_8086()) {
    const unsigned cpl = rpl_of(image.segments[CS]);
    take(load_code(cpu, image.segments[CS], blame));
    take(is_null(image.segments[SS]) ? blame(cpu, image.segments[SS])
                                     : check_stack_segment(cpu, image.segments[SS], cpl, blame, s.segment[SS]));
    for (SegmentName name : {DS, ES, FS, GS}) take(load_data(cpu, name, image.segments[name], cpl, blame));
  }
  if (!first.pending) return s.rip <= s.segment[CS].limit || cpu.fault.raise(GP_vector, external);
  cpu.fault = first;
  return false;
}

}  // namespace

bool switch_task(Processor& cpu, uint16_t selector, TaskSwitch kind, uint64_t flags, uint32_t external, bool& committed) {
  using namespace descriptor_type;
  CpuState& s = cpu.state;
  const bool links = kind == TaskSwitch::call || kind == TaskSwitch::event, returns = kind == TaskSwitch::iret;
  const Blame blame{returns ? TS_vector : GP_vector, external};
  committed = false;

  // The new TSS
  Descriptor d;
  if (selector & 4) return blame(cpu, selector);
  if (!fetch_descriptor(cpu, selector, d, blame)) return false;
  const unsigned expected_busy = returns ? unsigned{busy} : 0;
  if (d.is_code_or_data() || (d.type() & 5) != 1 || (d.type() & busy) != expected_busy) return blame(cpu, selector);
  if (!d.present()) return blame.refuse(cpu, NP_vector, selector);
  const Layout& layout = layout_of(d.type());
  if (d.limit() < layout.limit) return blame.refuse(cpu, TS_vector, selector);
  // "Treatment of Task Switches": a guest makes none.
  if (cpu.exits_always(vmx::Reason::task_switch, selector | uint64_t{static_cast<unsigned>(kind)} << 30)) return false;
  Image image;
  if (!read_image(cpu, d.base(), layout, image)) return false;

  // Everything that will be written must be writable.
  const Layout& old_layout = layout_of(s.tr.type());
  const uint16_t old_selector = s.tr.selector;
  if (s.tr.limit < old_layout.limit) return blame.refuse(cpu, TS_vector, old_selector);
  if (!cpu.mmu.system_probe_store(s.tr.base + old_layout.saved, old_layout.saved_end() - old_layout.saved)) return false;
  if (links && !cpu.mmu.system_probe_store(d.base(), 2)) return false;
  if (!probe_descriptor(cpu, old_selector) || !probe_descriptor(cpu, selector)) return false;

  // The old task
  if (!links && !set_busy(cpu, old_selector, false)) return false;
  save_image(cpu, old_layout, returns ? flags & ~rflags::NT : flags);
  if (links && !cpu.mmu.system_store(d.base(), old_selector)) return false;
  if (!returns && !set_busy(cpu, selector, true)) return false;

  // The new one. Its segments have their selectors, and are loaded one by one below.
  committed = true;
  s.tr = d.load(selector);
  s.tr.rights |= busy;
  s.cr0 |= cr0::TS;
  s.dr7 &= ~uint64_t{0x155};  // L0 to L3 and LE
  s.rip = image.instruction_pointer;
  s.set_rflags(image.flags | (links ? rflags::NT : 0));
  for (unsigned i = 0; i < 8; ++i) s.gpr[i] = image.registers[i];
  s.ldtr = {image.ldt, Segment::unusable_bit, 0, 0};
  for (unsigned name = 0; name < segment_count; ++name)
    s.segment[name] = s.virtual_8086() ? virtual_8086_segment(image.segments[name])
                                       : null_segment(image.segments[name], name == SS ? rpl_of(image.segments[CS]) : 0);
  bool ok = true;
  if (s.paging() && layout.width == 4) {
    if (s.cr4 & cr4::PAE) ok = load_pdptes(s, cpu.memory, cpu.mmu.limits, image.cr3, cpu.fault, external);
    s.cr3 = image.cr3;
    cpu.mmu.flush_non_global();
  }
  cpu.derive();
  ok = ok && load_segments(cpu, image, external);
  cpu.derive();
  if (ok && image.trap) s.pending_debug |= dr6::BT;
  return ok;
}

bool transfer_to_task(Processor& cpu, uint16_t selector, TaskSwitch kind) {
  bool committed;
  if (switch_task(cpu, selector, kind, cpu.state.rflags(), 0, committed)) return true;
  if (!committed) return false;
  cpu.deliver_fault();
  return true;
}

bool return_from_task(Processor& cpu) {
  uint16_t link;
  if (!cpu.mmu.system_load(cpu.state.tr.base, link)) return false;
  return transfer_to_task(cpu, link, TaskSwitch::iret);
}

}  // namespace matryoshka::system
