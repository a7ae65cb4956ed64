#include "devices/machine/input_log.h"

#include "devices/machine/hash.h"

namespace matryoshka {

namespace {

constexpr char magic[] = "MATRYOSHKA RECORDING";
// 2: a checksum at the end.
constexpr uint32_t format_version = 2;

uint64_t checksum(const Bytes& bytes, size_t size) {
  Hash hash;
  hash.add(bytes.data(), size);
  return hash.value();
}

}  // namespace

Bytes InputLog::write(uint64_t hash) const {
  Archive ar = Archive::saving();
  for (char c : magic) ar(c);
  uint32_t version = format_version, count = static_cast<uint32_t>(events_.size());
  ar(version, hash, count);
  for (InputEvent event : events_) ar(event);
  uint64_t sum = checksum(ar.output(), ar.output().size());
  ar(sum);
  return std::move(ar.output());
}

bool InputLog::read(const Bytes& bytes, uint64_t present_hash, std::string& error) {
  auto refuse = [&](std::string sentence) {
    error = std::move(sentence);
    return false;
  };
  Archive ar = Archive::loading(bytes.data(), bytes.size());
  for (char expected : magic) {
    char c = 0;
    ar(c);
    if (c != expected) return refuse("It is not a recording of Matryoshka.");
  }
  uint32_t version = 0, count = 0;
  uint64_t hash = 0;
  ar(version);
  if (ar.ok() && version > format_version)
    return refuse("It was written by a newer version of this program; replay it with that one.");
  const size_t tail = version >= 2 ? sizeof(uint64_t) : 0;
  if (tail != 0) {
    uint64_t sum = 0;
    if (bytes.size() >= sizeof magic + sizeof version + tail) std::memcpy(&sum, bytes.data() + bytes.size() - tail, tail);
    if (bytes.size() < sizeof magic + sizeof version + tail || sum != checksum(bytes, bytes.size() - tail))
      return refuse("It is damaged or incomplete: its checksum does not match.");
  }
  ar(hash, count);
  std::vector<InputEvent> events;
  uint64_t last = 0;
  for (uint32_t i = 0; i < count && ar.ok(); ++i) {
    InputEvent event{};
    ar(event);
    ar.require(event.tick >= last, "its inputs are out of order");
    last = event.tick;
    events.push_back(std::move(event));
  }
  if (ar.ok() && (version == 0 || ar.remaining() != tail)) ar.fail("something follows its last input");
  if (!ar.ok()) return refuse("It cannot be used, and may be damaged: " + ar.error() + ".");
  if (hash != present_hash)
    return refuse("It was made with another configuration or other images; give those, or the snapshot that it began from.");
  events_ = std::move(events);
  next_ = 0;
  replaying_ = true, recording_ = false;
  return true;
}

}  // namespace matryoshka
