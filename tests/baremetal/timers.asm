; The 8254's modes, read-back and latches, by the counters themselves and by port 61h; the clock's periodic interrupt, its flags
; and its non-volatile memory: "82C54 Programmable Interval Timer", "MC146818A Real-Time Clock".
;
; Counter 2 is tried: its gate is bit 0 of port 61h, its output bit 5. Times are only compared: a count may be read a little late.
%include "test.inc"

TABLE
  TEST status_readback, 0xf6 & 0x3f, 0xf8 & 0x3f
  TEST null_count, 0x40, 0
  TEST latch_holds, 1, 1
  TEST latch_twice_keeps_first, 1
  TEST status_and_count_latched, 0xb6 & 0x3f, 0x34, 0x12
  TEST low_byte_access, 0x34
  TEST high_byte_access, 0x12
  TEST mode0_output, 0, 0x20
  TEST mode0_gate_stops, 1
  TEST mode0_first_byte_stops, 0
  TEST mode1_gate_starts, 0x20, 0, 0x20
  TEST mode2_output_high_without_gate, 0x20
  TEST mode2_reloads, 1
  TEST mode3_output_without_gate, 0x20
  TEST mode3_square, 1
  TEST mode3_counts_even, 0
  TEST mode4_strobe_high, 0x20
  TEST mode5_waits_for_gate, 0x20
  TEST control_word_output, 0, 0x20, 0x20
  TEST bcd_counts, 1
  TEST zero_is_65536, 1
  TEST timer_interrupt, EXC(0x20)
  TEST refresh_toggles, 1
  TEST port61_bits, 0x3
; the clock
  TEST register_a_read_back, 0x26
  TEST register_b_read_back, 0x42
  TEST register_d_valid, 0x80
  TEST periodic_flag_without_interrupt, 0x40, 0
  TEST periodic_interrupt, EXC(0x28), 0xc0, 0
  TEST periodic_repeats, 3
  TEST register_c_clears, 0
  TEST nvram, 0xa5, 0x5a
END_TABLE

%macro CONTROL 1
  mov al, %1
  out 0x43, al
%endmacro
%macro LOAD 1               ; both bytes of counter 2
  mov al, (%1) & 0xff
  out 0x42, al
  mov al, (%1) >> 8
  out 0x42, al
%endmacro
%macro GATE_ 1
  in al, 0x61
  and al, 0xfc
  or al, %1
  out 0x61, al
%endmacro
%macro NOTE_OUTPUT 0
  in al, 0x61
  movzx eax, al
  and eax, 0x20
  NOTE eax
%endmacro
%macro NOTE_STATUS 1        ; mask
  CONTROL 0xe8
  in al, 0x42
  movzx eax, al
  and eax, %1
  NOTE eax
%endmacro
%macro READ_COUNT 0         ; latched, into EAX
  CONTROL 0x80
  call read_both
%endmacro
%macro NOTE_IF 1            ; 1 if the condition holds
  set%1 cl
  movzx ecx, cl
  NOTE ecx
%endmacro

main:
  GATE_ 0
  BEGIN status_readback
  CONTROL 0xb6
  LOAD 1000
  NOTE_STATUS 0x3f
  CONTROL 0xb8
  LOAD 1000
  NOTE_STATUS 0x3f
  BEGIN null_count
  GATE_ 1
  CONTROL 0xb4
  NOTE_STATUS 0x40
  LOAD 1000
  call wait_a_while
  NOTE_STATUS 0x40
  BEGIN latch_holds
  CONTROL 0xb4
  LOAD 0xffff
  call wait_a_while
  CONTROL 0x80
  call wait_a_while
  call read_both
  mov ebx, eax
  READ_COUNT
  cmp eax, ebx
  NOTE_IF b                 ; it went on meanwhile
  READ_COUNT
  cmp eax, ebx
  NOTE_IF b
  BEGIN latch_twice_keeps_first
  CONTROL 0xb4
  LOAD 0xffff
  call wait_a_while
  CONTROL 0x80
  call wait_a_while
  CONTROL 0x80
  call read_both
  mov ebx, eax
  READ_COUNT
  sub ebx, eax
  cmp ebx, 5
  NOTE_IF g
  BEGIN status_and_count_latched
  GATE_ 0
  CONTROL 0xb6
  LOAD 0x1234
  call wait_a_while
  CONTROL 0xc8
  in al, 0x42
  movzx eax, al
  and eax, 0x3f
  NOTE eax
  in al, 0x42
  movzx eax, al
  NOTE eax
  in al, 0x42
  movzx eax, al
  NOTE eax
  BEGIN low_byte_access
  CONTROL 0x94
  mov al, 0x34
  out 0x42, al
  call wait_a_while
  CONTROL 0x80
  in al, 0x42
  movzx eax, al
  NOTE eax
  BEGIN high_byte_access
  CONTROL 0xa4
  mov al, 0x12
  out 0x42, al
  call wait_a_while
  CONTROL 0x80
  in al, 0x42
  movzx eax, al
  NOTE eax

  BEGIN mode0_output
  GATE_ 1
  CONTROL 0xb0
  NOTE_OUTPUT
  LOAD 10
  call wait_long
  NOTE_OUTPUT
  BEGIN mode0_gate_stops
  CONTROL 0xb0
  LOAD 0x8000
  call wait_a_while
  GATE_ 0
  READ_COUNT
  mov ebx, eax
  call wait_a_while
  READ_COUNT
  cmp eax, ebx
  NOTE_IF e
  GATE_ 1
  BEGIN mode0_first_byte_stops
  CONTROL 0xb0
  LOAD 4
  call wait_long
  mov al, 0xff
  out 0x42, al
  NOTE_OUTPUT
  BEGIN mode1_gate_starts
  GATE_ 0
  CONTROL 0xb2
  LOAD 0xffff
  NOTE_OUTPUT
  GATE_ 1
  call wait_a_while
  NOTE_OUTPUT
  GATE_ 0
  CONTROL 0xb2
  NOTE_OUTPUT
  BEGIN mode2_output_high_without_gate
  GATE_ 0
  CONTROL 0xb4
  LOAD 5
  NOTE_OUTPUT
  BEGIN mode2_reloads
  GATE_ 1
  CONTROL 0xb4
  LOAD 100
  call wait_long
  READ_COUNT
  dec eax
  cmp eax, 100              ; 1 to 100
  NOTE_IF b
  BEGIN mode3_output_without_gate
  GATE_ 1
  CONTROL 0xb6
  LOAD 0xffff
  GATE_ 0
  NOTE_OUTPUT
  BEGIN mode3_square        ; both levels are seen
  GATE_ 1
  CONTROL 0xb6
  LOAD 200
  call both_levels
  NOTE eax
  BEGIN mode3_counts_even
  CONTROL 0xb6
  LOAD 1000
  xor ebx, ebx
  mov esi, 50
.even:
  READ_COUNT
  or ebx, eax
  dec esi
  jnz .even
  and ebx, 1
  NOTE ebx
  BEGIN mode4_strobe_high
  CONTROL 0xb8
  LOAD 0xffff
  NOTE_OUTPUT
  BEGIN mode5_waits_for_gate
  GATE_ 0
  CONTROL 0xba
  LOAD 5
  call wait_long
  NOTE_OUTPUT
  BEGIN control_word_output
  CONTROL 0xb0
  NOTE_OUTPUT
  CONTROL 0xb4
  NOTE_OUTPUT
  CONTROL 0xb6
  NOTE_OUTPUT
  BEGIN bcd_counts          ; no hexadecimal digit appears
  GATE_ 1
  CONTROL 0xb5
  LOAD 0x9999
  mov esi, 200
  xor ebx, ebx
.bcd:
  READ_COUNT
  mov ecx, 4
.digit:
  mov edx, eax
  and edx, 15
  cmp edx, 10
  jb .decimal
  or ebx, 1
.decimal:
  shr eax, 4
  loop .digit
  dec esi
  jnz .bcd
  test ebx, ebx
  NOTE_IF z
  BEGIN zero_is_65536
  CONTROL 0xb4
  LOAD 0
  call wait_a_while
  READ_COUNT
  cmp eax, 0x8000
  NOTE_IF a
  BEGIN timer_interrupt
  TRY .timer
  mov al, 0xfe
  out 0x21, al
  CONTROL 0x30
  mov al, 100
  out 0x40, al
  xor al, al
  out 0x40, al
  sti
  call wait_long
.timer:
  cli
  mov al, 0xff
  out 0x21, al
  mov al, 0x20
  out 0x20, al
  BEGIN refresh_toggles
  in al, 0x61
  mov bl, al
  mov ecx, 100000
.refresh:
  in al, 0x61
  xor al, bl
  test al, 0x10
  jnz .toggled
  loop .refresh
.toggled:
  test al, 0x10
  NOTE_IF nz
  BEGIN port61_bits
  GATE_ 3
  in al, 0x61
  movzx eax, al
  and eax, 3
  NOTE eax
  GATE_ 0

%macro CMOS 2
  mov al, %1
  out 0x70, al
  mov al, %2
  out 0x71, al
%endmacro
%macro NOTE_CMOS 1-2 0xff
  mov al, %1
  out 0x70, al
  in al, 0x71
  movzx eax, al
  and eax, %2
  NOTE eax
%endmacro
  BEGIN register_a_read_back
  CMOS 0x0a, 0x26
  NOTE_CMOS 0x0a, 0x7f
  BEGIN register_b_read_back
  CMOS 0x0b, 0x42
  NOTE_CMOS 0x0b
  CMOS 0x0b, 0x02
  BEGIN register_d_valid
  NOTE_CMOS 0x0d
  BEGIN periodic_flag_without_interrupt
  CMOS 0x0a, 0x23
  CMOS 0x0b, 0x02
  mov al, 0x0c
  out 0x70, al
  in al, 0x71
  call wait_long
  call wait_long
  NOTE_CMOS 0x0c, 0xc0
  NOTE_CMOS 0x0c, 0x80
  BEGIN periodic_interrupt
  TRY .periodic
  mov al, 0xfb
  out 0x21, al
  mov al, 0xfe
  out 0xa1, al
  mov al, 0x0c
  out 0x70, al
  in al, 0x71
  CMOS 0x0b, 0x42
  sti
  call wait_long
  call wait_long
.periodic:
  cli
  NOTE_CMOS 0x0c, 0xc0
  CMOS 0x0b, 0x02
  NOTE_CMOS 0x0c, 0x80
  mov al, 0x20
  out 0xa0, al
  out 0x20, al
  BEGIN periodic_repeats
  HOOK 0x28, count_clock
  mov dword [count], 0
  CMOS 0x0b, 0x42
  sti
  mov ecx, 100
.repeats:
  call wait_long
  cmp dword [count], 3
  jae .enough
  loop .repeats
.enough:
  cli
  CMOS 0x0b, 0x02
  mov eax, [count]
  cmp eax, 3
  jbe .three
  mov eax, 3
.three:
  NOTE eax
  BEGIN register_c_clears
  CMOS 0x0a, 0x20           ; no rate
  mov al, 0x0c
  out 0x70, al
  in al, 0x71
  NOTE_CMOS 0x0c, 0xc0
  CMOS 0x0a, 0x26
  BEGIN nvram
  CMOS 0x60, 0xa5
  CMOS 0x61, 0x5a
  NOTE_CMOS 0x60
  NOTE_CMOS 0x61
  FINISH

read_both:
  in al, 0x42
  mov ah, al
  in al, 0x42
  xchg al, ah
  movzx eax, ax
  ret
both_levels:
  mov ecx, 100000
  xor ebx, ebx
.next:
  in al, 0x61
  test al, 0x20
  jz .low
  or ebx, 1
  jmp .seen
.low:
  or ebx, 2
.seen:
  cmp ebx, 3
  je .end
  loop .next
.end:
  xor eax, eax
  cmp ebx, 3
  sete al
  ret
count_clock:
  push eax
  inc dword [count]
  mov al, 0x0c
  out 0x70, al
  in al, 0x71
  mov al, 0x20
  out 0xa0, al
  out 0x20, al
  pop eax
  iretd
wait_a_while:               ; at least some microseconds, at most half a millisecond
  push ecx
  mov ecx, 400
  jmp wait_long.next
wait_long:                  ; at least half a millisecond
  push ecx
  mov ecx, 30000
.next:
  in al, 0x80
  loop .next
  pop ecx
  ret
%include "runtime.inc"
