// Random integer programs in a long loop: arithmetic of all widths on registers, their high bytes and memory that crosses a page,
// with branches forwards, inner loops, calls and counters. The same seed gives the same program.
import { le32, multiboot } from "./tiny_guests.mjs";

const TABLES = 0x200000, STACK = 0x280000, PAGE_END = 0x301000;
// Offsets from EBP, which stands a little before a page's end: operands, and behind them the inner loops' counter.
const OPERANDS = 40, COUNTER = 64;
const EAX = 0, ECX = 1, EDX = 2, EBX = 3, ESI = 6;
const free = [EAX, ECX, EDX, EBX, ESI];

export function randomGuest(seed, bits, rounds) {
  let state = seed >>> 0;
  const random = (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const pick = (list) => list[random(list.length)];

  const shapeOf = (width) => ({
    prefix: width === 16 ? [0x66] : width === 64 ? [0x48] : [],
    wide: width === 8 ? 0 : 1,
    register: () => (width === 8 ? random(8) : pick(free)),
  });
  const anyShape = () => shapeOf(pick(bits === 64 ? [8, 16, 32, 64] : [8, 16, 32]));
  const wideShape = () => shapeOf(pick(bits === 64 ? [16, 32, 64] : [16, 32]));
  const memory = (reg) => [0x45 | (reg << 3), random(OPERANDS)];
  const operand = (shape, reg) => (random(3) === 0 ? memory(reg) : [0xc0 | (reg << 3) | shape.register()]);

  // By mnemonics: each answers the bytes of one instruction.
  const kinds = [
    ...Array(6).fill((s = anyShape()) => [...s.prefix, random(8) * 8 + 2 * random(2) + s.wide, ...operand(s, s.register())]),  // ADD ... CMP
    (s = anyShape()) => [...s.prefix, 0xfe + s.wide, ...operand(s, random(2))],                        // INC, DEC
    (s = anyShape()) => [...s.prefix, 0xf6 + s.wide, ...operand(s, 2 + random(4))],                    // NOT, NEG, MUL, IMUL
    (s = anyShape()) => [...s.prefix, 0x84 + s.wide, ...operand(s, s.register())],                     // TEST
    (s = anyShape()) => [...s.prefix, s.wide ? 0x83 : 0x80, ...operand(s, random(8)), random(256)],    // ADD ... CMP Ib
    (s = anyShape()) => [...s.prefix, 0xc0 + s.wide, ...operand(s, random(8)), random(70)],            // shifts and rotates
    (s = anyShape()) => [...s.prefix, 0xd2 + s.wide, ...operand(s, random(8))],                        // by CL
    () => [0x0f, 0x90 + random(16), ...operand(shapeOf(8), 0)],                                        // SETcc
    (s = wideShape()) => [...s.prefix, 0x0f, 0x40 + random(16), ...operand(s, s.register())],          // CMOVcc
    (s = anyShape()) => [...s.prefix, 0x0f, 0xc0 + s.wide, ...operand(s, s.register())],               // XADD
    (s = anyShape()) => [...s.prefix, 0x0f, 0xb0 + s.wide, ...operand(s, s.register())],               // CMPXCHG
    (s = anyShape()) => [...s.prefix, 0x86 + s.wide, ...operand(s, s.register())],                     // XCHG
    () => [0x0f, pick([0xb6, 0xb7, 0xbe, 0xbf]), 0xc0 | (pick(free) << 3) | random(4)],                // MOVZX, MOVSX
    (s = wideShape()) => [...s.prefix, 0x0f, 0xba, ...operand(s, 4 + random(4)), random(64)],          // BT, BTS, BTR, BTC
    (s = wideShape()) => [...s.prefix, 0x0f, pick([0xaf, 0xbc, 0xbd]), ...operand(s, s.register())],   // IMUL, BSF, BSR
    () => [pick([0x98, 0x9e, 0x9f, 0xf5, 0xf8, 0xf9])],                                                // CWDE, SAHF, LAHF, CMC, CLC, STC
    () => [0x50 + pick(free), 0x58 + pick(free)],                                                      // PUSH, POP
    () => [0xff, ...memory(6), 0x8f, ...memory(0)],                                                    // PUSH, POP of memory
    () => [0xf3, 0x0f, 0xb8, 0xc0 | (pick(free) << 3) | pick(free)],                                   // POPCNT
    (s = anyShape()) => [...s.prefix, 0x88 + 2 * random(2) + s.wide, ...operand(s, s.register())],     // MOV
    () => [0xe3, 2, 0x31, 0xd2],                                                                       // JECXZ over XOR EDX,EDX
    () => [0x67, 0xe2, 0],                                                                             // LOOP to what follows
  ];
  const some = (most) => Array.from({ length: 1 + random(most) }, () => pick(kinds)()).flat();
  const constructs = [
    () => some(8),
    (skipped = some(3)) => [0x0f, 0x80 + random(16), ...le32(skipped.length), ...skipped],
    (inner = some(4)) => [
      0xc7, 0x45, COUNTER, ...le32(1 + random(4)),                                          // mov dword [ebp+COUNTER],n
      ...inner, 0xff, 0x4d, COUNTER, 0x0f, 0x85, ...le32(-(inner.length + 9)),              // dec dword [ebp+COUNTER]; jnz inner
    ],
    (called = [...some(3), 0xc3]) => [0xe9, ...le32(called.length), ...called, 0xe8, ...le32(-(called.length + 5))],
  ];

  return multiboot((address) => {
    const begin = bits === 64 ? enterLongMode(address) : [];
    const body = Array.from({ length: 24 }, () => pick(constructs)()).flat();
    return [
      ...begin, 0xbc, ...le32(STACK), 0xbd, ...le32(PAGE_END - 24), 0xbf, ...le32(rounds),  // mov esp; mov ebp; mov edi,rounds
      ...body, 0xff, 0xcf, 0x0f, 0x85, ...le32(-(body.length + 8)),                         // dec edi; jnz body
      0xba, ...le32(0xf4), 0x31, 0xc0, 0xef, 0xeb, 0xfe,                                    // exit with 1
    ];
  });
}

// Identity paging of 16 MiB, a GDT, and a far jump into 64-bit code.
function enterLongMode(address) {
  const code = [], gdt = TABLES + 0x3000, pointer = gdt + 0x100;
  const store = (at, value) => code.push(0xc7, 0x05, ...le32(at), ...le32(value));
  store(TABLES, (TABLES + 0x1000) | 7);
  store(TABLES + 0x1000, (TABLES + 0x2000) | 7);
  for (let i = 0; i < 8; i++) store(TABLES + 0x2000 + 8 * i, (i << 21) | 0x87);
  store(gdt + 8, 0xffff), store(gdt + 12, 0x00af9a00);
  store(gdt + 16, 0xffff), store(gdt + 20, 0x00cf9200);
  store(pointer, 0x17 | (gdt << 16)), store(pointer + 2, gdt);
  code.push(0xb8, ...le32(TABLES), 0x0f, 0x22, 0xd8);                                       // mov cr3
  code.push(0xb8, ...le32(0x20), 0x0f, 0x22, 0xe0);                                         // mov cr4: PAE
  code.push(0xb9, ...le32(0xc0000080), 0xb8, ...le32(0x100), 0x31, 0xd2, 0x0f, 0x30);       // wrmsr EFER: LME
  code.push(0x0f, 0x01, 0x15, ...le32(pointer));                                            // lgdt
  code.push(0xb8, ...le32(0x80000011), 0x0f, 0x22, 0xc0);                                   // mov cr0: PG
  code.push(0xea, ...le32(address + code.length + 7), 8, 0);                                // jmp 8:here
  code.push(0xb8, ...le32(0x10), 0x8e, 0xd0, 0x8e, 0xd8, 0x8e, 0xc0);                       // mov ss, ds, es
  return code;
}
