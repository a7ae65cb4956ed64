#include "devices/machine/snapshot.h"

#include <algorithm>
#include <cstring>

#include "devices/machine/board.h"

namespace matryoshka {

namespace {

constexpr char magic[] = "MATRYOSHKA SNAPSHOT";
// 2: sections `snapshot` and `image`, drives without their images, changes against a base. 1 stands in docs/snapshots.md.
constexpr uint32_t format_version = 2;
constexpr uint32_t identity_version = 1, configuration_version = 3, image_version = 1, board_version = 5, memory_version = 2;

constexpr size_t piece_size = size_t{1} << 20;
// What a section may hold beside RAM and drives: the names of a configuration; devices with the shared folder; images.
constexpr uint64_t most_names = uint64_t{64} << 20, most_beside = uint64_t{512} << 20;

// In the list of pages: a page of zeroes, which has no bytes there, and the end.
constexpr uint32_t zero_page = uint32_t{1} << 31, end_of_pages = ~uint32_t{0};

bool is_zero(const uint8_t* page) { return page[0] == 0 && std::memcmp(page, page + 1, page_size - 1) == 0; }

std::string printable(std::string text) {
  for (char& c : text)
    if (c < ' ' || c > '~') c = '?';
  return text;
}

}  // namespace

// Everything saved but RAM and the configuration.
void Board::serialize(Archive& ar) {
  ar(clock_, entropy_, wires_, idle_nanoseconds_);
  if (ar.version() < 3) {
    uint64_t pacing[2] = {};
    ar(pacing);
  }
  ar(reset_wanted_);
  if (ar.version() >= 2) ar(exit_code_);
  cpu_.serialize(ar);
  each_device([&](Device& device) { device.serialize(ar); });  // a drive with what was written to it, the share with its files
}

void Board::after_load() {
  cpu_.set_a20(keyboard_.a20());
  cpu_.forget_caches();
  real_now_ = clock_.now();
  paced_ticks_ = clock_.ticks;
}

uint64_t Board::state_hash() {
  Archive ar = Archive::saving();
  serialize(ar);
  Hash hash;
  hash.add(ar.output().data(), ar.output().size());
  hash.add(memory_.ram().data(), memory_.ram().size());
  return hash.value();
}

// ---- Saving

std::unique_ptr<SnapshotWriter> Board::save(Extent extent, std::string& error) {
  if (extent == Extent::changes && base_ == 0) {
    error = "There is no whole snapshot that changes could be told against; save the whole machine first, or load it.";
    return nullptr;
  }
  // In a replay it cannot be an input, but it has to happen all the same.
  if (InputEvent dropped{InputEvent::Kind::caches_dropped}; log_.replaying())
    apply(dropped);
  else
    accept(dropped);
  return std::make_unique<SnapshotWriter>(*this, extent);
}

SnapshotWriter::SnapshotWriter(Board& board, Machine::Extent extent) : board_(board), whole_(extent == Machine::Extent::whole) {
  Archive configuration = Archive::saving(), state = Archive::saving();
  Hash identity;
  if (whole_) {
    for (DriveConfig& drive : board_.config_.drives) drive.identify();
    board_.config_.serialize(configuration);
    identity.add(configuration.output().data(), configuration.output().size());
    for (Image* image : board_.config_.saved_images()) identity.add(image->bytes.data(), image->bytes.size());
  }
  board_.serialize(state);
  identity.add(state.output().data(), state.output().size());
  find_pages(identity);
  identity_ = whole_ ? std::max<uint64_t>(identity.value(), 1) : 0;

  Archive head = Archive::saving();
  uint32_t format = format_version;
  for (char c : magic) head(c);
  head(format);
  add(std::move(head.output()));
  Archive identities = Archive::saving();
  uint64_t base = whole_ ? 0 : board_.base_;
  identities(identity_, base);
  add_section("snapshot", identity_version, std::move(identities.output()));
  if (whole_) {
    add_section("configuration", configuration_version, std::move(configuration.output()));
    for (Image* image : board_.config_.saved_images()) {
      add_header("image", image_version, image->bytes.size());
      sources_.push_back({{}, image->bytes});
    }
  }
  add_section("board", board_version, std::move(state.output()));
  uint64_t length = sizeof end_of_pages;
  for (uint32_t page : pages_) length += sizeof page + (page & zero_page ? 0 : page_size);
  add_header("memory", memory_version, length);
}

void SnapshotWriter::add(Bytes bytes) {
  sources_.push_back({std::move(bytes), {}});
  sources_.back().bytes = sources_.back().own;
}

void SnapshotWriter::add_header(const char* name, uint32_t version, uint64_t length) {
  Archive header = Archive::saving();
  std::string text = name;
  header.string(text, 64);
  header(version, length);
  add(std::move(header.output()));
}

void SnapshotWriter::add_section(const char* name, uint32_t version, Bytes body) {
  add_header(name, version, body.size());
  add(std::move(body));
}

// Of a whole snapshot, the pages that are not zero; of changes, those that were written.
void SnapshotWriter::find_pages(Hash& identity) {
  PhysicalMemory& memory = board_.memory_;
  const uint8_t* ram = memory.ram().data();
  auto pages = static_cast<uint32_t>(memory.ram_size() / page_size);
  for (uint32_t page = 0; page < pages; ++page) {
    if (!whole_ && !memory.page_dirty(page)) continue;
    const uint8_t* bytes = ram + uint64_t{page} * page_size;
    bool zero = is_zero(bytes);
    if (whole_ && zero) continue;
    pages_.push_back(zero ? page | zero_page : page);
    if (whole_) identity.add(reinterpret_cast<const uint8_t*>(&page), sizeof page), identity.feed(bytes, page_size);
  }
}

void SnapshotWriter::append_pages(Bytes& piece) {
  const uint8_t* ram = board_.memory_.ram().data();
  for (; page_ < pages_.size() && piece.size() < piece_size; ++page_) {
    append(piece, pages_[page_]);
    if (pages_[page_] & zero_page) continue;
    const uint8_t* bytes = ram + uint64_t{pages_[page_]} * page_size;
    piece.insert(piece.end(), bytes, bytes + page_size);
  }
}

bool SnapshotWriter::next(Bytes& piece) {
  piece.clear();
  if (sealed_) {
    if (!whole_) return false;
    board_.base_ = identity_;
    board_.memory_.clear_dirty();
    return false;
  }
  while (source_ < sources_.size() && piece.size() < piece_size) {
    std::span<const uint8_t> rest = sources_[source_].bytes.subspan(source_at_);
    auto part = rest.first(std::min(rest.size(), piece_size - piece.size()));
    piece.insert(piece.end(), part.begin(), part.end());
    source_at_ += part.size();
    if (part.size() != rest.size()) break;
    Bytes().swap(sources_[source_].own);
    ++source_, source_at_ = 0;
  }
  if (source_ == sources_.size()) append_pages(piece);
  bool at_end = source_ == sources_.size() && page_ == pages_.size() && piece.size() < piece_size;
  if (at_end) append(piece, end_of_pages);
  sum_.feed(piece.data(), piece.size());
  if (at_end) {
    sum_.finish();
    append(piece, sum_.value());
    sealed_ = true;
  }
  return true;
}

// ---- Loading

SnapshotLoader::SnapshotLoader(MachineListener& listener, std::vector<DriveConfig> drives, bool has_base, Drives rule)
    : listener_(listener), drives_(std::move(drives)), rule_(rule), in_base_(has_base), has_base_(has_base) {}

SnapshotLoader::~SnapshotLoader() = default;

bool SnapshotLoader::fail(std::string sentence) {
  if (error_.empty()) error_ = std::move(sentence);
  return false;
}

bool SnapshotLoader::unusable(std::string why) { return fail("It cannot be used, and may be damaged: " + std::move(why) + "."); }

bool SnapshotLoader::add(const uint8_t* data, size_t size) {
  if (!error_.empty()) return false;
  waiting_.insert(waiting_.end(), data, data + size);
  while (step()) {
  }
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<ptrdiff_t>(used_));
  used_ = 0;
  return error_.empty();
}

// One step forward. False if more bytes are needed, or all is over.
bool SnapshotLoader::step() {
  if (!error_.empty()) return false;
  switch (part_) {
    case Part::head: return read_head();
    case Part::identity: return read_identity();
    case Part::configuration: return read_configuration();
    case Part::images: return read_images();
    case Part::board: return read_board();
    case Part::memory: return read_memory();
    case Part::checksum: return read_checksum();
    case Part::end: return waiting_.size() == used_ ? false : unusable("something follows its end");
  }
  return false;
}

// The next bytes, once they are all there.
bool SnapshotLoader::take(size_t size, const uint8_t*& bytes) {
  if (waiting_.size() - used_ < size) return false;
  bytes = waiting_.data() + used_;
  used_ += size;
  sum_.feed(bytes, size);
  return true;
}

// Reads the header of a section, unless it is open already.
bool SnapshotLoader::open(const char* name, uint32_t newest, uint64_t most) {
  if (open_) return true;
  Archive header = Archive::loading(waiting_.data() + used_, waiting_.size() - used_);
  std::string found;
  header.string(found, 64);
  header(version_, left_);
  constexpr size_t longest = 4 + 64 + 4 + 8;
  if (!header.ok()) return waiting_.size() - used_ < longest ? false : unusable("a section has no name");
  if (found != name) return unusable("it has a section '" + printable(found) + "' where '" + name + "' belongs");
  if (version_ > newest)
    return fail("Its section '" + found + "' was written by a newer version of this program; load it with that one.");
  if (version_ == 0 || left_ > most) return unusable("its section '" + found + "' is larger than it can be");
  const uint8_t* bytes;
  open_ = true;
  return take(waiting_.size() - used_ - header.remaining(), bytes);
}

// A section that is read in one go.
template <class Body>
bool SnapshotLoader::read(const char* name, uint32_t newest, uint64_t most, Body body) {
  const uint8_t* bytes;
  if (!open(name, newest, std::min<uint64_t>(most, SIZE_MAX / 2)) || !take(static_cast<size_t>(left_), bytes)) return false;
  Archive ar = Archive::loading(bytes, static_cast<size_t>(left_), version_);
  body(ar);
  if (!ar.ok()) return unusable("in its section '" + std::string(name) + "', " + ar.error());
  if (ar.remaining() != 0) return unusable("its section '" + std::string(name) + "' is longer than what it holds");
  open_ = false;
  return true;
}

bool SnapshotLoader::read_head() {
  size_t here = std::min(waiting_.size() - used_, sizeof magic);
  if (here != 0 && std::memcmp(waiting_.data() + used_, magic, here) != 0) return fail("It is not a snapshot of Matryoshka.");
  const uint8_t* bytes;
  if (!take(sizeof magic + sizeof format_, bytes)) return false;
  std::memcpy(&format_, bytes + sizeof magic, sizeof format_);
  if (format_ > format_version) return fail("It was written by a newer version of this program; load it with that one.");
  if (format_ == 0) return unusable("it has no version");
  part_ = format_ == 1 ? Part::configuration : Part::identity;
  return format_ != 1 || !has_base_ ||
         fail("It is of an older version, which knows no bases; load it without --base, and save it again.");
}

bool SnapshotLoader::read_identity() {
  if (!read("snapshot", identity_version, 2 * sizeof identity_, [&](Archive& ar) { ar(identity_, base_identity_); }))
    return false;
  whole_ = base_identity_ == 0;
  if (in_base_ && !whole_) return fail("It holds only changes itself; give the whole snapshot that they belong to.");
  if (!in_base_ && !whole_ && !has_base_)
    return fail("It holds only the changes since another snapshot; give that one as well, with --base FILE.");
  if (!in_base_ && !whole_ && base_ != base_identity_)
    return fail(
        "It holds the changes since another snapshot than the one given with --base; give the one that it was made from.");
  if (!in_base_ && whole_ && has_base_) return fail("It is a whole snapshot, which has no base; leave --base away.");
  part_ = whole_ ? Part::configuration : Part::board;
  return true;
}

bool SnapshotLoader::read_configuration() {
  if (!read("configuration", configuration_version, format_ == 1 ? most_beside : most_names,
            [&](Archive& ar) { config_.serialize(ar); }))
    return false;
  if (format_ != 1) images_ = config_.saved_images();
  part_ = Part::images;
  return true;
}

bool SnapshotLoader::read_images() {
  if (image_ == images_.size()) return make_machine();
  bool fresh = !open_;
  if (!open("image", image_version, config_.memory_bytes + most_beside)) return false;
  if (fresh && (image_bytes_ += left_) > config_.memory_bytes + most_beside)
    return unusable("its images are larger than they can be");
  auto here = static_cast<size_t>(std::min<uint64_t>(left_, waiting_.size() - used_));
  const uint8_t* bytes;
  (void)take(here, bytes);
  Bytes& image = images_[image_]->bytes;
  image.insert(image.end(), bytes, bytes + here);
  left_ -= here;
  if (left_ != 0) return false;
  open_ = false;
  ++image_;
  return true;
}

bool SnapshotLoader::make_machine() {
  if (std::string error = config_.attach(std::move(drives_), rule_ == Drives::spare_allowed); !error.empty()) return fail(error);
  std::string error;
  std::unique_ptr<Machine> machine = Machine::create(std::move(config_), listener_, error);
  if (!machine) return unusable("its machine cannot be made (" + error.substr(0, error.size() - 1) + ")");
  board_.reset(static_cast<Board*>(machine.release()));
  part_ = Part::board;
  return true;
}

// The board of a base is passed over: parts are loaded as they come into being, and once.
bool SnapshotLoader::read_board() {
  uint64_t most = most_beside;
  for (const DriveConfig& drive : board_->config_.drives) most += drive.image.bytes.size() + drive.image.bytes.size() / 256;
  if (in_base_) {
    if (!open("board", board_version, most)) return false;
    auto here = static_cast<size_t>(std::min<uint64_t>(left_, waiting_.size() - used_));
    const uint8_t* bytes;
    (void)take(here, bytes);
    left_ -= here;
    if (left_ != 0) return false;
    open_ = false;
  } else if (!read("board", board_version, most, [&](Archive& ar) { board_->serialize(ar); })) {
    return false;
  }
  part_ = Part::memory;
  return true;
}

bool SnapshotLoader::read_memory() {
  bool fresh = !open_;
  std::span<uint8_t> ram = board_->memory_.ram();
  if (!open("memory", memory_version, ram.size() / page_size * (page_size + sizeof next_page_) + sizeof next_page_)) return false;
  // What booting put there goes. Pages of zeroes stay untouched, so that the host need not provide them.
  if (fresh && whole_)
    for (size_t at = 0; at < ram.size(); at += page_size)
      if (!is_zero(&ram[at])) std::memset(&ram[at], 0, page_size);
  if (fresh) next_page_ = 0;
  while (open_)
    if (!read_page()) return false;
  part_ = Part::checksum;
  return true;
}

bool SnapshotLoader::read_page() {
  std::span<uint8_t> ram = board_->memory_.ram();
  uint32_t number;
  if (left_ < sizeof number) return unusable("its list of pages has no end");
  if (waiting_.size() - used_ < sizeof number) return false;
  std::memcpy(&number, waiting_.data() + used_, sizeof number);
  const uint8_t* bytes;
  if (number == end_of_pages) {
    if (left_ != sizeof number) return unusable("its section 'memory' is longer than what it holds");
    open_ = false;
    return take(sizeof number, bytes);
  }
  bool zero = (number & zero_page) != 0 && !whole_;
  uint32_t page = zero ? number & ~zero_page : number;
  size_t size = sizeof number + (zero ? 0 : page_size);
  if (page < next_page_ || page >= ram.size() / page_size) return unusable("a page of memory is out of order");
  if (left_ < size) return unusable("its list of pages has no end");
  if (!take(size, bytes)) return false;
  uint8_t* to = &ram[size_t{page} * page_size];
  if (zero)
    std::memset(to, 0, page_size);
  else
    std::memcpy(to, bytes + sizeof number, page_size);
  if (!whole_) changed_.push_back(page);
  next_page_ = page + 1;
  left_ -= size;
  return true;
}

bool SnapshotLoader::read_checksum() {
  uint64_t sum;
  if (waiting_.size() - used_ < sizeof sum) return false;
  std::memcpy(&sum, waiting_.data() + used_, sizeof sum);
  used_ += sizeof sum;
  sum_.finish();
  if (sum != sum_.value()) return fail("It is damaged or incomplete: its checksum does not match.");
  part_ = Part::end;
  return true;
}

bool SnapshotLoader::complete() {
  if (!error_.empty()) return false;
  if (part_ == Part::end) return true;
  return fail(part_ == Part::head ? waiting_.empty() ? "It is empty." : "It is not a snapshot of Matryoshka."
                                  : "It is incomplete: its end is missing.");
}

bool SnapshotLoader::end_of_base() {
  if (!complete()) return false;
  in_base_ = false;
  base_ = identity_;
  part_ = Part::head;
  sum_ = {};
  return true;
}

std::unique_ptr<Machine> SnapshotLoader::finish() {
  if (!complete()) return nullptr;
  board_->after_load();
  // Booting made pages dirty, and that is of no interest. Those in which the base differs are.
  board_->memory_.clear_dirty();
  for (uint32_t page : changed_) board_->memory_.mark_page_dirty(page);
  board_->base_ = whole_ ? identity_ : base_;
  return std::move(board_);
}

}  // namespace matryoshka
