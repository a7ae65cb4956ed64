#include "devices/virtio_pci.h"

#include <algorithm>

namespace matryoshka {

namespace {

constexpr uint16_t vendor = 0x1af4, first_modern_device = 0x1040;
constexpr unsigned structures_bar = 0, msix_bar = 1;

// Where the structures lie in their window, a page each.
constexpr uint32_t common_at = 0x0000, isr_at = 0x1000, device_at = 0x2000, notify_at = 0x3000, page = 0x1000,
                   window_size = 0x4000;
constexpr uint32_t notify_multiplier = 4;
enum StructureType : uint8_t { common_cfg = 1, notify_cfg = 2, isr_cfg = 3, device_cfg = 4, pci_cfg = 5 };

// "Common configuration structure layout"
namespace common {
enum Offset : unsigned {
  device_feature_select = 0x00,
  device_feature = 0x04,
  driver_feature_select = 0x08,
  driver_feature = 0x0c,
  config_msix_vector = 0x10,
  num_queues = 0x12,
  device_status = 0x14,
  config_generation = 0x15,
  queue_select = 0x16,
  queue_size = 0x18,
  queue_msix_vector = 0x1a,
  queue_enable = 0x1c,
  queue_notify_off = 0x1e,
  queue_desc = 0x20,
  queue_driver = 0x28,
  queue_device = 0x30,
  size = 0x38,
};
}  // namespace common

enum Status : uint8_t { driver_ok = 4, features_ok = 8, device_needs_reset = 64 };
enum Feature : unsigned { ring_indirect = 28, ring_event_index = 29, version_1 = 32 };
constexpr uint64_t transport_features = uint64_t{1} << ring_indirect | uint64_t{1} << ring_event_index | uint64_t{1} << version_1;
enum Isr : uint8_t { isr_queue = 1, isr_config = 2 };
constexpr uint16_t no_vector = 0xffff;

// One half of a 64-bit register that is written four bytes at a time, or all of it.
void write_part(uint64_t& field, unsigned at, unsigned size, uint64_t value) {
  for (unsigned i = 0; i < size && at + i < 8; ++i) {
    unsigned shift = 8 * (at + i);
    field = (field & ~(uint64_t{0xff} << shift)) | (value >> 8 * i & 0xff) << shift;
  }
}

}  // namespace

VirtioPci::VirtioPci(PciBus& pci, PciAddress address, GuestMemory& memory, const Description& d)
    : PciFunction(pci, address,
                  {vendor, static_cast<uint16_t>(first_modern_device + static_cast<unsigned>(d.type)), d.class_code, 1, vendor,
                   static_cast<uint16_t>(first_modern_device + static_cast<unsigned>(d.type))}),
      memory_(memory),
      features_(d.features | transport_features),
      queues_(d.queues, VirtQueue(d.queue_size)),
      vectors_(d.queues, no_vector) {
  add_interrupt_pin(1);
  add_bar(structures_bar, Bar::memory32, window_size);
  add_msix(msix_bar, d.queues + 1);
  add_structure(common_cfg, common_at, common::size);
  add_structure(isr_cfg, isr_at, 1);
  add_structure(device_cfg, device_at, page);
  std::vector<uint8_t> multiplier;
  append(multiplier, notify_multiplier);
  add_structure(notify_cfg, notify_at, notify_multiplier * d.queues, multiplier);
  add_structure(pci_cfg, 0, 0, {0, 0, 0, 0});
  // Through this last one a driver without memory accesses reaches the window: place, length and data are its to write.
  define(config_access_ + 4, 1, structures_bar, 0xff);
  define(config_access_ + 8, 4, 0, 0xffffffff);
  define(config_access_ + 12, 4, 0, 0xffffffff);
}

// "Virtio Structure PCI Capabilities"
void VirtioPci::add_structure(uint8_t type, uint32_t offset, uint32_t length, const std::vector<uint8_t>& more) {
  constexpr uint8_t vendor_specific = 0x09;
  std::vector<uint8_t> body = {static_cast<uint8_t>(16 + more.size()), type, structures_bar, 0, 0, 0};
  append(body, offset);
  append(body, length);
  append(body, more);
  unsigned at = add_capability(vendor_specific, body);
  if (type == pci_cfg) config_access_ = at;
}

void VirtioPci::reset() {
  reset_transport();
  PciFunction::reset();
}

void VirtioPci::reset_transport() {
  saved_ = {};
  for (VirtQueue& queue : queues_) queue.reset();
  std::fill(vectors_.begin(), vectors_.end(), no_vector);
  set_intx(false);
  device_reset();
}

void VirtioPci::serialize(Archive& ar) {
  PciFunction::serialize(ar);
  ar(saved_);
  for (VirtQueue& queue : queues_) ar(queue);
  for (uint16_t& vector : vectors_) ar(vector);
}

bool VirtioPci::running() const { return saved_.status & driver_ok && !(saved_.status & device_needs_reset) && bus_master(); }

VirtQueue::Features VirtioPci::queue_features() const { return {negotiated(ring_indirect), negotiated(ring_event_index)}; }

// --- serving requests ------------------------------------------------------------------------------------------------

void VirtioPci::kick(unsigned queue) {
  if (queue < queues_.size() && queues_[queue].setup.enabled && running()) kicked(queue);
}

void VirtioPci::serve(unsigned index, const std::function<bool()>& more,
                      const std::function<bool(const VirtChain&, uint32_t&)>& one) {
  VirtQueue& queue = queues_[index];
  if (!queue.setup.enabled || !running()) return;
  VirtChain chain;
  for (unsigned left = queue.setup.size; left > 0 && more(); --left) {
    VirtQueue::Next next = queue.pop(memory_, queue_features(), chain);
    if (next == VirtQueue::Next::none) break;
    uint32_t written = 0;
    if (next == VirtQueue::Next::broken || !one(chain, written) || !queue.push(memory_, chain, written)) return need_reset();
  }
  if (queue.wants_interrupt(memory_, queue_features())) interrupt(isr_queue, vectors_[index]);
}

void VirtioPci::interrupt(uint8_t cause, uint16_t vector) {
  if (msix_enabled()) return send_msix(vector);
  saved_.isr |= cause;
  set_intx(true);
}

void VirtioPci::notify_config() {
  ++saved_.generation;
  if (saved_.status & driver_ok) interrupt(isr_config, saved_.config_vector);
}

void VirtioPci::need_reset() {
  saved_.status |= device_needs_reset;
  notify_config();
}

// --- the structures --------------------------------------------------------------------------------------------------

uint64_t VirtioPci::read_bar(unsigned, uint64_t offset, unsigned size) {
  uint64_t within = offset % page;
  if (offset >= window_size) return 0;
  switch (offset - within) {
    case common_at: return read_common(within, size);
    case isr_at: {
      if (within != 0) return 0;
      // "ISR status capability": reading acknowledges.
      uint8_t isr = saved_.isr;
      saved_.isr = 0;
      set_intx(false);
      return isr;
    }
    case device_at: {
      ByteSpan config = device_config();
      uint64_t value = 0;
      for (unsigned i = 0; i < size; ++i) value |= uint64_t{peek<uint8_t>(config, within + i)} << 8 * i;
      return value;
    }
  }
  return 0;
}

void VirtioPci::write_bar(unsigned, uint64_t offset, unsigned size, uint64_t value) {
  uint64_t within = offset % page;
  if (offset >= window_size) return;
  switch (offset - within) {
    case common_at: return write_common(within, size, value);
    case device_at: return write_device_config(within, size, value);
    case notify_at: return kick(static_cast<unsigned>(within / notify_multiplier));
  }
}

uint64_t VirtioPci::read_common(uint64_t offset, unsigned size) const {
  uint8_t image[common::size + 8] = {};
  auto half = [](uint64_t features, uint32_t select) { return select < 2 ? static_cast<uint32_t>(features >> 32 * select) : 0; };
  poke(image, common::device_feature_select, saved_.device_feature_select);
  poke(image, common::device_feature, half(features_, saved_.device_feature_select));
  poke(image, common::driver_feature_select, saved_.driver_feature_select);
  poke(image, common::driver_feature, half(saved_.driver_features, saved_.driver_feature_select));
  poke(image, common::config_msix_vector, saved_.config_vector);
  poke(image, common::num_queues, static_cast<uint16_t>(queues_.size()));
  poke(image, common::device_status, saved_.status);
  poke(image, common::config_generation, saved_.generation);
  poke(image, common::queue_select, saved_.queue_select);
  if (saved_.queue_select < queues_.size()) {
    const VirtQueue::Setup& queue = queues_[saved_.queue_select].setup;
    poke(image, common::queue_size, queue.size);
    poke(image, common::queue_msix_vector, vectors_[saved_.queue_select]);
    poke(image, common::queue_enable, uint16_t{queue.enabled});
    poke(image, common::queue_notify_off, saved_.queue_select);
    poke(image, common::queue_desc, queue.descriptors);
    poke(image, common::queue_driver, queue.driver);
    poke(image, common::queue_device, queue.device);
  }
  return offset < common::size && size <= 8 ? peek<uint64_t>(image, offset) : 0;
}

void VirtioPci::write_common(uint64_t offset, unsigned size, uint64_t value) {
  auto word = static_cast<uint16_t>(value);
  auto valid_vector = [&] { return word < msix_vectors() ? word : no_vector; };
  switch (offset) {
    case common::device_feature_select: saved_.device_feature_select = static_cast<uint32_t>(value); return;
    case common::driver_feature_select: saved_.driver_feature_select = static_cast<uint32_t>(value); return;
    case common::driver_feature:
      if (saved_.driver_feature_select < 2 && !(saved_.status & features_ok))
        write_part(saved_.driver_features, 4 * saved_.driver_feature_select, std::min(size, 4u), value);
      return;
    case common::config_msix_vector: saved_.config_vector = valid_vector(); return;
    case common::device_status: return write_status(static_cast<uint8_t>(value));
    case common::queue_select: saved_.queue_select = word; return;
  }

  if (saved_.queue_select >= queues_.size()) return;
  const uint16_t most = queues_[saved_.queue_select].most();
  VirtQueue::Setup& queue = queues_[saved_.queue_select].setup;
  if (offset == common::queue_msix_vector) vectors_[saved_.queue_select] = valid_vector();
  if (queue.enabled) return;  // from here on a running queue is not rebuilt
  if (offset == common::queue_size) {
    queue.size = std::min(word, most);
  } else if (offset == common::queue_enable) {
    queue.enabled = word == 1;
  } else if (offset >= common::queue_desc && offset < common::size) {
    uint64_t* areas[] = {&queue.descriptors, &queue.driver, &queue.device};
    auto at = static_cast<unsigned>(offset - common::queue_desc);
    write_part(*areas[at / 8], at % 8, size, value);
  }
}

// "Device Status Field": writing zero resets; features are accepted or refused when the driver claims them settled.
void VirtioPci::write_status(uint8_t value) {
  if (value == 0) return reset_transport();
  bool acceptable = (saved_.driver_features & ~features_) == 0 && negotiated(version_1);
  if (value & features_ok && !(saved_.status & features_ok) && !acceptable) value &= static_cast<uint8_t>(~features_ok);
  saved_.status = value | (saved_.status & device_needs_reset);
}

// --- the window in configuration space -------------------------------------------------------------------------------

// "PCI configuration access capability": where the driver has pointed it, if that is an access the window allows.
bool VirtioPci::config_window(uint32_t& offset, unsigned& length) const {
  auto field = [&](unsigned at) {
    return uint32_t{config(at)} | uint32_t{config(at + 1)} << 8 | uint32_t{config(at + 2)} << 16 | uint32_t{config(at + 3)} << 24;
  };
  offset = field(config_access_ + 8);
  length = field(config_access_ + 12);
  return config(config_access_ + 4) == structures_bar && (length == 1 || length == 2 || length == 4) && offset % length == 0 &&
         offset < window_size;
}

uint32_t VirtioPci::read_config(unsigned offset, unsigned size) {
  uint32_t at = 0;
  unsigned length = 0;
  if (offset == config_access_ + 16 && config_window(at, length))
    return static_cast<uint32_t>(read_bar(structures_bar, at, std::min(size, length)));
  return PciFunction::read_config(offset, size);
}

void VirtioPci::write_config(unsigned offset, unsigned size, uint32_t value) {
  uint32_t at = 0;
  unsigned length = 0;
  if (offset == config_access_ + 16 && config_window(at, length))
    return write_bar(structures_bar, at, std::min(size, length), value);
  PciFunction::write_config(offset, size, value);
}

}  // namespace matryoshka
