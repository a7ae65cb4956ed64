#include "devices/memory_tree.h"

#include "tests/device_bench.h"

using namespace matryoshka;
using namespace matryoshka::bench;

namespace {

using Error = FileError;
using Node = FileTree::Node;

struct TreeBench {
  MemoryTree tree{1 << 20};
  Node make(Node parent, const std::string& name, uint32_t mode = FileTree::regular | 0644) {
    Node made = 0;
    REQUIRE(tree.create(parent, name, mode, 0, {}, made) == Error::none);
    return made;
  }
  Node directory(Node parent, const std::string& name) { return make(parent, name, FileTree::directory | 0755); }
  Node find(Node parent, const std::string& name) {
    Node found = 0;
    return tree.find(parent, name, found) == Error::none ? found : 0;
  }
  Error write(Node node, uint64_t offset, std::string_view text) {
    return tree.write(node, offset, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  }
  std::string read(Node node) {
    std::string text(100, ' ');
    size_t count = 0;
    REQUIRE(tree.read(node, 0, {reinterpret_cast<uint8_t*>(text.data()), text.size()}, count) == Error::none);
    return text.substr(0, count);
  }
  std::string names(Node parent) {
    std::string all;
    FileTree::Entry entry;
    for (uint64_t cookie = 0; tree.next_entry(parent, cookie, entry) == Error::none; cookie = entry.cookie)
      all += entry.name + " ";
    return all;
  }
  FileTree::Attributes attributes(Node node) {
    FileTree::Attributes a;
    REQUIRE(tree.attributes(node, a) == Error::none);
    return a;
  }
};

}  // namespace

TEST_CASE("memory tree: added files make their directories") {
  TreeBench b;
  const uint8_t text[] = {'h', 'i'};
  REQUIRE(b.tree.add("/lab/one/hello.txt", text));
  REQUIRE(b.tree.add("lab/two", text, 0755));
  Node lab = b.find(b.tree.root(), "lab");
  CHECK(b.names(lab) == ". .. one two ");
  CHECK(b.read(b.find(b.find(lab, "one"), "hello.txt")) == "hi");
  CHECK_FALSE(b.tree.add("../escape", text));
  CHECK_FALSE(b.tree.add("/", text));
  CHECK_FALSE(b.tree.add("lab/two/below-a-file", text));
}

TEST_CASE("memory tree: writing behind the end fills up with zeroes") {
  TreeBench b;
  Node file = b.make(1, "f");
  REQUIRE(b.write(file, 3, "abc") == Error::none);
  CHECK(b.read(file) == std::string("\0\0\0abc", 6));
}

TEST_CASE("memory tree: it is never larger than allowed") {
  TreeBench b;
  Node file = b.make(1, "f");
  FileTree::Attributes huge;
  huge.size = (1 << 20) + 1;
  CHECK(b.tree.change(file, FileTree::change_size, huge) == Error::no_space);
  CHECK(b.write(file, ~uint64_t{0}, "x") == Error::too_large);
  CHECK(b.write(file, (1 << 20) - 1, "xx") == Error::too_large);
  huge.size = 1 << 20;
  CHECK(b.tree.change(file, FileTree::change_size, huge) == Error::none);
  CHECK(b.write(b.make(1, "g"), 0, "x") == Error::no_space);
  CHECK(b.tree.remove(1, "f", false) == Error::none);
  CHECK(b.tree.space().free_bytes == 1 << 20);
}

TEST_CASE("memory tree: directories are removed only as directories and only when empty") {
  TreeBench b;
  Node dir = b.directory(1, "d");
  b.make(dir, "f");
  CHECK(b.tree.remove(1, "d", false) == Error::is_directory);
  CHECK(b.tree.remove(1, "d", true) == Error::not_empty);
  CHECK(b.tree.remove(dir, "f", true) == Error::not_directory);
  CHECK(b.tree.remove(dir, "f", false) == Error::none);
  CHECK(b.tree.remove(1, "d", true) == Error::none);
  CHECK(b.find(1, "d") == 0);
}

TEST_CASE("memory tree: a held file outlives its name") {
  TreeBench b;
  Node file = b.make(1, "f");
  b.tree.hold(file);
  REQUIRE(b.tree.remove(1, "f", false) == Error::none);
  CHECK(b.write(file, 0, "still here") == Error::none);
  CHECK(b.read(file) == "still here");
  b.tree.release(file);
  FileTree::Attributes a;
  CHECK(b.tree.attributes(file, a) == Error::stale);
}

TEST_CASE("memory tree: nothing is made in a directory that was removed") {
  TreeBench b;
  Node dir = b.directory(1, "d"), made = 0;
  b.tree.hold(dir);
  REQUIRE(b.tree.remove(1, "d", true) == Error::none);
  CHECK(b.tree.create(dir, "f", FileTree::regular, 0, {}, made) == Error::no_entry);
}

TEST_CASE("memory tree: two names of one file count as links") {
  TreeBench b;
  Node file = b.make(1, "f");
  REQUIRE(b.tree.link(1, "g", file) == Error::none);
  CHECK(b.attributes(file).links == 2);
  REQUIRE(b.tree.remove(1, "f", false) == Error::none);
  CHECK(b.find(1, "g") == file);
  CHECK(b.tree.link(1, "h", 1) == Error::not_permitted);
}

TEST_CASE("memory tree: rename replaces a file and refuses what cannot be") {
  TreeBench b;
  Node one = b.make(1, "one"), dir = b.directory(1, "dir"), inner = b.directory(dir, "inner");
  b.make(1, "two");
  CHECK(b.tree.rename(1, "one", 1, "two") == Error::none);
  CHECK(b.find(1, "two") == one);
  CHECK(b.tree.rename(1, "two", dir, "three") == Error::none);
  CHECK(b.find(dir, "three") == one);
  CHECK(b.tree.rename(1, "dir", inner, "loop") == Error::invalid);
  CHECK(b.tree.rename(1, "dir", dir, "loop") == Error::invalid);
  CHECK(b.tree.rename(dir, "three", 1, "dir") == Error::is_directory);
  CHECK(b.tree.rename(1, "absent", 1, "x") == Error::no_entry);
  CHECK(b.tree.rename(dir, "three", dir, "three") == Error::none);
  CHECK(b.find(dir, "three") == one);
}

TEST_CASE("memory tree: reading a directory goes on where it was, whatever is removed") {
  TreeBench b;
  for (const char* name : {"a", "b", "c", "d"}) b.make(1, name);
  FileTree::Entry entry;
  uint64_t cookie = 0;
  for (int i = 0; i < 3; ++i) {
    REQUIRE(b.tree.next_entry(1, cookie, entry) == Error::none);
    cookie = entry.cookie;
  }
  CHECK(entry.name == "a");
  REQUIRE(b.tree.remove(1, "a", false) == Error::none);
  REQUIRE(b.tree.remove(1, "b", false) == Error::none);
  REQUIRE(b.tree.next_entry(1, cookie, entry) == Error::none);
  CHECK(entry.name == "c");
}

TEST_CASE("memory tree: times come from the guest's clock") {
  uint64_t now = 5;
  MemoryTree tree(1000, [&] { return FileTree::Time{now, 0}; });
  Node made = 0;
  REQUIRE(tree.create(1, "f", FileTree::regular, 0, {}, made) == Error::none);
  now = 9;
  FileTree::Attributes a;
  a.accessed = {77, 8};
  REQUIRE(tree.change(made, FileTree::change_modified | FileTree::change_accessed | FileTree::accessed_given, a) == Error::none);
  REQUIRE(tree.attributes(made, a) == Error::none);
  CHECK(a.accessed.seconds == 77);
  CHECK(a.modified.seconds == 9);
  CHECK(a.changed.seconds == 9);
}

TEST_CASE("memory tree: a snapshot keeps files, links and directories") {
  TreeBench b, other;
  Node dir = b.directory(1, "d");
  Node file = b.make(dir, "f");
  REQUIRE(b.write(file, 0, "text") == Error::none);
  REQUIRE(b.tree.link(1, "g", file) == Error::none);
  Clock clock;
  auto saved = save(clock, b.tree);
  REQUIRE(load(clock, other.tree, saved));
  CHECK(save(clock, other.tree) == saved);
  CHECK(other.read(other.find(other.find(1, "d"), "f")) == "text");
  CHECK(other.attributes(file).links == 2);
  CHECK(other.make(1, "new") == b.make(1, "new"));
}

TEST_CASE("memory tree: damaged snapshots are refused or harmless") {
  TreeBench b;
  Node dir = b.directory(1, "d"), inner = b.directory(dir, "e");
  REQUIRE(b.write(b.make(inner, "f"), 0, "text") == Error::none);
  Clock clock;
  auto good = save(clock, b.tree);
  std::mt19937 random(1);
  for (unsigned round = 0; round < 3000; ++round) {
    auto damaged = good;
    for (unsigned i = 0, flips = 1 + random() % 4; i < flips; ++i)
      damaged[32 + random() % (damaged.size() - 32)] = static_cast<uint8_t>(random() % 12);
    if (round % 8 == 0) damaged.resize(random() % damaged.size());
    TreeBench other;
    Clock fresh;
    (void)load(fresh, other.tree, damaged);
    Node made = 0;
    for (Node node = 0; node < 8; ++node) {
      other.names(node);
      (void)other.tree.create(node, "x", FileTree::directory, 0, {}, made);
      for (Node to = 0; to < 8; ++to) (void)other.tree.rename(node, "x", to, "y");
      (void)other.tree.remove(node, "d", true);
      (void)other.write(node, 0, "more");
    }
  }
}
