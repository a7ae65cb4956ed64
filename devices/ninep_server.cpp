#include "devices/ninep_server.h"

#include <algorithm>

#include "devices/ninep_name.h"

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
constexpr size_t error_size = NinepWriter::header_size + 4, most_walked = 16;
constexpr uint32_t no_fid = ~uint32_t{0};

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
  ar.string(name, longest_file_name);
  if (ar.version() < 5) return;
  bool has_made = made.has_value();
  ar(has_made);
  if (ar.is_loading() && has_made) made.emplace();
  if (made) ar.vector(*made, most_made);
}

// There are few open files, so they are asked.
size_t NinepServer::made_bytes() const {
  size_t sum = 0;
  for (auto& [number, fid] : fids_) sum += fid.made ? fid.made->size() : 0;
  return sum;
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
  ar.require(made_bytes() <= most_made, "the saved 9P session has larger open files than it may");
}

}  // namespace matryoshka
