// The sub-command `vectors`: cases on standard input, results on standard output; docs/vectors.md has the format.
#pragma once

#include <string>
#include <vector>

namespace matryoshka {

// `arguments` are those after the word "vectors". Answers the exit status.
int vectors_command(const std::vector<std::string>& arguments);

}  // namespace matryoshka
