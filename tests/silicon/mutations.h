// Mistakes that a text could hold, one by one, to prove that the campaign would find them. None of them touches the product: they
// bend the state that the model starts from, or what came of it.
#pragma once

#include <span>

#include "tests/silicon/model.h"

namespace silicon {

std::span<const Mutation> mutations();

}  // namespace silicon
