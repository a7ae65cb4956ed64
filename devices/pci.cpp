#include "devices/pci.h"

#include <algorithm>

#include "devices/bus/bytes.h"

namespace matryoshka {

namespace {

// "Configuration Space Organization"
constexpr unsigned command = 0x04, status = 0x06, header_type = 0x0e, bar0 = 0x10, capability_pointer = 0x34,
                   interrupt_line = 0x3c, interrupt_pin = 0x3d;
constexpr uint16_t command_io = 1 << 0, command_memory = 1 << 1, command_writable = 0x0547, intx_disable = 1 << 10;
constexpr uint16_t status_interrupt = 1 << 3, status_capabilities = 1 << 4;
constexpr uint8_t multifunction = 0x80;
constexpr uint8_t capability_msi = 0x05, capability_msix = 0x11;
constexpr unsigned pending_array = 0x800;  // in the MSI-X window, after the table
constexpr uint8_t function_masked = 0x40;  // in the high byte of MSI-X message control

uint64_t all_ones(unsigned size) { return size == 8 ? ~uint64_t{0} : (uint64_t{1} << size * 8) - 1; }

}  // namespace

// --- the bus ---------------------------------------------------------------------------------------------------------

void PciBus::attach(PciFunction& function) {
  functions_[function.address_.index()] = &function;
  // Function 0 says whether others stand beside it, whichever was made first.
  unsigned first = function.address_.slot * 8u;
  bool others = std::any_of(functions_ + first + 1, functions_ + first + 8, [](auto* f) { return f != nullptr; });
  if (others && functions_[first]) functions_[first]->define(header_type, 1, multifunction);
}

PciFunction* PciBus::selected() const {
  constexpr uint32_t enabled = 1u << 31, bus_number = 0xff0000;
  if (!(saved_.address & enabled) || saved_.address & bus_number) return nullptr;
  return functions_[saved_.address >> 8 & 0xff];
}

// "Configuration Mechanism #1": the address register takes only doubleword accesses; smaller ones belong to others.
uint64_t PciBus::read(unsigned window, uint64_t offset, unsigned size) {
  if (window == config_address) return size == 4 ? saved_.address : all_ones(size);
  PciFunction* function = selected();
  return function ? function->read_config((saved_.address & 0xfc) + static_cast<unsigned>(offset), size) : all_ones(size);
}

void PciBus::write(unsigned window, uint64_t offset, unsigned size, uint64_t value) {
  if (window == config_address) {
    if (size == 4) saved_.address = static_cast<uint32_t>(value) & 0x80fffffc;
  } else if (PciFunction* function = selected()) {
    function->write_config((saved_.address & 0xfc) + static_cast<unsigned>(offset), size, static_cast<uint32_t>(value));
  }
}

void PciBus::route_pirq(unsigned pirq, uint8_t route) {
  routes_[pirq] = route;
  update_wires();
}

void PciBus::update_wires() {
  constexpr uint32_t routable = 0xdef8;  // ISA interrupts 3-7, 9-12, 14 and 15
  uint32_t lines = 0;
  for (PciFunction* function : functions_) {
    if (!function || !function->pin_asserted()) continue;
    unsigned wire = pirq(function->address_, function->config(interrupt_pin) - 1u);
    lines |= 1u << (16 + wire);
    if (!(routes_[wire] & 0x80)) lines |= 1u << (routes_[wire] & 15) & routable;
  }
  uint32_t changed = lines ^ lines_;
  lines_ = lines;
  for (unsigned line = 0; line < 20; ++line)
    if (changed >> line & 1) irqs_.set_irq(line, lines >> line & 1);
}

bool PciBus::may_send(const MessageTest& wanted) const {
  return std::any_of(std::begin(functions_), std::end(functions_), [&](auto* f) { return f && f->may_send(wanted); });
}

// All of them anew: where windows overlap, their order must not depend on which was moved last, for a machine that is loaded
// knows only where they are.
void PciBus::place_windows() {
  for (PciFunction* function : functions_)
    for (unsigned i = 0; function && i < 6; ++i) {
      const PciFunction::Region& region = function->regions_[i];
      if (region.type == PciFunction::Bar::none) continue;
      bus_.unmap(*function, i);
      if (region.mapped && region.type == PciFunction::Bar::io)
        bus_.map_ports(static_cast<uint16_t>(region.base), static_cast<unsigned>(region.size), *function, i, 4);
      else if (region.mapped)
        bus_.map_memory(region.base, region.size, *function, i);
    }
}

bool PciBus::assign_resources() {
  struct Request {
    PciFunction* function;
    unsigned index;
  };
  std::vector<Request> requests;
  for (PciFunction* function : functions_)
    for (unsigned i = 0; function && i < 6; ++i)
      if (function->regions_[i].type != PciFunction::Bar::none) requests.push_back({function, i});
  // Larger first: every size is a power of two, so each then falls on its own alignment without gaps.
  auto size_of = [](const Request& r) { return r.function->regions_[r.index].size; };
  std::stable_sort(requests.begin(), requests.end(), [&](auto& a, auto& b) { return size_of(a) > size_of(b); });

  uint64_t io = 0xc000, memory = 0xe0000000;
  constexpr uint64_t io_end = 0x10000, memory_end = 0xfec00000;
  bool all_fit = true;
  for (const Request& request : requests) {
    bool is_io = request.function->regions_[request.index].type == PciFunction::Bar::io;
    uint64_t& next = is_io ? io : memory;
    uint64_t size = size_of(request);
    if (size > (is_io ? io_end : memory_end) - next) {
      all_fit = false;
      continue;
    }
    request.function->write_config(bar0 + 4 * request.index, 4, static_cast<uint32_t>(next));
    next += size;
  }

  constexpr uint8_t isa_interrupts[4] = {10, 10, 11, 11};
  for (PciFunction* function : functions_) {
    if (!function) continue;
    constexpr uint8_t bridge = 6, to_isa = 1;
    if (function->config(0x0b) == bridge && function->config(0x0a) == to_isa)
      for (unsigned i = 0; i < 4; ++i) function->write_config(0x60 + i, 1, isa_interrupts[i]);
    if (unsigned pin = function->config(interrupt_pin))
      function->write_config(interrupt_line, 1, isa_interrupts[pirq(function->address_, pin - 1)]);
    function->write_config(command, 2, command_io | command_memory);
  }
  return all_fit;
}

// --- a function: what it is ------------------------------------------------------------------------------------------

PciFunction::PciFunction(PciBus& pci, PciAddress address, const Identity& identity) : pci_(pci), address_(address) {
  define(0x00, 2, identity.vendor);
  define(0x02, 2, identity.device);
  define(command, 2, 0, command_writable);
  define(0x08, 4, identity.class_code << 8 | identity.revision);
  define(0x0c, 1, 0, 0xff);  // cache line size
  define(0x2c, 2, identity.subsystem_vendor);
  define(0x2e, 2, identity.subsystem);
  define(interrupt_line, 1, 0, 0xff);
  pci.attach(*this);
}

void PciFunction::define(unsigned offset, unsigned size, uint32_t value, uint32_t writable) {
  for (unsigned i = 0; i < size; ++i) {
    initial_[offset + i] = saved_.config[offset + i] = static_cast<uint8_t>(value >> 8 * i);
    writable_[offset + i] = static_cast<uint8_t>(writable >> 8 * i);
  }
}

// "Base Addresses": the bits below the size are fixed, which is how a guest finds the size.
void PciFunction::add_bar(unsigned index, Bar type, uint64_t size) {
  regions_[index] = {type, size};
  uint32_t kind = type == Bar::io ? 1 : type == Bar::memory64 ? 4 : 0;
  define(bar0 + 4 * index, 4, kind, static_cast<uint32_t>(~(size - 1)) & ~uint32_t{type == Bar::io ? 3u : 15u});
  if (type == Bar::memory64) define(bar0 + 4 * index + 4, 4, 0, static_cast<uint32_t>(~(size - 1) >> 32));
}

unsigned PciFunction::add_capability(uint8_t id, const std::vector<uint8_t>& body) {
  unsigned at = free_capability_;
  define(at, 1, id);
  define(at + 1, 1, 0);
  for (unsigned i = 0; i < body.size(); ++i) define(at + 2 + i, 1, body[i]);
  define(last_capability_ ? last_capability_ + 1 : capability_pointer, 1, at);
  define(status, 2, status_capabilities);
  last_capability_ = at;
  free_capability_ = static_cast<unsigned>(align_up(at + 2 + body.size(), 4));
  return at;
}

void PciFunction::add_interrupt_pin(unsigned pin) { define(interrupt_pin, 1, pin); }

// "MSI Capability Structure", 64-bit without per-vector masking.
void PciFunction::add_msi() {
  constexpr uint16_t address64 = 0x80;
  msi_ = add_capability(capability_msi, std::vector<uint8_t>(12));
  define(msi_ + 2, 2, address64, 1);
  define(msi_ + 4, 4, 0, 0xfffffffc);
  define(msi_ + 8, 4, 0, 0xffffffff);
  define(msi_ + 12, 2, 0, 0xffff);
}

// "MSI-X Capability and Table Structures"
void PciFunction::add_msix(unsigned bar, unsigned vectors) {
  vectors_ = std::min(vectors, most_vectors);
  msix_bar_ = bar;
  add_bar(bar, Bar::memory32, msix_bar_size);
  msix_ = add_capability(capability_msix, std::vector<uint8_t>(10));
  define(msix_ + 2, 2, vectors_ - 1, 0xc000);
  define(msix_ + 4, 4, bar);
  define(msix_ + 8, 4, pending_array | bar);
  saved_.msix_table.resize(16 * vectors_);
  for (unsigned v = 0; v < vectors_; ++v) saved_.msix_table[16 * v + 12] = 1;
}

// --- a function: configuration space ---------------------------------------------------------------------------------

uint32_t PciFunction::read_config(unsigned offset, unsigned size) {
  uint32_t value = 0;
  for (unsigned i = 0; i < size && offset + i < config_size; ++i) {
    uint32_t byte = saved_.config[offset + i];
    if (offset + i == status && saved_.intx) byte |= status_interrupt;
    value |= byte << 8 * i;
  }
  return value;
}

void PciFunction::write_config(unsigned offset, unsigned size, uint32_t value) {
  for (unsigned i = 0; i < size && offset + i < config_size; ++i) {
    uint8_t& byte = saved_.config[offset + i];
    uint8_t mask = writable_[offset + i];
    byte = static_cast<uint8_t>((byte & ~mask) | (value >> 8 * i & mask));
  }
  map_regions();
  pci_.update_wires();
  send_pending();
  config_changed(offset, size);
}

uint64_t PciFunction::programmed_base(unsigned index) const {
  ByteSpan config(saved_.config);
  const Region& region = regions_[index];
  uint64_t base = peek<uint32_t>(config, bar0 + 4 * index) & (region.type == Bar::io ? ~3u : ~15u);
  if (region.type == Bar::memory64) base |= uint64_t{peek<uint32_t>(config, bar0 + 4 * index + 4)} << 32;
  return base;
}

// A base address of zero is one that nobody has given yet.
void PciFunction::map_regions() {
  bool moved = false;
  for (unsigned i = 0; i < 6; ++i) {
    Region& region = regions_[i];
    if (region.type == Bar::none) continue;
    uint64_t base = programmed_base(i);
    bool is_io = region.type == Bar::io;
    bool wanted = config(command) & (is_io ? command_io : command_memory) && base != 0 && !(is_io && base > 0xffff);
    moved |= wanted != region.mapped || base != region.base;
    region.mapped = wanted;
    region.base = base;
  }
  if (moved) pci_.place_windows();
}

void PciFunction::reset() {
  std::copy(initial_, initial_ + config_size, saved_.config);
  saved_.intx = false;
  saved_.pending = 0;
  std::fill(saved_.msix_table.begin(), saved_.msix_table.end(), uint8_t{0});
  for (unsigned v = 0; v < vectors_; ++v) saved_.msix_table[16 * v + 12] = 1;
  map_regions();
  pci_.update_wires();
  config_changed(0, config_size);
}

void PciFunction::serialize(Archive& ar) {
  ar(saved_);
  if (!ar.is_loading()) return;
  bool same = true;
  for (unsigned i = 0; i < config_size; ++i) same &= ((saved_.config[i] ^ initial_[i]) & ~writable_[i]) == 0;
  ar.require(same, "the saved state has a PCI function that is not this machine's");
  if (!ar.ok()) std::copy(initial_, initial_ + config_size, saved_.config);
  map_regions();
  pci_.update_wires();
  config_changed(0, config_size);
}

// --- a function: interrupts ------------------------------------------------------------------------------------------

bool PciFunction::pin_asserted() const {
  return saved_.intx && config(interrupt_pin) && !(config(command + 1) & intx_disable >> 8) && !msi_enabled() && !msix_enabled();
}

void PciFunction::set_intx(bool level) {
  if (saved_.intx == level) return;
  saved_.intx = level;
  pci_.update_wires();
}

void PciFunction::send_msi() {
  if (!msi_enabled() || !bus_master()) return;
  ByteSpan config(saved_.config);
  pci_.messages_.deliver_message(peek<uint64_t>(config, msi_ + 4), peek<uint16_t>(config, msi_ + 12));
}

bool PciFunction::vector_masked(unsigned vector) const {
  return config(msix_ + 3) & function_masked || saved_.msix_table[16 * vector + 12] & 1;
}

void PciFunction::send_msix(unsigned vector) {
  if (vector >= vectors_ || !msix_enabled()) return;
  saved_.pending |= uint64_t{1} << vector;
  send_pending();
}

bool PciFunction::may_send(const MessageTest& wanted) const {
  if (!bus_master()) return false;
  ByteSpan config(saved_.config), table(saved_.msix_table);
  if (msi_enabled() && wanted(peek<uint64_t>(config, msi_ + 4), peek<uint16_t>(config, msi_ + 12))) return true;
  for (unsigned v = 0; msix_enabled() && v < vectors_; ++v)
    if (!vector_masked(v) && wanted(peek<uint64_t>(table, 16 * v), peek<uint32_t>(table, 16 * v + 8))) return true;
  return false;
}

// A masked message waits in the pending array and leaves when the mask is lifted.
void PciFunction::send_pending() {
  if (saved_.pending == 0 || !msix_enabled() || !bus_master()) return;
  for (unsigned v = 0; v < vectors_; ++v) {
    if (!(saved_.pending >> v & 1) || vector_masked(v)) continue;
    saved_.pending &= ~(uint64_t{1} << v);
    ByteSpan table(saved_.msix_table);
    pci_.messages_.deliver_message(peek<uint64_t>(table, 16 * v), peek<uint32_t>(table, 16 * v + 8));
  }
}

uint64_t PciFunction::read(unsigned window, uint64_t offset, unsigned size) {
  if (window != msix_bar_) return read_bar(window, offset, size);
  uint64_t value = 0;
  for (unsigned i = 0; i < size; ++i) {
    uint64_t at = offset + i;
    uint8_t byte = 0;
    if (at < saved_.msix_table.size()) byte = saved_.msix_table[at];
    if (at - pending_array < sizeof saved_.pending) byte = static_cast<uint8_t>(saved_.pending >> 8 * (at - pending_array));
    value |= uint64_t{byte} << 8 * i;
  }
  return value;
}

void PciFunction::write(unsigned window, uint64_t offset, unsigned size, uint64_t value) {
  if (window != msix_bar_) return write_bar(window, offset, size, value);
  for (unsigned i = 0; i < size && offset + i < saved_.msix_table.size(); ++i) {
    uint64_t at = offset + i;
    constexpr uint8_t whole = 0xff, mask_bit_only = 0x01, nothing = 0x00;
    uint8_t writable = at % 16 < 12 ? whole : at % 16 == 12 ? mask_bit_only : nothing;
    saved_.msix_table[at] = static_cast<uint8_t>(value >> 8 * i) & writable;
  }
  send_pending();
}

}  // namespace matryoshka
