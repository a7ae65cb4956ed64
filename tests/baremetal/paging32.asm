; Paging with 32-bit entries, of 4 KiB and 4 MiB: "32-Bit Paging", "Determination of Access Rights", "Page-Fault Exceptions",
; "Accessed and Dirty Flags", "Invalidation of TLBs".
%include "test.inc"
%include "access.inc"

directory  equ free_memory
low_table  equ free_memory + 0x1000     ; 0, supervisor
user_table equ free_memory + 0x2000     ; ALIAS, user
test_table equ free_memory + 0x3000     ; 400000h, what is tried
page       equ 0x400000
lost_page  equ 0x51000                  ; identical, and sometimes absent
big        equ 0x800000                 ; a 4 MiB page

TABLE
; Of the 16 combinations of R/W and U/S in the directory (bits 3:2 of the bit's number) and in the table (1:0), in the order
; neither, R/W, U/S, both: which permit the access; the error code of the others; which set A and D wrongly
  TEST user_read, 0xcc00, REFUSED_PAGE(5), 0
  TEST user_write, 0x8000, REFUSED_PAGE(7), 0
  TEST user_fetch, 0xcc00, REFUSED_PAGE(5), 0
  TEST supervisor_read, 0xffff, 0, 0
  TEST supervisor_write, 0xffff, 0, 0
  TEST supervisor_fetch, 0xffff, 0, 0
  TEST supervisor_read_wp, 0xffff, 0, 0
  TEST supervisor_write_wp, 0xa0a0, REFUSED_PAGE(3), 0
  TEST user_write_wp, 0x8000, REFUSED_PAGE(7), 0
; the error code where nothing is there
  TEST absent_read, REFUSED_PAGE(0)
  TEST absent_write, REFUSED_PAGE(2)
  TEST absent_fetch, REFUSED_PAGE(0)
  TEST absent_user_read, REFUSED_PAGE(4)
  TEST absent_user_write, REFUSED_PAGE(6)
  TEST absent_directory, REFUSED_PAGE(0), 0
  TEST cr2, page + 0x123
  TEST cr2_of_second_page, page + 0x1000
  TEST split_write_is_whole, REFUSED_PAGE(2), 0x909040cd
; accessed and dirty
  TEST flags_of_read, 0x27, 0x27
  TEST flags_of_write, 0x27, 0x67
  TEST flags_of_write_after_read, 0x27, 0x67
  TEST flags_of_locked_compare, 0x67
  TEST absent_leaves_flags, 7, 6
; stale and flushed
  TEST invlpg_flushes, REFUSED_PAGE(0)
  TEST absent_is_not_cached, REFUSED_PAGE(0), 0
  TEST cr3_flushes, REFUSED_PAGE(0)
  TEST invlpg_flushes_global, REFUSED_PAGE(0)
  TEST global_without_pge, REFUSED_PAGE(0)
  TEST pge_off_flushes_global, REFUSED_PAGE(0)
; 4 MiB pages
  TEST big_read, 0xa7
  TEST big_write, 0xe7
  TEST big_offset, 0x13572468
  TEST big_user_refused, REFUSED_PAGE(5)
  TEST big_reserved, REFUSED_PAGE(9)
  TEST big_reserved_user_write, REFUSED_PAGE(15)
  TEST big_reserved_absent, REFUSED_PAGE(0)
  TEST ps_without_pse, 0
; the processor's own accesses
  TEST gdt_is_supervisor, 0
  TEST tss_absent, PF(0)
  TEST idt_absent, DF, lost_page - 8 * 10 + 8 * 14
; paging on and off
  TEST nw_without_cd, GP(0)
  TEST pg_off, 0x909040cd
  TEST pg_without_pe, GP(0)
END_TABLE
main:
  PREPARE_ACCESS
  mov edi, directory
  xor eax, eax
  mov ecx, 0x1000
  rep stosd
  mov dword [directory], low_table | 3
  mov dword [directory + 4], test_table | 7
  mov dword [directory + 4 * 2], 0x87
  mov dword [directory + 4 * 3], user_table | 7
  xor ecx, ecx
.fill:
  mov eax, ecx
  shl eax, 12
  or eax, 3
  mov [low_table + 4 * ecx], eax
  or eax, 4
  mov [user_table + 4 * ecx], eax
  inc ecx
  cmp ecx, 1024
  jb .fill
  mov eax, directory
  mov cr3, eax
  mov eax, cr0
  or eax, 0x80000000
  mov cr0, eax

%macro MATRIX 2-3 0         ; test, access, CR0.WP
  BEGIN %1
  mov edx, %2
  mov ebp, %3
  call matrix
%endmacro
  MATRIX user_read, USER | READ
  MATRIX user_write, USER | WRITE
  MATRIX user_fetch, USER | FETCH
  MATRIX supervisor_read, READ
  MATRIX supervisor_write, WRITE
  MATRIX supervisor_fetch, FETCH
  MATRIX supervisor_read_wp, READ, 0x10000
  MATRIX supervisor_write_wp, WRITE, 0x10000
  MATRIX user_write_wp, USER | WRITE, 0x10000
  mov eax, cr0
  and eax, ~0x10000
  mov cr0, eax

%macro PAGES 1-3 0, 0       ; test, first and second entry of the test table
  BEGIN %1
  mov dword [directory + 4], test_table | 7
  mov dword [test_table], %2
  mov dword [test_table + 4], %3
  mov eax, cr3
  mov cr3, eax
%endmacro
GOOD equ test_page | 7
NEXT_GOOD equ (test_page + 0x1000) | 7
  PAGES absent_read
  NOTE_ACCESS page, READ
  PAGES absent_write
  NOTE_ACCESS page, WRITE
  PAGES absent_fetch
  NOTE_ACCESS page, FETCH
  PAGES absent_user_read
  NOTE_ACCESS page, USER | READ
  PAGES absent_user_write
  NOTE_ACCESS page, USER | WRITE
  PAGES absent_directory, GOOD
  mov dword [directory + 4], test_table | 6
  NOTE_ACCESS page, READ
  mov eax, [directory + 4]
  and eax, 0x20
  NOTE eax
  PAGES cr2
  ACCESS page + 0x123, READ
  mov eax, cr2
  NOTE eax
  PAGES cr2_of_second_page, GOOD
  ACCESS page + 0xffe, READ
  mov eax, cr2
  NOTE eax
  PAGES split_write_is_whole, GOOD
  mov dword [test_page + 0xffc], 0x909040cd
  NOTE_ACCESS page + 0xffe, WRITE
  NOTE_AT [test_page + 0xffc]

%macro NOTE_ENTRY 1
  movzx eax, byte [%1]
  NOTE eax
%endmacro
  PAGES flags_of_read, GOOD
  ACCESS page, READ
  NOTE_ENTRY directory + 4
  NOTE_ENTRY test_table
  PAGES flags_of_write, GOOD
  ACCESS page, WRITE
  NOTE_ENTRY directory + 4
  NOTE_ENTRY test_table
  PAGES flags_of_write_after_read, GOOD
  ACCESS page, READ
  ACCESS page, WRITE
  NOTE_ENTRY directory + 4
  NOTE_ENTRY test_table
  PAGES flags_of_locked_compare, GOOD       ; it writes even where the values differ
  mov eax, 1
  lock cmpxchg [page + 0x800], eax
  NOTE_ENTRY test_table
  PAGES absent_leaves_flags, 6
  mov dword [directory + 4], test_table | 7
  ACCESS page, WRITE
  mov eax, [directory + 4]
  and eax, ~0x20                            ; A of the upper level may be set
  movzx eax, al
  NOTE eax
  NOTE_ENTRY test_table

  PAGES invlpg_flushes, GOOD
  ACCESS page, READ
  mov dword [test_table], 0
  invlpg [page]
  NOTE_ACCESS page, READ
  PAGES absent_is_not_cached
  NOTE_ACCESS page, READ
  mov dword [test_table], GOOD
  NOTE_ACCESS page, READ
  PAGES cr3_flushes, GOOD
  ACCESS page, READ
  mov dword [test_table], 0
  mov eax, cr3
  mov cr3, eax
  NOTE_ACCESS page, READ

  mov eax, cr4
  or eax, 0x80
  mov cr4, eax
  PAGES invlpg_flushes_global, GOOD | 0x100
  ACCESS page, READ
  mov dword [test_table], 0
  invlpg [page]
  NOTE_ACCESS page, READ
  PAGES pge_off_flushes_global, GOOD | 0x100
  ACCESS page, READ
  mov dword [test_table], 0
  mov eax, cr4
  and eax, ~0x80
  mov cr4, eax
  NOTE_ACCESS page, READ
  PAGES global_without_pge, GOOD | 0x100
  ACCESS page, READ
  mov dword [test_table], 0
  mov eax, cr3
  mov cr3, eax
  NOTE_ACCESS page, READ

  BEGIN ps_without_pse                      ; the bit is ignored, and the entry names a table
  mov dword [directory + 4 * 2], test_table | 0x87
  mov dword [test_table], GOOD
  mov eax, cr3
  mov cr3, eax
  NOTE_ACCESS big, READ
  mov eax, cr4
  or eax, 0x10
  mov cr4, eax
%macro BIG 2                ; test, directory entry
  BEGIN %1
  mov dword [directory + 4 * 2], %2
  mov eax, cr3
  mov cr3, eax
%endmacro
  BIG big_read, 0x87
  ACCESS big + test_page, READ
  NOTE_ENTRY directory + 8
  BIG big_write, 0x87
  ACCESS big + test_page, WRITE
  NOTE_ENTRY directory + 8
  BIG big_offset, 0x87
  mov dword [0x3ffff8], 0x13572468
  NOTE_AT [big + 0x3ffff8]
  BIG big_user_refused, 0x83
  NOTE_ACCESS big + test_page, USER | READ
  BIG big_reserved, 0x200087
  NOTE_ACCESS big + test_page, READ
  BIG big_reserved_user_write, 0x200087
  NOTE_ACCESS big + test_page, USER | WRITE
  BIG big_reserved_absent, 0x200086
  NOTE_ACCESS big + test_page, READ

  BEGIN gdt_is_supervisor                   ; level 3 loads a segment from a table that it cannot read itself
  IDT_GATE 0x41, CODE32, ADDRESS(access_done), R_INT32 | R_DPL3
  push dword .loaded
  mov [access_sp], esp
  push dword DATA32_3
  push dword ALIAS + stack3_top
  push dword 2
  push dword CODE32_3
  push dword ALIAS + user_load
  iretd
.loaded:
  NOTE eax
  BEGIN tss_absent
  HOOK 14, 0
  TRY .tss
  SEGMENT SPARE, lost_page, 0x67, R_TSS32
  mov dword [low_table + 4 * (lost_page >> 12)], 0
  invlpg [lost_page]
  jmp SPARE:0
.tss:
  ; An IDT across two pages, of which only the first is there: it has the double fault's gate, but not the page fault's.
  BEGIN idt_absent
  TRY .idt
  mov eax, [idt32 + 8 * 8]
  mov ecx, [idt32 + 8 * 8 + 4]
  mov [moved_idt + 8 * 8], eax
  mov [moved_idt + 8 * 8 + 4], ecx
  lidt [moved_idt_pointer]
  mov eax, [lost_page]
.idt:
  lidt [idt32_pointer]
  mov eax, cr2
  NOTE eax
  HOOK 14, page_fault
%macro WRITE_CR0 3          ; test, bits to set, bits to clear
  BEGIN %1
  TRY %%next
  mov eax, cr0
  or eax, %2
  and eax, ~(%3)
  mov cr0, eax
  %%next:
%endmacro
  WRITE_CR0 nw_without_cd, 0x20000000, 0x40000000
  BEGIN pg_off
  mov eax, cr0
  and eax, 0x7fffffff
  mov cr0, eax
  NOTE_AT [test_page]
  WRITE_CR0 pg_without_pe, 0x80000000, 1
  FINISH

moved_idt equ lost_page - 8 * 10
moved_idt_pointer: dw 0x1ff
  dd moved_idt

user_load:
  mov eax, DATA32_3
  mov gs, eax
  int 0x41

; All 16 combinations, for access EDX under CR0.WP in EBP.
matrix:
  mov eax, cr0
  and eax, ~0x10000
  or eax, ebp
  mov cr0, eax
  xor esi, esi              ; which are allowed
  mov dword [was_error], 0
  mov dword [count], 0      ; which have wrong flags
  xor ebp, ebp
.next:
  mov eax, ebp
  shr eax, 2
  add eax, eax
  or eax, test_table | 1
  mov [directory + 4], eax
  mov eax, ebp
  and eax, 3
  add eax, eax
  or eax, test_page | 1
  mov [test_table], eax
  mov eax, cr3
  mov cr3, eax
  ACCESS page, edx
  test eax, eax
  jnz .refused
  bts esi, ebp
  mov al, [directory + 4]
  and al, 0x20
  mov ah, [test_table]
  and ah, 0x60
  mov cx, 0x2020
  test edx, WRITE
  jz .flags
  or ch, 0x40
.flags:
  cmp ax, cx
  je .go_on
  bts dword [count], ebp
  jmp .go_on
.refused:
  or [was_error], eax
  test byte [test_table], 0x40
  jz .go_on
  bts dword [count], ebp
.go_on:
  inc ebp
  cmp ebp, 16
  jb .next
  mov dword [directory + 4], test_table | 7
  mov edx, esi
  NOTE edx
  NOTE_AT [was_error]
  NOTE_AT [count]
  ret
%include "runtime.inc"
