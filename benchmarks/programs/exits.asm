; What an exit of a guest costs: CPUID, which the hypervisor in the kernel
; answers, and OUT, for which the kernel has to ask vmm. Run by vmm --long exits.
; Each measurement stands between two lines, "BENCH-START name" and "BENCH name
; ticks count": ticks of the clock that RDTSC reads, for one round.
        bits    64
        org     0x100000
        default rel
count   equ     60000           ; so many that what is hot has been compiled for most of them

%macro  MEASURE 2               ; name, text of the instruction's subroutine
        lea     rsi, [%%begin]
        call    print
        rdtsc
        shl     rdx, 32
        lea     r8, [rax + rdx]
        mov     r9d, count
%%next: call    %2
        dec     r9d
        jnz     %%next
        rdtsc
        shl     rdx, 32
        add     rax, rdx
        sub     rax, r8
        xor     edx, edx
        mov     ecx, count
        div     rcx
        push    rax
        lea     rsi, [%%end]
        call    print
        pop     rax
        call    number
        mov     eax, count
        call    number
        lea     rsi, [line_end]
        call    print
        jmp     %%over
%%begin: db     'BENCH-START ', %1, 13, 10, 0
%%end:  db      'BENCH ', %1, 0
%%over:
%endmacro

        MEASURE 'cpuid-exit', one_cpuid
        MEASURE 'out-exit', one_out
        hlt

one_cpuid:
        xor     eax, eax
        cpuid
        ret
one_out:
        mov     dx, 0x80        ; a port that nobody listens to
        out     dx, al
        ret

number: lea     rsi, [digits_end] ; a space and RAX in decimal
        mov     ecx, 10
.digit: xor     edx, edx
        div     rcx
        add     dl, '0'
        dec     rsi
        mov     [rsi], dl
        test    rax, rax
        jnz     .digit
        dec     rsi
        mov     byte [rsi], ' '
print:  lodsb                   ; the text at RSI
        test    al, al
        jz      .end
        mov     dx, 0x3f8
        out     dx, al
        jmp     print
.end:   ret

        times 22 db 0
digits_end:
        db      0
line_end:
        db      13, 10, 0
