; The extended page tables: rights, misconfigurations, what an exit says, accessed and dirty flags, and which translations may be
; kept: "The Extended Page Table Mechanism (EPT)", "Exit Qualification for EPT Violations", "Caching Translation Information".
;
; EPT CASE: the entry for page_a is made of `rights`, and the guest reads, writes or executes there. In the qualification bits 0 to 2
; are the access, 3 to 5 the rights, 7 says that the linear address is valid, 8 that it is not the walk to it.
%include "test.inc"
%include "long.inc"
%include "vmx.inc"

R equ 1
W equ 2
X equ 4
WB equ 6 << 3
RAN equ EXIT(E_VMCALL)
%define VIOLATION(access, rights) EXIT(E_EPT_VIOLATION), 0x180 | (access) | ((rights) << 3)
MISCONFIGURED equ EXIT(E_EPT_MISCONFIGURATION)
entry_a equ ept_pt + 8 * (page_a >> 12)
large equ 0x400000          ; in the second leaf of 2 MiB
entry_large equ ept_pd + 8 * 2
second_pml4 equ 0x50000     ; another tree, of four pages

%macro CASES 0
; every combination of rights with every access
  CASE none_read, R, 0, VIOLATION(R, 0)
  CASE none_write, W, 0, VIOLATION(W, 0)
  CASE none_execute, X, 0, VIOLATION(X, 0)
  CASE r_read, R, R | WB, RAN
  CASE r_write, W, R | WB, VIOLATION(W, R)
  CASE r_execute, X, R | WB, VIOLATION(X, R)
  CASE rw_read, R, R | W | WB, RAN
  CASE rw_write, W, R | W | WB, RAN
  CASE rw_execute, X, R | W | WB, VIOLATION(X, R | W)
  CASE rx_read, R, R | X | WB, RAN
  CASE rx_write, W, R | X | WB, VIOLATION(W, R | X)
  CASE rx_execute, X, R | X | WB, RAN
  CASE rwx_read, R, R | W | X | WB, RAN
  CASE rwx_write, W, R | W | X | WB, RAN
  CASE rwx_execute, X, R | W | X | WB, RAN
  CASE x_read, R, X | WB, VIOLATION(R, X)
  CASE x_write, W, X | WB, VIOLATION(W, X)
  CASE x_execute, X, X | WB, RAN
  CASE w_read, R, W | WB, MISCONFIGURED
  CASE w_write, W, W | WB, MISCONFIGURED
  CASE w_execute, X, W | WB, MISCONFIGURED
  CASE wx_read, R, W | X | WB, MISCONFIGURED
  CASE wx_write, W, W | X | WB, MISCONFIGURED
  CASE wx_execute, X, W | X | WB, MISCONFIGURED
; memory types and reserved bits
  CASE type_uncacheable, R, R | (0 << 3), RAN
  CASE type_combining, R, R | (1 << 3), RAN
  CASE type_2, R, R | (2 << 3), MISCONFIGURED
  CASE type_3, R, R | (3 << 3), MISCONFIGURED
  CASE type_through, R, R | (4 << 3), RAN
  CASE type_protected, R, R | (5 << 3), RAN
  CASE type_7, R, R | (7 << 3), MISCONFIGURED
  CASE type_on_write, W, R | (2 << 3), MISCONFIGURED
  CASE ignore_pat, R, R | WB | (1 << 6), RAN
  CASE width, R, R | WB | (1 << 51), MISCONFIGURED
  CASE ignored_bits, R, R | WB | (1 << 11) | (1 << 52) | (1 << 62), RAN
  CASE absent_is_no_misconfiguration, R, (2 << 3) | (1 << 51), VIOLATION(R, 0)
%endmacro
%macro CASE 4-5
  %if running
    BEGIN %1
    %if %2 == R
      mov eax, reads_a
    %elif %2 == W
      mov eax, writes_a
    %else
      mov eax, executes_a
    %endif
    call fresh_guest
    USE_EPT
    mov dword [page_a], 0x90c1010f  ; VMCALL
    mov rax, %3
    test eax, 7
    jz %%absent
    or rax, page_a
    %%absent:
    mov [entry_a], rax
    RUN
    call note_violation
  %elif %0 == 5
    TEST %1, %4, %5
  %else
    TEST %1, %4
  %endif
%endmacro

TABLE
  %assign running 0
  CASES
; other levels
  TEST directory_read_only, VIOLATION(W, R)
  TEST directory_combined, VIOLATION(X, R)
  TEST directory_memory_type, MISCONFIGURED
  TEST directory_width, MISCONFIGURED
  TEST pointer_reserved, MISCONFIGURED
  TEST root_reserved, MISCONFIGURED
  TEST root_leaf, MISCONFIGURED
  TEST root_absent, EXIT(E_EPT_VIOLATION), 0x81, pml4
  TEST leaf_2m_rights, VIOLATION(W, R | X)
  TEST leaf_2m_reserved, MISCONFIGURED
  TEST leaf_2m_translates, RAN, 0x11223344
  TEST leaf_1g, RAN, 0x11223344
  TEST leaf_1g_reserved, MISCONFIGURED
; addresses
  TEST addresses, EXIT(E_EPT_VIOLATION), page_a + 0x123, page_a + 0x123
  TEST addresses_crossing, EXIT(E_EPT_VIOLATION), page_b, page_b
  TEST addresses_misconfiguration, EXIT(E_EPT_MISCONFIGURATION), page_a + 0x123
  TEST translated, RAN, 0x55667788
; the walk of the guest's own tables
  TEST walk_absent, EXIT(E_EPT_VIOLATION), 0x81, pml4
  TEST walk_linear, EXIT(E_EPT_VIOLATION), 1
  TEST walk_read_only, RAN
  TEST walk_counts_as_write, EXIT(E_EPT_VIOLATION), 0x8b, pml4
  TEST walk_in_exception, EXIT(E_EPT_VIOLATION), 0x81, 0
; accessed and dirty
  TEST flags_off, RAN, 0
  TEST flags_read, RAN, 0x100, 0x100
  TEST flags_write, RAN, 0x300, 0x100
  TEST flags_large, RAN, 0x300
  TEST flags_of_walk, RAN, 0x300
; exits during delivery
  TEST delivery_stack, EXIT(E_EPT_VIOLATION), 0x80000306, 0x18a
  TEST delivery_gate, EXIT(E_EPT_VIOLATION), 0x80000421, 2
  TEST delivery_repeated, EXIT(E_EPT_VIOLATION), RAN, 6
  TEST iret_unblocks, EXIT(E_EPT_VIOLATION), 0x1181
  TEST page_fault_first, EXIT(E_EXCEPTION)
; what may be kept
  TEST invept_single, RAN, 0x11111111, RAN, 0x22222222
  TEST invept_all, RAN, 0x11111111, RAN, 0x22222222
  TEST violation_drops, EXIT(E_EPT_VIOLATION), RAN
  TEST other_root, RAN, 0x11111111, RAN, 0x22222222, RAN, 0x11111111
  TEST vpid_0_flushes, RAN, 0x11111111, RAN, 0x22222222
  TEST other_vpid, RAN, 0x11111111, RAN, 0x22222222
  TEST invvpid_address, RAN, 0x11111111, RAN, 0x22222222
  TEST invvpid_single, RAN, 0x11111111, RAN, 0x22222222
  TEST invvpid_all, RAN, 0x11111111, RAN, 0x22222222
  TEST invvpid_keep_globals, RAN, 0x11111111, RAN, 0x22222222
  TEST guest_invlpg, RAN, 0x22222222
  TEST guest_cr3, RAN, 0x22222222
END_TABLE

main:
  ENTER_LONG
  VMX_ON
  %assign running 1
  CASES

%macro EPT_GUEST 2          ; test, what the guest does
  BEGIN %1
  mov eax, %2
  call fresh_guest
  USE_EPT
%endmacro
  EPT_GUEST directory_read_only, writes_b
  call split_b
  mov dword [ept_pd + 8 * 4], second_pml4 | R
  RUN
  call note_violation
  EPT_GUEST directory_combined, executes_b          ; RX above, RW below
  call split_b
  mov dword [ept_pd + 8 * 4], second_pml4 | R | X
  mov dword [second_pml4], 0x800000 | R | W | WB
  RUN
  call note_violation
  EPT_GUEST directory_memory_type, reads_b
  call split_b
  or dword [ept_pd + 8 * 4], WB
  RUN
  EPT_GUEST directory_width, reads_b
  call split_b
  or dword [ept_pd + 8 * 4 + 4], 1 << (51 - 32)
  RUN
  EPT_GUEST pointer_reserved, reads_a
  or dword [ept_pdpt], 1 << 3
  RUN
  EPT_GUEST root_reserved, reads_a
  or dword [ept_pml4], 1 << 3
  RUN
  EPT_GUEST root_leaf, reads_a
  or dword [ept_pml4], 1 << 7
  RUN
  EPT_GUEST root_absent, reads_a                    ; the first fetch: the walk to it begins with the guest's own tables
  mov dword [ept_pml4], 0
  RUN
  call note_walk
  NOTE_FIELD PHYSICAL
  EPT_GUEST leaf_2m_rights, writes_large
  mov dword [entry_large], large | 0x80 | R | X | WB
  RUN
  call note_violation
  EPT_GUEST leaf_2m_reserved, reads_large
  or dword [entry_large], 1 << 12
  RUN
  EPT_GUEST leaf_2m_translates, reads_large
  mov dword [large + 0x200000], 0x11223344
  mov dword [entry_large], (large + 0x200000) | 0x80 | R | WB
  RUN
  NOTE_AT [guest_rbx]
  EPT_GUEST leaf_1g, reads_large
  mov dword [large], 0x11223344
  mov dword [ept_pdpt], 0x80 | R | W | X | WB
  RUN
  NOTE_AT [guest_rbx]
  EPT_GUEST leaf_1g_reserved, reads_large
  mov dword [ept_pdpt], 0x80 | R | W | X | WB | (1 << 12)
  RUN

  BEGIN addresses
  GUEST
    mov eax, [page_a + 0x123]
  END_GUEST
  USE_EPT
  mov qword [entry_a], 0
  RUN
  NOTE_FIELD LINEAR, PHYSICAL
  BEGIN addresses_crossing
  GUEST
    mov eax, [page_b - 2]
  END_GUEST
  USE_EPT
  mov qword [entry_a + 8], 0
  RUN
  NOTE_FIELD LINEAR, PHYSICAL
  BEGIN addresses_misconfiguration
  GUEST
    mov eax, [page_a + 0x123]
  END_GUEST
  USE_EPT
  mov qword [entry_a], W
  RUN
  NOTE_FIELD PHYSICAL
  EPT_GUEST translated, reads_a
  mov dword [page_b], 0x55667788
  mov qword [entry_a], page_b | R | WB
  RUN
  NOTE_AT [guest_rbx]

entry_of_pml4 equ ept_pt + 8 * (pml4 >> 12)
  EPT_GUEST walk_absent, reads_a
  mov qword [entry_of_pml4], 0
  RUN
  call note_walk
  NOTE_FIELD PHYSICAL
  EPT_GUEST walk_linear, reads_a
  mov qword [entry_of_pml4], 0
  RUN
  mov eax, LINEAR
  vmread rax, rax
  cmp eax, reads_a
  sete al
  movzx eax, al
  NOTE eax
  EPT_GUEST walk_read_only, reads_a
  mov qword [entry_of_pml4], pml4 | R | WB
  RUN
  EPT_GUEST walk_counts_as_write, reads_a
  FIELD EPTP, ept_pml4 | (3 << 3) | 6 | (1 << 6)
  mov qword [entry_of_pml4], pml4 | R | WB
  RUN
  call note_walk
  NOTE_FIELD PHYSICAL
  BEGIN walk_in_exception   ; no event was being delivered
  GUEST
    mov eax, [page_a]
  END_GUEST
  USE_EPT
  mov qword [entry_of_pml4], 0
  RUN
  call note_walk
  mov eax, VECTORING
  vmread rax, rax
  shr eax, 31
  NOTE eax

  EPT_GUEST flags_off, writes_a
  RUN
  mov eax, [entry_a]
  and eax, 0x300
  NOTE eax
%macro WITH_FLAGS 2
  EPT_GUEST %1, %2
  FIELD EPTP, ept_pml4 | (3 << 3) | 6 | (1 << 6)
  RUN
%endmacro
  WITH_FLAGS flags_read, reads_a
  mov eax, [entry_a]
  and eax, 0x300
  NOTE eax
  mov eax, [ept_pml4]
  and eax, 0x300
  NOTE eax
  WITH_FLAGS flags_write, writes_a
  mov eax, [entry_a]
  and eax, 0x300
  NOTE eax
  mov eax, [ept_pd]
  and eax, 0x300
  NOTE eax
  WITH_FLAGS flags_large, writes_large
  mov eax, [entry_large]
  and eax, 0x300
  NOTE eax
  WITH_FLAGS flags_of_walk, reads_a
  mov eax, [entry_of_pml4]
  and eax, 0x300
  NOTE eax

entry_of_stack equ ept_pt + 8 * ((guest_stack_top >> 12) - 1)
entry_of_idt equ ept_pt + 8 * (guest_idt >> 12)
  EPT_GUEST delivery_stack, raises_ud
  mov qword [entry_of_stack], (guest_stack_top - 0x1000) | R | WB
  RUN
  NOTE_FIELD VECTORING
  call note_violation
  BEGIN delivery_gate
  GUEST
    int 0x21
  END_GUEST
  USE_EPT
  mov qword [entry_of_idt], 0
  RUN
  NOTE_FIELD VECTORING, LENGTH
  EPT_GUEST delivery_repeated, raises_ud            ; the tables repaired, the same instruction again
  mov qword [entry_of_idt], 0
  RUN
  mov qword [entry_of_idt], guest_idt | R | W | WB
  RUN
  NOTE_AT [guest_rax]
  BEGIN iret_unblocks       ; bit 12, as with a fault
  GUEST
    mov esp, page_a
    iretq
  END_GUEST
  USE_EPT
  ALSO PIN, (1 << 3) | (1 << 5)
  FIELD INTERRUPTIBILITY, 8
  mov qword [entry_a], 0
  RUN
  NOTE_FIELD QUALIFICATION
  BEGIN page_fault_first    ; the guest's tables refuse before ours are asked
  GUEST
    mov eax, [0x12345678]
  END_GUEST
  USE_EPT
  FIELD EXCEPTIONS, 1 << 14
  RUN

%macro DESCRIPTOR_OF 2      ; for INVEPT and INVVPID
  mov rax, %1
  mov [descriptor], rax
  mov rax, %2
  mov [descriptor + 8], rax
%endmacro
; The guest reads page_a, time and again; in between, its translation becomes that of page_b.
%macro FIRST_READ 0
  mov dword [page_a], 0x11111111
  mov dword [page_b], 0x22222222
  RUN
  NOTE_AT [guest_rbx]
%endmacro
  EPT_GUEST invept_single, reads_a_often
  FIRST_READ
  mov qword [entry_a], page_b | R | W | WB
  DESCRIPTOR_OF ept_pml4 | (3 << 3) | 6, 0
  mov ecx, 1
  invept rcx, [descriptor]
  SKIP_INSTRUCTION
  RUN
  NOTE_AT [guest_rbx]
  EPT_GUEST invept_all, reads_a_often
  FIRST_READ
  mov qword [entry_a], page_b | R | W | WB
  DESCRIPTOR_OF 0, 0
  mov ecx, 2
  invept rcx, [descriptor]
  SKIP_INSTRUCTION
  RUN
  NOTE_AT [guest_rbx]
  EPT_GUEST violation_drops, reads_a                ; no INVEPT is needed behind a violation
  mov qword [entry_a], 0
  RUN
  mov qword [entry_a], page_a | R | WB
  RUN
  EPT_GUEST other_root, reads_a_often
  SECONDARY_ALSO 1 << 5
  FIELD VPID_, 1
  call second_tree
  FIRST_READ
  SKIP_INSTRUCTION
  FIELD EPTP, second_pml4 | (3 << 3) | 6
  RUN
  NOTE_AT [guest_rbx]
  SKIP_INSTRUCTION
  FIELD EPTP, ept_pml4 | (3 << 3) | 6
  RUN
  NOTE_AT [guest_rbx]
; The same with the guest's own translation, without EPT: by linear address and VPID.
%macro LINEAR_GUEST 2       ; test, VPID or 0
  BEGIN %1
  mov eax, reads_a_often
  call fresh_guest
  call guest_tables
  FIELD G_CR3, guest_pml4
  %if %2
    SECONDARY_ALSO 1 << 5
    FIELD VPID_, %2
  %endif
  FIRST_READ
  SKIP_INSTRUCTION
  mov dword [guest_pml4 + 0x3000 + 8 * (page_a >> 12)], page_b | 3
%endmacro
  LINEAR_GUEST vpid_0_flushes, 0
  RUN
  NOTE_AT [guest_rbx]
  LINEAR_GUEST other_vpid, 2
  FIELD VPID_, 3
  RUN
  NOTE_AT [guest_rbx]
%macro INVVPID_GUEST 4      ; test, type, linear address, a VPID that no other test has used
  LINEAR_GUEST %1, %4
  DESCRIPTOR_OF %4, %3
  mov ecx, %2
  invvpid rcx, [descriptor]
  RUN
  NOTE_AT [guest_rbx]
%endmacro
  INVVPID_GUEST invvpid_address, 0, page_a, 4
  INVVPID_GUEST invvpid_single, 1, 0, 5
  INVVPID_GUEST invvpid_all, 2, 0, 6
  INVVPID_GUEST invvpid_keep_globals, 3, 0, 7
%macro GUEST_FLUSHES 2+     ; the guest changes its own table
  BEGIN %1
  GUEST
    mov ebx, [page_a]
    mov dword [guest_pml4 + 0x3000 + 8 * (page_a >> 12)], page_b | 3
    %2
    mov ebx, [page_a]
    vmcall
  END_GUEST
  call guest_tables
  FIELD G_CR3, guest_pml4
  SECONDARY_ALSO 1 << 5
  FIELD VPID_, 5
  WITHOUT PRIMARY, (1 << 9) | (3 << 15)
  mov dword [page_a], 0x11111111
  mov dword [page_b], 0x22222222
  RUN
  NOTE_AT [guest_rbx]
%endmacro
  GUEST_FLUSHES guest_invlpg, invlpg [page_a]
  DESCRIPTOR_OF 5, 0
  mov ecx, 1
  invvpid rcx, [descriptor]
%macro CR3_AGAIN 0
    mov rax, cr3
    mov cr3, rax
%endmacro
  GUEST_FLUSHES guest_cr3, CR3_AGAIN
  FINISH

; The qualification, in the bits that every processor has, if that was an EPT violation.
note_violation:
  mov eax, REASON
  vmread rax, rax
  cmp eax, E_EPT_VIOLATION
  jne .no
  mov eax, QUALIFICATION
  vmread rax, rax
  and eax, 0x1bf
  NOTE eax
.no:
  ret
note_walk:
  mov eax, QUALIFICATION
  vmread rax, rax
  and eax, 0x1bf
  NOTE eax
  ret
split_b:                    ; 8 MiB to 10 MiB by pages
  mov edi, second_pml4
  mov eax, 0x800000 | R | W | X | WB
  mov ecx, 512
.next:
  mov [rdi], rax
  add eax, 0x1000
  add edi, 8
  loop .next
  mov dword [ept_pd + 8 * 4], second_pml4 | R | W | X
  ret
second_tree:                ; the same tables, but that page_a is page_b
  mov dword [second_pml4], (second_pml4 + 0x1000) | R | W | X
  mov dword [second_pml4 + 4], 0
  mov dword [second_pml4 + 0x1000], (second_pml4 + 0x2000) | R | W | X
  mov dword [second_pml4 + 0x1004], 0
  mov esi, ept_pd
  mov edi, second_pml4 + 0x2000
  mov ecx, 0x2000 / 4
  rep movsd
  mov dword [second_pml4 + 0x2000], (second_pml4 + 0x3000) | R | W | X
  mov dword [second_pml4 + 0x3000 + 8 * (page_a >> 12)], page_b | R | W | X | WB
  ret
guest_tables:               ; 2 MiB by pages
  mov dword [guest_pml4], (guest_pml4 + 0x1000) | 3
  mov dword [guest_pml4 + 0x1000], (guest_pml4 + 0x2000) | 3
  mov dword [guest_pml4 + 0x2000], (guest_pml4 + 0x3000) | 3
  mov edi, guest_pml4 + 0x3000
  mov eax, 3
  mov ecx, 512
.next:
  mov [rdi], rax
  add eax, 0x1000
  add edi, 8
  loop .next
  ret

reads_a:
  mov ebx, [page_a]
  vmcall
reads_a_often:
  mov ebx, [page_a]
  vmcall
  mov ebx, [page_a]
  vmcall
  mov ebx, [page_a]
  vmcall
writes_a:
  mov dword [page_a], 0x90c1010f
  vmcall
executes_a:
  mov eax, page_a
  jmp rax
reads_b:
  mov ebx, [0x800000]
  vmcall
writes_b:
  mov dword [0x800000], 0
  vmcall
executes_b:
  mov eax, 0x800000
  jmp rax
reads_large:
  mov ebx, [large]
  vmcall
writes_large:
  mov dword [large], 0
  vmcall
raises_ud:
  ud2
align 8, db 0
descriptor: dq 0, 0
%include "runtime.inc"
