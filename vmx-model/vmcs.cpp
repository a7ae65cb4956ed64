#include "vmx-model/vmcs.h"

#include <algorithm>
#include <cstring>

#include "vmx-model/capabilities.h"

namespace matryoshka::vmx {

namespace {

// The layout of a region.
constexpr unsigned abort_at = 4, launched_at = 8, fields_at = 16, region_bytes = fields_at + 8 * field_count;
static_assert(region_bytes <= Capabilities::region_size);

constexpr uint32_t launched_mark = 1;

}  // namespace

void Vmcs::serialize(Archive& ar) { ar(address, launched, fields, origins, used); }

Vmcs* VmcsCache::find(uint64_t address) {
  for (auto& vmcs : active_)
    if (vmcs->address == address) return vmcs.get();
  return nullptr;
}

Vmcs& VmcsCache::activate(uint64_t address) {
  Vmcs* vmcs = find(address);
  if (!vmcs) {
    if (active_.size() == most_active) {
      auto oldest = std::min_element(active_.begin(), active_.end(), [](auto& a, auto& b) { return a->used < b->used; });
      write_back(**oldest);
      active_.erase(oldest);
    }
    active_.push_back(std::make_unique<Vmcs>());
    vmcs = active_.back().get();
    vmcs->address = address;
    read_region(*vmcs);
  }
  vmcs->used = ++uses_;
  return *vmcs;
}

void VmcsCache::clear(uint64_t address) {
  auto found = std::find_if(active_.begin(), active_.end(), [=](auto& vmcs) { return vmcs->address == address; });
  if (found == active_.end()) {
    const uint32_t clear_mark = 0;
    (void)memory_.write(address + launched_at, &clear_mark, sizeof clear_mark);
    return;
  }
  (*found)->launched = false;
  write_back(**found);
  active_.erase(found);
}

void VmcsCache::write_back_all() {
  for (auto& vmcs : active_) write_back(*vmcs);
  active_.clear();
}

// Neither can fail where it matters: a region outside of RAM reads as zeroes and keeps nothing.
void VmcsCache::write_back(const Vmcs& vmcs) {
  uint8_t bytes[region_bytes - launched_at] = {};
  const uint32_t mark = vmcs.launched ? launched_mark : 0;
  std::memcpy(bytes, &mark, sizeof mark);
  std::memcpy(bytes + fields_at - launched_at, vmcs.fields, sizeof vmcs.fields);
  (void)memory_.write(vmcs.address + launched_at, bytes, sizeof bytes);
}

void VmcsCache::read_region(Vmcs& vmcs) {
  uint8_t bytes[region_bytes - launched_at] = {};
  if (!memory_.read(vmcs.address + launched_at, bytes, sizeof bytes)) return;
  uint32_t mark;
  std::memcpy(&mark, bytes, sizeof mark);
  vmcs.launched = mark == launched_mark;
  for (unsigned i = 0; i < field_count; ++i) {
    uint64_t value;
    std::memcpy(&value, bytes + fields_at - launched_at + 8 * i, sizeof value);
    vmcs.set(static_cast<Field>(i), value);
  }
}

uint32_t VmcsCache::revision(uint64_t address) const {
  uint32_t value = ~0u;
  return memory_.read(address, &value, sizeof value) ? value : ~0u;
}

void VmcsCache::set_abort_indicator(uint64_t address, uint32_t indicator) {
  (void)memory_.write(address + abort_at, &indicator, sizeof indicator);
}

void VmcsCache::serialize(Archive& ar) {
  auto count = static_cast<uint32_t>(active_.size());
  ar(count, uses_);
  ar.require(count <= most_active, "the saved processor has more active VMCSs than there can be");
  if (ar.is_loading()) {
    active_.clear();
    for (uint32_t i = 0; i < count && ar.ok(); ++i) active_.push_back(std::make_unique<Vmcs>());
  }
  for (auto& vmcs : active_) ar(*vmcs);
}

}  // namespace matryoshka::vmx
