; Single steps, breakpoints on code, data and ports, and the debug registers: "Debug Registers",
; "Debug Exceptions".
%include "test.inc"

watched equ scratch + 0x100
base    equ scratch + 0x200     ; addresses are noted from here
keep    equ scratch + 0x208     ; the hook leaves TF on
copied  equ scratch + 0x300
STEP equ 0x4000                 ; DR6.BS
ACCESSED equ 0x2000             ; DR6.BD
WRITES equ 1
PORTS equ 2
BOTH equ 3
%define DR7(n, kind, length) ((1 << (2 * (n))) | ((kind) << (16 + 4 * (n))) | ((length) << (18 + 4 * (n))))

TABLE
; DR6 (BT, BS, BD, B3 to B0) and the saved address, from the test's start
  TEST step, STEP, 1
  TEST step_after_popf, STEP, 1
  TEST step_clears_tf_in_handler, 0
  TEST step_popf_clearing, STEP, 1
  TEST step_over_int, STEP, 3
  TEST step_over_mov_ss, STEP, 3
  TEST step_over_pop_ss, STEP, 2
  TEST step_rep, STEP, 0, STEP, 0, STEP, 2, 0
  TEST step_fault, UD, F_TF
  TEST step_into_level0, F_TF, 0
  TEST code, 1, 1, 0
  TEST code_global, 2, 1
  TEST code_without_rf, 1, 1, 1, 1
  TEST code_disabled
  TEST code_after_mov_ss
  TEST code_at_interrupt_handler, 4, 0
  TEST code_before_fault, 1, 0, UD
  TEST rf_ends_after_instruction, 1, 0, 1, 0
  TEST rf_of_iret, 0
; of byte and of doubleword writes from 4 bytes below to 11 above, which are seen
  TEST length1_bytes, 0x0010
  TEST length2_bytes, 0x0030
  TEST length4_bytes, 0x00f0
  TEST length1_dwords, 0x001e
  TEST length2_dwords, 0x003e
  TEST length4_dwords, 0x00fe
  TEST length4_misaligned, 0x00f0
  TEST reads_of_write_kind, 0
  TEST reads_of_both_kind, 0x00f0
  TEST data_trap_after, 1, 5
  TEST data_two_at_once, 3
  TEST data_and_step, STEP + 1, 5
  TEST data_in_rep, 1, 3
  TEST data_push, 1
  TEST data_read_by_mov_ss, 1, 7
  TEST data_at_page_end, 1
  TEST data_processor_access, 1
  TEST port, 1, 2
  TEST port_word, 1
  TEST port_next_to, 0
; the registers
  TEST icebp, 0, 1
  TEST general_detect, ACCESSED, 0, 0
  TEST general_detect_off, 0x400
  TEST dr4_alias, 0xffff0ff0
  TEST dr4_with_de, UD
  TEST dr_level3, GP(0)
  TEST dr6_reads, 0xffff0ff0, 0xffffefff
  TEST dr7_reads, 0x400, 0xffff27ff
END_TABLE

%macro CLEAR_DEBUG 0
  xor eax, eax
  mov dr7, eax
  mov eax, 0xffff0ff0
  mov dr6, eax
  mov dword [keep], 0
%endmacro
%macro DEBUG_TEST 1         ; test, with everything off and the hook in place
  BEGIN %1
  CLEAR_DEBUG
  HOOK 1, note_debug
%endmacro
%macro FROM 1
  mov dword [base], %1
%endmacro
%macro TF_ON 0
  push dword F_TF | 2
  popfd
%endmacro
%macro WATCH 4              ; register, address, kind, length - 1
  mov eax, %2
  mov dr%1, eax
  mov eax, dr7
  or eax, DR7(%1, %3, %4)
  mov dr7, eax
%endmacro

main:
  DEBUG_TEST step
  FROM .step
  TF_ON
.step:
  nop
  nop
  DEBUG_TEST step_after_popf
  FROM .popf
  push dword F_TF | 2
  popfd
.popf:
  nop
  nop
  DEBUG_TEST step_clears_tf_in_handler
  HOOK 1, note_flags_of_hook
  TF_ON
  nop
  DEBUG_TEST step_popf_clearing
  FROM .clearing
  push dword 2
  TF_ON
.clearing:
  popfd
  nop
  DEBUG_TEST step_over_int
  IDT_GATE 0x40, CODE32, ADDRESS(just_iret), R_INT32
  FROM .int
  TF_ON
.int:
  int 0x40
  nop
  nop
  DEBUG_TEST step_over_mov_ss
  mov eax, ss
  FROM .mov_ss
  TF_ON
.mov_ss:
  mov ss, eax
  nop
  nop
  DEBUG_TEST step_over_pop_ss
  FROM .pop_ss
  push ss
  push dword F_TF | 2
  popfd
.pop_ss:
  pop ss
  cld
  nop
  nop
  DEBUG_TEST step_rep
  mov dword [keep], 1
  mov esi, scratch
  mov edi, copied
  mov ecx, 3
  HOOK 1, note_debug_keeping_edi
  mov dword [count], 3
  FROM .rep
  TF_ON
.rep:
  rep movsb
  nop
  NOTE ecx
  DEBUG_TEST step_fault
  TRY .fault
  TF_ON
  ud2
.fault:
  mov eax, [fault_flags]
  and eax, F_TF
  NOTE eax
  DEBUG_TEST step_into_level0
  HOOK 1, 0
  IDT_GATE 0x40, CODE32, ADDRESS(note_both_flags), R_INT32
  TF_ON
  int 0x40

  DEBUG_TEST code
  FROM .code
  WATCH 0, .code + 1, 0, 0
.code:
  nop
  nop
  mov eax, [fault_flags]
  and eax, F_RF
  NOTE eax
  DEBUG_TEST code_global
  FROM .global
  mov eax, .global + 1
  mov dr1, eax
  mov eax, 8
  mov dr7, eax
.global:
  nop
  nop
  DEBUG_TEST code_without_rf
  HOOK 1, note_debug_without_rf
  mov dword [count], 2
  FROM .without
  WATCH 0, .without + 1, 0, 0
.without:
  nop
  nop
  DEBUG_TEST code_disabled
  FROM .disabled
  WATCH 0, .disabled + 1, 0, 0
  xor eax, eax
  mov dr7, eax
.disabled:
  nop
  nop
  DEBUG_TEST code_after_mov_ss
  FROM .after_ss
  WATCH 0, .after_ss, 0, 0
  mov eax, ss
  mov ss, eax
.after_ss:
  nop
  nop
  DEBUG_TEST code_at_interrupt_handler
  FROM just_iret
  WATCH 2, just_iret, 0, 0
  IDT_GATE 0x40, CODE32, ADDRESS(just_iret), R_INT32
  int 0x40
  DEBUG_TEST code_before_fault
  TRY .before_fault
  FROM .ud
  WATCH 0, .ud, 0, 0
.ud:
  ud2
.before_fault:
  DEBUG_TEST rf_ends_after_instruction
  mov ecx, 2
  FROM .loop
  WATCH 0, .loop, 0, 0
.loop:
  dec ecx
  jnz .loop
  DEBUG_TEST rf_of_iret     ; RF in the frame lets the instruction pass
  FROM .rf
  WATCH 0, .rf, 0, 0
  push dword F_RF | 2
  push dword CODE32
  push dword .rf
  iretd
.rf:
  nop
  pushfd
  pop eax
  and eax, F_RF
  NOTE eax

%macro SPAN 6               ; test, kind, length - 1, address, instruction: 0 byte write, 1 dword write, 2 byte read
  DEBUG_TEST %1
  WATCH 0, %4, %2, %3
  mov edx, %5
  call span
%endmacro
  SPAN length1_bytes, WRITES, 0, watched, 0, 0
  SPAN length2_bytes, WRITES, 1, watched, 0, 0
  SPAN length4_bytes, WRITES, 3, watched, 0, 0
  SPAN length1_dwords, WRITES, 0, watched, 1, 0
  SPAN length2_dwords, WRITES, 1, watched, 1, 0
  SPAN length4_dwords, WRITES, 3, watched, 1, 0
  SPAN length4_misaligned, WRITES, 3, watched + 1, 0, 0
  SPAN reads_of_write_kind, WRITES, 3, watched, 2, 0
  SPAN reads_of_both_kind, BOTH, 3, watched, 2, 0
  DEBUG_TEST data_trap_after
  FROM .trap
  WATCH 0, watched, WRITES, 3
.trap:
  mov [watched], eax
  nop
  DEBUG_TEST data_two_at_once
  WATCH 0, watched, WRITES, 3
  WATCH 1, watched + 1, WRITES, 0
  HOOK 1, note_only_dr6
  mov [watched], eax
  nop
  DEBUG_TEST data_and_step
  WATCH 0, watched, WRITES, 3
  FROM .both
  TF_ON
.both:
  mov [watched], eax
  nop
  DEBUG_TEST data_in_rep    ; after the iteration that touched it; what is left of ECX
  WATCH 0, copied + 1, WRITES, 0
  HOOK 1, note_dr6_and_ecx
  mov esi, scratch
  mov edi, copied
  mov ecx, 5
  rep movsb
  DEBUG_TEST data_push
  HOOK 1, note_only_dr6
  WATCH 0, scratch + 0x3fc, WRITES, 3
  mov esp, scratch + 0x400
  push eax
  nop
  CLEAR_DEBUG
  DEBUG_TEST data_read_by_mov_ss            ; held back like everything else
  mov dword [watched], DATA32
  FROM .read_ss
  WATCH 0, watched, BOTH, 1
.read_ss:
  mov ss, [watched]
  nop
  nop
  nop
  DEBUG_TEST data_at_page_end
  HOOK 1, note_only_dr6
  WATCH 0, scratch + 0xffc, WRITES, 3
  mov [scratch + 0xffe], eax
  nop
  DEBUG_TEST data_processor_access          ; a descriptor is data as well
  HOOK 1, note_only_dr6
  WATCH 0, ADDRESS(gdt) + DATA32, BOTH, 3
  mov eax, DATA32
  mov gs, eax
  nop
  mov eax, DATA32_3
  CLEAR_DEBUG
  mov eax, DATA32_3
  mov gs, eax

  DEBUG_TEST port
  mov eax, cr4
  or eax, 8
  mov cr4, eax
  FROM .port
  WATCH 0, 0x80, PORTS, 0
.port:
  out 0x80, al
  nop
  DEBUG_TEST port_word
  HOOK 1, note_only_dr6
  WATCH 0, 0x81, PORTS, 0
  in ax, 0x80
  nop
  DEBUG_TEST port_next_to
  WATCH 0, 0x81, PORTS, 0
  out 0x80, al
  nop
  NOTE 0
  DEBUG_TEST dr4_with_de
  TRY .dr4
  mov eax, dr4
.dr4:
  mov eax, cr4
  and eax, ~8
  mov cr4, eax
  DEBUG_TEST icebp
  FROM .icebp
.icebp:
  db 0xf1
  nop
  DEBUG_TEST general_detect
  HOOK 1, note_general_detect
  FROM .gd
  mov eax, 0x2000
  mov dr7, eax
.gd:
  mov eax, dr0
  DEBUG_TEST general_detect_off
  mov eax, 0x2000
  mov dr7, eax
  HOOK 1, note_general_detect_off
  mov eax, dr0
  DEBUG_TEST dr4_alias
  mov eax, dr4
  NOTE eax
  DEBUG_TEST dr_level3
  TRY .level3
  LEVEL3
  mov eax, dr0
.level3:
  DEBUG_TEST dr6_reads
  mov eax, dr6
  NOTE eax
  mov eax, -1
  mov dr6, eax
  mov eax, dr6
  or eax, 0x10000           ; RTM, where there is such a thing
  NOTE eax
  DEBUG_TEST dr7_reads
  mov eax, dr7
  NOTE eax
  mov eax, 0xffff0bff & ~0x2800             ; all but GD, which would guard the very next reading
  mov dr7, eax
  mov ebx, dr7
  or ebx, 0x2300            ; LE and GE read as they were written, or as 1
  NOTE ebx
  CLEAR_DEBUG
  FINISH

; ---- Hooks: they note, clear DR6, and return with TF off, and with RF set: that the processor leaves to them

finish_debug:
  mov eax, 0xffff0ff0
  mov dr6, eax
  pop eax
  or dword [esp + 8], F_RF
finish_without_rf:
  cmp dword [keep], 0
  jne .kept
  and dword [esp + 8], ~F_TF
.kept:
  iretd

note_debug:
  push eax
  mov eax, dr6
  and eax, 0xe00f
  NOTE eax
  mov eax, [fault_ip]
  sub eax, [base]
  NOTE eax
  jmp finish_debug

note_only_dr6:
  push eax
  mov eax, dr6
  and eax, 0xe00f
  NOTE eax
  jmp finish_debug

; REP MOVSB needs its EDI, which exception32 has lost: it follows from ECX.
note_debug_keeping_edi:
  push eax
  mov eax, dr6
  and eax, 0xe00f
  NOTE eax
  mov eax, [fault_ip]
  sub eax, [base]
  NOTE eax
  dec dword [count]
  jnz .more
  mov dword [keep], 0
.more:
  mov edi, copied + 3
  sub edi, ecx
  jmp finish_debug

note_dr6_and_ecx:
  push eax
  mov eax, dr6
  and eax, 0xe00f
  NOTE eax
  NOTE ecx
  mov edi, copied + 5
  sub edi, ecx
  jmp finish_debug

note_debug_without_rf:
  push eax
  mov eax, dr6
  and eax, 0xe00f
  NOTE eax
  mov eax, [fault_ip]
  sub eax, [base]
  NOTE eax
  dec dword [count]
  jz finish_debug
  mov eax, 0xffff0ff0
  mov dr6, eax
  pop eax
  jmp finish_without_rf

note_flags_of_hook:
  push eax
  pushfd
  pop eax
  and eax, F_TF
  NOTE eax
  jmp finish_debug

note_both_flags:
  mov eax, [esp + 8]
  and eax, F_TF
  NOTE eax
  pushfd
  pop eax
  and eax, F_TF
  NOTE eax
  and dword [esp + 8], ~F_TF
just_iret:
  iretd

note_general_detect:
  push eax
  mov eax, dr6
  and eax, 0xe00f
  NOTE eax
  mov eax, [fault_ip]
  sub eax, [base]
  NOTE eax
  mov eax, dr7
  and eax, 0x2000
  NOTE eax
  jmp finish_debug
note_general_detect_off:    ; the handler may use the registers: GD was cleared on entry
  push eax
  mov eax, dr7
  NOTE eax
  jmp finish_debug

; Sixteen accesses of kind EDX around `watched`: bit i of the note for i bytes from 4 below.
span:
  HOOK 1, seen
  xor ebx, ebx
  xor ecx, ecx
.next:
  mov dword [count], 0
  lea esi, [watched - 4 + ecx]
  cmp edx, 1
  je .dword
  ja .read
  mov [esi], al
  nop
  jmp .done
.dword:
  mov [esi], eax
  nop
  jmp .done
.read:
  mov al, [esi]
  nop
.done:
  cmp dword [count], 0
  je .unseen
  bts ebx, ecx
.unseen:
  inc ecx
  cmp ecx, 16
  jb .next
  NOTE ebx
  ret
seen:
  push eax
  mov dword [count], 1
  jmp finish_debug
%include "runtime.inc"
