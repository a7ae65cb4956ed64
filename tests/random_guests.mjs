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
  // What sets flags, on operands that are often equal or next to where a sign or a carry turns, and then every way to ask for them.
  const edges = [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0x7fffffff, 0x80000000, 0xffffffff];
  const setters = [
    (s, a, b) => [...s.prefix, 0x38 + s.wide, 0xc0 | (b << 3) | a],                                     // CMP
    (s, a, b) => [...s.prefix, 0x28 + s.wide, 0xc0 | (b << 3) | a],                                     // SUB
    (s, a, b) => [...s.prefix, 0x00 + s.wide, 0xc0 | (b << 3) | a],                                     // ADD
    (s, a, b) => [...s.prefix, 0x84 + s.wide, 0xc0 | (b << 3) | a],                                     // TEST
    (s, a, b) => [...s.prefix, pick([0x08, 0x20, 0x30]) + s.wide, 0xc0 | (b << 3) | a],                 // OR, AND, XOR
    (s, a, b) => [...s.prefix, pick([0x10, 0x18]) + s.wide, 0xc0 | (b << 3) | a],                       // ADC, SBB
    (s, a) => [...s.prefix, 0xfe + s.wide, 0xc0 | (random(2) << 3) | a],                                // INC, DEC
    (s, a) => [...s.prefix, 0xf6 + s.wide, 0xd8 | a],                                                   // NEG
    (s, a) => [...s.prefix, 0xd0 + s.wide, 0xc0 | (random(8) << 3) | a],                                // shifts and rotates by 1
  ];
  const consumers = [
    (condition) => [0x70 + condition, 2, 0xff, 0xc6],                                                   // Jcc over INC ESI
    (condition) => [0x0f, 0x90 + condition, 0x45, random(OPERANDS)],                                    // SETcc
    (condition) => [0x0f, 0x40 + condition, 0xc0 | (ESI << 3) | pick([EBX, EDX])],                      // CMOVcc ESI
    () => [0x83, 0xd6, random(3)],                                                                      // ADC ESI
    () => [0x9f, 0x00, 0x65, random(OPERANDS)],                                                         // LAHF; ADD [ebp+n],AH
    () => [0x9c, 0x8f, 0x45, random(OPERANDS / 2)],                                                     // PUSHF; POP [ebp+n]
  ];
  const edge = (register) => [
    [0xb8 + register, ...le32(pick(edges))],                                                            // MOV register,edge
    [0x83, 0xe0 | register, 3],                                                                         // AND register,3
    [0x01, 0xf8 | register],                                                                            // ADD register,edi
    [0x89, 0xc0 | (pick(free) << 3) | register],                                                        // MOV register,another
    [],
  ][random(5)];
  const asked = (s = anyShape(), a = random(4), b = random(4)) => [
    ...edge(a), ...edge(b), ...pick(setters)(s, a, b), ...pick(consumers)(random(16)), ...(random(2) ? pick(consumers)(random(16)) : []),
  ];
  // Products of signed edges, and their upper halves.
  const product = (s = wideShape(), a = pick(edges)) => [
    ...(bits === 64 ? [0x48, 0xc7, 0xc0, ...le32(a), 0x48, 0x63, 0xd9] : [0xb8, ...le32(a)]),           // MOV RAX,a; MOVSXD RBX,ECX
    ...s.prefix, ...pick([[0xf7, 0xe0 | EBX], [0xf7, 0xe8 | EBX], [0x0f, 0xaf, 0xc0 | (EDX << 3) | EBX]]), ...pick(consumers)(pick([0, 2])),
    ...s.prefix, 0x01, 0xd6,                                                                            // ADD ESI,EDX
  ];
  const constructs = [
    () => product(),
    () => some(8),
    () => asked(),
    () => [...asked(), ...asked()],
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

// Every row of cpu/isa/sse.def that has to do with XMM registers, in any order and with any operands, in a loop that brings in
// other values all the time: numbers of both formats, integers, and the edges of each. MXCSR changes too, but masks all. What an
// instruction leaves is added up in XMM7 and ESI, so that one wrong result is never forgotten.
export function randomVectorGuest(definitions, seed, bits, rounds) {
  let state = seed >>> 0;
  const random = (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const pick = (list) => list[random(list.length)];
  const rows = [...definitions.matchAll(/^ROW\("([^"]*)", (\w+), "([^"]*)", .*, helper, (.*), \w+\)$/gm)]
    .map(([, encoding, name, operands, attributes]) => ({ encoding: encoding.split(" "), name, operands: operands.split(","), attributes }))
    .filter(({ name, operands, attributes }) =>
      /SSE_STATE/.test(attributes) && name !== "MASKMOVDQU" && !/MXCSR/.test(name) && !operands.some((o) => /^[PQN]/.test(o)));

  const instruction = ({ encoding, name, operands, attributes }) => {
    const at = encoding.findIndex((part) => part[0] === "/");
    const bytes = encoding.slice(0, at).filter((part) => part !== "NP").map((part) => parseInt(part, 16));
    const prefix = [0x66, 0xf2, 0xf3].includes(bytes[0]) ? [bytes.shift()] : [];
    const register = () => pick(bits === 64 ? [0, 1, 2, 3, 4, 5, 6, 8, 12, 15] : [0, 1, 2, 3, 4, 5, 6]);
    let reg = encoding[at] === "/r" ? register() : Number(encoding[at][1]), rm = register(), memory = false;
    for (const operand of operands) {
      if (operand[0] === "G") reg = pick([ECX, EBX]);
      if (operand[0] === "W" || operand[0] === "M" || operand[0] === "E") memory = operand[0] === "M" || random(3) === 0;
      if ((operand[0] === "E" || operand[0] === "R") && !memory) rm = pick([ECX, EBX]);
    }
    const wide = bits === 64 && operands.some((o) => o[1] === "y") ? 8 * random(2) : 0;
    const rex = 0x40 | wide | (reg > 7 ? 4 : 0) | (!memory && rm > 7 ? 1 : 0);
    const modrm = memory
      ? [0x45 | ((reg & 7) << 3), /ALIGNED/.test(attributes) ? 16 * random(6) : random(100)]
      : [0xc0 | ((reg & 7) << 3) | (rm & 7)];
    const [first] = operands, xmm = first[0] === "V" ? reg : rm;
    const sum = [0x66, 0x0f, 0x70, 0xff, 0x93];                                              // pshufd xmm7,xmm7,93
    const result =
      /^[GER]/.test(first) && !memory ? [0x01, 0xc6 | (first[0] === "G" ? reg : rm) << 3, 0xd1, 0xc6]  // add esi,reg; rol esi,1
      : first[0] !== "V" && memory ? [...sum, 0x0f, 0x10, 0x6d, modrm[1], 0x66, 0x0f, 0xfe, 0xfd]      // movups xmm5,[]; paddd xmm7,xmm5
      : [...sum, 0x66, ...(xmm > 7 ? [0x41] : []), 0x0f, 0xfe, 0xf8 | (xmm & 7)];                      // paddd xmm7,xmm
    return [
      ...prefix, ...(bits === 64 ? [rex] : []), ...bytes, ...modrm, ...(operands.includes("Ib") ? [random(256)] : []),
      ...(/COMIS|PTEST/.test(name) ? [0x0f, 0x90 + random(16), 0xc3, 0x01, 0xde] : []),                // setcc bl; add esi,ebx
      ...result,
    ];
  };

  const double = (value) => [...new Uint8Array(Float64Array.of(value).buffer)];
  const single = (value) => [...new Uint8Array(Float32Array.of(value).buffer)];
  const number = () => (random(2) ? 1 : -1) * (random(2) ? random(100) : (1 + random(2 ** 30) / 2 ** 30) * 2 ** (random(40) - 20));
  const edges = [0, -0, Infinity, -Infinity, NaN, 5e-324, 1e-45, 2.2250738585072014e-308, 1.1754943508222875e-38, 2 ** 31, 2 ** 63, 0.5, 1.5];
  const kinds = [
    () => [...double(number()), ...double(number())],
    () => [...double(number()), ...double(number())],
    () => [number(), number(), number(), number()].flatMap(single),
    () => [number(), number(), number(), number()].flatMap(single),
    () => Array.from({ length: 16 }, () => random(256)),
    () => Array.from({ length: 16 }, () => pick([0, 0, 0xff, 0x80, 0x7f, 1])),
    () => [...double(pick(edges)), ...double(number())],
    () => [pick(edges), number(), number(), pick(edges)].flatMap(single),
  ];
  const values = 64;

  return multiboot((address) => {
    const begin = bits === 64 ? enterLongMode(address) : [];
    const before = address + begin.length + 5, padding = -before & 15, table = before + padding, controls = table + 16 * values;
    const data = [
      ...Array(padding).fill(0), ...Array.from({ length: values }, () => pick(kinds)()).flat(),
      ...[0x1fa0, 0x1fa0, 0x1fa0, 0x1fa0, 0x1f80, 0x3fa0, 0x9fe0, 0x1fbf].flatMap(le32),
    ];
    const next = [0x69, 0xd2, ...le32(1664525), 0x81, 0xc2, ...le32(1013904223), 0x89, 0xd0];  // another number in edx and eax
    const refresh = (n = random(7)) => [...next, 0xc1, 0xe8, 0x14, 0x25, ...le32(0x3f0), 0x0f, 0x28, 0x80 | (n << 3), ...le32(table)];
    const control = () => [...next, 0xc1, 0xe8, 0x18, 0x83, 0xe0, 0x1c, 0x0f, 0xae, 0x90, ...le32(controls)];
    const shuffled = rows.map((row) => [random(2 ** 30), row]).sort(([a], [b]) => a - b).map(([, row]) => row);
    const body = [
      ...control(), ...Array.from({ length: 7 }, (_, n) => refresh(n)).flat(),
      ...shuffled.flatMap((row) => [
        ...(random(2) ? refresh() : []), ...(random(40) ? [] : control()), ...instruction(row),
        ...(random(3) ? [] : [0x0f, 0x80 + random(16), ...le32(0)]),                                       // Jcc: another block
      ]),
    ];
    return [
      ...begin, 0xe9, ...le32(data.length), ...data, 0xbc, ...le32(STACK), 0xbd, ...le32(PAGE_END - 64), 0xbf, ...le32(rounds),
      0x0f, 0x20, 0xe0, 0x0d, ...le32(0x600), 0x0f, 0x22, 0xe0,                             // cr4: OSFXSR, OSXMMEXCPT
      ...body, 0xff, 0xcf, 0x0f, 0x85, ...le32(-(body.length + 8)),                         // dec edi; jnz body
      0xba, ...le32(0xf4), 0x31, 0xc0, 0xef, 0xeb, 0xfe,                                    // exit with 1
    ];
  });
}
