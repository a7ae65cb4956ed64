; The A20 gate, by port 92h and by the keyboard controller: "A20M#". Addresses are physical, also of the processor's own accesses
; and of page tables.
%include "test.inc"

low  equ 0x58000
high equ 0x158000

TABLE
  TEST open_after_reset, 2
  TEST open, 1, 2
  TEST shut_by_port92, 1, 0
  TEST opened_by_port92, 1, 2, 2
  TEST shut_by_controller, 1
  TEST opened_by_controller, 2
  TEST controller_sees_port92, 0
  TEST writes_go_below, 0x33
  TEST fetches_go_below, 0x44
  TEST odd_mebibytes_only, 0x66
  TEST paged, 1
  TEST tables, 0x77
  TEST cached_translation, 2, 1
END_TABLE

%macro PORT92 1
  in al, 0x92
  and al, ~3
  or al, (%1) << 1
  out 0x92, al
%endmacro

main:
  mov dword [low], 1
  mov dword [high], 2
  BEGIN open_after_reset
  in al, 0x92
  movzx eax, al
  and eax, 2
  NOTE eax
  BEGIN open
  PORT92 1
  NOTE_AT [low]
  NOTE_AT [high]
  BEGIN shut_by_port92
  PORT92 0
  NOTE_AT [high]
  in al, 0x92
  movzx eax, al
  and eax, 2
  NOTE eax
  BEGIN opened_by_port92
  PORT92 0
  PORT92 1
  NOTE_AT [low]
  NOTE_AT [high]
  in al, 0x92
  movzx eax, al
  and eax, 2
  NOTE eax
  BEGIN shut_by_controller
  mov al, 0xdd
  call controller
  NOTE_AT [high]
  BEGIN opened_by_controller
  mov al, 0xd1
  call controller
  mov al, 0xdf
  out 0x60, al
  call controller_idle
  NOTE_AT [high]
  BEGIN controller_sees_port92
  PORT92 0
  mov al, 0xd0
  call controller
.full:
  in al, 0x64
  test al, 1
  jz .full
  in al, 0x60
  movzx eax, al
  and eax, 2
  NOTE eax
  BEGIN writes_go_below
  PORT92 0
  mov dword [high + 4], 0x33
  PORT92 1
  NOTE_AT [low + 4]
  BEGIN fetches_go_below
  mov dword [low + 16], 0x000044b8                  ; mov eax, 44h
  mov dword [low + 20], 0x0000c300                  ; ret
  mov dword [high + 16], 0xc3c3c3c3
  PORT92 0
  mov eax, 0
  call high + 16
  NOTE eax
  PORT92 1
  BEGIN odd_mebibytes_only
  mov dword [low + 0x200000], 0x66
  mov dword [low + 0x300000], 0
  PORT92 0
  NOTE_AT [low + 0x300000]
  PORT92 1

directory equ free_memory
table     equ free_memory + 0x1000
  xor ecx, ecx
.fill:
  mov eax, ecx
  shl eax, 12
  or eax, 7
  mov [table + 4 * ecx], eax
  inc ecx
  cmp ecx, 1024
  jb .fill
  mov dword [directory], table | 7
  mov eax, directory
  mov cr3, eax
  BEGIN paged
  mov dword [table + 4 * (0x300000 >> 12)], high | 7
  mov eax, cr0
  or eax, 0x80000000
  mov cr0, eax
  PORT92 0
  NOTE_AT [0x300000]
  PORT92 1
  BEGIN tables              ; the directory says 121000h, and the table that is read lies at 21000h
  mov dword [0x158004], 0x77
  mov dword [low + 4], 0x77
  mov dword [table + 0x100000], 0
  mov dword [directory + 4], (table | 0x100000) | 7
  PORT92 0
  NOTE_AT [0x400000 + low + 4]
  PORT92 1
  BEGIN cached_translation  ; what the TLB knows does not outlive the gate
  mov dword [low], 1
  mov dword [high], 2
  NOTE_AT [high]
  PORT92 0
  NOTE_AT [high]
  PORT92 1
  FINISH

controller:                 ; AL to the keyboard controller
  push eax
  call controller_idle
  pop eax
  out 0x64, al
controller_idle:
  in al, 0x64
  test al, 2
  jnz controller_idle
  mov ecx, 1000
.wait:
  in al, 0x80
  loop .wait
  ret
%include "runtime.inc"
