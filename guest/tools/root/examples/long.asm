; nasm -f bin long.asm -o long && vmm --long long
; A guest in 64-bit mode which measures what an exit costs, in ticks of the
; clock that RDTSC reads: CPUID, which the hypervisor in the kernel answers, and
; OUT, for which the kernel has to ask vmm. 1,000 of each.
        bits    64
        org     0x100000
        default rel
count   equ     1000
        call    empty
        mov     r15, rax        ; what measuring costs by itself
%macro  MEASURE 2               ; text, subroutine
        call    %2
        sub     rax, r15
        xor     edx, edx
        mov     ecx, count
        div     rcx
        lea     rsi, [%1]
        call    report
%endmacro
        MEASURE cpuids, some_cpuids
        MEASURE outs, some_outs
        hlt

; Each returns in RAX how many ticks `count` rounds took.
%macro  ROUNDS 2+
%1:     rdtsc
        shl     rdx, 32
        lea     r8, [rax + rdx]
        mov     r9d, count
%%next: %2
        dec     r9d
        jnz     %%next
        rdtsc
        shl     rdx, 32
        add     rax, rdx
        sub     rax, r8
        ret
%endmacro
        ROUNDS  empty, xor eax, eax
        ROUNDS  some_cpuids, call one_cpuid
        ROUNDS  some_outs, call one_out
one_cpuid:
        xor     eax, eax
        cpuid
        ret
one_out:
        mov     dx, 0x80        ; a port that nobody listens to
        out     dx, al
        ret

report: push    rax             ; the text at RSI, RAX in decimal, a new line
        call    print
        pop     rax
        lea     rsi, [digits_end]
        mov     ecx, 10
.digit: xor     edx, edx
        div     rcx
        add     dl, '0'
        dec     rsi
        mov     [rsi], dl
        test    rax, rax
        jnz     .digit
print:  lodsb
        test    al, al
        jz      .end
        mov     dx, 0x3f8
        out     dx, al
        jmp     print
.end:   ret
cpuids: db      'ticks for CPUID: ', 0
outs:   db      'ticks for OUT:   ', 0
        times 20 db 0
digits_end:
        db      13, 10, 0
