#include "devices/piix.h"

namespace matryoshka {

namespace {

constexpr uint16_t intel = 0x8086;
constexpr unsigned pam0 = 0x59, pam_count = 7;
constexpr unsigned pirq_route = 0x60;
constexpr uint8_t route_off = 0x80;

}  // namespace

HostBridge::HostBridge(PciBus& pci, SegmentChanged segment_changed)
    : PciFunction(pci, {0, 0}, {intel, 0x1237, 0x060000, 2}), segment_changed_(std::move(segment_changed)) {
  for (unsigned i = 0; i < pam_count; ++i) define(pam0 + i, 1, 0, i == 0 ? 0x30 : 0x33);
  define(0x72, 1, 0x02, 0x00);  // SMRAM: closed
}

// PAM0 holds the F segment in its high half; each of the other six holds 16 KiB in either half, from C0000h upwards.
void HostBridge::config_changed(unsigned offset, unsigned size) {
  if (!segment_changed_) return;
  auto report = [&](uint64_t first, uint64_t length, unsigned attributes) {
    segment_changed_(first, length, attributes & 1, attributes & 2);
  };
  for (unsigned i = 0; i < pam_count; ++i) {
    unsigned at = pam0 + i;
    if (at < offset || at >= offset + size) continue;
    unsigned low = config(at) & 3, high = config(at) >> 4 & 3;
    if (i == 0) {
      report(0xf0000, 0x10000, high);
    } else {
      uint64_t first = 0xc0000 + 0x8000 * (i - 1);
      report(first, 0x4000, low);
      report(first + 0x4000, 0x4000, high);
    }
  }
}

IsaBridge::IsaBridge(PciBus& pci) : PciFunction(pci, {1, 0}, {intel, 0x7000, 0x060100}) {
  for (unsigned i = 0; i < 4; ++i) define(pirq_route + i, 1, route_off, 0x8f);
}

void IsaBridge::config_changed(unsigned offset, unsigned size) {
  if (offset < pirq_route + 4 && offset + size > pirq_route)
    for (unsigned i = 0; i < 4; ++i) pci_.route_pirq(i, config(pirq_route + i));
}

PowerFunction::PowerFunction(PciBus& pci) : PciFunction(pci, {1, 3}, {intel, 0x7113, 0x068000, 3}) {
  constexpr uint32_t region = 0x600, is_io = 1, apmc_enable = 1u << 25;
  define(0x40, 4, region | is_io);  // PMBA
  // DEVACTB: an SMI for APM commands is already on, which tells firmware that the system management mode is set up; there is
  // none here, and SeaBIOS would wait for its first interrupt for ever.
  define(0x58, 4, apmc_enable);
  define(0x80, 1, 1);  // PMREGMISC: the region is enabled
}

}  // namespace matryoshka
