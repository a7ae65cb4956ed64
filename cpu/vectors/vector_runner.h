// Runs single instructions and short blocks from a given state to a resulting one: the engine side of every differential test.
//
// A case is made of three calls: begin() gives a state to fill in, window() places memory, run() goes. One processor lives
// through all cases, and what a case did not touch is not set up again, so that one costs about a microsecond.
//
//   CpuState& s = runner.begin(VectorRunner::Mode::long64);
//   s.rip = 0x1000, s.gpr[RAX] = 1;
//   runner.window(0x1000, bytes, VectorRunner::executable);
//   if (runner.run(1) == VectorRunner::End::exception) ... runner.exception() ...
//
// Memory. In the protected modes paging is on and exactly the pages that some window touches are there; their other bytes
// are zero. In real mode the first 1 MiB + 64 KiB is memory, but for the video window at A0000h. Addresses are linear.
//
// This needs a processor and memory but no board, so the folder stands above cpu/ and beside devices/machine/.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "cpu/decode.h"
#include "cpu/processor.h"

namespace matryoshka {

class VectorRunner final : private ProcessorHost {
 public:
  enum class Mode : uint8_t { real16, protected16, protected32, long64 };
  enum class End : uint8_t {
    completed,  // the instructions asked for, or the stop address was reached
    exception,  // RIP is where the exception would have pushed it
    halted,
    unfinished  // a repeated instruction did not end within the allowed iterations
  };
  struct Exception {
    uint8_t vector = 0;
    bool has_error = false;
    uint32_t error = 0;
    uint64_t cr2 = 0;  // of a page fault
  };
  struct Change {
    uint64_t address;
    std::span<const uint8_t> bytes;
  };
  static constexpr uint8_t writable = 1, executable = 2, supervisor = 4;
  static constexpr uint64_t nowhere = ~uint64_t{0};
  static constexpr unsigned max_pages = 64;

  explicit VectorRunner(const FeatureSet& features = all_features());
  ~VectorRunner();
  static FeatureSet all_features();

  // The state of a fresh case: registers zero, flat segments of the privilege level, x87 and SSE as after FNINIT and reset.
  CpuState& begin(Mode mode, unsigned privilege = 3);
  // Places bytes. A page has the rights of all its windows together. False if there are too many pages, or no such memory.
  [[nodiscard]] bool window(uint64_t address, std::span<const uint8_t> bytes, uint8_t access);
  End run(uint64_t instructions, uint64_t stop_address = nowhere);
  // The same with an engine of the caller's own, for one instruction: `engine(Processor&)` leaves what it met in
  // Processor::fault, with RIP at the instruction.
  template <class Engine>
  End run_with(Engine engine) {
    start();
    engine(*cpu_);
    if (cpu_->fault.pending) cpu_->deliver_fault();
    return finish(event_ ? End::exception : End::completed);
  }

  // From now on a case is run twice, the second time from regions that hold no more than it, and that is its result. Repeated
  // string instructions, and modes that regions do not know, are interpreted as before.
  void use_regions(RegionEngine& engine);
  Processor& processor() { return *cpu_; }

  // What came out; valid until the next begin().
  const CpuState& state() const { return cpu_->state; }
  const Exception& exception() const { return exception_; }
  // Bytes that differ from what they were. Neighbouring changes up to 8 bytes apart are one.
  std::span<const Change> changes() const { return changes_; }
  uint64_t instructions_run() const { return cpu_->state.retired; }

 private:
  struct Page {
    uint64_t linear;
    uint8_t* bytes;    // in RAM
    uint8_t* initial;  // what run() began with
    uint8_t access;
    bool mapped;         // by the page tables
    bool present;        // some window of this case touches it
    uint16_t low, high;  // only [low, high) may hold anything but zeros
  };

  void triple_fault() override;
  uint64_t random() override { return 0x5eed5eed5eed5eed; }
  bool takes_event(uint8_t vector, bool has_error, uint32_t error) override;

  void enter(Mode mode);
  void clean();
  void follow_control_registers();
  Page* page(uint64_t linear, uint8_t access);
  void map(Page& page, bool present);
  uint64_t table_below(uint64_t entry_address);
  void start();
  End finish(End end);
  End step_through(uint64_t instructions, uint64_t stop_address);
  bool run_one();
  End run_in_regions(const CpuState& began, uint64_t ticks);
  void rewind(const CpuState& began, uint64_t tick);
  uint64_t safe_ticks(uint64_t& end);
  bool reachable(uint64_t linear) const;
  void note_stray_writes();
  void find_changes();

  Bus bus_;
  Clock clock_;
  PhysicalMemory memory_;
  std::unique_ptr<Processor> cpu_;
  Decoder decoder_;
  CpuState fresh_[4][4];  // by mode and privilege
  Mode mode_ = Mode::long64;
  bool entered_ = false;
  // What the TLBs were filled under; a case may bring other values, or a privileged one leave them.
  struct Control {
    uint64_t cr0, cr3, cr4, efer;
    bool operator==(const Control&) const = default;
  } control_ = {};
  uint64_t next_table_ = 0;

  Page pages_[max_pages];
  unsigned page_count_ = 0;
  std::vector<uint8_t> initial_;
  std::vector<Change> changes_;
  bool event_ = false;
  Exception exception_;
  RegionEngine* regions_ = nullptr;
  bool in_portions_ = false;  // the last run_one() went on with a repeated instruction
};

}  // namespace matryoshka
