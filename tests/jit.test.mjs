// The second engine beside the interpreter: random programs, all compiled before they run, have the same state at odd ticks, and
// in lockstep every run of a region comes to the same state.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { hardships } from "./jit_hardships.mjs";
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

const guest = (bits, seed, rounds = 40_000) => {
  const kernel = join(folder, `${bits}-${seed}`);
  writeFileSync(kernel, randomGuest(seed, bits, rounds));
  return kernel;
};

describe("verify", () => {
  for (const bits of [32, 64])
    for (const seed of [4, 5, 6])
      for (const caches of [["--jit-after", "1"], ["--jit-after", "500", "--small-caches"]])
        test(`random program ${seed} of ${bits} bits in lockstep, ${caches.join(" ")}`, () => {
          const run = (...args) => spawnSync(program, ["-kernel", guest(bits, seed), "-m", "16M", ...DEBUG_EXIT, "--stop-at", "2M", ...caches, ...args], { encoding: "utf8", input: "", timeout: 60_000 });
          const verified = run("--engine", "verify");
          assert.equal(verified.status, 0, verified.stderr);
          const count = Number(/Verified ([\d ]+) instructions/.exec(verified.stderr)[1].replaceAll(" ", ""));
          assert.ok(count > 500_000, `only ${count} instructions were verified`);
          // What a store to a wrong place would have left behind.
          assert.equal(/^hash .*$/m.exec(verified.stderr)[0], /^hash .*$/m.exec(run("--engine", "interp").stderr)[0]);
        });
});

describe("segments", () => {
  for (const caches of [[], ["--small-caches"]])
    test(`FS and GS with bases and limits that change${caches.length ? ", with small caches" : ""}`, () => {
      const kernel = join(folder, "segments"), stats = join(folder, "segments.json");
      writeFileSync(kernel, hardships(folder, "segments"));
      const run = (...args) => {
        const all = ["-kernel", kernel, "-m", "16M", ...DEBUG_EXIT, "--hash-every", "9973", "--max-instructions", "20M", ...caches, ...args];
        const { status, stderr } = spawnSync(program, all, { encoding: "utf8", input: "", timeout: 60_000 });
        return { status, hashes: stderr.match(/^hash .*$/gm), complaint: stderr.match(/^(?!hash).*$/gm).join("\n") };
      };
      const interpreted = run("--engine", "interp");
      const places = interpreted.status >> 1;
      assert.ok(places === 8, `#GP came at ${places} of 8 places`);
      for (const engine of ["jit", "verify"])
        for (const after of ["1", "300"]) {
          const { status, hashes, complaint } = run("--jit-after", after, "--engine", engine, "--stats", stats);
          assert.equal(status, interpreted.status, complaint);
          assert.deepEqual(hashes, interpreted.hashes);
          const { instructions } = JSON.parse(readFileSync(stats));
          if (engine === "jit" && after === "1") assert.ok(instructions.regions > 3 * instructions.interpreter, "the loop should have run in regions");
        }
    });
});

describe("hardships", () => {
  for (const caches of [[], ["--small-caches"]])
    test(`faults, interrupts, changed code and moved pages in the middle of it${caches.length ? ", with small caches" : ""}`, () => {
      const kernel = join(folder, "hardships");
      writeFileSync(kernel, hardships(folder));
      const run = (...args) => {
        const all = ["-kernel", kernel, "-m", "16M", ...DEBUG_EXIT, "--hash-every", "9973", "--max-instructions", "20M", ...caches, ...args];
        const { status, stderr } = spawnSync(program, all, { encoding: "utf8", input: "", timeout: 60_000 });
        return { status, hashes: stderr.match(/^hash .*$/gm), complaint: stderr.match(/^(?!hash).*$/gm).join("\n") };
      };
      const interpreted = run("--engine", "interp");
      const places = interpreted.status >> 1;
      assert.ok(places > 45, `interrupts came at only ${places} of 59 places`);
      for (const engine of ["jit", "verify"])
        for (const after of ["1", "300"]) {
          const { status, hashes, complaint } = run("--jit-after", after, "--engine", engine);
          assert.equal(status, interpreted.status, complaint);
          assert.deepEqual(hashes, interpreted.hashes);
        }
    });
});

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
