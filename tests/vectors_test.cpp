// The vectors stream: what goes in, what comes out.
#include <catch2/catch.hpp>
#include <cstring>
#include <vector>

#include "cpu/vectors/vector_stream.h"

using namespace matryoshka;
using Mode = VectorRunner::Mode;
using End = VectorRunner::End;

namespace {

class Bytes {
 public:
  std::vector<uint8_t> data;
  template <class T>
  Bytes& put(T value) {
    auto* p = reinterpret_cast<const uint8_t*>(&value);
    data.insert(data.end(), p, p + sizeof value);
    return *this;
  }
  Bytes& put(std::initializer_list<uint8_t> bytes) {
    data.insert(data.end(), bytes);
    return *this;
  }
};

Bytes header(uint32_t version = 1) { return Bytes().put({'M', 'V', 'E', 'C'}).put(version); }

// A 64-bit case without further sections: one instruction at 0x1000, RAX and RBX given.
Bytes simple_case(std::initializer_list<uint8_t> code, uint64_t rax, uint64_t rbx) {
  Bytes body;
  body.put(uint32_t{0}).put(uint8_t{3}).put(uint8_t{3}).put(uint16_t{1}).put(uint64_t{1}).put(~uint64_t{0}).put(uint64_t{77});
  for (unsigned i = 0; i < 16; ++i) body.put(uint64_t{i == RAX ? rax : i == RBX ? rbx : 0});
  body.put(uint64_t{0x1000}).put(uint64_t{2});
  body.put(uint64_t{0x1000}).put(static_cast<uint32_t>(code.size())).put({VectorRunner::executable, 0, 0, 0}).put(code);
  Bytes all;
  all.put(static_cast<uint32_t>(body.data.size()));
  all.data.insert(all.data.end(), body.data.begin(), body.data.end());
  return all;
}

template <class T>
T at(const std::vector<uint8_t>& bytes, size_t offset) {
  T value;
  REQUIRE(offset + sizeof value <= bytes.size());
  std::memcpy(&value, &bytes[offset], sizeof value);
  return value;
}
// Offsets in a result, after the stream's header.
constexpr size_t ending = 8 + 8, vector = ending + 1, cr2 = ending + 8, tag = cr2 + 16, rax = tag + 8, rip = rax + 128;

struct Fixture {
  VectorRunner runner;
  VectorStream stream{runner};
  std::vector<uint8_t> out;
  size_t feed(Bytes bytes) { return stream.feed(bytes.data, out); }
};

}  // namespace

TEST_CASE("vectors: A case comes back as a result", "[vectors]") {
  Fixture f;
  Bytes in = header();
  Bytes one = simple_case({0x48, 0x01, 0xd8}, 3, 4);  // add %rbx,%rax
  in.data.insert(in.data.end(), one.data.begin(), one.data.end());
  CHECK(f.feed(in) == in.data.size());
  CHECK(at<uint8_t>(f.out, ending) == VectorStream::completed);
  CHECK(at<uint64_t>(f.out, tag) == 77);
  CHECK(at<uint64_t>(f.out, rax) == 7);
  CHECK(at<uint64_t>(f.out, rip) == 0x1003);
}

TEST_CASE("vectors: An exception is a result", "[vectors]") {
  Fixture f;
  Bytes in = header();
  Bytes one = simple_case({0x8b, 0x03}, 0, 0x5123);  // mov (%rbx),%eax
  in.data.insert(in.data.end(), one.data.begin(), one.data.end());
  f.feed(in);
  CHECK(at<uint8_t>(f.out, ending) == VectorStream::exception);
  CHECK(at<uint8_t>(f.out, vector) == PF_vector);
  CHECK(at<uint64_t>(f.out, cr2) == 0x5123);
  CHECK(at<uint64_t>(f.out, rip) == 0x1000);
}

TEST_CASE("vectors: A case cut in two waits for its rest", "[vectors]") {
  Fixture f;
  Bytes in = header();
  Bytes one = simple_case({0x90}, 1, 2);
  in.data.insert(in.data.end(), one.data.begin(), one.data.end());
  std::vector<uint8_t> out;
  size_t used = f.stream.feed(std::span(in.data).first(in.data.size() - 5), out);
  CHECK(used == 8);
  CHECK(f.stream.cases() == 0);
  used += f.stream.feed(std::span(in.data).subspan(used), out);
  CHECK(used == in.data.size());
  CHECK(f.stream.cases() == 1);
}

TEST_CASE("vectors: Foreign and damaged input is refused with a sentence", "[vectors]") {
  Fixture f;
  SECTION("another program's file") { f.feed(Bytes().put({'E', 'L', 'F', 0}).put(uint32_t{1})); }
  SECTION("a newer version") { f.feed(header(2)); }
  SECTION("a size that is too large") { f.feed(header().put(uint32_t{0x7fffffff})); }
  SECTION("a case that ends early") { f.feed(header().put(uint32_t{4}).put(uint32_t{0})); }
  CHECK(!f.stream.error().empty());
}

TEST_CASE("vectors: A case without its pages leaves nothing to the next", "[vectors]") {
  VectorRunner runner;
  static constexpr uint8_t store[] = {0x48, 0x89, 0x03}, seven[] = {7, 7, 7, 7};  // mov %rax,(%rbx)
  for (uint64_t turn = 0; turn < 3; ++turn) {
    CpuState& s = runner.begin(Mode::long64);
    s.rip = 0x1000, s.gpr[RAX] = 0x1122, s.gpr[RBX] = 0x7fff'0000'0800;
    REQUIRE(runner.window(0x1000, store, VectorRunner::executable));
    if (turn != 1) REQUIRE(runner.window(0x7fff'0000'0804, seven, VectorRunner::writable));
    End end = runner.run(1);
    if (turn == 1) {
      CHECK(end == End::exception);
      CHECK(runner.exception().cr2 == 0x7fff'0000'0800);
      CHECK(runner.exception().error == 6);  // a user's write to a page that is not there
    } else {
      CHECK(end == End::completed);
      REQUIRE(runner.changes().size() == 1);
      CHECK(runner.changes()[0].address == 0x7fff'0000'0800);
      CHECK(runner.changes()[0].bytes.size() == 8);
    }
  }
}

TEST_CASE("vectors: Blocks run to their stop address", "[vectors]") {
  VectorRunner runner;
  static constexpr uint8_t loop[] = {0x48, 0xff, 0xc0, 0xe2, 0xfb, 0x90};  // 1: inc %rax; loop 1b; nop
  CpuState& s = runner.begin(Mode::long64);
  s.rip = 0x1000, s.gpr[RCX] = 10;
  REQUIRE(runner.window(0x1000, loop, VectorRunner::executable));
  CHECK(runner.run(1000, 0x1005) == End::completed);
  CHECK(runner.state().gpr[RAX] == 10);
  CHECK(runner.instructions_run() == 20);
}

TEST_CASE("vectors: A repeated instruction is one instruction", "[vectors]") {
  VectorRunner runner;
  static constexpr uint8_t scan[] = {0xf2, 0xae, 0x90};  // repne scasb; nop
  std::vector<uint8_t> text(300, 'x');
  text[250] = 'y';
  CpuState& s = runner.begin(Mode::long64);
  s.rip = 0x1000, s.gpr[RCX] = 1000, s.gpr[RAX] = 'y', s.gpr[RDI] = 0x2000;
  REQUIRE(runner.window(0x1000, scan, VectorRunner::executable));
  REQUIRE(runner.window(0x2000, text, 0));
  CHECK(runner.run(1) == End::completed);
  CHECK(runner.state().rip == 0x1002);
  CHECK(runner.state().gpr[RCX] == 1000 - 251);
}

TEST_CASE("vectors: Real mode has its megabyte", "[vectors]") {
  VectorRunner runner;
  static constexpr uint8_t store[] = {0xa3, 0x34, 0x12};  // mov %ax,0x1234
  for (unsigned turn = 0; turn < 2; ++turn) {
    CpuState& s = runner.begin(Mode::real16);
    s.segment[DS].selector = 0x2000, s.segment[DS].base = 0x20000;
    s.rip = 0x100, s.gpr[RAX] = 0xbeef;
    REQUIRE(runner.window(0x100, store, VectorRunner::executable));
    CHECK(runner.run(1) == End::completed);
    REQUIRE(runner.changes().size() == 1);
    CHECK(runner.changes()[0].address == 0x21234);
  }
}

TEST_CASE("vectors: An instruction that needs a sixteenth byte is #GP without a look at the next page", "[vectors]") {
  VectorRunner runner;
  runner.begin(Mode::long64).rip = 0x1ff1;
  std::vector<uint8_t> code(15, 0x66);
  code.back() = 0x01;  // its ModRM byte would be the sixteenth, in a page that is not there
  REQUIRE(runner.window(0x1ff1, code, VectorRunner::executable));
  REQUIRE(runner.run(1) == End::exception);
  CHECK(runner.exception().vector == 13);
}
