// The second engine beside the interpreter: random programs, all compiled before they run, have the same state at odd ticks.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { randomGuest, randomVectorGuest } from "./random_guests.mjs";
import { DEBUG_EXIT } from "./tiny_guests.mjs";

const program = fileURLToPath(new URL("../matryoshka", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "matryoshka-jit-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const sse = readFileSync(new URL("../cpu/isa/sse.def", import.meta.url), "utf8");
const kinds = {
  "random program": { guest: (seed, bits) => randomGuest(seed, bits, 40_000), cpu: [], share: 1, every: 9_973 },
  "random XMM instructions": { guest: (seed, bits) => randomVectorGuest(sse, seed, bits, 8_000), cpu: ["-cpu", "nehalem"], share: 0.3, every: 99_991 },
};

describe("jit", () => {
  for (const [kind, { guest, cpu, share, every }] of Object.entries(kinds)) for (const bits of [32, 64])
    for (const seed of [1, 2, 3])
      test(`${kind} ${seed} of ${bits} bits`, () => {
        const kernel = join(folder, `${kind}-${bits}-${seed}`), stats = `${kernel}.json`;
        writeFileSync(kernel, guest(seed, bits));
        const run = (...args) => {
          const all = ["-kernel", kernel, "-m", "16M", ...cpu, ...DEBUG_EXIT, "--hash-every", `${every}`, "--stop-at", "8M", ...args];
          const { status, stderr } = spawnSync(program, all, { encoding: "utf8", input: "", timeout: 60_000 });
          return { status, hashes: stderr.match(/^hash .*$/gm) };
        };
        const interpreted = run("--engine", "interp"), compiled = run("--jit-after", "1", "--stats", stats);
        assert.ok(interpreted.hashes.length > 50);
        assert.deepEqual(compiled, interpreted);
        const { instructions } = JSON.parse(readFileSync(stats));
        assert.ok(instructions.regions > share * instructions.interpreter, "most of it should have run in regions");
      });
});
