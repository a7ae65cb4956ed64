#include "devices/ninep_server.h"

#include <algorithm>

namespace matryoshka {

namespace {

enum MessageType : uint8_t {
  rlerror = 7,
  tstatfs = 8,
  tlopen = 12,
  tlcreate = 14,
  tsymlink = 16,
  trename = 20,
  treadlink = 22,
  tgetattr = 24,
  tsetattr = 26,
  treaddir = 40,
  tfsync = 50,
  tlock = 52,
  tgetlock = 54,
  tlink = 70,
  tmkdir = 72,
  trenameat = 74,
  tunlinkat = 76,
  tversion = 100,
  tattach = 104,
  tflush = 108,
  twalk = 110,
  tread = 116,
  twrite = 118,
  tclunk = 120,
  tremove = 122,
};

constexpr uint32_t smallest_message = 4096;
constexpr size_t error_size = NinepWriter::header_size + 4, longest_name = 255, longest_target = 4095, most_walked = 16;
constexpr uint32_t no_fid = ~uint32_t{0};
enum OpenFlags : uint32_t { access_mask = 3, read_only = 0, write_only = 1, truncate = 01000 };

// Well-formed UTF-8 (The Unicode Standard, "Unicode Encoding Forms"), without zero.
bool is_text(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    auto byte = [&](size_t at) { return at < text.size() ? static_cast<uint8_t>(text[at]) : uint8_t{0}; };
    uint8_t first = byte(i);
    unsigned more = first < 0x80 ? 0 : first >= 0xc2 && first < 0xe0 ? 1 : first >= 0xe0 && first < 0xf0 ? 2 : 3;
    if (first == 0 || (more == 3 && (first < 0xf0 || first > 0xf4))) return false;
    uint8_t least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80, most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    for (unsigned k = 1; k <= more; ++k) {
      if (byte(i + k) < (k == 1 ? least : 0x80) || byte(i + k) > (k == 1 ? most : 0xbf)) return false;
    }
    i += more + 1;
  }
  return true;
}

FileError check_name(const std::string& name) {
  if (name.size() > longest_name) return FileError::name_too_long;
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos || !is_text(name))
    return FileError::invalid;
  return FileError::none;
}

void put_time(NinepWriter& out, const FileTree::Time& time) { out.number(time.seconds).number(time.nanoseconds); }

}  // namespace

// Each answer's type is its request's plus one. What is not here is not supported: authentication, device nodes, extended
// attributes.
const NinepServer::Operation NinepServer::operations[] = {
    {tversion, &NinepServer::version},
    {tattach, &NinepServer::attach},
    {tflush, &NinepServer::flush},
    {twalk, &NinepServer::walk},
    {tclunk, &NinepServer::clunk},
    {tremove, &NinepServer::remove},
    {tlopen, &NinepServer::open},
    {tlcreate, &NinepServer::create},
    {tread, &NinepServer::read},
    {twrite, &NinepServer::write},
    {treaddir, &NinepServer::read_directory},
    {tgetattr, &NinepServer::get_attributes},
    {tsetattr, &NinepServer::set_attributes},
    {tstatfs, &NinepServer::file_system},
    {tfsync, &NinepServer::sync},
    {tmkdir, &NinepServer::make_directory},
    {tsymlink, &NinepServer::make_symlink},
    {treadlink, &NinepServer::read_link},
    {tlink, &NinepServer::link},
    {trename, &NinepServer::rename},
    {trenameat, &NinepServer::rename_at},
    {tunlinkat, &NinepServer::unlink_at},
    {tlock, &NinepServer::lock},
    {tgetlock, &NinepServer::get_lock},
};

std::vector<uint8_t> NinepServer::handle(ByteSpan request, size_t room) {
  NinepReader in(request);
  auto size = in.number<uint32_t>();
  auto type = in.number<uint8_t>();
  auto tag = in.number<uint16_t>();
  room = std::min<size_t>(room, message_size_);
  if (!in.ok() || room < error_size) return {};

  FileError error = FileError::not_supported;
  if (size > request.size() || request.size() > message_size_) {
    error = FileError::protocol;
  } else {
    for (const Operation& operation : operations) {
      if (operation.type != type) continue;
      NinepWriter out(static_cast<uint8_t>(type + 1), tag, room);
      error = (this->*operation.handler)(in, out);
      if (error != FileError::none) break;
      if (auto answer = out.take(); !answer.empty()) return answer;
      error = FileError::protocol;  // the client left too little room for the answer
    }
  }
  return NinepWriter(rlerror, tag, room).number(static_cast<uint32_t>(error)).take();
}

void NinepServer::reset() {
  for (auto& [number, fid] : fids_) tree_.release(fid.node);
  fids_.clear();
  message_size_ = 8192;
}

// --- fids ------------------------------------------------------------------------------------------------------------

NinepServer::Fid* NinepServer::fid(NinepReader& in) {
  auto found = fids_.find(in.number<uint32_t>());
  return found == fids_.end() ? nullptr : &found->second;
}

FileError NinepServer::bind(uint32_t number, Fid fid) {
  if (number == no_fid || fids_.count(number)) return FileError::bad_file;
  if (fids_.size() >= most_fids) return FileError::too_many_open;
  tree_.hold(fid.node);
  fids_[number] = std::move(fid);
  return FileError::none;
}

void NinepServer::unbind(std::map<uint32_t, Fid>::iterator at) {
  tree_.release(at->second.node);
  fids_.erase(at);
}

FileError NinepServer::put_qid(NinepWriter& out, Node node) {
  FileTree::Attributes attributes;
  FileError error = tree_.attributes(node, attributes);
  if (error == FileError::none) out.qid(attributes.mode, node);
  return error;
}

// --- the session -----------------------------------------------------------------------------------------------------

FileError NinepServer::version(NinepReader& in, NinepWriter& out) {
  auto wanted = in.number<uint32_t>();
  std::string dialect = in.string();
  if (!in.ok() || wanted < smallest_message) return FileError::protocol;
  reset();
  message_size_ = std::min(wanted, largest_message);
  out.number(message_size_).string(dialect == "9P2000.L" ? dialect : "unknown");
  return FileError::none;
}

FileError NinepServer::attach(NinepReader& in, NinepWriter& out) {
  auto number = in.number<uint32_t>();
  in.number<uint32_t>();  // the fid of an authentication, of which there is none
  in.string();
  in.string();
  if (!in.ok()) return FileError::protocol;
  FileError error = bind(number, {tree_.root(), 0, {}});
  return error == FileError::none ? put_qid(out, tree_.root()) : error;
}

FileError NinepServer::flush(NinepReader&, NinepWriter&) { return FileError::none; }

// Walks as far as the names lead. The new fid is made only if that is all the way; no names at all make a copy.
FileError NinepServer::walk(NinepReader& in, NinepWriter& out) {
  auto from_number = in.number<uint32_t>(), to_number = in.number<uint32_t>();
  auto count = in.number<uint16_t>();
  auto from = fids_.find(from_number);
  if (from == fids_.end()) return FileError::bad_file;
  if (!in.ok() || count > most_walked) return FileError::protocol;

  Fid to{from->second.node, from->second.parent, from->second.name};
  size_t count_at = out.size();
  out.number(count);
  uint16_t walked = 0;
  for (; walked < count; ++walked) {
    std::string name = in.string();
    Node next = 0;
    FileError error = in.ok() ? check_name(name) : FileError::protocol;
    if (error == FileError::none) error = tree_.find(to.node, name, next);
    if (error == FileError::none) error = put_qid(out, next);
    if (error != FileError::none && walked == 0) return error;
    if (error != FileError::none) break;
    to = {next, to.node, name};
  }
  out.patch(count_at, walked);
  if (walked < count) return FileError::none;
  if (to_number != from_number) return bind(to_number, to);
  tree_.hold(to.node);
  tree_.release(from->second.node);
  from->second = to;
  return FileError::none;
}

FileError NinepServer::clunk(NinepReader& in, NinepWriter&) {
  auto found = fids_.find(in.number<uint32_t>());
  if (found == fids_.end()) return FileError::bad_file;
  unbind(found);
  return FileError::none;
}

// The fid is gone even if the file stays.
FileError NinepServer::remove(NinepReader& in, NinepWriter&) {
  auto found = fids_.find(in.number<uint32_t>());
  if (found == fids_.end()) return FileError::bad_file;
  Fid f = found->second;
  FileTree::Attributes attributes;
  FileError error = tree_.attributes(f.node, attributes);
  unbind(found);
  Node there = 0;
  if (error == FileError::none) error = tree_.find(f.parent, f.name, there);
  if (error != FileError::none) return error;
  if (there != f.node) return FileError::no_entry;
  return tree_.remove(f.parent, f.name, (attributes.mode & FileTree::kind_mask) == FileTree::directory);
}

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
  if (flags & truncate && access != read_only) {
    attributes.size = 0;
    if (FileError error = tree_.change(f->node, FileTree::change_size, attributes); error != FileError::none) return error;
  }
  f->readable = access != write_only;
  f->writable = access != read_only;
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
  FileError error = tree_.read(f->node, offset, place, count);
  if (error != FileError::none) return error;
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
  out.number(space.files).number(space.free_files).number<uint64_t>(0).number<uint32_t>(longest_name);
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

// --- locks -----------------------------------------------------------------------------------------------------------

FileError NinepServer::lock(NinepReader& in, NinepWriter& out) {
  constexpr uint8_t granted = 0;
  if (!fid(in)) return FileError::bad_file;
  out.number(granted);
  return FileError::none;
}

// Nobody stands in the way: the lock asked for comes back as an unlocked one.
FileError NinepServer::get_lock(NinepReader& in, NinepWriter& out) {
  constexpr uint8_t unlocked = 2;
  Fid* f = fid(in);
  in.number<uint8_t>();
  auto start = in.number<uint64_t>(), length = in.number<uint64_t>();
  auto process = in.number<uint32_t>();
  std::string client = in.string();
  if (!in.ok()) return FileError::protocol;
  if (!f) return FileError::bad_file;
  out.number(unlocked).number(start).number(length).number(process).string(client);
  return FileError::none;
}

// --- saved state -----------------------------------------------------------------------------------------------------

void NinepServer::Fid::serialize(Archive& ar) {
  ar(node, parent, readable, writable);
  ar.string(name, longest_name);
}

void NinepServer::serialize(Archive& ar) {
  if (ar.is_loading()) reset();
  tree_.serialize(ar);
  auto count = static_cast<uint32_t>(fids_.size());
  ar(message_size_, count);
  ar.require(message_size_ >= smallest_message && message_size_ <= largest_message, "the saved 9P session has no message size");
  ar.require(count <= most_fids, "the saved 9P session has too many open files");
  if (!ar.is_loading()) {
    for (auto& [number, fid] : fids_) {
      uint32_t key = number;
      ar(key, fid);
    }
    return;
  }
  for (uint32_t i = 0; i < count && ar.ok(); ++i) {
    uint32_t number = 0;
    Fid fid;
    ar(number, fid);
    if (ar.ok() && bind(number, fid) != FileError::none) ar.fail("the saved 9P session has a file identifier twice");
  }
}

}  // namespace matryoshka
