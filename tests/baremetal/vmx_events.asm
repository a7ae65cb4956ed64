; Events around entries and exits: injection, IDT-vectoring information, interrupts and NMIs with their windows, activity states,
; pending debug exceptions, monitor trap flag, preemption timer, MSR lists. "Event Injection", "Special Features of VM Entry",
; "Information for VM Exits That Occur During Event Delivery", "Other Causes of VM Exits".
%include "test.inc"
%include "long.inc"
%include "vmx.inc"

VALID equ 1 << 31
WITH_ERROR equ 1 << 11
T_NMI equ 2 << 8
T_HARDWARE equ 3 << 8
T_SOFTWARE equ 4 << 8
T_PRIVILEGED equ 5 << 8
T_SOFTWARE_EXCEPTION equ 6 << 8
T_OTHER equ 7 << 8
EXTERNAL_EXITING equ 1 << 0
NMI_EXITING equ 1 << 3
VIRTUAL_NMIS equ 1 << 5
TIMER equ 1 << 6
INTERRUPT_WINDOW equ 1 << 2
NMI_WINDOW equ 1 << 22
TRAP equ 1 << 27
ACKNOWLEDGE equ 1 << 15
SAVE_TIMER equ 1 << 22
apic equ 31 * 0x200000      ; the local APIC, in the last of the 2 MiB pages

%define HANDLED(vector) EXIT(E_VMCALL), vector

TABLE
; injection: vector; then what is on the stack, in quadwords
  TEST inject_external, HANDLED(0x21), 0, CODE64, F_IF | 2, guest_stack_top
  TEST inject_nmi, HANDLED(2), 8
  TEST inject_error_code, HANDLED(13), 0x1230, 0
  TEST inject_page_fault, HANDLED(14), 7, 0x777
  TEST inject_software, HANDLED(0x21), 2
  TEST inject_software_length, HANDLED(0x21), 5
  TEST inject_breakpoint, HANDLED(3), 1
  TEST inject_privileged, HANDLED(1), 1
  TEST inject_software_gate, HANDLED(13), IN_IDT(0x21), 0
  TEST inject_privileged_gate, HANDLED(1), 1
  TEST inject_despite_bitmap, HANDLED(6), 0
  TEST inject_once, HANDLED(6), 0
  TEST inject_other, EXIT(E_MTF), 0
  TEST inject_before_window, EXIT(E_INTERRUPT_WINDOW), 1
; what was being delivered: interruption, its error code, vectoring, its error code or length
  TEST vectoring_external, EXIT(E_EXCEPTION), 0x80000b0d, IN_IDT(0x21) | EXTERNAL, 0x80000021
  TEST vectoring_software, EXIT(E_EXCEPTION), 0x80000b0d, IN_IDT(0x21), 0x80000421, 2
  TEST vectoring_breakpoint, EXIT(E_EXCEPTION), 0x80000b0d, IN_IDT(3), 0x80000603, 1
  TEST vectoring_error_code, EXIT(E_EXCEPTION), 0x80000b0d, 0x80000b0e, 2
  TEST vectoring_nmi, EXIT(E_EXCEPTION), 0x80000b0d, IN_IDT(2) | EXTERNAL, 0x80000202
  TEST vectoring_again, EXIT(E_EXCEPTION), HANDLED(0x21), 2
; the same for each type, repaired and injected again: vector, what is on the stack first
  TEST again_external, EXIT(E_EXCEPTION), 0x80000021, HANDLED(0x21), 0
  TEST again_nmi, EXIT(E_EXCEPTION), 0x80000202, HANDLED(2), 0
  TEST again_exception, EXIT(E_EXCEPTION), 0x80000306, HANDLED(6), 0
  TEST again_error_code, EXIT(E_EXCEPTION), 0x80000b0b, HANDLED(11), 0x1230
  TEST again_software, EXIT(E_EXCEPTION), 0x80000421, HANDLED(0x21), 2
  TEST again_privileged, EXIT(E_EXCEPTION), 0x80000501, HANDLED(1), 1
  TEST again_software_exception, EXIT(E_EXCEPTION), 0x80000603, HANDLED(3), 1
; interrupts
  TEST external_exits, EXIT(E_INTERRUPT), 0, 0
  TEST external_acknowledged, EXIT(E_INTERRUPT), 0x80000035, 0
  TEST external_in_guest, HANDLED(0x35)
  TEST external_masked, EXIT(E_CPUID)
  TEST window_open, EXIT(E_INTERRUPT_WINDOW), 0
  TEST window_after_sti, EXIT(E_INTERRUPT_WINDOW), 2
  TEST window_after_mov_ss, EXIT(E_INTERRUPT_WINDOW), 3
  TEST window_closed, EXIT(E_CPUID)
  TEST window_before_external, EXIT(E_INTERRUPT)
; NMIs
  TEST nmi_exits, EXIT(E_EXCEPTION), 0x80000202
  TEST nmi_in_guest, HANDLED(2), 8
  TEST nmi_blocked, EXIT(E_CPUID), 8
  TEST nmi_unblocked_by_iret, EXIT(E_CPUID), 0
  TEST nmi_window_open, EXIT(E_NMI_WINDOW), 0
  TEST nmi_window_after_iret, EXIT(E_NMI_WINDOW), 0, 0
  TEST virtual_nmi_injected, HANDLED(2), 8
  TEST virtual_nmi_does_not_block, EXIT(E_EXCEPTION), 0x80000202, 8
  TEST iret_fault_unblocks, EXIT(E_EXCEPTION), 0x80001b0e
; activity
  TEST hlt_external, EXIT(E_INTERRUPT), 1
  TEST hlt_external_if, EXIT(E_INTERRUPT), 1
  TEST hlt_nmi, EXIT(E_EXCEPTION), 0x80000202, 1
  TEST hlt_nmi_in_guest, HANDLED(2), 0
  TEST hlt_timer, EXIT(E_TIMER), 1
  TEST hlt_window, EXIT(E_INTERRUPT_WINDOW), 1
  TEST hlt_nmi_window, EXIT(E_NMI_WINDOW), 1
  TEST hlt_injection_wakes, HANDLED(0x21), 0
  TEST hlt_pending_debug, EXIT(E_EXCEPTION), 0x4000
  TEST hlt_mtf_injected, EXIT(E_MTF), 1
  TEST hlt_in_guest_interrupt, HANDLED(0x36), 0
  TEST hlt_in_guest_timer, EXIT(E_TIMER), 1, 1
  TEST shutdown_timer, EXIT(E_TIMER), 2
; debug exceptions
  TEST pending_step, EXIT(E_EXCEPTION), 0x80000301, 0x4000, 0
  TEST pending_delivered, HANDLED(1), 0
  TEST pending_discarded, HANDLED(0x21)
  TEST pending_not_enabled, EXIT(E_CPUID)
  TEST pending_enabled, EXIT(E_EXCEPTION), 0x80000301, 3
  TEST pending_mark_alone, EXIT(E_EXCEPTION), 0x80000301, 0
  TEST pending_in_shutdown, EXIT(E_TIMER), 2
  TEST mov_ss_at_exit, EXIT(E_CPUID), 2
  TEST sti_at_exit, EXIT(E_CPUID), 1
  TEST mov_ss_keeps_step, EXIT(E_CPUID), 2, 0x4000
  TEST step_over_sti, EXIT(E_EXCEPTION), 1
; monitor trap flag
  TEST trap_after_one, EXIT(E_MTF), 1, EXIT(E_MTF), 3
  TEST trap_after_injection, EXIT(E_MTF), 0
  TEST trap_after_fault, EXIT(E_MTF), 0
  TEST trap_repeat, EXIT(E_MTF), 0, 2
  TEST exit_before_trap, EXIT(E_CPUID)
; preemption timer
  TEST timer_zero, EXIT(E_TIMER), 0
  TEST timer_in_loop, EXIT(E_TIMER)
  TEST timer_saved, EXIT(E_CPUID), 1
  TEST timer_not_saved, EXIT(E_CPUID), 0x7fffffff
  TEST timer_after_injection, EXIT(E_TIMER), 0
  TEST trap_before_timer, EXIT(E_MTF)
; several at once, in the order of their priority
  TEST order_trap_debug, EXIT(E_MTF)
  TEST order_debug_timer, EXIT(E_EXCEPTION)
  TEST order_timer_nmi_window, EXIT(E_TIMER)
  TEST order_nmi_window_interrupt_window, EXIT(E_NMI_WINDOW)
  TEST order_interrupt_window_external, EXIT(E_INTERRUPT_WINDOW), EXIT(E_INTERRUPT)
  TEST order_injection_timer_window, EXIT(E_TIMER)
; MSRs, TSC
  TEST tsc_offset, EXIT(E_CPUID), 0x1000
  TEST msr_loaded, EXIT(E_CPUID), 0x1234
  TEST msr_stored, EXIT(E_CPUID), 0x5678, 0
  TEST msr_host_loaded, EXIT(E_CPUID), 0x9abc
  TEST sysenter_state, EXIT(E_CPUID), 0x11, 0x22, 0x33, 0x44
  TEST pat_switched, EXIT(E_CPUID), 0x00070406, 0x05060504
  TEST efer_switched, EXIT(E_CPUID), 0xd01, 0xd00
  TEST debug_controls, EXIT(E_CPUID), 0x500, 0x501
END_TABLE

%macro NOTE_STACK 1         ; a quadword on the guest's stack
  mov eax, G_RSP
  vmread rax, rax
  NOTE_AT [rax + 8 * %1]
%endmacro
%macro NOTE_STACK_RIP 2     ; the same, as a distance from a label
  mov eax, G_RSP
  vmread rax, rax
  mov esi, [rax + 8 * %1]
  sub esi, %2
  NOTE esi
%endmacro
%macro NOTE_VECTOR 0
  NOTE_AT [guest_rax]
%endmacro
%macro SIMPLE_GUEST 0       ; CPUID ends it
  mov eax, simple
  call fresh_guest
%endmacro
%macro INJECTING 2-4        ; information, length, error code
  SIMPLE_GUEST
  FIELD INJECT, VALID | %1
  %if %0 > 1
    FIELD INJECT_LENGTH, %2
  %endif
  %if %0 > 2
    FIELD INJECT_ERROR, %3
  %endif
%endmacro
%macro SELF_INTERRUPT 1
  mov dword [apic + 0x300], 0x44000 | %1
%endmacro
%macro END_OF_INTERRUPT 0
  mov dword [apic + 0xb0], 0
%endmacro
%macro NMI_TO_SELF 0        ; what the guest does to get one
  mov dword [apic + 0x310], 0
  mov dword [apic + 0x300], 0x4400
  mov ecx, 100              ; it arrives within some instructions
  loop $
%endmacro
%macro UNBLOCK_NMI 0        ; after an exit by NMI they are blocked
  push qword DATA32
  push qword stack0_top
  push qword 2
  push qword CODE64
  push qword %%there
  iretq
  %%there:
%endmacro
%macro GUEST_IRET 1         ; to the label, within the guest
  push qword DATA32
  push qword guest_stack_top - 0x80
  push qword 2
  push qword CODE64
  push qword %1
  iretq
%endmacro

main:
  ENTER_LONG
  mov dword [directory + 8 * 31], 0xfee00087
  mov rax, cr3
  mov cr3, rax
  VMX_ON
  BEGIN inject_external
  INJECTING 0x21, 0
  FIELD G_RFLAGS, F_IF | 2
  RUN
  NOTE_VECTOR
  NOTE_STACK_RIP 0, simple
  NOTE_STACK 1
  NOTE_STACK 2
  NOTE_STACK 3
  BEGIN inject_nmi
  INJECTING T_NMI | 2, 0
  RUN
  NOTE_VECTOR
  NOTE_FIELD INTERRUPTIBILITY
  BEGIN inject_error_code
  INJECTING T_HARDWARE | WITH_ERROR | 13, 0, 0x1230
  RUN
  NOTE_VECTOR
  NOTE_STACK 0
  NOTE_STACK_RIP 1, simple
  BEGIN inject_page_fault   ; CR2 is the monitor's business
  INJECTING T_HARDWARE | WITH_ERROR | 14, 0, 7
  mov eax, 0x777
  mov cr2, rax
  RUN
  NOTE_VECTOR
  NOTE_STACK 0
  mov rax, cr2
  NOTE eax
  BEGIN inject_software
  INJECTING T_SOFTWARE | 0x21, 2
  RUN
  NOTE_VECTOR
  NOTE_STACK_RIP 0, simple
  BEGIN inject_software_length
  INJECTING T_SOFTWARE | 0x21, 5
  RUN
  NOTE_VECTOR
  NOTE_STACK_RIP 0, simple
  BEGIN inject_breakpoint
  INJECTING T_SOFTWARE_EXCEPTION | 3, 1
  RUN
  NOTE_VECTOR
  NOTE_STACK_RIP 0, simple
  BEGIN inject_privileged
  INJECTING T_PRIVILEGED | 1, 1
  RUN
  NOTE_VECTOR
  NOTE_STACK_RIP 0, simple
  BEGIN inject_software_gate
  INJECTING T_SOFTWARE | 0x21, 2
  GUEST_LEVEL3
  RUN
  NOTE_VECTOR
  NOTE_STACK 0
  NOTE_STACK_RIP 1, simple
  BEGIN inject_privileged_gate      ; the DPL of the gate does not count
  INJECTING T_PRIVILEGED | 1, 1
  GUEST_LEVEL3
  RUN
  NOTE_VECTOR
  NOTE_STACK_RIP 0, simple
  BEGIN inject_despite_bitmap
  INJECTING T_HARDWARE | 6, 0
  FIELD EXCEPTIONS, 1 << 6
  RUN
  NOTE_VECTOR
  NOTE_STACK_RIP 0, simple
  BEGIN inject_once         ; the valid bit is gone after the exit
  INJECTING T_HARDWARE | 6, 0
  RUN
  NOTE_VECTOR
  mov eax, INJECT
  vmread rax, rax
  shr eax, 31
  NOTE eax
  BEGIN inject_other
  INJECTING T_OTHER | 0, 0
  RUN
  NOTE_RIP simple
  BEGIN inject_before_window        ; the event is delivered first, and its gate, a trap gate, leaves IF set
  INJECTING 0x22, 0
  IDT_TRAP equ guest_idt + 16 * 0x22 + 5
  mov byte [IDT_TRAP], 0x8f
  FIELD G_RFLAGS, F_IF | 2
  ALSO PRIMARY, INTERRUPT_WINDOW
  RUN
  mov byte [IDT_TRAP], 0x8e
  mov eax, G_RIP
  vmread rax, rax
  cmp eax, guest_stubs + 16 * 0x22
  sete al
  movzx eax, al
  NOTE eax

%macro SHORT_IDT 1          ; ends before this vector; #GP exits
  FIELD G_IDTR_LIMIT, 16 * %1 - 1
  FIELD EXCEPTIONS, 1 << 13
%endmacro
  BEGIN vectoring_external
  INJECTING 0x21, 0
  FIELD G_RFLAGS, F_IF | 2
  SHORT_IDT 0x21
  RUN
  NOTE_FIELD INTERRUPTION, INTERRUPTION_ERROR, VECTORING
  BEGIN vectoring_software
  GUEST
    int 0x21
  END_GUEST
  SHORT_IDT 0x21
  RUN
  NOTE_FIELD INTERRUPTION, INTERRUPTION_ERROR, VECTORING, LENGTH
  BEGIN vectoring_breakpoint
  INJECTING T_SOFTWARE_EXCEPTION | 3, 1
  SHORT_IDT 3
  RUN
  NOTE_FIELD INTERRUPTION, INTERRUPTION_ERROR, VECTORING, LENGTH
  BEGIN vectoring_error_code        ; #PF whose gate is no good
  GUEST
    mov [0x12345678], al
  END_GUEST
  mov byte [guest_idt + 16 * 14 + 5], 0x81
  FIELD EXCEPTIONS, 1 << 13
  RUN
  mov byte [guest_idt + 16 * 14 + 5], 0x8e
  NOTE_FIELD INTERRUPTION, VECTORING, VECTORING_ERROR
  BEGIN vectoring_nmi
  INJECTING T_NMI | 2, 0
  SHORT_IDT 2
  RUN
  NOTE_FIELD INTERRUPTION, INTERRUPTION_ERROR, VECTORING
  BEGIN vectoring_again     ; the monitor repairs what was in the way, and injects what the exit left undone
  GUEST
int21_at:
    int 0x21
  END_GUEST
  SHORT_IDT 0x21
  RUN
  FIELD G_IDTR_LIMIT, 64 * 16 - 1
  mov eax, VECTORING
  vmread rax, rax
  mov ecx, INJECT
  call write_field
  mov eax, LENGTH
  vmread rax, rax
  mov ecx, INJECT_LENGTH
  call write_field
  RUN
  NOTE_VECTOR
  NOTE_STACK_RIP 0, int21_at

; While its gate is not present, delivery is a #NP. That exits, before it could become a double fault with what was delivered.
%macro AGAIN 4-5 0          ; test, information, length, vector, error code
  BEGIN %1
  INJECTING %2, %3, %5
  ALSO G_RFLAGS, F_IF
  FIELD EXCEPTIONS, 1 << 11
  mov byte [guest_idt + 16 * %4 + 5], 0x0e
  RUN
  mov byte [guest_idt + 16 * %4 + 5], 0x8e
  NOTE_FIELD VECTORING
  mov eax, VECTORING
  vmread rax, rax
  mov ecx, INJECT
  call write_field
  mov eax, VECTORING_ERROR
  vmread rax, rax
  mov ecx, INJECT_ERROR
  call write_field
  mov eax, LENGTH
  vmread rax, rax
  mov ecx, INJECT_LENGTH
  call write_field
  RUN
  NOTE_VECTOR
  %if %5
    NOTE_STACK 0
  %else
    NOTE_STACK_RIP 0, simple
  %endif
%endmacro
  AGAIN again_external, 0x21, 0, 0x21
  AGAIN again_nmi, T_NMI | 2, 0, 2
  AGAIN again_exception, T_HARDWARE | 6, 0, 6
  AGAIN again_error_code, T_HARDWARE | WITH_ERROR | 11, 0, 11, 0x1230
  AGAIN again_software, T_SOFTWARE | 0x21, 2, 0x21
  AGAIN again_privileged, T_PRIVILEGED | 1, 1, 1
  AGAIN again_software_exception, T_SOFTWARE_EXCEPTION | 3, 1, 3

  BEGIN external_exits      ; whatever the guest's IF
  SIMPLE_GUEST
  ALSO PIN, EXTERNAL_EXITING
  SELF_INTERRUPT 0x35
  RUN
  NOTE_FIELD INTERRUPTION
  NOTE_RIP simple
  BEGIN external_acknowledged       ; the same one, which is still pending
  SIMPLE_GUEST
  ALSO PIN, EXTERNAL_EXITING
  ALSO EXITS, ACKNOWLEDGE
  RUN
  END_OF_INTERRUPT
  NOTE_FIELD INTERRUPTION
  NOTE_RIP simple
  BEGIN external_in_guest
  SIMPLE_GUEST
  WITHOUT PIN, EXTERNAL_EXITING
  FIELD G_RFLAGS, F_IF | 2
  SELF_INTERRUPT 0x35
  RUN
  END_OF_INTERRUPT
  NOTE_VECTOR
  BEGIN external_masked
  SIMPLE_GUEST
  SELF_INTERRUPT 0x35
  RUN
  BEGIN window_open
  SIMPLE_GUEST
  FIELD G_RFLAGS, F_IF | 2
  ALSO PRIMARY, INTERRUPT_WINDOW
  RUN
  NOTE_RIP simple
  BEGIN window_after_sti
  GUEST
window_sti:
    sti
    nop
    nop
  END_GUEST
  ALSO PRIMARY, INTERRUPT_WINDOW
  RUN
  NOTE_RIP window_sti
  BEGIN window_after_mov_ss
  GUEST
window_ss:
    mov ss, eax
    nop
    nop
  END_GUEST
  mov dword [guest_rax], DATA32
  FIELD G_RFLAGS, F_IF | 2
  FIELD INTERRUPTIBILITY, 1         ; so that the window is not open at once
  ALSO PRIMARY, INTERRUPT_WINDOW
  RUN
  NOTE_RIP window_ss
  BEGIN window_closed
  SIMPLE_GUEST
  ALSO PRIMARY, INTERRUPT_WINDOW
  RUN
  BEGIN window_before_external
  SIMPLE_GUEST
  FIELD G_RFLAGS, F_IF | 2
  ALSO PIN, EXTERNAL_EXITING
  ALSO EXITS, ACKNOWLEDGE
  SELF_INTERRUPT 0x35
  RUN
  END_OF_INTERRUPT

  BEGIN nmi_exits
  UNBLOCK_NMI
  GUEST
    NMI_TO_SELF
    vmcall
  END_GUEST
  ALSO PIN, NMI_EXITING
  RUN
  UNBLOCK_NMI
  NOTE_FIELD INTERRUPTION
  BEGIN nmi_in_guest
  UNBLOCK_NMI
  GUEST
    NMI_TO_SELF
    cpuid
  END_GUEST
  WITHOUT PIN, NMI_EXITING
  RUN
  NOTE_VECTOR
  NOTE_FIELD INTERRUPTIBILITY
  UNBLOCK_NMI
  BEGIN nmi_blocked
  UNBLOCK_NMI
  GUEST
    NMI_TO_SELF
    cpuid
  END_GUEST
  WITHOUT PIN, NMI_EXITING
  FIELD INTERRUPTIBILITY, 8
  HOOK 2, nmi_expected
  RUN
  NOTE_FIELD INTERRUPTIBILITY
  UNBLOCK_NMI               ; it comes now, to us
  nop
  HOOK 2, 0
  BEGIN nmi_unblocked_by_iret
  GUEST
    GUEST_IRET nmi_iret
nmi_iret:
    cpuid
  END_GUEST
  FIELD INTERRUPTIBILITY, 8
  RUN
  NOTE_FIELD INTERRUPTIBILITY
  BEGIN nmi_window_open
  SIMPLE_GUEST
  ALSO PIN, NMI_EXITING | VIRTUAL_NMIS
  ALSO PRIMARY, NMI_WINDOW
  RUN
  NOTE_RIP simple
  BEGIN nmi_window_after_iret
  GUEST
    GUEST_IRET window_iret
window_iret:
    nop
  END_GUEST
  ALSO PIN, NMI_EXITING | VIRTUAL_NMIS
  ALSO PRIMARY, NMI_WINDOW
  FIELD INTERRUPTIBILITY, 8
  RUN
  NOTE_RIP window_iret
  NOTE_FIELD INTERRUPTIBILITY
  BEGIN virtual_nmi_injected
  INJECTING T_NMI | 2, 0
  ALSO PIN, NMI_EXITING | VIRTUAL_NMIS
  RUN
  NOTE_VECTOR
  NOTE_FIELD INTERRUPTIBILITY
  BEGIN virtual_nmi_does_not_block  ; the guest's blocking is virtual: a real NMI exits all the same
  UNBLOCK_NMI
  GUEST
    NMI_TO_SELF
    cpuid
  END_GUEST
  ALSO PIN, NMI_EXITING | VIRTUAL_NMIS
  FIELD INTERRUPTIBILITY, 8
  RUN
  UNBLOCK_NMI
  NOTE_FIELD INTERRUPTION, INTERRUPTIBILITY
  BEGIN iret_fault_unblocks         ; bit 12: IRET had ended the blocking when its fault came
  GUEST
    mov esp, 0x12345678
    iretq
  END_GUEST
  ALSO PIN, NMI_EXITING | VIRTUAL_NMIS
  FIELD INTERRUPTIBILITY, 8
  FIELD EXCEPTIONS, 1 << 14
  RUN
  NOTE_FIELD INTERRUPTION

%macro SLEEPING_GUEST 0
  SIMPLE_GUEST
  FIELD ACTIVITY, 1
%endmacro
  BEGIN hlt_external_if
  SLEEPING_GUEST
  FIELD G_RFLAGS, F_IF | 2
  ALSO PIN, EXTERNAL_EXITING
  ALSO EXITS, ACKNOWLEDGE
  SELF_INTERRUPT 0x35
  RUN
  END_OF_INTERRUPT
  NOTE_FIELD ACTIVITY
  BEGIN hlt_timer
  SLEEPING_GUEST
  ALSO PIN, TIMER
  FIELD PREEMPTION, 100
  RUN
  NOTE_FIELD ACTIVITY
  BEGIN hlt_injection_wakes
  SLEEPING_GUEST
  FIELD G_RFLAGS, F_IF | 2
  FIELD INJECT, VALID | 0x21
  RUN
  NOTE_VECTOR
  NOTE_FIELD ACTIVITY
  BEGIN hlt_mtf_injected
  SLEEPING_GUEST
  FIELD INJECT, VALID | T_OTHER
  RUN
  NOTE_FIELD ACTIVITY
  BEGIN hlt_in_guest_interrupt
  GUEST
    mov dword [apic + 0x3e0], 0xb
    mov dword [apic + 0x320], 0x36  ; one shot
    mov dword [apic + 0x380], 1000
    sti
    hlt
  END_GUEST
  RUN
  END_OF_INTERRUPT
  NOTE_VECTOR
  NOTE_FIELD ACTIVITY
  BEGIN hlt_in_guest_timer
  GUEST
sleeper:
    hlt
  END_GUEST
  ALSO PIN, TIMER
  FIELD PREEMPTION, 1000
  RUN
  NOTE_FIELD ACTIVITY
  NOTE_RIP sleeper
  BEGIN shutdown_timer
  SIMPLE_GUEST
  FIELD ACTIVITY, 2
  ALSO PIN, TIMER
  FIELD PREEMPTION, 100
  RUN
  NOTE_FIELD ACTIVITY

  BEGIN pending_step
  SIMPLE_GUEST
  FIELD PENDING_DEBUG, 0x4000
  FIELD EXCEPTIONS, 1 << 1
  RUN
  NOTE_FIELD INTERRUPTION, QUALIFICATION
  NOTE_RIP simple
  BEGIN pending_delivered
  SIMPLE_GUEST
  FIELD PENDING_DEBUG, 0x4000
  RUN
  NOTE_VECTOR
  NOTE_STACK_RIP 0, simple
  BEGIN pending_discarded   ; an injected event comes first, and they are lost
  SIMPLE_GUEST
  FIELD PENDING_DEBUG, 0x4000
  FIELD INJECT, VALID | T_SOFTWARE | 0x21
  FIELD INJECT_LENGTH, 2
  FIELD EXCEPTIONS, 1 << 1
  RUN
  NOTE_VECTOR
%macro PENDING_GUEST 2      ; test, what is pending
  BEGIN %1
  SIMPLE_GUEST
  FIELD PENDING_DEBUG, %2
  FIELD EXCEPTIONS, 1 << 1
%endmacro
  PENDING_GUEST pending_not_enabled, 3      ; without bit 12 these are none
  RUN
  PENDING_GUEST pending_enabled, 0x1003
  RUN
  NOTE_FIELD INTERRUPTION, QUALIFICATION
  PENDING_GUEST pending_mark_alone, 0x1000
  RUN
  NOTE_FIELD INTERRUPTION, QUALIFICATION
  PENDING_GUEST pending_in_shutdown, 0x4000
  FIELD ACTIVITY, 2
  ALSO PIN, TIMER
  FIELD PREEMPTION, 100
  RUN
  NOTE_FIELD ACTIVITY
  BEGIN mov_ss_at_exit
  GUEST
    mov ss, eax
    cpuid
  END_GUEST
  mov dword [guest_rax], DATA32
  RUN
  NOTE_FIELD INTERRUPTIBILITY
  BEGIN sti_at_exit
  GUEST
    sti
    cpuid
  END_GUEST
  RUN
  NOTE_FIELD INTERRUPTIBILITY
  BEGIN mov_ss_keeps_step
  GUEST
    mov ss, eax
    cpuid
  END_GUEST
  mov dword [guest_rax], DATA32
  FIELD G_RFLAGS, F_TF | 2
  RUN
  NOTE_FIELD INTERRUPTIBILITY, PENDING_DEBUG
  BEGIN step_over_sti       ; a single step does not wait for the shadow
  GUEST
step_sti:
    sti
    nop
    nop
  END_GUEST
  FIELD G_RFLAGS, F_TF | 2
  FIELD EXCEPTIONS, 1 << 1
  RUN
  NOTE_RIP step_sti

  BEGIN timer_zero
  SIMPLE_GUEST
  ALSO PIN, TIMER
  FIELD PREEMPTION, 0
  RUN
  NOTE_RIP simple
  BEGIN timer_in_loop
  GUEST
    jmp $
  END_GUEST
  ALSO PIN, TIMER
  FIELD PREEMPTION, 1000
  RUN
  BEGIN timer_saved         ; IA32_VMX_MISC says how slowly it counts: at most one in 2^31
  GUEST
    mov ecx, 100000
.wait:
    loop .wait
    cpuid
  END_GUEST
  ALSO PIN, TIMER
  ALSO EXITS, SAVE_TIMER
  FIELD PREEMPTION, 0x7fffffff
  RUN
  mov eax, PREEMPTION
  vmread rax, rax
  cmp eax, 0x7fffffff
  setb al
  movzx eax, al
  NOTE eax
  BEGIN timer_not_saved
  SIMPLE_GUEST
  ALSO PIN, TIMER
  FIELD PREEMPTION, 0x7fffffff
  RUN
  NOTE_FIELD PREEMPTION
  BEGIN timer_after_injection
  INJECTING 0x21, 0
  FIELD G_RFLAGS, F_IF | 2
  ALSO PIN, TIMER
  FIELD PREEMPTION, 0
  RUN
  NOTE_RIP guest_stubs + 16 * 0x21
  BEGIN trap_before_timer
  INJECTING T_OTHER, 0
  ALSO PIN, TIMER
  FIELD PREEMPTION, 0
  RUN

  BEGIN order_trap_debug
  SIMPLE_GUEST
  FIELD INJECT, VALID | T_OTHER
  FIELD PENDING_DEBUG, 0x4000
  FIELD EXCEPTIONS, 1 << 1
  RUN
  BEGIN order_debug_timer
  SIMPLE_GUEST
  FIELD PENDING_DEBUG, 0x4000
  FIELD EXCEPTIONS, 1 << 1
  ALSO PIN, TIMER
  FIELD PREEMPTION, 0
  RUN
  BEGIN order_timer_nmi_window
  SIMPLE_GUEST
  ALSO PIN, TIMER | NMI_EXITING | VIRTUAL_NMIS
  ALSO PRIMARY, NMI_WINDOW
  FIELD PREEMPTION, 0
  RUN
  BEGIN order_nmi_window_interrupt_window
  SIMPLE_GUEST
  ALSO PIN, NMI_EXITING | VIRTUAL_NMIS
  ALSO PRIMARY, NMI_WINDOW | INTERRUPT_WINDOW
  FIELD G_RFLAGS, F_IF | 2
  RUN
  BEGIN order_interrupt_window_external
  SIMPLE_GUEST
  ALSO PIN, EXTERNAL_EXITING
  ALSO EXITS, ACKNOWLEDGE
  ALSO PRIMARY, INTERRUPT_WINDOW
  FIELD G_RFLAGS, F_IF | 2
  SELF_INTERRUPT 0x35
  RUN
  WITHOUT PRIMARY, INTERRUPT_WINDOW
  RUN
  END_OF_INTERRUPT
  BEGIN order_injection_timer_window
  INJECTING 0x21, 0
  ALSO PIN, TIMER | NMI_EXITING | VIRTUAL_NMIS
  ALSO PRIMARY, NMI_WINDOW
  FIELD G_RFLAGS, F_IF | 2
  FIELD PREEMPTION, 0
  RUN

  BEGIN tsc_offset
  GUEST
    rdtsc
    mov ebx, edx
    cpuid
  END_GUEST
  WITHOUT PRIMARY, 1 << 12
  ALSO PRIMARY, 1 << 3
  FIELD TSC_OFFSET, 0x1000 << 32
  RUN
  NOTE_AT [guest_rbx]
%macro LIST 3               ; an entry of an MSR list: MSR, low, high
  mov dword [msr_list], %1
  mov dword [msr_list + 4], 0
  mov dword [msr_list + 8], %2
  mov dword [msr_list + 12], %3
%endmacro
%macro READ_GUEST 1         ; a guest that reads an MSR
  GUEST
    mov ecx, %1
    rdmsr
    mov ebx, eax
    cpuid
  END_GUEST
  ALSO PRIMARY, 1 << 28     ; the bitmap is empty
%endmacro
LSTAR equ 0xc0000082        ; switched by lists alone
  BEGIN msr_loaded
  READ_GUEST LSTAR
  LIST LSTAR, 0x1234, 0
  FIELD ENTRY_LOADS, 1
  RUN
  NOTE_AT [guest_rbx]
  BEGIN msr_stored
  SIMPLE_GUEST
  WRITE_MSR LSTAR, 0x5678
  LIST LSTAR, -1, -1
  FIELD EXIT_STORES, 1
  RUN
  NOTE_AT [msr_list + 8]
  NOTE_AT [msr_list + 12]
  BEGIN msr_host_loaded
  SIMPLE_GUEST
  LIST LSTAR, 0x9abc, 0
  FIELD EXIT_LOADS, 1
  RUN
  mov ecx, LSTAR
  rdmsr
  NOTE eax
  BEGIN sysenter_state      ; goes both ways by fields of its own
  READ_GUEST 0x175
  FIELD G_SYSENTER_ESP, 0x11
  FIELD H_SYSENTER_ESP, 0x22
  FIELD H_SYSENTER_EIP, 0x33
  FIELD H_SYSENTER_CS, 0x44
  RUN
  NOTE_AT [guest_rbx]
  mov ecx, 0x175
  rdmsr
  NOTE eax
  mov ecx, 0x176
  rdmsr
  NOTE eax
  mov ecx, 0x174
  rdmsr
  NOTE eax
  BEGIN pat_switched
  READ_GUEST 0x277
  ALSO ENTRIES, 1 << 14
  ALSO EXITS, 1 << 19
  FIELD G_PAT, 0x0007040600070406
  FIELD H_PAT, 0x0506050405060504
  RUN
  NOTE_AT [guest_rbx]
  mov ecx, 0x277
  rdmsr
  NOTE eax
  BEGIN efer_switched
  READ_GUEST 0xc0000080
  ALSO ENTRIES, 1 << 15
  ALSO EXITS, 1 << 21
  FIELD G_EFER, 0xd01
  FIELD H_EFER, 0xd00
  RUN
  NOTE_AT [guest_rbx]
  mov ecx, 0xc0000080
  rdmsr
  NOTE eax
  BEGIN debug_controls
  GUEST
    mov rbx, dr7
    mov eax, 0x501
    mov dr7, rax
    cpuid
  END_GUEST
  WITHOUT PRIMARY, 1 << 23
  ALSO ENTRIES, 1 << 2
  ALSO EXITS, 1 << 2
  FIELD G_DR7, 0x500
  RUN
  NOTE_AT [guest_rbx]
  NOTE_FIELD G_DR7

  BEGIN trap_after_one
  GUEST
trapped:
    nop
    mov eax, ebx
    nop
  END_GUEST
  ALSO PRIMARY, TRAP
  RUN
  NOTE_RIP trapped
  RUN
  NOTE_RIP trapped
  BEGIN trap_after_injection
  INJECTING 0x21, 0
  FIELD G_RFLAGS, F_IF | 2
  ALSO PRIMARY, TRAP
  RUN
  NOTE_RIP guest_stubs + 16 * 0x21
  BEGIN trap_after_fault    ; at the first instruction of the handler
  GUEST
    ud2
  END_GUEST
  ALSO PRIMARY, TRAP
  RUN
  NOTE_RIP guest_stubs + 16 * 6
  BEGIN trap_repeat         ; between two rounds
  GUEST
repeated:
    rep stosb
  END_GUEST
  mov dword [guest_rcx], 3
  mov dword [guest_rdi], page_a
  ALSO PRIMARY, TRAP
  RUN
  NOTE_RIP repeated
  NOTE_AT [guest_rcx]
  BEGIN exit_before_trap
  SIMPLE_GUEST
  ALSO PRIMARY, TRAP
  RUN

  ; Last: what engines are known to sleep over for ever
  BEGIN hlt_nmi_window
  SLEEPING_GUEST
  ALSO PIN, NMI_EXITING | VIRTUAL_NMIS
  ALSO PRIMARY, NMI_WINDOW
  RUN
  NOTE_FIELD ACTIVITY
  BEGIN hlt_window
  SLEEPING_GUEST
  FIELD G_RFLAGS, F_IF | 2
  ALSO PRIMARY, INTERRUPT_WINDOW
  RUN
  NOTE_FIELD ACTIVITY
  BEGIN hlt_external        ; with IF=0
  SLEEPING_GUEST
  ALSO PIN, EXTERNAL_EXITING
  ALSO EXITS, ACKNOWLEDGE
  SELF_INTERRUPT 0x35
  RUN
  END_OF_INTERRUPT
  NOTE_FIELD ACTIVITY
  BEGIN hlt_pending_debug
  SLEEPING_GUEST
  FIELD PENDING_DEBUG, 0x4000
  FIELD G_RFLAGS, F_TF | 2
  FIELD EXCEPTIONS, 1 << 1
  RUN
  NOTE_FIELD QUALIFICATION
%macro BLOCK_NMI 0          ; for us: an NMI exits
  UNBLOCK_NMI
  GUEST
    NMI_TO_SELF
    vmcall
  END_GUEST
  ALSO PIN, NMI_EXITING
  call enter_guest
%endmacro
  BEGIN hlt_nmi
  BLOCK_NMI
  NMI_TO_SELF               ; it waits for the guest
  SLEEPING_GUEST
  ALSO PIN, NMI_EXITING
  RUN
  UNBLOCK_NMI
  NOTE_FIELD INTERRUPTION, ACTIVITY
  BEGIN hlt_nmi_in_guest
  BLOCK_NMI
  NMI_TO_SELF
  SLEEPING_GUEST
  WITHOUT PIN, NMI_EXITING
  RUN
  UNBLOCK_NMI
  NOTE_VECTOR
  NOTE_FIELD ACTIVITY
  FINISH

simple:
  cpuid
nmi_expected:
  iretq
%include "runtime.inc"
