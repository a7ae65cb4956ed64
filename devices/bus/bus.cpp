#include "devices/bus/bus.h"

#include <algorithm>

namespace matryoshka {

void Bus::map_ports(uint16_t first, unsigned count, BusTarget& target, unsigned window, unsigned widest) {
  ports_.insert(ports_.begin(), {first, count, &target, window, widest});
}

void Bus::map_memory(uint64_t first, uint64_t size, BusTarget& target, unsigned window, unsigned widest) {
  memory_.insert(memory_.begin(), {first, size, &target, window, widest});
}

void Bus::unmap(BusTarget& target, unsigned window) {
  auto is_it = [&](const Mapping& m) { return m.target == &target && m.window == window; };
  std::erase_if(ports_, is_it);
  std::erase_if(memory_, is_it);
}

const Bus::Mapping* Bus::find(const Space& space, uint64_t address) {
  for (const Mapping& m : space)
    if (address - m.first < m.count) return &m;
  return nullptr;
}

// An access is cut at the mapping's width and at its end, so a target only ever sees offsets that are its own.
uint64_t Bus::read(const Space& space, uint64_t address, unsigned size) {
  uint64_t value = 0;
  for (unsigned done = 0; done < size;) {
    const Mapping* m = find(space, address + done);
    unsigned part = 1;
    uint64_t piece = 0xff;
    if (m) {
      uint64_t offset = address + done - m->first;
      part = std::min(size - done, m->widest);
      while (part & (part - 1)) part &= part - 1;
      while (offset + part > m->count) part /= 2;
      piece = m->target->read(m->window, offset, part);
      if (part < 8) piece &= (uint64_t{1} << part * 8) - 1;
    }
    value |= piece << done * 8;
    done += part;
  }
  return value;
}

void Bus::write(const Space& space, uint64_t address, unsigned size, uint64_t value) {
  for (unsigned done = 0; done < size;) {
    const Mapping* m = find(space, address + done);
    unsigned part = 1;
    if (m) {
      uint64_t offset = address + done - m->first;
      part = std::min(size - done, m->widest);
      while (part & (part - 1)) part &= part - 1;
      while (offset + part > m->count) part /= 2;
      uint64_t piece = value >> done * 8;
      if (part < 8) piece &= (uint64_t{1} << part * 8) - 1;
      m->target->write(m->window, offset, part, piece);
    }
    done += part;
  }
}

uint32_t Bus::read_port(uint16_t port, unsigned size) { return static_cast<uint32_t>(read(ports_, port, size)); }
void Bus::write_port(uint16_t port, unsigned size, uint32_t value) { write(ports_, port, size, value); }
uint64_t Bus::read_memory(uint64_t address, unsigned size) { return read(memory_, address, size); }
void Bus::write_memory(uint64_t address, unsigned size, uint64_t value) { write(memory_, address, size, value); }

}  // namespace matryoshka
