; VMX aborts: an exit that cannot be completed leaves a number in the VMCS region and shuts the processor down, which makes a PC
; reset itself. "VMX Aborts". So this program starts anew for each case, and remembers in memory which one it was.
;
; Those of a 32-bit host, which this program is not, stand in vmx_operation_test.cpp.
%include "test.inc"
%include "long.inc"
%include "vmx.inc"

; What outlives a reset
begun_before equ 0x28000    ; MAGIC from the first case on
next_case   equ 0x28004
results     equ 0x28008
MAGIC       equ 0x7e57ab07
RETURNED    equ 0xbad00000  ; there was no abort, but this exit

STAR equ 0xc0000081
LSTAR equ 0xc0000082
UNKNOWN equ 0x7fff

%macro CASES 0
  CASE store_unknown, 1, EXIT_STORE, EXIT_STORES, UNKNOWN, 0, 0
  CASE store_reserved, 1, EXIT_STORE, EXIT_STORES, STAR, 1, 0
  CASE load_unknown, 4, EXIT_LOAD, EXIT_LOADS, UNKNOWN, 0, 0
  CASE load_reserved, 4, EXIT_LOAD, EXIT_LOADS, STAR, 1, 0
  CASE load_bad_value, 4, EXIT_LOAD, EXIT_LOADS, LSTAR, 0, 1 << 60
  CASE load_fs_base, 4, EXIT_LOAD, EXIT_LOADS, 0xc0000100, 0, 0
  CASE load_gs_base, 4, EXIT_LOAD, EXIT_LOADS, 0xc0000101, 0, 0
  CASE load_smm_monitor, 4, EXIT_LOAD, EXIT_LOADS, 0x9b, 0, 0
  CASE good_lists, RETURNED | E_CPUID, EXIT_LOAD, EXIT_LOADS, STAR, 0, 0
%endmacro

%macro CASE 7               ; name, abort indicator, field of the list, of its length, MSR, reserved bits, value
  %if running == 0
    TEST %1, %2
  %elif running == 1
    dd %3, %4, %5, %6
    dq %7
  %else
    BEGIN %1
    NOTE_AT [results + 4 * reported]
    %assign reported reported + 1
  %endif
%endmacro
%assign reported 0

TABLE
  %assign running 0
  CASES
END_TABLE
align 8, db 0
cases:
  %assign running 1
  CASES
case_size equ 24
cases_end:

main:
  cmp dword [begun_before], MAGIC
  jne .first
  mov eax, [next_case]      ; it was this one that did not come back
  mov edx, [vmcs_a + 4]
  mov [results + 4 * eax], edx
  inc dword [next_case]
  jmp .go_on
.first:
  mov dword [begun_before], MAGIC
  mov dword [next_case], 0
.go_on:
  ENTER_LONG
  VMX_ON
.next:
  imul eax, [next_case], case_size
  lea ebx, [rax + cases]
  cmp ebx, cases_end
  jae .report
  push rbx
  GUEST
    cpuid
  END_GUEST
  pop rbx
  mov eax, [rbx + 8]
  mov [msr_list], eax
  mov eax, [rbx + 12]
  mov [msr_list + 4], eax
  mov rax, [rbx + 16]
  mov [msr_list + 8], rax
  mov ecx, [rbx]
  mov eax, msr_list
  call write_field
  mov ecx, [rbx + 4]
  mov eax, 1
  call write_field
  call enter_guest
  or eax, RETURNED
  mov ecx, [next_case]
  mov [results + 4 * rcx], eax
  inc dword [next_case]
  jmp .next
.report:
  mov dword [begun_before], 0
  %assign running 2
  CASES
  FINISH
%include "runtime.inc"
