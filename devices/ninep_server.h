// A server of 9P2000.L, the dialect of Linux's v9fs, over any FileTree.
//
// Each request is answered at once, so no tag is ever outstanding and a flush finds nothing to flush. Requests come from
// the guest: every length is checked before it is followed, fids are bounded in number, and a name is one component of valid
// UTF-8 other than "." and "..", so that no request leads out of the tree. Extended attributes are not supported; locks are
// granted to everyone, for there is one client. A tree may make a file's contents at the moment of its opening; they belong to
// the fid, and are saved with it.
//
// Message layouts: the 9P2000.L protocol description of diod, and Plan 9's intro(5) for what it inherits.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "devices/file_tree.h"
#include "devices/ninep_message.h"

namespace matryoshka {

class NinepServer {
 public:
  static constexpr uint32_t largest_message = 512 << 10;

  explicit NinepServer(FileTree& tree) : tree_(tree) {}
  ~NinepServer() { reset(); }
  NinepServer(const NinepServer&) = delete;
  NinepServer& operator=(const NinepServer&) = delete;

  // The answer to one message, at most `room` bytes of it; empty if there is not even room to refuse.
  std::vector<uint8_t> handle(ByteSpan request, size_t room);
  // Forgets the client.
  void reset();
  // With the tree's own state.
  void serialize(Archive& ar);

 private:
  static constexpr size_t most_fids = 1 << 14;
  static constexpr size_t most_made = 16 << 20;  // bytes, of all open files together
  using Node = FileTree::Node;

  struct Fid {
    Node node = 0;
    // By which name it was reached, for the two old messages that remove and rename a fid.
    Node parent = 0;
    std::string name;
    bool readable = false, writable = false;     // open for
    std::optional<std::vector<uint8_t>> made{};  // when it was opened, by a tree that does so
    void serialize(Archive& ar);
  };
  using Handler = FileError (NinepServer::*)(NinepReader&, NinepWriter&);
  struct Operation {
    uint8_t type;
    Handler handler;
  };
  static const Operation operations[];

  FileError version(NinepReader& in, NinepWriter& out);
  FileError attach(NinepReader& in, NinepWriter& out);
  FileError flush(NinepReader& in, NinepWriter& out);
  FileError walk(NinepReader& in, NinepWriter& out);
  FileError clunk(NinepReader& in, NinepWriter& out);
  FileError remove(NinepReader& in, NinepWriter& out);
  FileError open(NinepReader& in, NinepWriter& out);
  FileError create(NinepReader& in, NinepWriter& out);
  FileError read(NinepReader& in, NinepWriter& out);
  FileError write(NinepReader& in, NinepWriter& out);
  FileError read_directory(NinepReader& in, NinepWriter& out);
  FileError get_attributes(NinepReader& in, NinepWriter& out);
  FileError set_attributes(NinepReader& in, NinepWriter& out);
  FileError file_system(NinepReader& in, NinepWriter& out);
  FileError sync(NinepReader& in, NinepWriter& out);
  FileError make_directory(NinepReader& in, NinepWriter& out);
  FileError make_symlink(NinepReader& in, NinepWriter& out);
  FileError read_link(NinepReader& in, NinepWriter& out);
  FileError link(NinepReader& in, NinepWriter& out);
  FileError rename(NinepReader& in, NinepWriter& out);
  FileError rename_at(NinepReader& in, NinepWriter& out);
  FileError unlink_at(NinepReader& in, NinepWriter& out);
  FileError lock(NinepReader& in, NinepWriter& out);
  FileError get_lock(NinepReader& in, NinepWriter& out);

  Fid* fid(NinepReader& in);
  FileError bind(uint32_t number, Fid fid);
  void unbind(std::map<uint32_t, Fid>::iterator at);
  FileError make(NinepWriter& out, const Fid& parent, const std::string& name, uint32_t mode, uint32_t gid,
                 const std::string& target);
  size_t made_bytes() const;
  FileError put_qid(NinepWriter& out, Node node);

  FileTree& tree_;
  std::map<uint32_t, Fid> fids_;
  uint32_t message_size_ = 8192;  // as negotiated
};

}  // namespace matryoshka
