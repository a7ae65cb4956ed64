// Facts from the PC16550D data sheet; "Linux" marks what its 8250 driver asks before it believes in a 16550A.
#include "devices/uart.h"
#include "tests/device_bench.h"

using namespace matryoshka;
using namespace matryoshka::bench;

namespace {

enum Register : unsigned {
  RBR = 0,
  THR = 0,
  DLL = 0,
  IER = 1,
  DLM = 1,
  IIR = 2,
  FCR = 2,
  LCR = 3,
  MCR = 4,
  LSR = 5,
  MSR = 6,
  SCR = 7
};

constexpr unsigned line = 4;

struct UartBench : Bench {
  Uart uart{clock, IrqLine(irq, line), bytes};

  unsigned in(unsigned reg) { return static_cast<unsigned>(uart.read(0, reg, 1)); }
  void out(unsigned reg, unsigned value) { uart.write(0, reg, 1, value); }
  void receive(const std::string& text) { uart.receive({reinterpret_cast<const uint8_t*>(text.data()), text.size()}); }
  // Everything that is there to be read.
  std::string drain() {
    std::string text;
    while (in(LSR)&1) text += static_cast<char>(in(RBR));
    return text;
  }
};

}  // namespace

TEST_CASE("uart: a written byte leaves at once and the transmitter is always empty") {
  UartBench b;
  CHECK(b.in(LSR) == 0x60);  // THRE, TEMT
  b.out(THR, 'h');
  b.out(THR, 'i');
  CHECK(b.bytes.text == "hi");
  CHECK(b.in(LSR) == 0x60);
}

TEST_CASE("uart: Linux finds a 16550A: FIFO bits in IIR, four interrupt enables, loopback of modem lines, no 16750") {
  UartBench b;
  b.out(IER, 0x00);
  CHECK((b.in(IER)&0x0f) == 0x00);
  b.out(IER, 0xff);
  CHECK(b.in(IER) == 0x0f);
  b.out(IER, 0x00);

  b.out(MCR, 0x1a);  // loop, OUT2, RTS
  CHECK((b.in(MSR)&0xf0) == 0x90);
  b.out(MCR, 0x00);

  b.out(FCR, 0x01);
  CHECK(b.in(IIR) >> 6 == 3);
  b.out(FCR, 0x21);
  CHECK((b.in(IIR) >> 5) == 6);  // a 16750 would say 7
  b.out(LCR, 0x80);
  b.out(FCR, 0x21);
  CHECK((b.in(IIR) >> 5) == 6);
  b.out(LCR, 0x00);
  b.out(FCR, 0x00);
  CHECK(b.in(IIR) >> 6 == 0);

  b.out(SCR, 0x5a);
  CHECK(b.in(SCR) == 0x5a);
}

TEST_CASE("uart: the divisor lies over the first two registers while DLAB is set") {
  UartBench b;
  b.out(LCR, 0x83);
  b.out(DLL, 0x34);
  b.out(DLM, 0x12);
  CHECK(b.in(DLL) == 0x34);
  CHECK(b.in(DLM) == 0x12);
  b.out(LCR, 0x03);
  CHECK(b.in(IER) == 0x00);
  CHECK(b.bytes.text.empty());
}

TEST_CASE("uart: enabling the THRE interrupt raises it, reading IIR ends it, enabling again raises it again") {
  UartBench b;
  b.out(IER, 0x02);
  CHECK(b.irq.level(line));
  CHECK(b.in(IIR) == 0x02);
  CHECK_FALSE(b.irq.level(line));
  CHECK(b.in(IIR) == 0x01);
  b.out(IER, 0x00);
  b.out(IER, 0x02);
  CHECK(b.irq.level(line));
}

TEST_CASE("uart: every written byte raises THRE once, with an edge of its own") {
  UartBench b;
  b.out(IER, 0x02);
  b.in(IIR);
  unsigned before = b.irq.rises(line);
  b.out(THR, 'a');
  CHECK(b.irq.rises(line) == before + 1);
  b.out(THR, 'b');
  CHECK(b.irq.rises(line) == before + 2);
  CHECK(b.in(IIR) == 0x02);
  CHECK(b.in(IIR) == 0x01);
}

TEST_CASE("uart: the receive interrupt comes at the FIFO's trigger level") {
  struct Row {
    unsigned fifo_control, level;
  };
  auto row = GENERATE(Row{0x01, 1}, Row{0x41, 4}, Row{0x81, 8}, Row{0xc1, 14});
  UartBench b;
  b.out(FCR, row.fifo_control);
  b.out(IER, 0x01);
  b.receive(std::string(row.level, 'x'));
  while (b.irq.rises(line) == 0) b.pass_until_next();
  INFO("trigger level " << row.level);
  CHECK((b.in(IIR)&0x0f) == 0x04);
  std::string text;
  while ((b.in(IIR)&0x0f) == 0x04) text += static_cast<char>(b.in(RBR));
  CHECK(text.size() == 1);  // below the level after one byte is taken
  CHECK(b.drain().size() == row.level - 1);
}

TEST_CASE("uart: four silent character times with bytes below the trigger level give the timeout interrupt") {
  UartBench b;
  b.out(FCR, 0x81);
  b.out(IER, 0x01);
  b.receive("ab");
  b.pass(200 * microsecond);  // both have come: 87 us each
  CHECK(b.in(IIR) == 0xc1);
  b.pass(400 * microsecond);
  CHECK(b.irq.level(line));
  CHECK(b.in(IIR) == 0xcc);
  CHECK(b.in(RBR) == 'a');  // reading starts the silence anew
  CHECK(b.in(IIR) == 0xc1);
  b.pass(400 * microsecond);
  CHECK(b.in(IIR) == 0xcc);
  CHECK(b.in(RBR) == 'b');
  CHECK_FALSE(b.irq.level(line));
}

TEST_CASE("uart: interrupts rank line status, received data, transmitter empty, modem status") {
  UartBench b;
  b.out(MCR, 0x10);  // loopback, RTS and DTR off: CTS, DSR and DCD have fallen
  b.out(IER, 0x0f);
  b.out(LCR, 0x40);  // a break comes back
  CHECK(b.in(IIR) == 0x06);
  CHECK((b.in(LSR)&0x11) == 0x11);
  CHECK(b.in(IIR) == 0x04);
  CHECK(b.in(RBR) == 0x00);
  CHECK(b.in(IIR) == 0x02);
  CHECK(b.in(IIR) == 0x00);
  CHECK((b.in(MSR)&0x0f) == 0x0b);
  CHECK(b.in(IIR) == 0x01);
  CHECK_FALSE(b.irq.level(line));
}

TEST_CASE("uart: loopback brings written bytes back and sends none out") {
  UartBench b;
  b.out(FCR, 0x01);
  b.out(MCR, 0x10);
  b.out(THR, 'x');
  CHECK(b.drain() == "x");
  CHECK(b.bytes.text.empty());
}

TEST_CASE("uart: the ring indicator shows only its trailing edge") {
  UartBench b;
  b.out(MCR, 0x10);
  b.in(MSR);
  b.out(MCR, 0x14);
  CHECK(b.in(MSR) == 0x40);
  b.out(MCR, 0x10);
  CHECK(b.in(MSR) == 0x04);
  CHECK(b.in(MSR) == 0x00);
}

TEST_CASE("uart: a full FIFO keeps its bytes and flags the overrun; a full holding register is overwritten") {
  UartBench b;
  b.out(MCR, 0x10);
  SECTION("FIFO") {
    b.out(FCR, 0x01);
    for (char c = 'a'; c <= 'q'; ++c) b.out(THR, static_cast<unsigned>(c));
    CHECK((b.in(LSR)&0x02) == 0x02);
    CHECK((b.in(LSR)&0x02) == 0x00);
    CHECK(b.drain() == "abcdefghijklmnop");
  }
  SECTION("holding register") {
    b.out(THR, 'a');
    b.out(THR, 'b');
    CHECK((b.in(LSR)&0x02) == 0x02);
    CHECK(b.drain() == "b");
  }
}

TEST_CASE("uart: pasted text arrives whole, in order and without overrun, however slowly it is read") {
  UartBench b;
  b.out(FCR, 0x01);
  std::string text;
  for (unsigned i = 0; i < 5000; ++i) text += static_cast<char>('a' + i % 26);
  b.receive(text);
  std::string got;
  for (unsigned i = 0; i < 6000 && got.size() < text.size(); ++i) {
    b.pass(i % 7 * millisecond);
    CHECK((b.in(LSR)&0x02) == 0);
    got += b.drain();
  }
  CHECK(got == text);
}

TEST_CASE("uart: bytes come no faster than 115,200 baud") {
  UartBench b;
  b.out(FCR, 0x01);
  b.receive("0123456789");
  b.pass(millisecond);  // eleven and a half characters
  CHECK(b.drain() == "0123456789");
  b.receive("0123456789abcdef");
  b.pass(5 * 86'806);
  CHECK(b.drain().size() <= 6);
}

TEST_CASE("uart: the host's queue takes a mebibyte and then says no") {
  UartBench b;
  std::vector<uint8_t> flood(Uart::queue_limit + 10);
  CHECK(b.uart.receive(flood) == Uart::queue_limit);
  CHECK(b.uart.receive(flood) == 0);
}

TEST_CASE("uart: a break from the far end is a zero byte with BI set until LSR is read") {
  UartBench b;
  b.out(FCR, 0x01);
  b.out(IER, 0x04);
  b.uart.receive_break();
  b.pass(millisecond);
  CHECK(b.irq.level(line));
  CHECK(b.in(IIR) == 0xc6);
  CHECK(b.in(LSR) == 0xf1);  // error in FIFO, TEMT, THRE, BI, DR
  CHECK(b.in(LSR) == 0x61);
  CHECK(b.in(RBR) == 0x00);
}

TEST_CASE("uart: nothing wakes an idle guest") {
  UartBench b;
  b.out(FCR, 0x01);
  b.out(IER, 0x0f);
  b.receive("x");
  b.pass(second);
  b.drain();
  CHECK(b.clock.next_deadline() == Clock::never);
}

TEST_CASE("uart: a reset turns interrupts and FIFO off; what is still on the line arrives afterwards") {
  UartBench b;
  b.out(FCR, 0x01);
  b.out(IER, 0x02);
  b.receive("ab");
  b.pass(100 * microsecond);
  b.uart.reset();
  CHECK_FALSE(b.irq.level(line));
  CHECK(b.in(IER) == 0x00);
  CHECK(b.in(IIR) == 0x01);
  b.pass(millisecond);
  CHECK(b.drain() == "b");
}

TEST_CASE("uart: saved in the middle of a paste, it goes on identically") {
  UartBench a, b;
  a.out(FCR, 0x41);
  a.out(IER, 0x01);
  a.receive("the quick brown fox jumps over the lazy dog");
  a.pass(millisecond);
  auto saved = save(a.clock, a.uart);
  REQUIRE(load(b.clock, b.uart, saved));
  CHECK(save(b.clock, b.uart) == saved);
  for (unsigned i = 0; i < 20; ++i) {
    CHECK(a.in(IIR) == b.in(IIR));
    CHECK(a.drain() == b.drain());
    a.pass(300 * microsecond);
    b.pass(300 * microsecond);
  }
  CHECK(save(a.clock, a.uart) == save(b.clock, b.uart));
}

TEST_CASE("uart: nonsense does no harm") {
  UartBench b;
  b.receive(std::string(500, 'x'));
  storm(b.clock, b.uart, {{0, Uart::window_length}});
  Bench spare;
  storm_of_snapshots(save(b.clock, b.uart),
                     [&](Clock& clock) { return std::make_unique<Uart>(clock, IrqLine(spare.irq, line), spare.bytes); },
                     {{0, Uart::window_length}});
}
