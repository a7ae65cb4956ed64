// Every x87 row of the instruction table against the processor underneath: the same bytes on the same state, random with a taste
// for edges, and all that FNSAVE shows compared afterwards, with memory, AX and the flags.
#include "tests/x87_bench.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/mman.h>

#include <array>
#include <catch2/catch.hpp>

#include "tests/float_values.h"

using namespace matryoshka;
using fp::Float80;

namespace {

// FNSAVE's image in 32-bit protected-mode form.
struct Image {
  uint32_t control, status, tags, instruction, after_instruction, data, after_data;
  uint8_t registers[8][10];

  Float80 st(unsigned i) const {
    Float80 value{};
    std::memcpy(&value.significand, registers[i], 8);
    std::memcpy(&value.sign_exponent, registers[i] + 8, 2);
    return value;
  }
  void set_st(unsigned i, Float80 value) {
    std::memcpy(registers[i], &value.significand, 8);
    std::memcpy(registers[i] + 8, &value.sign_exponent, 2);
  }
  void copy_pointers(const Image& other) {
    instruction = other.instruction, after_instruction = other.after_instruction;
    data = other.data, after_data = other.after_data;
  }
  unsigned top() const { return status >> 11 & 7; }
  bool empty(unsigned i) const { return (tags >> 2 * ((top() + i) & 7) & 3) == 3; }
};
static_assert(sizeof(Image) == 108);

constexpr unsigned memory_bytes = 108;

struct Everything {
  Image image{};
  std::array<uint8_t, memory_bytes> memory{};
  uint64_t rax = 0, flags = 0;
};

class Native {
 public:
  Native() {
    page_ = static_cast<uint8_t*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  }
  ~Native() { munmap(page_, 4096); }
  Native(const Native&) = delete;

  // FRSTOR (RDI), the instruction, FNSAVE (RSI), RET. Flags and RAX go through the call.
  void set_instruction(const std::vector<uint8_t>& code) {
    uint8_t* p = page_;
    *p++ = 0xdd, *p++ = 0x27;
    p = std::copy(code.begin(), code.end(), p);
    *p++ = 0xdd, *p++ = 0x36, *p++ = 0xc3;
  }
  uint32_t instruction_address() const { return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(page_) + 2); }

  void run(Everything& e) {
    const Image before = e.image;
    asm volatile(
        "sub $256, %%rsp\n"  // past the red zone
        "push %[flags]\n popfq\n"
        "call *%[code]\n"
        "pushfq\n pop %[flags]\n"
        "add $256, %%rsp\n"
        "fninit"
        : [flags] "+r"(e.flags), "+a"(e.rax)
        : [code] "r"(page_), "D"(&before), "S"(&e.image), "d"(e.memory.data())
        : "memory", "cc");
    e.flags &= rflags::status;
  }

 private:
  uint8_t* page_;
};

uint16_t selector(const char* name) {
  uint16_t value = 0;
  if (name[0] == 'c')
    asm("mov %%cs, %0" : "=r"(value));
  else
    asm("mov %%ds, %0" : "=r"(value));
  return value;
}

bool vendor_is(const char* name) {
  unsigned a, b, c, d;
  __cpuid(0, a, b, c, d);
  char text[13] = {};
  std::memcpy(text, &b, 4), std::memcpy(text + 4, &d, 4), std::memcpy(text + 8, &c, 4);
  return std::string_view(text) == name;
}

// Ours: the state goes in and out by FRSTOR and FNSAVE too, so that these are tested with every row.
class Ours {
 public:
  Ours() {
    CpuState& s = bench_.cpu.state;
    s.segment[CS].selector = selector("cs");
    s.segment[DS].selector = selector("ds");
    s.rip = code_at;
    restore_ = bench_op("dd 27");
    save_ = bench_op("dd 36");
  }
  bool set_instruction(const std::vector<uint8_t>& code) {
    Instruction in;
    if (!bench_.decodes(code, in)) return false;
    op_ = lower(in, bench_.cpu.mode(), in.length);
    return true;
  }
  // False if it faulted. The addresses in the image are made those of the native run.
  bool run(Everything& e, const Native& native, const void* native_memory) {
    CpuState& s = bench_.cpu.state;
    s.gpr[RDI] = s.gpr[RSI] = image_at;
    s.gpr[RDX] = bench_.data_at;
    s.gpr[RAX] = e.rax;
    s.flags.set_bits(e.flags);
    bench_.machine.put(image_at, e.image);
    bench_.machine.put(bench_.data_at, e.memory);
    bench_.x87 = {};
    bool ok = bench_.step(restore_) && bench_.step(op_);
    e.rax = s.gpr[RAX];
    e.flags = s.flags.bits();
    ok &= bench_.step(save_);
    e.image = bench_.machine.get<Image>(image_at);
    e.memory = bench_.machine.get<std::array<uint8_t, memory_bytes>>(bench_.data_at);
    if (e.image.instruction == 0 && (e.image.after_instruction & 0xffff) == selector("cs"))
      e.image.instruction = native.instruction_address();
    if (e.image.data == bench_.data_at) e.image.data = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(native_memory));
    return ok;
  }

 private:
  static constexpr uint64_t code_at = CpuBench::code_at, image_at = CpuBench::data_at + 0x1000;
  Op bench_op(const char* hex) {
    Instruction in;
    (void)bench_.decodes(X87Bench::bytes(hex), in);
    return lower(in, bench_.cpu.mode(), in.length);
  }
  X87Bench bench_;
  Op restore_, save_, op_;
};

// ---- States

uint16_t random_control(fp::Generator& g) {
  const uint16_t control = g.next() & 0xf3f;
  return (g.one_in(3) ? control : control | 0x3f) | 0x40;
}

// Mostly a few full registers on top, sometimes any; no exception is pending unless `may_be_pending`.
Image random_image(fp::Generator& g, bool may_be_pending) {
  Image image{};
  const uint16_t control = random_control(g);
  uint16_t status = g.next() & 0x7f7f;
  if (!may_be_pending) status &= control | ~0x3f;
  const unsigned top = status >> 11 & 7;
  unsigned full = g.one_in(4) ? static_cast<unsigned>(g.next()) : g.one_in(3) ? 0xff : (1u << (2 + g.below(6))) - 1;  // by ST(i)
  unsigned tags = 0;
  for (unsigned i = 0; i < 8; ++i)
    if (!(full >> i & 1)) tags |= 3u << 2 * ((top + i) & 7);
  image.control = 0xffff0000u | control;
  image.status = 0xffff0000u | status;
  image.tags = 0xffff0000u | tags;
  image.instruction = 0x11111111;
  image.after_instruction = static_cast<uint32_t>(g.next() & 0x7ff) << 16 | 0x2222;
  image.data = 0x33333333;
  image.after_data = 0xffff4444;
  const Float80 first = fp::edgy_float80(g);
  for (unsigned i = 0; i < 8; ++i) image.set_st(i, i == 0 ? first : fp::edgy_partner(g, first));
  return image;
}

std::array<uint8_t, memory_bytes> random_memory(fp::Generator& g, const Row& row) {
  std::array<uint8_t, memory_bytes> memory;
  for (uint8_t& byte : memory) byte = static_cast<uint8_t>(g.next());
  auto put = [&](auto value) { std::memcpy(memory.data(), &value, sizeof value); };
  const std::string_view mnemonic = row.mnemonic, operands = row.operands;
  if (mnemonic.starts_with("FI")) {
    if (g.one_in(2)) put(static_cast<int64_t>(fp::edgy_bits(g)));
  } else if (mnemonic == "FBLD") {
    for (unsigned i = 0; i < 9; ++i) memory[i] = static_cast<uint8_t>(g.next() % 10 << 4 | g.next() % 10);
  } else if (mnemonic == "FLDCW") {
    put(random_control(g));
  } else if (operands == "Md") {
    put(fp::edgy<fp::Binary32>(g).bits);
  } else if (operands == "Mq") {
    put(fp::edgy<fp::Binary64>(g).bits);
  } else if (operands == "Mt") {
    const Float80 value = fp::edgy_float80(g);
    std::memcpy(memory.data(), &value.significand, 8);
    std::memcpy(memory.data() + 8, &value.sign_exponent, 2);
  }
  return memory;
}

bool is_denormal(const std::array<uint8_t, memory_bytes>& memory, const Row& row) {
  const bool wide = row.operands == std::string_view("Mq");
  uint64_t bits = 0;
  std::memcpy(&bits, memory.data(), wide ? 8 : 4);
  const uint64_t fraction = wide ? bits << 12 : bits << 41, exponent = wide ? bits >> 52 & 0x7ff : bits >> 23 & 0xff;
  return exponent == 0 && fraction != 0;
}

// ---- Where the processor underneath may differ

// By Intel's manual: a denormal is not pushed while DE is unmasked ("FLD"); FCOMI and its relatives clear C1, and leave the
// flags alone while IE is unmasked ("FCOMI/FCOMIP/FUCOMI/FUCOMIP"). AMD's processors do otherwise in all three.
bool is_left_out(const Row& row, const Everything& before, bool amd) {
  const std::string_view mnemonic = row.mnemonic, operands = row.operands;
  return amd && mnemonic == "FLD" && (operands == "Md" || operands == "Mq") && !(before.image.control & 2) &&
         is_denormal(before.memory, row);
}
void forgive_vendor(const Row& row, Everything& theirs, const Everything& before, bool amd) {
  const std::string_view mnemonic = row.mnemonic;
  if (!amd || (mnemonic.substr(0, 5) != "FCOMI" && mnemonic.substr(0, 6) != "FUCOMI")) return;
  theirs.image.status &= ~uint32_t{C1};
  if (theirs.image.status & ~theirs.image.control & IE) theirs.flags = before.flags;
}

bool is_number(Float80 a) {
  const fp::Class c = fp::classify(a);
  return c == fp::Class::normal || c == fp::Class::denormal;
}
bool near(Float80 a, Float80 b) {
  if (a == b) return true;
  if (a.sign() != b.sign() || !is_number(a)) return false;
  auto ordinal = [](Float80 f) { return (__int128(f.exponent()) << 63) + __int128(f.significand & ~(uint64_t{1} << 63)); };
  const __int128 distance = ordinal(a) - ordinal(b);
  return distance >= -1 && distance <= 1;
}

bool is_transcendental(const Row& row) {
  for (const char* name : {"F2XM1", "FYL2X", "FYL2XP1", "FPTAN", "FPATAN", "FSIN", "FCOS", "FSINCOS"})
    if (row.mnemonic == std::string_view(name)) return true;
  return false;
}
// The last place of a transcendental result may differ, with it C1, and at the ends of the range overflow, underflow and tags.
void forgive_last_place(const Everything& ours, Everything& theirs) {
  for (unsigned i = 0; i < 2; ++i) {
    const Float80 a = ours.image.st(i), b = theirs.image.st(i);
    if (!near(a, b)) continue;
    uint32_t forgiven = is_number(a) ? C1 : 0;
    if (a.exponent() >= 0x7ffe) forgiven |= OE;
    if (a.exponent() <= 1) forgiven |= UE;
    theirs.image.status = (theirs.image.status & ~forgiven) | (ours.image.status & forgiven);
    if (!(a == b)) {
      theirs.image.set_st(i, a);
      const unsigned shift = 2 * ((theirs.image.top() + i) & 7);
      theirs.image.tags = (theirs.image.tags & ~(3u << shift)) | (ours.image.tags & 3u << shift);
    }
  }
  const uint32_t summary = theirs.image.status & ~theirs.image.control & 0x3f ? ES_B : 0;
  theirs.image.status = (theirs.image.status & ~uint32_t{ES_B}) | summary;
}

std::string describe(const Everything& e) {
  using fp::hex;
  std::string text = "control " + hex(e.image.control, 8) + " status " + hex(e.image.status, 8) + " tags " +
                     hex(e.image.tags, 8) + " ip " + hex(e.image.instruction, 8) + " " + hex(e.image.after_instruction, 8) +
                     " data " + hex(e.image.data, 8) + " " + hex(e.image.after_data, 8) + " ax " + hex(e.rax, 4) + " flags " +
                     hex(e.flags, 3) + "\n     ";
  for (unsigned i = 0; i < 8; ++i) text += " " + fp::text(e.image.st(i)) + (e.image.empty(i) ? "e" : "");
  text += "\n      memory";
  for (unsigned i = 0; i < 28; ++i) text += " " + hex(e.memory[i], 2);
  return text;
}

bool same(const Everything& a, const Everything& b) {
  return std::memcmp(&a.image, &b.image, sizeof a.image) == 0 && a.memory == b.memory && a.rax == b.rax && a.flags == b.flags;
}

}  // namespace

TEST_CASE("Every x87 row does what the processor underneath does", "[x87][differential]") {
  Native native;
  Ours ours;
  const bool amd = vendor_is("AuthenticAMD");
  fp::Generator g(fp::seed());
  for (const Row& row : rows) {
    if (row.family != Family::x87) continue;
    const bool transcendental = is_transcendental(row);
    const uint64_t count = fp::cases(8'000) * (transcendental ? 3 : 1);
    uint64_t differences = 0, compared = 0;
    for (uint64_t i = 0; i < count && differences < 4; ++i) {
      if (i % 16 == 0) {
        std::vector<uint8_t> code = x87_bytes(row, static_cast<unsigned>(g.next()));
        // REX.R and REX.B mean nothing here (but REX.B is part of an address); REX.W outdoes the operand-size prefix.
        if (g.one_in(4)) code.insert(code.begin(), static_cast<uint8_t>(row.operands[0] == 'M' ? 0x4c : 0x4f));
        if (g.one_in(3)) code.insert(code.begin(), 0x66);
        native.set_instruction(code);
        REQUIRE(ours.set_instruction(code));
      }
      Everything before;
      before.image = random_image(g, !x87_waits(row));
      before.memory = random_memory(g, row);
      before.rax = g.next();
      before.flags = g.next() & rflags::status;
      if (is_left_out(row, before, amd)) continue;
      Everything theirs, mine = before;
      const bool ok = ours.run(mine, native, theirs.memory.data());
      ++compared;
      // A task switch between two instructions of the native run loses pointers: such a difference does not come again.
      bool agree = false;
      for (unsigned attempt = 0; attempt < 3 && !agree; ++attempt) {
        theirs = before;
        native.run(theirs);
        forgive_vendor(row, theirs, before, amd);
        if (transcendental) forgive_last_place(mine, theirs);
        if (!amd) theirs.image.copy_pointers(mine.image);  // others keep fewer
        agree = same(mine, theirs);
      }
      if (ok && agree) continue;
      ++differences;
      UNSCOPED_INFO((ok ? "" : "faulted\n") << "before " << describe(before) << "\ncpu    " << describe(theirs) << "\nours   "
                                            << describe(mine));
    }
    INFO(row.mnemonic << " " << row.encoding << ", seed " << fp::seed() << ", " << compared << " cases");
    CHECK(differences == 0);
  }
}
#endif
