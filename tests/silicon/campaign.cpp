#include "tests/silicon/campaign.h"

#include <cpuid.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cpu/vectors/vector_runner.h"
#include "tests/silicon/generator.h"
#include "tests/silicon/native.h"

namespace silicon {
namespace {

using namespace matryoshka;

// ---- What is not compared

// The first group holds only where nothing faulted.
enum class When {
  always,
  count_not_one,
  count_from_width,
  count_above_width,
  memory_form,
  repeat_prefix,
  near_branch_66,
  faulted,
  one_faulted,
  wrapped,
  two_faults,
  unaligned,
  unaligned_16
};
constexpr uint64_t CF = rflags::CF, PF = rflags::PF, AF = rflags::AF, ZF = rflags::ZF, SF = rflags::SF, OF = rflags::OF;
constexpr uint64_t RESULT = uint64_t{1} << 63, EVERYTHING = uint64_t{1} << 62, REGISTERS = uint64_t{1} << 61,
                   X87 = uint64_t{1} << 60, XMM = uint64_t{1} << 59, MEMORY = uint64_t{1} << 58, ADDRESS = uint64_t{1} << 57,
                   LAST_BIT = uint64_t{1} << 56;

struct Mask {
  std::string_view mnemonic;
  When when;
  uint64_t what;
  const char* why;
};
constexpr Mask masks[] = {
#define MASK(mnemonic, when, what, why) {#mnemonic, When::when, what, why},
#include "tests/silicon/masks.def"
#undef MASK
};

// The count of a shift, as the processor masks it, and the operand's width.
struct Count {
  unsigned count = 0, width = 0;
};

Count shift_count(const Case& c, const Instruction& in) {
  OperandList operands = parse_operands(rows[c.row].operands);
  if (operands.count < 2) return {};
  Count result;
  result.width = bits_of_size(operands.operand[0].size, in.operand_size);
  const OperandSpec& last = operands.operand[operands.count - 1];
  uint64_t raw = last.kind == OperandClass::one         ? 1
                 : last.kind == OperandClass::immediate ? static_cast<uint64_t>(in.immediate)
                                                        : c.gpr[RCX];
  result.count = raw & (result.width == 64 ? 63 : 31);
  return result;
}

bool operand_is_16_bytes(const Case& c, const Instruction& in) {
  OperandList operands = parse_operands(rows[c.row].operands);
  bool found = false;
  for (unsigned i = 0; i < operands.count; ++i) {
    const OperandSpec& o = operands.operand[i];
    found |= (o.kind == OperandClass::xmm_rm || o.kind == OperandClass::memory_only) && o.size == 'x';
  }
  return found && in.is_memory;
}

uint64_t masked_for(const Case& c, const Instruction& in, const Outcome& want, const Outcome& got) {
  uint64_t result = 0;
  for (const Mask& m : masks) {
    if (m.mnemonic != rows[c.row].mnemonic && m.mnemonic != "ANY") continue;
    Count n = shift_count(c, in);
    bool holds = true;
    switch (m.when) {
      case When::always:
        break;
      case When::count_not_one:
        holds = n.count > 1;
        break;
      case When::count_from_width:
        holds = n.count >= n.width;
        break;
      case When::count_above_width:
        holds = n.count > n.width;
        break;
      case When::memory_form:
        holds = in.is_memory;
        break;
      case When::one_faulted:
        holds = want.exception != got.exception;
        break;
      case When::repeat_prefix:
        holds = in.rep || in.repne;
        break;
      case When::near_branch_66:
        holds = c.trapped && c.bits == 64 && in.operand_size_prefix;
        break;
      case When::faulted:
        holds = want.exception != Outcome::none && want.exception == got.exception;
        break;
      case When::wrapped:
        holds = c.bits == 32 && (want.exception == GP_vector || want.exception == SS_vector) &&
                (got.exception == PF_vector || got.exception == AC_vector);
        break;
      case When::two_faults:
        holds = got.exception == GP_vector &&
                (want.exception == SS_vector || want.exception == PF_vector || want.exception == AC_vector);
        break;
      case When::unaligned:
      case When::unaligned_16: {
        auto one = [](uint8_t e) { return e == AC_vector || e == GP_vector; };
        holds = want.exception != got.exception && (one(want.exception) || one(got.exception));
        if (m.when == When::unaligned_16) holds = holds && want.exception == AC_vector && operand_is_16_bytes(c, in);
        break;
      }
    }
    if (want.exception != Outcome::none && m.when < When::repeat_prefix && m.what != EVERYTHING) holds = false;
    if (holds) result |= m.what;
  }
  return result;
}

// ---- The model's side

void run_model(VectorRunner& runner, const Case& c, Outcome& out) {
  static constexpr uint8_t nothing[1] = {0};
  CpuState& s = runner.begin(c.bits == 64 ? VectorRunner::Mode::long64 : VectorRunner::Mode::protected32);
  std::memcpy(s.gpr, c.gpr, sizeof c.gpr);
  s.rip = c.code_at();
  s.set_rflags(c.flags);
  if (c.bits == 64) s.segment[FS].base = fs_base, s.segment[GS].base = gs_base;
  if (c.floating) {
    s.mxcsr = c.fx.mxcsr;
    for (unsigned i = 0; i < 16; ++i) s.xmm[i].q[0] = c.fx.xmm[i][0], s.xmm[i].q[1] = c.fx.xmm[i][1];
    s.x87.control = c.fx.control, s.x87.status = c.fx.status, s.x87.valid = c.fx.tags;
    for (unsigned i = 0; i < 8; ++i) s.x87.st(i) = {c.fx.st[i].significand, c.fx.st[i].sign_exponent};
  }
  for (uint64_t at = data_at; at < read_only_at; at += page) (void)runner.window(at, nothing, VectorRunner::writable);
  (void)runner.window(read_only_at, nothing, 0);
  (void)runner.window(stack_at, nothing, VectorRunner::writable);
  for (unsigned i = 0; i < c.windows; ++i)
    (void)runner.window(c.window[i].address, {c.window[i].bytes, c.window[i].size}, VectorRunner::writable);
  (void)runner.window(c.code_at(), {c.code, c.length}, VectorRunner::executable);

  VectorRunner::End end = runner.run(1);
  const CpuState& r = runner.state();
  std::memcpy(out.gpr, r.gpr, sizeof out.gpr);
  out.rip = r.rip, out.flags = r.rflags();
  out.exception = end == VectorRunner::End::exception ? runner.exception().vector : Outcome::none;
  out.died = end == VectorRunner::End::unfinished ? 254 : 0;
  out.error = runner.exception().error, out.cr2 = runner.exception().cr2;
  out.stray = 0;
  for (unsigned i = 0; i < c.windows; ++i) std::memcpy(out.bytes[i], c.window[i].bytes, c.window[i].size);
  for (const VectorRunner::Change& change : runner.changes())
    for (size_t k = 0; k < change.bytes.size(); ++k) {
      uint64_t at = change.address + k;
      bool inside = false;
      for (unsigned i = 0; i < c.windows; ++i)
        if (at - c.window[i].address < c.window[i].size) out.bytes[i][at - c.window[i].address] = change.bytes[k], inside = true;
      if (!inside && change.bytes[k] && !out.stray) out.stray = at;
    }
  if (c.floating) {
    out.fx = {};
    out.fx.mxcsr = r.mxcsr;
    for (unsigned i = 0; i < 16; ++i) out.fx.xmm[i][0] = r.xmm[i].q[0], out.fx.xmm[i][1] = r.xmm[i].q[1];
    out.fx.control = r.x87.control, out.fx.status = r.x87.status, out.fx.tags = r.x87.valid;
    CpuState& w = const_cast<CpuState&>(r);
    for (unsigned i = 0; i < 8; ++i)
      out.fx.st[i].significand = w.x87.st(i).significand, out.fx.st[i].sign_exponent = w.x87.st(i).sign_exponent;
  }
}

// ---- Comparing

std::string hex_text(uint64_t v) {
  char text[20];
  std::snprintf(text, sizeof text, "%llx", static_cast<unsigned long long>(v));
  return text;
}

std::string hex_bytes(const uint8_t* p, size_t n) {
  std::string s;
  char text[4];
  for (size_t i = 0; i < n; ++i) std::snprintf(text, sizeof text, "%02x", p[i]), s += text;
  return s;
}

constexpr const char* names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                   "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

// How many representable values lie from one to the other, as far as a caller cares.
template <class Register>
uint64_t units_apart(const Register& a, const Register& b) {
  // Exponent and fraction as one number count through all values of a sign.
  auto ordinal = [](const Register& r) {
    return static_cast<unsigned __int128>(r.sign_exponent & 0x7fff) << 63 | (r.significand & ~(uint64_t{1} << 63));
  };
  if ((a.sign_exponent ^ b.sign_exponent) & 0x8000) return ~uint64_t{0};
  unsigned __int128 x = ordinal(a), y = ordinal(b), distance = x > y ? x - y : y - x;
  return distance > 100 ? ~uint64_t{0} : static_cast<uint64_t>(distance);
}

// The differences as " what expected/got", or nothing.
std::string differences(const Case& c, const Instruction& in, const Outcome& want, const Outcome& got) {
  std::string text;
  auto differ = [&](const std::string& what, uint64_t a, uint64_t b) {
    if (a != b) text += " " + what + " " + hex_text(a) + "/" + hex_text(b);
  };
  uint64_t masked = masked_for(c, in, want, got);
  if (masked & EVERYTHING) return {};
  differ("died", want.died, got.died);
  if (want.died) return text;
  differ("exception", want.exception, got.exception);
  if (want.exception != got.exception) return text;
  if (want.exception == PF_vector) {
    // Linux hides from user code what is mapped in its own half.
    constexpr uint64_t user_end = 0x7ffffffff000;
    uint32_t hidden = want.cr2 >= user_end ? 1 : 0;
    if (!(masked & ADDRESS)) {
      differ("cr2", want.cr2, got.cr2);
      differ("error", want.error | hidden, got.error | hidden);
    }
  }
  if (want.exception == GP_vector || want.exception == SS_vector) differ("error", want.error, got.error);
  differ("rip", want.rip, got.rip);
  uint64_t compared = (rflags::status | rflags::DF | rflags::AC | rflags::ID | rflags::TF) & ~masked;
  if (masked & RESULT) compared &= ~rflags::status;
  differ("flags", want.flags & compared, got.flags & compared);
  uint64_t visible = c.bits == 64 ? ~uint64_t{0} : 0xffffffff;
  for (unsigned i = 0; i < 16; ++i) {
    // A double shift's destination is ModRM.rm.
    if (masked & RESULT && !in.is_memory && in.rm == i) continue;
    if (masked & REGISTERS && i != RSP) continue;
    differ(names[i], want.gpr[i] & visible, got.gpr[i] & visible);
  }
  if (!(masked & RESULT && in.is_memory) && !(masked & MEMORY))
    for (unsigned i = 0; i < c.windows; ++i)
      for (unsigned k = 0; k < c.window[i].size; ++k)
        if (want.bytes[i][k] != got.bytes[i][k]) {
          unsigned n = std::min<unsigned>(16, c.window[i].size - k);
          text += " [" + hex_text(c.window[i].address + k) + "] " + hex_bytes(want.bytes[i] + k, n) + "/" +
                  hex_bytes(got.bytes[i] + k, n);
          break;
        }
  differ("stray", want.stray, got.stray);
  if (c.floating) {
    differ("mxcsr", want.fx.mxcsr, got.fx.mxcsr);
    for (unsigned i = 0; i < (c.bits == 64 ? 16 : 8); ++i)
      for (unsigned k = 0; k < 2 && !(masked & XMM); ++k)
        differ("xmm" + std::to_string(i) + (k ? "h" : "l"), want.fx.xmm[i][k], got.fx.xmm[i][k]);
    differ("fcw", want.fx.control, got.fx.control);
    constexpr unsigned c1 = 0x200;
    if (masked & X87) return text;
    unsigned ignored = masked & LAST_BIT ? c1 : 0;
    differ("fsw", want.fx.status | ignored, got.fx.status | ignored);
    differ("tags", want.fx.tags, got.fx.tags);
    for (unsigned i = 0; i < 8; ++i) {
      if (masked & LAST_BIT && units_apart(want.fx.st[i], got.fx.st[i]) <= 1) continue;
      differ("st" + std::to_string(i), want.fx.st[i].significand, got.fx.st[i].significand);
      differ("st" + std::to_string(i) + "e", want.fx.st[i].sign_exponent, got.fx.st[i].sign_exponent);
    }
  }
  return text;
}

std::string describe(const Case& c, const Instruction& in) {
  const Row& row = rows[c.row];
  std::string s = std::to_string(c.bits) + " " + hex_bytes(c.code, c.length) + " " + row.mnemonic + " " + row.operands + "/" +
                  std::to_string(in.operand_size) + " at " + hex_text(c.code_at()) + " fl " + hex_text(c.flags);
  for (unsigned i = 0; i < (c.bits == 64 ? 16u : 8u); ++i) s += std::string(" ") + names[i] + "=" + hex_text(c.gpr[i]);
  for (unsigned i = 0; i < c.windows; ++i) {
    s += " [" + hex_text(c.window[i].address) + "]=" + hex_bytes(c.window[i].bytes, c.window[i].size);
  }
  if (c.floating) {
    s += " mxcsr=" + hex_text(c.fx.mxcsr) + " fcw=" + hex_text(c.fx.control) + " fsw=" + hex_text(c.fx.status) +
         " tags=" + hex_text(c.fx.tags);
    if (row.family == Family::x87 || row.family == Family::mmx)
      for (unsigned i = 0; i < 8; ++i)
        s += " st" + std::to_string(i) + "=" + hex_text(c.fx.st[i].sign_exponent) + ":" + hex_text(c.fx.st[i].significand);
    else
      for (unsigned i = 0; i < 16; ++i)
        s += " xmm" + std::to_string(i) + "=" + hex_text(c.fx.xmm[i][1]) + ":" + hex_text(c.fx.xmm[i][0]);
  }
  return s;
}

// ---- Rows

bool host_has(Feature feature) {
  if (feature == Feature::BASE) return true;
  for (const FeatureInfo& f : feature_table) {
    if (f.feature != feature) continue;
    unsigned r[4] = {};
    if (!__get_cpuid_count(f.leaf, f.subleaf, &r[0], &r[1], &r[2], &r[3])) return false;
    return r[static_cast<unsigned>(f.reg)] >> f.bit & 1;
  }
  return false;
}

constexpr const char* family_names[] = {"integer", "string", "system", "x87", "mmx", "sse", "crypto", "avx"};

struct Tally {
  uint64_t cases = 0, faults = 0, failures = 0;
};

bool wanted(unsigned row, const Options& o) {
  const Row& r = rows[row];
  if (r.kind == Kind::kind_unsupported || r.family == Family::avx) return false;
  if (r.family == Family::system) return false;  // the privileged rows need another oracle
  if (!o.only.empty() && o.only != r.mnemonic) return false;
  return o.family.empty() || o.family == family_names[static_cast<unsigned>(r.family)];
}

}  // namespace

int run(const Options& o) {
  Native native;
  if (native.problem()) {
    std::fprintf(stderr, "silicon: %s\n", native.problem());
    return 2;
  }
  FeatureSet features;
  for (const FeatureInfo& f : feature_table) features.set(f.feature, host_has(f.feature));
  auto runner = std::make_unique<VectorRunner>(features);
  Decoder decoder(features);
  Generator generator(o.seed);

  // Rows of 64- and of 32-bit code; a batch has one mode, since changing it costs the model its page tables.
  std::vector<unsigned> work[2];
  std::vector<Tally> tally(row_count * 2);
  for (unsigned row = 0; row < row_count; ++row)
    for (unsigned bits : {64u, 32u})
      if (wanted(row, o) && features.has(rows[row].feature) && (!o.mode || o.mode == bits) &&
          !(rows[row].attributes & (bits == 64 ? attribute::NO64 : attribute::ONLY64)))
        work[bits == 32].push_back(row);
  if (work[0].empty() && work[1].empty()) {
    std::fprintf(stderr, "silicon: no row of that name\n");
    return 2;
  }

  std::vector<Case> cases(Native::batch);
  std::vector<Outcome> outcomes(Native::batch);
  Outcome modelled;
  uint64_t done = 0, failures = 0;
  size_t next[2] = {};
  unsigned side = 0;
  double native_time = 0, model_time = 0, generator_time = 0;
  using clock = std::chrono::steady_clock;
  auto since = [](clock::time_point t) { return std::chrono::duration<double>(clock::now() - t).count(); };
  auto began = clock::now();
  while (o.seconds > 0 ? since(began) < o.seconds : done < o.cases) {
    auto t0 = clock::now();
    size_t count = 0;
    unsigned refused = 0;
    side ^= 1;
    if (work[side].empty()) side ^= 1;
    while (count < Native::batch && refused < 100000) {
      unsigned row = work[side][next[side]++ % work[side].size()];
      if (generator.make(row, side ? 32 : 64, cases[count]))
        ++count;
      else
        ++refused;
    }
    if (count == 0) break;
    generator_time += since(t0);
    t0 = clock::now();
    native.run({cases.data(), count}, outcomes);
    native_time += since(t0);
    t0 = clock::now();
    for (size_t i = 0; i < count; ++i) {
      const Case& c = cases[i];
      Instruction in;
      (void)decoder.decode({c.code, c.length}, c.bits, in);
      run_model(*runner, c, modelled);
      Tally& t = tally[c.row * 2 + (c.bits == 32)];
      ++t.cases;
      if (outcomes[i].exception != Outcome::none) ++t.faults;
      std::string text = differences(c, in, outcomes[i], modelled);
      if (text.empty()) continue;
      ++failures;
      if (++t.failures <= o.shown) std::printf("DIFF%s | %s\n", text.c_str(), describe(c, in).c_str());
    }
    model_time += since(t0);
    done += count;
  }

  unsigned rows_run = 0, rows_without = 0, rows_absent = 0, rows_failed = 0;
  for (unsigned row = 0; row < row_count; ++row) {
    if (!wanted(row, o)) continue;
    Tally sum;
    for (unsigned k = 0; k < 2; ++k) {
      const Tally& t = tally[row * 2 + k];
      sum.cases += t.cases, sum.faults += t.faults, sum.failures += t.failures;
    }
    const Row& r = rows[row];
    bool absent = !features.has(r.feature);
    rows_run += sum.cases != 0;
    rows_failed += sum.failures != 0;
    if (absent) {
      ++rows_absent;
      std::printf("not covered: %s %s (%s): this processor lacks it\n", r.mnemonic, r.operands, r.encoding);
    } else if (sum.cases == 0 && o.mode == 0) {
      ++rows_without;
      std::printf("without cases: %s %s (%s)\n", r.mnemonic, r.operands, r.encoding);
    }
    if (o.list_rows || sum.failures)
      std::printf("row %s %s (%s): %llu cases, %llu with exceptions, %llu differ\n", r.mnemonic, r.operands, r.encoding,
                  static_cast<unsigned long long>(sum.cases), static_cast<unsigned long long>(sum.faults),
                  static_cast<unsigned long long>(sum.failures));
  }
  std::printf("seed %llu: %llu cases over %u rows, %llu differ in %u rows; %u rows without cases, %u not on this processor\n",
              static_cast<unsigned long long>(o.seed), static_cast<unsigned long long>(done), rows_run,
              static_cast<unsigned long long>(failures), rows_failed, rows_without, rows_absent);
  std::printf("cases/s: %.0f generated, %.0f on silicon, %.0f on the model with comparison\n",
              static_cast<double>(done) / generator_time, static_cast<double>(done) / native_time,
              static_cast<double>(done) / model_time);
  return failures == 0 && rows_without == 0 ? 0 : 1;
}

}  // namespace silicon
