; When x87, MMX and SSE instructions are there: CR0.EM, TS and MP, CR4.OSFXSR and OSXMMEXCPT, and the two ways of an unmasked
; exception: "Emulation of the x87 FPU", "Enabling and Disabling SIMD Floating-Point Exceptions", "MS-DOS Compatibility Sub-mode".
%include "test.inc"

MP equ 2
EM equ 4
TS_ equ 8
NE equ 0x20
IRQ13 equ EXC(0x2d)

TABLE
; For EM, TS and MP (3 bits, 0 to 7: MP is bit 0, EM bit 1, TS bit 2) which raise #NM, which #UD
  TEST x87_instruction, 0xfc, 0
  TEST wait_instruction, 0xa0, 0
  TEST mmx_instruction, 0x30, 0xcc
  TEST sse_instruction, 0x30, 0xcc
  TEST sse_integer, 0x30, 0xcc
  TEST fxsave_instruction, 0xfc, 0
  TEST emms_instruction, 0x30, 0xcc
  TEST ldmxcsr_instruction, 0x30, 0xcc
  TEST prefetch_instruction, 0, 0
  TEST sfence_instruction, 0, 0
  TEST movnti_instruction, 0, 0
  TEST fninit_instruction, 0xfc, 0
; without CR4.OSFXSR
  TEST sse_without_osfxsr, UD
  TEST sse_without_osfxsr_under_ts, UD
  TEST mmx_without_osfxsr, 0
  TEST fxsave_without_osfxsr, 0
; unmasked exceptions
  TEST mf_at_next_waiting, 1, MF
  TEST mf_not_at_fnstsw, 0x8084
  TEST mf_at_wait, MF
  TEST mf_at_mmx, MF
  TEST nm_before_mf, NM
  TEST xm, XM
  TEST xm_without_osxmmexcpt, UD
  TEST ldmxcsr_reserved, GP(0)
; with CR0.NE clear: IRQ 13
  TEST irq13, 1, IRQ13, 0x84, 2
  TEST ignne, IRQ13, 3
  TEST ignne_ends_with_the_error, IRQ13, IRQ13
  TEST f0_without_error, 4
; and what UMIP, TSD and PCE keep from level 3
  TEST rdtsc_tsd, GP(0)
  TEST rdtsc_tsd_level0, 5
  TEST rdpmc_level3, GP(0)
  TEST umip_sgdt, GP(0)
  TEST umip_smsw, GP(0)
  TEST umip_str, GP(0)
END_TABLE

%macro CR0_BITS 2           ; on, off
  mov eax, cr0
  and eax, ~(%2)
  or eax, %1
  mov cr0, eax
%endmacro
%macro CR4_BITS 2
  mov eax, cr4
  and eax, ~(%2)
  or eax, %1
  mov cr4, eax
%endmacro
%macro STATES 2+            ; test, instruction
  BEGIN %1
  call begin_states
%%next:
  call next_state
  jc %%end
  %2
  jmp %%next
%%end:
  clts
  CR0_BITS NE, EM | MP
  NOTE_AT [nm_seen]
  NOTE_AT [ud_seen]
%endmacro
%macro ERROR 0              ; a division by zero, unmasked, which waits to be reported
  fninit
  fldcw [unmasked]
  fld1
  fdiv dword [zero]
%endmacro

main:
  CR0_BITS NE, EM | TS_ | MP
  CR4_BITS 0x600, 0
  STATES x87_instruction, fld1
  STATES wait_instruction, fwait
  STATES mmx_instruction, paddb mm0, mm0
  STATES sse_instruction, addps xmm0, xmm0
  STATES sse_integer, paddb xmm0, xmm0
  STATES fxsave_instruction, fxsave [scratch]
  STATES emms_instruction, emms
  STATES ldmxcsr_instruction, ldmxcsr [mxcsr_default]
  STATES prefetch_instruction, prefetcht0 [scratch]
  STATES sfence_instruction, sfence
  STATES movnti_instruction, movnti [scratch], eax
  STATES fninit_instruction, fninit
  emms

  CR4_BITS 0, 0x200
%macro FAULTING 2+
  BEGIN %1
  TRY %%next
  %2
  %%next:
%endmacro
  FAULTING sse_without_osfxsr, addps xmm0, xmm0
  CR0_BITS TS_, 0
  FAULTING sse_without_osfxsr_under_ts, addps xmm0, xmm0
  clts
  BEGIN mmx_without_osfxsr
  paddb mm0, mm0
  emms
  NOTE 0
  BEGIN fxsave_without_osfxsr
  fxsave [scratch]
  NOTE 0
  CR4_BITS 0x600, 0

  BEGIN mf_at_next_waiting
  TRY .mf
  ERROR
  NOTE 1
  fld1
.mf:
  fninit
  BEGIN mf_not_at_fnstsw
  ERROR
  fnstsw ax
  and eax, 0x8084
  NOTE eax
  fninit
  BEGIN mf_at_wait
  TRY .wait
  ERROR
  fwait
.wait:
  fninit
  BEGIN mf_at_mmx
  TRY .mmx
  ERROR
  paddb mm0, mm0
.mmx:
  fninit
  BEGIN nm_before_mf
  TRY .nm
  ERROR
  CR0_BITS TS_, 0
  fld1
.nm:
  clts
  fninit
  BEGIN xm
  TRY .xm
  ldmxcsr [mxcsr_unmasked]
  divps xmm0, [zero_vector]
.xm:
  BEGIN xm_without_osxmmexcpt
  TRY .no_xm
  CR4_BITS 0, 0x400
  movaps xmm0, [one_vector]
  divps xmm0, [zero_vector]
.no_xm:
  CR4_BITS 0x400, 0
  ldmxcsr [mxcsr_default]
  FAULTING ldmxcsr_reserved, ldmxcsr [mxcsr_reserved]

  CR0_BITS 0, NE
  mov al, 0xfb              ; the cascade
  out 0x21, al
  mov al, 0xdf              ; and IRQ 13
  out 0xa1, al
  BEGIN irq13
  HOOK 0x2d, clear_error
  sti
  ERROR
  NOTE 1
  fld1
  NOTE 2
  cli
  BEGIN ignne               ; the handler takes the interrupt back and leaves the error standing
  HOOK 0x2d, ignore_error
  sti
  ERROR
  fld1
  fld1
  NOTE 3
  cli
  BEGIN ignne_ends_with_the_error
  sti
  ERROR
  fld1
  fninit
  ERROR
  fld1
  cli
  BEGIN f0_without_error
  out 0xf0, al
  ERROR
  fninit
  NOTE 4
  HOOK 0x2d, 0
  mov al, 0xff
  out 0x21, al
  out 0xa1, al
  CR0_BITS NE, 0

%macro FAULTING3 2+
  BEGIN %1
  TRY %%next
  LEVEL3
  %2
  %%next:
%endmacro
  CR4_BITS 4, 0
  FAULTING3 rdtsc_tsd, rdtsc
  BEGIN rdtsc_tsd_level0
  rdtsc
  NOTE 5
  CR4_BITS 0, 4
  FAULTING3 rdpmc_level3, rdpmc
  mov eax, 7
  xor ecx, ecx
  cpuid
  bt ecx, 2
  jc have_umip
  SKIP umip_sgdt, umip_smsw, umip_str
  jmp finish_program
have_umip:
  CR4_BITS 0x800, 0
  FAULTING3 umip_sgdt, sgdt [scratch]
  FAULTING3 umip_smsw, smsw eax
  FAULTING3 umip_str, str eax
  FINISH

begin_states:
  mov dword [count], -1
  mov dword [nm_seen], 0
  mov dword [ud_seen], 0
  HOOK 6, saw_ud
  HOOK 7, saw_nm
  ret
; Sets the next of the eight states, or CF after the last. Where a fault goes on is where this returns to.
next_state:
  inc dword [count]
  mov ecx, [count]
  cmp ecx, 8
  jae .end
  pop edx
  push edx
  mov [again], edx
  mov eax, cr0
  and eax, ~(MP | EM | TS_)
  mov ebx, ecx
  and ebx, 3
  add ebx, ebx              ; MP and EM have adjacent bits
  or eax, ebx
  test ecx, 4
  jz .no_ts
  or eax, TS_
.no_ts:
  mov cr0, eax
  clc
  ret
.end:
  HOOK 6, 0
  HOOK 7, 0
  stc
  ret
; Both go on before the call of next_state.
saw_nm:
  mov ecx, [count]
  bts dword [nm_seen], ecx
  jmp go_on
saw_ud:
  mov ecx, [count]
  bts dword [ud_seen], ecx
go_on:
  mov edx, [again]
  sub edx, 5                ; the call
  mov esp, stack0_top
  jmp edx

clear_error:
  out 0xf0, al
  NOTE IRQ13
  fnstsw ax
  and eax, 0x84
  NOTE eax
  fnclex
  mov al, 0x20
  out 0xa0, al
  out 0x20, al
  iretd
ignore_error:
  out 0xf0, al
  NOTE IRQ13
  mov al, 0x20
  out 0xa0, al
  out 0x20, al
  iretd

align 16, db 0
zero_vector: times 4 dd 0
one_vector: times 4 dd 1.0
zero: dd 0
nm_seen: dd 0
ud_seen: dd 0
again: dd 0
mxcsr_default: dd 0x1f80
mxcsr_unmasked: dd 0
mxcsr_reserved: dd 0x10000
unmasked: dw 0x037b         ; all but division by zero
%include "runtime.inc"
