; The pair of 8259s: initialisation, priorities, end of interrupt, rotation, special mask, polling, spurious interrupts.
;
; Requests come from the 8254's counter 0 (IRQ 0), whose output a mode-0 control word pulls down and a short count lets up, and
; from the clock (IRQ 8).
%include "test.inc"

TABLE
  TEST masks_read_back, 0x5a, 0xa5
  TEST icw1_clears_mask, 0
  TEST icw1_selects_irr, 0
  TEST request_stands, 1, 0
  TEST delivery, EXC(0x20), 1
  TEST vector_base, EXC(0x38)
  TEST vector_base_low_bits, EXC(0x38)
  TEST in_service_blocks, 1, 1, 1
  TEST nonspecific_eoi, 1, 0
  TEST specific_eoi, 1, 0
  TEST specific_eoi_of_another, 1, 1
  TEST auto_eoi, EXC(0x20), 0
  TEST poll, 0x80, 1, 0
  TEST poll_empty, 0
  TEST special_mask, EXC(0x28)
  TEST no_special_mask
  TEST masked_request_waits, 0, EXC(0x20)
  TEST withdrawn_request_spurious, EXC(0x27), 0
  TEST second_chip, EXC(0x28), 1, 4
  TEST rotation_sets_lowest, 0x81, 0x80
  TEST edge_needs_a_new_edge, 1, 0
  TEST elcr_fixed_lines, 0, 0
  TEST elcr_read_back, 0xf8, 0xde
END_TABLE

main:
  BEGIN masks_read_back
  mov al, 0x5a
  out 0x21, al
  mov al, 0xa5
  out 0xa1, al
  in al, 0x21
  movzx eax, al
  NOTE eax
  in al, 0xa1
  movzx eax, al
  NOTE eax
  BEGIN icw1_clears_mask
  mov al, 0xff
  out 0x21, al
  mov al, 0x11
  out 0x20, al
  mov al, 0x20
  out 0x21, al
  mov al, 4
  out 0x21, al
  mov al, 1
  out 0x21, al
  in al, 0x21
  movzx eax, al
  NOTE eax
  call timer_low
  BEGIN icw1_selects_irr
  mov al, 0x0b
  out 0x20, al
  call set_up
  in al, 0x20
  movzx eax, al
  and eax, 1
  NOTE eax

  BEGIN request_stands
  call set_up
  call timer_high
  call irr
  NOTE eax
  call isr
  NOTE eax
%macro TAKE 0               ; lets an interrupt come
  sti
  nop
  nop
  cli
%endmacro
%macro TIMER_ONLY 0
  mov al, 0xfe
  out 0x21, al
%endmacro
  BEGIN delivery
  call set_up
  TRY .delivered
  TIMER_ONLY
  call timer_high
  TAKE
.delivered:
  call isr
  NOTE eax
%macro BASE 2               ; test, ICW2
  BEGIN %1
  TRY %%next
  mov ah, %2
  mov bl, 1
  call set_up_with
  TIMER_ONLY
  call timer_high
  TAKE
  %%next:
%endmacro
  BASE vector_base, 0x38
  BASE vector_base_low_bits, 0x3d
  BEGIN in_service_blocks
  call serve_timer
  call isr
  NOTE eax
  call timer_low
  call timer_high
  call irr
  NOTE eax
  HOOK 0x20, 0
  TAKE                      ; nothing comes
  call isr
  NOTE eax
%macro END_BY 2             ; test, OCW2
  BEGIN %1
  call serve_timer
  call isr
  NOTE eax
  mov al, %2
  out 0x20, al
  call isr
  NOTE eax
%endmacro
  END_BY nonspecific_eoi, 0x20
  END_BY specific_eoi, 0x60
  END_BY specific_eoi_of_another, 0x63
  BEGIN auto_eoi
  mov ah, 0x20
  mov bl, 3
  call set_up_with
  TRY .auto
  TIMER_ONLY
  call timer_high
  TAKE
.auto:
  call isr
  NOTE eax
  BEGIN poll
  call set_up
  TIMER_ONLY
  call timer_high
  mov al, 0x0c
  out 0x20, al
  in al, 0x20
  movzx eax, al
  NOTE eax
  call isr
  NOTE eax
  call irr
  NOTE eax
  BEGIN poll_empty
  call set_up
  mov al, 0x0c
  out 0x20, al
  in al, 0x20
  movzx eax, al
  and eax, 0x80
  NOTE eax
%macro CLOCK_BEHIND_TIMER 0 ; IRQ 0 in service and masked, IRQ 8 asked for
  call serve_timer
  mov al, 0xfb
  out 0x21, al
  mov al, 0xfe
  out 0xa1, al
  call clock_high
%endmacro
  BEGIN special_mask
  TRY .special
  CLOCK_BEHIND_TIMER
  mov al, 0x68
  out 0x20, al
  TAKE
.special:
  call clock_low
  mov al, 0x48
  out 0x20, al
  BEGIN no_special_mask
  CLOCK_BEHIND_TIMER
  TAKE
  call clock_low
  BEGIN masked_request_waits
  TRY .masked
  call set_up
  call timer_high
  TAKE
  NOTE 0
  TIMER_ONLY
  TAKE
.masked:
  BEGIN withdrawn_request_spurious          ; the output falls again before the acknowledge
  TRY .spurious
  call set_up
  call timer_high
  TIMER_ONLY
  call timer_low
  sti
  nop
  nop
  cli
  NOTE EXC(0x27)            ; INTR fell with the request: then nothing comes at all, which is as good
.spurious:
  call isr
  NOTE eax
  BEGIN second_chip
  TRY .second
  call set_up
  mov al, 0xfb
  out 0x21, al
  mov al, 0xfe
  out 0xa1, al
  call clock_high
  TAKE
.second:
  mov al, 0x0b
  out 0xa0, al
  in al, 0xa0
  movzx eax, al
  NOTE eax
  mov al, 0x0b
  out 0x20, al
  in al, 0x20
  movzx eax, al
  NOTE eax
  call clock_low
  BEGIN rotation_sets_lowest                ; level 0 lowest: a keyboard-less board has only 0 and 2 to ask
  call set_up
  mov al, 0xfa
  out 0x21, al
  mov al, 0xfe
  out 0xa1, al
  call clock_high
  call timer_high
  mov al, 0xc0              ; priority 0 becomes the lowest
  out 0x20, al
  mov al, 0x0c
  out 0x20, al
  in al, 0x20
  movzx eax, al
  sub eax, 1                ; level 2: 82h
  NOTE eax
  mov al, 0x62
  out 0x20, al
  call clock_low
  mov al, 0x60
  out 0xa0, al
  mov al, 0x0c
  out 0x20, al
  in al, 0x20
  movzx eax, al
  NOTE eax
  BEGIN edge_needs_a_new_edge
  call serve_timer
  mov al, 0x20
  out 0x20, al
  mov eax, 1
  NOTE eax
  call irr                  ; still high, and no request
  NOTE eax
  BEGIN elcr_fixed_lines
  mov dx, 0x4d0
  mov al, 7
  out dx, al
  in al, dx
  movzx eax, al
  and eax, 7
  NOTE eax
  mov dx, 0x4d1
  mov al, 0x21
  out dx, al
  in al, dx
  movzx eax, al
  and eax, 0x21
  NOTE eax
  BEGIN elcr_read_back
  mov dx, 0x4d0
  mov al, 0xf8
  out dx, al
  in al, dx
  movzx eax, al
  NOTE eax
  mov al, 0
  out dx, al
  mov dx, 0x4d1
  mov al, 0xde
  out dx, al
  in al, dx
  movzx eax, al
  NOTE eax
  mov al, 0
  out dx, al
  call set_up
  FINISH

set_up:                     ; everything masked, the timer's and the clock's lines low
  mov ah, 0x20
  mov bl, 1
set_up_with:                ; AH ICW2, BL ICW4
  call timer_low
  call clock_low
  mov al, 0x11
  out 0x20, al
  out 0xa0, al
  mov al, ah
  out 0x21, al
  mov al, 0x28
  out 0xa1, al
  mov al, 4
  out 0x21, al
  mov al, 2
  out 0xa1, al
  mov al, bl
  out 0x21, al
  mov al, 1
  out 0xa1, al
  mov al, 0xff
  out 0x21, al
  out 0xa1, al
  ret

serve_timer:                ; IRQ 0 is in service
  call set_up
  TIMER_ONLY
  HOOK 0x20, without_eoi
  call timer_high
  TAKE
  HOOK 0x20, 0
  ret
without_eoi:
  iretd

irr:
  mov al, 0x0a
  jmp register
isr:
  mov al, 0x0b
register:
  out 0x20, al
  in al, 0x20
  movzx eax, al
  ret

timer_low:                  ; mode 0 begins with the output low
  mov al, 0x30
  out 0x43, al
  ret
timer_high:
  mov al, 0x30
  out 0x43, al
  mov al, 2
  out 0x40, al
  xor al, al
  out 0x40, al
  mov ecx, 20000
.wait:
  in al, 0x80
  mov al, 0x0a
  out 0x20, al
  in al, 0x20
  test al, 1
  jnz .up
  loop .wait
.up:
  ret

clock_low:
  mov al, 0x0b
  out 0x70, al
  mov al, 0x02
  out 0x71, al
  mov al, 0x0c
  out 0x70, al
  in al, 0x71
  ret
clock_high:                 ; the periodic interrupt at 8192 Hz
  mov al, 0x0a
  out 0x70, al
  mov al, 0x23
  out 0x71, al
  mov al, 0x0b
  out 0x70, al
  mov al, 0x42
  out 0x71, al
  mov ecx, 1000000
.wait:
  mov al, 0x0a
  out 0xa0, al
  in al, 0xa0
  test al, 1
  jnz .up
  loop .wait
.up:
  ret
%include "runtime.inc"
