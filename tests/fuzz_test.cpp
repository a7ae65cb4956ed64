// Every input that the fuzzers keep, in every build: what was once a crash stays mended.
#include "tests/fuzz/fuzz.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>

using namespace matryoshka;

TEST_CASE("fuzz: Every input of the corpora passes", "[fuzz]") {
  for (const fuzz::Target& target : fuzz::targets) {
    DYNAMIC_SECTION(target.name) {
      std::vector<std::filesystem::path> files;
      for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(FUZZ_CORPUS) / target.name))
        files.push_back(entry.path());
      std::sort(files.begin(), files.end());
      CHECK(files.size() >= 5);
      for (const auto& path : files) {
        INFO(path.filename());
        std::ifstream file(path, std::ios::binary);
        const std::vector<uint8_t> bytes{std::istreambuf_iterator<char>(file), {}};
        CHECK(bytes.size() <= 4096);
        target.run(fuzz::Input(bytes));
      }
    }
  }
}
