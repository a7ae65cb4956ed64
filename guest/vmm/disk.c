// A virtio disk on a file or a block device: "Block Device" in the specification of virtio.
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vmm.h"

enum { TYPE_DISK = 2, SECTOR = 512 };
enum { FEATURE_SEGMENTS = 1 << 2, FEATURE_READ_ONLY = 1 << 5, FEATURE_FLUSH = 1 << 9 };
enum { READ = 0, WRITE = 1, FLUSH = 4, IDENTITY = 8 };
enum { DONE = 0, FAILED = 1, UNKNOWN = 2 };

struct disk {
  int file;
  uint64_t size;
  bool read_only;
};
struct header {
  uint32_t type, reserved;
  uint64_t sector;
};

// Gathers from, or scatters to, `count` pieces; only all of it counts as done.
static bool transfer(const struct disk* disk, bool write, const struct iovec* pieces, int count, uint64_t sector) {
  uint64_t length = 0;
  for (int i = 0; i < count; ++i) length += pieces[i].iov_len;
  if (sector > disk->size / SECTOR || length > disk->size - sector * SECTOR || length % SECTOR) return false;
  if (write && disk->read_only) return false;
  ssize_t done = write ? pwritev(disk->file, pieces, count, sector * SECTOR) : preadv(disk->file, pieces, count, sector * SECTOR);
  return done >= 0 && (uint64_t)done == length;
}

// A request is a header, the data, and a byte for the outcome.
static uint32_t serve(struct disk* disk, struct request* request) {
  static const char name[20] = "vmm";
  struct header header;
  if (!request->out_count || request->out[0].iov_len != sizeof header || !request->in_count) return 0;
  struct iovec last = request->in[request->in_count - 1];
  if (last.iov_len != 1) return 0;
  memcpy(&header, request->out[0].iov_base, sizeof header);
  uint8_t outcome = UNKNOWN;
  uint32_t written = 1;
  int in_count = request->in_count - 1;
  switch (header.type) {
    case READ:
      outcome = transfer(disk, false, request->in, in_count, header.sector) ? DONE : FAILED;
      if (outcome == DONE)
        for (int i = 0; i < in_count; ++i) written += request->in[i].iov_len;
      break;
    case WRITE: outcome = transfer(disk, true, request->out + 1, request->out_count - 1, header.sector) ? DONE : FAILED; break;
    case FLUSH: outcome = disk->read_only || fdatasync(disk->file) == 0 ? DONE : FAILED; break;
    case IDENTITY:
      if (in_count != 1 || request->in[0].iov_len < sizeof name) break;
      memcpy(request->in[0].iov_base, name, sizeof name);
      written += sizeof name;
      outcome = DONE;
      break;
  }
  *(uint8_t*)last.iov_base = outcome;
  return written;
}

static void notify(struct device* device, int queue) {
  static struct request request;
  while (queue_take(device, queue, &request)) queue_give(device, queue, &request, serve(device->own, &request));
}

void disk_add(const char* path) {
  struct disk* disk = calloc(1, sizeof *disk);
  disk->file = open(path, O_RDWR | O_CLOEXEC);
  if (disk->file < 0 && (errno == EACCES || errno == EPERM || errno == EROFS)) {
    disk->read_only = true;
    disk->file = open(path, O_RDONLY | O_CLOEXEC);
  }
  struct stat status;
  if (disk->file < 0 || fstat(disk->file, &status) != 0) fail("cannot open the disk %s: %s.", path, strerror(errno));
  disk->size = status.st_size;
  if (S_ISBLK(status.st_mode)) {
    int read_only = 0;
    if (ioctl(disk->file, BLKGETSIZE64, &disk->size) != 0) fail("the disk %s does not say its size: %s.", path, strerror(errno));
    if (ioctl(disk->file, BLKROGET, &read_only) == 0 && read_only) disk->read_only = true;
  } else if (!S_ISREG(status.st_mode)) {
    fail("%s is neither a file nor a block device.", path);
  }
  disk->size -= disk->size % SECTOR;

  struct device* device =
      virtio_add(TYPE_DISK, 1, FEATURE_SEGMENTS | (disk->read_only ? FEATURE_READ_ONLY : FEATURE_FLUSH), notify);
  device->own = disk;
  uint64_t sectors = disk->size / SECTOR;
  uint32_t segments = QUEUE_MOST - 2;  // what a chain can have beside header and outcome
  memcpy(device->config, &sectors, 8);
  memcpy(device->config + 12, &segments, 4);
}
