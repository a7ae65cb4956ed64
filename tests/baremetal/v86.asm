; Virtual-8086 mode, with and without virtual-mode extensions, and protected-mode virtual interrupts: "8086 Emulation".
;
; The 8086 code lies in this image, at segment 1000h, with DS, ES and SS at 0. It ends with HLT, which a hook takes for the wish
; to leave.
%include "test.inc"

TSS_V86 equ SPARE
CONFORMING equ SPARE + 8
tss_v86 equ scratch
TABLE
  TEST segments, 0x1000, 0, 0, 0, stack3_top
  TEST pushf_hides_vm, 0x3002
  TEST address_of_segment, 0x12345678
  TEST limit_data, GP(0)
  TEST limit_stack, SS_(0)
  TEST limit_code, GP(0)
  TEST wide_address, GP(0)
  TEST iret_high_ip, GP(0)
; with IOPL 3 these are the program's
  TEST iopl3_cli_sti, 0, F_IF
  TEST iopl3_popf_keeps_iopl, F_IOPL
  TEST iopl3_iret, 0x1000, F_CF
; and with IOPL 0 the monitor's
  TEST iopl0_cli, GP(0)
  TEST iopl0_sti, GP(0)
  TEST iopl0_pushf, GP(0)
  TEST iopl0_popf, GP(0)
  TEST iopl0_int, GP(0)
  TEST iopl0_iret, GP(0)
  TEST iopl0_int3, BP
  TEST iopl0_into, OF
  TEST int3_gate_dpl, GP(IN_IDT(3))
; privileged and protected-mode instructions
  TEST mov_from_cr0, GP(0)
  TEST mov_to_dr7, GP(0)
  TEST lgdt_, GP(0)
  TEST lidt_, GP(0)
  TEST clts_, GP(0)
  TEST lmsw_, GP(0)
  TEST rdmsr_, GP(0)
  TEST invd_, GP(0)
  TEST smsw_, 1
  TEST sldt_, UD
  TEST str_, UD
  TEST lldt_, UD
  TEST ltr_, UD
  TEST lar_, UD
  TEST lsl_, UD
  TEST verr_, UD
  TEST verw_, UD
  TEST arpl_, UD
; ports go by the map whatever IOPL is
  TEST port_denied, GP(0)
  TEST port_allowed, 0x5a
  TEST port_word_half_denied, GP(0)
; through the IDT: CS, SS of the frame, VM in it, its size; DS, ES, FS, GS of the handler; FS and GS of the frame; back again
  TEST int_gate32, 0x1000, 0, F_VM, 36, 0, 0, 0, 0, 0x1111, 0x2222, 0x1111, 0x2222
  TEST int_gate16, 0x1000, 0, 18, 0x2222
  TEST int_to_level3, GP(CODE32_3 & ~3)
  TEST int_to_conforming, GP(CONFORMING)
  TEST task_to_v86, 0x1000, 0, 0x2222, 0x77
; virtual-mode extensions
; the frame's CS and flags, SP, and then IF and VIF themselves
  TEST vme_int_redirected_iopl3, 0x1000, F_IOPL | F_IF | 2, stack3_top - 6, 0
  TEST vme_int_redirected_iopl0, 0x1000, F_IOPL | F_IF | 2, stack3_top - 6, F_IF
  TEST vme_int_redirected_no_vif, 0x1000, F_IOPL | 2, stack3_top - 6, F_IF
  TEST vme_int_not_redirected_iopl3, EXC(0x22)
  TEST vme_int_not_redirected_iopl0, GP(0)
  TEST vme_int_map_outside, GP(0)
  TEST vme_int3_never_redirected, BP
  TEST vme_cli_sti, 0, F_VIF
  TEST vme_sti_vip, GP(0)
  TEST vme_cli_vip, 0
  TEST vme_pushf, F_IOPL | F_IF | 2
  TEST vme_pushf_no_vif, F_IOPL | 2
  TEST vme_pushfd, GP(0)
  TEST vme_popf, F_VIF, 0
  TEST vme_popf_vip, GP(0)
  TEST vme_popf_tf, GP(0)
  TEST vme_popfd, GP(0)
  TEST vme_iret, F_VIF, 0x1000
  TEST vme_iret_vip, GP(0)
  TEST vme_iret_tf, GP(0)
  TEST vme_iretd, GP(0)
  TEST vme_iopl3_ignores_vif, 0
; protected-mode virtual interrupts
  TEST pvi_cli_sti, 0, F_VIF
  TEST pvi_sti_vip, GP(0)
  TEST pvi_popf_ignores_if, 0
  TEST pvi_level1, GP(0)
  TEST pvi_pushf_shows_if, 0
  TEST no_pvi_cli, GP(0)
END_TABLE

%macro V86 0-1 0            ; V86 [flags]: what follows is 8086 code
  push dword 0x2222
  push dword 0x1111
  push dword 0
  push dword 0
  push dword 0
  push dword stack3_top
  push dword F_VM | 2 | (%1)
  push dword ORIGIN >> 4
  push dword OFFSET16(%%there)
  iretd
  bits 16
  %%there:
%endmacro
%macro LEAVE 0
  hlt
  bits 32
%endmacro

main:
  HOOK 13, leave_or_note
  SEGMENT CONFORMING, 0, 0xfffff, R_CODE32 | R_CONFORMING
  mov eax, cr4
  and eax, ~3
  mov cr4, eax
%macro V86_TEST 1-2 0       ; test, flags
  BEGIN %1
  TRY %%next
  %define next_place %%next
  V86 %2
%endmacro
%macro END_V86 0
  LEAVE
  next_place:
%endmacro
%macro V86_ONE 3+           ; test, flags, instruction
  V86_TEST %1, %2
  %3
  END_V86
%endmacro

  V86_TEST segments
  mov eax, cs
  NOTE eax
  mov eax, ds
  NOTE eax
  mov eax, es
  NOTE eax
  mov eax, ss
  NOTE eax
  NOTE esp
  END_V86
  V86_TEST pushf_hides_vm, F_IOPL
  pushfd
  pop eax
  NOTE eax
  END_V86
  BEGIN address_of_segment
  mov dword [scratch + 0x123], 0x12345678
  TRY .address
  V86
  mov ax, scratch / 16
  mov es, ax
  mov eax, [es:0x123]
  NOTE eax
  LEAVE
.address:
  V86_ONE limit_data, 0, mov ax, [0xffff]
  V86_TEST limit_stack
  mov sp, 1
  push ax
  END_V86
  V86_TEST limit_code
  mov byte [0xffff], 0x66           ; a prefix at the segment's very end
  jmp 0:0xffff
  END_V86
  V86_TEST wide_address
  mov ebx, 0x10000
  mov al, [ebx]
  END_V86
  BEGIN iret_high_ip
  TRY .high_ip
  times 6 push dword 0
  push dword F_VM | 2
  push dword 0
  push dword 0x10000
  iretd
.high_ip:
  V86_TEST iopl3_cli_sti, F_IOPL | F_IF
  cli
  pushf
  pop ax
  and eax, F_IF
  NOTE eax
  sti
  pushf
  pop ax
  and eax, F_IF
  NOTE eax
  END_V86
  V86_TEST iopl3_popf_keeps_iopl, F_IOPL
  push word 2
  popf
  pushf
  pop ax
  and eax, F_IOPL
  NOTE eax
  END_V86
  V86_TEST iopl3_iret, F_IOPL
  push word F_CF
  push cs
  push word OFFSET16(after_iret)
  iret
after_iret:
  pushf
  pop bx
  mov eax, cs
  NOTE eax
  and ebx, F_CF
  NOTE ebx
  END_V86

  V86_ONE iopl0_cli, 0, cli
  V86_ONE iopl0_sti, 0, sti
  V86_ONE iopl0_pushf, 0, pushf
  V86_ONE iopl0_popf, 0, popf
  V86_ONE iopl0_int, 0, int 0x22
  V86_ONE iopl0_iret, 0, iret
  or byte [idt32 + 8 * 3 + 5], R_DPL3
  or byte [idt32 + 8 * 4 + 5], R_DPL3
  V86_ONE iopl0_int3, 0, int3
  V86_TEST iopl0_into
  mov al, 0x7f
  inc al
  into
  END_V86
  and byte [idt32 + 8 * 3 + 5], ~R_DPL3
  V86_ONE int3_gate_dpl, F_IOPL, int3

  V86_ONE mov_from_cr0, 0, mov eax, cr0
  V86_ONE mov_to_dr7, 0, mov dr7, eax
  V86_ONE lgdt_, 0, lgdt [0]
  V86_ONE lidt_, 0, lidt [0]
  V86_ONE clts_, 0, clts
  V86_ONE lmsw_, 0, lmsw ax
  V86_ONE rdmsr_, 0, rdmsr
  V86_ONE invd_, 0, invd
  V86_TEST smsw_
  smsw ax
  and eax, 1
  NOTE eax
  END_V86
  V86_ONE sldt_, 0, sldt ax
  V86_ONE str_, 0, str ax
  V86_ONE lldt_, 0, lldt ax
  V86_ONE ltr_, 0, ltr ax
  V86_ONE lar_, 0, lar ax, bx
  V86_ONE lsl_, 0, lsl ax, bx
  V86_ONE verr_, 0, verr ax
  V86_ONE verw_, 0, verw ax
  V86_ONE arpl_, 0, arpl ax, bx

  mov byte [tss + io_map + 0x80 / 8], 2     ; port 81h
  V86_ONE port_denied, F_IOPL, in al, 0x81
  V86_TEST port_allowed
  mov al, 0x5a
  out 0x80, al
  mov eax, 0x5a
  NOTE eax
  END_V86
  V86_ONE port_word_half_denied, F_IOPL, in ax, 0x80
  mov byte [tss + io_map + 0x80 / 8], 0

  IDT_GATE 0x22, CODE32, ADDRESS(v86_frame32), R_INT32 | R_DPL3
  V86_TEST int_gate32, F_IOPL
  int 0x22
  mov eax, fs
  NOTE eax
  mov eax, gs
  NOTE eax
  END_V86
  IDT_GATE 0x22, CODE16, OFFSET16(v86_frame16), R_INT16 | R_DPL3
  V86_TEST int_gate16, F_IOPL
  int 0x22
  END_V86
  IDT_GATE 0x22, CODE32_3, 0, R_INT32 | R_DPL3
  V86_ONE int_to_level3, F_IOPL, int 0x22
  IDT_GATE 0x22, CONFORMING, 0, R_INT32 | R_DPL3
  V86_ONE int_to_conforming, F_IOPL, int 0x22
  IDT_GATE 0x22, CODE32, ADDRESS(stubs32) + 0x22 * 16, R_INT32 | R_DPL3

  BEGIN task_to_v86
  TRY .task
  SEGMENT TSS_V86, tss_v86, 0x67, R_TSS32
  mov dword [tss_v86 + 4], stack0_top
  mov dword [tss_v86 + 8], DATA32
  mov dword [tss_v86 + 0x20], OFFSET16(v86_task)
  mov dword [tss_v86 + 0x24], F_VM | 2
  mov dword [tss_v86 + 0x28], 0x77
  mov dword [tss_v86 + 0x38], stack3_top
  mov dword [tss_v86 + 0x4c], ORIGIN >> 4
  mov dword [tss_v86 + 0x5c], 0x2222
  call TSS_V86:0
.task:
  SEGMENT TSS, tss, tss_size - 1, R_TSS32
  mov eax, TSS
  ltr ax
  clts

  mov eax, 1
  cpuid
  test edx, 2
  jnz vme_tests
  SKIP vme_int_redirected_iopl3, vme_int_redirected_iopl0, vme_int_redirected_no_vif, vme_int_not_redirected_iopl3
  SKIP vme_int_not_redirected_iopl0, vme_int_map_outside, vme_int3_never_redirected, vme_cli_sti, vme_sti_vip, vme_cli_vip, vme_pushf
  SKIP vme_pushf_no_vif, vme_pushfd, vme_popf, vme_popf_vip, vme_popf_tf, vme_popfd, vme_iret, vme_iret_vip, vme_iret_tf
  SKIP vme_iretd, vme_iopl3_ignores_vif, pvi_cli_sti, pvi_sti_vip, pvi_popf_ignores_if, pvi_level1, pvi_pushf_shows_if
  jmp no_vme
vme_tests:
  mov eax, cr4
  or eax, 3
  mov cr4, eax
  mov dword [4 * 0x22], OFFSET16(vme_handler) | ((ORIGIN >> 4) << 16)
%macro NOTE_VIF 0           ; of the processor, as level 0 sees it in what was pushed: by way of a fault
  mov eax, [fault_flags]
  and eax, F_VIF
  NOTE eax
%endmacro
%macro REDIRECTED 2
  V86_TEST %1, %2
  int 0x22
  END_V86
  mov eax, [fault_flags]
  and eax, F_VIF | F_IF
  NOTE eax
%endmacro
  REDIRECTED vme_int_redirected_iopl3, F_IOPL | F_IF
  REDIRECTED vme_int_redirected_iopl0, F_VIF | F_IF
  REDIRECTED vme_int_redirected_no_vif, F_IF
  mov byte [tss + io_map - 32 + 0x22 / 8], 4
  V86_ONE vme_int_not_redirected_iopl3, F_IOPL, int 0x22
  V86_ONE vme_int_not_redirected_iopl0, 0, int 0x22
  mov byte [tss + io_map - 32 + 0x22 / 8], 0
  mov word [tss + 0x66], tss_size + 32
  V86_ONE vme_int_map_outside, F_IOPL, int 0x22
  mov word [tss + 0x66], io_map
  or byte [idt32 + 8 * 3 + 5], R_DPL3
  V86_ONE vme_int3_never_redirected, F_IOPL, int3

%macro VIF_AFTER 3+         ; test, flags, instruction; notes VIF
  V86_TEST %1, %2
  %3
  END_V86
  NOTE_VIF
%endmacro
  V86_TEST vme_cli_sti, F_VIF
  cli
  END_V86
  NOTE_VIF
  TRY sti_done
  V86
  sti
  hlt
bits 32
sti_done:
  NOTE_VIF
  V86_ONE vme_sti_vip, F_VIP, sti
  VIF_AFTER vme_cli_vip, F_VIP, cli
%macro PUSHF_TEST 2
  V86_TEST %1, %2
  pushf
  pop ax
  movzx eax, ax
  NOTE eax
  END_V86
%endmacro
  PUSHF_TEST vme_pushf, F_VIF
  PUSHF_TEST vme_pushf_no_vif, F_IF
  V86_ONE vme_pushfd, F_VIF, pushfd
  V86_TEST vme_popf
  push word F_IF
  popf
  END_V86
  NOTE_VIF
  TRY popf_done
  V86 F_VIF
  push word 0
  popf
  hlt
bits 32
popf_done:
  NOTE_VIF
%macro POPF_FAULT 3
  V86_TEST %1, %2
  push word %3
  popf
  END_V86
%endmacro
  POPF_FAULT vme_popf_vip, F_VIP, F_IF
  POPF_FAULT vme_popf_tf, 0, F_TF
  V86_ONE vme_popfd, 0, popfd
%macro IRET_V86 3
  V86_TEST %1, %2
  push word %3
  push cs
  push word OFFSET16(%%landed)
  iret
  %%landed:
  mov bx, cs
  END_V86
%endmacro
  IRET_V86 vme_iret, 0, F_IF
  NOTE_VIF
  movzx ebx, bx
  NOTE ebx
  IRET_V86 vme_iret_vip, F_VIP, F_IF
  IRET_V86 vme_iret_tf, 0, F_TF
  V86_ONE vme_iretd, 0, iretd
  VIF_AFTER vme_iopl3_ignores_vif, F_IOPL, sti

  HOOK 6, leave_it
  BEGIN pvi_cli_sti
  TRY .pvi_cli
  LEVEL3 F_VIF | 2
  cli
  ud2
.pvi_cli:
  NOTE_VIF
  TRY .pvi_sti
  LEVEL3 2
  sti
  ud2
.pvi_sti:
  NOTE_VIF
  BEGIN pvi_sti_vip
  TRY .pvi_vip
  LEVEL3 F_VIP | 2
  sti
.pvi_vip:
  BEGIN pvi_popf_ignores_if
  TRY .pvi_popf
  LEVEL3 2
  push dword F_IF
  popfd
  ud2
.pvi_popf:
  mov eax, [fault_flags]
  and eax, F_IF | F_VIF
  NOTE eax
  BEGIN pvi_level1
  TRY .pvi_level1
  LEVEL1
  cli
.pvi_level1:
  BEGIN pvi_pushf_shows_if
  LEVEL3 F_VIF | 2
  pushfd
  pop eax
  and eax, F_IF
  NOTE eax
  LEVEL0
  mov eax, cr4
  and eax, ~3
  mov cr4, eax
no_vme:
  HOOK 6, 0
  BEGIN no_pvi_cli
  TRY .no_pvi
  LEVEL3 2
  cli
.no_pvi:
  FINISH

leave_or_note:
  test dword [fault_flags], F_VM
  jz note
  movzx edi, word [fault_cs]
  shl edi, 4
  add edi, [fault_ip]
  cmp byte [edi], 0xf4
  jne note
leave_it:
  mov edi, [resume_at]
  mov dword [resume_at], 0
  mov esp, stack0_top
  jmp edi
note:
  jmp exception32.note

v86_frame32:
  mov eax, ds
  mov ebx, es
  mov ecx, DATA32_3
  mov ds, ecx
  mov es, ecx
  push eax
  NOTE_AT [esp + 8]
  NOTE_AT [esp + 20]
  mov eax, [esp + 12]
  and eax, F_VM
  NOTE eax
  mov eax, stack0_top - 4
  sub eax, esp
  NOTE eax
  pop eax
  NOTE eax
  NOTE ebx
  mov eax, fs
  NOTE eax
  mov eax, gs
  NOTE eax
  NOTE_AT [esp + 28]
  NOTE_AT [esp + 32]
  iretd

bits 16
v86_frame16:
  mov ax, DATA32_3
  mov ds, ax
  mov es, ax
  movzx eax, word [esp + 2]
  NOTE eax
  movzx eax, word [esp + 8]
  NOTE eax
  mov eax, stack0_top
  sub eax, esp
  NOTE eax
  movzx eax, word [esp + 16]
  NOTE eax
  jmp dword CODE32:ADDRESS(leave_it)    ; no 16-bit IRET goes back to virtual-8086 mode

v86_task:
  mov ebx, eax
  mov ecx, cs
  NOTE ecx
  mov ecx, ds
  NOTE ecx
  mov ecx, gs
  NOTE ecx
  NOTE ebx
  hlt

vme_handler:                ; through the 8086 program's own vector
  movzx esp, sp
  movzx eax, word [esp + 2]
  NOTE eax
  movzx eax, word [esp + 4]
  NOTE eax
  NOTE esp
  hlt
bits 32
%include "runtime.inc"
