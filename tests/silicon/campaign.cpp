#include "tests/silicon/campaign.h"

#include <cpuid.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "cpu/decode.h"
#include "cpu/isa.h"
#include "cpu/vectors/vector_runner.h"
#include "tests/silicon/compare.h"
#include "tests/silicon/generator.h"
#include "tests/silicon/native.h"

namespace silicon {
namespace {

using namespace matryoshka;

// ---- Rows

bool host_has(Feature feature) {
  if (feature == Feature::BASE) return true;
  for (const FeatureInfo& f : feature_table) {
    if (f.feature != feature) continue;
    unsigned r[4] = {};
    if (!__get_cpuid_count(f.leaf, f.subleaf, &r[0], &r[1], &r[2], &r[3])) return false;
    return r[static_cast<unsigned>(f.reg)] >> f.bit & 1;
  }
  return false;
}

struct NotCovered {
  std::string_view mnemonic;
  const char* why;
};
constexpr NotCovered not_covered[] = {
#define NOT_COVERED(mnemonic, why) {#mnemonic, why},
#include "tests/silicon/uncovered.def"
#undef NOT_COVERED
};

const char* why_not(unsigned row, const FeatureSet& features) {
  if (rows[row].kind == Kind::kind_unsupported) return "the model does not have it";
  for (const NotCovered& n : not_covered)
    if (n.mnemonic == rows[row].mnemonic) return n.why;
  return features.has(rows[row].feature) ? "" : "this processor lacks it";
}

constexpr const char* family_names[] = {"integer", "string", "system", "x87", "mmx", "sse", "crypto", "avx"};

bool chosen(unsigned row, const Options& o) {
  if (!o.only.empty() && o.only != rows[row].mnemonic) return false;
  return o.family.empty() || o.family == family_names[static_cast<unsigned>(rows[row].family)];
}

// A signal costs as much as twenty cases without one: rows of which every case brings one come a quarter as often.
unsigned share(unsigned row) {
  const Row& r = rows[row];
  bool jumps = r.attributes & attribute::ENDS || std::string_view(r.operands).starts_with("J");
  return jumps || r.attributes & attribute::CPL0 || r.family == Family::system ? 1 : 4;
}

constexpr unsigned bits_of(World w) { return w == code64 ? 64 : w == segmented16 ? 16 : 32; }

bool exists_in(unsigned row, World w) {
  // What concerns segments wants Linux's long mode around it.
  if (w == flat32 && rows[row].family == Family::system) return false;
  return !(rows[row].attributes & (w == code64 ? attribute::NO64 : attribute::ONLY64));
}

// ---- Cases

// A case depends on the seed and its own number alone, so that one can be had again without those before it.
bool make_case(uint64_t seed, World w, unsigned row, uint64_t number, Case& c) {
  Random mixed(seed ^ Random(number).next());
  Generator generator(mixed.next());
  if (!generator.make(row, bits_of(w), c, w == segmented32)) return false;
  c.number = number;
  // One in a hundred by a single step; not what itself sets TF, or hides it.
  constexpr unsigned stepped_percent = 1;
  constexpr uint64_t trap_flag = 0x100;
  if (!c.tables && mixed.chance(stepped_percent)) c.stepped = true, c.flags |= trap_flag;
  return true;
}

World world_of(const Case& c) { return c.bits == 64 ? code64 : c.bits == 16 ? segmented16 : c.segmented ? segmented32 : flat32; }

std::string name_of(uint64_t seed, const Case& c) {
  return "--seed " + std::to_string(seed) + " --repeat " + world_names[world_of(c)] + ":" + std::to_string(c.row) + ":" +
         std::to_string(c.number);
}

class Campaign {
 public:
  explicit Campaign(const Options& o)
      : o_(o), features_(host_features()), runner_(new VectorRunner(features_)), decoder_(features_) {
    result_.problem = native_.problem();
    result_.rows.resize(row_count);
    for (unsigned row = 0; row < row_count; ++row) result_.why_not.emplace_back(why_not(row, features_));
  }

  Result run() {
    if (result_.problem) return result_;
    if (!o_.repeat.empty()) return repeat(), result_;
    // A batch is of one world: changing it costs the model its page tables.
    for (unsigned row = 0; row < row_count; ++row)
      for (unsigned w = 0; w < world_count; ++w)
        if (chosen(row, o_) && result_.why_not[row].empty() && exists_in(row, World(w)) &&
            (o_.mode.empty() || o_.mode == std::to_string(bits_of(World(w)))))
          work_[w].insert(work_[w].end(), share(row), row);
    size_t all = 0;
    for (auto& list : work_) all += list.size();
    if (all == 0) return result_.problem = "no row of that name", result_;

    auto began = clock::now();
    for (unsigned turn = 0; o_.seconds > 0 ? since(began) < o_.seconds : result_.cases < o_.cases; ++turn) {
      static constexpr World order[] = {code64, flat32, code64, segmented32, code64, segmented16};
      World w = order[turn % (sizeof order / sizeof order[0])];
      if (work_[w].empty()) continue;
      fill(w);
      run_batch();
      if (o_.stop_at_first && result_.failures) break;
    }
    for (unsigned row = 0; row < row_count; ++row)
      if (o_.mode.empty() && chosen(row, o_) && result_.why_not[row].empty() && result_.rows[row].all() == 0)
        ++result_.rows_without;
    if (!o_.quiet) report();
    return result_;
  }

 private:
  using clock = std::chrono::steady_clock;
  static double since(clock::time_point t) { return std::chrono::duration<double>(clock::now() - t).count(); }

  void fill(World w) {
    auto t = clock::now();
    cases_.resize(Native::batch);
    size_t count = 0;
    constexpr unsigned patience = 100'000;
    for (unsigned tries = 0; count < Native::batch && tries < patience; ++tries, ++number_)
      count += make_case(o_.seed, w, work_[w][next_[w]++ % work_[w].size()], number_, cases_[count]);
    cases_.resize(count);
    generating_ += since(t);
  }

  void run_batch() {
    outcomes_.resize(cases_.size());
    auto t = clock::now();
    native_.run(cases_, outcomes_);
    on_silicon_ += since(t);
    t = clock::now();
    for (size_t i = 0; i < cases_.size(); ++i) judge(cases_[i], outcomes_[i]);
    on_model_ += since(t);
    result_.cases += cases_.size();
  }

  void judge(const Case& c, const Outcome& want) {
    Instruction in;
    (void)decoder_.decode({c.code, c.length}, c.bits, in);
    run_model(*runner_, c, in, modelled_, o_.mutation);
    Tally& t = result_.rows[c.row];
    ++t.cases[world_of(c)];
    t.exceptions += want.exception != Outcome::none;
    std::string text = differences(c, in, want, modelled_);
    if (text.empty()) return;
    ++result_.failures;
    if (++t.failures <= o_.shown && !o_.quiet)
      std::printf("DIFF%s | %s | %s\n", text.c_str(), describe(c, in).c_str(), name_of(o_.seed, c).c_str());
  }

  // One case again, told whole.
  void repeat() {
    char world[8] = {};
    unsigned row = 0;
    unsigned long long number = 0;
    unsigned w = 0;
    bool read = std::sscanf(o_.repeat.c_str(), "%7[^:]:%u:%llu", world, &row, &number) == 3;
    while (w < world_count && std::string(world) != world_names[w]) ++w;
    cases_.resize(1);
    if (!read || w == world_count || row >= row_count || !make_case(o_.seed, World(w), row, number, cases_[0])) {
      result_.problem = "there is no such case";
      return;
    }
    Instruction in;
    (void)decoder_.decode({cases_[0].code, cases_[0].length}, cases_[0].bits, in);
    std::printf("%s\n", describe(cases_[0], in).c_str());
    run_batch();
    std::printf("%s\n", result_.failures ? "differs" : "is equal");
  }

  void report() const {
    unsigned run = 0, failed = 0, absent = 0;
    for (unsigned row = 0; row < row_count; ++row) {
      if (!chosen(row, o_)) continue;
      const Tally& t = result_.rows[row];
      const Row& r = rows[row];
      run += t.all() != 0, failed += t.failures != 0;
      if (!result_.why_not[row].empty() && r.kind != Kind::kind_unsupported) {
        ++absent;
        std::printf("not covered: %s %s (%s): %s\n", r.mnemonic, r.operands, r.encoding, result_.why_not[row].c_str());
      } else if (result_.why_not[row].empty() && t.all() == 0 && o_.mode.empty()) {
        std::printf("without cases: %s %s (%s)\n", r.mnemonic, r.operands, r.encoding);
      }
      if ((o_.list_rows && t.all()) || t.failures)
        std::printf("row %s %s (%s): %llu cases, %llu with exceptions, %llu differ\n", r.mnemonic, r.operands, r.encoding,
                    ull(t.all()), ull(t.exceptions), ull(t.failures));
    }
    std::printf("seed %llu: %llu cases over %u rows, %llu differ in %u rows; %u rows without cases, %u not covered\n",
                ull(o_.seed), ull(result_.cases), run, ull(result_.failures), failed, result_.rows_without, absent);
    auto rate = [&](double seconds) { return static_cast<double>(result_.cases) / seconds; };
    std::printf("cases/s: %.0f generated, %.0f on silicon, %.0f on the model with comparison\n", rate(generating_),
                rate(on_silicon_), rate(on_model_));
    std::fflush(stdout);
  }

  static unsigned long long ull(uint64_t v) { return v; }

  const Options& o_;
  Native native_;
  FeatureSet features_;
  std::unique_ptr<VectorRunner> runner_;
  Decoder decoder_;
  std::vector<unsigned> work_[world_count];
  size_t next_[world_count] = {};
  uint64_t number_ = 0;
  std::vector<Case> cases_;
  std::vector<Outcome> outcomes_;
  Outcome modelled_;
  Result result_;
  double generating_ = 0, on_silicon_ = 0, on_model_ = 0;
};

std::string processor_name() {
  unsigned r[4][4] = {};
  for (unsigned i = 0; i < 3; ++i) __get_cpuid(0x80000002 + i, &r[i][0], &r[i][1], &r[i][2], &r[i][3]);
  std::string name = reinterpret_cast<const char*>(r);
  while (!name.empty() && name.back() == ' ') name.pop_back();
  unsigned eax = 0, ebx, ecx, edx;
  __get_cpuid(1, &eax, &ebx, &ecx, &edx);
  unsigned family = (eax >> 8 & 15) + (eax >> 20 & 255), model = (eax >> 4 & 15) | (eax >> 12 & 0xf0);
  return name + ", family " + std::to_string(family) + " model " + std::to_string(model);
}

}  // namespace

FeatureSet host_features() {
  FeatureSet features;
  for (const FeatureInfo& f : feature_table) features.set(f.feature, host_has(f.feature));
  return features;
}

Result run(const Options& options) { return Campaign(options).run(); }

std::string results_text(const Options& options, const Result& result) {
  std::string text = "processor " + processor_name() + "\nseed " + std::to_string(options.seed) + "\ncases " +
                     std::to_string(result.cases) + "\ndiffering " + std::to_string(result.failures) + "\n";
  // The row's encoding finds it again; the columns are the cases of each world, exceptions, differing ones, and why there are
  // none.
  for (unsigned row = 0; row < row_count; ++row) {
    const Tally& t = result.rows[row];
    if (rows[row].kind == Kind::kind_unsupported) continue;
    text += std::string("row ") + rows[row].encoding + "|" + rows[row].mnemonic + " " + rows[row].operands;
    for (uint64_t n : t.cases) text += "|" + std::to_string(n);
    text += "|" + std::to_string(t.exceptions) + "|" + std::to_string(t.failures) + "|" + result.why_not[row] + "\n";
  }
  return text;
}

}  // namespace silicon
