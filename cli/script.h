// What --until and --type mean: watches the lines that the guest writes, byte by byte.
//
// A line is the text since the last line feed, without carriage returns, or since a rule was last used. It is looked at
// after each byte, so an answer is typed, or the run ended, at the very tick of the match, and a run repeats. The Node
// tool has the same rules in web/script.js.
#pragma once

#include <regex>
#include <string>

#include "devices/machine/options.h"

namespace matryoshka {

class Script {
 public:
  enum class Action : uint8_t { none, type, end };

  // Empty, or the sentence for an expression that cannot be read.
  [[nodiscard]] std::string prepare(const Options& options) {
    std::string error = compile("--until", options.until, until_);
    has_until_ = !options.until.empty();
    for (const TypeRule& rule : options.type) {
      rules_.push_back({{}, rule.text});
      if (error.empty()) error = compile("--type", rule.pattern, rules_.back().pattern);
    }
    return error;
  }

  // After Action::type, typed() is the text.
  Action watch(Port port, uint8_t byte) {
    if (!has_until_ && next_ == rules_.size()) return Action::none;
    std::string& line = lines_[static_cast<unsigned>(port)];
    if (byte == '\r') return Action::none;
    if (byte == '\n') {
      line.clear();
      return Action::none;
    }
    if (line.size() >= longest_line) line.erase(0, longest_line / 2);
    line += static_cast<char>(byte);
    if (next_ < rules_.size() && std::regex_search(line, rules_[next_].pattern)) {
      next_++;
      line.clear();
      return Action::type;
    }
    return has_until_ && std::regex_search(line, until_) ? Action::end : Action::none;
  }

  const std::string& typed() const { return rules_[next_ - 1].text; }

 private:
  // std::regex walks recursively, so a line is bounded.
  static constexpr size_t longest_line = 2048;

  static std::string compile(const char* option, const std::string& pattern, std::regex& to) {
    try {
      to.assign(pattern, std::regex::ECMAScript | std::regex::optimize);
      return {};
    } catch (const std::regex_error&) {
      return std::string(option) + " has an expression that cannot be read: '" + pattern + "'.";
    }
  }

  struct Rule {
    std::regex pattern;
    std::string text;
  };
  std::regex until_;
  bool has_until_ = false;
  std::vector<Rule> rules_;
  size_t next_ = 0;
  std::string lines_[3];
};

}  // namespace matryoshka
