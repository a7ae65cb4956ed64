// jit_NAME.asm as a kernel, assembled for the address where a loader puts it. `folder` is for what is made on the way.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { multiboot } from "./tiny_guests.mjs";

export function hardships(folder, name = "hardships") {
  const source = fileURLToPath(new URL(`jit_${name}.asm`, import.meta.url)), flat = join(folder, `${name}.bin`);
  return multiboot((address) => {
    const { status, stderr, error } = spawnSync("nasm", ["-f", "bin", `-DORIGIN=${address}`, "-o", flat, source], { encoding: "utf8" });
    if (error) throw new Error(`nasm cannot be run: ${error.message}. It is in setup/packages-test.txt.`);
    if (status !== 0) throw new Error(stderr);
    return [...readFileSync(flat)];
  });
}
