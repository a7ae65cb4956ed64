; What a compiler of running code may get wrong, in one loop under a timer that interrupts at every place in turn: accesses across
; pages that do not lie side by side, faults in the middle of instructions, REP in several portions, code that rewrites itself and
; the instruction behind, and code whose page is mapped elsewhere as it runs.
;
; Begins in 32-bit protected mode, as multiboot does. Ends with the number of distinct places between `first` and `last` at
; which an interrupt came, through isa-debug-exit.
bits 32
org ORIGIN

TABLES equ 0x200000     ; PML4, PDPT, directory, table of 400000..5fffff, directory of the APIC's gigabyte
IDT equ 0x210000
SEEN equ 0x220000       ; a byte for each place
STACK equ 0x280000
WINDOW equ 0x400000     ; its second page lies at 600000
ABSENT equ 0x410000     ; comes and goes
MOVED equ 0x420000      ; code, in two versions
ROUNDS equ 4000

  mov edi, TABLES
  xor eax, eax
  mov ecx, 0x30000 / 4
  rep stosd
  mov dword [TABLES], TABLES + 0x1007
  mov dword [TABLES + 0x1000], TABLES + 0x2007
  mov dword [TABLES + 0x1018], TABLES + 0x4007
  mov edi, TABLES + 0x2000
  mov eax, 0x87
  mov ecx, 8
.large:
  mov [edi], eax
  add edi, 8
  add eax, 0x200000
  loop .large
  mov dword [TABLES + 0x2010], TABLES + 0x3007
  mov edi, TABLES + 0x3000
  mov eax, WINDOW + 7
  mov ecx, 512
.small:
  mov [edi], eax
  add edi, 8
  add eax, 0x1000
  loop .small
  mov dword [TABLES + 0x3008], 0x600007
  mov dword [TABLES + 0x4000 + 8 * 503], 0xfee00097  ; uncached
  mov eax, TABLES
  mov cr3, eax
  mov eax, 0x620
  mov cr4, eax
  mov ecx, 0xc0000080
  rdmsr
  or eax, 0x100
  wrmsr
  lgdt [pointer]
  mov eax, 0x80000011
  mov cr0, eax
  jmp 8:wide

align 8
gdt: dq 0, 0x00af9a000000ffff, 0x00cf92000000ffff
pointer:
  dw 23
  dd gdt

bits 64
wide:
  mov eax, 16
  mov ss, eax
  mov ds, eax
  mov es, eax
  mov esp, STACK
  mov ecx, 14
  lea rax, [rel page_fault]
  call set_gate
  mov ecx, 0x40
  lea rax, [rel timer]
  call set_gate
  lidt [rel idt_pointer]
  mov ebx, 0xfee00000
  mov dword [rbx + 0xf0], 0x1ff
  mov dword [rbx + 0x320], 0x40040  ; TSC deadline
  ; Two versions of a function, in two pages.
  mov rax, 0x00c300000100c681       ; add esi,256; ret
  mov [0x420000], rax
  mov rax, 0x00c300000200c681
  mov [0x430000], rax
  xor r14d, r14d
  xor esi, esi
  mov r15d, ROUNDS
  call next_deadline
  sti

first:
  ; Across the page border, to memory that lies elsewhere.
  mov eax, r15d
  mov [WINDOW + 0xffd], eax
  add [WINDOW + 0xffe], eax
  mov rcx, [WINDOW + 0xffa]
  xor rsi, rcx
  xchg [WINDOW + 0xff9], cx
  movups xmm0, [WINDOW + 0xff4]
  paddd xmm0, xmm0
  movups [WINDOW + 0xff3], xmm0
  ; The stack pointer rests on the border, too.
  mov rbp, rsp
  mov esp, WINDOW + 0x1004
  push rsi
  push qword [WINDOW + 0xffb]
  pop rdx
  pop rdi
  mov rsp, rbp
  add rsi, rdx
  ; Faults between the two accesses of an instruction; the handler brings the page.
  push qword [ABSENT + 0xffc]
  pop rax
  add rsi, rax
  xadd [ABSENT + 0x8], eax
  ; Copies that reach an absent page, and are interrupted.
  mov edi, ABSENT - 20
  mov r12d, esi
  mov esi, WINDOW + 0xfe0
  mov ecx, 60
  rep movsb
  mov esi, r12d
  mov edi, WINDOW + 0xff0
  mov ecx, 5
  mov eax, esi
  rep stosd
  ; Now and then the next instruction is rewritten, and one in this block; by an integer store and by a helper's. So rarely that
  ; all has been compiled in the meantime, and never both.
  mov r13d, WINDOW + 0x200
  lea r12, [rel change1 + 2]
  mov r11, r13
  mov r10, r13
  test r15b, 31
  cmovz r10, r12
  lea r12, [rel change2 + 2]
  lea ecx, [r15 + 5]
  test cl, 63
  cmovz r11, r12
  lea r12, [rel change3 + 2]
  lea ecx, [r15 + 9]
  test cl, 127
  cmovz r13, r12
  mov [r10], r15b
change1:
  add esi, 0x11
  movd xmm1, esi
  movd [r11], xmm1
change2:
  add esi, 0x11111111
  inc byte [r13]
change3:
  sub esi, 1
  ; A page of code is mapped elsewhere.
  call MOVED
  xor dword [TABLES + 0x3000 + 8 * 0x20], 0x420000 ^ 0x430000
  invlpg [MOVED]
  call MOVED
  ; The absent page goes away.
  mov dword [TABLES + 0x3000 + 8 * 0x10], 0
  invlpg [ABSENT]
  ; Flags over all of that.
  cmp esi, r15d
  setle al
  add [WINDOW + 0x100], al
  dec r15d
  jnz first
last:
  cli
  ; How many places were interrupted?
  mov esi, SEEN
  xor eax, eax
  mov ecx, last - first
.count:
  movzx edx, byte [rsi]
  add eax, edx
  inc rsi
  dec ecx
  jnz .count
  out 0xf4, eax
.end:
  jmp .end

set_gate:
  mov edx, ecx
  shl edx, 4
  add edx, IDT
  mov [rdx], ax
  mov word [rdx + 2], 8
  mov word [rdx + 4], 0x8e00
  shr eax, 16
  mov [rdx + 6], ax
  ret

idt_pointer:
  dw 0xfff
  dq IDT

page_fault:
  push rax
  mov rax, cr2
  and eax, 0xfffff000
  cmp eax, ABSENT
  jne wrong
  mov dword [TABLES + 0x3000 + 8 * 0x10], ABSENT + 7
  pop rax
  add rsp, 8
  iretq
wrong:
  xor eax, eax
  out 0xf4, eax

timer:
  push rax
  push rcx
  push rdx
  mov rax, [rsp + 24]
  lea rcx, [rel first]
  sub rax, rcx
  cmp rax, last - first
  jae .outside
  mov byte [SEEN + rax], 1
.outside:
  mov eax, 0xfee000b0
  mov dword [rax], 0
  call next_deadline
  pop rdx
  pop rcx
  pop rax
  iretq

next_deadline:
  inc r14d
  rdtsc
  shl rdx, 32
  or rax, rdx
  mov edx, r14d
  imul edx, edx, 101
  and edx, 0x1ff
  lea rax, [rax + rdx + 30]
  mov rdx, rax
  shr rdx, 32
  mov ecx, 0x6e0
  wrmsr
  ret
