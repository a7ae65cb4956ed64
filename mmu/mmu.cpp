#include "mmu/mmu.h"

#include <algorithm>

namespace matryoshka {

void Mmu::select() {
  user_ = state_.cpl() == 3;
  bool ac = state_.system_flags & rflags::AC;
  backing_ = user_ ? &sets_->user_data : ac && state_.cr4 & cr4::SMAP ? &sets_->supervisor_ac_data : &sets_->supervisor_data;
  code_ = user_ ? &sets_->user_code : &sets_->supervisor_code;
  check_alignment_ = user_ && ac && state_.cr0 & cr0::AM;
  data_ = check_alignment_ ? &no_data_ : backing_;
}

// ---- Filling

void Mmu::fill(TlbSet& set, uint64_t linear, const Translation& found, bool is_write) {
  TlbEntry e;
  e.info = (found.physical & ~uint64_t{0xfff}) | TlbEntry::valid | (found.permits_read ? TlbEntry::readable : 0) |
           (found.permits_write ? TlbEntry::writable : 0) | (found.global ? TlbEntry::global : 0) |
           (found.user_page ? TlbEntry::user : 0) | (found.page_bits == 21 ? TlbEntry::large : 0) |
           (found.page_bits > 21 ? TlbEntry::huge : 0);
  if (is_write && found.permits_write && memory_.is_ram(found.physical)) memory_.mark_dirty(found.physical);
  open_tags(e, linear & ~uint64_t{0xfff});
  set.fill(linear, e);
}

// Lets fast accesses through wherever nothing has to be noticed.
void Mmu::open_tags(TlbEntry& e, uint64_t linear) {
  uint64_t physical = e.physical_page();
  e.read_tag = e.write_tag = linear ^ TlbEntry::withheld;
  e.addend = 0;
  if (physical == local_page_ || physical == apic_access_page_ || watched(linear)) return;
  const uint8_t* page = memory_.readable_page(physical);
  if (!page) return;
  e.addend = reinterpret_cast<uintptr_t>(page) - linear;
  if (e.info & TlbEntry::readable) e.read_tag = linear;
  if (e.info & TlbEntry::writable && memory_.writable_page(physical) == page && memory_.open_for_stores(physical)) {
    e.write_tag = linear;
    if (ChangeWatcher* changes = memory_.change_watcher()) [[unlikely]]
      changes->opened(memory_.page_number(physical));
  }
}

// What open_tags() promises, asked of an entry that stands there.
bool Mmu::is_sound(const TlbSet& set, unsigned slot) const {
  const TlbEntry& e = set.entries[slot];
  bool reads = !(e.read_tag & TlbEntry::withheld) == !(slot & 1), writes = !(e.write_tag & TlbEntry::withheld) == !(slot & 1);
  if (!(e.info & TlbEntry::valid)) return !reads && !writes;
  if (!reads && !writes) return true;
  uint64_t linear = (reads ? e.read_tag : e.write_tag), physical = e.physical_page();
  const uint8_t* page = memory_.readable_page(physical);
  return TlbSet::slot(linear) == slot && linear % page_size == 0 && page && physical != local_page_ &&
         physical != apic_access_page_ && !watched(linear) && e.addend == reinterpret_cast<uintptr_t>(page) - linear &&
         (!reads || e.info & TlbEntry::readable) &&
         (!writes || (e.info & TlbEntry::writable && e.write_tag == linear && memory_.open_for_stores(physical)));
}

bool Mmu::find_page(TlbSet& set, uint64_t address, Access access, uint64_t& physical) {
  TlbEntry& e = set.at(address);
  if (ChangeWatcher* changes = memory_.change_watcher()) [[unlikely]]
    changes->before_fill(set);
  uint64_t needed = access.kind == AccessKind::write ? TlbEntry::writable : TlbEntry::readable;
  if (e.is_for(address) && e.info & needed) {
    physical = e.physical_page() | (address & 0xfff);
    // Known and permitted, yet not by the fast path: a store may open the page now that it is about to be dirty anyway.
    if (access.kind == AccessKind::write && !memory_.open_for_stores(physical) && memory_.is_ram(physical)) {
      memory_.mark_dirty(physical);
      open_tags(e, address & ~uint64_t{0xfff});
    } else if (((e.read_tag ^ address) | (e.write_tag ^ address)) & TlbEntry::withheld) {
      open_tags(e, address & ~uint64_t{0xfff});
    }
    return true;
  }
  Translation found;
  if (!(state_.paging() ? walk(state_, memory_, limits, address, access, found, fault_)
                        : walk_unpaged(memory_, limits, address, access.kind, found, fault_))) {
    // "Operations that Invalidate Cached Mappings": what was known of the address goes with the fault or exit.
    if (e.is_for(address)) set.drop_page(address);
    return false;
  }
  if (access.kind == AccessKind::fetch) found.permits_read = true, found.permits_write = false;
  fill(set, address, found, access.kind == AccessKind::write);
  physical = found.physical;
  return true;
}

bool Mmu::translate_page(TlbSet& set, uint64_t address, unsigned size, Access access, uint64_t& physical) {
  if (!find_page(set, address, access, physical)) return false;
  if ((physical & ~uint64_t{0xfff}) != apic_access_page_) [[likely]]
    return true;
  if (kept_from_device(physical)) return true;
  uint64_t qualification;
  return apic_access_target_->virtualize(physical & 0xfff, size, access.kind, physical, qualification) ||
         fault_.exit(ept_exit::apic_access, qualification, 0, address);
}

bool Mmu::translate(TlbSet& set, uint64_t address, unsigned size, Access access, Part (&parts)[2]) {
  address = wrap(address);
  if (state_.long_mode() && !(canonical(state_, address) && canonical(state_, address + size - 1))) return fault_.noncanonical();
  unsigned first = std::min<unsigned>(size, page_size - (address & 0xfff));
  if (!translate_page(set, address, first, access, parts[0].physical)) return false;
  parts[0].size = first;
  parts[1].size = size - first;
  return first == size || translate_page(set, wrap(address + first), size - first, access, parts[1].physical);
}

// ---- Physical accesses

bool Mmu::kept_from_device(uint64_t address) const {
  ChangeWatcher* changes = memory_.change_watcher();
  if (!changes) [[likely]]
    return false;
  uint64_t page = address & ~uint64_t{0xfff};
  bool plain = page != local_page_ && page != apic_access_page_ && memory_.readable_page(address);
  return !plain && !changes->may_reach_device();
}

uint64_t Mmu::physical_load(uint64_t address, unsigned size) {
  if (kept_from_device(address)) return 0;
  if ((address & ~uint64_t{0xfff}) == local_page_) {
    had_effect = true;
    return local_target_->read(0, address & 0xfff, size);
  }
  return memory_.load(address, size, &had_effect);
}

void Mmu::physical_store(uint64_t address, unsigned size, uint64_t value) {
  if (kept_from_device(address)) return;
  if ((address & ~uint64_t{0xfff}) == local_page_) {
    had_effect = true;
    return local_target_->write(0, address & 0xfff, size, value);
  }
  memory_.store(address, size, value, &had_effect);
}

// Plain sizes go out whole, so that a device sees one access; a page-crossing or 10- or 16-byte one in the largest pieces.
void Mmu::read_parts(const Part (&parts)[2], void* value) {
  auto* to = static_cast<uint8_t*>(value);
  for (const Part& part : parts)
    for (unsigned done = 0; done < part.size;) {
      unsigned piece = std::min<unsigned>(8, std::bit_floor(part.size - done));
      uint64_t bytes = physical_load(part.physical + done, piece);
      std::memcpy(to, &bytes, piece);
      to += piece, done += piece;
    }
}

void Mmu::write_parts(const Part (&parts)[2], const void* value) {
  auto* from = static_cast<const uint8_t*>(value);
  for (const Part& part : parts)
    for (unsigned done = 0; done < part.size;) {
      unsigned piece = std::min<unsigned>(8, std::bit_floor(part.size - done));
      uint64_t bytes = 0;
      std::memcpy(&bytes, from, piece);
      physical_store(part.physical + done, piece, bytes);
      from += piece, done += piece;
    }
}

// ---- Data

bool Mmu::aligned(uint64_t address, unsigned size) {
  // Ten-byte operands are checked as eight, 16-byte ones by the instructions that demand it.
  unsigned unit = std::min<unsigned>(8, std::bit_floor(size));
  if (!check_alignment_ || (address & (unit - 1)) == 0) return true;
  // Before the page walk, but after the address was found canonical.
  return (state_.long_mode() && !canonical(state_, address)) || fault_.raise(AC_vector, 0);
}

bool Mmu::load_slow(uint64_t address, void* value, unsigned size) {
  Part parts[2];
  if (!aligned(address, size) || !translate(*backing_, address, size, present_access(AccessKind::read), parts)) return false;
  read_parts(parts, value);
  match_breakpoints(address, size, false);
  return true;
}

bool Mmu::store_slow(uint64_t address, const void* value, unsigned size) {
  Part parts[2];
  if (!aligned(address, size) || !translate(*backing_, address, size, present_access(AccessKind::write), parts)) return false;
  write_parts(parts, value);
  match_breakpoints(address, size, true);
  return true;
}

bool Mmu::load_for_store_slow(uint64_t address, void* value, unsigned size) {
  Part parts[2];
  if (!aligned(address, size) || !translate(*backing_, address, size, present_access(AccessKind::write), parts)) return false;
  read_parts(parts, value);
  return true;
}

bool Mmu::probe_store(uint64_t address, unsigned size) {
  Part parts[2];
  return aligned(address, size) && translate(*backing_, address, size, present_access(AccessKind::write), parts);
}

bool Mmu::store_as(bool user, uint64_t address, const void* value, unsigned size) {
  Part parts[2];
  bool ac = state_.system_flags & rflags::AC && state_.cr4 & cr4::SMAP;
  TlbSet& set = user ? sets_->user_data : ac ? sets_->supervisor_ac_data : sets_->supervisor_data;
  if (!translate(set, address, size, {AccessKind::write, user, false}, parts)) return false;
  write_parts(parts, value);
  match_breakpoints(address, size, true);
  return true;
}

bool Mmu::system_load_slow(uint64_t address, void* value, unsigned size) {
  Part parts[2];
  if (!translate(sets_->supervisor_data, address, size, {AccessKind::read, false, true}, parts)) return false;
  read_parts(parts, value);
  match_breakpoints(address, size, false);
  return true;
}

bool Mmu::system_store_slow(uint64_t address, const void* value, unsigned size) {
  Part parts[2];
  if (!translate(sets_->supervisor_data, address, size, {AccessKind::write, false, true}, parts)) return false;
  write_parts(parts, value);
  match_breakpoints(address, size, true);
  return true;
}

bool Mmu::system_probe_store(uint64_t address, unsigned size) {
  Part parts[2];
  return translate(sets_->supervisor_data, address, size, {AccessKind::write, false, true}, parts);
}

const uint8_t* Mmu::readable_run(uint64_t address) {
  const TlbEntry& e = data_->at(address);
  return (address ^ e.read_tag) < page_size ? host(address, e) : nullptr;
}

uint8_t* Mmu::writable_run(uint64_t address) {
  const TlbEntry& e = data_->at(address);
  return (address ^ e.write_tag) < page_size ? host(address, e) : nullptr;
}

// ---- Code

// Within the reach of a direct jump of where the canonical addresses end, seen from below or above.
bool Mmu::near_edge(uint64_t address) const {
  if (!state_.long_mode()) return false;
  constexpr uint64_t reach = uint64_t{1} << 31;
  return !canonical(state_, address + reach) || !canonical(state_, address - reach);
}

bool Mmu::fetch_page_slow(uint64_t address, CodePage& page) {
  Part parts[2];
  if (!translate(*code_, address, 1, present_access(AccessKind::fetch), parts)) return false;
  page = {parts[0].physical & ~uint64_t{0xfff}, memory_.readable_page(parts[0].physical)};
  // A direct jump from here may leave the canonical addresses, which regions do not ask about: such pages never become quick.
  if (near_edge(address)) code_->at(address).read_tag = (address & ~uint64_t{0xfff}) ^ TlbEntry::withheld;
  return true;
}

// ---- Data breakpoints

bool Mmu::watched(uint64_t page) const {
  if (!(state_.dr7 & 0xff)) return false;
  for (unsigned i = 0; i < 4; ++i) {
    bool data = (state_.dr7 >> (16 + 4 * i) & 3) != 0;
    if (state_.dr7 >> 2 * i & 3 && data && ((state_.dr[i] ^ page) & ~uint64_t{0xfff}) == 0) return true;
  }
  return false;
}

void Mmu::match_breakpoints(uint64_t address, unsigned size, bool write) {
  if (!(state_.dr7 & 0xff)) return;
  static constexpr unsigned length[4] = {1, 2, 8, 4};
  for (unsigned i = 0; i < 4; ++i) {
    unsigned kind = state_.dr7 >> (16 + 4 * i) & 3;
    if (!(state_.dr7 >> 2 * i & 3) || !(kind == 3 || (kind == 1 && write))) continue;
    unsigned span = length[state_.dr7 >> (18 + 4 * i) & 3];
    uint64_t start = state_.dr[i] & ~uint64_t{span - 1};
    if (address < start + span && start < address + size) {
      state_.pending_debug |= uint64_t{1} << i;
      had_effect = true;
    }
  }
}

// ---- Invalidation

void Mmu::flush_all() {
  worlds_.flush_present([](TlbSet& s) { s.flush(false); }, [](const TlbEntry&, uint64_t) { return true; });
}

void Mmu::flush_non_global() {
  worlds_.flush_present([](TlbSet& s) { s.flush(true); },
                        [](const TlbEntry& e, uint64_t) { return !(e.info & TlbEntry::global); });
}

void Mmu::flush_user_data() {
  auto doomed = [](const TlbEntry& e, uint64_t) { return e.info & TlbEntry::user; };
  worlds_.flush_present([=](TlbSet& s) { s.drop_if(doomed); }, doomed);
}

void Mmu::flush_page(uint64_t address) {
  worlds_.flush_present(
      [=](TlbSet& s) {
        if (s.may_hold(address)) s.drop_page(address);
      },
      [=](const TlbEntry& e, uint64_t page) { return TlbSet::same_page(e, page, address); });
}

void Mmu::withhold_writes(uint64_t physical_page) {
  worlds_.each_live_data([=](TlbSet& s) { s.withhold_writes(physical_page); });
}

void Mmu::withhold_all_writes() {
  worlds_.each_live_data([](TlbSet& s) { s.withhold_all_writes(); });
}

// ---- Worlds

uint64_t Mmu::rights() const {
  const uint64_t cr4 = state_.cr4 & (cr4::PSE | cr4::PAE | cr4::PGE | cr4::LA57 | cr4::SMEP | cr4::SMAP | cr4::PKE);
  const uint64_t keys = state_.cr4 & cr4::PKE ? uint64_t{state_.pkru} << 32 : 0;
  // Shifted so that no two share a bit.
  return (state_.cr0 & (cr0::PE | cr0::WP | cr0::PG)) | cr4 << 1 | (state_.msr.efer & (efer::NXE | efer::LMA)) << 14 | keys;
}

void Mmu::enter_guest(World world, const RootContext& left, const Ept& ept, uint64_t apic_access_page, ApicAccessTarget* target) {
  world.rights = rights();
  world.pcid = pcid();
  worlds_.enter_guest(world, left);
  sets_ = &worlds_.guest_sets();
  limits.ept = ept;
  // Entries of this world may come from a time when the page was a plain one.
  if (apic_access_page != last_apic_access_page_) sets_->each([=](TlbSet& s) { s.withhold(apic_access_page); });
  apic_access_page_ = last_apic_access_page_ = apic_access_page;
  apic_access_target_ = target;
  select();
}

void Mmu::enter_root() {
  worlds_.enter_root(context());
  sets_ = &worlds_.root_sets();
  limits.ept.on = false;
  apic_access_page_ = ~uint64_t{0}, apic_access_target_ = nullptr;
  select();
}

}  // namespace matryoshka
