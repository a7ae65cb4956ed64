// Holds the second engine against the interpreter while a guest runs (--engine verify).
//
// A region runs first, on the machine itself, and says how many ticks it took. What it has changed is noted and taken back, then
// the interpreter goes through the same ticks, and both must have come to the same processor, the same bytes, the same dirty
// marks and the same TLB entries. The interpreter's outcome is what stays, so the guest runs on exactly as under --engine interp.
//
// Stores of a region go straight through the TLB's write tags and leave no trace. So only a few pages are open for them at a
// time, and each has a copy to compare with; all other changes pass through ChangeWatcher. A region that is about to reach a
// device is taken back and not compared: the access must happen once. For the same reason a region ends in front of a row of kind
// leave.
//
// When the two differ, the run is repeated from its beginning with less and less to do, until the shortest one that still differs
// is found; its instructions are what the report shows.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cpu/processor.h"

namespace matryoshka {

class RegionVerifier final : private ChangeWatcher {
 public:
  // `seed` chooses after how many ticks regions are made to stop.
  RegionVerifier(Processor& cpu, uint64_t seed);
  ~RegionVerifier() override;

  struct Figures {
    uint64_t runs = 0, instructions = 0;  // that were compared
    uint64_t set_aside = 0;               // runs that would have reached a device
  };
  const Figures& figures() const { return figures_; }
  // What the first difference was, over several lines; empty if there is none. The processor stops there.
  const std::string& difference() const { return difference_; }

  // From the run loop: the region with this entry, at the processor's RIP.
  Processor::AfterRegion run(uint32_t entry);
  // The interpreter has met a fault, which is not delivered yet.
  void met_fault();
  // From a region that wants an instruction done in it (Processor::run_in_region). True: it ends in front of that. Rows of kind
  // leave may do anything, and once; and what does not come back to its region would have its fault delivered.
  bool stops_before(const Op& op, bool may_go_on);

 private:
  // Where one of the two has come to.
  struct Outcome {
    CpuState state;
    uint64_t ticks = 0;
    Fault fault;
  };
  struct Page {
    uint64_t number;
    bool open, dirty_before, dirty_after_region = false;
    bool changed_by_region = false;
    uint8_t before[page_size], after_region[page_size];
  };
  struct ChangedSet {
    TlbSet* set;
    TlbSet before, after_region;
  };
  enum class Phase : uint8_t { none, region, interpreter };

  void before_write(uint64_t page) override;
  void opened(uint64_t page) override;
  void before_fill(TlbSet& set) override;
  bool may_reach_device() override;

  void begin();
  bool compare(uint32_t entry, int32_t budget, std::string& report);
  void run_region(uint32_t entry, int32_t budget);
  void interpret(uint64_t until);
  void take_back();
  void compare_state(std::string& text);
  void compare_memory(std::string& text);
  void compare_tlb(std::string& text);
  void audit(const std::vector<TlbEntry>& before, std::string& text);
  void explain(uint32_t entry, int32_t budget, std::string report);
  Page& page(uint64_t number);
  uint8_t* bytes(const Page& p) { return cpu_.memory.ram().data() + p.number * page_size; }
  uint64_t random(uint64_t below);

  Processor& cpu_;
  uint64_t random_;
  Phase phase_ = Phase::none;
  std::vector<std::unique_ptr<Page>> pages_, spare_;  // those watched, the open ones in the order in which they were opened
  std::vector<std::unique_ptr<ChangedSet>> changed_sets_, spare_sets_;
  Outcome before_, region_, interpreter_;
  RegionEngine::Outcome way_out_ = {};
  uint32_t before_mode_ = 0;
  std::optional<uint64_t> stopped_at_;  // RIP of what the region may not do
  bool reached_device_ = false, fault_met_ = false;
  Figures figures_;
  std::string difference_, at_fault_;
};

}  // namespace matryoshka
