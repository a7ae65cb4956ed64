; INIT signals and start-up IPIs, which a processor can send to itself: "Other Causes of VM Exits". INIT is blocked in root operation
; and exits from a guest; a SIPI exits only from a guest that waits for it (vmx_operation_test.cpp: one processor cannot send it
; then), and is lost otherwise.
%include "test.inc"
%include "long.inc"
%include "vmx.inc"

apic equ 31 * 0x200000      ; in the last of the 2 MiB pages

TABLE
  TEST init_waits_in_root, EXIT(E_INIT), 0, 0, EXIT(E_CPUID)
  TEST init_from_guest, EXIT(E_INIT), 0, 1
  TEST init_in_hlt, EXIT(E_INIT), 1
  TEST init_before_timer, EXIT(E_INIT)
  TEST init_before_trap, EXIT(E_INIT)
  TEST sipi_is_lost, EXIT(E_CPUID)
END_TABLE

%macro SIMPLE_GUEST 0       ; CPUID ends it
  mov eax, simple
  call fresh_guest
%endmacro
%macro SEND_TO_SELF 1       ; by physical destination, which is 0
  mov dword [apic + 0x310], 0
  mov dword [apic + 0x300], %1
%endmacro
INIT equ 0x4500
SIPI equ 0x4600
main:
  ENTER_LONG
  mov dword [directory + 8 * 31], 0xfee00087
  mov rax, cr3
  mov cr3, rax
  VMX_ON
  BEGIN init_waits_in_root
  SIMPLE_GUEST
  SEND_TO_SELF INIT
  nop
  RUN
  NOTE_FIELD QUALIFICATION
  NOTE_RIP simple
  RUN                       ; it has gone
  BEGIN init_from_guest
  GUEST
    SEND_TO_SELF INIT
init_sent:
    nop
    cpuid
  END_GUEST
  RUN
  NOTE_FIELD QUALIFICATION
  mov eax, G_RIP
  vmread rax, rax
  cmp eax, init_sent
  sete al
  movzx eax, al
  NOTE eax
  BEGIN init_in_hlt
  SIMPLE_GUEST
  FIELD ACTIVITY, 1
  SEND_TO_SELF INIT
  RUN
  NOTE_FIELD ACTIVITY
  BEGIN init_before_timer
  SIMPLE_GUEST
  ALSO PIN, 1 << 6
  FIELD PREEMPTION, 0
  SEND_TO_SELF INIT
  RUN
  BEGIN init_before_trap
  SIMPLE_GUEST
  FIELD INJECT, (1 << 31) | (7 << 8)
  SEND_TO_SELF INIT
  RUN
  BEGIN sipi_is_lost
  SIMPLE_GUEST
  SEND_TO_SELF SIPI | 0x9a
  RUN
  FINISH

simple:
  cpuid
%include "runtime.inc"
