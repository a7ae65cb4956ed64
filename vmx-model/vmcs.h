// One virtual-machine control structure: its fields, its launch state, and who wrote what.
//
// While a VMCS is active it lives here and not in guest memory, so nothing can change it between a check and its use, and VMREAD
// is one load. VMCLEAR writes it back to its region, in a layout of our own: revision identifier and abort indicator as the
// manual wants them, the launch state, then each field of the table in eight bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "cpu/state/archive.h"
#include "mmu/memory.h"
#include "vmx-model/fields.h"

namespace matryoshka::vmx {

// Where a field has its value from, for the inspector: the VMWRITE, or 0 for what the processor stored itself.
struct Origin {
  uint64_t rip = 0, tick = 0;
  void serialize(Archive& ar) { ar(rip, tick); }
};

struct Vmcs {
  uint64_t address = 0;
  bool launched = false;
  uint64_t fields[field_count] = {};
  Origin origins[field_count];
  uint64_t used = 0;  // when it was last made current; the oldest goes first when there are too many

  uint64_t operator[](Field f) const { return fields[static_cast<unsigned>(f)]; }
  uint32_t word(Field f) const { return static_cast<uint32_t>(fields[static_cast<unsigned>(f)]); }
  void set(Field f, uint64_t value) { fields[static_cast<unsigned>(f)] = value & info(f).mask(); }

  // Whether a control is in force: secondary controls are only where they have been activated.
  bool has(Control c) const {
    const ControlInfo& row = info(c);
    switch (row.word) {
      case Word::pin: return word(Field::pin_controls) & row.mask();
      case Word::primary: return word(Field::primary_controls) & row.mask();
      case Word::secondary:
        return word(Field::primary_controls) & info(Control::primary_secondary_controls).mask() &&
               word(Field::secondary_controls) & row.mask();
      case Word::exit: return word(Field::exit_controls) & row.mask();
      case Word::entry: return word(Field::entry_controls) & row.mask();
    }
    return false;
  }

  void serialize(Archive& ar);
};

// Which field holds a word of controls.
constexpr Field field_of(Word word) {
  constexpr Field fields[word_count] = {Field::pin_controls, Field::primary_controls, Field::secondary_controls,
                                        Field::exit_controls, Field::entry_controls};
  return fields[static_cast<unsigned>(word)];
}

// The active ones. A region may hold anything at all when it is loaded: it is only data.
class VmcsCache {
 public:
  explicit VmcsCache(PhysicalMemory& memory) : memory_(memory) {}

  Vmcs* find(uint64_t address);
  // Makes it active, from its region if it was not.
  Vmcs& activate(uint64_t address);
  // VMCLEAR: written to its region with the launch state clear; active or not.
  void clear(uint64_t address);
  // VMXOFF: all of them go back to memory.
  void write_back_all();
  void drop_all() { active_.clear(); }
  const std::vector<std::unique_ptr<Vmcs>>& all() const { return active_; }

  // The first doubleword of a region; all ones where there is no memory.
  uint32_t revision(uint64_t address) const;
  void set_abort_indicator(uint64_t address, uint32_t indicator);

  void serialize(Archive& ar);

 private:
  static constexpr unsigned most_active = 64;
  void write_back(const Vmcs& vmcs);
  void read_region(Vmcs& vmcs);

  PhysicalMemory& memory_;
  std::vector<std::unique_ptr<Vmcs>> active_;
  uint64_t uses_ = 0;
};

}  // namespace matryoshka::vmx
