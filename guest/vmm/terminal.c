// The terminal in which the monitor runs, and the thread that waits for its keyboard.
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "vmm.h"

enum { ESCAPE = 1 };  // Ctrl-A

static pthread_mutex_t device_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t room = PTHREAD_COND_INITIALIZER;
static struct termios before;
static volatile sig_atomic_t raw, resized;

void lock_devices(void) { pthread_mutex_lock(&device_lock); }
void unlock_devices(void) { pthread_mutex_unlock(&device_lock); }
void terminal_room(void) { pthread_cond_signal(&room); }

void terminal_restore(void) {
  if (raw) tcsetattr(STDIN_FILENO, TCSANOW, &before);
  raw = 0;
}

static void on_end(int signal_number) {
  terminal_restore();
  _exit(128 + signal_number);
}
static void on_resize(int signal_number) { resized = signal_number; }

void terminal_write(const void* bytes, size_t count) {
  const uint8_t* next = bytes;
  while (count) {
    ssize_t done = write(STDOUT_FILENO, next, count);
    if (done < 0 && errno == EAGAIN) {
      struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
      poll(&out, 1, -1);
    } else if (done < 0 && errno != EINTR) {
      return;  // nobody listens any more
    }
    if (done > 0) next += done, count -= done;
  }
}

bool terminal_size(uint16_t* columns, uint16_t* rows) {
  struct winsize size;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || !size.ws_col || !size.ws_row) return false;
  *columns = size.ws_col;
  *rows = size.ws_row;
  return true;
}

static void typed(const uint8_t* bytes, size_t count) {
  if (!count) return;
  lock_devices();
  while (options.serial || options.flat ? !serial_input(bytes, count) : !console_input(bytes, count)) {
    pthread_cond_wait(&room, &device_lock);
  }
  unlock_devices();
}

// Takes out the escape key and what follows it.
static size_t unescape(uint8_t* bytes, size_t count) {
  static bool escaped;
  size_t kept = 0;
  for (size_t i = 0; i < count; ++i) {
    uint8_t byte = bytes[i];
    if (!escaped && byte == ESCAPE && raw) {
      escaped = true;
      continue;
    }
    if (escaped && (byte == 'x' || byte == 'X')) {
      lock_devices();
      terminal_write("\r\n", 2);
      machine_end();
      unlock_devices();
      for (;;) pause();
    }
    if (!escaped || byte == ESCAPE) bytes[kept++] = byte;
    escaped = false;
  }
  return kept;
}

static void* keyboard(void* unused) {
  sigset_t during;
  pthread_sigmask(SIG_SETMASK, NULL, &during);
  sigdelset(&during, SIGWINCH);  // arrives only while we wait
  bool open = true;
  for (;;) {
    struct pollfd in = {.fd = open ? STDIN_FILENO : -1, .events = POLLIN};
    int ready = ppoll(&in, 1, NULL, &during);
    if (resized) {
      resized = 0;
      lock_devices();
      console_resized();
      unlock_devices();
    }
    if (ready <= 0) continue;
    uint8_t bytes[256];
    ssize_t count = read(STDIN_FILENO, bytes, sizeof bytes);
    if (count <= 0)
      open = count < 0 && (errno == EINTR || errno == EAGAIN);
    else
      typed(bytes, unescape(bytes, count));
  }
  return unused;
}

void terminal_start(void) {
  struct sigaction end = {.sa_handler = on_end}, resize = {.sa_handler = on_resize};
  sigaction(SIGTERM, &end, NULL);
  sigaction(SIGINT, &end, NULL);
  sigaction(SIGHUP, &end, NULL);
  sigaction(SIGWINCH, &resize, NULL);
  signal(SIGPIPE, SIG_IGN);
  if (isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before) == 0) {
    struct termios now = before;
    cfmakeraw(&now);
    tcsetattr(STDIN_FILENO, TCSANOW, &now);
    raw = 1;
  }
  // The thread inherits this mask, so that the signal comes to it; and the processor's thread keeps it.
  sigset_t block;
  sigemptyset(&block);
  sigaddset(&block, SIGWINCH);
  pthread_sigmask(SIG_BLOCK, &block, NULL);
  pthread_t thread;
  int error = pthread_create(&thread, NULL, keyboard, NULL);
  if (error) fail("cannot start a thread for the keyboard: %s.", strerror(error));
}
