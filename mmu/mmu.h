// A processor's view of linear memory: fast through the TLB, exact through the slow path.
//
// Every access answers whether it went well, and a caller may not ignore that; the fault stands in `fault`. Nothing is
// written before the whole access is known to be allowed, also where it crosses a page.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "cpu/state/fault.h"
#include "cpu/state/state.h"
#include "devices/bus/bus.h"
#include "mmu/memory.h"
#include "mmu/paging.h"
#include "mmu/tlb.h"
#include "mmu/worlds.h"

namespace matryoshka {

// "Virtualizing APIC Accesses": asked about accesses to the APIC-access page.
class ApicAccessTarget {
 public:
  virtual ~ApicAccessTarget() = default;
  // True: the access goes to `redirected`, in the virtual-APIC page. False: it is a VM exit, of which `qualification` tells.
  virtual bool virtualize(unsigned offset, unsigned size, AccessKind kind, uint64_t& redirected, uint64_t& qualification) = 0;
};

class Mmu {
 public:
  Mmu(CpuState& state, PhysicalMemory& memory, Fault& fault) : state_(state), memory_(memory), fault_(fault) { select(); }

  PagingLimits limits;

  // The fast paths: false means only that the slow one must be asked.
  template <class T>
  [[nodiscard]] bool try_load(uint64_t address, T& value) const {
    const TlbEntry& e = data_->at(address);
    if ((address ^ e.read_tag) > page_size - sizeof(T)) [[unlikely]]
      return false;
    std::memcpy(&value, host(address, e), sizeof(T));
    return true;
  }
  template <class T>
  [[nodiscard]] bool try_store(uint64_t address, const T& value) {
    const TlbEntry& e = data_->at(address);
    if ((address ^ e.write_tag) > page_size - sizeof(T)) [[unlikely]]
      return false;
    std::memcpy(host(address, e), &value, sizeof(T));
    return true;
  }
  template <class T>
  [[nodiscard]] bool try_load_for_store(uint64_t address, T& value) const {
    const TlbEntry& e = data_->at(address);
    if ((address ^ e.write_tag) > page_size - sizeof(T)) [[unlikely]]
      return false;
    std::memcpy(&value, host(address, e), sizeof(T));
    return true;
  }
  // The slow paths: any size to 64 bytes, every check, exact faults.
  [[nodiscard]] bool load_slow(uint64_t address, void* value, unsigned size);
  [[nodiscard]] bool store_slow(uint64_t address, const void* value, unsigned size);
  // The read of a read-modify-write: checked as a write, so that the store that follows it cannot fault.
  [[nodiscard]] bool load_for_store_slow(uint64_t address, void* value, unsigned size);
  // Whether a store of `size` bytes would go well; for instructions that write several places or write late.
  [[nodiscard]] bool probe_store(uint64_t address, unsigned size);

  // A store at another privilege level than the present one: pushes onto the stack of an inner level.
  [[nodiscard]] bool store_as(bool user, uint64_t address, const void* value, unsigned size);

  // The processor's own accesses, to descriptor tables, the TSS and the like: supervisor ones whatever the CPL.
  template <class T>
  [[nodiscard]] bool system_load(uint64_t address, T& value) {
    return system_load_slow(address, &value, sizeof(T));
  }
  template <class T>
  [[nodiscard]] bool system_store(uint64_t address, const T& value) {
    return system_store_slow(address, &value, sizeof(T));
  }
  [[nodiscard]] bool system_probe_store(uint64_t address, unsigned size);

  // For instructions that work on whole runs of memory (REP): the host bytes from `address` to the end of its page, if they
  // are plain memory; null says to go the slow way, element by element. Never faults.
  const uint8_t* readable_run(uint64_t address);
  uint8_t* writable_run(uint64_t address);

  // Where the instruction at this linear address lies. The page's host bytes, or null if it must be fetched from the bus.
  struct CodePage {
    uint64_t physical;
    const uint8_t* host;
  };
  [[nodiscard]] bool fetch_page(uint64_t address, CodePage& page) {
    const TlbEntry& e = code_->at(address);
    if ((address ^ e.read_tag) >= page_size) [[unlikely]]
      return fetch_page_slow(address, page);
    page = {e.physical_page(), host(address & ~uint64_t{0xfff}, e)};
    return true;
  }

  // The same without a look at the tables: false if a fetch there would have to walk.
  [[nodiscard]] bool known_code_page(uint64_t address, CodePage& page) const {
    const TlbEntry& e = code_->at(address);
    if ((address ^ e.read_tag) >= page_size) return false;
    page = {e.physical_page(), host(address & ~uint64_t{0xfff}, e)};
    return true;
  }

  // Which set the accesses of instructions go through.
  enum class AccessClass : uint8_t { supervisor, user, supervisor_ac, checked };
  AccessClass access_class() const {
    return data_ == &sets_->user_data            ? AccessClass::user
           : data_ == &sets_->supervisor_data    ? AccessClass::supervisor
           : data_ == &sets_->supervisor_ac_data ? AccessClass::supervisor_ac
                                                 : AccessClass::checked;
  }
  TlbSet* data_set() { return data_; }
  TlbSet* code_set() { return code_; }

  // The set in use follows CPL, AC and alignment checking: call after any of them has changed.
  void select();

  // ---- What is known of translations, in the present world

  void flush_all();
  void flush_non_global();
  void flush_user_data();  // PKRU has changed
  void flush_page(uint64_t address);

  // ---- Worlds: VMX root operation, and each guest by its VPID and EPT. See mmu/worlds.h.

  // The state already is the one that is entered; `left` is what root operation was in.
  void enter_guest(World world, const RootContext& left, const Ept& ept, uint64_t apic_access_page, ApicAccessTarget* target);
  void leave_guest() { worlds_.leave_guest(rights(), pcid()); }
  void enter_root();
  // Everything but the tables that a translation's permissions follow from.
  uint64_t rights() const;
  RootContext context() const { return {rights(), pcid()}; }
  uint16_t pcid() const { return state_.cr4 & cr4::PCIDE ? state_.cr3 & 0xfff : 0; }
  void forget_other_pcids() { worlds_.forget_sleepers(); }
  bool in_guest() const { return worlds_.in_guest(); }
  Worlds& worlds() { return worlds_; }
  void forget_everything() { worlds_.forget_everything(); }

  void withhold_writes(uint64_t physical_page);
  void withhold_all_writes();

  // The local APIC's page answers before memory does.
  void set_local_page(uint64_t address, BusTarget* target) {
    local_page_ = address, local_target_ = target;
    forget_everything();
  }

  // An access reached a device, or hit a data breakpoint: the engine ends the block after the instruction and clears this.
  bool had_effect = false;

  // For verification: every set that accesses go through now, and whether an entry lets through what it may and nothing else.
  template <class Visit>
  void each_set(Visit visit) {
    sets_->each(visit);
    visit(no_data_);
  }
  bool is_sound(const TlbSet& set, unsigned slot) const;
  // For tests: how many entries each set may have.
  void limit_entries(unsigned most) { worlds_.limit_entries(most); }

  uint64_t physical_load(uint64_t address, unsigned size);
  void physical_store(uint64_t address, unsigned size, uint64_t value);

 private:
  static uint8_t* host(uint64_t address, const TlbEntry& e) {
    return reinterpret_cast<uint8_t*>(static_cast<uintptr_t>(address + e.addend));
  }
  struct Part {
    uint64_t physical;
    unsigned size;
  };
  bool near_edge(uint64_t address) const;
  bool kept_from_device(uint64_t address) const;
  [[nodiscard]] bool fetch_page_slow(uint64_t address, CodePage& page);
  [[nodiscard]] bool system_load_slow(uint64_t address, void* value, unsigned size);
  [[nodiscard]] bool system_store_slow(uint64_t address, const void* value, unsigned size);

  // Cuts an access at a page boundary and translates both parts before anything is read or written.
  [[nodiscard]] bool translate(TlbSet& set, uint64_t address, unsigned size, Access access, Part (&parts)[2]);
  [[nodiscard]] bool translate_page(TlbSet& set, uint64_t address, unsigned size, Access access, uint64_t& physical);
  [[nodiscard]] bool find_page(TlbSet& set, uint64_t address, Access access, uint64_t& physical);
  void fill(TlbSet& set, uint64_t linear, const Translation& found, bool is_write);
  void open_tags(TlbEntry& entry, uint64_t linear);
  bool watched(uint64_t page) const;
  void match_breakpoints(uint64_t address, unsigned size, bool write);
  bool aligned(uint64_t address, unsigned size);
  void read_parts(const Part (&parts)[2], void* value);
  void write_parts(const Part (&parts)[2], const void* value);
  uint64_t wrap(uint64_t address) const { return state_.long_mode() ? address : static_cast<uint32_t>(address); }
  Access present_access(AccessKind kind) const { return {kind, user_, false}; }

  CpuState& state_;
  PhysicalMemory& memory_;
  Fault& fault_;
  uint64_t local_page_ = ~uint64_t{0};
  BusTarget* local_target_ = nullptr;
  bool user_ = false;
  bool check_alignment_ = false;

  uint64_t apic_access_page_ = ~uint64_t{0}, last_apic_access_page_ = ~uint64_t{0};
  ApicAccessTarget* apic_access_target_ = nullptr;

  Worlds worlds_;
  TlbSets* sets_ = &worlds_.root_sets();
  TlbSet
      no_data_;  // stays empty; in use under alignment checking, so that every access takes the slow path, where it is looked at
  TlbSet* data_ = &sets_->supervisor_data;
  TlbSet* code_ = &sets_->supervisor_code;
  TlbSet* backing_ = &sets_->supervisor_data;  // where the slow path keeps what it finds
};

}  // namespace matryoshka
