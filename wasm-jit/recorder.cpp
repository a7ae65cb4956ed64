#include "wasm-jit/recorder.h"

#include <array>
#include <utility>

#include "cpu/handlers/instances.h"

namespace matryoshka::jit {

namespace {

using TextFunction = bool (*)(tree::AnyWidth&);

template <unsigned Row, unsigned Width>
bool run(tree::AnyWidth& d) {
  return Text<Row>::run(static_cast<tree::Tree<Width>&>(d));
}

template <unsigned Id>
constexpr TextFunction text_of() {
  constexpr unsigned row = Id >> 2;
  if constexpr (rows[row].kind == Kind::kind_inline &&
                (id_exists(row * 8 + (Id & 3) * 2) || id_exists(row * 8 + (Id & 3) * 2 + 1)))
    return &run<row, (8u << (Id & 3))>;
  else
    return nullptr;
}

template <size_t... Ids>
constexpr std::array<TextFunction, sizeof...(Ids)> make_table(std::index_sequence<Ids...>) {
  return {text_of<Ids>()...};
}

// By row and width.
constexpr auto texts = make_table(std::make_index_sequence<row_count * 4>{});

template <unsigned Width>
void record_at(TextFunction text, const Op& op, tree::Recording& recording) {
  tree::Tree<Width> d(recording, op);
  (void)text(d);
}

}  // namespace

bool can_record(uint16_t id) { return texts[id >> 1] != nullptr && id_exists(id); }

void record_address(const Op& op, tree::Recording& recording) {
  if (!op.is_memory()) return;
  tree::AnyWidth d(recording, op);
  recording.effect({.kind = tree::EffectKind::load, .address = d.effective_address().id()});
}

void record(const Op& op, tree::Recording& recording) {
  TextFunction text = texts[op.id >> 1];
  switch (op.id >> 1 & 3) {
    case 0: return record_at<8>(text, op, recording);
    case 1: return record_at<16>(text, op, recording);
    case 2: return record_at<32>(text, op, recording);
    default: return record_at<64>(text, op, recording);
  }
}

}  // namespace matryoshka::jit
