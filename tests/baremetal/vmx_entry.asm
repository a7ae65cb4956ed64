; Checks at VM entry, one row for each way to fail: "Checks on VMX Controls and Host-State Area", "Checking and Loading Guest State",
; "Loading MSRs". A row changes a VMCS that is valid for a 64-bit guest without EPT; what does not fail ends by CPUID
; (and by VMCALL if an exception comes first).
;
; F writes a field, A sets bits of one, W clears bits.
%include "test.inc"
%include "long.inc"
%include "vmx.inc"

BEYOND equ 1 << 51          ; wider than a physical address
ODD equ 1 << 47             ; not canonical
ENTERS equ EXIT(E_CPUID)

; Injection
VALID equ 1 << 31
WITH_ERROR equ 1 << 11
T_EXTERNAL equ 0 << 8
T_RESERVED equ 1 << 8
T_NMI equ 2 << 8
T_HARDWARE equ 3 << 8
T_SOFTWARE equ 4 << 8
T_PRIVILEGED equ 5 << 8
T_SOFTWARE_EXCEPTION equ 6 << 8
T_OTHER equ 7 << 8

%macro CHECKS 0
  CHECK valid_enters, ENTERS
; --- VM-execution controls
  CHECK pin_must_be_1, BAD_CONTROLS, F, PIN, 0
  CHECK pin_must_be_0, BAD_CONTROLS, A, PIN, 1 << 31
  CHECK primary_must_be_1, BAD_CONTROLS, W, PRIMARY, 1 << 1
  CHECK primary_must_be_0, BAD_CONTROLS, A, PRIMARY, 1 << 0
  CHECK secondary_must_be_0, BAD_CONTROLS, A, PRIMARY, 1 << 31, A, SECONDARY, 1 << 29
  CHECK secondary_ignored, ENTERS, F, SECONDARY, 0xffffffff
  CHECK cr3_targets_4, ENTERS, F, CR3_TARGETS, 4
  CHECK cr3_targets_5, BAD_CONTROLS, F, CR3_TARGETS, 5
  CHECK io_bitmap_a_aligned, BAD_CONTROLS, A, PRIMARY, 1 << 25, F, IO_BITMAP_A, io_bitmaps + 0x800
  CHECK io_bitmap_a_width, BAD_CONTROLS, A, PRIMARY, 1 << 25, F, IO_BITMAP_A, BEYOND
  CHECK io_bitmap_b_aligned, BAD_CONTROLS, A, PRIMARY, 1 << 25, F, IO_BITMAP_B, io_bitmaps + 1
  CHECK io_bitmap_b_width, BAD_CONTROLS, A, PRIMARY, 1 << 25, F, IO_BITMAP_B, BEYOND
  CHECK io_bitmap_unused, ENTERS, F, IO_BITMAP_A, 1
  CHECK msr_bitmap_aligned, BAD_CONTROLS, A, PRIMARY, 1 << 28, F, MSR_BITMAP, msr_bitmap + 0x10
  CHECK msr_bitmap_width, BAD_CONTROLS, A, PRIMARY, 1 << 28, F, MSR_BITMAP, BEYOND
  CHECK tpr_shadow_enters, ENTERS, A, PRIMARY, 1 << 21
  CHECK virtual_apic_aligned, BAD_CONTROLS, A, PRIMARY, 1 << 21, F, VIRTUAL_APIC, virtual_apic + 0x100
  CHECK virtual_apic_width, BAD_CONTROLS, A, PRIMARY, 1 << 21, F, VIRTUAL_APIC, BEYOND
  CHECK tpr_threshold_high, BAD_CONTROLS, A, PRIMARY, 1 << 21, F, TPR_THRESHOLD, 0x10
  CHECK tpr_threshold_above, BAD_CONTROLS, A, PRIMARY, 1 << 21, F, TPR_THRESHOLD, 1
  CHECK virtual_nmis_alone, BAD_CONTROLS, A, PIN, 1 << 5
  CHECK virtual_nmis, ENTERS, A, PIN, (1 << 5) | (1 << 3)
  CHECK nmi_window_alone, BAD_CONTROLS, A, PRIMARY, 1 << 22, A, PIN, 1 << 3
  CHECK apic_access_aligned, BAD_CONTROLS, A, PRIMARY, (1 << 31) | (1 << 21), A, SECONDARY, 1, F, APIC_ACCESS, apic_page + 8
  CHECK apic_access_width, BAD_CONTROLS, A, PRIMARY, (1 << 31) | (1 << 21), A, SECONDARY, 1, F, APIC_ACCESS, BEYOND
  CHECK x2apic_without_tpr_shadow, BAD_CONTROLS, A, PRIMARY, 1 << 31, A, SECONDARY, 1 << 4
  CHECK apic_registers_without_tpr_shadow, BAD_CONTROLS, A, PRIMARY, 1 << 31, A, SECONDARY, 1 << 8
  CHECK virtual_interrupts_without_tpr_shadow, BAD_CONTROLS, A, PRIMARY, 1 << 31, A, PIN, 1, A, SECONDARY, 1 << 9
  CHECK x2apic_and_apic_access, BAD_CONTROLS, A, PRIMARY, (1 << 31) | (1 << 21), A, SECONDARY, (1 << 4) | 1
  CHECK virtual_interrupts_without_external, BAD_CONTROLS, A, PRIMARY, (1 << 31) | (1 << 21), A, SECONDARY, 1 << 9
  CHECK posted_without_virtual_interrupts, BAD_CONTROLS, A, PIN, (1 << 7) | 1, A, EXITS, 1 << 15
  CHECK vpid_zero, BAD_CONTROLS, A, PRIMARY, 1 << 31, A, SECONDARY, 1 << 5
  CHECK vpid_one, ENTERS, A, PRIMARY, 1 << 31, A, SECONDARY, 1 << 5, F, VPID_, 1
  CHECK ept_memory_type, BAD_CONTROLS, A, PRIMARY, 1 << 31, A, SECONDARY, 2, F, EPTP, ept_pml4 | (3 << 3) | 3
  CHECK ept_walk_length, BAD_CONTROLS, A, PRIMARY, 1 << 31, A, SECONDARY, 2, F, EPTP, ept_pml4 | (2 << 3) | 6
  CHECK ept_reserved, BAD_CONTROLS, A, PRIMARY, 1 << 31, A, SECONDARY, 2, F, EPTP, ept_pml4 | (3 << 3) | 6 | (1 << 11)
  CHECK ept_width, BAD_CONTROLS, A, PRIMARY, 1 << 31, A, SECONDARY, 2, F, EPTP, BEYOND | (3 << 3) | 6
  CHECK unrestricted_without_ept, BAD_CONTROLS, A, PRIMARY, 1 << 31, A, SECONDARY, 1 << 7
  CHECK page_log_without_ept, BAD_CONTROLS, A, PRIMARY, 1 << 31, A, SECONDARY, 1 << 17
; --- VM-exit controls
  CHECK exits_must_be_1, BAD_CONTROLS, W, EXITS, 1 << 0
  CHECK exits_must_be_0, BAD_CONTROLS, A, EXITS, 1 << 26
  CHECK save_timer_alone, BAD_CONTROLS, A, EXITS, 1 << 22
  CHECK store_list_aligned, BAD_CONTROLS, F, EXIT_STORES, 1, F, EXIT_STORE, msr_list + 8
  CHECK store_list_width, BAD_CONTROLS, F, EXIT_STORES, 1, F, EXIT_STORE, BEYOND
  CHECK store_list_end, BAD_CONTROLS, F, EXIT_STORES, 2, F, EXIT_STORE, (1 << 52) - 16
  CHECK store_list_unused, ENTERS, F, EXIT_STORE, 8
  CHECK exit_load_list_aligned, BAD_CONTROLS, F, EXIT_LOADS, 1, F, EXIT_LOAD, msr_list + 4
  CHECK exit_load_list_width, BAD_CONTROLS, F, EXIT_LOADS, 1, F, EXIT_LOAD, BEYOND
; --- VM-entry controls
  CHECK entries_must_be_1, BAD_CONTROLS, W, ENTRIES, 1 << 0
  CHECK entries_must_be_0, BAD_CONTROLS, A, ENTRIES, 1 << 31
  CHECK entry_to_smm, BAD_CONTROLS, A, ENTRIES, 1 << 10
  CHECK deactivate_dual_monitor, BAD_CONTROLS, A, ENTRIES, 1 << 11
  CHECK entry_load_list_aligned, BAD_CONTROLS, F, ENTRY_LOADS, 1, F, ENTRY_LOAD, msr_list + 1
  CHECK entry_load_list_width, BAD_CONTROLS, F, ENTRY_LOADS, 1, F, ENTRY_LOAD, BEYOND
  CHECK inject_type_1, BAD_CONTROLS, F, INJECT, VALID | T_RESERVED | 0x20
  CHECK inject_other_vector, BAD_CONTROLS, F, INJECT, VALID | T_OTHER | 1
  CHECK inject_nmi_vector, BAD_CONTROLS, F, INJECT, VALID | T_NMI | 3
  CHECK inject_hardware_vector, BAD_CONTROLS, F, INJECT, VALID | T_HARDWARE | 32
  CHECK inject_error_missing, BAD_CONTROLS, F, INJECT, VALID | T_HARDWARE | 13
  CHECK inject_error_superfluous, BAD_CONTROLS, F, INJECT, VALID | WITH_ERROR | T_HARDWARE | 6
  CHECK inject_error_external, BAD_CONTROLS, F, INJECT, VALID | WITH_ERROR | T_EXTERNAL | 0x20
  CHECK inject_reserved, BAD_CONTROLS, F, INJECT, VALID | T_HARDWARE | 6 | (1 << 12)
  CHECK inject_error_reserved, BAD_CONTROLS, F, INJECT, VALID | WITH_ERROR | T_HARDWARE | 13, F, INJECT_ERROR, 1 << 16
  CHECK inject_length_16, BAD_CONTROLS, F, INJECT, VALID | T_SOFTWARE | 0x20, F, INJECT_LENGTH, 16
  CHECK inject_length_exception_16, BAD_CONTROLS, F, INJECT, VALID | T_SOFTWARE_EXCEPTION | 3, F, INJECT_LENGTH, 16
  CHECK inject_invalid_ignored, ENTERS, F, INJECT, T_RESERVED | 0x7ffff000
; --- Host state
  CHECK host_cr0_ne, BAD_HOST, W, H_CR0, 0x20
  CHECK host_cr0_pg, BAD_HOST, W, H_CR0, 1 << 31
  CHECK host_cr0_high, BAD_HOST, A, H_CR0, 1 << 32
  CHECK host_cr4_vmxe, BAD_HOST, W, H_CR4, 0x2000
  CHECK host_cr4_reserved, BAD_HOST, A, H_CR4, 1 << 15
  CHECK host_cr4_pae, BAD_HOST, W, H_CR4, 0x20
  CHECK host_cr3_width, BAD_HOST, A, H_CR3, BEYOND
  CHECK host_sysenter_esp, BAD_HOST, F, H_SYSENTER_ESP, ODD
  CHECK host_sysenter_eip, BAD_HOST, F, H_SYSENTER_EIP, ODD
  CHECK host_pat_type, BAD_HOST, A, EXITS, 1 << 19, F, H_PAT, 0x0007040600070402
  CHECK host_pat_unused, ENTERS, F, H_PAT, 2
  CHECK host_efer_reserved, BAD_HOST, A, EXITS, 1 << 21, F, H_EFER, 0xd00 | (1 << 1)
  CHECK host_efer_lma, BAD_HOST, A, EXITS, 1 << 21, F, H_EFER, 0x900
  CHECK host_efer_lme, BAD_HOST, A, EXITS, 1 << 21, F, H_EFER, 0xc00
  CHECK host_efer_enters, ENTERS, A, EXITS, 1 << 21, F, H_EFER, 0xd00
  CHECK host_cs_rpl, BAD_HOST, F, H_CS, CODE64 + 1
  CHECK host_cs_ti, BAD_HOST, F, H_CS, CODE64 + 4
  CHECK host_ss_rpl, BAD_HOST, F, H_SS, DATA32 + 3
  CHECK host_ds_rpl, BAD_HOST, F, H_DS, DATA32 + 3
  CHECK host_es_ti, BAD_HOST, F, H_ES, DATA32 + 4
  CHECK host_fs_rpl, BAD_HOST, F, H_FS, 1
  CHECK host_gs_ti, BAD_HOST, F, H_GS, 4
  CHECK host_tr_rpl, BAD_HOST, F, H_TR, TSS + 3
  CHECK host_tr_ti, BAD_HOST, F, H_TR, TSS + 4
  CHECK host_cs_null, BAD_HOST, F, H_CS, 0
  CHECK host_tr_null, BAD_HOST, F, H_TR, 0
  CHECK host_ss_null_64, ENTERS, F, H_SS, 0
  CHECK host_fs_base, BAD_HOST, F, H_FS_BASE, ODD
  CHECK host_gs_base, BAD_HOST, F, H_GS_BASE, ODD
  CHECK host_tr_base, BAD_HOST, F, H_TR_BASE, ODD
  CHECK host_gdtr_base, BAD_HOST, F, H_GDTR, ODD
  CHECK host_idtr_base, BAD_HOST, F, H_IDTR, ODD
  CHECK host_rip, BAD_HOST, F, H_RIP, ODD
  CHECK host_address_space, BAD_HOST, W, EXITS, 1 << 9
; --- Guest: control registers, debug registers, MSRs
  CHECK guest_cr0_ne, BAD_GUEST, W, G_CR0, 0x20
  CHECK guest_cr0_pe, BAD_GUEST, W, G_CR0, 1
  CHECK guest_cr0_pg, BAD_GUEST, W, G_CR0, 1 << 31
  CHECK guest_cr0_high, BAD_GUEST, A, G_CR0, 1 << 32
  CHECK guest_cr4_vmxe, BAD_GUEST, W, G_CR4, 0x2000
  CHECK guest_cr4_reserved, BAD_GUEST, A, G_CR4, 1 << 15
  CHECK guest_cr4_pae, BAD_GUEST, W, G_CR4, 0x20
  CHECK guest_cr3_width, BAD_GUEST, A, G_CR3, BEYOND
  CHECK guest_debugctl, BAD_GUEST, A, ENTRIES, 1 << 2, F, G_DEBUGCTL, 1 << 3
  CHECK guest_dr7_high, BAD_GUEST, A, ENTRIES, 1 << 2, F, G_DR7, 0x100000400
  CHECK guest_sysenter_esp, BAD_GUEST, F, G_SYSENTER_ESP, ODD
  CHECK guest_sysenter_eip, BAD_GUEST, F, G_SYSENTER_EIP, ODD
  CHECK guest_pat_type, BAD_GUEST, A, ENTRIES, 1 << 14, F, G_PAT, 0x0307040600070406
  CHECK guest_efer_reserved, BAD_GUEST, A, ENTRIES, 1 << 15, F, G_EFER, 0xd00 | (1 << 9)
  CHECK guest_efer_lma, BAD_GUEST, A, ENTRIES, 1 << 15, F, G_EFER, 0x900
  CHECK guest_efer_lme, BAD_GUEST, A, ENTRIES, 1 << 15, F, G_EFER, 0xc00
  CHECK guest_efer_enters, ENTERS, A, ENTRIES, 1 << 15, F, G_EFER, 0xd00
; --- Guest: segments
  CHECK guest_tr_ti, BAD_GUEST, F, G_TR, TSS + 4
  CHECK guest_ldtr_ti, BAD_GUEST, F, G_LDTR, LDT + 4, F, RIGHTS(G_LDTR), 0x82
  CHECK guest_ldtr_ti_unusable, ENTERS, F, G_LDTR, LDT + 4
  CHECK guest_ss_rpl, BAD_GUEST, F, G_SS, DATA32 + 3
  CHECK guest_tr_base, BAD_GUEST, F, BASE(G_TR), ODD
  CHECK guest_fs_base, BAD_GUEST, F, BASE(G_FS), ODD
  CHECK guest_gs_base_unusable, BAD_GUEST, F, BASE(G_GS), ODD
  CHECK guest_ldtr_base, BAD_GUEST, F, RIGHTS(G_LDTR), 0x82, F, BASE(G_LDTR), ODD
  CHECK guest_cs_base_high, BAD_GUEST, F, BASE(G_CS), 1 << 32
  CHECK guest_ss_base_high, BAD_GUEST, F, BASE(G_SS), 1 << 32
  CHECK guest_ds_base_high, BAD_GUEST, F, BASE(G_DS), 1 << 32
  CHECK guest_es_base_unusable, ENTERS, F, RIGHTS(G_ES), UNUSABLE, F, BASE(G_ES), 1 << 32
  CHECK guest_cs_type_data, BAD_GUEST, F, RIGHTS(G_CS), 0xa093
  CHECK guest_cs_not_accessed, BAD_GUEST, F, RIGHTS(G_CS), 0xa09a
  CHECK guest_cs_unusable_ignored, ENTERS, F, RIGHTS(G_CS), 0xa09b | UNUSABLE
  CHECK guest_cs_system, BAD_GUEST, F, RIGHTS(G_CS), 0xa08b
  CHECK guest_cs_dpl, BAD_GUEST, F, RIGHTS(G_CS), 0xa0fb
  CHECK guest_cs_conforming, ENTERS, F, RIGHTS(G_CS), 0xa09f
  CHECK guest_cs_absent, BAD_GUEST, F, RIGHTS(G_CS), 0xa01b
  CHECK guest_cs_reserved, BAD_GUEST, F, RIGHTS(G_CS), 0xa19b
  CHECK guest_cs_reserved_high, BAD_GUEST, F, RIGHTS(G_CS), 0x2a09b
  CHECK guest_cs_l_and_d, BAD_GUEST, F, RIGHTS(G_CS), 0xe09b
  CHECK guest_cs_limit_low, BAD_GUEST, F, LIMIT(G_CS), 0xfffff000
  CHECK guest_cs_limit_high, BAD_GUEST, F, RIGHTS(G_CS), 0x209b
  CHECK guest_ss_type_read_only, BAD_GUEST, F, RIGHTS(G_SS), 0xc091
  CHECK guest_ss_type_code, BAD_GUEST, F, RIGHTS(G_SS), 0xc09b
  CHECK guest_ss_expand_down, ENTERS, F, RIGHTS(G_SS), 0xc097
  CHECK guest_ss_system, BAD_GUEST, F, RIGHTS(G_SS), 0xc083
  CHECK guest_ss_dpl, BAD_GUEST, F, RIGHTS(G_SS), 0xc0f3
  CHECK guest_ss_absent, BAD_GUEST, F, RIGHTS(G_SS), 0xc013
  CHECK guest_ss_reserved, BAD_GUEST, F, RIGHTS(G_SS), 0xc893
  CHECK guest_ss_unusable, ENTERS, F, RIGHTS(G_SS), UNUSABLE
  CHECK guest_ds_not_accessed, BAD_GUEST, F, RIGHTS(G_DS), 0xc092
  CHECK guest_ds_execute_only, BAD_GUEST, F, RIGHTS(G_DS), 0xc099
  CHECK guest_ds_readable_code, ENTERS, F, RIGHTS(G_DS), 0xc09b
  CHECK guest_ds_system, BAD_GUEST, F, RIGHTS(G_DS), 0xc083
  CHECK guest_ds_dpl, BAD_GUEST, F, G_DS, DATA32 + 3
  CHECK guest_ds_absent, BAD_GUEST, F, RIGHTS(G_DS), 0xc013
  CHECK guest_es_reserved, BAD_GUEST, F, RIGHTS(G_ES), 0xc193
  CHECK guest_fs_limit_low, BAD_GUEST, F, LIMIT(G_FS), 0xffff0000
  CHECK guest_fs_limit_high, BAD_GUEST, F, RIGHTS(G_FS), 0x4093
  CHECK guest_gs_type, BAD_GUEST, F, RIGHTS(G_GS), 0x92
  CHECK guest_tr_unusable, BAD_GUEST, F, RIGHTS(G_TR), 0x8b | UNUSABLE
  CHECK guest_tr_available, BAD_GUEST, F, RIGHTS(G_TR), 0x89
  CHECK guest_tr_16_bits, BAD_GUEST, F, RIGHTS(G_TR), 0x83
  CHECK guest_tr_not_system, BAD_GUEST, F, RIGHTS(G_TR), 0x9b
  CHECK guest_tr_absent, BAD_GUEST, F, RIGHTS(G_TR), 0x0b
  CHECK guest_tr_reserved, BAD_GUEST, F, RIGHTS(G_TR), 0x18b
  CHECK guest_tr_granularity, BAD_GUEST, F, RIGHTS(G_TR), 0x808b
  CHECK guest_ldtr_type, BAD_GUEST, F, RIGHTS(G_LDTR), 0x83
  CHECK guest_ldtr_not_system, BAD_GUEST, F, RIGHTS(G_LDTR), 0x92
  CHECK guest_ldtr_absent, BAD_GUEST, F, RIGHTS(G_LDTR), 0x02
  CHECK guest_ldtr_reserved, BAD_GUEST, F, RIGHTS(G_LDTR), 0x182
  CHECK guest_ldtr_granularity, BAD_GUEST, F, RIGHTS(G_LDTR), 0x8082
  CHECK guest_ldtr_usable, ENTERS, F, RIGHTS(G_LDTR), 0x82
  CHECK guest_gdtr_base, BAD_GUEST, F, G_GDTR, ODD
  CHECK guest_idtr_base, BAD_GUEST, F, G_IDTR, ODD
  CHECK guest_gdtr_limit, BAD_GUEST, F, G_GDTR_LIMIT, 0x10000
  CHECK guest_idtr_limit, BAD_GUEST, F, G_IDTR_LIMIT, 0x10fff
; --- Guest: RIP, RFLAGS, activity, interruptibility
  CHECK guest_rip_32_high, BAD_GUEST, F, RIGHTS(G_CS), 0xc09b, F, G_RIP, 0x100000000
  CHECK guest_rip_64, BAD_GUEST, F, G_RIP, ODD << 2
  CHECK guest_flags_bit_1, BAD_GUEST, F, G_RFLAGS, 0
  CHECK guest_flags_bit_3, BAD_GUEST, F, G_RFLAGS, 2 | (1 << 3)
  CHECK guest_flags_bit_15, BAD_GUEST, F, G_RFLAGS, 2 | (1 << 15)
  CHECK guest_flags_bit_22, BAD_GUEST, F, G_RFLAGS, 2 | (1 << 22)
  CHECK guest_flags_high, BAD_GUEST, F, G_RFLAGS, 2 | (1 << 32)
  CHECK guest_flags_vm_64, BAD_GUEST, F, G_RFLAGS, 2 | F_VM
  CHECK guest_flags_if_inject, BAD_GUEST, F, INJECT, VALID | T_EXTERNAL | 0x20
  CHECK activity_4, BAD_GUEST, F, ACTIVITY, 4
  CHECK activity_hlt_dpl, BAD_GUEST, F, ACTIVITY, 1, F, G_CS, CODE64_3, F, RIGHTS(G_CS), 0xa0fb, F, G_SS, DATA32_3, F, RIGHTS(G_SS), 0xc0f3
  CHECK activity_hlt_sti, BAD_GUEST, F, ACTIVITY, 1, F, INTERRUPTIBILITY, 1, F, G_RFLAGS, F_IF | 2
  CHECK activity_hlt_mov_ss, BAD_GUEST, F, ACTIVITY, 1, F, INTERRUPTIBILITY, 2
  CHECK activity_hlt_inject_ud, BAD_GUEST, F, ACTIVITY, 1, F, INJECT, VALID | T_HARDWARE | 6
  CHECK activity_hlt_inject_software, BAD_GUEST, F, ACTIVITY, 1, F, INJECT, VALID | T_SOFTWARE | 0x21, F, INJECT_LENGTH, 2
  CHECK activity_hlt_inject_external, EXIT(E_VMCALL), F, ACTIVITY, 1, F, G_RFLAGS, F_IF | 2, F, INJECT, VALID | T_EXTERNAL | 0x21
  CHECK activity_hlt_inject_db, EXIT(E_VMCALL), F, ACTIVITY, 1, F, INJECT, VALID | T_HARDWARE | 1
  CHECK activity_shutdown_inject, BAD_GUEST, F, ACTIVITY, 2, F, G_RFLAGS, F_IF | 2, F, INJECT, VALID | T_EXTERNAL | 0x21
  CHECK activity_sipi_inject, BAD_GUEST, F, ACTIVITY, 3, F, INJECT, VALID | T_NMI | 2
  CHECK interruptibility_reserved, BAD_GUEST, F, INTERRUPTIBILITY, 1 << 5
  CHECK interruptibility_both, BAD_GUEST, F, INTERRUPTIBILITY, 3, F, G_RFLAGS, F_IF | 2
  CHECK interruptibility_sti_if, BAD_GUEST, F, INTERRUPTIBILITY, 1
  CHECK interruptibility_sti, ENTERS, F, INTERRUPTIBILITY, 1, F, G_RFLAGS, F_IF | 2
  CHECK interruptibility_sti_external, BAD_GUEST, F, INTERRUPTIBILITY, 1, F, G_RFLAGS, F_IF | 2, F, INJECT, VALID | T_EXTERNAL | 0x21
  CHECK interruptibility_mov_ss_external, BAD_GUEST, F, INTERRUPTIBILITY, 2, F, G_RFLAGS, F_IF | 2, F, INJECT, VALID | T_EXTERNAL | 0x21
  CHECK interruptibility_mov_ss_nmi, BAD_GUEST, F, INTERRUPTIBILITY, 2, F, INJECT, VALID | T_NMI | 2
  CHECK interruptibility_smi, BAD_GUEST, F, INTERRUPTIBILITY, 4
  CHECK interruptibility_virtual_nmi, BAD_GUEST, F, INTERRUPTIBILITY, 8, A, PIN, (1 << 5) | (1 << 3), F, INJECT, VALID | T_NMI | 2
  CHECK pending_reserved, BAD_GUEST, F, PENDING_DEBUG, 1 << 4
  CHECK pending_reserved_high, BAD_GUEST, F, PENDING_DEBUG, 1 << 32
  CHECK pending_bs_missing, BAD_GUEST, F, INTERRUPTIBILITY, 2, F, G_RFLAGS, F_TF | 2
  CHECK pending_bs_superfluous, BAD_GUEST, F, INTERRUPTIBILITY, 2, F, PENDING_DEBUG, 1 << 14
  CHECK pending_bs_btf, BAD_GUEST, F, INTERRUPTIBILITY, 2, F, PENDING_DEBUG, 1 << 14, F, G_RFLAGS, F_TF | 2, F, G_DEBUGCTL, 2, A, ENTRIES, 1 << 2
; --- Guest: link pointer, page-directory pointers
  CHECK link_aligned, BAD_ENTRY(33, 4), F, LINK, vmcs_b + 8
  CHECK link_width, BAD_ENTRY(33, 4), F, LINK, BEYOND
  CHECK link_revision, BAD_ENTRY(33, 4), F, LINK, page_a
  CHECK link_current, BAD_ENTRY(33, 4), F, LINK, vmcs_a
  CHECK link_enters, ENTERS, F, LINK, vmcs_b
  CHECK pdpte_reserved, BAD_ENTRY(33, 2), W, ENTRIES, 1 << 9, F, RIGHTS(G_CS), 0xc09b, F, G_CR3, bad_pdpt
  CHECK pdpte_enters, ENTERS, W, ENTRIES, 1 << 9, F, RIGHTS(G_CS), 0xc09b, F, G_CR3, pae_pdpt
; --- MSRs that are loaded: which one failed is the qualification
  CHECK load_fs_base, BAD_ENTRY(34, 1), F, ENTRY_LOADS, 1, F, ENTRY_LOAD, list_fs_base
  CHECK load_gs_base_second, BAD_ENTRY(34, 2), F, ENTRY_LOADS, 2, F, ENTRY_LOAD, list_second
  CHECK load_reserved, BAD_ENTRY(34, 1), F, ENTRY_LOADS, 1, F, ENTRY_LOAD, list_reserved
  CHECK load_unknown, BAD_ENTRY(34, 1), F, ENTRY_LOADS, 1, F, ENTRY_LOAD, list_unknown
  CHECK load_bad_value, BAD_ENTRY(34, 1), F, ENTRY_LOADS, 1, F, ENTRY_LOAD, list_bad_value
  CHECK load_enters, ENTERS, F, ENTRY_LOADS, 1, F, ENTRY_LOAD, list_second
; --- Order: of several failures the first group is reported
  CHECK order_controls_host, BAD_CONTROLS, F, CR3_TARGETS, 5, F, H_CS, 0, F, G_RFLAGS, 0
  CHECK order_host_guest, BAD_HOST, F, H_CS, 0, F, G_RFLAGS, 0
  CHECK order_guest_msr, BAD_GUEST, F, G_RFLAGS, 0, F, ENTRY_LOADS, 1, F, ENTRY_LOAD, list_unknown
%endmacro

%macro CHECK 2-*
  %if checking
    BEGIN %1
    mov eax, ends_at_once
    call fresh_guest
    %rep (%0 - 2) / 3
      %ifidn %3, F
        FIELD %4, %5
      %elifidn %3, A
        ALSO %4, %5
      %else
        WITHOUT %4, %5
      %endif
      %rotate 3
    %endrep
    RUN
  %else
    TEST %1, %2
  %endif
%endmacro

TABLE
  %assign checking 0
  CHECKS
END_TABLE

main:
  ENTER_LONG
  VMX_ON
  mov dword [page_a], 0x7eadbeef    ; a revision that nobody has, bit 31 clear
  %assign checking 1
  CHECKS
  FINISH

ends_at_once:
  cpuid

align 32, db 0
pae_pdpt: dq directory + 1, 0, 0, 0
bad_pdpt: dq directory + 1, 0, (1 << 1) + 1, 0
align 16, db 0
list_second: dd 0x174, 0
  dq 8
list_gs: dd 0xc0000101, 0
  dq 0
list_fs_base: dd 0xc0000100, 0
  dq 0
list_reserved: dd 0x174, 1
  dq 8
list_unknown: dd 0x7fff, 0
  dq 0
list_bad_value: dd 0x175, 0
  dq ODD
%include "runtime.inc"
