#include "devices/virtio_queue.h"

#include <algorithm>

namespace matryoshka {

namespace {

enum DescriptorFlags : uint16_t { has_next = 1, device_writes = 2, indirect_table = 4 };
constexpr size_t descriptor_size = 16;
constexpr unsigned longest_chain = 1024;  // of an indirect table, which may exceed the queue

// Offsets in the available and the used ring; behind each ring stands the index for the other side's events.
constexpr uint64_t ring_flags = 0, ring_index = 2, ring_entries = 4;
uint64_t available_entry(uint16_t i) { return ring_entries + 2 * uint64_t{i}; }
uint64_t used_entry(uint16_t i) { return ring_entries + 8 * uint64_t{i}; }

// Cuts the range at part borders and hands each piece to `copy(address, done, size)`.
template <class Parts, class Copy>
bool scatter(const Parts& parts, uint64_t offset, size_t size, Copy copy) {
  size_t done = 0;
  for (const auto& part : parts) {
    if (done == size) break;
    if (offset >= part.length) {
      offset -= part.length;
      continue;
    }
    size_t piece = std::min<uint64_t>(part.length - offset, size - done);
    if (!copy(part.address + offset, done, piece)) return false;
    done += piece;
    offset = 0;
  }
  return done == size;
}

}  // namespace

uint64_t VirtChain::length(const std::vector<Part>& parts) {
  uint64_t total = 0;
  for (const Part& part : parts) total += part.length;
  return total;
}

bool VirtChain::read(const GuestMemory& memory, uint64_t offset, void* data, size_t size) const {
  return scatter(out_, offset, size, [&](uint64_t address, size_t done, size_t piece) {
    return memory.read(address, static_cast<uint8_t*>(data) + done, piece);
  });
}

bool VirtChain::write(GuestMemory& memory, uint64_t offset, const void* data, size_t size) const {
  return scatter(in_, offset, size, [&](uint64_t address, size_t done, size_t piece) {
    return memory.write(address, static_cast<const uint8_t*>(data) + done, piece);
  });
}

void VirtChain::serialize(Archive& ar) {
  ar(head_);
  ar.vector(out_, longest_chain);
  ar.vector(in_, longest_chain);
}

void VirtQueue::reset() {
  setup = {};
  setup.size = most_;
  saved_ = {};
}

void VirtQueue::serialize(Archive& ar) {
  ar(setup, saved_);
  ar.require(setup.size <= most_, "the saved state has a virtqueue larger than its device's");
  if (!ar.ok()) reset();
}

VirtQueue::Next VirtQueue::pop(GuestMemory& memory, Features features, VirtChain& chain) {
  const uint16_t size = setup.size;
  if (size == 0 || size > most_ || size & (size - 1)) return Next::broken;

  uint16_t available = 0, head = 0;
  if (!memory.load(setup.driver + ring_index, available)) return Next::broken;
  auto waiting = static_cast<uint16_t>(available - saved_.next_available);
  if (waiting > size) return Next::broken;
  if (waiting == 0) {
    // Ask to be kicked for the very next request.
    if (features.event_index && !memory.store(setup.device + used_entry(size), saved_.next_available)) return Next::broken;
    return Next::none;
  }
  if (!memory.load(setup.driver + available_entry(saved_.next_available % size), head) || head >= size) return Next::broken;
  if (!walk(memory, features, head, chain)) return Next::broken;
  ++saved_.next_available;
  return Next::request;
}

bool VirtQueue::walk(const GuestMemory& memory, Features features, uint16_t head, VirtChain& chain) const {
  chain = {};
  chain.head_ = head;
  uint64_t table = setup.descriptors;
  unsigned entries = setup.size;
  unsigned index = head;
  bool in_indirect = false;
  // A chain that visits more places than the table has is a loop.
  for (unsigned left = entries; left > 0; --left) {
    Descriptor d;
    static_assert(sizeof d == descriptor_size);
    if (index >= entries || !memory.load(table + descriptor_size * index, d)) return false;
    if (d.flags & indirect_table) {
      if (!features.indirect || in_indirect || d.flags & has_next) return false;
      if (d.length == 0 || d.length % descriptor_size || d.length / descriptor_size > longest_chain) return false;
      in_indirect = true;
      table = d.address;
      left = 1 + (entries = static_cast<unsigned>(d.length / descriptor_size));
      index = 0;
      continue;
    }
    bool writable = d.flags & device_writes;
    if (!writable && !chain.in_.empty()) return false;  // what is read comes before what is written
    (writable ? chain.in_ : chain.out_).push_back({d.address, d.length});
    if (!(d.flags & has_next)) return true;
    index = d.next;
  }
  return false;
}

bool VirtQueue::push(GuestMemory& memory, const VirtChain& chain, uint32_t written) {
  struct {
    uint32_t id, length;
  } element{chain.head_, written};
  if (!memory.store(setup.device + used_entry(saved_.next_used % setup.size), element)) return false;
  ++saved_.next_used;
  return memory.store(setup.device + ring_index, saved_.next_used);
}

// "Used Buffer Notification Suppression"
bool VirtQueue::wants_interrupt(const GuestMemory& memory, Features features) {
  auto fresh = static_cast<uint16_t>(saved_.next_used - saved_.told);
  saved_.told = saved_.next_used;
  if (fresh == 0) return false;
  uint16_t event = 0, flags = 0;
  if (features.event_index) {
    if (!memory.load(setup.driver + available_entry(setup.size), event)) return false;
    return static_cast<uint16_t>(saved_.next_used - event - 1) < fresh;
  }
  constexpr uint16_t no_interrupt = 1;
  return memory.load(setup.driver + ring_flags, flags) && !(flags & no_interrupt);
}

}  // namespace matryoshka
