// The binary stream of cases.
#include "cpu/vectors/vector_stream.h"
#include "tests/fuzz/fuzz.h"

namespace matryoshka::fuzz {

namespace {

// A case may ask for as many instructions as it likes; here it gets a few.
void shorten(std::vector<uint8_t>& stream) {
  constexpr size_t header = 8, instructions = 12;
  for (size_t at = header; at + instructions + 8 <= stream.size(); at += 4 + size_t{peek<uint32_t>(stream, at)})
    poke(stream, at + instructions, peek<uint64_t>(stream, at + instructions) % 8);
}

}  // namespace

void vectors(Input input) {
  static VectorRunner runner;
  VectorStream cases(runner);
  const size_t first = input.take();
  const ByteSpan rest = input.all();
  std::vector<uint8_t> stream(rest.begin(), rest.end());
  shorten(stream);
  const ByteSpan bytes = stream;
  std::vector<uint8_t> out;
  // In two helpings, as a pipe gives it.
  size_t used = cases.feed(bytes.first(std::min(first, bytes.size())), out);
  if (cases.error().empty()) used += cases.feed(bytes.subspan(used), out);
  expect(used <= bytes.size(), "a stream is used up to its end at most");
}

}  // namespace matryoshka::fuzz
