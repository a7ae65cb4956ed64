; The I/O APIC: registers, edges, levels and their remote IRR, delivery modes. Requests come from the 8254 on input 2 (as boards
; have it) and from the clock on input 8, whose line stays up until register C is read. "82093AA I/O Advanced Programmable
; Interrupt Controller".
%include "test.inc"

apic equ 0xfee00000
EOI equ apic + 0xb0
IRR equ apic + 0x200
TMR equ apic + 0x180
TIMER equ 2
CLOCK equ 8

TABLE
  TEST version_entries, 1
  TEST entries_masked_after_reset, 0x10000
  TEST entry_read_back, 0x1a7fe, 0xff000000
  TEST read_only_bits, 0
  TEST edge, 0x50
  TEST edge_masked_is_lost
  TEST edge_once, 0x50
  TEST level, 0x51, 0x4000, 0x2, 0
  TEST level_repeats_until_cleared, 0x51, 0x51
  TEST level_masked_waits, 0, 0x51
  TEST level_to_edge_clears_remote_irr, 0x4000, 0
  TEST level_masked_remote_irr_stays, 0x4000
  TEST nmi_mode, 2
  TEST logical_destination, 0x50
  TEST wrong_destination
  TEST lowest_priority, 0x50
END_TABLE

%macro ENTRY 2-3 0          ; input, low dword, destination
  mov ebx, 0x11 + 2 * (%1)
  mov eax, (%3) << 24
  call write_register
  mov ebx, 0x10 + 2 * (%1)
  mov eax, %2
  call write_register
%endmacro
%macro NOTE_LOW 1-2 -1      ; input, mask
  mov ebx, 0x10 + 2 * (%1)
  call read_register
  and eax, %2
  NOTE eax
%endmacro
%macro IO_TEST 1
  BEGIN %1
  call quiet
%endmacro
%macro TAKE 0
  sti
  call wait_a_while
  cli
%endmacro

main:
  BEGIN version_entries
  mov ebx, 1
  call read_register
  shr eax, 16
  and eax, 0xff
  xor ecx, ecx
  cmp eax, 23
  sete cl
  NOTE ecx
  BEGIN entries_masked_after_reset
  NOTE_LOW 5, 0x10000
  BEGIN entry_read_back
  ENTRY 5, 0x1a7fe, 0xff
  NOTE_LOW 5
  mov ebx, 0x1b
  call read_register
  NOTE eax
  BEGIN read_only_bits
  ENTRY 5, 0x15000          ; remote IRR and delivery status, masked
  NOTE_LOW 5, 0x5000
  mov dword [apic + 0xe0], -1
  mov dword [apic + 0xd0], 1 << 24
  IDT_GATE 0x50, CODE32, ADDRESS(got_50), R_INT32
  IDT_GATE 0x51, CODE32, ADDRESS(got_51_level), R_INT32

  IO_TEST edge
  ENTRY TIMER, 0x50
  call timer_pulse
  TAKE
  IO_TEST edge_masked_is_lost
  ENTRY TIMER, 0x10050
  call timer_pulse
  call timer_down_and_up_is_over
  ENTRY TIMER, 0x50
  TAKE
  IO_TEST edge_once         ; the line stays up, and nothing more comes
  ENTRY TIMER, 0x50
  call timer_pulse
  TAKE
  TAKE
  IO_TEST level
  ENTRY CLOCK, 0x8051
  IDT_GATE 0x51, CODE32, ADDRESS(got_51_note_state), R_INT32
  call clock_up
  TAKE
  NOTE_LOW CLOCK, 0x4000
  IDT_GATE 0x51, CODE32, ADDRESS(got_51_level), R_INT32
  IO_TEST level_repeats_until_cleared
  mov dword [count], 2
  ENTRY CLOCK, 0x8051
  call clock_up
  IDT_GATE 0x51, CODE32, ADDRESS(got_51_second_time), R_INT32
  TAKE
  TAKE
  IDT_GATE 0x51, CODE32, ADDRESS(got_51_level), R_INT32
  IO_TEST level_masked_waits
  ENTRY CLOCK, 0x18051
  call clock_up
  TAKE
  NOTE 0
  ENTRY CLOCK, 0x8051
  TAKE
  IO_TEST level_masked_remote_irr_stays     ; asked for, not yet answered
  ENTRY CLOCK, 0x8051
  call clock_up
  mov ebx, 0x10 + 2 * CLOCK
  mov eax, 0x18051
  call write_register
  NOTE_LOW CLOCK, 0x4000
  call quiet_in_test
  IO_TEST level_to_edge_clears_remote_irr
  ENTRY CLOCK, 0x8051
  call clock_up
  NOTE_LOW CLOCK, 0x4000
  ENTRY CLOCK, 0x10051
  NOTE_LOW CLOCK, 0x4000
  call quiet_in_test
  IO_TEST nmi_mode
  HOOK 2, note_nmi
  ENTRY TIMER, 0x400
  call timer_pulse
  call wait_a_while
  HOOK 2, 0
  IO_TEST logical_destination
  ENTRY TIMER, 0x850, 1
  call timer_pulse
  TAKE
  IO_TEST wrong_destination
  ENTRY TIMER, 0x850, 2
  call timer_pulse
  TAKE
  IO_TEST lowest_priority
  ENTRY TIMER, 0x950, 1
  call timer_pulse
  TAKE
  FINISH

read_register:              ; EBX
  mov [0xfec00000], ebx
  mov eax, [0xfec00010]
  ret
write_register:
  mov [0xfec00000], ebx
  mov [0xfec00010], eax
  ret
quiet:
  call quiet_in_test
  mov dword [noted_at], notes
  ret
quiet_in_test:
  push dword [noted_at]
  ENTRY 0, 0x10000
  ENTRY TIMER, 0x10000
  call clock_down
  ENTRY CLOCK, 0x10000
  mov al, 0x30
  out 0x43, al
  mov byte [scratch], 1     ; handlers only answer
  %rep 3
    TAKE
    mov dword [EOI], 0
  %endrep
  mov byte [scratch], 0
  pop dword [noted_at]
  ret

timer_pulse:                ; the output rises, and stays up
  mov al, 0x30
  out 0x43, al
  mov al, 2
  out 0x40, al
  xor al, al
  out 0x40, al
timer_down_and_up_is_over:
  mov ecx, 3000
.wait:
  in al, 0x80
  loop .wait
  ret

clock_down:
  mov al, 0x0b
  out 0x70, al
  mov al, 2
  out 0x71, al
  mov al, 0x0c
  out 0x70, al
  in al, 0x71
  ret
clock_up:
  mov al, 0x0a
  out 0x70, al
  mov al, 0x23
  out 0x71, al
  mov al, 0x0b
  out 0x70, al
  mov al, 0x42
  out 0x71, al
  mov ecx, 300000
.wait:
  mov al, 0x0a
  out 0xa0, al
  in al, 0xa0
  test al, 1
  jnz .up
  loop .wait
.up:
  ret

wait_a_while:
  push ecx
  mov ecx, 3000
.next:
  pause
  dec ecx
  jnz .next
  pop ecx
  ret

got_50:
  NOTE 0x50
  mov dword [EOI], 0
  iretd
got_51_level:               ; takes the cause away first
  NOTE 0x51
  call clock_down
  mov dword [EOI], 0
  iretd
got_51_note_state:
  cmp byte [scratch], 1
  je got_51_level
  NOTE 0x51
  NOTE_LOW CLOCK, 0x4000
  mov eax, [TMR + 0x20]
  shr eax, 16
  NOTE eax
  call clock_down
  mov dword [EOI], 0
  iretd
got_51_second_time:
  NOTE 0x51
  dec dword [count]
  jg .again
  call clock_down
.again:
  mov dword [EOI], 0
  iretd
note_nmi:
  NOTE 2
  iretd
%include "runtime.inc"
