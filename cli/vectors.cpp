#include "cli/vectors.h"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "cpu/vectors/vector_stream.h"

namespace matryoshka {

namespace {

constexpr int ended_well = 0, failed = 1, bad_usage = 2;

int refuse(const std::string& sentence) {
  std::fprintf(stderr, "matryoshka vectors: %s.\n", sentence.c_str());
  return bad_usage;
}

constexpr char help[] =
    "usage: matryoshka vectors [--engine interp] [--stats] < cases > results\n"
    "\n"
    "Runs single instructions and short blocks from given states and writes the resulting ones, or the exception that came.\n"
    "docs/vectors.md describes the format. --stats says how many a second on standard error.\n";

}  // namespace

int vectors_command(const std::vector<std::string>& arguments) {
  bool stats = false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--help") {
      std::fputs(help, stdout);
      return ended_well;
    }
    if (arguments[i] == "--stats") {
      stats = true;
      continue;
    }
    if (arguments[i] != "--engine" || i + 1 == arguments.size())
      return refuse("there is no option '" + arguments[i] + "'; --help lists them");
    if (arguments[++i] != "interp") return refuse("the native build has no engine '" + arguments[i] + "', only 'interp'");
  }
  VectorRunner runner;
  VectorStream stream(runner);
  std::vector<uint8_t> in, out;
  size_t held = 0;
  std::chrono::duration<double> running{};
  for (;;) {
    in.resize(held + (1 << 20));
    ssize_t got = read(STDIN_FILENO, in.data() + held, in.size() - held);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::fprintf(stderr, "matryoshka vectors: cannot read the cases: %s.\n", std::strerror(errno)), failed;
    if (got == 0) break;
    held += static_cast<size_t>(got);
    out.clear();
    auto began = std::chrono::steady_clock::now();
    size_t used = stream.feed({in.data(), held}, out);
    running += std::chrono::steady_clock::now() - began;
    std::memmove(in.data(), in.data() + used, held - used);
    held -= used;
    if (std::fwrite(out.data(), 1, out.size(), stdout) != out.size()) return failed;
    if (!stream.error().empty()) return refuse(stream.error());
  }
  if (held != 0) return refuse("the input ends inside a case");
  if (stats)
    std::fprintf(stderr, "%llu cases, %.0f a second\n", static_cast<unsigned long long>(stream.cases()),
                 static_cast<double>(stream.cases()) / running.count());
  return std::fflush(stdout) == 0 ? ended_well : failed;
}

}  // namespace matryoshka
