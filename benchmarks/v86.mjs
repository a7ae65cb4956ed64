// v86 with its serial port on standard output: node benchmarks/v86.mjs '{"kernel":…,"initrd":…,"cmdline":…,"memory":256,"jit":true}'
import { V86 } from "v86";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const read = (path) => new Uint8Array(readFileSync(path)).buffer;
const guest = JSON.parse(process.argv[2]);
const machine = new V86({
  wasm_path: fileURLToPath(new URL("../node_modules/v86/build/v86.wasm", import.meta.url)),
  memory_size: guest.memory << 20,
  vga_memory_size: 8 << 20,
  bios: { buffer: read("/usr/share/seabios/bios.bin") },
  vga_bios: { buffer: read("/usr/share/seabios/vgabios-stdvga.bin") },
  bzimage: { buffer: read(guest.kernel) },
  initrd: { buffer: read(guest.initrd) },
  cmdline: guest.cmdline,
  disable_jit: !guest.jit,
  acpi: false,
  autostart: true,
});
machine.add_listener("serial0-output-byte", (byte) => process.stdout.write(Buffer.of(byte)));
