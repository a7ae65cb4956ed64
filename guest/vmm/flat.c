// Flat programs: the bytes of a file, such as nasm makes of a few lines, run in the mode of one's choice with nothing around
// them.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vmm.h"

void flat_load(void) {
  size_t size;
  void* program = read_file(options.flat, &size);
  uint64_t at = options.flat_bits == 16 ? REAL_MODE_AT : PROGRAM_AT;
  uint64_t end = options.flat_bits == 16 ? 0xa0000 : machine.memory_size;
  if (size == 0) fail("%s is empty.", options.flat);
  if (size > end - at) {
    fail("%s has %zu bytes, and from %" PRIx64 "h there is room for %" PRIu64 ".%s", options.flat, size, at, end - at,
         options.flat_bits == 16 ? "" : " Give it more memory with --memory.");
  }
  memcpy(guest_memory(at, size), program, size);
  free(program);

  struct kvm_sregs s = get_system_registers();
  struct kvm_regs registers = {.rip = at, .rflags = 2, .rsp = at};
  if (options.flat_bits == 16) {
    // As firmware leaves the processor when it enters a boot sector: every base is 0.
    s.cs.base = s.ds.base = s.es.base = s.ss.base = 0;
    s.cs.selector = s.ds.selector = s.es.selector = s.ss.selector = 0;
  } else {
    struct kvm_segment flat = {.limit = 0xffffffff, .selector = 0x10, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1};
    uint64_t* table = guest_memory(GDT_AT, 24);
    table[1] = options.flat_bits == 64 ? UINT64_C(0x00af9b000000ffff) : UINT64_C(0x00cf9b000000ffff);
    table[2] = UINT64_C(0x00cf93000000ffff);
    s.ds = s.es = s.fs = s.gs = s.ss = flat;
    s.cs = flat;
    s.cs.selector = 8, s.cs.type = 11;
    s.gdt.base = GDT_AT, s.gdt.limit = 23;
    s.cr0 = 0x11;  // ET, PE
    if (options.flat_bits == 64) {
      identity_pages();
      s.cs.l = 1, s.cs.db = 0;
      s.cr3 = PAGE_TABLES_AT;
      s.cr4 = 0x20;        // PAE
      s.efer = 0x500;      // LME, LMA
      s.cr0 = 0x80000011;  // and PG
    }
  }
  set_system_registers(&s);
  set_registers(&registers);
}
