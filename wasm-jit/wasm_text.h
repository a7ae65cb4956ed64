// The body of a function as WebAssembly text, one instruction to a line, indented by its blocks. For --trace jit and for goldens.
#pragma once

#include <string>
#include <vector>

#include "wasm-jit/wasm_writer.h"

namespace matryoshka::jit {

// A line of comment before the instruction at this offset.
struct Note {
  size_t offset;
  std::string text;
};

// `body` is what FunctionWriter::finish() gives: declarations, code, `end`. Notes are in order of their offsets.
std::string text_of(const WasmWriter& body, const std::vector<Note>& notes = {});

}  // namespace matryoshka::jit
