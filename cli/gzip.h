// The gzip files that snapshots are, written and read piece by piece. web/gzip.js does the same in JavaScript.
#pragma once

#include <zlib.h>

#include <functional>

#include "devices/machine/machine.h"

namespace matryoshka {

class Gzip {
 public:
  using Sink = std::function<void(const uint8_t* bytes, size_t size)>;
  explicit Gzip(Sink sink);
  ~Gzip() { deflateEnd(&stream_); }
  Gzip(const Gzip&) = delete;

  void add(const Bytes& bytes) { deflate_all(bytes, Z_NO_FLUSH); }
  void finish() { deflate_all({}, Z_FINISH); }

 private:
  void deflate_all(const Bytes& bytes, int flush);

  Sink sink_;
  z_stream stream_ = {};
};

// Hands on what a file unpacks to, in pieces, until all is given or `take` answers false. Bytes that are not compressed pass as
// they are. False if the file does not unpack to its end.
bool gunzip(const Bytes& file, const std::function<bool(const uint8_t* bytes, size_t size)>& take);

}  // namespace matryoshka
