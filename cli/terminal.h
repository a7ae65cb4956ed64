// The terminal in which the native program was started.
#pragma once

#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

namespace matryoshka {

// Raw while it lives: every key, Ctrl-C too, is the guest's.
class RawTerminal {
 public:
  explicit RawTerminal(bool wanted) : raw_(wanted && isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before_) == 0) {
    if (!raw_) return;
    termios raw = before_;
    cfmakeraw(&raw);
    raw.c_oflag |= OPOST;  // our own sentences end with a plain line feed
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  }
  ~RawTerminal() {
    if (raw_) tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
  }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;
  bool raw() const { return raw_; }

 private:
  termios before_ = {};
  bool raw_;
};

inline bool terminal_size(unsigned& columns, unsigned& rows) {
  winsize size = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return false;
  columns = size.ws_col;
  rows = size.ws_row;
  return true;
}

}  // namespace matryoshka
