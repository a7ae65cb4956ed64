#include "devices/uart.h"

#include <algorithm>

namespace matryoshka {
namespace {

// Registers by offset; the divisor lies over the first two while DLAB is set.
enum Register : unsigned {
  receiver_or_transmitter,
  interrupt_enable,
  interrupt_id_or_fifo_control,
  line_control,
  modem_control,
  line_status,
  modem_status,
  scratch,
};

namespace ier {
constexpr uint8_t received = 1, transmitter_empty = 2, line_status = 4, modem_status = 8, all = 0x0f;
}
namespace iir {
constexpr uint8_t modem_status = 0x00, none = 0x01, transmitter_empty = 0x02, received = 0x04, line_status = 0x06, timeout = 0x0c,
                  fifos_enabled = 0xc0;
}
namespace fcr {
constexpr uint8_t enable = 0x01, clear_receiver = 0x02, kept = 0xc9;
}
namespace lcr {
constexpr uint8_t send_break = 0x40, divisor_latch = 0x80;
}
namespace mcr {
constexpr uint8_t dtr = 0x01, rts = 0x02, out1 = 0x04, out2 = 0x08, loop = 0x10, all = 0x1f;
}
namespace lsr {
constexpr uint8_t data_ready = 0x01, overrun = 0x02, break_interrupt = 0x10, transmitter_empty = 0x60, fifo_error = 0x80;
constexpr uint8_t errors = 0x1e;
}  // namespace lsr
namespace msr {
constexpr uint8_t cts = 0x10, dsr = 0x20, ri = 0x40, dcd = 0x80;
}

// Ten bits at 115,200 baud, rounded up.
constexpr uint64_t character_time = 86'806;
constexpr uint64_t timeout_time = 4 * character_time;

constexpr uint16_t break_character = lsr::break_interrupt << 8;

}  // namespace

Uart::Uart(Clock& clock, IrqLine irq, ByteSink& output, const char* name)
    : name_(name),
      clock_(clock),
      irq_(irq),
      output_(output),
      arrival_(clock, [this] { character_arrives(); }),
      timeout_(clock, [this] { update(); }) {}

// What the far end has sent and we have not yet taken stays on its way.
void Uart::reset() {
  std::deque<Character> queue = std::move(saved_.queue);
  saved_ = Saved{};
  saved_.queue = std::move(queue);
  update();
}

size_t Uart::receive(std::span<const uint8_t> bytes) {
  size_t taken = std::min(bytes.size(), queue_limit - saved_.queue.size());
  saved_.queue.insert(saved_.queue.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(taken));
  update();
  return taken;
}

void Uart::receive_break() {
  if (saved_.queue.size() == queue_limit) return;
  saved_.queue.push_back(break_character);
  update();
}

void Uart::character_arrives() {
  if (saved_.queue.empty()) return;
  saved_.last_arrival = clock_.now();
  push(saved_.queue.front());
  saved_.queue.pop_front();
  update();
}

void Uart::push(Character character) {
  if (saved_.held == capacity()) {
    // The FIFO keeps what it has and the newcomer is lost; the holding register is overwritten.
    saved_.line_errors |= lsr::overrun;
    if (!fifo_enabled()) saved_.fifo[0] = character;
    return;
  }
  saved_.fifo[saved_.held++] = character;
  saved_.last_activity = clock_.now();
  if (saved_.held == 1) oldest_changed();
}

// LSR shows the errors of the character that would be read next.
void Uart::oldest_changed() {
  if (saved_.held != 0) saved_.line_errors |= saved_.fifo[0] >> 8;
}

unsigned Uart::trigger_level() const {
  constexpr unsigned levels[] = {1, 4, 8, 14};
  return fifo_enabled() ? levels[saved_.fifo_control >> 6] : 1;
}

bool Uart::loopback() const { return saved_.modem_control & mcr::loop; }

bool Uart::timed_out() const { return fifo_enabled() && saved_.held != 0 && clock_.now() >= saved_.last_activity + timeout_time; }

// The highest-priority interrupt, as IIR names it.
uint8_t Uart::interrupt_id() const {
  uint8_t enabled = saved_.interrupt_enable;
  if (enabled & ier::line_status && saved_.line_errors != 0) return iir::line_status;
  if (enabled & ier::received && saved_.held >= trigger_level()) return iir::received;
  if (enabled & ier::received && timed_out()) return iir::timeout;
  if (enabled & ier::transmitter_empty && saved_.transmitter_emptied) return iir::transmitter_empty;
  if (enabled & ier::modem_status && saved_.modem_changes != 0) return iir::modem_status;
  return iir::none;
}

// Brings the interrupt line and both timers in step with the registers.
void Uart::update() {
  irq_.set(interrupt_id() != iir::none);

  bool may_arrive = !saved_.queue.empty() && saved_.held < capacity() && !loopback();
  if (!may_arrive)
    arrival_.cancel();
  else if (!arrival_.armed())
    arrival_.arm(std::max(clock_.now(), saved_.last_arrival + character_time));

  bool may_time_out = saved_.interrupt_enable & ier::received && fifo_enabled() && saved_.held != 0 &&
                      saved_.held < trigger_level() && !timed_out();
  timeout_.arm(may_time_out ? saved_.last_activity + timeout_time : Clock::never);
}

// A terminal is always there and ready; in loopback our own outputs come back instead.
uint8_t Uart::modem_inputs() const {
  if (!loopback()) return msr::dcd | msr::dsr | msr::cts;
  uint8_t outputs = saved_.modem_control;
  return static_cast<uint8_t>((outputs & mcr::rts ? msr::cts : 0) | (outputs & mcr::dtr ? msr::dsr : 0) |
                              (outputs & mcr::out1 ? msr::ri : 0) | (outputs & mcr::out2 ? msr::dcd : 0));
}

uint64_t Uart::read(unsigned, uint64_t offset, unsigned) {
  bool divisor_latch = saved_.line_control & lcr::divisor_latch;
  switch (offset) {
    case receiver_or_transmitter: return divisor_latch ? saved_.divisor & 0xff : read_receiver();
    case interrupt_enable: return divisor_latch ? saved_.divisor >> 8 : saved_.interrupt_enable;
    case interrupt_id_or_fifo_control: {
      uint8_t id = interrupt_id();
      if (id == iir::transmitter_empty) {
        saved_.transmitter_emptied = false;
        update();
      }
      return id | (fifo_enabled() ? iir::fifos_enabled : 0);
    }
    case line_control: return saved_.line_control;
    case modem_control: return saved_.modem_control;
    case line_status: return read_line_status();
    case modem_status: {
      uint8_t status = modem_inputs() | saved_.modem_changes;
      saved_.modem_changes = 0;
      update();
      return status;
    }
    default: return saved_.scratch;
  }
}

uint8_t Uart::read_receiver() {
  if (saved_.held == 0) return 0;
  auto byte = static_cast<uint8_t>(saved_.fifo[0]);
  std::copy(saved_.fifo + 1, saved_.fifo + saved_.held, saved_.fifo);
  --saved_.held;
  saved_.last_activity = clock_.now();
  oldest_changed();
  update();
  return byte;
}

uint8_t Uart::read_line_status() {
  bool flagged = std::any_of(saved_.fifo, saved_.fifo + saved_.held, [](Character c) { return c >> 8 != 0; });
  uint8_t status = saved_.line_errors | lsr::transmitter_empty;
  if (saved_.held != 0) status |= lsr::data_ready;
  if (fifo_enabled() && flagged) status |= lsr::fifo_error;
  // Reading tells all there is to tell about the oldest character.
  saved_.line_errors = 0;
  if (saved_.held != 0) saved_.fifo[0] &= 0xff;
  update();
  return status;
}

void Uart::write(unsigned, uint64_t offset, unsigned, uint64_t value) {
  auto byte = static_cast<uint8_t>(value);
  bool divisor_latch = saved_.line_control & lcr::divisor_latch;
  switch (offset) {
    case receiver_or_transmitter:
      if (divisor_latch)
        saved_.divisor = static_cast<uint16_t>((saved_.divisor & 0xff00) | byte);
      else
        write_transmitter(byte);
      break;
    case interrupt_enable:
      if (divisor_latch) {
        saved_.divisor = static_cast<uint16_t>((saved_.divisor & 0x00ff) | byte << 8);
        break;
      }
      // Enabling the interrupt of a transmitter that is empty already raises it: drivers start sending this way.
      if (byte & ~saved_.interrupt_enable & ier::transmitter_empty) saved_.transmitter_emptied = true;
      saved_.interrupt_enable = byte & ier::all;
      update();
      break;
    case interrupt_id_or_fifo_control: write_fifo_control(byte); break;
    case line_control:
      if (byte & ~saved_.line_control & lcr::send_break && loopback()) push(break_character);
      saved_.line_control = byte;
      update();
      break;
    case modem_control: write_modem_control(byte); break;
    case scratch: saved_.scratch = byte; break;
  }
}

void Uart::write_transmitter(uint8_t byte) {
  saved_.transmitter_emptied = false;
  update();
  if (loopback())
    push(byte);
  else
    output_.put(byte);
  saved_.transmitter_emptied = true;
  update();
}

void Uart::write_fifo_control(uint8_t value) {
  bool switched = (value ^ saved_.fifo_control) & fcr::enable;
  if (switched || value & fcr::clear_receiver) saved_.held = 0;
  // Bit 0 must be 1 for the others to be programmed.
  saved_.fifo_control = value & fcr::enable ? value & fcr::kept : 0;
  update();
}

void Uart::write_modem_control(uint8_t value) {
  uint8_t before = modem_inputs();
  saved_.modem_control = value & mcr::all;
  uint8_t after = modem_inputs();
  // Each input's change shows four bits below it; the ring indicator's only when it ends.
  auto changed = static_cast<uint8_t>(((before ^ after) & ~msr::ri) | (before & ~after & msr::ri));
  saved_.modem_changes |= changed >> 4;
  update();
}

void Uart::serialize(Archive& ar) { ar(saved_); }

void Uart::Saved::serialize(Archive& ar) {
  ar(interrupt_enable, fifo_control, line_control, modem_control, scratch, divisor, line_errors, modem_changes);
  ar(transmitter_emptied, fifo, held, last_arrival, last_activity);
  std::vector<Character> waiting(queue.begin(), queue.end());
  ar.vector(waiting, queue_limit);
  if (!ar.is_loading()) return;
  queue.assign(waiting.begin(), waiting.end());
  ar.require((interrupt_enable & ~ier::all) == 0 && (fifo_control & ~fcr::kept) == 0 && (modem_control & ~mcr::all) == 0,
             "the serial port's saved registers have bits that do not exist");
  ar.require((line_errors & ~lsr::errors) == 0 && modem_changes <= 0x0f,
             "the serial port's saved status has bits that do not exist");
  ar.require(held <= (fifo_control & fcr::enable ? 16 : 1), "the serial port's saved FIFO holds more than it can");
}

}  // namespace matryoshka
