// The second engine beside the interpreter: random programs, all compiled before they run, have the same state at odd ticks.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { randomGuest } from "./random_guests.mjs";
import { DEBUG_EXIT } from "./tiny_guests.mjs";

const program = fileURLToPath(new URL("../matryoshka", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "matryoshka-jit-"));
after(() => rmSync(folder, { recursive: true, force: true }));

describe("jit", () => {
  for (const bits of [32, 64])
    for (const seed of [1, 2, 3])
      test(`random program ${seed} of ${bits} bits`, () => {
        const kernel = join(folder, `${bits}-${seed}`), stats = `${kernel}.json`;
        writeFileSync(kernel, randomGuest(seed, bits, 40_000));
        const run = (...args) => {
          const all = ["-kernel", kernel, "-m", "16M", ...DEBUG_EXIT, "--hash-every", "9973", "--stop-at", "5M", ...args];
          const { status, stderr } = spawnSync(program, all, { encoding: "utf8", input: "", timeout: 60_000 });
          return { status, hashes: stderr.match(/^hash .*$/gm) };
        };
        const interpreted = run("--engine", "interp"), compiled = run("--jit-after", "1", "--stats", stats);
        assert.ok(interpreted.hashes.length > 100);
        assert.deepEqual(compiled, interpreted);
        const { instructions } = JSON.parse(readFileSync(stats));
        assert.ok(instructions.regions > instructions.interpreter, "most of it should have run in regions");
      });
});
