// silicon: executes the rows of the instruction table on the processor below and on the model, and compares.
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "tests/silicon/campaign.h"

namespace {

constexpr char help[] =
    "usage: silicon [OPTION...]\n"
    "\n"
    "  --cases N       how many (1000000)\n"
    "  --seconds S     for how long, instead\n"
    "  --seed S        1; 'fresh' takes the time of day and prints it\n"
    "  --only NAME     rows of this mnemonic\n"
    "  --family NAME   integer, string, system, x87, mmx, sse or crypto\n"
    "  --mode BITS     64, 32 or 16\n"
    "  --repeat CASE   one case, as a failure names it\n"
    "  --show N        failures printed per row (3)\n"
    "  --rows          the figures of every row\n"
    "  --results FILE  writes the figures for docs/coverage.md\n";

}  // namespace

int main(int argc, char** argv) {
  silicon::Options o;
  std::string results;
  for (int i = 1; i < argc; ++i) {
    std::string name = argv[i];
    auto text = [&]() -> std::string { return i + 1 < argc ? argv[++i] : ""; };
    auto number = [&] { return std::strtoull(text().c_str(), nullptr, 0); };
    if (name == "--cases") {
      o.cases = number();
    } else if (name == "--seconds") {
      o.seconds = std::strtod(text().c_str(), nullptr);
    } else if (name == "--seed") {
      std::string seed = text();
      auto now = std::chrono::system_clock::now().time_since_epoch().count();
      o.seed = seed == "fresh" ? static_cast<uint64_t>(now) : std::strtoull(seed.c_str(), nullptr, 0);
    } else if (name == "--only") {
      o.only = text();
    } else if (name == "--family") {
      o.family = text();
    } else if (name == "--mode") {
      o.mode = text();
    } else if (name == "--repeat") {
      o.repeat = text();
    } else if (name == "--show") {
      o.shown = static_cast<unsigned>(number());
    } else if (name == "--rows") {
      o.list_rows = true;
    } else if (name == "--results") {
      results = text();
    } else if (name == "--help") {
      return std::fputs(help, stdout), 0;
    } else {
      return std::fprintf(stderr, "silicon: there is no option '%s'; --help lists them.\n", name.c_str()), 2;
    }
  }
  silicon::Result result = silicon::run(o);
  if (result.problem) return std::fprintf(stderr, "silicon: %s.\n", result.problem), 2;
  if (!results.empty()) {
    std::FILE* f = std::fopen(results.c_str(), "w");
    if (!f) return std::fprintf(stderr, "silicon: cannot write '%s'.\n", results.c_str()), 2;
    std::fputs(silicon::results_text(o, result).c_str(), f);
    std::fclose(f);
  }
  return result.clean() ? 0 : 1;
}
