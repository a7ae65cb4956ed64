// The binary form of cases and results, as docs/vectors.md describes it. Bytes in, bytes out: who reads and writes them is the
// command's business, in a terminal or in Node.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cpu/vectors/vector_runner.h"

namespace matryoshka {

class VectorStream {
 public:
  static constexpr uint32_t version = 1;
  static constexpr uint32_t largest_case = 1 << 20;
  // Sections of a case beside the general registers, by bit.
  enum Section : uint32_t { segments = 1, x87 = 2, sse = 4, ymm = 8, control = 16 };
  enum Ending : uint8_t { completed, exception, halted, unfinished, refused };

  explicit VectorStream(VectorRunner& runner) : runner_(runner) {}

  // Runs every whole case at the front of `in`, appends the results to `out` and answers how many bytes were used. Once
  // error() has a sentence, nothing more is read.
  size_t feed(std::span<const uint8_t> in, std::vector<uint8_t>& out);
  const std::string& error() const { return error_; }
  uint64_t cases() const { return cases_; }

 private:
  void run_case(std::span<const uint8_t> record, std::vector<uint8_t>& out);

  VectorRunner& runner_;
  bool begun_ = false;
  uint64_t cases_ = 0;
  std::string error_;
};

}  // namespace matryoshka
