; nasm -f elf64 count.asm && tcc -nostdlib count.o -o count && ./count
; Counts down from 9 with system calls only: no library.
        global  _start
        section .data
digit:  db      '9', 10

        section .text
_start: mov     eax, 1          ; write(1, digit, 2)
        mov     edi, 1
        lea     rsi, [rel digit]
        mov     edx, 2
        syscall
        dec     byte [rel digit]
        cmp     byte [rel digit], '0'
        jae     _start
        mov     eax, 60         ; exit(0)
        xor     edi, edi
        syscall
