; The local APIC: priorities, the interrupt command register, errors, the timer's modes, and the way to x2APIC: "Advanced
; Programmable Interrupt Controller (APIC)".
%include "test.inc"

apic equ 0xfee00000
ID equ apic + 0x20
TPR equ apic + 0x80
PPR equ apic + 0xa0
EOI equ apic + 0xb0
LDR equ apic + 0xd0
DFR equ apic + 0xe0
SVR equ apic + 0xf0
ISR equ apic + 0x100
TMR equ apic + 0x180
IRR equ apic + 0x200
ESR equ apic + 0x280
ICR equ apic + 0x300
ICR_HIGH equ apic + 0x310
LVT_TIMER equ apic + 0x320
LVT_LINT0 equ apic + 0x350
LVT_ERROR equ apic + 0x370
INITIAL equ apic + 0x380
CURRENT equ apic + 0x390
DIVIDE equ apic + 0x3e0

TABLE
  TEST id_and_version, 0, 1
  TEST base_msr, 0xfee00900
; self IPIs: vectors 50h, 51h, 61h
  TEST self_shorthand, 0x50
  TEST self_by_id, 0x50
  TEST all_including_self, 0x50
  TEST all_but_self
  TEST logical_flat, 0x50
  TEST logical_flat_other
  TEST logical_cluster, 0x50
  TEST broadcast, 0x50
  TEST lowest_priority, 0x50
  TEST irr_bit, 0x10000, 0
  TEST isr_bit, 0, 0x10000, 0
  TEST higher_class_nests, 0x50, 0x61, 0x161, 0x150
  TEST same_class_waits, 0x50, 0x150, 0x51, 0x151
  TEST higher_first, 0x61, 0x161, 0x50, 0x150
  TEST same_twice_is_once, 0x50
  TEST one_in_service_one_waiting, 0x50, 0x150, 0x50, 0x150
  TEST ppr_of_tpr, 0x35
  TEST ppr_in_service, 0x50
  TEST ppr_tpr_above, 0x60
  TEST tpr_holds_back, 0, 0x50
  TEST eoi_of_nothing, 7
; errors
  TEST illegal_vector_sent, 0x20
  TEST esr_cleared_by_write, 0x20, 0
  TEST error_interrupt, 0x52
  TEST illegal_vector_in_lvt, 0x40
; the spurious register
  TEST disabled_drops, 0x10000
  TEST disabled_masks_lvt, 0x10000, 0x10000, 0x10000
  TEST disabled_still_takes_nmi, 2
  TEST spurious_after_tpr_raise, 0x50
; timer
  TEST timer_one_shot, 0x50, 0
  TEST timer_periodic, 0x50, 0x50, 0x50
  TEST timer_counts, 1
  TEST timer_stopped_by_zero, 0
  TEST timer_masked, 0, 0
  TEST timer_divider_read_back, 0xb
  TEST tsc_deadline, 0x50, 0, 0
  TEST tsc_deadline_in_the_past, 0x50
  TEST tsc_deadline_hides_counts, 0, 0
; x2APIC
  TEST x2apic_transition, 0xc00, 0
  TEST x2apic_self_ipi, 0x50
  TEST x2apic_icr, 0x50
  TEST x2apic_reserved_read, GP(0)
  TEST x2apic_reserved_write, GP(0)
  TEST x2apic_write_only_eoi, GP(0)
  TEST x2apic_eoi_not_zero, GP(0)
  TEST x2apic_read_only_id, GP(0)
  TEST x2apic_logical_id, 1
  TEST x2apic_no_memory, 1
  TEST x2apic_to_xapic, GP(0)
  TEST x2apic_to_disabled_and_back, 0, 0xfee00900
  TEST disabled_to_x2apic, GP(0)
  TEST base_reserved, GP(0)
END_TABLE

%macro SEND 1-2 0           ; command, destination
  mov dword [ICR_HIGH], (%2) << 24
  mov dword [ICR], %1
  call wait_a_while
%endmacro
%macro TAKE 0
  sti
  call wait_a_while
  cli
%endmacro
%macro APIC_TEST 1          ; with nothing left of the one before
  BEGIN %1
  call quiet
%endmacro
%macro RECEIVED 2-3 0
  APIC_TEST %1
  SEND %2, %3
  TAKE
%endmacro

main:
  IDT_GATE 0x50, CODE32, ADDRESS(got_50), R_INT32
  IDT_GATE 0x51, CODE32, ADDRESS(got_51), R_INT32
  IDT_GATE 0x52, CODE32, ADDRESS(got_52), R_INT32
  IDT_GATE 0x61, CODE32, ADDRESS(got_61), R_INT32
  HOOK 0x3f, note_spurious
  mov dword [SVR], 0x13f
  mov dword [DFR], -1
  mov dword [LDR], 1 << 24

  BEGIN id_and_version
  mov eax, [ID]
  shr eax, 24
  NOTE eax
  mov eax, [apic + 0x30]    ; 14h, 15h or the like, and at least the timer, LINTs and error entries
  mov ecx, eax
  and ecx, 0xf0
  xor ebx, ebx
  cmp ecx, 0x10
  jne .version
  shr eax, 16
  and eax, 0xff
  cmp eax, 3
  jb .version
  inc ebx
.version:
  NOTE ebx
  BEGIN base_msr
  mov ecx, 0x1b
  rdmsr
  NOTE eax

  RECEIVED self_shorthand, 0x44050
  RECEIVED self_by_id, 0x04050
  RECEIVED all_including_self, 0x84050
  RECEIVED all_but_self, 0xc4050
  RECEIVED logical_flat, 0x04850, 1
  RECEIVED logical_flat_other, 0x04850, 2
  mov dword [DFR], 0x0fffffff
  mov dword [LDR], 0x21 << 24
  RECEIVED logical_cluster, 0x04850, 0x23
  mov dword [DFR], -1
  mov dword [LDR], 1 << 24
  RECEIVED broadcast, 0x04050, 0xff
  RECEIVED lowest_priority, 0x04950, 1
  APIC_TEST irr_bit
  SEND 0x44050
  NOTE_AT [IRR + 0x20]
  TAKE
  sub dword [noted_at], 4   ; 50h itself
  NOTE_AT [IRR + 0x20]
  APIC_TEST isr_bit
  IDT_GATE 0x50, CODE32, ADDRESS(note_isr), R_INT32
  SEND 0x44050
  NOTE_AT [ISR + 0x20]
  TAKE
  NOTE_AT [ISR + 0x20]
  APIC_TEST higher_class_nests
  IDT_GATE 0x50, CODE32, ADDRESS(nest_61), R_INT32
  IDT_GATE 0x61, CODE32, ADDRESS(long_61), R_INT32
  SEND 0x44050
  TAKE
  APIC_TEST same_class_waits
  IDT_GATE 0x50, CODE32, ADDRESS(nest_51), R_INT32
  IDT_GATE 0x51, CODE32, ADDRESS(long_51), R_INT32
  SEND 0x44050
  TAKE
  APIC_TEST higher_first
  IDT_GATE 0x50, CODE32, ADDRESS(long_50), R_INT32
  SEND 0x44050
  SEND 0x44061
  TAKE
  IDT_GATE 0x51, CODE32, ADDRESS(got_51), R_INT32
  IDT_GATE 0x61, CODE32, ADDRESS(got_61), R_INT32
  APIC_TEST same_twice_is_once
  IDT_GATE 0x50, CODE32, ADDRESS(got_50), R_INT32
  SEND 0x44050
  SEND 0x44050
  TAKE
  APIC_TEST one_in_service_one_waiting
  IDT_GATE 0x50, CODE32, ADDRESS(nest_50), R_INT32
  mov dword [count], 1
  SEND 0x44050
  TAKE
  TAKE
  IDT_GATE 0x50, CODE32, ADDRESS(got_50), R_INT32
  APIC_TEST ppr_of_tpr
  mov dword [TPR], 0x35
  NOTE_AT [PPR]
  mov dword [TPR], 0
  APIC_TEST ppr_in_service
  IDT_GATE 0x50, CODE32, ADDRESS(note_ppr), R_INT32
  SEND 0x44050
  TAKE
  APIC_TEST ppr_tpr_above
  IDT_GATE 0x50, CODE32, ADDRESS(note_ppr_under_60), R_INT32
  SEND 0x44050
  TAKE
  mov dword [TPR], 0
  IDT_GATE 0x50, CODE32, ADDRESS(got_50), R_INT32
  APIC_TEST tpr_holds_back
  mov dword [TPR], 0x5f
  SEND 0x44050
  TAKE
  NOTE 0
  mov dword [TPR], 0
  TAKE
  APIC_TEST eoi_of_nothing
  mov dword [EOI], 0
  NOTE 7

%macro NOTE_ESR 0
  mov dword [ESR], 0
  NOTE_AT [ESR]
%endmacro
  APIC_TEST illegal_vector_sent
  mov dword [ESR], 0
  mov dword [ESR], 0
  SEND 0x44005
  mov dword [ESR], 0
  mov esi, [ESR]
  and esi, ~0x40            ; whether the receiver notices as well is its affair
  NOTE esi
  APIC_TEST esr_cleared_by_write
  SEND 0x44005
  mov dword [ESR], 0
  mov esi, [ESR]
  and esi, ~0x40
  NOTE esi
  NOTE_ESR
  APIC_TEST error_interrupt
  mov dword [LVT_ERROR], 0x52
  SEND 0x44005
  TAKE
  mov dword [LVT_ERROR], 0x10000
  mov dword [ESR], 0
  mov dword [ESR], 0
  APIC_TEST illegal_vector_in_lvt
  mov dword [DIVIDE], 0xb
  mov dword [LVT_TIMER], 5
  mov dword [INITIAL], 100
  call wait_long
  mov dword [LVT_TIMER], 0x10000
  NOTE_ESR
  mov dword [ESR], 0

  APIC_TEST disabled_masks_lvt
  mov dword [LVT_TIMER], 0x50
  mov dword [LVT_ERROR], 0x52
  mov dword [SVR], 0x3f
  mov eax, [LVT_TIMER]
  and eax, 0x10000
  NOTE eax
  mov eax, [LVT_ERROR]
  and eax, 0x10000
  NOTE eax
  mov dword [LVT_TIMER], 0x50               ; and cannot be unmasked
  mov eax, [LVT_TIMER]
  and eax, 0x10000
  NOTE eax
  APIC_TEST disabled_drops
  mov dword [SVR], 0x13f
  SEND 0x44050
  mov dword [SVR], 0x3f     ; what was asked for before stays
  NOTE_AT [IRR + 0x20]
  mov dword [SVR], 0x13f
  TAKE
  sub dword [noted_at], 4
  APIC_TEST disabled_still_takes_nmi
  HOOK 2, note_nmi
  mov dword [SVR], 0x3f
  SEND 0x04400
  mov dword [SVR], 0x13f
  HOOK 2, 0
  APIC_TEST spurious_after_tpr_raise            ; raised in time, the task priority keeps the interrupt away
  SEND 0x44050
  mov dword [TPR], 0x60
  TAKE
  mov dword [TPR], 0
  TAKE
  mov dword [LVT_LINT0], 0x700

  APIC_TEST timer_one_shot
  mov dword [DIVIDE], 0xb
  mov dword [LVT_TIMER], 0x50
  mov dword [INITIAL], 1000
  sti
  call wait_long
  call wait_long
  cli
  NOTE_AT [CURRENT]
  APIC_TEST timer_periodic
  mov dword [count], 3
  IDT_GATE 0x50, CODE32, ADDRESS(count_50), R_INT32
  mov dword [LVT_TIMER], 0x20050
  mov dword [INITIAL], 1000
  sti
.periodic:
  pause
  cmp dword [count], 0
  jg .periodic
  cli
  IDT_GATE 0x50, CODE32, ADDRESS(got_50), R_INT32
  mov dword [LVT_TIMER], 0x10050
  APIC_TEST timer_counts
  mov dword [INITIAL], 0x7fffffff
  mov eax, [CURRENT]
  call wait_a_while
  sub eax, [CURRENT]
  xor ebx, ebx
  cmp eax, 0
  jle .counted
  inc ebx
.counted:
  NOTE ebx
  APIC_TEST timer_stopped_by_zero
  mov dword [INITIAL], 0
  NOTE_AT [CURRENT]
  APIC_TEST timer_masked
  mov dword [LVT_TIMER], 0x10050
  mov dword [INITIAL], 1000
  sti
  call wait_long
  cli
  NOTE_AT [CURRENT]
  NOTE_AT [IRR + 0x20]
  APIC_TEST timer_divider_read_back
  mov dword [DIVIDE], 0xb
  NOTE_AT [DIVIDE]
  mov eax, 1
  cpuid
  bt ecx, 24
  jc have_deadline
  SKIP tsc_deadline, tsc_deadline_in_the_past, tsc_deadline_hides_counts
  jmp no_deadline
have_deadline:
%macro DEADLINE 2           ; so many ticks from now, with the upper half
  rdtsc
  add eax, %1
  adc edx, %2
  mov ecx, 0x6e0
  wrmsr
%endmacro
  APIC_TEST tsc_deadline
  mov dword [LVT_TIMER], 0x40050
  mfence
  sti
  DEADLINE 5000, 0
  call wait_long
  cli
  mov ecx, 0x6e0
  rdmsr
  NOTE eax
  NOTE edx
  APIC_TEST tsc_deadline_in_the_past
  mov dword [LVT_TIMER], 0x40050
  mfence
  sti
  DEADLINE -1000, -1
  call wait_a_while
  cli
  APIC_TEST tsc_deadline_hides_counts
  mov dword [LVT_TIMER], 0x40050
  mfence
  mov dword [INITIAL], 1000
  NOTE_AT [CURRENT]
  NOTE_AT [INITIAL]
  mov dword [LVT_TIMER], 0x10050
no_deadline:

%macro BASE_MSR 1
  mov ecx, 0x1b
  mov eax, 0xfee00100 | (%1)
  xor edx, edx
  wrmsr
%endmacro
  BEGIN base_reserved
  TRY .base
  BASE_MSR 0x801
.base:
  mov eax, 1
  cpuid
  bt ecx, 21
  jc have_x2apic
  SKIP x2apic_transition, x2apic_self_ipi, x2apic_icr, x2apic_reserved_read, x2apic_reserved_write, x2apic_write_only_eoi
  SKIP x2apic_eoi_not_zero, x2apic_read_only_id, x2apic_logical_id, x2apic_no_memory, x2apic_to_xapic, x2apic_to_disabled_and_back
  SKIP disabled_to_x2apic
  jmp finish_program
have_x2apic:
  BEGIN x2apic_transition
  BASE_MSR 0xc00
  mov ecx, 0x1b
  rdmsr
  and eax, 0xc00
  NOTE eax
  mov ecx, 0x802
  rdmsr
  NOTE eax
  IDT_GATE 0x50, CODE32, ADDRESS(got_50_x2), R_INT32
%macro X2 3                 ; register, high, low
  mov ecx, %1
  mov edx, %2
  mov eax, %3
  wrmsr
%endmacro
  BEGIN x2apic_self_ipi
  X2 0x83f, 0, 0x50
  TAKE
  BEGIN x2apic_icr
  X2 0x830, 0, 0x50
  TAKE
%macro X2_READ 2
  BEGIN %1
  TRY %%next
  mov ecx, %2
  rdmsr
  %%next:
%endmacro
%macro X2_WRITE 3
  BEGIN %1
  TRY %%next
  X2 %2, 0, %3
  %%next:
%endmacro
  X2_READ x2apic_reserved_read, 0x804
  X2_WRITE x2apic_reserved_write, 0x808, 0x100
  X2_READ x2apic_write_only_eoi, 0x80b
  X2_WRITE x2apic_eoi_not_zero, 0x80b, 1
  X2_WRITE x2apic_read_only_id, 0x802, 0
  BEGIN x2apic_logical_id
  mov ecx, 0x80d
  rdmsr
  NOTE eax
  BEGIN x2apic_no_memory    ; the page is no longer the APIC's: the version register is not there
  mov eax, [apic + 0x30]
  mov ecx, 0x803
  mov ebx, eax
  rdmsr
  xor ecx, ecx
  cmp eax, ebx
  setne cl
  NOTE ecx
  BEGIN x2apic_to_xapic
  TRY .to_xapic
  BASE_MSR 0x800
.to_xapic:
  BEGIN x2apic_to_disabled_and_back
  mov ecx, 0x1b
  mov eax, 0xfee00100
  xor edx, edx
  wrmsr
  rdmsr
  and eax, 0xc00
  NOTE eax
  BASE_MSR 0x800
  mov ecx, 0x1b
  rdmsr
  NOTE eax
  BEGIN disabled_to_x2apic
  mov ecx, 0x1b
  mov eax, 0xfee00100
  xor edx, edx
  wrmsr
  TRY .disabled
  mov eax, 0xfee00500
  wrmsr
.disabled:
  FINISH

quiet:
  mov dword [LVT_TIMER], 0x10050
  mov dword [INITIAL], 0
  mov dword [LVT_ERROR], 0x10000
  mov dword [TPR], 0
  %rep 4
    TAKE
    mov dword [EOI], 0
  %endrep
  mov dword [ESR], 0
  mov dword [ESR], 0
  mov dword [noted_at], notes
  ret

wait_a_while:
  push ecx
  mov ecx, 2000
.next:
  pause
  dec ecx
  jnz .next
  pop ecx
  ret
wait_long:
  push ecx
  mov ecx, 300000
.next:
  pause
  dec ecx
  jnz .next
  pop ecx
  ret

%macro GOT 1
got_%1:
  push edi
  NOTE 0x%1
  mov dword [EOI], 0
  pop edi
  iretd
long_%1:
  push edi
  NOTE 0x%1
  NOTE 0x1%1
  mov dword [EOI], 0
  pop edi
  iretd
%endmacro
GOT 50
GOT 51
GOT 52
GOT 61
%macro NEST 2               ; in service, and what is sent meanwhile
nest_%2:
  NOTE 0x%1
  SEND 0x44000 | 0x%2
  TAKE
  NOTE 0x1%1
  mov dword [EOI], 0
  iretd
%endmacro
NEST 50, 61
NEST 50, 51
nest_50:
  NOTE 0x50
  dec dword [count]
  js .done
  SEND 0x44050
  TAKE
.done:
  NOTE 0x150
  mov dword [EOI], 0
  iretd
got_50_x2:
  NOTE 0x50
  X2 0x80b, 0, 0
  iretd
count_50:
  cmp dword [count], 0
  jle .late
  NOTE 0x50
.late:
  dec dword [count]
  mov dword [EOI], 0
  iretd
note_isr:
  NOTE_AT [ISR + 0x20]
  mov dword [EOI], 0
  iretd
note_ppr:
  NOTE_AT [PPR]
  mov dword [EOI], 0
  iretd
note_ppr_under_60:
  mov dword [TPR], 0x60
  NOTE_AT [PPR]
  mov dword [EOI], 0
  iretd
note_spurious:
  NOTE 0xff
  iretd
note_nmi:
  NOTE 2
  iretd
%include "runtime.inc"
