; Task switches by JMP, CALL, IRET, gates and interrupts, with TSSs of 16 and 32 bits: "Task Management".
%include "test.inc"

TSS2     equ SPARE + 0x00   ; 32 bits
TSS3     equ SPARE + 0x08   ; 16 bits
GATE2    equ SPARE + 0x10   ; a task gate to TSS2
GATE3    equ SPARE + 0x18
BAD_DATA equ SPARE + 0x20
BAD_CODE equ SPARE + 0x28   ; not readable
ABSENT_CODE equ SPARE + 0x38
ABSENT_LDT equ SPARE + 0x40
SMALL_CODE equ SPARE + 0x48
TSS4     equ SPARE + 0x50   ; of the handler that is a task
TEST_LDT equ SPARE + 0x30
tss2     equ scratch
tss3     equ scratch + 0x100
tss4     equ scratch + 0x180
stack4   equ scratch + 0xc00
stack2   equ scratch + 0x800
stack2_3 equ scratch + 0xa00

TABLE
; Seen by the new task: TR, NT, CR0.TS, back link, its type byte, that of the old; then by the old one after its return: NT, types
  TEST jump32, TSS2, 0, 8, 0, 0x8b, 0x89, 0, 0x89, 0x8b
  TEST call32, TSS2, F_NT, 8, TSS, 0x8b, 0x8b, 0, 0x89, 0x8b
  TEST jump32_gate, TSS2, 0, 8, 0, 0x8b, 0x89, 0, 0x89, 0x8b
  TEST call32_gate, TSS2, F_NT, 8, TSS, 0x8b, 0x8b, 0, 0x89, 0x8b
  TEST int32_gate, TSS2, F_NT, 8, TSS, 0x8b, 0x8b, 0, 0x89, 0x8b
  TEST jump16, TSS3, 0, 8, 0, 0x83, 0x89, 0, 0x81, 0x8b
  TEST call16, TSS3, F_NT, 8, TSS, 0x83, 0x8b, 0, 0x81, 0x8b
  TEST int16_gate, TSS3, F_NT, 8, TSS, 0x83, 0x8b, 0, 0x81, 0x8b
; what is loaded and saved
  TEST registers32, 0x11111111, 0x22222222, 0x33333333, 0x44444444, 0x55555555, 0x66666666, stack2, DATA32_3, DATA32, TEST_LDT
  TEST registers16, 0x1111, 0x2222, stack2 & 0xffff, DATA16
  TEST saved32, 0xa1a1a1a1, 0xb1b1b1b1, stack0_top, CODE32, DATA32, DATA32_3, F_CF
  TEST saved16, 0xa1a1, 0xb1b1, stack2 - 2, CODE16
  TEST saved_ip, 0
  TEST static_fields, 0x5a5a5a5a, 0x1234, 0x5678
  TEST nested_flag_saved, F_NT, 0
  TEST interrupted_flags, F_IF, 0
  TEST level3_task, CODE32_3, DATA32_3, stack2_3
  TEST error_code32, GP(DATA32) & 0xffff, stack2 - 4, F_RF
  TEST error_code16, GP(DATA32) & 0xffff, stack2 - 2
  TEST ud_in_task, 0, stack2
  TEST trap_bit, DB, 0x8000
  TEST debug_locals_cleared, 0xaa
  TEST fpu_after_switch, NM
  TEST cs_conforming_levels, CODE32
; refusals in the old task: TR must be as it was
  TEST jump_busy, GP(TSS2), TSS
  TEST call_busy, GP(TSS2), TSS
  TEST jump_self, GP(TSS), TSS
  TEST jump_absent, NP(TSS2), TSS
  TEST jump_limit32, TS(TSS2), TSS
  TEST jump_limit16, TS(TSS3), TSS
  TEST jump_dpl, GP(TSS2), TSS
  TEST jump_rpl, GP(TSS2), TSS
  TEST gate_dpl, GP(GATE2), TSS
  TEST gate_absent, NP(GATE2), TSS
  TEST gate_to_busy, GP(TSS2), TSS
  TEST gate_to_code, GP(CODE32), TSS
  TEST gate_to_null, GP(0), TSS
  TEST gate_tss_dpl_ignored, TSS2, 0, 8, 0, 0x8b, 0x89, 0, 0x89, 0x8b
  TEST iret_available, TS(TSS2), TSS
  TEST iret_link_null, TS(0), TSS
  TEST iret_link_code, TS(CODE32), TSS
  TEST int_gate_to_busy, GP(TSS2), TSS
; refusals in the new task, which a third one hears about: the error code, who was interrupted, its type byte
  TEST cs_null, 0, TSS2, 0x8b
  TEST cs_data, DATA32, TSS2, 0x8b
  TEST cs_rpl, CODE32, TSS2, 0x8b
  TEST cs_absent, ABSENT_CODE, TSS2, 0x8b
  TEST ss_null, 0, TSS2, 0x8b
  TEST ss_rpl, DATA32_3 & ~3, TSS2, 0x8b
  TEST ss_code, CODE32, TSS2, 0x8b
  TEST ss_absent, BAD_DATA, TSS2, 0x8b
  TEST ds_code, BAD_CODE, TSS2, 0x8b
  TEST ds_absent, BAD_DATA, TSS2, 0x8b
  TEST es_beyond_gdt, 0x1000, TSS2, 0x8b
  TEST ldt_data, DATA32, TSS2, 0x8b
  TEST ldt_absent, ABSENT_LDT, TSS2, 0x8b
  TEST ip_beyond_limit, 0, TSS2, 0x8b
  TEST refused_by_gate, TS(CODE32), TSS2
  TEST refused_same_level, TS(DATA32), TSS2
  TEST ltr_busy, GP(TSS), TSS
  TEST ltr_absent, NP(TSS2), TSS
  TEST ltr_marks_busy, 0x8b
END_TABLE

%macro TASK_TEST 1
  BEGIN %1
  call reset_tasks
%endmacro

main:
  TASK_TEST jump32
  mov dword [tss2 + 0x20], note_then_jump
  jmp TSS2:0xffffffff
  call note_return2
  TASK_TEST call32
  call TSS2:0
  call note_return2
  TASK_TEST jump32_gate
  mov dword [tss2 + 0x20], note_then_jump
  jmp GATE2:0
  call note_return2
  TASK_TEST call32_gate
  call GATE2:0
  call note_return2
  TASK_TEST int32_gate
  IDT_GATE 0x40, TSS2, 0, R_TASK
  int 0x40
  call note_return2
  TASK_TEST jump16
  mov word [tss3 + 0x0e], OFFSET16(note_then_jump16)
  jmp TSS3:0
  call note_return3
  TASK_TEST call16
  call TSS3:0
  call note_return3
  TASK_TEST int16_gate
  IDT_GATE 0x40, TSS3, 0, R_TASK
  int 0x40
  call note_return3

  TASK_TEST registers32
  mov dword [tss2 + 0x20], note_registers
  mov dword [tss2 + 0x28], 0x11111111
  mov dword [tss2 + 0x2c], 0x22222222
  mov dword [tss2 + 0x30], 0x33333333
  mov dword [tss2 + 0x34], 0x44444444
  mov dword [tss2 + 0x3c], 0x55555555
  mov dword [tss2 + 0x40], 0x66666666
  mov dword [tss2 + 0x60], TEST_LDT
  call TSS2:0
  TASK_TEST registers16
  mov word [tss3 + 0x0e], OFFSET16(note_registers16)
  mov word [tss3 + 0x12], 0x1111
  mov word [tss3 + 0x18], 0x2222
  call TSS3:0
  TASK_TEST saved32
  mov eax, 0xa1a1a1a1
  mov ebx, 0xb1b1b1b1
  stc
  mov dword [tss2 + 0x20], just_return
  call TSS2:0
  NOTE_AT [tss + 0x28]
  NOTE_AT [tss + 0x34]
  NOTE_AT [tss + 0x38]
  movzx eax, word [tss + 0x4c]
  NOTE eax
  movzx eax, word [tss + 0x50]
  NOTE eax
  movzx eax, word [tss + 0x54]
  NOTE eax
  mov eax, [tss + 0x24]
  and eax, F_CF
  NOTE eax
  TASK_TEST saved16
  mov word [tss3 + 0x0e], OFFSET16(load_and_return16)
  call TSS3:0
  movzx eax, word [tss3 + 0x12]
  NOTE eax
  movzx eax, word [tss3 + 0x18]
  NOTE eax
  movzx eax, word [tss3 + 0x1a]
  NOTE eax
  movzx eax, word [tss3 + 0x24]
  NOTE eax
  TASK_TEST saved_ip
  mov dword [tss2 + 0x20], just_return
  call TSS2:0
saved_ip_here:
  mov eax, [tss + 0x20]
  sub eax, saved_ip_here
  NOTE eax
  TASK_TEST static_fields
  mov dword [tss + 0x1c], 0x5a5a5a5a        ; CR3, SS2 and the trap word are not saved
  mov dword [tss + 0x18], 0x1234
  mov dword [tss2 + 0x64], 0x5678 << 16
  mov dword [tss2 + 0x20], just_return
  call TSS2:0
  NOTE_AT [tss + 0x1c]
  NOTE_AT [tss + 0x18]
  movzx eax, word [tss2 + 0x66]
  NOTE eax
  TASK_TEST nested_flag_saved
  mov dword [tss2 + 0x20], note_own_flags
  call TSS2:0
  mov eax, [tss2 + 0x24]                    ; IRET clears it in what it saves
  and eax, F_NT
  NOTE eax
  TASK_TEST interrupted_flags
  mov dword [tss2 + 0x20], note_saved_if
  IDT_GATE 0x40, TSS2, 0, R_TASK
  sti
  int 0x40
  cli
  TASK_TEST level3_task
  mov dword [tss2 + 0x20], note_level3
  mov dword [tss2 + 0x4c], CODE32_3
  mov dword [tss2 + 0x50], DATA32_3
  mov dword [tss2 + 0x38], stack2_3
  jmp TSS2:0
  TASK_TEST error_code32
  IDT_GATE 13, TSS2, 0, R_TASK
  mov dword [tss2 + 0x20], note_error32
  mov ecx, DATA32
  jmp DATA32:0
  TASK_TEST error_code16
  IDT_GATE 13, TSS3, 0, R_TASK
  mov word [tss3 + 0x0e], OFFSET16(note_error16)
  jmp DATA32:0
  TASK_TEST ud_in_task
  IDT_GATE 6, TSS2, 0, R_TASK
  mov dword [tss2 + 0x20], note_ud
fault_here:
  ud2
  TASK_TEST trap_bit
  TRY .trapped
  xor eax, eax
  mov dr6, eax
  mov byte [tss2 + 0x64], 1
  mov dword [tss2 + 0x20], note_stray
  jmp TSS2:0
.trapped:
  mov eax, dr6
  and eax, 0xe00f
  NOTE eax
  TASK_TEST debug_locals_cleared
  mov eax, 0xff
  mov dr7, eax                              ; breakpoints at 0, which nothing reaches
  mov dword [tss2 + 0x20], just_return
  call TSS2:0
  mov eax, dr7
  movzx eax, al
  NOTE eax
  xor eax, eax
  mov dr7, eax
  TASK_TEST fpu_after_switch
  TRY .nm
  mov dword [tss2 + 0x20], just_return
  call TSS2:0
  fldz
.nm:
  TASK_TEST cs_conforming_levels            ; a conforming segment's DPL may be below the RPL, which becomes CPL
  SEGMENT BAD_CODE, 0, 0xfffff, R_CODE32 | R_CONFORMING
  mov dword [tss2 + 0x20], note_then_level0
  mov dword [tss2 + 0x4c], BAD_CODE
  jmp TSS2:0

%macro REFUSED 1            ; BEGIN, TRY; the instruction follows, then NOTED_TR
  TASK_TEST %1
  TRY .%1
%endmacro
%macro NOTED_TR 1
  .%1:
  str eax
  NOTE eax
%endmacro
  REFUSED jump_busy
  SEGMENT TSS2, tss2, 0x67, R_TSS32 | 2
  jmp TSS2:0
  NOTED_TR jump_busy
  REFUSED call_busy
  SEGMENT TSS2, tss2, 0x67, R_TSS32 | 2
  call TSS2:0
  NOTED_TR call_busy
  REFUSED jump_self
  jmp TSS:0
  NOTED_TR jump_self
  REFUSED jump_absent
  SEGMENT TSS2, tss2, 0x67, R_TSS32 - R_ABSENT
  jmp TSS2:0
  NOTED_TR jump_absent
  REFUSED jump_limit32
  SEGMENT TSS2, tss2, 0x66, R_TSS32
  jmp TSS2:0
  NOTED_TR jump_limit32
  REFUSED jump_limit16
  SEGMENT TSS3, tss3, 0x2a, R_TSS16
  jmp TSS3:0
  NOTED_TR jump_limit16
  REFUSED jump_dpl
  LEVEL3
  jmp TSS2:0
  NOTED_TR jump_dpl
  REFUSED jump_rpl
  jmp TSS2 + 3:0
  NOTED_TR jump_rpl
  REFUSED gate_dpl
  LEVEL3
  jmp GATE2:0
  NOTED_TR gate_dpl
  REFUSED gate_absent
  GATE GATE2, TSS2, 0, R_TASK - R_ABSENT
  jmp GATE2:0
  NOTED_TR gate_absent
  REFUSED gate_to_busy
  SEGMENT TSS2, tss2, 0x67, R_TSS32 | 2
  jmp GATE2:0
  NOTED_TR gate_to_busy
  REFUSED gate_to_code
  GATE GATE2, CODE32, 0, R_TASK
  jmp GATE2:0
  NOTED_TR gate_to_code
  REFUSED gate_to_null
  GATE GATE2, 0, 0, R_TASK
  jmp GATE2:0
  NOTED_TR gate_to_null
  TASK_TEST gate_tss_dpl_ignored
  GATE GATE2, TSS2, 0, R_TASK | R_DPL3
  mov dword [tss2 + 0x20], note_then_jump
  LEVEL3
  jmp GATE2:0
  LEVEL0
  call note_return2
  REFUSED iret_available
  mov word [tss], TSS2
  push dword F_NT | 2
  popfd
  iretd
  NOTED_TR iret_available
  REFUSED iret_link_null
  mov word [tss], 0
  push dword F_NT | 2
  popfd
  iretd
  NOTED_TR iret_link_null
  REFUSED iret_link_code
  mov word [tss], CODE32
  push dword F_NT | 2
  popfd
  iretd
  NOTED_TR iret_link_code
  REFUSED int_gate_to_busy
  SEGMENT TSS2, tss2, 0x67, R_TSS32 | 2
  IDT_GATE 0x40, TSS2, 0, R_TASK
  int 0x40
  NOTED_TR int_gate_to_busy

; "Interrupt 10 - Invalid TSS Exception (#TS)" wants its handler to be a task.
%macro REFUSED_INSIDE 4     ; test, vector, field of the TSS, value
  TASK_TEST %1
  IDT_GATE %2, TSS4, 0, R_TASK
  mov dword [tss2 + %3], %4
  jmp TSS2:0
%endmacro
  REFUSED_INSIDE cs_null, 10, 0x4c, 0
  REFUSED_INSIDE cs_data, 10, 0x4c, DATA32
  REFUSED_INSIDE cs_rpl, 10, 0x4c, CODE32 + 3
  REFUSED_INSIDE cs_absent, 11, 0x4c, ABSENT_CODE
  REFUSED_INSIDE ss_null, 10, 0x50, 0
  REFUSED_INSIDE ss_rpl, 10, 0x50, DATA32_3
  REFUSED_INSIDE ss_code, 10, 0x50, CODE32
  REFUSED_INSIDE ss_absent, 12, 0x50, BAD_DATA
  REFUSED_INSIDE ds_code, 10, 0x54, BAD_CODE
  REFUSED_INSIDE ds_absent, 11, 0x54, BAD_DATA
  REFUSED_INSIDE es_beyond_gdt, 10, 0x48, 0x1000
  REFUSED_INSIDE ldt_data, 10, 0x60, DATA32
  REFUSED_INSIDE ldt_absent, 10, 0x60, ABSENT_LDT
  TASK_TEST ip_beyond_limit
  IDT_GATE 13, TSS4, 0, R_TASK
  mov dword [tss2 + 0x4c], SMALL_CODE
  mov dword [tss2 + 0x20], 0x1000
  jmp TSS2:0
  ; Where the stack is good, a handler within the new task will do.
  REFUSED refused_by_gate
  mov dword [tss2 + 0x4c], CODE32 + 3
  mov dword [tss2 + 0x50], DATA32_3
  mov dword [tss2 + 0x38], stack2_3
  jmp TSS2:0
  NOTED_TR refused_by_gate
  REFUSED refused_same_level
  mov dword [tss2 + 0x4c], DATA32
  jmp TSS2:0
  NOTED_TR refused_same_level
  REFUSED ltr_busy
  mov eax, TSS
  ltr ax
  NOTED_TR ltr_busy
  REFUSED ltr_absent
  SEGMENT TSS2, tss2, 0x67, R_TSS32 - R_ABSENT
  mov eax, TSS2
  ltr ax
  NOTED_TR ltr_absent
  TASK_TEST ltr_marks_busy
  mov eax, TSS2
  ltr ax
  movzx eax, byte [ADDRESS(gdt) + TSS2 + 5]
  NOTE eax
  call reset_tasks
  FINISH

; Every task available but the first, every field as at the start.
reset_tasks:
  push dword 2
  popfd
  %assign vector 0
  %rep 14
    IDT_GATE vector, CODE32, ADDRESS(stubs32) + vector * 16, R_INT32
    %assign vector vector + 1
  %endrep
  SEGMENT TSS, tss, tss_size - 1, R_TSS32
  mov eax, TSS
  ltr ax
  xor eax, eax
  lldt ax
  clts
  mov edi, scratch
  mov ecx, 0x400 / 4
  rep stosd
  mov [tss], ax
  SEGMENT TSS2, tss2, 0x67, R_TSS32
  SEGMENT TSS3, tss3, 0x2b, R_TSS16
  GATE GATE2, TSS2, 0, R_TASK
  GATE GATE3, TSS3, 0, R_TASK
  SEGMENT BAD_DATA, 0, 0xfffff, R_DATA32 - R_ABSENT
  SEGMENT BAD_CODE, 0, 0xfffff, R_CODE32 - 2
  SEGMENT ABSENT_CODE, 0, 0xfffff, R_CODE32 - R_ABSENT
  SEGMENT ABSENT_LDT, scratch + 0xf00, 0xff, R_LDT - R_ABSENT
  SEGMENT SMALL_CODE, ADDRESS(stray) - 0x1000, 0x0fff, (R_CODE32 & ~0x8000)
  SEGMENT TSS4, tss4, 0x67, R_TSS32
  mov dword [tss4 + 0x20], note_refusal
  mov dword [tss4 + 0x24], 2
  mov dword [tss4 + 0x38], stack4
  mov dword [tss4 + 0x48], DATA32_3
  mov dword [tss4 + 0x4c], CODE32
  mov dword [tss4 + 0x50], DATA32
  mov dword [tss4 + 0x54], DATA32_3
  SEGMENT TEST_LDT, scratch + 0xf00, 0xff, R_LDT
  mov dword [tss2 + 0x20], note_then_iret
  mov dword [tss2 + 0x24], 2
  mov dword [tss2 + 0x38], stack2
  mov dword [tss2 + 4], stack0_top
  mov dword [tss2 + 8], DATA32
  mov dword [tss2 + 0x48], DATA32_3
  mov dword [tss2 + 0x4c], CODE32
  mov dword [tss2 + 0x50], DATA32
  mov dword [tss2 + 0x54], DATA32_3
  mov word [tss3 + 0x0e], OFFSET16(note_then_iret16)
  mov word [tss3 + 0x10], 2
  mov word [tss3 + 0x1a], stack2
  mov word [tss3 + 0x22], DATA32_3
  mov word [tss3 + 0x24], CODE16
  mov word [tss3 + 0x26], DATA16
  mov word [tss3 + 0x28], DATA32_3
  ret

; ---- The tasks

%macro NOTE_TASK 2          ; TSS, address of it
  str eax
  NOTE eax
  pushfd
  pop eax
  and eax, F_NT
  NOTE eax
  smsw eax
  and eax, 8
  NOTE eax
  movzx eax, word [%2]
  NOTE eax
  mov ebx, ADDRESS(gdt)
  movzx eax, byte [ebx + %1 + 5]
  NOTE eax
  movzx eax, byte [ebx + TSS + 5]
  NOTE eax
%endmacro

note_then_jump:
  NOTE_TASK TSS2, tss2
  jmp TSS:0
note_then_iret:
  NOTE_TASK TSS2, tss2
just_return:
  iretd

bits 16
note_then_jump16:
  NOTE_TASK TSS3, tss3
  jmp TSS:0
note_then_iret16:
  NOTE_TASK TSS3, tss3
  iret
note_registers16:
  movzx eax, ax
  NOTE eax
  movzx eax, bx
  NOTE eax
  movzx eax, sp
  NOTE eax
  mov eax, ss
  NOTE eax
  iret
load_and_return16:
  mov ax, 0xa1a1
  mov bx, 0xb1b1
  push ax
  iret
note_error16:
  movzx esi, sp
  movzx eax, word [esi]
  NOTE eax
  movzx eax, sp
  NOTE eax
  jmp dword CODE32:ADDRESS(to_next)
bits 32

note_return2:
  pushfd
  pop eax
  and eax, F_NT
  NOTE eax
  movzx eax, byte [ADDRESS(gdt) + TSS2 + 5]
  NOTE eax
  movzx eax, byte [ADDRESS(gdt) + TSS + 5]
  NOTE eax
  ret
note_return3:
  pushfd
  pop eax
  and eax, F_NT
  NOTE eax
  movzx eax, byte [ADDRESS(gdt) + TSS3 + 5]
  NOTE eax
  movzx eax, byte [ADDRESS(gdt) + TSS + 5]
  NOTE eax
  ret

note_registers:
  mov [count], edi
  NOTE eax
  NOTE ecx
  NOTE edx
  NOTE ebx
  NOTE ebp
  NOTE esi
  NOTE esp
  mov eax, ds
  NOTE eax
  mov eax, ss
  NOTE eax
  sldt eax
  NOTE eax
  iretd

note_own_flags:
  pushfd
  pop eax
  and eax, F_NT
  NOTE eax
  iretd

note_saved_if:
  mov eax, [tss + 0x24]
  and eax, F_IF
  NOTE eax
  pushfd
  pop eax
  and eax, F_IF
  NOTE eax
  iretd

note_level3:
  mov eax, cs
  NOTE eax
  mov eax, ss
  NOTE eax
  NOTE esp
  jmp to_next

note_error32:
  NOTE_AT [esp]
  NOTE esp
  mov eax, [tss + 0x24]
  and eax, F_RF
  NOTE eax
to_next:
  jmp [next_begin]

note_ud:                    ; the saved EIP is that of the instruction, and nothing was pushed
  mov eax, [tss + 0x20]
  sub eax, fault_here
  NOTE eax
  NOTE esp
  jmp to_next

note_refusal:
  NOTE_AT [esp]
  movzx eax, word [tss4]
  NOTE eax
  movzx eax, byte [ADDRESS(gdt) + TSS2 + 5]
  NOTE eax
  jmp to_next

note_then_level0:
  mov eax, cs
  and eax, 3
  add eax, CODE32
  NOTE eax
  jmp to_next

note_stray:
  NOTE 0xbad
  jmp to_next
stray:
  NOTE 0xbad
  jmp dword CODE32:ADDRESS(to_next)
%include "runtime.inc"
