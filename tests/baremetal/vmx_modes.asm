; Guests in other modes than ours, and what the virtual-APIC page stands in for: unrestricted guests without paging and without
; protection, 32-bit paging with and without PAE, virtual-8086 mode, task switches, the TPR shadow, the APIC-access page.
%include "test.inc"
%include "long.inc"
%include "vmx.inc"
%include "vmx_modes.inc"

BAD equ BAD_GUEST
T_JUMP equ 2 << 30          ; sources of a task switch
T_CALL equ 0 << 30
T_IRET equ 1 << 30
T_GATE equ (3 << 30)
TASK equ SPARE              ; a TSS of 32 bits, and a task gate
TASK_GATE equ SPARE + 8

TABLE
; unrestricted guest: real mode
  TEST real_runs, EXIT(E_CPUID), 0x1000, 2
  TEST real_interrupt, EXIT(E_VMCALL), 0x77
  TEST real_injected, EXIT(E_VMCALL), 0x77
  TEST real_pushes, EXIT(E_CPUID), 0x1000, 0x202
  TEST real_limit, EXIT(E_EXCEPTION), 0x8000030d
  TEST real_to_protected, EXIT(E_VMCALL), 0x31
  TEST real_error_code, BAD_CONTROLS
  TEST real_pe_needs_unrestricted, BAD
  TEST real_cs_writable_data, EXIT(E_CPUID)
  TEST real_hlt_wakes, EXIT(E_VMCALL), 0x77
; protected mode without paging, with it
  TEST flat_runs, EXIT(E_VMCALL), 0x1234
  TEST flat_upper_half, EXIT(E_VMCALL), 0
  TEST compatibility_runs, EXIT(E_VMCALL), 0x89abcdef
  TEST paging32_runs, EXIT(E_VMCALL), 0x55667788
  TEST pae_from_memory, EXIT(E_VMCALL), 0x55667788
  TEST pae_from_fields, EXIT(E_VMCALL), 0x55667788
  TEST pae_field_reserved, BAD_ENTRY(33, 2)
  TEST pae_saved, EXIT(E_VMCALL), page_directory + 1
  TEST paging_off, EXIT(E_VMCALL), 0x31
  TEST long_switched_on, EXIT(E_VMCALL), 1, 0x500
; virtual-8086 mode
  TEST v86_enters, EXIT(E_CPUID)
  TEST v86_base, BAD
  TEST v86_limit, BAD
  TEST v86_rights, BAD
; task switches: qualification, length
  TEST task_jump, EXIT(E_TASK_SWITCH), T_JUMP | TASK, 7
  TEST task_call, EXIT(E_TASK_SWITCH), T_CALL | TASK, 7
  TEST task_gate_call, EXIT(E_TASK_SWITCH), T_CALL | TASK, 7
  TEST task_interrupt, EXIT(E_TASK_SWITCH), T_GATE | TASK, 2, 0x80000421
  TEST task_exception, EXIT(E_TASK_SWITCH), T_GATE | TASK, 0x80000306
  TEST task_iret, EXIT(E_TASK_SWITCH), T_IRET | TASK, 1
  TEST task_absent_first, EXIT(E_EXCEPTION), 0x80000b0b, TASK
; TPR shadow
  TEST tpr_read, EXIT(E_CPUID), 5
  TEST tpr_write, EXIT(E_CPUID), 0x70
  TEST tpr_below_threshold, EXIT(E_TPR), 4, 0x20
  TEST tpr_at_threshold, EXIT(E_CPUID), 0x30
  TEST tpr_real_untouched, EXIT(E_CPUID), 0
  TEST tpr_at_entry, EXIT(E_TPR), 0
  TEST tpr_invalid, EXIT(E_VMCALL), 13
; APIC-access page: offset and kind of access (0 read, 1 write, 2 fetch)
  TEST apic_read, EXIT(E_APIC_ACCESS), 0x0020
  TEST apic_write, EXIT(E_APIC_ACCESS), 0x10b0
  TEST apic_fetch, EXIT(E_APIC_ACCESS), 0x2000
  TEST apic_tpr_read, EXIT(E_CPUID), 0x50
  TEST apic_tpr_write, EXIT(E_CPUID), 0x60
  TEST apic_tpr_write_below, EXIT(E_TPR), 0x10
  TEST apic_delivery, EXIT(E_APIC_ACCESS), 0x3ff8, 0x80000306
END_TABLE

%macro NOTE_RBX 0
  NOTE_AT [guest_rbx]
%endmacro
%macro REAL_GUEST 0         ; from here to END_GUEST 16-bit code, with CS 1000h and the other bases 0
  GUEST 16
%endmacro
%macro END_REAL_GUEST 0
  END_GUEST
  call make_real
%endmacro
%macro GUEST32 0
  GUEST 32
%endmacro
%macro END_GUEST32 0        ; protected mode with paging off, unless told otherwise
  END_GUEST
  NOT_LONG
  FIELD RIGHTS(G_CS), 0xc09b
%endmacro
%macro WITHOUT_PAGING 0
  UNRESTRICTED
  WITHOUT G_CR0, 1 << 31
%endmacro

main:
  ENTER_LONG
  VMX_ON
  BEGIN real_runs
  REAL_GUEST
    mov bx, cs
    cpuid
  END_REAL_GUEST
  mov dword [guest_rbx], 0
  RUN
  NOTE_FIELD G_CS, LENGTH
  BEGIN real_interrupt
  REAL_GUEST
    int 0x21
    cpuid
  END_REAL_GUEST
  RUN
  NOTE_RBX
  BEGIN real_injected
  REAL_GUEST
    cpuid
  END_REAL_GUEST
  FIELD G_RFLAGS, F_IF | 2
  FIELD INJECT, (1 << 31) | 0x21
  RUN
  NOTE_RBX
  BEGIN real_pushes         ; IP, CS, FLAGS, of 16 bits each
  REAL_GUEST
    int 0x22
  END_REAL_GUEST
  FIELD G_RFLAGS, F_IF | 2
  RUN
  movzx eax, word [real_stack_top - 4]
  NOTE eax
  movzx eax, word [real_stack_top - 2]
  NOTE eax
  BEGIN real_limit          ; no error code in real mode
  REAL_GUEST
    mov eax, 0x10000
    mov bl, [eax]
  END_REAL_GUEST
  FIELD EXCEPTIONS, 1 << 13
  RUN
  NOTE_FIELD INTERRUPTION
  BEGIN real_to_protected
  REAL_GUEST
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp dword CODE32:real_protected
    bits 32
real_protected:
    mov ebx, DATA32
    mov ds, ebx
    mov ebx, cr0
    vmcall
  END_REAL_GUEST
  ALSO G_CR0, 0x10
  RUN
  mov eax, [guest_rbx]
  and eax, 0x31
  NOTE eax
  BEGIN real_error_code     ; an injected #GP has none there
  REAL_GUEST
    cpuid
  END_REAL_GUEST
  FIELD INJECT, (1 << 31) | (1 << 11) | (3 << 8) | 13
  RUN
  BEGIN real_pe_needs_unrestricted
  REAL_GUEST
    cpuid
  END_REAL_GUEST
  WITHOUT SECONDARY, 1 << 7
  RUN
  BEGIN real_cs_writable_data
  REAL_GUEST
    cpuid
  END_REAL_GUEST
  FIELD RIGHTS(G_CS), 0x93
  RUN
  BEGIN real_hlt_wakes
  REAL_GUEST
    cpuid
  END_REAL_GUEST
  FIELD ACTIVITY, 1
  FIELD G_RFLAGS, F_IF | 2
  FIELD INJECT, (1 << 31) | 0x21
  RUN
  NOTE_RBX

  BEGIN flat_runs
  GUEST32
    mov ebx, 0x1234
    vmcall
  END_GUEST32
  WITHOUT_PAGING
  RUN
  NOTE_RBX
  BEGIN flat_upper_half     ; 32-bit operations clear the upper half also here
  GUEST32
    mov ebx, 0x1234
    vmcall
  END_GUEST32
  WITHOUT_PAGING
  mov rax, 0x1111111122222222
  mov [guest_rbx], rax
  RUN
  NOTE_AT [guest_rbx + 4]
  BEGIN compatibility_runs
  GUEST 32
    mov ebx, 0x89abcdef
    db 0x48                 ; DEC EAX
    nop
    vmcall
  END_GUEST
  FIELD RIGHTS(G_CS), 0xc09b
  RUN
  NOTE_RBX
%macro READS_ALIAS 1
  BEGIN %1
  GUEST32
    mov ebx, [0x400000 + page_a]
    vmcall
  END_GUEST32
%endmacro
  READS_ALIAS paging32_runs
  TABLES_32
  ALSO G_CR4, 0x10
  FIELD G_CR3, page_directory
  RUN
  NOTE_RBX
  READS_ALIAS pae_from_memory
  TABLES_PAE
  ALSO G_CR4, 0x20
  FIELD G_CR3, PAE_TABLE
  RUN
  NOTE_RBX
  READS_ALIAS pae_from_fields       ; with EPT, not from memory
  TABLES_PAE
  mov dword [PAE_TABLE], 0
  USE_EPT
  ALSO G_CR4, 0x20
  FIELD G_CR3, PAE_TABLE
  FIELD G_PDPTE0, page_directory + 1
  FIELD G_PDPTE0 + 2, 0
  FIELD G_PDPTE0 + 4, 0
  FIELD G_PDPTE0 + 6, 0
  RUN
  NOTE_RBX
  READS_ALIAS pae_field_reserved
  TABLES_PAE
  USE_EPT
  ALSO G_CR4, 0x20
  FIELD G_CR3, PAE_TABLE
  FIELD G_PDPTE0, page_directory + 1
  FIELD G_PDPTE0 + 2, 3
  RUN
  BEGIN pae_saved           ; what a MOV to CR3 has loaded
  GUEST32
    mov eax, cr3
    mov cr3, eax
    vmcall
  END_GUEST32
  TABLES_PAE
  USE_EPT
  WITHOUT PRIMARY, 3 << 15
  ALSO G_CR4, 0x20
  FIELD G_CR3, PAE_TABLE
  FIELD G_PDPTE0, (page_directory + 1) | (1 << 9)
  FIELD G_PDPTE0 + 2, 0
  FIELD G_PDPTE0 + 4, 0
  FIELD G_PDPTE0 + 6, 0
  RUN
  NOTE_FIELD G_PDPTE0
  BEGIN paging_off          ; the guest leaves paging by itself
  GUEST32
    mov eax, cr0
    and eax, 0x7fffffff
    mov cr0, eax
    mov ebx, cr0
    and ebx, 0x80000031
    vmcall
  END_GUEST32
  TABLES_32
  UNRESTRICTED
  ALSO G_CR4, 0x10
  ALSO G_CR0, 0x10
  FIELD G_CR3, page_directory
  RUN
  NOTE_RBX
  BEGIN long_switched_on    ; EFER.LMA and the control follow the guest
  GUEST32
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov eax, pml4
    mov cr3, eax
    mov eax, cr0
    or eax, 1 << 31
    mov cr0, eax
    vmcall
  END_GUEST32
  WITHOUT_PAGING
  WITHOUT PRIMARY, 3 << 15
  ALSO ENTRIES, 1 << 15
  ALSO EXITS, (1 << 20) | (1 << 21)
  FIELD G_EFER, 0x100
  FIELD H_EFER, 0xd00
  RUN
  mov eax, ENTRIES
  vmread rax, rax
  shr eax, 9
  and eax, 1
  NOTE eax
  NOTE_FIELD G_EFER

%macro V86_GUEST 1
  BEGIN %1
  GUEST 16
    cpuid
  END_GUEST
  NOT_LONG
  TABLES_32
  ALSO G_CR4, 0x10
  FIELD G_CR3, page_directory
  call make_v86
%endmacro
  V86_GUEST v86_enters
  RUN
  V86_GUEST v86_base
  FIELD BASE(G_DS), 0x10
  RUN
  V86_GUEST v86_limit
  FIELD LIMIT(G_ES), 0xfffff
  RUN
  V86_GUEST v86_rights
  FIELD RIGHTS(G_SS), 0x93
  RUN

%macro TASK_GUEST 1+
  GUEST32
    %1
  END_GUEST32
  TABLES_32
  ALSO G_CR4, 0x10
  FIELD G_CR3, page_directory
  call guest_idt32
%endmacro
  SEGMENT TASK, tss, 0x67, R_TSS32
  GATE TASK_GATE, TASK, 0, R_TASK, 0
  BEGIN task_jump
  TASK_GUEST jmp TASK:0
  RUN
  NOTE_FIELD QUALIFICATION, LENGTH
  BEGIN task_call
  TASK_GUEST call TASK:0
  RUN
  NOTE_FIELD QUALIFICATION, LENGTH
  BEGIN task_gate_call
  TASK_GUEST call TASK_GATE:0
  RUN
  NOTE_FIELD QUALIFICATION, LENGTH
  BEGIN task_interrupt
  TASK_GUEST int 0x21
  RUN
  NOTE_FIELD QUALIFICATION, LENGTH, VECTORING
  BEGIN task_exception
  TASK_GUEST ud2
  RUN
  NOTE_FIELD QUALIFICATION, VECTORING
  BEGIN task_iret           ; to the task whose selector the present one has as its link; that must be busy
  SEGMENT TASK, tss, 0x67, R_TSS32 | 2
  TASK_GUEST iretd
  mov dword [tss], TASK
  FIELD G_RFLAGS, F_NT | 2
  RUN
  mov dword [tss], 0
  NOTE_FIELD QUALIFICATION, LENGTH
  BEGIN task_absent_first   ; faults of the selector come before the exit
  SEGMENT TASK, tss, 0x67, R_TSS32 - R_ABSENT
  TASK_GUEST jmp TASK:0
  FIELD EXCEPTIONS, 1 << 11
  RUN
  NOTE_FIELD INTERRUPTION, INTERRUPTION_ERROR

%macro TPR_GUEST 4-5 0      ; test, what the guest does, shadow, threshold, secondary controls
  BEGIN %1
  mov eax, %2
  call fresh_guest
  mov dword [virtual_apic + 0x80], %3
  WITHOUT PRIMARY, 3 << 19
  ALSO PRIMARY, 1 << 21
  FIELD TPR_THRESHOLD, %4
  %if %5
    SECONDARY_ALSO %5
  %endif
%endmacro
%macro NOTE_TPR 0
  NOTE_AT [virtual_apic + 0x80]
%endmacro
  TPR_GUEST tpr_read, reads_cr8, 0x50, 0
  RUN
  NOTE_RBX
  TPR_GUEST tpr_write, writes_cr8, 0x50, 0
  mov dword [guest_rax], 7
  RUN
  NOTE_TPR
  TPR_GUEST tpr_below_threshold, writes_cr8, 0x50, 3
  mov dword [guest_rax], 2
  RUN
  NOTE_RIP writes_cr8       ; behind the instruction
  NOTE_TPR
  TPR_GUEST tpr_at_threshold, writes_cr8, 0x50, 3
  mov dword [guest_rax], 3
  RUN
  NOTE_TPR
  TPR_GUEST tpr_real_untouched, writes_cr8, 0x50, 0
  mov dword [guest_rax], 7
  RUN
  mov rax, cr8
  NOTE eax
  TPR_GUEST tpr_at_entry, writes_cr8, 0x20, 3, 1    ; only with APIC virtualization can it be below at an entry
  RUN
  NOTE_RIP writes_cr8
  TPR_GUEST tpr_invalid, writes_cr8, 0x50, 0
  mov dword [guest_rax], 16
  RUN
  NOTE_AT [guest_rax]

%macro APIC_GUEST 2
  TPR_GUEST %1, %2, 0x50, 2, 1
%endmacro
  APIC_GUEST apic_read, reads_apic
  RUN
  NOTE_FIELD QUALIFICATION
  APIC_GUEST apic_write, writes_apic
  RUN
  NOTE_FIELD QUALIFICATION
  APIC_GUEST apic_tpr_read, reads_apic_tpr
  RUN
  NOTE_RBX
  APIC_GUEST apic_tpr_write, writes_apic_tpr
  mov dword [guest_rax], 0x60
  RUN
  NOTE_TPR
  APIC_GUEST apic_tpr_write_below, writes_apic_tpr
  mov dword [guest_rax], 0x10
  RUN
  NOTE_TPR
  APIC_GUEST apic_delivery, raises_ud               ; the frame would go to the page
  FIELD G_RSP, apic_page + 0x1000
  RUN
  NOTE_FIELD QUALIFICATION, VECTORING
  APIC_GUEST apic_fetch, executes_apic        ; last, since Bochs 2.7 does not survive it
  RUN
  NOTE_FIELD QUALIFICATION
  FINISH

guest_idt32:                ; INT 21h and #UD lead to another task
  mov dword [page_b + 8 * 6], TASK << 16
  mov dword [page_b + 8 * 6 + 4], R_TASK << 8
  mov dword [page_b + 8 * 0x21], TASK << 16
  mov dword [page_b + 8 * 0x21 + 4], R_TASK << 8
  FIELD G_IDTR, page_b
  FIELD G_IDTR_LIMIT, 0x22 * 8 - 1
  ret

reads_cr8:
  mov rbx, cr8
  cpuid
writes_cr8:
  mov cr8, rax
  cpuid
reads_apic:
  mov ebx, [apic_page + 0x20]
  cpuid
writes_apic:
  mov [apic_page + 0xb0], eax
  cpuid
executes_apic:
  mov eax, apic_page
  jmp rax
reads_apic_tpr:
  mov ebx, [apic_page + 0x80]
  mov [page_a], ebx
  cpuid
writes_apic_tpr:
  mov [apic_page + 0x80], eax
  cpuid
raises_ud:
  ud2
%include "runtime.inc"
