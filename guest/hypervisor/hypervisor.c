// The "hello world" of VT-x: a hypervisor with one guest, which prints each VM exit. Read it from the end, where hypervisor()
// goes through the steps of Intel's manual, "Introduction to Virtual Machine Extensions": VMXON, VMCLEAR, VMPTRLD, VMWRITE of
// every field, VMLAUNCH, then VMRESUME after each exit. The guest is in start.asm.
#include <stdbool.h>
#include <stdint.h>

extern uint8_t guest_start[], vm_exit[];
bool enter_guest(uint64_t registers[16], bool launched);

// --- Ports, special registers and the instructions of VMX, which C has no words for

static void out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
static uint8_t in8(uint16_t port) {
  uint8_t value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static uint64_t read_msr(uint32_t number) {
  uint32_t low, high;
  __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
  return (uint64_t)high << 32 | low;
}
static void write_msr(uint32_t number, uint64_t value) {
  __asm__ volatile("wrmsr" ::"c"(number), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}
static uint64_t descriptor_table(void) {
  struct __attribute__((packed)) { uint16_t limit; uint64_t base; } pointer;
  __asm__ volatile("sgdt %0" : "=m"(pointer));
  return pointer.base;
}
#define READ_REGISTER(name) ({ uint64_t value; __asm__ volatile("mov %%" name ", %0" : "=r"(value)); value; })
#define WRITE_REGISTER(name, value) __asm__ volatile("mov %0, %%" name ::"r"((uint64_t)(value)))

// Every VMX instruction reports in the flags: CF for a failure without, ZF for one with a current VMCS, whose field
// "VM-instruction error" then holds a number. Both clear is success.
#define VMX(instruction, operand) ({ \
  bool failed; \
  __asm__ volatile(instruction " %1" : "=@ccbe"(failed) : "m"(operand) : "memory"); \
  !failed; \
})
static bool vm_write(uint64_t field, uint64_t value) {
  bool failed;
  __asm__ volatile("vmwrite %1, %2" : "=@ccbe"(failed) : "r"(value), "r"(field));
  return !failed;
}
static uint64_t vm_read(uint64_t field) {
  uint64_t value = 0;
  __asm__ volatile("vmread %1, %0" : "+r"(value) : "r"(field) : "cc");
  return value;
}

// --- Printing on COM1, and the end

static void put(char character) {
  while (!(in8(0x3fd) & 0x20)) {
  }
  out8(0x3f8, character);
}
static void print(const char* text) {
  for (; *text; ++text) {
    if (*text == '\n') put('\r');
    put(*text);
  }
}
static void hex(uint64_t value, int digits) {
  while (digits--) put("0123456789abcdef"[value >> 4 * digits & 15]);
}
static void decimal(uint64_t value) {
  if (value >= 10) decimal(value / 10);
  put('0' + value % 10);
}
static _Noreturn void end(uint8_t status) {
  while (!(in8(0x3fd) & 0x40)) {  // all of it has left
  }
  out8(0xf4, status);  // isa-debug-exit
  for (const char* text = "Shutdown"; *text; ++text) out8(0x8900, *text);  // the same for Bochs
  for (;;) __asm__ volatile("cli; hlt");
}
static _Noreturn void fail(const char* sentence) {
  print(sentence);
  print("\n");
  end(1);
}

// --- The pages that the processor asks for. Each must be of 4 KiB and aligned; the first doubleword of the first two is the
// "VMCS revision identifier", the rest is the processor's own.
#define PAGE __attribute__((aligned(4096)))
static uint8_t vmxon_region[4096] PAGE, vmcs[4096] PAGE;
static uint64_t ept[3][512] PAGE;           // from guest-physical to physical addresses: root, 512 GiB, 1 GiB
static uint64_t guest_tables[4][512] PAGE;  // from the guest's linear to guest-physical: root, 512 GiB, the first and second GiB
static uint8_t guest_stack[4096] PAGE;
static uint8_t hello[2 << 20] __attribute__((aligned(2 << 20)));  // what the guest will read through both

enum { PRESENT = 1, WRITABLE = 2, LEAF = 0x80 };
enum { EPT_READ = 1, EPT_WRITE = 2, EPT_EXECUTE = 4, EPT_ALL = 7, EPT_WRITE_BACK = 6 << 3, EPT_LEAF = 0x80 };
enum { GUEST_LINEAR = 0x40000000, GUEST_PHYSICAL = 0x20000000 };  // of that page; both are nowhere yet

static uint64_t address(const void* place) { return (uint64_t)place; }  // physical, since our tables translate nothing

static void build_tables(void) {
  guest_tables[0][0] = address(guest_tables[1]) | PRESENT | WRITABLE;
  guest_tables[1][0] = address(guest_tables[2]) | PRESENT | WRITABLE;
  guest_tables[1][1] = address(guest_tables[3]) | PRESENT | WRITABLE;  // empty: the second GiB begins with a page fault
  ept[0][0] = address(ept[1]) | EPT_ALL;
  ept[1][0] = address(ept[2]) | EPT_ALL;
  for (uint64_t i = 0; i < 4; ++i) {  // 8 MiB that are the same everywhere: the guest lives in our image
    guest_tables[2][i] = i << 21 | PRESENT | WRITABLE | LEAF;
    ept[2][i] = i << 21 | EPT_ALL | EPT_WRITE_BACK | EPT_LEAF;
  }
  const char* text = "Hello L2";
  for (int i = 0; text[i]; ++i) hello[i] = text[i];
}

// --- The VMCS: "VM-execution control fields" and the rest, by their encodings (Appendix "Field Encoding in VMCS")

enum {
  PIN_CONTROLS = 0x4000, PRIMARY_CONTROLS = 0x4002, EXCEPTION_BITMAP = 0x4004, EXIT_CONTROLS = 0x400c, ENTRY_CONTROLS = 0x4012,
  SECONDARY_CONTROLS = 0x401e, EPT_POINTER = 0x201a, LINK_POINTER = 0x2800, CR0_MASK = 0x6000, CR0_SHADOW = 0x6004,
  INSTRUCTION_ERROR = 0x4400, EXIT_REASON = 0x4402, INTERRUPTION = 0x4404, INTERRUPTION_ERROR = 0x4406,
  INSTRUCTION_LENGTH = 0x440c,
  GUEST_PHYSICAL_ADDRESS = 0x2400, QUALIFICATION = 0x6400, GUEST_RSP = 0x681c, GUEST_RIP = 0x681e,
  HOST_CR0 = 0x6c00, HOST_CR3 = 0x6c02, HOST_CR4 = 0x6c04, HOST_ES = 0x0c00, HOST_CS = 0x0c02,
  HOST_SS = 0x0c04, HOST_DS = 0x0c06, HOST_TR = 0x0c0c, HOST_GDTR = 0x6c0c, HOST_RIP = 0x6c16,
  GUEST_CR0 = 0x6800, GUEST_CR3 = 0x6802, GUEST_CR4 = 0x6804, GUEST_RFLAGS = 0x6820, GUEST_DR7 = 0x681a,
  GUEST_ES = 0x0800, GUEST_CS = 0x0802, GUEST_SS = 0x0804, GUEST_DS = 0x0806, GUEST_TR = 0x080e,
  ES_LIMIT = 0x4800, CS_LIMIT = 0x4802, SS_LIMIT = 0x4804, DS_LIMIT = 0x4806, TR_LIMIT = 0x480e,
  ES_RIGHTS = 0x4814, CS_RIGHTS = 0x4816, SS_RIGHTS = 0x4818, DS_RIGHTS = 0x481a, FS_RIGHTS = 0x481c,
  GS_RIGHTS = 0x481e, LDTR_RIGHTS = 0x4820, TR_RIGHTS = 0x4822,
};
enum { CR0_NE = 0x20 };

// What must be 1 and what may be 1, from a capability MSR: the low and the high half.
static uint64_t allowed(uint32_t msr, uint32_t wanted) {
  uint64_t capability = read_msr(msr);
  if (wanted & ~(capability >> 32)) fail("This processor lacks a control that the hypervisor needs.");
  return wanted | (uint32_t)capability;
}

static void fill_vmcs(void) {
  enum { BASIC = 0x480, HAS_TRUE_CONTROLS = 55 };
  // The "true" MSRs let controls be 0 that were 1 on the first processors with VT-x.
  bool exact = read_msr(BASIC) >> HAS_TRUE_CONTROLS & 1;
  uint32_t pin = exact ? 0x48d : 0x481, primary = exact ? 0x48e : 0x482;
  uint32_t leave = exact ? 0x48f : 0x483, enter = exact ? 0x490 : 0x484;
  enum { HLT_EXITING = 1 << 7, CR3_LOAD = 1 << 15, CR3_STORE = 1 << 16, IO_EXITING = 1 << 24, USE_SECONDARY = 1u << 31 };
  enum { ENABLE_EPT = 1 << 1, HOST_IS_64_BIT = 1 << 9, GUEST_IS_64_BIT = 1 << 9, PAGE_FAULT = 1 << 14 };
  struct { uint32_t field; uint64_t value; } const rows[] = {
      // What makes the guest exit
      {PIN_CONTROLS, allowed(pin, 0)},
      {PRIMARY_CONTROLS, allowed(primary, HLT_EXITING | CR3_LOAD | CR3_STORE | IO_EXITING | USE_SECONDARY)},
      {SECONDARY_CONTROLS, allowed(0x48b, ENABLE_EPT)},
      {EXCEPTION_BITMAP, PAGE_FAULT},
      {CR0_MASK, CR0_NE}, {CR0_SHADOW, CR0_NE},
      {EPT_POINTER, address(ept[0]) | 3 << 3 | 6},  // four levels, read through the cache
      {EXIT_CONTROLS, allowed(leave, HOST_IS_64_BIT)},
      {ENTRY_CONTROLS, allowed(enter, GUEST_IS_64_BIT)},
      {LINK_POINTER, ~UINT64_C(0)},  // there is no second VMCS behind this one
      // Where we are after an exit
      {HOST_CR0, READ_REGISTER("cr0")}, {HOST_CR3, READ_REGISTER("cr3")}, {HOST_CR4, READ_REGISTER("cr4")},
      {HOST_CS, 0x08}, {HOST_SS, 0x10}, {HOST_DS, 0x10}, {HOST_ES, 0x10}, {HOST_TR, 0x18},
      {HOST_GDTR, descriptor_table()},  // GDTR, from which nothing is reloaded, but a later interrupt would read it
      {HOST_RIP, address(vm_exit)},
      // Where the guest begins
      {GUEST_CR0, READ_REGISTER("cr0")}, {GUEST_CR3, address(guest_tables[0])}, {GUEST_CR4, READ_REGISTER("cr4")},
      {GUEST_RIP, address(guest_start)}, {GUEST_RSP, address(guest_stack + sizeof guest_stack)}, {GUEST_RFLAGS, 2},
      {GUEST_DR7, 0x400},
      // Its segments: selector, limit, access rights (bit 16: there is none); the bases stay 0
      {GUEST_CS, 0x08}, {CS_LIMIT, 0xffffffff}, {CS_RIGHTS, 0xa09b},  // of 64 bits
      {GUEST_SS, 0x10}, {SS_LIMIT, 0xffffffff}, {SS_RIGHTS, 0xc093},
      {GUEST_ES, 0x10}, {ES_LIMIT, 0xffffffff}, {ES_RIGHTS, 0xc093},
      {GUEST_DS, 0x10}, {DS_LIMIT, 0xffffffff}, {DS_RIGHTS, 0xc093},
      {FS_RIGHTS, 0x10000}, {GS_RIGHTS, 0x10000}, {LDTR_RIGHTS, 0x10000},
      {GUEST_TR, 0x18}, {TR_LIMIT, 0x67}, {TR_RIGHTS, 0x8b},  // there must be one, and busy
  };
  // VMCLEAR does not say what the fields hold, so first comes 0 for all; what is no field, or read-only, refuses that.
  for (uint64_t field = 0; field < 0x7000; field += 2) vm_write(field, 0);
  for (unsigned i = 0; i < sizeof rows / sizeof *rows; ++i) {
    if (vm_write(rows[i].field, rows[i].value)) continue;
    print("VMWRITE of field ");
    hex(rows[i].field, 4);
    fail(" failed.");
  }
}

// --- Exits

static const struct { uint16_t reason; const char* name; } reasons[] = {
    {0, "exception"}, {2, "triple fault"}, {10, "CPUID"}, {12, "HLT"}, {18, "VMCALL"}, {28, "access to a control register"},
    {30, "I/O instruction"}, {48, "EPT violation"}, {49, "EPT misconfiguration"},
};

static void field(const char* name, uint64_t value, int digits) {
  print(name);
  hex(value, digits);
}

// Says what happened and does what is needed for the guest to go on; false when it is done.
static bool serve(uint64_t registers[16], uint32_t reason, uint64_t qualification) {
  enum { RAX = 0, RCX = 1, RDX = 2, RBX = 3, RDI = 7 };
  bool skip = true;  // the instruction is done, or needs no doing: the guest goes on behind it
  switch (reason & 0xffff) {
    case 0:
      field(": vector ", vm_read(INTERRUPTION) & 0xff, 2);
      field(", error code ", vm_read(INTERRUPTION_ERROR), 4);
      field(" at linear ", qualification, 8);
      // A hypervisor without EPT would keep the tables itself; ours repairs the guest's, as its kernel would.
      guest_tables[3][0] = GUEST_PHYSICAL | PRESENT | WRITABLE | LEAF;
      print("; mapped in the guest's tables");
      skip = false;
      break;
    case 10:
      for (int i = 0; i < 12; ++i) ((uint8_t*)&registers[i < 4 ? RBX : i < 8 ? RDX : RCX])[i % 4] = "Hello guest!"[i];
      registers[RAX] = 0;
      print(": the guest is told another vendor than there is");
      break;
    case 12: print(": nothing will wake it, so it goes on"); break;
    case 18:
      print(": the guest says ");
      decimal(registers[RDI]);
      print(", and in RAX has \"");
      for (int i = 0; i < 8; ++i) put(registers[RAX] >> 8 * i & 0xff);
      print("\"");
      return false;
    case 28: {
      int number = qualification & 15, type = qualification >> 4 & 3, which = qualification >> 8 & 15;
      print(type ? ": MOV from CR" : ": MOV to CR");
      decimal(number);
      field(type ? ", to register " : ", from register ", which, 1);
      if (number == 3 && type == 1) registers[which] = vm_read(GUEST_CR3);
      if (number == 3 && type == 0) vm_write(GUEST_CR3, registers[which]);
      if (number == 0 && type == 0) vm_write(CR0_SHADOW, registers[which]);  // it sees what it wrote; NE stays 1 underneath
      break;
    }
    case 30:
      print(qualification & 8 ? ": IN" : ": OUT");
      field(" port ", qualification >> 16 & 0xffff, 4);
      if (qualification & 8) {
        registers[RAX] = 0x5a;
        print(" is given 5a");
      } else {
        field(" of ", registers[RAX] & 0xff, 2);
      }
      break;
    case 48:
      print(qualification & 1 ? ": read" : qualification & 2 ? ": write" : ": fetch");
      field(" of guest-physical ", vm_read(GUEST_PHYSICAL_ADDRESS), 8);
      ept[2][GUEST_PHYSICAL >> 21] = address(hello) | EPT_READ | EPT_WRITE_BACK | EPT_LEAF;
      field("; mapped to physical ", address(hello), 8);
      skip = false;
      break;
    default: return false;
  }
  if (skip) vm_write(GUEST_RIP, vm_read(GUEST_RIP) + vm_read(INSTRUCTION_LENGTH));
  return true;
}

static void run(void) {
  uint64_t registers[16] = {0};  // in the order of their numbers: RAX, RCX, RDX, RBX, (RSP), RBP, RSI, RDI, R8 to R15
  for (int number = 1;; ++number) {
    if (!enter_guest(registers, number > 1)) {
      print("The entry failed with VM-instruction error ");
      decimal(vm_read(INSTRUCTION_ERROR));
      fail(".");
    }
    uint32_t reason = vm_read(EXIT_REASON);
    uint64_t qualification = vm_read(QUALIFICATION);
    print("exit ");
    decimal(number);
    field(" at ", vm_read(GUEST_RIP), 8);
    print(": reason ");
    decimal(reason & 0xffff);
    const char* name = "which the guest should not have caused";
    for (unsigned i = 0; i < sizeof reasons / sizeof *reasons; ++i) {
      if (reasons[i].reason == (reason & 0xffff)) name = reasons[i].name;
    }
    print(reason >> 31 ? ", the entry failed: " : ", ");
    print(name);
    field(", qualification ", qualification, 8);
    bool more = !(reason >> 31) && serve(registers, reason, qualification);
    print("\n");
    if (!more) return;
  }
}

// --- The steps

static void switch_vmx_on(void) {
  enum { FEATURE_CONTROL = 0x3a, LOCKED = 1, VMXON_ALLOWED = 4, CR4_VMXE = 1 << 13 };
  uint32_t a = 1, b, c, d;
  __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
  if (!(c >> 5 & 1)) fail("This processor has no VT-x: CPUID.1:ECX bit 5 is 0.");
  // The firmware should have decided and locked it; where it has not, we decide.
  uint64_t control = read_msr(FEATURE_CONTROL);
  if (!(control & LOCKED)) write_msr(FEATURE_CONTROL, control = control | LOCKED | VMXON_ALLOWED);
  if (!(control & VMXON_ALLOWED)) fail("The firmware has locked VT-x away: IA32_FEATURE_CONTROL has bit 0 without bit 2.");

  // In VMX operation some bits of CR0 and CR4 are fixed: one pair of MSRs has those that must be 1, the other those that may be.
  WRITE_REGISTER("cr0", (READ_REGISTER("cr0") | read_msr(0x486)) & read_msr(0x487));
  WRITE_REGISTER("cr4", (READ_REGISTER("cr4") | read_msr(0x488) | CR4_VMXE) & read_msr(0x489));

  uint32_t revision = read_msr(0x480) & 0x7fffffff;
  *(uint32_t*)vmxon_region = *(uint32_t*)vmcs = revision;
  uint64_t place = address(vmxon_region);
  if (!VMX("vmxon", place)) fail("VMXON failed.");
  field("VMX operation, VMCS revision ", revision, 8);
  print("\n");
}

_Noreturn void hypervisor(void) {
  out8(0x3fb, 3);  // COM1: eight bits
  switch_vmx_on();
  build_tables();
  uint64_t place = address(vmcs);
  if (!VMX("vmclear", place)) fail("VMCLEAR failed.");
  if (!VMX("vmptrld", place)) fail("VMPTRLD failed.");
  fill_vmcs();
  run();
  __asm__ volatile("vmxoff");
  print("VMX operation is over.\n");
  end(0);
}
