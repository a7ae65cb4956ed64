#include "devices/pic.h"

namespace matryoshka {
namespace {

namespace icw1 {
constexpr uint8_t wants_icw4 = 0x01, single = 0x02, marks = 0x10;
}
namespace icw4 {
constexpr uint8_t auto_eoi = 0x02, fully_nested = 0x10;
}
namespace ocw2 {
constexpr uint8_t eoi = 0x20, specific = 0x40, rotate = 0x80, level = 0x07;
}
namespace ocw3 {
constexpr uint8_t read_in_service = 0x01, read_register = 0x02, poll = 0x04, marks = 0x08, special_mask = 0x20,
                  set_special_mask = 0x40;
}

// The timer, the keyboard, the cascade, the clock and the coprocessor have edges for good.
constexpr uint8_t first_may_be_level = 0xf8, second_may_be_level = 0xde;

constexpr uint8_t cascade_line = 2;
constexpr uint8_t spurious_level = 7;

constexpr uint8_t bit(int level) { return static_cast<uint8_t>(1 << level); }

}  // namespace

// IRR. The second chip's request is there for as long as it stands, like a level.
uint8_t Pic::Chip::requests(uint8_t cascaded) const { return (lines & level_triggered) | (edges & ~level_triggered) | cascaded; }

// The level that INT is raised for, walking down from the highest priority until something in service stands in the way.
int Pic::Chip::pending(uint8_t cascaded) const {
  if (expect != Expect::masks) return none;
  auto wanted = static_cast<uint8_t>(requests(cascaded) & ~masks);
  auto blocking = static_cast<uint8_t>(special_mask ? in_service & ~masks : in_service);
  for (int i = 1; i <= 8; ++i) {
    int level = (lowest_priority + i) & 7;
    bool open = fully_nested && cascaded & bit(level);  // more may come through a second chip that is being served
    if (blocking & bit(level) && !open) return none;
    if (wanted & bit(level)) return level;
    if (blocking & bit(level)) return none;
  }
  return none;
}

int Pic::Chip::highest_in_service() const {
  auto candidates = static_cast<uint8_t>(special_mask ? in_service & ~masks : in_service);
  for (int i = 1; i <= 8; ++i) {
    int level = (lowest_priority + i) & 7;
    if (candidates & bit(level)) return level;
  }
  return none;
}

// What an acknowledge does to the level it takes.
void Pic::Chip::accept(int level) {
  edges &= ~bit(level);
  if (!auto_eoi)
    in_service |= bit(level);
  else if (rotate_on_auto_eoi)
    lowest_priority = static_cast<uint8_t>(level);
}

uint8_t Pic::acknowledge() {
  // The request may have gone since INTR rose: then level 7 answers, and nothing is in service for it.
  uint8_t vector = first_.vector_base | spurious_level;
  int level = first_.pending(cascade());
  if (level == cascade_line && !first_.single) {
    int second_level = second_.pending(0);
    vector = second_.vector_base | static_cast<uint8_t>(second_level);
    first_.accept(level);
    second_.accept(second_level);
  } else if (level != Chip::none) {
    vector = first_.vector_base | static_cast<uint8_t>(level);
    first_.accept(level);
  }
  update();
  return vector;
}

void Pic::set_irq(unsigned line, bool level) {
  if (line >= 16 || line == cascade_line) return;
  Chip& chip = line < 8 ? first_ : second_;
  uint8_t mask = bit(line & 7);
  if (!level) {
    chip.lines &= ~mask;
    chip.edges &= ~mask;
  } else if (!(chip.lines & mask)) {
    chip.lines |= mask;
    chip.edges |= mask;
  }
  update();
}

uint64_t Pic::read(unsigned window, uint64_t offset, unsigned) {
  if (window == edge_level_ports) return (offset == 0 ? first_ : second_).level_triggered;
  uint8_t value = window == first_ports ? first_.read(offset & 1, cascade()) : second_.read(offset & 1, 0);
  update();
  return value;
}

uint8_t Pic::Chip::read(unsigned port, uint8_t cascaded) {
  if (poll) {
    poll = false;
    int level = pending(cascaded);
    if (level == none) return 0;
    accept(level);
    return static_cast<uint8_t>(0x80 | level);
  }
  if (port == 1) return masks;
  return read_in_service ? in_service : requests(cascaded);
}

void Pic::write(unsigned window, uint64_t offset, unsigned, uint64_t value) {
  auto byte = static_cast<uint8_t>(value);
  if (window == edge_level_ports) {
    if (offset == 0)
      first_.level_triggered = byte & first_may_be_level;
    else
      second_.level_triggered = byte & second_may_be_level;
  } else {
    Chip& chip = window == first_ports ? first_ : second_;
    if (offset == 0)
      chip.write_command(byte);
    else
      chip.write_data(byte);
  }
  update();
}

void Pic::Chip::write_command(uint8_t value) {
  if (value & icw1::marks) {
    // Everything starts anew but the inputs: a line that is high already must fall before it counts as an edge.
    Chip fresh;
    fresh.lines = lines;
    fresh.level_triggered = level_triggered;
    fresh.vector_base = vector_base;
    fresh.single = value & icw1::single;
    fresh.wants_icw4 = value & icw1::wants_icw4;
    fresh.expect = Expect::icw2;
    *this = fresh;
  } else if (value & ocw3::marks) {
    if (value & ocw3::set_special_mask) special_mask = value & ocw3::special_mask;
    if (value & ocw3::read_register) read_in_service = value & ocw3::read_in_service;
    if (value & ocw3::poll) poll = true;
  } else {
    end_of_interrupt(value);
  }
}

// OCW2: the eight combinations of rotate, specific and end of interrupt.
void Pic::Chip::end_of_interrupt(uint8_t value) {
  bool rotate = value & ocw2::rotate, specific = value & ocw2::specific;
  int level = specific ? value & ocw2::level : highest_in_service();
  if (value & ocw2::eoi) {
    if (level == none) return;
    in_service &= ~bit(level);
    if (rotate) lowest_priority = static_cast<uint8_t>(level);
  } else if (!specific) {
    rotate_on_auto_eoi = rotate;
  } else if (rotate) {
    lowest_priority = static_cast<uint8_t>(level);
  }
}

void Pic::Chip::write_data(uint8_t value) {
  switch (expect) {
    case Expect::icw2:
      vector_base = value & 0xf8;
      expect = !single ? Expect::icw3 : wants_icw4 ? Expect::icw4 : Expect::masks;
      break;
    case Expect::icw3: expect = wants_icw4 ? Expect::icw4 : Expect::masks; break;
    case Expect::icw4:
      auto_eoi = value & icw4::auto_eoi;
      fully_nested = value & icw4::fully_nested;
      expect = Expect::masks;
      break;
    case Expect::idle:
    case Expect::masks: masks = value; break;
  }
}

// The inputs belong to those who drive them, and stay.
void Pic::reset() {
  for (Chip* chip : {&first_, &second_}) {
    uint8_t lines = chip->lines;
    *chip = Chip{};
    chip->lines = lines;
  }
  update();
}

void Pic::serialize(Archive& ar) { ar(first_, second_); }

void Pic::Chip::serialize(Archive& ar) {
  ar(lines, edges, level_triggered, in_service, masks, lowest_priority, vector_base, expect, single, wants_icw4);
  ar(auto_eoi, fully_nested, rotate_on_auto_eoi, special_mask, read_in_service, poll);
  ar.require(expect <= Expect::masks && lowest_priority <= 7 && (vector_base & 7) == 0,
             "the interrupt controller's saved state is impossible");
}

}  // namespace matryoshka
