// Writes the coverage pages from the tables: `build/native/tables instructions > docs/instructions.md`. A test holds the pages to
// it.
#include <cstdio>
#include <cstring>
#include <fstream>
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
  std::puts(
      "Made from the instruction table by `build/native/tables instructions`; do not edit. [cpu/isa.h](../cpu/isa.h) explains "
      "the columns.\n");
  std::map<Family, std::map<Kind, unsigned>> counts;
  for (const Row& row : rows) ++counts[row.family][row.kind];
  std::puts("| family | inline | helper | leave | unsupported |\n|---|---|---|---|---|");
  for (auto& [family, kinds] : counts)
    std::printf("| %s | %u | %u | %u | %u |\n", title(family), kinds[Kind::kind_inline], kinds[Kind::kind_helper],
                kinds[Kind::kind_leave], kinds[Kind::kind_unsupported]);
  std::printf("\n%u rows.\n", row_count);
  const Family* last = nullptr;
  for (const Row& row : rows) {
    if (!last || *last != row.family) {
      std::printf("\n## %s\n\n| encoding | instruction | kind | CPUID |\n|---|---|---|---|\n", title(row.family));
      last = &row.family;
    }
    std::printf("| `%s` | %s %s | %s | %s |\n", row.encoding, row.mnemonic, row.operands, word(row.kind),
                feature_name(row.feature));
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

// ---- Coverage: the table beside what the oracle's long run has found

struct Found {
  std::string cases[4], exceptions, differing, why_not;
};
// "CF | PF" without the bars that would end a cell.
std::string in_words(std::string text) {
  for (size_t at; (at = text.find(" |")) != std::string::npos;) text.replace(at, 2, ",");
  return text;
}

struct Results {
  std::string processor, seed, cases, differing;
  std::map<std::string, Found> rows;  // by encoding and name
};

std::string upto(std::string& text, char end) {
  size_t at = text.find(end);
  std::string front = text.substr(0, at);
  text = at == std::string::npos ? "" : text.substr(at + 1);
  return front;
}

Results read_results(const char* path) {
  Results results;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::string word = upto(line, ' ');
    if (word == "processor") results.processor = line;
    if (word == "seed") results.seed = line;
    if (word == "cases") results.cases = line;
    if (word == "differing") results.differing = line;
    if (word != "row") continue;
    std::string key = upto(line, '|');
    key += "|" + upto(line, '|');
    Found& f = results.rows[key];
    for (std::string& n : f.cases) n = upto(line, '|');
    f.exceptions = upto(line, '|'), f.differing = upto(line, '|'), f.why_not = line;
  }
  return results;
}

void coverage() {
  const Results results = read_results(SILICON_RESULTS);
  std::puts("# Coverage\n");
  std::puts(
      "Made from the instruction table and [tests/silicon/results.txt](../tests/silicon/results.txt) by `build/native/tables "
      "coverage`; do not edit. "
      "`./test --long` writes the results anew.\n");
  std::printf(
      "The silicon: %s. Seed %s, %s cases, of which %s differ from the model. [tests/silicon/](../tests/silicon/) says how; "
      "the columns are cases in 64-bit code, in flat 32-bit code, and in 32- and 16-bit code with segments of their own.\n",
      results.processor.c_str(), results.seed.c_str(), results.cases.c_str(), results.differing.c_str());
  const Family* last = nullptr;
  for (const Row& row : rows) {
    if (row.kind == Kind::kind_unsupported) continue;
    if (!last || *last != row.family) {
      std::printf(
          "\n## %s\n\n| encoding | instruction | verified by | 64 | 32 | 32s | 16 | exceptions | differ "
          "|\n|---|---|---|---|---|---|---|---|---|\n",
          title(row.family));
      last = &row.family;
    }
    auto found = results.rows.find(std::string(row.encoding) + "|" + row.mnemonic + " " + row.operands);
    std::printf("| `%s` | %s %s | ", row.encoding, row.mnemonic, row.operands);
    const char* domains = row.kind == Kind::kind_inline ? "both domains" : "";
    if (found == results.rows.end()) {
      std::printf("%s | | | | | | |\n", *domains ? domains : "unit tests");
    } else if (const Found& f = found->second; !f.why_not.empty()) {
      std::printf("unit tests; not on silicon: %s | | | | | | |\n", f.why_not.c_str());
    } else {
      std::printf("silicon%s%s | %s | %s | %s | %s | %s | %s |\n", *domains ? ", " : "", domains, f.cases[0].c_str(),
                  f.cases[1].c_str(), f.cases[2].c_str(), f.cases[3].c_str(), f.exceptions.c_str(), f.differing.c_str());
    }
  }
  std::puts("\n## What is not compared\n");
  std::puts(
      "From [tests/silicon/masks.def](../tests/silicon/masks.def), which explains the words.\n\n| row | when | what | why "
      "|\n|---|---|---|---|");
#define MASK(mnemonic, when, what, why) std::printf("| %s | %s | %s | %s |\n", #mnemonic, #when, in_words(#what).c_str(), why);
#include "tests/silicon/masks.def"
#undef MASK
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "instructions") == 0) return instructions(), 0;
  if (argc == 2 && std::strcmp(argv[1], "features") == 0) return features(), 0;
  if (argc == 2 && std::strcmp(argv[1], "coverage") == 0) return coverage(), 0;
  std::fputs("usage: tables instructions|features|coverage\n", stderr);
  return 2;
}
