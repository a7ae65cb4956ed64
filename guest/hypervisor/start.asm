; Where the hypervisor starts, how it enters its guest and comes back, and the guest itself. The rest is hypervisor.c.
;
; A multiboot loader brings us here in 32-bit protected mode without paging; VMX wants paging, and C is compiled for 64 bits.

MAGIC     equ 0x1badb002
global start, guest_start, enter_guest, vm_exit
extern hypervisor

section .multiboot
  align 4
  dd MAGIC, 0, -MAGIC

section .text
bits 32
start:
  cli
  mov esp, stack_top
  ; Our own page tables: 1 GiB by leaves of 2 MiB, each address its own translation.
  mov dword [hypervisor_tables], hypervisor_tables + 0x1000 + 3
  mov dword [hypervisor_tables + 0x1000], hypervisor_tables + 0x2000 + 3
  mov edi, hypervisor_tables + 0x2000
  mov eax, 0x83             ; leaf, writable, present
  mov ecx, 512
.leaf:
  mov [edi], eax
  mov dword [edi + 4], 0
  add eax, 0x200000
  add edi, 8
  loop .leaf
  mov eax, hypervisor_tables
  mov cr3, eax
  mov eax, cr4
  or eax, 0x20              ; PAE
  mov cr4, eax
  mov ecx, 0xc0000080       ; EFER
  rdmsr
  or eax, 0x100             ; LME
  wrmsr
  mov eax, cr0
  or eax, 0x80000001        ; PG, PE
  mov cr0, eax
  lgdt [gdt_pointer]
  jmp 0x08:.long
bits 64
.long:
  mov eax, 0x10
  mov ds, eax
  mov es, eax
  mov ss, eax
  xor eax, eax
  mov fs, eax
  mov gs, eax
  mov eax, 0x18             ; VM exits load TR, so there must be one
  ltr ax
  mov rsp, stack_top
  mov ax, 0x600             ; the compiler may use SSE
  mov rcx, cr4
  or cx, ax
  mov cr4, rcx
  call hypervisor           ; does not return

; bool enter_guest(uint64_t registers[16], bool launched): true when the guest ran and came back by a VM exit, false when VMLAUNCH
; or VMRESUME failed. The processor keeps RIP, RSP and RFLAGS of the guest in the VMCS; the other registers are our business.
HOST_RSP equ 0x6c14
enter_guest:
  push rbx
  push rbp
  push r12
  push r13
  push r14
  push r15
  push rdi                  ; where the guest's registers go at its exit
  mov eax, HOST_RSP
  vmwrite rax, rsp
  test esi, esi             ; MOV leaves the flag for the jump below
  mov rax, [rdi]
  mov rcx, [rdi + 8]
  mov rdx, [rdi + 16]
  mov rbx, [rdi + 24]
  mov rbp, [rdi + 40]
  mov rsi, [rdi + 48]
  mov r8, [rdi + 64]
  mov r9, [rdi + 72]
  mov r10, [rdi + 80]
  mov r11, [rdi + 88]
  mov r12, [rdi + 96]
  mov r13, [rdi + 104]
  mov r14, [rdi + 112]
  mov r15, [rdi + 120]
  mov rdi, [rdi + 56]
  jnz .again
  vmlaunch
  jmp .failed
.again:
  vmresume
.failed:
  pop rdi
  xor eax, eax
  jmp leave_it
vm_exit:                    ; HOST_RIP: here we are after an exit, on the stack of HOST_RSP
  push rdi
  mov rdi, [rsp + 8]
  mov [rdi], rax
  mov [rdi + 8], rcx
  mov [rdi + 16], rdx
  mov [rdi + 24], rbx
  mov [rdi + 40], rbp
  mov [rdi + 48], rsi
  pop rax                   ; the guest's RDI
  mov [rdi + 56], rax
  mov [rdi + 64], r8
  mov [rdi + 72], r9
  mov [rdi + 80], r10
  mov [rdi + 88], r11
  mov [rdi + 96], r12
  mov [rdi + 104], r13
  mov [rdi + 112], r14
  mov [rdi + 120], r15
  pop rdi
  mov eax, 1
leave_it:
  pop r15
  pop r14
  pop r13
  pop r12
  pop rbp
  pop rbx
  ret

; The guest, in 64-bit mode on page tables of its own. Each line that hypervisor.c prints has its cause here.
align 16
guest_start:
  xor eax, eax
  cpuid                     ; exits always
  mov dx, 0x80
  mov al, 0x41
  out dx, al                ; exits because of "unconditional I/O exiting"
  in al, dx
  mov rax, cr3
  mov cr3, rax              ; "CR3-load exiting"; reading it above "CR3-store exiting"
  mov rax, cr0
  btc rax, 5                ; NE, which the guest/host mask keeps for the hypervisor
  mov cr0, rax
  mov rax, cr0              ; no exit: shows the read shadow, where the change has come to pass
  mov ebx, 0x40000000
  mov rax, [rbx]            ; a page fault, for the bit in the exception bitmap; then an EPT violation
  hlt                       ; "HLT exiting"
  mov edi, 42
  vmcall                    ; exits always
.end:
  jmp .end

section .data
align 8
gdt:
  dq 0
  dq 0x00af9b000000ffff     ; 08h code of 64 bits
  dq 0x00cf93000000ffff     ; 10h data
  dq 0x0000890000000067     ; 18h a task state segment at 0, which nothing ever looks into
  dq 0
gdt_pointer:
  dw $ - gdt - 1
  dq gdt

section .bss
align 4096
hypervisor_tables: resb 3 * 4096
stack: resb 16384
stack_top:
