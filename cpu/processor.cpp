#include "cpu/processor.h"

#include <algorithm>

#include "cpu/handlers.h"
#include "cpu/isa.h"
#include "cpu/system/vmx.h"

namespace matryoshka {

Processor::Processor(const CpuModel& model, PhysicalMemory& memory, Bus& bus, Clock& clock, ProcessorHost& host)
    : memory(memory),
      bus(bus),
      clock(clock),
      host(host),
      model(model),
      mmu(state, memory, fault),
      apic(clock, state, *this),
      vmx(state, mmu, memory, clock, *this),
      decoder_(model.features),
      blocks_(memory) {
  mmu.limits = {model.physical_bits, model.features.has(Feature::PDPE1GB)};
  memory.set_watcher(this);
  vmx.set_capabilities(system::vmx_capabilities(model));
  reset();
}

// "Processor State After Reset", and after INIT, which leaves the FPU, the MTRRs and most MSRs alone.
void Processor::reset(bool init) {
  CpuState old = state;
  state = CpuState{};
  if (init) {
    std::copy(std::begin(old.xmm), std::end(old.xmm), std::begin(state.xmm));
    state.x87 = old.x87, state.mxcsr = old.mxcsr, state.xcr0 = old.xcr0;
    uint64_t clean_efer = state.msr.efer;
    state.msr = old.msr;
    state.msr.efer = clean_efer;
    state.retired = old.retired;
  } else {
    state.x87.control = 0x0040, state.x87.valid = 0xff;
    for (auto& r : state.x87.registers) r = {};
  }
  state.cr0 = init ? (old.cr0 & (cr0::CD | cr0::NW)) | cr0::ET : cr0::CD | cr0::NW | cr0::ET;
  for (Segment& s : state.segment) s = {0, 0x93, 0xffff, 0};
  state.segment[CS] = {0xf000, 0x9b, 0xffff, 0xffff0000};
  state.ldtr = {0, 0x82, 0xffff, 0};
  state.tr = {0, 0x8b, 0xffff, 0};
  state.rip = 0xfff0;
  state.gpr[RDX] = model.family << 8 | (model.model & 15) << 4 | (model.model >> 4) << 16 | model.stepping;
  apic.reset(init);
  vmx.reset();
  if (!init) init_requested_ = sipi_requested_ = false;
  fault.clear();
  forget_caches();
}

void Processor::forget_caches() {
  mmu.set_local_page(apic.page(), &apic);
  vmx.after_load();
  blocks_.drop_all();
  if (regions_) regions_->drop_all();
  derive();
}

void Processor::set_a20(bool open) {
  constexpr uint64_t line20 = 1 << 20;
  mmu.limits.address_lines = open ? ~uint64_t{0} : ~line20;
  mmu.forget_everything();
  attention_ = true;
}

void Processor::serialize(Archive& ar) {
  ar(state, intr_, init_requested_, sipi_requested_, sipi_vector_);
  apic.serialize(ar);
  if (ar.version() >= 4) vmx.serialize(ar);
}

namespace {

bool is_flat_data(const Segment& s) {
  return s.base == 0 && s.limit == 0xffffffff && !s.unusable() && s.is_code_or_data() && (s.rights & 14) == 2;
}

// How many bytes from offset 0 on may be both read and written.
uint64_t room_in(const Segment& s) {
  const bool upwards = !s.unusable() && s.is_code_or_data() && (s.rights & 14) == 2;
  return upwards ? uint64_t{s.limit} + 1 : 0;
}

}  // namespace

void Processor::derive() {
  const Segment& cs = state.segment[CS];
  bool code64 = state.code64();
  auto size_of = [&](const Segment& s) -> uint8_t { return code64 ? 64 : s.big() ? 32 : 16; };
  mode_.code_bits = size_of(cs);
  mode_.stack_bits = size_of(state.segment[SS]);
  mode_.flat_code = code64 || (cs.base == 0 && cs.limit == 0xffffffff);
  mode_.flat_data = code64 || (mode_.flat_code && cs.is_code() && cs.readable() && is_flat_data(state.segment[SS]) &&
                               is_flat_data(state.segment[DS]) && is_flat_data(state.segment[ES]));
  mode_.sse_ready = !(state.cr0 & (cr0::EM | cr0::TS)) && state.cr4 & cr4::OSFXSR;
  mode_.x87_ready = !(state.cr0 & (cr0::EM | cr0::TS));
  mode_.vex = state.protected_mode() && !state.virtual_8086();
  cpl_ = state.cpl();
  mode_.non_root = vmx.non_root();
  mode_.five_levels = code64 && state.cr4 & cr4::LA57;
  canonical_unused_ = state.cr4 & cr4::LA57 ? 7 : 16;
  code_limit_ = cs.limit;
  for (unsigned i = 0; i < segment_count; ++i) segment_base_[i] = code64 && i < FS ? 0 : state.segment[i].base;
  for (unsigned i = 0; i < segment_count; ++i) segment_room_[i] = code64 ? 0 : room_in(state.segment[i]);
  mmu.select();
  mode_.access = static_cast<uint8_t>(mmu.access_class());
  mode_key_ = mode_.key();
  attention_ = true;
}

bool Processor::hears_interrupts() const {
  if (state.activity != Activity::halted) return false;
  return state.system_flags & rflags::IF || vmx.guards(vmx::Control::pin_external_interrupt_exiting);
}

bool Processor::can_wake() const {
  if (vmx.non_root()) return guest_can_wake();
  if (state.activity == Activity::wait_for_sipi) return false;  // an NMI waits as well
  if (state.nmi_pending && !state.nmi_blocked) return true;
  if (state.activity != Activity::halted) return false;
  // A trap of the HLT itself: a single step over it.
  if (state.pending_debug) return true;
  return state.system_flags & rflags::IF && interrupt_is_due();
}

// ---- Memory, with the clock made exact before anything outside can look at it

void Processor::sync(const Op& op) { clock.ticks = block_ticks_ + static_cast<uint64_t>(&op - block_ops_) + 1; }

bool Processor::load_slow(const Op& op, uint64_t linear, void* value, unsigned size) {
  sync(op);
  bool ok = mmu.load_slow(linear, value, size);
  if (mmu.had_effect) stop_after(op);
  return ok;
}

bool Processor::store_slow(const Op& op, uint64_t linear, const void* value, unsigned size) {
  sync(op);
  bool ok = mmu.store_slow(linear, value, size);
  if (mmu.had_effect) stop_after(op);
  return ok;
}

bool Processor::load_for_store_slow(const Op& op, uint64_t linear, void* value, unsigned size) {
  sync(op);
  bool ok = mmu.load_for_store_slow(linear, value, size);
  if (mmu.had_effect) stop_after(op);
  return ok;
}

void Processor::code_written(uint64_t page, uint64_t granules) {
  uint64_t used = blocks_.drop_written(page, granules);
  if (regions_) used |= regions_->drop_written(page, granules);
  memory.forget_code(page, ~used);
  // It may be the running region's own code, or a repeated string instruction that overwrites itself: that is fetched again, as
  // wherever else its portion may end.
  attention_ = true;
}
void Processor::drop_write_tags(uint64_t page) { mmu.withhold_writes(page); }

// ---- Operands of plain functions

uint64_t Processor::read_gpr(unsigned offset, unsigned bits) const {
  uint64_t value = 0;
  std::memcpy(&value, reinterpret_cast<const uint8_t*>(state.gpr) + offset, bits / 8);
  return value;
}

void Processor::write_gpr(unsigned offset, unsigned bits, uint64_t value) {
  uint8_t* at = reinterpret_cast<uint8_t*>(state.gpr) + offset;
  switch (bits) {
    case 8: *at = static_cast<uint8_t>(value); break;
    case 16: std::memcpy(at, &value, 2); break;
    case 32: value = static_cast<uint32_t>(value); [[fallthrough]];
    default: std::memcpy(at, &value, 8);
  }
}

bool Processor::read_rm(const Op& op, uint64_t& value) {
  if (!op.is_memory()) {
    value = read_gpr(op.rm, op.operand_bits());
    return true;
  }
  uint64_t linear;
  return linear_address(op, op.operand_bytes(), AccessKind::read, linear) && load_sized(op, linear, value, op.operand_bytes());
}

bool Processor::write_rm(const Op& op, uint64_t value) {
  if (!op.is_memory()) {
    write_gpr(op.rm, op.operand_bits(), value);
    return true;
  }
  uint64_t linear;
  return linear_address(op, op.operand_bytes(), AccessKind::write, linear) && store_sized(op, linear, value, op.operand_bytes());
}

// ---- The local APIC's wishes

void Processor::apic_notice() { attention_ = true; }
void Processor::apic_nmi() { raise_nmi(); }
void Processor::apic_init() { init_requested_ = true, attention_ = true; }
void Processor::apic_sipi(uint8_t vector) {
  sipi_vector_ = vector;
  sipi_requested_ = true, attention_ = true;
}

}  // namespace matryoshka
