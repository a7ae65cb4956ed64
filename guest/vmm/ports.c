// What answers IN and OUT: a 16550A serial port without modem, ACPI's registers for power-off and reset, and two ports for tests.
// KVM answers for the interrupt controllers and the timer by itself.
#include <string.h>

#include "vmm.h"

enum { SERIAL_PORT = 0x3f8, DEBUG_PORT = 0xe9, EXIT_PORT = 0xf4 };

// --- Serial port. What is sent is gone at once, so it may always send; what is received waits in a ring.
static struct {
  uint8_t enabled, line_control, modem_control, scratch, fifo_control;
  uint16_t divisor;
  bool sent;  // "transmitter empty" waits to be reported
  uint8_t received[1024];
  unsigned head, count;
} serial;

enum { RECEIVED = 1, EMPTY = 2 };  // bits of the interrupt enable register

static int serial_reason(void) {  // of the interrupt, as the identification register says it; 1 is none
  if (serial.enabled & RECEIVED && serial.count) return 4;
  if (serial.enabled & EMPTY && serial.sent) return 2;
  return 1;
}
static void serial_interrupt(void) { interrupt_line(SERIAL_LINE, serial_reason() != 1); }

bool serial_input(const uint8_t* bytes, size_t count) {
  if (count > sizeof serial.received - serial.count) return false;
  while (count--) serial.received[(serial.head + serial.count++) % sizeof serial.received] = *bytes++;
  serial_interrupt();
  return true;
}

static void serial_write(int number, uint8_t value) {
  enum { DIVISOR = 0x80, LOOP = 0x10 };
  switch (number) {
    case 0:
      if (serial.line_control & DIVISOR) {
        serial.divisor = (serial.divisor & 0xff00) | value;
      } else if (serial.modem_control & LOOP) {
        serial_input(&value, 1);
      } else {
        terminal_write(&value, 1);
        serial.sent = true;
      }
      break;
    case 1:
      if (serial.line_control & DIVISOR) {
        serial.divisor = (serial.divisor & 0xff) | value << 8;
        break;
      }
      if (value & ~serial.enabled & EMPTY) serial.sent = true;
      serial.enabled = value & 15;
      break;
    case 2:
      serial.fifo_control = value & 0xc9;
      if (value & 2) serial.count = 0;
      break;
    case 3: serial.line_control = value; break;
    case 4: serial.modem_control = value & 0x1f; break;
    case 7: serial.scratch = value; break;
    default: break;
  }
  serial_interrupt();
}

static uint8_t serial_read(int number) {
  enum { DIVISOR = 0x80, LOOP = 0x10, MAY_SEND = 0x60, CARRIER_READY_CLEAR = 0xb0 };
  uint8_t value = 0;
  switch (number) {
    case 0:
      if (serial.line_control & DIVISOR) return serial.divisor & 0xff;
      if (!serial.count) return 0;
      value = serial.received[serial.head];
      serial.head = (serial.head + 1) % sizeof serial.received;
      --serial.count;
      terminal_room();
      break;
    case 1: return serial.line_control & DIVISOR ? serial.divisor >> 8 : serial.enabled;
    case 2:
      value = serial_reason();
      if (value == 2) serial.sent = false;
      if (serial.fifo_control & 1) value |= 0xc0;
      break;
    case 3: return serial.line_control;
    case 4: return serial.modem_control;
    case 5: return MAY_SEND | (serial.count != 0);
    case 6:
      if (!(serial.modem_control & LOOP)) return CARRIER_READY_CLEAR;
      // In the loop, the four outputs come back as the four inputs.
      return (serial.modem_control & 1) << 5 | (serial.modem_control & 2) << 3 | (serial.modem_control & 12) << 4;
    case 7: return serial.scratch;
  }
  serial_interrupt();
  return value;
}

// --- Power: status and enable words, control word, reset byte. No event ever happens; the control word can say "off".
static uint16_t power_enable, power_control;

static uint8_t power_read(int number) {
  enum { ACPI_IS_ON = 1 };
  uint8_t bytes[16] = {0};
  bytes[2] = power_enable, bytes[3] = power_enable >> 8;
  bytes[4] = power_control | ACPI_IS_ON, bytes[5] = power_control >> 8;
  return bytes[number];
}

static void power_write(int number, uint8_t value) {
  enum { SLEEP_NOW = 0x20, TYPE_OFF = 5 << 2, TYPE = 7 << 2 };
  switch (number) {
    case 2: power_enable = (power_enable & 0xff00) | value; break;
    case 3: power_enable = (power_enable & 0xff) | value << 8; break;
    case 4: power_control = (power_control & 0xff00) | value; break;
    case 5:
      power_control = (power_control & 0xff) | (value & ~SLEEP_NOW) << 8;
      if (value & SLEEP_NOW && (value & TYPE) == TYPE_OFF) finish(0);
      break;
    case 8:
      if (value == 1) restart();
      break;
    default: break;
  }
}

// --- PCI, of which there is only the host bridge: a kernel that finds none at all takes that for a grave fault.
enum { PCI_ADDRESS = 0xcf8, PCI_DATA = 0xcfc };
static uint32_t pci_address;

static uint32_t pci_value(void) {
  enum { ENABLED = 1u << 31, DEVICE = 0x00ffff00, IDENTITY = 0, CLASS = 8, HOST_BRIDGE = 0x06000000 };
  if (!(pci_address & ENABLED) || pci_address & DEVICE) return 0xffffffff;
  switch (pci_address & 0xfc) {
    case IDENTITY: return 0x0d571b36;  // the maker's number and the model's, of a bridge without peculiarities
    case CLASS: return HOST_BRIDGE;
    default: return 0;
  }
}

static uint8_t pci_read(int number) { return (number < 4 ? pci_address : pci_value()) >> 8 * (number & 3); }
static void pci_write(int number, uint8_t value) {
  if (number < 4) pci_address = (pci_address & ~(0xffu << 8 * number)) | (uint32_t)value << 8 * number;
}

// --- All of them, byte by byte: a port that nobody has reads as ones and swallows what is written.
void port_access(uint16_t port, bool out, int size, uint8_t* data) {
  for (int i = 0; i < size; ++i, ++port) {
    if (port >= SERIAL_PORT && port < SERIAL_PORT + 8) {
      if (out)
        serial_write(port - SERIAL_PORT, data[i]);
      else
        data[i] = serial_read(port - SERIAL_PORT);
    } else if (port >= POWER_PORT && port < POWER_PORT + 16) {
      if (out)
        power_write(port - POWER_PORT, data[i]);
      else
        data[i] = power_read(port - POWER_PORT);
    } else if (port >= PCI_ADDRESS && port < PCI_DATA + 4) {
      if (out)
        pci_write(port - PCI_ADDRESS, data[i]);
      else
        data[i] = pci_read(port - PCI_ADDRESS);
    } else if (port == DEBUG_PORT) {
      if (out)
        terminal_write(&data[i], 1);
      else
        data[i] = DEBUG_PORT;
    } else if (port == EXIT_PORT && out) {
      finish(data[i]);
    } else if (!out) {
      data[i] = 0xff;
    }
  }
}
