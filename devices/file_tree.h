// A tree of files as a 9P server needs it, wherever they are kept, or made: in memory, from what the inspector knows.
//
// A node is a file, directory or symbolic link, by a number that is never used again. Names that reach a tree have been
// checked: they are single components, neither "." nor "..". A tree checks everything else, above all that a node is still
// there and is what the call needs. Who may do what is not asked: the guest's users are all the tree's owner.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cpu/state/archive.h"

namespace matryoshka {

// Linux's error numbers, which 9P2000.L carries.
enum class FileError : uint32_t {
  none = 0,
  not_permitted = 1,
  no_entry = 2,
  io = 5,
  bad_file = 9,
  exists = 17,
  not_directory = 20,
  is_directory = 21,
  invalid = 22,
  too_many_open = 24,
  too_large = 27,
  no_space = 28,
  read_only = 30,
  name_too_long = 36,
  not_empty = 39,
  protocol = 71,
  not_supported = 95,
  stale = 116,
};

class FileTree {
 public:
  using Node = uint64_t;
  enum Kind : uint32_t { kind_mask = 0170000, directory = 0040000, regular = 0100000, symlink = 0120000 };

  struct Time {
    uint64_t seconds = 0, nanoseconds = 0;
    void serialize(Archive& ar) { ar(seconds, nanoseconds); }
  };
  struct Attributes {
    uint32_t mode = 0;  // kind and permissions
    uint32_t uid = 0, gid = 0;
    uint64_t links = 0, size = 0;
    Time accessed, modified, changed;
  };
  // Which of them to set. A time that is not given is set to now.
  enum Change : uint32_t {
    change_mode = 0x001,
    change_uid = 0x002,
    change_gid = 0x004,
    change_size = 0x008,
    change_accessed = 0x010,
    change_modified = 0x020,
    change_changed = 0x040,
    accessed_given = 0x080,
    modified_given = 0x100,
  };
  struct Entry {
    Node node = 0;
    uint32_t mode = 0;
    uint64_t cookie = 0;  // reading on from here gives the entry after this one, whatever is removed in between
    std::string name;
  };
  struct Space {
    uint64_t bytes = 0, free_bytes = 0, files = 0, free_files = 0;
  };

  virtual ~FileTree() = default;
  virtual Node root() const = 0;
  // A node that is held outlives its last name.
  virtual void hold(Node node) = 0;
  virtual void release(Node node) = 0;

  virtual FileError find(Node parent, const std::string& name, Node& found) = 0;
  // The kind comes with the mode; a symbolic link's target is given as its contents.
  virtual FileError create(Node parent, const std::string& name, uint32_t mode, uint32_t gid, const std::string& target,
                           Node& made) = 0;
  virtual FileError link(Node parent, const std::string& name, Node target) = 0;
  virtual FileError remove(Node parent, const std::string& name, bool directory) = 0;
  virtual FileError rename(Node from, const std::string& old_name, Node to, const std::string& new_name) = 0;
  // The first entry behind `cookie`, 0 to begin with; no_entry at the end. "." and ".." come first.
  virtual FileError next_entry(Node parent, uint64_t cookie, Entry& entry) = 0;

  // Whether the node may be opened. A tree whose contents are made when somebody looks makes them here: what this opening reads
  // stands still, whatever happens meanwhile. Others leave `made` empty, and read() has the contents.
  virtual FileError open(Node, bool /*to_write*/, std::optional<std::vector<uint8_t>>& /*made*/) { return FileError::none; }
  virtual FileError attributes(Node node, Attributes& attributes) = 0;
  virtual FileError change(Node node, uint32_t what, const Attributes& attributes) = 0;
  virtual FileError read(Node node, uint64_t offset, std::span<uint8_t> bytes, size_t& count) = 0;
  virtual FileError write(Node node, uint64_t offset, std::span<const uint8_t> bytes) = 0;
  virtual FileError read_link(Node node, std::string& target) = 0;
  virtual FileError sync(Node node) = 0;
  virtual Space space() const = 0;

  // What is kept here and nowhere else. Holds are not saved: whoever held takes hold again.
  virtual void serialize(Archive&) {}
};

}  // namespace matryoshka
