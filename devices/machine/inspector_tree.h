// What the inspector knows, as a tree of files that a guest can mount: the share `l0`.
//
// Nothing is kept here. A file's contents are made when it is opened, from the model of VT-x and from memory, and stay as they
// were for whoever has it open (ninep_server.h); its length is told the same way, so one that is only looked at may have another
// by the time it is opened. All of it follows from the saved state, and none of it from general registers: which of
// them a compiled region has written back by the time of an access is its own business. So the same run reads the same
// bytes on every engine and build, and a guest that reads has no other effect than that time passes.
//
// Whoever reads is some layer's own program, most often one of L1's; what it wants to hear of is the guest. So where nothing else
// is said, files speak of the current VMCS's guest.
//
// A node's number says all about it: the kind in the upper 7 bits, below it a file, a VMCS with a field, or an address to walk.
// 57 bits are as many as any paging mode translates. A number that makes no sense, or whose VMCS is gone, is answered as stale.
#pragma once

#include <functional>

#include "devices/file_tree.h"

namespace matryoshka {

class Processor;

class InspectorTree final : public FileTree {
 public:
  // `now` is guest time.
  InspectorTree(const Processor& cpu, std::function<Time()> now) : cpu_(cpu), now_(std::move(now)) {}

  Node root() const override { return 1; }
  void hold(Node) override {}
  void release(Node) override {}
  FileError find(Node parent, const std::string& name, Node& found) override;
  FileError next_entry(Node parent, uint64_t cookie, Entry& entry) override;
  FileError open(Node node, bool to_write, std::optional<std::vector<uint8_t>>& made) override;
  FileError attributes(Node node, Attributes& attributes) override;
  FileError read(Node node, uint64_t offset, std::span<uint8_t> bytes, size_t& count) override;
  FileError read_link(Node, std::string&) override { return FileError::invalid; }
  FileError sync(Node) override { return FileError::none; }
  Space space() const override { return {}; }

  FileError create(Node, const std::string&, uint32_t, uint32_t, const std::string&, Node&) override {
    return FileError::read_only;
  }
  FileError link(Node, const std::string&, Node) override { return FileError::read_only; }
  FileError remove(Node, const std::string&, bool) override { return FileError::read_only; }
  FileError rename(Node, const std::string&, Node, const std::string&) override { return FileError::read_only; }
  FileError change(Node, uint32_t, const Attributes&) override { return FileError::read_only; }
  FileError write(Node, uint64_t, std::span<const uint8_t>) override { return FileError::read_only; }

 private:
  // What a number means.
  struct Place {
    enum Kind : uint8_t { fixed, current_vmcs, last_exit, some_vmcs, walk };  // walk: and the layer is added
    uint8_t kind = fixed;
    uint64_t value = 0;
    explicit Place(Node node);
    Place(uint8_t k, uint64_t v) : kind(k), value(v) {}
    Node node() const;
    bool is_vmcs() const { return kind == current_vmcs || kind == last_exit || kind == some_vmcs; }
    unsigned item() const { return static_cast<unsigned>(value & 0x1ff); }  // of a VMCS
    uint64_t address() const { return value >> 9 << 12; }
  };
  struct File {
    const char* name;
    std::string (InspectorTree::*text)() const;
  };
  static const File files_[];
  static const unsigned file_count_;

  bool exists(const Place& place) const;
  bool is_directory(const Place& place) const;
  bool next_child(const Place& parent, uint64_t cookie, uint64_t& next, std::string& name, Node& child) const;
  const uint64_t* fields(const Place& vmcs) const;
  std::string text(const Place& file) const;
  std::string vmcs_text(const Place& file) const;
  std::string walk_text(const Place& file) const;

  std::string read_me() const;
  std::string layers() const;
  std::string exits() const;
  std::string exits_by_reason() const;
  std::string why() const;
  std::string why_fail() const;
  std::string registers() const;

  const Processor& cpu_;
  std::function<Time()> now_;
};

}  // namespace matryoshka
