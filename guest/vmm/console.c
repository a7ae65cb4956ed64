// A virtio console: "Console Device" in the specification of virtio. A whole line costs the guest one exit, where the serial port
// takes one for each character.
#include <string.h>

#include "vmm.h"

enum { TYPE_CONSOLE = 3, FEATURE_SIZE = 1 };
enum { RECEIVE = 0, SEND = 1 };

static struct device* console;
static uint8_t waiting[1024];  // typed, and not yet taken
static size_t waiting_count;

static void deliver(void) {
  static struct request request;
  while (waiting_count && queue_take(console, RECEIVE, &request)) {
    size_t done = 0;
    for (int i = 0; i < request.in_count; ++i) {
      size_t count = request.in[i].iov_len < waiting_count - done ? request.in[i].iov_len : waiting_count - done;
      memcpy(request.in[i].iov_base, waiting + done, count);
      done += count;
    }
    waiting_count -= done;
    memmove(waiting, waiting + done, waiting_count);
    queue_give(console, RECEIVE, &request, done);
    terminal_room();
  }
}

static void notify(struct device* device, int queue) {
  static struct request request;
  if (queue == RECEIVE) {
    deliver();
    return;
  }
  while (queue_take(device, SEND, &request)) {
    for (int i = 0; i < request.out_count; ++i) terminal_write(request.out[i].iov_base, request.out[i].iov_len);
    queue_give(device, SEND, &request, 0);
  }
}

// False if there is no console, or no room.
bool console_input(const uint8_t* bytes, size_t count) {
  if (!console || count > sizeof waiting - waiting_count) return false;
  memcpy(waiting + waiting_count, bytes, count);
  waiting_count += count;
  deliver();
  return true;
}

void console_resized(void) {
  uint16_t size[2];
  if (!console || !terminal_size(&size[0], &size[1])) return;
  memcpy(console->config, size, sizeof size);
  config_changed(console);
}

void console_add(void) {
  uint16_t size[2];
  bool known = terminal_size(&size[0], &size[1]);
  console = virtio_add(TYPE_CONSOLE, 2, known ? FEATURE_SIZE : 0, notify);
  if (known) memcpy(console->config, size, sizeof size);
}
