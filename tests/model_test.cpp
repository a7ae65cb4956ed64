#include "cpu/model.h"

#include <catch2/catch.hpp>

#include "cpu/isa.h"

using namespace matryoshka;

namespace {

CpuModel parsed(const char* text) {
  CpuModel model;
  std::string error;
  INFO(text);
  REQUIRE(CpuModel::parse(text, model, error));
  CHECK(error.empty());
  return model;
}

std::string refused(const char* text) {
  CpuModel model;
  model.name = "untouched";
  std::string error;
  INFO(text);
  CHECK_FALSE(CpuModel::parse(text, model, error));
  CHECK(model.name == "untouched");
  return error;
}

}  // namespace

TEST_CASE("CPU models: each row's features are names that exist", "[model]") {
#define MODEL(name, family, model, stepping, physical_bits, max_leaf, vmx, brand, description, features) features " "
  std::string words =
#include "cpu/models.def"
      ;
#undef MODEL
  for (size_t at = 0; at < words.size();) {
    size_t end = words.find(' ', at);
    std::string word = words.substr(at, end - at);
    at = end + 1;
    if (word.empty()) continue;
    bool known = false;
    for (const FeatureInfo& info : feature_table) known |= word == info.name;
#define MODEL(name, ...) known |= word == name;
#include "cpu/models.def"
#undef MODEL
    INFO(word);
    CHECK(known);
  }
}

TEST_CASE("CPU models: the default", "[model]") {
  CpuModel m = parsed("");
  CHECK(m.name == "matryoshka");
  CHECK(parsed("default").name == "matryoshka");
  CHECK(m.family == 6);
  CHECK(m.model == 60);
  CHECK(m.stepping == 3);
  CHECK(m.physical_bits == 39);
  CHECK(m.max_leaf == 0x16);
  for (Feature f :
       {Feature::LM, Feature::SHA, Feature::AES, Feature::BMI2, Feature::ADX, Feature::PKU, Feature::X2APIC,
        Feature::TSC_DEADLINE, Feature::INVPCID, Feature::XSAVES, Feature::ARCH_CAPABILITIES, Feature::ARAT, Feature::VMX})
    CHECK(m.features.has(f));
  for (Feature f :
       {Feature::AVX, Feature::AVX2, Feature::FMA, Feature::F16C, Feature::MONITOR, Feature::HYPERVISOR, Feature::LA57})
    CHECK_FALSE(m.features.has(f));
}

TEST_CASE("CPU models: each stands for its silicon", "[model]") {
  struct Case {
    const char* name;
    unsigned family, model;
    Feature has, lacks;
  };
  auto c = GENERATE(Case{"qemu32", 6, 6, Feature::SSE3, Feature::LM}, Case{"pentium4-662", 15, 4, Feature::LM, Feature::SSSE3},
                    Case{"nehalem", 6, 26, Feature::SSE42, Feature::AES}, Case{"westmere", 6, 44, Feature::AES, Feature::XSAVE},
                    Case{"ivybridge-ep", 6, 62, Feature::FSGSBASE, Feature::BMI1},
                    Case{"haswell", 6, 60, Feature::INVPCID, Feature::ADX});
  CpuModel m = parsed(c.name);
  INFO(c.name);
  CHECK(m.family == c.family);
  CHECK(m.model == c.model);
  CHECK(m.features.has(c.has));
  CHECK_FALSE(m.features.has(c.lacks));
  CHECK(m.features.has(Feature::HYPERVISOR) == (m.name == "qemu32"));
  CHECK(m.brand.size() < 48);
}

TEST_CASE("CPU models: flags by either name, in any case, are added and taken away", "[model]") {
  CpuModel m = parsed("Haswell,+SHA_NI,+adx,-sse4_2,-Sse4.1,-abm,+monitor");
  CHECK(m.features.has(Feature::SHA));
  CHECK(m.features.has(Feature::ADX));
  CHECK_FALSE(m.features.has(Feature::SSE42));
  CHECK_FALSE(m.features.has(Feature::SSE41));
  CHECK_FALSE(m.features.has(Feature::LZCNT));
  CHECK(m.features.has(Feature::MONITOR));
  CHECK_FALSE(parsed("matryoshka,-avx").features.has(Feature::AVX));
  CHECK(parsed("default,+la57").linear_bits == 57);
}

TEST_CASE("CPU models: what cannot be had is refused with a sentence", "[model]") {
  CHECK(refused("haswel") == "There is no CPU model \"haswel\"; did you mean haswell?");
  CHECK(refused("k8") ==
        "There is no CPU model \"k8\"; there are qemu32, pentium4-662, nehalem, westmere, ivybridge-ep, haswell and "
        "matryoshka.");
  CHECK(refused("default,+fsgsbas") == "There is no CPU flag \"fsgsbas\"; did you mean fsgsbase?");
  CHECK(refused("default,+qqqqqq") == "There is no CPU flag \"qqqqqq\".");
  CHECK(refused("default,sse2") == "Write +sse2 or -sse2 to add a CPU flag or to take it away.");
  CHECK(refused("default,+avx") ==
        "The CPU flag +avx cannot be set: AVX is not supported; the 256-bit registers do not exist here.");
  CHECK(refused("default,+AVX2").find("AVX2 is not supported") != std::string::npos);
  CHECK(refused("default,+vmx-shadow-vmcs") == "The VMX feature +vmx-shadow-vmcs cannot be set: it is not supported yet.");
  CHECK(refused("default,-vmx-unrestricted") ==
        "There is no VMX feature \"vmx-unrestricted\"; did you mean vmx-unrestricted-guest?");
  CHECK(refused("default,+") == "There is no CPU flag \"\".");
  refused((std::string("default,+") + std::string(100'000, 'a')).c_str());
}

TEST_CASE("CPU models: the list has a line for each", "[model]") {
  std::string list = CpuModel::list();
  CHECK(list.find("  qemu32        32-bit processor") == 0);
  CHECK(list.find("\n  matryoshka    the default") != std::string::npos);
}
