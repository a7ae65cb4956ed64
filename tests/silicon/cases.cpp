// cases: writes generated cases in the format of docs/vectors.md, for any engine: cases [--cases N] [--seed S] > FILE
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "cpu/isa.h"
#include "tests/silicon/generator.h"
#include "tests/silicon/segments.h"

using namespace silicon;

namespace {

class Record {
 public:
  template <class T>
  void put(T value) {
    put(&value, sizeof value);
  }
  void put(const void* from, size_t size) {
    auto* p = static_cast<const uint8_t*>(from);
    bytes_.insert(bytes_.end(), p, p + size);
  }
  void write() const {
    auto size = static_cast<uint32_t>(bytes_.size());
    std::fwrite(&size, sizeof size, 1, stdout);
    std::fwrite(bytes_.data(), 1, bytes_.size(), stdout);
  }

 private:
  std::vector<uint8_t> bytes_;
};

void put_window(Record& r, uint64_t address, std::span<const uint8_t> bytes, uint8_t access) {
  r.put(address), r.put(static_cast<uint32_t>(bytes.size())), r.put(access);
  r.put("\0\0\0", 3);
  r.put(bytes.data(), bytes.size());
}

// As the decoder of segments sees a local descriptor: access rights as in a VMCS, the limit in bytes.
void put_segment(Record& r, uint16_t selector) {
  const bool local = selector & 4 && selector >> 3 < local_count;
  const uint64_t d = local ? local_table[selector >> 3].descriptor() : selector < 4 ? 0 : global_table[selector >> 3];
  const uint32_t limit = static_cast<uint32_t>((d & 0xffff) | (d >> 32 & 0xf0000));
  r.put(selector), r.put(uint16_t{0});
  r.put(selector < 4 ? uint32_t{0x10000} : static_cast<uint32_t>((d >> 40 & 0xff) | (d >> 40 & 0xf000)));
  r.put(d >> 55 & 1 ? limit << 12 | 0xfff : limit);
  r.put((d >> 16 & 0xffffff) | (d >> 32 & 0xff000000));
}

void write_case(const Case& c, uint64_t tag) {
  constexpr uint32_t segments = 1, x87 = 2, sse = 4;
  constexpr uint8_t protected32 = 2, long64 = 3, writable = 1, executable = 2;
  static constexpr uint8_t nothing[1] = {0};
  Record r;
  r.put((c.segmented ? segments : 0) | (c.floating ? x87 | sse : 0));
  r.put(c.bits == 32 && !c.segmented ? protected32 : long64), r.put(uint8_t{3});
  constexpr uint16_t pages = data_pages + 3;
  r.put(static_cast<uint16_t>(pages + c.windows));
  r.put(uint64_t{1}), r.put(~uint64_t{0}), r.put(tag);
  for (uint64_t v : c.gpr) r.put(v);
  r.put(c.rip()), r.put(c.flags);
  if (c.segmented)
    for (uint16_t selector : c.selector) put_segment(r, selector);
  if (c.floating) {
    r.put(c.fx.control), r.put(c.fx.status), r.put(c.fx.tags), r.put(uint8_t{0}), r.put(uint16_t{0});
    for (unsigned i = 0; i < 3; ++i) r.put(uint64_t{0});
    for (const auto& st : c.fx.st) r.put(st.significand), r.put(st.sign_exponent), r.put("\0\0\0\0\0\0", 6);
    r.put(c.fx.mxcsr), r.put(uint32_t{0});
    for (const auto& x : c.fx.xmm) r.put(x[0]), r.put(x[1]);
  }
  for (uint64_t at = data_at; at < read_only_at; at += page) put_window(r, at, nothing, writable);
  put_window(r, read_only_at, {&read_only_first, 1}, 0);
  put_window(r, stack_at, nothing, writable);
  for (unsigned i = 0; i < c.windows; ++i) put_window(r, c.window[i].address, {c.window[i].bytes, c.window[i].size}, writable);
  put_window(r, c.code_at(), {c.code, c.length}, executable);
  r.write();
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t cases = 10'000, seed = 1;
  for (int i = 1; i + 1 < argc; i += 2) {
    std::string name = argv[i];
    if (name == "--cases") cases = std::strtoull(argv[i + 1], nullptr, 0);
    if (name == "--seed") seed = std::strtoull(argv[i + 1], nullptr, 0);
  }
  constexpr uint32_t version = 1;
  std::fwrite("MVEC", 1, 4, stdout);
  std::fwrite(&version, sizeof version, 1, stdout);
  Generator generator(seed);
  Case c;
  struct World {
    unsigned bits;
    bool segmented;
  };
  constexpr World worlds[] = {{64, false}, {32, false}, {32, true}, {16, true}};
  for (uint64_t n = 0, tried = 0; n < cases; ++tried) {
    const World w = worlds[tried / matryoshka::row_count % 4];
    if (generator.make(static_cast<unsigned>(tried % matryoshka::row_count), w.bits, c, w.segmented)) write_case(c, n++);
  }
  return std::fflush(stdout) == 0 ? 0 : 1;
}
