// Which of several faults comes, and the trap after an instruction: what a comparison with a processor has taught.
#include <catch2/catch.hpp>
#include <memory>
#include <vector>

#include "cpu/vectors/vector_runner.h"

using namespace matryoshka;
using Mode = VectorRunner::Mode;
using End = VectorRunner::End;

namespace {

constexpr uint64_t code_at = 0x1000, data_at = 0x5000, nowhere = 0x700000;
constexpr uint32_t execute_only = 0x40f9, writable_data = 0x40f3;

struct Fixture {
  std::unique_ptr<VectorRunner> runner{new VectorRunner};
  CpuState* s = nullptr;

  CpuState& begin(Mode mode) {
    s = &runner->begin(mode);
    s->rip = code_at;
    return *s;
  }
  End run(const std::vector<uint8_t>& code, uint64_t instructions = 1) {
    REQUIRE(runner->window(code_at, code, VectorRunner::executable));
    return runner->run(instructions);
  }
};

}  // namespace

TEST_CASE("cpu: A control register that there is not is #UD for programs, too", "[cpu]") {
  Fixture f;
  f.begin(Mode::long64);
  CHECK(f.run({0x44, 0x0f, 0x20, 0xc8}) == End::exception);  // mov %cr9,%rax
  CHECK(f.runner->exception().vector == UD_vector);
  f.begin(Mode::long64);
  CHECK(f.run({0x0f, 0x20, 0xc0}) == End::exception);  // mov %cr0,%rax
  CHECK(f.runner->exception().vector == GP_vector);
}

TEST_CASE("cpu: CLFLUSH may name an execute-only segment, a load may not", "[cpu]") {
  const uint8_t byte[] = {1};
  for (bool flush : {true, false}) {
    Fixture f;
    CpuState& s = f.begin(Mode::protected32);
    s.segment[CS].rights = execute_only;
    s.gpr[RBX] = data_at;
    REQUIRE(f.runner->window(data_at, byte, 0));
    if (flush) {
      CHECK(f.run({0x2e, 0x0f, 0xae, 0x3b}) == End::completed);  // clflush %cs:(%ebx)
    } else {
      CHECK(f.run({0x2e, 0x8a, 0x03}) == End::exception);  // mov %cs:(%ebx),%al
      CHECK(f.runner->exception().vector == GP_vector);
    }
  }
}

TEST_CASE("cpu: MOVS and CMPS read their source before they look at the other segment", "[cpu]") {
  for (uint8_t opcode : {0xa4, 0xa6}) {
    Fixture f;
    CpuState& s = f.begin(Mode::protected32);
    s.segment[ES].rights = writable_data;
    s.segment[ES].limit = 0xff;
    s.gpr[RSI] = nowhere, s.gpr[RDI] = 0x100;
    CHECK(f.run({opcode}) == End::exception);
    CHECK(f.runner->exception().vector == PF_vector);
    CHECK(f.runner->exception().cr2 == nowhere);
  }
}

TEST_CASE("cpu: A single step ends an instruction, and one iteration of a repeated one", "[cpu][vectors]") {
  Fixture f;
  CpuState& s = f.begin(Mode::long64);
  s.set_rflags(rflags::TF);
  CHECK(f.run({0xff, 0xc0, 0x90}) == End::exception);  // inc %eax
  CHECK(f.runner->exception().vector == DB_vector);
  CHECK(f.runner->state().rip == code_at + 2);
  CHECK(f.runner->state().gpr[RAX] == 1);

  const std::vector<uint8_t> bytes(16);
  CpuState& again = f.begin(Mode::long64);
  again.set_rflags(rflags::TF);
  again.gpr[RCX] = 5, again.gpr[RDI] = data_at, again.gpr[RAX] = 7;
  REQUIRE(f.runner->window(data_at, bytes, VectorRunner::writable));
  CHECK(f.run({0xf3, 0xaa}) == End::exception);  // rep stosb
  CHECK(f.runner->exception().vector == DB_vector);
  CHECK(f.runner->state().rip == code_at);
  CHECK(f.runner->state().gpr[RCX] == 4);
}

TEST_CASE("cpu: IRET looks at its target before the stack it names", "[cpu]") {
  Fixture f;
  CpuState& s = f.begin(Mode::long64);
  // RIP beyond the canonical range, CS the code segment, a stack selector of nothing.
  constexpr uint64_t tables_at = 0xffff800000000000, code_descriptor = 0x00affb000000ffff;
  const uint64_t table[] = {0, code_descriptor}, frame[] = {uint64_t{1} << 50, 0x0b, 2, data_at, 0x7ff0 | 3};
  auto bytes = [](const auto& array) { return std::span(reinterpret_cast<const uint8_t*>(array), sizeof array); };
  s.gdtr = {sizeof table - 1, tables_at};
  s.gpr[RSP] = data_at;
  REQUIRE(f.runner->window(tables_at, bytes(table), VectorRunner::writable | VectorRunner::supervisor));
  REQUIRE(f.runner->window(data_at, bytes(frame), VectorRunner::writable));
  CHECK(f.run({0x48, 0xcf}) == End::exception);
  CHECK(f.runner->exception().vector == GP_vector);
  CHECK(f.runner->exception().error == 0);
}
