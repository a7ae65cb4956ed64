#include "devices/memory_tree.h"

#include <algorithm>

namespace matryoshka {

MemoryTree::MemoryTree(uint64_t most_bytes, std::function<Time()> now) : most_bytes_(most_bytes), now_(std::move(now)) {
  Inode& top = inodes_[root()];
  top.mode = directory | 0755;
  top.accessed = top.modified = top.changed = now_();
  top.parent = root();
  top.names = 1;
}

bool MemoryTree::add(const std::string& path, ByteSpan bytes, uint32_t permissions) {
  Node at = root();
  for (size_t start = 0; start < path.size();) {
    size_t end = std::min(path.find('/', start), path.size());
    std::string part = path.substr(start, end - start);
    start = end + 1;
    if (part.empty() || part == ".") continue;
    if (part == "..") return false;
    bool last = start >= path.size();
    Node next = 0;
    FileError error = find(at, part, next);
    if (error == FileError::no_entry) error = create(at, part, last ? regular | permissions : directory | 0755, 0, {}, next);
    if (error != FileError::none) return false;
    at = next;
  }
  return at != root() && write(at, 0, bytes) == FileError::none;
}

// --- nodes and their names -------------------------------------------------------------------------------------------

MemoryTree::Inode* MemoryTree::inode(Node node) {
  auto found = inodes_.find(node);
  return found == inodes_.end() ? nullptr : &found->second;
}

FileError MemoryTree::directory_at(Node node, Inode*& found) {
  found = inode(node);
  if (!found) return FileError::stale;
  return found->is(directory) ? FileError::none : FileError::not_directory;
}

void MemoryTree::hold(Node node) {
  if (Inode* i = inode(node)) ++i->holds;
}

void MemoryTree::release(Node node) {
  if (Inode* i = inode(node); i && i->holds > 0) {
    --i->holds;
    drop_if_unused(node);
  }
}

void MemoryTree::drop_if_unused(Node node) {
  auto found = inodes_.find(node);
  if (found == inodes_.end() || found->second.names > 0 || found->second.holds > 0) return;
  used_bytes_ -= found->second.bytes.size();
  inodes_.erase(found);
}

void MemoryTree::add_child(Node parent, const std::string& name, Node node) {
  Inode& dir = inodes_[parent];
  Inode& child = inodes_[node];
  dir.cookies[name] = dir.next_cookie;
  dir.children[dir.next_cookie++] = {name, node};
  dir.modified = dir.changed = child.changed = now_();
  ++child.names;
  if (child.is(directory)) child.parent = parent;
}

void MemoryTree::remove_child(Inode& parent, const std::string& name) {
  auto cookie = parent.cookies.find(name);
  auto child = parent.children.find(cookie->second);
  Node node = child->second.node;
  parent.children.erase(child);
  parent.cookies.erase(cookie);
  parent.modified = parent.changed = now_();
  if (Inode* i = inode(node)) {
    --i->names;
    i->changed = parent.changed;
  }
}

bool MemoryTree::is_within(Node node, Node ancestor) {
  for (uint64_t steps = 0; steps <= inodes_.size(); ++steps) {
    if (node == ancestor) return true;
    Inode* i = inode(node);
    if (!i || node == root()) return false;
    node = i->parent;
  }
  return true;  // a circle, which only a damaged snapshot can make
}

FileError MemoryTree::find(Node parent, const std::string& name, Node& found) {
  Inode* dir = nullptr;
  if (FileError error = directory_at(parent, dir); error != FileError::none) return error;
  auto cookie = dir->cookies.find(name);
  if (cookie == dir->cookies.end()) return FileError::no_entry;
  found = dir->children[cookie->second].node;
  return FileError::none;
}

FileError MemoryTree::create(Node parent, const std::string& name, uint32_t mode, uint32_t gid, const std::string& target,
                             Node& made) {
  Inode* dir = nullptr;
  if (FileError error = directory_at(parent, dir); error != FileError::none) return error;
  if (dir->cookies.count(name)) return FileError::exists;
  if (dir->names == 0) return FileError::no_entry;  // removed, and only held
  uint32_t kind = mode & kind_mask;
  if (kind != directory && kind != regular && kind != symlink) return FileError::not_supported;
  if (inodes_.size() >= most_nodes || target.size() > most_bytes_ - used_bytes_) return FileError::no_space;

  made = next_node_++;
  Inode& i = inodes_[made];
  i.mode = mode & (kind_mask | 07777);
  i.gid = gid;
  i.accessed = i.modified = now_();
  i.bytes.assign(target.begin(), target.end());
  used_bytes_ += target.size();
  add_child(parent, name, made);
  return FileError::none;
}

FileError MemoryTree::link(Node parent, const std::string& name, Node target) {
  Inode* dir = nullptr;
  if (FileError error = directory_at(parent, dir); error != FileError::none) return error;
  Inode* i = inode(target);
  if (!i || i->names == 0 || dir->names == 0) return FileError::no_entry;
  if (i->is(directory)) return FileError::not_permitted;
  if (dir->cookies.count(name)) return FileError::exists;
  add_child(parent, name, target);
  return FileError::none;
}

FileError MemoryTree::remove(Node parent, const std::string& name, bool want_directory) {
  Node node = 0;
  if (FileError error = find(parent, name, node); error != FileError::none) return error;
  Inode* i = inode(node);
  bool is_directory = i && i->is(directory);
  if (is_directory && !want_directory) return FileError::is_directory;
  if (!is_directory && want_directory) return FileError::not_directory;
  if (is_directory && !i->children.empty()) return FileError::not_empty;
  remove_child(inodes_[parent], name);
  drop_if_unused(node);
  return FileError::none;
}

FileError MemoryTree::rename(Node from, const std::string& old_name, Node to, const std::string& new_name) {
  Node node = 0, replaced = 0;
  if (FileError error = find(from, old_name, node); error != FileError::none) return error;
  FileError there = find(to, new_name, replaced);
  if (there != FileError::none && there != FileError::no_entry) return there;
  bool is_directory = inodes_[node].is(directory);
  if (inodes_[to].names == 0) return FileError::no_entry;
  if (is_directory && is_within(to, node)) return FileError::invalid;
  if (there == FileError::none) {
    if (replaced == node) return FileError::none;
    if (FileError error = remove(to, new_name, is_directory); error != FileError::none) return error;
  }
  // Held meanwhile: between the two steps it has no name.
  hold(node);
  remove_child(inodes_[from], old_name);
  add_child(to, new_name, node);
  release(node);
  return FileError::none;
}

FileError MemoryTree::next_entry(Node parent, uint64_t cookie, Entry& entry) {
  Inode* dir = nullptr;
  if (FileError error = directory_at(parent, dir); error != FileError::none) return error;
  if (cookie < first_cookie - 1) {
    bool self = cookie == 0;
    entry = {self ? parent : dir->parent, directory, cookie + 1, self ? "." : ".."};
    return FileError::none;
  }
  auto next = dir->children.upper_bound(cookie);
  if (next == dir->children.end()) return FileError::no_entry;
  Inode* child = inode(next->second.node);
  entry = {next->second.node, child ? child->mode : 0, next->first, next->second.name};
  return FileError::none;
}

// --- contents and attributes -----------------------------------------------------------------------------------------

FileError MemoryTree::attributes(Node node, Attributes& a) {
  Inode* i = inode(node);
  if (!i) return FileError::stale;
  uint64_t links = i->names;
  if (i->is(directory)) {
    links = 2;
    for (auto& [cookie, child] : i->children)
      if (Inode* c = inode(child.node)) links += c->is(directory);
  }
  a = {i->mode, i->uid, i->gid, links, i->bytes.size(), i->accessed, i->modified, i->changed};
  return FileError::none;
}

FileError MemoryTree::change(Node node, uint32_t what, const Attributes& a) {
  Inode* i = inode(node);
  if (!i) return FileError::stale;
  Time now = now_();
  if (what & change_size) {
    if (!i->is(regular)) return i->is(directory) ? FileError::is_directory : FileError::invalid;
    if (!resize(*i, a.size)) return FileError::no_space;
    i->modified = now;
  }
  if (what & change_mode) i->mode = (i->mode & kind_mask) | (a.mode & 07777);
  if (what & change_uid) i->uid = a.uid;
  if (what & change_gid) i->gid = a.gid;
  if (what & change_accessed) i->accessed = what & accessed_given ? a.accessed : now;
  if (what & change_modified) i->modified = what & modified_given ? a.modified : now;
  i->changed = now;
  return FileError::none;
}

bool MemoryTree::resize(Inode& file, uint64_t size) {
  if (size > file.bytes.size() && size - file.bytes.size() > most_bytes_ - used_bytes_) return false;
  used_bytes_ += size - file.bytes.size();
  file.bytes.resize(size);
  return true;
}

FileError MemoryTree::read(Node node, uint64_t offset, std::span<uint8_t> bytes, size_t& count) {
  Inode* i = inode(node);
  if (!i) return FileError::stale;
  if (i->is(directory)) return FileError::is_directory;
  count = offset < i->bytes.size() ? std::min<uint64_t>(bytes.size(), i->bytes.size() - offset) : 0;
  if (count != 0) std::memcpy(bytes.data(), i->bytes.data() + offset, count);
  return FileError::none;
}

FileError MemoryTree::write(Node node, uint64_t offset, std::span<const uint8_t> bytes) {
  Inode* i = inode(node);
  if (!i) return FileError::stale;
  if (!i->is(regular)) return i->is(directory) ? FileError::is_directory : FileError::invalid;
  if (bytes.empty()) return FileError::none;
  if (offset > most_bytes_ || bytes.size() > most_bytes_ - offset) return FileError::too_large;
  uint64_t end = offset + bytes.size();
  if (end > i->bytes.size() && !resize(*i, end)) return FileError::no_space;
  std::memcpy(i->bytes.data() + offset, bytes.data(), bytes.size());
  i->modified = i->changed = now_();
  return FileError::none;
}

FileError MemoryTree::read_link(Node node, std::string& target) {
  Inode* i = inode(node);
  if (!i) return FileError::stale;
  if (!i->is(symlink)) return FileError::invalid;
  target.assign(i->bytes.begin(), i->bytes.end());
  return FileError::none;
}

FileTree::Space MemoryTree::space() const {
  return {most_bytes_, most_bytes_ - used_bytes_, most_nodes, most_nodes - inodes_.size()};
}

// --- saved state -----------------------------------------------------------------------------------------------------

void MemoryTree::Inode::serialize(Archive& ar, uint64_t most_bytes) {
  constexpr size_t longest_name = 255;
  ar(mode, uid, gid, accessed, modified, changed, next_cookie);
  ar.vector(bytes, most_bytes);
  auto count = static_cast<uint64_t>(children.size());
  ar(count);
  auto child_fields = [&](uint64_t& cookie, Child& child) {
    ar(cookie, child.node);
    ar.string(child.name, longest_name);
  };
  if (!ar.is_loading()) {
    for (auto& [cookie, child] : children) {
      uint64_t key = cookie;
      child_fields(key, child);
    }
    return;
  }
  for (uint64_t i = 0; i < count && ar.ok(); ++i) {
    uint64_t cookie = 0;
    Child child{};
    child_fields(cookie, child);
    ar.require(cookie >= first_cookie && cookie < next_cookie, "the saved file tree has an entry out of order");
    children[cookie] = child;
  }
}

void MemoryTree::serialize(Archive& ar) {
  auto count = static_cast<uint64_t>(inodes_.size());
  ar(next_node_, count);
  if (!ar.is_loading()) {
    for (auto& [node, i] : inodes_) {
      Node key = node;
      ar(key);
      i.serialize(ar, most_bytes_);
    }
    return;
  }
  inodes_.clear();
  for (uint64_t n = 0; n < count && ar.ok(); ++n) {
    Node node = 0;
    ar(node);
    ar.require(node < next_node_ && !inodes_.count(node), "the saved file tree has a node twice");
    if (ar.ok()) inodes_[node].serialize(ar, most_bytes_);
  }
  derive(ar);
}

// Names, parents and sums follow from the entries; an entry of nothing, or a directory with two names, is refused.
void MemoryTree::derive(Archive& ar) {
  used_bytes_ = 0;
  ar.require(inodes_.count(root()) && inodes_[root()].is(directory), "the saved file tree has no root");
  if (ar.ok()) inodes_[root()].names = 1, inodes_[root()].parent = root();
  for (auto& [node, i] : inodes_) {
    used_bytes_ += i.bytes.size();
    for (auto& [cookie, child] : i.children) {
      Inode* c = inode(child.node);
      ar.require(i.is(directory) && c, "the saved file tree has an entry that leads nowhere");
      if (!c) continue;
      ar.require(!c->is(directory) || c->names == 0, "the saved file tree has a directory with two names");
      ar.require(i.cookies.emplace(child.name, cookie).second, "the saved file tree has a name twice");
      ++c->names;
      if (c->is(directory)) c->parent = node;
    }
  }
  ar.require(used_bytes_ <= most_bytes_, "the saved file tree is larger than this machine's");
  if (!ar.ok()) {
    inodes_.clear();
    used_bytes_ = 0;
    inodes_[root()].mode = directory | 0755;
    inodes_[root()].parent = root();
    inodes_[root()].names = 1;
  }
}

}  // namespace matryoshka
