// A 9P client as plainly as a test needs it: builds messages field by field and takes answers apart.
#pragma once

#include "devices/memory_tree.h"
#include "devices/ninep_server.h"
#include "tests/device_bench.h"

namespace matryoshka::bench {

// A request: number fields by width, strings by value.
class Ask {
 public:
  explicit Ask(uint8_t type, uint16_t tag = 1) : bytes_(4) {
    append(bytes_, type);
    append(bytes_, tag);
  }
  template <std::integral T>
  Ask& operator<<(T value) {
    append(bytes_, value);
    return *this;
  }
  Ask& operator<<(const std::string& text) {
    append(bytes_, static_cast<uint16_t>(text.size()));
    append(bytes_, std::string_view(text));
    return *this;
  }
  Ask& raw(std::string_view data) {
    append(bytes_, data);
    return *this;
  }
  std::vector<uint8_t> message() const {
    auto whole = bytes_;
    poke(whole, 0, static_cast<uint32_t>(whole.size()));
    return whole;
  }

 private:
  std::vector<uint8_t> bytes_;
};

struct Answer {
  std::vector<uint8_t> bytes;
  uint8_t type() const { return peek<uint8_t>(bytes, 4); }
  // 0 if it is no refusal.
  uint32_t error() const { return type() == 7 ? peek<uint32_t>(bytes, 7) : 0; }
  template <class T>
  T at(size_t offset) const {
    return peek<T>(bytes, 7 + offset);
  }
  std::string text(size_t offset, size_t size) const { return {reinterpret_cast<const char*>(bytes.data()) + 7 + offset, size}; }
};

enum NinepType : uint8_t {
  t_statfs = 8,
  t_lopen = 12,
  t_lcreate = 14,
  t_symlink = 16,
  t_rename = 20,
  t_readlink = 22,
  t_getattr = 24,
  t_setattr = 26,
  t_xattrwalk = 30,
  t_readdir = 40,
  t_fsync = 50,
  t_lock = 52,
  t_getlock = 54,
  t_link = 70,
  t_mkdir = 72,
  t_renameat = 74,
  t_unlinkat = 76,
  t_version = 100,
  t_attach = 104,
  t_flush = 108,
  t_walk = 110,
  t_read = 116,
  t_write = 118,
  t_clunk = 120,
  t_remove = 122,
};

// A session with fid 0 at the root of a tree.
struct NinepClient {
  explicit NinepClient(FileTree& tree) : server(tree) {
    REQUIRE(ask(Ask(t_version) << uint32_t{65536} << std::string("9P2000.L")).error() == 0);
    REQUIRE(ask(Ask(t_attach) << uint32_t{0} << ~uint32_t{0} << std::string("root") << std::string("") << uint32_t{0}).error() ==
            0);
  }
  Answer ask(const Ask& request, size_t room = 65536) { return {server.handle(request.message(), room)}; }

  Answer walk(uint32_t from, uint32_t to, const std::vector<std::string>& names) {
    Ask request(t_walk);
    request << from << to << static_cast<uint16_t>(names.size());
    for (const std::string& name : names) request << name;
    return ask(request);
  }
  Answer open(uint32_t fid, uint32_t flags) { return ask(Ask(t_lopen) << fid << flags); }
  std::string read(uint32_t fid, uint64_t offset = 0, uint32_t count = 1000) {
    Answer answer = ask(Ask(t_read) << fid << offset << count);
    REQUIRE(answer.error() == 0);
    return answer.text(4, answer.at<uint32_t>(0));
  }
  Answer write(uint32_t fid, uint64_t offset, const std::string& text) {
    return ask((Ask(t_write) << fid << offset << static_cast<uint32_t>(text.size())).raw(text));
  }
  uint64_t size(uint32_t fid) { return ask(Ask(t_getattr) << fid << uint64_t{0x7ff}).at<uint64_t>(8 + 13 + 12 + 16); }

  NinepServer server;
};

// Of a tree that has "hello" (world) and "dir/deep" (down).
struct SmallTree {
  SmallTree() {
    const uint8_t world[] = {'w', 'o', 'r', 'l', 'd'}, down[] = {'d', 'o', 'w', 'n'};
    REQUIRE(tree.add("hello", world));
    REQUIRE(tree.add("dir/deep", down));
  }
  MemoryTree tree{1 << 20};
};
struct NinepBench : SmallTree, NinepClient {
  NinepBench() : NinepClient(tree) {}
};

}  // namespace matryoshka::bench
