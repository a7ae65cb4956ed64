// Guests of a few bytes, as multiboot images that carry their addresses: a header, 32-bit code, perhaps a text.

const BASE = 0x100000;
const HEADER = 32;
export const DEBUG_EXIT = ["-device", "isa-debug-exit,iobase=0xf4"];

export const le32 = (n) => [n & 255, (n >>> 8) & 255, (n >>> 16) & 255, (n >>> 24) & 255];

// `code(address)` answers bytes that will stand at that address.
export function multiboot(code) {
  const magic = 0x1badb002, flags = 0x10000;
  const body = code(BASE + HEADER);
  return Uint8Array.from([
    ...le32(magic), ...le32(flags), ...le32(-(magic + flags)),
    ...le32(BASE), ...le32(BASE), ...le32(0), ...le32(0), ...le32(BASE + HEADER), ...body,
  ]);
}

// Writes a text to COM1, then goes on with `next(address)`.
function printing(text, next) {
  const bytes = [...new TextEncoder().encode(text), 0];
  return (address) => {
    const code = [
      0xeb, bytes.length, ...bytes,                    // jmp over the text
      0xbe, ...le32(address + 2),                      // mov esi, text
      0xba, ...le32(0x3f8),                            // mov edx, COM1
      0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8,  // lodsb; out dx, al; until a zero
    ];
    return [...code, ...next(address + code.length)];
  };
}
const exiting = (value) => () => [0xba, ...le32(0xf4), 0xb8, ...le32(value), 0xef, 0xeb, 0xfe];
const looping = () => [0xeb, 0xfe];                                    // jmp here
const halting = () => [0xfa, 0xf4, 0xeb, 0xfd];                        // cli; hlt; again
const faulting = (address) => [0x0f, 0x01, 0x1d, ...le32(address + 9), 0x0f, 0x0b, 0, 0, 0, 0, 0, 0];  // lidt [zeros]; ud2
const resetting = () => [0xb0, 0xfe, 0xe6, 0x64, 0xeb, 0xfe];          // the keyboard controller's reset line
// Sends back what it receives, and ends with 1 at a q.
const echoing = () => [
  0xba, ...le32(0x3fd), 0xec, 0xa8, 0x01, 0x74, 0xf6, 0xba, ...le32(0x3f8), 0xec, 0x3c, 0x71, 0x74, 0x03, 0xee, 0xeb, 0xe9,
  ...exiting(0)(),
];

export const guests = {
  exit: (value) => multiboot(exiting(value)),
  printAndExit: (text, value) => multiboot(printing(text, exiting(value))),
  printAndLoop: (text) => multiboot(printing(text, () => looping())),
  loop: () => multiboot(() => looping()),
  halt: () => multiboot(() => halting()),
  tripleFault: () => multiboot(faulting),
  reset: () => multiboot(() => resetting()),
  echo: (greeting) => multiboot(printing(greeting, echoing)),
};

// The small hypervisor of guest/, with bit 1 of its guest's RFLAGS left out, which no VM entry accepts. In its list of fields and
// values the value follows the encoding, each the immediate of a MOV to the stack.
export function brokenHypervisor(image) {
  const broken = Uint8Array.from(image);
  const guestRflags = [0x20, 0x68, 0, 0, 0x48, 0xc7, 0x84, 0x24];
  const at = broken.findIndex((_, i) => guestRflags.every((byte, j) => broken[i + j] === byte));
  const value = at + guestRflags.length + 4;
  if (at < 0 || broken[value] !== 2) throw new Error("the hypervisor's image has changed: RFLAGS of its guest is elsewhere");
  broken[value] = 0;
  return broken;
}
