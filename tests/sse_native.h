// The same bytes on the processor that runs the test: registers are loaded, the instruction is called, registers are stored.
#pragma once

#if defined(__x86_64__) && defined(__linux__)
#define MATRYOSHKA_NATIVE_SIMD 1

#include <cpuid.h>
#include <sys/mman.h>

#include "tests/sse_bench.h"

namespace matryoshka {

class NativeSimd {
 public:
  NativeSimd() {
    page_ = static_cast<uint8_t*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  }
  ~NativeSimd() { munmap(page_, 4096); }
  NativeSimd(const NativeSimd&) = delete;

  void set_instruction(const std::vector<uint8_t>& bytes) {
    std::memcpy(page_, bytes.data(), bytes.size());
    page_[bytes.size()] = 0xc3;
  }

  void run(SimdState& s) {
    static_assert(offsetof(SimdState, mm) == 64 && offsetof(SimdState, gpr) == 96 && offsetof(SimdState, flags) == 128 &&
                  offsetof(SimdState, mxcsr) == 136);
    uint32_t host_mxcsr;
    SimdState* state = &s;
    uint8_t* code = page_;
    asm volatile(
        "stmxcsr %[host]\n"
        "ldmxcsr 136(%[s])\n"
        "movups (%[s]), %%xmm0\n movups 16(%[s]), %%xmm1\n movups 32(%[s]), %%xmm2\n movups 48(%[s]), %%xmm3\n"
        "movq 64(%[s]), %%mm0\n movq 72(%[s]), %%mm1\n movq 80(%[s]), %%mm2\n movq 88(%[s]), %%mm3\n"
        "sub $256, %%rsp\n"  // past the red zone
        "push 128(%[s])\n"
        "mov 96(%[s]), %%rax\n mov 104(%[s]), %%rcx\n mov 112(%[s]), %%rdx\n mov 120(%[s]), %%rbx\n"
        "popfq\n"
        "call *%[code]\n"
        "pushfq\n"
        "mov %%rax, 96(%[s])\n mov %%rcx, 104(%[s])\n mov %%rdx, 112(%[s])\n mov %%rbx, 120(%[s])\n"
        "pop 128(%[s])\n"
        "add $256, %%rsp\n"
        "movups %%xmm0, (%[s])\n movups %%xmm1, 16(%[s])\n movups %%xmm2, 32(%[s])\n movups %%xmm3, 48(%[s])\n"
        "movq %%mm0, 64(%[s])\n movq %%mm1, 72(%[s])\n movq %%mm2, 80(%[s])\n movq %%mm3, 88(%[s])\n"
        "emms\n"
        "stmxcsr 136(%[s])\n"
        "ldmxcsr %[host]\n"
        : [host] "=m"(host_mxcsr), [s] "+r"(state), [code] "+r"(code)
        :
        : "rax", "rcx", "rdx", "rbx", "xmm0", "xmm1", "xmm2", "xmm3", "mm0", "mm1", "mm2", "mm3", "memory", "cc");
    s.flags &= rflags::status | rflags::always_one;
  }

  static bool has(Feature feature) {
    for (const FeatureInfo& f : feature_table) {
      if (f.feature != feature) continue;
      uint32_t r[4] = {};
      if (!__get_cpuid_count(f.leaf, f.subleaf, &r[0], &r[1], &r[2], &r[3])) return false;
      return r[static_cast<unsigned>(f.reg)] >> f.bit & 1;
    }
    return true;
  }

 private:
  uint8_t* page_;
};

// Runs the bytes on both and says where they differ; empty if they agree.
class SimdComparison {
 public:
  const Row* prepare(const std::vector<uint8_t>& bytes) {
    bytes_ = bytes;
    Instruction in;
    const Row* row = bench.decode(bytes, in);
    if (!row) return nullptr;
    op_ = lower(in, bench.cpu.mode(), in.length);
    function_ = handler_for(op_.id);
    native.set_instruction(bytes);
    return row;
  }
  std::string run(const SimdState& input) {
    SimdState expected = input;
    native.run(expected);
    bench.load(input);
    bench.cpu.fault.clear();
    bool done = function_(bench.cpu, op_);
    SimdState actual = bench.result();
    std::string difference;
    auto compare = [&](const char* name, const std::string& theirs, const std::string& ours) {
      if (theirs != ours) difference += std::string(name) + " host " + theirs + " ours " + ours + "; ";
    };
    auto number = [](uint64_t v) { return text_of({{v, 0}}).substr(17); };
    if (!done) difference = "ours faulted; ";
    static const char* const names[] = {"xmm0", "xmm1", "xmm2", "xmm3", "mm0", "mm1", "mm2", "mm3", "rax", "rcx", "rdx", "rbx"};
    for (unsigned i = 0; i < 4; ++i) {
      compare(names[i], text_of(expected.xmm[i]), text_of(actual.xmm[i]));
      compare(names[4 + i], number(expected.mm[i]), number(actual.mm[i]));
      compare(names[8 + i], number(expected.gpr[i]), number(actual.gpr[i]));
    }
    compare("flags", number(expected.flags), number(actual.flags));
    compare("mxcsr", number(expected.mxcsr), number(actual.mxcsr));
    if (difference.empty()) return difference;
    std::string text = "bytes";
    for (uint8_t b : bytes_) text += ' ' + number(b).substr(14);
    for (unsigned i = 0; i < 4; ++i) text += std::string(" ") + names[i] + "=" + text_of(input.xmm[i]);
    for (unsigned i = 0; i < 4; ++i) text += std::string(" ") + names[4 + i] + "=" + number(input.mm[i]);
    for (unsigned i = 0; i < 4; ++i) text += std::string(" ") + names[8 + i] + "=" + number(input.gpr[i]);
    return text + " mxcsr=" + number(input.mxcsr) + ": " + difference;
  }

  SimdBench bench;
  NativeSimd native;

 private:
  std::vector<uint8_t> bytes_;
  Op op_{};
  Handler function_ = nullptr;
};

}  // namespace matryoshka

#endif
