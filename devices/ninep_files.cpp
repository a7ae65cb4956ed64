// The half of the 9P server that works on files and their names; sessions, fids and locks stand in ninep_server.cpp.
#include <algorithm>

#include "devices/ninep_name.h"
#include "devices/ninep_server.h"

namespace matryoshka {

namespace {

constexpr size_t longest_target = 4095;
enum OpenFlags : uint32_t { access_mask = 3, read_only = 0, write_only = 1, truncate = 01000 };

void put_time(NinepWriter& out, const FileTree::Time& time) { out.number(time.seconds).number(time.nanoseconds); }

}  // namespace

// --- files -----------------------------------------------------------------------------------------------------------

FileError NinepServer::open(NinepReader& in, NinepWriter& out) {
  Fid* f = fid(in);
  auto flags = in.number<uint32_t>();
  if (!in.ok()) return FileError::protocol;
  if (!f || f->readable || f->writable) return FileError::bad_file;
  FileTree::Attributes attributes;
  if (FileError error = tree_.attributes(f->node, attributes); error != FileError::none) return error;
  uint32_t kind = attributes.mode & FileTree::kind_mask, access = flags & access_mask;
  if (kind == FileTree::symlink) return FileError::invalid;
  if (kind == FileTree::directory && access != read_only) return FileError::is_directory;
  std::optional<std::vector<uint8_t>> made;
  if (FileError error = tree_.open(f->node, access != read_only, made); error != FileError::none) return error;
  if (made && made->size() > most_made - made_bytes()) return FileError::too_many_open;
  if (flags & truncate && access != read_only) {
    attributes.size = 0;
    if (FileError error = tree_.change(f->node, FileTree::change_size, attributes); error != FileError::none) return error;
  }
  f->readable = access != write_only;
  f->writable = access != read_only;
  f->made = std::move(made);
  out.qid(attributes.mode, f->node).number<uint32_t>(0);  // no wish for the size of transfers
  return FileError::none;
}

// Makes, in the directory of the fid, a file that the fid then means.
FileError NinepServer::create(NinepReader& in, NinepWriter& out) {
  Fid* f = fid(in);
  std::string name = in.string();
  auto flags = in.number<uint32_t>(), mode = in.number<uint32_t>(), gid = in.number<uint32_t>();
  if (!in.ok()) return FileError::protocol;
  if (!f || f->readable || f->writable) return FileError::bad_file;
  Node made = 0;
  FileError error = check_name(name);
  if (error == FileError::none)
    error = tree_.create(f->node, name, FileTree::regular | (mode & ~FileTree::kind_mask), gid, {}, made);
  if (error != FileError::none) return error;
  tree_.hold(made);
  tree_.release(f->node);
  uint32_t access = flags & access_mask;
  *f = {made, f->node, name, access != write_only, access != read_only};
  error = put_qid(out, made);
  out.number<uint32_t>(0);
  return error;
}

FileError NinepServer::read(NinepReader& in, NinepWriter& out) {
  Fid* f = fid(in);
  auto offset = in.number<uint64_t>();
  auto wanted = in.number<uint32_t>();
  if (!in.ok() || out.left() < 4) return FileError::protocol;
  if (!f || !f->readable) return FileError::bad_file;
  size_t count_at = out.size(), count = 0;
  out.number<uint32_t>(0);
  std::span<uint8_t> place = out.reserve(std::min<size_t>(wanted, out.left()));
  if (f->made) {
    ByteSpan all = *f->made;
    count = offset < all.size() ? std::min<uint64_t>(place.size(), all.size() - offset) : 0;
    std::copy_n(all.begin() + static_cast<ptrdiff_t>(count ? offset : 0), count, place.begin());
  } else if (FileError error = tree_.read(f->node, offset, place, count); error != FileError::none) {
    return error;
  }
  out.shrink(place.size() - count);
  out.patch(count_at, static_cast<uint32_t>(count));
  return FileError::none;
}

FileError NinepServer::write(NinepReader& in, NinepWriter& out) {
  Fid* f = fid(in);
  auto offset = in.number<uint64_t>();
  auto count = in.number<uint32_t>();
  ByteSpan data = in.bytes(count);
  if (!in.ok()) return FileError::protocol;
  if (!f || !f->writable) return FileError::bad_file;
  out.number(count);
  return tree_.write(f->node, offset, data);
}

FileError NinepServer::read_directory(NinepReader& in, NinepWriter& out) {
  Fid* f = fid(in);
  auto cookie = in.number<uint64_t>();
  auto wanted = in.number<uint32_t>();
  if (!in.ok() || out.left() < 4) return FileError::protocol;
  if (!f || !f->readable) return FileError::bad_file;
  size_t count_at = out.size();
  out.number<uint32_t>(0);
  size_t end = out.size() + std::min<size_t>(wanted, out.left());
  for (FileTree::Entry entry;; cookie = entry.cookie) {
    FileError error = tree_.next_entry(f->node, cookie, entry);
    if (error == FileError::no_entry) break;
    if (error != FileError::none) return error;
    constexpr size_t fixed_size = 13 + 8 + 1 + 2;
    if (fixed_size + entry.name.size() > end - out.size()) {
      if (out.size() == count_at + 4) return FileError::invalid;  // not even one
      break;
    }
    out.qid(entry.mode, entry.node).number(entry.cookie).number(static_cast<uint8_t>(entry.mode >> 12 & 15)).string(entry.name);
  }
  out.patch(count_at, static_cast<uint32_t>(out.size() - count_at - 4));
  return FileError::none;
}

FileError NinepServer::get_attributes(NinepReader& in, NinepWriter& out) {
  constexpr uint64_t basic = 0x7ff, block_size = 4096;
  Fid* f = fid(in);
  if (!f) return FileError::bad_file;
  FileTree::Attributes a;
  if (FileError error = tree_.attributes(f->node, a); error != FileError::none) return error;
  if (f->made) a.size = f->made->size();
  out.number(basic).qid(a.mode, f->node).number(a.mode).number(a.uid).number(a.gid).number(a.links);
  out.number<uint64_t>(0).number(a.size).number(block_size).number((a.size + 511) / 512);
  put_time(out, a.accessed);
  put_time(out, a.modified);
  put_time(out, a.changed);
  put_time(out, {});                            // of birth: not known
  out.number<uint64_t>(0).number<uint64_t>(0);  // generation and data version: not kept
  return FileError::none;
}

FileError NinepServer::set_attributes(NinepReader& in, NinepWriter&) {
  Fid* f = fid(in);
  auto what = in.number<uint32_t>();
  FileTree::Attributes a;
  a.mode = in.number<uint32_t>();
  a.uid = in.number<uint32_t>();
  a.gid = in.number<uint32_t>();
  a.size = in.number<uint64_t>();
  a.accessed.seconds = in.number<uint64_t>();
  a.accessed.nanoseconds = in.number<uint64_t>();
  a.modified.seconds = in.number<uint64_t>();
  a.modified.nanoseconds = in.number<uint64_t>();
  if (!in.ok()) return FileError::protocol;
  return f ? tree_.change(f->node, what, a) : FileError::bad_file;
}

FileError NinepServer::file_system(NinepReader& in, NinepWriter& out) {
  constexpr uint32_t magic = 0x01021997, block_size = 4096;
  if (!fid(in)) return FileError::bad_file;
  FileTree::Space space = tree_.space();
  out.number(magic).number(block_size).number(space.bytes / block_size);
  out.number(space.free_bytes / block_size).number(space.free_bytes / block_size);
  out.number(space.files).number(space.free_files).number<uint64_t>(0).number<uint32_t>(longest_file_name);
  return FileError::none;
}

FileError NinepServer::sync(NinepReader& in, NinepWriter&) {
  Fid* f = fid(in);
  return f ? tree_.sync(f->node) : FileError::bad_file;
}

// --- names -----------------------------------------------------------------------------------------------------------

FileError NinepServer::make(NinepWriter& out, const Fid& parent, const std::string& name, uint32_t mode, uint32_t gid,
                            const std::string& target) {
  Node made = 0;
  FileError error = check_name(name);
  if (error == FileError::none) error = tree_.create(parent.node, name, mode, gid, target, made);
  return error == FileError::none ? put_qid(out, made) : error;
}

FileError NinepServer::make_directory(NinepReader& in, NinepWriter& out) {
  Fid* parent = fid(in);
  std::string name = in.string();
  auto mode = in.number<uint32_t>(), gid = in.number<uint32_t>();
  if (!in.ok()) return FileError::protocol;
  if (!parent) return FileError::bad_file;
  return make(out, *parent, name, FileTree::directory | (mode & ~FileTree::kind_mask), gid, {});
}

// The target is the guest's own text: it is never followed here, only handed back.
FileError NinepServer::make_symlink(NinepReader& in, NinepWriter& out) {
  Fid* parent = fid(in);
  std::string name = in.string(), target = in.string();
  auto gid = in.number<uint32_t>();
  if (!in.ok()) return FileError::protocol;
  if (!parent) return FileError::bad_file;
  if (target.size() > longest_target) return FileError::name_too_long;
  if (target.empty() || !is_text(target)) return FileError::invalid;
  return make(out, *parent, name, FileTree::symlink | 0777, gid, target);
}

FileError NinepServer::read_link(NinepReader& in, NinepWriter& out) {
  Fid* f = fid(in);
  std::string target;
  if (!f) return FileError::bad_file;
  if (FileError error = tree_.read_link(f->node, target); error != FileError::none) return error;
  out.string(target);
  return FileError::none;
}

FileError NinepServer::link(NinepReader& in, NinepWriter&) {
  Fid *parent = fid(in), *target = fid(in);
  std::string name = in.string();
  if (!in.ok()) return FileError::protocol;
  if (!parent || !target) return FileError::bad_file;
  FileError error = check_name(name);
  return error == FileError::none ? tree_.link(parent->node, name, target->node) : error;
}

FileError NinepServer::rename(NinepReader& in, NinepWriter&) {
  Fid *f = fid(in), *parent = fid(in);
  std::string name = in.string();
  if (!in.ok()) return FileError::protocol;
  if (!f || !parent) return FileError::bad_file;
  Node there = 0;
  FileError error = check_name(name);
  if (error == FileError::none) error = tree_.find(f->parent, f->name, there);
  if (error == FileError::none && there != f->node) error = FileError::no_entry;
  if (error == FileError::none) error = tree_.rename(f->parent, f->name, parent->node, name);
  if (error == FileError::none) f->parent = parent->node, f->name = name;
  return error;
}

FileError NinepServer::rename_at(NinepReader& in, NinepWriter&) {
  Fid* from = fid(in);
  std::string old_name = in.string();
  Fid* to = fid(in);
  std::string new_name = in.string();
  if (!in.ok()) return FileError::protocol;
  if (!from || !to) return FileError::bad_file;
  FileError error = check_name(old_name);
  if (error == FileError::none) error = check_name(new_name);
  return error == FileError::none ? tree_.rename(from->node, old_name, to->node, new_name) : error;
}

FileError NinepServer::unlink_at(NinepReader& in, NinepWriter&) {
  constexpr uint32_t remove_directory = 0x200;
  Fid* parent = fid(in);
  std::string name = in.string();
  auto flags = in.number<uint32_t>();
  if (!in.ok()) return FileError::protocol;
  if (!parent) return FileError::bad_file;
  FileError error = check_name(name);
  return error == FileError::none ? tree_.remove(parent->node, name, flags & remove_directory) : error;
}

}  // namespace matryoshka
