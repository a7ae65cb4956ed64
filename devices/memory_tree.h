// A tree of files in memory, bounded in bytes and in number.
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "devices/bus/bytes.h"
#include "devices/file_tree.h"

namespace matryoshka {

class MemoryTree : public FileTree {
 public:
  // `now` is guest time, so that what a guest sees does not depend on the host.
  explicit MemoryTree(
      uint64_t most_bytes = 256 << 20, std::function<Time()> now = [] { return Time{}; });

  // For the embedder: makes the directories on the way. False if the path makes no sense or there is no room.
  bool add(const std::string& path, ByteSpan bytes, uint32_t permissions = 0644);

  Node root() const override { return 1; }
  void hold(Node node) override;
  void release(Node node) override;
  FileError find(Node parent, const std::string& name, Node& found) override;
  FileError create(Node parent, const std::string& name, uint32_t mode, uint32_t gid, const std::string& target,
                   Node& made) override;
  FileError link(Node parent, const std::string& name, Node target) override;
  FileError remove(Node parent, const std::string& name, bool directory) override;
  FileError rename(Node from, const std::string& old_name, Node to, const std::string& new_name) override;
  FileError next_entry(Node parent, uint64_t cookie, Entry& entry) override;
  FileError attributes(Node node, Attributes& attributes) override;
  FileError change(Node node, uint32_t what, const Attributes& attributes) override;
  FileError read(Node node, uint64_t offset, std::span<uint8_t> bytes, size_t& count) override;
  FileError write(Node node, uint64_t offset, std::span<const uint8_t> bytes) override;
  FileError read_link(Node node, std::string& target) override;
  FileError sync(Node) override { return FileError::none; }
  Space space() const override;
  void serialize(Archive& ar) override;

 private:
  static constexpr uint64_t most_nodes = 1 << 20;
  static constexpr uint64_t first_cookie = 3;  // after "." and ".."

  struct Child {
    std::string name;
    Node node;
  };
  struct Inode {
    uint32_t mode = 0, uid = 0, gid = 0;
    Time accessed, modified, changed;
    std::vector<uint8_t> bytes;          // a file's contents, a link's target
    std::map<uint64_t, Child> children;  // a directory's, by cookie
    uint64_t next_cookie = first_cookie;
    // Derived.
    std::map<std::string, uint64_t> cookies;  // of the children, by name
    Node parent = 0;                          // of a directory
    uint64_t names = 0;                       // how many entries mean this
    uint64_t holds = 0;

    bool is(Kind kind) const { return (mode & kind_mask) == kind; }
    void serialize(Archive& ar, uint64_t most_bytes);
  };

  Inode* inode(Node node);
  FileError directory_at(Node node, Inode*& found);
  bool resize(Inode& file, uint64_t size);
  void add_child(Node parent, const std::string& name, Node node);
  void remove_child(Inode& parent, const std::string& name);
  void drop_if_unused(Node node);
  bool is_within(Node node, Node ancestor);
  void derive(Archive& ar);

  uint64_t most_bytes_;
  std::function<Time()> now_;
  std::map<Node, Inode> inodes_;
  Node next_node_ = 2;
  uint64_t used_bytes_ = 0;  // derived
};

}  // namespace matryoshka
