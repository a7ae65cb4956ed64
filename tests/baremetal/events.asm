; Interrupt shadows, NMIs, double and triple faults, and which of several events comes first: "Masking Exceptions and Interrupts
; When Switching Stacks", "Handling Multiple NMIs", "Interrupt 8 - Double Fault Exception (#DF)", "Priority Among Concurrent
; Events".
%include "test.inc"

apic    equ 0xfee00000
base    equ scratch + 0x200
VECTOR equ 0x50
BAD_DATA equ SPARE
SMALL equ SPARE + 8

TABLE
; where an interrupt that was pending comes, from the test's start
  TEST sti_shadow, 2
  TEST sti_when_on, 1
  TEST sti_cli, 0x0ff
  TEST popf_no_shadow, 0
  TEST iret_no_shadow, 0
  TEST sti_mov_ss, 4
  TEST sti_pop_ss, 3
  TEST sti_hlt, 2
  TEST sti_fault, UD
  TEST mov_ss_fault, UD
  TEST tpr_lowered, 0x51, 0x52
; NMIs
  TEST nmi_at_once, 1, 2
  TEST nmi_blocks_nmi, 1, 2, 1, 2, 4
  TEST nmi_unblocked_by_any_iret, 1, 1, 2, 2, 4
  TEST nmi_wakes_hlt, 1, 2, 3
  TEST nmi_before_interrupt, 1, 2, VECTOR
; double faults: what came first, and what its delivery met
  TEST gp_then_np, DF
  TEST gp_then_pf, PF(0)
  TEST pf_then_gp, DF
  TEST pf_then_pf, DF
  TEST ud_then_gp, GP(IN_IDT(6) + EXTERNAL)
  TEST ud_then_pf, PF(0)
  TEST de_then_np, DF
  TEST np_then_gp, DF
  TEST int_then_np, NP(IN_IDT(0x40))
  TEST interrupt_then_np, NP(IN_IDT(VECTOR) + EXTERNAL)
  TEST nm_then_np, NP(IN_IDT(7) + EXTERNAL)
  TEST db_then_np, NP(IN_IDT(1) + EXTERNAL)
  TEST int3_then_np, NP(IN_IDT(3))
  TEST df_error_code, 0, 12 + 4
; one instruction, several reasons
  TEST gp_before_pf, GP(0)
  TEST limit_before_page, GP(0)
  TEST nm_before_limit, NM
  TEST lock_ud_before_nm, UD
  TEST too_long, GP(0)
  TEST fetch_limit_before_length, GP(0)
  TEST div_by_memory_fault_first, PF(0)
  TEST page_before_div, PF(0)
  TEST limit_before_alignment, GP(0)
  TEST privilege_before_operand, GP(0)
  TEST trap_before_interrupt, DB, VECTOR
  TEST trap_before_next_fault, DB, UD
; and the reset at the end of all things
  TEST triple_fault, 1
END_TABLE

%macro SEND 1               ; an interrupt command to ourselves; a while for it to arrive
  mov dword [apic + 0x310], 0
  mov dword [apic + 0x300], %1
  call wait_a_while
%endmacro
%macro EOI 0
  mov dword [apic + 0xb0], 0
%endmacro
%macro FROM 1
  mov dword [base], %1
%endmacro
%macro PENDING 1            ; test: an interrupt waits, and IF is 0
  BEGIN %1
  IDT_GATE VECTOR, CODE32, ADDRESS(note_where), R_INT32
  SEND 0x4000 | VECTOR
%endmacro

main:
  ; After a triple fault the ROM starts anew.
  mov al, 0xe0
  out 0x70, al
  in al, 0x71
  cmp al, 5
  jne first_boot
  mov al, 0xe0
  out 0x70, al
  xor eax, eax
  out 0x71, al
  BEGIN triple_fault
  NOTE 1
  call mark_all_run
  jmp finish_program
first_boot:
  mov dword [apic + 0x80], 0
  SEGMENT BAD_DATA, 0, 0xfffff, R_DATA32 - R_ABSENT
  SEGMENT SMALL, 0, 0xf, R_DATA32 & ~0x8000

  PENDING sti_shadow
  FROM .sti
.sti:
  sti
  nop
  nop
  cli
  PENDING sti_when_on
  FROM .again
  ; With IF already set there is no shadow: the first STI's is over after the second one.
  sti
.again:
  sti
  nop
  nop
  cli
  PENDING sti_cli
  sti
  cli
  nop
  NOTE 0xff
  sti
  nop
  nop
  cli
  sub dword [noted_at], 4
  PENDING popf_no_shadow
  FROM .popf
  push dword F_IF | 2
  popfd
.popf:
  nop
  nop
  cli
  PENDING iret_no_shadow
  FROM .iret
  push dword F_IF | 2
  push dword CODE32
  push dword .iret
  iretd
.iret:
  nop
  nop
  cli
  PENDING sti_mov_ss
  mov eax, ss
  FROM .mov_ss
.mov_ss:
  sti
  mov ss, eax
  nop
  nop
  cli
  PENDING sti_pop_ss
  push ss
  FROM .pop_ss
.pop_ss:
  sti
  pop ss
  nop
  nop
  nop
  cli
  PENDING sti_hlt
  FROM .hlt
.hlt:
  sti
  hlt
  nop
  cli
%macro SHADOWED_FAULT 2+    ; the fault comes in spite of the shadow, and its handler runs with the interrupt still to come
  BEGIN %1
  TRY %%next
  %2
  ud2
  %%next:
%endmacro
  mov eax, ss
  SHADOWED_FAULT sti_fault, sti
  mov eax, ss
  SHADOWED_FAULT mov_ss_fault, mov ss, eax
  BEGIN tpr_lowered
  IDT_GATE 0x51, CODE32, ADDRESS(note_51), R_INT32
  IDT_GATE 0x52, CODE32, ADDRESS(note_52), R_INT32
  mov dword [apic + 0x80], 0x50
  SEND 0x4051
  SEND 0x4052
  sti
  call wait_a_while
  NOTE 0x51                 ; nothing yet: class 5 is held back
  mov dword [apic + 0x80], 0x40
  call wait_a_while
  cli
  ; 52h came before 51h
  mov edi, [noted_at]
  mov eax, [edi - 4]
  cmp eax, 0x51
  jne .wrong_order
  sub dword [noted_at], 4
.wrong_order:

%macro NMI_TEST 2
  BEGIN %1
  HOOK 2, %2
%endmacro
  NMI_TEST nmi_at_once, nmi_plain
  SEND 0x4400
  NMI_TEST nmi_blocks_nmi, nmi_sends_another
  mov dword [count], 1
  SEND 0x4400
  call wait_a_while
  NOTE 4
  NMI_TEST nmi_unblocked_by_any_iret, nmi_with_nested_iret
  IDT_GATE 0x40, CODE32, ADDRESS(just_iret), R_INT32
  mov dword [count], 1
  SEND 0x4400
  call wait_a_while
  NOTE 4
  BEGIN nmi_wakes_hlt
  HOOK 2, nmi_plain
  SEND 0x4400
  NOTE 3
  BEGIN nmi_before_interrupt
  HOOK 2, nmi_plain
  IDT_GATE VECTOR, CODE32, ADDRESS(note_vector), R_INT32
  mov dword [apic + 0x310], 0
  mov dword [apic + 0x300], 0x4000 | VECTOR
  call wait_a_while
  SEND 0x4400
  sti
  nop
  nop
  cli
  HOOK 2, 0

; ---- Double faults. Page 60000h is absent in tables that map the rest.

absent equ 0x60000
directory equ free_memory
table equ free_memory + 0x1000
  xor ecx, ecx
.fill:
  mov eax, ecx
  shl eax, 12
  or eax, 7
  mov [table + 4 * ecx], eax
  inc ecx
  cmp ecx, 1024
  jb .fill
  mov dword [table + 4 * (absent >> 12)], 0
  mov dword [directory], table | 7
  mov dword [directory + 4 * (apic >> 22)], (apic & 0xffc00000) | 0x87
  mov eax, directory
  mov cr3, eax
  mov eax, cr4
  or eax, 0x10
  mov cr4, eax
  mov eax, cr0
  or eax, 0x80000000
  mov cr0, eax

%macro SPOILED 4+           ; test, vector whose gate is spoiled, how (rights), instruction
  BEGIN %1
  TRY %%next
  mov byte [idt32 + 8 * (%2) + 5], %3
  %4
  %%next:
  mov byte [idt32 + 8 * (%2) + 5], R_INT32
%endmacro
; A gate whose handler's segment descriptor lies in an absent page: an LDT there.
%macro SPOILED_BY_PAGE 3+   ; test, vector, instruction
  BEGIN %1
  TRY %%next
  call use_absent_ldt
  mov word [idt32 + 8 * (%2) + 2], 4
  %3
  %%next:
  mov word [idt32 + 8 * (%2) + 2], CODE32
%endmacro
  mov ecx, DATA32
  SPOILED gp_then_np, 13, R_INT32 - R_ABSENT, jmp DATA32:0
  SPOILED_BY_PAGE gp_then_pf, 13, jmp DATA32:0
  SPOILED pf_then_gp, 14, R_CALL32, mov eax, [absent]
  SPOILED_BY_PAGE pf_then_pf, 14, mov eax, [absent]
  SPOILED ud_then_gp, 6, R_CALL32, ud2
  SPOILED_BY_PAGE ud_then_pf, 6, ud2
  BEGIN de_then_np
  TRY .de
  mov byte [idt32 + 5], R_INT32 - R_ABSENT
  xor ecx, ecx
  xor edx, edx
  div ecx
.de:
  mov byte [idt32 + 5], R_INT32
  BEGIN np_then_gp
  TRY .np
  mov byte [idt32 + 8 * 11 + 5], R_CALL32
  mov ecx, BAD_DATA
  mov gs, ecx
.np:
  mov byte [idt32 + 8 * 11 + 5], R_INT32
  IDT_GATE 0x40, CODE32, 0, R_INT32
  SPOILED int_then_np, 0x40, R_INT32 - R_ABSENT, int 0x40
  PENDING interrupt_then_np
  TRY .interrupt
  mov byte [idt32 + 8 * VECTOR + 5], R_INT32 - R_ABSENT
  sti
  nop
  nop
.interrupt:
  cli
  EOI
  BEGIN nm_then_np
  TRY .nm
  mov byte [idt32 + 8 * 7 + 5], R_INT32 - R_ABSENT
  mov eax, cr0
  or eax, 8
  mov cr0, eax
  fldz
.nm:
  clts
  mov byte [idt32 + 8 * 7 + 5], R_INT32
  BEGIN db_then_np
  TRY .db
  mov byte [idt32 + 8 + 5], R_INT32 - R_ABSENT
  push dword F_TF | 2
  popfd
  nop
.db:
  mov byte [idt32 + 8 + 5], R_INT32
  SPOILED int3_then_np, 3, R_INT32 - R_ABSENT, int3
  BEGIN df_error_code
  IDT_GATE 8, CODE32, ADDRESS(note_df), R_INT32
  mov byte [idt32 + 8 * 13 + 5], R_INT32 - R_ABSENT
  TRY .df
  jmp DATA32:0
.df:
  IDT_GATE 8, CODE32, ADDRESS(stubs32) + 8 * 16, R_INT32
  mov byte [idt32 + 8 * 13 + 5], R_INT32

; ---- Priorities

%macro FAULTING 2+
  BEGIN %1
  TRY %%next
  %2
  %%next:
%endmacro
%macro FAULTING3 2+
  BEGIN %1
  TRY %%next
  LEVEL3
  %2
  %%next:
%endmacro
  BEGIN gp_before_pf                                      ; a segment that is not writable, and a page that is not there
  TRY .gp
  mov eax, CODE32
  mov gs, eax
  mov [gs:absent], eax
.gp:
  mov eax, SMALL
  mov gs, eax
  FAULTING limit_before_page, mov eax, [gs:absent]
  mov eax, cr0
  or eax, 8
  mov cr0, eax
  FAULTING nm_before_limit, fld dword [gs:absent]
  FAULTING lock_ud_before_nm, db 0xf0, 0xd9, 0xee         ; LOCK FLDZ
  clts
  mov eax, DATA32_3
  mov gs, eax
  FAULTING too_long, times 15 db 0x66
  mov eax, 0
  BEGIN fetch_limit_before_length
  TRY .fetch
  SEGMENT SMALL, ADDRESS(prefixes), 7, R_CODE32 & ~0x8000
  jmp SMALL:0
.fetch:
  BEGIN div_by_memory_fault_first
  TRY .div
  xor eax, eax
  xor edx, edx
  div dword [absent]
.div:
  BEGIN page_before_div
  TRY .page_div
  div byte [absent]
.page_div:
  mov eax, cr0
  or eax, 0x40000
  mov cr0, eax
  BEGIN limit_before_alignment
  TRY .limit
  SEGMENT SMALL, 0, 0xf, (R_DATA32 & ~0x8000) | R_DPL3
  mov eax, SMALL + 3
  mov gs, eax
  LEVEL3 F_AC | 2
  mov eax, [gs:0x12]
.limit:
  mov eax, DATA32_3
  mov gs, eax
  mov eax, cr0
  and eax, ~0x40000
  mov cr0, eax
  FAULTING3 privilege_before_operand, lgdt [absent]
  PENDING trap_before_interrupt
  HOOK 1, note_db_and_enable
  IDT_GATE VECTOR, CODE32, ADDRESS(note_vector), R_INT32
  push dword F_TF | 2
  popfd
  sti                       ; stepped: its trap comes first
  nop
  nop
  cli
  BEGIN trap_before_next_fault
  HOOK 1, note_db_and_enable
  TRY .next_fault
  push dword F_TF | 2
  popfd
  nop
  ud2
.next_fault:
  HOOK 1, 0

  call report_now
  mov al, 0xe0              ; a byte of the CMOS tells the next start where it comes from
  out 0x70, al
  mov al, 5
  out 0x71, al
  lidt [no_idt]
  ud2
  FINISH

; The row that runs is reported before the machine goes down.
report_now:
  mov dword [next_row], 0
  jmp begin_test

; All rows but the last have been reported before the reset.
mark_all_run:
  mov ebx, first_row
.row:
  mov ecx, [ebx]
  cmp ecx, -1
  je .end
  mov dword [ebx + 4], 1
  lea ebx, [ebx + 4 * ecx + 8]
.name:
  cmp byte [ebx], 0
  lea ebx, [ebx + 1]
  jne .name
  add ebx, 3
  and ebx, -4
  jmp .row
.end:
  ret

wait_a_while:
  push ecx
  mov ecx, 2000
.next:
  dec ecx
  jnz .next
  pop ecx
  ret

use_absent_ldt:
  SEGMENT LDT, absent, 0xff, R_LDT
  push eax
  mov eax, LDT
  lldt ax
  pop eax
  ret

no_idt: dw 0
  dd 0
prefixes: times 16 db 0x66

note_where:
  mov eax, [esp]
  sub eax, [base]
  NOTE eax
  EOI
  iretd
note_vector:
  NOTE VECTOR
  EOI
  iretd
note_51:
  NOTE 0x51
  EOI
  iretd
note_52:
  NOTE 0x52
  EOI
just_iret:
  iretd
note_df:
  NOTE_AT [esp]
  mov eax, stack0_top
  sub eax, esp
  NOTE eax
  mov edi, [resume_at]
  mov esp, stack0_top
  jmp edi
note_db_and_enable:
  push eax
  NOTE DB
  pop eax
  and dword [esp + 8], ~F_TF
  iretd

nmi_plain:
  NOTE 1
  NOTE 2
  iretd
nmi_sends_another:
  NOTE 1
  dec dword [count]
  js .second
  SEND 0x4400
.second:
  NOTE 2
  iretd
nmi_with_nested_iret:
  NOTE 1
  dec dword [count]
  js .second
  SEND 0x4400
  int 0x40                  ; its IRET lets the second one in
.second:
  NOTE 2
  iretd
%include "runtime.inc"
