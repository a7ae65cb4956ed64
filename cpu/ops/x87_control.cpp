#include "cpu/ops/x87_control.h"

#include "cpu/ops/x87.h"

namespace matryoshka::x87 {

// ---- Words

namespace {

constexpr uint16_t control_bits = 0x1f3f, control_ones = 0x0040;  // infinity control (bit 12) is kept and means nothing

void set_control(X87State& x87, uint16_t word) {
  x87.control = (word & control_bits) | control_ones;
  summarize(x87);
}

void initialize(X87State& x87) {
  x87.control = 0x037f;
  x87.status = 0;
  x87.valid = 0;
  x87.opcode = 0;
  x87.instruction_pointer = x87.data_pointer = 0;
  x87.instruction_selector = x87.data_selector = 0;
}

}  // namespace

bool fninit(Processor& cpu, const Op&) {
  initialize(cpu.state.x87);
  return true;
}

bool fnclex(Processor& cpu, const Op&) {
  cpu.state.x87.status &= static_cast<uint16_t>(~(fp::all_exceptions | status::SF | status::ES | status::B));
  return true;
}

bool fldcw(Processor& cpu, const Op& op) {
  uint16_t word;
  if (!enter(cpu) || !cpu.load_operand(op, word)) return false;
  set_control(cpu.state.x87, word);
  return true;
}

bool fnstcw(Processor& cpu, const Op& op) { return cpu.store_operand(op, cpu.state.x87.control); }
bool fnstsw_m16(Processor& cpu, const Op& op) { return cpu.store_operand<uint16_t>(op, cpu.state.x87.status); }
bool fnstsw_ax(Processor& cpu, const Op&) {
  cpu.gpr_at<uint16_t>(RAX * 8) = cpu.state.x87.status;
  return true;
}

bool fnop(Processor& cpu, const Op& op) {
  if (!enter(cpu)) return false;
  record(cpu, op);
  return true;
}

// "WAIT/FWAIT": CR0.TS stops it only together with CR0.MP, and CR0.EM not at all.
bool fwait(Processor& cpu, const Op&) {
  constexpr uint64_t both = cr0::MP | cr0::TS;
  if ((cpu.state.cr0 & both) == both) return cpu.fault.raise(NM_vector);
  return enter(cpu);
}

bool ignored(Processor&, const Op&) { return true; }

// ---- Images in memory: the figures under "Saving the x87 FPU's State with FSTENV/FNSTENV and FSAVE/FNSAVE"
//
// Seven words, of 16 or 32 bits by the operand size. A 32-bit image has more room, but the fields stand at the same bits of
// the same words, so that the narrow one is the wide one cut off. After the seventh come ST(0) to ST(7), ten bytes each.

namespace {

enum EnvironmentWord { FCW, FSW, FTW, at_instruction, after_instruction, at_data, after_data, environment_words };
constexpr unsigned register_bytes = 80, largest_image = 4 * environment_words + register_bytes;

unsigned word_bytes(const Op& op) { return op.operand_bits() == 16 ? 2 : 4; }

bool has_real_layout(const CpuState& state) { return !state.protected_mode() || state.virtual_8086(); }

// "x87 FPU Tag Word": 0 valid, 1 zero, 2 special, 3 empty; two bits for each physical register.
uint16_t tag_word(const X87State& x87) {
  unsigned tags = 0;
  for (unsigned i = 0; i < 8; ++i) {
    unsigned tag = 3;
    if (x87.valid >> i & 1) {
      const fp::Class c = fp::classify(x87.registers[i]);
      tag = c == fp::Class::normal ? 0 : c == fp::Class::zero ? 1 : 2;
    }
    tags |= tag << 2 * i;
  }
  return static_cast<uint16_t>(tags);
}

uint8_t valid_of_tag_word(unsigned tags) {
  unsigned valid = 0;
  for (unsigned i = 0; i < 8; ++i) valid |= ((tags >> 2 * i & 3) != 3) << i;
  return static_cast<uint8_t>(valid);
}

class Image {
 public:
  explicit Image(unsigned word_bytes) : word_bytes_(word_bytes) {}

  unsigned environment_bytes() const { return word_bytes_ * environment_words; }
  unsigned state_bytes() const { return environment_bytes() + register_bytes; }

  void write_environment(const X87State& x87, bool real) {
    constexpr uint32_t ones = 0xffff0000;  // the upper halves that hold nothing
    set(FCW, ones | x87.control);
    set(FSW, ones | x87.status);
    set(FTW, ones | tag_word(x87));
    if (real) {
      // Addresses as numbers of 20 bits (32 in the wide image): the lower 16, and the rest above the opcode.
      const auto ip = static_cast<uint32_t>(x87.instruction_pointer + (x87.instruction_selector << 4));
      const auto dp = static_cast<uint32_t>(x87.data_pointer + (x87.data_selector << 4));
      set(at_instruction, ones | ip);
      set(after_instruction, (ip & ones) >> 4 | x87.opcode);
      set(at_data, ones | dp);
      set(after_data, (dp & ones) >> 4);
    } else {
      set(at_instruction, static_cast<uint32_t>(x87.instruction_pointer));
      set(after_instruction, uint32_t{x87.opcode} << 16 | x87.instruction_selector);
      set(at_data, static_cast<uint32_t>(x87.data_pointer));
      set(after_data, ones | x87.data_selector);
    }
  }

  void read_environment(X87State& x87, bool real) const {
    constexpr uint32_t upper_digits = 0x0ffff000;
    x87.status = static_cast<uint16_t>(get(FSW));
    x87.valid = valid_of_tag_word(get(FTW));
    if (real) {
      x87.instruction_pointer = (get(at_instruction) & 0xffff) | (get(after_instruction) & upper_digits) << 4;
      x87.instruction_selector = 0;
      x87.opcode = get(after_instruction) & 0x7ff;
      x87.data_pointer = (get(at_data) & 0xffff) | (get(after_data) & upper_digits) << 4;
      x87.data_selector = 0;
    } else {
      x87.instruction_pointer = get(at_instruction);
      x87.instruction_selector = static_cast<uint16_t>(get(after_instruction));
      x87.opcode = get(after_instruction) >> 16 & 0x7ff;
      x87.data_pointer = get(at_data);
      x87.data_selector = static_cast<uint16_t>(get(after_data));
    }
    set_control(x87, static_cast<uint16_t>(get(FCW)));
  }

  void write_registers(X87State& x87) {
    for (unsigned i = 0; i < 8; ++i) {
      std::memcpy(register_at(i), &x87.st(i).significand, 8);
      std::memcpy(register_at(i) + 8, &x87.st(i).sign_exponent, 2);
    }
  }
  void read_registers(X87State& x87) {
    for (unsigned i = 0; i < 8; ++i) {
      std::memcpy(&x87.st(i).significand, register_at(i), 8);
      std::memcpy(&x87.st(i).sign_exponent, register_at(i) + 8, 2);
    }
  }

  // Word by word, which is also how alignment is checked.
  [[nodiscard]] bool load(Processor& cpu, const Op& op, unsigned bytes) {
    uint64_t linear, word;
    if (!cpu.linear_address(op, bytes, AccessKind::read, linear)) return false;
    for (unsigned at = 0; at < bytes; at += word_bytes_) {
      if (!cpu.load_sized(op, linear + at, word, word_bytes_)) return false;
      std::memcpy(bytes_ + at, &word, word_bytes_);
    }
    return true;
  }
  // Nothing is written if any part of it cannot be.
  [[nodiscard]] bool store(Processor& cpu, const Op& op, unsigned bytes) const {
    uint64_t linear, word = 0;
    if (!cpu.linear_address(op, bytes, AccessKind::write, linear)) return false;
    for (uint64_t at = linear; at < linear + bytes; at = (at | (page_size - 1)) + 1)
      if (!cpu.mmu.probe_store(at, 1)) return false;
    for (unsigned at = 0; at < bytes; at += word_bytes_) {
      std::memcpy(&word, bytes_ + at, word_bytes_);
      if (!cpu.store_sized(op, linear + at, word, word_bytes_)) return false;
    }
    return true;
  }

 private:
  void set(EnvironmentWord which, uint32_t value) { std::memcpy(bytes_ + which * word_bytes_, &value, word_bytes_); }
  uint32_t get(EnvironmentWord which) const {
    uint32_t value = 0;
    std::memcpy(&value, bytes_ + which * word_bytes_, word_bytes_);
    return value;
  }
  uint8_t* register_at(unsigned i) { return bytes_ + environment_bytes() + 10 * i; }

  unsigned word_bytes_;
  uint8_t bytes_[largest_image] = {};
};

}  // namespace

// All exceptions are masked when the environment has been stored.
bool fnstenv(Processor& cpu, const Op& op) {
  X87State& x87 = cpu.state.x87;
  Image image(word_bytes(op));
  image.write_environment(x87, has_real_layout(cpu.state));
  if (!image.store(cpu, op, image.environment_bytes())) return false;
  set_control(x87, x87.control | fp::all_exceptions);
  return true;
}

bool fldenv(Processor& cpu, const Op& op) {
  Image image(word_bytes(op));
  if (!enter(cpu) || !image.load(cpu, op, image.environment_bytes())) return false;
  image.read_environment(cpu.state.x87, has_real_layout(cpu.state));
  return true;
}

bool fnsave(Processor& cpu, const Op& op) {
  X87State& x87 = cpu.state.x87;
  Image image(word_bytes(op));
  image.write_environment(x87, has_real_layout(cpu.state));
  image.write_registers(x87);
  if (!image.store(cpu, op, image.state_bytes())) return false;
  initialize(x87);
  return true;
}

bool frstor(Processor& cpu, const Op& op) {
  X87State& x87 = cpu.state.x87;
  Image image(word_bytes(op));
  if (!enter(cpu) || !image.load(cpu, op, image.state_bytes())) return false;
  image.read_environment(x87, has_real_layout(cpu.state));
  image.read_registers(x87);
  return true;
}

}  // namespace matryoshka::x87
