// Snapshots: a machine as a stream of bytes, and back.
//
// The stream is "MATRYOSHKA SNAPSHOT", a format version, and sections, each with name, version and length; a checksum ends it.
// docs/snapshots.md has the layout. A whole snapshot has the configuration, the images the guest boots from, the board and all
// pages of RAM that are not zero. One of changes names a whole snapshot as its base, and has the board and the pages written
// since. The file is that stream compressed, which is the host's part: the core has no compression in it.
//
// Both directions go piece by piece, so that neither side ever holds the stream: a machine of 2 GiB is saved by a page that
// has room for it once. And both work on bytes that nobody may trust: the loader keeps no more than a section that has a limit,
// writes RAM page by page in order, and builds a new machine, which nobody sees unless everything was right to the last byte.
// So a stream that unpacks without end is refused where it goes beyond what the machine can hold.
//
// Taking a snapshot drops translations and decoded blocks here, as loading it does there, and that is an input like any
// other: whether a walk sets an accessed bit depends on the TLB, and both machines must go on alike.
#pragma once

#include <span>

#include "cpu/state/archive.h"
#include "devices/machine/hash.h"
#include "devices/machine/machine.h"

namespace matryoshka {

class Board;

class SnapshotWriter {
 public:
  SnapshotWriter(Board& board, Machine::Extent extent);
  // The next piece, of about a mebibyte; false after the last, and from then on this snapshot is the base for changes.
  bool next(Bytes& piece);

 private:
  void add(Bytes bytes);
  void add_section(const char* name, uint32_t version, Bytes body);
  void add_header(const char* name, uint32_t version, uint64_t length);
  void find_pages(Hash& identity);
  void append_pages(Bytes& piece);

  Board& board_;
  bool whole_;
  uint64_t identity_ = 0;
  // What stands before the pages, in order: bytes of our own, or an image where it lies.
  struct Source {
    Bytes own;
    std::span<const uint8_t> bytes;
  };
  std::vector<Source> sources_;
  size_t source_ = 0, source_at_ = 0;
  std::vector<uint32_t> pages_;  // as they stand in the file
  size_t page_ = 0;
  bool sealed_ = false;
  Hash sum_;
};

// Takes the bytes of a base, if there is one, up to end_of_base(), and then those of the snapshot.
class SnapshotLoader {
 public:
  enum class Drives : uint8_t { all_belong, spare_allowed };
  // `drives` are those that the snapshot's machine had, as a snapshot has only what was written to them.
  SnapshotLoader(MachineListener& listener, std::vector<DriveConfig> drives, bool has_base, Drives rule = Drives::all_belong);
  ~SnapshotLoader();

  // False as soon as it is clear that nothing will come of it.
  bool add(const uint8_t* data, size_t size);
  // The host found that the compressed file does not unpack.
  void damaged() { fail("It is damaged or incomplete: it cannot be unpacked."); }
  bool end_of_base();
  // The machine, or null.
  std::unique_ptr<Machine> finish();
  const std::string& error() const { return error_; }

 private:
  enum class Part : uint8_t { head, identity, configuration, images, board, memory, checksum, end };

  bool step();
  bool take(size_t size, const uint8_t*& bytes);
  bool open(const char* name, uint32_t newest, uint64_t most);
  template <class Body>
  bool read(const char* name, uint32_t newest, uint64_t most, Body body);
  bool read_head();
  bool read_identity();
  bool read_configuration();
  bool read_images();
  bool make_machine();
  bool read_board();
  bool read_memory();
  bool read_page();
  bool read_checksum();
  bool complete();
  bool fail(std::string sentence);
  bool unusable(std::string why);

  MachineListener& listener_;
  std::vector<DriveConfig> drives_;
  Drives rule_;
  bool in_base_;  // what comes now is the base
  bool has_base_;
  std::string error_;

  // Of the file that is coming.
  Part part_ = Part::head;
  Bytes waiting_;
  size_t used_ = 0;  // of `waiting_`
  Hash sum_;
  uint32_t format_ = 0;
  uint64_t identity_ = 0, base_identity_ = 0;
  bool whole_ = true;
  // Of the section that is open.
  bool open_ = false;
  uint32_t version_ = 0;
  uint64_t left_ = 0;

  MachineConfig config_;
  std::vector<Image*> images_;
  size_t image_ = 0;
  uint64_t image_bytes_ = 0;
  std::unique_ptr<Board> board_;
  uint32_t next_page_ = 0;
  std::vector<uint32_t> changed_;  // pages that differ from the base
  uint64_t base_ = 0;              // identity of the base that was read
};

}  // namespace matryoshka
