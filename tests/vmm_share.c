// Holds guest/vmm/share.c against a hostile guest: messages that are wrong on purpose, then random ones, under the sanitizers.
// Run by l0.test.mjs with a folder that it may fill. Says what failed, or how many random messages were answered.
#include "../guest/vmm/share.c"

static struct device the_device;
static struct iovec asked_in, answered_in;
static bool waiting;
static uint32_t written;

struct device* virtio_add(uint32_t type, int queues, uint64_t features, void (*service)(struct device*, int)) {
  the_device = (struct device){.type = type, .queue_count = queues, .features = features, .notify = service};
  return &the_device;
}
bool queue_take(struct device* device, int queue, struct request* r) {
  (void)device, (void)queue;
  r->out_count = r->in_count = 1;
  r->out[0] = asked_in, r->in[0] = answered_in;
  bool had = waiting;
  waiting = false;
  return had;
}
void queue_give(struct device* device, int queue, const struct request* r, uint32_t length) {
  (void)device, (void)queue, (void)r;
  written = length;
}
void fail(const char* format, ...) {
  fprintf(stderr, "%s\n", format);
  exit(2);
}

// A message under way, and what came back. Both lie in memory of their own, so that a step beyond is noticed.
static uint8_t* body;
static size_t body_size;
static uint8_t* back;
static void number(uint64_t value, int size) { memcpy(body + body_size, &value, size), body_size += size; }
static void text(const char* value, size_t size) {
  number(size, 2);
  memcpy(body + body_size, value, size);
  body_size += size;
}
static uint32_t send_with(uint8_t type, size_t room) {
  uint8_t* message = malloc(HEADER + body_size);
  uint32_t size = HEADER + body_size;
  memcpy(message, &size, 4);
  message[4] = type, message[5] = message[6] = 0;
  memcpy(message + HEADER, body, body_size);
  free(back);
  back = malloc(room ? room : 1);
  asked_in = (struct iovec){message, size}, answered_in = (struct iovec){back, room};
  waiting = true, written = 0;
  the_device.notify(&the_device, 0);
  free(message);
  body_size = 0;
  if (written > room) exit(3);
  uint32_t error = 0;
  if (written >= HEADER + 4 && back[4] == REFUSAL) memcpy(&error, back + HEADER, 4);
  return error;
}
static uint32_t send(uint8_t type) { return send_with(type, 4096); }

enum {
  OPEN = 12,
  CREATE = 14,
  GETATTR = 24,
  READDIR = 40,
  MKDIR = 72,
  RENAME = 74,
  UNLINK = 76,
  VERSION = 100,
  ATTACH = 104,
  WALK = 110,
  READ = 116,
  WRITE = 118,
  CLUNK = 120
};
static int failures;
static void expect(const char* what, uint32_t found, uint32_t wanted) {
  if (found == wanted) return;
  printf("%s: %u and not %u\n", what, found, wanted);
  ++failures;
}
static void begin(void) {
  number(65536, 4), text("9P2000.L", 8);
  expect("version", send(VERSION), 0);
  number(0, 4), number(NO_FID, 4), text("", 0), text("", 0), number(0, 4);
  expect("attach", send(ATTACH), 0);
}
static uint32_t walk(uint32_t fid, const char* name) {
  number(0, 4), number(fid, 4), number(1, 2), text(name, strlen(name));
  return send(WALK);
}
static uint32_t open_fid(uint32_t fid, uint32_t flags) {
  number(fid, 4), number(flags, 4);
  return send(OPEN);
}

static uint64_t seed = 1;
static uint32_t any(uint32_t below) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (seed >> 33) % below;
}
static void random_number(int size) {
  const uint64_t edges[] = {0, 1, 2, 3, 7, 255, 4096, 65535, 0x7fffffff, 0xffffffff, UINT64_C(0x7fffffffffffffff), ~UINT64_C(0)};
  number(any(4) ? any(6) : edges[any(sizeof edges / sizeof *edges)], size);
}
static void random_name(void) {
  const char* names[] = {"file", "link", "..", ".", "", "a/b", "folder", "new", "pipe", "null", "/etc", "x"};
  const char* name = names[any(sizeof names / sizeof *names)];
  text(name, strlen(name));
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  body = malloc(1 << 16);
  share_add(argv[1]);
  begin();
  for (const char** name = (const char*[]){"..", ".", "", "a/b", "/etc/passwd", NULL}; *name; ++name)
    expect(*name, walk(1, *name), EINVAL);
  number(0, 4), number(1, 4), number(1, 2), text("..\0x", 4);
  expect("a name with zero", send(WALK), EINVAL);
  char longest[300];
  memset(longest, 'x', sizeof longest);
  number(0, 4), number(1, 4), number(1, 2), text(longest, sizeof longest);
  expect("a long name", send(WALK), ENAMETOOLONG);
  number(0, 4), number(1, 4), number(1, 2), number(5000, 2);
  expect("a name beyond the message", send(WALK), EPROTO);
  number(0, 4), number(1, 4), number(2, 2), text("link", 4), text("passwd", 6);
  expect("through a link", send(WALK), 0);
  expect("and no further than to it", back[HEADER], 1);
  expect("no fid of it", open_fid(1, O_RDONLY), EBADF);
  expect("a link", walk(1, "link"), 0);
  expect("a link is not opened", open_fid(1, O_RDONLY), EPERM);
  expect("a pipe", walk(2, "pipe"), 0);
  expect("a pipe is not opened", open_fid(2, O_RDONLY), EPERM);
  expect("the same fid twice", walk(2, "file"), EBADF);
  expect("a file", walk(3, "file"), 0);
  expect("to write", open_fid(3, O_WRONLY), EROFS);
  expect("to cut", open_fid(3, O_TRUNC), EROFS);
  expect("to read", open_fid(3, O_RDONLY), 0);
  number(3, 4), number(0, 8), number(0xffffffff, 4);
  expect("more than there is room for", send_with(READ, 20), 0);
  expect("is cut", written, 20);
  number(3, 4), number(~UINT64_C(0), 8), number(10, 4);
  expect("an offset beyond all", send(READ), EINVAL);
  number(0, 4), text("x", 1), number(0777, 4), number(0, 4);
  expect("a folder", send(MKDIR), EROFS);
  number(3, 4), number(0x7ff, 8);
  expect("little room", send_with(GETATTR, 20), EPROTO);
  number(3, 4), number(0x7ff, 8);
  send_with(GETATTR, 10);
  expect("no room", written, 0);
  uint32_t fids = 4;
  while (fids < 3000 && !walk(fids, "file")) ++fids;
  expect("as many fids as there are", fids < 3000 && fids > 200, true);

  // Then whatever comes, to a share that may be written.
  share_add(argv[2]);
  begin();
  unsigned answered = 0;
  const uint8_t types[] = {8,      OPEN,   CREATE, 22,   GETATTR, 26,   READDIR, 50,    MKDIR,
                           RENAME, UNLINK, WALK,   WALK, WALK,    READ, WRITE,   CLUNK, CLUNK};
  for (unsigned i = 0; i < 60000; ++i) {
    uint8_t type = any(50) ? types[any(sizeof types)] : any(256);
    if (type == VERSION) continue;
    random_number(4);
    if (type == WALK) random_number(4), number(any(3), 2);
    for (unsigned parts = any(5); parts; --parts) any(2) ? random_name() : random_number(1 << any(4));
    send_with(type, any(8) ? 4096 : any(64));
    answered += written != 0;
    if (!any(500)) begin();
  }
  printf("%u answered\n", answered);
  return failures != 0;
}
