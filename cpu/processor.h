// One processor: its saved state, what is derived from it, and the services that instruction texts and devices call.
//
// Where things are: instructions in ops/ (texts over a value domain, and plain functions), what concerns the whole
// processor in system/ (segments, transfers, interrupts, tasks, MSRs, CPUID, the local APIC), the run loop in interpreter.cpp.
//
// Time. `clock.ticks` is brought up to date before anything that could look at it: at the end of a block, before a row of
// kind leave, and on the slow path of a memory access.
//
// Faults. A service that answers false has left the exception in `fault`; the caller returns false at once, and the run
// loop puts RIP back to the instruction's start and delivers it.
#pragma once

#include <cstdint>
#include <memory>

#include "cpu/block_cache.h"
#include "cpu/decode.h"
#include "cpu/instruction.h"
#include "cpu/model.h"
#include "cpu/region_engine.h"
#include "cpu/state/fault.h"
#include "cpu/state/state.h"
#include "cpu/system/local_apic.h"
#include "devices/bus/bus.h"
#include "devices/bus/clock.h"
#include "devices/bus/irq.h"
#include "mmu/mmu.h"
#include "vmx-model/vmx.h"

namespace matryoshka {

class RegionVerifier;

// What the board does for a processor.
class ProcessorHost {
 public:
  virtual ~ProcessorHost() = default;
  virtual void triple_fault() = 0;  // the machine resets or stops
  virtual void numeric_error() {}   // FERR#: an unmasked x87 exception is pending, and CR0.NE is clear
  virtual uint64_t random() = 0;    // for RDRAND and RDSEED: from the machine's logged source
  // Asked before an exception or interrupt is delivered. True: the host has taken it, and the guest never sees it.
  virtual bool takes_event(uint8_t /*vector*/, bool /*has_error*/, uint32_t /*error*/) { return false; }
};

class Processor final : private CodeWatcher, private LocalApicHost, private vmx::VmxHost {
 public:
  Processor(const CpuModel& model, PhysicalMemory& memory, Bus& bus, Clock& clock, ProcessorHost& host);

  CpuState state;
  Fault fault;
  PhysicalMemory& memory;
  Bus& bus;
  Clock& clock;
  ProcessorHost& host;
  const CpuModel model;
  Mmu mmu;
  LocalApic apic;
  vmx::Vmx vmx;
  InterruptAcknowledge* pic = nullptr;  // who answers an interrupt acknowledge cycle (ExtINT)

  // ---- Running

  // Runs until clock.ticks reaches `limit`, the processor halts, or stop() is called. Nothing begins at or behind `limit`; what
  // begins before it may end behind it, where an instruction has a charge (a port access) or two events come together.
  void run(uint64_t limit);
  // Makes run() return between two instructions, as soon as the present one is complete.
  void stop() { stop_requested_ = true, attention_ = true; }
  void reset(bool init = false);
  // Drops every cached translation and decoded block, and rebuilds the derived half; after loading a snapshot.
  void forget_caches();
  void serialize(Archive& ar);

  // Statistics, no part of the state.
  uint64_t rep_iterations = 0, interrupts_delivered = 0;
  const BlockCache& blocks() const { return blocks_; }
  BlockCache& blocks() { return blocks_; }
  const Decoder& decoder() const { return decoder_; }
  uint32_t mode_key() const { return mode_key_; }

  // The engine for hot places, or null: everything is interpreted.
  void set_regions(RegionEngine* regions) { regions_ = regions; }
  // Holds each run of a region against the interpreter; or null.
  void set_verifier(RegionVerifier* verifier) { verifier_ = verifier; }
  RegionContext region_context();
  // For regions: a row of kind leave or a repeated string instruction, with the state in place and the block's bookkeeping as if
  // the instruction were a block of its own. `may_go_on`: it reads and writes no register beside those that the region expects.
  RegionContinuation run_in_region(const Op& op, bool may_go_on);
  uint64_t instructions_in_regions = 0;  // a statistic

  bool idle() const { return state.activity != Activity::active; }
  // Whether the halted processor has something to wake up for.
  bool can_wake() const;
  // Whether interrupts reach it at all while it is halted.
  bool hears_interrupts() const;

  // ---- Wires

  void set_intr(bool level) { intr_ = level, attention_ = true; }  // from the 8259 pair
  void raise_nmi() { state.nmi_pending = true, attention_ = true; }
  void set_a20(bool open);
  // IGNNE#, until the x87 error that is pending now has been cleared.
  void ignore_numeric_error() { state.x87.ignores_error = state.x87.status & 0x80; }
  void notice() { attention_ = true; }  // something that run() must look at has changed

  // ---- For instruction texts: addresses, memory, stack, control

  uint64_t next_rip(const Op& op) const { return block_rip_ + op.offset; }
  uint64_t instruction_start(const Op& op) const { return block_rip_ + op.offset - op.length; }

  template <class T = uint64_t>
  T& gpr_at(unsigned offset) {
    return *reinterpret_cast<T*>(reinterpret_cast<uint8_t*>(state.gpr) + offset);
  }

  uint64_t effective_address(const Op& op) const {
    auto slot = [this](unsigned offset) { return state.gpr[offset / 8]; };
    return (slot(op.base) + (slot(op.index) << op.scale) + static_cast<uint64_t>(op.displacement)) & op.address_mask();
  }
  [[nodiscard]] bool operand_address(const Op& op, uint64_t offset, unsigned size, AccessKind kind, uint64_t& linear) {
    if (op.flags & Op::checked) [[unlikely]]
      return segment_address(op.segment, offset, size, kind, linear);
    linear = offset + segment_base_[op.segment];
    return true;
  }
  // The linear address of the operand that ModRM names, its segment's limit and type checked where the mode has such.
  [[nodiscard]] bool linear_address(const Op& op, uint64_t beyond, unsigned size, AccessKind kind, uint64_t& linear) {
    return operand_address(op, (effective_address(op) + beyond) & op.address_mask(), size, kind, linear);
  }
  [[nodiscard]] bool linear_address(const Op& op, unsigned size, AccessKind kind, uint64_t& linear) {
    return linear_address(op, 0, size, kind, linear);
  }
  // The same for an offset of one's own (string instructions, the stack): `segment` is a SegmentName, in every mode.
  [[nodiscard]] bool segment_address(unsigned segment, uint64_t offset, unsigned size, AccessKind kind, uint64_t& linear);

  template <class T>
  [[nodiscard]] bool load(const Op& op, uint64_t linear, T& value) {
    return mmu.try_load(linear, value) || load_slow(op, linear, &value, sizeof value);
  }
  template <class T>
  [[nodiscard]] bool store(const Op& op, uint64_t linear, const T& value) {
    return mmu.try_store(linear, value) || store_slow(op, linear, &value, sizeof value);
  }
  template <class T>
  [[nodiscard]] bool load_for_store(const Op& op, uint64_t linear, T& value) {
    return mmu.try_load_for_store(linear, value) || load_for_store_slow(op, linear, &value, sizeof value);
  }

  // Whole-operand access for helper and leave rows: ModRM.rm as a register or memory of op.operand_bytes().
  [[nodiscard]] bool read_rm(const Op& op, uint64_t& value);
  [[nodiscard]] bool write_rm(const Op& op, uint64_t value);
  uint64_t read_gpr(unsigned offset, unsigned bits) const;
  void write_gpr(unsigned offset, unsigned bits, uint64_t value);
  // The same at an offset that the caller has from effective_address().
  template <class T>
  [[nodiscard]] bool load_at(const Op& op, uint64_t offset, T& value) {
    uint64_t linear;
    return operand_address(op, offset, sizeof(T), AccessKind::read, linear) && load(op, linear, value);
  }
  template <class T>
  [[nodiscard]] bool store_at(const Op& op, uint64_t offset, const T& value) {
    uint64_t linear;
    return operand_address(op, offset, sizeof(T), AccessKind::write, linear) && store(op, linear, value);
  }
  template <class T>
  [[nodiscard]] bool load_operand(const Op& op, T& value) {  // a memory operand of any plain type
    uint64_t linear;
    return linear_address(op, sizeof(T), AccessKind::read, linear) && load(op, linear, value);
  }
  template <class T>
  [[nodiscard]] bool store_operand(const Op& op, const T& value) {
    uint64_t linear;
    return linear_address(op, sizeof(T), AccessKind::write, linear) && store(op, linear, value);
  }

  // The stack of the running code, by SS and its size. RSP moves only when the access went well.
  [[nodiscard]] bool push(const Op& op, uint64_t value, unsigned bytes) {
    uint64_t top = (state.gpr[RSP] - bytes) & op.stack_mask(), linear;
    if (!stack_address(top, bytes, AccessKind::write, linear)) return false;
    if (!store_sized(op, linear, value, bytes)) return stack_fault();
    set_stack_pointer(op, top);
    return true;
  }
  [[nodiscard]] bool pop(const Op& op, uint64_t& value, unsigned bytes) {
    if (!peek_stack(op, 0, value, bytes)) return false;
    move_stack(op, bytes);
    return true;
  }
  // Reads at an offset from the stack's top without moving it.
  [[nodiscard]] bool peek_stack(const Op& op, uint64_t offset, uint64_t& value, unsigned bytes) {
    uint64_t top = (state.gpr[RSP] + offset) & op.stack_mask(), linear;
    if (!stack_address(top, bytes, AccessKind::read, linear)) return false;
    return load_sized(op, linear, value, bytes) || stack_fault();
  }
  void move_stack(const Op& op, int64_t bytes) {
    set_stack_pointer(op, (state.gpr[RSP] + static_cast<uint64_t>(bytes)) & op.stack_mask());
  }
  void set_stack_pointer(const Op& op, uint64_t value) {
    if (op.stack_bits() == 16)
      gpr_at<uint16_t>(RSP * 8) = static_cast<uint16_t>(value);
    else
      state.gpr[RSP] = value;
  }
  // A linear address in the stack segment; `top` is already cut to the stack's size.
  [[nodiscard]] bool stack_address(uint64_t top, unsigned bytes, AccessKind kind, uint64_t& linear) {
    if (!mode_.flat_data) [[unlikely]]
      return segment_address(SS, top, bytes, kind, linear);
    linear = top;
    return true;
  }
  [[nodiscard]] bool load_sized(const Op& op, uint64_t linear, uint64_t& value, unsigned bytes);
  [[nodiscard]] bool store_sized(const Op& op, uint64_t linear, uint64_t value, unsigned bytes);

  // A non-canonical stack address is #SS, not #GP.
  bool stack_fault() {
    if (fault.by_noncanonical) fault.raise(SS_vector, 0);
    return false;
  }

  // Near control transfer: false also when it went well, since the block is over; #GP(0) if the target is outside the segment.
  [[nodiscard]] bool jump(uint64_t target) {
    if (!target_allowed(target)) [[unlikely]]
      return fault.raise(GP_vector, 0);
    state.rip = target;
    return false;
  }
  bool target_allowed(uint64_t target) const {
    return mode_.code_bits == 64
               ? static_cast<uint64_t>(static_cast<int64_t>(target << canonical_unused_) >> canonical_unused_) == target
               : target <= code_limit_;
  }

  // ---- For rows of kind leave

  // While such a row runs, state.rip already is the next instruction's address, and clock.ticks is exact. A row that changes
  // CR0, CR4, EFER, a segment register, RFLAGS or the privilege level calls derive() before it returns.
  void derive();
  unsigned cpl() const { return cpl_; }
  const CodeMode& mode() const { return mode_; }
  uint64_t segment_base(unsigned segment) const { return segment_base_[segment]; }
  // Leaves the block and comes back to the same instruction, without counting it as attempted (REP between two portions).
  bool again(const Op& op, uint64_t ticks_spent);
  // The ticks of REP iterations already done; the block ends after such a row.
  void charge(uint64_t ticks) { block_ticks_ += ticks, rep_iterations += ticks; }
  // Whether something is to be looked at before the next instruction, or the next REP iteration.
  bool attention_wanted() const { return attention_ || mmu.had_effect; }
  // One instruction runs by itself, and one iteration of a repeated one.
  bool stepping() const { return stepping_; }
  // How many ticks may still pass before the next event.
  uint64_t ticks_left(const Op& op) const;

  // ---- Services of system/

  // segments.cpp
  [[nodiscard]] bool read_descriptor(uint16_t selector, Descriptor& descriptor);  // #GP(selector) outside the table
  [[nodiscard]] bool load_segment(unsigned segment, uint16_t selector);           // MOV and POP to a segment register
  // interrupts.cpp
  enum class EventKind : uint8_t {
    external,
    nmi,
    exception,
    software /* INT n */,
    software_exception /* INT3, INTO */,
    software_one /* ICEBP */
  };
  struct Event {
    uint8_t vector;
    EventKind kind;
    bool has_error = false;
    uint32_t error = 0;
    uint64_t payload = 0;   // #PF: what CR2 becomes; #DB: what DR6 gains
    bool injected = false;  // by a VM entry: no payload, and it cannot exit itself
    uint32_t length = 0;    // injected software events: of the instruction that they stand for

    // INT n, INT3 and INTO are held to the gate's DPL, and what they meet is not external to the program.
    bool by_program() const { return kind == EventKind::software || kind == EventKind::software_exception; }
    uint32_t external() const { return by_program() ? 0 : 1; }
    bool is_fault() const {
      return kind == EventKind::exception && vector != DB_vector && vector != DF_vector && vector != MC_vector;
    }
    uint32_t info() const;  // as the interruption-information fields of the VMCS have it
  };
  // Delivers one event through the IDT or IVT; faults on the way become double faults, then host.triple_fault(). In a guest any
  // of them may exit instead. `vectoring` is an event whose delivery has led to this one.
  void deliver(Event event, uint32_t vectoring = 0, uint32_t vectoring_error = 0);
  void deliver_fault();  // what stands in `fault`

  // virtualization.cpp: non-root operation. Each answers true, with the VM exit in `fault`, where the guest has to leave; the
  // caller then returns false at once. In root operation all are false.
  [[nodiscard]] bool exits(vmx::Reason reason, vmx::Cause cause, uint64_t qualification = 0, uint32_t instruction_info = 0);
  [[nodiscard]] bool exits_by(vmx::Control control, vmx::Reason reason, uint64_t qualification = 0,
                              uint32_t instruction_info = 0) {
    return vmx.guards(control) && exits(reason, control, qualification, instruction_info);
  }
  [[nodiscard]] bool exits_always(vmx::Reason reason, uint64_t qualification = 0, uint32_t instruction_info = 0) {
    return vmx.non_root() && exits(reason, vmx::Cause::unconditional, qualification, instruction_info);
  }
  void enter_guest(const Op& op, bool launch);  // VMLAUNCH, VMRESUME

  // Counted by deliver(), SYSCALL and SYSRET: tells a single step that the flags it began with are no longer the program's.
  uint64_t events_delivered = 0;

 private:
  friend class RegionVerifier;
  bool load_slow(const Op& op, uint64_t linear, void* value, unsigned size);
  bool store_slow(const Op& op, uint64_t linear, const void* value, unsigned size);
  bool load_for_store_slow(const Op& op, uint64_t linear, void* value, unsigned size);
  void sync(const Op& op);
  void stop_after(const Op& op);

  void code_written(uint64_t page, uint64_t granules) override;
  void drop_write_tags(uint64_t page) override;

  bool vmx_read_msr(uint32_t number, uint64_t& value) override;
  bool vmx_write_msr(uint32_t number, uint64_t value) override;
  void vmx_state_replaced() override;
  void vmx_notice() override { attention_ = true; }
  void vmx_shut_down() override;
  void vmx_stop() override { stop(); }
  void leave_guest(vmx::ExitRecord record);
  void leave_guest_by(const Fault& met);
  bool leaves_by(const Event& event, uint32_t vectoring, uint32_t vectoring_error);
  bool service_guest_exits();
  bool guest_can_wake() const;
  bool guest_exit_due() const;
  void begin_guest(bool launch);
  // A region counts its instructions when it ends. The trace of VM entries and exits wants those before the present one now.
  uint64_t uncounted_in_region() const { return in_region_ ? block_ticks_ - region_start_ticks_ - region_charges_ : 0; }
  // A maskable interrupt waits, from the local APIC or the 8259; whether it may come is another question.
  bool interrupt_is_due() const { return apic.has_interrupt() || (intr_ && apic.accepts_pic() && pic); }
  uint8_t take_interrupt();

  void apic_notice() override;
  void apic_nmi() override;
  void apic_init() override;
  void apic_sipi(uint8_t vector) override;

  bool service_events();
  bool must_step() const;
  bool code_breakpoints() const;
  void step();
  Block* next_block();
  Block* build_block(uint64_t linear, const Mmu::CodePage& page);
  void interpret();
  enum class AfterRegion : uint8_t { go_on, interpret, leave };
  AfterRegion run_region(const Block& block);
  // V8 compiles a function well only when it is entered again and again, so a region comes back after this many ticks at the
  // latest.
  static constexpr uint64_t longest_stay = 50'000;
  RegionEngine::Outcome call_region(uint32_t entry, int32_t budget);
  bool interpret_until(uint64_t limit);
  bool nothing_is_due() const;
  bool run_leave_row(const Op& op);
  bool not_ready(const Op& op);
  void finish_faulted(const Op& op);
  void settle_fault(const Op& op);
  void stop_before(Op* op);
  void resume_stopped();

  // ---- Derived
  Decoder decoder_;
  BlockCache blocks_;
  CodeMode mode_;
  uint32_t mode_key_ = 0;
  unsigned cpl_ = 0;
  unsigned canonical_unused_ = 16;
  uint64_t code_limit_ = 0xffff;
  uint64_t segment_base_[7] = {};
  uint64_t segment_room_[7] = {};  // for regions, which ask nothing else of a segment
  bool intr_ = false;

  // ---- While running
  bool attention_ = true;  // something to look at between two instructions
  bool stop_requested_ = false;
  uint64_t limit_ = 0;       // the tick count that may not be passed
  Op* block_ops_ = nullptr;  // of the running block, up to its handler_end
  Op* block_end_ = nullptr;
  uint64_t block_rip_ = 0;    // RIP at its start
  uint64_t block_ticks_ = 0;  // clock.ticks at its start
  Op* stop_op_ = nullptr;     // an Op whose handler was replaced by handler_stop, and what it was
  uint16_t stopped_handler_ = 0;
  bool restarted_ = false;    // the instruction is to be continued: again()
  bool stepping_ = false;     // one instruction is being watched by itself: step()
  bool fault_met_ = false;    // and it faulted
  uint32_t exit_length_ = 0;  // while a fault is delivered: of the instruction that met it
  bool init_requested_ = false, sipi_requested_ = false;
  uint8_t sipi_vector_ = 0;
  RegionEngine* regions_ = nullptr;
  RegionVerifier* verifier_ = nullptr;
  bool in_region_ = false;
  bool only_interprets_ = false;  // no region is entered or considered
  void* way_ = nullptr;           // by which the last region was left, if it leads straight on
  uint64_t region_end_ticks_ = 0, region_deadline_ = 0;
  uint64_t region_start_ticks_ = 0;
  uint64_t region_charges_ = 0;  // ticks since it was entered that were no instructions
  Block transient_ = {};         // the running block if it could not be remembered
  Op transient_ops_[BlockCache::max_instructions + 1] = {};
};

inline bool Processor::load_sized(const Op& op, uint64_t linear, uint64_t& value, unsigned bytes) {
  switch (bytes) {
    case 1: {
      uint8_t v = 0;
      bool ok = load(op, linear, v);
      return value = v, ok;
    }
    case 2: {
      uint16_t v = 0;
      bool ok = load(op, linear, v);
      return value = v, ok;
    }
    case 4: {
      uint32_t v = 0;
      bool ok = load(op, linear, v);
      return value = v, ok;
    }
    default: return load(op, linear, value);
  }
}

inline bool Processor::store_sized(const Op& op, uint64_t linear, uint64_t value, unsigned bytes) {
  switch (bytes) {
    case 1: return store(op, linear, static_cast<uint8_t>(value));
    case 2: return store(op, linear, static_cast<uint16_t>(value));
    case 4: return store(op, linear, static_cast<uint32_t>(value));
    default: return store(op, linear, value);
  }
}

}  // namespace matryoshka
