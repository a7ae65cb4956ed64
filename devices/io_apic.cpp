#include "devices/io_apic.h"

namespace matryoshka {
namespace {

// Offsets in the window.
enum Window : uint64_t { select_register = 0x00, data_window = 0x10, eoi_register = 0x40 };

// What the select register chooses.
enum Index : uint8_t {
  identification_register = 0x00,
  version_register = 0x01,
  arbitration_register = 0x02,
  redirection_table = 0x10,
};
constexpr uint32_t version_value = (IoApic::inputs - 1) << 16 | 0x20;

namespace entry {
constexpr uint64_t vector = 0xff;
constexpr unsigned delivery_mode_at = 8, logical_at = 11, destination_at = 56;
constexpr uint64_t remote_irr = 1 << 14, level_triggered = 1 << 15;
// Delivery status and remote IRR are the chip's own; a message is gone as soon as it is sent, so the former reads as 0.
constexpr uint64_t written = 0xff00'0000'0001'afff;
}  // namespace entry

constexpr unsigned delivery_mode(uint64_t e) { return e >> entry::delivery_mode_at & 7; }
// Three and six are reserved.
constexpr bool delivers(uint64_t e) { return delivery_mode(e) != 3 && delivery_mode(e) != 6; }

constexpr uint64_t message_base = 0xfee0'0000;

}  // namespace

// The message to the local APICs, as a device with MSI would write it.
uint64_t IoApic::message_address(Entry e) {
  return message_base | (e >> entry::destination_at) << 12 | (e >> entry::logical_at & 1) << 2;
}
uint32_t IoApic::message_data(Entry e) {
  return static_cast<uint32_t>((e & entry::vector) | delivery_mode(e) << 8 | (e & entry::level_triggered ? 0xc000 : 0));
}

void IoApic::send(unsigned input) {
  Entry e = saved_.table[input];
  if (!delivers(e)) return;
  if (e & entry::level_triggered) saved_.table[input] |= entry::remote_irr;
  messages_.deliver_message(message_address(e), message_data(e));
}

bool IoApic::may_send(const MessageTest& wanted) const {
  return std::any_of(std::begin(saved_.table), std::end(saved_.table), [&](Entry e) {
    return !(e & (masked | entry::remote_irr)) && delivers(e) && wanted(message_address(e), message_data(e));
  });
}

void IoApic::send_if_level_stands(unsigned input) {
  constexpr uint64_t relevant = entry::level_triggered | masked | entry::remote_irr;
  bool ready = (saved_.table[input] & relevant) == entry::level_triggered;
  if (ready && saved_.lines >> input & 1) send(input);
}

void IoApic::set_irq(unsigned line, bool asserted) {
  if (line >= inputs) return;
  uint32_t bit = 1u << line;
  bool rose = asserted && !(saved_.lines & bit);
  saved_.lines = asserted ? saved_.lines | bit : saved_.lines & ~bit;
  if (saved_.table[line] & entry::level_triggered)
    send_if_level_stands(line);
  else if (rose && !(saved_.table[line] & masked))  // an edge on a masked input is lost
    send(line);
}

void IoApic::end_of_interrupt(uint8_t vector) {
  for (unsigned input = 0; input < inputs; ++input) {
    Entry& e = saved_.table[input];
    if (!(e & entry::remote_irr) || (e & entry::vector) != vector) continue;
    e &= ~entry::remote_irr;
    send_if_level_stands(input);
  }
}

uint32_t IoApic::read_selected() const {
  switch (saved_.select) {
    case identification_register:
    case arbitration_register: return uint32_t{saved_.id} << 24;
    case version_register: return version_value;
    default: {
      unsigned half = saved_.select - redirection_table;
      if (saved_.select < redirection_table || half >= 2 * inputs) return 0;
      return static_cast<uint32_t>(saved_.table[half / 2] >> half % 2 * 32);
    }
  }
}

void IoApic::write_selected(uint32_t value) {
  if (saved_.select == identification_register) {
    saved_.id = value >> 24 & 0x0f;
    return;
  }
  unsigned half = saved_.select - redirection_table;
  if (saved_.select < redirection_table || half >= 2 * inputs) return;
  unsigned input = half / 2, shift = half % 2 * 32;
  Entry written = entry::written & Entry{0xffff'ffff} << shift;
  Entry& e = saved_.table[input];
  e = (e & ~written) | (Entry{value} << shift & written);
  // An edge has nothing to wait for: older systems without the EOI register clear remote IRR this way.
  if (!(e & entry::level_triggered)) e &= ~entry::remote_irr;
  send_if_level_stands(input);
}

uint64_t IoApic::read(unsigned, uint64_t offset, unsigned) {
  unsigned shift = (offset & 3) * 8;
  switch (offset & ~uint64_t{3}) {
    case select_register: return uint32_t{saved_.select} >> shift;
    case data_window: return read_selected() >> shift;
    default: return 0;
  }
}

// The chip takes dwords; of narrower writes it understands only those of a byte-wide register.
void IoApic::write(unsigned, uint64_t offset, unsigned size, uint64_t value) {
  switch (offset) {
    case select_register: saved_.select = static_cast<uint8_t>(value); break;
    case data_window:
      if (size == 4) write_selected(static_cast<uint32_t>(value));
      break;
    case eoi_register: end_of_interrupt(static_cast<uint8_t>(value)); break;
  }
}

// The inputs belong to those who drive them, and stay.
void IoApic::reset() {
  uint32_t lines = saved_.lines;
  saved_ = Saved{};
  saved_.lines = lines;
  saved_.id = initial_id_;
}

void IoApic::serialize(Archive& ar) { ar(saved_); }

void IoApic::Saved::serialize(Archive& ar) {
  ar(select, id, lines, table);
  ar.require(id <= 0x0f && lines >> inputs == 0, "the I/O APIC's saved state has inputs that do not exist");
  for (Entry e : table)
    ar.require((e & ~(entry::written | entry::remote_irr)) == 0, "the I/O APIC's saved table has bits that do not exist");
}

}  // namespace matryoshka
