// The local APIC, as xAPIC (a page of memory) and as x2APIC (MSRs 800h to 83Fh), and the bus between local APICs.
//
// After the chapter "Advanced Programmable Interrupt Controller (APIC)" of Intel's manual, volume 3A. Version 15h with six
// LVT entries (no CMCI) and suppression of EOI broadcasts. The timer counts the 25 MHz crystal of CPUID leaf 15H.
//
// What differs: a message arrives as it is sent, so delivery status always reads as idle; SMIs vanish, for there is no SMM;
// the arbitration registers of the old APIC bus read as 0.
//
// IA32_APIC_BASE itself lives in CpuState; whoever has changed it, by set_base(), by reset or by loading a snapshot, tells
// the Mmu where the page is now: mmu.set_local_page(apic.page(), &apic).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "cpu/state/archive.h"
#include "cpu/state/state.h"
#include "devices/bus/bus.h"
#include "devices/bus/clock.h"
#include "devices/bus/irq.h"

namespace matryoshka {

// What a local APIC asks of its processor. All of these may come in the middle of an instruction: remember, and act between
// two instructions.
class LocalApicHost {
 public:
  virtual ~LocalApicHost() = default;
  virtual void apic_notice() = 0;  // has_interrupt() or accepts_pic() may have become true
  virtual void apic_nmi() = 0;
  virtual void apic_init() = 0;
  virtual void apic_sipi(uint8_t vector) = 0;
};

// An interrupt on its way between APICs.
struct ApicMessage {
  enum Mode : uint8_t { fixed, lowest_priority, smi, reserved, nmi, init, startup, extint };
  uint8_t vector = 0;
  Mode mode = fixed;
  bool level = false;  // level-triggered
  bool logical = false;
  bool wide = false;  // a 32-bit destination, from an x2APIC; else 8 bits of which all ones are everybody
  uint32_t destination = 0;
};

class ApicBus;

class LocalApic final : public BusTarget {
 public:
  LocalApic(Clock& clock, CpuState& state, LocalApicHost& host);

  static constexpr uint64_t default_page = 0xfee00000;

  // The board's, before anything runs. Processor 0 is the bootstrap processor.
  void set_initial_id(uint32_t id);
  uint32_t initial_id() const { return initial_id_; }
  // The end of a level-triggered interrupt, for the I/O APICs.
  std::function<void(uint8_t vector)> end_of_interrupt;

  // Power-up, or INIT, which keeps the ID and IA32_APIC_BASE.
  void reset(bool init);
  void serialize(Archive& ar);
  // What a BIOS leaves behind for the bootstrap processor ("Virtual Wire Mode"): enabled, LINT0 as ExtINT, LINT1 as NMI. For
  // boots without a BIOS.
  void set_virtual_wire();

  // ---- For the run loop

  // A vector stands above the processor priority.
  bool has_interrupt() const;
  // Takes that vector into service; the spurious vector if it is gone meanwhile.
  uint8_t acknowledge();
  // The 8259's request reaches the processor: through LINT0 as ExtINT, by an ExtINT message, or since there is no APIC.
  bool accepts_pic() const;
  // The 8259 has been asked for its vector: an ExtINT message is answered by that.
  void pic_acknowledged() { saved_.extint_requested = false; }

  uint64_t cr8() const { return saved_.task_priority >> 4; }
  void set_cr8(uint64_t value) { set_task_priority(static_cast<uint8_t>(value << 4 & 0xf0)); }

  // ---- Local sources

  void set_lint(unsigned pin, bool level);
  void performance_interrupt();  // a counter has overflowed
  // The mode in which a rising edge of the pin arrives, or `reserved` if it does not.
  ApicMessage::Mode lint_mode(unsigned pin) const;

  // ---- IA32_APIC_BASE, the x2APIC's MSRs, the TSC deadline

  bool enabled() const { return state_.msr.apic_base & base_enable; }
  bool x2apic() const { return enabled() && state_.msr.apic_base & base_x2apic; }
  // The physical address of the page, or one that no page has.
  uint64_t page() const { return enabled() && !x2apic() ? state_.msr.apic_base & ~uint64_t{0xfff} : ~uint64_t{0}; }

  static constexpr uint64_t base_bootstrap = 1 << 8, base_x2apic = 1 << 10, base_enable = 1 << 11;
  // False, with nothing changed, for a change of mode that the manual forbids (#GP). Reserved bits are the caller's to check.
  [[nodiscard]] bool set_base(uint64_t value);
  // False is #GP.
  [[nodiscard]] bool read_msr(uint32_t index, uint64_t& value);
  [[nodiscard]] bool write_msr(uint32_t index, uint64_t value);
  uint64_t tsc_deadline() const;
  void set_tsc_deadline(uint64_t value);
  void tsc_changed() { schedule(); }  // the TSC has jumped

  // ---- The page: one window, dwords at every 16th byte

  uint64_t read(unsigned window, uint64_t offset, unsigned size) override;
  void write(unsigned window, uint64_t offset, unsigned size, uint64_t value) override;

  // ---- For the bus

  void accept(const ApicMessage& message);
  bool addressed_by(const ApicMessage& message) const;
  bool software_enabled() const;
  uint8_t processor_priority() const;

  // For the inspector.
  bool requested(uint8_t vector) const { return test(saved_.requested, vector); }
  bool in_service(uint8_t vector) const { return test(saved_.in_service, vector); }
  bool level_triggered(uint8_t vector) const { return test(saved_.level_triggered, vector); }

 private:
  friend class ApicBus;
  enum LvtEntry : unsigned { lvt_timer, lvt_thermal, lvt_performance, lvt_lint0, lvt_lint1, lvt_error };
  static constexpr unsigned lvt_count = 6;
  using VectorSet = uint32_t[8];

  struct Saved {
    uint32_t id = 0;  // in x2APIC mode the whole ID, else eight bits
    uint8_t task_priority = 0;
    uint8_t logical_id = 0;          // xAPIC; the x2APIC's follows from the ID
    uint8_t destination_model = 15;  // 15 flat, else cluster
    uint32_t spurious = 0xff;
    uint32_t error_status = 0;  // what a read sees
    uint32_t errors_since = 0;  // what the next write to the register brings there
    uint64_t command = 0;       // ICR; the destination in bits 63:32 in both modes
    uint32_t lvt[lvt_count] = {};
    uint32_t divide = 0;
    uint32_t initial_count = 0;
    uint32_t count = 0;  // what was left to count at `count_since`; 0 when stopped
    uint64_t count_since = 0;
    uint64_t deadline = 0;  // IA32_TSC_DEADLINE
    VectorSet requested = {}, in_service = {}, level_triggered = {};
    bool extint_requested = false;
    bool lint[2] = {};  // the pins
    void serialize(Archive& ar);
  };

  static bool test(const VectorSet& set, unsigned vector) { return set[vector / 32] >> vector % 32 & 1; }
  static void assign(VectorSet& set, unsigned vector, bool on);
  static int highest(const VectorSet& set);

  bool read_register(unsigned index, uint64_t& value);
  bool write_register(unsigned index, uint64_t value);
  void write_spurious(uint32_t value);
  void write_lvt(LvtEntry entry, uint32_t value);
  void set_task_priority(uint8_t value);
  void end_interrupt();
  void send_command();
  void send(const ApicMessage& message, unsigned shorthand);
  void request(uint8_t vector, bool level);
  void raise_local(LvtEntry entry);
  void raise_error(uint32_t bit);
  uint32_t logical_destination() const;

  unsigned timer_mode() const { return saved_.lvt[lvt_timer] >> 17 & 3; }
  uint64_t count_period() const;
  uint32_t current_count() const;
  void schedule();
  void timer_due();

  Clock& clock_;
  CpuState& state_;
  LocalApicHost& host_;
  ApicBus* bus_ = nullptr;
  uint32_t initial_id_ = 0;
  Clock::Timer timer_;
  Saved saved_;
};

// Carries messages to the local APICs that they name: those of the processors to each other, and those that devices and I/O
// APICs write to FEExxxxxh.
class ApicBus final : public MessageSink {
 public:
  // In order of the initial APIC ID.
  void attach(LocalApic& apic);
  // What was written to FEExxxxxh, as a message.
  static ApicMessage decode_message(uint64_t address, uint32_t data);
  void deliver_message(uint64_t address, uint32_t data) override;
  void send(const ApicMessage& message);
  void send_to_all_but(const LocalApic& sender, const ApicMessage& message);

 private:
  std::vector<LocalApic*> apics_;
};

}  // namespace matryoshka
