// One instruction at a time: what its recording says, as wasm.
//
// Guest registers stand in wasm locals that are true at each instruction's start, so an instruction which cannot go on (its page
// is not in the TLB) leaves the region as if it had never begun, and the interpreter does it. For that, everything that may leave
// comes before everything that changes state: first all of an instruction's values, then its locals are set.
#pragma once

#include <array>
#include <optional>

#include "wasm-jit/emitter.h"
#include "wasm-jit/flag_shapes.h"
#include "wasm-jit/function_writer.h"
#include "wasm-jit/vector_step.h"

namespace matryoshka::jit {

// The flags at some point: which shapes they may have. One shape: it is known. Several: the local flag_kind tells.
struct FlagsHere {
  uint32_t shapes = FlagState{}.bit();
  bool known() const { return (shapes & (shapes - 1)) == 0; }
  FlagState state() const { return FlagState::of_index(static_cast<unsigned>(__builtin_ctz(shapes))); }
};

class StepEmitter {
 public:
  StepEmitter(const Region& region, const Layout& layout, EmitterHost& host, FunctionWriter& f);

  // Leaves the region if the i32 on the stack is not zero; given by the control-flow side, which knows the labels.
  // From inside `depth` blocks that the control-flow side does not know.
  std::function<void(int64_t distance, unsigned done, unsigned depth)> leave_if;
  std::function<void(const Step& step, Address op)> leave_if_helper_failed;
  std::function<void(const Step& step, uint32_t cell)> leave_by;  // by the cell in this local, if it is not 0
  std::function<void(uint32_t cell)> leave_at_once;               // likewise in any case, everything being in memory
  std::function<void(bool)> block;                                // opens one, or closes the innermost
  std::function<unsigned()> longest_here;                         // instructions until the budget is looked at

  FlagsHere flags;
  VectorStep vectors;
  unsigned done = 0;  // instructions since the budget was last brought up to date

  // `followed`: by an instruction that an STI's shadow can go with.
  void step(const Step& step, bool followed);
  // After the last step of a node: the i32 of its condition, or where an indirect jump goes.
  uint32_t condition_local() const { return *condition_; }
  uint32_t target_local() const { return *target_; }

  // Before anything is written, every step is announced: the registers of the whole region must be known at its first call of a
  // helper. Answers the shapes that the step may leave the flags in; nothing if it does not touch them.
  std::optional<uint32_t> announce(const Step& step);

  // What the fault of a helper needs to know that its call did not: where it stands, for registers alone everything.
  void note_fault(const Step& step, Address op, unsigned done);

  void flush_budget();
  void set_flag_kind();
  // ---- For the function's two ends
  WasmWriter load_registers(uint16_t which = all_registers, bool with_flags = true, uint16_t which_xmm = all_registers) const;
  static constexpr uint16_t all_registers = 0xffff;
  void store_registers(uint16_t which = all_registers, uint16_t which_xmm = all_registers);
  void store_flags(uint32_t shapes);

  static constexpr uint32_t budget = 0;  // a parameter
  const uint32_t base;                   // the entry's RIP
  const uint32_t flag_kind;

 private:
  using EffectKind = tree::EffectKind;

  // What a helper has to do with general registers and flags.
  struct Needs {
    uint16_t reads = all_registers, writes = all_registers;
    uint16_t xmm = all_registers;
    bool flags = true;
    bool place = true;   // it looks at RIP or the clock before it faults
    bool memory = true;  // it may reach a device, or code
  };
  static Needs needs_of(const Op& op);
  void note_ticks(unsigned done, Address op);
  void note_rip(const Step& step);

  void leave(unsigned depth);
  void with_slow_way(const Step& step);
  void call_helper(const Step& step, const Needs& needs);
  Needs needs_of_slow(const Step& step);
  std::optional<FlagState> state_after(const Step& step);
  void text(const Step& step);
  void vector(const Step& step);
  void helper(const Step& step);
  void call(const Step& step, bool followed);
  void last(const Step& step);
  uint32_t run_in_region(const Step& step, Address function);
  static void find_general_operands(const Op& op, uint16_t& reads, uint16_t& writes);
  Value import(tree::NodeId id);
  Value import_new(tree::NodeId id);
  Value linear_address(const tree::Effect& effect, unsigned bits);
  void translate(Value address, unsigned bits, bool write, bool aligned = false);
  Value flag_operand(bool second, FlagState s);
  void effect(const tree::Effect& e, uint32_t number);
  void commit();
  void make_flags_plain();
  void make_flags_plain_and_store();
  Value flag_word(bool aux);
  uint32_t gpr_local(unsigned n);
  template <class Visit>
  void for_each_use(Visit visit) const;
  bool asks_for_flags() const;
  void check_target(Value target);

  const Region& region_;
  const Layout& layout_;
  EmitterHost& host_;
  FunctionWriter& f_;
  WasmWriter& code_;

  std::array<std::optional<uint32_t>, 16> gpr_;
  std::array<bool, 16> changed_{};
  bool flags_used_ = false, flags_changed_ = false;
  const uint32_t flag_result_, flag_aux_, flag_a_, flag_b_;
  const uint32_t cell_;
  bool has_slow_way_ = false;  // what cannot be done breaks out of a block instead of the region
  bool shadow_ = false;        // the step before was an STI
  uint32_t entry_;             // TLB entry of the access at hand
  std::optional<uint32_t> condition_, target_;

  // Of the instruction at hand
  const Step* step_ = nullptr;
  const tree::Recording* recording_ = nullptr;
  std::vector<std::optional<Value>> imported_;
  std::vector<std::optional<uint32_t>> loaded_, places_;
  std::array<std::optional<tree::NodeId>, 16> new_gpr_;
  std::optional<std::pair<tree::NodeId, tree::NodeId>> new_flags_;
  std::vector<tree::NodeId> checked_targets_;
  bool stored_ = false;
};

}  // namespace matryoshka::jit
