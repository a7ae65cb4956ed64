// The instruction table against the processor below, with a fixed seed; tests/silicon/ explains. A longer run:
// build/native/tests/silicon/silicon --cases 100000000 --seed 2
#ifdef HAVE_SILICON

#include <catch2/catch.hpp>

#include "tests/silicon/campaign.h"

TEST_CASE("Every integer and string row does what the processor does", "[silicon]") {
  for (const char* family : {"integer", "string"}) {
    INFO("family " << family << ", seed 1; the differing cases are printed");
    silicon::Options options;
    options.family = family;
    options.cases = 400'000;
    CHECK(silicon::run(options) == 0);
  }
}

TEST_CASE("Every x87, MMX, SSE and crypto row does what the processor does", "[silicon]") {
  for (const char* family : {"x87", "mmx", "sse", "crypto"}) {
    INFO("family " << family << ", seed 1; the differing cases are printed");
    silicon::Options options;
    options.family = family;
    options.cases = 150'000;
    CHECK(silicon::run(options) == 0);
  }
}

#endif
