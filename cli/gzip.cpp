#include "cli/gzip.h"

#include <algorithm>
#include <new>

namespace matryoshka {

namespace {

constexpr size_t piece_size = size_t{1} << 18;
constexpr int gzip_window = MAX_WBITS + 16;
// zlib's fastest: on a Linux at its prompt twice as fast as the default, for a file 4 % larger.
constexpr int level = 1;

// zlib counts in 32 bits.
uInt portion(size_t size) { return static_cast<uInt>(std::min<size_t>(size, 1 << 30)); }

}  // namespace

Gzip::Gzip(Sink sink) : sink_(std::move(sink)) {
  if (deflateInit2(&stream_, level, Z_DEFLATED, gzip_window, 9, Z_DEFAULT_STRATEGY) != Z_OK) throw std::bad_alloc();
}

void Gzip::deflate_all(const Bytes& bytes, int flush) {
  Bytes out(piece_size);
  stream_.next_in = const_cast<Bytef*>(bytes.data());
  stream_.avail_in = static_cast<uInt>(bytes.size());
  do {
    stream_.next_out = out.data();
    stream_.avail_out = static_cast<uInt>(out.size());
    (void)deflate(&stream_, flush);
    sink_(out.data(), out.size() - stream_.avail_out);
  } while (stream_.avail_out == 0);
}

bool gunzip(const Bytes& file, const std::function<bool(const uint8_t* bytes, size_t size)>& take) {
  if (file.size() < 2 || file[0] != 0x1f || file[1] != 0x8b) {
    for (size_t at = 0; at < file.size(); at += piece_size)
      if (!take(file.data() + at, std::min(piece_size, file.size() - at))) break;
    return true;
  }
  z_stream stream = {};
  if (inflateInit2(&stream, gzip_window) != Z_OK) throw std::bad_alloc();
  Bytes out(piece_size);
  size_t given = 0;
  int result = Z_OK;
  bool wanted = true;
  while (result == Z_OK && wanted) {
    uInt now = portion(file.size() - given);
    stream.next_in = const_cast<Bytef*>(file.data() + given);
    stream.avail_in = now;
    stream.next_out = out.data();
    stream.avail_out = static_cast<uInt>(out.size());
    result = inflate(&stream, Z_NO_FLUSH);
    given += now - stream.avail_in;
    size_t size = out.size() - stream.avail_out;
    if (size != 0) wanted = take(out.data(), size);
  }
  inflateEnd(&stream);
  return !wanted || (result == Z_STREAM_END && given == file.size());
}

}  // namespace matryoshka
