#include "devices/fw_cfg.h"

#include <algorithm>

namespace matryoshka {

namespace {

enum Port : unsigned { selector_port = 0, data_port = 1, dma_high = 4, dma_low = 8 };
enum DmaControl : uint32_t { dma_error = 1, dma_read = 2, dma_skip = 4, dma_select = 8, dma_write = 16 };
constexpr uint64_t dma_signature = 0x51454d5520434647;  // "QEMU CFG"
constexpr uint32_t largest_transfer = 256 << 20;
constexpr size_t directory_name_size = 56;

void append_big(std::vector<uint8_t>& bytes, uint64_t value, unsigned size) {
  while (size-- > 0) bytes.push_back(static_cast<uint8_t>(value >> 8 * size));
}

}  // namespace

FwCfg::FwCfg(GuestMemory& memory) : memory_(memory) {
  constexpr uint32_t traditional = 1, dma = 2;
  append(items_[signature], "QEMU");
  add(interface_id, traditional | dma);
  append_big(items_[file_directory], 0, 4);
}

// The directory: a count, then for each file its size, key and name, numbers big-endian.
void FwCfg::add_file(const std::string& name, std::vector<uint8_t> bytes) {
  const std::string listed = name.substr(0, directory_name_size - 1);
  // A file that is there already, as after a reset, is replaced.
  auto place = std::find(files_.begin(), files_.end(), listed);
  auto key = static_cast<uint16_t>(first_file + (place - files_.begin()));
  if (place == files_.end()) files_.push_back(listed);
  items_[key] = std::move(bytes);

  std::vector<uint8_t> directory;
  append_big(directory, files_.size(), 4);
  for (size_t i = 0; i < files_.size(); ++i) {
    key = static_cast<uint16_t>(first_file + i);
    append_big(directory, items_[key].size(), 4);
    append_big(directory, key, 2);
    append_big(directory, 0, 2);
    append(directory, std::string_view(files_[i]));
    directory.resize(directory.size() + directory_name_size - files_[i].size());
  }
  items_[file_directory] = std::move(directory);
}

ByteSpan FwCfg::selected() const {
  auto found = items_.find(saved_.selector);
  return found == items_.end() ? ByteSpan{} : ByteSpan(found->second);
}

uint8_t FwCfg::next_byte() {
  ByteSpan item = selected();
  return saved_.offset < item.size() ? item[saved_.offset++] : 0;
}

uint64_t FwCfg::read(unsigned, uint64_t offset, unsigned size) {
  if (offset == data_port && size == 1) return next_byte();
  uint64_t value = 0;
  for (unsigned i = 0; i < size; ++i) {
    uint64_t at = offset + i;
    uint64_t byte = at >= dma_high && at < dma_high + 8 ? dma_signature >> 8 * (7 - (at - dma_high)) & 0xff : 0;
    value |= byte << 8 * i;
  }
  return value;
}

void FwCfg::write(unsigned, uint64_t offset, unsigned size, uint64_t value) {
  auto big = [&] { return __builtin_bswap32(static_cast<uint32_t>(value)); };
  if (offset == selector_port && size == 2) {
    saved_.selector = static_cast<uint16_t>(value);
    saved_.offset = 0;
  } else if (offset == dma_high && size == 4) {
    saved_.dma_address = uint64_t{big()} << 32;
  } else if (offset == dma_low && size == 4) {
    saved_.dma_address |= big();
    transfer();
    saved_.dma_address = 0;
  }
}

// The guest's request: control, length and address, all big-endian; zero in control tells it that all is done.
void FwCfg::transfer() {
  struct {
    uint32_t control, length;
    uint64_t address;
  } request;
  if (!memory_.load(saved_.dma_address, request)) return;
  uint32_t control = __builtin_bswap32(request.control), length = __builtin_bswap32(request.length);
  if (control & dma_select) {
    saved_.selector = static_cast<uint16_t>(control >> 16);
    saved_.offset = 0;
  }
  bool done = !(control & dma_write);
  if (control & dma_read)
    done = copy_out(__builtin_bswap64(request.address), length);
  else if (control & dma_skip)
    saved_.offset += static_cast<uint32_t>(std::min<uint64_t>(length, UINT32_MAX - saved_.offset));
  (void)memory_.store(saved_.dma_address, __builtin_bswap32(done ? 0 : dma_error));
}

// What lies beyond the item's end is zeroes.
bool FwCfg::copy_out(uint64_t address, uint32_t length) {
  if (length > largest_transfer) return false;
  ByteSpan item = selected();
  ByteSpan rest = item.subspan(std::min<size_t>(saved_.offset, item.size()));
  rest = rest.first(std::min<size_t>(rest.size(), length));
  if (!memory_.write(address, rest.data(), rest.size())) return false;
  saved_.offset += static_cast<uint32_t>(rest.size());
  const uint8_t zeroes[4096] = {};
  for (uint64_t at = rest.size(); at < length; at += sizeof zeroes)
    if (!memory_.write(address + at, zeroes, std::min<uint64_t>(sizeof zeroes, length - at))) return false;
  return true;
}

}  // namespace matryoshka
