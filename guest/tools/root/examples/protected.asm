; nasm -f bin protected.asm -o protected && vmm --protected protected
; A guest in 32-bit protected mode, with flat segments and without paging. It
; asks CPUID for the processor's name.
        bits    32
        org     0x100000
        mov     esi, hello
        call    print
        xor     eax, eax
        cpuid                   ; KVM answers this exit without vmm
        mov     [name], ebx
        mov     [name + 4], edx
        mov     [name + 8], ecx
        mov     esi, name
        call    print
        hlt
print:  lodsb
        test    al, al
        jz      .end
        mov     dx, 0x3f8
        out     dx, al
        jmp     print
.end:   ret
hello:  db      'Hello from protected mode on ', 0
name:   times 12 db 0
        db      13, 10, 0
