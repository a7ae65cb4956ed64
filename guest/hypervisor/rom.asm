; The hypervisor as a ROM, for machines without a multiboot loader: the image, copied to 1 MiB, and what enters protected mode.
; nasm -f bin -D IMAGE='"hypervisor.bin"' -o hypervisor.rom rom.asm
org 0
LOAD_AT equ 0x100000
bits 16
start:
  cli
  cld
  mov ax, 0xf000
  mov ds, ax
  o32 lgdt [gdt_pointer]
  mov eax, cr0
  and eax, ~0x60000000      ; caches on
  or al, 1
  mov cr0, eax
  jmp dword 0x08:0xf0000 + protected
bits 32
protected:
  mov eax, 0x10
  mov ds, eax
  mov es, eax
  mov ss, eax
  mov al, 2                 ; the A20 gate
  out 0x92, al
  mov esi, 0xf0000 + image
  mov edi, LOAD_AT
  mov ecx, image_end - image
  rep movsb
  mov ecx, BSS_END - LOAD_AT - (image_end - image)
  xor eax, eax
  rep stosb
  mov eax, ENTRY
  jmp eax
align 8
gdt: dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdt_pointer: dw $ - gdt - 1
  dd 0xf0000 + gdt
image: incbin IMAGE
image_end:
  times 0xfff0 - ($ - $$) db 0xff
bits 16
  jmp 0xf000:start
  times 0x10000 - ($ - $$) db 0xff
