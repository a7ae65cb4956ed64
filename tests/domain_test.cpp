// Every inline row in both value domains: as the interpreter runs it, and recorded as a tree and evaluated. A row that
// compiles in only one of them does not get this far.
#include <catch2/catch.hpp>
#include <memory>
#include <string>

#include "cpu/decode.h"
#include "cpu/vectors/vector_runner.h"
#include "tests/silicon/generator.h"
#include "tests/tree_evaluator.h"
#include "wasm-jit/recorder.h"

using namespace matryoshka;

namespace {

void set_up(VectorRunner& runner, const silicon::Case& c) {
  static constexpr uint8_t nothing[1] = {0};
  using namespace silicon;
  CpuState& s = runner.begin(c.bits == 64 ? VectorRunner::Mode::long64 : VectorRunner::Mode::protected32);
  std::memcpy(s.gpr, c.gpr, sizeof c.gpr);
  s.rip = c.code_at();
  s.set_rflags(c.flags);
  if (c.bits == 64) s.segment[FS].base = fs_base, s.segment[GS].base = gs_base;
  for (uint64_t at = data_at; at < read_only_at; at += page) (void)runner.window(at, nothing, VectorRunner::writable);
  (void)runner.window(read_only_at, nothing, 0);
  (void)runner.window(stack_at, nothing, VectorRunner::writable);
  for (unsigned i = 0; i < c.windows; ++i)
    (void)runner.window(c.window[i].address, {c.window[i].bytes, c.window[i].size}, VectorRunner::writable);
  (void)runner.window(c.code_at(), {c.code, c.length}, VectorRunner::executable);
}

std::string hex(uint64_t v) {
  char text[20];
  std::snprintf(text, sizeof text, "%llx", static_cast<unsigned long long>(v));
  return text;
}

std::string differences(const VectorRunner& a, VectorRunner::End a_end, const VectorRunner& b, VectorRunner::End b_end) {
  std::string text;
  auto differ = [&](const std::string& what, uint64_t x, uint64_t y) {
    if (x != y) text += " " + what + " " + hex(x) + "/" + hex(y);
  };
  differ("end", static_cast<uint64_t>(a_end), static_cast<uint64_t>(b_end));
  differ("vector", a.exception().vector, b.exception().vector);
  differ("error", a.exception().error, b.exception().error);
  differ("cr2", a.exception().cr2, b.exception().cr2);
  for (unsigned i = 0; i < 16; ++i) differ("gpr" + std::to_string(i), a.state().gpr[i], b.state().gpr[i]);
  differ("rip", a.state().rip, b.state().rip);
  differ("result", static_cast<uint64_t>(a.state().flags.result), static_cast<uint64_t>(b.state().flags.result));
  differ("aux", a.state().flags.aux, b.state().flags.aux);
  differ("system flags", a.state().system_flags, b.state().system_flags);
  differ("changes", a.changes().size(), b.changes().size());
  if (!text.empty()) return text;
  for (size_t i = 0; i < a.changes().size(); ++i) {
    auto& x = a.changes()[i];
    auto& y = b.changes()[i];
    differ("address", x.address, y.address);
    if (x.bytes.size() != y.bytes.size() || std::memcmp(x.bytes.data(), y.bytes.data(), x.bytes.size()) != 0)
      text += " bytes at " + hex(x.address);
  }
  return text;
}

// A region leaves in front of an instruction, so all that may fault or miss comes before the first change of memory.
bool may_leave_late(const tree::Recording& recording) {
  using Effect = tree::EffectKind;
  bool changed = false, target_checked = false;
  for (const tree::Effect& e : recording.effects) {
    switch (e.kind) {
      case Effect::check_target: target_checked = true; [[fallthrough]];
      case Effect::load:
      case Effect::load_for_store:
      case Effect::stack_load:
      case Effect::fault_if:
        if (changed) return true;
        break;
      case Effect::store:
      case Effect::stack_store:
        if (changed) return true;
        [[fallthrough]];
      case Effect::store_back:
      case Effect::set_direction_flag: changed = true; break;
      case Effect::jump:
        if (changed && !target_checked) return true;
        break;
      default: break;
    }
  }
  return false;
}

}  // namespace

TEST_CASE("domain: A tree does what the interpreter does, row by row", "[domain]") {
  constexpr uint64_t seed = 1;
  constexpr unsigned cases_per_row = 300;
  auto concrete = std::make_unique<VectorRunner>(), symbolic = std::make_unique<VectorRunner>();
  FeatureSet features = VectorRunner::all_features();
  Decoder decoder(features);
  silicon::Generator generator(seed);
  std::vector<bool> met(row_count * 8);
  for (unsigned bits : {64u, 32u}) {
    for (unsigned row = 0; row < row_count; ++row) {
      if (rows[row].kind != Kind::kind_inline) continue;
      unsigned made = 0;
      for (unsigned attempt = 0; attempt < 2 * cases_per_row && made < cases_per_row; ++attempt) {
        silicon::Case c;
        if (!generator.make(row, bits, c)) continue;
        Instruction in;
        if (decoder.decode({c.code, c.length}, bits, in) != DecodeResult::ok || rows[in.row].kind != Kind::kind_inline) continue;
        ++made;

        set_up(*concrete, c);
        VectorRunner::End concrete_end = concrete->run(1);

        set_up(*symbolic, c);
        bool overlong = false, late = false;
        VectorRunner::End symbolic_end = symbolic->run_with([&](Processor& cpu) {
          Op op = lower(in, cpu.mode(), in.length);
          met[op.id] = true;
          tree::Recording recording;
          jit::record(op, recording);
          late = may_leave_late(recording);
          tree::Evaluator evaluator(recording, cpu, op);
          evaluator.run();
          overlong = evaluator.met_overlong_shift();
        });

        std::string text = differences(*concrete, concrete_end, *symbolic, symbolic_end);
        if (overlong) text += " a shift by 64 or more";
        if (late) text += " what may leave a region comes after a change";
        if (text.empty()) continue;
        std::string code;
        for (unsigned i = 0; i < c.length; ++i) code += hex(c.code[i]) + " ";
        FAIL_CHECK("seed " << seed << ", " << bits << " bits: " << code << rows[in.row].mnemonic << " " << rows[in.row].operands
                           << ":" << text);
        break;
      }
    }
  }
  for (unsigned id = 0; id < row_count * 8; ++id) {
    if (!jit::can_record(static_cast<uint16_t>(id)) || met[id]) continue;
    const Row& row = rows[id >> 3];
    // No bytes lead there: 64 bits without 64-bit mode, 16 bits where 66 may not stand.
    unsigned width = 8u << (id >> 1 & 3);
    if (width == 64 && row.attributes & attribute::NO64) continue;
    if (width == 16 && std::string_view(row.encoding).starts_with("NP")) continue;
    FAIL_CHECK("no case for " << row.mnemonic << " " << row.operands << " at " << (8u << (id >> 1 & 3)) << " bits, "
                              << (id & 1 ? "memory" : "register"));
  }
}
