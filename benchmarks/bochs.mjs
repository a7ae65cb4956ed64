// Debian's Bochs 2.7, the peer that has VT-x. It boots from disks alone and has no virtio, so boot_sector.asm loads kernel and initial
// RAM disk, and what the tools disk would bring for a second layer is in the RAM disk. Debian's build has the debugger, which has to be
// told to go on, and does not start without a sound driver and a display.
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { program } from "./machines.mjs";

const PARAMETERS = 0x90000, COMMAND_LINE = 0x91000, KERNEL = 0x100000, MEBI = 1 << 20, SECTOR = 512, CYLINDERS = 100;  // 50 MB
const FIRMWARE_TABLES = 0x10000;  // ACPI's, at the end of memory

function need(command, args, options) {
  const { status, stderr, error } = spawnSync(command, args, { encoding: "utf8", ...options });
  if (error) throw new Error(`${command} cannot be run: ${error.message}. benchmarks/packages.txt names its package.`);
  if (status !== 0) throw new Error(`${command}: ${stderr.trim()}`);
}

function checksummed(rom) {
  rom[rom.length - 1] = -rom.subarray(0, -1).reduce((sum, byte) => sum + byte, 0) & 0xff;
  return rom;
}

// The page which a loader fills for the kernel ("zero page" in Linux' boot protocol), and the command line behind it.
function parameters(kernel, { memory, cmdline, initrdAt, initrdSize }) {
  const page = Buffer.alloc(COMMAND_LINE - PARAMETERS + cmdline.length + 1);
  const setup = 0x1f1, setupEnd = 0x202 + kernel[0x201];
  kernel.copy(page, setup, setup, setupEnd);
  page[0x210] = 0xff;  // a loader without a number of its own
  page.writeUInt32LE(initrdAt, 0x218);
  page.writeUInt32LE(initrdSize, 0x21c);
  page.writeUInt32LE(COMMAND_LINE, 0x228);
  const map = [[0, 0x9fc00, 1], [KERNEL, memory * MEBI - KERNEL - FIRMWARE_TABLES, 1], [memory * MEBI - FIRMWARE_TABLES, FIRMWARE_TABLES, 3]];
  page[0x1e8] = map.length;
  map.forEach(([start, size, type], i) => {
    page.writeBigUInt64LE(BigInt(start), 0x2d0 + 20 * i);
    page.writeBigUInt64LE(BigInt(size), 0x2d8 + 20 * i);
    page.writeUInt32LE(type, 0x2e0 + 20 * i);
  });
  page.write(cmdline, COMMAND_LINE - PARAMETERS, "latin1");
  return page;
}

// The boot sector and the parts that it loads, each [address, bytes].
function bootDisk(place, parts) {
  const padded = Object.entries(parts).map(([name, [address, bytes]]) => [name, address, Buffer.concat([bytes, Buffer.alloc(-bytes.length & (SECTOR - 1))])]);
  const defines = padded.flatMap(([name, address, { length }]) => [`-D${name}=${address}`, `-D${name}_SECTORS=${length / SECTOR}`]);
  need("nasm", ["-f", "bin", ...defines, "-o", join(place, "boot_sector"), fileURLToPath(new URL("boot_sector.asm", import.meta.url))]);
  const disk = Buffer.alloc(CYLINDERS * 16 * 63 * SECTOR);
  Buffer.concat([readFileSync(join(place, "boot_sector")), ...padded.map(([, , bytes]) => bytes)]).copy(disk);
  return disk;
}

// `guest.tools` is the tools disk; it and `guest.exits`, a program, become part of the RAM disk.
function ramDisk(guest, place) {
  const tree = join(place, "tree");
  mkdirSync(join(tree, "opt"), { recursive: true });
  need("unsquashfs", ["-q", "-n", "-d", join(tree, "opt/tools"), guest.tools, "bin/vmm", "boot"]);
  copyFileSync(guest.exits, join(tree, "opt/exits"));
  need("sh", ["-c", "find . | cpio --quiet -o -H newc >../tools.cpio"], { cwd: tree });
  // The kernel takes several archives; behind a compressed one nothing may come.
  return Buffer.concat([readFileSync(join(place, "tools.cpio")), readFileSync(guest.initrd)]);
}

export async function bochs(guest, options) {
  const place = mkdtempSync(join(tmpdir(), "bench-bochs-"));
  const connections = createServer();
  try {
    const file = (name, bytes) => writeFileSync(join(place, name), bytes);
    const kernel = readFileSync(guest.kernel), initrd = ramDisk(guest, place);
    const initrdAt = (guest.memory * MEBI - FIRMWARE_TABLES - initrd.length) & ~0xfff;
    const display = Buffer.alloc(512);
    display.set([0x55, 0xaa, 1, 0xcb]);  // RETF
    file("display.rom", checksummed(display));
    file("disk", bootDisk(place, {
      PARAMETERS: [PARAMETERS, parameters(kernel, { ...guest, initrdAt, initrdSize: initrd.length })],
      KERNEL: [KERNEL, kernel.subarray(((kernel[0x1f1] || 4) + 1) * SECTOR)],
      INITRD: [initrdAt, initrd],
    }));
    file("commands", "c\n".repeat(5));
    await new Promise((resolve) => connections.listen(0, "127.0.0.1", resolve));
    let peer, hear;
    connections.on("connection", (socket) => {
      peer = socket.setEncoding("latin1").on("data", (text) => hear?.(text)).on("error", () => {});
    });
    file("configuration", [
      "romimage: file=/usr/share/bochs/BIOS-bochs-latest", "vgaromimage: file=display.rom",
      `ata0-master: type=disk, path=disk, mode=flat, cylinders=${CYLINDERS}, heads=16, spt=63`, "boot: disk",
      "display_library: term", `memory: guest=${guest.memory}, host=${guest.memory}`,
      "cpu: model=broadwell_ult, ips=50000000, reset_on_triple_fault=0", "clock: sync=none, rtc_sync=0",
      "sound: driver=dummy", "speaker: enabled=1, mode=none", "log: log",
      `com1: enabled=1, mode=socket-client, dev=127.0.0.1:${connections.address().port}`, "",
    ].join("\n"));
    const port = { listen: (listener) => (hear = listener), write: (text) => peer?.write(text, "latin1") };
    return await program("bochs", ["-q", "-f", "configuration", "-rc", "commands"], options, { typed: true, cwd: place, env: { TERM: "xterm" }, port });
  } finally {
    connections.close();
    rmSync(place, { recursive: true, force: true });
  }
}
