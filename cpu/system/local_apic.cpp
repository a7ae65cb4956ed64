#include "cpu/system/local_apic.h"

#include <algorithm>
#include <bit>

#include "cpu/system/tsc.h"

namespace matryoshka {
namespace {

// Registers by the number they have as MSR 800h + n and as offset n * 16 in the page ("Local APIC Register Address Map").
enum RegisterNumber : unsigned {
  id_register = 0x02,
  version_register = 0x03,
  task_priority_register = 0x08,
  arbitration_priority_register = 0x09,
  processor_priority_register = 0x0a,
  eoi_register = 0x0b,
  remote_read_register = 0x0c,
  logical_destination_register = 0x0d,
  destination_format_register = 0x0e,
  spurious_register = 0x0f,
  in_service_registers = 0x10,
  trigger_mode_registers = 0x18,
  request_registers = 0x20,
  error_status_register = 0x28,
  command_register = 0x30,
  command_high_register = 0x31,
  lvt_registers = 0x32,
  initial_count_register = 0x38,
  current_count_register = 0x39,
  divide_register = 0x3e,
  self_ipi_register = 0x3f
};

// "Local APIC Version Register": version 15h, the highest LVT entry, and bit 24 for suppression of EOI broadcasts.
constexpr uint32_t version_value = 1 << 24 | (6 - 1) << 16 | 0x15;

namespace lvt {
constexpr uint32_t vector = 0xff, remote_irr = 1 << 14, level_triggered = 1 << 15, masked = 1 << 16;
constexpr unsigned mode_at = 8;
// What can be written in each entry: timer, thermal, performance, LINT0, LINT1, error.
constexpr uint32_t written[] = {0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff};
}  // namespace lvt

namespace spurious {
constexpr uint32_t vector = 0xff, enable = 1 << 8, suppress_eoi_broadcast = 1 << 12, written = 0x13ff;
}

// "Error Status Register (ESR)".
namespace error {
constexpr uint32_t send_illegal_vector = 1 << 5, received_illegal_vector = 1 << 6, illegal_register = 1 << 7;
}

// "Interrupt Command Register (ICR)".
namespace command {
constexpr uint32_t logical = 1 << 11, assert_level = 1 << 14, level_triggered = 1 << 15;
constexpr uint32_t written = 0xccfff;
enum Shorthand : unsigned { none, self, all, all_but_self };
}  // namespace command

enum TimerMode : unsigned { one_shot, periodic, tsc_deadline_mode };

// The first sixteen vectors are the processor's exceptions.
constexpr bool legal(uint8_t vector) { return vector >= 16; }

// A time too far off to count to is put just short of Clock::never.
constexpr uint64_t later(uint64_t now, uint64_t wait) { return wait > Clock::never - 1 - now ? Clock::never - 1 : now + wait; }

constexpr uint32_t broadcast = 0xffffffff, narrow_broadcast = 0xff;

}  // namespace

LocalApic::LocalApic(Clock& clock, CpuState& state, LocalApicHost& host)
    : clock_(clock), state_(state), host_(host), timer_(clock, [this] { timer_due(); }) {
  reset(false);
}

void LocalApic::set_initial_id(uint32_t id) {
  initial_id_ = id;
  reset(false);
}

// "Local APIC State After Power-Up or Reset", "Local APIC State After It Receives an INIT-Deassert IPI", and for x2APIC mode
// "x2APIC After Reset" and "x2APIC Transitions": INIT keeps the ID and the mode.
void LocalApic::reset(bool init) {
  Saved fresh;
  fresh.id = init ? saved_.id : initial_id_;
  fresh.lint[0] = saved_.lint[0], fresh.lint[1] = saved_.lint[1];  // the wires are not ours
  std::fill(std::begin(fresh.lvt), std::end(fresh.lvt), lvt::masked);
  saved_ = fresh;
  if (!init) state_.msr.apic_base = default_page | base_enable | (initial_id_ == 0 ? base_bootstrap : 0);
  timer_.cancel();
}

void LocalApic::set_virtual_wire() {
  saved_.spurious |= spurious::enable;
  saved_.lvt[lvt_lint0] = ApicMessage::extint << lvt::mode_at;
  saved_.lvt[lvt_lint1] = ApicMessage::nmi << lvt::mode_at;
}

void LocalApic::serialize(Archive& ar) { ar(saved_); }

void LocalApic::Saved::serialize(Archive& ar) {
  ar(id, task_priority, logical_id, destination_model, spurious, error_status, errors_since, command, lvt, divide, initial_count,
     count, count_since, deadline, requested, in_service, level_triggered, extint_requested, lint);
  bool fits = destination_model <= 15 && (spurious & ~spurious::written) == 0 && (divide & ~0xbu) == 0 &&
              requested[0] << 16 == 0 && in_service[0] << 16 == 0;
  for (unsigned i = 0; i < lvt_count; ++i) fits = fits && (lvt[i] & ~(lvt::written[i] | lvt::remote_irr)) == 0;
  ar.require(fits, "the local APIC's saved state has bits that do not exist");
}

// ---- Sets of vectors

void LocalApic::assign(VectorSet& set, unsigned vector, bool on) {
  uint32_t bit = 1u << vector % 32;
  set[vector / 32] = on ? set[vector / 32] | bit : set[vector / 32] & ~bit;
}

int LocalApic::highest(const VectorSet& set) {
  for (int word = 7; word >= 0; --word)
    if (set[word] != 0) return word * 32 + 31 - std::countl_zero(set[word]);
  return -1;
}

// ---- Priorities and delivery to the processor: "Task and Processor Priorities", "Interrupt Acceptance for Fixed Interrupts"

uint8_t LocalApic::processor_priority() const {
  int serving = std::max(highest(saved_.in_service), 0);
  return static_cast<uint8_t>(saved_.task_priority >> 4 >= serving >> 4 ? saved_.task_priority : serving & 0xf0);
}

bool LocalApic::has_interrupt() const { return enabled() && highest(saved_.requested) >> 4 > processor_priority() >> 4; }

uint8_t LocalApic::acknowledge() {
  if (!has_interrupt()) return saved_.spurious & spurious::vector;
  auto vector = static_cast<uint8_t>(highest(saved_.requested));
  assign(saved_.requested, vector, false);
  assign(saved_.in_service, vector, true);
  return vector;
}

bool LocalApic::accepts_pic() const {
  if (!enabled() || saved_.extint_requested) return true;
  uint32_t entry = saved_.lvt[lvt_lint0];
  return !(entry & lvt::masked) && (entry >> lvt::mode_at & 7) == ApicMessage::extint;
}

void LocalApic::set_task_priority(uint8_t value) {
  saved_.task_priority = value;
  host_.apic_notice();
}

// "Signaling Interrupt Servicing Completion".
void LocalApic::end_interrupt() {
  int vector = highest(saved_.in_service);
  if (vector < 0) return;
  assign(saved_.in_service, vector, false);
  if (test(saved_.level_triggered, vector)) {
    uint32_t& entry = saved_.lvt[lvt_lint0];
    if (entry & lvt::remote_irr && (entry & lvt::vector) == static_cast<uint32_t>(vector)) {
      entry &= ~lvt::remote_irr;
      if (saved_.lint[0]) raise_local(lvt_lint0);
    }
    if (!(saved_.spurious & spurious::suppress_eoi_broadcast) && end_of_interrupt) end_of_interrupt(static_cast<uint8_t>(vector));
  }
  host_.apic_notice();
}

// ---- What arrives

bool LocalApic::software_enabled() const { return enabled() && saved_.spurious & spurious::enable; }

void LocalApic::request(uint8_t vector, bool level) {
  if (!software_enabled()) return;
  if (!legal(vector)) return raise_error(error::received_illegal_vector);
  assign(saved_.requested, vector, true);
  assign(saved_.level_triggered, vector, level);
  host_.apic_notice();
}

void LocalApic::accept(const ApicMessage& message) {
  switch (message.mode) {
    case ApicMessage::fixed:
    case ApicMessage::lowest_priority: return request(message.vector, message.level);
    case ApicMessage::nmi: return host_.apic_nmi();
    case ApicMessage::init: return host_.apic_init();
    case ApicMessage::startup: return host_.apic_sipi(message.vector);
    case ApicMessage::extint:
      if (!software_enabled()) return;
      saved_.extint_requested = true;
      return host_.apic_notice();
    case ApicMessage::smi:
    case ApicMessage::reserved: return;
  }
}

// "Local Vector Table".
void LocalApic::raise_local(LvtEntry entry) {
  uint32_t& value = saved_.lvt[entry];
  if (!enabled() || value & lvt::masked) return;
  auto vector = static_cast<uint8_t>(value & lvt::vector);
  auto mode = static_cast<ApicMessage::Mode>(value >> lvt::mode_at & 7);
  if (entry == lvt_timer || entry == lvt_error) mode = ApicMessage::fixed;  // these two have no mode
  switch (mode) {
    case ApicMessage::fixed: {
      bool level = entry == lvt_lint0 && value & lvt::level_triggered;  // LINT1 knows edges only
      if (level && value & lvt::remote_irr) return;
      if (level && legal(vector)) value |= lvt::remote_irr;
      return request(vector, level);
    }
    case ApicMessage::nmi: return host_.apic_nmi();
    case ApicMessage::init: return host_.apic_init();
    default: return;  // ExtINT is a matter of accepts_pic()
  }
}

void LocalApic::set_lint(unsigned pin, bool level) {
  bool rose = level && !saved_.lint[pin];
  saved_.lint[pin] = level;
  if (rose) raise_local(pin == 0 ? lvt_lint0 : lvt_lint1);
}

ApicMessage::Mode LocalApic::lint_mode(unsigned pin) const {
  uint32_t entry = saved_.lvt[pin == 0 ? lvt_lint0 : lvt_lint1];
  return enabled() && !(entry & lvt::masked) ? static_cast<ApicMessage::Mode>(entry >> lvt::mode_at & 7) : ApicMessage::reserved;
}

// "Performance Monitoring Counter Overflow": the entry masks itself, so that the handler must open it again.
void LocalApic::performance_interrupt() {
  raise_local(lvt_performance);
  saved_.lvt[lvt_performance] |= lvt::masked;
}

void LocalApic::raise_error(uint32_t bit) {
  bool news = !(saved_.errors_since & bit);
  saved_.errors_since |= bit;
  // An error entry with an illegal vector of its own must not report itself for ever.
  if (news && legal(saved_.lvt[lvt_error] & lvt::vector)) raise_local(lvt_error);
}

// "Determining IPI Destination".
uint32_t LocalApic::logical_destination() const {
  if (x2apic()) return (saved_.id >> 4) << 16 | 1u << (saved_.id & 15);  // "Deriving Logical x2APIC ID from the Local x2APIC ID"
  return uint32_t{saved_.logical_id} << 24;
}

bool LocalApic::addressed_by(const ApicMessage& message) const {
  if (!enabled()) return false;
  uint32_t to = message.destination;
  if (to == (message.wide ? broadcast : narrow_broadcast)) return true;
  if (!message.logical) return to == saved_.id;
  if (x2apic()) {
    uint32_t own = logical_destination();
    return to >> 16 == own >> 16 && to & own & 0xffff;
  }
  if (saved_.destination_model == 15) return to & saved_.logical_id;
  return (to >> 4 & 15) == saved_.logical_id >> 4 && to & saved_.logical_id & 15;
}

// ---- What is sent: "Issuing Interprocessor Interrupts"

void LocalApic::send_command() {
  auto low = static_cast<uint32_t>(saved_.command);
  ApicMessage message;
  message.vector = static_cast<uint8_t>(low);
  message.mode = static_cast<ApicMessage::Mode>(low >> 8 & 7);
  message.logical = low & command::logical;
  message.wide = x2apic();
  message.destination = static_cast<uint32_t>(saved_.command >> (message.wide ? 32 : 56));
  // The level and trigger bits matter for "INIT Level De-assert" alone, which no processor since the Pentium 4 obeys; every
  // other message is an edge.
  if (message.mode == ApicMessage::init && low & command::level_triggered && !(low & command::assert_level)) return;
  send(message, low >> 18 & 3);
}

void LocalApic::send(const ApicMessage& message, unsigned shorthand) {
  bool has_vector = message.mode == ApicMessage::fixed || message.mode == ApicMessage::lowest_priority;
  if (has_vector && !legal(message.vector)) return raise_error(error::send_illegal_vector);
  if (shorthand == command::self || shorthand == command::all) accept(message);
  if (shorthand == command::self) return;
  if (shorthand == command::none) {
    if (bus_)
      bus_->send(message);
    else if (addressed_by(message))
      accept(message);
  } else if (bus_) {
    bus_->send_to_all_but(*this, message);
  }
}

// ---- Timer: "APIC Timer"

// Nanoseconds per count.
uint64_t LocalApic::count_period() const {
  constexpr uint64_t crystal_period = 40;
  unsigned code = (saved_.divide & 3) | (saved_.divide >> 1 & 4);
  return crystal_period << ((code + 1) & 7);  // 0 divides by 2, ..., 6 by 128, 7 by 1
}

uint32_t LocalApic::current_count() const {
  if (saved_.count == 0 || timer_mode() == tsc_deadline_mode) return 0;
  uint64_t counted = (clock_.now() - saved_.count_since) / count_period();
  return counted >= saved_.count ? 0 : static_cast<uint32_t>(saved_.count - counted);
}

// Puts the timer's deadline where the registers say.
void LocalApic::schedule() {
  if (timer_mode() == tsc_deadline_mode) {
    if (saved_.deadline == 0) return timer_.cancel();
    uint64_t present = tsc(state_, clock_);
    if (saved_.deadline <= present) return timer_due();
    return timer_.arm(later(clock_.now(), saved_.deadline - present));
  }
  if (saved_.count == 0) return timer_.cancel();
  timer_.arm(later(saved_.count_since, saved_.count * count_period()));
}

void LocalApic::timer_due() {
  switch (timer_mode()) {
    case tsc_deadline_mode:
      timer_.cancel();
      if (saved_.deadline > tsc(state_, clock_)) return schedule();  // clamped: still far off
      saved_.deadline = 0;
      break;
    case periodic: {
      // The next period starts when this one ended, not when somebody noticed; whole periods that nobody saw are dropped.
      uint64_t period = count_period() * saved_.initial_count, now = clock_.now();
      saved_.count_since += saved_.count * count_period();
      saved_.count = saved_.initial_count;
      if (period != 0 && now > saved_.count_since) saved_.count_since += (now - saved_.count_since) / period * period;
      schedule();
      break;
    }
    default: saved_.count = 0;
  }
  raise_local(lvt_timer);
}

uint64_t LocalApic::tsc_deadline() const { return timer_mode() == tsc_deadline_mode ? saved_.deadline : 0; }

void LocalApic::set_tsc_deadline(uint64_t value) {
  if (timer_mode() != tsc_deadline_mode) return;
  saved_.deadline = value;
  schedule();
}

// ---- Registers

bool LocalApic::read_register(unsigned index, uint64_t& value) {
  switch (index) {
    case id_register: value = x2apic() ? saved_.id : saved_.id << 24; return true;
    case version_register: value = version_value; return true;
    case task_priority_register: value = saved_.task_priority; return true;
    case processor_priority_register: value = processor_priority(); return true;
    case logical_destination_register: value = logical_destination(); return true;
    case spurious_register: value = saved_.spurious; return true;
    case error_status_register: value = saved_.error_status; return true;
    case command_register: value = x2apic() ? saved_.command : static_cast<uint32_t>(saved_.command); return true;
    case initial_count_register: value = timer_mode() == tsc_deadline_mode ? 0 : saved_.initial_count; return true;
    case current_count_register: value = current_count(); return true;
    case divide_register: value = saved_.divide; return true;
  }
  if (index - lvt_registers < lvt_count) {
    value = saved_.lvt[index - lvt_registers];
    return true;
  }
  if (index >= in_service_registers && index < error_status_register) {
    const VectorSet& set = index < trigger_mode_registers ? saved_.in_service
                           : index < request_registers    ? saved_.level_triggered
                                                          : saved_.requested;
    value = set[index & 7];
    return true;
  }
  if (x2apic()) return false;
  switch (index) {
    case arbitration_priority_register:
    case remote_read_register:
    case eoi_register: value = 0; return true;
    case destination_format_register: value = uint32_t{saved_.destination_model} << 28 | 0x0fffffff; return true;
    case command_high_register: value = saved_.command >> 32; return true;
  }
  return false;
}

bool LocalApic::write_register(unsigned index, uint64_t value) {
  auto low = static_cast<uint32_t>(value);
  switch (index) {
    case task_priority_register: set_task_priority(static_cast<uint8_t>(low)); return true;
    case eoi_register: end_interrupt(); return true;
    case spurious_register: write_spurious(low); return true;
    case error_status_register:
      saved_.error_status = saved_.errors_since;
      saved_.errors_since = 0;
      return true;
    case command_register:
      saved_.command = x2apic() ? (value & ~uint64_t{0xffffffff}) | (low & command::written)
                                : (saved_.command & ~uint64_t{0xffffffff}) | (low & command::written);
      send_command();
      return true;
    case initial_count_register:
      if (timer_mode() == tsc_deadline_mode) return true;
      saved_.initial_count = saved_.count = low;
      saved_.count_since = clock_.now();
      schedule();
      return true;
    case divide_register:
      saved_.count = current_count();
      saved_.count_since = clock_.now();
      saved_.divide = low & 0xb;
      if (timer_mode() != tsc_deadline_mode) schedule();
      return true;
  }
  if (index - lvt_registers < lvt_count) {
    write_lvt(static_cast<LvtEntry>(index - lvt_registers), low);
    return true;
  }
  if (x2apic()) {
    if (index != self_ipi_register) return false;
    ApicMessage message;
    message.vector = static_cast<uint8_t>(low);
    send(message, command::self);
    return true;
  }
  switch (index) {
    case id_register: saved_.id = low >> 24; return true;
    case logical_destination_register: saved_.logical_id = static_cast<uint8_t>(low >> 24); return true;
    case destination_format_register: saved_.destination_model = static_cast<uint8_t>(low >> 28); return true;
    case command_high_register: saved_.command = (saved_.command & 0xffffffff) | (value & 0xff000000) << 32; return true;
    case version_register:
    case arbitration_priority_register:
    case processor_priority_register:
    case remote_read_register:
    case current_count_register: return true;  // read-only
  }
  return index >= in_service_registers && index < error_status_register;  // read-only
}

// "Local APIC State After It Has Been Software Disabled": the masks of the LVT are set, and stay so until it is enabled.
void LocalApic::write_spurious(uint32_t value) {
  saved_.spurious = value & spurious::written;
  if (!(value & spurious::enable))
    for (uint32_t& entry : saved_.lvt) entry |= lvt::masked;
  host_.apic_notice();
}

void LocalApic::write_lvt(LvtEntry entry, uint32_t value) {
  unsigned mode_before = timer_mode();
  uint32_t kept = saved_.lvt[entry] & lvt::remote_irr;
  if (!(value & lvt::level_triggered)) kept = 0;
  saved_.lvt[entry] = (value & lvt::written[entry]) | kept;
  if (!(saved_.spurious & spurious::enable)) saved_.lvt[entry] |= lvt::masked;
  if (entry == lvt_timer && mode_before != timer_mode()) {
    // Into the deadline mode and out of it the timer is disarmed; between the other two it goes on.
    if (mode_before == tsc_deadline_mode || timer_mode() == tsc_deadline_mode) saved_.count = 0, saved_.deadline = 0;
    schedule();
  }
  if (entry == lvt_lint0 && saved_.lint[0] && value & lvt::level_triggered) raise_local(lvt_lint0);
  host_.apic_notice();
}

uint64_t LocalApic::read(unsigned, uint64_t offset, unsigned size) {
  uint64_t value = 0;
  if (!read_register(static_cast<unsigned>(offset >> 4), value)) raise_error(error::illegal_register);
  // "APIC Register Address Map": only the first of four dwords is there, and it is to be read whole; parts of it come as asked.
  unsigned skipped = offset & 15;
  value = skipped < 4 ? static_cast<uint32_t>(value) >> skipped * 8 : 0;
  return size < 8 ? value & ((uint64_t{1} << size * 8) - 1) : value;
}

void LocalApic::write(unsigned, uint64_t offset, unsigned size, uint64_t value) {
  if (offset & 15 || size < 4) return;
  if (!write_register(static_cast<unsigned>(offset >> 4), static_cast<uint32_t>(value))) raise_error(error::illegal_register);
}

// "x2APIC Register Address Space" and "Reserved Bit Checking": a reserved bit, a missing register, a read of what can only be
// written or the reverse is #GP.
bool LocalApic::read_msr(uint32_t index, uint64_t& value) {
  return x2apic() && index >= 0x800 && read_register(index - 0x800, value);
}

bool LocalApic::write_msr(uint32_t index, uint64_t value) {
  if (!x2apic() || index < 0x800) return false;
  unsigned number = index - 0x800;
  uint64_t allowed;
  if (number - lvt_registers < lvt_count)
    allowed = lvt::written[number - lvt_registers];
  else
    switch (number) {
      case task_priority_register: allowed = 0xff; break;
      case eoi_register:
      case error_status_register: allowed = 0; break;
      case spurious_register: allowed = spurious::written; break;
      case command_register: allowed = 0xffffffff'00000000 | command::written; break;
      case initial_count_register: allowed = 0xffffffff; break;
      case divide_register: allowed = 0xb; break;
      case self_ipi_register: allowed = 0xff; break;
      default: return false;
    }
  return (value & ~allowed) == 0 && write_register(number, value);
}

// "x2APIC State Transitions": out of x2APIC mode only by disabling, into it only from xAPIC mode.
bool LocalApic::set_base(uint64_t value) {
  bool was_enabled = enabled(), was_x2apic = x2apic(), to_enabled = value & base_enable, to_x2apic = value & base_x2apic;
  if (to_x2apic && !to_enabled) return false;
  if (was_x2apic && to_enabled && !to_x2apic) return false;
  if (!was_enabled && to_x2apic) return false;
  state_.msr.apic_base = value;
  if (was_enabled && !to_enabled) {
    // "Enabling or Disabling the Local APIC": what software had set up is lost.
    reset(true);
    saved_.id = initial_id_;
  }
  if (!was_x2apic && to_x2apic) {
    saved_.id = initial_id_;
    saved_.command &= 0xffffffff;
  }
  host_.apic_notice();
  return true;
}

// ---- The bus

void ApicBus::attach(LocalApic& apic) {
  apic.bus_ = this;
  apics_.push_back(&apic);
}

// "Message Signalled Interrupts": who is meant stands in the address, what in the data.
ApicMessage ApicBus::decode_message(uint64_t address, uint32_t data) {
  ApicMessage message;
  message.destination = address >> 12 & 0xff;
  message.logical = address >> 2 & 1;
  message.vector = static_cast<uint8_t>(data);
  message.mode = static_cast<ApicMessage::Mode>(data >> 8 & 7);
  message.level = data >> 15 & 1;
  // A startup message comes from an ICR only; here its number is reserved.
  if (message.mode == ApicMessage::startup) message.mode = ApicMessage::reserved;
  return message;
}

void ApicBus::deliver_message(uint64_t address, uint32_t data) { send(decode_message(address, data)); }

void ApicBus::send(const ApicMessage& message) {
  if (message.mode != ApicMessage::lowest_priority) {
    for (LocalApic* apic : apics_)
      if (apic->addressed_by(message)) apic->accept(message);
    return;
  }
  // "Lowest Priority Delivery Mode": to the least busy; to the first of several.
  LocalApic* chosen = nullptr;
  for (LocalApic* apic : apics_)
    if (apic->addressed_by(message) && apic->software_enabled() &&
        (!chosen || apic->processor_priority() < chosen->processor_priority()))
      chosen = apic;
  if (chosen) chosen->accept(message);
}

void ApicBus::send_to_all_but(const LocalApic& sender, const ApicMessage& message) {
  for (LocalApic* apic : apics_)
    if (apic != &sender && apic->enabled()) apic->accept(message);
}

}  // namespace matryoshka
