; The VMX instructions by themselves: VMsucceed, VMfailInvalid, VMfailValid with its number, and the exceptions. "VMX Instruction
; Reference" and "Conventions"; the numbers are in "VM Instruction Error Numbers".
%include "test.inc"
%include "long.inc"
%include "vmx.inc"
TABLE
  TEST vmxon_without_vmxe, UD
  TEST vmxon_unaligned, FAIL_INVALID
  TEST vmxon_beyond_width, FAIL_INVALID
  TEST vmxon_revision, FAIL_INVALID
  TEST vmxon_shadow_indicator, FAIL_INVALID
  TEST vmxon_cr0_fixed, GP(0)
  TEST vmxon_level3, GP(0)
  TEST vmxon_compatibility, UD
  TEST others_before_vmxon, UD, UD, UD, UD, UD, UD, UD, UD, UD
  TEST vmxon_succeeds, SUCCESS
  TEST vmxe_stays, GP(0)
  TEST ne_stays, GP(0)
  TEST paging_stays, GP(0)
; with no current VMCS
  TEST vmxon_again_invalid, FAIL_INVALID
  TEST vmptrst_none, 0xffffffff, 0xffffffff
  TEST vmread_none, FAIL_INVALID
  TEST vmwrite_none, FAIL_INVALID
  TEST vmlaunch_none, FAIL_INVALID
  TEST vmresume_none, FAIL_INVALID
  TEST vmcall_none, FAIL_INVALID
  TEST vmclear_invalid, FAIL_INVALID, FAIL_INVALID
  TEST vmptrld_invalid, FAIL_INVALID, FAIL_INVALID, FAIL_INVALID
; with one
  TEST vmclear_succeeds, SUCCESS
  TEST vmptrld_succeeds, SUCCESS, vmcs_a, 0
  TEST vmxon_again_valid, FAIL_VALID(15)
  TEST vmclear_address, FAIL_VALID(2), FAIL_VALID(2)
  TEST vmclear_vmxon_pointer, FAIL_VALID(3)
  TEST vmptrld_address, FAIL_VALID(9), FAIL_VALID(9)
  TEST vmptrld_vmxon_pointer, FAIL_VALID(10)
  TEST vmptrld_revision, FAIL_VALID(11), vmcs_a
  TEST vmread_unsupported, FAIL_VALID(12), 0x5a5a5a5a
  TEST vmwrite_unsupported, FAIL_VALID(12), FAIL_VALID(12)
  TEST vmwrite_read_only, 1
  TEST error_kept_by_success, 12
  TEST vmlaunch_mov_ss, FAIL_VALID(26)
  TEST vmresume_not_launched, FAIL_VALID(5)
  TEST vmlaunch_launched, EXIT(E_VMCALL), FAIL_VALID(4)
  TEST vmclear_makes_clear, EXIT(E_VMCALL), FAIL_VALID(5), EXIT(E_VMCALL)
  TEST vmclear_current, SUCCESS, 0xffffffff, FAIL_INVALID
  TEST vmclear_other, SUCCESS, vmcs_a
  TEST two_regions, 0x1111, 0x2222, 0x1111
  TEST region_revision_kept, 1
; fields
  TEST field_16_truncated, 0x5678
  TEST field_32_truncated, 0x9abcdef0, 0
  TEST field_64_high, 0x12345678, 0x9abcdef0, 0x12345678
  TEST field_high_alone, 0x00000007, 0x12345000
  TEST field_natural, 0x9abcdef0, 0x12345678
  TEST vmread_memory, 0x9abcdef0, 0x12345678
  TEST vmread_zero_extends, 0
  TEST encoding_bits, FAIL_VALID(12), FAIL_VALID(12)
; privilege
  TEST level3, GP(0), GP(0), GP(0), GP(0), GP(0), GP(0), GP(0), GP(0)
  TEST compatibility, UD, UD
; INVEPT, INVVPID
  TEST invept_type, FAIL_VALID(28), FAIL_VALID(28)
  TEST invept_pointer, FAIL_VALID(28)
  TEST invept_succeeds, SUCCESS, SUCCESS
  TEST invvpid_type, FAIL_VALID(28)
  TEST invvpid_reserved, FAIL_VALID(28)
  TEST invvpid_zero, FAIL_VALID(28), FAIL_VALID(28), FAIL_VALID(28)
  TEST invvpid_noncanonical, FAIL_VALID(28)
  TEST invvpid_succeeds, SUCCESS, SUCCESS, SUCCESS, SUCCESS
; the end
  TEST vmxoff_succeeds, SUCCESS
  TEST after_vmxoff, UD, UD
  TEST vmxon_after_vmxoff, SUCCESS, 0xffffffff
  TEST vmcall_root, FAIL_VALID(1)
END_TABLE

%macro FAULTS 1+            ; an exception notes itself; the next instruction goes on
  TRY %%next
  %1
  %%next:
%endmacro
%macro COMPATIBILITY_FAULTS 1+
  TRY %%next
  push qword DATA32_3
  push qword stack3_top
  push qword 0x3002
  push qword CODE32_3
  push qword %%there
  iretq
  %%there:
  bits 32
  %1
  bits 64
  default abs
  %%next:
%endmacro
%macro LEVEL3_FAULTS 1+
  TRY %%next
  LEVEL3_64
  %1
  %%next:
%endmacro
%macro POINTER 1
  mov rax, %1
  mov [pointer], rax
%endmacro

main:
  ENTER_LONG
  call prepare_vmx
  BEGIN vmxon_without_vmxe
  mov rax, cr4
  and eax, ~0x2000
  mov cr4, rax
  FAULTS vmxon [vmxon_pointer]
  mov rax, cr4
  or eax, 0x2000
  mov cr4, rax
  BEGIN vmxon_unaligned
  POINTER vmxon_region + 0x800
  vmxon [pointer]
  OUTCOME
  BEGIN vmxon_beyond_width
  mov eax, 0x80000008
  cpuid
  mov cl, al
  mov eax, 1
  shl rax, cl
  add rax, vmxon_region
  mov [pointer], rax
  mov [beyond], rax
  vmxon [pointer]
  OUTCOME
  BEGIN vmxon_revision
  POINTER vmxon_region
  inc dword [vmxon_region]
  vmxon [pointer]
  OUTCOME
  dec dword [vmxon_region]
  BEGIN vmxon_shadow_indicator
  or byte [vmxon_region + 3], 0x80
  vmxon [pointer]
  OUTCOME
  and byte [vmxon_region + 3], 0x7f
  BEGIN vmxon_cr0_fixed
  mov rax, cr0
  and eax, ~0x20
  mov cr0, rax
  FAULTS vmxon [pointer]
  mov rax, cr0
  or eax, 0x20
  mov cr0, rax
  BEGIN vmxon_level3
  LEVEL3_FAULTS vmxon [pointer]
  BEGIN vmxon_compatibility
  COMPATIBILITY_FAULTS vmxon [pointer]
  BEGIN others_before_vmxon
  mov eax, ERROR
  mov ecx, 2
  FAULTS vmclear [pointer]
  FAULTS vmptrld [pointer]
  FAULTS vmptrst [pointer]
  FAULTS vmread rbx, rax
  FAULTS vmwrite rax, rbx
  FAULTS vmlaunch
  FAULTS vmresume
  FAULTS vmxoff
  FAULTS vmcall
  BEGIN vmxon_succeeds
  push qword 0x8d7          ; all six flags are 1
  popfq
  vmxon [vmxon_pointer]
  OUTCOME
  BEGIN vmxe_stays
  mov rax, cr4
  and eax, ~0x2000
  FAULTS mov cr4, rax
  BEGIN ne_stays
  mov rax, cr0
  and eax, ~0x20
  FAULTS mov cr0, rax
  BEGIN paging_stays
  mov rax, cr0
  and eax, 0x7fffffff
  FAULTS mov cr0, rax

  BEGIN vmxon_again_invalid
  vmxon [vmxon_pointer]
  OUTCOME
  BEGIN vmptrst_none
  vmptrst [pointer]
  NOTE_AT [pointer]
  NOTE_AT [pointer + 4]
  BEGIN vmread_none
  mov eax, G_RIP
  vmread rbx, rax
  OUTCOME
  BEGIN vmwrite_none
  mov eax, G_RIP
  vmwrite rax, rbx
  OUTCOME
  BEGIN vmlaunch_none
  vmlaunch
  OUTCOME
  BEGIN vmresume_none
  vmresume
  OUTCOME
  BEGIN vmcall_none
  vmcall
  OUTCOME
  BEGIN vmclear_invalid
  POINTER vmcs_a + 8
  vmclear [pointer]
  OUTCOME
  vmclear [vmxon_pointer]
  OUTCOME
  BEGIN vmptrld_invalid
  POINTER vmcs_a + 8
  vmptrld [pointer]
  OUTCOME
  vmptrld [vmxon_pointer]
  OUTCOME
  inc dword [vmcs_a]
  vmptrld [vmcs_a_pointer]
  OUTCOME
  dec dword [vmcs_a]

  BEGIN vmclear_succeeds
  push qword 0x8d7
  popfq
  vmclear [vmcs_a_pointer]
  OUTCOME
  vmclear [vmcs_b_pointer]
  BEGIN vmptrld_succeeds
  push qword 0x8d7
  popfq
  vmptrld [vmcs_a_pointer]
  OUTCOME
  vmptrst [pointer]
  NOTE_AT [pointer]
  NOTE_AT [pointer + 4]
  BEGIN vmxon_again_valid
  vmxon [vmxon_pointer]
  OUTCOME
  BEGIN vmclear_address
  POINTER vmcs_a + 8
  vmclear [pointer]
  OUTCOME
  vmclear [beyond]
  OUTCOME
  BEGIN vmclear_vmxon_pointer
  vmclear [vmxon_pointer]
  OUTCOME
  BEGIN vmptrld_address
  POINTER vmcs_a + 8
  vmptrld [pointer]
  OUTCOME
  vmptrld [beyond]
  OUTCOME
  BEGIN vmptrld_vmxon_pointer
  vmptrld [vmxon_pointer]
  OUTCOME
  BEGIN vmptrld_revision
  inc dword [vmcs_b]
  vmptrld [vmcs_b_pointer]
  OUTCOME
  dec dword [vmcs_b]
  vmptrst [pointer]
  NOTE_AT [pointer]
  BEGIN vmread_unsupported
  mov eax, 0x6bfe           ; a host field that nobody has
  mov ebx, 0x5a5a5a5a
  vmread rbx, rax
  push rbx
  OUTCOME
  pop rbx
  NOTE ebx
  BEGIN vmwrite_unsupported
  mov eax, 0x6bfe
  vmwrite rax, rbx
  OUTCOME
  mov rax, 0x100006800      ; the upper half of the encoding counts in 64-bit mode
  vmwrite rax, rbx
  OUTCOME
  BEGIN vmwrite_read_only   ; error 13, unless IA32_VMX_MISC bit 29 allows it
  mov ecx, 0x485
  rdmsr
  shr eax, 29
  and eax, 1
  mov ebx, eax
  mov ecx, REASON
  xor edx, edx
  vmwrite rcx, rdx
  seta al                   ; neither CF nor ZF
  movzx eax, al
  cmp eax, ebx
  sete al
  movzx eax, al
  NOTE eax
  BEGIN error_kept_by_success
  mov eax, 0x6bfe
  vmread rbx, rax
  vmptrld [vmcs_a_pointer]
  NOTE_FIELD ERROR

  BEGIN vmlaunch_mov_ss
  GUEST
    vmcall
  END_GUEST
  mov eax, H_RSP
  vmwrite rax, rsp
  mov eax, ss
  mov ss, eax
  vmlaunch
  OUTCOME
  BEGIN vmresume_not_launched
  mov eax, 1
  mov [launched], al
  RUN
  BEGIN vmlaunch_launched
  mov byte [launched], 0
  RUN
  mov byte [launched], 0
  RUN
  BEGIN vmclear_makes_clear
  GUEST
    vmcall
    vmcall
  END_GUEST
  RUN
  vmclear [vmcs_a_pointer]
  vmptrld [vmcs_a_pointer]
  RUN
  mov byte [launched], 0
  RUN
  BEGIN vmclear_current
  vmclear [vmcs_a_pointer]
  OUTCOME
  vmptrst [pointer]
  NOTE_AT [pointer]
  mov eax, G_RIP
  vmread rbx, rax
  OUTCOME
  BEGIN vmclear_other
  vmptrld [vmcs_a_pointer]
  vmclear [vmcs_b_pointer]
  OUTCOME
  vmptrst [pointer]
  NOTE_AT [pointer]
  BEGIN two_regions
  FIELD G_RIP, 0x1111
  vmptrld [vmcs_b_pointer]
  FIELD G_RIP, 0x2222
  vmptrld [vmcs_a_pointer]
  NOTE_FIELD G_RIP
  vmptrld [vmcs_b_pointer]
  NOTE_FIELD G_RIP
  vmclear [vmcs_b_pointer]
  vmclear [vmcs_a_pointer]
  vmptrld [vmcs_a_pointer]
  NOTE_FIELD G_RIP
  BEGIN region_revision_kept
  mov eax, [vmcs_a]
  cmp eax, [vmxon_region]
  sete al
  movzx eax, al
  NOTE eax

  BEGIN field_16_truncated
  FIELD G_ES, 0x12345678
  NOTE_FIELD G_ES
  BEGIN field_32_truncated
  FIELD G_LIMITS, 0x123456789abcdef0
  NOTE_FIELD G_LIMITS
  NOTE_HIGH G_LIMITS
  BEGIN field_64_high
  FIELD TSC_OFFSET, 0x123456789abcdef0
  NOTE_HIGH TSC_OFFSET
  NOTE_FIELD TSC_OFFSET, TSC_OFFSET + 1
  BEGIN field_high_alone
  FIELD TSC_OFFSET, 0x9abcdef012345000
  FIELD TSC_OFFSET + 1, 7
  NOTE_FIELD TSC_OFFSET + 1, TSC_OFFSET
  BEGIN field_natural
  FIELD G_RSP, 0x123456789abcdef0
  NOTE_FIELD G_RSP
  NOTE_HIGH G_RSP
  BEGIN vmread_memory
  mov qword [pointer], -1
  mov eax, G_RSP
  vmread [pointer], rax
  NOTE_AT [pointer]
  NOTE_AT [pointer + 4]
  BEGIN vmread_zero_extends
  mov rbx, -1
  mov eax, G_ES
  vmread rbx, rax
  shr rbx, 16
  NOTE ebx
  BEGIN encoding_bits
  mov eax, 1 << 12          ; reserved
  vmread rbx, rax
  OUTCOME
  mov eax, G_RSP + 1        ; no field of natural width has an upper half
  vmread rbx, rax
  OUTCOME

  BEGIN level3
  mov eax, ERROR
  LEVEL3_FAULTS vmclear [pointer]
  LEVEL3_FAULTS vmptrld [pointer]
  LEVEL3_FAULTS vmptrst [pointer]
  LEVEL3_FAULTS vmread rbx, rax
  LEVEL3_FAULTS vmwrite rax, rbx
  LEVEL3_FAULTS vmlaunch
  LEVEL3_FAULTS vmxoff
  LEVEL3_FAULTS vmcall
  BEGIN compatibility
  COMPATIBILITY_FAULTS vmread ebx, eax
  COMPATIBILITY_FAULTS vmlaunch

%macro INVALIDATE 4         ; instruction, type, the descriptor's two quadwords
  mov rax, %3
  mov [descriptor], rax
  mov rax, %4
  mov [descriptor + 8], rax
  mov ecx, %2
  %1 rcx, [descriptor]
  OUTCOME
%endmacro
  BEGIN invept_type
  INVALIDATE invept, 0, 0, 0
  INVALIDATE invept, 3, 0, 0
  BEGIN invept_pointer
  INVALIDATE invept, 1, ept_pml4 | (3 << 3) | 7, 0          ; no such memory type
  BEGIN invept_succeeds
  INVALIDATE invept, 1, ept_pml4 | (3 << 3) | 6, 0
  INVALIDATE invept, 2, 0, 0
  BEGIN invvpid_type
  INVALIDATE invvpid, 4, 1, 0
  BEGIN invvpid_reserved
  INVALIDATE invvpid, 1, 0x10001, 0
  BEGIN invvpid_zero
  INVALIDATE invvpid, 0, 0, 0
  INVALIDATE invvpid, 1, 0, 0
  INVALIDATE invvpid, 3, 0, 0
  BEGIN invvpid_noncanonical
  INVALIDATE invvpid, 0, 1, 1 << 47
  BEGIN invvpid_succeeds
  INVALIDATE invvpid, 0, 1, 0x1000
  INVALIDATE invvpid, 1, 1, 0
  INVALIDATE invvpid, 2, 0, 0
  INVALIDATE invvpid, 3, 1, 0

  BEGIN vmxoff_succeeds
  push qword 0x8d7
  popfq
  vmxoff
  OUTCOME
  BEGIN after_vmxoff
  FAULTS vmptrst [pointer]
  FAULTS vmcall
  BEGIN vmxon_after_vmxoff
  vmxon [vmxon_pointer]
  OUTCOME
  vmptrst [pointer]
  NOTE_AT [pointer]
  BEGIN vmcall_root         ; at the end, since Bochs 2.7 does not survive it
  vmptrld [vmcs_a_pointer]
  vmcall
  OUTCOME
  FINISH

align 8, db 0
pointer: dq 0
beyond: dq 0
descriptor: dq 0, 0
%include "runtime.inc"
