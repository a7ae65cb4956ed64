// The chips that make an i440FX board a board, as configuration space sees them: the host bridge, the PIIX3 ISA bridge and
// the PIIX4 power management function. What their other registers do lives elsewhere (power.h, pic.h).
//
// Intel 440FX PCIset (82441FX PMC), 82371SB (PIIX3) and 82371AB (PIIX4) datasheets.
#pragma once

#include <functional>

#include "devices/pci.h"

namespace matryoshka {

// 82441FX at 00:00.0. Of its registers the PAM ones work: who answers between C0000h and FFFFFh.
class HostBridge : public PciFunction {
 public:
  // For each of the 13 segments whose attributes may have changed: do reads and do writes go to RAM, or to the ROM side?
  using SegmentChanged = std::function<void(uint64_t first, uint64_t size, bool read_ram, bool write_ram)>;

  HostBridge(PciBus& pci, SegmentChanged segment_changed);
  const char* name() const override { return "i440fx"; }

 private:
  void config_changed(unsigned offset, unsigned size) override;
  SegmentChanged segment_changed_;
};

// 82371SB at 00:01.0: routes PCI interrupts to ISA ones.
class IsaBridge : public PciFunction {
 public:
  explicit IsaBridge(PciBus& pci);
  const char* name() const override { return "piix3"; }

 private:
  void config_changed(unsigned offset, unsigned size) override;
};

// 82371AB power management at 00:01.3. Its region is hard-wired at port 600h and on; see power.h for what is there.
class PowerFunction : public PciFunction {
 public:
  explicit PowerFunction(PciBus& pci);
  const char* name() const override { return "piix4pm"; }
};

}  // namespace matryoshka
