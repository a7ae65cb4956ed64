// A stack to push a frame on or to read one from. It may be one that the processor is only about to switch to, and its pointer
// moves here: RSP follows, by commit(), when nothing can fault any more.
#pragma once

#include <cstdint>

#include "cpu/system/segments.h"

namespace matryoshka::system {

class Stack {
 public:
  // The stack in use. `error` is the error code of the #SS for an access outside of it.
  explicit Stack(Processor& cpu, uint32_t error = 0)
      : Stack(cpu, cpu.state.segment[SS], cpu.mode().stack_bits, cpu.cpl(), cpu.state.gpr[RSP], error) {}
  Stack(Processor& cpu, const Segment& segment, unsigned bits, unsigned cpl, uint64_t pointer, uint32_t error)
      : cpu_(cpu), segment_(segment), bits_(bits), user_(cpl == 3), pointer_(pointer), error_(error) {}

  [[nodiscard]] bool push(uint64_t value, unsigned bytes) {
    uint64_t top = (pointer_ - bytes) & mask(), linear;
    if (!address(top, bytes, linear)) return false;
    if (!store(linear, value, bytes)) return stack_fault();
    pointer_ = moved(top);
    return true;
  }
  [[nodiscard]] bool pop(uint64_t& value, unsigned bytes) {
    uint64_t top = pointer_ & mask(), linear;
    if (!address(top, bytes, linear)) return false;
    value = 0;
    if (!cpu_.mmu.load_slow(linear, &value, bytes)) return stack_fault();
    pointer_ = moved((top + bytes) & mask());
    return true;
  }
  [[nodiscard]] bool pop(uint16_t& selector, unsigned bytes) {
    uint64_t value;
    if (!pop(value, bytes)) return false;
    selector = static_cast<uint16_t>(value);
    return true;
  }
  void release(unsigned bytes) { pointer_ = moved((pointer_ + bytes) & mask()); }
  void commit() const { cpu_.state.gpr[RSP] = pointer_; }

 private:
  uint64_t mask() const { return bits_ == 64 ? ~uint64_t{0} : bits_ == 32 ? 0xffffffff : 0xffff; }
  // A 16-bit stack leaves the upper part of the pointer alone.
  uint64_t moved(uint64_t top) const { return bits_ == 16 ? (pointer_ & ~uint64_t{0xffff}) | top : top; }

  bool address(uint64_t top, unsigned bytes, uint64_t& linear) {
    linear = top;
    if (bits_ == 64) return true;
    if (segment_.unusable() || !within_limit(segment_, top, bytes)) return cpu_.fault.raise(SS_vector, error_);
    linear = static_cast<uint32_t>(segment_.base + top);
    return true;
  }
  bool store(uint64_t linear, uint64_t value, unsigned bytes) {
    if (user_ == (cpu_.cpl() == 3)) return cpu_.mmu.store_slow(linear, &value, bytes);
    return cpu_.mmu.store_as(user_, linear, &value, bytes);
  }
  bool stack_fault() { return cpu_.fault.by_noncanonical ? cpu_.fault.raise(SS_vector, error_) : false; }

  Processor& cpu_;
  Segment segment_;
  unsigned bits_;
  bool user_;
  uint64_t pointer_;
  uint32_t error_;
};

}  // namespace matryoshka::system
