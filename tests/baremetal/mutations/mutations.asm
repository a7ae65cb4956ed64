; Random VMCSs. Each round takes a good VMCS for one of six kinds of guest with some of the optional features, changes one field
; or two, tries VMLAUNCH, and prints a line:
;
;   ROUND SHAPE FIELD VALUE [FIELD VALUE] = OUTCOME
;
; OUTCOME is FA11xxxx for VMfail, 8000xxxx and the qualification for an entry that fails late; otherwise the exit reason, the
; qualification, the interruption and the vectoring information, and "+ FIELD VALUE" for each field of the guest's state that is
; another than before the entry. All numbers are hexadecimal. What a round does follows from SEED and its number alone, so it can
; be repeated by itself: nasm -D SEED=1 -D FIRST=123 -D ROUNDS=1. With -D PERMUTED the fields of each VMCS are written once more, in
; another order each time, before it is tried; which must not matter.
;
; A guest that was entered does not run wild: either the VMX-preemption timer is 0, so that it leaves before its first
; instruction, or that is CPUID and nothing was changed by which it is found.
%ifndef SEED
  %define SEED 1
%endif
%ifndef FIRST
  %define FIRST 0
%endif
%ifndef ROUNDS
  %define ROUNDS 1000
%endif
%include "test.inc"
%include "long.inc"
%include "vmx.inc"
%include "vmx_modes.inc"

round       equ 0x28000
random_state equ 0x28008
shape       equ 0x28010
changed     equ 0x28018     ; union of the marks of the fields that were changed
good_cr0    equ 0x28020
good_cr4    equ 0x28028
good_efer   equ 0x28030
host_pointers equ 0x28040   ; GDTR, IDTR
before      equ 0x28100     ; the fields that are printed if they change
written     equ 0x28800     ; with PERMUTED all of them
gates32     equ 0x29000     ; the IDT of 32-bit guests

; Bits of SHAPE behind the kind
WITH_BITMAPS equ 8
WITH_TPR     equ 9
WITH_APIC    equ 10
WITH_VPID    equ 11
WITH_MSRS    equ 12
WITH_DEBUG   equ 13
WITH_NMIS    equ 14
WITH_EVENT   equ 15
WITH_TIMER   equ 16
TWO_FIELDS   equ 17
VALID        equ 1 << 31

TABLE
END_TABLE

; How a field is changed
ANY     equ 0
COUNT   equ 1               ; of a list: below 32, which are there
LIST    equ 2               ; the address of a list, good or bad at first sight
HOST_CR4 equ 3              ; none of the bits with which we could not go on
HOST_ADDRESS equ 4          ; one that fails, since we could not go on with another
; What must not be done with it
NEEDS_TIMER equ 1           ; CPUID might not be found
NO_EVENT    equ 2           ; a frame might be pushed anywhere

%macro CHANGED 1-3 ANY, 0   ; CHANGED field, how, marks
  dw %1
  db %2, %3
%endmacro
fields:
  CHANGED VPID_
  %assign f 0
  %rep 8
    CHANGED G_ES + f
    CHANGED LIMIT(G_ES + f)
    CHANGED RIGHTS(G_ES + f)
    CHANGED RIGHTS(G_ES + f)                        ; as often as all that is checked about them deserves
    %if G_ES + f == G_CS
      CHANGED BASE(G_CS), ANY, NEEDS_TIMER
    %elif (G_ES + f == G_SS) || (G_ES + f == G_TR)
      CHANGED BASE(G_ES + f), ANY, NO_EVENT
    %else
      CHANGED BASE(G_ES + f)
    %endif
    %assign f f + 2
  %endrep
  %assign f 0
  %rep 7
    CHANGED H_ES + f
    %assign f f + 2
  %endrep
  CHANGED IO_BITMAP_A
  CHANGED IO_BITMAP_B
  CHANGED MSR_BITMAP
  CHANGED EXIT_STORE, LIST
  CHANGED EXIT_LOAD, LIST
  CHANGED ENTRY_LOAD, LIST
  CHANGED TSC_OFFSET
  CHANGED VIRTUAL_APIC
  CHANGED APIC_ACCESS
  CHANGED EPTP, ANY, NEEDS_TIMER | NO_EVENT
  CHANGED LINK
  CHANGED G_DEBUGCTL
  CHANGED G_PAT
  CHANGED G_EFER, ANY, NEEDS_TIMER
  CHANGED G_PDPTE0, ANY, NEEDS_TIMER | NO_EVENT
  CHANGED G_PDPTE0 + 2, ANY, NEEDS_TIMER | NO_EVENT
  CHANGED H_PAT
  CHANGED H_EFER
  CHANGED PIN
  CHANGED PIN
  CHANGED PRIMARY
  CHANGED PRIMARY
  CHANGED EXCEPTIONS
  CHANGED PF_MASK
  CHANGED PF_MATCH
  CHANGED CR3_TARGETS
  CHANGED EXITS
  CHANGED EXITS
  CHANGED EXIT_STORES, COUNT
  CHANGED EXIT_LOADS, COUNT
  CHANGED ENTRIES, ANY, NEEDS_TIMER
  CHANGED ENTRIES, ANY, NEEDS_TIMER
  CHANGED ENTRY_LOADS, COUNT
  CHANGED INJECT
  CHANGED INJECT
  CHANGED INJECT_ERROR
  CHANGED INJECT_LENGTH
  CHANGED TPR_THRESHOLD
  CHANGED SECONDARY, ANY, NEEDS_TIMER | NO_EVENT
  CHANGED SECONDARY, ANY, NEEDS_TIMER | NO_EVENT
  CHANGED G_GDTR_LIMIT
  CHANGED G_IDTR_LIMIT
  CHANGED INTERRUPTIBILITY
  CHANGED INTERRUPTIBILITY
  CHANGED ACTIVITY, ANY, NEEDS_TIMER
  CHANGED G_SYSENTER_CS
  CHANGED H_SYSENTER_CS
  CHANGED CR0_MASK
  CHANGED CR4_MASK
  CHANGED CR0_SHADOW
  CHANGED CR4_SHADOW
  CHANGED G_CR0, ANY, NEEDS_TIMER | NO_EVENT
  CHANGED G_CR0, ANY, NEEDS_TIMER | NO_EVENT
  CHANGED G_CR3, ANY, NEEDS_TIMER | NO_EVENT
  CHANGED G_CR4, ANY, NEEDS_TIMER | NO_EVENT
  CHANGED G_CR4, ANY, NEEDS_TIMER | NO_EVENT
  CHANGED G_GDTR
  CHANGED G_IDTR, ANY, NO_EVENT
  CHANGED G_DR7
  CHANGED G_RSP, ANY, NO_EVENT
  CHANGED G_RIP, ANY, NEEDS_TIMER
  CHANGED G_RFLAGS
  CHANGED G_RFLAGS
  CHANGED PENDING_DEBUG
  CHANGED PENDING_DEBUG
  CHANGED G_SYSENTER_ESP
  CHANGED G_SYSENTER_EIP
  CHANGED H_CR0
  CHANGED H_CR3, HOST_ADDRESS
  CHANGED H_CR4, HOST_CR4
  CHANGED H_FS_BASE
  CHANGED H_GS_BASE
  CHANGED H_TR_BASE
  CHANGED H_GDTR
  CHANGED H_IDTR
  CHANGED H_SYSENTER_ESP
  CHANGED H_SYSENTER_EIP
  CHANGED H_RIP, HOST_ADDRESS
field_count equ ($ - fields) / 4
  CHANGED PREEMPTION        ; these stay as they are
  CHANGED G_PDPTE0 + 4
  CHANGED G_PDPTE0 + 6
all_field_count equ ($ - fields) / 4

align 8, db 0
edges: dq 0, 1, 2, 3, 7, 0xff, 0xfff, 0x1000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x7fffffffff
  dq 0x200000000000, 0x7fffffffffff, 0x800000000000, 0xffff7fffffffffff, 0xffff800000000000, 0x7fffffffffffffff, -1, -0x1000
  dq vmcs_a, vmcs_b, vmxon_region, page_a, 0xfee00000
edge_count equ ($ - edges) / 8
lists: dq msr_list, msr_list + 8, msr_list + (1 << 45), msr_list + (1 << 63), msr_list + 0x1001, 1, msr_list + 4, msr_list + 16
bad_host_addresses: dq 0x8000000000000000, 0x0123456789abcdef, 0xff00000000000000, 0x4000000000000000
; What is printed if an exit has left another value, in this order
kept: dw G_ES, G_CS, G_SS, G_DS, G_FS, G_GS, G_LDTR, G_TR
  %assign f 0
  %rep 8
    dw LIMIT(G_ES + f), RIGHTS(G_ES + f), BASE(G_ES + f)
    %assign f f + 2
  %endrep
  dw G_GDTR, G_GDTR_LIMIT, G_IDTR, G_IDTR_LIMIT, G_CR0, G_CR3, G_CR4, G_DR7, G_RSP, G_RIP, G_RFLAGS, PENDING_DEBUG
  dw INTERRUPTIBILITY, ACTIVITY, G_DEBUGCTL, G_SYSENTER_CS, G_SYSENTER_ESP, G_SYSENTER_EIP, G_EFER, G_PAT, INJECT, ENTRIES
kept_count equ ($ - kept) / 2
align 4, db 0
kinds: dd long_guest, ept_guest, guest32, real_guest, v86_guest, pae_guest
kind_count equ ($ - kinds) / 4
; Events that fit a 64-bit guest: information, error code, length
events: dd VALID | 0x21, 0, 0
  dd VALID | (2 << 8) | 2, 0, 0
  dd VALID | (3 << 8) | 6, 0, 0
  dd VALID | (3 << 8) | (1 << 11) | 13, 0x1230, 0
  dd VALID | (4 << 8) | 0x22, 0, 2
  dd VALID | (6 << 8) | 3, 0, 1
  dd VALID | (5 << 8) | 1, 0, 1
  dd VALID | (3 << 8) | (1 << 11) | 14, 2, 0

%macro PRINT 1
  mov eax, %1
  call print_number
  call print_space
%endmacro
%macro IF_SHAPE 1           ; skips to the label .not_%1 unless the bit is set
  bt dword [shape], %1
  jnc .not_%1
%endmacro

main:
  ENTER_LONG
  VMX_ON
  mov rax, cr0
  mov [good_cr0], rax
  mov rax, cr4
  mov [good_cr4], rax
  mov ecx, 0xc0000080
  rdmsr
  mov [good_efer], eax
  mov dword [good_efer + 4], 0
  sgdt [host_pointers]
  sidt [host_pointers + 16]
  xor edi, edi              ; vectors of real mode
  mov eax, ((ORIGIN >> 4) << 16) | OFFSET16(real_cpuid)
  mov ecx, 256
  rep stosd
  mov edi, gates32
  mov ecx, 128
.gate:
  mov dword [rdi], GATE_LOW(CODE32, ADDRESS(guest_code))
  mov dword [rdi + 4], GATE_HIGH(ADDRESS(guest_code), R_INT32, 0)
  add edi, 8
  loop .gate
  mov dword [round], FIRST
.round:
  call one_round
  inc dword [round]
  cmp dword [round], FIRST + ROUNDS
  jb .round
  FINISH

one_round:
  call restore_host
  mov edi, msr_list         ; 32 good ones
  mov ecx, 32
.listed:
  mov dword [rdi], 0x174
  mov dword [rdi + 4], 0
  mov dword [rdi + 8], ecx
  mov dword [rdi + 12], 0
  add edi, 16
  loop .listed
  mov ecx, [round]
  add ecx, SEED * 0x10001
  mov rax, 0x9e3779b97f4a7c15
  imul rax, rcx
  mov [random_state], rax
  call random
  call random
  call random
  mov [shape], rax
  mov [changed], rax
  mov dword [changed], 0
  PRINT [round]
  PRINT [shape]
  mov eax, [shape]
  and eax, 0xff
  xor edx, edx
  mov ecx, kind_count
  div ecx
  mov eax, [kinds + 4 * rdx]
  call rax
  call add_features
  call change_field
  IF_SHAPE TWO_FIELDS
  call change_field
.not_TWO_FIELDS:
  test byte [changed], NO_EVENT
  jz .events_may_be
  WITHOUT INJECT, VALID
.events_may_be:
  test byte [changed], NEEDS_TIMER
  jnz .timer
  IF_SHAPE WITH_TIMER
.timer:
  ALSO PIN, 1 << 6
  FIELD PREEMPTION, 0
.not_WITH_TIMER:
  mov ecx, ACTIVITY         ; nothing ends the wait for a SIPI
  vmread rax, rcx
  cmp eax, 3
  jne .no_wait
  mov eax, 4
  vmwrite rcx, rax
.no_wait:
  mov al, '='
  call print_character
  call print_space
%ifdef PERMUTED
  call write_anew
%endif
  call remember_state
  call enter_guest
  push rax
  call restore_host
  pop rax
  push rax
  call print_number
  call print_space
  pop rax
  cmp eax, 0x8000
  jae .told
  mov ecx, QUALIFICATION
  call print_field
  mov ecx, INTERRUPTION
  call print_event
  mov ecx, VECTORING
  call print_event
  call print_changes
.told:
  mov al, 10
  jmp print_character

; The same as after a reset, whatever the last exit has loaded.
restore_host:
  lgdt [host_pointers]
  lidt [host_pointers + 16]
  mov eax, DATA32
  mov ds, eax
  mov es, eax
  mov ss, eax
  mov rax, [good_cr0]
  mov cr0, rax
  mov rax, [good_cr4]
  mov cr4, rax
  mov ecx, 0xc0000080
  mov eax, [good_efer]
  xor edx, edx
  wrmsr
  mov eax, 0x400
  mov dr7, rax
  xor eax, eax
  mov cr2, rax
  pop rcx                   ; IRET, since an NMI may have exited
  mov rax, rsp
  push qword DATA32
  push rax
  push qword 2
  push qword CODE64
  push rcx
  iretq

random:                     ; to RAX
  mov rax, [random_state]
  mov rdx, rax
  shl rdx, 13
  xor rax, rdx
  mov rdx, rax
  shr rdx, 7
  xor rax, rdx
  mov rdx, rax
  shl rdx, 17
  xor rax, rdx
  mov [random_state], rax
  ret
random_below:               ; ECX: to RAX
  call random
  shr rax, 8
  mov eax, eax
  xor edx, edx
  div ecx
  mov eax, edx
  ret

; ---- The six kinds

long_guest:
  mov eax, guest_code
  jmp fresh_guest
ept_guest:
  call long_guest
  USE_EPT
  ret
guest32:
  call long_guest
  NOT_LONG
  FIELD RIGHTS(G_CS), 0xc09b
  TABLES_32
  ALSO G_CR4, 0x10
  FIELD G_CR3, page_directory
  FIELD G_IDTR, gates32
  ret
real_guest:
  call long_guest
  jmp make_real
v86_guest:
  call long_guest
  NOT_LONG
  TABLES_32
  ALSO G_CR4, 0x10
  FIELD G_CR3, page_directory
  FIELD G_IDTR, gates32
  jmp make_v86
pae_guest:
  call long_guest
  NOT_LONG
  FIELD RIGHTS(G_CS), 0xc09b
  TABLES_PAE
  USE_EPT
  ALSO G_CR4, 0x20
  FIELD G_CR3, PAE_TABLE
  FIELD G_IDTR, gates32
  FIELD G_PDPTE0, page_directory + 1
  FIELD G_PDPTE0 + 2, 0
  FIELD G_PDPTE0 + 4, 0
  FIELD G_PDPTE0 + 6, 0
  ret
guest_code:                    ; the same in every mode
  cpuid

add_features:
  FIELD EXCEPTIONS, -1
  ALSO PRIMARY, 1 << 7
  WITHOUT PRIMARY, 3 << 19
  FIELD CR3_TARGETS, 0
  FIELD G_PAT, 0x0007040600070406
  FIELD H_PAT, 0x0007040600070406
  FIELD H_EFER, [good_efer]
  mov ecx, ENTRIES
  vmread rdx, rcx
  mov eax, [good_efer]
  test edx, 1 << 9
  jnz .long
  and eax, ~0x500
.long:
  mov ecx, G_EFER
  call write_field
  IF_SHAPE WITH_BITMAPS
  ALSO PRIMARY, (1 << 25) | (1 << 28)
.not_WITH_BITMAPS:
  IF_SHAPE WITH_TPR
  ALSO PRIMARY, 1 << 21
  mov dword [virtual_apic + 0x80], 0x50
  FIELD TPR_THRESHOLD, 4
  IF_SHAPE WITH_APIC
  SECONDARY_ALSO 1 << 0
.not_WITH_APIC:
.not_WITH_TPR:
  IF_SHAPE WITH_VPID
  SECONDARY_ALSO 1 << 5
  FIELD VPID_, 7
.not_WITH_VPID:
  IF_SHAPE WITH_MSRS
  ALSO ENTRIES, 3 << 14
  ALSO EXITS, 15 << 18
.not_WITH_MSRS:
  IF_SHAPE WITH_DEBUG
  ALSO ENTRIES, 1 << 2
  ALSO EXITS, 1 << 2
.not_WITH_DEBUG:
  IF_SHAPE WITH_NMIS
  ALSO PIN, (1 << 3) | (1 << 5)
.not_WITH_NMIS:
  IF_SHAPE WITH_EVENT
  mov ecx, 8
  call random_below
  lea eax, [rax + 2 * rax]
  lea ebx, [events + 4 * rax]
  FIELD INJECT, [rbx]
  FIELD INJECT_ERROR, [rbx + 4]
  FIELD INJECT_LENGTH, [rbx + 8]
  cmp byte [rbx], 0x21
  jne .not_WITH_EVENT
  ALSO G_RFLAGS, F_IF
.not_WITH_EVENT:
  ret

; ---- What is changed: EBX its row

change_field:
  mov ecx, field_count
  call random_below
  lea ebx, [fields + 4 * rax]
  mov al, [rbx + 3]
  or [changed], al
  movzx eax, word [rbx]
  call print_number
  call print_space
  movzx ecx, word [rbx]
  vmread rsi, rcx
  movzx eax, byte [rbx + 2]
  cmp eax, COUNT
  je .count
  cmp eax, LIST
  je .list
  cmp eax, HOST_CR4
  je .host_cr4
  cmp eax, HOST_ADDRESS
  je .host_address
  call changed_value
.write:
  movzx ecx, word [rbx]
  call write_field
  movzx ecx, word [rbx]
  vmread rax, rcx
  push rax
  shr rax, 32
  call print_number
  pop rax
  call print_number
  jmp print_space
.count:
  call random
  shr rax, 20
  and eax, 31
  jmp .write
.list:
  mov ecx, 8
  call random_below
  push qword [lists + 8 * rax]
  movzx ecx, word [rbx]     ; its count: 2006h has 400Eh, 2008h 4010h, 200Ah 4014h
  add ecx, 0x400e - 0x2006
  cmp ecx, 0x4012
  jne .counted
  mov ecx, ENTRY_LOADS
.counted:
  mov eax, 1
  call write_field
  pop rax
  jmp .write
.host_cr4:
  mov ecx, 64
  call random_below
  mov ecx, eax
  mov eax, 1
  shl rax, cl
  mov edx, (1 << 12) | (0xff << 17)     ; LA57, PCIDE and upwards
  test eax, edx
  jz .flip_host
  xor eax, eax
.flip_host:
  xor rax, rsi
  jmp .write
.host_address:
  call random
  shr rax, 13
  and eax, 3
  mov rax, [bad_host_addresses + 8 * rax]
  jmp .write

changed_value:              ; of RSI, for the field at EBX: to RAX
  movzx ecx, word [rbx]
  shr ecx, 13
  mov edi, 16
  jecxz .width_known
  mov edi, 32
  cmp ecx, 2
  je .width_known
  mov edi, 64
.width_known:
  mov ecx, 8
  call random_below
  jmp [ways + 8 * rax]
.two_bits:
  call .one_bit
  mov rsi, rax
.one_bit:
  mov ecx, edi
  call random_below
  btc rsi, rax
  mov rax, rsi
  ret
.edge:
  mov ecx, edge_count
  call random_below
  mov rax, [edges + 8 * rax]
  ret
.small:
  mov ecx, 256
  jmp random_below
.near:
  mov ecx, 16
  call random_below
  lea rax, [rsi + rax - 8]
  ret
.shifted:
  mov ecx, edi
  call random_below
  push rax
  call random
  pop rcx
  shr rax, cl
  ret
align 8, db 0
ways: dq changed_value.one_bit, changed_value.one_bit, changed_value.one_bit, changed_value.two_bits, changed_value.edge
  dq changed_value.small, changed_value.near, changed_value.shifted

%ifdef PERMUTED
; The same VMCS, whose fields are written in another order each time.
STRIDE equ 89
%if all_field_count % STRIDE == 0
  %error "the stride must lead to every field"
%endif
write_anew:
  mov ebx, fields
  mov edi, written
.read:
  movzx eax, word [rbx]
  vmread rax, rax
  mov [rdi], rax
  add ebx, 4
  add edi, 8
  cmp ebx, fields + 4 * all_field_count
  jb .read
  vmclear [vmcs_a_pointer]
  mov edi, vmcs_a + 4
  mov ecx, 0xffc / 4
  xor eax, eax
  rep stosd
  vmclear [vmcs_a_pointer]
  vmptrld [vmcs_a_pointer]
  mov eax, [round]
  xor edx, edx
  mov ecx, all_field_count
  div ecx
  mov ebx, all_field_count
.write:
  movzx ecx, word [fields + 4 * rdx]
  mov rax, [written + 8 * rdx]
  vmwrite rcx, rax
  add edx, STRIDE
  cmp edx, all_field_count
  jb .within
  sub edx, all_field_count
.within:
  dec ebx
  jnz .write
  ret
%endif

; ---- Reports

print_space:
  mov al, ' '
  jmp print_character
print_field:                ; ECX, in full
  vmread rax, rcx
  push rax
  shr rax, 32
  call print_number
  pop rax
  call print_number
  jmp print_space
print_event:                ; ECX; without the valid bit the others say nothing
  vmread rax, rcx
  test eax, eax
  js .valid
  xor eax, eax
.valid:
  call print_number
  jmp print_space
remember_state:
  mov ebx, kept
  mov edi, before
.next:
  movzx ecx, word [rbx]
  vmread rax, rcx
  mov [rdi], rax
  add edi, 8
  add ebx, 2
  cmp ebx, kept + 2 * kept_count
  jb .next
  ret
print_changes:
  mov ebx, kept
  mov edi, before
.next:
  movzx ecx, word [rbx]
  vmread rax, rcx
  cmp rax, [rdi]
  je .same
  push rcx
  mov al, '+'
  call print_character
  call print_space
  pop rcx
  mov eax, ecx
  call print_number
  call print_space
  call print_field
.same:
  add edi, 8
  add ebx, 2
  cmp ebx, kept + 2 * kept_count
  jb .next
  ret
%include "runtime.inc"
