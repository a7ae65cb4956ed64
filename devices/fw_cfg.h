// The firmware configuration device, as QEMU specifies it ("QEMU Firmware Configuration (fw_cfg) Device"): named blobs that
// the board leaves for firmware, for test programs and for Linux's qemu_fw_cfg. Read-only; selector, data port and DMA.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "devices/bus/bus.h"
#include "devices/bus/bytes.h"

namespace matryoshka {

class FwCfg : public Device {
 public:
  static constexpr uint16_t first_port = 0x510;
  static constexpr unsigned ports = 12, width = 4;  // 510h selector, 511h data, 514h and 518h the DMA address

  enum Key : uint16_t {
    signature = 0x00,
    interface_id = 0x01,
    ram_size = 0x03,
    no_graphic = 0x04,
    processor_count = 0x05,
    boot_menu = 0x0e,
    most_processors = 0x0f,
    file_directory = 0x19,
    first_file = 0x20,
  };

  explicit FwCfg(GuestMemory& memory);

  void add(uint16_t key, std::vector<uint8_t> bytes) { items_[key] = std::move(bytes); }
  template <std::integral T>
  void add(uint16_t key, T value) {
    append(items_[key] = {}, value);
  }
  // Names of up to 55 characters, such as "etc/e820".
  void add_file(const std::string& name, std::vector<uint8_t> bytes);

  const char* name() const override { return "fw_cfg"; }
  void reset() override { saved_ = {}; }
  void serialize(Archive& ar) override { ar(saved_); }
  uint64_t read(unsigned window, uint64_t offset, unsigned size) override;
  void write(unsigned window, uint64_t offset, unsigned size, uint64_t value) override;

 private:
  uint8_t next_byte();
  void transfer();
  bool copy_out(uint64_t address, uint32_t length);
  ByteSpan selected() const;

  GuestMemory& memory_;
  std::map<uint16_t, std::vector<uint8_t>> items_;
  std::vector<std::string> files_;
  struct Saved {
    uint16_t selector = 0;
    uint32_t offset = 0;
    uint64_t dma_address = 0;
    void serialize(Archive& ar) { ar(selector, offset, dma_address); }
  } saved_;
};

}  // namespace matryoshka
