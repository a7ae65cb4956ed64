#include "tests/silicon/model.h"

#include <string_view>

#include "cpu/isa.h"
#include "tests/silicon/segments.h"

namespace silicon {

using namespace matryoshka;

namespace {

constexpr uint64_t global_table_at = 0xfffffe0000001000, local_table_at = 0xffff880000000000;

// What Linux's tables would have loaded.
Segment loaded(uint16_t selector) {
  if (selector < 4) return {selector, Segment::unusable_bit, 0, 0};
  unsigned index = selector >> 3;
  Descriptor d{selector & 4 ? local_table[index].descriptor() : global_table[index], 0};
  return d.load(selector);
}

// Both tables as windows, for the instructions that read them.
void give_tables(VectorRunner& runner, CpuState& s) {
  uint64_t local[local_count];
  for (unsigned i = 0; i < local_count; ++i) local[i] = local_table[i].descriptor();
  auto bytes = [](const auto& table) { return std::span(reinterpret_cast<const uint8_t*>(table), sizeof table); };
  (void)runner.window(global_table_at, bytes(global_table), VectorRunner::writable | VectorRunner::supervisor);
  (void)runner.window(local_table_at, bytes(local), VectorRunner::writable | VectorRunner::supervisor);
  constexpr uint16_t linux_global_limit = 0x7f;
  constexpr uint32_t present_table = 0x82;
  s.gdtr = {linux_global_limit, global_table_at};
  s.ldtr = {0x50, present_table, sizeof local - 1, local_table_at};
  // A task state whose map of ports begins beyond its limit: there are none.
  static constexpr uint8_t no_ports[2] = {0xff, 0x7f};
  constexpr uint64_t task_at = 0xfffffe0000003000;
  constexpr uint32_t busy_task = 0x8b;
  (void)runner.window(task_at + 0x66, no_ports, VectorRunner::writable | VectorRunner::supervisor);
  s.tr = {0x40, busy_task, 0x67, task_at};
}

void load_segments(VectorRunner& runner, const Case& c, CpuState& s) {
  if (c.segmented || c.tables)
    for (unsigned i = 0; i < 6; ++i) s.segment[i] = loaded(c.selector[i]);
  // A null selector keeps the base that was there before.
  if (c.bits == 64 || c.selector[FS] < 4) s.segment[FS].base = fs_base;
  if (c.bits == 64 || c.selector[GS] < 4) s.segment[GS].base = gs_base;
  if (c.tables) give_tables(runner, s);
}

}  // namespace

void run_model(VectorRunner& runner, const Case& c, const Instruction& in, Outcome& out, const Mutation* mutation) {
  static constexpr uint8_t nothing[1] = {0};
  // Flat 32-bit code runs in protected mode, all else as here in long mode, which 16- and 32-bit segments do not leave.
  bool legacy = c.bits == 32 && !c.segmented;
  CpuState& s = runner.begin(legacy ? VectorRunner::Mode::protected32 : VectorRunner::Mode::long64);
  std::memcpy(s.gpr, c.gpr, sizeof c.gpr);
  s.rip = c.rip();
  s.set_rflags(c.flags);
  load_segments(runner, c, s);
  if (c.floating) {
    s.mxcsr = c.fx.mxcsr;
    for (unsigned i = 0; i < 16; ++i) s.xmm[i].q[0] = c.fx.xmm[i][0], s.xmm[i].q[1] = c.fx.xmm[i][1];
    s.x87.control = c.fx.control, s.x87.status = c.fx.status, s.x87.valid = c.fx.tags;
    for (unsigned i = 0; i < 8; ++i) s.x87.st(i) = {c.fx.st[i].significand, c.fx.st[i].sign_exponent};
  }
  for (uint64_t at = data_at; at < read_only_at; at += page) (void)runner.window(at, nothing, VectorRunner::writable);
  (void)runner.window(read_only_at, {&read_only_first, 1}, 0);
  (void)runner.window(stack_at, nothing, VectorRunner::writable);
  for (unsigned i = 0; i < c.windows; ++i)
    (void)runner.window(c.window[i].address, {c.window[i].bytes, c.window[i].size}, VectorRunner::writable);
  (void)runner.window(c.code_at(), {c.code, c.length}, VectorRunner::executable);

  if (mutation && mutation->before) mutation->before(c, in, s);

  VectorRunner::End end = runner.run(1);
  const CpuState& r = runner.state();
  std::memcpy(out.gpr, r.gpr, sizeof out.gpr);
  out.rip = r.rip, out.flags = r.rflags();
  out.exception = end == VectorRunner::End::exception ? runner.exception().vector : Outcome::none;
  out.died = end == VectorRunner::End::unfinished ? 254 : 0;
  out.error = runner.exception().error, out.cr2 = runner.exception().cr2;
  for (unsigned i = 0; i < 6; ++i) out.selector[i] = r.segment[i].selector;
  out.fs_base = r.segment[FS].base, out.gs_base = r.segment[GS].base;
  // Linux lets programs call the gates of INT3 and INTO only; INT n to any other is a #GP that names it.
  if (std::string_view(rows[c.row].mnemonic) == "INT" && out.rip == c.rip() + c.length &&
      out.exception == (in.immediate & 0xff) && out.exception != BP_vector && out.exception != OF_vector) {
    out.exception = GP_vector, out.error = static_cast<uint32_t>(in.immediate & 0xff) * 8 + 2;
    out.rip = c.rip();
  }
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
  if (mutation && mutation->after) mutation->after(c, in, out);
}

}  // namespace silicon
