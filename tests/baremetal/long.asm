; Long mode: event delivery with and without IST, IRET, far transfers between 64-bit and compatibility mode, SYSCALL and SYSRET,
; SYSENTER and SYSEXIT, canonical addresses: "Interrupt and Exception Handling in 64-bit Mode", "Call Gates in IA-32e Mode",
; "Fast System Calls in 64-Bit Mode".
%include "test.inc"
%include "long.inc"

STAR_0   equ SPARE + 0x00           ; SYSCALL: code, then data
STAR_3   equ SPARE + 0x10           ; SYSRET: 32-bit code, data, 64-bit code
FAST     equ SPARE + 0x30           ; SYSENTER: code and data; SYSEXIT: code and data of 32 and of 64 bits
GATE64   equ SPARE + 0x60           ; a call gate, of 16 bytes
LD       equ SPARE + 0x70           ; L and D both set
CONFORMING equ SPARE + 0x78
ist1_top equ 0x6800
stack_odd equ stack0_top - 0x105
NONCANONICAL equ 0x800000000000

TABLE
; delivery: bytes of the frame, alignment, its SS and RSP, CS
  TEST interrupt_same_level, 40 + 0x100, 0, DATA32, stack0_top - 0x100, CODE64
  TEST interrupt_aligns, 0, stack_odd
  TEST interrupt_error_code, IN_IDT(0x41), DATA32
  TEST interrupt_inward, 40, 0, DATA32_3, stack3_top, CODE64_3, 0
  TEST interrupt_ist, 40, DATA32, stack0_top, DATA32
  TEST interrupt_ist_inward, 40, DATA32_3, stack3_top, 0
  TEST ist_noncanonical, DF
  TEST int_from_compatibility, 40, CODE32_3, stack3_top
  TEST gate16_type, GP(IN_IDT(0x41))
  TEST gate_task_type, GP(IN_IDT(0x41))
  TEST gate_to_32bit_code, GP(CODE32)
  TEST gate_to_ld, GP(LD)
  TEST gate_noncanonical, GP(0)
; IRET
  TEST iretq_same_level_pops_ss, DATA32, stack0_top - 0x40
  TEST iretq_null_ss_level0, 0
  TEST iretq_null_ss_level3, GP(0)
  TEST iretq_nt, GP(0)
  TEST iretq_noncanonical, GP(0)
  TEST iretq_to_ld, GP(LD)
  TEST iretq_vm_ignored, 0
  TEST iretd_in_64, 0x1234
  TEST iret_to_compatibility, CODE32_3, 0x89abcdef, 0
  TEST iret_from_compatibility, CODE32_3
; far transfers
  TEST far_jump_direct_ud, UD
  TEST far_jump_compatibility, CODE32, 8
  TEST far_call_to_compatibility, CODE64
  TEST far_jump_to_ld, GP(LD)
  TEST far_jump_noncanonical_gate, GP(0)
  TEST call_gate_same_level, CODE64, 16
  TEST call_gate_inward, CODE64_3, stack3_top, DATA32_3, 0, 32
  TEST call_gate_from_compatibility, CODE32_3
  TEST call_gate_to_32bit, GP(CODE32)
  TEST call_gate_upper_type, GP(GATE64)
  TEST task_gate_ud, GP(GATE64)
  TEST far_jump_tss, GP(TSS)
  TEST ltr_upper_type, GP(GATE64)
  TEST retf_to_level3, CODE64_3
; segments
  TEST ds_limit_ignored, 0
  TEST ds_null_ignored, 0
  TEST fs_base_added, 0x600
  TEST ss_null_level0, 0
  TEST ss_null_level3, GP(0)
  TEST high_registers_kept, 0x11223344
  TEST compatibility_wraps, 0x55667788
; SYSCALL and SYSRET
  TEST syscall_disabled, UD
  TEST syscall_from_64, STAR_0, STAR_0 + 8, F_IF, 0, 0
  TEST syscall_from_compatibility, UD
  TEST syscall_mask, F_CF
  TEST sysret_64, STAR_3 + 16 + 3, STAR_3 + 8 + 3, F_IF
  TEST sysret_32, STAR_3 + 3, STAR_3 + 8 + 3
  TEST sysret_noncanonical, GP(0), 0
  TEST sysret_level3, GP(0)
  TEST sysret_compatibility, UD
; SYSENTER and SYSEXIT
  TEST sysenter_null_cs, GP(0)
  TEST sysenter_from_64, FAST, FAST + 8, 0x7000, 0
  TEST sysenter_from_compatibility, FAST, FAST + 8, 0x7000, 0
  TEST sysexit_64, FAST + 32 + 3, FAST + 40 + 3, stack3_top
  TEST sysexit_32, FAST + 16 + 3, FAST + 24 + 3, stack3_top
  TEST sysexit_noncanonical, GP(0)
  TEST sysexit_level3, GP(0)
; the rest
  TEST wrmsr_fs_base_noncanonical, GP(0)
  TEST swapgs_level3, GP(0)
  TEST swapgs_swaps, 0x12340000
  TEST nx_stack, 0
  TEST push_pop_segment_ud, UD
  TEST far_pointer_ud, UD
  TEST dr7_high, GP(0)
  TEST cr8_is_tpr, 0x50, 5
  TEST cr8_high, GP(0)
END_TABLE

%macro WRITE_MSR 2-3 0      ; MSR, low, high
  mov ecx, %1
  mov eax, %2
  mov edx, %3
  wrmsr
%endmacro
%macro COMPATIBILITY 0      ; from level 0 to 32-bit code at level 3; ends with int 30h
  push qword DATA32_3
  push qword stack3_top
  push qword 0x3002
  push qword CODE32_3
  push qword %%there
  iretq
  %%there:
  bits 32
%endmacro
%macro LEVEL0_AGAIN 0
  int 0x30
  bits 64
  default abs
%endmacro
%macro FAULTING 2+
  BEGIN %1
  TRY %%next
  %2
  %%next:
%endmacro

main:
  SEGMENT STAR_0, 0, 0xfffff, R_CODE64
  SEGMENT STAR_0 + 8, 0, 0xfffff, R_DATA32
  SEGMENT STAR_3, 0, 0xfffff, R_CODE32 | R_DPL3
  SEGMENT STAR_3 + 8, 0, 0xfffff, R_DATA32 | R_DPL3
  SEGMENT STAR_3 + 16, 0, 0xfffff, R_CODE64 | R_DPL3
  SEGMENT FAST, 0, 0xfffff, R_CODE64
  SEGMENT FAST + 8, 0, 0xfffff, R_DATA32
  SEGMENT FAST + 16, 0, 0xfffff, R_CODE32 | R_DPL3
  SEGMENT FAST + 24, 0, 0xfffff, R_DATA32 | R_DPL3
  SEGMENT FAST + 32, 0, 0xfffff, R_CODE64 | R_DPL3
  SEGMENT FAST + 40, 0, 0xfffff, R_DATA32 | R_DPL3
  SEGMENT LD, 0, 0xfffff, R_CODE64 | 0x4000
  SEGMENT CONFORMING, 0, 0xfffff, R_CODE64 | R_CONFORMING
  ENTER_LONG

  BEGIN interrupt_same_level
  IDT_GATE64 0x41, CODE64, ADDRESS(note_frame), R_INT32
  sub esp, 0x100
  int 0x41
  BEGIN interrupt_aligns
  IDT_GATE64 0x41, CODE64, ADDRESS(note_alignment), R_INT32
  mov esp, stack_odd
  int 0x41
  BEGIN interrupt_error_code
  IDT_GATE64 0x41, CODE64, 0, R_INT32 - R_ABSENT
  HOOK 11, note_error
  int 0x41
.error:
  HOOK 11, 0
  BEGIN interrupt_inward
  IDT_GATE64 0x41, CODE64, ADDRESS(note_inward), R_INT32 | R_DPL3
  LEVEL3_64
  int 0x41
  LEVEL0
  BEGIN interrupt_ist
  mov dword [tss + 0x24], ist1_top
  mov dword [tss + 0x28], 0
  IDT_GATE64 0x41, CODE64, ADDRESS(note_ist), R_INT32 | R_DPL3, 1
  int 0x41
  mov eax, ss
  NOTE eax
  BEGIN interrupt_ist_inward
  LEVEL3_64
  int 0x41
  LEVEL0
  BEGIN ist_noncanonical
  TRY .ist
  mov dword [tss + 0x28], 0x8000
  IDT_GATE64 6, CODE64, ADDRESS(stubs64) + 6 * 16, R_INT32, 1
  IDT_GATE64 12, CODE64, ADDRESS(stubs64) + 12 * 16, R_INT32, 1
  ud2
.ist:
  mov dword [tss + 0x28], 0
  IDT_GATE64 6, CODE64, ADDRESS(stubs64) + 6 * 16, R_INT32
  IDT_GATE64 12, CODE64, ADDRESS(stubs64) + 12 * 16, R_INT32
  BEGIN int_from_compatibility
  IDT_GATE64 0x41, CODE64, ADDRESS(note_compatibility), R_INT32 | R_DPL3
  COMPATIBILITY
  int 0x41
  LEVEL0_AGAIN
%macro BAD_GATE 4
  BEGIN %1
  TRY %%next
  IDT_GATE64 0x41, %2, %3, %4
  int 0x41
  %%next:
%endmacro
  BAD_GATE gate16_type, CODE64, 0, R_INT16
  BAD_GATE gate_task_type, TSS, 0, R_TASK
  BAD_GATE gate_to_32bit_code, CODE32, 0, R_INT32
  BAD_GATE gate_to_ld, LD, 0, R_INT32
  BEGIN gate_noncanonical
  TRY .gate
  IDT_GATE64 0x41, CODE64, 0, R_INT32
  mov dword [idt64 + 16 * 0x41 + 8], 0x8000
  int 0x41
.gate:

  BEGIN iretq_same_level_pops_ss
  push qword DATA32
  push qword stack0_top - 0x40
  push qword 2
  push qword CODE64
  push qword .popped
  iretq
.popped:
  mov eax, ss
  NOTE eax
  NOTE esp
  BEGIN iretq_null_ss_level0
  TRY .null
  push qword 0
  push qword stack0_top
  push qword 2
  push qword CODE64
  push qword .null_there
  iretq
.null_there:
  mov eax, ss
  NOTE eax
.null:
%macro RETURNING 5-6 2      ; test, SS, CS, RIP (register or constant), RSP, flags
  BEGIN %1
  TRY %%next
  mov rbx, %4
  push qword %2
  push qword %5
  push qword %6
  push qword %3
  push rbx
  iretq
  %%next:
%endmacro
  RETURNING iretq_null_ss_level3, 3, CODE64_3, 0, stack3_top
  BEGIN iretq_nt
  TRY .nt
  push qword F_NT | 2
  popfq
  iretq
.nt:
  push qword 2
  popfq
  RETURNING iretq_noncanonical, DATA32, CODE64, NONCANONICAL, stack0_top
  RETURNING iretq_to_ld, DATA32, LD, 0, stack0_top
  BEGIN iretq_vm_ignored
  push qword DATA32
  push qword stack0_top
  push qword F_VM | 2
  push qword CODE64
  push qword .vm
  iretq
.vm:
  pushfq
  pop rax
  and eax, F_VM
  NOTE eax
  BEGIN iretd_in_64
  sub esp, 20
  mov dword [rsp], .iretd
  mov dword [rsp + 4], CODE64
  mov dword [rsp + 8], 2
  mov dword [rsp + 12], stack0_top
  mov dword [rsp + 16], DATA32
  iretd
.iretd:
  NOTE 0x1234
  BEGIN iret_to_compatibility
  mov rbx, 0x123456789abcdef
  COMPATIBILITY
  mov eax, cs
  NOTE eax
  NOTE ebx
  db 0x48                   ; a REX prefix there; DEC EAX here
  xor eax, eax
  NOTE eax
  LEVEL0_AGAIN
  BEGIN iret_from_compatibility
  COMPATIBILITY
  push dword 2
  push dword CODE32_3
  push dword iret_there
  iretd
iret_there:
  mov eax, cs
  NOTE eax
  LEVEL0_AGAIN

  FAULTING far_jump_direct_ud, db 0xea, 0, 0, 0, 0, 8, 0
  BEGIN far_jump_compatibility
  jmp far dword [to_compatibility]
back_from_compatibility:
  NOTE_AT [count]
  NOTE 8
  BEGIN far_call_to_compatibility
  call far dword [called_compatibility]
  mov eax, cs
  NOTE eax
  mov dword [pointer + 4], LD
  FAULTING far_jump_to_ld, jmp far dword [pointer]
%macro GATE_64 4            ; selector of the code, offset, rights, upper type
  GATE GATE64, %1, %2, %3
  mov dword [ADDRESS(gdt) + GATE64 + 8], 0
  mov dword [ADDRESS(gdt) + GATE64 + 12], %4
%endmacro
  mov dword [pointer + 4], GATE64
  BEGIN far_jump_noncanonical_gate
  TRY .gate_address
  GATE_64 CODE64, 0, R_CALL32, 0
  mov dword [ADDRESS(gdt) + GATE64 + 8], 0x8000
  jmp far dword [pointer]
.gate_address:
  BEGIN call_gate_same_level
  GATE_64 CODE64, ADDRESS(called_same), R_CALL32 | R_DPL3, 0
  call far dword [pointer]
  BEGIN call_gate_inward
  GATE_64 CODE64, ADDRESS(called_inward), R_CALL32 | R_DPL3, 0
  mov dword [pointer + 4], GATE64 + 3
  LEVEL3_64
  call far dword [pointer]
  LEVEL0
  BEGIN call_gate_from_compatibility
  GATE_64 CODE64, ADDRESS(called_return64), R_CALL32 | R_DPL3, 0
  COMPATIBILITY
  call GATE64 + 3:0
  mov eax, cs
  NOTE eax
  LEVEL0_AGAIN
  BEGIN call_gate_to_32bit
  TRY .to32
  GATE_64 CODE32, 0, R_CALL32, 0
  mov dword [pointer + 4], GATE64
  call far dword [pointer]
.to32:
  BEGIN call_gate_upper_type
  TRY .upper
  GATE_64 CODE64, 0, R_CALL32, 0x1f00
  call far dword [pointer]
.upper:
  BEGIN task_gate_ud
  TRY .task
  GATE_64 TSS, 0, R_TASK, 0
  jmp far dword [pointer]
.task:
  mov dword [pointer + 4], TSS
  FAULTING far_jump_tss, jmp far dword [pointer]
  BEGIN ltr_upper_type
  TRY .ltr
  SEGMENT GATE64, tss, 0x67, R_TSS32
  mov dword [ADDRESS(gdt) + GATE64 + 8], 0
  mov dword [ADDRESS(gdt) + GATE64 + 12], 0x0100
  mov eax, GATE64
  ltr ax
.ltr:
  BEGIN retf_to_level3
  push qword DATA32_3
  push qword stack3_top
  push qword CODE64_3
  push qword .level3
  o64 retf
.level3:
  mov eax, cs
  NOTE eax
  LEVEL0

  BEGIN ds_limit_ignored
  TRY .ds
  SEGMENT GATE64, 0x1000, 0xf, R_DATA32 & ~0x8000
  mov eax, GATE64
  mov es, eax
  mov dword [scratch], 0
  mov edi, scratch
  mov eax, [es:rdi]
  NOTE eax
.ds:
  BEGIN ds_null_ignored
  xor eax, eax
  mov ds, eax
  mov eax, [scratch]
  NOTE eax
  mov eax, DATA32_3
  mov ds, eax
  BEGIN fs_base_added
  WRITE_MSR 0xc0000100, 0x600
  mov dword [count], 0x600
  mov eax, [fs:count - 0x600]
  NOTE eax
  BEGIN ss_null_level0
  xor eax, eax
  mov ss, eax
  mov eax, ss
  NOTE eax
  BEGIN ss_null_level3
  TRY .ss3
  LEVEL3_64
  mov eax, 3
  mov ss, eax
.ss3:
  BEGIN high_registers_kept
  mov r8, 0x1122334455667788
  COMPATIBILITY
  nop
  LEVEL0_AGAIN
  shr r8, 32
  NOTE r8d
  BEGIN compatibility_wraps ; 32-bit addresses wrap at 4 GiB
  mov dword [scratch], 0x55667788
  COMPATIBILITY
  mov ebx, 0xfffff000
  mov eax, [ebx + scratch + 0x1000]
  NOTE eax
  LEVEL0_AGAIN

%macro SCE 1
  mov ecx, 0xc0000080
  rdmsr
  and eax, ~1
  or eax, %1
  wrmsr
%endmacro
  SCE 0
  FAULTING syscall_disabled, syscall
  SCE 1
  WRITE_MSR 0xc0000081, 0, STAR_0 | (STAR_3 << 16)
  WRITE_MSR 0xc0000082, ADDRESS(syscalled)
  WRITE_MSR 0xc0000084, F_IF | F_TF
  BEGIN syscall_from_64
  LEVEL3_64 F_IF | 2
  syscall
after_syscall:
  LEVEL0
  BEGIN syscall_from_compatibility          ; Intel's has none there
  TRY from_compatibility
  COMPATIBILITY
  syscall
  bits 64
from_compatibility:
  BEGIN syscall_mask
  WRITE_MSR 0xc0000082, ADDRESS(syscall_flags)
  LEVEL3_64 F_CF | F_IF | 2
  syscall
  LEVEL0
  BEGIN sysret_64
  mov ecx, .sysret
  mov r11d, F_IF | 2
  o64 sysret
.sysret:
  mov eax, cs
  NOTE eax
  mov eax, ss
  NOTE eax
  pushfq
  pop rax
  and eax, F_IF
  NOTE eax
  LEVEL0
  BEGIN sysret_32
  mov ecx, sysret32_there
  mov r11d, 2
  sysret
bits 32
sysret32_there:
  mov esp, stack3_top
  mov eax, cs
  NOTE eax
  mov eax, ss
  NOTE eax
  LEVEL0_AGAIN
  BEGIN sysret_noncanonical                 ; at level 0 still
  TRY .sysret_bad
  mov rcx, NONCANONICAL
  mov r11d, 2
  o64 sysret
.sysret_bad:
  mov eax, [fault_cs]
  and eax, 3
  NOTE eax
  BEGIN sysret_level3
  TRY .sysret3
  LEVEL3_64
  o64 sysret
.sysret3:
  BEGIN sysret_compatibility
  TRY sysret_compatibility_done
  COMPATIBILITY
  sysret
  bits 64
sysret_compatibility_done:

  WRITE_MSR 0x174, 0
  FAULTING sysenter_null_cs, sysenter
  WRITE_MSR 0x174, FAST
  WRITE_MSR 0x175, 0x7000
  WRITE_MSR 0x176, ADDRESS(sysentered)
  BEGIN sysenter_from_64
  LEVEL3_64 F_IF | 2
  sysenter
  BEGIN sysenter_from_compatibility
  COMPATIBILITY
  sysenter
  bits 64
  BEGIN sysexit_64
  mov edx, .sysexit
  mov ecx, stack3_top
  o64 sysexit
.sysexit:
  mov eax, cs
  NOTE eax
  mov eax, ss
  NOTE eax
  NOTE esp
  LEVEL0
  BEGIN sysexit_32
  mov edx, sysexit32_there
  mov ecx, stack3_top
  sysexit
bits 32
sysexit32_there:
  mov eax, cs
  NOTE eax
  mov eax, ss
  NOTE eax
  NOTE esp
  LEVEL0_AGAIN
  BEGIN sysexit_noncanonical
  TRY .sysexit_bad
  mov rdx, NONCANONICAL
  mov ecx, stack3_top
  o64 sysexit
.sysexit_bad:
  BEGIN sysexit_level3
  TRY .sysexit3
  LEVEL3_64
  o64 sysexit
.sysexit3:

  BEGIN wrmsr_fs_base_noncanonical
  TRY .fs_base
  WRITE_MSR 0xc0000100, 0, 0x8000
.fs_base:
  BEGIN swapgs_level3
  TRY .swapgs
  LEVEL3_64
  swapgs
.swapgs:
  BEGIN swapgs_swaps
  WRITE_MSR 0xc0000101, 0
  WRITE_MSR 0xc0000102, 0x12340000
  swapgs
  mov ecx, 0xc0000101
  rdmsr
  NOTE eax
  swapgs
  BEGIN nx_stack            ; 2 MiB pages without XD: data can be executed
  mov dword [scratch], 0xc3
  call scratch
  NOTE 0
  FAULTING push_pop_segment_ud, db 0x1e     ; PUSH DS
  FAULTING far_pointer_ud, db 0xc4, 0x03    ; LES, which is a VEX prefix of no instruction now
  BEGIN dr7_high
  TRY .dr7
  mov rax, 0x100000400
  mov dr7, rax
.dr7:
  BEGIN cr8_is_tpr
  mov eax, 5
  mov cr8, rax
  mov dword [directory + 8 * 31], 0xfee00087      ; the local APIC, in the last of the 2 MiB pages
  mov rax, cr3
  mov cr3, rax
  mov eax, [31 * 0x200000 + 0x80]
  NOTE eax
  mov rax, cr8
  NOTE eax
  xor eax, eax
  mov cr8, rax
  BEGIN cr8_high
  TRY .cr8
  mov eax, 16
  mov cr8, rax
.cr8:
  FINISH

; ---- Handlers

note_frame:
  mov eax, stack0_top
  sub eax, esp
  NOTE eax
  mov eax, esp
  and eax, 7
  NOTE eax
  NOTE_AT [rsp + 32]
  NOTE_AT [rsp + 24]
  NOTE_AT [rsp + 8]
  iretq
note_alignment:
  mov eax, esp
  add eax, 40
  and eax, 15
  NOTE eax
  NOTE_AT [rsp + 24]
  iretq
note_error:
  NOTE_AT [fault_error]
  NOTE_AT [fault_ss]
  mov esp, stack0_top
  jmp [next_begin]
note_inward:
  mov eax, stack0_top
  sub eax, esp
  NOTE eax
  mov eax, esp
  and eax, 7
  NOTE eax
  NOTE_AT [rsp + 32]
  NOTE_AT [rsp + 24]
  NOTE_AT [rsp + 8]
  mov eax, ss               ; null, with the level as RPL
  NOTE eax
  iretq
note_ist:
  mov eax, ist1_top
  sub eax, esp
  NOTE eax
  NOTE_AT [rsp + 32]
  NOTE_AT [rsp + 24]
  test byte [rsp + 8], 3
  jz .same
  mov eax, ss
  NOTE eax
.same:
  iretq
note_compatibility:
  mov eax, stack0_top
  sub eax, esp
  NOTE eax
  NOTE_AT [rsp + 8]
  NOTE_AT [rsp + 24]
  iretq
called_same:
  NOTE_AT [rsp + 8]
  mov eax, stack0_top
  sub eax, esp
  NOTE eax
  o64 retf
called_inward:
  NOTE_AT [rsp + 8]
  NOTE_AT [rsp + 16]
  NOTE_AT [rsp + 24]
  mov eax, ss
  NOTE eax
  mov eax, stack0_top
  sub eax, esp
  NOTE eax
called_return64:
  o64 retf
syscalled:
  mov eax, cs
  NOTE eax
  mov eax, ss
  NOTE eax
  mov eax, r11d
  and eax, F_IF
  NOTE eax
  pushfq
  pop rax
  and eax, F_IF
  NOTE eax
  sub ecx, after_syscall
  NOTE ecx
  mov rax, [next_begin]
  jmp rax
syscall_flags:
  pushfq
  pop rax
  and eax, F_CF | F_IF
  NOTE eax
  mov rax, [next_begin]
  jmp rax
sysentered:
  mov eax, cs
  NOTE eax
  mov eax, ss
  NOTE eax
  NOTE esp
  pushfq
  pop rax
  and eax, F_IF
  NOTE eax
  mov rax, [next_begin]
  jmp rax

bits 32
in_compatibility:
  mov eax, cs
  mov [count], eax
  jmp CODE64:back_from_compatibility
in_called_compatibility:
  retf
align 8, db 0
to_compatibility: dd in_compatibility
  dw CODE32
called_compatibility: dd in_called_compatibility
  dw CODE32
align 8, db 0
pointer: dd 0
  dd 0
%include "runtime.inc"
