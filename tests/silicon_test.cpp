// The instruction table against the processor below, with a fixed seed; tests/silicon/ explains. A longer run:
// build/native/tests/silicon/silicon --cases 100000000 --seed fresh
#ifdef HAVE_SILICON

#include <catch2/catch.hpp>

#include "tests/silicon/campaign.h"
#include "tests/silicon/mutations.h"

namespace {

silicon::Options fixed() {
  silicon::Options options;
  options.seed = 1;
  options.cases = 2'500'000;
  return options;
}

}  // namespace

TEST_CASE("silicon: Every row that user code may execute does what the processor does", "[silicon]") {
  INFO("the differing cases are printed, with what repeats one by build/native/tests/silicon/silicon");
  silicon::Result result = silicon::run(fixed());
  INFO((result.problem ? result.problem : ""));
  CHECK(result.clean());
  CHECK(result.failures == 0);
  CHECK(result.rows_without == 0);
}

TEST_CASE("silicon: That run would find a mistake", "[silicon]") {
  for (const silicon::Mutation& mutation : silicon::mutations()) {
    INFO(mutation.name);
    silicon::Options options = fixed();
    options.mutation = &mutation;
    options.quiet = options.stop_at_first = true;
    CHECK(silicon::run(options).failures > 0);
  }
}

#endif
