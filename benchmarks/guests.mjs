// The images that guest/build and benchmarks/build made, as guests for machines.mjs.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const built = (name) => {
  const path = join(root, name);
  if (!existsSync(path)) throw new Error(`${name} is missing; ./bench makes it.`);
  return path;
};

// `bench`: with the programs, which it runs at `scale`, or `command`, a list of words.
export const image = (bits, { bench = false, scale, command, drives = [], memory = 256 } = {}) => ({
  bits, memory,
  kernel: built(`build/guest/bzImage${bits}`),
  initrd: built(`build/guest/initrd${bench ? "-bench" : ""}${bits}.lz4`),
  cmdline: "console=ttyS0 quiet" + (command ? ` cmd=${command.join(",")}` : scale ? ` bench=${scale}` : ""),
  drives,
});

export const TOOLS = built("build/guest/tools64.img"), PROGRAMS = built("benchmarks/bin64.img"), EXITS_PROGRAM = built("benchmarks/bin64/exits");
