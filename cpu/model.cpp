#include "cpu/model.h"

#include <algorithm>
#include <vector>

namespace matryoshka {
namespace {

struct ModelRow {
  const char* name;
  unsigned family, model, stepping, physical_bits;
  uint32_t max_leaf;
  bool vmx;
  const char* brand;
  const char* description;
  const char* features;
};

[[maybe_unused]] constexpr bool yes = true, no = false;  // as models.def spells the VMX column
constexpr ModelRow model_rows[] = {
#define MODEL(name, family, model, stepping, physical_bits, max_leaf, vmx, brand, description, features) \
  {name, family, model, stepping, physical_bits, max_leaf, vmx, brand, description, features},
#include "cpu/models.def"
#undef MODEL
};

constexpr const char* default_model = "matryoshka";

// Flags that exist in the table and that nobody can have, and why.
struct Missing {
  Feature feature;
  const char* reason;
};
constexpr Missing missing[] = {
    {Feature::AVX, "AVX is not supported; the 256-bit registers do not exist here"},
    {Feature::AVX2, "AVX2 is not supported; the 256-bit registers do not exist here"},
    {Feature::FMA, "FMA is not supported, since it is part of AVX"},
    {Feature::F16C, "F16C is not supported, since it is part of AVX"},
};

// Names are compared without case and punctuation: "SSE4_2", "sse4.2" and "sse42" are one.
std::string plain(std::string_view text) {
  std::string result;
  for (char c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) result += c;
  }
  return result;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

std::string_view next_word(std::string_view& text, char separator) {
  size_t end = text.find(separator);
  std::string_view word = text.substr(0, end);
  text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  return word;
}

const ModelRow* find_model(std::string_view name) {
  std::string wanted = plain(name);
  if (wanted.empty() || wanted == "default") wanted = default_model;
  for (const ModelRow& row : model_rows)
    if (plain(row.name) == wanted) return &row;
  return nullptr;
}

const FeatureInfo* find_feature(std::string_view name) {
  std::string wanted = plain(name);
  for (const FeatureInfo& info : feature_table)
    if (plain(info.name) == wanted || plain(info.linux_name) == wanted) return &info;
  return nullptr;
}

void add_features(FeatureSet& set, std::string_view words) {
  while (!words.empty()) {
    std::string_view word = next_word(words, ' ');
    if (const FeatureInfo* info = find_feature(word))
      set.set(info->feature);
    else if (const ModelRow* earlier = find_model(word))
      add_features(set, earlier->features);
  }
}

// ---- "Did you mean"

// Insertions, deletions and replacements that lead from one name to the other.
unsigned distance(std::string_view a, std::string_view b) {
  std::vector<unsigned> row(b.size() + 1);
  for (unsigned i = 0; i < row.size(); ++i) row[i] = i;
  for (size_t i = 0; i < a.size(); ++i) {
    unsigned diagonal = row[0]++;
    for (size_t k = 0; k < b.size(); ++k) {
      unsigned replaced = diagonal + (a[i] != b[k]);
      diagonal = row[k + 1];
      row[k + 1] = std::min({replaced, row[k] + 1, row[k + 1] + 1});
    }
  }
  return row.back();
}

// The most of a mistyped name that is worth comparing; a longer one resembles nothing.
constexpr size_t longest_name = 40;

std::string suggestion(std::string_view given, const std::vector<std::string>& names) {
  std::string wanted = plain(given);
  std::vector<std::string> near;
  if (wanted.empty() || wanted.size() > longest_name) return {};
  for (const std::string& name : names) {
    std::string candidate = plain(name);
    bool part = wanted.size() >= 3 && (candidate.starts_with(wanted) || (candidate.size() >= 3 && wanted.starts_with(candidate)));
    if (part || distance(wanted, candidate) <= (wanted.size() < 4 ? 1u : 2u)) near.push_back(name);
  }
  std::stable_sort(near.begin(), near.end(), [&](const std::string& a, const std::string& b) {
    return distance(wanted, plain(a)) < distance(wanted, plain(b));
  });
  near.erase(std::unique(near.begin(), near.end()), near.end());
  if (near.empty()) return {};
  std::string text = "; did you mean ";
  size_t shown = std::min<size_t>(near.size(), 3);
  for (size_t i = 0; i < shown; ++i) text += (i == 0 ? "" : i + 1 == shown ? " or " : ", ") + near[i];
  return text + "?";
}

std::string suggest_model(std::string_view given) {
  std::vector<std::string> names;
  for (const ModelRow& row : model_rows) names.push_back(row.name);
  std::string near = suggestion(given, names);
  if (!near.empty()) return near;
  std::string all = "; there are ";
  for (const std::string& name : names) all += (&name == &names[0] ? "" : &name == &names.back() ? " and " : ", ") + name;
  return all + ".";
}

std::string suggest_feature(std::string_view given) {
  std::vector<std::string> names;
  for (const FeatureInfo& info : feature_table) {
    names.push_back(info.linux_name);
    if (plain(info.name) != plain(info.linux_name)) names.push_back(lower(info.name));
  }
  std::string near = suggestion(given, names);
  return near.empty() ? "." : near;
}

std::string suggest_vmx(std::string_view given) {
  std::vector<std::string> names;
  for (const vmx::ControlInfo& row : vmx::control_table) names.push_back(row.flag);
  for (const vmx::CapabilityInfo& row : vmx::capability_table) names.push_back(row.flag);
  std::string near = suggestion(given, names);
  return near.empty() ? "." : near;
}

}  // namespace

bool CpuModel::parse(std::string_view text, CpuModel& model, std::string& error) {
  std::string_view name = next_word(text, ',');
  const ModelRow* row = find_model(name);
  if (!row) {
    error = "There is no CPU model \"" + std::string(name) + "\"" + suggest_model(name);
    return false;
  }
  CpuModel made;
  made.name = row->name;
  made.brand = row->brand;
  made.family = row->family, made.model = row->model, made.stepping = row->stepping;
  made.physical_bits = row->physical_bits;
  made.max_leaf = row->max_leaf;
  add_features(made.features, row->features);
  made.features.set(Feature::VMX, row->vmx);
  made.vmx = vmx::Features::all();

  while (!text.empty()) {
    std::string_view word = next_word(text, ',');
    if (word.empty()) continue;
    bool on = word[0] == '+';
    if (!on && word[0] != '-') {
      error = "Write +" + std::string(word) + " or -" + std::string(word) + " to add a CPU flag or to take it away.";
      return false;
    }
    word.remove_prefix(1);
    if (word.starts_with("vmx-")) {
      switch (made.vmx.set(word, on)) {
        case vmx::Features::Answer::ok: continue;
        case vmx::Features::Answer::unsupported:
          error = "The VMX feature +" + std::string(word) + " cannot be set: it is not supported yet.";
          return false;
        case vmx::Features::Answer::unknown:
          error = "There is no VMX feature \"" + std::string(word) + "\"" + suggest_vmx(word);
          return false;
      }
    }
    const FeatureInfo* info = find_feature(word);
    if (!info) {
      error = "There is no CPU flag \"" + std::string(word) + "\"" + suggest_feature(word);
      return false;
    }
    for (const Missing& m : missing)
      if (on && m.feature == info->feature && !made.features.has(m.feature)) {
        error = "The CPU flag +" + std::string(word) + " cannot be set: " + m.reason + ".";
        return false;
      }
    made.features.set(info->feature, on);
  }
  if (made.features.has(Feature::LA57)) made.linear_bits = 57;
  model = std::move(made);
  return true;
}

std::string CpuModel::list() {
  size_t width = 0;
  for (const ModelRow& row : model_rows) width = std::max(width, std::string_view(row.name).size());
  std::string text;
  for (const ModelRow& row : model_rows) {
    std::string name = row.name;
    text += "  " + name + std::string(width + 2 - name.size(), ' ') + row.description + "\n";
  }
  return text;
}

}  // namespace matryoshka
