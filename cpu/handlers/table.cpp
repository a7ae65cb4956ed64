// The functions of all inline rows, one for each width and operand shape.
#include <utility>

#include "cpu/handlers/instances.h"

namespace matryoshka {

namespace {

template <unsigned Id>
constexpr Handler handler_of() {
  constexpr const Row& row = rows[Id >> 3];
  if constexpr (row.kind == Kind::kind_unsupported) {
    return nullptr;
  } else if constexpr (row.kind != Kind::kind_inline) {
    return Text<(Id >> 3)>::plain;
  } else if constexpr (id_exists(Id)) {
    return &Instance<Id>::run;
  } else {
    return nullptr;
  }
}

template <size_t... Ids>
constexpr std::array<Handler, sizeof...(Ids)> make_table(std::index_sequence<Ids...>) {
  return {handler_of<Ids>()...};
}

}  // namespace

constinit const std::array<Handler, row_count* 8> handler_table = make_table(std::make_index_sequence<row_count * 8>{});

}  // namespace matryoshka
