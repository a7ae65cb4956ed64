// The loaders, and what stands before them. A kernel that is accepted is entered in memory.
#include "devices/machine/boot.h"

#include "devices/bus/bus.h"
#include "mmu/memory.h"
#include "tests/fuzz/fuzz.h"

namespace matryoshka::fuzz {

void boot(Input input) {
  static Bus bus;
  static PhysicalMemory memory(uint64_t{4} << 20, bus);
  for (uint64_t at = 0; at < memory.ram_size(); at += page_size) {
    static constexpr uint8_t zeros[page_size] = {};
    if (memory.is_ram(at) && memory.dirty(at)) (void)memory.write(at, zeros, page_size);
  }
  memory.clear_dirty();

  const uint8_t head = input.take();
  BootRequest request;
  request.ram_size = memory.ram_size();
  request.long_mode = head & 1;
  request.rsdp = 0xf0000;
  const ByteSpan text = input.bytes(head >> 1 & 7);
  request.command_line.assign(text.begin(), text.end());
  // Modules of zeroes, since nothing looks into them; some are large.
  static constexpr size_t sizes[] = {0, 1, 4095, 70'000, 1 << 20};
  static const std::vector<uint8_t> zeroes(1 << 20);
  for (unsigned left = head >> 4; left > 0; --left) {
    const uint8_t shape = input.take();
    request.modules.push_back({"module", ByteSpan(zeroes).first(sizes[shape % std::size(sizes)]), std::string(shape / 8u, 'a')});
  }
  // In a place of its own size, so that a byte too far is seen.
  const ByteSpan rest = input.all();
  const std::vector<uint8_t> file(rest.begin(), rest.end());
  request.kernel = {"kernel", file};

  BootEntry entry;
  const std::string refusal = load_kernel(request, memory, entry);
  if (!refusal.empty()) {
    expect(refusal.find('\n') == std::string::npos, "a refusal is one sentence");
    return;
  }
  expect(entry.mode != BootEntry::Mode::real, "no kernel starts in real mode");
  expect(memory.is_ram(entry.rip), "the entry lies in RAM");
}

}  // namespace matryoshka::fuzz
