#include "cpu/system/msr.h"

#include <algorithm>
#include <bit>
#include <iterator>

#include "cpu/processor.h"
#include "cpu/system/control_registers.h"
#include "cpu/system/tsc.h"

namespace matryoshka {
namespace {

constexpr uint64_t all = ~uint64_t{0};

// ---- Ways of access: each has a read and a write, false for #GP. `index` counts from the first register of a run.

template <uint64_t MsrState::*Member>
struct plain {
  static bool read(Processor& cpu, unsigned, uint64_t& value) {
    value = cpu.state.msr.*Member;
    return true;
  }
  static bool write(Processor& cpu, unsigned, uint64_t value) {
    cpu.state.msr.*Member = value;
    return true;
  }
};

template <uint64_t MsrState::*Member>
struct read_only : plain<Member> {
  static bool write(Processor&, unsigned, uint64_t) { return false; }
};

template <uint64_t MsrState::*Member>
struct low_half : plain<Member> {
  static bool write(Processor& cpu, unsigned, uint64_t value) {
    cpu.state.msr.*Member = static_cast<uint32_t>(value);
    return true;
  }
};

// By the width that the processor has, not by the one that CR4.LA57 chooses at the moment.
bool canonical_address(const Processor& cpu, uint64_t address) {
  unsigned unused = 64 - cpu.model.linear_bits;
  return static_cast<uint64_t>(static_cast<int64_t>(address << unused) >> unused) == address;
}

template <uint64_t MsrState::*Member>
struct canonical : plain<Member> {
  static bool write(Processor& cpu, unsigned, uint64_t value) {
    if (!canonical_address(cpu, value)) return false;
    cpu.state.msr.*Member = value;
    return true;
  }
};

template <uint64_t Value>
struct constant {
  static bool read(Processor&, unsigned, uint64_t& value) {
    value = Value;
    return true;
  }
  static bool write(Processor&, unsigned, uint64_t) { return false; }
};

struct command {
  static bool read(Processor&, unsigned, uint64_t&) { return false; }
  static bool write(Processor&, unsigned, uint64_t) { return true; }
};

// Ratios of 100 MHz: maximum non-turbo in bits 15:8, maximum efficiency in 47:40. No CPUID faulting.
constexpr uint64_t platform_info = uint64_t{10} << 40 | 10 << 8;

// ---- Time

struct TimeStampCounter {
  static bool read(Processor& cpu, unsigned, uint64_t& value) {
    value = tsc(cpu.state, cpu.clock) + cpu.vmx.tsc_offset();
    return true;
  }
  static bool write(Processor& cpu, unsigned, uint64_t value) {
    set_tsc(cpu.state, cpu.clock, value);
    cpu.apic.tsc_changed();
    return true;
  }
};

struct TscAdjust : plain<&MsrState::tsc_adjust> {
  static bool write(Processor& cpu, unsigned, uint64_t value) {
    set_tsc_adjust(cpu.state, value);
    cpu.apic.tsc_changed();
    return true;
  }
};

struct TscDeadline {
  static bool read(Processor& cpu, unsigned, uint64_t& value) {
    value = cpu.apic.tsc_deadline();
    return true;
  }
  static bool write(Processor& cpu, unsigned, uint64_t value) {
    cpu.apic.set_tsc_deadline(value);
    return true;
  }
};

// ---- The local APIC

struct ApicBase : plain<&MsrState::apic_base> {
  static bool write(Processor& cpu, unsigned, uint64_t value) {
    uint64_t allowed = ((uint64_t{1} << cpu.model.physical_bits) - 0x1000) | LocalApic::base_enable | LocalApic::base_bootstrap |
                       (cpu.model.features.has(Feature::X2APIC) ? LocalApic::base_x2apic : 0);
    if (value & ~allowed || !cpu.apic.set_base(value)) return false;
    cpu.mmu.set_local_page(cpu.apic.page(), &cpu.apic);
    return true;
  }
};

struct X2Apic {
  static bool read(Processor& cpu, unsigned index, uint64_t& value) { return cpu.apic.read_msr(0x800 + index, value); }
  static bool write(Processor& cpu, unsigned index, uint64_t value) { return cpu.apic.write_msr(0x800 + index, value); }
};

// ---- What the processor can do

// Comes up locked, with VMX allowed (outside of SMX, which does not exist) where there is VMX. Locked until reset, so it is no
// state but a fact of the model.
struct FeatureControl {
  static bool read(Processor& cpu, unsigned, uint64_t& value) {
    value = cpu.model.features.has(Feature::VMX) ? 5 : 1;
    return true;
  }
  static bool write(Processor&, unsigned, uint64_t) { return false; }
};

namespace arch_capability {
constexpr uint64_t bit(unsigned n) { return uint64_t{1} << n; }
constexpr uint64_t RDCL_NO = bit(0), IBRS_ALL = bit(1), SKIP_L1DFL_VMENTRY = bit(3), SSB_NO = bit(4), MDS_NO = bit(5),
                   PSCHANGE_MC_NO = bit(6), TAA_NO = bit(8), SBDR_SSDP_NO = bit(13), FBSDP_NO = bit(14), PSDP_NO = bit(15),
                   BHI_NO = bit(20), PBRSB_NO = bit(24), GDS_NO = bit(26), RFDS_NO = bit(27), ITS_NO = bit(62);
}  // namespace arch_capability

// Nothing here speculates. IBRS_ALL promises that IBRS can be left on, so it needs the register with that bit.
// "VMX Capability Reporting Facility".
struct VmxCapability {
  static bool read(Processor& cpu, unsigned index, uint64_t& value) {
    return cpu.vmx.capabilities().read_msr(vmx::Capabilities::first_msr + index, value);
  }
  static bool write(Processor&, unsigned, uint64_t) { return false; }
};

struct ArchCapabilities {
  static bool read(Processor& cpu, unsigned, uint64_t& value) {
    using namespace arch_capability;
    value = RDCL_NO | SKIP_L1DFL_VMENTRY | SSB_NO | MDS_NO | PSCHANGE_MC_NO | TAA_NO | SBDR_SSDP_NO | FBSDP_NO | PSDP_NO |
            BHI_NO | PBRSB_NO | GDS_NO | RFDS_NO | ITS_NO | (cpu.model.features.has(Feature::SPEC_CTRL) ? IBRS_ALL : 0);
    return true;
  }
  static bool write(Processor&, unsigned, uint64_t) { return false; }
};

// Bits that only say what there is (no branch trace store, no PEBS) and bits that do not exist keep their value.
struct MiscEnable {
  static constexpr uint64_t fast_strings = 1 << 0, no_branch_trace = 1 << 11, no_event_sampling = 1 << 12, speed_step = 1 << 16,
                            monitor = 1 << 18, limit_cpuid = 1 << 22, no_xtpr = 1 << 23, no_execute_disable = uint64_t{1} << 34;
  static bool read(Processor& cpu, unsigned, uint64_t& value) {
    value = cpu.state.msr.misc_enable | no_branch_trace | no_event_sampling;
    return true;
  }
  static bool write(Processor& cpu, unsigned, uint64_t value) {
    uint64_t written = fast_strings | speed_step | limit_cpuid | no_xtpr;
    if (cpu.model.features.has(Feature::MONITOR)) written |= monitor;
    if (cpu.model.features.has(Feature::NX)) written |= no_execute_disable;
    cpu.state.msr.misc_enable = value & written;
    return true;
  }
};

// ---- EFER: "Initializing IA-32e Mode"

struct Efer : plain<&MsrState::efer> {
  static bool write(Processor& cpu, unsigned, uint64_t value) {
    const FeatureSet& features = cpu.model.features;
    uint64_t& efer = cpu.state.msr.efer;
    bool execute_disable = features.has(Feature::NX) && !(cpu.state.msr.misc_enable & MiscEnable::no_execute_disable);
    uint64_t allowed = efer::LMA | (supported_efer(features) & ~(execute_disable ? 0 : efer::NXE));
    if (value & ~allowed) return false;
    if ((value ^ efer) & efer::LME && cpu.state.paging()) return false;
    uint64_t changed = value ^ efer;
    efer = (value & ~efer::LMA) | (efer & efer::LMA);  // LMA follows from LME and CR0.PG alone
    if (changed & efer::NXE) cpu.mmu.flush_all();
    cpu.derive();
    return true;
  }
};

template <SegmentName S>
struct SegmentBase {
  static bool read(Processor& cpu, unsigned, uint64_t& value) {
    value = cpu.state.segment[S].base;
    return true;
  }
  static bool write(Processor& cpu, unsigned, uint64_t value) {
    if (!canonical_address(cpu, value)) return false;
    cpu.state.segment[S].base = value;
    cpu.derive();
    return true;
  }
};

// ---- Memory types. They are kept and change nothing, for there are no caches.

enum MemoryType : uint8_t {
  uncacheable = 0,
  write_combining = 1,
  write_through = 4,
  write_protected = 5,
  write_back = 6,
  uncached = 7
};

bool is_mtrr_type(uint64_t type) {
  return type == uncacheable || type == write_combining || (type >= write_through && type <= write_back);
}
bool all_bytes(uint64_t value, bool (*allowed)(uint64_t)) {
  for (unsigned i = 0; i < 64; i += 8)
    if (!allowed(value >> i & 0xff)) return false;
  return true;
}

namespace mtrr {
constexpr uint64_t fixed_enable = 1 << 10, enable = 1 << 11, valid = 1 << 11;
}
// Eight variable ranges, the fixed ones, write-combining.
constexpr uint64_t mtrr_capabilities = 8 | 1 << 8 | 1 << 10;

struct VariableMtrr {
  static bool read(Processor& cpu, unsigned index, uint64_t& value) {
    value = cpu.state.msr.mtrr_variable[index];
    return true;
  }
  static bool write(Processor& cpu, unsigned index, uint64_t value) {
    bool is_mask = index & 1;
    uint64_t address = (uint64_t{1} << cpu.model.physical_bits) - 0x1000;
    if (value & ~(address | (is_mask ? mtrr::valid : 0xff))) return false;
    if (!is_mask && !is_mtrr_type(value & 0xff)) return false;
    cpu.state.msr.mtrr_variable[index] = value;
    return true;
  }
};

template <unsigned First>
struct FixedMtrr {
  static bool read(Processor& cpu, unsigned index, uint64_t& value) {
    value = cpu.state.msr.mtrr_fixed[First + index];
    return true;
  }
  static bool write(Processor& cpu, unsigned index, uint64_t value) {
    if (!all_bytes(value, is_mtrr_type)) return false;
    cpu.state.msr.mtrr_fixed[First + index] = value;
    return true;
  }
};

struct MtrrDefaultType : plain<&MsrState::mtrr_def_type> {
  static bool write(Processor& cpu, unsigned, uint64_t value) {
    if (!is_mtrr_type(value & 0xff)) return false;
    cpu.state.msr.mtrr_def_type = value;
    return true;
  }
};

struct PageAttributes : plain<&MsrState::pat> {
  static bool write(Processor& cpu, unsigned, uint64_t value) {
    if (!all_bytes(value, [](uint64_t type) { return is_mtrr_type(type) || type == uncached; })) return false;
    cpu.state.msr.pat = value;
    return true;
  }
};

// ---- The table

struct Row {
  const char* name;
  uint32_t first, count;
  bool (*exists)(const CpuModel&);
  bool (*read)(Processor&, unsigned index, uint64_t&);
  bool (*write)(Processor&, unsigned index, uint64_t);
  uint64_t writable;
};

// The conditions of msr.def.
#define has(flag) model.features.has(Feature::flag)
#define either(one, other) (has(one) || has(other))
#define is_model(number) (model.family == 6 && model.model == number)
#define from_nehalem (model.family == 6 && model.model >= 26)
#define always true

constexpr Row table[] = {
#define MSRS(name, number, count, condition, access, writable, title)                              \
  {#name,         number,         count,   []([[maybe_unused]] const CpuModel& model) -> bool { return condition; }, \
   &access::read, &access::write, writable},
#define MSR(name, number, condition, access, writable, title) MSRS(name, number, 1, condition, access, writable, title)
#include "cpu/msr.def"
#undef MSR
#undef MSRS
};

#undef has
#undef either
#undef is_model
#undef from_nehalem
#undef always

constexpr bool in_order() {
  for (size_t i = 1; i < std::size(table); ++i)
    if (table[i].first < table[i - 1].first + table[i - 1].count) return false;
  return true;
}
static_assert(in_order(), "cpu/msr.def is in order of numbers, and none stands in two rows");

const Row* find(uint32_t number) {
  const Row* after =
      std::upper_bound(std::begin(table), std::end(table), number, [](uint32_t n, const Row& row) { return n < row.first; });
  if (after == std::begin(table)) return nullptr;
  const Row* row = after - 1;
  return number - row->first < row->count ? row : nullptr;
}

}  // namespace

bool read_msr(Processor& cpu, uint32_t number, uint64_t& value) {
  const Row* row = find(number);
  return row && row->exists(cpu.model) && row->read(cpu, number - row->first, value);
}

bool write_msr(Processor& cpu, uint32_t number, uint64_t value) {
  const Row* row = find(number);
  return row && row->exists(cpu.model) && (value & ~row->writable) == 0 && row->write(cpu, number - row->first, value);
}

uint64_t supported_efer(const FeatureSet& features) {
  return (features.has(Feature::SYSCALL) ? efer::SCE : 0) | (features.has(Feature::LM) ? efer::LME : 0) |
         (features.has(Feature::NX) ? efer::NXE : 0);
}

const char* msr_name(uint32_t number) {
  const Row* row = find(number);
  return row ? row->name : nullptr;
}

void set_firmware_memory_types(CpuState& state, const CpuModel& model, uint64_t hole) {
  constexpr uint64_t every_byte = 0x0101010101010101, four_gigabytes = uint64_t{1} << 32;
  MsrState& msr = state.msr;
  // 640 KiB of RAM in three registers, the video memory A0000-BFFFF in one, the ROMs C0000-FFFFF in eight.
  for (unsigned i = 0; i < std::size(msr.mtrr_fixed); ++i)
    msr.mtrr_fixed[i] = every_byte * (i < 2 ? write_back : i == 2 ? uncacheable : write_protected);
  // The hole as naturally aligned powers of two, from its lower end up.
  uint64_t address_mask = (uint64_t{1} << model.physical_bits) - 0x1000;
  unsigned next = 0;
  for (uint64_t at = hole; at < four_gigabytes && next + 1 < std::size(msr.mtrr_variable); next += 2) {
    uint64_t size = uint64_t{1} << std::countr_zero(at);
    msr.mtrr_variable[next] = at | uncacheable;
    msr.mtrr_variable[next + 1] = (address_mask & ~(size - 1)) | mtrr::valid;
    at += size;
  }
  msr.mtrr_def_type = write_back | mtrr::fixed_enable | mtrr::enable;
}

}  // namespace matryoshka
