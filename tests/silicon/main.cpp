// silicon: executes the rows of the instruction table on the processor below and on the model, and compares.
//
//   silicon [--cases N | --seconds S] [--seed S] [--only MNEMONIC] [--family NAME] [--mode 32|64] [--show N] [--rows]
#include <cstdio>
#include <cstdlib>

#include "tests/silicon/campaign.h"

int main(int argc, char** argv) {
  silicon::Options o;
  for (int i = 1; i < argc; ++i) {
    std::string name = argv[i];
    auto text = [&]() -> std::string { return i + 1 < argc ? argv[++i] : ""; };
    auto number = [&] { return std::strtoull(text().c_str(), nullptr, 0); };
    if (name == "--cases")
      o.cases = number();
    else if (name == "--seconds")
      o.seconds = std::strtod(text().c_str(), nullptr);
    else if (name == "--seed")
      o.seed = number();
    else if (name == "--only")
      o.only = text();
    else if (name == "--family")
      o.family = text();
    else if (name == "--mode")
      o.mode = static_cast<unsigned>(number());
    else if (name == "--show")
      o.shown = static_cast<unsigned>(number());
    else if (name == "--rows")
      o.list_rows = true;
    else {
      std::fprintf(stderr, "silicon: unknown option %s\n", name.c_str());
      return 2;
    }
  }
  return silicon::run(o);
}
