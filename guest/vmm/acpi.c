// The least of ACPI with which Linux finds its interrupt controllers, knows that there is neither keyboard controller nor clock
// chip to probe, and can switch off and reset: "ACPI Specification", the tables RSDP, XSDT, FADT, FACS, MADT and DSDT.
#include <string.h>

#include "vmm.h"

// \_S5, the sleep state that is off: write 5 as sleep type to the control register.
static const uint8_t off_state[] = {0x08, '_', 'S', '5', '_', 0x12, 0x07, 4, 0x0a, 5, 0, 0, 0};

static uint64_t next;

static uint8_t* place(size_t size) {
  next = (next + 63) & ~UINT64_C(63);  // as FACS wants it, and good for the rest
  uint8_t* bytes = guest_memory(next, size);
  memset(bytes, 0, size);
  next += size;
  return bytes;
}
static uint32_t address_of(const uint8_t* table) { return table - machine.memory; }
static void put(uint8_t* at, uint64_t value, int size) { memcpy(at, &value, size); }

static void seal(uint8_t* bytes, size_t size, int checksum_at) {
  uint8_t sum = 0;
  for (size_t i = 0; i < size; ++i) sum += bytes[i];
  bytes[checksum_at] -= sum;
}

static uint8_t* table(const char* signature, int revision, size_t size) {
  uint8_t* bytes = place(size);
  memcpy(bytes, signature, 4);
  put(bytes + 4, size, 4);
  bytes[8] = revision;
  memcpy(bytes + 10, "LAYERSVMM     ", 14);
  put(bytes + 24, 1, 4);
  memcpy(bytes + 28, "VMM ", 4);
  put(bytes + 32, 1, 4);
  return bytes;
}

static void port(uint8_t* at, uint16_t number, int bits) {  // a "generic address"
  at[0] = 1;
  at[1] = bits;
  at[3] = bits / 8;
  put(at + 4, number, 8);
}

uint64_t acpi_write(void) {
  enum { HEADER = 36, CHECKSUM = 9 };
  next = ACPI_AT;
  uint8_t* root = place(36);

  uint8_t* dsdt = table("DSDT", 2, HEADER + sizeof off_state);
  memcpy(dsdt + HEADER, off_state, sizeof off_state);
  seal(dsdt, HEADER + sizeof off_state, CHECKSUM);

  uint8_t* facs = place(64);
  memcpy(facs, "FACS", 4);
  put(facs + 4, 64, 4);

  enum { FADT_SIZE = 244, NO_VGA = 4, NO_CMOS_CLOCK = 0x20 };
  enum { CACHE_FLUSH_WORKS = 1, NO_POWER_BUTTON = 0x10, NO_SLEEP_BUTTON = 0x20, NO_CLOCK_WAKE = 0x40, CAN_RESET = 0x400 };
  uint8_t* fadt = table("FACP", 3, FADT_SIZE);
  put(fadt + 36, address_of(facs), 4);
  put(fadt + 40, address_of(dsdt), 4);
  put(fadt + 46, POWER_LINE, 2);
  put(fadt + 56, POWER_PORT, 4);      // event registers: status, enable
  put(fadt + 64, POWER_PORT + 4, 4);  // control register
  fadt[88] = 4, fadt[89] = 2;
  put(fadt + 96, 0xffff, 2), put(fadt + 98, 0xffff, 2);  // no idle states
  put(fadt + 109, NO_VGA | NO_CMOS_CLOCK, 2);
  put(fadt + 112, CACHE_FLUSH_WORKS | NO_POWER_BUTTON | NO_SLEEP_BUTTON | NO_CLOCK_WAKE | CAN_RESET, 4);
  port(fadt + 116, POWER_PORT + 8, 8);  // reset register, and what to write there
  fadt[128] = 1;
  put(fadt + 140, address_of(dsdt), 8);
  port(fadt + 148, POWER_PORT, 32);
  port(fadt + 172, POWER_PORT + 4, 16);
  seal(fadt, FADT_SIZE, CHECKSUM);

  enum { MADT_SIZE = HEADER + 8 + 8 + 12, HAS_8259 = 1 };
  uint8_t* madt = table("APIC", 3, MADT_SIZE);
  put(madt + HEADER, 0xfee00000, 4);
  put(madt + HEADER + 4, HAS_8259, 4);
  uint8_t* entry = madt + HEADER + 8;
  entry[0] = 0, entry[1] = 8, entry[4] = 1;  // one local APIC, number 0, enabled
  entry += 8;
  entry[0] = 1, entry[1] = 12;  // one I/O APIC, from interrupt 0 on
  put(entry + 4, 0xfec00000, 4);
  seal(madt, MADT_SIZE, CHECKSUM);

  uint8_t* xsdt = table("XSDT", 1, HEADER + 2 * 8);
  put(xsdt + HEADER, address_of(fadt), 8);
  put(xsdt + HEADER + 8, address_of(madt), 8);
  seal(xsdt, HEADER + 2 * 8, CHECKSUM);

  memcpy(root, "RSD PTR ", 8);
  memcpy(root + 9, "LAYERS", 6);
  root[15] = 2;
  put(root + 20, 36, 4);
  put(root + 24, address_of(xsdt), 8);
  seal(root, 20, 8);
  seal(root, 36, 32);
  return address_of(root);
}
