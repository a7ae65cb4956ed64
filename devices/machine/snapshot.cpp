// Snapshots, recordings and the state hash.
//
// A snapshot is "MATRYOSHKA SNAPSHOT", a format version, and sections, each with name, version and length: the configuration,
// one for each part of the board, and RAM. RAM is kept page by page, pages of zeroes left out. A reader goes through it in
// the same order; a section that is missing, unknown, of a newer version, too short or too long refuses the whole file, and so
// does a checksum at the end. Everything is read into a new machine, so a refused one changes nothing.
//
// Taking a snapshot drops translations and decoded blocks here, as loading it does there, and that is an input like any
// other: whether a walk sets an accessed bit depends on the TLB, and both machines must go on alike.
#include <algorithm>
#include <cstring>

#include "devices/machine/board.h"
#include "devices/machine/boot.h"

namespace matryoshka {

namespace {

constexpr char magic[] = "MATRYOSHKA SNAPSHOT";
constexpr char log_magic[] = "MATRYOSHKA RECORDING";
constexpr uint32_t format_version = 1;

// A 64-bit hash over words, strong enough to tell states apart and fast enough for all of RAM; not against an adversary.
class Hash {
 public:
  void add(const uint8_t* data, size_t size) {
    for (; size >= 8; data += 8, size -= 8) {
      uint64_t word;
      std::memcpy(&word, data, 8);
      mix(word);
    }
    uint64_t rest = size;
    for (size_t i = 0; i < size; ++i) rest = rest << 8 | data[i];
    mix(rest);
  }
  uint64_t value() const { return state_ ^ state_ >> 32; }

 private:
  void mix(uint64_t word) {
    state_ = (state_ ^ word) * 0x9fb21c651e98df25;
    state_ ^= state_ >> 29;
  }
  uint64_t state_ = 0x6d617472796f7368;
};

bool is_zero(const uint8_t* page) {
  return page[0] == 0 && std::memcmp(page, page + 1, page_size - 1) == 0;
}

// Each section is written with its length, which is known only afterwards.
class Writer {
 public:
  template <class Body>
  void section(std::string name, uint32_t version, Body body) {
    Archive part = Archive::saving();
    body(part);
    Archive head = Archive::saving();
    auto length = static_cast<uint64_t>(part.output().size());
    head.string(name, 64);
    head(version, length);
    append(head.output());
    append(part.output());
  }
  void append(const Bytes& bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }
  Bytes out;
};

class Reader {
 public:
  Reader(const uint8_t* data, size_t size) : at_(data), left_(size) {}
  template <class Body>
  void section(const std::string& expected, uint32_t version, Body body) {
    if (!error.empty()) return;
    Archive head = Archive::loading(at_, left_);
    std::string name;
    uint32_t found = 0;
    uint64_t length = 0;
    head.string(name, 64);
    head(found, length);
    if (!head.ok() || length > head.remaining()) return fail("it ends in the middle of a section");
    if (name != expected) return fail("it has a section '" + printable(name) + "' where '" + expected + "' belongs");
    if (found > version) return fail("its section '" + name + "' was written by a newer version of this program");
    const uint8_t* body_start = at_ + (left_ - head.remaining());
    Archive part = Archive::loading(body_start, static_cast<size_t>(length));
    body(part);
    if (!part.ok()) return fail("in section '" + name + "', " + part.error());
    if (part.remaining() != 0) return fail("its section '" + name + "' is longer than what it holds");
    left_ = head.remaining() - static_cast<size_t>(length);
    at_ = body_start + length;
  }
  bool at_end() const { return left_ == 0; }
  void fail(std::string why) {
    if (error.empty()) error = "The snapshot cannot be used: " + std::move(why) + ".";
  }
  static std::string printable(std::string text) {
    for (char& c : text)
      if (c < ' ' || c > '~') c = '?';
    return text;
  }
  std::string error;

 private:
  const uint8_t* at_;
  size_t left_;
};

void serialize_image(Archive& ar, Image& image) {
  ar.string(image.name, 4096);
  ar.vector(image.bytes, most_image_bytes);
}

void serialize_ram(Archive& ar, PhysicalMemory& memory) {
  std::span<uint8_t> ram = memory.ram();
  auto pages = static_cast<uint32_t>(ram.size() / page_size);
  constexpr uint32_t last = ~uint32_t{0};
  if (!ar.is_loading()) {
    for (uint32_t page = 0; page < pages; ++page) {
      uint8_t* bytes = ram.data() + uint64_t{page} * page_size;
      if (is_zero(bytes)) continue;
      ar(page);
      ar.bytes(bytes, page_size);
    }
    uint32_t end = last;
    ar(end);
    return;
  }
  // Pages of zeroes stay untouched, so that the host need not provide them.
  for (uint32_t page = 0; page < pages; ++page)
    if (uint8_t* bytes = ram.data() + uint64_t{page} * page_size; !is_zero(bytes)) std::memset(bytes, 0, page_size);
  for (uint32_t page = 0, expected = 0;; expected = page + 1) {
    ar(page);
    if (!ar.ok() || page == last) return;
    if (page < expected || page >= pages) return ar.fail("a page of memory is out of order");
    ar.bytes(ram.data() + uint64_t{page} * page_size, page_size);
  }
}

}  // namespace

void MachineConfig::serialize(Archive& ar) {
  ar(memory_bytes, processors);
  ar.string(cpu, 4096);
  serialize_image(ar, kernel);
  auto count = static_cast<uint32_t>(initrds.size());
  ar(count);
  ar.require(count <= 64, "there are more boot modules than the machine takes");
  if (ar.is_loading()) initrds.resize(ar.ok() ? count : 0), initrd_arguments.resize(initrds.size());
  initrd_arguments.resize(initrds.size());
  for (size_t i = 0; i < initrds.size(); ++i) {
    serialize_image(ar, initrds[i]);
    ar.string(initrd_arguments[i], 65536);
  }
  ar.string(command_line, 65536);
  serialize_image(ar, bios);
  count = static_cast<uint32_t>(drives.size());
  ar(count);
  ar.require(count <= 20, "there are more drives than the machine takes");
  if (ar.is_loading()) drives.resize(ar.ok() ? count : 0);
  for (DriveConfig& drive : drives) {
    serialize_image(ar, drive.image);
    ar(drive.interface, drive.read_only);
    ar.require(drive.interface == DriveConfig::Interface::virtio, "a drive has an unknown interface");
  }
  count = static_cast<uint32_t>(shared_files.size());
  ar(count);
  ar.require(count <= 100'000, "there are more shared files than the machine takes");
  if (ar.is_loading()) shared_files.resize(ar.ok() ? std::min<size_t>(count, ar.remaining()) : 0);
  for (Image& file : shared_files) serialize_image(ar, file);
  ar(debugcon, debug_exit_port, shared_folder, no_reboot, host_clock, epoch_seconds, seed);
  ar.require(debug_exit_port >= -1 && debug_exit_port < 0xfffd, "the debug-exit port is out of range");
}

// Everything saved but RAM and the configuration.
void Board::serialize(Archive& ar) {
  ar(clock_, entropy_, wires_, idle_nanoseconds_, real_now_, paced_ticks_, reset_wanted_);
  cpu_.serialize(ar);
  each_device([&](Device& device) { device.serialize(ar); });  // a drive with its disk, the share with its files
}

uint64_t Board::state_hash() {
  Archive ar = Archive::saving();
  serialize(ar);
  Hash hash;
  hash.add(ar.output().data(), ar.output().size());
  hash.add(memory_.ram().data(), memory_.ram().size());
  return hash.value();
}

Bytes Board::save() {
  accept({InputEvent::Kind::caches_dropped});
  Writer writer;
  writer.append(Bytes(magic, magic + sizeof magic));
  Archive version = Archive::saving();
  uint32_t number = format_version;
  version(number);
  writer.append(version.output());
  writer.section("configuration", 1, [&](Archive& ar) { config_.serialize(ar); });
  writer.section("board", 1, [&](Archive& ar) { serialize(ar); });
  writer.section("memory", 1, [&](Archive& ar) { serialize_ram(ar, memory_); });
  Hash hash;
  hash.add(writer.out.data(), writer.out.size());
  uint64_t sum = hash.value();
  Archive end = Archive::saving();
  end(sum);
  writer.append(end.output());
  return std::move(writer.out);
}

std::unique_ptr<Machine> Machine::load(const Bytes& snapshot, MachineListener& listener, std::string& error) {
  constexpr size_t head = sizeof magic + sizeof format_version, tail = sizeof(uint64_t);
  if (snapshot.size() < head + tail || std::memcmp(snapshot.data(), magic, sizeof magic) != 0) {
    error = "This is not a snapshot of Matryoshka.";
    return nullptr;
  }
  uint32_t version;
  std::memcpy(&version, snapshot.data() + sizeof magic, sizeof version);
  if (version > format_version) {
    error = "The snapshot was written by a newer version of this program.";
    return nullptr;
  }
  Hash hash;
  hash.add(snapshot.data(), snapshot.size() - tail);
  uint64_t sum;
  std::memcpy(&sum, snapshot.data() + snapshot.size() - tail, sizeof sum);
  if (sum != hash.value()) {
    error = "The snapshot is damaged or incomplete: its checksum does not match.";
    return nullptr;
  }
  Reader reader(snapshot.data() + head, snapshot.size() - head - tail);
  MachineConfig config;
  reader.section("configuration", 1, [&](Archive& ar) { config.serialize(ar); });
  if (!reader.error.empty()) {
    error = reader.error;
    return nullptr;
  }
  std::unique_ptr<Machine> machine = create(std::move(config), listener, error);
  if (!machine) {
    // What a loader says begins with the kernel's name and has no full stop.
    error = "The snapshot cannot be used: " + error + (error.ends_with('.') ? "" : ".");
    return nullptr;
  }
  auto& board = static_cast<Board&>(*machine);
  reader.section("board", 1, [&](Archive& ar) { board.serialize(ar); });
  reader.section("memory", 1, [&](Archive& ar) { board.load_memory(ar); });
  if (!reader.at_end()) reader.fail("something follows its last section");
  if (!reader.error.empty()) {
    error = reader.error;
    return nullptr;
  }
  board.after_load();
  return machine;
}

void Board::load_memory(Archive& ar) { serialize_ram(ar, memory_); }

void Board::after_load() {
  cpu_.set_a20(keyboard_.a20());
  cpu_.forget_caches();
}

// ---- Recordings

Bytes InputLog::write(uint64_t hash) const {
  Archive ar = Archive::saving();
  for (char c : log_magic) ar(c);
  uint32_t version = format_version, count = static_cast<uint32_t>(events_.size());
  ar(version, hash, count);
  for (InputEvent event : events_) ar(event);
  return ar.output();
}

bool InputLog::read(const Bytes& bytes, uint64_t present_hash, std::string& error) {
  Archive ar = Archive::loading(bytes.data(), bytes.size());
  for (char expected : log_magic) {
    char c = 0;
    ar(c);
    if (c != expected) {
      error = "This is not a recording of Matryoshka.";
      return false;
    }
  }
  uint32_t version = 0, count = 0;
  uint64_t hash = 0;
  ar(version, hash, count);
  std::vector<InputEvent> events;
  uint64_t last = 0;
  for (uint32_t i = 0; i < count && ar.ok(); ++i) {
    InputEvent event{};
    ar(event);
    ar.require(event.tick >= last, "its inputs are out of order");
    last = event.tick;
    events.push_back(std::move(event));
  }
  if (ar.ok() && version > format_version) ar.fail("it was written by a newer version of this program");
  if (ar.ok() && ar.remaining() != 0) ar.fail("something follows its last input");
  if (ar.ok() && hash != present_hash) ar.fail("it was made with another configuration or other images");
  if (!ar.ok()) {
    error = "The recording cannot be used: " + ar.error() + ".";
    return false;
  }
  events_ = std::move(events);
  next_ = 0;
  replaying_ = true, recording_ = false;
  return true;
}

void Board::record() {
  log_.start_hash = state_hash();
  log_.start_recording();
}

Bytes Board::recording() const { return log_.write(log_.start_hash); }

bool Board::replay(const Bytes& log, std::string& error) { return log_.read(log, state_hash(), error); }

}  // namespace matryoshka
