// Virtio devices as memory-mapped registers: "Virtual I/O Device (VIRTIO) Version 1.1", "Virtio Over MMIO" and "Split
// Virtqueues".
//
// A queue is three tables in the guest's memory. The driver chains buffers in `descriptors`, puts the number of a chain's head
// into the ring `available`, and writes to QUEUE_NOTIFY: an exit that leads here. We put the number into the ring `used` when the
// chain is done, and raise the device's interrupt. All three tables are the guest's to change at any time: each value is read
// once, and checked before it is used.
#include <inttypes.h>
#include <string.h>

#include "vmm.h"

struct device devices[DEVICES_MOST];
int device_count;

enum {
  MAGIC = 0x00,
  VERSION = 0x04,
  DEVICE_TYPE = 0x08,
  VENDOR = 0x0c,
  FEATURES = 0x10,
  FEATURES_WORD = 0x14,
  DRIVER_FEATURES = 0x20,
  DRIVER_WORD = 0x24,
  QUEUE_SELECT = 0x30,
  QUEUE_SIZE_MOST = 0x34,
  QUEUE_SIZE = 0x38,
  QUEUE_READY = 0x44,
  QUEUE_NOTIFY = 0x50,
  INTERRUPT_STATUS = 0x60,
  INTERRUPT_ACKNOWLEDGE = 0x64,
  STATUS = 0x70,
  QUEUE_DESCRIPTORS = 0x80,
  QUEUE_AVAILABLE = 0x90,
  QUEUE_USED = 0xa0,
  GENERATION = 0xfc,
  CONFIG = 0x100,
};
enum { STATUS_DRIVER_OK = 4, STATUS_NEEDS_RESET = 0x40 };
enum { INTERRUPT_USED = 1, INTERRUPT_CONFIG = 2 };
#define FEATURE_VERSION_1 (UINT64_C(1) << 32)

struct descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags, next;
};
enum { DESCRIPTOR_NEXT = 1, DESCRIPTOR_IN = 2 };

// Between what the guest wrote and that it wrote it, in both directions.
static void fence(void) { __asm__ volatile("mfence" ::: "memory"); }

struct device* virtio_add(uint32_t type, int queues, uint64_t features, void (*notify)(struct device*, int)) {
  static const int lines[DEVICES_MOST] = {5, 10, 11, 6, 7, 3, 12};
  struct device* device = &devices[device_count];
  *device = (struct device){.type = type,
                            .queue_count = queues,
                            .features = features | FEATURE_VERSION_1,
                            .notify = notify,
                            .line = lines[device_count],
                            .slot = device_count};
  ++device_count;
  return device;
}

bool device_live(const struct device* device) {
  return device->status & STATUS_DRIVER_OK && !(device->status & STATUS_NEEDS_RESET);
}

// The line is up while a reason for the interrupt has not been acknowledged.
static void interrupt(struct device* device, uint32_t reason) {
  device->interrupts |= reason;
  interrupt_line(device->line, true);
}

void config_changed(struct device* device) {
  ++device->generation;
  if (device_live(device)) interrupt(device, INTERRUPT_CONFIG);
}

// The driver broke the rules. The device says so and does nothing more until it is reset.
static void broken(struct device* device, const char* what) {
  if (device->status & STATUS_NEEDS_RESET) return;
  warn("the guest's driver of virtio device %d %s; the device stands still until it is reset.\r", device->slot, what);
  device->status |= STATUS_NEEDS_RESET;
  interrupt(device, INTERRUPT_CONFIG);
}

static bool queue_valid(const struct queue* queue) {
  uint64_t size = queue->size;
  return size && !(size & (size - 1)) && size <= QUEUE_MOST && !(queue->descriptors & 15) && !(queue->available & 1) &&
         !(queue->used & 3) && guest_memory(queue->descriptors, 16 * size) && guest_memory(queue->available, 6 + 2 * size) &&
         guest_memory(queue->used, 6 + 8 * size);
}

// The next chain that the driver has made available, if any.
bool queue_take(struct device* device, int number, struct request* request) {
  struct queue* queue = &device->queues[number];
  if (!queue->ready || !device_live(device)) return false;
  const volatile uint16_t* available = guest_memory(queue->available, 6 + 2 * queue->size);  // flags, index, ring
  uint16_t waiting = available[1] - queue->next;
  if (!waiting) return false;
  if (waiting > queue->size) return broken(device, "made more requests than its queue has room for"), false;
  fence();
  uint32_t index = request->head = available[2 + queue->next % queue->size];
  request->out_count = request->in_count = 0;
  const volatile struct descriptor* table = guest_memory(queue->descriptors, 16 * queue->size);
  for (uint32_t length = 0;; ++length) {
    if (index >= queue->size) return broken(device, "named a descriptor that its queue does not have"), false;
    if (length == queue->size) return broken(device, "chained descriptors in a circle"), false;
    struct descriptor one = {table[index].address, table[index].length, table[index].flags, table[index].next};
    void* bytes = guest_memory(one.address, one.length);
    if (!bytes) return broken(device, "gave a buffer that is not in its memory"), false;
    if (one.flags & DESCRIPTOR_IN) {
      request->in[request->in_count++] = (struct iovec){bytes, one.length};
    } else {
      if (request->in_count) return broken(device, "put a buffer to be read after one to be filled"), false;
      request->out[request->out_count++] = (struct iovec){bytes, one.length};
    }
    if (!(one.flags & DESCRIPTOR_NEXT)) break;
    index = one.next;
  }
  ++queue->next;
  return true;
}

void queue_give(struct device* device, int number, const struct request* request, uint32_t written) {
  enum { NO_INTERRUPT = 1 };
  struct queue* queue = &device->queues[number];
  volatile uint16_t* used = guest_memory(queue->used, 6 + 8 * queue->size);  // flags, index, then pairs of 32 bits
  volatile uint32_t* pair = (volatile uint32_t*)(used + 2) + 2 * (used[1] % queue->size);
  pair[0] = request->head;
  pair[1] = written;
  fence();
  ++used[1];
  fence();
  const volatile uint16_t* available = guest_memory(queue->available, 2);
  if (!(*available & NO_INTERRUPT)) interrupt(device, INTERRUPT_USED);
}

static void reset(struct device* device) {
  memset(device->queues, 0, sizeof device->queues);
  device->status = device->interrupts = device->queue_number = device->feature_word = device->driver_word = 0;
  device->taken_features = 0;
  interrupt_line(device->line, false);
}

static uint32_t register_read(const struct device* device, uint32_t number) {
  const struct queue* queue = device->queue_number < (uint32_t)device->queue_count ? &device->queues[device->queue_number] : NULL;
  switch (number) {
    case MAGIC: return 0x74726976;  // "virt"
    case VERSION: return 2;
    case DEVICE_TYPE: return device->type;
    case VENDOR: return 0x4d4d56;  // "VMM"
    case FEATURES: return device->feature_word < 2 ? device->features >> 32 * device->feature_word : 0;
    case QUEUE_SIZE_MOST: return queue ? QUEUE_MOST : 0;
    case QUEUE_READY: return queue && queue->ready;
    case INTERRUPT_STATUS: return device->interrupts;
    case STATUS: return device->status;
    case GENERATION: return device->generation;
    default: return 0;
  }
}

static void half(uint64_t* whole, bool upper, uint32_t value) {
  *whole = upper ? (*whole & 0xffffffff) | (uint64_t)value << 32 : (*whole & ~UINT64_C(0xffffffff)) | value;
}

static void register_write(struct device* device, uint32_t number, uint32_t value) {
  struct queue* queue = device->queue_number < (uint32_t)device->queue_count ? &device->queues[device->queue_number] : NULL;
  switch (number) {
    case FEATURES_WORD: device->feature_word = value; break;
    case DRIVER_WORD: device->driver_word = value; break;
    case DRIVER_FEATURES:
      if (device->driver_word < 2) half(&device->taken_features, device->driver_word == 1, value);
      break;
    case QUEUE_SELECT: device->queue_number = value; break;
    case QUEUE_NOTIFY:
      if (value < (uint32_t)device->queue_count && device_live(device)) device->notify(device, value);
      break;
    case INTERRUPT_ACKNOWLEDGE:
      device->interrupts &= ~value;
      if (!device->interrupts) interrupt_line(device->line, false);
      break;
    case STATUS:
      if (value == 0)
        reset(device);
      else
        device->status = value | (device->status & STATUS_NEEDS_RESET);
      break;
    default: {
      if (!queue) break;
      if (number == QUEUE_READY) {
        if (value && !queue_valid(queue)) return broken(device, "set up a queue that is not in its memory");
        queue->ready = value != 0;
      }
      if (queue->ready) break;  // the rest may not change any more
      if (number == QUEUE_SIZE) queue->size = value;
      if ((number & ~4) == QUEUE_DESCRIPTORS) half(&queue->descriptors, number & 4, value);
      if ((number & ~4) == QUEUE_AVAILABLE) half(&queue->available, number & 4, value);
      if ((number & ~4) == QUEUE_USED) half(&queue->used, number & 4, value);
    }
  }
}

bool virtio_access(uint64_t address, bool write, int size, uint8_t* data) {
  uint64_t slot = (address - VIRTIO_AT) / VIRTIO_STRIDE;
  if (address < VIRTIO_AT || slot >= (uint64_t)device_count) return false;
  struct device* device = &devices[slot];
  uint32_t number = address % VIRTIO_STRIDE;
  if (number >= CONFIG) {
    for (int i = 0; i < size; ++i, ++number) {
      if (!write) data[i] = number - CONFIG < sizeof device->config ? device->config[number - CONFIG] : 0;
    }
  } else if (size == 4 && !(number & 3)) {
    uint32_t value = 0;
    if (write) {
      memcpy(&value, data, 4);
      register_write(device, number, value);
    } else {
      value = register_read(device, number);
      memcpy(data, &value, 4);
    }
  } else if (!write) {
    memset(data, 0, size);
  }
  return true;
}
