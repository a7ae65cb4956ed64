// VMX operation of one processor: what the instructions do, entries, exits, and what a guest may do without leaving.
//
// The model sees the processor's state and its memory, never an instruction's text. Texts ask it whether what they are about to
// do exits (the guards below), and hand over operands; the processor tells it of events. What the model needs of the processor
// stands in VmxHost.
//
// A VM exit on its way travels as a fault does (cpu/state/fault.h), so whatever the instruction had begun is left undone, and
// arrives at leave_guest() between two instructions.
#pragma once

#include <array>
#include <cstdint>

#include "cpu/state/fault.h"
#include "cpu/state/state.h"
#include "devices/bus/clock.h"
#include "mmu/mmu.h"
#include "vmx-model/capabilities.h"
#include "vmx-model/cause.h"
#include "vmx-model/checks.h"
#include "vmx-model/exit.h"
#include "vmx-model/trace.h"
#include "vmx-model/vmcs.h"

namespace matryoshka::vmx {

class VmxHost {
 public:
  virtual ~VmxHost() = default;
  // WRMSR and RDMSR as at privilege level 0, of MSRs in the lists of entry and exit. False: #GP.
  virtual bool vmx_read_msr(uint32_t number, uint64_t& value) = 0;
  virtual bool vmx_write_msr(uint32_t number, uint64_t value) = 0;
  virtual void vmx_state_replaced() = 0;  // everything derived from the state is stale
  virtual void vmx_notice() = 0;          // something may be due between two instructions
  virtual void vmx_shut_down() = 0;       // a VMX abort
  virtual void vmx_stop() = 0;            // what the inspector waits for has come
};

// An event at the guest's door: what the interruption-information fields hold of it.
struct GuestEvent {
  uint8_t vector = 0;
  EventType type = EventType::external_interrupt;
  bool has_error = false;
  uint32_t error = 0;
  uint32_t length = 0;  // of the instruction, for software events

  uint32_t info() const { return event_info(vector, type, has_error); }
};

// All that an exit tells of itself.
struct ExitRecord {
  Reason reason;
  Cause cause;
  uint64_t qualification = 0;
  uint64_t guest_linear = 0, guest_physical = 0;
  uint32_t event = 0, event_error = 0;          // VM-exit interruption information
  uint32_t vectoring = 0, vectoring_error = 0;  // IDT-vectoring information
  uint32_t instruction_length = 0, instruction_info = 0;
};

class Vmx final : private ApicAccessTarget {
 public:
  Vmx(CpuState& state, Mmu& mmu, PhysicalMemory& memory, Clock& clock, VmxHost& host);

  void set_capabilities(const Capabilities& capabilities) { capabilities_ = capabilities; }
  const Capabilities& capabilities() const { return capabilities_; }

  void reset();
  void serialize(Archive& ar);
  void after_load();  // what follows from the state: the MMU's world, the timer

  bool on() const { return saved_.on; }
  bool non_root() const { return saved_.non_root; }
  bool in_root() const { return saved_.on && !saved_.non_root; }
  const Vmcs* current() const { return current_; }
  const VmcsCache& active() const { return vmcses_; }
  uint64_t vmxon_pointer() const { return saved_.vmxon_pointer; }
  Trace trace;

  // ---- Instructions of root operation. Operands and privilege are checked; flags say how it went: "Conventions".

  static constexpr uint64_t no_pointer = ~uint64_t{0};
  void vmxon(uint64_t pointer);
  void vmxoff();
  void vmclear(uint64_t pointer);
  void vmptrld(uint64_t pointer);
  uint64_t vmptrst();  // its flags too
  // False: the instruction failed, and the flags say so.
  [[nodiscard]] bool vmread(uint32_t encoding, uint64_t& value);
  void vmwrite(uint32_t encoding, uint64_t value);
  void vmcall_in_root() { fail(InstructionError::vmcall_in_root); }
  void invept(uint64_t type, uint64_t eptp, uint64_t reserved);
  void invvpid(uint64_t type, uint64_t low, uint64_t linear);
  // VMLAUNCH and VMRESUME. Afterwards the state is the guest's, or the host's again, or the instruction failed.
  enum class Entered : uint8_t { no, yes, failed_late };
  Entered enter(bool launch);
  // What an entry is to inject, after it: false if nothing.
  [[nodiscard]] bool event_to_inject(GuestEvent& event) const;
  // The entry is complete, injection and all.
  void entry_complete();

  // ---- The guest leaves

  void leave_guest(const ExitRecord& record);
  // Transitions so far: whoever watches one instruction sees whether it became another world's.
  uint64_t transitions() const { return transitions_; }

  // ---- Guards: whether something in non-root operation exits, and why. False in root operation.

  [[nodiscard]] bool guards(Control control) const { return saved_.non_root && current_->has(control); }
  [[nodiscard]] bool guards_port(uint16_t port, unsigned size, Cause& cause) const;
  [[nodiscard]] bool guards_msr(uint32_t number, bool write, Cause& cause) const;
  [[nodiscard]] bool guards_exception(uint8_t vector, uint32_t error, Cause& cause) const;
  [[nodiscard]] bool guards_cr3_load(uint64_t value, Cause& cause) const;
  // Bits of a control register that the guest sees as the read shadow has them.
  uint64_t cr0_seen() const;
  uint64_t cr4_seen() const;
  // Whether a guest's write differs from what it sees in a bit that the host owns.
  [[nodiscard]] bool guards_cr0(uint64_t value) const;
  [[nodiscard]] bool guards_cr4(uint64_t value) const;
  [[nodiscard]] bool guards_clts() const;
  [[nodiscard]] bool guards_lmsw(uint64_t source) const;
  // What the host owns stays as it is.
  uint64_t cr0_to_load(uint64_t value) const;
  uint64_t cr4_to_load(uint64_t value) const;
  // "Restrictions on VMX Operation": whether a value may be loaded in VMX operation at all.
  [[nodiscard]] bool cr0_allowed(uint64_t value) const;
  [[nodiscard]] bool cr4_allowed(uint64_t value) const;
  // Instructions that do not exist in a guest unless a control brings them.
  [[nodiscard]] bool lacks(Control control) const { return saved_.non_root && !current_->has(control); }
  uint64_t tsc_offset() const { return guards(Control::primary_tsc_offsetting) ? (*current_)[Field::tsc_offset] : 0; }

  // ---- The virtual TPR

  bool shadows_tpr() const { return guards(Control::primary_tpr_shadow); }
  uint8_t virtual_tpr() const;
  void set_virtual_tpr(uint8_t value);

  // ---- Between two instructions of a guest

  // In the manual's order ("Priority Among Concurrent Events" and "Other Causes of VM Exits"); the processor asks for each.
  bool mtf_due() const { return saved_.mtf_due; }
  bool tpr_due() const { return saved_.tpr_due; }
  bool take_tpr_exit();
  bool timer_due() const { return saved_.timer_due; }
  bool timer_armed() const { return saved_.timer_end != Saved::never && state_.activity != Activity::wait_for_sipi; }
  void instruction_done();  // one has been completed, or an event delivered: for the monitor trap flag
  bool watches_instructions() const { return guards(Control::primary_monitor_trap_flag); }
  // Whether a physical NMI is held back: in a guest with virtual NMIs the guest's own blocking does not count.
  bool nmi_blocked() const { return guards(Control::pin_virtual_nmis) ? saved_.host_nmi_blocked : state_.nmi_blocked; }
  void iret();                 // ends the blocking that it is to end
  bool unblocked_nmi = false;  // the running IRET did, and may still exit

 private:
  // What IA32_VMX_MISC recommends as the most. The manual leaves open what comes of more; here the first one too many fails.
  static constexpr uint32_t most_listed_msrs = 512;
  // So that a storm of exits with long lists is no heavier on the page than other guests are.
  static constexpr uint64_t ticks_per_listed_msr = 1;

  struct Saved {
    bool on = false, non_root = false;
    uint64_t vmxon_pointer = no_pointer, current = no_pointer;
    bool mtf_due = false, tpr_due = false, timer_due = false;
    bool host_nmi_blocked = false;
    uint64_t timer_end = never;  // in units of the timer: when it has counted down
    static constexpr uint64_t never = ~uint64_t{0};
    void serialize(Archive& ar);
  };

  bool virtualize(unsigned offset, unsigned size, AccessKind kind, uint64_t& redirected, uint64_t& qualification) override;

  // Instructions (instructions.cpp)
  void succeed();
  void fail_invalid();
  void fail(InstructionError error);
  void make_current(Vmcs* vmcs);

  // Entry (entry.cpp)
  Check check() const;
  void load_guest_state();
  void load_guest_segments();
  void load_guest_blocking();
  uint64_t debug_pending_at_entry() const;
  void select_world(const RootContext& left);
  void start_timer();
  bool load_msrs(Field address, Field count, bool is_entry, uint32_t& failed);
  void remember_failure(InstructionError error, bool by_checks);
  Entered fail_entry(Reason reason, uint64_t qualification, const CheckRow* row);

  // Exit (leave.cpp)
  void save_guest_state(const ExitRecord& record);
  void record_exit(const ExitRecord& record);
  bool store_msrs();
  void load_host_state();
  void finish_host_load();
  void abort(uint32_t indicator);
  uint64_t timer_units() const { return clock_.now() >> Capabilities::timer_rate; }
  void check_tpr();

  static constexpr uint64_t enabled_breakpoint = 1 << 12;  // in the pending debug exceptions
  // Bits of CR0 that no entry or exit changes: ET, CD, NW, and what does not exist.
  static constexpr uint64_t cr0_kept = 0x7ffaffd0;
  // The segment registers as rows of fields have them.
  template <class State>
  static auto in_field_order(State& s) {
    return std::array{&s.segment[ES], &s.segment[CS], &s.segment[SS], &s.segment[DS],
                      &s.segment[FS], &s.segment[GS], &s.ldtr,        &s.tr};
  }
  // x2APIC registers stand in no list of MSRs while that mode is on.
  bool may_list(uint32_t number) const {
    constexpr uint64_t x2apic_on = 0xc00;
    return number >> 8 != 8 || (state_.msr.apic_base & x2apic_on) != x2apic_on;
  }
  // Of the current VMCS: at an exit its RIP has just been saved.
  TraceEvent event_now(TraceEvent::Kind kind, Cause cause) const {
    TraceEvent event;
    event.kind = kind, event.cause = cause;
    event.tick = clock_.ticks, event.retired = state_.retired;
    event.vmcs = current_->address, event.guest_rip = field(Field::guest_rip);
    return event;
  }
  // Stops the processor behind the event if somebody waits for it.
  void add_to_trace(const TraceEvent& event) {
    trace.add(event, *current_);
    if (trace.met()) host_.vmx_stop();
  }
  uint64_t field(Field f) const { return (*current_)[f]; }
  void put(Field f, uint64_t value) { current_->set(f, value); }

  CpuState& state_;
  Mmu& mmu_;
  PhysicalMemory& memory_;
  Clock& clock_;
  VmxHost& host_;
  Capabilities capabilities_;
  VmcsCache vmcses_;
  Vmcs* current_ = nullptr;
  Saved saved_;
  uint64_t transitions_ = 0;
  Clock::Timer timer_;
};

}  // namespace matryoshka::vmx
