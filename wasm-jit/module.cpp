#include "wasm-jit/emitter.h"

namespace matryoshka::jit {

namespace {
enum Section : uint8_t { types = 1, imports = 2, functions = 3, elements = 9, code = 10 };
constexpr uint8_t function_type = 0x60, table_import = 1, memory_import = 2, funcref = 0x70;
}  // namespace

WasmWriter module_of(const std::vector<WasmWriter>& bodies, uint32_t first_slot) {
  WasmWriter module;
  for (uint8_t b : {0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00}) module.byte(b);
  auto i32 = static_cast<uint8_t>(WasmType::i32);

  // Type 0 is that of regions and of helpers alike: two numbers to one.
  WasmWriter section;
  section.number(1);
  section.byte(function_type), section.number(2), section.byte(i32), section.byte(i32), section.number(1), section.byte(i32);
  module.section(types, section);

  section = {};
  section.number(2);
  section.text("m"), section.text("m"), section.byte(memory_import), section.byte(0), section.number(0);
  section.text("m"), section.text("t"), section.byte(table_import), section.byte(funcref), section.byte(0), section.number(0);
  module.section(imports, section);

  section = {};
  section.number(bodies.size());
  for (size_t i = 0; i < bodies.size(); ++i) section.number(0);
  module.section(functions, section);

  // One active segment puts them all into the table.
  section = {};
  section.number(1);
  section.number(0);
  section.i32(first_slot), section.end();
  section.number(bodies.size());
  for (size_t i = 0; i < bodies.size(); ++i) section.number(i);
  module.section(elements, section);

  section = {};
  section.number(bodies.size());
  for (const WasmWriter& body : bodies) section.sized(body);
  module.section(code, section);
  return module;
}

}  // namespace matryoshka::jit
