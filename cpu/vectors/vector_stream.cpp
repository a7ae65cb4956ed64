#include "cpu/vectors/vector_stream.h"

#include <algorithm>
#include <cstring>

namespace matryoshka {

namespace {

constexpr char magic[4] = {'M', 'V', 'E', 'C'};
constexpr size_t header_size = 8;

// Takes numbers off the front. What is missing reads as zero and is remembered.
class Reader {
 public:
  explicit Reader(std::span<const uint8_t> bytes) : rest_(bytes) {}
  bool short_of() const { return short_of_; }
  bool empty() const { return rest_.empty(); }

  template <class T>
  T number() {
    T value{};
    take(&value, sizeof value);
    return value;
  }
  template <class T>
  void number(T& value) {
    value = number<T>();
  }
  void take(void* to, size_t size) {
    std::span<const uint8_t> from = bytes(size);
    if (!from.empty()) std::memcpy(to, from.data(), size);
  }
  std::span<const uint8_t> bytes(size_t size) {
    if (size > rest_.size()) short_of_ = true, rest_ = {};
    if (short_of_) return {};
    std::span<const uint8_t> front = rest_.first(size);
    rest_ = rest_.subspan(size);
    return front;
  }
  void skip(size_t size) { (void)bytes(size); }

 private:
  std::span<const uint8_t> rest_;
  bool short_of_ = false;
};

// Both directions of each section are one list, so they cannot disagree: `f` reads or writes a number.
template <class F, class State>
void general_section(F&& f, State& gpr, uint64_t& rip, uint64_t& flags) {
  for (unsigned i = 0; i < 16; ++i) f(gpr[i]);
  f(rip), f(flags);
}

template <class F>
void segment_section(F&& f, CpuState& s) {
  for (Segment& segment : s.segment) {
    uint16_t unused16 = 0;
    f(segment.selector), f(unused16), f(segment.rights), f(segment.limit), f(segment.base);
  }
}

template <class F>
void x87_section(F&& f, CpuState& s) {
  uint8_t unused8 = 0;
  uint32_t unused32 = 0;
  uint16_t status = s.x87.status;
  f(s.x87.control), f(status), f(s.x87.valid), f(unused8), f(s.x87.opcode);
  s.x87.status = status;
  f(s.x87.instruction_pointer), f(s.x87.data_pointer), f(s.x87.instruction_selector), f(s.x87.data_selector), f(unused32);
  for (unsigned i = 0; i < 8; ++i) {
    uint16_t unused16 = 0;
    auto& r = s.x87.st(i);
    f(r.significand), f(r.sign_exponent), f(unused16), f(unused32);
  }
}

template <class F>
void sse_section(F&& f, CpuState& s) {
  uint32_t unused32 = 0;
  f(s.mxcsr), f(unused32);
  for (Xmm& r : s.xmm) f(r.q[0]), f(r.q[1]);
}

template <class F>
void control_section(F&& f, CpuState& s) {
  f(s.cr0), f(s.cr4), f(s.msr.efer);
}

template <class F>
void all_sections(F&& f, CpuState& s, uint32_t sections) {
  if (sections & VectorStream::segments) segment_section(f, s);
  if (sections & VectorStream::x87) x87_section(f, s);
  if (sections & VectorStream::sse) sse_section(f, s);
  if (sections & VectorStream::control) control_section(f, s);
}

}  // namespace

size_t VectorStream::feed(std::span<const uint8_t> in, std::vector<uint8_t>& out) {
  size_t used = 0;
  if (!begun_) {
    if (in.size() < header_size) return 0;
    uint32_t given;
    std::memcpy(&given, in.data() + sizeof magic, sizeof given);
    if (std::memcmp(in.data(), magic, sizeof magic) != 0) {
      error_ = "the input does not begin with 'MVEC'; docs/vectors.md describes the format";
      return 0;
    }
    if (given != version) {
      error_ =
          "the cases are of version " + std::to_string(given) + ", and this program knows version " + std::to_string(version);
      return 0;
    }
    out.insert(out.end(), in.begin(), in.begin() + header_size);
    used = header_size;
    begun_ = true;
  }
  while (error_.empty() && in.size() - used >= sizeof(uint32_t)) {
    uint32_t size;
    std::memcpy(&size, in.data() + used, sizeof size);
    if (size > largest_case) {
      error_ = "case " + std::to_string(cases_) + " claims " + std::to_string(size) + " bytes; the largest may have " +
               std::to_string(largest_case);
      break;
    }
    if (in.size() - used - sizeof size < size) break;
    run_case(in.subspan(used + sizeof size, size), out);
    used += sizeof size + size;
    ++cases_;
  }
  return used;
}

void VectorStream::run_case(std::span<const uint8_t> record, std::vector<uint8_t>& out) {
  Reader in(record);
  auto sections = in.number<uint32_t>();
  auto mode = in.number<uint8_t>(), privilege = in.number<uint8_t>();
  auto windows = in.number<uint16_t>();
  auto instructions = in.number<uint64_t>(), stop = in.number<uint64_t>(), tag = in.number<uint64_t>();

  bool served = mode <= 3 && privilege <= 3 && (sections & ~(segments | x87 | sse | control)) == 0;
  CpuState& s = runner_.begin(static_cast<VectorRunner::Mode>(mode & 3), privilege);
  auto read = [&](auto& value) { in.number(value); };
  uint64_t flags = 0;
  general_section(read, s.gpr, s.rip, flags);
  s.set_rflags(flags);
  auto paging = [&] {
    return (s.cr0 & (cr0::PE | cr0::PG)) ^ (s.cr4 & (cr4::PAE | cr4::LA57)) << 32 ^
           (s.msr.efer & (efer::LME | efer::LMA | efer::NXE)) << 40;
  };
  uint64_t usual_paging = paging();
  all_sections(read, s, sections);
  served = served && paging() == usual_paging;
  for (unsigned i = 0; i < windows && !in.short_of(); ++i) {
    auto address = in.number<uint64_t>();
    auto size = in.number<uint32_t>();
    auto access = in.number<uint8_t>();
    in.skip(3);
    served = runner_.window(address, in.bytes(size), access) && served;
  }
  if (in.short_of() || !in.empty()) {
    error_ = "case " + std::to_string(cases_) + " is damaged: its size does not fit its contents";
    return;
  }

  Ending ending = refused;
  if (served) {
    switch (runner_.run(instructions, stop)) {
      case VectorRunner::End::completed: ending = completed; break;
      case VectorRunner::End::exception: ending = exception; break;
      case VectorRunner::End::halted: ending = halted; break;
      case VectorRunner::End::unfinished: ending = unfinished; break;
    }
  }

  size_t start = out.size();
  auto write = [&](const auto& value) {
    auto* bytes = reinterpret_cast<const uint8_t*>(&value);
    out.insert(out.end(), bytes, bytes + sizeof value);
  };
  const VectorRunner::Exception met = ending == exception ? runner_.exception() : VectorRunner::Exception{};
  std::span<const VectorRunner::Change> changes;
  if (served) changes = runner_.changes();
  write(uint32_t{0});
  write(sections);
  write(ending), write(met.vector), write(static_cast<uint8_t>(met.has_error)), write(uint8_t{0});
  write(met.error), write(met.cr2), write(uint64_t{served ? s.retired : 0}), write(tag);
  uint64_t result_flags = s.rflags();
  general_section(write, s.gpr, s.rip, result_flags);
  all_sections(write, s, sections & (segments | x87 | sse | control));
  write(static_cast<uint32_t>(changes.size()));
  for (const VectorRunner::Change& change : changes) {
    write(change.address), write(static_cast<uint32_t>(change.bytes.size()));
    out.insert(out.end(), change.bytes.begin(), change.bytes.end());
  }
  auto size = static_cast<uint32_t>(out.size() - start - sizeof(uint32_t));
  std::memcpy(&out[start], &size, sizeof size);
}

}  // namespace matryoshka
