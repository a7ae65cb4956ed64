// The second engine: decides what is compiled and when, hands modules to the host, and runs regions.
//
// A block that has run often enough is formed into a region and written at once; modules are made of several regions, since a
// module costs far more than a function. When exactly that happens changes nothing that the guest can see, so it may depend on
// anything.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cpu/isa.h"
#include "cpu/region_engine.h"
#include "wasm-jit/code_cache.h"
#include "wasm-jit/emitter.h"

namespace matryoshka::jit {

// What only JavaScript can do.
class ModuleHost {
 public:
  virtual ~ModuleHost() = default;
  // Compiles and instantiates; its functions then stand in the table. False if the host would not.
  virtual bool instantiate(const std::vector<uint8_t>& module) = 0;
  // The first of `count` consecutive slots of the table, once for all; 0 if there is no room.
  virtual uint32_t reserve(uint32_t count) = 0;
  virtual bool tail_calls() const = 0;
};

struct Statistics {
  uint64_t regions = 0, instructions = 0, modules = 0, bytes = 0, refused = 0, dropped = 0, links = 0;
  uint64_t exits[exit_kinds] = {};                                      // by ExitKind
  std::vector<uint32_t> taken_over = std::vector<uint32_t>(row_count);  // by row: what the interpreter went on with
};

class Engine final : public RegionEngine, private EmitterHost {
 public:
  // How many regions there may be. The least has room for a module and little more.
  static constexpr uint32_t capacity = 8192, least_capacity = 32;

  Engine(Processor& cpu, ModuleHost& host, uint32_t capacity = Engine::capacity);

  // From now on every region that is written is also written down: guest code beside its wasm.
  void trace() { traces_ = true; }
  // What was written down since the last call.
  std::string take_trace() { return std::exchange(trace_, {}); }

  // Compiles what waits; called between slices.
  void flush();
  const Statistics& statistics() const { return statistics_; }

  Outcome run(uint32_t entry, int32_t budget) override;
  void link(void* way, const Block& target) override;
  void taken_over(const Block& block, const Op& op, bool left) override;
  void consider(Processor& cpu, Block& block) override;
  void compile_now() override;
  uint32_t entry_for(uint64_t physical, uint32_t mode) const override;
  uint64_t drop_written(uint64_t page, uint64_t granules) override;
  void drop_all() override;

 private:
  Address new_cell() override;
  Address keep(const Op& op) override;
  Address keep(std::vector<ExitSite> sites) override;
  uint32_t helper_slot(const Op& op) override;
  Layout layout();
  template <bool may_go_on>
  static int32_t run_in_region(Processor& cpu, const Op& op);
  void compile_waiting();
  void write_down(const Region& region, const WasmWriter& body, const std::vector<StepMark>& marks);
  void forget_jumps();
  void compile_again(uint64_t physical);

  static constexpr size_t batch = 8;
  // A region that waits for company is compiled after so many ticks at the latest.
  static constexpr uint64_t longest_wait = 3'000'000;

  Processor& cpu_;
  ModuleHost& host_;
  CodeCache cache_;
  const uint32_t capacity_;
  const bool tail_calls_;
  uint32_t first_slot_ = 0, next_slot_ = 0;
  Translation* emitting_ = nullptr;
  struct Waiting {
    uint32_t number;
    RegionKey key;
    WasmWriter body;
  };
  std::vector<Waiting> waiting_;
  uint64_t waiting_since_ = 0;
  SlowSites slow_;
  bool left_at_site_ = false;  // the last region ended in front of an instruction that it could not do
  LinkCell interpreted_cell_, refused_cell_, fault_cell_, indirect_cell_, next_cell_, entered_cell_;
  std::vector<JumpEntry> jumps_;
  const Op* fault_op_ = nullptr;
  Statistics statistics_;
  bool traces_ = false;
  std::string trace_;
};

}  // namespace matryoshka::jit
