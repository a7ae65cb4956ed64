// How large the core is as it travels, and what the JIT's code takes.
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

import { heading } from "./figures.mjs";
import { profileOf } from "./programs.mjs";

const MARKS = { core: 600 };

export function measureSizes({ verdicts, profiles, scale }) {
  const core = readFileSync(new URL("../build/wasm/matryoshka.wasm", import.meta.url));
  const compressed = gzipSync(core).length;
  heading("Sizes");
  verdicts.most("core compressed, KB", compressed / 1000, MARKS.core, 0);
  const code = {};
  for (const bits of [64, 32]) {
    const { jit } = (profiles[bits] ?? profileOf(bits, scale)).whole;
    const live = jit.regions - jit.dropped;
    code[bits] = { regions: jit.regions, dropped: jit.dropped, modules: jit.modules, bytes: jit.bytes, instructions: jit.instructions_compiled };
    console.log(`  ${bits}-bit boot and programs: ${jit.regions} regions in ${jit.modules} modules, ${(jit.bytes / 1000).toFixed(0)} KB of WebAssembly ` +
      `(${(jit.bytes / jit.instructions_compiled).toFixed(0)} bytes an instruction); ${live} regions live at the end`);
  }
  return { core: core.length, compressed, code };
}
