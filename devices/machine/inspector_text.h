// What the inspector has to say, as text: the monitor prints it, and the share `l0` carries it as files (inspector_tree.h).
//
// All of it follows from the saved state of the machine. What describes a layer that does not run is taken from its VMCS, which
// may not have reached memory yet, so the model is asked and not the region.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "devices/machine/walk_text.h"
#include "vmx-model/trace.h"
#include "vmx-model/vmcs.h"

namespace matryoshka {

class Processor;
namespace vmx {
class Vmx;
}

struct Layer {
  unsigned depth;
  std::string state;  // of its VMCS, or of VMX operation
  bool running;
  const vmx::Lane* lane;  // null: L1, which has no VMCS here
};
// From L1 down.
std::vector<Layer> layers_of(const vmx::Vmx& vmx);
std::string layers_text(const vmx::Vmx& vmx);

constexpr const char* no_current_vmcs = "There is no current VMCS.\n";

// "launched, active, current".
std::string vmcs_state(const vmx::Vmx& vmx, uint64_t address);
const vmx::Vmcs* active_vmcs(const vmx::Vmx& vmx, uint64_t address);
// The VMCS that keeps a layer which does not run at the moment: of several, the one that was used last.
const vmx::Vmcs* keeper_of(const vmx::Vmx& vmx, unsigned depth);
unsigned depth_of(const vmx::Vmx& vmx, uint64_t vmcs);
unsigned running_depth(const vmx::Vmx& vmx);
// What a VMCS has of its guest's registers, or of its host's.
std::string kept_registers_text(const vmx::Vmcs& vmcs, bool host);

std::string number_with_words(uint64_t value, const std::string& words);
std::string event_line(const vmx::TraceEvent& event);
std::string exits_text(const vmx::Trace& trace, uint64_t most);
std::string reasons_text(const vmx::Trace& trace);
// The last event of a kind that the ring still has, or null.
const vmx::TraceEvent* last_event(const vmx::Trace& trace, vmx::TraceEvent::Kind kind);
std::string why_text(const vmx::Vmx& vmx, const vmx::TraceEvent& event);
std::string why_exit_text(const vmx::Vmx& vmx);
std::string why_fail_text(const vmx::Vmx& vmx);

// Hexadecimal with or without 0x, as addresses are written.
bool read_address(const std::string& text, uint64_t& value);

// Where a walk starts. Nothing if there is no such layer.
WalkRoot guest_walk_root(const Processor& cpu, const vmx::Vmcs& vmcs);
std::optional<WalkRoot> walk_root(const Processor& cpu, unsigned depth);
std::string layer_walk_text(const Processor& cpu, unsigned depth, const WalkRoot& root, uint64_t linear);

}  // namespace matryoshka
