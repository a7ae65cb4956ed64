// A folder of ours as a virtio 9p device: the guest mounts it by its tag. Messages are those of 9P2000.L, which Linux's v9fs
// speaks; each is answered at once.
//
// A fid is the guest's number for a file that it has walked to. We keep a descriptor for it, opened with O_PATH, and never a
// path: a walk opens one component at a time, follows no symbolic link, and takes no name that is "..", empty or has a slash in
// it. So whatever the guest asks for, it stays below the folder. Of what it finds there only files and folders are opened: no
// devices, which would be ours, and no pipes, which would make us wait.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm.h"

enum { TYPE_9P = 9, FEATURE_TAG = 1 };
enum { MESSAGE_MOST = 128 << 10, MESSAGE_LEAST = 4096, HEADER = 7, FIDS_MOST = 1024, NAMES_MOST = 16, NAME_MOST = 255 };
enum { PERMISSIONS = 0777 };  // a guest makes no programs here that run as their owner
#define NO_FID UINT32_MAX

struct fid {
  uint32_t number;
  int place;  // what it means, by O_PATH
  int file;   // and open, or -1
};
struct share {
  int root;
  bool writable;
  uint32_t message_size;
  int fid_count;
  struct fid fids[FIDS_MOST];
};

// --- Messages. What is read beyond the end is 0 and leaves `bad` set; an answer that outgrows its room does so as well.

struct message {
  uint8_t* bytes;
  size_t at, size;
  bool bad;
};

static uint8_t* take(struct message* m, size_t count) {
  if (count > m->size - m->at) return m->bad = true, NULL;
  m->at += count;
  return m->bytes + m->at - count;
}
static uint64_t get(struct message* m, int size) {
  uint64_t value = 0;
  const uint8_t* bytes = take(m, size);
  if (bytes) memcpy(&value, bytes, size);
  return value;
}
static void put(struct message* m, uint64_t value, int size) {
  uint8_t* bytes = take(m, size);
  if (bytes) memcpy(bytes, &value, size);
}
static void put_text(struct message* m, const char* text, size_t size) {
  put(m, size, 2);
  uint8_t* bytes = take(m, size);
  if (bytes) memcpy(bytes, text, size);
}
static void put_qid(struct message* m, uint32_t mode, uint64_t number) {
  put(m, S_ISDIR(mode) ? 0x80 : S_ISLNK(mode) ? 0x02 : 0, 1);
  put(m, 0, 4);
  put(m, number, 8);
}

// The name of one file in one folder, or an error.
static int get_name(struct message* m, char name[NAME_MOST + 1]) {
  size_t size = get(m, 2);
  const uint8_t* bytes = take(m, size);
  if (!bytes) return EPROTO;
  if (size > NAME_MOST) return ENAMETOOLONG;
  memcpy(name, bytes, size);
  name[size] = 0;
  if (!size || strlen(name) != size || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, "..")) return EINVAL;
  return 0;
}

// --- Fids

static struct fid* find(struct share* share, uint32_t number) {
  for (int i = 0; i < share->fid_count; ++i)
    if (share->fids[i].number == number) return &share->fids[i];
  return NULL;
}
static struct fid* get_fid(struct share* share, struct message* m) { return find(share, get(m, 4)); }

// Takes `place` over, whatever comes of it.
static int bind(struct share* share, uint32_t number, int place) {
  int error = number == NO_FID || find(share, number) ? EBADF : share->fid_count == FIDS_MOST ? EMFILE : 0;
  if (error) return close(place), error;
  share->fids[share->fid_count++] = (struct fid){number, place, -1};
  return 0;
}

static void forget(struct share* share, struct fid* fid) {
  close(fid->place);
  if (fid->file >= 0) close(fid->file);
  *fid = share->fids[--share->fid_count];
}

static void forget_all(struct share* share) {
  while (share->fid_count) forget(share, share->fids);
}

// A descriptor by O_PATH does for nothing but looking; this is the way to more of the same file.
static const char* path_of(const struct fid* fid) {
  static char path[40];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fid->place);
  return path;
}

// --- What the guest asks for. Each answers 0, or an error as Linux numbers them, which is also what the protocol carries.

static int do_version(struct share* share, struct message* in, struct message* out) {
  static const char dialect[] = "9P2000.L";
  uint32_t size = get(in, 4);
  size_t length = get(in, 2);
  const uint8_t* text = take(in, length);
  if (!text || size < MESSAGE_LEAST) return EPROTO;
  forget_all(share);
  share->message_size = size < MESSAGE_MOST ? size : MESSAGE_MOST;
  put(out, share->message_size, 4);
  if (length == strlen(dialect) && !memcmp(text, dialect, length))
    put_text(out, dialect, length);
  else
    put_text(out, "unknown", 7);
  return 0;
}

static int do_attach(struct share* share, struct message* in, struct message* out) {
  struct stat status;
  uint32_t number = get(in, 4);
  int place = openat(share->root, ".", O_PATH | O_CLOEXEC);
  if (place < 0) return errno;
  if (fstat(place, &status) < 0) return close(place), EIO;
  put_qid(out, status.st_mode, status.st_ino);
  return bind(share, number, place);
}

static int do_flush(struct share* share, struct message* in, struct message* out) {
  (void)share, (void)in, (void)out;
  return 0;  // nothing is ever outstanding
}

// As far as the names lead; the new fid is made only if that is all the way.
static int do_walk(struct share* share, struct message* in, struct message* out) {
  struct fid* from = get_fid(share, in);
  uint32_t number = get(in, 4);
  unsigned count = get(in, 2), walked = 0;
  if (!from) return EBADF;
  if (in->bad || count > NAMES_MOST) return EPROTO;
  uint8_t* walked_at = take(out, 2);
  int place = fcntl(from->place, F_DUPFD_CLOEXEC, 0), error = place < 0 ? errno : 0;
  for (; !error && walked < count; ++walked) {
    char name[NAME_MOST + 1];
    struct stat status;
    if ((error = get_name(in, name))) break;
    int next = openat(place, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (next < 0 || fstat(next, &status) < 0) error = errno;
    if (next >= 0) close(place), place = next;
    if (error) break;
    put_qid(out, status.st_mode, status.st_ino);
  }
  if (walked == count && !error) {
    if (number == from->number) forget(share, from);
    error = bind(share, number, place);
  } else {
    if (place >= 0) close(place);
    if (walked) error = 0;
  }
  if (walked_at) memcpy(walked_at, &walked, 2);
  return error;
}

static int do_clunk(struct share* share, struct message* in, struct message* out) {
  struct fid* fid = get_fid(share, in);
  (void)out;
  if (!fid) return EBADF;
  forget(share, fid);
  return 0;
}

static int do_open(struct share* share, struct message* in, struct message* out) {
  struct fid* fid = get_fid(share, in);
  uint32_t flags = get(in, 4) & (O_ACCMODE | O_TRUNC);
  struct stat status;
  if (!fid || fid->file >= 0) return EBADF;
  if (flags != O_RDONLY && !share->writable) return EROFS;
  if (fstat(fid->place, &status) < 0) return errno;
  if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) return EPERM;
  fid->file = open(path_of(fid), flags | O_NONBLOCK | O_CLOEXEC);
  if (fid->file < 0) return errno;
  put_qid(out, status.st_mode, status.st_ino);
  put(out, 0, 4);
  return 0;
}

static int do_read(struct share* share, struct message* in, struct message* out) {
  struct fid* fid = get_fid(share, in);
  uint64_t offset = get(in, 8);
  uint32_t wanted = get(in, 4);
  if (!fid || fid->file < 0) return EBADF;
  uint8_t* count_at = take(out, 4);
  if (!count_at || in->bad) return EPROTO;
  if (wanted > out->size - out->at) wanted = out->size - out->at;
  ssize_t count = pread(fid->file, out->bytes + out->at, wanted, offset);
  if (count < 0) return errno;
  out->at += count;
  memcpy(count_at, &count, 4);
  return 0;
}

static int do_write(struct share* share, struct message* in, struct message* out) {
  struct fid* fid = get_fid(share, in);
  uint64_t offset = get(in, 8);
  uint32_t count = get(in, 4);
  const uint8_t* bytes = take(in, count);
  if (!fid || fid->file < 0) return EBADF;
  if (!bytes) return EPROTO;
  ssize_t done = pwrite(fid->file, bytes, count, offset);
  if (done < 0) return errno;
  put(out, done, 4);
  return 0;
}

// An entry's cookie is where the system would go on behind it.
static int do_readdir(struct share* share, struct message* in, struct message* out) {
  enum { FIXED = 13 + 8 + 1 + 2 };
  static char entries[32 << 10] __attribute__((aligned(8)));
  struct fid* fid = get_fid(share, in);
  uint64_t cookie = get(in, 8);
  uint32_t wanted = get(in, 4);
  if (!fid || fid->file < 0) return EBADF;
  uint8_t* count_at = take(out, 4);
  if (!count_at || in->bad) return EPROTO;
  size_t start = out->at;
  if (lseek(fid->file, cookie, SEEK_SET) < 0) return errno;
  long size = syscall(SYS_getdents64, fid->file, entries, sizeof entries);
  if (size < 0) return errno;
  for (long i = 0; i < size;) {
    const struct dirent64* entry = (const struct dirent64*)(entries + i);
    size_t length = strlen(entry->d_name), used = out->at - start;
    if (used + FIXED + length > wanted || FIXED + length > out->size - out->at) {
      if (!used) return EINVAL;  // not even one
      break;
    }
    put_qid(out, DTTOIF(entry->d_type), entry->d_ino);
    put(out, entry->d_off, 8);
    put(out, entry->d_type, 1);
    put_text(out, entry->d_name, length);
    i += entry->d_reclen;
  }
  uint32_t count = out->at - start;
  memcpy(count_at, &count, 4);
  return 0;
}

static void put_time(struct message* m, struct timespec time) {
  put(m, time.tv_sec, 8);
  put(m, time.tv_nsec, 8);
}

static int do_getattr(struct share* share, struct message* in, struct message* out) {
  enum { BASIC = 0x7ff };
  struct fid* fid = get_fid(share, in);
  struct stat s;
  if (!fid) return EBADF;
  if (fstat(fid->file >= 0 ? fid->file : fid->place, &s) < 0) return errno;
  put(out, BASIC, 8);
  put_qid(out, s.st_mode, s.st_ino);
  put(out, s.st_mode, 4), put(out, s.st_uid, 4), put(out, s.st_gid, 4);
  put(out, s.st_nlink, 8), put(out, s.st_rdev, 8), put(out, s.st_size, 8), put(out, s.st_blksize, 8), put(out, s.st_blocks, 8);
  put_time(out, s.st_atim), put_time(out, s.st_mtim), put_time(out, s.st_ctim);
  for (int i = 0; i < 4; ++i) put(out, 0, 8);  // birth, generation, data version: not kept
  return 0;
}

static int do_setattr(struct share* share, struct message* in, struct message* out) {
  enum { MODE = 1, UID = 2, GID = 4, SIZE = 8, ACCESSED = 0x10, MODIFIED = 0x20, ACCESSED_GIVEN = 0x80, MODIFIED_GIVEN = 0x100 };
  struct fid* fid = get_fid(share, in);
  uint32_t what = get(in, 4), mode = get(in, 4);
  take(in, 8);  // whose it shall be: it stays ours
  uint64_t size = get(in, 8);
  struct timespec times[2];
  (void)out;
  for (int i = 0; i < 2; ++i) times[i].tv_sec = get(in, 8), times[i].tv_nsec = get(in, 8);
  struct stat status;
  if (!fid) return EBADF;
  if (in->bad) return EPROTO;
  if (fstat(fid->place, &status) < 0) return errno;
  if (what & (UID | GID) || (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))) return EPERM;
  if (!(what & ACCESSED_GIVEN)) times[0].tv_nsec = what & ACCESSED ? UTIME_NOW : UTIME_OMIT;
  if (!(what & MODIFIED_GIVEN)) times[1].tv_nsec = what & MODIFIED ? UTIME_NOW : UTIME_OMIT;
  const char* path = path_of(fid);
  if (what & SIZE && truncate(path, size) < 0) return errno;
  if (what & MODE && chmod(path, mode & PERMISSIONS) < 0) return errno;
  if (what & (ACCESSED | MODIFIED) && utimensat(AT_FDCWD, path, times, 0) < 0) return errno;
  return 0;
}

static int do_statfs(struct share* share, struct message* in, struct message* out) {
  enum { MAGIC_9P = 0x01021997 };
  struct fid* fid = get_fid(share, in);
  struct statfs s;
  if (!fid) return EBADF;
  if (fstatfs(fid->place, &s) < 0) return errno;
  put(out, MAGIC_9P, 4), put(out, s.f_bsize, 4);
  put(out, s.f_blocks, 8), put(out, s.f_bfree, 8), put(out, s.f_bavail, 8), put(out, s.f_files, 8), put(out, s.f_ffree, 8);
  put(out, 0, 8), put(out, NAME_MOST, 4);
  return 0;
}

static int do_readlink(struct share* share, struct message* in, struct message* out) {
  char target[4096];
  struct fid* fid = get_fid(share, in);
  if (!fid) return EBADF;
  ssize_t size = readlinkat(fid->place, "", target, sizeof target);
  if (size < 0) return errno;
  put_text(out, target, size);
  return 0;
}

static int do_fsync(struct share* share, struct message* in, struct message* out) {
  struct fid* fid = get_fid(share, in);
  (void)out;
  if (!fid || fid->file < 0) return EBADF;
  return fsync(fid->file) < 0 ? errno : 0;
}

// Makes a file in the folder of a fid, which then means the file. It must be new: what is there already may be anything.
static int do_create(struct share* share, struct message* in, struct message* out) {
  char name[NAME_MOST + 1];
  struct stat status;
  struct fid* fid = get_fid(share, in);
  int error = get_name(in, name);
  uint32_t flags = get(in, 4) & O_ACCMODE, mode = get(in, 4);
  if (!fid || fid->file >= 0) return EBADF;
  if (error || in->bad) return error ? error : EPROTO;
  int file = openat(fid->place, name, flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode & PERMISSIONS);
  int place = file < 0 ? -1 : fcntl(file, F_DUPFD_CLOEXEC, 0);
  if (place < 0 || fstat(place, &status) < 0) {
    error = errno;
    if (file >= 0) close(file);
    return error;
  }
  close(fid->place);
  fid->place = place;
  fid->file = file;
  put_qid(out, status.st_mode, status.st_ino);
  put(out, 0, 4);
  return 0;
}

static int do_mkdir(struct share* share, struct message* in, struct message* out) {
  char name[NAME_MOST + 1];
  struct stat status;
  struct fid* fid = get_fid(share, in);
  int error = get_name(in, name);
  uint32_t mode = get(in, 4);
  if (!fid) return EBADF;
  if (error || in->bad) return error ? error : EPROTO;
  if (mkdirat(fid->place, name, mode & PERMISSIONS) < 0 || fstatat(fid->place, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
    return errno;
  put_qid(out, status.st_mode, status.st_ino);
  return 0;
}

static int do_rename(struct share* share, struct message* in, struct message* out) {
  char from_name[NAME_MOST + 1], to_name[NAME_MOST + 1];
  struct fid* from = get_fid(share, in);
  int error = get_name(in, from_name);
  struct fid* to = get_fid(share, in);
  (void)out;
  if (!error) error = get_name(in, to_name);
  if (!from || !to) return EBADF;
  if (error) return error;
  return renameat(from->place, from_name, to->place, to_name) < 0 ? errno : 0;
}

static int do_unlink(struct share* share, struct message* in, struct message* out) {
  enum { FOLDER = 0x200 };
  char name[NAME_MOST + 1];
  struct fid* fid = get_fid(share, in);
  int error = get_name(in, name);
  (void)out;
  uint32_t flags = get(in, 4);
  if (!fid) return EBADF;
  if (error) return error;
  return unlinkat(fid->place, name, flags & FOLDER ? AT_REMOVEDIR : 0) < 0 ? errno : 0;
}

// An answer's type is its request's plus one. Links, devices, locks and extended attributes are not here.
static const struct operation {
  uint8_t type;
  bool writes;
  int (*serve)(struct share*, struct message* in, struct message* out);
} operations[] = {
    {8, false, do_statfs},  {12, false, do_open},     {14, true, do_create},   {22, false, do_readlink}, {24, false, do_getattr},
    {26, true, do_setattr}, {40, false, do_readdir},  {50, false, do_fsync},   {72, true, do_mkdir},     {74, true, do_rename},
    {76, true, do_unlink},  {100, false, do_version}, {104, false, do_attach}, {108, false, do_flush},   {110, false, do_walk},
    {116, false, do_read},  {118, true, do_write},    {120, false, do_clunk},
};
enum { REFUSAL = 7 };

static uint32_t answer(struct share* share, struct message* in, struct message* out) {
  uint32_t size = get(in, 4), type = get(in, 1), tag = get(in, 2);
  int error = EOPNOTSUPP;
  if (out->size < HEADER + 4) return 0;  // not even room to refuse
  if (size > in->size || in->bad) error = EPROTO;
  for (size_t i = 0; error == EOPNOTSUPP && i < sizeof operations / sizeof *operations; ++i) {
    if (operations[i].type != type) continue;
    out->at = HEADER;
    error = operations[i].writes && !share->writable ? EROFS : operations[i].serve(share, in, out);
    if (!error && out->bad) error = EPROTO;  // the guest left too little room for the answer
    break;
  }
  if (error) {
    *out = (struct message){out->bytes, HEADER, out->size, false};
    put(out, error, 4);
    type = REFUSAL - 1;
  }
  if (out->bad) return 0;
  uint32_t length = out->at;
  out->at = 0;
  put(out, length, 4), put(out, type + 1, 1), put(out, tag, 2);
  return length;
}

// --- The device

static size_t length_of(const struct iovec* pieces, int count, size_t most) {
  size_t length = 0;
  for (int i = 0; i < count && length < most; ++i) length += pieces[i].iov_len < most ? pieces[i].iov_len : most;
  return length < most ? length : most;
}

// Between the pieces that a request is in, or is to be filled, and one buffer.
static void copy(const struct iovec* pieces, int count, uint8_t* bytes, size_t length, bool gather) {
  for (int i = 0; i < count && length; ++i) {
    size_t part = pieces[i].iov_len < length ? pieces[i].iov_len : length;
    if (gather)
      memcpy(bytes, pieces[i].iov_base, part);
    else
      memcpy(pieces[i].iov_base, bytes, part);
    bytes += part, length -= part;
  }
}

static void notify(struct device* device, int queue) {
  static struct request request;
  static uint8_t asked[MESSAGE_MOST], answered[MESSAGE_MOST];
  struct share* share = device->own;
  while (queue_take(device, queue, &request)) {
    struct message in = {.bytes = asked, .size = length_of(request.out, request.out_count, MESSAGE_MOST)};
    struct message out = {.bytes = answered, .size = length_of(request.in, request.in_count, share->message_size)};
    copy(request.out, request.out_count, asked, in.size, true);
    uint32_t length = answer(share, &in, &out);
    copy(request.in, request.in_count, answered, length, false);
    queue_give(device, queue, &request, length);
  }
}

// TAG=FOLDER, or TAG=FOLDER,rw.
void share_add(const char* text) {
  struct share* share = calloc(1, sizeof *share);
  const char* equals = strchr(text, '=');
  size_t tag = equals ? equals - text : 0;
  char* folder = strdup(equals ? equals + 1 : "");
  char* comma = strrchr(folder, ',');
  if (comma && !strcmp(comma, ",rw")) share->writable = true, *comma = 0;
  if (!tag || !*folder)
    fail("--share %s: give a tag and a folder, such as l0=/l0; and ,rw behind it if the guest may write.", text);

  share->message_size = MESSAGE_MOST;
  share->root = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (share->root < 0) fail("cannot share the folder %s: %s.", folder, strerror(errno));
  free(folder);
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);  // without it, the guest has fewer fids
  }
  struct device* device = virtio_add(TYPE_9P, 1, FEATURE_TAG, notify);
  if (tag > sizeof device->config - 2) fail("--share %s: the tag is longer than %zu letters.", text, sizeof device->config - 2);
  device->own = share;
  memcpy(device->config, &(uint16_t){tag}, 2);
  memcpy(device->config + 2, text, tag);
}
