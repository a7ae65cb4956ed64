// Writes the coverage pages from the tables: `build/native/tables instructions > docs/instructions.md`. A test holds the pages to it.
#include <cstdio>
#include <cstring>
#include <map>
#include <string>

#include "cpu/features.h"
#include "cpu/isa.h"

using namespace matryoshka;

namespace {

const char* title(Family family) {
  switch (family) {
    case Family::integer: return "Integer";
    case Family::string: return "String";
    case Family::system: return "System";
    case Family::x87: return "x87";
    case Family::mmx: return "MMX";
    case Family::sse: return "SSE to SSE4.2";
    case Family::crypto: return "AES, PCLMULQDQ, SHA";
    case Family::avx: return "AVX, AVX2, FMA, F16C";
  }
  return "";
}

const char* word(Kind kind) {
  switch (kind) {
    case Kind::kind_inline: return "inline";
    case Kind::kind_helper: return "helper";
    case Kind::kind_leave: return "leave";
    case Kind::kind_unsupported: return "unsupported";
  }
  return "";
}

const char* feature_name(Feature feature) {
  for (const FeatureInfo& info : feature_table)
    if (info.feature == feature) return info.name;
  return "";
}

void instructions() {
  std::puts("# Instructions\n");
  std::puts("Made from the instruction table by `build/native/tables instructions`; do not edit. [cpu/isa.h](../cpu/isa.h) explains the columns.\n");
  std::map<Family, std::map<Kind, unsigned>> counts;
  for (const Row& row : rows) ++counts[row.family][row.kind];
  std::puts("| family | inline | helper | leave | unsupported |\n|---|---|---|---|---|");
  for (auto& [family, kinds] : counts)
    std::printf("| %s | %u | %u | %u | %u |\n", title(family), kinds[Kind::kind_inline], kinds[Kind::kind_helper], kinds[Kind::kind_leave],
                kinds[Kind::kind_unsupported]);
  std::printf("\n%u rows.\n", row_count);
  const Family* last = nullptr;
  for (const Row& row : rows) {
    if (!last || *last != row.family) {
      std::printf("\n## %s\n\n| encoding | instruction | kind | CPUID |\n|---|---|---|---|\n", title(row.family));
      last = &row.family;
    }
    std::printf("| `%s` | %s %s | %s | %s |\n", row.encoding, row.mnemonic, row.operands, word(row.kind), feature_name(row.feature));
  }
}

void features() {
  std::puts("# CPUID features\n");
  std::puts("Made from [cpu/features.def](../cpu/features.def) by `build/native/tables features`; do not edit.\n");
  std::puts("| name | /proc/cpuinfo | leaf | register | bit |\n|---|---|---|---|---|");
  static constexpr const char* registers[] = {"EAX", "EBX", "ECX", "EDX"};
  for (const FeatureInfo& info : feature_table)
    std::printf("| %s | %s | %XH.%u | %s | %u |\n", info.name, info.linux_name, info.leaf, info.subleaf,
                registers[static_cast<unsigned>(info.reg)], info.bit);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "instructions") == 0) return instructions(), 0;
  if (argc == 2 && std::strcmp(argv[1], "features") == 0) return features(), 0;
  std::fputs("usage: tables instructions|features\n", stderr);
  return 2;
}
