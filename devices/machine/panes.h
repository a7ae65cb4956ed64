// What the inspector's panes show and its commands tell: layers, exits, the current VMCS.
#pragma once

#include <string>
#include <vector>

#include "vmx-model/lanes.h"
#include "vmx-model/trace.h"

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

// All panes as one JSON object; Panes in web/matryoshka.d.ts describes it. Numbers that may have 64 bits are hexadecimal text.
std::string panes_json(const Processor& cpu);

}  // namespace matryoshka
