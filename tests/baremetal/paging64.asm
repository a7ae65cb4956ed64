; 4-level paging and its access rights: NX, WP, SMEP, SMAP, protection keys, reserved bits, PCIDs, pages of 2 MiB and 1 GiB:
; "4-Level Paging and 5-Level Paging", "Determination of Access Rights", "Process-Context Identifiers (PCIDs)".
%include "test.inc"
%include "long.inc"

; Level 0 lives in supervisor pages, identically; level 3 in the same memory at ALIAS.
low_table  equ free_memory + 0x3000
user_dir   equ free_memory + 0x4000
user_table equ free_memory + 0x5000
test_pdpt  equ free_memory + 0x6000
test_dir   equ free_memory + 0x7000
test_table equ free_memory + 0x8000
pml4_b     equ free_memory + 0x9000     ; another address space, for PCIDs
test_page  equ 0x40000
access_sp  equ scratch + 0xf00
was_error  equ scratch + 0xf08
ALIAS      equ 0x40000000
page       equ 0x8000000000             ; second entry of the PML4
huge       equ page + 0x40000000        ; a 1 GiB page

READ equ 0
WRITE equ 1
FETCH equ 2
USER equ 4
%define REFUSED_PAGE(error) (0x80000000 | (error))

TABLE
; Bit by bit the combinations of U/S, R/W, XD (0 to 7: XD is bit 2 of the number, U/S bit 1, R/W bit 0) in the last entry,
; times where the upper ones have them (+0: all permit; +8: PML4E as the last; +16 PDPTE; +24 PDE): which permit; the error of
; the others; which set A and D wrongly
  TEST user_read, 0xcccccccc, REFUSED_PAGE(5), 0
  TEST user_write, 0x88888888, REFUSED_PAGE(7), 0
  TEST user_fetch, 0x0c0c0c0c, REFUSED_PAGE(0x15), 0
  TEST supervisor_read, 0xffffffff, 0, 0
  TEST supervisor_write, 0xffffffff, 0, 0
  TEST supervisor_fetch, 0x0f0f0f0f, REFUSED_PAGE(0x11), 0
  TEST supervisor_write_wp, 0xaaaaaaaa, REFUSED_PAGE(3), 0
  TEST smep_fetch, 0x03030303, REFUSED_PAGE(0x11), 0
  TEST smap_read, 0x33333333, REFUSED_PAGE(1), 0
  TEST smap_write, 0x33333333, REFUSED_PAGE(3), 0
  TEST smap_read_ac, 0xffffffff, 0, 0
  TEST smap_write_ac, 0xffffffff, 0, 0
  TEST smap_user_read, 0xcccccccc, REFUSED_PAGE(5), 0
  TEST smap_implicit, PF(1)
  TEST stac_level3, UD
  TEST clac_level3, UD
; protection keys: of WD and AD (neither, WD, AD, both) which permit; the error of the others
  TEST pkey_read, 0x3, REFUSED_PAGE(0x25)
  TEST pkey_write, 0x1, REFUSED_PAGE(0x27)
  TEST pkey_supervisor_read, 0x3, REFUSED_PAGE(0x21)
  TEST pkey_supervisor_write, 0x3, REFUSED_PAGE(0x23)
  TEST pkey_supervisor_write_wp, 0x1, REFUSED_PAGE(0x23)
  TEST pkey_fetch, 0xf, 0
  TEST pkey_supervisor_page, 0xf, 0
  TEST pkey_with_rw, REFUSED_PAGE(7)
  TEST rdpkru_disabled, UD
  TEST wrpkru_ecx, GP(0)
  TEST rdpkru_level3, 0x55
; reserved bits
  TEST reserved_pte_address, REFUSED_PAGE(9)
  TEST reserved_pde_address, REFUSED_PAGE(9)
  TEST reserved_pdpte_address, REFUSED_PAGE(9)
  TEST reserved_pml4e_ps, REFUSED_PAGE(9)
  TEST reserved_2m_low_bits, REFUSED_PAGE(9)
  TEST reserved_1g_low_bits, REFUSED_PAGE(9)
  TEST reserved_xd_without_nxe, REFUSED_PAGE(9)
  TEST reserved_in_absent, REFUSED_PAGE(0)
  TEST reserved_user_fetch, REFUSED_PAGE(0x1d)
  TEST fetch_bit_without_nxe, REFUSED_PAGE(0)
  TEST fetch_bit_with_smep, REFUSED_PAGE(0x10)
; large pages
  TEST page_2m, 0x909040cd, 0xa7, 0xe7
  TEST page_1g, 0x909040cd, 0xa7, 0xe7
  TEST levels_accessed, 0x27, 0x27, 0x27, 0x67
; canonical addresses
  TEST noncanonical_read, GP(0)
  TEST noncanonical_stack, SS_(0)
  TEST noncanonical_jump, GP(0)
  TEST invlpg_noncanonical, 0
; PCIDs
  TEST pcide_with_pcid_in_cr3, GP(0)
  TEST pcid_flush, REFUSED_PAGE(0)
  TEST pcid_new_space, REFUSED_PAGE(0), 0
  TEST invpcid_address, REFUSED_PAGE(0)
  TEST invpcid_context, REFUSED_PAGE(0)
  TEST invpcid_all_keeps_nothing, REFUSED_PAGE(0)
  TEST invpcid_type, GP(0)
  TEST invpcid_reserved, GP(0)
  TEST invpcid_noncanonical, GP(0)
  TEST pg_off_with_pcide, GP(0)
; control registers
  TEST cr4_pae_off, GP(0)
  TEST cr4_reserved, GP(0)
  TEST cr0_high, GP(0)
  TEST efer_lme, GP(0)
  TEST pg_off_in_64_bit, GP(0)
  TEST cr3_reserved, GP(0)
END_TABLE

main:
  ENTER_LONG
  HOOK 14, page_fault
  mov dword [tss + 4], stack0_top - 0x400
  IDT_GATE64 0x40, CODE64, ADDRESS(access_done), R_INT32 | R_DPL3
  mov edi, low_table
  xor eax, eax
  mov ecx, 0x7000 / 4
  rep stosd
  xor ecx, ecx
.fill:
  mov eax, ecx
  shl eax, 12
  or eax, 3
  mov [low_table + 8 * rcx], rax
  or eax, 4
  mov [user_table + 8 * rcx], rax
  inc ecx
  cmp ecx, 512
  jb .fill
  mov dword [directory], low_table | 3
  mov dword [pdpt + 8], user_dir | 7
  mov dword [user_dir], user_table | 7
  mov dword [pml4 + 8], test_pdpt | 7
  mov rax, cr3
  mov cr3, rax
  mov dword [test_page], 0x909040cd

%macro CR0_WP 1
  mov rax, cr0
  and eax, ~0x10000
  or eax, (%1) << 16
  mov cr0, rax
%endmacro
%macro CR4 2                ; bits on, bits off
  mov rax, cr4
  or eax, %1
  and eax, ~(%2)
  mov cr4, rax
%endmacro
SMEP equ 1 << 20
SMAP equ 1 << 21
PKE  equ 1 << 22
PCIDE equ 1 << 17
%macro NEEDS 3+             ; register of CPUID leaf 7, bit, tests; skips them to the next NEEDS_END
  mov eax, 7
  xor ecx, ecx
  cpuid
  bt %1, %2
  jc %%have
  SKIP %3
  jmp needs_%[needs]
  %%have:
%endmacro
%assign needs 0
%macro NEEDS_END 0
  needs_%[needs]:
  %assign needs needs + 1
%endmacro

%macro MATRIX 2             ; test, access
  BEGIN %1
  mov edx, %2
  call matrix
%endmacro
  MATRIX user_read, USER | READ
  MATRIX user_write, USER | WRITE
  MATRIX user_fetch, USER | FETCH
  MATRIX supervisor_read, READ
  MATRIX supervisor_write, WRITE
  MATRIX supervisor_fetch, FETCH
  CR0_WP 1
  MATRIX supervisor_write_wp, WRITE
  CR0_WP 0
  NEEDS ebx, 7, smep_fetch
  CR4 SMEP, 0
  MATRIX smep_fetch, FETCH
  CR4 0, SMEP
  NEEDS_END
  NEEDS ebx, 20, smap_read, smap_write, smap_read_ac, smap_write_ac, smap_user_read, smap_implicit, stac_level3, clac_level3
  CR4 SMAP, 0
  MATRIX smap_read, READ
  MATRIX smap_write, WRITE
  BEGIN smap_read_ac
  stac
  mov edx, READ
  call matrix
  BEGIN smap_write_ac
  stac
  mov edx, WRITE
  call matrix
  MATRIX smap_user_read, USER | READ
  BEGIN smap_implicit       ; the processor's own accesses are refused whatever AC is: an LDT in the user's window
  HOOK 14, 0
  TRY .implicit
  SEGMENT LDT, ALIAS + scratch, 0xff, R_LDT
  mov eax, LDT
  lldt ax
  stac
  mov ecx, 4
  mov gs, ecx
.implicit:
  clac
  xor eax, eax
  lldt ax
  HOOK 14, page_fault
  BEGIN stac_level3
  TRY .stac
  call to_user
  ud2
.stac:
  BEGIN clac_level3
  TRY .clac
  mov dword [user_entry], user_clac
  call to_user
.clac:
  CR4 0, SMAP
  NEEDS_END

  NEEDS ecx, 3, pkey_read, pkey_write, pkey_supervisor_read, pkey_supervisor_write, pkey_supervisor_write_wp, pkey_fetch, pkey_supervisor_page, pkey_with_rw, rdpkru_disabled, wrpkru_ecx, rdpkru_level3
  BEGIN rdpkru_disabled
  TRY .no_pke
  xor ecx, ecx
  rdpkru
.no_pke:
  CR4 PKE, 0
%macro KEYS 2-3 7           ; test, access, low bits of the entry
  BEGIN %1
  mov edx, %2
  mov ebp, %3
  call keys
%endmacro
  KEYS pkey_read, USER | READ
  KEYS pkey_write, USER | WRITE
  KEYS pkey_supervisor_read, READ
  KEYS pkey_supervisor_write, WRITE
  CR0_WP 1
  KEYS pkey_supervisor_write_wp, WRITE
  CR0_WP 0
  KEYS pkey_fetch, USER | FETCH
  KEYS pkey_supervisor_page, READ, 3
  BEGIN pkey_with_rw        ; PK is reported where the key refuses; a read-only page under an open key has none
  xor ecx, ecx
  xor eax, eax
  xor edx, edx
  wrpkru
  mov rax, test_page | 5 | (1 << 59)
  call one_page
  mov ecx, USER | WRITE
  call access
  NOTE eax
  BEGIN wrpkru_ecx
  TRY .wrpkru
  mov ecx, 1
  xor eax, eax
  xor edx, edx
  wrpkru
.wrpkru:
  BEGIN rdpkru_level3
  xor ecx, ecx
  xor edx, edx
  mov eax, 0x55
  wrpkru
  mov dword [user_entry], user_rdpkru
  call to_user
  NOTE eax
  xor ecx, ecx
  xor edx, edx
  xor eax, eax
  wrpkru
  CR4 0, PKE
  NEEDS_END

%macro ONE_PAGE 3           ; test, entry, access
  BEGIN %1
  mov rax, %2
  call one_page
  mov ecx, %3
  call access
  NOTE eax
%endmacro
OUT_OF_REACH equ 1 << 51
  ONE_PAGE reserved_pte_address, test_page | 7 | OUT_OF_REACH, READ
%macro UPPER 4              ; test, table, entry, access
  BEGIN %1
  mov rax, test_page | 7
  call one_page
  mov rax, %3
  mov [%2], rax
  mov rax, cr3
  mov cr3, rax
  mov rbx, page
  mov ecx, %4
  call access
  NOTE eax
%endmacro
  UPPER reserved_pde_address, test_dir, test_table | 7 | OUT_OF_REACH, READ
  UPPER reserved_pdpte_address, test_pdpt, test_dir | 7 | OUT_OF_REACH, READ
  UPPER reserved_pml4e_ps, pml4 + 8, test_pdpt | 0x87, READ
  UPPER reserved_2m_low_bits, test_dir, 0x2087, READ
  mov eax, 0x80000001
  cpuid
  bt edx, 26
  jc have_1g
  SKIP reserved_1g_low_bits, page_1g
  jmp no_1g
have_1g:
  UPPER reserved_1g_low_bits, test_pdpt, 0x200087, READ
  BEGIN page_1g
  call open_page
  mov qword [test_pdpt + 8], 0x87
  mov rbx, huge + test_page
  mov eax, [rbx]
  NOTE eax
  movzx eax, byte [test_pdpt + 8]
  NOTE eax
  mov dword [rbx], 0x909040cd
  movzx eax, byte [test_pdpt + 8]
  NOTE eax
no_1g:
  BEGIN page_2m
  call open_page
  mov qword [test_dir], 0x87
  mov rax, cr3
  mov cr3, rax
  mov rbx, page + test_page
  mov eax, [rbx]
  NOTE eax
  movzx eax, byte [test_dir]
  NOTE eax
  mov dword [rbx], 0x909040cd
  movzx eax, byte [test_dir]
  NOTE eax
  BEGIN levels_accessed
  mov rax, test_page | 7
  call one_page
  mov ecx, WRITE
  call access
  movzx eax, byte [pml4 + 8]
  NOTE eax
  movzx eax, byte [test_pdpt]
  NOTE eax
  movzx eax, byte [test_dir]
  NOTE eax
  movzx eax, byte [test_table]
  NOTE eax
%macro NXE 1
  mov ecx, 0xc0000080
  rdmsr
  and eax, ~0x800
  or eax, (%1) << 11
  wrmsr
%endmacro
  ONE_PAGE reserved_in_absent, 6 | OUT_OF_REACH, READ
  ONE_PAGE reserved_user_fetch, test_page | 7 | OUT_OF_REACH, USER | FETCH
  NXE 0
  ONE_PAGE reserved_xd_without_nxe, test_page | 7 | (1 << 63), READ
  ONE_PAGE fetch_bit_without_nxe, 6, FETCH
  NEEDS ebx, 7, fetch_bit_with_smep
  CR4 SMEP, 0
  ONE_PAGE fetch_bit_with_smep, 6, FETCH
  CR4 0, SMEP
  NEEDS_END
  NXE 1

%macro FAULTING 2+
  BEGIN %1
  TRY %%next
  %2
  %%next:
%endmacro
  mov rbx, 0x800000000000
  FAULTING noncanonical_read, mov eax, [rbx]
  FAULTING noncanonical_stack, mov eax, [rsp + rbx]
  BEGIN noncanonical_jump
  TRY .jump
  mov rbx, 0x800000000000
  jmp rbx
.jump:
  BEGIN invlpg_noncanonical
  TRY .invlpg
  mov rbx, 0x800000000000
  invlpg [rbx]
  NOTE 0
.invlpg:

  mov eax, 1
  cpuid
  bt ecx, 17
  jc have_pcid
  SKIP pcide_with_pcid_in_cr3, pcid_flush, pcid_new_space, pg_off_with_pcide
  jmp no_pcid
have_pcid:
  BEGIN pcide_with_pcid_in_cr3
  TRY .pcide
  mov eax, pml4 | 8
  mov cr3, rax
  CR4 PCIDE, 0
.pcide:
  mov eax, pml4
  mov cr3, rax
  CR4 PCIDE, 0
  BEGIN pcid_flush
  mov rax, test_page | 7
  call one_page
  mov ecx, READ
  call access
  mov qword [test_table], 0
  mov eax, pml4 | 5
  mov cr3, rax
  mov eax, pml4             ; without bit 63: flushed
  mov cr3, rax
  mov rbx, page
  mov ecx, READ
  call access
  NOTE eax
  BEGIN pcid_new_space      ; translations of one PCID do not serve another
  mov rax, test_page | 7
  call one_page
  mov ecx, READ
  call access
  mov qword [pml4_b + 8], 0
  mov rax, [pml4]
  mov [pml4_b], rax
  mov rax, pml4_b | 6 | (1 << 63)
  mov cr3, rax
  mov rbx, page
  mov ecx, READ
  call access
  NOTE eax
  mov rax, pml4 | (1 << 63)
  mov cr3, rax
  mov rbx, page
  mov ecx, READ
  call access
  NOTE eax
  BEGIN pg_off_with_pcide
  TRY .pg_off
  mov rax, cr0
  and eax, 0x7fffffff
  mov cr0, rax
.pg_off:
  CR4 0, PCIDE
no_pcid:
  NEEDS ebx, 10, invpcid_address, invpcid_context, invpcid_all_keeps_nothing, invpcid_type, invpcid_reserved, invpcid_noncanonical
%macro INVPCID_TEST 2       ; test, type
  BEGIN %1
  mov rax, test_page | 0x107
  call one_page
  mov ecx, READ
  call access
  mov qword [test_table], 0
  mov rax, page
  mov [invpcid_descriptor + 8], rax
  mov qword [invpcid_descriptor], 0
  mov eax, %2
  invpcid rax, [invpcid_descriptor]
  mov rbx, page
  mov ecx, READ
  call access
  NOTE eax
%endmacro
  INVPCID_TEST invpcid_address, 0
  INVPCID_TEST invpcid_context, 1
  INVPCID_TEST invpcid_all_keeps_nothing, 2
%macro INVPCID_FAULT 4      ; test, type, PCID, address
  BEGIN %1
  TRY %%next
  mov rax, %3
  mov [invpcid_descriptor], rax
  mov rax, %4
  mov [invpcid_descriptor + 8], rax
  mov eax, %2
  invpcid rax, [invpcid_descriptor]
  %%next:
%endmacro
  INVPCID_FAULT invpcid_type, 4, 0, 0
  INVPCID_FAULT invpcid_reserved, 2, 0x1000, 0
  INVPCID_FAULT invpcid_noncanonical, 0, 0, 0x800000000000
  NEEDS_END

%macro REFUSED 3            ; test, register, value
  BEGIN %1
  TRY %%next
  mov rax, %3
  mov %2, rax
  %%next:
%endmacro
  BEGIN cr4_pae_off
  TRY .pae
  CR4 0, 0x20
.pae:
  BEGIN cr4_reserved
  TRY .cr4
  CR4 0x80000000, 0
.cr4:
  BEGIN cr0_high
  TRY .cr0
  mov rax, cr0
  bts rax, 32
  mov cr0, rax
.cr0:
  BEGIN efer_lme
  TRY .efer
  mov ecx, 0xc0000080
  rdmsr
  and eax, ~0x100
  wrmsr
.efer:
  BEGIN pg_off_in_64_bit
  TRY .pg
  mov rax, cr0
  and eax, 0x7fffffff
  mov cr0, rax
.pg:
  REFUSED cr3_reserved, cr3, pml4 | (1 << 52)
  FINISH

; ---- Accesses: RBX address, ECX kind; EAX is 0, or 80000000h and the error code

access:
  mov [access_sp], rsp
  test ecx, USER
  jnz .user
  cmp ecx, WRITE
  je .write
  ja .fetch
  mov eax, [rbx]
  xor eax, eax
  ret
.write:
  mov dword [rbx], 0x909040cd
  xor eax, eax
  ret
.fetch:
  jmp rbx
.user:
  mov eax, [user_code + 4 * rcx - 4 * USER]
enter_user:
  push qword DATA32_3
  push qword ALIAS + stack3_top
  push qword 2
  push qword CODE64_3
  push rax
  iretq
access_done:
  mov rsp, [access_sp]
  mov qword [access_sp], 0
  mov ecx, eax
  xor eax, eax
  cmp dword [user_entry], user_rdpkru
  cmove eax, ecx
  ret
page_fault:
  cmp qword [access_sp], 0
  je exception64.note
  mov eax, [fault_error]
  or eax, 0x80000000
  mov rsp, [access_sp]
  mov qword [access_sp], 0
  ret
to_user:
  mov [access_sp], rsp
  mov eax, [user_entry]
  add eax, ALIAS
  jmp enter_user

user_read:
  mov eax, [rbx]
  int 0x40
user_write:
  mov dword [rbx], 0x909040cd
  int 0x40
user_fetch:
  jmp rbx
user_stac:
  stac
  int 0x40
user_clac:
  clac
  int 0x40
user_rdpkru:
  xor ecx, ecx
  rdpkru
  int 0x40
align 8, db 0
user_code: dd ALIAS + user_read, ALIAS + user_write, ALIAS + user_fetch
user_entry: dd user_stac
invpcid_descriptor: dq 0, 0

; Upper levels that permit everything; RAX into the last one; RBX the page's address.
one_page:
  mov [test_table], rax
open_page:
  mov dword [user_entry], user_stac
  mov qword [pml4 + 8], test_pdpt | 7
  mov qword [test_pdpt], test_dir | 7
  mov qword [test_dir], test_table | 7
  mov rax, cr3
  mov cr3, rax
  mov rbx, page
  invlpg [rbx]
  ret

; The 32 combinations for access EDX.
matrix:
  xor esi, esi
  mov dword [was_error], 0
  mov dword [count], 0
  xor ebp, ebp
.next:
  mov eax, ebp              ; the entry's own bits
  and eax, 3
  add eax, eax
  or eax, test_page | 1
  bt ebp, 2
  jnc .executable
  bts rax, 63
.executable:
  mov r8, rax
  mov r9d, ebp
  shr r9d, 3
  jz .last
  ; The upper entry has the bits, and the last one permits everything.
  mov rax, test_page | 7
  call one_page
  btr r8, 18                ; not the page's address
  mov rax, r8
  mov rcx, 0x8000000000000007
  and rax, rcx
  cmp r9d, 2
  je .pdpte
  ja .pde
  or rax, test_pdpt
  mov [pml4 + 8], rax
  jmp .ready
.pdpte:
  or rax, test_dir
  mov [test_pdpt], rax
  jmp .ready
.pde:
  or rax, test_table
  mov [test_dir], rax
  jmp .ready
.last:
  call one_page
.ready:
  mov rax, cr3
  mov cr3, rax
  mov rbx, page
  mov ecx, edx
  call access
  test eax, eax
  jnz .refused
  bts esi, ebp
  mov al, [test_table]
  and al, 0x60
  mov cl, 0x20
  test edx, WRITE
  jz .flags
  or cl, 0x40
.flags:
  cmp al, cl
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
  cmp ebp, 32
  jb .next
  mov edx, esi
  NOTE edx
  NOTE_AT [was_error]
  NOTE_AT [count]
  ret

; The four combinations of WD and AD for key 1; EBP low bits of the entry.
keys:
  xor esi, esi
  mov dword [was_error], 0
  xor r8d, r8d
  mov r9d, edx
.next:
  mov eax, ebp
  or eax, test_page
  bts rax, 59
  call one_page
  mov eax, r8d
  shr eax, 1
  mov ecx, r8d
  and ecx, 1
  lea eax, [rax + 2 * rcx]  ; AD below WD
  shl eax, 2
  xor ecx, ecx
  xor edx, edx
  wrpkru
  mov ecx, r9d
  call access
  test eax, eax
  jnz .refused
  bts esi, r8d
  jmp .go_on
.refused:
  or [was_error], eax
.go_on:
  inc r8d
  cmp r8d, 4
  jb .next
  xor ecx, ecx
  xor edx, edx
  xor eax, eax
  wrpkru
  mov edx, esi
  NOTE edx
  NOTE_AT [was_error]
  ret
%include "runtime.inc"
