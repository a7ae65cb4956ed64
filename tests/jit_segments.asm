; FS and GS of 32-bit code in a hot loop: with a base, with a limit that the loop runs into, with a base that makes addresses wrap,
; changed as the loop runs, and not usable for a while.
;
; Begins in 32-bit protected mode, as multiboot does. Ends with the number of distinct places between `first` and `last` at which
; #GP came, through isa-debug-exit.
bits 32
org ORIGIN

IDT equ 0x210000
SEEN equ 0x220000
STACK equ 0x280000
DATA equ 0x300000
ROUNDS equ 3000
LIMIT equ 0x1fff        ; of selectors 18h and 20h, whose bases are DATA and DATA + 3
; Selector 28h begins at FFFFF000h and has no limit; 30h can only be read.

  mov esp, STACK
  mov edi, SEEN
  xor eax, eax
  mov ecx, 0x4000
  rep stosd
  lgdt [gdt_pointer]
  jmp 8:.here
.here:
  mov eax, 16
  mov ss, eax
  mov ds, eax
  mov es, eax
  mov eax, general_protection
  mov [IDT + 8 * 13], ax
  mov word [IDT + 8 * 13 + 2], 8
  mov word [IDT + 8 * 13 + 4], 0x8e00
  shr eax, 16
  mov [IDT + 8 * 13 + 6], ax
  lidt [idt_pointer]
  mov eax, 0x18
  mov fs, eax
  mov eax, 0x20
  mov gs, eax
  mov ebp, ROUNDS
  xor esi, esi
  mov dword [DATA + 16], function

; EDI goes from well within the limit to a little beyond it.
first:
  mov edi, ebp
  and edi, 63
  add edi, LIMIT - 50
p0:
  mov eax, [fs:edi]
q0:
  add esi, eax
p1:
  mov [gs:edi], esi
q1:
p2:
  add [fs:edi], esi
q2:
p3:
  add word [gs:edi + 2], 5
q3:
p4:
  xor byte [fs:edi + 3], 0x55
q4:
p5:
  movzx eax, byte [gs:edi]
q5:
p6:
  push dword [fs:edi]
q6:
p7:
  pop dword [gs:edi - 40]
q7:
  rol esi, 3
p8:
  mov eax, [fs:8]                 ; without a register, as the kernel has it
q8:
  add esi, eax
  lea edx, [esi + edi]
p9:
  mov [fs:8], edx
q9:
p10:
  call [fs:16]
q10:
  test ebp, 0xff
  jnz .same
  mov ecx, ebp
  shr ecx, 8
  and ecx, 3
  movzx ecx, byte [selectors + ecx]
  mov gs, ecx
.same:
  dec ebp
  jnz first
last:
  mov ecx, last - first
  xor eax, eax
.count:
  movzx edx, byte [SEEN + ecx]
  add eax, edx
  dec ecx
  jns .count
  mov edx, 0xf4
  out dx, eax
.end:
  jmp .end

function:
  add esi, 0x01234567
  ret

; The instruction is stepped over.
general_protection:
  add esp, 4
  push eax
  push ecx
  mov eax, [esp + 8]
  mov ecx, eax
  sub ecx, first
  cmp ecx, last - first
  jae wrong
  mov byte [SEEN + ecx], 1
  mov ecx, places - 8
.find:
  add ecx, 8
  cmp [ecx], eax
  jne .find
  mov ecx, [ecx + 4]
  mov [esp + 8], ecx
  pop ecx
  pop eax
  iretd
wrong:
  xor eax, eax
  mov edx, 0xf4
  out dx, eax
  jmp wrong

align 8
; Where an instruction may meet #GP, and where the next one begins.
places:
  dd p0, q0, p1, q1, p2, q2, p3, q3, p4, q4, p5, q5, p6, q6
  dd p7, q7, p8, q8, p9, q9, p10, q10
gdt:
  dq 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
  dq 0x0040923000001fff           ; 18h
  dq 0x0040923000031fff           ; 20h
  dq 0xffcf92fff000ffff           ; 28h
  dq 0x0040903000001fff           ; 30h
gdt_pointer:
  dw gdt_pointer - gdt - 1
  dd gdt
idt_pointer:
  dw 0x3ff
  dd IDT
selectors: db 0x20, 0x28, 0x30, 0x00
