#include "vmx-model/checks.h"

#include "mmu/paging.h"

namespace matryoshka::vmx {

// ---- Words

bool Check::reserved_ok(Word word) const {
  const uint32_t value = v.word(field_of(word));
  return (value & c.required(word)) == c.required(word) && (value & ~c.allowed(word)) == 0;
}

bool Check::msr_area(Field address, Field count) const {
  constexpr unsigned entry_size = 16;
  const uint64_t first = v[address], last = first + v[count] * entry_size - 1;
  return (first & (entry_size - 1)) == 0 && c.physical(first) && c.physical(last);
}

bool Check::pat_ok(Field f) const {
  for (unsigned i = 0; i < 64; i += 8) {
    const uint64_t type = v[f] >> i & 0xff;
    if (type > 7 || type == 2 || type == 3) return false;
  }
  return true;
}

bool Check::cr0_fixed(Field f, bool without_paging) const {
  constexpr uint64_t paging = 0x80000001;
  const uint64_t required = Capabilities::cr0_fixed0 & ~(without_paging ? paging : 0);
  return (v[f] & required) == required && (v[f] & ~Capabilities::cr0_fixed1) == 0;
}

bool Check::cr4_fixed(Field f) const {
  return (v[f] & Capabilities::cr4_fixed0) == Capabilities::cr4_fixed0 && (v[f] & ~c.platform().cr4_allowed) == 0;
}

uint32_t Check::virtual_tpr() const {
  uint32_t tpr = 0;
  return memory.read(v[Field::virtual_apic] + 0x80, &tpr, sizeof tpr) ? tpr >> 4 & 15 : 15;
}

uint32_t Check::at_link() const {
  uint32_t value = 0;
  return memory.read(v[Field::link_pointer], &value, sizeof value) ? value : ~0u;
}

bool Check::granular_ok(Place p) const {
  const bool g = bit(p, 15), low_bits_clear = (limit(p) & 0xfff) != 0xfff, high_bits_set = limit(p) >> 20 != 0;
  return !(low_bits_clear && g) && !(high_bits_set && !g);
}

bool Check::pdptes_ok() const {
  const uint64_t reserved = reserved_pdpte_bits(c.platform().physical_bits);
  for (unsigned i = 0; i < 4; ++i) {
    uint64_t entry = v[nth(Field::guest_pdpte_0, i)];
    if (!has(Control::secondary_ept)) {
      const uint64_t address = (v[Field::guest_cr3] & 0xffffffe0) + 8 * i;
      if (!memory.read(address, &entry, sizeof entry)) entry = ~uint64_t{0};
    }
    if (entry & 1 && entry & reserved) return false;
  }
  return true;
}

bool Check::wants_error_code() const {
  constexpr uint32_t with_error = 1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17;
  return event() == EventType::hardware_exception && cr0(0) && vector() < 32 && with_error >> vector() & 1;
}

// "Activity state": what may be injected where the guest does not execute instructions.
bool Check::activity_takes_event() const {
  constexpr uint8_t debug = 1, machine_check = 18;
  switch (activity()) {
    case 1:
      return event() == EventType::external_interrupt || event() == EventType::nmi ||
             (event() == EventType::hardware_exception && (vector() == debug || vector() == machine_check)) ||
             (event() == EventType::other && vector() == 0);
    case 2: return event() == EventType::nmi || (event() == EventType::hardware_exception && vector() == machine_check);
    case 3: return false;
    default: return true;
  }
}

// ---- The table

namespace {

constexpr Field pad = Field::count;
template <class... Fields>
constexpr CheckRow row(const char* id, Stage stage, const char* title, const char* sentence, bool (*when)(const Check&),
                       bool (*must)(const Check&), uint8_t qualification, Fields... fields) {
  CheckRow made{id, stage, title, sentence, when, must, qualification, {pad, pad, pad, pad}};
  unsigned i = 0;
  ((made.fields[i++] = fields), ...);
  return made;
}

// The rows are written inside of Check, as it were.
struct Row : Check {
#define always true
#define on(control) has(Control::control)
#define F(field) v[Field::field]
#define CHECK(id, stage, when, must, sentence, ...) CHECK_Q(0, id, stage, when, must, sentence, __VA_ARGS__)
#define CHECK_Q(qualification, id, stage, when, must, sentence, ...) \
  bool when_##id() const { return when; }                            \
  bool must_##id() const { return must; }
#include "vmx-model/checks.def"
#undef CHECK_Q
#undef F
#undef on
#undef always
};

Row as_row(const Check& check) { return {check}; }

namespace in_row {
// The names of the fields, as the rows' last columns have them.
#define FIELD(name, width, group, index, needs, title) constexpr Field name = Field::name;
#include "vmx-model/fields.def"
#undef FIELD
}  // namespace in_row

}  // namespace

const CheckRow check_rows[] = {
#define CHECK_Q(qualification, id, stage, when, must, sentence, ...)                                        \
  [] {                                                                                                      \
    using namespace in_row;                                                                                 \
    return row(                                                                                             \
        #id, Stage::stage, SECTION, sentence, [](const Check& check) { return as_row(check).when_##id(); }, \
        [](const Check& check) { return as_row(check).must_##id(); }, qualification, __VA_ARGS__);          \
  }(),
#include "vmx-model/checks.def"
#undef CHECK_Q
#undef CHECK
};
const unsigned check_count = sizeof check_rows / sizeof check_rows[0];

const CheckRow* first_violation(const Check& check, Stage stage) {
  for (const CheckRow& row : check_rows)
    if (row.stage == stage && row.when(check) && !row.must(check)) return &row;
  return nullptr;
}

std::vector<const CheckRow*> violations(const Check& check) {
  std::vector<const CheckRow*> found;
  for (const CheckRow& row : check_rows)
    if (row.when(check) && !row.must(check)) found.push_back(&row);
  return found;
}

}  // namespace matryoshka::vmx
