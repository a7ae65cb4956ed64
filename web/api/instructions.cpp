// Single instructions for JavaScript: cases of docs/vectors.md through this build's engines, and the text of bytes.
#include <emscripten.h>

#include <memory>
#include <string>
#include <vector>

#include "cpu/decode.h"
#include "cpu/disassemble.h"
#include "cpu/isa.h"
#include "cpu/vectors/vector_stream.h"
#include "web/api/compiler.h"

using namespace matryoshka;

#define EXPORT extern "C" EMSCRIPTEN_KEEPALIVE

namespace {

struct Cases {
  VectorRunner runner;
  VectorStream stream{runner};
  std::vector<uint8_t> in, out;
  Compiler compiler;
  std::unique_ptr<jit::Engine> engine;
};

Cases& cases() {
  static Cases* cases = new Cases;
  return *cases;
}

std::string& text() {
  static std::string* text = new std::string;
  return *text;
}

}  // namespace

EXPORT uint8_t* mx_vectors_buffer(size_t size) {
  cases().in.resize(size);
  return cases().in.data();
}
// From now on cases run in regions, each of its own. Few are kept: none is met again.
EXPORT void mx_vectors_compile() {
  Cases& c = cases();
  c.engine = std::make_unique<jit::Engine>(c.runner.processor(), c.compiler, jit::Engine::least_capacity);
  c.runner.use_regions(*c.engine);
}
EXPORT double mx_vectors_in_regions() { return static_cast<double>(cases().runner.processor().instructions_in_regions); }
// Runs the whole cases at the front of the buffer's first `size` bytes and answers how many bytes they had.
EXPORT size_t mx_vectors_feed(size_t size) {
  Cases& c = cases();
  c.out.clear();
  return c.stream.feed({c.in.data(), size}, c.out);
}
EXPORT const uint8_t* mx_vectors_results() { return cases().out.data(); }
EXPORT size_t mx_vectors_results_size() { return cases().out.size(); }
EXPORT double mx_vectors_count() { return static_cast<double>(cases().stream.cases()); }
// Empty, or why no more is read.
EXPORT const char* mx_vectors_error() { return cases().stream.error().data(); }
EXPORT size_t mx_vectors_error_size() { return cases().stream.error().size(); }

// The length of the instruction at the front of the vectors buffer's first `size` bytes, or 0 for #UD, -1 if it is too long, -2
// if it goes on beyond them. What the table only names, as the AVX rows, has a length too. mx_text() is what it says.
EXPORT int mx_decode(size_t size, unsigned code_bits, double address) {
  static const Decoder* decoder = [] {
    FeatureSet all;
    all.bits.set();
    return new Decoder(all);
  }();
  Instruction in;
  DecodeResult result = decoder->decode({cases().in.data(), size}, code_bits, in);
  bool named = result == DecodeResult::invalid && rows[in.row].kind == Kind::kind_unsupported && !in.lock;
  text().clear();
  if (result == DecodeResult::too_long) return -1;
  if (result == DecodeResult::needs_more) return -2;
  if (result == DecodeResult::invalid && !named) return 0;
  text() = named ? rows[in.row].mnemonic : disassemble(in, code_bits, static_cast<uint64_t>(address));
  return in.length;
}
EXPORT const char* mx_text() { return text().data(); }
EXPORT size_t mx_text_size() { return text().size(); }
