; Interrupt, trap and call gates of 16 and 32 bits, at one level and inward, and far returns: "Call Gates",
; "Exception- or Interrupt-Handler Procedures", "Privilege Level Checking When Returning".
%include "test.inc"

AT_CODE16   equ SPARE + 0x00
AT_DATA1    equ SPARE + 0x10
CONFORMING  equ SPARE + 0x18
AT_ABSENT   equ SPARE + 0x20
ABSENT_GATE equ SPARE + 0x28
CALL0       equ SPARE + 0x30
CALL3       equ SPARE + 0x38
CALL3_16    equ SPARE + 0x40
CALL1       equ SPARE + 0x48
TO_ABSENT   equ SPARE + 0x50
TO_DATA     equ SPARE + 0x58
TO_NULL     equ SPARE + 0x60
TO_CONFORMING equ SPARE + 0x68
TOO_FAR     equ SPARE + 0x70
SMALL_CODE  equ SPARE + 0x78
DATA_ABSENT equ SPARE + 0x80

TABLE
; name, then: IF in the handler, CS, IF of the frame, bytes of the frame
  TEST interrupt_gate32, 0, CODE32, F_IF, 12
  TEST trap_gate32, F_IF, CODE32, F_IF, 12
  TEST interrupt_gate16, 0, CODE32, F_IF, 6
  TEST trap_gate16, F_IF, CODE32, F_IF, 6
  TEST interrupt_gate32_inward, 0, CODE32_3, F_IF, 20, DATA32_3, stack3_top, F_IF, CODE32_3
  TEST trap_gate32_inward, F_IF, CODE32_3, F_IF, 20, DATA32_3, stack3_top, F_IF, CODE32_3
  TEST interrupt_gate16_inward, 0, CODE16_3, F_IF, 10, DATA32_3, stack3_top, F_IF, CODE16_3
; exceptions on the way through the IDT
  TEST int_gate_dpl, GP(IN_IDT(0x40)), CODE32_3
  TEST int_gate_absent, NP(IN_IDT(0x40))
  TEST int_gate_dpl_before_present, GP(IN_IDT(0x40))
  TEST int_gate_type, GP(IN_IDT(0x40))
  TEST int_beyond_limit, GP(IN_IDT(0xff))
  TEST int_to_null, GP(0)
  TEST int_to_data, GP(DATA32)
  TEST int_to_absent, NP(AT_ABSENT)
  TEST int_to_outer, GP(CODE32_3 & ~3)
  TEST int_beyond_gdt, GP(0x1000)
  TEST int_beyond_code, GP(0)
  TEST int3_gate_dpl, GP(IN_IDT(3))
  TEST int1_ignores_dpl, DB
  TEST fault_ignores_dpl, UD
  TEST int_flags_cleared, 0, 0
  TEST fault_sets_rf, F_RF, UD
  TEST int_leaves_rf, 0
  TEST int_conforming, CODE32_3, 3, 12
; inner stacks
  TEST inner_ss_null, TS(0)
  TEST inner_ss_rpl, TS(DATA32)
  TEST inner_ss_code, TS(CODE32_1 - 1)
  TEST inner_ss_absent, SS_(DATA_ABSENT)
  TEST inner_tss_limit, TS(TSS)
  TEST inner_stack_pushes_fail, SS_(DATA_ABSENT)
; call gates
  TEST call_gate32, CODE32, stack0_top - 8
  TEST call_gate32_rpl, CODE32, stack0_top - 8
  TEST call_gate_dpl, GP(CALL0), CODE32_3
  TEST call_gate_inward, 0, CODE32_3, 11, 22, 33, DATA32_3, stack3_top - 12, 28, stack3_top, CODE32_3
  TEST call_gate16_inward, 0, CODE32_3, 0x4444, DATA32_3, (stack3_top - 2) & 0xffff, 10, CODE32_3
  TEST call_gate_to_level1, 1, stack1_top - 16, CODE32_3
  TEST call_gate_absent, NP(ABSENT_GATE)
  TEST call_gate_to_absent, NP(AT_ABSENT)
  TEST call_gate_to_data, GP(DATA32)
  TEST call_gate_to_null, GP(0)
  TEST call_gate_to_outer, GP(CODE32_3 & ~3)
  TEST call_gate_conforming, CONFORMING + 3, 3
  TEST call_gate_beyond_limit, GP(0)
  TEST jump_gate, 0x77
  TEST jump_gate_inward, GP(CODE32)
  TEST jump_gate_conforming, CONFORMING + 3
; direct far transfers
  TEST far_jump_null, GP(0)
  TEST far_jump_data, GP(DATA32)
  TEST far_jump_outer, GP(CODE32_3 & ~3)
  TEST far_jump_rpl, GP(CODE32)
  TEST far_jump_absent, NP(AT_ABSENT)
  TEST far_jump_conforming, CONFORMING + 3
  TEST far_jump_limit, GP(0)
  TEST far_call_limit, GP(0)
  TEST far_jump_to_interrupt_gate, GP(CALL0)
  TEST far_call16, CODE32, stack0_top - 4
; far returns
  TEST retf_outward, CODE32_3, stack3_top, DATA32_3
  TEST retf_outward_releases_both, CODE32_3, stack3_top + 8
  TEST retf_drops_inner_data, 0, DATA32_3, CONFORMING
  TEST retf_inward, GP(CODE32)
  TEST retf_null, GP(0)
  TEST retf_ss_null, GP(0)
  TEST retf_ss_rpl, GP(DATA32)
  TEST retf_ss_absent, SS_(DATA_ABSENT)
  TEST retf_limit, GP(0)
  TEST iret_outward_keeps_iopl, F_IOPL
  TEST iret_level3_keeps_if_iopl, F_IF
  TEST iret_inward, GP(CODE32)
  TEST iret_ss_null, GP(0)
  TEST iret_limit, GP(0)
  TEST iret_cs_absent, NP(AT_ABSENT)
  TEST iret16, CODE32, 0x1234
; what loads of segment registers check
  TEST ds_code_unreadable, GP(AT_CODE16)
  TEST ds_dpl, GP(DATA32)
  TEST ds_rpl, GP(DATA32)
  TEST ds_absent, NP(DATA_ABSENT)
  TEST ds_conforming, CONFORMING + 3
  TEST ss_readonly, GP(AT_DATA1)
  TEST ss_absent, SS_(DATA_ABSENT)
  TEST ss_null, GP(0)
  TEST null_ds_used, GP(0)
  TEST accessed_bit, R_DATA32 - 1, R_DATA32
END_TABLE

main:
  SEGMENT AT_CODE16, ORIGIN, 0xffff, R_CODE16 - 2             ; not readable
  SEGMENT CONFORMING, 0, 0xfffff, R_CODE32 | R_CONFORMING
  SEGMENT AT_ABSENT, 0, 0xfffff, R_CODE32 - R_ABSENT
  SEGMENT DATA_ABSENT, 0, 0xfffff, R_DATA32 - R_ABSENT
  SEGMENT AT_DATA1, 0, 0xfffff, R_DATA32 - 2                  ; not writable
  SEGMENT SMALL_CODE, ADDRESS(stray) - 0x1000, 0x0fff, (R_CODE32 & ~0x8000)
  GATE CALL0, CODE32, ADDRESS(called), R_CALL32
  GATE CALL3, CODE32, ADDRESS(called_inward), R_CALL32 | R_DPL3, 3
  GATE CALL3_16, CODE16, OFFSET16(called_inward16), R_CALL16 | R_DPL3, 1
  GATE CALL1, CODE32_1, ADDRESS(called_level1), R_CALL32 | R_DPL3
  GATE TO_ABSENT, AT_ABSENT, 0, R_CALL32
  GATE TO_DATA, DATA32, 0, R_CALL32
  GATE TO_NULL, 0, 0, R_CALL32
  GATE TO_CONFORMING, CONFORMING, ADDRESS(called_conforming), R_CALL32 | R_DPL3
  GATE TOO_FAR, SMALL_CODE, 0x1000, R_CALL32
  GATE ABSENT_GATE, CODE32, ADDRESS(called), R_CALL32 - R_ABSENT

; ---- Through the IDT

%macro THROUGH 4            ; test, selector, offset, rights
  BEGIN %1
  IDT_GATE 0x40, %2, %3, %4
  sti
  int 0x40
  cli
%endmacro
  THROUGH interrupt_gate32, CODE32, ADDRESS(frame32), R_INT32
  THROUGH trap_gate32, CODE32, ADDRESS(frame32), R_TRAP32
%macro THROUGH16 2          ; the frame's IP is of 16 bits, so the caller must lie in a segment where that is enough
  BEGIN %1
  IDT_GATE 0x40, CODE16, OFFSET16(frame16), %2
  call through16
%endmacro
  THROUGH16 interrupt_gate16, R_INT16
  THROUGH16 trap_gate16, R_TRAP16

%macro THROUGH_INWARD 2
  BEGIN %1
  IDT_GATE 0x40, CODE32, ADDRESS(frame32_inward), %2 | R_DPL3
  LEVEL3 F_IF | 2
  int 0x40
  call note_if_and_cs
  LEVEL0
%endmacro
  THROUGH_INWARD interrupt_gate32_inward, R_INT32
  THROUGH_INWARD trap_gate32_inward, R_TRAP32

  BEGIN interrupt_gate16_inward
  IDT_GATE 0x40, CODE16, OFFSET16(frame16_inward), R_INT16 | R_DPL3
  push dword DATA32_3
  push dword stack3_top
  push dword F_IF | 2
  push dword CODE16_3
  push dword OFFSET16(.in16)
  iretd
bits 16
.in16:
  int 0x40
  call note_if_and_cs16
  jmp dword CODE32_3:ADDRESS(.back)
bits 32
.back:
  LEVEL0

%macro FAULT_AT_LEVEL0 4    ; test, selector, offset, rights
  BEGIN %1
  TRY %%next
  IDT_GATE 0x40, %2, %3, %4
  int 0x40
  %%next:
%endmacro
  BEGIN int_gate_dpl
  TRY .dpl
  IDT_GATE 0x40, CODE32, ADDRESS(frame32), R_INT32
  LEVEL3
  int 0x40
.dpl:
  NOTE_AT [fault_cs]
  FAULT_AT_LEVEL0 int_gate_absent, CODE32, ADDRESS(frame32), R_INT32 - R_ABSENT
  BEGIN int_gate_dpl_before_present
  TRY .dpl_present
  IDT_GATE 0x40, CODE32, ADDRESS(frame32), R_INT32 - R_ABSENT
  LEVEL3
  int 0x40
.dpl_present:
  FAULT_AT_LEVEL0 int_gate_type, CODE32, ADDRESS(frame32), R_CALL32
  BEGIN int_beyond_limit
  TRY .limit
  lidt [short_idt]
  int 0xff
.limit:
  lidt [idt32_pointer]
  FAULT_AT_LEVEL0 int_to_null, 0, 0, R_INT32
  FAULT_AT_LEVEL0 int_to_data, DATA32, 0, R_INT32
  FAULT_AT_LEVEL0 int_to_absent, AT_ABSENT, 0, R_INT32
  FAULT_AT_LEVEL0 int_to_outer, CODE32_3, 0, R_INT32
  FAULT_AT_LEVEL0 int_beyond_gdt, 0x1000, 0, R_INT32
  FAULT_AT_LEVEL0 int_beyond_code, SMALL_CODE, 0x1000, R_INT32
  BEGIN int3_gate_dpl
  TRY .int3
  LEVEL3
  int3
.int3:
  BEGIN int1_ignores_dpl
  TRY .int1
  LEVEL3
  db 0xf1
.int1:
  BEGIN fault_ignores_dpl
  TRY .ud
  LEVEL3
  ud2
.ud:

  BEGIN int_flags_cleared
  IDT_GATE 0x40, CODE32, ADDRESS(note_nt_tf), R_TRAP32
  push dword F_NT | 2
  popfd
  int 0x40
  push dword 2
  popfd
  BEGIN fault_sets_rf
  TRY .rf
  HOOK 6, note_rf
  ud2
.rf:
  HOOK 6, 0
  BEGIN int_leaves_rf
  IDT_GATE 0x40, CODE32, ADDRESS(note_int_rf), R_INT32
  int 0x40
  BEGIN int_conforming
  IDT_GATE 0x40, CONFORMING, ADDRESS(conforming_handler), R_TRAP32 | R_DPL3
  LEVEL3
  int 0x40
  LEVEL0

; ---- Inner stacks

%macro INNER_STACK 2        ; test, SS0
  BEGIN %1
  TRY %%next
  ; The handler is of level 1, so that the exception itself comes by level 0's good stack: only SS1 is bad.
  IDT_GATE 0x40, CODE32_1, ADDRESS(frame32), R_INT32 | R_DPL3
  mov dword [tss + 16], %2
  LEVEL3
  int 0x40
  %%next:
  mov dword [tss + 16], DATA32_1
%endmacro
  INNER_STACK inner_ss_null, 0
  INNER_STACK inner_ss_rpl, DATA32
  INNER_STACK inner_ss_code, CODE32_1
  SEGMENT DATA_ABSENT, 0, 0xfffff, (R_DATA32 | R_DPL1) - R_ABSENT
  INNER_STACK inner_ss_absent, DATA_ABSENT + 1
  BEGIN inner_tss_limit
  TRY .tss_limit
  IDT_GATE 0x40, CODE32_1, ADDRESS(frame32), R_INT32 | R_DPL3
  SEGMENT TSS, tss, 0x0e, R_TSS32
  mov eax, TSS
  ltr ax
  LEVEL3
  int 0x40
.tss_limit:
  SEGMENT TSS, tss, tss_size - 1, R_TSS32
  mov eax, TSS
  ltr ax
  BEGIN inner_stack_pushes_fail
  TRY .pushes
  mov dword [tss + 16], DATA_ABSENT + 1
  SEGMENT DATA_ABSENT, 0, 0x10, (R_DATA32 & ~0x8000) | R_DPL1
  LEVEL3
  int 0x40
.pushes:
  SEGMENT DATA_ABSENT, 0, 0xfffff, R_DATA32 - R_ABSENT
  mov dword [tss + 16], DATA32_1

; ---- Call gates

  BEGIN call_gate32
  call CALL0:0xdeadbeef
  BEGIN call_gate32_rpl
  call CALL3 + 3:0
  BEGIN call_gate_dpl
  TRY .call_dpl
  LEVEL3
  call CALL0:0
.call_dpl:
  NOTE_AT [fault_cs]
  BEGIN call_gate_inward
  LEVEL3
  push dword 33
  push dword 22
  push dword 11
  call CALL3 + 3:0
  NOTE esp
  mov eax, cs
  NOTE eax
  LEVEL0
  BEGIN call_gate16_inward
  LEVEL3
  push word 0x4444
  call CALL3_16 + 3:0
after_call16:
  mov eax, cs
  NOTE eax
  LEVEL0
  BEGIN call_gate_to_level1
  LEVEL3
  call CALL1 + 3:0
  mov eax, cs
  NOTE eax
  LEVEL0
%macro FAULTING 2+          ; test, instruction
  BEGIN %1
  TRY %%next
  %2
  %%next:
%endmacro
%macro FAULTING3 2+         ; the same at level 3
  BEGIN %1
  TRY %%next
  LEVEL3
  %2
  %%next:
%endmacro
  FAULTING call_gate_absent, call ABSENT_GATE:0
  FAULTING call_gate_to_absent, call TO_ABSENT:0
  FAULTING call_gate_to_data, call TO_DATA:0
  FAULTING call_gate_to_null, call TO_NULL:0
  GATE TO_ABSENT, CODE32_3, 0, R_CALL32
  FAULTING call_gate_to_outer, call TO_ABSENT:0
  BEGIN call_gate_conforming
  LEVEL3
  call TO_CONFORMING + 3:0
  LEVEL0
  FAULTING call_gate_beyond_limit, call TOO_FAR:0
  BEGIN jump_gate
  GATE TO_ABSENT, CODE32, ADDRESS(.jumped), R_CALL32
  jmp TO_ABSENT:0
  NOTE 0
.jumped:
  NOTE 0x77
  FAULTING3 jump_gate_inward, jmp CALL3 + 3:0
  BEGIN jump_gate_conforming
  GATE TO_CONFORMING, CONFORMING, ADDRESS(.jumped_conforming), R_CALL32 | R_DPL3
  LEVEL3
  jmp TO_CONFORMING + 3:0
.jumped_conforming:
  mov eax, cs
  NOTE eax
  LEVEL0

; ---- Direct transfers

  FAULTING far_jump_null, jmp 3:0
  FAULTING far_jump_data, jmp DATA32:0
  FAULTING far_jump_outer, jmp CODE32_3:0
  FAULTING far_jump_rpl, jmp CODE32 + 1:0
  FAULTING far_jump_absent, jmp AT_ABSENT:0
  BEGIN far_jump_conforming
  LEVEL3
  jmp CONFORMING:.conforming
.conforming:
  mov eax, cs
  NOTE eax
  LEVEL0
  FAULTING far_jump_limit, jmp SMALL_CODE:0x1000
  FAULTING far_call_limit, call SMALL_CODE:0x1000
  mov dword [ADDRESS(gdt) + CALL0 + 4], GATE_HIGH(0, R_INT32, 0)
  FAULTING far_jump_to_interrupt_gate, jmp CALL0:0
  BEGIN far_call16
  o16 call far [.pointer16]
  jmp call16_done
.pointer16: dw OFFSET16(called16), CODE16
call16_done:

; ---- Returns

  BEGIN retf_outward
  push dword DATA32_3
  push dword stack3_top
  push dword CODE32_3
  push dword .outward
  retf
.outward:
  mov eax, cs
  NOTE eax
  NOTE esp
  mov eax, ss
  NOTE eax
  LEVEL0
  BEGIN retf_outward_releases_both
  push dword DATA32_3
  push dword stack3_top
  push dword 0
  push dword 0
  push dword CODE32_3
  push dword .outward8
  retf 8
.outward8:
  mov eax, cs
  NOTE eax
  NOTE esp
  mov esp, stack3_top
  LEVEL0
  BEGIN retf_drops_inner_data
  mov eax, DATA32
  mov gs, eax
  mov eax, CONFORMING
  mov fs, eax
  push dword DATA32_3
  push dword stack3_top
  push dword CODE32_3
  push dword .dropped
  retf
.dropped:
  mov eax, gs
  NOTE eax
  mov eax, ds
  NOTE eax
  mov eax, fs
  NOTE eax
  LEVEL0
  mov eax, DATA32_3
  mov fs, eax
  mov gs, eax
%macro RETURNING 3-*        ; test, instruction, what is pushed
  BEGIN %1
  TRY %%next
  %xdefine returning %2
  %rep %0 - 2
    %rotate 1
    push dword %2
  %endrep
  returning
  %%next:
%endmacro
  BEGIN retf_inward
  TRY .inward
  LEVEL3
  push dword CODE32
  push dword 0
  retf
.inward:
  RETURNING retf_null, retf, 0, 0
  RETURNING retf_ss_null, retf, 3, 0, CODE32_3, 0
  RETURNING retf_ss_rpl, retf, DATA32, 0, CODE32_3, 0
  SEGMENT DATA_ABSENT, 0, 0xfffff, (R_DATA32 | R_DPL3) - R_ABSENT
  RETURNING retf_ss_absent, retf, DATA_ABSENT + 3, 0, CODE32_3, 0
  RETURNING retf_limit, retf, SMALL_CODE, 0x1000
  BEGIN iret_outward_keeps_iopl
  LEVEL3 F_IOPL | 2
  pushfd
  pop eax
  and eax, F_IOPL
  NOTE eax
  LEVEL0
  BEGIN iret_level3_keeps_if_iopl
  LEVEL3 F_IF | 2
  push dword F_IOPL | 2
  push dword CODE32_3
  push dword .iret3
  iretd
.iret3:
  pushfd
  pop eax
  and eax, F_IOPL | F_IF
  NOTE eax
  LEVEL0
  BEGIN iret_inward
  TRY .iret_inward
  LEVEL3
  push dword 2
  push dword CODE32
  push dword 0
  iretd
.iret_inward:
  RETURNING iret_ss_null, iretd, 3, 0, 2, CODE32_3, 0
  RETURNING iret_limit, iretd, 2, SMALL_CODE, 0x1000
  RETURNING iret_cs_absent, iretd, 2, AT_ABSENT, 0
  BEGIN iret16
  push word 2
  push word CODE16
  push word OFFSET16(.landed16)
  o16 iret
bits 16
.landed16:
  jmp dword CODE32:.landed32
bits 32
.landed32:
  mov eax, cs
  NOTE eax
  NOTE 0x1234

; ---- Loads

  mov ecx, AT_CODE16
  FAULTING ds_code_unreadable, mov ds, cx
  mov ecx, DATA32
  FAULTING3 ds_dpl, mov ds, cx
  mov ecx, DATA32 + 1
  FAULTING ds_rpl, mov ds, cx
  SEGMENT DATA_ABSENT, 0, 0xfffff, R_DATA32 - R_ABSENT
  mov ecx, DATA_ABSENT
  FAULTING ds_absent, mov ds, cx
  BEGIN ds_conforming
  LEVEL3
  mov eax, CONFORMING + 3
  mov gs, eax
  mov eax, gs
  NOTE eax
  LEVEL0
  mov ecx, AT_DATA1
  FAULTING ss_readonly, mov ss, cx
  mov ecx, DATA_ABSENT
  FAULTING ss_absent, mov ss, cx
  xor ecx, ecx
  FAULTING ss_null, mov ss, cx
  xor ecx, ecx
  mov gs, ecx
  FAULTING null_ds_used, mov eax, [gs:0]
  mov eax, DATA32_3
  mov gs, eax
  BEGIN accessed_bit
  SEGMENT AT_DATA1, 0, 0xfffff, R_DATA32 - 1
  mov ebx, ADDRESS(gdt) + AT_DATA1 + 5
  movzx eax, word [ebx]
  and eax, 0xf0ff
  NOTE eax
  mov eax, AT_DATA1
  mov gs, eax
  movzx eax, word [ebx]
  and eax, 0xf0ff
  NOTE eax
  FINISH

; ---- Handlers

; Behind the limit of SMALL_CODE
stray:
  NOTE 0xbad
  jmp dword CODE32:ADDRESS(.next)
.next:
  jmp [next_begin]

frame32:
  pushfd
  pop eax
  and eax, F_IF
  NOTE eax
  NOTE_AT [esp + 4]
  mov eax, [esp + 8]
  and eax, F_IF
  NOTE eax
  mov eax, stack0_top
  sub eax, esp
  NOTE eax
  iretd

frame32_inward:
  pushfd
  pop eax
  and eax, F_IF
  NOTE eax
  NOTE_AT [esp + 4]
  mov eax, [esp + 8]
  and eax, F_IF
  NOTE eax
  mov eax, stack0_top
  sub eax, esp
  NOTE eax
  NOTE_AT [esp + 16]
  NOTE_AT [esp + 12]
  iretd

note_if_and_cs:
  pushfd
  pop eax
  and eax, F_IF
  NOTE eax
  mov eax, cs
  NOTE eax
  ret

note_nt_tf:
  pushfd
  pop eax
  and eax, F_NT | F_TF
  NOTE eax
  NOTE 0
  iretd

note_rf:
  mov eax, [fault_flags]
  and eax, F_RF
  NOTE eax
  NOTE UD
  mov edi, [resume_at]
  mov esp, stack0_top
  jmp edi

note_int_rf:
  mov eax, [esp + 8]
  and eax, F_RF
  NOTE eax
  iretd

conforming_handler:
  mov eax, [esp + 4]
  NOTE eax
  mov eax, cs
  and eax, 3
  NOTE eax
  mov eax, stack3_top
  sub eax, esp
  NOTE eax
  iretd

called:
  NOTE_AT [esp + 4]
  NOTE esp
  retf

called_inward:
  mov eax, cs
  and eax, 3
  jnz .same
  cmp dword [esp + 4], CODE32_3
  jne .same
  NOTE eax
  NOTE_AT [esp + 4]
  NOTE_AT [esp + 8]
  NOTE_AT [esp + 12]
  NOTE_AT [esp + 16]
  NOTE_AT [esp + 24]
  NOTE_AT [esp + 20]
  mov eax, stack0_top
  sub eax, esp
  NOTE eax
  retf 12
.same:                      ; at level 0 no parameters are copied
  NOTE_AT [esp + 4]
  NOTE esp
  retf

called_level1:
  mov eax, cs
  and eax, 3
  NOTE eax
  NOTE esp
  retf

called_conforming:
  mov eax, cs
  NOTE eax
  mov eax, cs
  and eax, 3
  NOTE eax
  retf

bits 16
frame16:
  pushfd
  pop eax
  and eax, F_IF
  NOTE eax
  mov esi, esp
  movzx eax, word [esi + 2]
  NOTE eax
  movzx eax, word [esi + 4]
  and eax, F_IF
  NOTE eax
  mov eax, stack0_top - 4   ; through16's own return address
  sub eax, esp
  NOTE eax
  ; IP was cut to 16 bits and belongs to the 32-bit segment: return as if to offset 10000h and up
  add esp, 6
  push dword CODE32
  push dword ADDRESS(after_through16)
  o32 retf

frame16_inward:
  pushfd
  pop eax
  and eax, F_IF
  NOTE eax
  mov esi, esp
  movzx eax, word [esi + 2]
  NOTE eax
  movzx eax, word [esi + 4]
  and eax, F_IF
  NOTE eax
  mov eax, stack0_top
  sub eax, esp
  NOTE eax
  movzx eax, word [esi + 8]
  NOTE eax
  movzx eax, word [esi + 6]
  NOTE eax
  iret

note_if_and_cs16:
  pushfd
  pop eax
  and eax, F_IF
  NOTE eax
  mov eax, cs
  NOTE eax
  ret

called_inward16:
  mov eax, cs
  and eax, 3
  NOTE eax
  mov esi, esp
  movzx eax, word [esi + 2]
  NOTE eax
  movzx eax, word [esi + 4]
  NOTE eax
  movzx eax, word [esi + 8]
  NOTE eax
  movzx eax, word [esi + 6]
  NOTE eax
  mov eax, stack0_top
  sub eax, esp
  NOTE eax
  ; The caller's IP was cut: return by a frame of 32 bits
  push dword DATA32_3
  push dword stack3_top
  push dword CODE32_3
  push dword ADDRESS(after_call16)
  o32 retf

called16:
  mov esi, esp
  movzx eax, word [esi + 2]
  NOTE eax
  NOTE esp
  add esp, 4
  push dword CODE32
  push dword ADDRESS(call16_done)
  o32 retf
bits 32

through16:
  sti
  int 0x40
after_through16:
  cli
  ret

short_idt: dw 0xff * 8 + 6
  dd idt32
%include "runtime.inc"
