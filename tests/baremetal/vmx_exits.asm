; Instructions and exceptions that cause VM exits, with what the exit says about them: "VM Exits", "Instructions That Cause VM Exits",
; "Information for VM Exits Due to Instruction Execution". Without the control that asks for an exit, the instruction just runs.
%include "test.inc"
%include "long.inc"
%include "vmx.inc"

; What an exception in the guest says, which ends it by VMCALL
%define GUEST_EXCEPTION(vector) EXIT(E_VMCALL), vector
RAN equ EXIT(E_VMCALL)

TABLE
; always: reason, qualification, length
  TEST cpuid_exits, EXIT(E_CPUID), 0, 2
  TEST invd_exits, EXIT(E_INVD), 0, 2
  TEST xsetbv_exits, EXIT(E_XSETBV), 0, 3
  TEST vmcall_exits, EXIT(E_VMCALL), 0, 3
  TEST vmclear_exits, EXIT(19), 0x12345678, 9
  TEST vmlaunch_exits, EXIT(20), 0, 3
  TEST vmptrld_exits, EXIT(21), 0x12345678, 8
  TEST vmptrst_exits, EXIT(22), 0x10, 4
  TEST vmread_exits, EXIT(23), 0, 3
  TEST vmresume_exits, EXIT(24), 0, 3
  TEST vmwrite_exits, EXIT(25), 0, 3
  TEST vmxoff_exits, EXIT(26), 0, 3
  TEST vmxon_exits, EXIT(27), 0x12345678, 9
  TEST invept_exits, EXIT(E_INVEPT), 0x40, 6
  TEST invvpid_exits, EXIT(E_INVVPID), 0x40, 6
; on request
  TEST hlt_exits, EXIT(E_HLT), 0, 1
  TEST invlpg_exits, EXIT(E_INVLPG), 0x12345678, 8
  TEST invlpg_runs, RAN
  TEST rdpmc_exits, EXIT(E_RDPMC), 0, 2
  TEST rdtsc_exits, EXIT(E_RDTSC), 0, 2
  TEST rdtsc_runs, RAN
  TEST rdtscp_exits, EXIT(E_RDTSCP), 0, 3
  TEST rdtscp_not_enabled, GUEST_EXCEPTION(6)
  TEST mwait_exits, EXIT(E_MWAIT), 0, 3
  TEST monitor_exits, EXIT(E_MONITOR), 0, 3
  TEST pause_exits, EXIT(E_PAUSE), 0, 2
  TEST pause_runs, RAN
  TEST wbinvd_exits, EXIT(E_WBINVD), 0, 2
  TEST wbinvd_runs, RAN
  TEST rdrand_exits, EXIT(E_RDRAND), 0, 4, (11 << 3) | (2 << 11)
  TEST rdseed_exits, EXIT(E_RDSEED), 0, 3, (1 << 3) | (1 << 11)
  TEST invpcid_exits, EXIT(E_INVPCID), 0x40, 6
  TEST invpcid_not_enabled, GUEST_EXCEPTION(6)
  TEST sgdt_exits, EXIT(E_GDTR_IDTR), 0x40, 5, 0
  TEST lidt_exits, EXIT(E_GDTR_IDTR), 0x12345678, 8, 3 << 28
  TEST sldt_exits, EXIT(E_LDTR_TR), 0, 3, 0
  TEST ltr_exits, EXIT(E_LDTR_TR), 0, 3, 3 << 28
; instruction information
  TEST info_register_to_register, (1 << 10) | (3 << 3) | (8 << 28)
  TEST info_memory, (2 << 0) | (2 << 7) | (3 << 15) | (6 << 18) | (3 << 23) | (9 << 28)
  TEST info_no_base, (3 << 0) | (2 << 7) | (3 << 15) | (1 << 18) | (1 << 27)
  TEST info_no_index, (1 << 7) | (4 << 15) | (1 << 22) | (0 << 23)
; control registers: qualification, length
  TEST cr3_load, EXIT(E_CR), 0x903, 4
  TEST cr3_store, EXIT(E_CR), 0x213, 3
  TEST cr3_target, RAN
  TEST cr3_target_count, EXIT(E_CR)
  TEST cr3_runs, RAN
  TEST cr8_load, EXIT(E_CR), 0x008, 4
  TEST cr8_store, EXIT(E_CR), 0x318, 4
  TEST cr0_owned_bit, EXIT(E_CR), 0x000, 3
  TEST cr0_same_as_shadow, RAN, 0x80000031
  TEST cr0_shadow_read, RAN, 0x80000039
  TEST cr0_own_bit, RAN, 0x80000039
  TEST clts_exits, EXIT(E_CR), 0x020, 2
  TEST clts_shadow_clear, RAN
  TEST lmsw_register, EXIT(E_CR), 0x00090030, 3
  TEST lmsw_memory, EXIT(E_CR), 0x00090070, 8, page_a
  TEST lmsw_same, RAN
  TEST smsw_shadow, RAN, 0x39
  TEST cr4_owned_bit, EXIT(E_CR), 0x604, 3
  TEST cr4_shadow_read, RAN, 0x80
  TEST cr4_vmxe_fixed, GUEST_EXCEPTION(13)
  TEST cr0_ne_fixed, GUEST_EXCEPTION(13)
; debug registers
  TEST dr_write, EXIT(E_DR), 0x307, 3
  TEST dr_read, EXIT(E_DR), 0x816, 4
  TEST dr_runs, RAN
; ports
  TEST out_immediate, EXIT(E_IO), 0x00800040, 2
  TEST in_register, EXIT(E_IO), 0x1234000b, 1
  TEST in_word, EXIT(E_IO), 0x12340009, 2
  TEST outs_rep, EXIT(E_IO), 0x12340030, 2, page_a, (2 << 7) | (3 << 15)
  TEST ins_exits, EXIT(E_IO), 0x1234001b, 1, page_b, (2 << 7)
  TEST outs_segment, EXIT(E_IO), (2 << 7) | (4 << 15)
  TEST bitmap_clear, RAN
  TEST bitmap_a, EXIT(E_IO), 0x7fff0000
  TEST bitmap_b, EXIT(E_IO), 0x80000000
  TEST bitmap_second_byte, EXIT(E_IO), 0x12330001
  TEST bitmap_wraps, EXIT(E_IO), 0xffff0001
  TEST bitmap_over_unconditional, RAN
; MSRs
  TEST rdmsr_without_bitmap, EXIT(E_RDMSR), 0, 2
  TEST wrmsr_without_bitmap, EXIT(E_WRMSR), 0, 2
  TEST rdmsr_bitmap_low, EXIT(E_RDMSR)
  TEST rdmsr_bitmap_clear, RAN
  TEST rdmsr_bitmap_high, EXIT(E_RDMSR)
  TEST wrmsr_bitmap_low, EXIT(E_WRMSR)
  TEST wrmsr_bitmap_high, EXIT(E_WRMSR)
  TEST wrmsr_only, RAN
  TEST rdmsr_outside_bitmap, EXIT(E_RDMSR)
; faults that come before the exit, and those that do not
  TEST hlt_level3, GUEST_EXCEPTION(13)
  TEST invlpg_level3, GUEST_EXCEPTION(13)
  TEST cr_level3, GUEST_EXCEPTION(13)
  TEST rdmsr_level3, GUEST_EXCEPTION(13)
  TEST io_level3, GUEST_EXCEPTION(13)
  TEST wbinvd_level3, GUEST_EXCEPTION(13)
  TEST cpuid_level3, EXIT(E_CPUID)
  TEST vmread_level3, EXIT(23)
  TEST rdtsc_level3, EXIT(E_RDTSC)
  TEST ud_before_lock, GUEST_EXCEPTION(6)
; exceptions: interruption information, error code
  TEST ud_exits, EXIT(E_EXCEPTION), 0x80000306
  TEST ud_delivered, GUEST_EXCEPTION(6)
  TEST gp_exits, EXIT(E_EXCEPTION), 0x80000b0d, 0x88
  TEST de_exits, EXIT(E_EXCEPTION), 0x80000300
  TEST int3_exits, EXIT(E_EXCEPTION), 0x80000603, 1, 0
  TEST icebp_exits, EXIT(E_EXCEPTION), 0x80000501, 1, 0
  TEST step_exits, EXIT(E_EXCEPTION), 0x80000301, 0x4000, 1
  TEST breakpoint_exits, EXIT(E_EXCEPTION), 0x80000301, 0x0001, 0
  TEST pf_exits, EXIT(E_EXCEPTION), 0x80000b0e, 2, 0x12345678
  TEST pf_leaves_cr2, EXIT(E_EXCEPTION), 1
  TEST pf_match, EXIT(E_EXCEPTION)
  TEST pf_no_match, GUEST_EXCEPTION(14)
  TEST pf_inverted, EXIT(E_EXCEPTION)
  TEST int_no_exit, GUEST_EXCEPTION(6)
  TEST triple_fault, EXIT(E_TRIPLE), 0
  TEST nested_exception, EXIT(E_EXCEPTION), 0x80000b0d, 0x80000306
  TEST double_fault, EXIT(E_EXCEPTION), 0x80000b08, 0, 0
; state after an exit
  TEST host_state, 0x400, 2, 1, 0xffff, 0xffff
  TEST guest_kept, EXIT(E_CPUID), 0x12345678, 0x55
  TEST fields_invalid, 0, 0
END_TABLE

%macro EXITS_BY 3-4+        ; test, field, bits, instruction
  BEGIN %1
  GUEST
    %4
    vmcall
  END_GUEST
  ALSO %2, %3
  RUN
  NOTE_FIELD QUALIFICATION, LENGTH
%endmacro
%macro EXITS_BY_SECONDARY 3+
  BEGIN %1
  GUEST
    %3
    vmcall
  END_GUEST
  SECONDARY_ALSO %2
  RUN
  NOTE_FIELD QUALIFICATION, LENGTH
%endmacro
%macro RUNS 3+              ; test, controls of the primary to clear, instruction
  BEGIN %1
  GUEST
    %3
    vmcall
  END_GUEST
  WITHOUT PRIMARY, %2
  RUN
%endmacro
%macro GUEST_FAULTS 3+      ; test, controls of the primary to set, instruction: the exception comes first
  BEGIN %1
  GUEST
    %3
    vmcall
  END_GUEST
  ALSO PRIMARY, %2
  GUEST_LEVEL3
  RUN
  NOTE_AT [guest_rax]
%endmacro
%macro NOTE_INFORMATION 1   ; without the bits that mean nothing for the instruction
  mov eax, INFORMATION
  vmread rax, rax
  and eax, %1
  NOTE eax
%endmacro

main:
  ENTER_LONG
  VMX_ON
  EXITS_BY cpuid_exits, PIN, 0, cpuid
  EXITS_BY invd_exits, PIN, 0, invd
  BEGIN xsetbv_exits
  GUEST
    xsetbv
  END_GUEST
  ALSO G_CR4, 1 << 18
  RUN
  NOTE_FIELD QUALIFICATION, LENGTH
  EXITS_BY vmcall_exits, PIN, 0, vmcall
  EXITS_BY vmclear_exits, PIN, 0, vmclear [0x12345678]
  EXITS_BY vmlaunch_exits, PIN, 0, vmlaunch
  EXITS_BY vmptrld_exits, PIN, 0, vmptrld [0x12345678]
  EXITS_BY vmptrst_exits, PIN, 0, vmptrst [rsi + 0x10]
  EXITS_BY vmread_exits, PIN, 0, vmread rax, rbx
  EXITS_BY vmresume_exits, PIN, 0, vmresume
  EXITS_BY vmwrite_exits, PIN, 0, vmwrite rax, rbx
  EXITS_BY vmxoff_exits, PIN, 0, vmxoff
  EXITS_BY vmxon_exits, PIN, 0, vmxon [0x12345678]
  EXITS_BY invept_exits, PIN, 0, invept rax, [rsi + 0x40]
  EXITS_BY invvpid_exits, PIN, 0, invvpid rax, [rsi + 0x40]

  EXITS_BY hlt_exits, PRIMARY, 1 << 7, hlt
  EXITS_BY invlpg_exits, PRIMARY, 1 << 9, invlpg [0x12345678]
  RUNS invlpg_runs, 1 << 9, invlpg [0x12345678]
  EXITS_BY rdpmc_exits, PRIMARY, 1 << 11, rdpmc
  EXITS_BY rdtsc_exits, PRIMARY, 1 << 12, rdtsc
  RUNS rdtsc_runs, 1 << 12, rdtsc
  BEGIN rdtscp_exits
  GUEST
    rdtscp
  END_GUEST
  ALSO PRIMARY, 1 << 12
  SECONDARY_ALSO 1 << 3
  RUN
  NOTE_FIELD QUALIFICATION, LENGTH
  BEGIN rdtscp_not_enabled
  GUEST
    rdtscp
  END_GUEST
  ALSO PRIMARY, 1 << 12
  RUN
  NOTE_AT [guest_rax]
  EXITS_BY mwait_exits, PRIMARY, 1 << 10, mwait
  EXITS_BY monitor_exits, PRIMARY, 1 << 29, monitor
  EXITS_BY pause_exits, PRIMARY, 1 << 30, pause
  RUNS pause_runs, 1 << 30, pause
  EXITS_BY_SECONDARY wbinvd_exits, 1 << 6, wbinvd
  RUNS wbinvd_runs, 0, wbinvd
  EXITS_BY_SECONDARY rdrand_exits, 1 << 11, rdrand r11
  NOTE_INFORMATION (15 << 3) | (3 << 11)
  EXITS_BY_SECONDARY rdseed_exits, 1 << 16, rdseed ecx
  NOTE_INFORMATION (15 << 3) | (3 << 11)
  BEGIN invpcid_exits
  GUEST
    db 0x66, 0x0f, 0x38, 0x82, 0x46, 0x40     ; INVPCID RAX, [RSI + 40h], which nasm would give a prefix
  END_GUEST
  ALSO PRIMARY, 1 << 9
  SECONDARY_ALSO 1 << 12
  RUN
  NOTE_FIELD QUALIFICATION, LENGTH
  BEGIN invpcid_not_enabled
  GUEST
    invpcid rax, [rsi + 0x40]
  END_GUEST
  ALSO PRIMARY, 1 << 9
  RUN
  NOTE_AT [guest_rax]
  EXITS_BY_SECONDARY sgdt_exits, 1 << 2, sgdt [rsi + rdi + 0x40]
  NOTE_INFORMATION 3 << 28
  EXITS_BY_SECONDARY lidt_exits, 1 << 2, lidt [0x12345678]
  NOTE_INFORMATION 3 << 28
  EXITS_BY_SECONDARY sldt_exits, 1 << 2, sldt eax
  NOTE_INFORMATION 3 << 28
  EXITS_BY_SECONDARY ltr_exits, 1 << 2, ltr ax
  NOTE_INFORMATION 3 << 28

%macro INFORMATION_OF 3+
  BEGIN %1
  GUEST
    %3
  END_GUEST
  call enter_guest
  NOTE_INFORMATION %2
%endmacro
  INFORMATION_OF info_register_to_register, (1 << 10) | (15 << 3) | (15 << 28), vmread rbx, r8
  INFORMATION_OF info_memory, 0xfffff83 | (15 << 28) & ~(15 << 11), vmwrite r9, [rbx + rsi * 4]
  INFORMATION_OF info_no_base, 3 | (7 << 7) | (1 << 10) | (7 << 15) | (0x1f << 18) | (1 << 27), vmptrld [rcx * 8]
  INFORMATION_OF info_no_index, (7 << 7) | (1 << 10) | (7 << 15) | (1 << 22) | (0x1f << 23), vmclear [fs:eax]

  EXITS_BY cr3_load, PRIMARY, 1 << 15, mov cr3, r9
  EXITS_BY cr3_store, PRIMARY, 1 << 16, mov rdx, cr3
  BEGIN cr3_target
  GUEST
    mov eax, pml4
    mov cr3, rax
    vmcall
  END_GUEST
  ALSO PRIMARY, 1 << 15
  FIELD CR3_TARGETS, 2
  FIELD CR3_TARGET0 + 2, pml4
  RUN
  BEGIN cr3_target_count    ; only the first one counts
  GUEST
    mov eax, pml4
    mov cr3, rax
  END_GUEST
  ALSO PRIMARY, 1 << 15
  FIELD CR3_TARGETS, 1
  FIELD CR3_TARGET0, 0
  FIELD CR3_TARGET0 + 2, pml4
  RUN
  BEGIN cr3_runs
  GUEST
    mov rax, cr3
    mov cr3, rax
    vmcall
  END_GUEST
  WITHOUT PRIMARY, 3 << 15
  RUN
  EXITS_BY cr8_load, PRIMARY, 1 << 19, mov cr8, rax
  EXITS_BY cr8_store, PRIMARY, 1 << 20, mov rbx, cr8
  ; A write exits if it would make an owned bit differ from the read shadow.
%macro CR0_GUEST 3+         ; test, shadow of TS and NE, code
  BEGIN %1
  GUEST
    %3
    vmcall
  END_GUEST
  FIELD CR0_MASK, 0x28
  FIELD CR0_SHADOW, %2
  WITHOUT G_CR0, 8
  RUN
%endmacro
  CR0_GUEST cr0_owned_bit, 0x20, mov cr0, rax
  NOTE_FIELD QUALIFICATION, LENGTH
  BEGIN cr0_same_as_shadow
  GUEST
    mov eax, 0x80000039
    mov cr0, rax
    vmcall
  END_GUEST
  FIELD CR0_MASK, 0x28
  FIELD CR0_SHADOW, 0x28
  WITHOUT G_CR0, 0x1c
  ALSO G_CR0, 0x10
  RUN
  NOTE_FIELD G_CR0          ; the owned TS stays 0 underneath
  BEGIN cr0_shadow_read
  GUEST
    mov rbx, cr0
    vmcall
  END_GUEST
  FIELD CR0_MASK, 8
  FIELD CR0_SHADOW, 8
  FIELD G_CR0, 0x80000031
  RUN
  NOTE_AT [guest_rbx]
  BEGIN cr0_own_bit
  GUEST
    mov eax, 0x80000039
    mov cr0, rax
    vmcall
  END_GUEST
  FIELD CR0_MASK, 0x20
  FIELD CR0_SHADOW, 0x20
  FIELD G_CR0, 0x80000031
  RUN
  NOTE_FIELD G_CR0
  CR0_GUEST clts_exits, 8, clts
  NOTE_FIELD QUALIFICATION, LENGTH
  CR0_GUEST clts_shadow_clear, 0, clts
  BEGIN lmsw_register
  GUEST
    lmsw ax
  END_GUEST
  mov dword [guest_rax], 9
  FIELD CR0_MASK, 8
  RUN
  NOTE_FIELD QUALIFICATION, LENGTH
  BEGIN lmsw_memory
  GUEST
    lmsw [page_a]
  END_GUEST
  mov word [page_a], 9
  FIELD CR0_MASK, 8
  RUN
  NOTE_FIELD QUALIFICATION, LENGTH, LINEAR
  BEGIN lmsw_same
  GUEST
    lmsw ax
    vmcall
  END_GUEST
  mov dword [guest_rax], 9
  FIELD CR0_MASK, 8
  FIELD CR0_SHADOW, 8
  RUN
  BEGIN smsw_shadow
  GUEST
    smsw ebx
    vmcall
  END_GUEST
  FIELD CR0_MASK, 8
  FIELD CR0_SHADOW, 8
  FIELD G_CR0, 0x80000031
  RUN
  mov eax, [guest_rbx]
  and eax, 0xffff
  NOTE eax
  BEGIN cr4_owned_bit
  GUEST
    mov rsi, cr4
    xor esi, 0x80           ; PGE
    mov cr4, rsi
  END_GUEST
  FIELD CR4_MASK, 0x80
  RUN
  NOTE_FIELD QUALIFICATION, LENGTH
  BEGIN cr4_shadow_read
  GUEST
    mov rbx, cr4
    and ebx, 0x2080
    vmcall
  END_GUEST
  FIELD CR4_MASK, 0x2080
  FIELD CR4_SHADOW, 0x80
  RUN
  NOTE_AT [guest_rbx]
  BEGIN cr4_vmxe_fixed
  GUEST
    mov rax, cr4
    and eax, ~0x2000
    mov cr4, rax
  END_GUEST
  RUN
  NOTE_AT [guest_rax]
  BEGIN cr0_ne_fixed
  GUEST
    mov rax, cr0
    and eax, ~0x20
    mov cr0, rax
  END_GUEST
  RUN
  NOTE_AT [guest_rax]

  EXITS_BY dr_write, PRIMARY, 1 << 23, mov dr7, rbx
  EXITS_BY dr_read, PRIMARY, 1 << 23, mov r8, dr6
  RUNS dr_runs, 1 << 23, mov rax, dr6

  EXITS_BY out_immediate, PRIMARY, 1 << 24, out 0x80, al
%macro PORT_GUEST 4+        ; test, port, controls, instruction
  BEGIN %1
  GUEST
    %4
    vmcall
  END_GUEST
  mov dword [guest_rdx], %2
  mov dword [guest_rsi], page_a
  mov dword [guest_rdi], page_b
  mov dword [guest_rcx], 5
  ALSO PRIMARY, %3
  RUN
%endmacro
  PORT_GUEST in_register, 0x1234, 1 << 24, in eax, dx
  NOTE_FIELD QUALIFICATION, LENGTH
  PORT_GUEST in_word, 0x1234, 1 << 24, in ax, dx
  NOTE_FIELD QUALIFICATION, LENGTH
  PORT_GUEST outs_rep, 0x1234, 1 << 24, rep outsb
  NOTE_FIELD QUALIFICATION, LENGTH, LINEAR
  NOTE_INFORMATION (7 << 7) | (7 << 15)
  PORT_GUEST ins_exits, 0x1234, 1 << 24, insd
  NOTE_FIELD QUALIFICATION, LENGTH, LINEAR
  NOTE_INFORMATION 7 << 7
  PORT_GUEST outs_segment, 0x1234, 1 << 24, fs outsb
  NOTE_INFORMATION (7 << 7) | (7 << 15)
%macro SET_PORT 1
  bts dword [io_bitmaps], %1
%endmacro
%macro CLEAR_PORTS 0
  mov edi, io_bitmaps
  mov ecx, 0x2000 / 4
  xor eax, eax
  rep stosd
%endmacro
%macro BITMAP_GUEST 4+      ; test, port, the port whose bit is set, instruction
  mov eax, %3
  bts dword [io_bitmaps], eax
  PORT_GUEST %1, %2, (1 << 24) | (1 << 25), %4
  CLEAR_PORTS
%endmacro
  BITMAP_GUEST bitmap_clear, 0x1234, 0x1235, in al, dx
  BITMAP_GUEST bitmap_a, 0x7fff, 0x7fff, out dx, al
  NOTE_FIELD QUALIFICATION
  BITMAP_GUEST bitmap_b, 0x8000, 0x8000, out dx, al
  NOTE_FIELD QUALIFICATION
  BITMAP_GUEST bitmap_second_byte, 0x1233, 0x1234, out dx, ax
  NOTE_FIELD QUALIFICATION
  BITMAP_GUEST bitmap_wraps, 0xffff, 0x100, out dx, ax
  NOTE_FIELD QUALIFICATION
  BITMAP_GUEST bitmap_over_unconditional, 0x80, 0x81, in al, dx

%macro MSR_GUEST 3-4        ; test, MSR, instruction, bit of the bitmap (in bytes 0, 400h, 800h, C00h: reads low, high, writes low, high)
  BEGIN %1
  GUEST
    %3
    vmcall
  END_GUEST
  mov edi, msr_bitmap
  mov ecx, 1024
  xor eax, eax
  rep stosd
  %if %0 > 3
    mov eax, %4
    bts dword [msr_bitmap], eax
    ALSO PRIMARY, 1 << 28
  %else
    WITHOUT PRIMARY, 1 << 28
  %endif
  mov dword [guest_rcx], %2
  RUN
%endmacro
READ_LOW equ 0
READ_HIGH equ 0x400 * 8
WRITE_LOW equ 0x800 * 8
WRITE_HIGH equ 0xc00 * 8
  MSR_GUEST rdmsr_without_bitmap, 0x174, rdmsr
  NOTE_FIELD QUALIFICATION, LENGTH
  MSR_GUEST wrmsr_without_bitmap, 0x174, wrmsr
  NOTE_FIELD QUALIFICATION, LENGTH
  MSR_GUEST rdmsr_bitmap_low, 0x174, rdmsr, READ_LOW + 0x174
  MSR_GUEST rdmsr_bitmap_clear, 0x174, rdmsr, READ_LOW + 0x175
  MSR_GUEST rdmsr_bitmap_high, 0xc0000081, rdmsr, READ_HIGH + 0x81
  MSR_GUEST wrmsr_bitmap_low, 0x174, wrmsr, WRITE_LOW + 0x174
  MSR_GUEST wrmsr_bitmap_high, 0xc0000081, wrmsr, WRITE_HIGH + 0x81
  MSR_GUEST wrmsr_only, 0x174, rdmsr, WRITE_LOW + 0x174
  MSR_GUEST rdmsr_outside_bitmap, 0x2000, rdmsr, READ_LOW + 1

  GUEST_FAULTS hlt_level3, 1 << 7, hlt
  GUEST_FAULTS invlpg_level3, 1 << 9, invlpg [page_a]
  GUEST_FAULTS cr_level3, 1 << 16, mov rax, cr3
  GUEST_FAULTS rdmsr_level3, 0, rdmsr
  BEGIN io_level3           ; a port beyond the bitmap of the task state segment
  GUEST
    mov edx, 0x1000
    in al, dx
  END_GUEST
  ALSO PRIMARY, 1 << 24
  GUEST_LEVEL3
  RUN
  NOTE_AT [guest_rax]
  BEGIN wbinvd_level3
  GUEST
    wbinvd
  END_GUEST
  SECONDARY_ALSO 1 << 6
  GUEST_LEVEL3
  RUN
  NOTE_AT [guest_rax]
%macro LEVEL3_EXITS 3+
  BEGIN %1
  GUEST
    %3
  END_GUEST
  ALSO PRIMARY, %2
  GUEST_LEVEL3
  RUN
%endmacro
  LEVEL3_EXITS cpuid_level3, 0, cpuid
  LEVEL3_EXITS vmread_level3, 0, vmread rax, rbx
  LEVEL3_EXITS rdtsc_level3, 1 << 12, rdtsc
  BEGIN ud_before_lock
  GUEST
    db 0xf0, 0x0f, 0xa2     ; LOCK CPUID
  END_GUEST
  RUN
  NOTE_AT [guest_rax]

%macro EXCEPTION_GUEST 3+   ; test, bitmap, instruction
  BEGIN %1
  GUEST
    %3
    vmcall
  END_GUEST
  FIELD EXCEPTIONS, %2
  RUN
%endmacro
  EXCEPTION_GUEST ud_exits, 1 << 6, ud2
  NOTE_FIELD INTERRUPTION
  EXCEPTION_GUEST ud_delivered, ~(1 << 6), ud2
  NOTE_AT [guest_rax]
  BEGIN gp_exits
  GUEST
    mov eax, 0x88
    mov ds, eax
  END_GUEST
  FIELD EXCEPTIONS, 1 << 13
  mov dword [ADDRESS(gdt) + 0x88], 0
  mov dword [ADDRESS(gdt) + 0x8c], 0
  RUN
  NOTE_FIELD INTERRUPTION, INTERRUPTION_ERROR
  EXCEPTION_GUEST de_exits, 1 << 0, div cl
  NOTE_FIELD INTERRUPTION
  BEGIN int3_exits
  GUEST
int3_at:
    int3
  END_GUEST
  FIELD EXCEPTIONS, 1 << 3
  RUN
  NOTE_FIELD INTERRUPTION, LENGTH
  NOTE_RIP int3_at
  BEGIN icebp_exits
  GUEST
icebp_at:
    db 0xf1
  END_GUEST
  FIELD EXCEPTIONS, 1 << 1
  RUN
  NOTE_FIELD INTERRUPTION, LENGTH
  NOTE_RIP icebp_at
  BEGIN step_exits
  GUEST
step_at:
    nop
    nop
  END_GUEST
  FIELD EXCEPTIONS, 1 << 1
  FIELD G_RFLAGS, F_TF | 2
  RUN
  NOTE_FIELD INTERRUPTION, QUALIFICATION
  NOTE_RIP step_at
  BEGIN breakpoint_exits
  GUEST
    nop
breakpoint_at:
    nop
    vmcall
  END_GUEST
  FIELD EXCEPTIONS, 1 << 1
  FIELD G_DR7, 0x401
  ALSO ENTRIES, 1 << 2
  mov eax, breakpoint_at
  mov dr0, rax
  RUN
  NOTE_FIELD INTERRUPTION, QUALIFICATION
  NOTE_RIP breakpoint_at
  BEGIN pf_exits
  GUEST
    mov [0x12345678], al
  END_GUEST
  FIELD EXCEPTIONS, 1 << 14
  RUN
  NOTE_FIELD INTERRUPTION, INTERRUPTION_ERROR, QUALIFICATION
  BEGIN pf_leaves_cr2
  GUEST
    mov [0x12345678], al
  END_GUEST
  FIELD EXCEPTIONS, 1 << 14
  mov eax, 0x777
  mov cr2, rax
  RUN
  mov rax, cr2
  cmp eax, 0x777
  sete al
  movzx eax, al
  NOTE eax
%macro PF_GUEST 4           ; test, bitmap, mask, match; the error code is 2
  BEGIN %1
  GUEST
    mov [0x12345678], al
  END_GUEST
  FIELD EXCEPTIONS, %2
  FIELD PF_MASK, %3
  FIELD PF_MATCH, %4
  RUN
%endmacro
  PF_GUEST pf_match, 1 << 14, 2, 2
  PF_GUEST pf_no_match, 1 << 14, 2, 0
  NOTE_AT [guest_rax]
  PF_GUEST pf_inverted, 0, 2, 0
  EXCEPTION_GUEST int_no_exit, 1 << 6, int 6        ; INT is no exception
  NOTE_AT [guest_rax]
  BEGIN triple_fault
  GUEST
    ud2
  END_GUEST
  FIELD G_IDTR_LIMIT, 0
  RUN
  NOTE_FIELD QUALIFICATION
  BEGIN nested_exception    ; #GP on the way to the handler of #UD: the second exits and tells of the first
  GUEST
    ud2
  END_GUEST
  FIELD G_IDTR_LIMIT, 6 * 16
  FIELD EXCEPTIONS, 1 << 13
  RUN
  NOTE_FIELD INTERRUPTION, VECTORING
  BEGIN double_fault
  GUEST
    mov eax, 0xffff
    mov ds, eax
  END_GUEST
  FIELD G_IDTR_LIMIT, 9 * 16 - 1
  FIELD EXCEPTIONS, 1 << 8
  RUN
  NOTE_FIELD INTERRUPTION, INTERRUPTION_ERROR
  mov eax, VECTORING
  vmread rax, rax
  shr eax, 31               ; a double fault is not "during" the delivery that caused it
  NOTE eax

  BEGIN host_state          ; DR7, RFLAGS, CR8 (which is as the guest left it), limits of GDTR and IDTR
  GUEST
    mov eax, 1
    mov cr8, rax
    vmcall
  END_GUEST
  FIELD G_RFLAGS, F_IF | 2
  call enter_guest
  mov rax, dr7
  NOTE eax
  NOTE_AT [host_flags]
  mov rax, cr8
  NOTE eax
  xor eax, eax
  mov cr8, rax
  sgdt [page_a]
  movzx eax, word [page_a]
  NOTE eax
  sidt [page_a]
  movzx eax, word [page_a]
  NOTE eax
  BEGIN guest_kept
  GUEST
    mov esp, 0x12345678
    mov eax, 0x55
    cpuid
  END_GUEST
  RUN
  NOTE_FIELD G_RSP
  NOTE_AT [guest_rax]
  BEGIN fields_invalid      ; bit 31 is clear where there was no event
  NOTE_FIELD INTERRUPTION, VECTORING
  FINISH
%include "runtime.inc"
