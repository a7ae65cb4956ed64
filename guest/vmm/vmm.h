// A small virtual machine monitor on /dev/kvm. What happens in it, in the order of a run:
//
//   main.c      the command line: what to run, with how much memory
//   machine.c   /dev/kvm: a machine, its memory, its one processor; then the loop: run until the guest needs us, serve it
//   linux.c     puts a kernel, its parameters and its initial RAM disk into memory, and the processor at its 64-bit entry
//   acpi.c      the tables from which Linux learns how interrupts are wired and how to switch off
//   flat.c      instead of Linux: a few bytes of machine code in real, protected or long mode
//   ports.c     what answers IN and OUT: the serial port, the registers for power-off and reset
//   virtio.c    the queues through which a guest's driver hands us buffers, and the registers to set them up
//   disk.c      a virtio disk                     console.c   a virtio console
//   share.c     a folder of ours that the guest can mount: virtio 9p
//   terminal.c  the keyboard: raw mode, the escape key, a thread that reads
//
// Two threads: the processor's, which spends its life in ioctl(KVM_RUN), and the keyboard's. One lock, `device_lock`, is held by
// whoever touches a device. What the guest writes is not to be trusted: every address, length and index is checked before use.
//
// Changed within the guest, where this stands in /opt/tools/examples/vmm: tcc -D_GNU_SOURCE -o /tmp/vmm *.c -lpthread
#pragma once
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/uio.h>

// --- Where things are for the guest. Its memory begins at 0 and has no holes but what the map of linux.c keeps from it.
enum {
  GDT_AT = 0x500,
  PAGE_TABLES_AT = 0x1000,  // six pages: 4 GiB, each address its own translation
  BOOT_PARAMS_AT = 0x8000,  // Linux' "zero page"
  COMMAND_LINE_AT = 0x9000,
  COMMAND_LINE_SIZE = 0x1000,
  REAL_MODE_AT = 0x7c00,  // flat programs of real mode, where a PC's firmware puts a boot sector
  ACPI_AT = 0xe0000,
  PROGRAM_AT = 0x100000,  // flat programs of protected and of long mode
};
#define VIRTIO_AT UINT64_C(0xd0000000)  // one page for each device; memory ends below
#define MEMORY_MOST (VIRTIO_AT - (256u << 20))
enum { VIRTIO_STRIDE = 0x1000, DISKS_MOST = 4, SHARES_MOST = 2, DEVICES_MOST = 1 + DISKS_MOST + SHARES_MOST };

// Lines of the in-kernel interrupt controllers, edge-triggered as on an ISA bus.
enum { SERIAL_LINE = 4, POWER_LINE = 9 };

struct machine {
  int kvm, vm, processor;
  struct kvm_run* run;  // shared with the kernel: why it came back
  uint8_t* memory;
  uint64_t memory_size;
  bool wiring;  // interrupt controllers and timer in the kernel; a flat program has none
};

struct options {
  const char *kernel, *initrd, *append;
  const char *disks[DISKS_MOST], *shares[SHARES_MOST];
  int disk_count, share_count;
  uint64_t memory;
  bool serial;       // the guest's console is the serial port
  bool huge;         // memory in pages of 2 MiB
  bool exits;        // print each exit that reaches us
  bool count;        // print how many there were
  bool registers;    // print the processor at the end
  const char* flat;  // a program instead of a kernel,
  int flat_bits;     // of 16, 32 or 64 bits
};
extern struct options options;
extern struct machine machine;

// main.c
_Noreturn void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));  // "vmm: ...", restores the terminal
void warn(const char* format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void restart(void);
void* read_file(const char* path, size_t* size);  // whole; fails with a sentence
int layer(void);                                  // 1 on the outermost Linux, 2 in its guest, and so on

// machine.c
void machine_create(uint64_t memory_size, bool wiring);
_Noreturn void machine_run(void);
void machine_end(void);                                 // from another thread: machine_run() comes to its end soon
void* guest_memory(uint64_t address, uint64_t length);  // NULL if any of it is outside
void interrupt_line(int line, bool level);
_Noreturn void finish(int status);  // prints what was asked for
void print_registers(void);
void set_registers(const struct kvm_regs* registers);
struct kvm_sregs get_system_registers(void);
void set_system_registers(const struct kvm_sregs* registers);
void identity_pages(void);  // at PAGE_TABLES_AT

void linux_load(void);
uint64_t acpi_write(void);  // returns the address of the root pointer
void flat_load(void);

// ports.c
enum { POWER_PORT = 0x600 };  // see acpi.c: event registers, control register, reset register
void port_access(uint16_t port, bool out, int size, uint8_t* data);
bool serial_input(const uint8_t* bytes, size_t count);

// virtio.c
enum { QUEUE_MOST = 128 };
struct queue {
  uint32_t size;
  bool ready;
  uint64_t descriptors, available, used;  // as the driver wrote them; checked when it says that the queue is ready
  uint16_t next;
};
struct request {  // a chain of buffers: first those for us to read, then those for us to fill
  uint16_t head;
  int out_count, in_count;
  struct iovec out[QUEUE_MOST], in[QUEUE_MOST];
};
struct device {
  uint32_t type;
  uint64_t features;
  int queue_count, line, slot;
  void (*notify)(struct device*, int queue);
  uint8_t config[64];
  void* own;
  uint64_t taken_features;
  uint32_t feature_word, driver_word, queue_number, status, interrupts, generation;
  struct queue queues[2];
};
extern struct device devices[DEVICES_MOST];
extern int device_count;
struct device* virtio_add(uint32_t type, int queues, uint64_t features, void (*notify)(struct device*, int));
bool virtio_access(uint64_t address, bool write, int size, uint8_t* data);
bool queue_take(struct device* device, int queue, struct request* request);
void queue_give(struct device* device, int queue, const struct request* request, uint32_t written);
void config_changed(struct device* device);
bool device_live(const struct device* device);

void disk_add(const char* path);
void share_add(const char* tag_and_folder);
void console_add(void);
bool console_input(const uint8_t* bytes, size_t count);
void console_resized(void);

// terminal.c
void lock_devices(void);
void unlock_devices(void);
void terminal_start(void);  // raw mode, if there is a terminal, and the thread
void terminal_restore(void);
void terminal_write(const void* bytes, size_t count);
void terminal_room(void);  // the guest has taken input: there may be room for more
bool terminal_size(uint16_t* columns, uint16_t* rows);
