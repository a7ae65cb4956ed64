// The checks of VM entry, each a row: what it is called, where the manual has it, when it applies, what must hold.
//
// An entry asks them in order and stops at the first that fails, as processors do. Whoever wants to know why an entry failed asks
// for all that fail (violations()), with the fields that each looked at: silicon gives one number for a hundred reasons.
#pragma once

#include <string>
#include <vector>

#include "mmu/memory.h"
#include "vmx-model/capabilities.h"
#include "vmx-model/exit.h"
#include "vmx-model/vmcs.h"

namespace matryoshka::vmx {

enum class Stage : uint8_t { controls, host, guest };

// What a check may look at.
struct Check {
  const Vmcs& v;
  const Capabilities& c;
  const PhysicalMemory& memory;
  bool long_mode;    // IA32_EFER.LMA at the time of the entry
  uint64_t current;  // the current-VMCS pointer

  uint64_t operator()(Field f) const { return v[f]; }
  bool has(Control control) const { return v.has(control); }

  // Words in which some checks are spelled.
  bool reserved_ok(Word word) const;
  bool page(Field f) const { return (v[f] & 0xfff) == 0 && c.physical(v[f]); }
  bool msr_area(Field address, Field count) const;
  bool canonical(Field f) const { return c.canonical(v[f]); }
  bool pat_ok(Field f) const;
  bool efer_ok(Field f) const { return (v[f] & ~c.platform().efer_allowed) == 0; }
  bool cr0_fixed(Field f, bool unrestricted) const;
  bool cr4_fixed(Field f) const;
  bool sharp(Field f) const { return v[f] >> 32 == 0; }  // fits 32 bits

  uint32_t virtual_tpr() const;  // VTPR[7:4]
  uint32_t at_link() const;      // the first doubleword of the region at the link pointer

  // The guest's segments, by their place in a row of fields.
  enum Place : unsigned { ES, CS, SS, DS, FS, GS, LDTR, TR };
  uint32_t rights(Place p) const { return v.word(nth(Field::guest_es_rights, p)); }
  uint32_t limit(Place p) const { return v.word(nth(Field::guest_es_limit, p)); }
  uint64_t base(Place p) const { return v[nth(Field::guest_es_base, p)]; }
  uint32_t selector(Place p) const { return v.word(nth(Field::guest_es_selector, p)); }
  bool usable(Place p) const { return !(rights(p) >> 16 & 1); }
  unsigned type(Place p) const { return rights(p) & 15; }
  unsigned dpl(Place p) const { return rights(p) >> 5 & 3; }
  unsigned rpl(Place p) const { return selector(p) & 3; }
  bool bit(Place p, unsigned n) const { return rights(p) >> n & 1; }
  bool granular_ok(Place p) const;
  bool in_v86(Place p) const { return base(p) == uint64_t{selector(p)} << 4; }

  bool v86() const { return v[Field::guest_rflags] >> 17 & 1; }
  bool ia32e() const { return has(Control::entry_ia32e_mode_guest); }
  bool unrestricted() const { return has(Control::secondary_unrestricted_guest); }
  bool cr0(unsigned n) const { return v[Field::guest_cr0] >> n & 1; }
  bool cr4(unsigned n) const { return v[Field::guest_cr4] >> n & 1; }
  bool pae_paging() const { return cr0(31) && cr4(5) && !ia32e(); }
  bool pdptes_ok() const;

  // The event to inject.
  bool injects() const { return v[Field::entry_interruption_info] >> 31 & 1; }
  uint8_t vector() const { return static_cast<uint8_t>(v[Field::entry_interruption_info]); }
  EventType event() const { return static_cast<EventType>(v[Field::entry_interruption_info] >> 8 & 7); }
  bool error_code() const { return v[Field::entry_interruption_info] >> 11 & 1; }
  bool injects(EventType type) const { return injects() && event() == type; }
  bool wants_error_code() const;
  bool activity_takes_event() const;

  uint64_t activity() const { return v[Field::guest_activity]; }
  bool blocked(unsigned n) const { return v[Field::guest_interruptibility] >> n & 1; }
  uint64_t pending(unsigned n) const { return v[Field::guest_pending_debug] >> n & 1; }
};

struct CheckRow {
  const char* id;
  Stage stage;
  const char* title;     // of the manual's section
  const char* sentence;  // what must hold
  bool (*when)(const Check&);
  bool (*must)(const Check&);
  uint8_t qualification;  // of a VM-entry failure: "Exit Qualification" in "VM-Entry Failures"
  Field fields[4];        // what it looks at; the rest are Field::count
};
extern const CheckRow check_rows[];
extern const unsigned check_count;

// The first row that fails in a stage, or null.
const CheckRow* first_violation(const Check& check, Stage stage);
// Every row that fails, in all three stages.
std::vector<const CheckRow*> violations(const Check& check);

}  // namespace matryoshka::vmx
