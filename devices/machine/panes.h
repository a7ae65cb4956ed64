// What the inspector's panes show: layers, exits, the current VMCS.
#pragma once

#include <string>

namespace matryoshka {

class Processor;

// All panes as one JSON object; Panes in web/matryoshka.d.ts describes it. Numbers that may have 64 bits are hexadecimal text.
std::string panes_json(const Processor& cpu);

}  // namespace matryoshka
