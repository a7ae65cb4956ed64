; nasm -f bin real.asm -o real && vmm --real real
; A guest in 16-bit real mode, as a PC's firmware would start it. --exits shows
; that each letter is an exit to vmm.
        bits    16
        org     0x7c00
        mov     si, text
next:   lodsb                   ; DS is 0, and so is every base
        test    al, al
        jz      end
        mov     dx, 0x3f8       ; the serial port
        out     dx, al
        jmp     next
end:    hlt                     ; nobody will wake us: vmm ends here
text:   db      'Hello from real mode.', 13, 10, 0
