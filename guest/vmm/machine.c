// The machine: KVM's three kinds of file descriptor (the system, a machine, a processor), its memory, and the loop around
// KVM_RUN.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vmm.h"

struct machine machine;

// --- Exits, for --exits and --count: what happened, and what about it.
static struct {
  uint32_t reason;
  uint64_t where;  // port, or page of a memory access, with the direction in bit 63
  uint64_t count;
} counted[256];
static uint64_t exit_count;
static struct timespec began;

static const char* exit_name(uint32_t reason) {
  switch (reason) {
    case KVM_EXIT_IO: return "I/O port";
    case KVM_EXIT_MMIO: return "device memory";
    case KVM_EXIT_HLT: return "HLT";
    case KVM_EXIT_SHUTDOWN: return "triple fault";
    case KVM_EXIT_INTR: return "signal to us";
    case KVM_EXIT_FAIL_ENTRY: return "failed entry";
    case KVM_EXIT_INTERNAL_ERROR: return "KVM gave up";
    default: return "other";
  }
}

static void note_exit(void) {
  const struct kvm_run* run = machine.run;
  uint64_t where = 0;
  ++exit_count;
  if (!options.exits && !options.count) return;
  if (run->exit_reason == KVM_EXIT_IO) where = run->io.port | (uint64_t)run->io.direction << 63;
  if (run->exit_reason == KVM_EXIT_MMIO) where = run->mmio.phys_addr | (uint64_t)run->mmio.is_write << 63;
  for (size_t i = 0; i < sizeof counted / sizeof *counted; ++i) {
    if (counted[i].count && (counted[i].reason != run->exit_reason || counted[i].where != where)) continue;
    counted[i].reason = run->exit_reason;
    counted[i].where = where;
    ++counted[i].count;
    break;
  }
  if (!options.exits) return;
  struct kvm_regs registers;
  ioctl(machine.processor, KVM_GET_REGS, &registers);
  fprintf(stderr, "exit %" PRIu64 ": %s", exit_count, exit_name(run->exit_reason));
  if (run->exit_reason == KVM_EXIT_IO) {
    uint32_t value = 0;
    bool out = run->io.direction == KVM_EXIT_IO_OUT;
    if (out) memcpy(&value, (const uint8_t*)run + run->io.data_offset, run->io.size);
    fprintf(stderr, out ? " %s %x, %d bytes, value %x" : " %s %x, %d bytes", out ? "OUT" : "IN", run->io.port, run->io.size,
            value);
    if (run->io.count > 1) fprintf(stderr, ", %u times", run->io.count);
  } else if (run->exit_reason == KVM_EXIT_MMIO) {
    fprintf(stderr, " %s %" PRIx64 ", %u bytes", run->mmio.is_write ? "write" : "read", (uint64_t)run->mmio.phys_addr,
            run->mmio.len);
  }
  fprintf(stderr, ", rip %" PRIx64 "\r\n", (uint64_t)registers.rip);
}

static int by_count(const void* a, const void* b) {
  uint64_t first = *(const uint64_t*)((const char*)a + 16), second = *(const uint64_t*)((const char*)b + 16);
  return first < second ? 1 : first > second ? -1 : 0;
}

// What KVM itself has counted of this processor, most of which never reaches us: a file of a header, descriptions and numbers.
static void print_kernel_counts(void) {
  struct kvm_stats_header header;
  int file = ioctl(machine.processor, KVM_GET_STATS_FD, NULL);
  if (file < 0 || pread(file, &header, sizeof header, 0) != sizeof header) return;  // older than Linux 5.14
  fputs("vmm: what KVM counted:", stderr);
  size_t size = sizeof(struct kvm_stats_desc) + header.name_size;
  struct kvm_stats_desc* description = calloc(1, size + 1);
  for (uint32_t i = 0; description && i < header.num_desc; ++i) {
    uint64_t value = 0;
    if (pread(file, description, size, header.desc_offset + i * size) != (ssize_t)size) break;
    if (description->size != 1 || (description->flags & KVM_STATS_UNIT_MASK) != KVM_STATS_UNIT_NONE) continue;
    if (pread(file, &value, sizeof value, header.data_offset + description->offset) != sizeof value) break;
    if (value) fprintf(stderr, " %s %" PRIu64, description->name, value);
  }
  fputs("\n", stderr);
}

static void print_counts(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  double seconds = now.tv_sec - began.tv_sec + (now.tv_nsec - began.tv_nsec) / 1e9;
  fprintf(stderr, "vmm: %" PRIu64 " exits reached us in %.3f s\n", exit_count, seconds);
  size_t entries = sizeof counted / sizeof *counted;
  qsort(counted, entries, sizeof *counted, by_count);
  enum { ROWS = 12 };
  for (size_t i = 0; i < ROWS && counted[i].count; ++i) {
    const char* way = counted[i].where >> 63 ? "to" : "from";
    fprintf(stderr, "%8" PRIu64 "  %s", counted[i].count, exit_name(counted[i].reason));
    if (counted[i].reason == KVM_EXIT_IO || counted[i].reason == KVM_EXIT_MMIO)
      fprintf(stderr, " %s %" PRIx64, way, counted[i].where << 1 >> 1);
    fputs("\n", stderr);
  }
  print_kernel_counts();
}

void finish(int status) {
  terminal_restore();
  fflush(stdout);
  if (options.registers) print_registers();
  if (options.count) print_counts();
  _exit(status);
}

// --- The processor's state

struct kvm_sregs get_system_registers(void) {
  struct kvm_sregs registers;
  if (ioctl(machine.processor, KVM_GET_SREGS, &registers) < 0)
    fail("KVM does not hand out the system registers: %s.", strerror(errno));
  return registers;
}

void set_system_registers(const struct kvm_sregs* registers) {
  if (ioctl(machine.processor, KVM_SET_SREGS, registers) < 0)
    fail("KVM does not take the system registers: %s.", strerror(errno));
}

void set_registers(const struct kvm_regs* registers) {
  if (ioctl(machine.processor, KVM_SET_REGS, registers) < 0) fail("KVM does not take the registers: %s.", strerror(errno));
}

void print_registers(void) {
  struct kvm_regs r;
  struct kvm_sregs s = get_system_registers();
  if (ioctl(machine.processor, KVM_GET_REGS, &r) < 0) return;
  const struct {
    const char* name;
    uint64_t value;
  } rows[] = {
      {"rax", r.rax}, {"rbx", r.rbx}, {"rcx", r.rcx}, {"rdx", r.rdx}, {"rsi", r.rsi},  {"rdi", r.rdi},
      {"rbp", r.rbp}, {"rsp", r.rsp}, {"r8 ", r.r8},  {"r9 ", r.r9},  {"r10", r.r10},  {"r11", r.r11},
      {"r12", r.r12}, {"r13", r.r13}, {"r14", r.r14}, {"r15", r.r15}, {"rip", r.rip},  {"flg", r.rflags},
      {"cr0", s.cr0}, {"cr2", s.cr2}, {"cr3", s.cr3}, {"cr4", s.cr4}, {"efe", s.efer},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i) {
    fprintf(stderr, "%s %016" PRIx64 "%s", rows[i].name, rows[i].value, i % 4 == 3 ? "\n" : "  ");
  }
  const struct {
    const char* name;
    const struct kvm_segment* segment;
  } segments[] = {
      {"cs", &s.cs}, {"ss", &s.ss}, {"ds", &s.ds}, {"es", &s.es}, {"fs", &s.fs}, {"gs", &s.gs}, {"tr", &s.tr}, {"ldt", &s.ldt},
  };
  fputs("\n", stderr);
  for (size_t i = 0; i < sizeof segments / sizeof *segments; ++i) {
    const struct kvm_segment* segment = segments[i].segment;
    fprintf(stderr, "%-3s %04x base %016" PRIx64 " limit %08x type %x%s", segments[i].name, segment->selector,
            (uint64_t)segment->base, segment->limit, segment->type, i % 2 ? "\n" : "   ");
  }
}

// Long mode needs page tables from its first instruction: 4 GiB by leaves of 2 MiB, which every processor has.
void identity_pages(void) {
  uint64_t* tables = guest_memory(PAGE_TABLES_AT, 6 * 4096);
  const uint64_t present = 1, writable = 2, leaf = 0x80;
  tables[0] = (PAGE_TABLES_AT + 4096) | present | writable;
  for (int i = 0; i < 4; ++i) tables[512 + i] = (PAGE_TABLES_AT + (2 + i) * 4096) | present | writable;
  for (uint64_t i = 0; i < 4 * 512; ++i) tables[1024 + i] = i << 21 | present | writable | leaf;
}

// --- Making it

// Every failure to open /dev/kvm has a cause that can be named.
static int open_kvm(void) {
  int file = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (file >= 0) return file;
  if (errno == EACCES || errno == EPERM) fail("/dev/kvm may not be opened by this user; become root.");
  if (errno != ENOENT && errno != ENODEV && errno != ENXIO) fail("cannot open /dev/kvm: %s.", strerror(errno));
  char line[8192];
  bool vmx = false, svm = false;
  FILE* processor = fopen("/proc/cpuinfo", "r");
  while (processor && fgets(line, sizeof line, processor)) {
    if (strncmp(line, "flags", 5) != 0) continue;
    vmx |= strstr(line, " vmx ") != NULL;
    svm |= strstr(line, " svm ") != NULL;
  }
  if (vmx || svm) {
    fail("there is no /dev/kvm, although this processor has %s: KVM's module is not loaded. Try: modprobe %s; dmesg | tail",
         vmx ? "VT-x" : "SVM", vmx ? "kvm_intel" : "kvm_amd");
  }
  fail(
      "this processor shows neither VT-x nor SVM, so it cannot host guests. Start the machine around with a processor model that "
      "has "
      "one (on the outermost layer: -cpu), or if this is a guest, load KVM there with nested=1.");
}

static int vm_ioctl(unsigned long request, void* argument, const char* what) {
  int result = ioctl(machine.vm, request, argument);
  if (result < 0) fail("KVM does not %s: %s.", what, strerror(errno));
  return result;
}

// In pages of 2 MiB a guest's boot causes some dozen EPT violations instead of thousands. The system keeps a pool of such pages,
// empty at first: we widen it, as far as memory goes, and it shrinks when we end. Without it, small pages do.
static int pool_before = -1;
static int pool(int pages) {
  int value = -1;
  FILE* file = fopen("/proc/sys/vm/nr_hugepages", pages < 0 ? "r" : "w");
  if (!file) return -1;
  if (pages < 0 ? fscanf(file, "%d", &value) != 1 : fprintf(file, "%d\n", pages) < 0) value = -1;
  if (fclose(file) != 0) value = -1;
  return value;
}
static void* huge_memory(uint64_t size) {
  if (size & ((2 << 20) - 1)) return MAP_FAILED;
  pool_before = pool(-1);
  if (pool_before < 0) return MAP_FAILED;
  pool(pool_before + (int)(size >> 21));
  void* memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
  // The pages are ours now; the pool may go back to its old size at once, and takes them from us when we end.
  pool(pool_before);
  return memory;
}

static void create_memory(uint64_t size) {
  machine.memory_size = size;
  machine.memory = options.huge ? huge_memory(size) : MAP_FAILED;
  if (machine.memory == MAP_FAILED) {
    machine.memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  }
  if (machine.memory == MAP_FAILED)
    fail("there are no %" PRIu64 " MB for the guest: %s. Ask for less with --memory.", size >> 20, strerror(errno));
  struct kvm_userspace_memory_region region = {.memory_size = size, .userspace_addr = (uintptr_t)machine.memory};
  vm_ioctl(KVM_SET_USER_MEMORY_REGION, &region, "take the guest's memory");
}

// The guest's CPUID is what KVM can do here, so that a guest can be a host again.
static void set_cpuid(void) {
  enum { MOST = 256, TSC_DEADLINE = 1 << 24, HYPERVISOR = 1u << 31 };
  struct kvm_cpuid2* cpuid = calloc(1, sizeof *cpuid + MOST * sizeof *cpuid->entries);
  cpuid->nent = MOST;
  if (ioctl(machine.kvm, KVM_GET_SUPPORTED_CPUID, cpuid) < 0)
    fail("KVM does not say which CPUID it supports: %s.", strerror(errno));
  for (uint32_t i = 0; i < cpuid->nent; ++i) {
    struct kvm_cpuid_entry2* entry = &cpuid->entries[i];
    if (entry->function == 1) {
      entry->ebx &= 0x00ffffff;  // local APIC 0
      entry->ecx |= HYPERVISOR;
      // A deadline in ticks of the TSC spares the guest the wait by which it would measure its timer.
      if (machine.wiring && ioctl(machine.kvm, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0) entry->ecx |= TSC_DEADLINE;
    } else if (entry->function == 0xb || entry->function == 0x1f) {
      entry->edx = 0;
    }
  }
  if (ioctl(machine.processor, KVM_SET_CPUID2, cpuid) < 0) fail("KVM does not take its own CPUID: %s.", strerror(errno));
  free(cpuid);
}

// What firmware would have set.
static void set_msrs(void) {
  enum { MISC_ENABLE = 0x1a0, FAST_STRINGS = 1, MTRR_DEFAULT = 0x2ff, MTRR_ON_WRITE_BACK = 0xc06 };
  const struct kvm_msr_entry rows[] = {{.index = MISC_ENABLE, .data = FAST_STRINGS},
                                       {.index = MTRR_DEFAULT, .data = MTRR_ON_WRITE_BACK}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i) {
    struct {
      struct kvm_msrs head;
      struct kvm_msr_entry entry;
    } one = {{.nmsrs = 1}, rows[i]};
    ioctl(machine.processor, KVM_SET_MSRS, &one);  // a processor without this register needs no setting
  }
}

// A processor that runs, or sleeps, tells nobody its registers: it must come out of KVM_RUN first.
static pthread_t processor_thread;
static volatile sig_atomic_t ending;
static void wake(int signal_number) { (void)signal_number; }

void machine_end(void) {
  ending = 1;
  machine.run->immediate_exit = 1;
  pthread_kill(processor_thread, SIGUSR1);
}

void machine_create(uint64_t memory_size, bool wiring) {
  machine.wiring = wiring;
  processor_thread = pthread_self();
  sigaction(SIGUSR1, &(struct sigaction){.sa_handler = wake}, NULL);
  machine.kvm = open_kvm();
  int version = ioctl(machine.kvm, KVM_GET_API_VERSION, 0);
  if (version != KVM_API_VERSION)
    fail("this KVM speaks version %d of its interface, and only %d is known here.", version, KVM_API_VERSION);
  machine.vm = ioctl(machine.kvm, KVM_CREATE_VM, 0);
  if (machine.vm < 0) fail("KVM does not create a machine: %s.", strerror(errno));
  // Three pages and one for VT-x without unrestricted guest, where KVM runs real mode with the help of a task state segment.
  uint64_t identity_map = 0xfffbc000;
  vm_ioctl(KVM_SET_IDENTITY_MAP_ADDR, &identity_map, "place its page table");
  vm_ioctl(KVM_SET_TSS_ADDR, (void*)0xfffbd000, "place its task state segment");
  create_memory(memory_size);
  if (wiring) {
    vm_ioctl(KVM_CREATE_IRQCHIP, NULL, "create interrupt controllers");
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
    vm_ioctl(KVM_CREATE_PIT2, &pit, "create a timer");
  }
  machine.processor = vm_ioctl(KVM_CREATE_VCPU, NULL, "create a processor");
  int size = ioctl(machine.kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  machine.run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, machine.processor, 0);
  if (machine.run == MAP_FAILED) fail("cannot map what KVM shares about the processor: %s.", strerror(errno));
  set_cpuid();
  set_msrs();
}

// --- Running it

void* guest_memory(uint64_t address, uint64_t length) {
  if (address > machine.memory_size || length > machine.memory_size - address) return NULL;
  return machine.memory + address;
}

void interrupt_line(int line, bool level) {
  struct kvm_irq_level request = {.irq = line, .level = level};
  if (machine.wiring) ioctl(machine.vm, KVM_IRQ_LINE, &request);
}

static void device_memory_access(struct kvm_run* run) {
  if (virtio_access(run->mmio.phys_addr, run->mmio.is_write, run->mmio.len, run->mmio.data)) return;
  if (!run->mmio.is_write) memset(run->mmio.data, 0xff, sizeof run->mmio.data);  // nobody answers
}

void machine_run(void) {
  struct kvm_run* run = machine.run;
  clock_gettime(CLOCK_MONOTONIC, &began);
  for (;;) {
    int result = ioctl(machine.processor, KVM_RUN, 0);
    if (ending) {
      lock_devices();
      finish(0);
    }
    if (result < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (result < 0) fail("KVM cannot run the processor: %s.", strerror(errno));
    note_exit();
    switch (run->exit_reason) {
      case KVM_EXIT_IO: {
        uint8_t* data = (uint8_t*)run + run->io.data_offset;
        lock_devices();
        for (uint32_t i = 0; i < run->io.count; ++i, data += run->io.size) {
          port_access(run->io.port, run->io.direction == KVM_EXIT_IO_OUT, run->io.size, data);
        }
        unlock_devices();
        break;
      }
      case KVM_EXIT_MMIO:
        lock_devices();
        device_memory_access(run);
        unlock_devices();
        break;
      case KVM_EXIT_HLT: finish(0);  // only of a flat program: KVM's own interrupt controllers wait by themselves
      case KVM_EXIT_INTR: break;
      case KVM_EXIT_SHUTDOWN:
        terminal_restore();
        if (!options.registers) print_registers();
        warn("the guest is over: an exception, a second one while that was being delivered, and a third (a triple fault).");
        finish(1);
      case KVM_EXIT_FAIL_ENTRY:
        terminal_restore();
        warn("the processor refused to enter the guest: reason %" PRIx64
             ". On VT-x the low 16 bits are the exit reason (33 means that a "
             "check of the guest's state failed), on SVM all ones mean the same.",
             (uint64_t)run->fail_entry.hardware_entry_failure_reason);
        options.registers = true;
        finish(1);
      case KVM_EXIT_INTERNAL_ERROR:
        terminal_restore();
        warn("KVM gave up, suberror %u%s.", run->internal.suberror,
             run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION ? ": it had to emulate an instruction that it does not know"
                                                                    : "");
        options.registers = true;
        finish(1);
      default: fail("KVM came back with reason %u, which is not known here.", run->exit_reason);
    }
  }
}
