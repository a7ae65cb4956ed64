; PAE paging in protected mode: the four entries that the processor keeps, XD, reserved bits, 2 MiB pages: "PAE Paging".
%include "test.inc"
%include "access.inc"

pointers   equ free_memory              ; four, aligned to 32 bytes
directory  equ free_memory + 0x1000
low_table  equ free_memory + 0x2000     ; 0, supervisor
user_table equ free_memory + 0x3000     ; ALIAS, user
test_table equ free_memory + 0x4000     ; 400000h
second_dir equ free_memory + 0x5000     ; of the second gigabyte
page       equ 0x400000
big        equ 0x800000
far_page   equ 0x40000000

TABLE
  TEST user_access, 0, 0, 0
  TEST flags_of_write, 0x27, 0x67
  TEST xd_page, REFUSED_PAGE(0x11), 0
  TEST xd_page_user, REFUSED_PAGE(0x15), 0
  TEST xd_directory, REFUSED_PAGE(0x11)
  TEST xd_without_nxe, REFUSED_PAGE(9)
  TEST fetch_reported, REFUSED_PAGE(0x10)
  TEST fetch_not_reported, REFUSED_PAGE(0)
  TEST reserved_address, REFUSED_PAGE(9)
  TEST reserved_52_to_62, REFUSED_PAGE(9)
  TEST reserved_directory, REFUSED_PAGE(9)
  TEST reserved_2m_low_bits, REFUSED_PAGE(9)
  TEST page_2m, 0x909040cd, 0xa7, 0xe7
; the four pointers
  TEST pointer_absent, REFUSED_PAGE(0)
  TEST pointer_absent_user_write, REFUSED_PAGE(6)
  TEST pointer_has_no_flags, 1
  TEST pointer_kept_until_cr3, 0, 0, REFUSED_PAGE(0)
  TEST pointer_reserved, GP(0), pointers
  TEST pointer_reserved_absent_ignored, 0
  TEST pointer_reserved_at_pg, GP(0), 0
  TEST cr3_low_bits, 0x20
END_TABLE

main:
  PREPARE_ACCESS
  mov edi, pointers
  xor eax, eax
  mov ecx, 0x6000 / 4
  rep stosd
  mov dword [pointers], directory | 1
  mov dword [pointers + 8], second_dir | 1
  mov dword [directory], low_table | 3
  mov dword [directory + 8 * (page >> 21)], test_table | 7
  mov dword [directory + 8 * (big >> 21)], 0x87
  mov dword [directory + 8 * (ALIAS >> 21)], user_table | 7
  mov dword [second_dir], test_table | 7
  xor ecx, ecx
.fill:
  mov eax, ecx
  shl eax, 12
  or eax, 3
  mov [low_table + 8 * ecx], eax
  or eax, 4
  mov [user_table + 8 * ecx], eax
  inc ecx
  cmp ecx, 512
  jb .fill
  mov eax, cr4
  or eax, 0x20
  mov cr4, eax

  BEGIN pointer_reserved_at_pg              ; checked when paging is switched on
  TRY .at_pg
  mov dword [pointers + 16], 0x7
  mov eax, pointers
  mov cr3, eax
  mov eax, cr0
  or eax, 0x80000000
  mov cr0, eax
.at_pg:
  mov eax, cr0
  and eax, 0x80000000
  NOTE eax
  mov dword [pointers + 16], 0
  mov eax, pointers
  mov cr3, eax
  mov eax, cr0
  or eax, 0x80000000
  mov cr0, eax
%macro NXE 1
  mov ecx, 0xc0000080
  rdmsr
  and eax, ~0x800
  or eax, (%1) << 11
  wrmsr
%endmacro
%macro FLUSH 0
  mov eax, cr3
  mov cr3, eax
%endmacro
%macro PAGE_TEST 3          ; test, lower and upper half of the page's entry
  BEGIN %1
  mov dword [directory + 8 * (page >> 21)], test_table | 7
  mov dword [directory + 8 * (page >> 21) + 4], 0
  mov dword [test_table], %2
  mov dword [test_table + 4], %3
  FLUSH
%endmacro
XD equ 0x80000000
GOOD equ test_page | 7
  NXE 1
  PAGE_TEST user_access, GOOD, 0
  NOTE_ACCESS page, USER | READ
  NOTE_ACCESS page, USER | WRITE
  NOTE_ACCESS page, USER | FETCH
  PAGE_TEST flags_of_write, GOOD, 0
  ACCESS page, WRITE
  movzx eax, byte [directory + 8 * (page >> 21)]
  NOTE eax
  movzx eax, byte [test_table]
  NOTE eax
  PAGE_TEST xd_page, GOOD, XD
  NOTE_ACCESS page, FETCH
  NOTE_ACCESS page, READ
  PAGE_TEST xd_page_user, GOOD, XD
  NOTE_ACCESS page, USER | FETCH
  NOTE_ACCESS page, USER | READ
  PAGE_TEST xd_directory, GOOD, 0
  mov dword [directory + 8 * (page >> 21) + 4], XD
  FLUSH
  NOTE_ACCESS page, FETCH
  PAGE_TEST fetch_reported, 6, 0
  NOTE_ACCESS page, FETCH
  PAGE_TEST reserved_address, GOOD, 1 << 19
  NOTE_ACCESS page, READ
  PAGE_TEST reserved_52_to_62, GOOD, 1 << 20
  NOTE_ACCESS page, READ
  PAGE_TEST reserved_directory, GOOD, 0
  mov dword [directory + 8 * (page >> 21) + 4], 1 << 30
  FLUSH
  NOTE_ACCESS page, READ
  PAGE_TEST reserved_2m_low_bits, GOOD, 0
  mov dword [directory + 8 * (page >> 21)], 0x2087
  FLUSH
  NOTE_ACCESS page, READ
  NXE 0
  PAGE_TEST xd_without_nxe, GOOD, XD
  NOTE_ACCESS page, READ
  PAGE_TEST fetch_not_reported, 6, 0
  NOTE_ACCESS page, FETCH
  BEGIN page_2m
  mov eax, [big + test_page]
  NOTE eax
  movzx eax, byte [directory + 8 * (big >> 21)]
  NOTE eax
  mov dword [big + test_page], 0x909040cd
  movzx eax, byte [directory + 8 * (big >> 21)]
  NOTE eax

  PAGE_TEST pointer_has_no_flags, GOOD, 0
  ACCESS far_page, WRITE
  movzx eax, byte [pointers + 8]
  NOTE eax
  PAGE_TEST pointer_kept_until_cr3, GOOD, 0
  NOTE_ACCESS far_page, READ
  mov dword [pointers + 8], 0
  invlpg [far_page]
  NOTE_ACCESS far_page, READ
  FLUSH
  NOTE_ACCESS far_page, READ
  PAGE_TEST pointer_absent, GOOD, 0
  NOTE_ACCESS far_page, READ
  PAGE_TEST pointer_absent_user_write, GOOD, 0
  NOTE_ACCESS far_page, USER | WRITE
  BEGIN pointer_reserved
  TRY .reserved
  mov dword [pointers + 0x20], directory | 1
  mov dword [pointers + 0x28], second_dir | 3
  mov eax, pointers + 0x20
  mov cr3, eax
.reserved:
  mov eax, cr3
  NOTE eax
  BEGIN pointer_reserved_absent_ignored
  mov dword [pointers + 0x28], 6
  mov eax, pointers + 0x20
  mov cr3, eax
  NOTE 0
  BEGIN cr3_low_bits                        ; the table needs no page of its own
  mov eax, cr3
  and eax, 0xfe0
  NOTE eax
  FINISH
%include "runtime.inc"
