; A boot sector for Bochs, which cannot load a kernel by itself: reads boot
; parameters, kernel and initial RAM disk, which follow it on the disk, to where
; bochs.mjs wants them, and enters the kernel as its 32-bit boot protocol says.
; PARAMETERS, KERNEL and INITRD are addresses, each with its number of sectors.
buffer  equ     0x10000
most    equ     64              ; sectors in one go: 32 KiB

        bits    16
        org     0x7c00
        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, 0x7c00
        mov     [drive], dl
        in      al, 0x92        ; A20
        or      al, 2
        out     0x92, al
        mov     si, parts
.part:  mov     ebp, [si]       ; sectors still to come
        mov     edi, [si + 4]   ; where to
        test    ebp, ebp
        jz      enter_kernel
.read:  mov     eax, most
        cmp     ebp, eax
        jae     .go
        mov     eax, ebp
.go:    mov     [packet.count], ax
        push    si
        push    edi
        mov     si, packet
        mov     ah, 0x42        ; read, by sector number
        mov     dl, [drive]
        int     0x13
        pop     edi
        pop     si
        jc      $               ; bochs.mjs gives up after its time
        movzx   eax, word [packet.count]
        add     [packet.sector], eax
        sub     ebp, eax
        mov     ecx, eax
        shl     ecx, 7          ; in doublewords
        push    si
        mov     esi, buffer
        call    move
        pop     si
        test    ebp, ebp
        jnz     .read
        add     si, 8
        jmp     .part

; ECX doublewords from ESI to EDI, which may lie above the first mebibyte.
move:   cli
        lgdt    [table_register]
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        mov     bx, 0x18
        mov     ds, bx
        mov     es, bx
        a32 rep movsd
        and     al, ~1
        mov     cr0, eax
        xor     bx, bx
        mov     ds, bx
        mov     es, bx
        sti
        ret

enter_kernel:
        cli
        lgdt    [table_register]
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        jmp     dword 0x10:protected
        bits    32
protected:
        mov     eax, 0x18
        mov     ds, eax
        mov     es, eax
        mov     fs, eax
        mov     gs, eax
        mov     ss, eax
        mov     esi, PARAMETERS
        xor     ebx, ebx
        xor     ebp, ebp
        xor     edi, edi
        mov     eax, KERNEL
        jmp     eax

        align   8
table:  dq      0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
table_register:
        dw      $ - table - 1
        dd      table
parts:  dd      PARAMETERS_SECTORS, PARAMETERS, KERNEL_SECTORS, KERNEL, INITRD_SECTORS, INITRD, 0
packet: db      16, 0
.count: dw      0
        dw      0, buffer >> 4
.sector:
        dq      1
drive:  db      0
        times 510 - ($ - $$) db 0
        dw      0xaa55
