#include "devices/ninep_server.h"

#include "tests/ninep_client.h"

using namespace matryoshka;
using namespace matryoshka::bench;

namespace {

using Error = FileError;
uint32_t number(Error error) { return static_cast<uint32_t>(error); }
constexpr uint32_t read_only = 0, write_only = 1, read_write = 2, truncate_flag = 01000;

}  // namespace

TEST_CASE("9p: version settles dialect and message size") {
  NinepBench b;
  Answer answer = b.ask(Ask(t_version) << uint32_t{1 << 30} << std::string("9P2000.L"));
  CHECK(answer.type() == 101);
  CHECK(answer.at<uint32_t>(0) == NinepServer::largest_message);
  CHECK(answer.text(6, 8) == "9P2000.L");
  CHECK(b.ask(Ask(t_version) << uint32_t{8192} << std::string("9P2000.u")).text(6, 7) == "unknown");
  CHECK(b.ask(Ask(t_version) << uint32_t{100} << std::string("9P2000.L")).error() == number(Error::protocol));
}

TEST_CASE("9p: version forgets all fids") {
  NinepBench b;
  b.ask(Ask(t_version) << uint32_t{65536} << std::string("9P2000.L"));
  CHECK(b.open(0, read_only).error() == number(Error::bad_file));
}

TEST_CASE("9p: a walk makes a fid that can be opened and read") {
  NinepBench b;
  Answer walked = b.walk(0, 1, {"dir", "deep"});
  CHECK(walked.at<uint16_t>(0) == 2);
  CHECK(walked.at<uint8_t>(2) == 0x80);
  CHECK(walked.at<uint8_t>(2 + 13) == 0x00);
  REQUIRE(b.open(1, read_only).error() == 0);
  CHECK(b.read(1) == "down");
  CHECK(b.read(1, 2) == "wn");
  CHECK(b.read(1, 99) == "");
}

TEST_CASE("9p: a walk that stops on the way tells how far it came and makes no fid") {
  NinepBench b;
  CHECK(b.walk(0, 1, {"dir", "absent"}).at<uint16_t>(0) == 1);
  CHECK(b.open(1, read_only).error() == number(Error::bad_file));
  CHECK(b.walk(0, 1, {"absent"}).error() == number(Error::no_entry));
}

TEST_CASE("9p: a walk without names copies a fid") {
  NinepBench b;
  REQUIRE(b.walk(0, 1, {}).error() == 0);
  REQUIRE(b.ask(Ask(t_clunk) << uint32_t{0}).error() == 0);
  CHECK(b.walk(1, 2, {"hello"}).error() == 0);
}

TEST_CASE("9p: a walk may move a fid in place") {
  NinepBench b;
  REQUIRE(b.walk(0, 0, {"hello"}).error() == 0);
  REQUIRE(b.open(0, read_only).error() == 0);
  CHECK(b.read(0) == "world");
}

TEST_CASE("9p: no name leads out of the tree") {
  NinepBench b;
  for (const std::string name : {"..", ".", "", "dir/deep", "/", "a/../b"}) {
    INFO(name);
    CHECK(b.walk(0, 1, {name}).error() == number(Error::invalid));
    CHECK(b.ask(Ask(t_mkdir) << uint32_t{0} << name << uint32_t{0755} << uint32_t{0}).error() == number(Error::invalid));
  }
  CHECK(b.walk(0, 1, {std::string(256, 'x')}).error() == number(Error::name_too_long));
}

TEST_CASE("9p: names are well-formed UTF-8") {
  NinepBench b;
  auto make = [&](const std::string& name) {
    return b.ask(Ask(t_mkdir) << uint32_t{0} << name << uint32_t{0755} << uint32_t{0}).error();
  };
  CHECK(make("матрёшка") == 0);
  CHECK(make("\xf0\x9f\xaa\x86") == 0);
  for (const std::string bad : {"\xff", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "a\xd0", "\x80"})
    CHECK(make(bad) == number(Error::invalid));
  CHECK(make(std::string("a\0b", 3)) == number(Error::invalid));
}

TEST_CASE("9p: a file is created, written and read back") {
  NinepBench b;
  REQUIRE(b.walk(0, 1, {}).error() == 0);
  REQUIRE(b.ask(Ask(t_lcreate) << uint32_t{1} << std::string("new") << read_write << uint32_t{0644} << uint32_t{7}).error() == 0);
  CHECK(b.write(1, 0, "some text").at<uint32_t>(0) == 9);
  CHECK(b.read(1) == "some text");
  CHECK(b.size(1) == 9);
}

TEST_CASE("9p: a fid does only what it was opened for") {
  NinepBench b;
  b.walk(0, 1, {"hello"});
  CHECK(b.ask(Ask(t_read) << uint32_t{1} << uint64_t{0} << uint32_t{1}).error() == number(Error::bad_file));
  REQUIRE(b.open(1, read_only).error() == 0);
  CHECK(b.write(1, 0, "x").error() == number(Error::bad_file));
  b.walk(0, 2, {"hello"});
  REQUIRE(b.open(2, write_only).error() == 0);
  CHECK(b.ask(Ask(t_read) << uint32_t{2} << uint64_t{0} << uint32_t{1}).error() == number(Error::bad_file));
  b.walk(0, 3, {"dir"});
  CHECK(b.open(3, read_write).error() == number(Error::is_directory));
}

TEST_CASE("9p: opening may cut a file to nothing") {
  NinepBench b;
  b.walk(0, 1, {"hello"});
  REQUIRE(b.open(1, write_only | truncate_flag).error() == 0);
  CHECK(b.size(1) == 0);
}

TEST_CASE("9p: a directory lists itself, its parent and its entries") {
  NinepBench b;
  REQUIRE(b.open(0, read_only).error() == 0);
  Answer answer = b.ask(Ask(t_readdir) << uint32_t{0} << uint64_t{0} << uint32_t{1000});
  std::string names;
  for (size_t at = 4; at < 4 + answer.at<uint32_t>(0);) {
    auto size = answer.at<uint16_t>(at + 22);
    names += answer.text(at + 24, size) + ":" + std::to_string(answer.at<uint8_t>(at + 21)) + " ";
    at += 24 + size;
  }
  CHECK(names == ".:4 ..:4 hello:8 dir:4 ");
}

TEST_CASE("9p: a directory is read on from the last entry's offset") {
  NinepBench b;
  REQUIRE(b.open(0, read_only).error() == 0);
  std::string names;
  uint64_t offset = 0;
  for (;;) {
    Answer answer = b.ask(Ask(t_readdir) << uint32_t{0} << offset << uint32_t{30});  // room for one
    if (answer.at<uint32_t>(0) == 0) break;
    offset = answer.at<uint64_t>(4 + 13);
    names += answer.text(4 + 24, answer.at<uint16_t>(4 + 22)) + " ";
  }
  CHECK(names == ". .. hello dir ");
  CHECK(b.ask(Ask(t_readdir) << uint32_t{0} << uint64_t{0} << uint32_t{10}).error() == number(Error::invalid));
}

TEST_CASE("9p: links, symbolic links and renames") {
  NinepBench b;
  b.walk(0, 1, {"hello"});
  CHECK(b.ask(Ask(t_link) << uint32_t{0} << uint32_t{1} << std::string("again")).error() == 0);
  CHECK(b.ask(Ask(t_symlink) << uint32_t{0} << std::string("soft") << std::string("../any/where") << uint32_t{0}).error() == 0);
  b.walk(0, 2, {"soft"});
  CHECK(b.ask(Ask(t_readlink) << uint32_t{2}).text(2, 12) == "../any/where");
  b.walk(0, 3, {"dir"});
  CHECK(b.ask(Ask(t_renameat) << uint32_t{0} << std::string("again") << uint32_t{3} << std::string("moved")).error() == 0);
  CHECK(b.walk(0, 4, {"dir", "moved"}).error() == 0);
  CHECK(b.ask(Ask(t_rename) << uint32_t{4} << uint32_t{0} << std::string("back")).error() == 0);
  CHECK(b.walk(0, 5, {"back"}).error() == 0);
}

TEST_CASE("9p: removing by name and by fid") {
  NinepBench b;
  b.walk(0, 1, {"dir", "deep"});
  CHECK(b.ask(Ask(t_unlinkat) << uint32_t{0} << std::string("dir") << uint32_t{0x200}).error() == number(Error::not_empty));
  CHECK(b.ask(Ask(t_remove) << uint32_t{1}).error() == 0);
  CHECK(b.ask(Ask(t_clunk) << uint32_t{1}).error() == number(Error::bad_file));
  CHECK(b.ask(Ask(t_unlinkat) << uint32_t{0} << std::string("dir") << uint32_t{0x200}).error() == 0);
  CHECK(b.walk(0, 1, {"dir"}).error() == number(Error::no_entry));
}

TEST_CASE("9p: an open file outlives its removal") {
  NinepBench b;
  b.walk(0, 1, {"hello"});
  REQUIRE(b.open(1, read_only).error() == 0);
  REQUIRE(b.ask(Ask(t_unlinkat) << uint32_t{0} << std::string("hello") << uint32_t{0}).error() == 0);
  CHECK(b.read(1) == "world");
  b.ask(Ask(t_clunk) << uint32_t{1});
  CHECK(b.tree.space().free_bytes == (1 << 20) - 4);
}

TEST_CASE("9p: attributes can be set") {
  NinepBench b;
  b.walk(0, 1, {"hello"});
  Ask request(t_setattr);
  request << uint32_t{1} << uint32_t{0x9} << uint32_t{0600} << uint32_t{0} << uint32_t{0} << uint64_t{2};
  for (int i = 0; i < 4; ++i) request << uint64_t{0};
  CHECK(b.ask(request).error() == 0);
  CHECK(b.size(1) == 2);
  CHECK(b.ask(Ask(t_getattr) << uint32_t{1} << uint64_t{1}).at<uint32_t>(8 + 13) == 0100600);
}

TEST_CASE("9p: what v9fs asks besides") {
  NinepBench b;
  CHECK(b.ask(Ask(t_statfs) << uint32_t{0}).at<uint32_t>(0) == 0x01021997);
  CHECK(b.ask(Ask(t_fsync) << uint32_t{0}).error() == 0);
  CHECK(b.ask(Ask(t_flush) << uint16_t{9}).type() == 109);
  CHECK(b.ask(Ask(t_xattrwalk) << uint32_t{0} << uint32_t{1} << std::string("user.x")).error() == number(Error::not_supported));
  CHECK(b.ask(Ask(t_lock) << uint32_t{0} << uint8_t{1} << uint32_t{0} << uint64_t{0} << uint64_t{0} << uint32_t{1}
                          << std::string("me"))
            .at<uint8_t>(0) == 0);
  CHECK(b.ask(Ask(t_getlock) << uint32_t{0} << uint8_t{1} << uint64_t{5} << uint64_t{6} << uint32_t{1} << std::string("me"))
            .at<uint8_t>(0) == 2);
}

TEST_CASE("9p: fids are bounded") {
  NinepBench b;
  uint32_t made = 0;
  while (made < 100'000 && b.walk(0, made + 1, {}).error() == 0) ++made;
  CHECK(made == (1 << 14) - 1);
  CHECK(b.walk(0, made + 1, {}).error() == number(Error::too_many_open));
}

TEST_CASE("9p: an answer never grows beyond its room") {
  NinepBench b;
  b.walk(0, 1, {"hello"});
  b.open(1, read_only);
  CHECK(b.ask(Ask(t_read) << uint32_t{1} << uint64_t{0} << ~uint32_t{0}, 7 + 4 + 3).text(4, 3) == "wor");
  CHECK(b.ask(Ask(t_getattr) << uint32_t{1} << uint64_t{0}, 20).error() == number(Error::protocol));
  CHECK(b.ask(Ask(t_getattr) << uint32_t{1} << uint64_t{0}, 10).bytes.empty());
}

TEST_CASE("9p: a message whose length is not true is refused") {
  NinepBench b;
  auto message = (Ask(t_walk) << uint32_t{0} << uint32_t{1} << uint16_t{0}).message();
  poke<uint32_t>(message, 0, 1000);
  CHECK(Answer{b.server.handle(message, 1000)}.error() == number(Error::protocol));
  CHECK(b.server.handle(ByteSpan(message).first(6), 1000).empty());
}

TEST_CASE("9p: a snapshot keeps the open files") {
  NinepBench b, other;
  b.walk(0, 1, {"hello"});
  b.open(1, read_write);
  b.write(1, 0, "W");
  b.ask(Ask(t_unlinkat) << uint32_t{0} << std::string("hello") << uint32_t{0});
  Clock clock;
  auto saved = save(clock, b.server);
  REQUIRE(load(clock, other.server, saved));
  CHECK(save(clock, other.server) == saved);
  CHECK(other.read(1) == "World");
  other.ask(Ask(t_clunk) << uint32_t{1});
  CHECK(other.tree.space().free_bytes == (1 << 20) - 4);
}

TEST_CASE("9p: nonsense does no harm") {
  std::mt19937 random(1);
  NinepBench b;
  const uint8_t types[] = {8,  12, 14, 16, 18,  20,  22,  24,  26,  30,  32,  40,  50,  52, 54,
                           70, 72, 74, 76, 100, 102, 104, 108, 110, 116, 118, 120, 122, 0,  255};
  const std::string names[] = {"hello", "dir", "deep", "new", "..", "", std::string(300, 'x'), "\xff"};
  for (unsigned round = 0; round < 50'000; ++round) {
    Ask request(types[random() % sizeof types], static_cast<uint16_t>(random()));
    for (unsigned i = 0, fields = random() % 8; i < fields; ++i) switch (random() % 8) {
        case 0: request << static_cast<uint8_t>(random()); break;
        case 1: request << static_cast<uint16_t>(random() % 20); break;
        case 2: request << random(); break;
        case 3: request << (uint64_t{random()} << 32 | random()); break;
        case 4: request << uint64_t{random() % 100}; break;
        case 5: request << names[random() % 8]; break;
        default: request << random() % 6;
      }
    auto message = request.message();
    if (random() % 16 == 0) message.resize(random() % (message.size() + 1));
    if (random() % 16 == 0 && !message.empty()) message[random() % message.size()] = static_cast<uint8_t>(random());
    size_t room = random() % 4 ? 8192 : random() % 64;
    auto answer = b.server.handle(message, room);
    REQUIRE(answer.size() <= room);
    if (round % 1000 == 0)
      b.server.handle((Ask(t_attach) << uint32_t{0} << 0 << std::string() << std::string() << 0).message(), 8192);
  }
}
